//! What a backup and a restore ask a region's database.

use futures_util::StreamExt as _;
use infra::backup::archive::{Column, Migration, Migrations, Sequence, Table, TableName, quoted};
use infra::backup::digest::{RowDigest, RowStream};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use std::time::Duration;
use tokio::time::timeout;

/// Until a connection stands.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// The members' migration tables.
const MIGRATION_TABLES: [(&str, &str); 2] = [
    ("public", "_core_migrations"),
    ("smp_global", "_replication_migrations"),
];

/// A value is written in one way only, on every server and in every version; a policy that would leave rows out is an
/// error; and it takes as long as it takes, but for locks.
const SETTINGS: &str = "set datestyle = 'ISO, YMD'; set intervalstyle = 'postgres'; set timezone = 'UTC'; \
    set extra_float_digits = 3; set bytea_output = 'hex'; set client_encoding = 'UTF8'; set search_path = ''; \
    set row_security = off; set statement_timeout = 0; set idle_in_transaction_session_timeout = 0; \
    set lock_timeout = '20s'";

/// Tables of others: the server's own, extensions', and parts of tables that are read as a whole.
const OURS: &str = "not c.relispartition and n.nspname not in ('pg_catalog', 'information_schema') \
    and n.nspname !~ '^pg_(toast|temp)' \
    and not exists (select from pg_catalog.pg_depend d \
                    where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = c.oid \
                      and d.deptype = 'e')";

/// What is in a database besides rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Schema {
    pub(super) tables: Vec<Table>,
    /// Who refers to whom.
    pub(super) references: Vec<(TableName, TableName)>,
    /// Name and owner.
    pub(super) sequences: Vec<(TableName, String)>,
    pub(super) migration_tables: Vec<(TableName, String)>,
}

/// Reads a URL, which no error shows.
pub(super) fn options(variable: &str, url: &str) -> Result<PgConnectOptions, String> {
    let options: PgConnectOptions = url
        .parse()
        .map_err(|_| format!("{variable}: postgres://USER:PASSWORD@HOST/DATABASE is expected"))?;
    Ok(options.application_name("smpctl region"))
}

/// Connects, and sets what both directions need.
pub(super) async fn connect(
    variable: &str,
    options: &PgConnectOptions,
) -> Result<PgConnection, String> {
    let mut connection = timeout(CONNECT_PATIENCE, PgConnection::connect_with(options))
        .await
        .map_err(|_| format!("{variable}: the database does not answer"))?
        .map_err(|error| format!("{variable}: {}", describe(&error)))?;
    run(&mut connection, SETTINGS).await?;
    Ok(connection)
}

/// Runs statements of fixed and quoted parts.
pub(super) async fn run(connection: &mut PgConnection, sql: &str) -> Result<(), String> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(|error| describe(&error))
}

/// What may be said of a database's error: of data and constraints the server's text may quote a row.
pub(super) fn describe(error: &sqlx::Error) -> String {
    let Some(refusal) = error.as_database_error() else {
        return error.to_string();
    };
    let code = refusal.code().unwrap_or_default();
    if !code.starts_with("22") && !code.starts_with("23") {
        return format!("{} (SQLSTATE {code})", refusal.message());
    }
    let table = refusal.table().unwrap_or("a table");
    refusal.constraint().map_or_else(
        || format!("{table}: SQLSTATE {code}"),
        |constraint| format!("{table}: SQLSTATE {code} ({constraint})"),
    )
}

/// What is there. What a backup cannot hold is an error.
pub(super) async fn schema(connection: &mut PgConnection) -> Result<Schema, String> {
    let rows = sqlx::query(AssertSqlSafe(format!(
        "select n.nspname::text, c.relname::text, c.relkind::text, pg_catalog.pg_get_userbyid(c.relowner)::text, \
                a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attgenerated <> '' \
         from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
         left join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped \
         where c.relkind in ('r', 'p', 'f', 'S') and {OURS} \
         order by n.nspname, c.relname, a.attnum"
    )))
    .fetch_all(&mut *connection)
    .await
    .map_err(|error| describe(&error))?;
    let mut schema = Schema {
        tables: Vec::new(),
        references: references(connection).await?,
        sequences: Vec::new(),
        migration_tables: Vec::new(),
    };
    for row in rows {
        let text = |index: usize| {
            row.try_get::<String, _>(index)
                .map_err(|error| describe(&error))
        };
        let name = TableName::new(&text(0)?, &text(1)?);
        let (kind, owner) = (text(2)?, text(3)?);
        let is_migration_table =
            MIGRATION_TABLES.contains(&(name.schema.as_str(), name.name.as_str()));
        if kind == "f" {
            return Err(format!(
                "{name} is a foreign table, whose rows are elsewhere: a backup cannot hold it"
            ));
        }
        if kind == "S" || is_migration_table {
            let list = if kind == "S" {
                &mut schema.sequences
            } else {
                &mut schema.migration_tables
            };
            // A row comes for each column.
            if list.last().is_none_or(|(last, _)| *last != name) {
                list.push((name, owner));
            }
            continue;
        }
        if schema.tables.last().is_none_or(|last| last.name != name) {
            schema.tables.push(Table {
                name,
                owner,
                is_partitioned: kind == "p",
                columns: Vec::new(),
            });
        }
        let column: Option<String> = row.try_get(4).map_err(|error| describe(&error))?;
        if let (Some(name), Some(table)) = (column, schema.tables.last_mut()) {
            let is_generated = row.try_get(6).map_err(|error| describe(&error))?;
            table.columns.push(Column {
                name,
                data_type: text(5)?,
                is_generated,
            });
        }
    }
    Ok(schema)
}

