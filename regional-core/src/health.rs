//! `/healthz`: the process lives. `/readyz`: it can also do its work.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use protocol::{Country, RegionId};
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::app::SharedApp;
use crate::db::{self, SchemaState};

/// How long an answer of `/readyz` holds. Short against a probe's interval (seconds), and it keeps
/// anybody who hammers the path from taking up the database.
const ANSWER_HOLDS: Duration = Duration::from_millis(200);

/// What `/readyz` remembers.
#[derive(Default)]
pub struct Readiness {
    last: Mutex<Option<(Instant, Checks)>>,
    shutting_down: AtomicBool,
}

impl Readiness {
    pub(crate) fn announce_shutdown(&self) {
        self.shutting_down.store(true, Ordering::Relaxed);
    }
}

/// What was checked, in the order in which one needs the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Checks {
    process: &'static str,
    database: &'static str,
    schema: &'static str,
}

#[derive(Serialize)]
struct ReadyAnswer<'a> {
    status: &'static str,
    region: &'a RegionId,
    /// Whose records it takes: whoever sends a country here can see whether it would be refused.
    countries: &'a BTreeSet<Country>,
    checks: ShownChecks,
}

#[derive(Serialize)]
struct ShownChecks {
    #[serde(flatten)]
    checks: Checks,
    /// Said, not asked for: records are taken in without master data.
    master_data: &'static str,
}

const OK: &str = "ok";
const UNKNOWN: &str = "unknown";

/// The process lives.
pub(crate) async fn live() -> Response {
    (
        [(header::CONTENT_TYPE, "application/json")],
        r#"{"status":"ok"}"#,
    )
        .into_response()
}

/// Whether records can be taken in: database reachable, schema there.
///
/// A schema newer than this binary is fine: migrations expand before they contract, so old code runs
/// while and after they are applied. An older or half-applied one is not.
pub(crate) async fn ready(State(app): State<SharedApp>) -> Response {
    let shutting_down = app.readiness.shutting_down.load(Ordering::Relaxed);
    let checks = if shutting_down {
        Checks {
            process: "shutting_down",
            database: UNKNOWN,
            schema: UNKNOWN,
        }
    } else {
        current_checks(&app).await
    };
    let shown = ShownChecks {
        checks,
        master_data: if app.master_data.is_loaded() {
            "loaded"
        } else {
            "absent"
        },
    };
    let is_ready = [checks.process, checks.database, checks.schema] == [OK; 3];
    let answer = Json(ReadyAnswer {
        status: if is_ready { "ready" } else { "not_ready" },
        region: &app.config.region,
        countries: &app.config.countries,
        checks: shown,
    });
    if is_ready {
        answer.into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, answer).into_response()
    }
}

async fn current_checks(app: &SharedApp) -> Checks {
    // Held while checking, on purpose: all who ask at the same moment share one check.
    let mut last = app.readiness.last.lock().await;
    if let Some((checked_at, checks)) = *last
        && checked_at.elapsed() < ANSWER_HOLDS
    {
        return checks;
    }
    let limits = &app.config.database;
    let patience = limits.acquire_timeout + limits.statement_timeout;
    let (database, schema) = match timeout(patience, db::schema_state(&app.pool)).await {
        Ok(Ok(SchemaState::Current)) => (OK, OK),
        Ok(Ok(SchemaState::Behind)) => (OK, "behind"),
        Ok(Ok(SchemaState::Dirty)) => (OK, "dirty"),
        Ok(Ok(SchemaState::Missing)) => (OK, "missing"),
        Ok(Err(_)) | Err(_) => ("unreachable", UNKNOWN),
    };
    let checks = Checks {
        process: OK,
        database,
        schema,
    };
    *last = Some((Instant::now(), checks));
    checks
}
