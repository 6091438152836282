//! SQL that writes one row of schema `smp_global`, as `core_editor`.
//!
//! The statements are made of the fixed names in [`Table`] only; all that comes from a request is bound,
//! as one JSON object that PostgreSQL reads with the columns' own types, so that no digit is lost.

use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use super::condition::Condition;
use super::limits;
use super::rows::Table;
use crate::db::{describe, has_code};
use crate::error::{MasterDataError, Missing};

const UNIQUE_VIOLATION: &str = "23505";

/// `from` and `where` that find the row of the key that is in `$1`.
fn key_in_argument(table: &Table) -> (String, String) {
    let Table { name, key, .. } = table;
    let from = format!("jsonb_populate_record(null::smp_global.{name}, $1::text::jsonb) as new");
    let found: Vec<_> = key
        .iter()
        .map(|column| format!("there.{column} = new.{column}"))
        .collect();
    (from, found.join(" and "))
}

/// Writes the row that `row`, a JSON object, holds whole. Returns its version.
pub(super) async fn put(
    pool: &PgPool,
    table: &Table,
    row: &str,
    condition: Condition,
    who: &str,
) -> Result<i64, MasterDataError> {
    let Table { name, key, columns } = table;
    let (from, found) = key_in_argument(table);
    let written = match condition {
        Condition::New => {
            let columns: Vec<_> = key.iter().chain(*columns).copied().collect();
            let sql = format!(
                "insert into smp_global.{name} ({}) select new.{} from {from} returning row_version",
                columns.join(", "),
                columns.join(", new.")
            );
            write(pool, sql, row, None, who).await
        }
        Condition::Version(version) => {
            let set: Vec<_> = columns
                .iter()
                .map(|column| format!("{column} = new.{column}"))
                .collect();
            let sql = format!(
                "update smp_global.{name} as there set {} from {from} \
                 where {found} and there.row_version = $2 returning there.row_version",
                set.join(", ")
            );
            write(pool, sql, row, Some(version), who).await
        }
    };
    match written {
        Ok(Some(written)) => Ok(written.row_version),
        Ok(None) => Err(stale(pool, table, row).await),
        Err(error) if has_code(&error, &[UNIQUE_VIOLATION]) => Err(stale(pool, table, row).await),
        Err(error) => Err(refusal(&error, |constraint| {
            limits::blame(constraint).map(|error| MasterDataError::Refused(vec![error]))
        })),
    }
}

/// Deletes the row of the key that `key`, a JSON object, holds, if it is there in this version. Returns the
/// version token of the deletion.
pub(super) async fn delete(
    pool: &PgPool,
    table: &Table,
    key: &str,
    version: i64,
    who: &str,
) -> Result<i64, MasterDataError> {
    let name = table.name;
    let (from, found) = key_in_argument(table);
    let sql = format!(
        "delete from smp_global.{name} as there using {from} \
         where {found} and there.row_version = $2 returning there.row_version"
    );
    match write(pool, sql, key, Some(version), who).await {
        Ok(Some(written)) => Ok(written.seq),
        Ok(None) => Err(match stale(pool, table, key).await {
            MasterDataError::Stale {
                current_version: None,
            } => MasterDataError::NotThere(Missing::Row { table: name }),
            other => other,
        }),
        Err(error) => Err(refusal(&error, |constraint| {
            limits::referrer(constraint).map(|by| MasterDataError::InUse { by })
        })),
    }
}

/// What a statement did to one row.
struct Written {
    /// The row's version: its new one, or that of the row that is gone.
    row_version: i64,
    /// The place of the change among all changes.
    seq: i64,
}

/// Runs a statement of one row in a transaction of its own; none if it found no row.
async fn write(
    pool: &PgPool,
    sql: String,
    row: &str,
    version: Option<i64>,
    who: &str,
) -> Result<Option<Written>, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let connection: &mut PgConnection = &mut transaction;
    // So that the server's own log and pg_stat_activity can tell who it is.
    sqlx::query("select set_config('application_name', $1, true)")
        .bind(format!("regional-core for {who}"))
        .execute(&mut *connection)
        .await?;
    let mut statement = sqlx::query_scalar(AssertSqlSafe(sql)).bind(row);
    if let Some(version) = version {
        statement = statement.bind(version);
    }
    let Some(row_version): Option<i64> = statement.fetch_optional(&mut *connection).await? else {
        return Ok(None);
    };
    // Writers wait for one another until they have committed, so the last one is this transaction's own.
    let seq: Option<i64> = sqlx::query_scalar("select max(seq) from smp_global.change_log")
        .fetch_one(connection)
        .await?;
    transaction.commit().await?;
    let seq = seq.ok_or(sqlx::Error::RowNotFound)?;
    Ok(Some(Written { row_version, seq }))
}

/// The row is not the one that was meant.
async fn stale(pool: &PgPool, table: &Table, key: &str) -> MasterDataError {
    let (from, found) = key_in_argument(table);
    let name = table.name;
    let sql =
        format!("select there.row_version from smp_global.{name} as there, {from} where {found}");
    let current = sqlx::query_scalar(AssertSqlSafe(sql)).bind(key);
    match current.fetch_optional(pool).await {
        Ok(current_version) => MasterDataError::Stale { current_version },
        Err(error) => unavailable(&error),
    }
}

/// What to say where the database says no: of a constraint what `of_constraint` knows.
fn refusal(
    error: &sqlx::Error,
    of_constraint: impl FnOnce(&str) -> Option<MasterDataError>,
) -> MasterDataError {
    let constraint = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::constraint);
    constraint
        .and_then(of_constraint)
        .unwrap_or_else(|| unavailable(error))
}

fn unavailable(error: &sqlx::Error) -> MasterDataError {
    tracing::warn!(error = %describe(error), "master data is not written");
    MasterDataError::Unavailable
}
