//! Makes the roles and the database, as the server's administrator. Idempotent: run again, it
//! puts right what differs, a changed password too.

use postgres_protocol::password::scram_sha_256;
use secrecy::{ExposeSecret, SecretString};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::{DatabaseError, check_version};
use crate::config::ConfigError;
use crate::config::secrets::DatabaseUrl;

/// The role that migrates.
pub const OWNER: &str = "core_owner";
/// The role that serves.
pub const APP: &str = "core_app";

/// The role as which the core answers staff: it has no login and sees only what row-level security shows.
pub const STAFF: &str = "core_staff";

/// The role that writes master data, in the hub.
pub const EDITOR: &str = "core_editor";
/// What it may do is what these may, which the replicator's schema says. They have no login.
const EDITOR_GROUPS: [&str; 2] = ["master_data_editor", "master_data_reader"];

/// The advisory lock of whoever bootstraps: "core" in ASCII.
const LOCK: i64 = 0x636f_7265;

/// Why roles and database are not there.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// A URL that does not fit.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Not reachable, too old, or the administrator may not do this.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<sqlx::Error> for BootstrapError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// Makes `core_owner` and `core_app` with the passwords of their URLs, `core_staff` without a login, and the
/// database that both name, owned by `core_owner` and closed to everybody else. Where `editor` is given, which is in the hub,
/// makes `core_editor` too. Returns what it found missing.
pub async fn bootstrap(
    admin: &DatabaseUrl,
    owner: &DatabaseUrl,
    app: &DatabaseUrl,
    editor: Option<&DatabaseUrl>,
) -> Result<Vec<String>, BootstrapError> {
    let mut roles = vec![(OWNER, owner), (APP, app)];
    roles.extend(editor.map(|editor| (EDITOR, editor)));
    let mut verifiers = Vec::new();
    for (role, url) in roles {
        check_url(url, role)?;
        if owner.database() != url.database() {
            return Err(ConfigError::Invalid {
                variable: url.variable().to_owned(),
                reason: format!("it does not name the same database as {}", owner.variable()),
            }
            .into());
        }
        verifiers.push((role, new_verifier(url)?));
    }

    let mut connection = PgConnection::connect_with(admin.options()).await?;
    check_version(&mut connection).await?;
    // Two that run at once would trip over each other. The lock ends with the connection.
    sqlx::query("select pg_advisory_lock($1)")
        .bind(LOCK)
        .execute(&mut connection)
        .await?;
    let mut made = Vec::new();
    for (role, verifier) in verifiers {
        if make_role(&mut connection, role, &verifier).await? {
            made.push(format!("role {role}"));
        }
    }
    if make_staff(&mut connection).await? {
        made.push(format!("role {STAFF}"));
    }
    let database = owner.database();
    if make_database(&mut connection, database).await? {
        made.push(format!("database {database}"));
    }

    let in_database = admin.options().clone().database(database);
    let mut inside = PgConnection::connect_with(&in_database).await?;
    close_to_others(&mut inside, database).await?;
    if editor.is_some() {
        let_editor_in(&mut inside, database).await?;
    }
    inside.close().await?;
    connection.close().await?;
    Ok(made)
}

/// Migrations grant to `core_app` by name, so the names are not a matter of taste.
fn check_url(url: &DatabaseUrl, role: &str) -> Result<(), ConfigError> {
    if url.options().get_username() == role {
        Ok(())
    } else {
        Err(ConfigError::Invalid {
            variable: url.variable().to_owned(),
            reason: format!("the user must be {role}"),
        })
    }
}

/// The password as PostgreSQL keeps it (SCRAM-SHA-256, RFC 7677), so that the password itself is in no
/// statement: a server may log those.
fn new_verifier(url: &DatabaseUrl) -> Result<SecretString, BootstrapError> {
    let password = url.password()?;
    Ok(scram_sha_256(password.expose_secret().as_bytes()).into())
}

/// Whether it was missing.
async fn make_role(
    connection: &mut PgConnection,
    role: &str,
    verifier: &SecretString,
) -> Result<bool, BootstrapError> {
    let flags: Option<bool> = sqlx::query_scalar(
        "select rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication \
         from pg_roles where rolname = $1",
    )
    .bind(role)
    .fetch_optional(&mut *connection)
    .await?;
    let role = quote_identifier(role);
    if flags.is_none() {
        execute(connection, format!("create role {role}")).await?;
    }
    if flags == Some(true) {
        execute(
            connection,
            format!(
                "alter role {role} nosuperuser nobypassrls nocreaterole nocreatedb noreplication"
            ),
        )
        .await?;
    }
    execute(
        connection,
        format!(
            "alter role {role} login password {}",
            quote_literal(verifier.expose_secret())
        ),
    )
    .await?;
    Ok(flags.is_none())
}

