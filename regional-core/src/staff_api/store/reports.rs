//! Numbers for whoever runs the integration. Each statement looks at a bounded number of rows.

use sqlx::PgConnection;

use crate::staff_api::value::Moment;

/// Events of the window that are counted, at most: the latest.
pub(in crate::staff_api) const WINDOW_EVENTS_MAX: i64 = 100_000;
/// Up to where events that are not processed are counted, of each state.
pub(in crate::staff_api) const WAITING_MAX: i64 = 100_000;

/// (connection, first source, state, events) of the last so many hours.
pub(in crate::staff_api) async fn window(
    connection: &mut PgConnection,
    country: &str,
    since: Moment,
) -> Result<Vec<(String, String, String, i64)>, sqlx::Error> {
    sqlx::query_as(
        "select connection_id, coalesce(source_ids[1], '(none)'), status, count(*) from ( \
             select connection_id, source_ids, status from pancake_webhook_event \
             where country_code = $1 and received_at >= $2 order by received_at desc limit $3) as latest \
         group by 1, 2, 3",
    )
    .bind(country)
    .bind(since)
    .bind(WINDOW_EVENTS_MAX)
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
