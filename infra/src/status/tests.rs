mod world;

use serde_json::json;

use super::*;
use world::{CORE, World, finds, ready, with, world};

#[test]
fn where_nothing_is_wrong_each_region_is_a_row_of_figures() {
    let world = world();
    assert_eq!(world.found(), [""; 0]);
    assert_eq!(
        world.screen(),
        "production, 2026-11-23T08:00:00Z   routes 7, in force\n\
         \n\
         REGION     ROLE   ROUTE  CORE   SCHEMA  MASTER DATA  SPOOL  PARKED  DEAD  EVENTS  WATERMARK   REQ/1H\n\
         smp-asia   hub    open   ready  ok      its own      0           0     0       5  3m vn-main    1234\n\
         smp-china  spoke  open   ready  ok      1.2s equal   0           0     0       5  3m cn-main       0\n\
         \n\
         nothing is wrong\n"
    );
}

#[test]
fn a_screen_fits_its_width_whatever_stands_in_it() {
    let mut world = world();
    let china = world.china();
    china.ready = Answer::Given((503, ready("smp-china", &["CN"], "missing")));
    with(&mut china.replicator, "replication_lag_seconds", "123456");
    with(
        &mut china.replicator,
        "replication_table_differs{region=\"smp-china\",table=\"c",
        "1",
    );
    let long = format!("cn-{}", "x".repeat(60));
    china.core = Answer::Given(CORE.replace("cn-main", &long).replace("} 200", "} 1036800"));
    let spool = &mut world.edge().regions[1];
    (spool.waiting, spool.oldest_seconds, spool.parked) = (7_654_321, 90_000.0, 123_456);
    let screen = world.screen();
    for line in screen.lines() {
        assert!(line.chars().count() <= WIDTH, "{line}");
    }
    assert!(
        screen.contains("34h differs 7654321 25h 123456"),
        "{screen}"
    );
    assert!(screen.contains("12d cn-xx…"), "{screen}");
}

#[test]
fn a_core_that_does_not_answer_is_wrong_and_its_figures_are_unknown() {
    let mut world = world();
    world.china().ready = Answer::Silent("timeout".to_owned());
    world.china().core = Answer::Silent("timeout".to_owned());
    assert_eq!(world.found(), ["Wrong its core does not answer: timeout"]);
    let screen = world.screen();
    assert!(
        screen.contains(
            "smp-china spoke open  no answer ?      1.2s equal  0          0    ?      ? ?"
        ),
        "{screen}"
    );
    assert!(
        screen.contains("smp-asia  hub   open  ready     ok"),
        "{screen}"
    );
    assert!(!screen.contains("nothing is wrong"));
}

#[test]
fn a_core_that_is_not_ready_says_why() {
    let not = |status, ready: Value| {
        move |world: &mut World| world.china().ready = Answer::Given((status, ready))
    };
    finds(
        not(503, ready("smp-china", &["CN"], "behind")),
        "Wrong its core is not ready: schema behind",
        "regional-core migrate",
    );
    let mut no_database = ready("smp-china", &["CN"], "unknown");
    no_database["checks"]["database"] = json!("unreachable");
    finds(
        not(503, no_database),
        "Wrong its core is not ready: no database",
        "ingest-records-not-kept.md",
    );
    finds(
        not(502, Value::Null),
        "Wrong its core is not ready: answers 502",
        "ingest-records-not-kept.md",
    );
    finds(
        not(200, ready("smp-asia", &["CN"], "ok")),
        "Wrong its core is not ready: it is smp-asia's",
        "smpctl check",
    );
    finds(
        not(200, ready("smp-china", &["VN"], "ok")),
        "Wrong its core does not serve CN (its CORE_COUNTRIES)",
        "docs/operations.md",
    );
}

#[test]
fn master_data_that_is_late_differs_or_is_parked_is_wrong() {
    let replicator = |series: &'static str, value: &'static str| {
        move |world: &mut World| with(&mut world.china().replicator, series, value)
    };
    finds(
        replicator("replication_lag_seconds", "61"),
        "Wrong master data is 61 s behind the hub's",
        "master-data-lag-high.md",
    );
    finds(
        replicator(
            "replication_table_differs{region=\"smp-china\",table=\"tax",
            "1",
        ),
        "Wrong not the hub's: tax_configs",
        "master-data-table-differs.md",
    );
    finds(
        replicator("replication_parked_records", "2"),
        "Wrong 2 records of master data could not be applied",
        "master-data-records-parked.md",
    );
    finds(
        replicator("replication_asked_seconds", "301"),
        "Wrong the hub has not asked for 5 min",
        "master-data-region-silent.md",
    );
    finds(
        |world| {
            let waits = "replication_relay_waiting_seconds{region=\"smp-asia\"} 75\n";
            world.answers.regions[0].replicator = Answer::Given(waits.to_owned());
        },
        "Wrong changes of master data wait to be sent, 75 s",
        "master-data-relay-backlog.md",
    );
}

#[test]
fn what_waits_at_the_edge_is_wrong_once_it_waits_for_long_and_parked_at_once() {
    let spool = |change: fn(&mut edge::Region)| {
        move |world: &mut World| change(&mut world.edge().regions[1])
    };
    finds(
        spool(|region| region.parked = 1),
        "Wrong 1 record parked at the edge",
        "edge-records-parked.md",
    );
    finds(
        spool(|region| (region.waiting, region.oldest_seconds) = (12, 601.0)),
        "Wrong 12 records wait at the edge, the oldest for 10 min",
        "edge-spool-waits.md",
    );
    finds(
        spool(|region| region.used_ratio = 0.51),
        "Wrong a shard of its spool is 51.0 % full",
        "edge-spool-filling.md",
    );
    let mut world = world();
    (
        world.edge().regions[1].waiting,
        world.edge().regions[1].oldest_seconds,
    ) = (12, 600.0);
    assert_eq!(world.found(), [""; 0]);
}

