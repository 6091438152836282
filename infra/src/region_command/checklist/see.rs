//! How each line of the checklist is seen.

use std::time::Duration;

use infra::connections;
use infra::country::way;
use infra::edge;
use infra::exposition::Page;
use infra::registry::Role;
use infra::render::State as FileState;
use infra::route::catch_up;
use infra::secrets as secrets_of;
use infra::smoke::Smoke;
use protocol::Country;
use protocol::routes::{RouteState, Spool};
use serde_json::{Value, json};

use crate::region_command::site::{Lacking, Site};
use crate::route_command::{self, Deployment};

/// What was seen.
pub(super) enum Seen {
    Well(String),
    Lacks(String),
    /// Missing, and something else mends it.
    Otherwise(String, String),
    Unseen(String),
}

impl From<Result<String, String>> for Seen {
    fn from(result: Result<String, String>) -> Self {
        match result {
            Ok(found) => Self::Well(found),
            Err(found) => Self::Lacks(found),
        }
    }
}

pub(super) fn file(site: &Site<'_>) -> Result<String, String> {
    let region = site.region()?;
    let registry = site.registry();
    if !registry.mistakes.is_empty() {
        return Err(registry.mistakes.join("; "));
    }
    let countries: Vec<_> = region.countries.iter().map(Country::as_str).collect();
    Ok(format!(
        "{} in {}, {}; {}",
        countries.join(", "),
        region.location.place,
        region.location.provider,
        region.jurisdiction.laws.join(", ")
    ))
}

pub(super) fn rendered(site: &Site<'_>) -> Result<String, String> {
    let files = site.compare(&site.registry())?;
    let differ: Vec<_> = files
        .iter()
        .filter(|file| file.state != FileState::Same)
        .map(|file| format!("{} {}", file.file, file.state.as_str()))
        .collect();
    match differ.as_slice() {
        [] => Ok(format!("{} files are as the registry says", files.len())),
        [first, ..] => Err(format!(
            "{} of {} differ: {first} …",
            differ.len(),
            files.len()
        )),
    }
}

pub(super) fn secrets(site: &Site<'_>) -> Seen {
    if let Err(unknown) = site.secrets() {
        return Seen::Unseen(unknown);
    }
    match site.lacking_secrets() {
        Ok(lacking) if lacking.is_empty() => {
            Seen::Well("all are there, at the edge's and the hub's too".to_owned())
        }
        Ok(lacking) => {
            let texts: Vec<_> = lacking.iter().map(ToString::to_string).collect();
            if lacking.iter().all(Lacking::can_be_made) {
                Seen::Lacks(texts.join(", "))
            } else {
                Seen::Otherwise(texts.join(", "), BRING_BACK.to_owned())
            }
        }
        Err(mistake) => Seen::Otherwise(mistake, BRING_BACK.to_owned()),
    }
}

const BRING_BACK: &str = "mend that line, or bring the file back from where your secrets are backed up (docs/deploy.md, \"Make the secrets\")";

pub(super) fn services(site: &Site<'_>) -> Result<String, String> {
    let region = site.region()?;
    let deployment = site.deployment()?;
    let origin = match site.routes() {
        Ok(routes) => deployment.core_origin(&site.id, &routes),
        Err(_) => None,
    };
    let origin = match (origin, deployment.is_local()) {
        (Some(origin), _) => origin,
        (None, true) => return Err(format!("no core of {} runs here", site.id)),
        // Before there is a route, the core is where the route will lead.
        (None, false) => site.origin()?.to_string(),
    };
    let ready = route_command::readyz(&origin);
    if let Ok((_, ready)) = &ready
        && let Some(found) = ready.get("region").and_then(Value::as_str)
        && found != site.id.as_str()
    {
        return Err(format!("{origin} is the core of {found}"));
    }
    let well = route_command::judge_core(ready.clone())?;
    let served = way::served(&ready)?;
    match region
        .countries
        .iter()
        .find(|country| !served.contains(country))
    {
        None => Ok(well),
        Some(country) => Err(format!(
            "the core does not serve {country} yet (its CORE_COUNTRIES): apply the region's services"
        )),
    }
}

/// The replicator's metrics, of a spoke.
fn metrics(site: &Site<'_>, deployment: &Deployment) -> Result<String, String> {
    let region = site.region()?;
    let origin = deployment.replicator_origin(&region)?;
    route_command::metrics(&origin)
}

/// How long the hub may be silent: it asks once a second or so.
const SILENCE_SECS: f64 = 60.0;

pub(super) fn hub(site: &Site<'_>) -> Result<String, String> {
    if site.region()?.role == Role::Hub {
        return Ok("it is the hub".to_owned());
    }
    let metrics = metrics(site, &site.deployment()?)?;
    let asked = Page::read(&metrics).value("replication_asked_seconds");
    match asked {
        None => Err(
            "the hub has not asked how far it is: its replicator does not know it yet".to_owned(),
        ),
        Some(secs) if secs > SILENCE_SECS => {
            Err(format!("the hub asked {secs:.0} s ago, and not since"))
        }
        Some(secs) => Ok(format!("the hub asked {secs:.1} s ago")),
    }
}

pub(super) fn master_data(site: &Site<'_>) -> Result<String, String> {
    if site.region()?.role == Role::Hub {
        return Ok("it is written there".to_owned());
    }
    route_command::judge_tables(&metrics(site, &site.deployment()?)?)
}

