//! Restores a backup: looks at the file, looks at the database, and loads where nothing can be lost by it.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use infra::backup::archive::{Manifest, Migrations, TableName};
use infra::backup::compare::{Standing, differences, in_use, standing};
use infra::backup::reader::Verified;
use infra::registry::Region;
use protocol::at_rest::AtRestKeys;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use super::database::{self, Schema, describe, run as execute};
use super::load;
use super::members::{self, Programs};
use crate::edge_command::from_environment;

const ADMIN: &str = "CORE_ADMIN_DATABASE_URL";
const OWNER: &str = "CORE_OWNER_DATABASE_URL";

/// The advisory lock of whoever restores: "restore" in ASCII.
const LOCK: i64 = 0x0072_6573_746f_7265;

/// What the database holds.
pub(super) enum Target {
    /// It is not there.
    Absent,
    /// It is there and has no table.
    Bare,
    /// It has a schema, and what the migrations put there.
    Empty,
    /// Somebody has worked with it. What in it is not as in the backup; empty = all of it is.
    Used {
        /// Tables with rows.
        tables: Vec<(TableName, u64)>,
        /// What is not as in the backup.
        differences: Vec<String>,
    },
}

/// What came of it.
pub(super) struct Outcome {
    pub(super) backup: Verified,
    pub(super) database: String,
    /// As it was found.
    pub(super) target: Target,
    /// What was done; empty where it was only looked.
    pub(super) steps: Vec<String>,
    pub(super) is_restored: bool,
    pub(super) took: Duration,
}

impl Outcome {
    pub(super) fn is_well(&self) -> bool {
        match &self.target {
            Target::Used { differences, .. } => differences.is_empty(),
            _ => true,
        }
    }
}

/// Looks, and where `yes` says so, restores.
pub(super) fn run(
    region: &Region,
    from: &Path,
    keys: Option<&AtRestKeys>,
    programs: &Programs,
    yes: bool,
) -> Result<Outcome, String> {
    let began = Instant::now();
    let backup = super::read_all(from, keys)?;
    if backup.header.region != region.id.as_str() {
        return Err(format!(
            "{}: this is a backup of {}: data stays in its region, and is not restored in {}",
            from.display(),
            backup.header.region,
            region.id
        ));
    }
    let manifest = backup.manifest.clone().ok_or_else(|| {
        format!(
            "{}: it is sealed: SMP_BACKUP_KEYS or --keys-file has to hold its key",
            from.display()
        )
    })?;
    let file = super::open(from)?;
    super::runtime()?.block_on(async {
        let place = Place::read()?;
        let (mut target, _) = look(&place, region, &manifest).await?;
        let mut steps = Vec::new();
        let mut is_restored = false;
        if yes && !matches!(target, Target::Used { .. }) {
            steps = members::prepare(programs, region, &manifest.migrations)?;
            let after;
            (after, is_restored) = fill(&place, region, &manifest, &file, keys).await?;
            // Another restore was quicker, or somebody has begun to work.
            if !is_restored {
                target = after;
            }
        }
        Ok(Outcome {
            backup,
            database: place.database.clone(),
            target,
            steps,
            is_restored,
            took: began.elapsed(),
        })
    })
}

/// The server's administrator, and which database it is about.
struct Place {
    admin: PgConnectOptions,
    database: String,
}

impl Place {
    fn read() -> Result<Self, String> {
        let needed = |variable| {
            from_environment(variable).ok_or_else(|| {
                format!("into which database? {ADMIN} and {OWNER} say it; {variable} is not set")
            })
        };
        let admin = database::options(ADMIN, &needed(ADMIN)?)?;
        let owner = database::options(OWNER, &needed(OWNER)?)?;
        let name = owner.get_database().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| format!("{OWNER}: it names no database"))?;
        if (admin.get_host(), admin.get_port()) != (owner.get_host(), owner.get_port()) {
            return Err(format!("{ADMIN} and {OWNER} do not name the same server"));
        }
        Ok(Self {
            database: name.to_owned(),
            admin,
        })
    }

    /// None where the database is not there.
    async fn connect(&self) -> Result<Option<PgConnection>, String> {
        let mut server = database::connect(ADMIN, &self.admin).await?;
        let is_there: bool = sqlx::query_scalar(
            "select exists (select from pg_catalog.pg_database where datname = $1)",
        )
        .bind(&self.database)
        .fetch_one(&mut server)
        .await
        .map_err(|error| describe(&error))?;
        if !is_there {
            return Ok(None);
        }
        let inside = self.admin.clone().database(&self.database);
        database::connect(ADMIN, &inside).await.map(Some)
    }
}

