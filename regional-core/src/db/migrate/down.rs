//! Takes migrations back.
//!
//! First a plan, made on the live data, which changes nothing and holds nothing up while somebody reads
//! it. Then each migration in one transaction: the locks, the counts anew, the down itself and the end
//! of the migration's row. If the form would no longer be the one that was shown, it stops there.

use std::borrow::Cow;

use sqlx::migrate::{Migrate as _, MigrateError, Migration, MigrationType};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _, SqlSafeStr as _};

use super::plan::{DownPlan, Finding, FindingKind, Form, PlannedDown};
use super::session::Session;
use super::{MigrationError, TABLE, has_table, migrator, refuse_unfinished, steps};
use crate::config::secrets::DatabaseUrl;
use crate::db::{DatabaseError, has_code};

/// The first migration's tables hold every event.
const FIRST: i64 = 1;

/// Whoever waits for a table's lock makes all others wait behind.
const LOCK_TIMEOUT: &str = "set local lock_timeout = '3s'";

/// Otherwise the counts of large tables come in the order in which they are ready.
const KEEP_ORDER: &str = "set local enable_parallel_append = off";

/// Why migrations were not taken back.
#[derive(Debug, thiserror::Error)]
pub enum DownError {
    /// As for any migration.
    #[error(transparent)]
    Migration(#[from] MigrationError),
    /// Every event would be lost: somebody must have said so.
    #[error("0001 holds every event: it is taken back by `--to 0` only")]
    FirstNotNamed,
    /// Only the binary that has its files can take it back.
    #[error("migration {version:04} is of a newer binary: take it back with that one first")]
    Unknown {
        /// The one that this binary does not have.
        version: i64,
    },
    /// Somebody migrated, or referred to a row, in between.
    #[error(
        "migration {version:04} is not as it was when it was shown; it was not touched. Run it again"
    )]
    Changed {
        /// The one that stopped it.
        version: i64,
    },
}

impl From<sqlx::Error> for DownError {
    fn from(error: sqlx::Error) -> Self {
        Self::Migration(DatabaseError::from(error).into())
    }
}

impl From<MigrateError> for DownError {
    fn from(error: MigrateError) -> Self {
        Self::Migration(error.into())
    }
}

impl From<DatabaseError> for DownError {
    fn from(error: DatabaseError) -> Self {
        Self::Migration(error.into())
    }
}

/// What belongs to a migration's way back beside its down file.
struct Check {
    version: i64,
    /// Two steps: locks, counts.
    sql: &'static str,
    /// The soft form, where there is one.
    soft: Option<&'static str>,
}

macro_rules! checks {
    ($($version:literal $name:literal $($soft:literal)?;)*) => {
        [$(Check {
            version: $version,
            sql: include_str!(concat!("../../../migrations/checks/", $name, ".sql")),
            soft: checks!(@soft $($soft)?),
        }),*]
    };
    (@soft) => { None };
    (@soft $soft:literal) => {
        Some(include_str!(concat!("../../../migrations/checks/", $soft, ".down-soft.sql")))
    };
}

const CHECKS: [Check; 25] = checks! {
    1 "0001_pancake_intake";
    2 "0002_crm_baseline";
    3 "0003_account_normalized_phone";
    4 "0004_normalized_phone_backfill";
    5 "0005_contact_book_primary_phone";
    6 "0006_pancake_tables";
    7 "0007_ticket_source_pancake" "0007_ticket_source_pancake";
    8 "0008_pancake_permission";
    9 "0009_pancake_notification_templates" "0009_pancake_notification_templates";
    10 "0010_pancake_setting";
    11 "0011_processing";
    12 "0012_access";
    13 "0013_replay";
    14 "0014_retention";
    15 "0015_tickets_by_person";
    16 "0016_replay_bounds";
    17 "0017_connections_by_country";
    18 "0018_sources_that_count";
    19 "0019_one_open_ticket_a_person";
    20 "0020_connections_by_staff";
    21 "0021_api_key_by_staff";
    22 "0022_jobs";
    23 "0023_rejected_by_layer";
    24 "0024_rollup";
    25 "0025_watermark_by_staff";
};

/// What taking back the last migration, or all above `to`, would do. Changes nothing.
pub async fn plan(owner: &DatabaseUrl, to: Option<i64>) -> Result<DownPlan, DownError> {
    let mut session = Session::open(owner).await?;
    let connection = &mut session.connection;
    let database: String = sqlx::query_scalar("select current_database()::text")
        .fetch_one(&mut *connection)
        .await?;
    let mut migrations = Vec::new();
    let downs = downs(connection, to).await?;
    // One moment for all counts.
    let mut transaction = connection
        .begin_with("begin isolation level repeatable read read only")
        .await?;
    for down in &downs {
        let (_, counts) = check_steps(down.version);
        migrations.push(planned(&mut transaction, down, counts).await?);
    }
    transaction.rollback().await?;
    session.close().await?;
    Ok(DownPlan {
        database,
        migrations,
    })
}

/// Takes back what `shown` lists, one after the other, and reports each as it was done. A failure leaves
/// those before it taken back, and its own as it was.
pub async fn take_back(
    owner: &DatabaseUrl,
    shown: &DownPlan,
    mut report: impl FnMut(&PlannedDown),
) -> Result<(), DownError> {
    let mut session = Session::open(owner).await?;
    let Some(oldest) = shown.migrations.last() else {
        return Ok(session.close().await?);
    };
    let downs = downs(&mut session.connection, Some(oldest.version - 1)).await?;
    for pair in shown.migrations.iter().zip(&downs) {
        if pair.0.version != pair.1.version {
            return Err(DownError::Changed {
                version: pair.1.version,
            });
        }
    }
    if shown.migrations.len() != downs.len() {
        return Err(DownError::Changed {
            version: oldest.version,
        });
    }
    for (planned, down) in shown.migrations.iter().zip(&downs) {
        let done = take_back_one(&mut session.connection, planned, down).await?;
        report(&done);
    }
    Ok(session.close().await?)
}

