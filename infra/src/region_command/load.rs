//! Loads a backup into a database that is empty, in one transaction, and compares before it commits.

use std::fs::File;
use std::io::{BufReader, Seek as _};

use infra::backup::archive::{Manifest, Table, TableName, quoted};
use infra::backup::compare::{differences, in_use, misfits};
use infra::backup::progress::Meter;
use infra::backup::reader::{Piece, Reader};
use protocol::at_rest::AtRestKeys;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use super::database::{self, Schema, become_role, describe, run};

/// A table's count and digest.
pub(super) type Found = (TableName, u64, String);

/// Loads it, and gives what is there now. What goes wrong takes all of it back.
pub(super) async fn load(
    connection: &mut PgConnection,
    mut file: &File,
    keys: Option<&AtRestKeys>,
    manifest: &Manifest,
) -> Result<(), String> {
    let schema = database::schema(connection).await?;
    let misfits = misfits(manifest, &schema.tables);
    if !misfits.is_empty() {
        return Err(misfits.join("; "));
    }
    run(connection, "begin").await?;
    for table in &schema.tables {
        become_role(connection, &table.owner).await?;
        run(
            connection,
            &format!(
                "lock table {} in access exclusive mode",
                table.name.quoted()
            ),
        )
        .await
        .map_err(|error| format!("{}: {error}: who else is connected?", table.name))?;
    }
    let used = in_use(&counts(connection, &schema.tables).await?);
    if !used.is_empty() {
        return Err(not_empty(&used));
    }
    let triggers = disable_triggers(connection, &schema).await?;
    // What the migrations filled is in the backup as it became. Children first.
    for kept in manifest.tables.iter().rev() {
        become_role(connection, owner(&schema, &kept.table.name)).await?;
        run(
            connection,
            &format!("delete from {}", kept.table.name.quoted()),
        )
        .await?;
    }
    run(connection, "set constraints all deferred").await?;
    file.rewind().map_err(|error| error.to_string())?;
    let input = BufReader::with_capacity(1 << 20, file);
    copy_in(connection, &schema, input, keys, manifest).await?;
    run(connection, "set constraints all immediate").await?;
    for sequence in &manifest.sequences {
        let known = schema
            .sequences
            .iter()
            .find(|(name, _)| *name == sequence.name);
        let (_, owner) = known.ok_or_else(|| format!("{}: the schema lacks it", sequence.name))?;
        become_role(connection, owner).await?;
        sqlx::query("select pg_catalog.setval($1::text::regclass, $2, $3)")
            .bind(sequence.name.quoted())
            .bind(sequence.last_value)
            .bind(sequence.is_called)
            .execute(&mut *connection)
            .await
            .map_err(|error| format!("{}: {}", sequence.name, describe(&error)))?;
    }
    enable_triggers(connection, &schema, triggers).await?;
    let differences = differences(
        &manifest.tables,
        &digests(connection, &schema, manifest).await?,
    );
    if !differences.is_empty() {
        return Err(format!(
            "what was loaded is not what is in the backup, and was taken back: {}",
            differences.join("; ")
        ));
    }
    run(connection, "commit").await
}

/// Where somebody has worked.
pub(super) fn not_empty(used: &[(TableName, u64)]) -> String {
    let used: Vec<_> = used
        .iter()
        .map(|(table, rows)| format!("{table} has {rows} rows"))
        .collect();
    format!(
        "the database is not empty, and nothing was touched: {}. Restore into a database that is not there yet (another \
         name in the URLs), or rename this one: alter database … rename to …",
        used.join(", ")
    )
}

async fn copy_in(
    connection: &mut PgConnection,
    schema: &Schema,
    input: BufReader<&File>,
    keys: Option<&AtRestKeys>,
    manifest: &Manifest,
) -> Result<(), String> {
    let mut reader = Reader::open(input, keys).map_err(|error| error.to_string())?;
    let mut meter = Meter::new("restore", "rows", manifest.rows());
    let mut rows = 0;
    loop {
        match reader.piece().map_err(|error| error.to_string())? {
            Piece::Rows { table, lines } => {
                let index = usize::try_from(table).unwrap_or(usize::MAX);
                let kept = manifest.tables.get(index).ok_or("rows are of no table")?;
                let table = &kept.table;
                let failed = |error: sqlx::Error| format!("{}: {}", table.name, describe(&error));
                become_role(connection, owner(schema, &table.name)).await?;
                // Each frame is a statement of its own, so that the checks of its foreign keys do not pile up in the
                // server. A table that refers to itself would need its rows in order from frame to frame; none does.
                let statement = table.copy_in();
                let mut copy = connection.copy_in_raw(&statement).await.map_err(failed)?;
                copy.send(lines).await.map_err(failed)?;
                rows += copy.finish().await.map_err(failed)?;
                meter.at(rows);
            }
            Piece::Sealed => return Err("it is sealed, and there is no key".to_owned()),
            Piece::End(_) => break,
        }
    }
    meter.end(rows);
    Ok(())
}

