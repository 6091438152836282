//! The region's own PostgreSQL: the pool, and what may be at its other end.

pub mod bootstrap;
pub mod migrate;

use std::io;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgExecutor, PgPool};
use tokio::time::timeout;
use tracing::error;

use crate::config::DatabaseLimits;
use crate::config::secrets::DatabaseUrl;
use crate::jobs::RUNS_AT_ONCE;

/// `unique nulls not distinct` came with PostgreSQL 15.
const POSTGRES_MIN_VERSION_NUM: i32 = 150_000;

/// How much longer than PostgreSQL's own `statement_timeout` an answer may take before it is given up: only a
/// server that is not there lets it come to that.
pub(crate) const ROUND_TRIP_GRACE: Duration = Duration::from_millis(300);

/// Connections for those who write master data: few, as they wait for one another in the database.
const EDITORS_CONNECTIONS: u32 = 2;

/// Connections of [`connect_aside`].
const ASIDE_CONNECTIONS: u32 = 2;

/// How many connections a core has at most: of all pools, and of the jobs' locks.
pub(crate) fn connections(limits: &DatabaseLimits) -> u32 {
    let set = limits.max_connections.get();
    let set = set.saturating_add(limits.staff_connections.get());
    set.saturating_add(EDITORS_CONNECTIONS + ASIDE_CONNECTIONS + RUNS_AT_ONCE)
}

/// A database at which a core must not serve, or which it cannot reach.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Too old.
    #[error("PostgreSQL {found} is too old: 15 or later is needed")]
    TooOld {
        /// What the server calls itself.
        found: String,
    },
    /// The role may do more than it needs.
    #[error(
        "the role \"{role}\" {why}; CORE_DATABASE_URL is for core_app and CORE_EDITOR_DATABASE_URL for \
         core_editor, which `regional-core bootstrap` makes"
    )]
    RoleTooStrong {
        /// The role.
        role: String,
        /// What is too much.
        why: &'static str,
    },
    /// Anything else: not reachable, mostly.
    #[error("{}", describe(.0))]
    Query(#[from] sqlx::Error),
}

impl DatabaseError {
    /// Whether waiting may help.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Query(_))
    }
}

/// What may be said of a database error. Not the server's own text: it may quote a row.
#[must_use]
pub fn describe(error: &sqlx::Error) -> String {
    match error.as_database_error() {
        Some(refusal) => {
            let code = refusal.code().unwrap_or_default();
            refusal.constraint().map_or_else(
                || format!("SQLSTATE {code}"),
                |constraint| format!("SQLSTATE {code} ({constraint})"),
            )
        }
        None => error.to_string(),
    }
}

/// A pool that connects when it is first needed, so that a core starts while its database is down.
///
/// Each connection is checked before it is used ([`check_connection`]), because behind one address
/// there may be another server after a fail-over.
#[must_use]
pub fn connect_lazy(url: &DatabaseUrl, limits: &DatabaseLimits) -> PgPool {
    checked_pool(limits, limits.statement_timeout)
        .max_connections(limits.max_connections.get())
        .connect_lazy_with(app_options(url, limits))
}

/// A pool for those who write master data.
#[must_use]
pub fn connect_editors(url: &DatabaseUrl, limits: &DatabaseLimits) -> PgPool {
    checked_pool(limits, limits.statement_timeout)
        .max_connections(EDITORS_CONNECTIONS)
        .connect_lazy_with(app_options(url, limits))
}

/// Connections to the same database beside `pool`, for staff: however many of them ask for what takes long,
/// neither a record nor its processing waits for them.
#[must_use]
pub fn connect_staff(pool: &PgPool, limits: &DatabaseLimits) -> PgPool {
    checked_pool(limits, limits.statement_timeout)
        .max_connections(limits.staff_connections.get())
        .connect_lazy_with(PgConnectOptions::clone(&pool.connect_options()))
}

/// Two connections to the same database beside `pool`, for [`crate::master_data`]: one listens as long
/// as it lives and one reads whole tables, and neither may cost the records theirs. A statement may take
/// `statement_timeout` here.
#[must_use]
pub fn connect_aside(
    pool: &PgPool,
    limits: &DatabaseLimits,
    statement_timeout: Duration,
) -> PgPool {
    let milliseconds = statement_timeout.as_millis().to_string();
    let options = PgConnectOptions::clone(&pool.connect_options())
        // Given after those of `app_options`, these hold.
        .options([
            ("statement_timeout", milliseconds.as_str()),
            ("idle_in_transaction_session_timeout", milliseconds.as_str()),
        ]);
    checked_pool(limits, statement_timeout)
        .max_connections(ASIDE_CONNECTIONS)
        .connect_lazy_with(options)
}

