//! What a region lacks is told, with what mends it.

use std::fs;

use serde_json::Value;

use crate::world::{World, json, said};

/// With smp-us, which serves.
fn world(name: &str) -> World {
    let world = World::new(name);
    world.add();
    world.sign_off();
    world.does(&["open", "smp-us", "--why", "it begins", "--yes"]);
    world
}

/// The items that are missing, with what is found, and what mends it.
#[track_caller]
fn missing(world: &World) -> Vec<(String, String, String)> {
    let output = world.run(&["doctor", "smp-us", "--json"]);
    let told = json(&output);
    let region = &told["regions"][0];
    assert_eq!(region["region"], "smp-us");
    let items = region["checklist"].as_array().unwrap();
    let text = |item: &Value, name: &str| item[name].as_str().unwrap_or_default().to_owned();
    let missing = items.iter().filter(|item| item["state"] == "missing");
    let missing: Vec<_> = missing
        .map(|item| (text(item, "item"), text(item, "found"), text(item, "mend")))
        .collect();
    assert_eq!(region["is_well"], missing.is_empty(), "{told}");
    let code = i32::from(!missing.is_empty());
    assert_eq!(output.status.code(), Some(code), "{told}");
    missing
}

/// That this is missing, and that people are told the same.
#[track_caller]
fn lacks(world: &World, (item, found, mend): (&str, &str, &str)) {
    let missing = missing(world);
    let line = missing.iter().find(|(known, ..)| known == item);
    let (_, was_found, mends) =
        line.unwrap_or_else(|| panic!("{item} is not missing: {missing:?}"));
    assert!(was_found.contains(found), "{item}: {was_found}");
    assert!(mends.contains(mend), "{item}: {mends}");
    let people = world.refuses(&["doctor", "smp-us"]);
    let lines = format!(": {was_found}\n         → {mends}\n");
    assert!(
        people.contains(&lines) && people.contains("MISSING  "),
        "{people}"
    );
}

const BRING_BACK: &str =
    "mend that line, or bring the file back from where your secrets are backed up";
const ADD_AGAIN: &str = "smpctl region add smp-us --local=run --yes";

#[test]
fn a_region_that_serves_lacks_nothing_and_looking_changes_nothing() {
    let world = world("doctor-well");
    let before = world.tree();
    assert_eq!(missing(&world), []);
    let people = world.does(&["doctor", "smp-us"]);
    let all = people.lines().skip(1);
    assert!(
        all.clone().count() == 12 && all.clone().all(|line| line.starts_with("ok ")),
        "{people}"
    );
    world.tree().is(&before, "only looked at");
    assert_eq!(world.stubs.probes().len(), 1);

    // The hub's are nobody's to make.
    world.save("well");
    fs::remove_file(world.folder.join("secrets/smp-asia/core-setup.env")).unwrap();
    let hub = said(&world.run(&["doctor", "smp-asia"]));
    assert!(
        hub.contains(
            "MISSING  secrets: smp-asia/core-setup.env\n         → mend that line, or bring"
        ),
        "{hub}"
    );
    world.restore("stage/well");

    // Of all regions, smp-china has no secrets here.
    let all = json(&world.run(&["doctor", "--json"]));
    let regions = all["regions"].as_array().unwrap().iter();
    let well: Vec<_> = regions
        .map(|region| {
            (
                region["region"].as_str().unwrap(),
                region["is_well"] == true,
            )
        })
        .collect();
    assert_eq!(
        well,
        [("smp-asia", true), ("smp-china", false), ("smp-us", true)],
        "{all}"
    );

    let unknown = world.run(&["doctor", "smp-eu"]);
    assert_eq!(unknown.status.code(), Some(1));
    let told = "infra/regions/smp-eu.toml is not there: smpctl region add smp-eu";
    assert!(said(&unknown).contains(told), "{}", said(&unknown));
}

#[test]
fn what_the_files_lack_is_told_and_the_command_that_is_named_mends_it() {
    let world = world("doctor-files");
    world.save("well");
    let core = "infra/rendered/kubernetes/smp-us/services/core.yaml";
    for (file, from, to, told) in [
        (
            core,
            "smp-us",
            "smp-eu",
            (
                "rendered",
                "1 of 44 differ: kubernetes/smp-us/services/core.yaml differs",
                "smpctl render",
            ),
        ),
        (
            "applied/edge.json",
            "smp-us-1",
            "smp-us-0",
            (
                "probe",
                "US: the core answered 401: Nobody signed that.",
                ADD_AGAIN,
            ),
        ),
        (
            "secrets/edge.json",
            "smp-us-1",
            "smp-us-0",
            ("secrets", "secrets/edge.json: the key of smp-us", ADD_AGAIN),
        ),
        (
            "secrets/smp-asia/replicator.env",
            "smp-us-1",
            "smp-us-0",
            (
                "secrets",
                "secrets/smp-asia/replicator.env: the key of smp-us",
                ADD_AGAIN,
            ),
        ),
        (
            "applied/smp-asia/relay.env",
            "smp-us=",
            "smp-eu=",
            ("hub", "the hub has not asked how far it is", ADD_AGAIN),
        ),
        (
            "run/wrangler.toml",
            "version = 3",
            "version = 2",
            (
                "route",
                "version 3 has it, and the edge has version 2",
                "smpctl route deploy --local=run --why WHY --yes",
            ),
        ),
    ] {
        world.restore("stage/well");
        world.edit(file, from, to);
        lacks(&world, told);
        if told.0 == "rendered" {
            let rendered = world.smpctl(&["render"]).output().unwrap();
            assert!(rendered.status.success(), "{}", said(&rendered));
        } else {
            world.add();
        }
        assert_eq!(missing(&world), [], "{file} was mended");
    }
}