pub(super) fn route(site: &Site<'_>) -> Seen {
    let seen = || -> Result<Seen, String> {
        let (region, routes) = (site.region()?, site.routes()?);
        if !routes.regions().any(|route| route.region == site.id) {
            return Ok(Seen::Lacks(format!(
                "{} has no route to it",
                site.place().wrangler().display()
            )));
        }
        let elsewhere: Vec<_> = region
            .countries
            .iter()
            .filter(|country| {
                routes
                    .find(**country)
                    .is_none_or(|route| route.region != site.id)
            })
            .map(Country::as_str)
            .collect();
        if !elsewhere.is_empty() {
            return Ok(Seen::Lacks(format!(
                "{} do not go there",
                elsewhere.join(", ")
            )));
        }
        let route = routes.regions().find(|route| route.region == site.id);
        // On this machine the edge seals to what the platform gives it, whatever the file says.
        let sealed_to = route
            .filter(|_| site.place().local().is_none())
            .map(|route| &route.spool);
        if let (Some(Spool::Sealed(key)), Ok(core)) = (sealed_to, site.core_env())
            && !secrets_of::opens(&core, key)?
        {
            return Ok(Seen::Lacks(format!(
                "its records are sealed to {}, which its core.env does not open: bring the old core.env back, or smpctl \
                 rotate sealing",
                key.keyid()
            )));
        }
        let version = routes.version();
        let origin = match site.deployment()?.edge_origin(site.place().access()) {
            Ok(origin) => origin,
            Err(why) => {
                return Ok(Seen::Unseen(format!(
                    "version {version} has it; whether the edge does: {why}"
                )));
            }
        };
        Ok(match Smoke::new(&origin, &routes).routes_version() {
            Some(found) if found == version => {
                Seen::Well(format!("version {version} has it and is in force"))
            }
            Some(found) => Seen::Otherwise(
                format!("version {version} has it, and the edge has version {found}"),
                catch_up(found, version, &site.place().flag()),
            ),
            None => Seen::Otherwise(
                format!("the edge at {origin} does not answer"),
                match site.place().local() {
                    Some(run) => format!(
                        "platform region edge --run {run} --secrets {run}/secrets",
                        run = run.display()
                    ),
                    None => "docs/runbook/edge-metrics-gone.md".to_owned(),
                },
            ),
        })
    };
    seen().unwrap_or_else(Seen::Lacks)
}

/// How long the edge may take: it asks a core at most.
const EDGE_PATIENCE: Duration = Duration::from_secs(10);

fn edge_client(site: &Site<'_>) -> Result<edge::Client, String> {
    let client = site.deployment()?.edge_client(site.place().access())?;
    Ok(client.with_patience(EDGE_PATIENCE))
}

/// The same record whenever it is asked: it is kept once, and a duplicate from then on.
pub(super) fn probe(site: &Site<'_>) -> Seen {
    let region = match site.region() {
        Ok(region) => region,
        Err(mistake) => return Seen::Lacks(mistake),
    };
    let client = match edge_client(site) {
        Ok(client) => client,
        Err(why) => return Seen::Unseen(why),
    };
    let record = json!({"probe": format!("region {}", site.id)});
    let mut said = Vec::new();
    for country in &region.countries {
        let answer = client.probe(*country, &record);
        match answer.and_then(|answer| answer.judge()) {
            Ok(found) => said.push(format!("{country} {found}")),
            Err(found) => return Seen::Lacks(format!("{country}: {found}")),
        }
    }
    Seen::Well(said.join(", "))
}

pub(super) fn backup(site: &Site<'_>) -> Seen {
    match site.region().map(|region| region.kubernetes.postgres) {
        Ok(Some(postgres)) => match postgres.backup_store {
            Some(store) => Seen::Well(format!("daily, into the ObjectStore {store} (docs/backup.md)")),
            None => Seen::Lacks("its database has no backup_store".to_owned()),
        },
        Ok(None) => Seen::Unseen("the provider runs the database: see that it keeps backups and its log (docs/backup.md)".to_owned()),
        Err(mistake) => Seen::Lacks(mistake),
    }
}

pub(super) fn connections(site: &Site<'_>) -> Seen {
    let known = edge_client(site).and_then(|client| client.connections());
    let (known, region): (connections::List, _) = match (known, site.region()) {
        (Ok(known), Ok(region)) => (known, region),
        (Err(why), _) => return Seen::Unseen(why),
        (_, Err(mistake)) => return Seen::Lacks(mistake),
    };
    let without: Vec<_> = region
        .countries
        .iter()
        .filter(|country| {
            !known
                .connections
                .iter()
                .any(|connection| connection.country == country.as_str())
        })
        .map(Country::as_str)
        .collect();
    if without.is_empty() {
        Seen::Well("each country has one".to_owned())
    } else {
        Seen::Lacks(format!(
            "{} have none: nobody sends for them",
            without.join(", ")
        ))
    }
}

pub(super) fn open(site: &Site<'_>) -> Seen {
    let seen = || -> Result<Seen, String> {
        let (region, routes) = (site.region()?, site.routes()?);
        let mut countries = region.countries.clone();
        countries.retain(|country| routes.state(*country) != RouteState::Open);
        let paused: Vec<_> = countries.iter().map(Country::as_str).collect();
        Ok(match paused.as_slice() {
            [] => Seen::Well("its route is open".to_owned()),
            [country] => Seen::Lacks(format!("{country} is not open")),
            paused => Seen::Lacks(format!("{} are not open", paused.join(", "))),
        })
    };
    seen().unwrap_or_else(Seen::Lacks)
}
