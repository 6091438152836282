//! The five indicators of the last 24 hours, and a row a day.

use std::time::Duration;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};
use protocol::Country;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;

use super::{Context, JobError, Progress};
use crate::completeness::store::{to_jiff, to_time};

/// A day of a large country is read whole, once an hour.
const STATEMENT_TIMEOUT: Duration = Duration::from_mins(1);

pub(super) async fn run(
    context: &Context,
    country: Country,
    progress: &Progress,
) -> Result<(), JobError> {
    let zone = context.zones.of(country);
    let now: OffsetDateTime = sqlx::query_scalar("select clock_timestamp()")
        .fetch_one(&context.pool)
        .await?;
    let now = to_jiff(now).unwrap_or(Timestamp::UNIX_EPOCH);
    let day_before = now.checked_sub(24.hours()).unwrap_or(now);
    let figures = figures(&context.pool, country, (day_before, now)).await?;
    for (name, value) in figures.indicators() {
        progress.set(name, value);
    }
    let today = now.to_zoned(zone.clone()).date();
    let days = [today.yesterday().ok(), Some(today)];
    for day in days.into_iter().flatten() {
        let start = |day: Date| Some(day.to_zoned(zone.clone()).ok()?.timestamp());
        let (Some(from), Some(to)) = (start(day), day.tomorrow().ok().and_then(start)) else {
            continue;
        };
        let figures = self::figures(&context.pool, country, (from, to)).await?;
        let zone = zone.iana_name().unwrap_or("UTC");
        write(&context.pool, country, (day, zone), &figures).await?;
    }
    Ok(())
}

#[derive(Debug, Default, sqlx::FromRow)]
struct Figures {
    events: i64,
    processed: i64,
    failed: i64,
    dead_letters: i64,
    skipped: i64,
    found_by_poll: i64,
    found_by_reconcile: i64,
    process_p95_seconds: Option<f64>,
    tickets: i64,
    assigned_automatically: i64,
    assigned_by_hand: i64,
    first_response_p95_seconds: Option<f64>,
    missing: i64,
}

impl Figures {
    /// As `job_run.progress` has them; `watch` makes metrics of them.
    fn indicators(&self) -> [(&'static str, Value); 5] {
        let ratio = |part: i64, whole: i64| {
            #[expect(clippy::cast_precision_loss, reason = "no day has 2^52 events")]
            (whole > 0).then(|| part as f64 / whole as f64)
        };
        let tried = self.processed + self.failed + self.dead_letters;
        [
            ("success_ratio", json!(ratio(self.processed, tried))),
            ("process_p95_seconds", json!(self.process_p95_seconds)),
            (
                "first_response_p95_seconds",
                json!(self.first_response_p95_seconds),
            ),
            (
                "auto_assign_ratio",
                json!(ratio(self.assigned_automatically, self.tickets)),
            ),
            ("missed_records", json!(self.missing)),
        ]
    }
}

async fn figures(
    pool: &PgPool,
    country: Country,
    (from, to): (Timestamp, Timestamp),
) -> Result<Figures, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    allow_time(&mut transaction).await?;
    let figures = sqlx::query_as(
        "with event as ( \
             select status, layer, extract(epoch from settled_at - received_at)::float8 as took \
             from pancake_webhook_event \
             where country_code = $1 and received_at >= $2 and received_at < $3), \
         opened as ( \
             select extract(epoch from coalesce(first_response_at, closed_at, clock_timestamp()) - created_at)::float8 \
                        as waited, \
                    first_response_at is null and closed_at is null \
                        and created_at > clock_timestamp() - interval '30 minutes' as may_still_be_in_time, \
                    exists (select from ticket_assignment as a \
                            where a.ticket_id = t.ticket_id and a.method = 'automatic') as automatically, \
                    exists (select from ticket_assignment as a \
                            where a.ticket_id = t.ticket_id and a.method = 'manual') as by_hand \
             from ticket as t \
             where country_code = $1 and created_at >= $2 and created_at < $3 and connection_id is not null) \
         select count(*) as events, \
                count(*) filter (where status = 'processed') as processed, \
                count(*) filter (where status = 'failed') as failed, \
                count(*) filter (where status = 'dead_letter') as dead_letters, \
                count(*) filter (where status like 'skipped%') as skipped, \
                count(*) filter (where layer = 'poll') as found_by_poll, \
                count(*) filter (where layer = 'reconcile') as found_by_reconcile, \
                percentile_disc(0.95) within group (order by took) filter (where status = 'processed') \
                    as process_p95_seconds, \
                (select count(*) from opened) as tickets, \
                (select count(*) from opened where automatically) as assigned_automatically, \
                (select count(*) from opened where by_hand) as assigned_by_hand, \
                (select percentile_disc(0.95) within group (order by waited) from opened \
                 where not may_still_be_in_time) as first_response_p95_seconds, \
                (select coalesce(sum(missing), 0)::bigint from pancake_reconciliation_run \
                 where country_code = $1 and started_at >= $2 and started_at < $3) as missing \
         from event",
    )
    .bind(country.as_str())
    .bind(to_time(from))
    .bind(to_time(to))
    .fetch_one(&mut *transaction)
    .await?;
    transaction.rollback().await?;
    Ok(figures)
}

async fn allow_time(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("select set_config('statement_timeout', $1, true)")
        .bind(STATEMENT_TIMEOUT.as_millis().to_string())
        .execute(connection)
        .await?;
    Ok(())
}

async fn write(
    pool: &PgPool,
    country: Country,
    (day, zone): (Date, &str),
    figures: &Figures,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into pancake_daily as known \
             (country_code, day, time_zone, events, processed, failed, dead_letters, skipped, found_by_poll, \
              found_by_reconcile, process_p95_seconds, tickets, assigned_automatically, assigned_by_hand, \
              first_response_p95_seconds, missing) \
         values ($1, $2::text::date, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) \
         on conflict (country_code, day) do update set \
             time_zone = excluded.time_zone, events = excluded.events, processed = excluded.processed, \
             failed = excluded.failed, dead_letters = excluded.dead_letters, skipped = excluded.skipped, \
             found_by_poll = excluded.found_by_poll, found_by_reconcile = excluded.found_by_reconcile, \
             process_p95_seconds = excluded.process_p95_seconds, tickets = excluded.tickets, \
             assigned_automatically = excluded.assigned_automatically, \
             assigned_by_hand = excluded.assigned_by_hand, \
             first_response_p95_seconds = excluded.first_response_p95_seconds, missing = excluded.missing, \
             computed_at = clock_timestamp()",
    )
    .bind(country.as_str())
    .bind(day.to_string())
    .bind(zone)
    .bind(figures.events)
    .bind(figures.processed)
    .bind(figures.failed)
    .bind(figures.dead_letters)
    .bind(figures.skipped)
    .bind(figures.found_by_poll)
    .bind(figures.found_by_reconcile)
    .bind(figures.process_p95_seconds)
    .bind(figures.tickets)
    .bind(figures.assigned_automatically)
    .bind(figures.assigned_by_hand)
    .bind(figures.first_response_p95_seconds)
    .bind(figures.missing)
    .execute(pool)
    .await?;
    Ok(())
}
