//! SQL of `pancake_webhook_event`, and what its errors mean.

use std::collections::{HashMap, HashSet};

use protocol::RegionId;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::event::{NewEvent, Receipt};

/// What a database error means for the rows of its statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// One of the rows does not fit; the others may.
    Data,
    /// The connection is gone, or was told to go. Another one may do, at once.
    Connection,
    /// Not now: too slow, too full, read-only, not migrated.
    Unavailable,
    /// A bug of ours.
    Bug,
}

/// Reads an error by its SQLSTATE (PostgreSQL's manual, appendix A).
#[must_use]
pub fn classify(error: &sqlx::Error) -> Failure {
    let Some(refusal) = error.as_database_error() else {
        return match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::WorkerCrashed => Failure::Connection,
            sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::Configuration(_)
            | sqlx::Error::BeginFailed => Failure::Unavailable,
            _ => Failure::Bug,
        };
    };
    let code = refusal.code().unwrap_or_default();
    match &*code {
        // An administrator's command, a crash of another session, a server that starts or stops, a session
        // that was idle for too long; or a server that has become a stand-by: another connection may lead to the one that has not.
        // Serialization failures and deadlocks go away when repeated.
        "57P01" | "57P02" | "57P03" | "57P05" | "25006" | "25P03" | "40001" | "40P01" => {
            Failure::Connection
        }
        // Undefined table, column or constraint, no privilege: the schema is not (yet) ours.
        "42P01" | "42703" | "42704" | "42501" | "42P10" => Failure::Unavailable,
        code => match code.get(..2) {
            Some("08") => Failure::Connection,
            // Data, integrity, limits of the program; and what a trigger raises.
            Some("22" | "23" | "44" | "54" | "P0") => Failure::Data,
            // Authorization, no database, lock time-out, no disk, too many connections, cancelled,
            // I/O, corruption.
            Some("28" | "3D" | "53" | "55" | "57" | "58" | "XX") => Failure::Unavailable,
            _ => Failure::Bug,
        },
    }
}

/// Inserts events in one statement, which is one transaction: when it returns, the rows are durable.
/// Gives the ids of those that were new.
///
/// No two of `events` may be the same delivery. Those that another transaction brought first are left
/// as they are ([`find_deliveries`] finds them). The rows go in in the order given: give all statements
/// the same order, and no two can wait for each other in a circle.
pub async fn insert_events(
    connection: &mut PgConnection,
    region: &RegionId,
    events: &[&NewEvent],
) -> Result<HashSet<Uuid>, sqlx::Error> {
    /// A column as an array: PostgreSQL then plans one statement for any number of rows.
    fn column<'e, T>(events: &[&'e NewEvent], value: impl Fn(&'e NewEvent) -> T) -> Vec<T> {
        events.iter().map(|event| value(event)).collect()
    }
    fn receipts<'e, T>(
        events: &[&'e NewEvent],
        value: impl Fn(&'e Receipt) -> T,
    ) -> Vec<Option<T>> {
        column(events, |event| event.delivery.receipt.as_ref().map(&value))
    }
    let inserted: Vec<Uuid> = sqlx::query_scalar(
        "insert into pancake_webhook_event \
             (event_id, country_code, region_id, connection_id, layer, \
              record_id, modified_on, payload_hash, payload, \
              name, phone_number, email, source_ids, record_created_on, \
              verdict, route_version, hop_signature_input, hop_signature, received_at) \
         select event_id, country_code, $1, connection_id, layer, \
                record_id, modified_on, payload_hash, payload, \
                name, phone_number, email, source_ids::text[], record_created_on, \
                verdict, route_version, hop_signature_input, hop_signature, received_at \
         from unnest($2::uuid[], $3::text[], $4::text[], \
                     $5::uuid[], $6::timestamptz[], $7::bytea[], $8::bytea[], \
                     $9::text[], $10::text[], $11::text[], $12::text[], $13::timestamptz[], \
                     $14::text[], $15::bigint[], $16::text[], $17::text[], $18::timestamptz[], \
                     $19::text[]) \
              as event (event_id, country_code, connection_id, \
                        record_id, modified_on, payload_hash, payload, \
                        name, phone_number, email, source_ids, record_created_on, \
                        verdict, route_version, hop_signature_input, hop_signature, received_at, \
                        layer) \
         on conflict on constraint pancake_webhook_event_delivery_key do nothing \
         returning event_id",
    )
    .bind(region.as_str())
    .bind(column(events, |event| event.delivery.id))
    .bind(column(events, |event| event.delivery.country.as_str()))
    .bind(column(events, |event| event.delivery.connection.as_str()))
    .bind(column(events, |event| event.fields.record_id))
    .bind(column(events, |event| event.fields.modified_on))
    .bind(column(events, |event| {
        event.delivery.body_sha256.as_slice()
    }))
    .bind(column(events, |event| &event.delivery.body[..]))
    .bind(column(events, |event| event.fields.name.as_deref()))
    .bind(column(events, |event| event.fields.phone_number.as_deref()))
    .bind(column(events, |event| event.fields.email.as_deref()))
    .bind(column(events, |event| event.fields.source_ids.as_str()))
    .bind(column(events, |event| event.fields.created_on))
    .bind(receipts(events, |receipt| receipt.verdict.as_str()))
    .bind(receipts(events, |receipt| i64::from(receipt.route_version)))
    .bind(receipts(events, |receipt| &*receipt.hop_signature_input))
    .bind(receipts(events, |receipt| &*receipt.hop_signature))
    .bind(column(events, |event| event.delivery.received_at))
    .bind(column(events, |event| event.delivery.layer.as_str()))
    .fetch_all(connection)
    .await?;
    Ok(inserted.into_iter().collect())
}

