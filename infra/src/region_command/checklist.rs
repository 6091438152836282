//! What a region needs before it may serve, each seen in the files and services themselves: nothing is remembered, so
//! whatever was interrupted goes on.

use std::fmt;

use infra::connections;
use infra::edge::ProbeAnswer;
use infra::exposition::Page;
use infra::registry::{Role, sign_off};
use infra::render::State as FileState;
use infra::secrets as secrets_of;
use infra::smoke::Smoke;
use protocol::Country;
use protocol::routes::{RouteState, Spool};
use serde::Serialize;
use serde_json::{Value, json};

use super::site::Site;
use crate::route_command::{self, Deployment};

/// What is looked at, in the order in which it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Item {
    /// The region's file, and the registry with it.
    File,
    /// What is rendered of it.
    Rendered,
    /// Its secrets, and what edge and hub know of them.
    Secrets,
    /// The core and, in a spoke, the replicator.
    Services,
    /// Whether the hub asks for it.
    Hub,
    /// Whether master data is the hub's.
    MasterData,
    /// Its route, in the file and in force.
    Route,
    /// Whether an event gets through to it.
    Probe,
    /// Whether its database is backed up.
    Backup,
    /// Whether each country has somebody who sends.
    Connections,
    /// Counsel's leave.
    SignOff,
    /// Whether it serves.
    Open,
}

impl Item {
    pub(super) const ALL: [Self; 12] = [
        Self::File,
        Self::Rendered,
        Self::Secrets,
        Self::Services,
        Self::Hub,
        Self::MasterData,
        Self::Route,
        Self::Probe,
        Self::Backup,
        Self::Connections,
        Self::SignOff,
        Self::Open,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::File => "region's file",
            Self::Rendered => "rendered files",
            Self::Secrets => "secrets",
            Self::Services => "core, replicator",
            Self::Hub => "known to the hub",
            Self::MasterData => "master data",
            Self::Route => "route",
            Self::Probe => "event through the edge",
            Self::Backup => "backup",
            Self::Connections => "connections",
            Self::SignOff => "sign-off",
            Self::Open => "open",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Ok,
    Missing,
    /// It cannot be seen from here.
    Unknown,
}

/// A line of the checklist.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) item: Item,
    pub(super) state: State,
    pub(super) found: String,
    /// The command, or the page, that mends it.
    pub(super) mend: Option<String>,
}

impl Finding {
    pub(super) fn is_ok(&self) -> bool {
        self.state == State::Ok
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Ok => "ok",
            State::Missing => "MISSING",
            State::Unknown => "unknown",
        };
        write!(formatter, "{state:<8} {}: {}", self.item.name(), self.found)?;
        match &self.mend {
            Some(mend) => write!(formatter, "\n         → {mend}"),
            None => Ok(()),
        }
    }
}

/// What was seen: well, missing, or not to be seen.
enum Seen {
    Well(String),
    Lacks(String),
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

/// All of the checklist.
pub(super) fn all(site: &Site<'_>) -> Vec<Finding> {
    let first = look(site, Item::File);
    if !first.is_ok() {
        // Of a region without a file nothing else can be said.
        return vec![first];
    }
    let rest = Item::ALL.into_iter().skip(1).map(|item| look(site, item));
    std::iter::once(first).chain(rest).collect()
}

/// The lines, for people.
pub(super) fn lines<'f>(findings: impl IntoIterator<Item = &'f Finding>) -> String {
    let lines = findings.into_iter().map(ToString::to_string);
    lines.flat_map(|line| [line, "\n".to_owned()]).collect()
}

/// One line of it.
pub(super) fn look(site: &Site<'_>, item: Item) -> Finding {
    let id = &site.id;
    let local = site.place().flag();
    let add = format!("smpctl region add {id}{local} --yes");
    let (seen, mend) = match item {
        Item::File => (file(site).into(), {
            if site.registry().lacks(id) {
                format!("smpctl region add {id}{local}")
            } else {
                "mend what it names: smpctl check".to_owned()
            }
        }),
        Item::Rendered => (rendered(site).into(), "smpctl render".to_owned()),
        Item::Secrets => (secrets(site), add),
        Item::Services => (services(site).into(), add),
        Item::Hub => (hub(site).into(), add),
        Item::MasterData => (
            master_data(site).into(),
            "docs/runbook/master-data-table-differs.md".to_owned(),
        ),
        Item::Route => (route(site), add),
        Item::Probe => (
            probe(site),
            format!("{add}, once the lines above are mended"),
        ),
        Item::Backup => (
            backup(site),
            format!(
                "kubernetes.postgres.backup_store in infra/regions/{id}.toml, or smpctl region backup {id}"
            ),
        ),
        Item::Connections => (
            connections(site),
            "smpctl connection add, for each of them".to_owned(),
        ),
        Item::SignOff => (
            site.region()
                .and_then(|region| sign_off::judge(&region, site.place().local().is_some()))
                .into(),
            format!("smpctl region sign-off {id} --by NAME --reference WHERE --yes"),
        ),
        Item::Open => (
            open(site),
            format!("smpctl region open {id}{local} --why WHY --yes"),
        ),
    };
    let (state, found, mend) = match seen {
        Seen::Well(found) => (State::Ok, found, None),
        Seen::Lacks(found) => (State::Missing, found, Some(mend)),
        Seen::Unseen(found) => (State::Unknown, found, None),
    };
    Finding {
        item,
        state,
        found,
        mend,
    }
}

