//! Metrics, as Prometheus reads them at `/metrics`.
//!
//! A label holds only what was signed in a believed hop, or a fixed text: nobody but the edge can
//! bring a new series into being, and even it only so many (`MAX_CONNECTIONS_SEEN`).

mod pipeline;
mod process;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use protocol::connection::ConnectionId;
use protocol::{Country, UnixSeconds};
use sqlx::PgPool;
use tracing::error;

use self::pipeline::PipelineMetrics;
pub(crate) use self::pipeline::{ConnectionLabels, INDICATORS, JobLabels, TableLabels};
use self::process::ResidentMemory;
use crate::app::SharedApp;
use crate::error::{AppError, HopRefusal, SealRefusal};

/// A region has some tens of connections. Each has a series per [`Outcome`], so this many are 8192.
const MAX_CONNECTIONS_SEEN: usize = 1024;

/// The connection's label once [`MAX_CONNECTIONS_SEEN`] are known.
const OTHER_CONNECTIONS: &str = "other";

/// From 10 ms to minutes: the target is 30 s.
const PROCESSING_BUCKETS_SECS: [f64; 12] = [
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0,
];

/// From 1 ms (a commit on a local disk) to 5 s (Pancake's patience).
const LATENCY_BUCKETS_SECS: [f64; 12] = [
    0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0,
];

/// Powers of two around the default of `ingest.batch_rows`, 64.
const BATCH_ROWS_BUCKETS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

/// How a webhook's request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// 200, a new event.
    Accepted,
    /// 200, an event that was there.
    Duplicate,
    /// 200, kept as a rejected request.
    InvalidPayload,
    /// 401.
    Unauthorized,
    /// 421.
    Misdirected,
    /// 413.
    TooLarge,
    /// 503.
    Unavailable,
    /// Anything else.
    Error,
}

impl Outcome {
    const ALL: [Self; 8] = [
        Self::Accepted,
        Self::Duplicate,
        Self::InvalidPayload,
        Self::Unauthorized,
        Self::Misdirected,
        Self::TooLarge,
        Self::Unavailable,
        Self::Error,
    ];

    /// The label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::InvalidPayload => "invalid_payload",
            Self::Unauthorized => "unauthorized",
            Self::Misdirected => "misdirected",
            Self::TooLarge => "too_large",
            Self::Unavailable => "unavailable",
            Self::Error => "error",
        }
    }
}

impl From<AppError> for Outcome {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Unauthorized(_) => Self::Unauthorized,
            AppError::Misdirected => Self::Misdirected,
            AppError::TooLarge => Self::TooLarge,
            AppError::Unavailable(_) => Self::Unavailable,
            AppError::NotFound
            | AppError::MethodNotAllowed
            | AppError::NotOpened(_)
            | AppError::BodyTimeout
            | AppError::BodyBroken
            | AppError::Internal => Self::Error,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    country: String,
    connection: String,
    outcome: &'static str,
}

/// What became of an event: the label `outcome` of `pancake_events_total`, and but for the last two the
/// event's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventOutcome {
    /// Its ticket is committed.
    Processed,
    /// The country's kill switch was on.
    SkippedKillSwitch,
    /// None of its sources was active, or its connection was disabled before it was received.
    SkippedSourceDisabled,
    /// It is tried again.
    Failed,
    /// It is not tried again by itself.
    DeadLetter,
}

impl EventOutcome {
    /// The label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Processed => "processed",
            Self::SkippedKillSwitch => "skipped_kill_switch",
            Self::SkippedSourceDisabled => "skipped_source_disabled",
            Self::Failed => "failed",
            Self::DeadLetter => "dead_letter",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    country: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UnfinishedLabels {
    country: String,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    cause: String,
}

/// One connection's counters, looked up once a request.
pub(crate) struct OutcomeCounters([Counter; Outcome::ALL.len()]);

impl OutcomeCounters {
    pub(crate) fn count(&self, outcome: Outcome) {
        // `ALL` is in the order of the variants; a test holds that.
        if let Some(counter) = self.0.get(outcome as usize) {
            counter.inc();
        }
    }
}

/// What processing tells.
struct ProcessingMetrics {
    events: Family<EventLabels, Counter>,
    duration: Histogram,
    blanked: Counter,
    unfinished: Family<UnfinishedLabels, Gauge>,
    oldest: Family<UnfinishedLabels, Gauge<f64, AtomicU64>>,
}

impl ProcessingMetrics {
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            events: Family::default(),
            duration: Histogram::new(PROCESSING_BUCKETS_SECS),
            blanked: Counter::default(),
            unfinished: Family::default(),
            oldest: Family::default(),
        };
        registry.register(
            "pancake_events",
            "Events that processing has dealt with, by what became of them",
            metrics.events.clone(),
        );
        registry.register(
            "pancake_event_process_duration_seconds",
            "From an event's receipt to its ticket's commit",
            metrics.duration.clone(),
        );
        registry.register(
            "pancake_blanked_rows",
            "Events and rejected requests whose personal data is gone, by age",
            metrics.blanked.clone(),
        );
        registry.register(
            "pancake_events_unfinished",
            "Events that wait (received), are tried again (failed) or need somebody (dead_letter)",
            metrics.unfinished.clone(),
        );
        registry.register(
            "pancake_events_unfinished_oldest_seconds",
            "How long the oldest of them has been here; 0 where there is none",
            metrics.oldest.clone(),
        );
        metrics
    }
}