async fn references(connection: &mut PgConnection) -> Result<Vec<(TableName, TableName)>, String> {
    let rows: Vec<(String, String, String, String)> = sqlx::query_as(
        "select cn.nspname::text, c.relname::text, pn.nspname::text, p.relname::text \
         from pg_catalog.pg_constraint f \
         join pg_catalog.pg_class c on c.oid = f.conrelid join pg_catalog.pg_namespace cn on cn.oid = c.relnamespace \
         join pg_catalog.pg_class p on p.oid = f.confrelid join pg_catalog.pg_namespace pn on pn.oid = p.relnamespace \
         where f.contype = 'f' order by 1, 2, 3, 4",
    )
    .fetch_all(connection)
    .await
    .map_err(|error| describe(&error))?;
    Ok(rows
        .into_iter()
        .map(|(schema, name, parent_schema, parent)| {
            (
                TableName::new(&schema, &name),
                TableName::new(&parent_schema, &parent),
            )
        })
        .collect())
}

/// The roles whose tables this connection may read as its own.
pub(super) async fn roles(connection: &mut PgConnection) -> Result<Vec<String>, String> {
    sqlx::query_scalar(
        "select rolname::text from pg_catalog.pg_roles where pg_catalog.pg_has_role(current_user, oid, 'usage')",
    )
    .fetch_all(connection)
    .await
    .map_err(|error| describe(&error))
}

/// Whose database it is, by the replicator's schema. None where there is none.
pub(super) async fn node(connection: &mut PgConnection) -> Result<Option<String>, String> {
    let rows: Result<Vec<String>, _> = sqlx::query_scalar("select region_id from smp_global.node")
        .fetch_all(connection)
        .await;
    let rows = rows.map_err(|error| describe(&error))?;
    Ok(rows.into_iter().next())
}

pub(super) async fn migrations(
    connection: &mut PgConnection,
    table: &TableName,
) -> Result<Migrations, String> {
    let rows: Vec<(i64, String, bool)> = sqlx::query_as(AssertSqlSafe(format!(
        "select version, pg_catalog.encode(checksum, 'hex'), success from {} order by version",
        table.quoted()
    )))
    .fetch_all(connection)
    .await
    .map_err(|error| format!("{table}: {}", describe(&error)))?;
    if let Some((version, ..)) = rows.iter().find(|(_, _, is_done)| !is_done) {
        return Err(format!(
            "{table}: migration {version} began and did not end; finish it first"
        ));
    }
    Ok(Migrations {
        table: table.clone(),
        applied: rows
            .into_iter()
            .map(|(version, checksum, _)| Migration { version, checksum })
            .collect(),
    })
}

pub(super) async fn sequence(
    connection: &mut PgConnection,
    (name, owner): &(TableName, String),
) -> Result<Sequence, String> {
    let (last_value, is_called) = sqlx::query_as(AssertSqlSafe(format!(
        "select last_value, is_called from {}",
        name.quoted()
    )))
    .fetch_one(connection)
    .await
    .map_err(|error| format!("{name}: {}", describe(&error)))?;
    Ok(Sequence {
        name: name.clone(),
        owner: owner.clone(),
        last_value,
        is_called,
    })
}

pub(super) async fn count(connection: &mut PgConnection, table: &Table) -> Result<u64, String> {
    let only = if table.is_partitioned { "" } else { "only " };
    let rows: i64 = sqlx::query_scalar(AssertSqlSafe(format!(
        "select count(*) from {only}{}",
        table.name.quoted()
    )))
    .fetch_one(connection)
    .await
    .map_err(|error| format!("{}: {}", table.name, describe(&error)))?;
    u64::try_from(rows).map_err(|error| error.to_string())
}

/// Reads all rows of a table, and hands them on in pieces.
pub(super) async fn copy_out(
    connection: &mut PgConnection,
    table: &Table,
    mut piece: impl FnMut(&[u8]) -> Result<(), String>,
) -> Result<RowDigest, String> {
    let failed = |error: sqlx::Error| format!("{}: {}", table.name, describe(&error));
    let statement = table.copy_out();
    let mut rows = connection.copy_out_raw(&statement).await.map_err(failed)?;
    let mut stream = RowStream::default();
    while let Some(bytes) = rows.next().await {
        let bytes = bytes.map_err(failed)?;
        stream.push(&bytes);
        piece(&bytes)?;
    }
    stream
        .finish()
        .map_err(|error| format!("{}: {error}", table.name))
}

/// From here to the transaction's end this connection acts as that role.
pub(super) async fn become_role(connection: &mut PgConnection, role: &str) -> Result<(), String> {
    run(connection, &format!("set local role {}", quoted(role))).await
}
