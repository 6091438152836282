//! Which keys are in force: asked of a region's cores straight, and of the edge as a client would. Changes nothing.
//!
//! A core is asked with a key that it is known to take, for it counts whoever it refuses, and alerts on that.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use protocol::hop::{Destination, HopKey, ROUTE_VERSION, Target, sign_proxied};
use protocol::routes::{Origin, RouteTable};
use protocol::{Country, RegionId, UnixSeconds};
use serde::Deserialize;
use serde_json::Value;

use super::{hop, sealing};
use crate::edge::{self, agent};

/// Longer than the edge gives a core.
const PATIENCE: Duration = Duration::from_secs(15);

/// Several cores may stand behind one origin: so many answers in a row, each on a connection of its own, must agree.
const ANSWERS: usize = 8;

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// It is as it should be.
    InForce,
    /// It is not yet; what there is instead.
    NotYet(String),
    /// It will never be; what to do.
    Never(String),
}

/// Why there is no answer that can be used.
#[derive(Debug)]
enum Trouble {
    /// 401.
    Refused,
    /// It may come to be.
    NotYet(String),
    /// It will not.
    Never(String),
}

impl From<Trouble> for Seen {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Refused => Self::NotYet(
                "the core refuses a key that it should take (401); are both clocks right, and was its file put in \
                 force?"
                    .to_owned(),
            ),
            Trouble::NotYet(why) => Self::NotYet(why),
            Trouble::Never(why) => Self::Never(why),
        }
    }
}

/// A region's cores and the edge before them.
pub struct Probe<'r> {
    region: &'r RegionId,
    /// The region's, by the route table.
    countries: Vec<Country>,
    core: Origin,
    edge: String,
    routes_version: u32,
}

/// What a core answers under `/v1/keys`.
#[derive(Deserialize)]
struct Answer {
    region: String,
    hop_keys: Vec<String>,
    sealing_keys: Vec<String>,
}

impl<'r> Probe<'r> {
    /// Of a region of the route table, whose core is at the table's origin or at `core`.
    pub fn new(
        region: &'r RegionId,
        routes: &RouteTable,
        core: Option<Origin>,
        edge: &str,
    ) -> Result<Self, String> {
        let route = routes.regions().find(|route| route.region == *region);
        let route = route.ok_or_else(|| format!("the route table has no region {region}"))?;
        let countries = routes.countries().filter(|(_, of)| *of == region);
        let countries: Vec<_> = countries.map(|(country, _)| country).collect();
        if countries.is_empty() {
            return Err(format!(
                "the route table leads no country to {region}: nothing can be asked through the edge"
            ));
        }
        Ok(Self {
            region,
            countries,
            core: core.unwrap_or_else(|| route.origin.clone()),
            edge: edge.trim_end_matches('/').to_owned(),
            routes_version: routes.version(),
        })
    }

    /// Whether what the files say of the hop's secret is in force.
    #[must_use]
    pub fn hop(&self, standing: &hop::Standing) -> Seen {
        match (standing.stage, &standing.old, &standing.new) {
            (super::Stage::Begin, Some(old), _) => {
                all([&mut || self.core_takes(old, &[]), &mut || {
                    self.edge_signs_with(old)
                }])
            }
            (super::Stage::CoreHasBoth, Some(old), Some(new)) => {
                all([&mut || self.core_takes(old, &[new]), &mut || {
                    self.core_takes(new, &[old])
                }])
            }
            (super::Stage::EdgeHasNew, _, Some(new)) => self.edge_signs_with(new),
            (super::Stage::CoreHasNew, None, Some(new)) => {
                all([&mut || self.core_takes_only(new), &mut || {
                    self.core_refuses(standing.retired.as_ref())
                }])
            }
            _ => Seen::Never("the files have no key to ask with".to_owned()),
        }
    }

