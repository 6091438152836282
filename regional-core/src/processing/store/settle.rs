//! What became of events.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::claim::Claimed;
use super::column;
use crate::phone::NormalizedPhone;
use crate::processing::plan::Outcome;

/// Says of events that their tickets are there.
pub(in crate::processing) async fn settle_processed(
    connection: &mut PgConnection,
    outcomes: &[Outcome],
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    if outcomes.is_empty() {
        return Ok(());
    }
    let outcomes: Vec<_> = outcomes.iter().collect();
    sqlx::query(
        "update pancake_webhook_event as e set status = 'processed', due_at = null, cause = null, \
                normalized_phone = n.phone, account_id = n.account_id, ticket_id = n.ticket_id, settled_at = $5 \
         from unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[]) \
              as n (event_id, phone, account_id, ticket_id) \
         where e.event_id = n.event_id",
    )
    .bind(column(&outcomes, |outcome| outcome.event_id))
    .bind(column(&outcomes, |outcome| {
        outcome.phone.as_ref().map(NormalizedPhone::as_str)
    }))
    .bind(column(&outcomes, |outcome| outcome.account_id))
    .bind(column(&outcomes, |outcome| outcome.ticket_id))
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// Says of events, with their numbers, that a switch held them back.
pub(in crate::processing) async fn settle_skipped(
    connection: &mut PgConnection,
    events: &[(Uuid, Option<NormalizedPhone>)],
    status: &str,
    now: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    if events.is_empty() {
        return Ok(());
    }
    let events: Vec<_> = events.iter().collect();
    sqlx::query(
        "update pancake_webhook_event as e set status = $3, due_at = null, cause = null, \
                normalized_phone = n.phone, settled_at = $4 \
         from unnest($1::uuid[], $2::text[]) as n (event_id, phone) where e.event_id = n.event_id",
    )
    .bind(column(&events, |(event_id, _)| *event_id))
    .bind(column(&events, |(_, phone)| {
        phone.as_ref().map(NormalizedPhone::as_str)
    }))
    .bind(status)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// Says of an event that it failed, if nobody else has dealt with it meanwhile: it is due again after `pause`, or a
/// dead letter, of which the admins are told.
pub(in crate::processing) async fn settle_failed(
    connection: &mut PgConnection,
    event: &Claimed,
    phone: Option<&NormalizedPhone>,
    cause: &str,
    pause: Option<std::time::Duration>,
) -> Result<bool, sqlx::Error> {
    let failed: i64 = sqlx::query_scalar(
        "with failed as ( \
             update pancake_webhook_event set attempts = least(attempts + 1, 32767), cause = $2, \
                 normalized_phone = $5, \
                 status = case when $3::float8 is null then 'dead_letter' else 'failed' end, \
                 due_at = clock_timestamp() + $3::float8 * interval '1 second', settled_at = clock_timestamp() \
             where event_id = $1 and status in ('received', 'failed') and attempts = $6 \
             returning country_code, event_id, status, attempts \
         ), told as ( \
             insert into notification (notification_id, country_code, role, template_code, data) \
             select $4, country_code, 'admin', 'noti_pancake_failed', \
                    jsonb_build_object('event_id', event_id, 'attempts', attempts) \
             from failed where status = 'dead_letter' \
         ) \
         select count(*) from failed",
    )
    .bind(event.event_id)
    .bind(cause)
    .bind(pause.map(|pause| pause.as_secs_f64()))
    .bind(Uuid::now_v7())
    .bind(phone.map(NormalizedPhone::as_str))
    .bind(event.attempts)
    .fetch_one(connection)
    .await?;
    Ok(failed > 0)
}
