//! `smpctl render` on the shipped files and on files with mistakes.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "clippy.toml allows these within test functions; the helpers beside them are tests too"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

const CHINA: &str = "mm2-smp-china.properties";
const RELAY: &str = "relay-smp-asia.env";

/// A copy of the shipped files, to be changed at will.
fn copy_of_shipped_files(name: &str) -> PathBuf {
    let infra = Path::new(env!("CARGO_MANIFEST_DIR"));
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("render-{name}"));
    let _ = fs::remove_dir_all(&copy);
    for folder in ["regions", "rendered"] {
        copy_folder(&infra.join(folder), &copy.join(folder));
    }
    copy
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let copy = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &copy);
        } else {
            fs::copy(entry.path(), copy).unwrap();
        }
    }
}

/// The files that are not as they should be, with their states.
fn differing(output: &Output) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let document = document(output);
    let files = document["files"].as_array().unwrap();
    files
        .iter()
        .map(|file| (text(&file["file"]), text(&file["state"])))
        .filter(|(_, state)| state != "same")
        .collect()
}

fn smpctl_render(directory: &Path, options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_smpctl"))
        .arg("render")
        .arg("--regions")
        .arg(directory.join("regions"))
        .arg("--into")
        .arg(directory.join("rendered"))
        .args(options)
        .output()
        .unwrap()
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The one mistake that is printed.
fn mistake(directory: &Path) -> String {
    let output = smpctl_render(directory, &["--check", "--json"]);
    assert!(!output.status.success());
    let mistakes = document(&output)["mistakes"].clone();
    let [mistake] = serde_json::from_value::<Vec<String>>(mistakes)
        .unwrap()
        .try_into()
        .unwrap();
    mistake
}

fn replace(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{} has no {from:?}", file.display());
    fs::write(file, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn the_shipped_files_are_what_the_registry_renders() {
    let directory = copy_of_shipped_files("shipped");
    let output = smpctl_render(&directory, &["--check", "--json"]);
    assert_eq!(differing(&output), []);
    let document = document(&output);
    assert_eq!(document["mistakes"], json!([]));
    for file in [
        CHINA,
        RELAY,
        "kubernetes/smp-asia/stores/postgres.yaml",
        "kubernetes/smp-china/services/mirror-maker.yaml",
    ] {
        let same = json!({"file": file, "state": "same", "lines": []});
        assert!(
            document["files"].as_array().unwrap().contains(&same),
            "{file}"
        );
    }
    assert!(output.status.success());
}

#[test]
fn a_changed_file_is_found_and_left_alone_by_check_and_mended_without() {
    let directory = copy_of_shipped_files("changed");
    let file = directory.join("rendered").join(CHINA);
    let shipped = fs::read_to_string(&file).unwrap();
    replace(
        &file,
        r"topics = smp_global\\.master_data",
        r"topics = smp_.*",
    );
    let changed = fs::read_to_string(&file).unwrap();

    let output = smpctl_render(&directory, &["--check"]);
    assert!(!output.status.success());
    let shown = String::from_utf8(output.stdout).unwrap();
    for line in [
        "mm2-smp-china.properties differs\n",
        "  -smp-asia->smp-china.topics = smp_.*\n",
        "  +smp-asia->smp-china.topics = smp_global\\\\.master_data\n",
    ] {
        assert!(shown.contains(line), "no {line:?} in {shown}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), changed);

    assert!(smpctl_render(&directory, &[]).status.success());
    assert_eq!(fs::read_to_string(&file).unwrap(), shipped);
}

#[test]
fn a_changed_region_asks_for_a_new_file() {
    let directory = copy_of_shipped_files("region");
    let china = directory.join("regions/smp-china.toml");
    replace(&china, "replication_factor = 3", "replication_factor = 2");
    let output = smpctl_render(&directory, &["--check", "--json"]);
    assert!(!output.status.success());
    let document = document(&output);
    let files = document["files"].as_array().unwrap();
    let file = files.iter().find(|file| file["file"] == CHINA).unwrap();
    assert_eq!(file["state"], "changed");
    let lines = file["lines"].as_array().unwrap();
    assert!(lines.contains(&json!("-offset.storage.replication.factor = 3")));
    assert!(lines.contains(&json!("+offset.storage.replication.factor = 2")));
}

#[test]
fn a_file_that_is_missing_or_left_over_is_found() {
    let directory = copy_of_shipped_files("missing");
    let rendered = directory.join("rendered");
    let other = rendered.join("mm2-smp-asia.properties");
    fs::rename(rendered.join(CHINA), &other).unwrap();
    let output = smpctl_render(&directory, &["--check", "--json"]);
    assert!(!output.status.success());
    let found = |file: &str, state: &str| (file.to_owned(), state.to_owned());
    assert_eq!(
        differing(&output),
        [
            found("mm2-smp-asia.properties", "left_over"),
            found(CHINA, "missing")
        ]
    );
    assert!(other.exists());
    assert!(smpctl_render(&directory, &[]).status.success());
    assert!(!other.exists());
    assert!(smpctl_render(&directory, &["--check"]).status.success());
}

/// A region that went leaves no folder behind. What people put there was not rendered, and is nobody's concern.
#[test]
fn what_is_left_over_in_a_folder_is_found_and_removed_with_the_folder() {
    let directory = copy_of_shipped_files("left-over");
    let gone = directory.join("rendered/kubernetes/smp-gone/stores");
    fs::create_dir_all(&gone).unwrap();
    let rendered = "# rendered by smpctl render from infra/regions\nkind: Namespace\n";
    fs::write(gone.join("namespace.yaml"), rendered).unwrap();
    let notes = directory.join("rendered/notes.txt");
    fs::write(&notes, b"ours \xff").unwrap();
    let output = smpctl_render(&directory, &["--check", "--json"]);
    assert!(!output.status.success());
    assert_eq!(
        differing(&output),
        [(
            "kubernetes/smp-gone/stores/namespace.yaml".to_owned(),
            "left_over".to_owned()
        )]
    );
    assert!(smpctl_render(&directory, &[]).status.success());
    assert!(!directory.join("rendered/kubernetes/smp-gone").exists());
    assert!(directory.join("rendered/kubernetes/smp-asia").exists());
    assert!(notes.exists(), "it was not rendered");
}

#[test]
fn a_bad_field_is_named() {
    let bootstrap = "\"kafka-1.smp-china.example.com:9093\"";
    for (from, to, named) in [
        (
            bootstrap,
            "\"kafka-1.smp-china.example.com\"",
            "kafka.bootstrap_servers: \"kafka-1.smp-china.example.com\": host:port is expected",
        ),
        (
            bootstrap,
            "\"kafka:0\"",
            "kafka.bootstrap_servers: \"kafka:0\": ",
        ),
        (
            bootstrap,
            "\"a,b:1\"",
            "kafka.bootstrap_servers: \"a,b:1\": ",
        ),
        (
            bootstrap,
            "\"${env:HOME}:1\"",
            "kafka.bootstrap_servers: \"${env:HOME}:1\": ",
        ),
        (
            "replication_factor = 3",
            "replication_factor = 0",
            "kafka.replication_factor: at least 1 is needed",
        ),
        (
            "replication_factor = 3",
            "replication_factor = \"three\"",
            "replication_factor = \"three\"",
        ),
        (
            "\"SASL_SSL\"",
            "\"SASL_PLAINTEXT\"",
            "kafka.security_protocol: SASL_PLAINTEXT would show passwords",
        ),
        (
            "\"SASL_SSL\"",
            "\"PLAINTEXT\"",
            "security_protocol = \"PLAINTEXT\"",
        ),
        (
            "replication_factor =",
            "replicas =",
            "unknown field `replicas`",
        ),
        ("[kafka]", "[kafkaesque]", "unknown field `kafkaesque`"),
        (
            "\"SCRAM-SHA-512\"",
            "\"SCRAM\"",
            "sasl_mechanism = \"SCRAM\"",
        ),
        (
            "lead_time_weeks = 12",
            "lead_time_weeks = 105",
            "operation.lead_time_weeks: 105: 0 to 104 is expected",
        ),
        (
            "model = \"partner\"",
            "model = \"theirs\"",
            "model = \"theirs\"",
        ),
    ] {
        let directory = copy_of_shipped_files("bad-field");
        let file = directory.join("regions/smp-china.toml");
        replace(&file, from, to);
        let mistake = mistake(&directory);
        assert!(
            mistake.starts_with(&format!("{}: ", file.display())),
            "{mistake}"
        );
        assert!(mistake.contains(named), "no {named:?} in {mistake}");
    }
}

#[test]
fn a_cluster_is_not_mirrored_into_itself() {
    let directory = copy_of_shipped_files("itself");
    let china = directory.join("regions/smp-china.toml");
    replace(
        &china,
        "kafka-2.smp-china.example.com",
        "kafka-2.smp-asia.example.com",
    );
    assert_eq!(
        mistake(&directory),
        "infra/regions: kafka.bootstrap_servers: kafka-2.smp-asia.example.com:9093 is listed by \
         [smp-asia, smp-china]; each region has a cluster of its own"
    );
}

#[test]
fn the_hub_must_know_where_to_ask_a_region() {
    let replicator = "replicator = \"https://replicator.smp-china.example.com\"";
    for (to, named) in [
        ("", "smp-china: replicator = \"https://…\" is missing"),
        (
            "replicator = \"http://127.0.0.1:1\"",
            "smp-china: replicator: http://127.0.0.1:1: https:// is expected",
        ),
        (
            "replicator = \"replicator.example.com\"",
            "an origin starts with https://",
        ),
    ] {
        let directory = copy_of_shipped_files("replicator");
        replace(&directory.join("regions/smp-china.toml"), replicator, to);
        let mistake = mistake(&directory);
        assert!(mistake.contains(named), "no {named:?} in {mistake}");
    }
}

#[test]
fn without_a_hub_nothing_is_rendered() {
    let directory = copy_of_shipped_files("no-hub");
    let asia = directory.join("regions/smp-asia.toml");
    replace(
        &asia,
        "role = \"hub\"",
        "replicator = \"https://replicator.smp-asia.example.com\"\nrole = \"spoke\"",
    );
    let table = "[kubernetes]";
    let leaves = "[kubernetes]\nleaves_from = [\"198.51.100.10/32\"]";
    replace(&asia, table, leaves);
    assert_eq!(
        mistake(&directory),
        "infra/regions: exactly one region is the hub, 0 are"
    );
    let file = directory.join("rendered").join(CHINA);
    assert!(file.exists());
}
