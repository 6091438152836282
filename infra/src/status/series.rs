//! What a core's metrics say of single countries and connections.

use super::row::Watermark;
use crate::exposition::{Page, Sample};

/// What findings are made of, and rows have no place for.
#[derive(Debug, Default)]
pub(super) struct Series {
    /// Countries with dead letters, and how many.
    pub(super) dead_letters: Vec<(String, u64)>,
    /// Countries that process, and how long the oldest event has waited for its first try.
    pub(super) stuck: Vec<(String, f64)>,
    /// Countries whose processing is paused.
    pub(super) paused: Vec<String>,
    /// Countries whose kill switch is on.
    pub(super) killed: Vec<String>,
    /// Each connection's tables that are polled, the oldest first.
    pub(super) watermarks: Vec<Watermark>,
    /// Countries of its route that the core does not serve.
    pub(super) unserved: Vec<String>,
    /// How long ago the hub asked this spoke how far it is.
    pub(super) asked_seconds: Option<f64>,
}

impl Series {
    pub(super) fn read(page: &Page) -> Self {
        let on = |name: &'static str| -> Vec<String> {
            page.of(name)
                .filter(|sample| sample.value > 0.0)
                .map(country)
                .collect()
        };
        let paused = on("pancake_processing_paused");
        let with_status = |name: &'static str, status: &'static str| {
            page.of(name)
                .filter(move |sample| sample.label("status") == status)
        };
        let disabled: Vec<_> = with_status("pancake_connection_status", "disabled")
            .filter(|sample| sample.value > 0.0)
            .collect();
        let is_polled = |sample: &&Sample| {
            let of = |sample: &Sample| (country(sample), sample.label("connection").to_owned());
            !disabled.iter().any(|other| of(other) == of(sample))
        };
        let mut watermarks: Vec<_> = page
            .of("pancake_watermark_age_seconds")
            .filter(is_polled)
            .map(|sample| Watermark {
                age_seconds: sample.value,
                country: country(sample),
                connection: sample.label("connection").to_owned(),
                table: sample.label("table").to_owned(),
            })
            .collect();
        watermarks.sort_by(|one, other| other.age_seconds.total_cmp(&one.age_seconds));
        Self {
            dead_letters: with_status("pancake_events_unfinished", "dead_letter")
                .map(|sample| (country(sample), count(sample.value)))
                .filter(|(_, letters)| *letters > 0)
                .collect(),
            stuck: with_status("pancake_events_unfinished_oldest_seconds", "received")
                .map(|sample| (country(sample), sample.value))
                .filter(|(country, _)| !paused.contains(country))
                .collect(),
            killed: on("pancake_kill_switch"),
            paused,
            watermarks,
            ..Self::default()
        }
    }
}

fn country(sample: &Sample) -> String {
    sample.label("country").to_owned()
}

/// A metric that counts.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a metric that counts is a whole number, and not negative"
)]
pub(super) fn count(value: f64) -> u64 {
    value as u64
}
