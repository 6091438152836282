//! One batch, in one transaction that the caller commits: judged, planned, assigned, written and settled.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use sqlx::PgConnection;
use tokio::time::Instant;
use tracing::{error, info};
use uuid::Uuid;

use super::assign::{Unassigned, assign};
use super::plan::{Lead, plan};
use super::retry::FailureKind;
use super::store::{self, Claimed};
use super::switches::Verdict;
use super::tries::TIMED_OUT;
use crate::ingest::store::{Failure, classify};
use crate::metrics::EventOutcome;
use crate::phone::{NormalizedPhone, PhoneFault, normalize};
use crate::sources;

/// Why a batch was not processed; nothing of it is there.
pub(super) enum BatchError {
    /// The database is away, or too busy: none of the events is to blame.
    Database(sqlx::Error),
    /// One of the events.
    Event(FailureKind, String),
}

impl From<sqlx::Error> for BatchError {
    fn from(error: sqlx::Error) -> Self {
        let refusal = error.as_database_error();
        let code = refusal.and_then(sqlx::error::DatabaseError::code);
        let code = code.as_deref().unwrap_or_default();
        let kind = if TIMED_OUT.contains(&code) {
            FailureKind::TimedOut
        } else {
            match classify(&error) {
                Failure::Data => FailureKind::Refused,
                Failure::Bug => FailureKind::Internal,
                Failure::Connection | Failure::Unavailable => return Self::Database(error),
            }
        };
        // The names in an error are ours. Its text may hold a value.
        let named = refusal.and_then(|refusal| refusal.constraint().or_else(|| refusal.table()));
        let cause = [kind.as_str(), code, named.unwrap_or_default()].join(" ");
        let cause = cause.trim_end();
        Self::Event(
            kind,
            cause
                .get(..cause.floor_char_boundary(256))
                .unwrap_or_default()
                .to_owned(),
        )
    }
}

/// What of a batch is to be counted once it is committed.
pub(super) struct Done {
    /// With the age of each when the batch began.
    pub(super) events: Vec<(Claimed, EventOutcome, Duration)>,
    pub(super) began: Instant,
}

/// All that becomes of these events. A panic is a failure of theirs.
pub(super) async fn process(
    connection: &mut PgConnection,
    claimed: Vec<Claimed>,
) -> Result<Done, BatchError> {
    match AssertUnwindSafe(process_all(connection, claimed))
        .catch_unwind()
        .await
    {
        Ok(result) => result,
        Err(_panic) => {
            error!("processing panicked");
            let kind = FailureKind::Internal;
            Err(BatchError::Event(kind, kind.as_str().to_owned()))
        }
    }
}

async fn process_all(
    connection: &mut PgConnection,
    claimed: Vec<Claimed>,
) -> Result<Done, BatchError> {
    let began = Instant::now();
    let now = store::now(connection).await?;
    // Read again, after the claim: what was claimed may have come after a switch was thrown.
    let switches = store::switches(connection).await?;
    let with_sources: Vec<(Claimed, Vec<String>)> = claimed
        .into_iter()
        .map(|event| {
            let sources = sources::registered(&event.named_sources);
            (event, sources)
        })
        .collect();
    let sources: HashSet<_> = with_sources
        .iter()
        .flat_map(|(event, sources)| {
            sources
                .iter()
                .map(|source| (event.country, event.connection.clone(), source.clone()))
        })
        .collect();
    let gate = store::gate(connection, switches, &sources).await?;

    let mut done = Done {
        events: Vec::new(),
        began,
    };
    let mut leads = Vec::new();
    let (mut killed, mut disabled) = (Vec::new(), Vec::new());
    for (event, sources) in with_sources {
        let age = Duration::try_from(now - event.received_at).unwrap_or_default();
        let phone = normalize(event.phone_number.as_deref(), event.country);
        let verdict = gate.judge(
            event.country,
            &event.connection,
            &sources,
            event.received_at,
        );
        let outcome = match verdict {
            Verdict::Process => {
                leads.push(lead(&event, phone, sources));
                EventOutcome::Processed
            }
            Verdict::SkippedKillSwitch => {
                killed.push((event.event_id, phone.ok()));
                EventOutcome::SkippedKillSwitch
            }
            Verdict::SkippedSourceDisabled => {
                disabled.push((event.event_id, phone.ok()));
                EventOutcome::SkippedSourceDisabled
            }
        };
        done.events.push((event, outcome, age));
    }
    for (events, outcome) in [
        (killed, EventOutcome::SkippedKillSwitch),
        (disabled, EventOutcome::SkippedSourceDisabled),
    ] {
        store::settle_skipped(connection, &events, outcome.as_str(), now).await?;
    }
    if leads.is_empty() {
        return Ok(done);
    }

    store::lock_people_and_records(connection, &leads).await?;
    let known = store::known(connection, &leads).await?;
    let plan = plan(leads, known, Uuid::now_v7);
    let unassigned: Vec<Unassigned> = plan
        .tickets
        .iter()
        .filter(|ticket| ticket.is_new)
        .map(|ticket| Unassigned {
            ticket_id: ticket.ticket_id,
            country: ticket.country,
            sources: ticket.sources.clone(),
        })
        .collect();
    let mut assignments = Vec::new();
    if !unassigned.is_empty() {
        let countries: HashSet<_> = unassigned
            .iter()
            .map(|ticket| ticket.country.as_str())
            .collect();
        let countries: Vec<_> = countries.into_iter().collect();
        let mut telesales = store::telesales(connection, &countries, now).await?;
        assignments = assign(&unassigned, &mut telesales, now);
    }
    store::write(connection, &plan, &assignments, now).await?;
    store::settle_processed(connection, &plan.outcomes, now).await?;
    if !plan.tickets.is_empty() {
        info!(
            events = plan.outcomes.len(),
            tickets = unassigned.len(),
            assigned = assignments.len(),
            "events processed"
        );
    }
    Ok(done)
}

fn lead(event: &Claimed, phone: Result<NormalizedPhone, PhoneFault>, sources: Vec<String>) -> Lead {
    Lead {
        event_id: event.event_id,
        country: event.country,
        connection: event.connection.clone(),
        record_id: event.record_id,
        modified_on: event.modified_on,
        received_at: event.received_at,
        name: event.name.clone(),
        phone_number: event.phone_number.clone(),
        email: event.email.clone(),
        phone,
        sources,
        ticket_id: event.ticket_id,
    }
}