/// A pool that lets no connection be used that is not as it must be, and keeps none whose other end has fallen
/// silent: whoever gave up waiting may have left it in the middle of a statement, and one that lay idle may have been
/// cut off without a word.
fn checked_pool(limits: &DatabaseLimits, statement_timeout: Duration) -> PgPoolOptions {
    let after_use = statement_timeout + ROUND_TRIP_GRACE;
    // Whoever finds an idle one silent has the rest of the time to make another.
    let before_use = limits.acquire_timeout / 3;
    PgPoolOptions::new()
        .after_release(move |connection, _| Box::pin(answers(connection, after_use)))
        // The pool's own test would wait for an answer until whoever asks has given up.
        .test_before_acquire(false)
        .before_acquire(move |connection, _| Box::pin(answers(connection, before_use)))
        .acquire_timeout(limits.acquire_timeout)
        .after_connect(|connection, _| {
            Box::pin(async move {
                check_connection(connection)
                    .await
                    .map_err(|refusal| match refusal {
                        DatabaseError::Query(error) => error,
                        refusal => {
                            error!(error = %refusal, "this database must not be used");
                            sqlx::Error::Configuration(refusal.into())
                        }
                    })
            })
        })
}

/// True if its other end answers in time; an error, upon which the pool drops it, if not.
async fn answers(connection: &mut PgConnection, patience: Duration) -> Result<bool, sqlx::Error> {
    let answer = timeout(patience, connection.ping()).await;
    answer.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    Ok(true)
}

fn app_options(url: &DatabaseUrl, limits: &DatabaseLimits) -> PgConnectOptions {
    let statement_timeout = limits.statement_timeout.as_millis().to_string();
    url.options()
        .clone()
        .application_name("regional-core")
        .options([
            // "200 means committed", whatever the server's default is.
            ("synchronous_commit", "on"),
            ("statement_timeout", statement_timeout.as_str()),
            ("lock_timeout", statement_timeout.as_str()),
            (
                "idle_in_transaction_session_timeout",
                statement_timeout.as_str(),
            ),
            ("timezone", "UTC"),
            // Plans are kept, those of foreign keys' checks too, also from when a table was nearly empty. By
            // an index is right at any size.
            ("enable_seqscan", "off"),
        ])
}

/// How a command of its own connects that must keep out of others' way: by options of its own, given after those of
/// a core, so that they hold.
pub(crate) fn aside_options(url: &DatabaseUrl, own: &[(&str, &str)]) -> PgConnectOptions {
    url.options()
        .clone()
        .application_name("regional-core")
        .options([("timezone", "UTC"), ("enable_seqscan", "off")])
        .options(own.iter().copied())
}

/// Whether a core may serve over this connection: a server that is new enough, and a role that can do
/// no more than its work.
pub async fn check_connection(connection: &mut PgConnection) -> Result<(), DatabaseError> {
    check_version(&mut *connection).await?;
    let (role, superuser, bypasses_rls, owns): (String, bool, bool, bool) = sqlx::query_as(
        "select current_user::text, rolsuper, rolbypassrls, \
                exists (select from pg_class \
                        where relnamespace = 'public'::regnamespace \
                          and pg_has_role(current_user, relowner, 'member')) \
                or exists (select from pg_database \
                           where datname = current_database() \
                             and pg_has_role(current_user, datdba, 'member')) \
         from pg_roles where rolname = current_user",
    )
    .fetch_one(connection)
    .await?;
    let too_much = [
        (superuser, "is a superuser"),
        (bypasses_rls, "bypasses row-level security"),
        (owns, "owns the database or its tables"),
    ];
    match too_much.into_iter().find(|(is_so, _)| *is_so) {
        Some((_, why)) => Err(DatabaseError::RoleTooStrong { role, why }),
        None => Ok(()),
    }
}

/// Whether the server is new enough.
pub async fn check_version(executor: impl PgExecutor<'_>) -> Result<(), DatabaseError> {
    let (number, found): (i32, String) = sqlx::query_as(
        "select current_setting('server_version_num')::int, current_setting('server_version')",
    )
    .fetch_one(executor)
    .await?;
    if number < POSTGRES_MIN_VERSION_NUM {
        return Err(DatabaseError::TooOld { found });
    }
    Ok(())
}

/// How the database's schema stands to this binary's migrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaState {
    /// All of ours are applied. There may be newer ones: old code runs on an expanded schema.
    Current,
    /// Some of ours are not applied, or another text of them was.
    Behind,
    /// One began and did not end.
    Dirty,
    /// None was ever applied.
    Missing,
}

/// How the database's schema stands to this binary's migrations.
pub async fn schema_state(pool: &PgPool) -> Result<SchemaState, sqlx::Error> {
    let applied: Vec<(i64, Vec<u8>, bool)> =
        match sqlx::query_as("select version, checksum, success from _core_migrations")
            .fetch_all(pool)
            .await
        {
            Ok(applied) => applied,
            // Undefined table; or the table is there and the grant, which the first migration makes,
            // is not.
            Err(error) if has_code(&error, &["42P01", "42501"]) => return Ok(SchemaState::Missing),
            Err(error) => return Err(error),
        };
    if applied.iter().any(|(_, _, success)| !success) {
        return Ok(SchemaState::Dirty);
    }
    let all_there = migrate::migrator()
        .iter()
        .filter(|migration| migration.migration_type.is_up_migration())
        .all(|migration| {
            applied.iter().any(|(version, checksum, _)| {
                *version == migration.version && *checksum == *migration.checksum
            })
        });
    Ok(if all_there {
        SchemaState::Current
    } else {
        SchemaState::Behind
    })
}

pub(crate) fn has_code(error: &sqlx::Error, codes: &[&str]) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| codes.contains(&&*code))
}
