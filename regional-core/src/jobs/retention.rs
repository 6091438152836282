//! Personal data of events that are done with goes after a while: payload, name, phone numbers, e-mail, and the
//! bodies of rejected requests. Keys, hashes and states stay, so that a delivery is known again and counts
//! stay true.
//!
//! In small batches with pauses between them: no lock is held for long, and vacuum keeps up.

use std::time::Duration;

use protocol::Country;
use sqlx::{PgConnection, PgPool};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::silence::{describe, unless_silent};
use super::tries::TIMED_OUT;
use crate::db::has_code;
use crate::metrics::Metrics;

/// One process at a time: "blank" in ASCII.
const LOCK: i64 = 0x62_6c61_6e6b;

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

/// Blanks all that is old enough, of each country by its own period
/// (`app_setting`, `pancake_integration.retention_days`) or the `default_days`. Returns how many rows that was; none
/// where another process is at it. Waits for no answer longer than `patience`.
pub(super) async fn blank(
    pool: &PgPool,
    countries: &[Country],
    default_days: u16,
    patience: Duration,
    metrics: &Metrics,
) -> Result<Option<u64>, sqlx::Error> {
    // The lock lives as long as its connection's session.
    let mut connection = pool.acquire().await?.detach();
    if !unless_silent(patience, take_lock(&mut connection, patience)).await?? {
        return Ok(None);
    }
    let mut blanked = 0;
    for country in countries {
        let days = days_of(&mut connection, *country, default_days);
        let days = unless_silent(patience, days).await??;
        for statement in STATEMENTS {
            let mut batches = Batches {
                connection: &mut connection,
                statement,
                country: *country,
                days,
                patience,
            };
            match batches.blank(metrics).await {
                Ok(rows) => blanked += rows,
                Err(failure @ sqlx::Error::Io(_)) => return Err(failure),
                // The next country is not to blame.
                Err(failure) => {
                    warn!(error = describe(&failure), %country, "personal data that is old enough could not be blanked");
                }
            }
        }
    }
    if blanked > 0 {
        info!(rows = blanked, "personal data that was old enough is gone");
    }
    Ok(Some(blanked))
}

/// Whether it was free. It is again soon after this connection was lost: between two statements are pauses no
/// longer than a statement.
async fn take_lock(connection: &mut PgConnection, patience: Duration) -> Result<bool, sqlx::Error> {
    let idle = (patience * 2).as_millis().to_string();
    sqlx::query("select set_config('idle_session_timeout', $1, false)")
        .bind(idle)
        .execute(&mut *connection)
        .await?;
    sqlx::query_scalar("select pg_try_advisory_lock($1)")
        .bind(LOCK)
        .fetch_one(connection)
        .await
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
