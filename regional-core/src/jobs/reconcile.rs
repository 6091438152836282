//! Reconciliation: all that was changed in the last days, compared with what is here, whatever polling has read.

use std::time::Duration;

use jiff::Timestamp;
use protocol::Country;
use serde::Deserialize;
use serde_json::Value;
use sqlx::PgExecutor;
use uuid::Uuid;

use super::asking::{Asking, Work, for_each};
use super::{Context, JobError, Progress};
use crate::completeness::store::{self, Polled, to_time};
use crate::completeness::walk::{Found, WalkError};
use crate::completeness::watermark::{Watermark, slices};
use crate::ingest::event::Layer;
use crate::pancake::Table;
use crate::pancake::client::Span;
use crate::pancake::retry::RetryBudget;

/// What is compared in one go.
const SLICE: Duration = Duration::from_hours(1);

/// How long it waits in all for a Pancake that failed too often: it is at it for long, and would begin anew.
const PATIENCE: Duration = Duration::from_mins(5);

/// What somebody may ask for: another span than that of the settings.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameters {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

pub(super) async fn run(
    context: &Context,
    country: Country,
    parameters: Value,
    progress: &Progress,
) -> Result<(), JobError> {
    let parameters: Parameters =
        serde_json::from_value(parameters).map_err(|_| JobError::Parameters)?;
    let polled = store::polled(&context.pool, country).await?;
    progress.set("connections", polled.len());
    let work = polled.iter().map(|one| {
        let work: Work<'_> = Box::pin(reconcile(context, country, one, &parameters, progress));
        (&one.connection, work)
    });
    for_each(work.collect()).await
}

async fn reconcile(
    context: &Context,
    country: Country,
    polled: &Polled,
    parameters: &Parameters,
    progress: &Progress,
) -> Result<(), JobError> {
    let asking = Asking::new(context, country, Layer::Reconcile, polled)?;
    let now = asking.now();
    // What polling had no turn for yet is not missed.
    let turn = context
        .limits
        .poll
        .saturating_add(context.limits.poll_settle);
    let to = parameters
        .to
        .or_else(|| now.checked_sub(turn).ok())
        .map_or(now, |to| to.min(now));
    let from = parameters
        .from
        .or_else(|| to.checked_sub(context.limits.reconciliation).ok())
        .unwrap_or(to);
    let span = Span { from, to };
    if from >= to {
        return Err(JobError::Parameters);
    }
    let run_id = Uuid::now_v7();
    begin(&context.pool, &asking, run_id, span).await?;
    let mut found = Found::default();
    let outcome = compare(&asking, span, run_id, &mut found, progress).await;
    let error = outcome.as_ref().err().map(ToString::to_string);
    note(&context.pool, run_id, &found).await?;
    end(&context.pool, run_id, error.as_deref()).await?;
    asking.conclude(&found, outcome).await
}

async fn compare(
    asking: &Asking<'_>,
    span: Span,
    run_id: Uuid,
    found: &mut Found,
    progress: &Progress,
) -> Result<(), WalkError> {
    let (mut budget, mut outcome) = (RetryBudget::patient(PATIENCE), Ok(()));
    let pool = &asking.context.pool;
    let slices: Vec<Span> = slices(span, SLICE).collect();
    let (mut done, all) = (0, slices.len() * Table::ALL.len());
    for table in Table::ALL {
        for slice in &slices {
            let asked = asking.now();
            let read = asking.walk().read(table, *slice, &mut budget, found).await;
            let settled = asking.settled(asked, found);
            // An old span says nothing of what came after it.
            let begins = slice.to >= settled;
            let change = |mark: &mut Watermark| match &read {
                Ok(()) => mark.seen(*slice, settled, begins),
                Err(failure) => {
                    mark.unread(*slice, &failure.to_string(), begins);
                }
            };
            if read.as_ref().err().is_none_or(WalkError::is_of_span) {
                asking.change_watermark(table, change).await?;
            }
            let goes_on = read.as_ref().err().is_none_or(WalkError::is_of_span);
            outcome = outcome.and(read);
            if !goes_on {
                return outcome;
            }
            note(pool, run_id, found).await?;
            done += 1;
            let figures = serde_json::json!({
                "done": done, "of": all, "checked": found.checked, "missing": found.missing,
            });
            progress.set(asking.origin.connection.as_str(), figures);
        }
    }
    outcome
}

async fn begin(
    executor: impl PgExecutor<'_>,
    asking: &Asking<'_>,
    run_id: Uuid,
    span: Span,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into pancake_reconciliation_run (run_id, country_code, connection_id, window_from, window_to) \
         values ($1, $2, $3, $4, $5)",
    )
    .bind(run_id)
    .bind(asking.origin.country.as_str())
    .bind(asking.origin.connection.as_str())
    .bind(to_time(span.from))
    .bind(to_time(span.to))
    .execute(executor)
    .await?;
    Ok(())
}

/// What was found is what was healed: it is brought in as it is found.
async fn note(
    executor: impl PgExecutor<'_>,
    run_id: Uuid,
    found: &Found,
) -> Result<(), sqlx::Error> {
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    sqlx::query(
        "update pancake_reconciliation_run set checked = $2, missing = $3, healed = $3 where run_id = $1",
    )
    .bind(run_id)
    .bind(count(found.checked))
    .bind(count(found.missing))
    .execute(executor)
    .await?;
    Ok(())
}

/// Ends it, with an error or without.
async fn end(
    executor: impl PgExecutor<'_>,
    run_id: Uuid,
    error: Option<&str>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update pancake_reconciliation_run \
         set error = $2, finished_at = greatest(started_at, clock_timestamp()) where run_id = $1",
    )
    .bind(run_id)
    .bind(error)
    .execute(executor)
    .await?;
    Ok(())
}
