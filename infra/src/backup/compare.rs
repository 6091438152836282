//! A backup against a database: may it be restored there, and is it what is there?

use super::archive::{KeptTable, Manifest, Migrations, Table, TableName};

/// The tables in which migrations themselves put rows. A database that has rows in these only is empty: nobody has
/// worked with it.
const FILLED_BY_MIGRATIONS: [(&str, &str); 8] = [
    ("public", "backfill_run"),
    ("public", "crm_master_data"),
    ("public", "module_permission_action"),
    ("public", "notification_template"),
    ("smp_global", "applied_position"),
    ("smp_global", "node"),
    ("smp_global", "relay_state"),
    ("smp_global", "table_digest"),
];

/// What of these tables says that somebody has worked with the database.
#[must_use]
pub fn in_use(counts: &[(TableName, u64)]) -> Vec<(TableName, u64)> {
    let is_filled_anyway = |table: &TableName| {
        FILLED_BY_MIGRATIONS.contains(&(table.schema.as_str(), table.name.as_str()))
    };
    let used = counts.iter();
    let used = used.filter(|(table, rows)| *rows > 0 && !is_filled_anyway(table));
    used.cloned().collect()
}

/// How a member's migrations in a database stand to those of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The same.
    Same,
    /// The database lacks some.
    Behind,
    /// The database has more, or others.
    Other(String),
}

/// How they stand.
#[must_use]
pub fn standing(kept: &Migrations, found: Option<&Migrations>) -> Standing {
    let found_version = found.map_or(0, Migrations::version);
    let applied = found.map_or(&[][..], |found| &found.applied);
    if found_version > kept.version() {
        return Standing::Other(format!(
            "{}: the database is at {found_version} and the backup at {}: a backup is restored at its own version \
             and migrated afterwards, so begin with a database that is not there or has no tables",
            kept.table,
            kept.version()
        ));
    }
    if let Some(other) = applied.iter().find(|one| !kept.applied.contains(one)) {
        return Standing::Other(format!(
            "{}: migration {} of the database is another than the backup's: take the programs of the release \
             that the backup is of",
            kept.table, other.version
        ));
    }
    if applied.len() == kept.applied.len() {
        Standing::Same
    } else {
        Standing::Behind
    }
}

/// What keeps a backup from being loaded into these tables, of the same migrations.
#[must_use]
pub fn misfits(manifest: &Manifest, found: &[Table]) -> Vec<String> {
    let mut misfits = Vec::new();
    for KeptTable { table: kept, .. } in &manifest.tables {
        match found.iter().find(|table| table.name == kept.name) {
            None => misfits.push(format!(
                "{}: the backup has it and the schema has not: it is of no migration; make it by hand in the new \
                 database, then run this again",
                kept.name
            )),
            Some(table) if table.columns != kept.columns => misfits.push(format!(
                "{}: its columns are not those of the backup",
                kept.name
            )),
            Some(_) => {}
        }
    }
    misfits
}

/// What a restored database, or one that is held against a backup, does not have as the backup has it.
#[must_use]
pub fn differences(kept: &[KeptTable], found: &[(TableName, u64, String)]) -> Vec<String> {
    let mut differences = Vec::new();
    for KeptTable { table, rows, hash } in kept {
        let there = found.iter().find(|(name, _, _)| *name == table.name);
        match there {
            None => differences.push(format!("{}: it is not there", table.name)),
            Some((_, there, _)) if there != rows => differences.push(format!(
                "{}: {there} rows are there and {rows} in the backup",
                table.name
            )),
            Some((_, _, digest)) if digest != hash => differences.push(format!(
                "{}: its {rows} rows have digest {digest}, and {hash} in the backup",
                table.name
            )),
            Some(_) => {}
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::super::archive::{Column, Migration};
    use super::*;

    fn migrations(of: &[(i64, &str)]) -> Migrations {
        Migrations {
            table: TableName::new("public", "_core_migrations"),
            applied: of
                .iter()
                .map(|(version, checksum)| Migration {
                    version: *version,
                    checksum: (*checksum).to_owned(),
                })
                .collect(),
        }
    }

    fn table(name: &str, data_type: &str) -> Table {
        Table {
            name: TableName::new("public", name),
            owner: "core_owner".to_owned(),
            is_partitioned: false,
            columns: vec![Column {
                name: "id".to_owned(),
                data_type: data_type.to_owned(),
                is_generated: false,
            }],
        }
    }

    fn kept(name: &str, rows: u64, hash: &str) -> KeptTable {
        KeptTable {
            table: table(name, "uuid"),
            rows,
            hash: hash.to_owned(),
        }
    }

    #[test]
    fn a_database_is_restored_into_at_the_version_of_the_backup_or_below() {
        let kept = migrations(&[(1, "a"), (2, "b")]);
        assert_eq!(standing(&kept, None), Standing::Behind);
        assert_eq!(
            standing(&kept, Some(&migrations(&[(1, "a")]))),
            Standing::Behind
        );
        assert_eq!(standing(&kept, Some(&kept)), Standing::Same);
        for other in [&[(1, "a"), (2, "b"), (3, "c")][..], &[(1, "x")]] {
            let standing = standing(&kept, Some(&migrations(other)));
            assert!(matches!(standing, Standing::Other(_)), "{standing:?}");
        }
    }

    #[test]
    fn rows_of_migrations_are_nobodys_work_and_all_others_are() {
        let name = |name| TableName::new("public", name);
        let counts = [
            (name("crm_master_data"), 9),
            (name("account"), 0),
            (name("ticket"), 1),
        ];
        assert_eq!(in_use(&counts), [(name("ticket"), 1)]);
    }

    #[test]
    fn a_table_that_lacks_or_has_other_columns_is_named() {
        let manifest = Manifest {
            tables: vec![kept("a", 0, ""), kept("b", 0, ""), kept("c", 0, "")],
            sequences: Vec::new(),
            migrations: Vec::new(),
        };
        let misfits = misfits(&manifest, &[table("a", "uuid"), table("b", "text")]);
        assert_eq!(misfits.len(), 2);
        assert!(
            misfits
                .iter()
                .any(|misfit| misfit.starts_with("public.b: its columns"))
        );
        assert!(
            misfits
                .iter()
                .any(|misfit| misfit.starts_with("public.c: the backup has it"))
        );
    }

    #[test]
    fn a_table_that_is_not_as_it_was_is_named() {
        let found =
            |name, rows, hash: &str| (TableName::new("public", name), rows, hash.to_owned());
        let kept = [
            kept("a", 2, "f0"),
            kept("b", 2, "f0"),
            kept("c", 2, "f0"),
            kept("d", 2, "f0"),
        ];
        let found = [
            found("a", 2, "f0"),
            found("b", 1, "f0"),
            found("c", 2, "f1"),
        ];
        let differences = differences(&kept, &found);
        assert_eq!(differences.len(), 3, "{differences:?}");
        for (difference, table) in differences.iter().zip(["b", "c", "d"]) {
            assert!(
                difference.starts_with(&format!("public.{table}: ")),
                "{difference}"
            );
        }
    }
}
