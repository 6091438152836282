//! Migrations: this crate's own, in a migration table of their own.
//!
//! The `replication` member migrates the same database. Two migrators that shared one table would each
//! take the other's versions for missing ones.
//!
//! - `session`: one migrator at a time.
//! - `steps`: applies a migration that cannot run in a transaction.
//! - [`plan`]: what taking migrations back would cost. Pure.
//! - [`down`]: asks the database for that, and takes them back.

pub mod down;
pub mod plan;
mod session;
mod steps;

use sqlx::migrate::{Migrate as _, MigrateError, Migration, Migrator};
use sqlx::postgres::PgDatabaseError;
use sqlx::{Connection as _, PgConnection};

use self::session::Session;
use super::{DatabaseError, check_version, has_code};
use crate::config::secrets::DatabaseUrl;

const TABLE: &str = "_core_migrations";

/// Why a database was not migrated.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// Not reachable, or too old.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Not as this binary left it: another text of an applied migration, or one that did not end.
    #[error("migrations: {0}")]
    Migrate(MigrateError),
    /// The migration found data that somebody must look at first.
    #[error("migration {version:04} stopped: {message}. {hint}")]
    Stopped {
        /// Which one.
        version: i64,
        /// What it found: counts, never data.
        message: String,
        /// What to do.
        hint: String,
    },
    /// A table was in use for too long. Waiting on would hold up everybody who came after.
    #[error(
        "migration {version:04}: a table was in use for too long; nothing is broken, run it again"
    )]
    Busy {
        /// Which one.
        version: i64,
    },
}

impl From<MigrateError> for MigrationError {
    fn from(error: MigrateError) -> Self {
        let MigrateError::ExecuteMigration(cause, version) = &error else {
            return Self::Migrate(error);
        };
        let version = *version;
        // Lock not available.
        if has_code(cause, &["55P03"]) {
            return Self::Busy { version };
        }
        // "raise exception" in a migration of ours, so the text is ours too.
        if has_code(cause, &["P0001"])
            && let Some(refusal) = cause
                .as_database_error()
                .and_then(|refusal| refusal.try_downcast_ref::<PgDatabaseError>())
        {
            return Self::Stopped {
                version,
                message: refusal.message().to_owned(),
                hint: refusal.hint().unwrap_or_default().to_owned(),
            };
        }
        Self::Migrate(error)
    }
}

/// One migration, and whether the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// Its number.
    pub version: i64,
    /// Its name.
    pub name: String,
    /// Whether the database has it.
    pub applied: bool,
}

/// The migrations of this binary. They are applied by [`up`] only: `steps` says what another migrator
/// does not know.
#[must_use]
pub fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!();
    migrator.dangerous_set_table_name(TABLE);
    // A newer version may have migrated already; that is no reason for an older one to fail.
    migrator.set_ignore_missing(true);
    migrator
}

/// Applies what is missing, and says what that was. Any number may run this at once: they wait for
/// one another.
pub async fn up(owner: &DatabaseUrl) -> Result<Vec<MigrationStatus>, MigrationError> {
    up_to(owner, None).await
}

/// The same up to a version, which this binary must know: a backup is restored at its own.
pub async fn up_to(
    owner: &DatabaseUrl,
    to: Option<i64>,
) -> Result<Vec<MigrationStatus>, MigrationError> {
    if let Some(to) = to
        && to != 0
        && !migrator().version_exists(to)
    {
        return Err(MigrateError::VersionNotPresent(to).into());
    }
    let mut session = Session::open(owner).await?;
    let connection = &mut session.connection;
    let before = statuses(connection).await?;
    connection.ensure_migrations_table(TABLE).await?;
    refuse_unfinished(connection).await?;
    let applied = connection.list_applied_migrations(TABLE).await?;
    for migration in migrator().iter() {
        let is_above = to.is_some_and(|to| migration.version > to);
        if migration.migration_type.is_down_migration() || is_above {
            continue;
        }
        match applied.iter().find(|row| row.version == migration.version) {
            Some(row) if row.checksum == migration.checksum => {}
            Some(_) => return Err(MigrateError::VersionMismatch(migration.version).into()),
            None => apply(connection, migration).await?,
        }
    }
    let after = statuses(connection).await?;
    session.close().await?;
    Ok(after
        .into_iter()
        .filter(|migration| migration.applied && !was_applied(&before, migration.version))
        .collect())
}

/// Each migration of this binary, and whether the database has it.
pub async fn status(owner: &DatabaseUrl) -> Result<Vec<MigrationStatus>, MigrationError> {
    let mut connection = connect(owner).await?;
    let statuses = statuses(&mut connection).await?;
    connection.close().await.map_err(DatabaseError::from)?;
    Ok(statuses)
}

async fn apply(connection: &mut PgConnection, migration: &Migration) -> Result<(), MigrateError> {
    if migration.no_tx {
        steps::apply(connection, migration).await
    } else {
        connection.apply(TABLE, migration).await.map(|_| ())
    }
}

async fn refuse_unfinished(connection: &mut PgConnection) -> Result<(), MigrateError> {
    match connection.dirty_version(TABLE).await? {
        Some(version) => Err(MigrateError::Dirty(version)),
        None => Ok(()),
    }
}

async fn connect(owner: &DatabaseUrl) -> Result<PgConnection, DatabaseError> {
    let mut connection = PgConnection::connect_with(owner.options()).await?;
    check_version(&mut connection).await?;
    Ok(connection)
}

async fn has_table(connection: &mut PgConnection) -> Result<bool, DatabaseError> {
    Ok(sqlx::query_scalar("select to_regclass($1) is not null")
        .bind(TABLE)
        .fetch_one(connection)
        .await?)
}

async fn statuses(connection: &mut PgConnection) -> Result<Vec<MigrationStatus>, DatabaseError> {
    let applied: Vec<i64> = if has_table(connection).await? {
        sqlx::query_scalar("select version from _core_migrations where success")
            .fetch_all(connection)
            .await?
    } else {
        Vec::new()
    };
    Ok(migrator()
        .iter()
        .filter(|migration| migration.migration_type.is_up_migration())
        .map(|migration| MigrationStatus {
            version: migration.version,
            name: migration.description.to_string(),
            applied: applied.contains(&migration.version),
        })
        .collect())
}

fn was_applied(statuses: &[MigrationStatus], version: i64) -> bool {
    statuses
        .iter()
        .any(|migration| migration.version == version && migration.applied)
}
