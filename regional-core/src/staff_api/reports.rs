//! `/reports/pancake`.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{self, Answered};
use super::caller::Caller;
use super::desk::Action;
use super::openapi::Refusals;
use super::store::reports::{self as store, Counted, WAITING_MAX, WINDOW_EVENTS_MAX};
use super::store::walk::walk_by_index;
use super::value::Moment;
use crate::app::SharedApp;

/// A day.
const WINDOW_HOURS: i32 = 24;
/// All states but `processed`, which most events have.
const WAITING: [&str; 6] = [
    "received",
    "ingested",
    "failed",
    "dead_letter",
    "skipped_source_disabled",
    "skipped_kill_switch",
];

pub(super) fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new().routes(routes!(show_report))
}

/// How the Pancake integration of the country is doing.
#[derive(Serialize, ToSchema)]
struct PancakeReport {
    /// From when on events are counted in `last_day`.
    from: Moment,
    to: Moment,
    last_day: WindowReport,
    /// Of all times: state → events, but for `processed`.
    not_processed: BTreeMap<&'static str, WaitingReport>,
    /// When the oldest event was received that waits for its first or its next try.
    oldest_waiting_received_at: Option<Moment>,
}

/// The events of a span.
#[derive(Default, Serialize, ToSchema)]
struct WindowReport {
    events: i64,
    /// Whether there were more, and only the latest 100,000 are counted.
    is_truncated: bool,
    /// State → events.
    by_state: BTreeMap<String, i64>,
    /// The 200 with the most events.
    by_source: Vec<SourceReport>,
    /// Processed, as a share of all that are processed, failed or dead letters. Null where there are none.
    success_rate: Option<f64>,
}

/// The events whose record names a source first.
#[derive(Serialize, ToSchema)]
struct SourceReport {
    connection_id: String,
    /// Its first 256 characters.
    source_id: String,
    events: i64,
    /// State → events.
    by_state: BTreeMap<String, i64>,
}

/// Events in a state.
#[derive(Serialize, ToSchema)]
struct WaitingReport {
    events: i64,
    /// Whether there may be more, and the count ends at 100,000.
    is_truncated: bool,
    oldest_received_at: Option<Moment>,
}

/// How the Pancake integration is doing
#[utoipa::path(
    get,
    path = "/reports/pancake",
    tag = "reports",
    responses((status = 200, body = PancakeReport, description = "The report"), Refusals)
)]
async fn show_report(caller: Caller) -> Answered {
    caller.parameters(&[])?;
    let mut desk = caller.desk_for(Action::ViewReport).await?;
    let country = caller.country.as_str();
    walk_by_index(desk.connection()).await?;
    let (from, to) = store::span(desk.connection(), WINDOW_HOURS).await?;
    let rows = store::window(desk.connection(), country, from).await?;
    let mut not_processed = BTreeMap::new();
    for state in WAITING {
        let (events, oldest) = store::waiting(desk.connection(), country, state).await?;
        let report = WaitingReport {
            events,
            is_truncated: events == WAITING_MAX,
            oldest_received_at: oldest,
        };
        not_processed.insert(state, report);
    }
    desk.leave().await?;
    let oldest = |state| {
        let report: Option<&WaitingReport> = not_processed.get(state);
        report.and_then(|report| report.oldest_received_at)
    };
    let oldest = [oldest("received"), oldest("failed")].into_iter().flatten();
    answer::ok(&PancakeReport {
        from,
        to,
        last_day: summarize(rows),
        oldest_waiting_received_at: oldest.min_by_key(|moment| moment.micros()),
        not_processed,
    })
}

fn summarize(rows: Vec<Counted>) -> WindowReport {
    let mut report = WindowReport::default();
    let mut sources: BTreeMap<(String, String), BTreeMap<String, i64>> = BTreeMap::new();
    for row in rows {
        if let Some(source) = row.connection_id.zip(row.source_id) {
            let by_state = sources.entry(source).or_default();
            by_state.insert(row.state, row.events);
        } else {
            report.events += row.events;
            report.by_state.insert(row.state, row.events);
        }
    }
    report.is_truncated = report.events == WINDOW_EVENTS_MAX;
    report.success_rate = success_rate(&report.by_state);
    report.by_source = sources
        .into_iter()
        .map(|((connection_id, source_id), by_state)| SourceReport {
            connection_id,
            source_id,
            events: by_state.values().sum(),
            by_state,
        })
        .collect();
    report
        .by_source
        .sort_by_key(|source| std::cmp::Reverse(source.events));
    report
}

fn success_rate(by_state: &BTreeMap<String, i64>) -> Option<f64> {
    let count = |state| by_state.get(state).copied().unwrap_or_default();
    let processed = count("processed");
    let tried = processed + count("failed") + count("dead_letter");
    // At most 100,000 each.
    let (processed, tried) = (i32::try_from(processed).ok()?, i32::try_from(tried).ok()?);
    (tried > 0).then(|| f64::from(processed) / f64::from(tried))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_summed_by_state_and_source() {
        let row = |source: Option<&str>, state: &str, events| Counted {
            connection_id: source.map(|_| "vn-1".to_owned()),
            source_id: source.map(str::to_owned),
            state: state.to_owned(),
            events,
        };
        let report = summarize(vec![
            row(None, "processed", 9),
            row(None, "dead_letter", 1),
            row(None, "received", 5),
            row(Some("b"), "processed", 3),
            row(Some("a"), "processed", 6),
            row(Some("a"), "dead_letter", 1),
            row(Some("a"), "received", 5),
        ]);
        assert_eq!((report.events, report.is_truncated), (15, false));
        assert_eq!(report.by_state["processed"], 9);
        assert_eq!(report.success_rate, Some(0.9));
        assert_eq!(report.by_source[0].events, 12);
        assert_eq!(summarize(Vec::new()).success_rate, None);
    }
}
