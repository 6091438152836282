//! SQL of polling and reconciliation.

use std::collections::HashMap;

use jiff::Timestamp;
use protocol::connection::ConnectionId;
use protocol::{Country, RegionId};
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};
use time::OffsetDateTime;
use uuid::Uuid;

use super::entry::Origin;
use super::suspension::{Memory, Status};
use super::watermark::{Gap, Watermark};
use crate::ingest::event::NewEvent;
use crate::ingest::rejected::{REFUSED_BY_DATABASE, insert_rejected};
use crate::ingest::store::{Failure, classify, insert_events};
use crate::pancake::Table;

/// The row of `pancake_watermark` that all layers move.
const ALL_LAYERS: &str = "all";

/// A connection that can be asked for.
pub(crate) struct Polled {
    pub(crate) connection: ConnectionId,
    /// As somebody wrote it: a number, if it can be used.
    pub(crate) workspace: Option<String>,
    pub(crate) api_key_encrypted: Vec<u8>,
    pub(crate) status: Status,
    pub(crate) status_changed_at: Timestamp,
    pub(crate) memory: Memory,
}

/// The connections of a country that have a key and are not disabled.
pub(crate) async fn polled(
    executor: impl PgExecutor<'_>,
    country: Country,
) -> Result<Vec<Polled>, sqlx::Error> {
    #[derive(sqlx::FromRow)]
    struct Row {
        connection_id: String,
        workspace: Option<String>,
        api_key_encrypted: Vec<u8>,
        status: String,
        status_changed_at: OffsetDateTime,
        webhook_seen_on: Option<OffsetDateTime>,
        missed_records: i32,
        missed_since: Option<OffsetDateTime>,
    }
    let rows: Vec<Row> = sqlx::query_as(
        "select connection_id, workspace, api_key_encrypted, status, status_changed_at, \
                webhook_seen_on, missed_records, missed_since \
         from pancake_connection \
         where country_code = $1 and api_key_encrypted is not null and status <> 'disabled' \
         order by connection_id",
    )
    .bind(country.as_str())
    .fetch_all(executor)
    .await?;
    let polled = rows.into_iter().filter_map(|row| {
        Some(Polled {
            connection: ConnectionId::parse(&row.connection_id).ok()?,
            workspace: row.workspace,
            api_key_encrypted: row.api_key_encrypted,
            status: Status::ALL
                .into_iter()
                .find(|status| status.as_str() == row.status)?,
            status_changed_at: to_jiff(row.status_changed_at)?,
            memory: Memory {
                webhook_seen_on: row.webhook_seen_on.and_then(to_jiff),
                missed_records: row.missed_records.unsigned_abs(),
                missed_since: row.missed_since.and_then(to_jiff),
            },
        })
    });
    Ok(polled.collect())
}

/// How many connections of a country cannot be asked for, though they are not disabled.
#[derive(sqlx::FromRow)]
pub(crate) struct Unusable {
    pub(crate) without_api_key: i64,
    pub(crate) without_workspace: i64,
}

/// Counts them.
pub(crate) async fn unusable(
    executor: impl PgExecutor<'_>,
    country: Country,
) -> Result<Unusable, sqlx::Error> {
    sqlx::query_as(
        "select count(*) filter (where api_key_encrypted is null) as without_api_key, \
                count(*) filter (where workspace is null) as without_workspace \
         from pancake_connection where country_code = $1 and status <> 'disabled'",
    )
    .bind(country.as_str())
    .fetch_one(executor)
    .await
}

