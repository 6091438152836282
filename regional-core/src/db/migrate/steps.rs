//! Applies a migration that begins with `-- no-transaction`.
//!
//! PostgreSQL builds an index concurrently only where the statement stands alone, so such a file is cut
//! at its lines `-- next step`. Each step is a transaction of its own (the build manages its own). All
//! but the last may run again after a failure, and are written so; the last is committed together with
//! the migration's row. A database is therefore never half a migration further than its rows say.

use sqlx::migrate::{Migrate as _, MigrateError, Migration};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::TABLE;

const CUT: &str = "-- next step";

/// Cuts a file into its steps.
pub(super) fn cut(sql: &str) -> Vec<String> {
    let mut steps = vec![String::new()];
    for line in sql.lines() {
        if line.trim_end() == CUT {
            steps.push(String::new());
        } else if let Some(step) = steps.last_mut() {
            step.push_str(line);
            step.push('\n');
        }
    }
    steps
}

pub(super) async fn apply(
    connection: &mut PgConnection,
    migration: &Migration,
) -> Result<(), MigrateError> {
    let failed = |error| MigrateError::ExecuteMigration(error, migration.version);
    let mut steps = cut(migration.sql.as_str());
    let last = steps.pop().unwrap_or_default();
    // See `Session`: nobody may wait for us inside of a statement now.
    connection.unlock().await?;
    for step in steps {
        run(connection, step).await.map_err(failed)?;
    }
    connection.lock().await?;
    let mut transaction = connection.begin().await?;
    run(&mut transaction, last).await.map_err(failed)?;
    // Writes the row, and executes nothing.
    transaction.skip(TABLE, migration).await?;
    Ok(transaction.commit().await?)
}

/// Runs statements that PostgreSQL does not prepare: the text of a migration, nothing received.
pub(super) async fn run(connection: &mut PgConnection, sql: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(connection)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::migrate::migrator;

    #[test]
    fn a_file_is_cut_at_its_marks_and_nowhere_else() {
        assert_eq!(cut("a;\nb;\n"), ["a;\nb;\n"]);
        assert_eq!(
            cut("a;\n-- next step  \nb; -- next step\n\n-- next step\n"),
            ["a;\n", "b; -- next step\n\n", ""]
        );
    }

    /// PostgreSQL refuses it otherwise, but only on the day on which it is applied.
    #[test]
    fn what_is_done_concurrently_stands_alone_in_its_step() {
        for migration in migrator().iter() {
            for step in cut(migration.sql.as_str()) {
                let code: String = step
                    .lines()
                    .filter(|line| !line.trim_start().starts_with("--"))
                    .collect();
                if code.contains("concurrently") {
                    assert!(migration.no_tx, "{}", migration.version);
                    assert_eq!(code.matches(';').count(), 1, "{code}");
                }
            }
        }
    }
}
