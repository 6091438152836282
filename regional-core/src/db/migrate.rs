//! Migrations: this crate's own, in a migration table of their own.
//!
//! The `replication` member migrates the same database. Two migrators that shared one table would each
//! take the other's versions for missing ones.

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Connection, PgConnection};

use super::{DatabaseError, check_version};
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
    Migrate(#[from] MigrateError),
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

/// The migrations of this binary.
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
    let mut connection = connect(owner).await?;
    let before = statuses(&mut connection).await?;
    migrator().run(&mut connection).await?;
    let after = statuses(&mut connection).await?;
    connection.close().await.map_err(DatabaseError::from)?;
    Ok(after
        .into_iter()
        .filter(|migration| migration.applied && !was_applied(&before, migration.version))
        .collect())
}

/// Takes back all migrations above `version`, and their data with them. For tests and development:
/// no command of the binary does this.
pub async fn down_to(owner: &DatabaseUrl, version: i64) -> Result<(), MigrationError> {
    let mut connection = connect(owner).await?;
    migrator().undo(&mut connection, version).await?;
    connection.close().await.map_err(DatabaseError::from)?;
    Ok(())
}

/// Each migration of this binary, and whether the database has it.
pub async fn status(owner: &DatabaseUrl) -> Result<Vec<MigrationStatus>, MigrationError> {
    let mut connection = connect(owner).await?;
    let statuses = statuses(&mut connection).await?;
    connection.close().await.map_err(DatabaseError::from)?;
    Ok(statuses)
}

async fn connect(owner: &DatabaseUrl) -> Result<PgConnection, DatabaseError> {
    let mut connection = PgConnection::connect_with(owner.options()).await?;
    check_version(&mut connection).await?;
    Ok(connection)
}

async fn statuses(connection: &mut PgConnection) -> Result<Vec<MigrationStatus>, DatabaseError> {
    let exists: bool = sqlx::query_scalar("select to_regclass($1) is not null")
        .bind(TABLE)
        .fetch_one(&mut *connection)
        .await?;
    let applied: Vec<i64> = if exists {
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
