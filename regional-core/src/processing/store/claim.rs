//! Which events are processed next.

use std::collections::HashSet;

use protocol::Country;
use sqlx::{PgConnection, Row as _};
use time::OffsetDateTime;
use uuid::Uuid;

use super::country;

/// How many sources of a connection have a share of their own in one claim.
const MAX_SHARES: i64 = 200;

/// A claimed event.
#[derive(Debug, Clone)]
pub(in crate::processing) struct Claimed {
    pub(in crate::processing) event_id: Uuid,
    pub(in crate::processing) country: Country,
    pub(in crate::processing) connection: String,
    pub(in crate::processing) record_id: Option<Uuid>,
    pub(in crate::processing) modified_on: Option<OffsetDateTime>,
    pub(in crate::processing) received_at: OffsetDateTime,
    pub(in crate::processing) name: Option<String>,
    pub(in crate::processing) phone_number: Option<String>,
    pub(in crate::processing) email: Option<String>,
    pub(in crate::processing) named_sources: Vec<String>,
    pub(in crate::processing) ticket_id: Option<Uuid>,
    pub(in crate::processing) attempts: i16,
}

/// No more of a text than can be of use: all of it may be a mebibyte. A phone number is cut where it is too long
/// by far.
const EVENT_COLUMNS: &str = "e.event_id, e.country_code, e.connection_id, e.record_id, e.modified_on, \
     e.received_at, left(e.name, 1024) as name, left(e.phone_number, 256) as phone_number, \
     left(e.email, 320) as email, e.ticket_id, e.attempts, \
     array(select left(source, 256) from unnest(e.source_ids[1:64]) as s (source)) as source_ids";

/// Claims up to about `limit` events of these countries, and none that another has claimed: a share of each
/// source that has any, so that a busy one does not keep the others waiting; the oldest of each country, so
/// that of more sources than have shares none waits for ever; and those that failed and are due. None of those
/// that are `aside`.
pub(in crate::processing) async fn claim(
    connection: &mut PgConnection,
    countries: &[&str],
    limit: i64,
    aside: &[Uuid],
) -> Result<Vec<Claimed>, sqlx::Error> {
    // Each step of the recursions is a look at the index: the next connection, and its next source.
    let by_source = format!(
        "with recursive pair (country_code, connection_id) as ( \
             select c.code, first.connection_id from unnest($1::text[]) as c (code), lateral ( \
                 select connection_id from pancake_webhook_event \
                 where status = 'received' and country_code = c.code order by connection_id limit 1) as first \
             union all \
             select pair.country_code, next.connection_id from pair, lateral ( \
                 select connection_id from pancake_webhook_event \
                 where status = 'received' and country_code = pair.country_code \
                   and connection_id > pair.connection_id \
                 order by connection_id limit 1) as next \
         ), source as ( \
             select pair.*, named.source_id from pair, lateral ( \
                 with recursive one (source_id) as ( \
                     (select {SOURCE} from pancake_webhook_event as e \
                      where status = 'received' and country_code = pair.country_code \
                        and connection_id = pair.connection_id order by 1 limit 1) \
                     union all \
                     select next.source_id from one, lateral ( \
                         select {SOURCE} as source_id from pancake_webhook_event as e \
                         where status = 'received' and country_code = pair.country_code \
                           and connection_id = pair.connection_id and {SOURCE} > one.source_id \
                         order by 1 limit 1) as next \
                 ) \
                 select source_id from one limit {MAX_SHARES}) as named \
         ), share as ( \
             select *, greatest($2 / count(*) over (), 1) as events from source \
         ) \
         select e.* from share, lateral ( \
             select {EVENT_COLUMNS} from pancake_webhook_event as e \
             where e.status = 'received' and e.country_code = share.country_code \
               and e.connection_id = share.connection_id and {SOURCE} = share.source_id \
               and e.event_id <> all ($3) order by e.received_at limit share.events for update skip locked) as e"
    );
    let oldest = format!(
        "select e.* from unnest($1::text[]) as c (code), lateral ( \
             select {EVENT_COLUMNS} from pancake_webhook_event as e \
             where e.status = 'received' and e.country_code = c.code and e.event_id <> all ($3) \
             order by e.received_at limit greatest($2 / 16, 1) for update skip locked) as e"
    );
    let due = format!(
        "select {EVENT_COLUMNS} from pancake_webhook_event as e \
         where e.status = 'failed' and e.due_at <= now() and e.country_code = any ($1) \
           and e.event_id <> all ($3) order by e.due_at limit greatest($2 / 4, 1) for update skip locked"
    );
    let mut events = Vec::new();
    for statement in [by_source, oldest, due] {
        let rows = sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(countries)
            .bind(limit)
            .bind(aside)
            .fetch_all(&mut *connection)
            .await?;
        for row in &rows {
            events.push(read_claimed(row)?);
        }
    }
    // What one's own transaction has locked is claimed again.
    let mut seen = HashSet::new();
    events.retain(|event| seen.insert(event.event_id));
    Ok(events)
}

/// An event's source as `pancake_webhook_event_backlog_idx` has it.
const SOURCE: &str = "left(coalesce(e.source_ids[1], '(none)'), 64)";

/// Claims those of these events that still wait, of these countries.
pub(in crate::processing) async fn claim_these(
    connection: &mut PgConnection,
    countries: &[&str],
    events: &[Uuid],
) -> Result<Vec<Claimed>, sqlx::Error> {
    let statement = format!(
        "select {EVENT_COLUMNS} from pancake_webhook_event as e \
         where e.event_id = any ($1) and e.status in ('received', 'failed') and e.country_code = any ($2) \
         for update skip locked"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(statement))
        .bind(events)
        .bind(countries)
        .fetch_all(connection)
        .await?;
    rows.iter().map(read_claimed).collect()
}

fn read_claimed(row: &sqlx::postgres::PgRow) -> Result<Claimed, sqlx::Error> {
    Ok(Claimed {
        event_id: row.try_get("event_id")?,
        country: country(row.try_get("country_code")?)?,
        connection: row.try_get("connection_id")?,
        record_id: row.try_get("record_id")?,
        modified_on: row.try_get("modified_on")?,
        received_at: row.try_get("received_at")?,
        name: row.try_get("name")?,
        phone_number: row.try_get("phone_number")?,
        email: row.try_get("email")?,
        named_sources: row.try_get("source_ids")?,
        ticket_id: row.try_get("ticket_id")?,
        attempts: row.try_get("attempts")?,
    })
}
