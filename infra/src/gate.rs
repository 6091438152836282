//! The pilot's gates: what has to be shown before the next wave begins.
//!
//! Four waves, each with its criteria ([`criteria`]). A criterion's figure is read from the region's database, from
//! Prometheus ([`metrics`]), from a test report ([`cases`]), or from what people wrote down ([`records`], by the
//! questions in [`items`]). Nothing here reads or asks by itself: readings come in, findings go out.

pub mod cases;
pub mod criteria;
pub mod items;
pub mod metrics;
pub mod records;
pub mod report;

use std::collections::BTreeMap;
use std::fmt;

use crate::gate::cases::{Results, reading_of_cases};
use crate::gate::criteria::{Criterion, Source, Target, Unit, of_wave};
use crate::gate::records::Records;

/// A stage of the pilot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wave {
    /// One source.
    W1,
    /// Five sources.
    W2,
    /// Fifteen sources, and load.
    W3,
    /// All sources.
    W4,
}

impl Wave {
    /// In their order.
    pub const ALL: [Self; 4] = [Self::W1, Self::W2, Self::W3, Self::W4];

    /// Those that come before it.
    pub fn earlier(self) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |wave| *wave < self)
    }
}

impl fmt::Display for Wave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::W1 => "w1",
            Self::W2 => "w2",
            Self::W3 => "w3",
            Self::W4 => "w4",
        })
    }
}

/// What was read for a criterion.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// A figure, and what it is made of.
    Known {
        /// The figure, to be held against the target.
        figure: f64,
        /// In words.
        detail: String,
    },
    /// Somebody who may do so does without it.
    Waived(String),
    /// Why there is none, and what gives it.
    Unknown(String),
}

impl Reading {
    /// There is none.
    #[must_use]
    pub fn unknown(why: impl Into<String>) -> Self {
        Self::Unknown(why.into())
    }

    /// A figure.
    #[must_use]
    pub fn known(figure: f64, detail: impl Into<String>) -> Self {
        Self::Known {
            figure,
            detail: detail.into(),
        }
    }
}

/// Whether a criterion is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Pass,
    /// It is not.
    Fail,
    /// Nobody knows. That counts as if it were not.
    NotKnown,
}

impl Verdict {
    /// As it is printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::NotKnown => "not known",
        }
    }
}

/// A criterion, and how it stands.
#[derive(Debug)]
pub struct Finding {
    /// Which.
    pub criterion: &'static Criterion,
    /// How it stands.
    pub verdict: Verdict,
    /// Its figure, if there is one.
    pub figure: Option<f64>,
    /// What the figure is made of, or why there is none.
    pub detail: String,
}

/// All that is known.
#[derive(Debug, Default)]
pub struct Facts {
    /// From database and Prometheus, by a criterion's id.
    pub readings: BTreeMap<&'static str, Reading>,
    /// From a test report, if one was given.
    pub tests: Option<Results>,
    /// From people.
    pub records: Records,
}

/// How a wave's criteria stand, in the table's order. An earlier wave is one criterion: how many of its own are not met.
#[must_use]
pub fn evaluate(wave: Wave, facts: &Facts) -> Vec<Finding> {
    of_wave(wave)
        .map(|criterion| judge(criterion, &read(criterion, facts)))
        .collect()
}

/// Whether the gate is open.
#[must_use]
pub fn is_passed(findings: &[Finding]) -> bool {
    // A wave without criteria would be open to everybody.
    !findings.is_empty()
        && findings
            .iter()
            .all(|finding| finding.verdict == Verdict::Pass)
}

fn read(criterion: &Criterion, facts: &Facts) -> Reading {
    match criterion.source {
        Source::Database { .. } | Source::Plan(_) | Source::Usage(_) | Source::Metrics(_) => facts
            .readings
            .get(criterion.id)
            .cloned()
            .unwrap_or_else(|| Reading::unknown("nobody read it")),
        Source::Cases(cases) => match &facts.tests {
            Some(results) => reading_of_cases(cases, results),
            None => Reading::unknown(
                "give --test-report FILE, the output of 'make test' with its errors",
            ),
        },
        Source::Record(item) => facts.records.reading(item),
        Source::Earlier(wave) => {
            let findings = evaluate(wave, facts);
            let missing: Vec<_> = findings
                .iter()
                .filter(|finding| finding.verdict != Verdict::Pass)
                .map(|finding| finding.criterion.id)
                .collect();
            #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
            let figure = missing.len() as f64;
            let detail = if missing.is_empty() {
                format!("all {} pass", findings.len())
            } else {
                missing.join(", ")
            };
            Reading::known(figure, detail)
        }
    }
}

