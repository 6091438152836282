//! A region is added, and `add` is killed.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Instant;

use nix::pty::openpty;

use crate::left::Writes;
use crate::tree::{SECRETS, Tree};
use crate::world::{ADD, World, said};

fn add() -> Vec<&'static str> {
    [ADD, &["--yes"]].concat()
}

/// How many times it is killed at some moment.
const ROUNDS: u32 = 40;

/// At which it may die, in order.
const STAGES: [&str; 5] = [
    "smp-asia stores",
    "smp-us stores",
    "smp-us services",
    "smp-asia services",
    "edge",
];

#[test]
fn a_region_is_added_from_nothing_and_again_changes_nothing() {
    let world = World::new("add");
    let before = world.tree();
    let planned = world.does(ADD);
    assert!(
        !planned.contains("→ smpctl region add"),
        "it names itself: {planned}"
    );
    world.tree().is(&before, "without --yes");
    world.does(&add());
    assert_eq!(world.applied(), STAGES);
    let tree = world.tree().comparable();
    for (path, expected) in [
        (
            "infra/regions/smp-us.toml",
            "644\n# The region of United States",
        ),
        ("infra/regions/smp-us.toml", "countries = [\"US\"]"),
        ("infra/rendered/mm2-smp-us.properties", "smp-us"),
        (
            "infra/rendered/relay-smp-asia.env",
            "smp-us=https://replicator.smp-us.example.com",
        ),
        (
            "infra/rendered/kubernetes/smp-us/services/core.yaml",
            "smp-us",
        ),
        ("wrangler.toml", "version = 2 "),
        ("wrangler.toml", "US = \"smp-us\""),
        (
            "wrangler.toml",
            "origin = \"https://core.smp-us.example.com\"\nstate = \"paused\"\nspool = \"sealed\"\n\
            sealing_key = \"<sealing key>\"",
        ),
        ("secrets/smp-us/", "700"),
        (
            "secrets/smp-us/core.env",
            "600\nCORE_DATABASE_URL=postgres://core_app:<core.env 0>@postgres-rw.smp-us.svc/smp?",
        ),
        (
            "secrets/smp-us/core.env",
            "CORE_HOP_SECRETS={\"smp-us-1\":\"<core.env 1>\"}",
        ),
        ("secrets/smp-us/core.env", "CORE_JWT_ISSUER=smpctl\n"),
        ("secrets/edge.json", "600\n"),
        (
            "secrets/edge.json",
            "\\\"smp-us\\\":{\\\"keyid\\\":\\\"smp-us-1\\\",\\\"secret\\\":\\\"<core.env 1>\\\"}",
        ),
        (
            "secrets/smp-us/replicator.env",
            "REPLICATOR_HUB_SECRETS={\"smp-us-1\":\"<replicator.env 1>\"}",
        ),
        ("secrets/smp-asia/replicator.env", "600\n"),
        (
            "secrets/smp-asia/replicator.env",
            "\"smp-us\":{\"keyid\":\"smp-us-1\",\"secret\":\"<replicator.env 1>\"}",
        ),
        (
            "run/routes.jsonl",
            "Anna region smp-us is added add region smp-us 2",
        ),
    ] {
        let text = tree
            .get(path)
            .unwrap_or_else(|| panic!("{path} is not there"));
        assert!(
            text.contains(expected),
            "{path}: {expected} is not in: {text}"
        );
    }
    assert!(
        tree.get("run/routes.jsonl").unwrap().ends_with("true\n"),
        "it is not confirmed"
    );
    assert_eq!(tree.get("applied/edge.json"), tree.get("secrets/edge.json"));
    for file in SECRETS {
        let made = tree.get(&format!("secrets/smp-us/{file}"));
        assert_eq!(tree.get(&format!("applied/smp-us/{file}")), made);
    }
    assert_eq!(
        world.stubs.probes().len(),
        1,
        "one record is kept, and once"
    );
    world.edge_was_never_down();

    let made = world.tree();
    for _ in 0..2 {
        world.does(&add());
        world.tree().is(&made, "again");
    }
    assert_eq!(world.applied(), STAGES, "nothing is put in force again");
    assert_eq!(world.stubs.probes().len(), 1);
}

#[test]
fn what_a_regions_file_says_counts_before_flags() {
    let world = World::new("add-otherwise");
    world.does(&add());
    let made = world.tree();
    for (flag, value) in [
        ("--name", "Canada"),
        ("--domain", "other.example.com"),
        ("--brokers", "1"),
        ("--images", "registry.example.com/other"),
        ("--leaves-from", "203.0.113.9/32"),
        ("--storage-class", "slow"),
    ] {
        let said = world.refuses(&["add", "smp-us", flag, value, "--yes"]);
        assert!(
            said.contains("says otherwise") && said.contains(flag) && said.contains(value),
            "{said}"
        );
        world.tree().is(&made, flag);
    }
}

#[test]
fn what_a_flag_says_is_judged_before_anything_is_looked_at() {
    let world = World::new("add-flags");
    for (flag, value, told) in [
        ("--domain", "SMP us", "as smp-us.example.com"),
        ("--domain", "localhost", "as smp-us.example.com"),
        ("--leaves-from", "198.51.100.30", "as 198.51.100.7/32"),
        ("--leaves-from", "0.0.0.0/0", "not all"),
        (
            "--images",
            "registry.example.com/smp:1",
            "without a version",
        ),
        ("--storage-class", "GP 3", "a name of Kubernetes"),
        ("--name", "United\nStates", "a text on one line"),
        ("--place", " ", "a text on one line"),
    ] {
        let refused = world.run(&["add", "smp-us", flag, value]);
        assert_eq!(refused.status.code(), Some(2), "{flag} {value}");
        let refused = said(&refused);
        assert!(
            refused.contains(flag) && refused.contains(told),
            "{flag} {value}: {refused}"
        );
    }
}

