//! What a backup says of itself.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How every backup begins.
pub const MAGIC: [u8; 8] = *b"SMPBKUP1";

/// The form that [`super`] describes.
pub const FORMAT: u32 = 1;

pub(super) const HEADER: u8 = b'H';
pub(super) const ROWS: u8 = b'D';
pub(super) const MANIFEST: u8 = b'M';
pub(super) const END: u8 = b'E';

/// Longer than any frame: PostgreSQL sends no row that is longer than a gigabyte.
pub(super) const FRAME_LIMIT_BYTES: u32 = 0x4800_0000;

/// A table, or a sequence.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableName {
    /// Its schema.
    pub schema: String,
    /// Its name there.
    pub name: String,
}

impl TableName {
    /// A name of these parts.
    #[must_use]
    pub fn new(schema: &str, name: &str) -> Self {
        Self {
            schema: schema.to_owned(),
            name: name.to_owned(),
        }
    }

    /// As a statement has it.
    #[must_use]
    pub fn quoted(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.schema, self.name)
    }
}

/// An identifier as a statement has it.
#[must_use]
pub fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// What is known before the first row is read. It is not sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`].
    pub format: u32,
    /// No other backup has it.
    pub backup_id: String,
    /// Whose data it is: it is restored in this region and in no other.
    pub region: String,
    /// The region's countries, by the registry of then.
    pub countries: Vec<String>,
    /// When the snapshot was taken.
    pub taken_at: Timestamp,
    /// The version of `smpctl`.
    pub smpctl: String,
    /// The database's name.
    pub database: String,
    /// PostgreSQL's version.
    pub server: String,
    /// Whether rows and manifest are sealed.
    pub is_sealed: bool,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, as PostgreSQL writes it.
    pub data_type: String,
    /// Its value is computed from the others, so it is not in the backup.
    pub is_generated: bool,
}

/// A table as it is in a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Its name.
    #[serde(flatten)]
    pub name: TableName,
    /// Whose it is.
    pub owner: String,
    /// Its rows are those of its partitions.
    pub is_partitioned: bool,
    /// In their order.
    pub columns: Vec<Column>,
}

impl Table {
    /// The statement that reads all of its rows.
    #[must_use]
    pub fn copy_out(&self) -> String {
        let only = if self.is_partitioned { "" } else { "only " };
        let (columns, name) = (self.column_list(), self.name.quoted());
        format!("copy (select {columns} from {only}{name}) to stdout (format text)")
    }

    /// The statement that takes rows in.
    #[must_use]
    pub fn copy_in(&self) -> String {
        let (columns, name) = (self.column_list(), self.name.quoted());
        if columns.is_empty() {
            return format!("copy {name} from stdin (format text)");
        }
        format!("copy {name} ({columns}) from stdin (format text)")
    }

    fn column_list(&self) -> String {
        let kept = self.columns.iter().filter(|column| !column.is_generated);
        let names: Vec<_> = kept.map(|column| quoted(&column.name)).collect();
        names.join(", ")
    }
}

/// A table in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptTable {
    /// The table.
    #[serde(flatten)]
    pub table: Table,
    /// How many rows.
    pub rows: u64,
    /// [`super::digest::RowDigest::hash`] of them.
    pub hash: String,
}

/// Where a sequence was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    /// Its name.
    #[serde(flatten)]
    pub name: TableName,
    /// Whose it is.
    pub owner: String,
    /// What it gave last; the first that it gives if it never gave one.
    pub last_value: i64,
    /// Whether it gave that.
    pub is_called: bool,
}

/// A migration that was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    /// Its number.
    pub version: i64,
    /// Of its text: hexadecimal.
    pub checksum: String,
}

/// The migrations of one member. Its table is not restored: applying them writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migrations {
    /// The table that names them.
    #[serde(flatten)]
    pub table: TableName,
    /// In their order.
    pub applied: Vec<Migration>,
}

impl Migrations {
    /// The last one; 0 before the first.
    #[must_use]
    pub fn version(&self) -> i64 {
        let versions = self.applied.iter().map(|migration| migration.version);
        versions.max().unwrap_or(0)
    }
}

/// What is in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// In the order of their rows, which is the order in which they are loaded.
    pub tables: Vec<KeptTable>,
    /// Read after the rows, so none gives again what a row has.
    pub sequences: Vec<Sequence>,
    /// The schema's versions.
    pub migrations: Vec<Migrations>,
}

impl Manifest {
    /// All rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }
}

/// What a sealed frame is sealed for.
pub(super) fn context(header_sha256: &[u8; 32], number: u64, kind: u8, table: u32) -> Vec<u8> {
    let mut context = b"smp-global backup 1".to_vec();
    context.extend_from_slice(header_sha256);
    context.extend_from_slice(&number.to_be_bytes());
    context.push(kind);
    context.extend_from_slice(&table.to_be_bytes());
    context
}