fn file(site: &Site<'_>) -> Result<String, String> {
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

fn rendered(site: &Site<'_>) -> Result<String, String> {
    let files = site.rendered()?;
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

fn secrets(site: &Site<'_>) -> Seen {
    if let Err(unknown) = site.secrets() {
        return Seen::Unseen(unknown);
    }
    match site.lacking_secrets() {
        Ok(lacking) if lacking.is_empty() => {
            Seen::Well("all are there, at the edge's and the hub's too".to_owned())
        }
        Ok(lacking) => Seen::Lacks(lacking.join(", ")),
        Err(mistake) => Seen::Lacks(mistake),
    }
}

fn services(site: &Site<'_>) -> Result<String, String> {
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
        (None, false) => site.origin(None)?.to_string(),
    };
    let (status, ready) = route_command::readyz(&origin)?;
    if let Some(found) = ready.get("region").and_then(Value::as_str)
        && found != site.id.as_str()
    {
        return Err(format!("{origin} is the core of {found}"));
    }
    let well = route_command::judge_core(Ok((status, ready.clone())))?;
    let served: Vec<_> = ready
        .get("countries")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let mut countries = region.countries.iter();
    if let Some(country) = countries.find(|country| !served.contains(&country.as_str())) {
        return Err(format!(
            "the core does not serve {country} yet (its CORE_COUNTRIES): apply the region's services"
        ));
    }
    Ok(well)
}

/// The replicator's metrics, of a spoke.
fn metrics(site: &Site<'_>, deployment: &Deployment) -> Result<String, String> {
    let region = site.region()?;
    let origin = deployment.replicator_origin(&region)?;
    route_command::metrics(&origin)
}

/// How long the hub may be silent: it asks once a second or so.
const SILENCE_SECS: f64 = 60.0;

fn hub(site: &Site<'_>) -> Result<String, String> {
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

fn master_data(site: &Site<'_>) -> Result<String, String> {
    if site.region()?.role == Role::Hub {
        return Ok("it is written there".to_owned());
    }
    route_command::judge_tables(&metrics(site, &site.deployment()?)?)
}

fn route(site: &Site<'_>) -> Seen {
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
        if let (Some(Spool::Sealed(key)), Ok(core)) =
            (route.map(|route| &route.spool), site.core_env())
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
            Some(found) => Seen::Lacks(format!(
                "version {version} has it, and the edge has version {found}"
            )),
            None => Seen::Lacks(format!("the edge at {origin} does not answer")),
        })
    };
    seen().unwrap_or_else(Seen::Lacks)
}

/// The same record whenever it is asked: it is kept once, and a duplicate from then on.
fn probe(site: &Site<'_>) -> Seen {
    let region = match site.region() {
        Ok(region) => region,
        Err(mistake) => return Seen::Lacks(mistake),
    };
    let client = match site
        .deployment()
        .and_then(|deployment| deployment.edge_client(site.place().access()))
    {
        Ok(client) => client,
        Err(why) => return Seen::Unseen(why),
    };
    let record = json!({"probe": format!("region {}", site.id)});
    let mut said = Vec::new();
    for country in &region.countries {
        match client.probe(*country, &record) {
            Ok(answer) => match judge_probe(&answer) {
                Ok(found) => said.push(format!("{country} {found}")),
                Err(found) => return Seen::Lacks(format!("{country}: {found}")),
            },
            Err(found) => return Seen::Lacks(format!("{country}: {found}")),
        }
    }
    Seen::Well(said.join(", "))
}

fn backup(site: &Site<'_>) -> Seen {
    match site.region().map(|region| region.kubernetes.postgres) {
        Ok(Some(postgres)) => match postgres.backup_store {
            Some(store) => Seen::Well(format!("daily, into the ObjectStore {store} (docs/backup.md)")),
            None => Seen::Lacks("its database has no backup_store".to_owned()),
        },
        Ok(None) => Seen::Unseen("the provider runs the database: see that it keeps backups and its log (docs/backup.md)".to_owned()),
        Err(mistake) => Seen::Lacks(mistake),
    }
}

fn connections(site: &Site<'_>) -> Seen {
    let known = site
        .deployment()
        .and_then(|deployment| deployment.edge_client(site.place().access()))
        .and_then(|client| client.connections());
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

fn open(site: &Site<'_>) -> Seen {
    let seen = || -> Result<Seen, String> {
        let (region, routes) = (site.region()?, site.routes()?);
        let mut countries = region.countries.iter();
        let paused = countries.find(|country| {
            routes.find(**country).is_none() || routes.state(**country) != RouteState::Open
        });
        Ok(match paused {
            Some(country) => Seen::Lacks(format!("{country} is not open")),
            None => Seen::Well("its route is open".to_owned()),
        })
    };
    seen().unwrap_or_else(Seen::Lacks)
}

/// Whether the core has it.
fn judge_probe(answer: &ProbeAnswer) -> Result<String, String> {
    if answer.is_kept() {
        Ok(answer.summary())
    } else {
        Err(answer.summary())
    }
}