#[test]
fn on_a_terminal_what_no_flag_says_is_asked_until_it_can_be_read() {
    let world = World::new("add-asked");
    let ask = |answers: &str| {
        let terminal = openpty(None, None).unwrap();
        let mut keys = File::from(terminal.master);
        keys.write_all(answers.as_bytes()).unwrap();
        let mut command = world.command(&["add", "smp-us"]);
        command.stdin(terminal.slave).output().unwrap()
    };
    let planned =
        ask("US,U1\nUS, CA\n\nThe 'US'\nAWS\nOregon\nSMP us\n\n\n10.0.0.1\n198.51.100.30/32\n");
    assert!(planned.status.success(), "{}", said(&planned));
    let told = said(&planned);
    for expected in [
        "U1: a country is two letters",
        "10.0.0.1: an address range is expected",
        "countries = [\"US\", \"CA\"]",
        "what was answered, as flags: --countries 'US' --countries 'CA' --name 'The '\\''US'\\''' --provider 'AWS' --place \
         'Oregon' --domain 'smp-us.example.com' --storage-class 'gp3' --leaves-from '198.51.100.30/32'\n",
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    // Ctrl-D.
    let ended = ask("US\n\u{4}");
    let told = said(&ended);
    assert!(
        ended.status.code() == Some(1) && told.contains("not known yet: --name, --provider,"),
        "{told}"
    );
    assert!(!told.contains("Who runs"), "it asks on: {told}");
}

#[test]
fn killed_where_a_stage_is_put_in_force_the_same_command_goes_on_to_the_same_end() {
    let world = World::new("add-killed-at");
    let before = world.tree();
    world.add();
    let expected = world.tree().comparable();
    for place in STAGES
        .iter()
        .flat_map(|stage| [format!("before {stage}"), format!("after {stage}")])
    {
        world.reset();
        let killed = world.killed_at(&add(), &place);
        assert_eq!(killed.status.signal(), Some(9), "{place}: {killed:?}");
        goes_on(&world, (&before, &expected), &place);
    }
}

#[test]
fn whatever_a_kill_left_of_it_the_same_command_goes_on_to_the_same_end() {
    let world = World::new("add-left");
    let before = world.tree();
    world.save("before");
    world.add();
    world.save("after");
    let expected = world.tree().comparable();
    let writes = Writes::new(
        &world,
        ("before", "after"),
        &[
            "infra/regions/smp-us.toml",
            "infra/rendered",
            "secrets/smp-us/core.env",
            "secrets/smp-us/core-setup.env",
            "secrets/smp-us/replicator.env",
            "secrets/smp-us/replicator-setup.env",
            "secrets/edge.json",
            "secrets/smp-asia/replicator.env",
            "applied/smp-asia/kafka-users.yaml",
            "applied/smp-us/kafka-users.yaml",
            "applied/smp-us",
            "run/cores.json",
            "run/platform.env",
            "applied/smp-asia/relay.env",
            "applied/smp-asia/replicator.env",
            "applied/edge.json",
            "run/routes.jsonl+1",
            "wrangler.toml",
            "run/wrangler.toml",
            "run/routes.jsonl+1",
        ],
    );
    for cut in writes.cuts() {
        let when = writes.leave(&world, cut);
        goes_on(&world, (&before, &expected), &when);
    }
}

#[test]
fn killed_at_any_moment_the_same_command_goes_on_to_the_same_end() {
    let world = World::new("add-killed");
    let before = world.tree();
    let began = Instant::now();
    world.add();
    let whole = began.elapsed();
    let expected = world.tree().comparable();
    let mut stages = [0; 6];
    for round in 0..ROUNDS {
        world.reset();
        // Evenly over all the time that it takes, and a little more.
        let part = f64::from(round) / f64::from(ROUNDS) * 1.1;
        world.killed_after(&add(), whole.mul_f64(part));
        let reached = if world.folder.join("stage/log").exists() {
            world.applied().len()
        } else {
            0
        };
        stages[reached] += 1;
        let when = format!("after {part:.3} of it, {reached} stages");
        goes_on(&world, (&before, &expected), &when);
    }
    eprintln!("killed {stages:?} times before each stage and after all, of {whole:?}");
}

/// The same command ends well, and takes what is there for what it is.
#[track_caller]
fn goes_on(world: &World, (before, expected): (&Tree, &Tree), when: &str) {
    world.edge_was_never_down();
    let left = world.tree();
    left.clone().comparable().is_between(before, expected, when);
    let secrets = SECRETS.map(|file| format!("secrets/smp-us/{file}"));
    let made = secrets.iter().filter(|path| left.get(path).is_some());
    world.does(&add());
    let now = world.tree();
    for path in made {
        assert_eq!(
            left.get(path),
            now.get(path),
            "{when}: {path} was made anew"
        );
    }
    now.comparable().is(expected, when);
    assert_eq!(world.stubs.probes().len(), 1, "{when}");
    world.edge_was_never_down();
}
