//! `smpctl check` on the shipped files and on files with mistakes.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "clippy.toml allows these within test functions; the helpers beside them are tests too"
)]

use std::collections::BTreeSet;
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

/// The environments of which routes are printed.
fn environments(output: &Output) -> BTreeSet<String> {
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let routes = document["routes"].as_array().unwrap();
    routes
        .iter()
        .map(|route| route["environment"].as_str().unwrap().to_owned())
        .collect()
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

#[test]
fn a_table_that_cannot_be_read_hides_nothing_of_the_others() {
    let directory = copy_of_shipped_files("one-table-unread");
    let wrangler = directory.join("wrangler.toml");
    replace(&wrangler, "CN = \"smp-china\"", "CN = \"smp-asia\"");
    // Production's has a comment behind it.
    replace(&wrangler, "version = 1\n", "version = -1\n");
    let output = smpctl_check(&directory);
    let [staging, production] = mistakes(&output).try_into().unwrap();
    assert!(staging.starts_with("staging: version: "), "{staging}");
    assert_eq!(
        production,
        "production: countries.CN: infra/regions/smp-asia.toml does not list CN"
    );
    assert_eq!(environments(&output), ["production".to_owned()].into());
    assert!(!output.status.success());
}

#[test]
fn the_registry_is_judged_even_without_a_route_table() {
    let directory = copy_of_shipped_files("no-table");
    let china = directory.join("regions/smp-china.toml");
    replace(&china, "role = \"spoke\"", "role = \"hub\"");
    let replicator = "replicator = \"https://replicator.smp-china.example.com\"";
    replace(&china, replicator, "");
    replace(&china, "leaves_from = [\"198.51.100.20/32\"]", "");
    let hubs = "infra/regions: exactly one region is the hub, 2 are";
    fs::write(directory.join("wrangler.toml"), "[vars").unwrap();
    let [not_toml, registry] = mistakes(&smpctl_check(&directory)).try_into().unwrap();
    assert!(
        not_toml.starts_with("wrangler.toml is not TOML: "),
        "{not_toml}"
    );
    assert_eq!(registry, hubs);

    fs::remove_file(directory.join("wrangler.toml")).unwrap();
    let [missing, registry] = mistakes(&smpctl_check(&directory)).try_into().unwrap();
    assert!(missing.contains("wrangler.toml: "), "{missing}");
    assert_eq!(registry, hubs);
}

#[test]
fn a_region_whose_file_cannot_be_read_is_not_said_to_be_missing() {
    // The hub's file too: that there is no hub is not known then.
    for region in ["smp-asia", "smp-china"] {
        let directory = copy_of_shipped_files("one-region-unread");
        let file = directory.join(format!("regions/{region}.toml"));
        replace(&file, "role = ", "roll = ");
        let output = smpctl_check(&directory);
        let [mistake] = mistakes(&output).try_into().unwrap();
        let named = format!("{}: ", file.display());
        assert!(mistake.starts_with(&named), "{mistake}");
        assert!(mistake.contains("unknown field `roll`"), "{mistake}");
        assert!(!output.status.success());
    }
    let directory = copy_of_shipped_files("no-region-read");
    fs::remove_dir_all(directory.join("regions")).unwrap();
    let output = smpctl_check(&directory);
    let [mistake] = mistakes(&output).try_into().unwrap();
    let named = format!("{}: ", directory.join("regions").display());
    assert!(mistake.starts_with(&named), "{mistake}");
    assert!(!output.status.success());
}

#[test]
fn a_region_whose_file_cannot_be_read_hides_nothing_of_the_others() {
    let directory = copy_of_shipped_files("other-region-unread");
    let regions = directory.join("regions");
    fs::write(regions.join("smp-china.toml"), "id = ").unwrap();
    replace(&regions.join("smp-asia.toml"), "\"TH\", ", "");
    let wrangler = directory.join("wrangler.toml");
    replace(&wrangler, "CN = \"smp-china\"", "CN = \"smp-cina\"");
    replace(&wrangler, "regions.smp-china]", "regions.smp-cina]");
    let output = smpctl_check(&directory);
    let [unread, rest @ ..] = &mistakes(&output)[..] else {
        panic!("nothing is wrong");
    };
    assert!(unread.contains("smp-china.toml: "), "{unread}");
    assert_eq!(
        rest,
        [
            "production: region smp-cina has a route but no infra/regions/smp-cina.toml",
            "production: countries.TH: infra/regions/smp-asia.toml does not list TH",
            "staging: countries.TH: infra/regions/smp-asia.toml does not list TH",
        ]
    );
}

#[test]
fn an_origin_on_this_machine_is_not_to_be_deployed() {
    let shipped = "https://core.smp-china.example.com";
    for origin in [
        "http://localhost:8702",
        "http://127.0.0.1:8702",
        "https://localhost",
        "https://localhost:8443",
        "https://core.localhost",
        "https://127.0.0.1",
        "https://127.8.9.10:8443",
        "https://0.0.0.0",
        "https://0.0.0.0:8443",
    ] {
        let directory = copy_of_shipped_files("this-machine");
        replace(&directory.join("wrangler.toml"), shipped, origin);
        assert_eq!(
            mistakes(&smpctl_check(&directory)),
            [format!(
                "production: regions.smp-china.origin: {origin}: a deployed edge reaches a core by \
                 https:// only, and never on this machine"
            )]
        );
    }
    // An address of IPv6 is no origin at all.
    for origin in [
        "https://[::1]",
        "https://[::1]:8443",
        "https://[::]",
        "https://[::ffff:127.0.0.1]",
    ] {
        let directory = copy_of_shipped_files("this-machine-v6");
        replace(&directory.join("wrangler.toml"), shipped, origin);
        let [mistake] = mistakes(&smpctl_check(&directory)).try_into().unwrap();
        assert!(
            mistake.starts_with("production: regions.smp-china.origin: "),
            "{mistake}"
        );
    }
    for origin in ["https://localhost.example.com", "https://128.0.0.1:8443"] {
        let directory = copy_of_shipped_files("another-machine");
        replace(&directory.join("wrangler.toml"), shipped, origin);
        let none: [String; 0] = [];
        assert_eq!(mistakes(&smpctl_check(&directory)), none, "{origin}");
    }
}

#[test]
fn a_country_of_a_region_is_written_in_capitals() {
    let directory = copy_of_shipped_files("lower-case");
    let asia = directory.join("regions/smp-asia.toml");
    replace(&asia, "\"SG\", \"TH\"", "\"sg\", \"Th\", \"XYZ\"");
    let output = smpctl_check(&directory);
    let [mistake] = mistakes(&output).try_into().unwrap();
    for named in [
        "smp-asia.toml: ",
        "countries: \"sg\": write it in capitals, SG; ",
        "countries: \"Th\": write it in capitals, TH; ",
        "countries: \"XYZ\": a country is two letters",
    ] {
        assert!(mistake.contains(named), "no {named:?} in {mistake}");
    }
    assert!(!output.status.success());
}

/// A public key (RFC 7748, 6.1: Alice's).
const SEALING_KEY: &str = "smp-1:hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

#[test]
fn records_wait_at_the_edge_only_where_the_regions_file_allows_it() {
    let copy = copy_of_shipped_files("spool");
    let routes = copy.join("wrangler.toml");
    let sealed = format!("spool = \"sealed\"\nsealing_key = \"{SEALING_KEY}\"");
    // The first is smp-asia's, in production; the second smp-china's.
    replace(&routes, "spool = \"off\"", &sealed);
    assert_eq!(mistakes(&smpctl_check(&copy)), Vec::<String>::new());
    replace(&routes, "spool = \"off\"", &sealed);
    assert_eq!(
        mistakes(&smpctl_check(&copy)),
        [
            "production: regions.smp-china.spool: infra/regions/smp-china.toml says \"off\": nothing of \
             that region may wait at the edge"
        ]
    );
}

#[test]
fn a_spool_needs_a_key_that_can_be_read() {
    let copy = copy_of_shipped_files("spool-key");
    let routes = copy.join("wrangler.toml");
    replace(&routes, "spool = \"off\"", "spool = \"sealed\"");
    let found = mistakes(&smpctl_check(&copy)).join("\n");
    assert!(
        found.contains("regions.smp-asia.sealing_key: spool = \"sealed\" needs"),
        "{found}"
    );
    replace(
        &routes,
        "spool = \"sealed\"",
        "spool = \"sealed\"\nsealing_key = \"smp-1:short\"",
    );
    let found = mistakes(&smpctl_check(&copy)).join("\n");
    assert!(
        found.contains("regions.smp-asia.sealing_key: a sealing key is"),
        "{found}"
    );
    replace(&routes, "spool = \"sealed\"", "spool = \"plain\"");
    let found = mistakes(&smpctl_check(&copy)).join("\n");
    assert!(found.contains("sealing_key"), "{found}");
}
