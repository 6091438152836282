//! Connections to Pancake.

use serde::Serialize;
use sqlx::{FromRow, PgConnection};
use utoipa::ToSchema;

use crate::staff_api::value::{Id, Moment};

/// A Pancake workspace that sends to us.
#[derive(Debug, FromRow, Serialize, ToSchema)]
pub(in crate::staff_api) struct Connection {
    #[schema(example = "vn-main")]
    pub(in crate::staff_api) connection_id: String,
    /// Its number in Pancake. Unless it is one, nothing can be asked for there.
    pub(in crate::staff_api) workspace: Option<String>,
    /// Whether it has a key of Pancake's REST interface. Nobody is shown it.
    pub(in crate::staff_api) has_api_key: bool,
    /// When it was given.
    pub(in crate::staff_api) api_key_set_at: Option<Moment>,
    /// When Pancake took it last. Pancake disables keys that are idle.
    pub(in crate::staff_api) api_key_accepted_at: Option<Moment>,
    /// Since when Pancake refuses it; null while it does not.
    pub(in crate::staff_api) api_key_refused_at: Option<Moment>,
    /// `active`; `suspended`: Pancake stopped it, after too many failures; `disabled`: we did, and what is received
    /// after `status_changed_at` becomes `skipped_source_disabled`.
    #[schema(example = "active")]
    pub(in crate::staff_api) status: String,
    /// Since when.
    pub(in crate::staff_api) status_changed_at: Moment,
    pub(in crate::staff_api) created_at: Moment,
    pub(in crate::staff_api) updated_at: Moment,
    /// For `If-Match`.
    pub(in crate::staff_api) version: i64,
}

/// A change of a connection's status.
#[derive(Debug, FromRow, Serialize, ToSchema)]
pub(in crate::staff_api) struct StatusChange {
    change_id: Id,
    status: String,
    reason: Option<String>,
    /// The `sub` of who changed it; null where the core found it so.
    changed_by: Option<String>,
    changed_at: Moment,
}

const COLUMNS: &str = "connection_id, workspace, has_api_key, api_key_set_at, api_key_accepted_at, api_key_refused_at, status, \
     status_changed_at, created_at, updated_at, \
     (extract(epoch from updated_at) * 1000000)::bigint as version";

/// Those after this one, by id.
pub(in crate::staff_api) async fn list(
    connection: &mut PgConnection,
    country: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<Connection>, sqlx::Error> {
    let statement = format!(
        "select {COLUMNS} from pancake_connection where country_code = $1 and connection_id > $2 \
         order by connection_id limit $3"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(country)
        .bind(after)
        .bind(limit)
        .fetch_all(connection)
        .await
}

pub(in crate::staff_api) async fn find(
    connection: &mut PgConnection,
    country: &str,
    connection_id: &str,
) -> Result<Option<Connection>, sqlx::Error> {
    let statement = format!(
        "select {COLUMNS} from pancake_connection where country_code = $1 and connection_id = $2"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(country)
        .bind(connection_id)
        .fetch_optional(connection)
        .await
}

/// As [`find`], and nobody else changes it until the transaction ends.
pub(in crate::staff_api) async fn lock(
    connection: &mut PgConnection,
    country: &str,
    connection_id: &str,
) -> Result<Option<Connection>, sqlx::Error> {
    let statement = format!(
        "select {COLUMNS} from pancake_connection where country_code = $1 and connection_id = $2 for update"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(country)
        .bind(connection_id)
        .fetch_optional(connection)
        .await
}

/// The latest changes, the last one first.
pub(in crate::staff_api) async fn history(
    connection: &mut PgConnection,
    country: &str,
    connection_id: &str,
) -> Result<Vec<StatusChange>, sqlx::Error> {
    sqlx::query_as(
        "select change_id, status, reason, changed_by, changed_at from pancake_connection_status \
         where country_code = $1 and connection_id = $2 order by changed_at desc, change_id desc limit 50",
    )
    .bind(country)
    .bind(connection_id)
    .fetch_all(connection)
    .await
}

/// Adds one, which is active.
pub(in crate::staff_api) async fn insert(
    connection: &mut PgConnection,
    country: &str,
    connection_id: &str,
    workspace: Option<&str>,
) -> Result<Connection, sqlx::Error> {
    let statement = format!(
        "insert into pancake_connection (connection_id, country_code, workspace) values ($2, $1, $3) \
         returning {COLUMNS}"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(country)
        .bind(connection_id)
        .bind(workspace)
        .fetch_one(connection)
        .await
}

/// Writes down what the status becomes, and why.
pub(in crate::staff_api) async fn note_status(
    connection: &mut PgConnection,
    country: &str,
    connection_id: &str,
    (status, reason): (&str, Option<&str>),
    changed_by: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into pancake_connection_status \
             (change_id, country_code, connection_id, status, reason, changed_by, changed_at) \
         values ($1, $2, $3, $4, $5, $6, clock_timestamp())",
    )
    .bind(Id::new())
    .bind(country)
    .bind(connection_id)
    .bind(status)
    .bind(reason)
    .bind(changed_by)
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes the workspace and the status. A status that stays holds since when it held.
pub(in crate::staff_api) async fn update(
    connection: &mut PgConnection,
    country: &str,
    connection_id: &str,
    (workspace, status): (Option<&str>, &str),
) -> Result<Connection, sqlx::Error> {
    let statement = format!(
        "update pancake_connection set workspace = $3, status = $4, \
             status_changed_at = case when status = $4 then status_changed_at else clock_timestamp() end, \
             updated_at = greatest(clock_timestamp(), updated_at + interval '1 microsecond') \
         where country_code = $1 and connection_id = $2 returning {COLUMNS}"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(country)
        .bind(connection_id)
        .bind(workspace)
        .bind(status)
        .fetch_one(connection)
        .await
}

/// Forgets up to where a connection is complete: that was said of another workspace.
pub(in crate::staff_api) async fn forget_watermarks(
    connection: &mut PgConnection,
    country: &str,
    connection_id: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("delete from pancake_watermark where country_code = $1 and connection_id = $2")
        .bind(country)
        .bind(connection_id)
        .execute(connection)
        .await?;
    Ok(())
}

/// Gives a connection an API key, sealed, or takes it away.
pub(in crate::staff_api) async fn set_api_key(
    connection: &mut PgConnection,
    country: &str,
    connection_id: &str,
    sealed: Option<&[u8]>,
) -> Result<Connection, sqlx::Error> {
    let statement = format!(
        "update pancake_connection set api_key_encrypted = $3, \
             api_key_set_at = case when $3::bytea is not null then clock_timestamp() end, \
             api_key_accepted_at = null, api_key_refused_at = null, \
             updated_at = greatest(clock_timestamp(), updated_at + interval '1 microsecond') \
         where country_code = $1 and connection_id = $2 returning {COLUMNS}"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(country)
        .bind(connection_id)
        .bind(sealed)
        .fetch_one(connection)
        .await
}
