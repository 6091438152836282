//! Selections of events that are sent through processing again.

use protocol::Country;
use serde::Serialize;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder};
use utoipa::ToSchema;

use crate::processing::replay::{ReplayFilter, count};
use crate::staff_api::cursor::Place;
use crate::staff_api::value::{Id, Moment};

/// A selection, and how far it is.
#[derive(Debug, FromRow, Serialize, ToSchema)]
pub(in crate::staff_api) struct Replay {
    pub(in crate::staff_api) replay_id: Id,
    /// Which events; what is absent does not narrow the choice. In a list, the first 64 of `event_ids`.
    #[schema(value_type = Object)]
    filter: Json<ReplayFilter>,
    /// `counted`, `running`, `done`, `cancelled`.
    #[schema(example = "running")]
    pub(in crate::staff_api) state: String,
    /// How many events there were when it was counted.
    pub(in crate::staff_api) total: i64,
    /// There were more of its states and times than are looked at: `total` is what was found among the first 100000,
    /// or among the first 25000 for those of a source.
    is_truncated: bool,
    /// How many wait again by now.
    done: i64,
    /// The "sub" of whoever counted it.
    created_by: String,
    pub(in crate::staff_api) created_at: Moment,
    finished_at: Option<Moment>,
}

const COLUMNS: &str =
    "replay_id, filter, state, total, is_truncated, done, created_by, created_at, finished_at";
/// The same, with fewer of the events that it names: a page may have 200 filters, each of 40 KB.
const CUT_COLUMNS: &str = "replay_id, \
     jsonb_set(filter, '{event_ids}', jsonb_path_query_array(filter, '$.event_ids[0 to 63]'), false) as filter, \
     state, total, is_truncated, done, created_by, created_at, finished_at";

/// Counts the events of a selection, and keeps it; moves none.
pub(in crate::staff_api) async fn insert(
    connection: &mut PgConnection,
    country: Country,
    filter: &ReplayFilter,
    subject: &str,
) -> Result<Replay, sqlx::Error> {
    let counted = count(&mut *connection, country, filter).await?;
    let statement = format!(
        "insert into pancake_replay (replay_id, country_code, filter, total, is_truncated, created_by) \
         values ($1, $2, $3, $4, $5, $6) returning {COLUMNS}"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(Id::new())
        .bind(country.as_str())
        .bind(Json(filter))
        .bind(counted.events)
        .bind(counted.is_truncated)
        .bind(subject)
        .fetch_one(connection)
        .await
}

/// The latest first.
pub(in crate::staff_api) async fn list(
    connection: &mut PgConnection,
    country: &str,
    before: Option<Place>,
    limit: i64,
) -> Result<Vec<Replay>, sqlx::Error> {
    let mut query = QueryBuilder::<Postgres>::new("select ");
    query
        .push(CUT_COLUMNS)
        .push(" from (select * from pancake_replay where country_code = ")
        .push_bind(country);
    if let Some(before) = before {
        query
            .push(" and (created_at, replay_id) < (")
            .push_bind(before.at);
        query.push(", ").push_bind(before.id).push(")");
    }
    query
        .push(" order by created_at desc, replay_id desc limit ")
        .push_bind(limit)
        .push(") as page order by created_at desc, replay_id desc");
    query.build_query_as().fetch_all(connection).await
}

/// One, and if `locked` nobody else moves it meanwhile.
pub(in crate::staff_api) async fn find(
    connection: &mut PgConnection,
    country: &str,
    replay_id: Id,
    locked: bool,
) -> Result<Option<Replay>, sqlx::Error> {
    let lock = if locked { "for update" } else { "" };
    let statement = format!(
        "select {COLUMNS} from pancake_replay where country_code = $1 and replay_id = $2 {lock}"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(country)
        .bind(replay_id)
        .fetch_optional(connection)
        .await
}

/// Lets it run, or ends it.
pub(in crate::staff_api) async fn set_state(
    connection: &mut PgConnection,
    country: &str,
    replay_id: Id,
    state: &str,
) -> Result<Replay, sqlx::Error> {
    let statement = format!(
        "update pancake_replay set state = $3, \
                finished_at = case when $3 = 'cancelled' then clock_timestamp() end \
         where country_code = $1 and replay_id = $2 returning {COLUMNS}"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(country)
        .bind(replay_id)
        .bind(state)
        .fetch_one(connection)
        .await
}
