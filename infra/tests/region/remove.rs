//! A region is taken away, and `remove` is killed.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant, SystemTime};

use infra::backup::archive::{FORMAT, Header, Manifest};
use infra::backup::writer::Writer;

use crate::left::Writes;
use crate::tree::Tree;
use crate::world::{ADD, World, json, said};

const REMOVE: &[&str] = &[
    "remove",
    "smp-us",
    "--why",
    "the trial is over",
    "--backup",
    "us.smpbackup",
];

/// How many times it is killed at some moment.
const ROUNDS: u32 = 15;

/// At which it may die, in order.
const STAGES: [&str; 4] = [
    "edge",
    "smp-us gone",
    "smp-asia stores",
    "smp-asia services",
];

/// What a removal leaves: the history, the version, and the region's own secrets.
const KEPT: [&str; 2] = ["run/routes.jsonl", "secrets/smp-us/"];

fn remove() -> Vec<&'static str> {
    [REMOVE, &["--yes"]].concat()
}

/// With smp-us, which is paused; and how all was without it.
fn world(name: &str) -> (World, Tree) {
    let world = World::new(name);
    backup_of(&world, "smp-us", Duration::ZERO);
    // Nobody sends for its country any more.
    world.stubs.break_it("connections");
    let before = world.tree();
    world.add();
    fs::remove_file(world.folder.join("stage/log")).unwrap();
    (world, before)
}

/// That all is as it was before the region was added.
#[track_caller]
fn is_gone(world: &World, before: &Tree, when: &str) {
    let left = world.tree();
    assert!(
        left.get("secrets/smp-us/core.env").is_some(),
        "{when}: its secrets are gone"
    );
    for file in ["wrangler.toml", "run/wrangler.toml"] {
        let text = left.get(file).unwrap();
        assert!(text.contains("version = 3"), "{when}: {text}");
        assert_eq!(
            Some(text.replacen("version = 3", "version = 1", 1).as_str()),
            before.get(file),
            "{when}: {file}"
        );
    }
    let history = left.clone().comparable();
    let history = history.get("run/routes.jsonl").unwrap();
    assert_eq!(history.lines().count(), 2, "{when}: {history}");
    let last = history.lines().next_back().unwrap();
    assert!(
        last.starts_with("Anna the trial is over remove region smp-us 3 ")
            && last.ends_with(" true"),
        "{when}: {last}"
    );
    let left_out = [&KEPT[..], &["wrangler.toml", "run/wrangler.toml"]].concat();
    left.without(&left_out)
        .is(&before.clone().without(&left_out), when);
    world.edge_was_never_down();
}

#[test]
fn a_region_that_must_stay_stays_and_each_reason_is_named() {
    let (world, _) = world("remove-refused");
    let there = world.tree();
    let refused = |arguments: &[&str], why: &str| {
        let said = world.refuses(&[arguments, &["--yes"]].concat());
        assert!(said.contains(why), "{said}");
        world.tree().is(&there, why);
    };
    refused(
        &["remove", "smp-asia", "--why", "x", "--no-backup"],
        "smp-asia stays: it is the hub",
    );
    refused(
        &["remove", "smp-china", "--why", "x", "--no-backup"],
        "its route is open: smpctl route pause smp-china --local=run --why WHY --yes",
    );
    world.stubs.break_it("waiting");
    refused(
        REMOVE,
        "3 records wait for it at the edge, and nobody else can open them",
    );
    world.stubs.mend();
    let missing = [
        "remove",
        "smp-us",
        "--why",
        "x",
        "--backup",
        "away.smpbackup",
    ];
    refused(&missing, "away.smpbackup: No such file");
    world.write("none.smpbackup", "nothing of the kind");
    let other = [
        "remove",
        "smp-us",
        "--why",
        "x",
        "--backup",
        "none.smpbackup",
    ];
    refused(&other, "no backup of smpctl region backup");
    is_of_yesterday(&world);
    refused(REMOVE, "us.smpbackup: it is older than an hour");
    backup_of(&world, "smp-asia", Duration::ZERO);
    refused(REMOVE, "us.smpbackup: it is a backup of smp-asia");
    let whole = fs::read(world.folder.join("us.smpbackup")).unwrap();
    fs::write(world.folder.join("us.smpbackup"), &whole[..whole.len() - 9]).unwrap();
    refused(REMOVE, "us.smpbackup: it is cut off");
    backup_of(&world, "smp-us", Duration::ZERO);
    refused(
        REMOVE,
        "main sends for US still: smpctl connection revoke main",
    );
    let staging = [REMOVE, &["--environment", "staging"]].concat();
    refused(&staging, "registry, secrets and clusters are production's");

    // Nobody says how it is stopped, in production.
    let mut production = world.smpctl(&["region"]);
    production.args(REMOVE).args([
        "--yes",
        "--secrets",
        "secrets",
        "--edge",
        "http://127.0.0.1:1",
    ]);
    let refused = production.output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        said(&refused).contains("--apply COMMAND"),
        "{}",
        said(&refused)
    );
    world.tree().is(&there, "by hand");

    let without = world.run(&["remove", "smp-us", "--why", "x", "--yes"]);
    assert!(
        said(&without).contains("--backup <FILE>"),
        "{}",
        said(&without)
    );
    world.tree().is(&there, "without a word of a backup");
    assert!(
        !world.folder.join("stage/log").exists(),
        "something was put in force"
    );
}

