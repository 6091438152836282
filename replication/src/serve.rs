//! `GET /healthz` and `GET /metrics`, if `REPLICATOR_LISTEN` says where.
//!
//! Metrics are read from the database when they are asked for, so a process that hangs does not go on
//! telling how well it once was: its lag rises.

use std::fmt::Write as _;
use std::io;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sqlx::PgPool;
use tokio::net::TcpListener;

use crate::config;
use crate::report::Status;

/// Serves until it fails; for ever, if nothing is to be served.
pub async fn run(pool: PgPool) -> io::Result<()> {
    let Some(address) = config::optional("REPLICATOR_LISTEN") else {
        return std::future::pending().await;
    };
    let listener = TcpListener::bind(&address).await?;
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/metrics", get(metrics))
        .with_state(pool);
    axum::serve(listener, router).await
}

async fn metrics(State(pool): State<PgPool>) -> Response {
    match Status::read(&pool, false).await {
        Ok(status) => (
            [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
            exposition(&status),
        )
            .into_response(),
        Err(error) => {
            tracing::error!(error = %error, "metrics cannot be read");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

/// Prometheus' text format.
fn exposition(status: &Status) -> String {
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, samples: Vec<(String, f64)>| {
        if samples.is_empty() {
            return;
        }
        // Writing to a `String` cannot fail.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n");
        for (labels, value) in samples {
            let _ = writeln!(
                text,
                "{name}{{region=\"{}\"{labels}}} {value}",
                status.region
            );
        }
    };
    #[expect(
        clippy::cast_precision_loss,
        reason = "Prometheus knows no other number"
    )]
    let float = |number: i64| number as f64;
    gauge(
        "replication_seq",
        "Hub: the last change. Region: the last that is applied.",
        vec![(String::new(), float(status.seq))],
    );
    if let Some(relay) = &status.relay {
        gauge(
            "replication_relay_waiting",
            "Changes that are not in the hub's Kafka yet.",
            vec![(String::new(), float(relay.waiting))],
        );
        gauge(
            "replication_relay_waiting_seconds",
            "How long the oldest of them has waited.",
            vec![(String::new(), relay.waiting_secs.unwrap_or(0.0))],
        );
    }
    if let Some(applier) = &status.applier {
        let hops = [
            ("publish", applier.publish_secs),
            ("transport", applier.transport_secs),
            ("apply", applier.apply_secs),
        ];
        gauge(
            "replication_lag_seconds",
            "Age of the last heartbeat that is applied: how far behind the hub this region may be.",
            applier
                .lag_secs
                .map(|lag| (String::new(), lag))
                .into_iter()
                .collect(),
        );
        gauge(
            "replication_hop_seconds",
            "What each hop took of the last heartbeat's way.",
            hops.into_iter()
                .filter_map(|(hop, secs)| Some((format!(",hop=\"{hop}\""), secs?)))
                .collect(),
        );
        gauge(
            "replication_parked_records",
            "Records that could not be applied, and are not healed by a restate.",
            vec![(String::new(), float(applier.parked))],
        );
        gauge(
            "replication_table_differs",
            "1 if the table was not the hub's at the last digest.",
            status
                .tables
                .iter()
                .filter_map(|table| {
                    let differs = if table.same_as_hub? { 0.0 } else { 1.0 };
                    Some((format!(",table=\"{}\"", table.table), differs))
                })
                .collect(),
        );
    }
    gauge(
        "replication_table_rows",
        "Rows of the table.",
        status
            .tables
            .iter()
            .map(|table| (format!(",table=\"{}\"", table.table), float(table.rows)))
            .collect(),
    );
    text
}