    /// Whether what the files say of the sealing key is in force. That nothing waits for the old one is asked by
    /// [`Probe::nothing_older_waits`].
    #[must_use]
    pub fn sealing(&self, standing: &sealing::Standing) -> Seen {
        match standing.stage {
            super::Stage::Begin => all([&mut || self.core_opens(standing), &mut || {
                self.edge_has_routes(standing.routes_version)
            }]),
            super::Stage::EdgeHasNew => self.edge_has_routes(standing.routes_version),
            super::Stage::CoreHasBoth | super::Stage::CoreHasNew => self.core_opens(standing),
        }
    }

    /// Whether no record lies parked for the region, and none waits that came longer ago than `age`.
    #[must_use]
    pub fn nothing_older_waits(&self, ops: &edge::Client, age: Duration) -> Seen {
        let status = match ops.status() {
            Ok(status) => status,
            Err(error) => return Seen::NotYet(error),
        };
        let mut regions = status.regions.iter();
        let Some(region) = regions.find(|known| known.region == self.region.as_str()) else {
            return Seen::Never(format!("the edge knows no region {}", self.region));
        };
        if region.parked > 0 {
            return Seen::NotYet(format!(
                "{} records lie parked, perhaps sealed with the old key: smpctl edge parked shows them, retry or \
                 discard ends it",
                region.parked
            ));
        }
        // The edge's clock tells whole seconds.
        if region.waiting > 0 && region.oldest_seconds + 1.0 >= age.as_secs_f64() {
            return Seen::NotYet(format!(
                "{} records wait, the oldest for {:.0} s: perhaps sealed with the old key",
                region.waiting, region.oldest_seconds
            ));
        }
        Seen::InForce
    }

    /// That each core takes this key, and has these others too.
    fn core_takes(&self, key: &HopKey, others: &[&HopKey]) -> Seen {
        self.each_core(key, |keys| {
            let missing = others
                .iter()
                .find(|other| !keys.hop_keys.iter().any(|known| known == other.keyid()));
            missing.map(|missing| format!("the core does not take {} yet", missing.keyid()))
        })
    }

    fn core_takes_only(&self, key: &HopKey) -> Seen {
        self.each_core(key, |keys| {
            let more = keys.hop_keys.iter().find(|known| *known != key.keyid());
            more.map(|more| format!("the core still takes {more}"))
        })
    }

    /// Asked once: each refusal is counted.
    fn core_refuses(&self, key: Option<&HopKey>) -> Seen {
        match key.map(|key| (key.keyid(), self.keys(key))) {
            None | Some((_, Err(Trouble::Refused))) => Seen::InForce,
            Some((keyid, Ok(_))) => Seen::NotYet(format!("a core still takes {keyid}")),
            Some((_, Err(trouble))) => trouble.into(),
        }
    }

    fn core_opens(&self, standing: &sealing::Standing) -> Seen {
        let mut expected: Vec<_> = standing.opens.iter().map(ToString::to_string).collect();
        expected.sort_unstable();
        self.each_core(&standing.hop_key, |keys| {
            let mut found = keys.sealing_keys.clone();
            found.sort_unstable();
            let names = |keys: &[String]| {
                let names = keys.iter().filter_map(|key| key.split(':').next());
                names.collect::<Vec<_>>().join(" and ")
            };
            (found != expected).then(|| {
                format!(
                    "the core opens what is sealed to {}, not {}",
                    names(&found),
                    names(&expected)
                )
            })
        })
    }

    /// `lacks` says what an answer lacks; nothing if it is right.
    fn each_core(&self, key: &HopKey, lacks: impl Fn(&Answer) -> Option<String>) -> Seen {
        for _ in 0..ANSWERS {
            match self.keys(key).map(|keys| lacks(&keys)) {
                Ok(None) => {}
                Ok(Some(lack)) => return Seen::NotYet(lack),
                Err(trouble) => return trouble.into(),
            }
        }
        Seen::InForce
    }