/// What is there, without changing anything. A database of another region or another schema is an error.
async fn look(
    place: &Place,
    region: &Region,
    manifest: &Manifest,
) -> Result<(Target, Option<PgConnection>), String> {
    let Some(mut connection) = place.connect().await? else {
        return Ok((Target::Absent, None));
    };
    let schema = database::schema(&mut connection).await?;
    if schema.tables.is_empty() && schema.migration_tables.is_empty() {
        return Ok((Target::Bare, Some(connection)));
    }
    execute(
        &mut connection,
        "begin transaction isolation level repeatable read, read only",
    )
    .await?;
    let target = look_inside(&mut connection, &schema, region, manifest).await?;
    execute(&mut connection, "rollback").await?;
    Ok((target, Some(connection)))
}

async fn look_inside(
    connection: &mut PgConnection,
    schema: &Schema,
    region: &Region,
    manifest: &Manifest,
) -> Result<Target, String> {
    let is_node =
        |table: &&infra::backup::archive::Table| table.name == TableName::new("smp_global", "node");
    if let Some(table) = schema.tables.iter().find(is_node) {
        database::become_role(connection, &table.owner).await?;
        let says = database::node(connection).await?;
        if let Some(says) = says.filter(|says| says != region.id.as_str()) {
            return Err(format!(
                "the database is {says}'s, and {}'s backup is not restored there",
                region.id
            ));
        }
    }
    let tables = in_use(&load::counts(connection, &schema.tables).await?);
    let migrations = found_migrations(connection, schema).await?;
    if tables.is_empty() {
        check_standing(manifest, &migrations)?;
        return Ok(Target::Empty);
    }
    // Only where it may be the same it is worth reading all of it.
    let counts = load::counts(connection, &schema.tables).await?;
    let as_counted: Vec<_> = manifest
        .tables
        .iter()
        .filter_map(|kept| {
            let (name, rows) = counts.iter().find(|(name, _)| *name == kept.table.name)?;
            Some((name.clone(), *rows, kept.hash.clone()))
        })
        .collect();
    let mut differences_found = differences(&manifest.tables, &as_counted);
    if differences_found.is_empty() {
        let found = load::digests(connection, schema, manifest).await?;
        differences_found = differences(&manifest.tables, &found);
    }
    Ok(Target::Used {
        tables,
        differences: differences_found,
    })
}

async fn found_migrations(
    connection: &mut PgConnection,
    schema: &Schema,
) -> Result<Vec<Migrations>, String> {
    let mut found = Vec::new();
    for (table, owner) in &schema.migration_tables {
        database::become_role(connection, owner).await?;
        found.push(database::migrations(connection, table).await?);
    }
    Ok(found)
}

/// Whether they are all the same; an error where the database has more, or others.
fn check_standing(manifest: &Manifest, found: &[Migrations]) -> Result<bool, String> {
    let mut is_same = true;
    for kept in &manifest.migrations {
        let there = found.iter().find(|found| found.table == kept.table);
        match standing(kept, there) {
            Standing::Same => {}
            Standing::Behind => is_same = false,
            Standing::Other(why) => return Err(why),
        }
    }
    Ok(is_same)
}

/// Loads, one at a time. What is found used now is not touched.
async fn fill(
    place: &Place,
    region: &Region,
    manifest: &Manifest,
    file: &File,
    keys: Option<&AtRestKeys>,
) -> Result<(Target, bool), String> {
    // Held by a connection of its own, to its end.
    let mut gate = place.connect().await?.ok_or("the database is not there")?;
    sqlx::query("select pg_catalog.pg_advisory_lock($1)")
        .bind(LOCK)
        .execute(&mut gate)
        .await
        .map_err(|error| format!("does another restore run? {}", describe(&error)))?;
    let (target, connection) = look(place, region, manifest).await?;
    if matches!(target, Target::Used { .. }) {
        return Ok((target, false));
    }
    let mut connection = connection.ok_or("the database is not there")?;
    let schema = database::schema(&mut connection).await?;
    execute(&mut connection, "begin").await?;
    let migrations = found_migrations(&mut connection, &schema).await?;
    execute(&mut connection, "rollback").await?;
    if !check_standing(manifest, &migrations)? {
        return Err(
            "the programs do not know all of the backup's migrations: take those of the release that it is of, or \
             later ones"
                .to_owned(),
        );
    }
    load::load(&mut connection, file, keys, manifest).await?;
    load::analyze(&mut connection).await?;
    Ok((target, true))
}