/// All metrics of a core.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    anonymous: Arc<OutcomeCounters>,
    by_connection: RwLock<HashMap<(Country, ConnectionId), Arc<OutcomeCounters>>>,
    hop_refusals: Family<RefusalLabels, Counter>,
    sealed_refusals: Family<RefusalLabels, Counter>,
    hop_skew: Gauge,
    latency: Histogram,
    processing: ProcessingMetrics,
    pipeline: PipelineMetrics,
    batch_rows: Histogram,
    queue_depth: Gauge,
    pool_connections: Gauge,
    pool_idle: Gauge,
    master_data_seq: Gauge,
    master_data_loads: Counter,
    master_data_failures: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics, at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let requests = Family::<RequestLabels, Counter>::default();
        let hop_refusals = Family::<RefusalLabels, Counter>::default();
        let sealed_refusals = Family::<RefusalLabels, Counter>::default();
        let hop_skew = Gauge::default();
        let latency = Histogram::new(LATENCY_BUCKETS_SECS);
        let processing = ProcessingMetrics::register(&mut registry);
        let pipeline = PipelineMetrics::register(&mut registry);
        let batch_rows = Histogram::new(BATCH_ROWS_BUCKETS);
        let queue_depth = Gauge::default();
        let pool_connections = Gauge::default();
        let pool_idle = Gauge::default();
        let master_data_seq = Gauge::default();
        let master_data_loads = Counter::default();
        let master_data_failures = Counter::default();

        registry.register(
            "pancake_webhook_requests",
            "Records posted by the edge, by how it ended",
            requests.clone(),
        );
        registry.register(
            "pancake_webhook_hop_refusals",
            "Requests that were not signed as the edge signs, by cause",
            hop_refusals.clone(),
        );
        registry.register(
            "pancake_webhook_sealed_refusals",
            "Records that waited at the edge and could not be opened or believed, by cause",
            sealed_refusals.clone(),
        );
        registry.register(
            "pancake_webhook_hop_skew_seconds",
            "How far the time at which the edge signed the latest record is behind this clock",
            hop_skew.clone(),
        );
        registry.register(
            "pancake_webhook_latency_seconds",
            "From a record's head to its answer",
            latency.clone(),
        );
        registry.register(
            "pancake_webhook_batch_rows",
            "Rows that shared one statement",
            batch_rows.clone(),
        );
        registry.register(
            "pancake_webhook_queue_depth",
            "Records that wait for the database",
            queue_depth.clone(),
        );
        registry.register(
            "database_pool_connections",
            "Open connections to the database",
            pool_connections.clone(),
        );
        registry.register(
            "database_pool_idle_connections",
            "Open connections to the database that nobody uses",
            pool_idle.clone(),
        );
        registry.register(
            "master_data_seq",
            "Up to where master data is loaded; 0 while none is",
            master_data_seq.clone(),
        );
        registry.register(
            "master_data_table_loads",
            "Tables of master data that were read whole",
            master_data_loads.clone(),
        );
        registry.register(
            "master_data_failures",
            "Looks at the database for master data that failed",
            master_data_failures.clone(),
        );
        register_process(&mut registry);
        let anonymous = Arc::new(counters(&requests, "", ""));
        Self {
            registry,
            requests,
            anonymous,
            by_connection: RwLock::default(),
            hop_refusals,
            sealed_refusals,
            hop_skew,
            latency,
            processing,
            pipeline,
            batch_rows,
            queue_depth,
            pool_connections,
            pool_idle,
            master_data_seq,
            master_data_loads,
            master_data_failures,
        }
    }

    pub(crate) fn set_master_data(&self, seq: i64, tables_read: u64) {
        self.master_data_seq.set(seq);
        self.master_data_loads.inc_by(tables_read);
    }

    pub(crate) fn count_master_data_failure(&self) {
        self.master_data_failures.inc();
    }

    /// The counters of requests that nobody vouches for.
    pub(crate) fn anonymous(&self) -> &Arc<OutcomeCounters> {
        &self.anonymous
    }

    /// The counters of a connection, as signed in a believed hop.
    pub(crate) fn of_connection(
        &self,
        country: Country,
        connection: &ConnectionId,
    ) -> Arc<OutcomeCounters> {
        let key = (country, connection.clone());
        let known = self
            .by_connection
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(&key) {
            return Arc::clone(known);
        }
        let is_full = known.len() >= MAX_CONNECTIONS_SEEN;
        drop(known);
        let label = if is_full {
            OTHER_CONNECTIONS
        } else {
            connection.as_str()
        };
        let made = Arc::new(counters(&self.requests, country.as_str(), label));
        if !is_full {
            self.by_connection
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(key, Arc::clone(&made));
        }
        made
    }

    pub(crate) fn count_hop_refusal(&self, refusal: HopRefusal) {
        let cause = refusal.to_string();
        self.hop_refusals
            .get_or_create(&RefusalLabels { cause })
            .inc();
    }

    pub(crate) fn count_seal_refusal(&self, refusal: SealRefusal) {
        let cause = refusal.to_string();
        self.sealed_refusals
            .get_or_create(&RefusalLabels { cause })
            .inc();
    }

    /// Both clocks count whole seconds, and the way takes some milliseconds: a second is nothing.
    pub(crate) fn observe_hop(&self, signed_at: UnixSeconds, now: UnixSeconds) {
        let behind = i128::from(now.0) - i128::from(signed_at.0);
        self.hop_skew.set(i64::try_from(behind).unwrap_or(i64::MAX));
    }

    pub(crate) fn observe_latency(&self, latency: Duration) {
        self.latency.observe(latency.as_secs_f64());
    }

    pub(crate) fn count_event(&self, country: Country, outcome: EventOutcome) {
        self.processing
            .events
            .get_or_create(&EventLabels {
                country: country.as_str().to_owned(),
                outcome: outcome.as_str(),
            })
            .inc();
    }

    pub(crate) fn set_unfinished(
        &self,
        country: Country,
        status: &'static str,
        events: i64,
        oldest: f64,
    ) {
        let labels = UnfinishedLabels {
            country: country.as_str().to_owned(),
            status,
        };
        self.processing
            .unfinished
            .get_or_create(&labels)
            .set(events);
        self.processing.oldest.get_or_create(&labels).set(oldest);
    }

    pub(crate) fn count_blanked(&self, rows: u64) {
        self.processing.blanked.inc_by(rows);
    }

    pub(crate) fn observe_processing(&self, duration: Duration) {
        self.processing.duration.observe(duration.as_secs_f64());
    }

    pub(crate) fn observe_batch(&self, rows: usize) {
        // A batch has at most some hundreds of rows.
        self.batch_rows
            .observe(f64::from(u32::try_from(rows).unwrap_or(u32::MAX)));
    }

    /// The text of all metrics.
    fn text(&self, queue_depth: usize, pool: &PgPool) -> Result<String, std::fmt::Error> {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.queue_depth.set(gauge(queue_depth));
        self.pool_connections.set(pool.size().into());
        self.pool_idle.set(gauge(pool.num_idle()));
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn counters(
    requests: &Family<RequestLabels, Counter>,
    country: &str,
    connection: &str,
) -> OutcomeCounters {
    OutcomeCounters(Outcome::ALL.map(|outcome| {
        requests.get_or_create_owned(&RequestLabels {
            country: country.to_owned(),
            connection: connection.to_owned(),
            outcome: outcome.as_str(),
        })
    }))
}

/// What is known of the process from its start.
fn register_process(registry: &mut Registry) {
    let started_at: Gauge = Gauge::default();
    started_at.set(unix_now());
    registry.register(
        "process_start_time_seconds",
        "When the process started, in seconds since 1970",
        started_at,
    );
    registry.register_collector(Box::new(ResidentMemory));
    registry.register(
        "regional_core_build",
        "The build that answers",
        Info::new([("version", env!("CARGO_PKG_VERSION"))]),
    );
}

fn unix_now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .unwrap_or_default()
}

