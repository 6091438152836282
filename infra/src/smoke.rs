//! Whether a deployment does what its route table says: asked from outside, as a sender would. Changes nothing,
//! but for the one record that is sent if that is wanted.

use std::time::{Duration, Instant};

use protocol::Country;
use protocol::hop::ROUTE_VERSION;
use protocol::routes::{Route, RouteState, RouteTable, Spool};
use ring::hmac;
use serde::Serialize;
use serde_json::{Value, json};

use crate::edge::{agent, in_few_words};
use crate::hex;

/// Longer than the edge gives a core.
const PATIENCE: Duration = Duration::from_secs(15);

/// The edge says by itself that it is alive, without asking anybody.
const ALIVE_PATIENCE: Duration = Duration::from_secs(5);

/// What was asked, and whether the answer is the right one.
#[derive(Debug, Serialize)]
pub struct Step {
    /// What was asked.
    pub asked: String,
    /// What should have come.
    pub expected: String,
    /// What came.
    pub found: String,
    /// Whether that is it.
    pub is_right: bool,
    /// How long it took.
    pub milliseconds: u64,
}

/// A connection by which one record may be sent.
pub struct Lead {
    /// Its webhook token.
    pub token: String,
    /// Its secret.
    pub secret: String,
}

/// A deployment, from outside.
pub struct Smoke<'r> {
    origin: String,
    routes: &'r RouteTable,
    agent: ureq::Agent,
}

impl<'r> Smoke<'r> {
    /// Of the edge at an origin, whose routes should be these.
    #[must_use]
    pub fn new(origin: &str, routes: &'r RouteTable) -> Self {
        Self {
            origin: origin.trim_end_matches('/').to_owned(),
            routes,
            agent: agent(PATIENCE),
        }
    }

    /// The edge itself, and each country's way to its core.
    #[must_use]
    pub fn routes(&self) -> Vec<Step> {
        let version = self.routes.version().to_string();
        let mut steps = vec![
            self.step("the edge", format!("200, routes {version}"), |smoke| {
                let answer = smoke
                    .agent
                    .get(format!("{}/healthz", smoke.origin))
                    .call()?;
                let found = answer.headers().get(ROUTE_VERSION);
                let found = found.and_then(|version| version.to_str().ok());
                let status = answer.status().as_u16();
                Ok(format!("{status}, routes {}", found.unwrap_or("unknown")))
            }),
        ];
        let countries = self.routes.countries();
        steps.extend(countries.filter_map(|(country, _)| self.country(country)));
        steps.push(self.step(
            "an unknown token",
            "404 unknown_token".to_owned(),
            |smoke| {
                let url = format!("{}/api/pancake/record/smoke", smoke.origin);
                status_of(smoke.agent.post(url).send("{}"))
            },
        ));
        steps
    }

    /// The version of the route table by which the edge answers; none if it does not.
    #[must_use]
    pub fn routes_version(&self) -> Option<u32> {
        let answer = self
            .agent
            .get(format!("{}/healthz", self.origin))
            .config()
            .timeout_global(Some(ALIVE_PATIENCE))
            .build()
            .call()
            .ok()?;
        answer
            .headers()
            .get(ROUTE_VERSION)?
            .to_str()
            .ok()?
            .parse()
            .ok()
    }

    /// A country's way to its core; none if it has no region.
    #[must_use]
    pub fn country(&self, country: Country) -> Option<Step> {
        Some(self.way(country, self.routes.find(country)?))
    }

    fn way(&self, country: Country, route: &Route) -> Step {
        let expected = match self.routes.state(country) {
            RouteState::Open => format!("200 {}", route.region),
            RouteState::Paused => "503 unavailable".to_owned(),
        };
        self.step(&format!("{country}'s core"), expected, |smoke| {
            let url = format!("{}/api/region", smoke.origin);
            let request = smoke
                .agent
                .get(url)
                .header("x-country-code", country.as_str());
            let mut answer = request.call()?;
            let status = answer.status().as_u16();
            let body: Value = read_json(&mut answer);
            let said = text_in(&body, "region").or(text_in(&body, "status"));
            Ok(format!("{status} {}", said.unwrap_or_default()))
        })
    }

    /// Sends one signed record, twice. It has neither name nor number of anybody.
    #[must_use]
    pub fn lead(&self, lead: &Lead, (id, now): (&str, u64)) -> Vec<Step> {
        let body = json!({"id": id, "name": "SMP smoke test"}).to_string();
        let is_paused = |route: &Route| route.state == RouteState::Paused;
        // Which country the token is of, only the edge knows: any of these is right, if a region has it.
        let may_wait = self
            .routes
            .regions()
            .any(|route| is_paused(route) && route.spool != Spool::Off);
        let or_queued = if may_wait { " or 200 queued" } else { "" };
        ["accepted", "duplicate"]
            .map(|status| {
                let expected = format!("200 {status}{or_queued}");
                self.step("a signed record", expected, |smoke| {
                    smoke.post(lead, &body, now)
                })
            })
            .into()
    }

    fn post(&self, lead: &Lead, body: &str, now: u64) -> Result<String, ureq::Error> {
        let timestamp = now.to_string();
        let key = hmac::Key::new(hmac::HMAC_SHA256, lead.secret.as_bytes());
        let tag = hmac::sign(&key, format!("{timestamp}.{body}").as_bytes());
        let url = format!("{}/api/pancake/record/{}", self.origin, lead.token);
        let request = self
            .agent
            .post(url)
            .header("x-pancake-timestamp", timestamp)
            .header("x-pancake-signature", hex(tag.as_ref()));
        status_of(request.send(body))
    }

    fn step(
        &self,
        asked: &str,
        expected: String,
        ask: impl FnOnce(&Self) -> Result<String, ureq::Error>,
    ) -> Step {
        let started = Instant::now();
        let found = ask(self).unwrap_or_else(|error| in_few_words(&error));
        Step {
            asked: asked.to_owned(),
            is_right: expected.split(" or ").any(|right| right == found),
            expected,
            found,
            milliseconds: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

fn status_of(
    answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<String, ureq::Error> {
    let mut answer = answer?;
    let body = read_json(&mut answer);
    let said = text_in(&body, "status").unwrap_or_default();
    Ok(format!("{} {said}", answer.status().as_u16()))
}

fn text_in<'b>(body: &'b Value, name: &str) -> Option<&'b str> {
    body.get(name)?.as_str()
}

fn read_json(answer: &mut ureq::http::Response<ureq::Body>) -> Value {
    let body = answer.body_mut().read_to_vec().unwrap_or_default();
    serde_json::from_slice(&body).unwrap_or_default()
}

/// The steps as a table.
#[must_use]
pub fn table(steps: &[Step]) -> String {
    let mut rows = vec![format!(
        "{:<7} {:<20} {:<34} {:<34} {:>8}",
        "", "ASKED", "EXPECTED", "FOUND", "TIME"
    )];
    rows.extend(steps.iter().map(|step| {
        format!(
            "{:<7} {:<20} {:<34} {:<34} {:>5} ms",
            if step.is_right { "right" } else { "WRONG" },
            step.asked,
            step.expected,
            step.found,
            step.milliseconds
        )
    }));
    rows.push(match steps.iter().filter(|step| !step.is_right).count() {
        0 => "all as it should be".to_owned(),
        wrong => format!("{wrong} of {} are wrong", steps.len()),
    });
    rows.join("\n") + "\n"
}
