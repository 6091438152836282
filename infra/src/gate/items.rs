//! What only people know: the questions, and how an answer is read.

use crate::gate::Reading;

/// Something that somebody finds out or decides, and writes down.
#[derive(Debug, PartialEq, Eq)]
pub struct Item {
    /// How it is named.
    pub name: &'static str,
    /// What is asked.
    pub question: &'static str,
    /// How an answer is written.
    pub kind: Kind,
    /// Who may do without it, if anybody may.
    pub waived_by: Option<&'static str>,
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `yes` or `no`.
    YesNo,
    /// `4.3 from 5`: the mean, of five points at most, and of how many answers.
    Survey {
        /// Fewer say nothing.
        answers_min: u32,
    },
    /// `13/15`.
    Part {
        /// Of fewer it says nothing.
        all_min: u32,
    },
    /// A number of minutes.
    Minutes,
    /// A number of days.
    Days,
    /// `enforced`, `not-supported` or `no-answer`.
    Enforcement,
    /// RFC 3339 with an offset.
    Moment,
    /// `idx_scan=12 seq_scan=3`, as `smpctl gate snapshot` writes it.
    Usage,
}

impl Kind {
    /// How it is written, for people.
    #[must_use]
    pub fn form(self) -> &'static str {
        match self {
            Self::YesNo => "yes or no",
            Self::Survey { .. } => "MEAN from ANSWERS, such as '4.3 from 5'",
            Self::Part { .. } => "PART/ALL, such as 13/15",
            Self::Minutes => "minutes, such as 12.5",
            Self::Days => "days, such as 7",
            Self::Enforcement => "enforced, not-supported or no-answer",
            Self::Moment => "RFC 3339, such as 2026-05-28T08:00:00+07:00",
            Self::Usage => "what 'smpctl gate snapshot' writes",
        }
    }

    /// What a value says, or how it should be written.
    pub fn read(self, value: &str) -> Result<Reading, String> {
        let wrong = || format!("'{value}': {} is expected", self.form());
        let number = |text: &str| {
            let number: f64 = text.trim().parse().ok()?;
            (number.is_finite() && number >= 0.0).then_some(number)
        };
        let detail = value.to_owned();
        match self {
            Self::YesNo => match value {
                "yes" => Ok(Reading::known(1.0, detail)),
                "no" => Ok(Reading::known(0.0, detail)),
                _ => Err(wrong()),
            },
            Self::Survey { answers_min } => {
                let (mean, answers) = value.split_once(" from ").ok_or_else(wrong)?;
                let mean = number(mean).filter(|mean| *mean <= 5.0).ok_or_else(wrong)?;
                let answers: u32 = answers.trim().parse().map_err(|_| wrong())?;
                if answers < answers_min {
                    return Ok(Reading::unknown(format!(
                        "{answers} answers, {answers_min} are the least"
                    )));
                }
                Ok(Reading::known(mean, format!("{answers} answers")))
            }
            Self::Part { all_min } => {
                let (part, all) = value.split_once('/').ok_or_else(wrong)?;
                let part: u32 = part.trim().parse().map_err(|_| wrong())?;
                let all: u32 = all.trim().parse().map_err(|_| wrong())?;
                if all == 0 || part > all {
                    return Err(wrong());
                }
                if all < all_min {
                    return Ok(Reading::unknown(format!(
                        "{value}: {all} were asked, {all_min} are the least"
                    )));
                }
                Ok(Reading::known(f64::from(part) / f64::from(all), detail))
            }
            Self::Minutes | Self::Days => Ok(Reading::known(number(value).ok_or_else(wrong)?, "")),
            Self::Enforcement => match value {
                "enforced" => Ok(Reading::known(1.0, detail)),
                "not-supported" | "no-answer" => Ok(Reading::known(0.0, detail)),
                _ => Err(wrong()),
            },
            Self::Moment => value
                .parse::<jiff::Timestamp>()
                .map(|_| Reading::known(1.0, detail))
                .map_err(|_| wrong()),
            Self::Usage => usage(value)
                .map(|_| Reading::known(1.0, detail))
                .ok_or_else(wrong),
        }
    }
}

