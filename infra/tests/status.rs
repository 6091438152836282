//! `smpctl status` against cores, a replicator and an edge that answer as they are told to. A real platform is looked at
//! by hand: docs/operations.md, "All regions at a glance".

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected should end there; clippy.toml spares test functions only, \
              and these have helpers"
)]

#[path = "status/world.rs"]
mod world;

use std::time::{Duration, Instant};

use serde_json::json;
use world::{Answer, Terminal, World};

/// How long smpctl waits for anybody, as `status_command/ask.rs` says.
const LIMIT: Duration = Duration::from_secs(3);

#[test]
fn where_all_is_well_it_says_so_and_exits_with_0() {
    let world = World::new("well");
    let (code, screen) = world.screen(&["--once"]);
    assert_eq!(code, 0, "{screen}");
    assert!(screen.ends_with("\n\nnothing is wrong\n"), "{screen}");
    assert!(
        !screen.contains('?') && !screen.contains('\x1b'),
        "{screen}"
    );
    let (code, status) = world.json();
    assert_eq!((code, &status["is_well"]), (0, &json!(true)));
    assert_eq!(status["version_at_edge"], status["version"]);
    let china = &status["regions"][1];
    assert_eq!(china["region"], "smp-china");
    assert_eq!(china["core"]["state"], "ready");
    assert_eq!(china["master_data"]["lag_seconds"], 0.8);
    assert_eq!(china["master_data"]["tables"], "equal");
    assert_eq!(china["spool"]["waiting"], 0);
    assert_eq!(china["watermark"]["connection"], "cn-main");
    assert_eq!(china["requests_1h"], 96);
    assert_eq!(status["regions"][0]["requests_1h"], 1234);
}

#[test]
fn a_core_that_is_gone_is_wrong_and_the_other_regions_are_shown() {
    let world = World::new("gone");
    world.says("china", "/readyz", Answer::Closed);
    world.says("china", "/metrics", Answer::Closed);
    let (code, screen) = world.screen(&["--once"]);
    assert_eq!(code, 1, "{screen}");
    let row = |region: &str| {
        screen
            .lines()
            .find(|line| line.starts_with(region))
            .unwrap()
    };
    assert!(row("smp-china").contains("no answer"), "{screen}");
    assert!(row("smp-asia").contains("ready"), "{screen}");
    assert!(
        screen.contains("docs/runbook/core-target-down.md"),
        "{screen}"
    );
}

#[test]
fn whoever_hangs_costs_the_limit_once_and_holds_nobody_up() {
    let world = World::new("hangs");
    for (who, path) in [
        ("asia", "/readyz"),
        ("asia", "/metrics"),
        ("china", "/readyz"),
        ("china", "/metrics"),
        ("replicator", "/metrics"),
        ("edge", "/_edge/status"),
    ] {
        world.says(who, path, Answer::Hangs);
    }
    let began = Instant::now();
    let (code, status) = world.json();
    let took = began.elapsed();
    assert_eq!(code, 1);
    assert!(took >= LIMIT, "{took:?}: nobody hung");
    assert!(
        took < LIMIT * 2,
        "{took:?}: one was waited for after another"
    );
    for region in [0, 1] {
        assert_eq!(status["regions"][region]["core"]["state"], "no_answer");
        assert!(status["regions"][region]["dead_letters"].is_null());
    }
    assert_eq!(status["version_at_edge"], 7);
}

/// Records wait and are parked, a table differs, letters are dead.
fn much_goes_wrong(world: &World) {
    world.spool("smp-china", (12, 1_500.0, 2));
    world.replaces(
        "replicator",
        "/metrics",
        "\"tax_configs\"} 0",
        "\"tax_configs\"} 1",
    );
    world.replaces(
        "asia",
        "/metrics",
        "status=\"dead_letter\"} 0",
        "status=\"dead_letter\"} 3",
    );
}

#[test]
fn parked_records_a_differing_table_and_dead_letters_are_wrong_each_with_its_page() {
    let world = World::new("wrong");
    much_goes_wrong(&world);
    let (code, screen) = world.screen(&["--once"]);
    assert_eq!(code, 1, "{screen}");
    for line in [
        "WRONG smp-asia: dead letters of VN: 3 → docs/runbook/pancake-dead-letters.md",
        "WRONG smp-china: not the hub's: tax_configs → docs/runbook/master-data-table-differs.md",
        "WRONG smp-china: 2 records parked at the edge → docs/runbook/edge-records-parked.md",
        "      → docs/runbook/edge-spool-waits.md",
    ] {
        assert!(
            screen.lines().any(|shown| shown == line),
            "{line}\n{screen}"
        );
    }
    assert!(screen.contains("0.8s differs"), "{screen}");
    assert_eq!(world.json().0, 1);
}

