//! Personal data of events that are done with goes after a while: payload, name, phone numbers, e-mail, and the
//! bodies of rejected requests. Keys, hashes and states stay, so that a delivery is known again and counts
//! stay true.
//!
//! In small batches with pauses between them: no lock is held for long, and vacuum keeps up.

use std::time::Duration;

use protocol::Country;
use sqlx::PgConnection;
use tokio::time::{Instant, sleep};
use tracing::info;

use super::{Context, JobError, Progress};
use crate::db::has_code;
use crate::metrics::Metrics;
use crate::processing::silence::unless_silent;
use crate::processing::tries::TIMED_OUT;

/// For how long runs of jobs are kept, and how many go at once.
const RUN_DAYS: i32 = 90;
const RUNS_AT_ONCE: i64 = 1_000;

/// How many rows a batch has at first, and at most.
const FIRST_ROWS: i64 = 100;
const MOST_ROWS: i64 = 1_000;

/// A batch that took longer makes the next one half as large: nobody may wait for a lock for 100 ms.
const LONG: Duration = Duration::from_millis(50);

/// The shortest pause between two batches. A longer batch is followed by a pause of its own length.
const PAUSE: Duration = Duration::from_millis(20);

/// Blank rows of a country (`$1`) that are older than so many days (`$2`), so many of them at most (`$3`).
const STATEMENTS: [&str; 2] = [
    "select blank_old_events($1, $2, $3)",
    "select blank_old_rejected_requests($1, $2, $3)",
];

/// Blanks all of a country that is old enough, by its own period (`app_setting`,
/// `pancake_integration.retention_days`) or the default one; and forgets old runs of jobs.
pub(super) async fn run(
    context: &Context,
    country: Country,
    progress: &Progress,
) -> Result<(), JobError> {
    let mut connection = context.pool.acquire().await?;
    let outcome = blank(&mut connection, context, country).await;
    // Whoever gave up waiting may have left it in the middle of a statement.
    if outcome.is_err() {
        connection.close_on_drop();
    }
    let blanked = outcome?;
    progress.set("blanked", blanked);
    if blanked > 0 {
        info!(%country, rows = blanked, "personal data that was old enough is gone");
    }
    Ok(())
}

async fn blank(
    connection: &mut PgConnection,
    context: &Context,
    country: Country,
) -> Result<u64, sqlx::Error> {
    let patience = context.patience;
    let days = days_of(connection, country, context.retention_days);
    let days = unless_silent(patience, days).await??;
    let (mut blanked, mut failure) = (0, None);
    for statement in STATEMENTS {
        let mut batches = Batches {
            connection: &mut *connection,
            statement,
            country,
            days,
            patience,
        };
        match batches.blank(&context.metrics).await {
            Ok(rows) => blanked += rows,
            Err(silent @ sqlx::Error::Io(_)) => return Err(silent),
            // The other kind is not to blame.
            Err(refused) => failure = Some(refused),
        }
    }
    let forget = sqlx::query(
        "delete from job_run where run_id in ( \
             select run_id from job_run where country_code = $1 and state in ('ok', 'failed', 'interrupted') \
                 and finished_at < clock_timestamp() - make_interval(days => $2) limit $3)",
    )
    .bind(country.as_str())
    .bind(RUN_DAYS)
    .bind(RUNS_AT_ONCE)
    .execute(connection);
    unless_silent(patience, forget).await??;
    failure.map_or(Ok(blanked), Err)
}

/// A period that nobody could have meant is not taken.
async fn days_of(
    connection: &mut PgConnection,
    country: Country,
    default_days: u16,
) -> Result<i32, sqlx::Error> {
    let set: Option<i32> = sqlx::query_scalar(
        "select case when s #>> '{pancake_integration,retention_days}' ~ '^[1-9][0-9]{0,3}$' \
                     then (s #>> '{pancake_integration,retention_days}')::int end \
         from (select app_settings as s from app_setting where country_code = $1) as setting",
    )
    .bind(country.as_str())
    .fetch_optional(connection)
    .await?
    .flatten();
    Ok(set.unwrap_or_else(|| default_days.into()))
}

/// Of a country's rows of one kind.
struct Batches<'c> {
    connection: &'c mut PgConnection,
    statement: &'static str,
    country: Country,
    days: i32,
    patience: Duration,
}

impl Batches<'_> {
    async fn blank(&mut self, metrics: &Metrics) -> Result<u64, sqlx::Error> {
        let (mut rows, mut blanked) = (FIRST_ROWS, 0);
        loop {
            let began = Instant::now();
            let batch = match self.next(rows).await {
                Ok(batch) => batch,
                // Nothing of it is done; fewer may be.
                Err(failure) if rows > 1 && has_code(&failure, &TIMED_OUT) => {
                    rows /= 2;
                    sleep(PAUSE).await;
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            let took = began.elapsed();
            blanked += batch.unsigned_abs();
            metrics.count_blanked(batch.unsigned_abs());
            if batch < rows {
                return Ok(blanked);
            }
            rows = if took > LONG {
                (rows / 2).max(1)
            } else {
                (rows * 2).min(MOST_ROWS)
            };
            sleep(took.max(PAUSE)).await;
        }
    }

    async fn next(&mut self, rows: i64) -> Result<i64, sqlx::Error> {
        let batch = sqlx::query_scalar(self.statement)
            .bind(self.country.as_str())
            .bind(self.days)
            .bind(rows)
            .fetch_one(&mut *self.connection);
        unless_silent(self.patience, batch).await?
    }
}