/// Finds the events that stand for these deliveries, by the place of each in `events`.
///
/// A statement of its own, with a snapshot of its own: a row that another transaction committed while
/// the insert waited for it is not in the insert's snapshot.
///
/// One branch for each way in which the two columns can be null, since only `=` and `is null` can use
/// the index, and `is not distinct from` cannot.
pub async fn find_deliveries(
    connection: &mut PgConnection,
    events: &[&NewEvent],
) -> Result<HashMap<usize, Uuid>, sqlx::Error> {
    let record_ids: Vec<Option<Uuid>> = events.iter().map(|e| e.fields.record_id).collect();
    let modified_on: Vec<Option<OffsetDateTime>> =
        events.iter().map(|e| e.fields.modified_on).collect();
    let hashes: Vec<&[u8]> = events
        .iter()
        .map(|event| event.delivery.body_sha256.as_slice())
        .collect();
    let countries: Vec<&str> = events.iter().map(|e| e.delivery.country.as_str()).collect();
    let connections: Vec<&str> = events
        .iter()
        .map(|e| e.delivery.connection.as_str())
        .collect();
    let found: Vec<(i64, Uuid)> = sqlx::query_as(
        "select sought.position, found.event_id \
         from unnest($1::uuid[], $2::timestamptz[], $3::bytea[], $4::text[], $5::text[]) with ordinality \
              as sought (record_id, modified_on, payload_hash, country_code, connection_id, position) \
         cross join lateral ( \
             select event_id from pancake_webhook_event as event \
             where sought.record_id is not null and sought.modified_on is not null \
               and event.record_id = sought.record_id \
               and event.modified_on = sought.modified_on \
               and event.payload_hash = sought.payload_hash \
               and event.country_code = sought.country_code \
               and event.connection_id = sought.connection_id \
             union all \
             select event_id from pancake_webhook_event as event \
             where sought.record_id is not null and sought.modified_on is null \
               and event.record_id = sought.record_id \
               and event.modified_on is null \
               and event.payload_hash = sought.payload_hash \
               and event.country_code = sought.country_code \
               and event.connection_id = sought.connection_id \
             union all \
             select event_id from pancake_webhook_event as event \
             where sought.record_id is null and sought.modified_on is not null \
               and event.record_id is null \
               and event.modified_on = sought.modified_on \
               and event.payload_hash = sought.payload_hash \
               and event.country_code = sought.country_code \
               and event.connection_id = sought.connection_id \
             union all \
             select event_id from pancake_webhook_event as event \
             where sought.record_id is null and sought.modified_on is null \
               and event.record_id is null \
               and event.modified_on is null \
               and event.payload_hash = sought.payload_hash \
               and event.country_code = sought.country_code \
               and event.connection_id = sought.connection_id \
         ) as found",
    )
    .bind(record_ids)
    .bind(modified_on)
    .bind(hashes)
    .bind(countries)
    .bind(connections)
    .fetch_all(connection)
    .await?;
    Ok(found
        .into_iter()
        // `with ordinality` counts from 1.
        .filter_map(|(position, id)| Some((usize::try_from(position - 1).ok()?, id)))
        .collect())
}
