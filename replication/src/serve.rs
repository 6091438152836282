//! `GET /healthz`, `GET /metrics` and, in a region, `GET /v1/replication/position`, if `REPLICATOR_LISTEN`
//! says where.
//!
//! Metrics are read from the database when they are asked for, so a process that hangs does not go on
//! telling how well it once was: its lag rises.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use std::{fmt, io};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use protocol::hop::{self, HopKeys};
use sqlx::PgPool;
use tokio::net::TcpListener;

use crate::report::{self, ApplierStatus, Status, TableStatus};
use crate::{config, position, regions};

/// `OpenMetrics` 1.0, which is what the encoder writes.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves until it fails; for ever, if nothing is to be served. `hub_keys` are those by which a region knows
/// the hub; without them it does not tell its position.
pub async fn run(pool: PgPool, hub_keys: Option<HopKeys>) -> io::Result<()> {
    let Some(address) = config::optional("REPLICATOR_LISTEN") else {
        return std::future::pending().await;
    };
    let listener = TcpListener::bind(&address).await?;
    let asked = Arc::new(Asked::default());
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/metrics", get(metrics))
        .with_state((pool.clone(), Arc::clone(&asked)));
    let router = match hub_keys {
        Some(keys) => router.merge(
            Router::new()
                .route(position::PATH, get(tell_position))
                .with_state((pool, Arc::new(keys), asked)),
        ),
        None => router,
    };
    axum::serve(listener, router).await
}

/// When the hub asked last, in milliseconds since the first time: whether the hub knows this region.
#[derive(Default)]
struct Asked {
    first: OnceLock<Instant>,
    last_ms: AtomicU64,
}

impl Asked {
    fn note(&self) {
        let since_first = self.first.get_or_init(Instant::now).elapsed();
        let ms = u64::try_from(since_first.as_millis()).unwrap_or(u64::MAX);
        self.last_ms.fetch_max(ms, Ordering::Relaxed);
    }

    /// How long ago that was; nothing if the hub never asked this process.
    fn secs_ago(&self) -> Option<f64> {
        let since_first = self.first.get()?.elapsed();
        let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        Some(since_first.saturating_sub(last).as_secs_f64())
    }
}

