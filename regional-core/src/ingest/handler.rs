//! `POST /v1/pancake/{connection}/records`, and `POST /v1/pancake/sealed-records` for what waited at the
//! edge.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use protocol::BODY_LIMIT_BYTES;
use protocol::hop::VerifiedRecord;
use protocol::record::PancakeRecord;
use protocol::record_status::{RECORD_STATUS, RecordStatus};
use protocol::sealed::SEALED_LIMIT_BYTES;
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::{debug, warn};
use uuid::Uuid;

use super::batch::Stored;
use super::event::{Delivery, Layer, NewEvent, RecordFields};
use super::{body, rejected};
use crate::app::{App, SharedApp};
use crate::clock::unix_seconds;
use crate::error::{AppError, HopRefusal};
use crate::metrics::{Outcome, OutcomeCounters};

/// Above this many bytes the head is judged before the body is read. Below it, judging twice costs more
/// than the buffer: 1024 connections of this are 16 MiB.
const BUFFERED_UNSEEN_BYTES: u64 = 16 * 1024;

/// Says the status a second time, so that the edge need not read the answer.
const RECORD_STATUS_HEADER: HeaderName = HeaderName::from_static(RECORD_STATUS);

/// What is answered with 200. It is committed.
enum Taken {
    Accepted(Uuid),
    Duplicate(Uuid),
    InvalidPayload,
}

/// Takes in one record.
pub(crate) async fn receive(State(app): State<SharedApp>, request: Request) -> Response {
    let started = Instant::now();
    let mut counters = Arc::clone(app.metrics.anonymous());
    let taken = take_in(&app, request, started, &mut counters).await;
    answer(&app, &taken, started, &counters)
}

/// Takes in one record that waited at the edge, sealed.
pub(crate) async fn receive_sealed(State(app): State<SharedApp>, request: Request) -> Response {
    let started = Instant::now();
    let mut counters = Arc::clone(app.metrics.anonymous());
    let taken = take_in_sealed(&app, request, started, &mut counters).await;
    match &taken {
        Err(AppError::NotOpened(refusal)) => {
            app.metrics.count_seal_refusal(*refusal);
            // The edge itself sent it: a key is missing here, or there.
            warn!(seal.refusal = %refusal, "a record that waited at the edge is not opened");
        }
        Err(AppError::Unauthorized(refusal)) => app.metrics.count_hop_refusal(*refusal),
        _ => {}
    }
    answer(&app, &taken, started, &counters)
}

