//! Numbers for whoever runs the integration. Each statement looks at a bounded number of rows.

use sqlx::{FromRow, PgConnection};

use crate::staff_api::value::Moment;

/// Events of the window that are counted, at most: the latest.
pub(in crate::staff_api) const WINDOW_EVENTS_MAX: i64 = 100_000;
/// Up to where events that are not processed are counted, of each state.
pub(in crate::staff_api) const WAITING_MAX: i64 = 100_000;

/// How many sources are listed at most.
const SOURCES_MAX: i64 = 200;

/// Events of a state, of a source or of all.
#[derive(Debug, FromRow)]
pub(in crate::staff_api) struct Counted {
    /// The connection and the first source that the record names; null for all.
    pub(in crate::staff_api) connection_id: Option<String>,
    pub(in crate::staff_api) source_id: Option<String>,
    pub(in crate::staff_api) state: String,
    pub(in crate::staff_api) events: i64,
}

/// The events of the last so many hours: all, and those of the sources that have the most. A source is known by its
/// first 256 characters: whoever sends a record may name one of 1 MiB.
pub(in crate::staff_api) async fn window(
    connection: &mut PgConnection,
    country: &str,
    since: Moment,
) -> Result<Vec<Counted>, sqlx::Error> {
    sqlx::query_as(
        "with latest as materialized ( \
             select connection_id, left(coalesce(source_ids[1], '(none)'), 256) as source_id, status as state \
             from pancake_webhook_event \
             where country_code = $1 and received_at >= $2 order by received_at desc limit $3), \
         most as ( \
             select connection_id, source_id from latest group by 1, 2 order by count(*) desc, 1, 2 limit $4) \
         select null as connection_id, null as source_id, state, count(*) as events from latest group by state \
         union all \
         select connection_id, source_id, state, count(*) from latest join most using (connection_id, source_id) \
         group by 1, 2, 3",
    )
    .bind(country)
    .bind(since)
    .bind(WINDOW_EVENTS_MAX)
    .bind(SOURCES_MAX)
    .fetch_all(connection)
    .await
}

/// How many events are in a state other than `processed`, up to [`WAITING_MAX`], and since when the oldest.
pub(in crate::staff_api) async fn waiting(
    connection: &mut PgConnection,
    country: &str,
    state: &'static str,
) -> Result<(i64, Option<Moment>), sqlx::Error> {
    // A literal of ours: the partial index is found by it.
    let statement = format!(
        "select count(*), min(received_at) from ( \
             select received_at from pancake_webhook_event \
             where country_code = $1 and status = '{state}' order by received_at limit $2) as waiting"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(country)
        .bind(WAITING_MAX)
        .fetch_one(connection)
        .await
}

/// The database's moment, and the one so many hours before.
pub(in crate::staff_api) async fn span(
    connection: &mut PgConnection,
    hours: i32,
) -> Result<(Moment, Moment), sqlx::Error> {
    sqlx::query_as("select now() - make_interval(hours => $1), now()")
        .bind(hours)
        .fetch_one(connection)
        .await
}
