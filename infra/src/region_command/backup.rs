//! Takes a backup: one snapshot, read by the owners of the tables.

use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use infra::backup::archive::{FORMAT, Header, KeptTable, Manifest, Table, TableName};
use infra::backup::file::{EXTENSION, NewFile};
use infra::backup::order::parents_first;
use infra::backup::progress::Meter;
use infra::backup::writer::Writer;
use infra::registry::Region;
use jiff::Timestamp;
use protocol::at_rest::AtRestKeys;
use sqlx::postgres::PgConnection;

use super::database::{self, Schema, describe};
use crate::edge_command::from_environment;

/// Rows go into frames of about this length, each of whole rows.
const FRAME_BYTES: usize = 4 << 20;

/// How often the list of tables may change while they are being locked.
const TRIES: u32 = 5;

/// As whom tables are read.
const OWNERS: [&str; 2] = ["CORE_OWNER_DATABASE_URL", "REPLICATOR_OWNER_DATABASE_URL"];

/// A backup that was taken.
pub(super) struct Done {
    pub(super) file: PathBuf,
    pub(super) bytes: u64,
    pub(super) sha256: String,
    pub(super) header: Header,
    pub(super) manifest: Manifest,
    pub(super) took: Duration,
    /// What the operator should know.
    pub(super) notes: Vec<String>,
}

/// Takes it.
pub(super) fn run(region: &Region, into: &Path, keys: Option<AtRestKeys>) -> Result<Done, String> {
    super::runtime()?.block_on(take(region, into, keys))
}

async fn take(region: &Region, into: &Path, keys: Option<AtRestKeys>) -> Result<Done, String> {
    let began = Instant::now();
    let mut notes = Vec::new();
    let mut owners = Owners::connect().await?;
    let schema = owners.begin_snapshot().await?;
    owners.check_region(&schema, region, &mut notes).await?;

    let header = owners.header(region, keys.is_some()).await?;
    let path = path(into, &header);
    let in_file = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let file = NewFile::create(&path).map_err(|error| in_file(&error))?;
    let out = BufWriter::with_capacity(1 << 20, file);
    let mut writer = Writer::begin(out, &header, keys).map_err(|error| in_file(&error))?;

    let names = schema
        .tables
        .iter()
        .map(|table| table.name.clone())
        .collect();
    let tables: Vec<&Table> = parents_first(names, &schema.references)
        .iter()
        .filter_map(|name| schema.tables.iter().find(|table| table.name == *name))
        .collect();
    let mut counts = Vec::new();
    for table in &tables {
        counts.push(database::count(owners.of(&table.name, &table.owner)?, table).await?);
    }
    let mut meter = Meter::new("backup", "rows", counts.iter().sum());
    let mut rows_before = 0;
    let mut kept = Vec::new();
    for ((number, table), counted) in (0_u32..).zip(tables).zip(counts) {
        let mut frame = Vec::with_capacity(FRAME_BYTES);
        let mut rows_here = 0;
        let connection = owners.of(&table.name, &table.owner)?;
        let digest = database::copy_out(connection, table, |bytes| {
            // The server sends each row in a message of its own.
            rows_here += 1;
            frame.extend_from_slice(bytes);
            if frame.len() >= FRAME_BYTES && frame.ends_with(b"\n") {
                writer
                    .rows(number, &frame)
                    .map_err(|error| in_file(&error))?;
                frame.clear();
                meter.at(rows_before + rows_here);
            }
            Ok(())
        })
        .await?;
        if !frame.is_empty() {
            writer
                .rows(number, &frame)
                .map_err(|error| in_file(&error))?;
        }
        if digest.rows() != counted {
            return Err(format!(
                "{}: {} rows came, and the same snapshot has {counted}",
                table.name,
                digest.rows()
            ));
        }
        rows_before += counted;
        meter.at(rows_before);
        kept.push(KeptTable {
            table: table.clone(),
            rows: counted,
            hash: digest.hash(),
        });
    }
    let manifest = owners.manifest(&schema, kept).await?;
    meter.end(manifest.rows());
    let written = writer.end(&manifest).map_err(|error| in_file(&error))?;
    let file = written.out.into_inner().map_err(|error| in_file(&error))?;
    file.place().map_err(|error| in_file(&error))?;
    Ok(Done {
        file: path,
        bytes: written.bytes,
        sha256: written.sha256,
        header,
        manifest,
        took: began.elapsed(),
        notes,
    })
}

/// In a folder it is named after region and moment.
fn path(into: &Path, header: &Header) -> PathBuf {
    if into.is_dir() {
        let moment = header.taken_at.strftime("%Y%m%dT%H%M%SZ");
        into.join(format!("{}-{moment}.{EXTENSION}", header.region))
    } else {
        into.to_owned()
    }
}

/// Connections that see the same moment, each as another owner.
struct Owners(Vec<Owner>);

struct Owner {
    connection: PgConnection,
    /// Whose tables it may read.
    roles: Vec<String>,
}

impl Owners {
    async fn connect() -> Result<Self, String> {
        let mut owners = Vec::new();
        for variable in OWNERS {
            let Some(url) = from_environment(variable) else {
                continue;
            };
            let options = database::options(variable, &url)?;
            let mut connection = database::connect(variable, &options).await?;
            let roles = database::roles(&mut connection).await?;
            owners.push(Owner { connection, roles });
        }
        if owners.is_empty() {
            return Err(format!("which database? {} says it", OWNERS.join(" and ")));
        }
        Ok(Self(owners))
    }

