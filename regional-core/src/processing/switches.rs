//! Who may pass: an event is processed, skipped, or left where it is.

use std::collections::{HashMap, HashSet};

use protocol::Country;

/// The source of records that name none.
pub(super) const NO_SOURCE: &str = "(none)";

/// As much of a source's id as is kept.
const MAX_SOURCE_BYTES: usize = 256;

/// How many sources of a record count: more would be work without bound, and rows that nobody looks at.
const MAX_SOURCES: usize = 64;

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

/// The sources of a record as they are registered: the first [`MAX_SOURCES`], each once, none empty, none longer than its column; of a
/// record without any, [`NO_SOURCE`].
pub(super) fn sources_of(named: &[String]) -> Vec<String> {
    let mut sources: Vec<String> = Vec::new();
    for source in named.iter().take(MAX_SOURCES) {
        let source = source
            .get(..source.floor_char_boundary(MAX_SOURCE_BYTES))
            .unwrap_or_default();
        if !source.is_empty() && !sources.iter().any(|known| known == source) {
            sources.push(source.to_owned());
        }
    }
    if sources.is_empty() {
        sources.push(NO_SOURCE.to_owned());
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let sources = sources_of(&[]);
        let judge = |gate: Gate| gate.judge(vn(), "vn-1", &sources);
        assert_eq!(judge(gate(None, &[NO_SOURCE])), Verdict::SkippedKillSwitch);
        assert_eq!(judge(gate(Some(ON), &[NO_SOURCE])), Verdict::Process);
        assert_eq!(judge(gate(Some(ON), &[])), Verdict::SkippedSourceDisabled);
    }

    #[test]
    fn one_active_source_of_several_is_enough_and_only_of_the_same_countrys_connection() {
        let sources = sources_of(&["a".to_owned(), "b".to_owned()]);
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

    #[test]
    fn sources_are_named_once_and_fit_their_column() {
        let long = "ậ".repeat(200);
        let named = ["a", "", "a", &long].map(str::to_owned);
        let sources = sources_of(&named);
        assert_eq!(sources.len(), 2, "{sources:?}");
        assert!(
            sources
                .iter()
                .all(|source| (1..=256).contains(&source.len()))
        );
        assert_eq!(sources_of(&[String::new()]), [NO_SOURCE]);
    }
}