/// Not the first line, which has the time.
#[test]
fn the_screen_in_the_documentation_is_what_is_printed() {
    let world = World::new("documented");
    much_goes_wrong(&world);
    world.replaces(
        "china",
        "/metrics",
        "pancake_processing_paused{country=\"CN\"} 0",
        "pancake_processing_paused{country=\"CN\"} 1",
    );
    let (_, screen) = world.screen(&["--once"]);
    let (_, below) = screen.split_once('\n').unwrap();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(
        page.contains(below),
        "docs/operations.md lacks this:\n{screen}"
    );
}

#[test]
fn its_help_has_examples() {
    let world = World::new("help");
    let output = world.production().arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let (_, examples) = help.split_once("Examples:").unwrap();
    assert!(examples.contains("smpctl status --local"), "{help}");
}

#[test]
fn without_a_token_what_the_edge_knows_is_unknown_and_nothing_is_wrong() {
    let world = World::new("token");
    // As in production, where the registry says who is where, and the environment which edge it is.
    let output = world
        .production()
        .env("EDGE_URL", world.origin("edge"))
        .args(["--once", "--json"])
        .output()
        .unwrap();
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{status:#}");
    assert_eq!(status["version_at_edge"], 7);
    assert!(status["regions"][0]["spool"].is_null());
    assert!(status["regions"][0]["requests_1h"].is_null());
    let what = status["findings"][0]["what"].as_str().unwrap();
    assert!(what.contains("EDGE_OPS_TOKEN"), "{what}");
    // The registry's replicator is nobody's here, and elsewhere it may be out of reach.
    assert_eq!(status["findings"][1]["grade"], "note");
    let told = world.asked("edge", "/_edge/status");
    assert_eq!(told, 0, "it was asked without a token");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let world = World::new("files");
    let output = world
        .production()
        .args(["--wrangler", "no.toml"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("no.toml"), "{said}");
    let output = world.production().arg("--local=nowhere").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("make up"), "{said}");
}

#[test]
fn a_terminal_is_redrawn_until_q_or_ctrl_c_and_is_then_what_it_was() {
    for key in [b'q', 3] {
        let world = World::new(&format!("terminal-{key}"));
        let mut terminal = Terminal::open();
        let mut smpctl = terminal.run(world.local().args(["--every", "1"]));
        terminal.read_until("nothing is wrong");
        assert!(terminal.seen.contains("\x1b[?1049h"), "{:?}", terminal.seen);
        assert!(
            terminal.seen.contains("\x1b[1mREGION"),
            "{:?}",
            terminal.seen
        );
        assert!(!terminal.is_as_before(), "keys would be shown");
        // It goes on by itself, and by what is so now.
        world.says("china", "/readyz", Answer::Closed);
        terminal.read_until("no answer");
        terminal.press(key);
        let ended = smpctl.wait().unwrap();
        assert!(ended.success(), "{ended:?}");
        terminal.read_until("\x1b[?1049l");
        assert!(terminal.is_as_before());
    }
}

#[test]
fn a_signal_gives_the_terminal_back_and_a_round_that_hangs_does_not_delay_it() {
    let world = World::new("signal");
    let mut terminal = Terminal::open();
    world.says("china", "/readyz", Answer::Hangs);
    let mut smpctl = terminal.run(&mut world.local());
    terminal.read_until("asking all regions");
    world.wait_until_asked("china", "/readyz");
    let began = Instant::now();
    Terminal::terminate(&smpctl);
    assert!(smpctl.wait().unwrap().success());
    assert!(began.elapsed() < LIMIT, "it waited for who hangs");
    terminal.read_until("\x1b[?1049l");
    assert!(terminal.is_as_before());
}

#[test]
fn no_color_takes_the_colours_and_once_the_redrawing() {
    let world = World::new("plain");
    let mut terminal = Terminal::open();
    let mut smpctl = terminal.run(world.local().arg("--once").env("NO_COLOR", "1"));
    assert!(smpctl.wait().unwrap().success());
    terminal.read_until("nothing is wrong");
    assert!(!terminal.seen.contains('\x1b'), "{:?}", terminal.seen);
}
