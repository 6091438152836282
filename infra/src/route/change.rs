//! One value of the table, before and after.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::State;
use crate::registry::Spool;

/// Where a country's requests go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// Its region.
    pub region: String,
    /// Its own state: it is open only if its region is open too.
    pub state: State,
}

/// All that the table says of a region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionRoute {
    /// Where its core is.
    pub origin: String,
    /// Open or paused.
    pub state: State,
    /// Whether its records may wait at the edge.
    pub spool: Spool,
    /// To what they are sealed; one may be there while none may wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealing_key: Option<String>,
}

impl RegionRoute {
    /// Whether both say the same. A key that seals nothing plays no part.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        (&self.origin, self.state, self.key_in_force())
            == (&other.origin, other.state, other.key_in_force())
    }

    /// The key, if records may wait.
    pub(super) fn key_in_force(&self) -> Option<&str> {
        match self.spool {
            Spool::Sealed => self.sealing_key.as_deref(),
            Spool::Off => None,
        }
    }
}

/// One value of the table, before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "lowercase")]
pub enum Change {
    /// A country's way; none is one that the table does not have.
    Country {
        /// Which.
        country: String,
        /// Before.
        from: Option<Way>,
        /// After.
        to: Option<Way>,
    },
    /// A region's state.
    Region {
        /// Which.
        region: String,
        /// Before.
        from: State,
        /// After.
        to: State,
    },
    /// A region's route as a whole; none is one that the table does not have.
    Route {
        /// Which.
        region: String,
        /// Before.
        from: Option<RegionRoute>,
        /// After.
        to: Option<RegionRoute>,
    },
}

impl Change {
    /// What takes it back.
    #[must_use]
    pub fn inverse(&self) -> Self {
        match self.clone() {
            Self::Country { country, from, to } => Self::Country {
                country,
                from: to,
                to: from,
            },
            Self::Region { region, from, to } => Self::Region {
                region,
                from: to,
                to: from,
            },
            Self::Route { region, from, to } => Self::Route {
                region,
                from: to,
                to: from,
            },
        }
    }

    /// Whether it is another value after than before.
    pub(super) fn changes_something(&self) -> bool {
        match self {
            Self::Country { from, to, .. } => from != to,
            Self::Region { from, to, .. } => from != to,
            Self::Route { from, to, .. } => from != to,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = |way: &Option<Way>| match way {
            None => "no region".to_owned(),
            Some(Way {
                region,
                state: State::Open,
            }) => region.clone(),
            Some(Way { region, .. }) => format!("{region}, paused"),
        };
        let route = |route: &Option<RegionRoute>| match route {
            None => "no route".to_owned(),
            Some(route) => format!(
                "{}, {}, spool {}",
                route.origin,
                route.state.as_str(),
                route.spool.as_str()
            ),
        };
        match self {
            Self::Country { country, from, to } => {
                write!(formatter, "{country}: {} → {}", way(from), way(to))
            }
            Self::Region { region, from, to } => {
                write!(formatter, "{region}: {} → {}", from.as_str(), to.as_str())
            }
            Self::Route { region, from, to } => {
                write!(formatter, "{region}: {} → {}", route(from), route(to))
            }
        }
    }
}
