//! What is looked at before a route is changed.

use std::fmt;
use std::time::Duration;

use infra::check;
use infra::country::way;
use infra::edge::{agent, read_json};
use infra::exposition::Page;
use infra::registry::{Region, Registry, Role, sign_off};
use infra::route::edit;
use infra::route::{Goal, Moved, State, Target};
use infra::smoke::Smoke;
use protocol::RegionId;
use protocol::routes::{RouteState, RouteTable};
use serde::Serialize;
use serde_json::Value;

use super::deploy::Deployment;
use super::text_of;
use crate::edge_command::Access;

/// Longer than a core takes to look at its database.
const PATIENCE: Duration = Duration::from_secs(8);

/// Whoever waits for it does so before anything is changed.
const EDGE_PATIENCE: Duration = Duration::from_secs(5);

/// Something that was looked at.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    what: String,
    verdict: Verdict,
    found: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// As it should be.
    Ok,
    /// Not as it should be: nothing is changed.
    Wrong,
    /// It could not be seen, and need not be.
    Unknown,
}

impl Check {
    fn of(what: impl Into<String>, outcome: Result<String, String>) -> Self {
        let (verdict, found) = match outcome {
            Ok(found) => (Verdict::Ok, found),
            Err(found) => (Verdict::Wrong, found),
        };
        Self {
            what: what.into(),
            verdict,
            found,
        }
    }

    /// It is told, and stops nobody.
    pub(super) fn excuse(&mut self) {
        if self.verdict == Verdict::Wrong {
            self.verdict = Verdict::Unknown;
        }
    }

    /// Whether nothing may be changed because of it.
    pub(crate) fn is_refusal(&self) -> bool {
        self.verdict == Verdict::Wrong
    }
}

impl fmt::Display for Check {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Wrong => "WRONG",
            Verdict::Unknown => "unknown",
        };
        write!(formatter, "{verdict:<8} {}: {}", self.what, self.found)
    }
}

/// Route table and registry.
pub(super) fn files(text: &str, registry: &Registry, environment: &str) -> Vec<Check> {
    let (environments, mut mistakes) = check::read_environments(text);
    mistakes.extend(registry.mistakes.iter().cloned());
    let is_of_it = |mistake: &String| {
        // What is wrong in another environment is not this one's concern.
        let mut others = environments
            .iter()
            .filter(|other| other.name != environment);
        !others.any(|other| mistake.starts_with(&format!("{}: ", other.name)))
    };
    let disagreements = check::disagreements(&environments, registry);
    mistakes.extend(disagreements.into_iter().filter(is_of_it));
    if mistakes.is_empty() {
        let found = Ok("they agree".to_owned());
        return vec![Check::of("route table and registry", found)];
    }
    let wrong = |mistake| Check::of("route table and registry", Err(mistake));
    mistakes.into_iter().map(wrong).collect()
}

/// Whether the edge answers, so that it can confirm a change. That stops nobody: the change may be what mends it. A table
/// that is newer than the file's was put there from another checkout, and would be taken back with all that it changed.
pub(super) fn edge(at_edge: Result<u32, String>, routes: &RouteTable) -> Check {
    let version = routes.version();
    let (verdict, found) = match at_edge {
        Ok(found) if found == version => (Verdict::Ok, format!("it has version {version}")),
        Ok(found) if found > version => (
            Verdict::Wrong,
            format!(
                "it has version {found}, and this file is of version {version}: bring the file up to date (git pull) first; \
                 --force puts this one in its place, without what was changed there"
            ),
        ),
        Ok(found) => (
            Verdict::Unknown,
            format!("it has version {found}, not {version}"),
        ),
        Err(why) => (Verdict::Unknown, why),
    };
    Check {
        what: "edge".to_owned(),
        verdict,
        found,
    }
}

/// The version of the table by which the edge answers.
pub(super) fn at_edge(
    deployment: &Deployment,
    access: &Access,
    text: &str,
    environment: &str,
) -> Result<u32, String> {
    let routes = edit::routes(text, environment)?;
    let origin = deployment.edge_origin(access)?;
    let version = Smoke::new(&origin, &routes).routes_version();
    version.ok_or_else(|| format!("{origin} does not answer: it could confirm nothing"))
}