fn answer(
    app: &App,
    taken: &Result<Taken, AppError>,
    started: Instant,
    counters: &OutcomeCounters,
) -> Response {
    counters.count(match taken {
        Ok(Taken::Accepted(_)) => Outcome::Accepted,
        Ok(Taken::Duplicate(_)) => Outcome::Duplicate,
        Ok(Taken::InvalidPayload) => Outcome::InvalidPayload,
        Err(error) => Outcome::from(*error),
    });
    app.metrics.observe_latency(started.elapsed());
    let (status, event_id) = match taken {
        Ok(Taken::Accepted(id)) => (RecordStatus::Accepted, Some(*id)),
        Ok(Taken::Duplicate(id)) => (RecordStatus::Duplicate, Some(*id)),
        Ok(Taken::InvalidPayload) => (RecordStatus::InvalidPayload, None),
        Err(error) => return (*error).into_response(),
    };
    let status = status.as_str();
    let answer = event_id.map_or_else(
        || format!(r#"{{"status":"{status}"}}"#),
        |id| format!(r#"{{"status":"{status}","event_id":"{id}"}}"#),
    );
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (RECORD_STATUS_HEADER, status),
    ];
    (headers, answer).into_response()
}

async fn take_in(
    app: &SharedApp,
    request: Request,
    started: Instant,
    counters: &mut Arc<OutcomeCounters>,
) -> Result<Taken, AppError> {
    let (parts, body) = request.into_parts();
    if body::is_declared_too_large(&body, BODY_LIMIT_BYTES) {
        return Err(AppError::TooLarge);
    }
    if body::declared_bytes(&body) > BUFFERED_UNSEEN_BYTES {
        let now = unix_seconds(app.clock.now());
        app.guard
            .verify_head(&parts, now)
            .map_err(|refusal| refuse(app, refusal))?;
    }
    let body_deadline = started + app.config.http.body_timeout;
    let body = body::read(body, BODY_LIMIT_BYTES, body_deadline).await?;

    let now = app.clock.now();
    let hop = app
        .guard
        .verify_record(&parts, &body, unix_seconds(now))
        .map_err(|refusal| refuse(app, refusal))?;
    app.metrics.observe_hop(hop.created, unix_seconds(now));
    *counters = app.metrics.of_connection(hop.country, &hop.connection);
    check_destination(app, &hop)?;
    let delivery = Delivery::new(Layer::Webhook, hop, body, now);
    keep(app, delivery, started + app.config.ingest.deadline).await
}

async fn take_in_sealed(
    app: &SharedApp,
    request: Request,
    started: Instant,
    counters: &mut Arc<OutcomeCounters>,
) -> Result<Taken, AppError> {
    let (parts, body) = request.into_parts();
    if body::is_declared_too_large(&body, SEALED_LIMIT_BYTES) {
        return Err(AppError::TooLarge);
    }
    let now = unix_seconds(app.clock.now());
    app.guard
        .verify_sealed_head(&parts, now)
        .map_err(AppError::Unauthorized)?;
    let body_deadline = started + app.config.http.body_timeout;
    let sealed = body::read(body, SEALED_LIMIT_BYTES, body_deadline).await?;

    let now = app.clock.now();
    let opened = app.guard.open(&parts, &sealed, unix_seconds(now))?;
    let hop = app.guard.verify_opened(&opened)?;
    *counters = app.metrics.of_connection(hop.country, &hop.connection);
    check_destination(app, &hop)?;
    let body = Bytes::copy_from_slice(&opened.body);
    // We have had it since then. Nobody's clock makes it later than now.
    let received_at = waited_since(&hop, opened.hop.created_ms).map_or(now, |since| since.min(now));
    let delivery = Delivery::new(Layer::Spool, hop, body, received_at);
    keep(app, delivery, started + app.config.ingest.deadline).await
}

/// When the edge received what waited there.
fn waited_since(hop: &VerifiedRecord<'_>, created_ms: u16) -> Option<OffsetDateTime> {
    let seconds = i64::try_from(hop.created.0).ok()?;
    let second = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    Some(second + Duration::from_millis(created_ms.into()))
}

fn check_destination(app: &App, hop: &VerifiedRecord<'_>) -> Result<(), AppError> {
    app.guard
        .check_destination(hop.country, &hop.region)
        .inspect_err(|_| {
            warn!(hop.country = %hop.country, hop.region = %hop.region, "record is for another core");
        })
}

/// Keeps a believed body: as an event, or, if it is no record, as a rejected request.
async fn keep(app: &SharedApp, delivery: Delivery, deadline: Instant) -> Result<Taken, AppError> {
    let parsed = PancakeRecord::parse(&delivery.body).map(|record| RecordFields::read(&record));
    match parsed {
        Ok(fields) => {
            let event = NewEvent { delivery, fields };
            Ok(match app.events.store(event, deadline).await? {
                Stored::Accepted(id) => Taken::Accepted(id),
                Stored::Duplicate(id) => Taken::Duplicate(id),
                Stored::Refused => Taken::InvalidPayload,
            })
        }
        Err(cause) => {
            keep_rejected(app, delivery, &cause.to_string(), deadline).await?;
            Ok(Taken::InvalidPayload)
        }
    }
}

fn refuse(app: &App, refusal: HopRefusal) -> AppError {
    app.metrics.count_hop_refusal(refusal);
    // Anybody can bring this about: a warning would let them flood the log. The metric tells ops.
    debug!(hop.refusal = %refusal, "record is not signed as the edge signs");
    AppError::Unauthorized(refusal)
}

/// Keeps a body that is no record. It does not wait in the batcher: such bodies are rare, and a flood
/// of them must not stand before records.
async fn keep_rejected(
    app: &SharedApp,
    delivery: Delivery,
    cause: &str,
    deadline: Instant,
) -> Result<(), AppError> {
    let task = {
        let app = Arc::clone(app);
        let cause = cause.to_owned();
        // A task of its own, so that a client that hangs up does not cancel the insert.
        tokio::spawn(async move {
            let region = app.guard.region();
            rejected::keep(&app.pool, region, &delivery, &cause).await
        })
    };
    rejected::finished_by(deadline, task).await
}
