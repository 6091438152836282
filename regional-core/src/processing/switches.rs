//! Who may pass: an event is processed, skipped, or left where it is.

use std::collections::{HashMap, HashSet};

use protocol::Country;

/// A country's switches (`app_setting`, key `pancake_integration`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Switches {
    /// On: whatever comes is skipped.
    pub(super) kill_switch: bool,
    /// On: whatever comes waits.
    pub(super) processing_paused: bool,
}

impl Default for Switches {
    /// Of a country where nobody has set any: nothing is processed before somebody says so.
    fn default() -> Self {
        Self {
            kill_switch: true,
            processing_paused: false,
        }
    }
}

/// What the switches say to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Process,
    SkippedKillSwitch,
    SkippedSourceDisabled,
}

/// The switches of all countries, and the sources that are taken.
#[derive(Debug, Default)]
pub(super) struct Gate {
    pub(super) countries: HashMap<Country, Switches>,
    /// (country, connection, source).
    pub(super) active_sources: HashSet<(Country, String, String)>,
}

impl Gate {
    /// One active source of several is enough.
    pub(super) fn judge(&self, country: Country, connection: &str, sources: &[String]) -> Verdict {
        if self
            .countries
            .get(&country)
            .copied()
            .unwrap_or_default()
            .kill_switch
        {
            return Verdict::SkippedKillSwitch;
        }
        let is_active = |source: &String| {
            self.active_sources
                .contains(&(country, connection.to_owned(), source.clone()))
        };
        if sources.iter().any(is_active) {
            Verdict::Process
        } else {
            Verdict::SkippedSourceDisabled
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::{NO_SOURCE, registered};

    fn vn() -> Country {
        Country::parse("VN").unwrap()
    }

    fn gate(switches: Option<Switches>, active: &[&str]) -> Gate {
        Gate {
            countries: switches
                .map(|switches| (vn(), switches))
                .into_iter()
                .collect(),
            active_sources: active
                .iter()
                .map(|source| (vn(), "vn-1".to_owned(), (*source).to_owned()))
                .collect(),
        }
    }

    const ON: Switches = Switches {
        kill_switch: false,
        processing_paused: false,
    };

    #[test]
    fn a_country_where_nobody_set_anything_is_switched_off() {
        let sources = registered(&[]);
        let judge = |gate: Gate| gate.judge(vn(), "vn-1", &sources);
        assert_eq!(judge(gate(None, &[NO_SOURCE])), Verdict::SkippedKillSwitch);
        assert_eq!(judge(gate(Some(ON), &[NO_SOURCE])), Verdict::Process);
        assert_eq!(judge(gate(Some(ON), &[])), Verdict::SkippedSourceDisabled);
    }

    #[test]
    fn one_active_source_of_several_is_enough_and_only_of_the_same_countrys_connection() {
        let sources = registered(&["a".to_owned(), "b".to_owned()]);
        assert_eq!(
            gate(Some(ON), &["b"]).judge(vn(), "vn-1", &sources),
            Verdict::Process
        );
        assert_eq!(
            gate(Some(ON), &["b"]).judge(vn(), "vn-2", &sources),
            Verdict::SkippedSourceDisabled
        );
        let th = Country::parse("TH").unwrap();
        let mut of_both = gate(Some(ON), &["b"]);
        of_both.countries.insert(th, ON);
        assert_eq!(
            of_both.judge(th, "vn-1", &sources),
            Verdict::SkippedSourceDisabled
        );
    }
}