fn owner<'s>(schema: &'s Schema, name: &TableName) -> &'s str {
    let table = schema.tables.iter().find(|table| table.name == *name);
    table.map_or("", |table| &table.owner)
}

pub(super) async fn counts(
    connection: &mut PgConnection,
    tables: &[Table],
) -> Result<Vec<(TableName, u64)>, String> {
    let mut counts = Vec::new();
    for table in tables {
        become_role(connection, &table.owner).await?;
        counts.push((
            table.name.clone(),
            database::count(connection, table).await?,
        ));
    }
    Ok(counts)
}

/// Each table of the backup as it is in the database, read from there.
pub(super) async fn digests(
    connection: &mut PgConnection,
    schema: &Schema,
    manifest: &Manifest,
) -> Result<Vec<Found>, String> {
    let mut meter = Meter::new("compare", "rows", manifest.rows());
    let mut rows = 0;
    let mut found = Vec::new();
    for kept in &manifest.tables {
        let here = schema
            .tables
            .iter()
            .find(|table| table.name == kept.table.name);
        let Some(table) = here else { continue };
        become_role(connection, &table.owner).await?;
        let digest = database::copy_out(connection, table, |_| {
            rows += 1;
            if rows % 1_000 == 0 {
                meter.at(rows);
            }
            Ok(())
        })
        .await?;
        found.push((table.name.clone(), digest.rows(), digest.hash()));
    }
    meter.end(rows);
    Ok(found)
}

/// A trigger, and how it was: `O`, `R` or `A`.
type Trigger = (TableName, String, String);

/// What triggers did when the rows were written is in the backup: they must not do it again. The checks of foreign
/// keys are none of these.
async fn disable_triggers(
    connection: &mut PgConnection,
    schema: &Schema,
) -> Result<Vec<Trigger>, String> {
    let triggers: Vec<(String, String, String, String)> = sqlx::query_as(
        "select n.nspname::text, c.relname::text, t.tgname::text, t.tgenabled::text \
         from pg_catalog.pg_trigger t join pg_catalog.pg_class c on c.oid = t.tgrelid \
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
         where not t.tgisinternal and t.tgenabled <> 'D' order by 1, 2, 3",
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(|error| describe(&error))?;
    let mut disabled = Vec::new();
    for (table_schema, table, trigger, state) in triggers {
        let table = TableName::new(&table_schema, &table);
        if schema.tables.iter().all(|known| known.name != table) {
            continue;
        }
        become_role(connection, owner(schema, &table)).await?;
        let (name, trigger_name) = (table.quoted(), quoted(&trigger));
        run(
            connection,
            &format!("alter table {name} disable trigger {trigger_name}"),
        )
        .await?;
        disabled.push((table, trigger, state));
    }
    Ok(disabled)
}

async fn enable_triggers(
    connection: &mut PgConnection,
    schema: &Schema,
    triggers: Vec<Trigger>,
) -> Result<(), String> {
    for (table, trigger, state) in triggers {
        become_role(connection, owner(schema, &table)).await?;
        let how = match state.as_str() {
            "A" => "enable always",
            "R" => "enable replica",
            _ => "enable",
        };
        let (name, trigger) = (table.quoted(), quoted(&trigger));
        run(
            connection,
            &format!("alter table {name} {how} trigger {trigger}"),
        )
        .await?;
    }
    Ok(())
}

/// Tells the planner what is there.
pub(super) async fn analyze(connection: &mut PgConnection) -> Result<(), String> {
    sqlx::raw_sql(AssertSqlSafe("analyze".to_owned()))
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(|error| describe(&error))
}