async fn take_back_one(
    connection: &mut PgConnection,
    shown: &PlannedDown,
    down: &Migration,
) -> Result<PlannedDown, DownError> {
    let version = down.version;
    let failed = |error| MigrateError::ExecuteMigration(error, version);
    let (locks, counts) = check_steps(version);
    let mut transaction = connection.begin().await?;
    steps::run(&mut transaction, LOCK_TIMEOUT.to_owned()).await?;
    steps::run(&mut transaction, locks).await.map_err(failed)?;
    let now = planned(&mut transaction, down, counts).await?;
    if now.form != shown.form {
        return Err(DownError::Changed { version });
    }
    let migration = match now.form {
        Form::Hard => down.clone(),
        // Never the hard form instead.
        Form::Soft => soft_form(down).ok_or(DownError::Changed { version })?,
    };
    match transaction.revert(TABLE, &migration).await {
        Ok(_) => {}
        // A foreign key knew better than the counts.
        Err(MigrateError::ExecuteMigration(error, _)) if has_code(&error, &["23503"]) => {
            return Err(DownError::Changed { version });
        }
        Err(error) => return Err(error.into()),
    }
    transaction.commit().await?;
    Ok(now)
}

/// The down migrations from the newest that is applied to the one above `to`.
async fn downs(
    connection: &mut PgConnection,
    to: Option<i64>,
) -> Result<Vec<Migration>, DownError> {
    if !has_table(connection).await? {
        return Ok(Vec::new());
    }
    refuse_unfinished(connection).await?;
    let mut applied = connection.list_applied_migrations(TABLE).await?;
    applied.sort_by_key(|row| std::cmp::Reverse(row.version));
    let last = applied.first().map(|row| row.version);
    let target = match (to, last) {
        (Some(to), _) => to,
        (None, Some(FIRST)) => return Err(DownError::FirstNotNamed),
        (None, Some(last)) => last - 1,
        (None, None) => return Ok(Vec::new()),
    };
    let migrator = migrator();
    let mut downs = Vec::new();
    for row in applied.iter().filter(|row| row.version > target) {
        let version = row.version;
        let of_version = |down: bool| {
            migrator.iter().find(|migration| {
                migration.version == version && migration.migration_type.is_down_migration() == down
            })
        };
        let (Some(up), Some(down)) = (of_version(false), of_version(true)) else {
            return Err(DownError::Unknown { version });
        };
        // What another text made, this down may not fit.
        if up.checksum != row.checksum {
            return Err(MigrateError::VersionMismatch(version).into());
        }
        downs.push(down.clone());
    }
    Ok(downs)
}

async fn planned(
    connection: &mut PgConnection,
    down: &Migration,
    counts: String,
) -> Result<PlannedDown, DownError> {
    steps::run(connection, KEEP_ORDER.to_owned()).await?;
    let rows = sqlx::raw_sql(AssertSqlSafe(counts))
        .fetch_all(&mut *connection)
        .await?;
    let mut findings = Vec::with_capacity(rows.len());
    for row in rows {
        let kind: String = row.try_get(0)?;
        findings.push(Finding {
            kind: FindingKind::from_name(&kind)
                .ok_or_else(|| sqlx::Error::Decode(format!("a check's kind is {kind:?}").into()))?,
            what: row.try_get(1)?,
            rows: row.try_get(2)?,
        });
    }
    let name = down.description.to_string();
    Ok(PlannedDown::new(down.version, name, &findings))
}

fn check(version: i64) -> Option<&'static Check> {
    CHECKS.iter().find(|check| check.version == version)
}

/// The locks and the counts. A test sees to it that each migration has both.
fn check_steps(version: i64) -> (String, String) {
    let mut steps = steps::cut(check(version).map_or("", |check| check.sql)).into_iter();
    (
        steps.next().unwrap_or_default(),
        steps.next().unwrap_or_default(),
    )
}

/// The same migration with the text of its soft form.
fn soft_form(down: &Migration) -> Option<Migration> {
    let sql = check(down.version)?.soft?;
    Some(Migration::new(
        down.version,
        Cow::clone(&down.description),
        MigrationType::ReversibleDown,
        sql.into_sql_str(),
        false,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_migration_has_a_down_file_and_a_check_of_two_steps() {
        let of_kind = |down: bool| {
            migrator()
                .iter()
                .filter(|migration| migration.migration_type.is_down_migration() == down)
                .map(|migration| (migration.version, migration.description.to_string()))
                .collect::<Vec<_>>()
        };
        assert_eq!(of_kind(false), of_kind(true));
        for (version, name) in of_kind(false) {
            let check = check(version).unwrap_or_else(|| panic!("no check for {version}"));
            assert_eq!(steps::cut(check.sql).len(), 2, "{name}");
            // It can turn soft if, and only if, there is a soft form.
            assert_eq!(check.sql.contains("'reference'"), check.soft.is_some());
            assert_eq!(check.sql.contains("'soft'"), check.soft.is_some());
        }
        for down in migrator()
            .iter()
            .filter(|m| m.migration_type.is_down_migration())
        {
            assert!(!down.no_tx, "a down shares its check's transaction");
        }
    }
}
