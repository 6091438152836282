//! What a roll-back did, step by step, and how long it took; and what is looked at before and after ([`backup`],
//! [`service`], [`sharing`]).

pub mod backup;
pub mod service;

use std::time::Duration;

use protocol::Country;
use serde::Serialize;

use crate::check::region_of;
use crate::registry::Registry;

/// The tiers: each is for when the one before did not help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// A switch of a country, or one of its sources.
    Switch,
    /// The program before.
    Service,
    /// The schema before.
    Migration,
}

impl Tier {
    /// Within what time it is to be done.
    #[must_use]
    pub const fn within(self) -> Duration {
        match self {
            Self::Switch => Duration::from_mins(5),
            Self::Service => Duration::from_mins(15),
            Self::Migration => Duration::from_mins(30),
        }
    }

    /// As docs/incidents.md counts them.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Switch => 1,
            Self::Service => 2,
            Self::Migration => 3,
        }
    }
}

/// A step that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Which.
    pub what: String,
    /// What was found or done.
    pub found: String,
    /// How long it took.
    pub took_ms: u128,
}

/// What was done.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Which tier.
    pub tier: Tier,
    /// The steps.
    pub steps: Vec<Step>,
    /// Whether anything was changed, and was seen to be.
    pub is_done: bool,
    /// From the first step to the last.
    pub took_ms: u128,
    /// Within what time it is to be done.
    pub within_ms: u128,
}

impl Report {
    /// Of the steps that were taken.
    #[must_use]
    pub fn new(tier: Tier, steps: Vec<Step>, is_done: bool) -> Self {
        Self {
            tier,
            took_ms: steps.iter().map(|step| step.took_ms).sum(),
            within_ms: tier.within().as_millis(),
            steps,
            is_done,
        }
    }

    /// As lines.
    #[must_use]
    pub fn lines(&self) -> String {
        let mut lines: Vec<String> = self
            .steps
            .iter()
            .map(|step| {
                format!(
                    "{:<22} {} ({})",
                    step.what,
                    step.found,
                    seconds(step.took_ms)
                )
            })
            .collect();
        lines.push(if self.is_done {
            let verdict = if self.took_ms <= self.within_ms {
                "within"
            } else {
                "OVER"
            };
            format!(
                "tier {} done in {}, {verdict} the {} min that it may take",
                self.tier.number(),
                seconds(self.took_ms),
                self.within_ms / 60_000
            )
        } else {
            "nothing was changed: --yes does it".to_owned()
        });
        lines.join("\n") + "\n"
    }
}

/// The countries that share a database with the first of those that are given: its region's. Another one that is given
/// has to be among them.
pub fn sharing(registry: &Registry, given: &[Country]) -> Result<Vec<Country>, String> {
    let [first, ..] = given else {
        return Err("whose core? --country says it".to_owned());
    };
    let region = region_of(registry, *first)?;
    if let Some(other) = given.iter().find(|it| !region.countries.contains(it)) {
        return Err(format!(
            "--country {other}: it is not in {}, whose database this is about; take one region at a time",
            region.id
        ));
    }
    Ok(region.countries.clone())
}

fn seconds(milliseconds: u128) -> String {
    format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(what: &str, took_ms: u128) -> Step {
        Step {
            what: what.to_owned(),
            found: "kill switch on".to_owned(),
            took_ms,
        }
    }

    #[test]
    fn a_database_is_shared_by_all_countries_of_its_region() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/regions");
        let registry = crate::registry::survey(folder.as_ref());
        let sharing = |codes: &[&str]| {
            let given: Vec<_> = codes.iter().map(|code| code.parse().unwrap()).collect();
            sharing(&registry, &given).map(|all| {
                let all: Vec<_> = all.iter().map(ToString::to_string).collect();
                all.join(" ")
            })
        };
        assert_eq!(sharing(&["TH"]).unwrap(), "VN SG TH ID MY PH");
        assert_eq!(sharing(&["VN", "TH"]).unwrap(), "VN SG TH ID MY PH");
        assert_eq!(sharing(&["CN"]).unwrap(), "CN");
        assert!(sharing(&["VN", "CN"]).unwrap_err().contains("smp-asia"));
        assert!(sharing(&["ZZ"]).unwrap_err().contains("--regions"));
        assert!(sharing(&[]).unwrap_err().contains("--country"));
    }

    #[test]
    fn the_time_is_measured_against_what_the_tier_may_take() {
        let report = Report::new(
            Tier::Switch,
            vec![step("before", 120), step("change", 1_250)],
            true,
        );
        assert_eq!(
            report.lines(),
            "before                 kill switch on (0.1 s)\n\
             change                 kill switch on (1.2 s)\n\
             tier 1 done in 1.3 s, within the 5 min that it may take\n"
        );
        let slow = Report::new(Tier::Service, vec![step("run", 16 * 60_000)], true);
        assert!(slow.lines().contains("OVER the 15 min"));
        let dry = Report::new(Tier::Migration, vec![step("before", 1)], false);
        assert!(
            dry.lines()
                .ends_with("nothing was changed: --yes does it\n")
        );
    }
}