    /// Locks every table against being changed in its form, and only then takes the snapshot: whatever empties a
    /// table or writes it anew either was before or waits.
    async fn begin_snapshot(&mut self) -> Result<Schema, String> {
        for _ in 0..TRIES {
            let before = database::schema(self.first()?).await?;
            let mut is_first = true;
            let mut snapshot = String::new();
            for index in 0..self.0.len() {
                let locked = self.locked_by(&before, index)?;
                let connection = self.connection(index)?;
                database::run(
                    connection,
                    "begin transaction isolation level repeatable read, read only",
                )
                .await?;
                if !locked.is_empty() {
                    let lock = format!("lock table {} in access share mode", locked.join(", "));
                    database::run(connection, &lock).await.map_err(|error| {
                        format!("{error}: does a migration run? Take the backup when it has ended")
                    })?;
                }
            }
            for index in 0..self.0.len() {
                let connection = self.connection(index)?;
                if is_first {
                    snapshot = sqlx::query_scalar("select pg_catalog.pg_export_snapshot()")
                        .fetch_one(connection)
                        .await
                        .map_err(|error| describe(&error))?;
                    is_first = false;
                } else {
                    // It is made of digits and hyphens.
                    database::run(
                        connection,
                        &format!("set transaction snapshot '{snapshot}'"),
                    )
                    .await
                    .map_err(|error| format!("do all URLs name the same database? {error}"))?;
                }
            }
            if database::schema(self.first()?).await? == before {
                return Ok(before);
            }
            for index in 0..self.0.len() {
                database::run(self.connection(index)?, "rollback").await?;
            }
        }
        Err(
            "the schema changes all the time: take the backup when the migrations have ended"
                .to_owned(),
        )
    }

    /// What one of the connections has to lock.
    fn locked_by(&self, schema: &Schema, index: usize) -> Result<Vec<String>, String> {
        let mut locked = Vec::new();
        let tables = schema.tables.iter();
        let tables = tables.map(|table| (&table.name, &table.owner));
        let migrations = schema.migration_tables.iter();
        for (name, owner) in tables.chain(migrations.map(|(name, owner)| (name, owner))) {
            if self.index_of(name, owner)? == index {
                locked.push(name.quoted());
            }
        }
        Ok(locked)
    }

    fn index_of(&self, name: &TableName, owner: &String) -> Result<usize, String> {
        let reads = |one: &Owner| one.roles.contains(owner);
        self.0.iter().position(reads).ok_or_else(|| {
            format!(
                "{name} belongs to {owner}, as whom nobody is connected, and a backup without it is none: {} is for \
                 core_owner, {} for master_data_owner",
                OWNERS[0], OWNERS[1]
            )
        })
    }

    fn of(&mut self, name: &TableName, owner: &String) -> Result<&mut PgConnection, String> {
        let index = self.index_of(name, owner)?;
        self.connection(index)
    }

    fn connection(&mut self, index: usize) -> Result<&mut PgConnection, String> {
        let owner = self.0.get_mut(index);
        owner
            .map(|owner| &mut owner.connection)
            .ok_or_else(|| "no connection".to_owned())
    }

    fn first(&mut self) -> Result<&mut PgConnection, String> {
        self.connection(0)
    }

    /// A database that says whose it is must be this region's.
    async fn check_region(
        &mut self,
        schema: &Schema,
        region: &Region,
        notes: &mut Vec<String>,
    ) -> Result<(), String> {
        let node = schema
            .tables
            .iter()
            .find(|table| table.name.schema == "smp_global" && table.name.name == "node");
        let says = match node {
            Some(table) => database::node(self.of(&table.name, &table.owner)?).await?,
            None => None,
        };
        match says {
            Some(says) if says == region.id.as_str() => Ok(()),
            Some(says) => Err(format!(
                "this is the database of {says}, and not of {}: no backup is taken",
                region.id
            )),
            None => {
                notes.push(format!(
                    "the database does not say whose it is (smp_global.node has no row): that it is {}'s is only \
                     what you say",
                    region.id
                ));
                Ok(())
            }
        }
    }

    async fn header(&mut self, region: &Region, is_sealed: bool) -> Result<Header, String> {
        let (database, server): (String, String) = sqlx::query_as(
            "select current_database()::text, pg_catalog.current_setting('server_version')",
        )
        .fetch_one(self.first()?)
        .await
        .map_err(|error| describe(&error))?;
        let large_objects: bool =
            sqlx::query_scalar("select exists (select from pg_catalog.pg_largeobject_metadata)")
                .fetch_one(self.first()?)
                .await
                .map_err(|error| describe(&error))?;
        if large_objects {
            return Err("the database has large objects, which a backup cannot hold".to_owned());
        }
        Ok(Header {
            format: FORMAT,
            backup_id: uuid::Builder::from_random_bytes(crate::random()?)
                .into_uuid()
                .to_string(),
            region: region.id.to_string(),
            countries: region.countries.iter().map(ToString::to_string).collect(),
            taken_at: Timestamp::now(),
            smpctl: env!("CARGO_PKG_VERSION").to_owned(),
            database,
            server,
            is_sealed,
        })
    }

    /// Sequences are not of a snapshot: read last, they are behind no row of it.
    async fn manifest(
        &mut self,
        schema: &Schema,
        tables: Vec<KeptTable>,
    ) -> Result<Manifest, String> {
        let mut manifest = Manifest {
            tables,
            sequences: Vec::new(),
            migrations: Vec::new(),
        };
        for (table, owner) in &schema.migration_tables {
            let migrations = database::migrations(self.of(table, owner)?, table).await?;
            manifest.migrations.push(migrations);
        }
        for sequence in &schema.sequences {
            let (name, owner) = sequence;
            let read = database::sequence(self.of(name, owner)?, sequence).await?;
            manifest.sequences.push(read);
        }
        Ok(manifest)
    }
}
