//! Who may pass: an event is processed, skipped, or left where it is.

use std::collections::{HashMap, HashSet};

use protocol::Country;
use time::OffsetDateTime;

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
    /// None of its sources is active, or all are off because their connection is disabled.
    SkippedSourceDisabled,
}

/// The switches of all countries, the sources that are taken, and the connections that are not any more.
#[derive(Debug, Default)]
pub(super) struct Gate {
    pub(super) countries: HashMap<Country, Switches>,
    /// (country, connection, source).
    pub(super) active_sources: HashSet<(Country, String, String)>,
    /// (country, connection) that somebody disabled, and when.
    pub(super) disabled_since: HashMap<(Country, String), OffsetDateTime>,
}

impl Gate {
    /// One active source of several is enough. To what was received after its connection was disabled, all of
    /// the connection's sources are off; what was received until then is nobody's to lose, however late it is
    /// judged.
    pub(super) fn judge(
        &self,
        country: Country,
        connection: &str,
        sources: &[String],
        received_at: OffsetDateTime,
    ) -> Verdict {
        if self
            .countries
            .get(&country)
            .copied()
            .unwrap_or_default()
            .kill_switch
        {
            return Verdict::SkippedKillSwitch;
        }
        let disabled_since = self.disabled_since.get(&(country, connection.to_owned()));
        if disabled_since.is_some_and(|since| received_at > *since) {
            return Verdict::SkippedSourceDisabled;
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
    use time::Duration;

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
            disabled_since: HashMap::new(),
        }
    }

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    const ON: Switches = Switches {
        kill_switch: false,
        processing_paused: false,
    };

    #[test]
    fn a_country_where_nobody_set_anything_is_switched_off() {
        let sources = registered(&[]);
        let judge = |gate: Gate| gate.judge(vn(), "vn-1", &sources, NOW);
        assert_eq!(judge(gate(None, &[NO_SOURCE])), Verdict::SkippedKillSwitch);
        assert_eq!(judge(gate(Some(ON), &[NO_SOURCE])), Verdict::Process);
        assert_eq!(judge(gate(Some(ON), &[])), Verdict::SkippedSourceDisabled);
    }

    #[test]
    fn one_active_source_of_several_is_enough_and_only_of_the_same_countrys_connection() {
        let sources = registered(&["a".to_owned(), "b".to_owned()]);
        assert_eq!(
            gate(Some(ON), &["b"]).judge(vn(), "vn-1", &sources, NOW),
            Verdict::Process
        );
        assert_eq!(
            gate(Some(ON), &["b"]).judge(vn(), "vn-2", &sources, NOW),
            Verdict::SkippedSourceDisabled
        );
        let th = Country::parse("TH").unwrap();
        let mut of_both = gate(Some(ON), &["b"]);
        of_both.countries.insert(th, ON);
        assert_eq!(
            of_both.judge(th, "vn-1", &sources, NOW),
            Verdict::SkippedSourceDisabled
        );
    }

    #[test]
    fn only_what_was_received_after_its_connection_was_disabled_is_skipped() {
        let sources = registered(&[]);
        let th = Country::parse("TH").unwrap();
        let mut gate = gate(Some(ON), &[NO_SOURCE]);
        gate.countries.insert(th, ON);
        for (country, connection) in [(th, "vn-1"), (vn(), "vn-2")] {
            let source = (country, connection.to_owned(), NO_SOURCE.to_owned());
            gate.active_sources.insert(source);
        }
        gate.disabled_since.insert((vn(), "vn-1".to_owned()), NOW);
        let tick = Duration::MICROSECOND;
        for (country, connection, received_at, verdict) in [
            (vn(), "vn-1", NOW - tick, Verdict::Process),
            (vn(), "vn-1", NOW, Verdict::Process),
            (vn(), "vn-1", NOW + tick, Verdict::SkippedSourceDisabled),
            // Neither another connection nor another country's of that name.
            (vn(), "vn-2", NOW + tick, Verdict::Process),
            (th, "vn-1", NOW + tick, Verdict::Process),
        ] {
            assert_eq!(
                gate.judge(country, connection, &sources, received_at),
                verdict,
                "{country} {connection} {received_at}"
            );
        }
        // The other switches say what they said.
        gate.active_sources.clear();
        assert_eq!(
            gate.judge(vn(), "vn-1", &sources, NOW - tick),
            Verdict::SkippedSourceDisabled
        );
        gate.countries.clear();
        assert_eq!(
            gate.judge(vn(), "vn-1", &sources, NOW + tick),
            Verdict::SkippedKillSwitch
        );
    }
}