#[test]
fn what_no_command_mends_is_told_with_who_does() {
    let world = world("doctor-by-hand");
    world.save("well");
    let (secrets, file) = ("secrets/smp-us/core.env", "infra/regions/smp-us.toml");
    for (from, to, told) in [
        (
            "CORE_HOP_SECRETS=",
            "HOP_SECRETS=",
            "smp-us/core.env: CORE_HOP_SECRETS",
        ),
        (
            "CORE_HOP_SECRETS=",
            "CORE_HOP_SECRETS=\"",
            "smp-us/core.env: CORE_HOP_SECRETS: write it on one line",
        ),
        (
            "CORE_HOP_SECRETS=",
            "a secret\nCORE_HOP_SECRETS=",
            "smp-us/core.env: line 2: KEY=value is expected",
        ),
    ] {
        world.restore("stage/well");
        world.edit(secrets, from, to);
        lacks(&world, ("secrets", told, BRING_BACK));
    }
    world.restore("stage/well");
    fs::remove_file(world.folder.join(secrets)).unwrap();
    lacks(&world, ("secrets", "smp-us/core.env", BRING_BACK));
    world.restore("stage/well");
    world.edit(secrets, "CORE_HOP_SECRETS=", "HOP_SECRETS=");
    let refused = world.refuses(&["add", "smp-us", "--yes"]);
    let told = "secrets/smp-us/core.env lacks CORE_HOP_SECRETS: bring it back from where your secrets are backed up";
    assert!(refused.contains(told), "{refused}");

    world.restore("stage/well");
    world.edit(file, "role = \"spoke\"", "role = \"spike\"");
    lacks(
        &world,
        (
            "file",
            "unknown variant `spike`",
            "mend what it names: smpctl check",
        ),
    );
    world.restore("stage/well");
    world.edit(file, "backup_store", "# backup_store");
    lacks(
        &world,
        (
            "backup",
            "its database has no backup_store",
            "infra/regions/smp-us.toml, or smpctl region backup smp-us",
        ),
    );
    world.restore("stage/well");
    world.edit(file, "[\"US\"]", "[\"US\", \"CA\"]");
    lacks(
        &world,
        (
            "sign_off",
            "have changed since",
            "smpctl region sign-off smp-us --by NAME --reference WHERE",
        ),
    );
    lacks(
        &world,
        (
            "services",
            "the core does not serve CA yet (its CORE_COUNTRIES)",
            ADD_AGAIN,
        ),
    );
    lacks(&world, ("route", "CA do not go there", ADD_AGAIN));
}

#[test]
fn what_the_services_lack_is_told() {
    let world = world("doctor-services");
    for (fault, told) in [
        (
            "core",
            ("services", "it answers 503: database unknown", ADD_AGAIN),
        ),
        (
            "core",
            (
                "probe",
                "US: the edge answers 500, and no core does: ",
                "smpctl region add smp-us --local=run --yes, once the lines above are mended",
            ),
        ),
        (
            "hub",
            ("hub", "the hub has not asked how far it is", ADD_AGAIN),
        ),
        (
            "differs",
            (
                "master_data",
                "tax_configs differ",
                "docs/runbook/master-data-table-differs.md",
            ),
        ),
        (
            "connections",
            (
                "connections",
                "US have none: nobody sends for them",
                "smpctl connection add",
            ),
        ),
    ] {
        world.stubs.break_it(fault);
        lacks(&world, told);
        world.stubs.mend();
        assert_eq!(missing(&world), [], "{fault} was mended");
    }
    let paused = world.routes(&["pause", "smp-us", "--why", "to see it", "--yes"]);
    assert!(paused.status.success(), "{}", said(&paused));
    lacks(
        &world,
        (
            "open",
            "US is not open",
            "smpctl region open smp-us --local=run --why WHY --yes",
        ),
    );
}

#[test]
fn a_region_that_is_not_there_yet_lacks_its_services_its_route_and_counsels_leave() {
    let world = World::new("doctor-begun");
    lacks_only(&world, &["file"]);
    let killed = world.killed_at(
        &[crate::world::ADD, &["--yes"]].concat(),
        "before smp-asia stores",
    );
    assert!(!killed.status.success());
    lacks_only(
        &world,
        &[
            "services",
            "hub",
            "master_data",
            "route",
            "probe",
            "sign_off",
            "open",
        ],
    );
    lacks(
        &world,
        ("services", "no core of smp-us runs here", ADD_AGAIN),
    );
    lacks(
        &world,
        ("hub", "no replicator of smp-us runs here", ADD_AGAIN),
    );
    lacks(
        &world,
        ("route", "wrangler.toml has no route to it", ADD_AGAIN),
    );
    lacks(
        &world,
        (
            "probe",
            "the edge has no route for US",
            "smpctl region add smp-us --local=run --yes, once the lines above are mended",
        ),
    );
    lacks(
        &world,
        (
            "sign_off",
            "nobody has signed smp-us off",
            "smpctl region sign-off smp-us",
        ),
    );
}

#[track_caller]
fn lacks_only(world: &World, items: &[&str]) {
    let missing = missing(world);
    let missing: Vec<_> = missing.iter().map(|(item, ..)| item.as_str()).collect();
    assert_eq!(missing, items);
}
