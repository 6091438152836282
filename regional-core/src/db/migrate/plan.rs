//! What taking migrations back would cost, as text. Pure: counts in, words out.

use std::fmt;

use serde::Serialize;

/// How a migration is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// As if it had never been.
    Hard,
    /// Its rows stay, disabled, because others refer to them.
    Soft,
}

/// What kind of count a check made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingKind {
    /// What the hard form does.
    Hard,
    /// What the soft form does.
    Soft,
    /// What rules the hard form out, if there are any.
    Reference,
}

impl FindingKind {
    /// The kind that a check's SQL names so.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "hard" => Some(Self::Hard),
            "soft" => Some(Self::Soft),
            "reference" => Some(Self::Reference),
            _ => None,
        }
    }
}

/// One count of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was counted for.
    pub kind: FindingKind,
    /// In words, such as "drops a table".
    pub what: String,
    /// How many rows.
    pub rows: i64,
}

/// Something that is done to rows, or that rows do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Effect {
    /// In words.
    pub what: String,
    /// How many rows.
    pub rows: i64,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = if self.rows == 1 { "row" } else { "rows" };
        write!(f, "{} ({} {rows})", self.what, self.rows)
    }
}

/// How one migration is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedDown {
    /// Its number.
    pub version: i64,
    /// Its name.
    pub name: String,
    /// In which form.
    pub form: Form,
    /// Why in this form: what refers to its rows. Empty for the hard form.
    pub because: Vec<Effect>,
    /// What it does.
    pub effects: Vec<Effect>,
}

impl PlannedDown {
    /// Chooses the form: soft where something refers to what the hard form would delete.
    #[must_use]
    pub fn new(version: i64, name: String, findings: &[Finding]) -> Self {
        let of_kind = |kind| {
            findings
                .iter()
                .filter(move |finding| finding.kind == kind)
                .map(|finding| Effect {
                    what: finding.what.clone(),
                    rows: finding.rows,
                })
        };
        let because: Vec<Effect> = of_kind(FindingKind::Reference)
            .filter(|reference| reference.rows > 0)
            .collect();
        let (form, kind) = if because.is_empty() {
            (Form::Hard, FindingKind::Hard)
        } else {
            (Form::Soft, FindingKind::Soft)
        };
        Self {
            version,
            name,
            form,
            because,
            effects: of_kind(kind).collect(),
        }
    }
}

impl fmt::Display for PlannedDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04} {} ", self.version, self.name)?;
        match self.form {
            Form::Hard => f.write_str("(hard): ")?,
            Form::Soft => write!(f, "(soft, because {}): ", listed(&self.because))?,
        }
        f.write_str(&listed(&self.effects))
    }
}

/// All that is taken back at once, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DownPlan {
    /// The database, whose name the operator types.
    pub database: String,
    /// In the order in which they are taken back.
    pub migrations: Vec<PlannedDown>,
}

impl fmt::Display for DownPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for migration in &self.migrations {
            writeln!(f, "{migration}")?;
        }
        Ok(())
    }
}

fn listed(effects: &[Effect]) -> String {
    let effects: Vec<String> = effects.iter().map(ToString::to_string).collect();
    effects.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(kind: FindingKind, what: &str, rows: i64) -> Finding {
        let what = what.to_owned();
        Finding { kind, what, rows }
    }

    #[test]
    fn a_plan_names_form_reason_and_counts() {
        let of_0007 = |tickets| {
            let findings = [
                finding(FindingKind::Hard, "deletes it", 1),
                finding(FindingKind::Soft, "disables it", 1),
                finding(FindingKind::Reference, "ticket refers to it", tickets),
            ];
            PlannedDown::new(7, "ticket source".to_owned(), &findings)
        };
        let plan = DownPlan {
            database: "smp_asia".to_owned(),
            migrations: vec![
                of_0007(3),
                of_0007(0),
                PlannedDown::new(
                    6,
                    "pancake tables".to_owned(),
                    &[
                        finding(FindingKind::Hard, "drops pancake_source", 12),
                        finding(FindingKind::Hard, "drops pancake_watermark", 0),
                    ],
                ),
            ],
        };
        assert_eq!(
            plan.to_string(),
            "0007 ticket source (soft, because ticket refers to it (3 rows)): disables it (1 row)\n\
             0007 ticket source (hard): deletes it (1 row)\n\
             0006 pancake tables (hard): drops pancake_source (12 rows), \
             drops pancake_watermark (0 rows)\n"
        );
        assert_eq!(
            serde_json::to_value(&plan).unwrap()["migrations"][0],
            serde_json::json!({
                "version": 7,
                "name": "ticket source",
                "form": "soft",
                "because": [{"what": "ticket refers to it", "rows": 3}],
                "effects": [{"what": "disables it", "rows": 1}],
            })
        );
    }
}