/// How often the index and the table had been read: the two numbers of a snapshot.
#[must_use]
pub fn usage(value: &str) -> Option<(f64, f64)> {
    let (index, table) = value.split_once(' ')?;
    let index: u64 = index.strip_prefix("idx_scan=")?.parse().ok()?;
    let table: u64 = table.strip_prefix("seq_scan=")?.parse().ok()?;
    #[expect(clippy::cast_precision_loss, reason = "no server counts to 2^53")]
    Some((index as f64, table as f64))
}

/// When the pilot began.
pub const PILOT_START: &str = "pilot-start";

/// How often an index had been used at some moment.
pub const INDEX_SNAPSHOT: &str = "index-snapshot";

/// The item of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Item> {
    ITEMS.iter().find(|item| item.name == name)
}

const fn item(name: &'static str, kind: Kind, question: &'static str) -> Item {
    Item {
        name,
        question,
        kind,
        waived_by: None,
    }
}

const fn waivable(name: &'static str, kind: Kind, question: &'static str) -> Item {
    Item {
        name,
        question,
        kind,
        waived_by: Some("the security lead"),
    }
}

/// All of them.
pub const ITEMS: &[Item] = &[
    item(PILOT_START, Kind::Moment, "When did the pilot begin?"),
    item(
        "g1-requirements",
        Kind::YesNo,
        "Has the product owner signed the requirements off (G-1)?",
    ),
    item(
        "g2-design",
        Kind::YesNo,
        "Has the tech lead signed the design off, and was the schema reviewed (G-2)?",
    ),
    item(
        "g6-smoke-test",
        Kind::YesNo,
        "Did the smoke test on staging go well (G-6)?",
    ),
    item(
        "g7-alerts",
        Kind::YesNo,
        "Are the alerts deployed, and did a test alert reach somebody (G-7)?",
    ),
    item(
        "g8-rollback",
        Kind::YesNo,
        "Is the rollback written down, and was it tried: down migrations, kill switch (G-8)?",
    ),
    item(
        "g9-baseline",
        Kind::Minutes,
        "How long did a lead wait for its first response before the pilot (G-9)?",
    ),
    item(
        "g12-webhook-url",
        Kind::YesNo,
        "Is the webhook's address set at Pancake (G-12)?",
    ),
    item(
        "on-call",
        Kind::YesNo,
        "Is the on-call rota set for the four weeks?",
    ),
    item(
        "alert-workflow",
        Kind::YesNo,
        "Is it written down who takes an alert, who is called next, and when there is a post-mortem?",
    ),
    item(
        "night-jobs",
        Kind::YesNo,
        "Was it made sure that no other nightly job is in the way of the reconciliation at 02:00?",
    ),
    item(
        "telesale-survey-w1",
        Kind::Survey { answers_min: 3 },
        "What do the telesales of the first wave say, of five points?",
    ),
    item(
        "telesale-survey-w2",
        Kind::Survey { answers_min: 5 },
        "What do the telesales of the second wave say, of five points?",
    ),
    item(
        INDEX_SNAPSHOT,
        Kind::Usage,
        "How often had the index of phone numbers been used? 'smpctl gate snapshot' writes it down.",
    ),
    item(
        "rollback-drill",
        Kind::Minutes,
        "How long did the drill take, from the fault to a service that is well again on its previous version?",
    ),
    item(
        "metrics-retention",
        Kind::YesNo,
        "Does Prometheus keep its metrics, and has it the disk for them?",
    ),
    item(
        "manager-survey",
        Kind::Part { all_min: 15 },
        "How many managers, of all who were asked, copy no leads by hand any more?",
    ),
    item(
        "telesale-survey-w4",
        Kind::Survey { answers_min: 5 },
        "What do all telesales say, of five points?",
    ),
    waivable(
        "pd1-signatures",
        Kind::Enforcement,
        "What did Pancake say of signatures, and are they enforced (PD-001)?",
    ),
    waivable(
        "pd2-addresses",
        Kind::Enforcement,
        "What did Pancake say of its addresses, and are they enforced (PD-002)?",
    ),
    item(
        "pd3-consent-key",
        Kind::YesNo,
        "Is the key of marketing consent confirmed (PD-003)?",
    ),
    item(
        "dashboards-stable",
        Kind::Days,
        "For how many days were the dashboards stable?",
    ),
    item(
        "documentation",
        Kind::YesNo,
        "Is the documentation published?",
    ),
    item(
        "sign-off-business",
        Kind::YesNo,
        "Does the product owner sign off?",
    ),
    item(
        "sign-off-engineering",
        Kind::YesNo,
        "Does the tech lead sign off?",
    ),
    item("sign-off-qa", Kind::YesNo, "Does the QA lead sign off?"),
    item(
        "sign-off-operations",
        Kind::YesNo,
        "Does the DevOps lead sign off?",
    ),
    item(
        "sign-off-security",
        Kind::YesNo,
        "Does the security lead sign off?",
    ),
    item(
        "sign-off-compliance",
        Kind::YesNo,
        "Does the compliance officer sign off?",
    ),
    item(
        "sign-off-director",
        Kind::YesNo,
        "Does the director sign off?",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_reads_its_own_form_and_no_other() {
        let known = |kind: Kind, value: &str| match kind.read(value) {
            Ok(Reading::Known { figure, .. }) => figure,
            other => panic!("{value}: {other:?}"),
        };
        let survey = Kind::Survey { answers_min: 3 };
        assert!((known(survey, "4.3 from 3") - 4.3).abs() < 1e-9);
        let part = Kind::Part { all_min: 15 };
        assert!((known(part, "13/15") - 13.0 / 15.0).abs() < 1e-9);
        assert!((known(Kind::Minutes, "14.5") - 14.5).abs() < 1e-9);
        assert!(known(Kind::YesNo, "yes") > known(Kind::YesNo, "no"));
        assert!(known(Kind::Enforcement, "enforced") > known(Kind::Enforcement, "no-answer"));
        known(Kind::Moment, "2026-05-28T08:00:00+07:00");
        known(Kind::Usage, "idx_scan=12 seq_scan=3");
        for (kind, value) in [
            (Kind::YesNo, "Yes"),
            (Kind::YesNo, ""),
            (survey, "4.3"),
            (survey, "5.1 from 3"),
            (survey, "NaN from 3"),
            (survey, "-1 from 3"),
            (survey, "4 from -3"),
            (part, "16/15"),
            (part, "0/0"),
            (part, "-1/15"),
            (Kind::Minutes, "inf"),
            (Kind::Days, "-7"),
            (Kind::Enforcement, "yes"),
            (Kind::Moment, "2026-05-28"),
            (Kind::Usage, "12 3"),
        ] {
            let mistake = kind.read(value).unwrap_err();
            assert!(mistake.contains("is expected"), "{mistake}");
        }
    }

    #[test]
    fn too_few_answers_say_nothing() {
        let managers = find("manager-survey").unwrap().kind;
        let reading = managers.read("1/1").unwrap();
        assert_eq!(
            reading,
            Reading::unknown("1/1: 1 were asked, 15 are the least")
        );
        assert!(matches!(managers.read("14/14"), Ok(Reading::Unknown(_))));
        let reading = Kind::Survey { answers_min: 3 }.read("5 from 2").unwrap();
        assert_eq!(reading, Reading::unknown("2 answers, 3 are the least"));
    }

    #[test]
    fn names_are_unique() {
        for item in ITEMS {
            assert_eq!(find(item.name), Some(item));
        }
    }
}