/// Which of these records are here already, by the place of each in `events`, and whether a webhook brought them.
///
/// The same record with the same `modified_on`; to the second, where one of the two says no more. Without a
/// `modified_on` it is compared with the latest event of the record, field by field: the two forms of a record
/// do not have all fields in common. Without an `id` nothing is known of it but its bytes, which the insert compares.
pub(crate) async fn known(
    connection: &mut PgConnection,
    origin: &Origin,
    events: &[&NewEvent],
) -> Result<HashMap<usize, bool>, sqlx::Error> {
    let (mut dated, mut undated) = (Vec::new(), Vec::new());
    for (place, event) in events.iter().enumerate() {
        match (event.fields.record_id, event.fields.modified_on) {
            (Some(record_id), Some(modified_on)) => dated.push((place, record_id, modified_on)),
            (Some(record_id), None) => undated.push((place, record_id, *event)),
            (None, _) => {}
        }
    }
    let mut known = HashMap::new();
    if !dated.is_empty() {
        let found: Vec<(i64, bool)> = sqlx::query_as(
            "select sought.position, bool_or(event.layer in ('webhook', 'spool')) \
             from unnest($1::uuid[], $2::timestamptz[]) with ordinality \
                  as sought (record_id, modified_on, position) \
             join pancake_webhook_event as event \
               on event.record_id = sought.record_id \
              and event.modified_on >= date_trunc('second', sought.modified_on, 'UTC') \
              and event.modified_on < date_trunc('second', sought.modified_on, 'UTC') + interval '1 second' \
              and (event.modified_on = sought.modified_on \
                   or event.modified_on = date_trunc('second', event.modified_on, 'UTC') \
                   or sought.modified_on = date_trunc('second', sought.modified_on, 'UTC')) \
              and event.country_code = $3 and event.connection_id = $4 \
             group by sought.position",
        )
        .bind(dated.iter().map(|(_, id, _)| *id).collect::<Vec<Uuid>>())
        .bind(dated.iter().map(|(.., on)| *on).collect::<Vec<OffsetDateTime>>())
        .bind(origin.country.as_str())
        .bind(origin.connection.as_str())
        .fetch_all(&mut *connection)
        .await?;
        known.extend(placed(&found, |position| Some(dated.get(position)?.0)));
    }
    if !undated.is_empty() {
        let fields = || undated.iter().map(|(.., event)| &event.fields);
        let found: Vec<(i64, bool)> = sqlx::query_as(
            "select sought.position, event.layer in ('webhook', 'spool') \
             from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[]) \
                  with ordinality \
                  as sought (record_id, name, phone_number, email, source_ids, created_on, position) \
             cross join lateral ( \
                 select * from pancake_webhook_event as of_record \
                 where of_record.record_id = sought.record_id \
                   and of_record.country_code = $7 and of_record.connection_id = $8 \
                 order by received_at desc, event_id desc limit 1) as event \
             where event.blanked_at is not null \
                or (event.name, event.phone_number, event.email, event.source_ids, event.record_created_on) \
                   is not distinct from \
                   (sought.name, sought.phone_number, sought.email, sought.source_ids::text[], sought.created_on)",
        )
        .bind(undated.iter().map(|(_, id, _)| *id).collect::<Vec<Uuid>>())
        .bind(fields().map(|fields| fields.name.as_deref()).collect::<Vec<_>>())
        .bind(fields().map(|fields| fields.phone_number.as_deref()).collect::<Vec<_>>())
        .bind(fields().map(|fields| fields.email.as_deref()).collect::<Vec<_>>())
        .bind(fields().map(|fields| fields.source_ids.as_str()).collect::<Vec<_>>())
        .bind(fields().map(|fields| fields.created_on).collect::<Vec<_>>())
        .bind(origin.country.as_str())
        .bind(origin.connection.as_str())
        .fetch_all(connection)
        .await?;
        known.extend(placed(&found, |position| Some(undated.get(position)?.0)));
    }
    Ok(known)
}

/// `with ordinality` counts from 1.
fn placed(found: &[(i64, bool)], place: impl Fn(usize) -> Option<usize>) -> HashMap<usize, bool> {
    let one = |(position, by_webhook): &(i64, bool)| {
        let position = usize::try_from(position - 1).ok()?;
        Some((place(position)?, *by_webhook))
    };
    found.iter().filter_map(one).collect()
}

/// Writes events, and says which were new. One that the database refuses is kept as a rejected request, and costs the
/// others nothing.
pub(crate) async fn bring(
    connection: &mut PgConnection,
    region: &RegionId,
    mut events: Vec<&NewEvent>,
) -> Result<Vec<Uuid>, sqlx::Error> {
    // The order of all that write events, so that no two wait for each other in a circle.
    events.sort_unstable_by(|one, other| one.delivery.key().cmp(&other.delivery.key()));
    events.dedup_by(|one, other| one.delivery.key() == other.delivery.key());
    let (mut to_write, mut brought) = (vec![events], Vec::new());
    while let Some(mut events) = to_write.pop() {
        if events.is_empty() {
            continue;
        }
        match insert_events(connection, region, &events).await {
            Ok(inserted) => brought.extend(inserted),
            Err(failure) if classify(&failure) != Failure::Data => return Err(failure),
            Err(_) if events.len() > 1 => {
                to_write.push(events.split_off(events.len() / 2));
                to_write.push(events);
            }
            Err(_) => {
                for event in events {
                    let cause = REFUSED_BY_DATABASE;
                    insert_rejected(&mut *connection, region, &event.delivery, cause).await?;
                }
            }
        }
    }
    Ok(brought)
}

/// How complete a table of a connection is.
pub(crate) async fn watermark(
    executor: impl PgExecutor<'_>,
    origin: &Origin,
    table: Table,
) -> Result<Watermark, sqlx::Error> {
    let row: Option<(Option<OffsetDateTime>, Json<Vec<Gap>>)> = sqlx::query_as(
        "select complete_until, gaps from pancake_watermark \
         where country_code = $1 and connection_id = $2 and table_name = $3 and layer = $4",
    )
    .bind(origin.country.as_str())
    .bind(origin.connection.as_str())
    .bind(table.as_str())
    .bind(ALL_LAYERS)
    .fetch_optional(executor)
    .await?;
    Ok(
        row.map_or_else(Watermark::default, |(until, gaps)| Watermark {
            complete_until: until.and_then(to_jiff),
            gaps: gaps.0,
        }),
    )
}