#[test]
fn events_and_watermarks_are_judged_as_the_alerts_judge_them() {
    let core = |series: &'static str, value: &'static str| {
        move |world: &mut World| {
            let china = world.china();
            china.core = Answer::Given(CORE.to_owned());
            with(&mut china.core, series, value);
        }
    };
    finds(
        core(
            "pancake_events_unfinished{country=\"CN\",status=\"dead",
            "3",
        ),
        "Wrong dead letters of CN: 3",
        "pancake-dead-letters.md",
    );
    finds(
        core("pancake_events_unfinished_oldest_seconds", "301"),
        "Wrong events of CN wait for 5 min",
        "pancake-events-stuck.md",
    );
    finds(
        core("pancake_watermark_age_seconds", "1801"),
        "Wrong polling is 30 min behind: cn-main (lead) and 1 more",
        "pancake-watermark-stands-still.md",
    );
    let mut world = world();
    core("pancake_watermark_age_seconds", "1801")(&mut world);
    with(&mut world.china().core, "pancake_connection_status", "1");
    assert_eq!(world.found(), [""; 0], "nobody polls what is disabled");
    assert!(world.judge().regions[1].watermark.is_none());
    core("pancake_events_unfinished_oldest_seconds", "301")(&mut world);
    with(&mut world.china().core, "pancake_processing_paused", "1");
    assert_eq!(world.found(), ["Note processing is paused: CN"]);
}

#[test]
fn a_pause_is_told_and_is_not_wrong() {
    let mut world = world();
    let routes = json!({
        "version": 7,
        "countries": {"VN": "smp-asia", "TH": {"region": "smp-asia", "state": "paused"}, "CN": "smp-china"},
        "regions": {
            "smp-asia": {"origin": "https://core.asia.example.com", "state": "open"},
            "smp-china": {"origin": "https://core.china.example.com", "state": "paused"},
        },
    });
    world.routes = RouteTable::from_value(&routes).unwrap();
    let status = world.judge();
    assert!(status.is_well);
    assert_eq!(
        world.found(),
        ["Note TH is paused by itself", "Note its route is paused"]
    );
    assert_eq!(status.regions[0].route.state, RouteIs::Mixed);
    assert_eq!(status.regions[0].route.paused_countries, ["TH"]);
    assert_eq!(status.regions[1].route.state, RouteIs::Paused);
}

#[test]
fn a_region_that_serves_otherwise_than_counsel_saw_it_is_told_and_is_not_wrong() {
    let mut world = world();
    world.registry.regions[1].location.place = "Beijing".to_owned();
    assert!(world.judge().is_well);
    let found = world.found();
    assert!(
        found.len() == 1
            && found[0].starts_with("Note it serves without a leave: smp-china is not what "),
        "{found:?}"
    );
}

#[test]
fn what_could_not_be_asked_is_unknown_and_not_wrong() {
    let mut world = world();
    world.answers.version = Answer::Unasked("which edge?".to_owned());
    world.answers.edge = Answer::Unasked("which edge?".to_owned());
    world.china().core = Answer::Silent("answers 404".to_owned());
    world.china().replicator = Answer::Silent("timeout".to_owned());
    let status = world.judge();
    assert!(status.is_well, "{:?}", status.findings);
    assert_eq!(
        world.found(),
        [
            "Note the edge was not asked: which edge?",
            "Note its replicator gives no metrics: timeout",
            "Note its core gives no metrics: answers 404",
        ]
    );
    let screen = world.screen();
    assert!(
        screen.contains("smp-china  spoke  open   ready  ok      ?            ?           ?     ?       ?  ?                ?"
        ),
        "{screen}"
    );
    assert!(
        screen.ends_with("nothing is wrong in what could be seen\n"),
        "{screen}"
    );
    // On one machine there is no reason but that they are gone.
    world.is_local = true;
    assert!(!world.judge().is_well);
}

#[test]
fn an_edge_that_is_silent_or_has_other_routes_is_wrong() {
    finds(
        |world| world.answers.version = Answer::Given(6),
        "Wrong the edge has routes 6, wrangler.toml has 7",
        "smpctl route deploy --why WHY --yes",
    );
    finds(
        |world| {
            world.answers.version = Answer::Silent("timeout".to_owned());
            world.answers.edge = Answer::Silent("timeout".to_owned());
        },
        "Wrong the edge does not answer: timeout",
        "edge-metrics-gone.md",
    );
    finds(
        |world| world.answers.edge = Answer::Unasked("by which token?".to_owned()),
        "Note spool and requests are not known: by which token?",
        "",
    );
}

#[test]
fn what_is_wrong_stands_first_and_a_screen_shows_no_more_than_it_may() {
    let mut world = world();
    world.is_local = true;
    world.answers.edge = Answer::Unasked("by which token?".to_owned());
    with(
        &mut world.answers.regions[0].core,
        "pancake_kill_switch",
        "1",
    );
    with(
        &mut world.china().replicator,
        "replication_parked_records",
        "1",
    );
    let grades: Vec<_> = world.judge().findings.iter().map(|it| it.grade).collect();
    assert_eq!(grades, [Grade::Wrong, Grade::Note, Grade::Note]);
    let screen = screen(&world.judge(), &world.facts(), true, Some(1));
    assert!(
        screen.contains("\x1b[1;31mWRONG\x1b[0m smp-china: 1 record of master data"),
        "{screen}"
    );
    assert!(
        screen.ends_with("and 2 more: smpctl status --once\n"),
        "{screen}"
    );
}