    /// What a core says, asked with a key.
    fn keys(&self, key: &HopKey) -> Result<Answer, Trouble> {
        let target = Target {
            method: "GET",
            path: "/v1/keys",
            query: None,
        };
        let (Some(country), Some(now)) = (self.countries.first(), now()) else {
            return Err(Trouble::Never("this machine's clock is wrong".to_owned()));
        };
        let destination = Destination {
            country: *country,
            region: self.region,
            route_version: self.routes_version,
        };
        let mut request = agent(PATIENCE).get(format!("{}{}", self.core, target.path));
        for (name, value) in sign_proxied(key, destination, target, now) {
            request = request.header(name, value);
        }
        let mut answer = request.call().map_err(|error| no_answer("core", &error))?;
        let keys: Result<Answer, _> = match answer.status().as_u16() {
            200 => serde_json::from_slice(&answer.body_mut().read_to_vec().unwrap_or_default()),
            401 => return Err(Trouble::Refused),
            404 => {
                return Err(Trouble::Never(
                    "the core does not tell its keys (/v1/keys, 404): deploy this version of it first".to_owned(),
                ));
            }
            421 => {
                return Err(Trouble::Never(format!(
                    "{} is not {}'s core (421)",
                    self.core, self.region
                )));
            }
            status => return Err(Trouble::NotYet(format!("the core answered {status}"))),
        };
        match keys {
            Ok(keys) if keys.region == self.region.as_str() => Ok(keys),
            _ => Err(Trouble::Never(format!(
                "{} does not answer as {}'s core",
                self.core, self.region
            ))),
        }
    }

    /// That what goes to each of the region's countries is signed with this key.
    fn edge_signs_with(&self, key: &HopKey) -> Seen {
        for country in &self.countries {
            match self.signs_with(*country) {
                Ok(found) if found == key.keyid() => {}
                Ok(found) => return Seen::NotYet(format!("the edge signs with {found}")),
                Err(trouble) => return trouble.into(),
            }
        }
        Seen::InForce
    }

    fn signs_with(&self, country: Country) -> Result<String, Trouble> {
        let request = agent(PATIENCE).get(format!("{}/api/region", self.edge));
        let answer = request.header("x-country-code", country.as_str()).call();
        let mut answer = answer.map_err(|error| no_answer("edge", &error))?;
        let body = answer.body_mut().read_to_vec().unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let said = |name| body.get(name).and_then(Value::as_str);
        match (answer.status().as_u16(), said("region"), said("hop_key")) {
            (200, Some(region), _) if region != self.region.as_str() => {
                Err(Trouble::Never(format!(
                    "the edge takes {country} to {region}: are these the routes that are deployed?"
                )))
            }
            (200, Some(_), Some(key)) => Ok(key.to_owned()),
            (200, ..) => Err(Trouble::Never(
                "the core does not tell by which key a request came (hop_key of /api/region): deploy this version of \
                 it first"
                    .to_owned(),
            )),
            (status, ..) => {
                let said = said("status").map_or(String::new(), |said| format!(" {said}"));
                Err(Trouble::NotYet(format!(
                    "{country} through the edge: {status}{said}"
                )))
            }
        }
    }

    fn edge_has_routes(&self, version: u32) -> Seen {
        let answer = agent(PATIENCE).get(format!("{}/healthz", self.edge)).call();
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return no_answer("edge", &error).into(),
        };
        let found = answer.headers().get(ROUTE_VERSION);
        let found = found.and_then(|version| version.to_str().ok());
        if found == Some(&version.to_string()) {
            Seen::InForce
        } else {
            Seen::NotYet(format!(
                "the edge has version {} of the routes, not {version}",
                found.unwrap_or("none")
            ))
        }
    }
}

/// The first that is not in force, if there is one.
fn all<const N: usize>(looks: [&mut dyn FnMut() -> Seen; N]) -> Seen {
    let mut seen = looks.into_iter().map(|look| look());
    seen.find(|seen| *seen != Seen::InForce)
        .unwrap_or(Seen::InForce)
}

fn no_answer(of: &str, error: &ureq::Error) -> Trouble {
    Trouble::NotYet(match error {
        ureq::Error::Timeout(_) => format!("no answer of the {of} in time"),
        ureq::Error::HostNotFound => format!("no such host: the {of}'s"),
        ureq::Error::Io(error) => format!("no connection to the {of}: {}", error.kind()),
        _ => format!("no answer of the {of}"),
    })
}

fn now() -> Option<UnixSeconds> {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(UnixSeconds(since_1970.as_secs()))
}