/// Whether it was missing. `core_app` becomes it for a transaction; a migration would not do, as
/// `core_owner` makes no roles.
async fn make_staff(connection: &mut PgConnection) -> Result<bool, BootstrapError> {
    let exists: bool =
        sqlx::query_scalar("select exists (select from pg_roles where rolname = $1)")
            .bind(STAFF)
            .fetch_one(&mut *connection)
            .await?;
    let (staff, app) = (quote_identifier(STAFF), quote_identifier(APP));
    if !exists {
        execute(connection, format!("create role {staff}")).await?;
    }
    // Only what differs is changed: an administrator who is no superuser may not name the others.
    let flags: (bool, bool) = sqlx::query_as(
        "select rolcanlogin, rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication \
         from pg_roles where rolname = $1",
    )
    .bind(STAFF)
    .fetch_one(&mut *connection)
    .await?;
    if flags.0 {
        execute(connection, format!("alter role {staff} nologin")).await?;
    }
    if flags.1 {
        execute(
            connection,
            format!(
                "alter role {staff} nosuperuser nobypassrls nocreaterole nocreatedb noreplication"
            ),
        )
        .await?;
    }
    let is_member: bool = sqlx::query_scalar("select pg_has_role($1, $2, 'member')")
        .bind(APP)
        .bind(STAFF)
        .fetch_one(&mut *connection)
        .await?;
    if !is_member {
        execute(connection, format!("grant {staff} to {app}")).await?;
    }
    Ok(!exists)
}

/// Whether it was missing.
async fn make_database(
    connection: &mut PgConnection,
    database: &str,
) -> Result<bool, BootstrapError> {
    let owner = quote_identifier(OWNER);
    let (superuser, exists): (bool, bool) = sqlx::query_as(
        "select rolsuper, exists (select from pg_database where datname = $1) \
         from pg_roles where rolname = current_user",
    )
    .bind(database)
    .fetch_one(&mut *connection)
    .await?;
    if !superuser {
        // A managed server's administrator gives away only to whom it belongs.
        execute(connection, format!("grant {owner} to current_user")).await?;
    }
    let database = quote_identifier(database);
    if exists {
        execute(
            connection,
            format!("alter database {database} owner to {owner}"),
        )
        .await?;
    } else {
        execute(
            connection,
            format!("create database {database} owner {owner} encoding 'UTF8' template template0"),
        )
        .await?;
    }
    Ok(!exists)
}

async fn close_to_others(
    connection: &mut PgConnection,
    database: &str,
) -> Result<(), BootstrapError> {
    let database = quote_identifier(database);
    let (owner, app) = (quote_identifier(OWNER), quote_identifier(APP));
    let staff = quote_identifier(STAFF);
    for statement in [
        format!("revoke all on database {database} from public"),
        format!("grant connect on database {database} to {app}"),
        "revoke all on schema public from public".to_owned(),
        format!("grant usage, create on schema public to {owner}"),
        format!("revoke create on schema public from {app}"),
        format!("grant usage on schema public to {app}, {staff}"),
        format!("revoke create on schema public from {staff}"),
    ] {
        execute(connection, statement).await?;
    }
    Ok(())
}

/// The groups may be made by `replicator provision` at the same moment, or were made by it before.
async fn let_editor_in(
    connection: &mut PgConnection,
    database: &str,
) -> Result<(), BootstrapError> {
    let database = quote_identifier(database);
    let editor = quote_identifier(EDITOR);
    execute(
        connection,
        format!("grant connect on database {database} to {editor}"),
    )
    .await?;
    for group in EDITOR_GROUPS {
        let group = quote_identifier(group);
        execute(
            connection,
            format!(
                "do $$ begin create role {group}; \
                 exception when duplicate_object or unique_violation then null; end $$"
            ),
        )
        .await?;
        execute(connection, format!("grant {group} to {editor}")).await?;
    }
    Ok(())
}

/// Runs a statement that PostgreSQL does not prepare. What is not fixed in it went through
/// [`quote_identifier`] or [`quote_literal`].
async fn execute(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(connection)
        .await?;
    Ok(())
}

fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Only for texts without a backslash, which an `E''` would not be needed for.
fn quote_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_quotes() {
        assert_eq!(
            quote_identifier(r#"x"; drop role core_owner; --"#),
            r#""x""; drop role core_owner; --""#
        );
        assert_eq!(quote_literal("it's"), "'it''s'");
    }
}
