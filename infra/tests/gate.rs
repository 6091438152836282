//! `smpctl gate`, as far as it needs no database and no Prometheus. With them it is tested in `tests/e2e/gates.rs`.

#![expect(
    clippy::unwrap_used,
    reason = "a test that meets the unexpected should end there; clippy.toml spares test functions only, \
              and these have helpers"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn smpctl(records: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_smpctl"))
        .arg("gate")
        .args(arguments)
        .arg("--records")
        .arg(records)
        .env_remove("SMP_DATABASE_URL")
        .stdin(Stdio::null())
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap()
}

fn refused(records: &Path, arguments: &[&str]) -> String {
    let output = smpctl(records, arguments);
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

const RECORD: [&str; 6] = [
    "record",
    "g1-requirements",
    "--value",
    "yes",
    "--by",
    "Anna",
];

#[test]
fn a_country_that_no_region_has_is_refused_everywhere() {
    let file = folder("gate-country").join("ZZ.toml");
    let country = ["--country", "ZZ"];
    for action in [
        &["w1"][..],
        &RECORD,
        &["records"],
        &["ask", "w1", "--by", "Anna"],
    ] {
        let said = refused(&file, &[action, &country].concat());
        assert!(said.contains("--country ZZ: no region"), "{said}");
        assert!(said.contains("VN"), "{said}");
    }
    assert!(!file.exists());
}

#[test]
fn records_go_into_a_folder_that_is_there_only() {
    let folder = folder("gate-records");
    let away = folder.join("away");
    for action in [&RECORD[..], &["records"], &["w1"]] {
        let said = refused(
            &away.join("VN.toml"),
            &[action, &["--country", "VN"]].concat(),
        );
        assert!(said.contains("--records: the folder"), "{said}");
    }
    assert!(!away.exists());
}

#[test]
fn what_is_written_down_and_what_is_missing_is_json_too() {
    let file = folder("gate-json").join("VN.toml");
    let country = ["--country", "VN", "--json"];
    let written = smpctl(&file, &[&RECORD[..], &country].concat());
    assert!(written.status.success(), "{written:?}");
    let written = json(&written);
    assert_eq!(written["record"]["item"], "g1-requirements");
    assert_eq!(written["file"], file.to_str().unwrap());
    let asked = smpctl(
        &file,
        &[&["ask", "w1", "--by", "Anna"][..], &country].concat(),
    );
    assert_eq!(asked.status.code(), Some(1), "{asked:?}");
    let asked = json(&asked);
    let missing = asked["missing"].as_array().unwrap();
    assert!(missing.iter().any(|it| it["item"] == "g2-design"));
    assert!(missing.iter().all(|it| it["item"] != "g1-requirements"));
}

#[test]
fn what_is_of_the_future_is_refused_when_written_and_when_read() {
    let file = folder("gate-future").join("VN.toml");
    let start = [
        "record",
        "pilot-start",
        "--value",
        "2999-01-01T00:00:00Z",
        "--by",
        "Anna",
    ];
    let said = refused(&file, &[&start[..], &["--country", "VN"]].concat());
    assert!(
        said.contains("pilot-start: '2999-01-01T00:00:00Z' is in the future"),
        "{said}"
    );
    assert!(!file.exists());
    let record = "[[record]]\nitem = 'g1-requirements'\nvalue = 'yes'\nby = 'A'\nat = '2999-01-01T00:00:00Z'\n";
    fs::write(&file, record).unwrap();
    for action in [&["w1"][..], &["records"], &RECORD] {
        let said = refused(&file, &[action, &["--country", "VN"]].concat());
        assert!(said.contains("'at' is in the future"), "{said}");
        assert!(said.contains("VN.toml"), "{said}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), record);
}

#[test]
fn every_help_has_an_example() {
    for command in [
        "job",
        "gate",
        "rollback",
        "gate items",
        "rollback migration",
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_smpctl"))
            .args(command.split(' '))
            .arg("--help")
            .output()
            .unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        let examples = help
            .split_once("Example")
            .map(|(_, it)| it)
            .unwrap_or_default();
        assert!(
            examples.contains(&format!("smpctl {command}")),
            "{command}: {help}"
        );
    }
}
