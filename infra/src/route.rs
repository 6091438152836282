//! Changes of the route table: what is asked for, the text of `wrangler.toml` that says it, and what was changed before.
//!
//! - [`Change`]: one value of the table, before and after;
//! - [`edit`]: `wrangler.toml` as text; comments and order stay;
//! - [`history`]: who changed what, when and why, and what may be taken back;
//! - [`local`]: the table that the platform on this machine runs by;
//! - [`running`]: the file that holds it.
//!
//! Pure but for the last: `smpctl route` reads and writes the files, deploys, and asks the edge.

mod change;
pub mod edit;
pub mod history;
pub mod local;
mod membership;
mod moved;
pub mod running;

use std::fmt;
use std::str::FromStr;

use protocol::routes::{Origin, RouteState, RouteTable};
use protocol::sealed::SealingKey;
use protocol::{Country, RegionId};
use serde::{Deserialize, Serialize};

pub use change::{Change, RegionRoute, Way};
pub use moved::{Moved, moved, touched};

use crate::registry::Spool;

/// A country's or a region's route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One country, wherever it is.
    Country(Country),
    /// A region with all its countries.
    Region(RegionId),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (Country::parse(text), RegionId::parse(text)) {
            (Ok(country), _) if country.as_str() == text => Ok(Self::Country(country)),
            (_, Ok(region)) if text.len() > 2 => Ok(Self::Region(region)),
            _ => Err(format!(
                "{text}: a country in capitals (VN) or a region's id (smp-asia) is expected"
            )),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Country(country) => country.fmt(formatter),
            Self::Region(region) => region.fmt(formatter),
        }
    }
}

/// Open or paused, as `wrangler.toml` spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Requests are sent on.
    Open,
    /// Nothing is sent.
    Paused,
}

impl State {
    /// As it is spelt.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Paused => "paused",
        }
    }
}

impl From<RouteState> for State {
    fn from(state: RouteState) -> Self {
        match state {
            RouteState::Open => Self::Open,
            RouteState::Paused => Self::Paused,
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Goal {
    /// A country's requests go to another region.
    Flip(Country, RegionId),
    /// A country or a region is opened or paused.
    State(Target, State),
    /// What the file says is in force.
    Deploy,
    /// There is a region, with these countries. One that is new is paused.
    AddRegion {
        /// Which.
        region: RegionId,
        /// Where its core is.
        origin: Origin,
        /// Whether its records may wait at the edge.
        spool: Spool,
        /// To what they are sealed then.
        sealing_key: Option<SealingKey>,
        /// Its countries.
        countries: Vec<Country>,
    },
    /// A country has a region. One that is new is paused.
    AddCountry {
        /// Which.
        country: Country,
        /// Its region.
        region: RegionId,
    },
    /// There is no such region any more, and none of its countries. It must be paused.
    RemoveRegion(RegionId),
    /// These changes are taken back.
    Revert(Vec<Change>),
}

impl fmt::Display for Goal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flip(country, region) => write!(formatter, "flip {country} to {region}"),
            Self::State(target, State::Open) => write!(formatter, "open {target}"),
            Self::State(target, State::Paused) => write!(formatter, "pause {target}"),
            Self::AddRegion { region, .. } => write!(formatter, "add region {region}"),
            Self::AddCountry { country, region } => write!(formatter, "add {country} to {region}"),
            Self::Deploy => formatter.write_str("deploy"),
            Self::RemoveRegion(region) => write!(formatter, "remove region {region}"),
            Self::Revert(_) => formatter.write_str("revert"),
        }
    }
}

/// What makes the edge's table and the file's equal, where their versions differ.
#[must_use]
pub fn catch_up(at_edge: u32, in_file: u32, flag: &str) -> String {
    if at_edge > in_file {
        format!(
            "bring wrangler.toml up to date (git pull); or, without what was changed there, smpctl route deploy{flag} --why \
             WHY --yes --force"
        )
    } else {
        format!("smpctl route deploy{flag} --why WHY --yes")
    }
}

/// What has to be changed in a table for a goal; nothing if it is reached. The error names what the table lacks.
pub fn changes(routes: &RouteTable, goal: &Goal) -> Result<Vec<Change>, String> {
    let wanted = match goal {
        Goal::Deploy => Vec::new(),
        Goal::Flip(country, region) => {
            has_region(routes, region)?;
            let from = way(routes, *country);
            let state = from.as_ref().map_or(State::Open, |way| way.state);
            vec![Change::Country {
                country: country.to_string(),
                from,
                to: Some(Way {
                    region: region.to_string(),
                    state,
                }),
            }]
        }
        Goal::State(Target::Region(region), state) => vec![Change::Region {
            region: region.to_string(),
            from: has_region(routes, region)?,
            to: *state,
        }],
        Goal::State(Target::Country(country), state) => {
            let from = way(routes, *country).ok_or_else(|| {
                format!("{country} has no region yet: smpctl route flip gives it one")
            })?;
            let to = Way {
                region: from.region.clone(),
                state: *state,
            };
            vec![Change::Country {
                country: country.to_string(),
                from: Some(from),
                to: Some(to),
            }]
        }
        Goal::AddRegion {
            region,
            origin,
            spool,
            sealing_key,
            countries,
        } => {
            let route = RegionRoute {
                origin: origin.to_string(),
                state: State::Paused,
                spool: *spool,
                sealing_key: sealing_key.as_ref().map(ToString::to_string),
            };
            membership::add_region(routes, region, route, countries)?
        }
        Goal::AddCountry { country, region } => {
            has_region(routes, region)?;
            membership::add_country(routes, *country, region, State::Paused)?
        }
        Goal::RemoveRegion(region) => membership::remove_region(routes, region)?,
        Goal::Revert(changes) => {
            let back: Vec<_> = changes.iter().rev().map(Change::inverse).collect();
            for change in &back {
                is_as_it_was(routes, change)?;
            }
            back
        }
    };
    Ok(wanted
        .into_iter()
        .filter(Change::changes_something)
        .collect())
}

