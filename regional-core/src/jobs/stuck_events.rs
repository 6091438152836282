//! Events that should have been processed long ago: counted, told, and processing is woken for them.

use protocol::Country;
use tracing::warn;

use super::{Context, JobError, Progress};

/// Far beyond what processing takes: milliseconds, and the longest pause before a retry is 30 minutes.
const MINUTES: i32 = 15;
/// No more than these are counted.
const COUNTED_MAX: i64 = 10_000;

pub(super) async fn run(
    context: &Context,
    country: Country,
    progress: &Progress,
) -> Result<(), JobError> {
    let is_paused: bool = sqlx::query_scalar(
        "select coalesce((select (app_settings #> '{pancake_integration,processing_paused}')::text <> 'false' \
             from app_setting where country_code = $1), false)",
    )
    .bind(country.as_str())
    .fetch_one(&context.pool)
    .await?;
    progress.set("is_paused", is_paused);
    let mut stuck = 0;
    for (name, condition) in [
        ("received", "status = 'received' and received_at"),
        ("failed", "status = 'failed' and due_at"),
    ] {
        let statement = format!(
            "select count(*) from (select from pancake_webhook_event \
                 where country_code = $1 and {condition} < clock_timestamp() - make_interval(mins => $2) \
                 limit $3) as stuck"
        );
        let events: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(statement))
            .bind(country.as_str())
            .bind(MINUTES)
            .bind(COUNTED_MAX)
            .fetch_one(&context.pool)
            .await?;
        progress.set(name, events);
        stuck += events;
    }
    if stuck > 0 && !is_paused {
        warn!(%country, events = stuck, "events wait that should have been processed long ago");
        context.wake.wake();
    }
    Ok(())
}
