//! `smpctl check` on the shipped files and on files with mistakes.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "clippy.toml allows these within test functions; the helpers beside them are tests too"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// A copy of the shipped files, to be changed at will.
fn copy_of_shipped_files(name: &str) -> PathBuf {
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&copy);
    fs::create_dir_all(copy.join("regions")).unwrap();
    fs::copy(
        repository().join("wrangler.toml"),
        copy.join("wrangler.toml"),
    )
    .unwrap();
    for region in ["smp-asia.toml", "smp-china.toml"] {
        fs::copy(
            repository().join("infra/regions").join(region),
            copy.join("regions").join(region),
        )
        .unwrap();
    }
    copy
}

fn smpctl_check(directory: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_smpctl"))
        .arg("check")
        .arg("--wrangler")
        .arg(directory.join("wrangler.toml"))
        .arg("--regions")
        .arg(directory.join("regions"))
        .arg("--json")
        .output()
        .unwrap()
}

fn replace(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{} has no {from:?}", file.display());
    fs::write(file, text.replacen(from, to, 1)).unwrap();
}

fn mistakes(output: &Output) -> Vec<String> {
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    serde_json::from_value(document["mistakes"].clone()).unwrap()
}

#[test]
fn the_shipped_route_table_and_registry_agree() {
    let output = smpctl_check(&copy_of_shipped_files("shipped"));
    assert_eq!(mistakes(&output), Vec::<String>::new());
    assert!(output.status.success());
}

#[test]
fn a_country_goes_only_where_the_registry_lists_it() {
    let directory = copy_of_shipped_files("unlisted");
    replace(
        &directory.join("wrangler.toml"),
        "CN = \"smp-china\"",
        "CN = \"smp-asia\"",
    );
    let output = smpctl_check(&directory);
    assert_eq!(
        mistakes(&output),
        ["production: countries.CN: infra/regions/smp-asia.toml does not list CN"]
    );
    assert!(!output.status.success());
}

#[test]
fn every_mistake_of_every_environment_is_named_at_once() {
    let directory = copy_of_shipped_files("mistakes");
    let wrangler = directory.join("wrangler.toml");
    replace(&wrangler, "version = 1 #", "version = 0 #");
    replace(
        &wrangler,
        "https://core.staging.smp-asia",
        "core.staging.smp-asia",
    );
    replace(
        &directory.join("regions/smp-china.toml"),
        "id = \"smp-china\"",
        "id = \"smp-cina\"",
    );
    let all = mistakes(&smpctl_check(&directory)).join("\n");
    assert!(all.contains("production: version: a whole number"), "{all}");
    assert!(
        all.contains("staging: regions.smp-asia.origin: an origin starts with https"),
        "{all}"
    );
    assert!(
        all.contains("smp-china.toml: id: \"smp-cina\" is expected in a file of that"),
        "{all}"
    );
}

#[test]
fn one_region_is_the_hub_and_a_country_has_one_region() {
    let directory = copy_of_shipped_files("hub");
    let china = directory.join("regions/smp-china.toml");
    replace(&china, "role = \"spoke\"", "role = \"hub\"");
    replace(
        &china,
        "countries = [\"CN\"]",
        "countries = [\"CN\", \"VN\"]",
    );
    let all = mistakes(&smpctl_check(&directory)).join("\n");
    assert!(
        all.contains("exactly one region is the hub, 2 are"),
        "{all}"
    );
    assert!(
        all.contains("VN is listed by [smp-asia, smp-china]"),
        "{all}"
    );
}

#[test]
fn a_route_to_a_region_that_nobody_described_is_a_mistake() {
    let directory = copy_of_shipped_files("undescribed");
    fs::remove_file(directory.join("regions/smp-china.toml")).unwrap();
    let all = mistakes(&smpctl_check(&directory)).join("\n");
    assert!(
        all.contains("region smp-china has a route but no infra/regions/smp-china.toml"),
        "{all}"
    );
}

#[test]
fn two_regions_or_environments_with_one_origin_are_a_mistake() {
    let directory = copy_of_shipped_files("shared-origin");
    let wrangler = directory.join("wrangler.toml");
    replace(
        &wrangler,
        "https://core.smp-china.example.com",
        "https://core.smp-asia.example.com",
    );
    assert_eq!(
        mistakes(&smpctl_check(&directory)),
        [
            "origin https://core.smp-asia.example.com is that of production/smp-asia and \
          production/smp-china: each region has a core of its own"
        ]
    );
}