/// What is taken back must still be there, or somebody else's change would go with it.
fn is_as_it_was(routes: &RouteTable, change: &Change) -> Result<(), String> {
    let is_so = match change {
        Change::Country { country, from, .. } => {
            let country = Country::parse(country).map_err(|error| error.to_string())?;
            way(routes, country) == *from
        }
        Change::Region { region, from, .. } => {
            let region = RegionId::parse(region).map_err(|error| error.to_string())?;
            has_region(routes, &region)? == *from
        }
        Change::Route { region, from, .. } => {
            let region = RegionId::parse(region).map_err(|error| error.to_string())?;
            match (membership::region_route(routes, &region), from) {
                (Some(there), Some(was)) => there.is_like(was),
                (there, was) => there.is_none() && was.is_none(),
            }
        }
    };
    if is_so {
        Ok(())
    } else {
        Err(format!(
            "it was changed again since, by hand: \"{change}\" does not fit what is there. Set it with smpctl route \
             flip, open or pause"
        ))
    }
}

fn has_region(routes: &RouteTable, region: &RegionId) -> Result<State, String> {
    let mut regions = routes.regions();
    let found = regions.find(|route| route.region == *region);
    found.map(|route| route.state.into()).ok_or_else(|| {
        let known: Vec<_> = routes
            .regions()
            .map(|route| route.region.as_str())
            .collect();
        format!(
            "[vars.ROUTES.regions] has no {region}, only {}",
            known.join(", ")
        )
    })
}

/// A country's own way; none if it has no region.
#[must_use]
pub fn way(routes: &RouteTable, country: Country) -> Option<Way> {
    Some(Way {
        region: routes.find(country)?.region.to_string(),
        state: routes.own_state(country)?.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn table() -> RouteTable {
        RouteTable::from_json(
            r#"{"version":3,"countries":{"VN":"smp-asia","CN":"smp-china",
                "MM":{"region":"smp-asia","state":"paused"}},"regions":{
                "smp-asia":{"origin":"https://a.example","state":"open"},
                "smp-china":{"origin":"https://c.example","state":"paused"}}}"#,
        )
        .unwrap()
    }

    pub(super) fn target(text: &str) -> Target {
        text.parse().unwrap()
    }

    fn said(goal: &Goal) -> Vec<String> {
        let changes = changes(&table(), goal).unwrap();
        changes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_target_is_a_country_in_capitals_or_a_region() {
        assert_eq!(target("VN"), Target::Country(Country::parse("VN").unwrap()));
        assert_eq!(
            target("smp-asia"),
            Target::Region(RegionId::parse("smp-asia").unwrap())
        );
        for text in ["vn", "", "V", "SMP-ASIA", "smp asia"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_goal_changes_what_it_names_and_nothing_if_it_is_reached() {
        let vn = Country::parse("VN").unwrap();
        let region = |id: &str| RegionId::parse(id).unwrap();
        let la = Country::parse("LA").unwrap();
        assert_eq!(
            said(&Goal::Flip(vn, region("smp-china"))),
            ["VN: smp-asia → smp-china"]
        );
        assert_eq!(
            said(&Goal::Flip(la, region("smp-asia"))),
            ["LA: no region → smp-asia"]
        );
        assert!(said(&Goal::Flip(vn, region("smp-asia"))).is_empty());
        assert_eq!(
            said(&Goal::State(target("smp-asia"), State::Paused)),
            ["smp-asia: open → paused"]
        );
        assert!(said(&Goal::State(target("smp-china"), State::Paused)).is_empty());
        assert_eq!(
            said(&Goal::State(target("MM"), State::Open)),
            ["MM: smp-asia, paused → smp-asia"]
        );
    }

    #[test]
    fn what_the_table_lacks_is_named() {
        let flip = Goal::Flip(
            Country::parse("VN").unwrap(),
            RegionId::parse("smp-us").unwrap(),
        );
        let mistake = changes(&table(), &flip).unwrap_err();
        assert!(
            mistake.contains("no smp-us, only smp-asia, smp-china"),
            "{mistake}"
        );
        let mistake = changes(&table(), &Goal::State(target("LA"), State::Open)).unwrap_err();
        assert!(mistake.contains("LA has no region yet"), "{mistake}");
    }

    #[test]
    fn a_revert_is_refused_if_somebody_changed_it_since() {
        let flipped = Change::Country {
            country: "VN".to_owned(),
            from: Some(Way {
                region: "smp-china".to_owned(),
                state: State::Open,
            }),
            to: Some(Way {
                region: "smp-asia".to_owned(),
                state: State::Open,
            }),
        };
        assert_eq!(
            said(&Goal::Revert(vec![flipped.clone()])),
            ["VN: smp-asia → smp-china"]
        );
        let mistake = changes(&table(), &Goal::Revert(vec![flipped.inverse()])).unwrap_err();
        assert!(mistake.contains("changed again since"), "{mistake}");
    }
}
