//! What the edge counts of itself, and how it is told.
//!
//! Each isolate counts for itself ([`counts`]) and tells once a second, after an answer, one Durable Object
//! (`object`), which adds up ([`totals`]) and answers Prometheus and whoever asks how the edge is. What an
//! isolate had not told when the platform ended it is lost: a second of counts, never a record.

pub mod counts;
mod object;
pub mod totals;
pub mod window;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::metrics::window::Requests;

/// The binding of the Durable Object.
pub const METRICS_BINDING: &str = "METRICS";

/// There is one.
pub const METRICS_NAME: &str = "edge";

/// What an isolate has counted since it told the last time.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Which isolate.
    pub isolate: String,
    /// Counts its reports, from 0. One that was heard already is not counted again.
    pub number: u64,
    /// By how much each counter rose, by its [`series`].
    pub counters: BTreeMap<String, u64>,
    /// Webhooks that were answered, by connection. Those with a token that nobody has are not here.
    pub requests: Vec<(String, Requests)>,
}

/// A counter as Prometheus's text format (version 0.0.4) names it: `name{label="value",…}`.
#[must_use]
pub fn series(name: &str, labels: &[(&str, &str)]) -> String {
    let mut series = name.to_owned();
    for (index, (label, value)) in labels.iter().enumerate() {
        let before = if index == 0 { '{' } else { ',' };
        let value = value
            .replace('\\', r"\\")
            .replace('"', "\\\"")
            .replace('\n', r"\n");
        // Writing to a `String` cannot fail.
        let _ = write!(series, "{before}{label}=\"{value}\"");
    }
    if !labels.is_empty() {
        series.push('}');
    }
    series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_break_out_of_its_quotes() {
        assert_eq!(series("x", &[]), "x");
        assert_eq!(
            series("x", &[("a", "\"\\\n"), ("b", "")]),
            r#"x{a="\"\\\n",b=""}"#
        );
    }
}