/// Changes it, in one transaction: polling and reconciliation may both be at it. None, and no change, if the connection
/// is of another workspace by now: what was read says nothing of that one.
pub(crate) async fn change_watermark(
    connection: &mut PgConnection,
    origin: &Origin,
    (workspace, table): (Option<&str>, Table),
    change: impl FnOnce(&mut Watermark) + Send,
) -> Result<Option<Watermark>, sqlx::Error> {
    use sqlx::Connection as _;
    let mut transaction = connection.begin().await?;
    // Whoever changes the workspace waits for this, or this for them.
    let is_as_read: Option<bool> = sqlx::query_scalar(
        "select workspace is not distinct from $3 from pancake_connection \
         where country_code = $1 and connection_id = $2 for share",
    )
    .bind(origin.country.as_str())
    .bind(origin.connection.as_str())
    .bind(workspace)
    .fetch_optional(&mut *transaction)
    .await?;
    if is_as_read != Some(true) {
        return Ok(None);
    }
    sqlx::query(
        "insert into pancake_watermark (connection_id, country_code, table_name, layer) \
         values ($2, $1, $3, $4) on conflict do nothing",
    )
    .bind(origin.country.as_str())
    .bind(origin.connection.as_str())
    .bind(table.as_str())
    .bind(ALL_LAYERS)
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "select from pancake_watermark \
         where country_code = $1 and connection_id = $2 and table_name = $3 and layer = $4 for update",
    )
    .bind(origin.country.as_str())
    .bind(origin.connection.as_str())
    .bind(table.as_str())
    .bind(ALL_LAYERS)
    .execute(&mut *transaction)
    .await?;
    let mut mark = watermark(&mut *transaction, origin, table).await?;
    change(&mut mark);
    sqlx::query(
        "update pancake_watermark set complete_until = $5, gaps = $6, updated_at = clock_timestamp() \
         where country_code = $1 and connection_id = $2 and table_name = $3 and layer = $4",
    )
    .bind(origin.country.as_str())
    .bind(origin.connection.as_str())
    .bind(table.as_str())
    .bind(ALL_LAYERS)
    .bind(mark.complete_until.map(to_time))
    .bind(Json(&mark.gaps))
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(Some(mark))
}

/// Writes down what Pancake says of a connection's key. One that was replaced meanwhile is another.
pub(crate) async fn note_key(
    executor: impl PgExecutor<'_>,
    origin: &Origin,
    api_key_encrypted: &[u8],
    is_accepted: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update pancake_connection set \
             api_key_accepted_at = case when $4 then clock_timestamp() else api_key_accepted_at end, \
             api_key_refused_at = case when not $4 then coalesce(api_key_refused_at, clock_timestamp()) end \
         where country_code = $1 and connection_id = $2 and api_key_encrypted = $3",
    )
    .bind(origin.country.as_str())
    .bind(origin.connection.as_str())
    .bind(api_key_encrypted)
    .bind(is_accepted)
    .execute(executor)
    .await?;
    Ok(())
}

/// Writes down what is to be remembered of a connection; and what its status becomes, unless somebody has changed it
/// meanwhile.
pub(crate) async fn remember(
    connection: &mut PgConnection,
    origin: &Origin,
    memory: Memory,
    change: Option<(Status, Status, &str)>,
) -> Result<(), sqlx::Error> {
    use sqlx::Connection as _;
    let mut transaction = connection.begin().await?;
    sqlx::query(
        "update pancake_connection \
         set webhook_seen_on = $3, missed_records = $4, missed_since = $5 \
         where country_code = $1 and connection_id = $2",
    )
    .bind(origin.country.as_str())
    .bind(origin.connection.as_str())
    .bind(memory.webhook_seen_on.map(to_time))
    .bind(i32::try_from(memory.missed_records).unwrap_or(i32::MAX))
    .bind(memory.missed_since.map(to_time))
    .execute(&mut *transaction)
    .await?;
    if let Some((from, to, reason)) = change {
        let changed = sqlx::query(
            "update pancake_connection set status = $4, status_changed_at = clock_timestamp(), \
                 missed_records = 0, missed_since = null, \
                 updated_at = greatest(clock_timestamp(), updated_at + interval '1 microsecond') \
             where country_code = $1 and connection_id = $2 and status = $3",
        )
        .bind(origin.country.as_str())
        .bind(origin.connection.as_str())
        .bind(from.as_str())
        .bind(to.as_str())
        .execute(&mut *transaction)
        .await?;
        if changed.rows_affected() == 1 {
            sqlx::query(
                "insert into pancake_connection_status \
                     (change_id, country_code, connection_id, status, reason, changed_at) \
                 values ($1, $2, $3, $4, $5, clock_timestamp())",
            )
            .bind(Uuid::now_v7())
            .bind(origin.country.as_str())
            .bind(origin.connection.as_str())
            .bind(to.as_str())
            .bind(reason)
            .execute(&mut *transaction)
            .await?;
        }
    }
    transaction.commit().await
}

pub(crate) fn to_jiff(moment: OffsetDateTime) -> Option<Timestamp> {
    Timestamp::from_nanosecond(moment.unix_timestamp_nanos()).ok()
}

/// To the microsecond, which is what PostgreSQL keeps.
pub(crate) fn to_time(moment: Timestamp) -> OffsetDateTime {
    let nanoseconds = i128::from(moment.as_microsecond()) * 1000;
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
