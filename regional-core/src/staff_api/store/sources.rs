//! Where a connection's leads come from.

use serde::Serialize;
use sqlx::{FromRow, PgConnection, Postgres, QueryBuilder};
use utoipa::ToSchema;

use super::walk::{Found, LOOKED_AT_MAX, walk_by_index};
use crate::staff_api::value::Moment;

/// Where a connection's leads come from, and whether we take them.
#[derive(Debug, FromRow, Serialize, ToSchema)]
pub(in crate::staff_api) struct Source {
    #[schema(example = "vn-main")]
    pub(in crate::staff_api) connection_id: String,
    /// As the records name it; `(none)` stands for records that name none.
    pub(in crate::staff_api) source_id: String,
    /// What staff call it.
    pub(in crate::staff_api) name: Option<String>,
    /// Off: its events become `skipped_source_disabled`.
    pub(in crate::staff_api) is_active: bool,
    pub(in crate::staff_api) first_seen_at: Moment,
    pub(in crate::staff_api) updated_at: Moment,
    /// The `sub` of who changed it; null where nobody did.
    pub(in crate::staff_api) updated_by: Option<String>,
    /// For `If-Match`.
    pub(in crate::staff_api) version: i64,
}

const COLUMNS: &str = "connection_id, source_id, name, is_active, first_seen_at, updated_at, updated_by, \
     (extract(epoch from updated_at) * 1000000)::bigint as version";

/// Which sources.
#[derive(Debug, Default)]
pub(in crate::staff_api) struct SourceFilter {
    pub(in crate::staff_api) connection_id: Option<String>,
    pub(in crate::staff_api) is_active: Option<bool>,
    pub(in crate::staff_api) after: Option<(String, String)>,
}

impl Source {
    pub(in crate::staff_api) fn key(&self) -> (String, String) {
        (self.connection_id.clone(), self.source_id.clone())
    }
}

/// A source that was found, or the last one that was looked at.
#[derive(FromRow)]
struct LookedAt {
    #[sqlx(flatten)]
    source: Source,
    is_found: bool,
}

/// By connection and id, up to `limit`.
pub(in crate::staff_api) async fn list(
    connection: &mut PgConnection,
    country: &str,
    filter: SourceFilter,
    limit: i64,
) -> Result<Found<Source, (String, String)>, sqlx::Error> {
    walk_by_index(connection).await?;
    let is_indexed = filter.is_active.is_none();
    let looked_at = if is_indexed { limit } else { LOOKED_AT_MAX };
    let mut query = QueryBuilder::<Postgres>::new("with looked_at as materialized (select ");
    // The primary key begins with the connection: by those of the country it skips the others' sources.
    query
        .push(COLUMNS)
        .push(" from pancake_source where country_code = ")
        .push_bind(country)
        .push(" and connection_id = any (array(select c.connection_id from pancake_connection as c where c.country_code = ")
        .push_bind(country)
        .push("))");
    if let Some(connection_id) = filter.connection_id {
        query.push(" and connection_id = ").push_bind(connection_id);
    }
    if let Some((connection_id, source_id)) = filter.after {
        query
            .push(" and (connection_id, source_id) > (")
            .push_bind(connection_id);
        query.push(", ").push_bind(source_id).push(")");
    }
    query
        .push(" order by connection_id, source_id limit ")
        .push_bind(looked_at)
        .push("), found as (select * from looked_at where true");
    if let Some(is_active) = filter.is_active {
        query.push(" and is_active = ").push_bind(is_active);
    }
    query
        .push(" order by connection_id, source_id limit ")
        .push_bind(limit)
        .push(
            ") select *, true as is_found from found \
             union all (select *, false from looked_at where (select count(*) from looked_at) = ",
        )
        .push_bind(looked_at)
        .push(
            " order by connection_id desc, source_id desc limit 1) \
             order by is_found desc, connection_id, source_id",
        );
    let rows: Vec<LookedAt> = query.build_query_as().fetch_all(connection).await?;
    let last = rows.iter().find(|row| !row.is_found && !is_indexed);
    let looked_until = last.map(|row| row.source.key());
    let found = rows.into_iter().filter(|row| row.is_found);
    Ok(Found {
        items: found.map(|row| row.source).collect(),
        looked_until,
    })
}

/// One, which nobody else changes until the transaction ends.
pub(in crate::staff_api) async fn lock(
    connection: &mut PgConnection,
    country: &str,
    (connection_id, source_id): (&str, &str),
) -> Result<Option<Source>, sqlx::Error> {
    let statement = format!(
        "select {COLUMNS} from pancake_source \
         where country_code = $1 and connection_id = $2 and source_id = $3 for update"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(country)
        .bind(connection_id)
        .bind(source_id)
        .fetch_optional(connection)
        .await
}

/// Writes what staff call a source, and whether it is taken.
pub(in crate::staff_api) async fn update(
    connection: &mut PgConnection,
    country: &str,
    source: &Source,
    (name, is_active): (Option<&str>, bool),
    updated_by: &str,
) -> Result<Source, sqlx::Error> {
    let statement = format!(
        "update pancake_source set name = $4, is_active = $5, updated_by = $6, \
             updated_at = greatest(clock_timestamp(), updated_at + interval '1 microsecond') \
         where country_code = $1 and connection_id = $2 and source_id = $3 returning {COLUMNS}"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(country)
        .bind(&source.connection_id)
        .bind(&source.source_id)
        .bind(name)
        .bind(is_active)
        .bind(updated_by)
        .fetch_one(connection)
        .await
}
