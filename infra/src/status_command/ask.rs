//! Asks edge, cores and replicators, all at once: who hangs holds up nobody else, and for no longer than the limit.

use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use infra::edge::{agent, in_few_words};
use infra::status::{Answer, Answers, Facts, RegionAnswers};
use protocol::RegionId;
use protocol::hop::ROUTE_VERSION;
use serde_json::Value;

use crate::edge_command::Access;
use crate::route_command::Deployment;

/// How long anybody may take. A core looks at its database for two seconds at most.
const LIMIT: Duration = Duration::from_secs(3);

/// Ends when all have answered, or the limit is reached: a round that hangs leaves nothing behind for the next one.
pub(super) fn everybody(facts: &Facts<'_>, deployment: &Deployment, access: &Access) -> Answers {
    thread::scope(|scope| {
        let version = scope.spawn(|| version(deployment, access));
        let edge = scope.spawn(|| match deployment.edge_client(access) {
            Ok(client) => client.with_patience(LIMIT).status().into(),
            Err(why) => Answer::Unasked(why),
        });
        let regions = facts.regions().into_iter().map(|region| {
            let core = deployment.core_origin(&region, facts.routes);
            let replicator = replicator_origin(&region, facts, deployment);
            let ready = ask(core.clone(), "/readyz");
            let metrics = ask(core, "/metrics");
            let of_replicator = ask(replicator, "/metrics");
            let ready = scope.spawn(move || match ready() {
                Answer::Given((status, body)) => {
                    Answer::Given((status, serde_json::from_str(&body).unwrap_or_default()))
                }
                Answer::Silent(why) => Answer::<(u16, Value)>::Silent(why),
                Answer::Unasked(why) => Answer::Unasked(why),
            });
            let metrics = scope.spawn(move || page(metrics()));
            let of_replicator = scope.spawn(move || page(of_replicator()));
            (region, ready, metrics, of_replicator)
        });
        // All are asked before the first one is waited for.
        let regions: Vec<_> = regions.collect();
        let regions = regions
            .into_iter()
            .map(|(region, ready, core, replicator)| RegionAnswers {
                region,
                ready: joined(ready),
                core: joined(core),
                replicator: joined(replicator),
            });
        Answers {
            regions: regions.collect(),
            version: joined(version),
            edge: joined(edge),
        }
    })
}

fn joined<T>(asked: ScopedJoinHandle<'_, Answer<T>>) -> Answer<T> {
    asked
        .join()
        .unwrap_or_else(|_| Answer::Silent("asking it failed in smpctl itself".to_owned()))
}

fn replicator_origin(
    region: &RegionId,
    facts: &Facts<'_>,
    deployment: &Deployment,
) -> Option<String> {
    deployment
        .replicator_origin(facts.registry.find(region)?)
        .ok()
}

/// A question for a page, whatever its status is.
fn ask(origin: Option<String>, path: &'static str) -> impl FnOnce() -> Answer<(u16, String)> {
    move || {
        let Some(origin) = origin else {
            return Answer::Unasked("nobody says where it is".to_owned());
        };
        let asked = || -> Result<_, ureq::Error> {
            let mut answer = agent(LIMIT).get(format!("{origin}{path}")).call()?;
            let status = answer.status().as_u16();
            Ok((status, answer.body_mut().read_to_string()?))
        };
        asked().map_err(|error| in_few_words(&error)).into()
    }
}

/// A page that is only one with status 200.
fn page(answer: Answer<(u16, String)>) -> Answer<String> {
    match answer {
        Answer::Given((200, text)) => Answer::Given(text),
        Answer::Given((status, _)) => Answer::Silent(format!("it answers {status}")),
        Answer::Silent(why) => Answer::Silent(why),
        Answer::Unasked(why) => Answer::Unasked(why),
    }
}

fn version(deployment: &Deployment, access: &Access) -> Answer<u32> {
    let origin = match deployment.edge_origin(access) {
        Ok(origin) => origin,
        Err(why) => return Answer::Unasked(why),
    };
    let url = format!("{}/healthz", origin.trim_end_matches('/'));
    let asked = || -> Result<u32, String> {
        let answer = agent(LIMIT).get(url).call();
        let answer = answer.map_err(|error| in_few_words(&error))?;
        let version = answer.headers().get(ROUTE_VERSION);
        let version = version.and_then(|version| version.to_str().ok()?.parse().ok());
        match (answer.status().as_u16(), version) {
            (200, Some(version)) => Ok(version),
            (status, _) => Err(format!("it answers {status}, and names no routes")),
        }
    };
    asked().into()
}
