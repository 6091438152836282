//! What a region needs before it may serve, each seen in the files and services themselves: nothing is remembered, so
//! whatever was interrupted goes on.

mod see;

use std::fmt;

use infra::registry::{Role, sign_off};
use protocol::routes::RouteState;
use serde::Serialize;

use super::site::Site;
use see::Seen;

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
    let is_hub = site.region().is_ok_and(|region| region.role == Role::Hub);
    let add = if is_hub {
        // It is there before any other region is, by hand.
        "docs/deploy.md and docs/kubernetes.md: the hub is put in force by hand".to_owned()
    } else {
        format!("smpctl region add {id}{local} --yes")
    };
    let (seen, mend) = match item {
        Item::File => (see::file(site).into(), {
            if site.registry().lacks(id) {
                format!("smpctl region add {id}{local}")
            } else {
                "mend what it names: smpctl check".to_owned()
            }
        }),
        Item::Rendered => (see::rendered(site).into(), "smpctl render".to_owned()),
        Item::Secrets => (see::secrets(site), add),
        Item::Services => (see::services(site).into(), add),
        Item::Hub => (see::hub(site).into(), add),
        Item::MasterData => (
            see::master_data(site).into(),
            "docs/runbook/master-data-table-differs.md".to_owned(),
        ),
        Item::Route => (see::route(site), add),
        Item::Probe => (
            see::probe(site),
            format!("{add}, once the lines above are mended"),
        ),
        Item::Backup => (
            see::backup(site),
            format!(
                "kubernetes.postgres.backup_store in infra/regions/{id}.toml, or smpctl region backup {id}"
            ),
        ),
        Item::Connections => (
            see::connections(site),
            "smpctl connection add ID --country COUNTRY --token FILE, for each of them".to_owned(),
        ),
        Item::SignOff => (
            site.region()
                .and_then(|region| sign_off::judge(&region, site.place().local().is_some()))
                .into(),
            format!("smpctl region sign-off {id} --by NAME --reference WHERE --yes"),
        ),
        Item::Open => (
            see::open(site),
            match site.route_state() {
                // What a country is paused by itself for is known to whoever paused it.
                Ok(Some(RouteState::Open)) => {
                    format!("smpctl route open COUNTRY{local} --why WHY --yes, for each of them")
                }
                _ => format!("smpctl region open {id}{local} --why WHY --yes"),
            },
        ),
    };
    let (state, found, mend) = match seen {
        Seen::Well(found) => (State::Ok, found, None),
        Seen::Lacks(found) => (State::Missing, found, Some(mend)),
        Seen::Otherwise(found, mend) => (State::Missing, found, Some(mend)),
        Seen::Unseen(found) => (State::Unknown, found, None),
    };
    Finding {
        item,
        state,
        found,
        mend,
    }
}
