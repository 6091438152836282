//! Requests that were no records.

use serde::Serialize;
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder};
use utoipa::ToSchema;

use crate::staff_api::cursor::Place;
use crate::staff_api::value::{Id, Moment};

/// A rightly signed body, or an entry of a list of Pancake's, that is no record or that the database refused; without
/// the body.
#[derive(Debug, FromRow, Serialize, ToSchema)]
pub(in crate::staff_api) struct RejectedRequest {
    pub(in crate::staff_api) rejected_id: Id,
    #[schema(example = "vn-main")]
    connection_id: String,
    /// By which layer it came first: `webhook`, `spool`, `poll`, `reconcile`.
    #[schema(example = "webhook")]
    layer: String,
    /// `not_utf8`, `not_json`, `not_an_object`, `id_not_a_uuid`, `too_large`, `refused_by_database`.
    #[schema(example = "not_json")]
    cause: String,
    /// SHA-256 of the body, in hex.
    body_sha256: String,
    /// What the edge found of Pancake's signature. Null where no edge was on the way: what polling or reconciliation
    /// found.
    verdict: Option<String>,
    /// By which of the edge's routes it came. Null likewise.
    route_version: Option<i64>,
    /// The first time.
    pub(in crate::staff_api) received_at: Moment,
    last_received_at: Moment,
    times_received: i64,
}

const COLUMNS: &str = "rejected_id, connection_id, layer, cause, encode(body_sha256, 'hex') as body_sha256, verdict, \
     route_version, received_at, last_received_at, times_received";

/// The latest first.
pub(in crate::staff_api) async fn list(
    connection: &mut PgConnection,
    country: &str,
    before: Option<Place>,
    limit: i64,
) -> Result<Vec<RejectedRequest>, sqlx::Error> {
    let mut query = QueryBuilder::<Postgres>::new("select ");
    query.push(COLUMNS);
    query
        .push(" from pancake_rejected_request where country_code = ")
        .push_bind(country);
    if let Some(before) = before {
        query
            .push(" and (received_at, rejected_id) < (")
            .push_bind(before.at);
        query.push(", ").push_bind(before.id).push(")");
    }
    query
        .push(" order by received_at desc, rejected_id desc limit ")
        .push_bind(limit);
    query.build_query_as().fetch_all(connection).await
}

pub(in crate::staff_api) async fn find(
    connection: &mut PgConnection,
    country: &str,
    rejected_id: Id,
) -> Result<Option<RejectedRequest>, sqlx::Error> {
    let statement = format!(
        "select {COLUMNS} from pancake_rejected_request where country_code = $1 and rejected_id = $2"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(country)
        .bind(rejected_id)
        .fetch_optional(connection)
        .await
}