fn judge(criterion: &'static Criterion, reading: &Reading) -> Finding {
    let implausible = match reading {
        Reading::Known { figure, detail }
            if figure.is_finite() && !criterion.unit.is_plausible(*figure) =>
        {
            Some(Reading::unknown(
                format!("{figure} cannot be: {detail}").trim_end_matches([':', ' ']),
            ))
        }
        _ => None,
    };
    let reading = implausible.as_ref().unwrap_or(reading);
    let (verdict, figure, detail) = match reading {
        Reading::Known { figure, detail } => {
            let verdict = if criterion.target.is_met(*figure) {
                Verdict::Pass
            } else if figure.is_finite() {
                Verdict::Fail
            } else {
                Verdict::NotKnown
            };
            (verdict, Some(*figure).filter(|it| it.is_finite()), detail)
        }
        Reading::Waived(detail) => (Verdict::Pass, None, detail),
        Reading::Unknown(why) => (Verdict::NotKnown, None, why),
    };
    Finding {
        criterion,
        verdict,
        figure,
        detail: detail.clone(),
    }
}

impl Unit {
    /// Whether there can be such a figure at all. A clock that went back, or a counter that was set back, gives one
    /// that would be good enough for any limit.
    #[must_use]
    pub fn is_plausible(self, figure: f64) -> bool {
        let most = match self {
            Self::Share | Self::YesNo => 1.0,
            Self::Score => 5.0,
            _ => f64::INFINITY,
        };
        (0.0..=most).contains(&figure)
    }
}

impl Target {
    /// Whether a figure is good enough. What is no number is not.
    #[must_use]
    pub fn is_met(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(bound) => figure >= bound,
            Self::AtMost(bound) => figure <= bound,
            Self::Below(bound) => figure < bound,
            Self::Any => figure.is_finite(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_met_at_their_edges_as_they_are_written() {
        assert!(Target::AtLeast(0.995).is_met(0.995));
        assert!(!Target::AtLeast(0.995).is_met(0.994_999));
        assert!(Target::AtMost(1800.0).is_met(1800.0));
        assert!(!Target::AtMost(1800.0).is_met(1800.001));
        assert!(Target::Below(30.0).is_met(29.999));
        assert!(!Target::Below(30.0).is_met(30.0));
        assert!(Target::AtLeast(13.0 / 15.0).is_met(13.0 / 15.0));
        assert!(!Target::AtLeast(13.0 / 15.0).is_met(12.0 / 15.0));
        assert!(Target::Any.is_met(0.0));
        for target in [
            Target::AtLeast(0.0),
            Target::AtMost(1.0),
            Target::Below(1.0),
            Target::Any,
        ] {
            assert!(!target.is_met(f64::NAN), "{target:?}");
        }
    }

    #[test]
    fn nothing_known_passes_nothing() {
        for wave in Wave::ALL {
            let findings = evaluate(wave, &Facts::default());
            assert!(!is_passed(&findings));
            for finding in &findings {
                let is_earlier = matches!(finding.criterion.source, Source::Earlier(_));
                let expected = if is_earlier {
                    Verdict::Fail
                } else {
                    Verdict::NotKnown
                };
                assert_eq!(finding.verdict, expected, "{}", finding.criterion.id);
                assert!(!finding.detail.is_empty(), "{}", finding.criterion.id);
            }
        }
        assert!(!is_passed(&[]));
    }

    #[test]
    fn a_figure_that_is_no_number_is_not_known() {
        let criterion = of_wave(Wave::W1)
            .find(|it| it.id == "w1-success-rate")
            .unwrap();
        let finding = judge(criterion, &Reading::known(f64::NAN, ""));
        assert_eq!((finding.verdict, finding.figure), (Verdict::NotKnown, None));
        let waived = judge(criterion, &Reading::Waived("by somebody".to_owned()));
        assert_eq!(waived.verdict, Verdict::Pass);
    }

    #[test]
    fn a_figure_that_cannot_be_is_not_known() {
        let judged = |id: &str, figure| {
            let criterion = criteria::all().find(|it| it.id == id).unwrap();
            let finding = judge(criterion, &Reading::known(figure, "3 events"));
            (finding.verdict, finding.detail)
        };
        for (id, figure) in [
            ("w1-process-p95", -1.0),
            ("w1-webhook-p95", -0.001),
            ("w3-memory", -1.0),
            ("w3-breaker", -1.0),
            ("w1-no-suspension", -1.0),
            ("w1-success-rate", 1.001),
            ("w4-dashboards", -7.0),
        ] {
            let (verdict, detail) = judged(id, figure);
            assert_eq!(verdict, Verdict::NotKnown, "{id}");
            assert_eq!(detail, format!("{figure} cannot be: 3 events"), "{id}");
        }
        assert_eq!(judged("w1-success-rate", 1.0).0, Verdict::Pass);
        assert_eq!(judged("w1-no-suspension", 0.0).0, Verdict::Pass);
    }

    #[test]
    fn an_earlier_wave_names_what_it_lacks() {
        let findings = evaluate(Wave::W2, &Facts::default());
        let earlier = findings
            .iter()
            .find(|finding| finding.criterion.source == Source::Earlier(Wave::W1))
            .unwrap();
        assert!(earlier.detail.contains("w1-success-rate"));
        assert!(earlier.figure.unwrap() > 0.0);
    }
}