/// `GET /metrics`.
pub(crate) async fn expose(State(app): State<SharedApp>) -> Response {
    match app.metrics.text(app.events.depth(), &app.pool) {
        Ok(text) => (
            [(
                header::CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            text,
        )
            .into_response(),
        Err(error) => {
            error!(error = %error, "metrics cannot be written");
            AppError::Internal.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_stand_at_their_own_index() {
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index, "{outcome:?}");
        }
    }

    #[test]
    fn the_number_of_series_has_a_bound() {
        let metrics = Metrics::new();
        let country = Country::parse("VN").unwrap();
        for number in 0..2 * MAX_CONNECTIONS_SEEN {
            let connection = ConnectionId::parse(&format!("vn-{number}")).unwrap();
            metrics
                .of_connection(country, &connection)
                .count(Outcome::Accepted);
        }
        let mut text = String::new();
        encode(&mut text, &metrics.registry).unwrap();
        let series = text.matches("pancake_webhook_requests_total{").count();
        // All connections, "other", and the anonymous one.
        assert_eq!(series, (MAX_CONNECTIONS_SEEN + 2) * Outcome::ALL.len());
        let other = metrics.requests.get_or_create_owned(&RequestLabels {
            country: "VN".to_owned(),
            connection: OTHER_CONNECTIONS.to_owned(),
            outcome: "accepted",
        });
        assert_eq!(other.get(), u64::try_from(MAX_CONNECTIONS_SEEN).unwrap());
    }
}