/// A backup of a region, of so long ago.
fn backup_of(world: &World, region: &str, age: Duration) {
    let header = Header {
        format: FORMAT,
        backup_id: "b".to_owned(),
        region: region.to_owned(),
        countries: vec!["US".to_owned()],
        taken_at: (SystemTime::now() - age).try_into().unwrap(),
        smpctl: "0".to_owned(),
        database: "smp".to_owned(),
        server: "18".to_owned(),
        is_sealed: false,
    };
    let manifest = Manifest {
        tables: Vec::new(),
        sequences: Vec::new(),
        migrations: Vec::new(),
    };
    let file = fs::File::create(world.folder.join("us.smpbackup")).unwrap();
    let writer = Writer::begin(file, &header, None).unwrap();
    writer.end(&manifest).unwrap();
}

fn is_of_yesterday(world: &World) {
    backup_of(world, "smp-us", Duration::from_hours(24));
}

#[test]
fn a_region_goes_as_it_came_and_no_other_one_notices() {
    let (world, before) = world("remove");
    let there = world.tree();
    let looked = world.does(REMOVE);
    assert!(
        looked.contains("nothing was changed: --yes does it; kept: "),
        "{looked}"
    );
    world.tree().is(&there, "without --yes");
    let removed = world.run(&[&remove()[..], &["--json"]].concat());
    assert_eq!(json(&removed)["is_done"], true, "{}", said(&removed));
    is_gone(&world, &before, "removed");
    assert_eq!(world.applied(), STAGES);
    let gone = world.tree();
    let again = world.does(&remove());
    assert!(again.contains("smp-us is gone already"), "{again}");
    world.tree().is(&gone, "again");
    // Its route alone does not bring it back: the edge has no key for it, and would answer nobody.
    let reverted = world.routes(&["revert", "--why", "a mistake", "--yes"]);
    assert_eq!(reverted.status.code(), Some(1), "{}", said(&reverted));
    let told = said(&reverted);
    assert!(
        told.contains("takes back 'remove region smp-us' of ")
            && told.contains("it would come back without its key"),
        "{told}"
    );
    world.tree().is(&gone, "not reverted");
    // And it may come back, with the secrets that it had.
    world.add();
    assert_eq!(
        world.tree().get("secrets/smp-us/core.env"),
        there.get("secrets/smp-us/core.env")
    );
}

#[test]
fn killed_where_a_stage_is_put_in_force_the_same_command_goes_on_to_the_same_end() {
    let (world, before) = world("remove-killed-at");
    world.save("added");
    for place in STAGES
        .iter()
        .flat_map(|stage| [format!("before {stage}"), format!("after {stage}")])
    {
        world.restore("stage/added");
        world.stubs.break_it("connections");
        backup_of(&world, "smp-us", Duration::ZERO);
        let killed = world.killed_at(&remove(), &place);
        assert_eq!(killed.status.signal(), Some(9), "{place}: {killed:?}");
        world.edge_was_never_down();
        // Nobody can write another backup of what does not run any more.
        is_of_yesterday(&world);
        world.does(&remove());
        is_gone(&world, &before, &place);
    }
}

#[test]
fn whatever_a_kill_left_of_it_the_same_command_goes_on_to_the_same_end() {
    let (world, before) = world("remove-left");
    world.save("added");
    world.does(&remove());
    world.save("gone");
    let writes = Writes::new(
        &world,
        ("added", "gone"),
        &[
            "run/routes.jsonl+1",
            "wrangler.toml",
            "run/wrangler.toml",
            "run/routes.jsonl+1",
            "secrets/edge.json",
            "secrets/smp-asia/replicator.env",
            "applied/edge.json",
            "applied/smp-us",
            "run/cores.json",
            "run/platform.env",
            "infra/rendered",
            "applied/smp-asia/kafka-users.yaml",
            "applied/smp-asia/relay.env",
            "applied/smp-asia/replicator.env",
            "infra/regions/smp-us.toml",
        ],
    );
    for cut in writes.cuts() {
        let when = writes.leave(&world, cut);
        world.stubs.break_it("connections");
        world.does(&remove());
        is_gone(&world, &before, &when);
    }
}

#[test]
fn killed_at_any_moment_the_same_command_goes_on_to_the_same_end() {
    let (world, before) = world("remove-killed");
    world.save("added");
    let began = Instant::now();
    world.does(&remove());
    let whole = began.elapsed();
    for round in 0..ROUNDS {
        world.restore("stage/added");
        world.stubs.break_it("connections");
        let part = f64::from(round) / f64::from(ROUNDS) * 1.1;
        world.killed_after(&remove(), whole.mul_f64(part));
        world.edge_was_never_down();
        world.does(&remove());
        is_gone(&world, &before, &format!("after {part:.3} of it"));
    }
}

#[test]
fn a_region_that_was_only_begun_goes_too() {
    let world = World::new("remove-begun");
    let before = world.tree();
    let killed = world.killed_at(&[ADD, &["--yes"]].concat(), "before smp-us services");
    assert_eq!(killed.status.signal(), Some(9), "{killed:?}");
    world.does(&[
        "remove",
        "smp-us",
        "--why",
        "not now",
        "--no-backup",
        "--yes",
    ]);
    world
        .tree()
        .without(&["secrets/smp-us/"])
        .is(&before, "begun");
    world.edge_was_never_down();
}