/// A region that comes back by its route only: its key at the edge and its services may be gone, and an edge with a route
/// without its key answers nobody at all.
pub(super) fn comes_back(before: &RouteTable, after: &RouteTable) -> Vec<Check> {
    let was_there = |id: &RegionId| before.regions().any(|route| route.region == *id);
    let new = after.regions().filter(|route| !was_there(&route.region));
    new.map(|route| Check {
        what: format!("route of {}", route.region),
        verdict: Verdict::Wrong,
        found: format!(
            "it would come back without its key at the edge, which then answers nobody: smpctl region add {} brings all of it",
            route.region
        ),
    })
    .collect()
}

/// A country that is let through to a region which is paused itself gets no further.
pub(super) fn paused_region(goal: &Goal, routes: &RouteTable, place_flag: &str) -> Option<Check> {
    let country = match goal {
        Goal::Flip(country, _) | Goal::State(Target::Country(country), State::Open) => *country,
        _ => return None,
    };
    let route = routes.find(country)?;
    let region = &route.region;
    (route.state == RouteState::Paused).then(|| Check {
        what: format!("route of {region}"),
        verdict: Verdict::Unknown,
        found: format!(
            "it is paused, and {country} with it: smpctl route{place_flag} open {region} --why WHY --yes"
        ),
    })
}

/// The region to which a goal sends requests that did not go there before.
pub(super) fn targets(
    goal: &Goal,
    routes: &RouteTable,
    deployment: &Deployment,
    registry: &Registry,
    has_served: impl Fn(&RegionId) -> bool,
) -> Vec<Check> {
    let (region, country) = match goal {
        Goal::Flip(country, region) | Goal::AddCountry { country, region } => {
            (region.clone(), Some(*country))
        }
        Goal::State(Target::Region(region), State::Open) => (region.clone(), None),
        Goal::State(Target::Country(country), State::Open) => match routes.find(*country) {
            Some(route) => (route.region.clone(), Some(*country)),
            None => return Vec::new(),
        },
        // Nothing is sent to a region that is new: it begins paused.
        Goal::State(_, State::Paused)
        | Goal::Deploy
        | Goal::AddRegion { .. }
        | Goal::RemoveRegion(_)
        | Goal::Revert(_) => return Vec::new(),
    };
    let mut checks = Vec::new();
    let what = format!("core of {region}");
    match deployment.core_origin(&region, routes) {
        None => checks.push(Check::of(what, Err("nobody says where it is".to_owned()))),
        Some(origin) => {
            let ready = readyz(&origin);
            let served = country.map(|country| match way::served(&ready) {
                Ok(served) if served.contains(&country) => Ok(format!("it serves {country}")),
                Ok(_) => Err(format!(
                    "it does not serve {country} (its CORE_COUNTRIES): it would answer 421, and records would wait"
                )),
                Err(why) => Err(why),
            });
            let is_reached = ready.is_ok();
            checks.push(Check::of(&what, judge_core(ready)));
            if let (Some(served), true) = (served, is_reached) {
                checks.push(Check::of(what, served));
            }
        }
    }
    checks.push(master_data(&region, deployment, registry));
    // Who has no file is named by `files`. What is added begins paused, and counsel may look at it then.
    let opens = !matches!(goal, Goal::AddCountry { .. });
    let signed = registry.find(&region).filter(|_| opens).map(|found| {
        // It served before, and must not wait for anybody.
        let serves_again = country.is_none() && has_served(&region);
        signed_off(found, serves_again, deployment.is_local())
    });
    checks.extend(signed);
    checks
}

/// Counsel's leave. A country that is new to its region, and a region that has never served, need it as it is now; a
/// region that serves again after a pause does not.
fn signed_off(region: &Region, serves_again: bool, is_local: bool) -> Check {
    let judged = sign_off::judge(region, is_local);
    let verdict = match &judged {
        Ok(_) => Verdict::Ok,
        Err(_) if serves_again && region.sign_off.is_some() => Verdict::Unknown,
        Err(_) => Verdict::Wrong,
    };
    Check {
        what: format!("sign-off of {}", region.id),
        verdict,
        found: judged.unwrap_or_else(|mistake| mistake),
    }
}

/// Asks a core how it is.
pub(crate) fn readyz(origin: &str) -> Result<(u16, Value), String> {
    read_json(&agent(PATIENCE), &format!("{origin}/readyz"))
}

/// A replicator's metrics.
pub(crate) fn metrics(origin: &str) -> Result<String, String> {
    infra::edge::read_text(&agent(PATIENCE), &format!("{origin}/metrics"))
}

