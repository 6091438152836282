//! The form of a backup's file: whatever is cut off or changed is seen.

#![expect(
    clippy::unwrap_used,
    reason = "a test that meets the unexpected should end there; clippy.toml spares test functions only, \
              and these have helpers"
)]

use infra::backup::archive::{
    Column, FORMAT, Header, KeptTable, Manifest, Migration, Migrations, Sequence, Table, TableName,
};
use infra::backup::digest::RowStream;
use infra::backup::reader::{ReadError, Verified, verify};
use infra::backup::writer::Writer;
use protocol::at_rest::AtRestKeys;

const ROWS: [&[u8]; 2] = [b"1\t\\\\x00ff\n2\t\\N\n", b""];

fn keys(name: &str, byte: u8) -> AtRestKeys {
    let key = AtRestKeys::expose_key(name, &[byte; 32]);
    AtRestKeys::from_json(&serde_json::json!([key]).to_string()).unwrap()
}

fn header(is_sealed: bool) -> Header {
    Header {
        format: FORMAT,
        backup_id: "0".to_owned(),
        region: "smp-asia".to_owned(),
        countries: vec!["VN".to_owned()],
        taken_at: "2026-11-03T02:00:00Z".parse().unwrap(),
        smpctl: "0".to_owned(),
        database: "core".to_owned(),
        server: "18".to_owned(),
        is_sealed,
    }
}

fn manifest() -> Manifest {
    let table = |(name, rows): (&str, &[u8])| {
        let mut stream = RowStream::default();
        stream.push(rows);
        let digest = stream.finish().unwrap();
        KeptTable {
            table: Table {
                name: TableName::new("public", name),
                owner: "core_owner".to_owned(),
                is_partitioned: false,
                columns: vec![Column {
                    name: "id".to_owned(),
                    data_type: "uuid".to_owned(),
                    is_generated: false,
                }],
            },
            rows: digest.rows(),
            hash: digest.hash(),
        }
    };
    Manifest {
        tables: ["account", "ticket"]
            .into_iter()
            .zip(ROWS)
            .map(table)
            .collect(),
        sequences: vec![Sequence {
            name: TableName::new("public", "number"),
            owner: "core_owner".to_owned(),
            last_value: 7,
            is_called: true,
        }],
        migrations: vec![Migrations {
            table: TableName::new("public", "_core_migrations"),
            applied: vec![Migration {
                version: 1,
                checksum: "00".to_owned(),
            }],
        }],
    }
}

fn written(keys: Option<AtRestKeys>, manifest: &Manifest) -> Vec<u8> {
    let header = header(keys.is_some());
    let mut writer = Writer::begin(Vec::new(), &header, keys).unwrap();
    for (number, rows) in (0..).zip(ROWS) {
        if !rows.is_empty() {
            writer.rows(number, rows).unwrap();
        }
    }
    let written = writer.end(manifest).unwrap();
    assert_eq!(written.bytes, written.out.len() as u64);
    written.out
}

fn read(bytes: &[u8], keys: Option<&AtRestKeys>) -> Result<Verified, ReadError> {
    verify(bytes, keys, |_| ())
}

#[test]
fn what_is_written_is_read_sealed_or_not() {
    let open = read(&written(None, &manifest()), None).unwrap();
    assert_eq!(open.manifest, Some(manifest()));
    assert_eq!(open.header, header(false));

    let sealed = written(Some(keys("b1", 1)), &manifest());
    let told = read(&sealed, Some(&keys("b1", 1))).unwrap();
    assert_eq!(told.manifest, Some(manifest()));
    assert_eq!(told.bytes, sealed.len() as u64);
}

#[test]
fn a_sealed_one_shows_nothing_of_its_rows_and_is_opened_by_its_key_alone() {
    let sealed = written(Some(keys("b1", 1)), &manifest());
    let holds = |text: &[u8]| sealed.windows(text.len()).any(|window| window == text);
    assert!(holds(b"smp-asia") && !holds(b"account") && !holds(b"x00ff"));
    assert_eq!(read(&sealed, None).unwrap().manifest, None);
    let other_name = read(&sealed, Some(&keys("b2", 1)));
    assert!(matches!(other_name, Err(ReadError::OtherKey)));
    let other_key = read(&sealed, Some(&keys("b1", 2)));
    assert!(matches!(other_key, Err(ReadError::Damaged { .. })));
}

#[test]
fn one_that_is_cut_off_anywhere_is_none() {
    for (bytes, keys) in both() {
        for length in 0..bytes.len() {
            let (cut, _) = bytes.split_at(length);
            assert!(
                read(cut, keys.as_ref()).is_err(),
                "{length} of {}",
                bytes.len()
            );
            assert!(read(cut, None).is_err(), "{length} of {}", bytes.len());
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(read(&longer, keys.as_ref()).is_err());
    }
}

#[test]
fn a_byte_that_is_another_is_seen_wherever_it_stands() {
    for (bytes, keys) in both() {
        for index in 0..bytes.len() {
            for bit in [0x01, 0x20, 0x80] {
                let mut flipped = bytes.clone();
                *flipped.get_mut(index).unwrap() ^= bit;
                assert!(
                    read(&flipped, keys.as_ref()).is_err(),
                    "byte {index}, bit {bit}"
                );
                assert!(
                    read(&flipped, None).is_err(),
                    "byte {index}, bit {bit}, without a key"
                );
            }
        }
    }
}

fn both() -> [(Vec<u8>, Option<AtRestKeys>); 2] {
    [
        (written(None, &manifest()), None),
        (
            written(Some(keys("b1", 1)), &manifest()),
            Some(keys("b1", 1)),
        ),
    ]
}

#[test]
fn rows_that_are_not_those_of_the_manifest_are_seen() {
    for change in [(|table| table.rows += 1) as fn(&mut KeptTable), |table| {
        table.hash = "0".repeat(32);
    }] {
        let mut manifest = manifest();
        change(manifest.tables.first_mut().unwrap());
        let told = read(&written(None, &manifest), None).unwrap_err();
        assert!(
            told.to_string()
                .starts_with("public.account: it holds 2 rows"),
            "{told}"
        );
    }
    let mut fewer = manifest();
    fewer.tables.clear();
    assert!(read(&written(None, &fewer), None).is_err());
}

#[test]
fn a_form_of_later_and_what_is_no_backup_are_told_apart() {
    let mut later = header(false);
    later.format = FORMAT + 1;
    let writer = Writer::begin(Vec::new(), &later, None).unwrap();
    let later = writer.end(&manifest()).unwrap().out;
    assert!(matches!(read(&later, None), Err(ReadError::Newer(2))));
    assert!(matches!(read(b"PGDMP", None), Err(ReadError::NoBackup)));
    assert!(matches!(
        read(b"PGDMP and much more", None),
        Err(ReadError::NoBackup)
    ));
}
