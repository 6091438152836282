//! Events of Pancake.

use serde::Serialize;
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder};
use utoipa::ToSchema;

use super::walk::{Found, Walk};
use crate::sources::NO_SOURCE;
use crate::staff_api::cursor::Place;
use crate::staff_api::value::{Id, Moment};

/// One delivery of one Pancake record, without its payload.
#[derive(Debug, FromRow, Serialize, ToSchema)]
pub(in crate::staff_api) struct Event {
    pub(in crate::staff_api) event_id: Id,
    #[schema(example = "vn-main")]
    connection_id: String,
    /// By which way it came: `webhook`, `poll`, `reconcile`, `spool`, `replay`.
    #[schema(example = "webhook")]
    layer: String,
    /// `received`, `ingested`, `processed`, `failed`, `dead_letter`, `skipped_source_disabled`,
    /// `skipped_kill_switch`.
    #[schema(example = "processed")]
    state: String,
    /// Pancake's id of the record.
    record_id: Option<Id>,
    /// When the record was changed in Pancake.
    modified_on: Option<Moment>,
    record_created_on: Option<Moment>,
    /// In a list, its first 1024 characters.
    name: Option<String>,
    /// As it was written; in a list, its first 256 characters.
    phone_number: Option<String>,
    /// In E.164, once the event was processed.
    normalized_phone: Option<String>,
    /// In a list, its first 320 characters.
    email: Option<String>,
    /// Those that count: of the first 64 each once, cut to 256 bytes, none empty.
    source_ids: Vec<String>,
    /// What the edge found of Pancake's signature.
    verdict: Option<String>,
    route_version: Option<i64>,
    pub(in crate::staff_api) received_at: Moment,
    /// When it got its state.
    settled_at: Option<Moment>,
    /// How often processing it failed.
    attempts: i16,
    /// When it is tried again.
    due_at: Option<Moment>,
    /// Why it failed last.
    cause: Option<String>,
    account_id: Option<Id>,
    ticket_id: Option<Id>,
}

const COLUMNS: &str = "event_id, connection_id, layer, status as state, record_id, modified_on, record_created_on, \
     normalized_phone, verdict, route_version, received_at, settled_at, attempts, due_at, cause, account_id, \
     ticket_id";
/// Name, number and address as they were sent: up to 1 MiB together.
const WHOLE_COLUMNS: &str = "name, phone_number, email, source_ids";
/// As much of each as processing takes.
const CUT_COLUMNS: &str = "left(name, 1024) as name, left(phone_number, 256) as phone_number, \
     left(email, 320) as email, \
     array(select left(source, 256) from unnest(source_ids[1:64]) as s (source)) as source_ids";

/// A state of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::staff_api) struct State(&'static str);

impl State {
    pub(in crate::staff_api) const DEAD_LETTER: Self = Self("dead_letter");
    const PROCESSED: Self = Self("processed");

    pub(in crate::staff_api) fn read(name: &str) -> Option<Self> {
        const ALL: [&str; 7] = [
            "received",
            "ingested",
            "processed",
            "failed",
            "dead_letter",
            "skipped_source_disabled",
            "skipped_kill_switch",
        ];
        ALL.into_iter().find(|known| *known == name).map(Self)
    }
}

/// Which events.
#[derive(Debug, Default)]
pub(in crate::staff_api) struct EventFilter {
    pub(in crate::staff_api) state: Option<State>,
    pub(in crate::staff_api) connection_id: Option<String>,
    pub(in crate::staff_api) source_id: Option<String>,
    pub(in crate::staff_api) record_id: Option<Id>,
    pub(in crate::staff_api) normalized_phone: Option<String>,
    pub(in crate::staff_api) from: Option<Moment>,
    pub(in crate::staff_api) to: Option<Moment>,
    pub(in crate::staff_api) before: Option<Place>,
}

impl EventFilter {
    /// Whether an index finds all of it.
    fn is_indexed(&self) -> bool {
        self.connection_id.is_none()
            && self.source_id.is_none()
            && self.state != Some(State::PROCESSED)
    }

    fn push_indexed(&self, query: &mut QueryBuilder<Postgres>) {
        // A literal of ours: the partial index is found by it.
        if let Some(State(state)) = self.state.filter(|state| *state != State::PROCESSED) {
            query.push(" and status = '").push(state).push("'");
        }
        if let Some(record_id) = self.record_id {
            query.push(" and record_id = ").push_bind(record_id);
        }
        if let Some(phone) = &self.normalized_phone {
            query
                .push(" and normalized_phone = ")
                .push_bind(phone.clone());
        }
        if let Some(from) = self.from {
            query.push(" and received_at >= ").push_bind(from);
        }
        if let Some(to) = self.to {
            query.push(" and received_at < ").push_bind(to);
        }
        if let Some(before) = self.before {
            query
                .push(" and (received_at, event_id) < (")
                .push_bind(before.at);
            query.push(", ").push_bind(before.id).push(")");
        }
    }

    fn push_others(&self, query: &mut QueryBuilder<Postgres>) {
        if self.state == Some(State::PROCESSED) {
            query.push(" and status = 'processed'");
        }
        if let Some(connection_id) = &self.connection_id {
            query
                .push(" and connection_id = ")
                .push_bind(connection_id.clone());
        }
        if let Some(source_id) = &self.source_id {
            query
                .push(" and (")
                .push_bind(source_id.clone())
                .push(" = any (source_ids)");
            if source_id == NO_SOURCE {
                query.push(" or source_ids = '{}'");
            }
            query.push(")");
        }
    }
}

/// The latest first, up to `limit`.
pub(in crate::staff_api) async fn list(
    connection: &mut PgConnection,
    country: &str,
    filter: &EventFilter,
    limit: i64,
) -> Result<Found<Event>, sqlx::Error> {
    let mut walk = Walk::new(limit, filter.is_indexed());
    walk.rows()
        .push(
            "select event_id as id, received_at as moment, status, connection_id, source_ids \
             from pancake_webhook_event where country_code = ",
        )
        .push_bind(country.to_owned());
    filter.push_indexed(walk.rows());
    filter.push_others(walk.others());
    let walked = walk.run(connection).await?;
    let statement = format!(
        "select {COLUMNS}, {CUT_COLUMNS} from pancake_webhook_event where event_id = any ($1) \
         order by received_at desc, event_id desc"
    );
    let items = sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(walked.ids)
        .fetch_all(connection)
        .await?;
    Ok(Found {
        items,
        looked_until: walked.looked_until,
    })
}

pub(in crate::staff_api) async fn find(
    connection: &mut PgConnection,
    country: &str,
    event_id: Id,
) -> Result<Option<Event>, sqlx::Error> {
    let statement = format!(
        "select {COLUMNS}, {WHOLE_COLUMNS} from pancake_webhook_event \
         where country_code = $1 and event_id = $2"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(country)
        .bind(event_id)
        .fetch_optional(connection)
        .await
}

/// The payload, byte for byte; none of an event that is not there, or of which the payload is gone.
pub(in crate::staff_api) async fn find_payload(
    connection: &mut PgConnection,
    country: &str,
    event_id: Id,
) -> Result<Option<Vec<u8>>, sqlx::Error> {
    let payload: Option<Option<Vec<u8>>> = sqlx::query_scalar(
        "select payload from pancake_webhook_event where country_code = $1 and event_id = $2",
    )
    .bind(country)
    .bind(event_id)
    .fetch_optional(connection)
    .await?;
    Ok(payload.flatten())
}