/// What `/readyz` of a core says.
pub(crate) fn judge_core(ready: Result<(u16, Value), String>) -> Result<String, String> {
    let (status, ready) = ready?;
    let said = |name: &str| {
        text_of(&ready, &format!("/checks/{name}"))
            .unwrap_or("unknown")
            .to_owned()
    };
    let all = format!(
        "database {}, schema {}, master data {}",
        said("database"),
        said("schema"),
        said("master_data")
    );
    match (status, said("master_data").as_str()) {
        (200, "loaded") => Ok(all),
        (200, _) => Err(format!("{all}: see docs/master-data.md")),
        (status, _) => Err(format!("it answers {status}: {all}")),
    }
}

/// Whether a region has the hub's master data, as its replicator compared it last.
fn master_data(region: &RegionId, deployment: &Deployment, registry: &Registry) -> Check {
    let what = format!("master data of {region}");
    let found = registry.find(region);
    if found.is_some_and(|region| region.role == Role::Hub) {
        return Check::of(what, Ok("it is written there".to_owned()));
    }
    let found = found.ok_or_else(|| format!("the registry has no {region}"));
    let judged = found
        .and_then(|region| deployment.replicator_origin(region))
        .and_then(|origin| metrics(&origin))
        .and_then(|metrics| judge_tables(&metrics));
    Check::of(what, judged)
}

/// `replication_table_differs` of a replicator's metrics: 1 where a table is not the hub's.
pub(crate) fn judge_tables(metrics: &str) -> Result<String, String> {
    let page = Page::read(metrics);
    let tables: Vec<_> = page
        .of("replication_table_differs")
        .map(|sample| (sample.label("table"), sample.value > 0.0))
        .collect();
    let differ: Vec<_> = tables
        .iter()
        .filter(|(_, differs)| *differs)
        .map(|(table, _)| *table)
        .collect();
    match (tables.len(), differ.as_slice()) {
        (0, _) => Err("its replicator has compared no table yet".to_owned()),
        (number, []) => Ok(format!("{number} tables are the hub's")),
        (_, differ) => Err(format!(
            "{} differ: see docs/runbook/master-data-table-differs.md",
            differ.join(", ")
        )),
    }
}

/// How many of the last hour's requests would have gone elsewhere. Not knowing it stops nobody.
pub(super) fn last_hour(moved: &mut [Moved], deployment: &Deployment, access: &Access) -> Check {
    let status = deployment
        .edge_client(access)
        .and_then(|client| client.with_patience(EDGE_PATIENCE).status());
    let (verdict, found) = match status {
        Ok(status) => {
            for moved in &mut *moved {
                let mut countries = status.countries.iter();
                let found = countries.find(|known| known.country == moved.country);
                moved.requests_1h = Some(found.map_or(0, |known| known.requests_1h));
            }
            let all: u64 = moved.iter().filter_map(|moved| moved.requests_1h).sum();
            (Verdict::Ok, format!("{all} would have gone elsewhere"))
        }
        Err(why) => (Verdict::Unknown, why),
    };
    Check {
        what: "requests of the last hour".to_owned(),
        verdict,
        found,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_core_is_judged_by_what_it_says_of_itself() {
        let ready = |master_data: &str| json!({"status": "ready", "checks": {"database": "ok", "schema": "ok", "master_data": master_data}});
        assert_eq!(
            judge_core(Ok((200, ready("loaded")))).unwrap(),
            "database ok, schema ok, master data loaded"
        );
        assert!(
            judge_core(Ok((200, ready("absent"))))
                .unwrap_err()
                .contains("master data absent")
        );
        let behind =
            json!({"checks": {"database": "ok", "schema": "behind", "master_data": "loaded"}});
        assert!(
            judge_core(Ok((503, behind)))
                .unwrap_err()
                .starts_with("it answers 503: database ok, schema behind")
        );
        assert_eq!(
            judge_core(Err("no answer".to_owned())).unwrap_err(),
            "no answer"
        );
    }

    #[test]
    fn tables_are_the_hubs_if_each_was_compared_and_none_differs() {
        let metrics = |tax: u8| {
            format!(
                "# TYPE replication_table_differs gauge\n\
                 replication_table_differs{{region=\"smp-china\",table=\"countries\"}} 0\n\
                 replication_table_differs{{region=\"smp-china\",table=\"tax_configs\"}} {tax}\n"
            )
        };
        assert_eq!(judge_tables(&metrics(0)).unwrap(), "2 tables are the hub's");
        assert!(
            judge_tables(&metrics(1))
                .unwrap_err()
                .starts_with("tax_configs differ")
        );
        assert!(judge_tables("").unwrap_err().contains("no table yet"));
    }
}