/// Answers the hub, and nobody else.
async fn tell_position(
    State((pool, keys, since)): State<(PgPool, Arc<HopKeys>, Arc<Asked>)>,
    headers: HeaderMap,
) -> Response {
    let target = hop::Target {
        method: "GET",
        path: position::PATH,
        query: None,
    };
    // A header that is repeated is none.
    let one = |name: &str| {
        let mut values = headers.get_all(name).iter();
        let value = values.next().filter(|_| values.next().is_none())?;
        value.to_str().ok()
    };
    let received = hop::ReceivedHeaders {
        region: one(hop::REGION),
        signature_input: one(hop::SIGNATURE_INPUT),
        signature: one(hop::SIGNATURE),
        ..hop::ReceivedHeaders::default()
    };
    let asked = match hop::verify_inquiry(&keys, target, received, regions::now()) {
        Ok(region) => region,
        Err(error) => {
            tracing::warn!(error = %error, "an inquiry that is not the hub's");
            return StatusCode::UNAUTHORIZED.into_response();
        }
    };
    match report::read_position(&pool).await {
        Ok(position) if position.region == asked => {
            since.note();
            Json(position).into_response()
        }
        Ok(_) => StatusCode::MISDIRECTED_REQUEST.into_response(),
        Err(error) => {
            tracing::error!(error = %error, "the position cannot be read");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

async fn metrics(State((pool, asked)): State<(PgPool, Arc<Asked>)>) -> Response {
    let status = match Status::read(&pool, false).await {
        Ok(status) => status,
        Err(error) => {
            tracing::error!(error = %error, "metrics cannot be read");
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
    };
    match encoded(&status, asked.secs_ago()) {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => {
            tracing::error!(error = %error, "metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// All gauges of a status.
fn encoded(status: &Status, asked_secs_ago: Option<f64>) -> Result<String, fmt::Error> {
    let mut gauges = Gauges {
        registry: Registry::default(),
        region: &status.region,
    };
    gauges.add(
        "replication_seq",
        "Hub: the last change. Region: the last that is applied",
        [(None, float(status.seq))],
    );
    if let Some(relay) = &status.relay {
        gauges.add(
            "replication_relay_waiting",
            "Changes that are not in the hub's Kafka yet",
            [(None, float(relay.waiting))],
        );
        gauges.add(
            "replication_relay_waiting_seconds",
            "How long the oldest of them has waited",
            [(None, relay.waiting_secs.unwrap_or(0.0))],
        );
        gauges.add(
            "replication_deletions_waiting",
            "Deletions that not every region has passed: they stay in the log",
            [(None, float(relay.deletions_waiting))],
        );
        gauges.add(
            "replication_region_silent_seconds",
            "How long ago a region told its position",
            relay.regions.iter().filter_map(|report| {
                Some((Some(("asked", &*report.region)), report.answered_secs_ago?))
            }),
        );
        gauges.add(
            "replication_region_differs",
            "1 if a region said that a table there is not the hub's",
            relay.regions.iter().map(|report| {
                let differs = if report.differs { 1.0 } else { 0.0 };
                (Some(("asked", &*report.region)), differs)
            }),
        );
        gauges.add(
            "replication_restated_seconds",
            "How long ago all rows were sent again",
            relay.restated_secs_ago.map(|secs| (None, secs)),
        );
    }
    if let Some(applier) = &status.applier {
        add_applied(&mut gauges, applier, &status.tables, asked_secs_ago);
    }
    gauges.add(
        "replication_table_rows",
        "Rows of the table",
        status
            .tables
            .iter()
            .map(|table| (Some(("table", table.table)), float(table.rows))),
    );
    let mut text = String::new();
    encode(&mut text, &gauges.registry)?;
    Ok(text)
}

/// Those that a region has, and the hub has not.
fn add_applied(
    gauges: &mut Gauges<'_>,
    applier: &ApplierStatus,
    tables: &[TableStatus],
    asked_secs_ago: Option<f64>,
) {
    gauges.add(
        "replication_lag_seconds",
        "Age of the last heartbeat that is applied: how far behind the hub this region may be",
        applier.lag_secs.map(|lag| (None, lag)),
    );
    let hops = [
        ("publish", applier.publish_secs),
        ("transport", applier.transport_secs),
        ("apply", applier.apply_secs),
    ];
    gauges.add(
        "replication_hop_seconds",
        "What each hop took of the last heartbeat's way",
        hops.into_iter()
            .filter_map(|(hop, secs)| Some((Some(("hop", hop)), secs?))),
    );
    gauges.add(
        "replication_compared_seconds",
        "How long ago the table was compared with the hub's digest",
        tables
            .iter()
            .filter_map(|table| Some((Some(("table", table.table)), table.checked_secs_ago?))),
    );
    gauges.add(
        "replication_asked_seconds",
        "How long ago the hub asked how far this region is; absent until it has asked this process",
        asked_secs_ago.map(|secs| (None, secs)),
    );
    gauges.add(
        "replication_parked_records",
        "Records that could not be applied, and are not healed by a restate",
        [(None, float(applier.parked))],
    );
    gauges.add(
        "replication_table_differs",
        "1 if the table was not the hub's at the last digest",
        tables.iter().filter_map(|table| {
            let differs = if table.same_as_hub? { 0.0 } else { 1.0 };
            Some((Some(("table", table.table)), differs))
        }),
    );
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus knows no other number"
)]
fn float(number: i64) -> f64 {
    number as f64
}

type Labels = Vec<(&'static str, String)>;

/// Gauges that are made, told and forgotten with each question.
struct Gauges<'s> {
    registry: Registry,
    region: &'s str,
}

impl Gauges<'_> {
    /// A gauge of the region, by a further label if there is one. It is absent where nothing is known.
    fn add<'l>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Option<(&'static str, &'l str)>, f64)>,
    ) {
        let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        for (label, value) in samples {
            let mut labels = vec![("region", self.region.to_owned())];
            labels.extend(label.map(|(name, value)| (name, value.to_owned())));
            family.get_or_create_owned(&labels).set(value);
        }
        self.registry.register(name, help, family);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_that_the_hub_never_asked_says_so_by_silence() {
        let asked = Asked::default();
        assert_eq!(asked.secs_ago(), None);
        asked.note();
        let first = asked.secs_ago().unwrap();
        assert!((0.0..60.0).contains(&first), "{first}");
        std::thread::sleep(Duration::from_millis(20));
        assert!(asked.secs_ago().unwrap() >= 0.02, "time goes on");
        asked.note();
        assert!(asked.last_ms.load(Ordering::Relaxed) >= 20);
    }
}
