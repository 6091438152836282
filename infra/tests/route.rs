//! `smpctl route`, killed wherever it can be: the same command again ends where one that nobody killed does. The edge
//! has in force what was copied to it; with a real one routes are changed in `tests/e2e/flips.rs`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected should end there; clippy.toml spares test functions only, \
              and these have helpers"
)]

#[path = "common/http.rs"]
mod http;
#[path = "route/world.rs"]
mod world;

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Instant;

use world::{BEFORE, DEPLOY, World};

const FLIP: &[&str] = &["flip", "VN", "--to", "smp-china"];
const REVERT: &[&str] = &["revert"];

/// How many times each of four changes is killed at some moment.
const ROUNDS: usize = 15;

/// The table after so many changes.
fn flipped(version: u32) -> String {
    unflipped(version).replace("VN = \"smp-asia\"", "VN = \"smp-china\"")
}

fn unflipped(version: u32) -> String {
    BEFORE.replace("version = 1 ", &format!("version = {version} "))
}

/// What a kill may leave on disk, and at the edge.
struct Left {
    history: Vec<u8>,
    file: String,
    in_force: String,
    /// Of a file that was about to be replaced.
    half: Option<String>,
}

/// All that one change can leave, in the order in which it gets there. `entry` and `confirmation` are its two lines.
fn all_that_may_be_left(
    (earlier, entry, confirmation): (&str, &str, &str),
    (before, after): (&str, &str),
) -> Vec<Left> {
    let left = |history: &str, cut: usize, file: &str, in_force: &str| Left {
        history: history.as_bytes()[..cut].to_vec(),
        file: file.to_owned(),
        in_force: in_force.to_owned(),
        half: None,
    };
    // Its first byte, its last ones and some between them.
    let cuts = |line: &str| {
        let last = line.len();
        let some = (0..last).step_by(67).chain([last - 2, last - 1, last]);
        some.collect::<Vec<_>>()
    };
    let (begun, confirmed) = (
        format!("{earlier}{entry}"),
        format!("{earlier}{entry}{confirmation}"),
    );
    let mut all = Vec::new();
    for cut in cuts(entry) {
        all.push(left(&begun, earlier.len() + cut, before, before));
    }
    for half in ["", &after[..after.len() / 2], after] {
        all.push(Left {
            half: Some(half.to_owned()),
            ..left(&begun, begun.len(), before, before)
        });
    }
    all.push(left(&begun, begun.len(), after, before));
    for cut in cuts(confirmation) {
        // All of a confirmation but its end is one: there is nothing left to do.
        if cut + 1 < confirmation.len() {
            all.push(left(&confirmed, begun.len() + cut, after, after));
        }
    }
    all
}

impl World {
    fn leave(&self, left: &Left) {
        fs::write(self.folder.join("history.jsonl"), &left.history).unwrap();
        fs::write(self.folder.join("wrangler.toml"), &left.file).unwrap();
        fs::write(self.folder.join("applied/wrangler.toml"), &left.in_force).unwrap();
        let half = self.folder.join(".wrangler.toml.smpctl");
        match &left.half {
            Some(text) => fs::write(half, text).unwrap(),
            None => assert!(!half.exists(), "it is left behind"),
        }
    }
}

#[test]
fn whatever_a_kill_left_of_a_flip_the_same_flip_goes_on_and_revert_takes_it_back() {
    let world = World::new("left-of-a-flip", DEPLOY);
    world.does(FLIP);
    let history = world.text("history.jsonl");
    let (entry, confirmation) = history.split_at(history.find('\n').unwrap() + 1);
    let all = all_that_may_be_left(("", entry, confirmation), (BEFORE, &flipped(2)));
    for (number, left) in all.iter().enumerate() {
        world.leave(left);
        world.does(FLIP);
        world.is_at(&flipped(2), &["flip VN to smp-china"], number);
        // The history can still be read, and added to.
        world.does(REVERT);
        world.is_at(&unflipped(3), &["flip VN to smp-china", "revert"], number);

        world.leave(left);
        let was_made = left.file != BEFORE;
        // All of its line but the end.
        let was_begun = left.history.len() + 1 >= entry.len();
        let reverted = world.run(REVERT);
        assert_eq!(
            reverted.status.success(),
            was_begun,
            "{number}: {reverted:?}"
        );
        let expected = if was_made {
            unflipped(3)
        } else {
            BEFORE.to_owned()
        };
        assert_eq!(world.text("wrangler.toml"), expected, "{number}");
        assert_eq!(world.text("applied/wrangler.toml"), expected, "{number}");
        // As the next one would.
        let _ = fs::remove_file(world.folder.join(".wrangler.toml.smpctl"));
    }
}

#[test]
fn whatever_a_kill_left_of_a_revert_the_same_revert_goes_on_and_the_change_before_it_stays() {
    let world = World::new("left-of-a-revert", DEPLOY);
    world.does(&["pause", "CN"]);
    world.does(FLIP);
    let earlier = world.text("history.jsonl");
    let before = world.text("wrangler.toml");
    world.does(REVERT);
    let after = world.text("wrangler.toml");
    let history = world.text("history.jsonl");
    let added = history.strip_prefix(&earlier).unwrap();
    let (entry, confirmation) = added.split_at(added.find('\n').unwrap() + 1);
    let all = all_that_may_be_left((&earlier, entry, confirmation), (&before, &after));
    for (number, left) in all.iter().enumerate() {
        world.leave(left);
        world.does(REVERT);
        let changes = ["pause CN", "flip VN to smp-china", "revert"];
        world.is_at(&after, &changes, number);
        world.does(REVERT);
        world.is_at(&unflipped(5), &[&changes[..], &["revert"]].concat(), number);
    }
}

#[test]
fn a_change_that_was_begun_and_never_made_is_struck_out_and_the_one_before_it_stays() {
    let world = World::new("never-made", DEPLOY);
    world.does(&["pause", "CN"]);
    let (paused, history) = (world.text("wrangler.toml"), world.text("history.jsonl"));
    world.does(FLIP);
    let all = world.text("history.jsonl");
    let entry = all.strip_prefix(&history).unwrap().lines().next().unwrap();
    world.leave(&Left {
        history: format!("{history}{entry}\n").into(),
        file: paused.clone(),
        in_force: paused.clone(),
        half: None,
    });
    let done = world.run(REVERT);
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(
        said.contains("'flip VN to smp-china'") && said.contains("is struck out"),
        "{said}"
    );
    world.is_at(&paused, &["pause CN"], 0);
    world.does(REVERT);
    world.is_at(&unflipped(3), &["pause CN", "revert"], 1);
}

#[test]
fn an_edge_with_a_newer_table_is_left_alone_and_deploy_puts_the_file_in_force() {
    let world = World::new("newer", DEPLOY);
    world.does(&["pause", "CN"]);
    let newer = world.text("wrangler.toml");
    // As in another checkout, which was not brought up to date.
    fs::write(world.folder.join("wrangler.toml"), BEFORE).unwrap();
    let stale = world.unforced(FLIP);
    let told = String::from_utf8(stale.stdout).unwrap();
    assert!(
        !stale.status.success() && told.contains("it has version 2, and this file is of version 1"),
        "{told}"
    );
    assert_eq!(world.text("wrangler.toml"), BEFORE);
    assert_eq!(world.text("applied/wrangler.toml"), newer);

    // Who means it gets a version that no other table has.
    world.does(FLIP);
    assert_eq!(world.text("wrangler.toml"), flipped(3));
    assert_eq!(world.text("applied/wrangler.toml"), flipped(3));

    let merged = newer.replace("version = 2 ", "version = 7 ");
    fs::write(world.folder.join("wrangler.toml"), &merged).unwrap();
    world.does(&["deploy"]);
    assert_eq!(world.text("applied/wrangler.toml"), merged);
    let made = ["pause CN", "flip VN to smp-china"];
    assert_eq!(world.confirmed(), made.map(|made| (made.to_owned(), true)));
}

#[test]
fn a_change_that_cannot_be_written_is_struck_out_and_a_revert_is_of_the_one_before() {
    let world = World::new("unwritable", DEPLOY);
    world.does(FLIP);
    // Where the new text would be put first.
    fs::create_dir(world.folder.join(".wrangler.toml.smpctl")).unwrap();
    let refused = world.run(&["pause", "CN"]);
    assert!(!refused.status.success(), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("it is struck out of the history"), "{said}");
    let flip = ("flip VN to smp-china".to_owned(), true);
    assert_eq!(world.confirmed(), std::slice::from_ref(&flip));
    assert_eq!(world.text("wrangler.toml"), flipped(2));
    fs::remove_dir(world.folder.join(".wrangler.toml.smpctl")).unwrap();
    world.does(REVERT);
    assert_eq!(world.text("wrangler.toml"), unflipped(3));
}

#[test]
fn killed_before_or_after_its_deployment_it_goes_on() {
    for (name, dies) in [
        ("dies-before", "kill -KILL $PPID; exit"),
        (
            "dies-after",
            "cp wrangler.toml applied/new && mv applied/new applied/wrangler.toml; kill -KILL $PPID",
        ),
    ] {
        let once = format!("if [ ! -e died ]; then touch died; {dies}; exit; fi; {DEPLOY}");
        let world = World::new(name, &once);
        let killed = world.run(FLIP);
        assert_eq!(killed.status.signal(), Some(9), "{name}: {killed:?}");
        assert_eq!(world.text("wrangler.toml"), flipped(2), "{name}");
        world.does(FLIP);
        world.is_at(&flipped(2), &["flip VN to smp-china"], 0);
    }
}

#[test]
fn killed_while_the_edge_has_not_confirmed_it_it_goes_on() {
    let world = World::new("unconfirmed", DEPLOY);
    world.edge.is_held_back(true);
    let mut killed = world.command(FLIP).spawn().unwrap();
    world.edge.wait_until_asked_in_vain();
    killed.kill().unwrap();
    assert_eq!(killed.wait().unwrap().signal(), Some(9));
    assert_eq!(
        world.confirmed(),
        [("flip VN to smp-china".to_owned(), false)]
    );
    world.edge.is_held_back(false);
    world.does(FLIP);
    world.is_at(&flipped(2), &["flip VN to smp-china"], 0);
}

#[test]
fn a_command_that_does_not_deploy_leaves_what_the_same_command_goes_on_with() {
    let world = World::new("undeployed", &format!("[ -e mended ] || exit 3; {DEPLOY}"));
    let failed = world.run(FLIP);
    let said = String::from_utf8(failed.stderr).unwrap();
    assert!(
        !failed.status.success() && said.contains("run the same command again"),
        "{said}"
    );
    assert_eq!(world.text("applied/wrangler.toml"), BEFORE);
    fs::write(world.folder.join("mended"), "").unwrap();
    world.does(FLIP);
    world.is_at(&flipped(2), &["flip VN to smp-china"], 0);
}

#[test]
fn an_edge_that_leads_elsewhere_confirms_nothing_however_often_it_is_asked() {
    let world = World::new("misleading", DEPLOY);
    world.edge.is_misleading(true);
    for _ in 0..2 {
        let arguments = [FLIP, &["--patience-secs", "1"]].concat();
        let failed = world.run(&arguments);
        let said = String::from_utf8(failed.stdout).unwrap();
        assert!(!failed.status.success(), "{said}");
        assert!(
            said.contains("expected 200 smp-china, found 200 smp-asia"),
            "{said}"
        );
    }
    world.edge.is_misleading(false);
    world.does(FLIP);
    world.is_at(&flipped(2), &["flip VN to smp-china"], 0);
}

#[test]
fn killed_at_any_moment_the_same_command_ends_in_the_same_table_with_one_entry_and_one_version() {
    let world = World::new("any-moment", DEPLOY);
    let changes: [&[&str]; 4] = [
        &["pause", "smp-china"],
        &["open", "smp-china"],
        FLIP,
        &["flip", "VN", "--to", "smp-asia"],
    ];
    let tables = |version: u32| {
        let text = unflipped(version);
        match version % 4 {
            2 => text.replace("state = \"open\" # china", "state = \"paused\" # china"),
            0 => flipped(version),
            _ => text,
        }
    };
    // How long it takes if nobody disturbs it.
    let took = changes.map(|change| {
        let began = Instant::now();
        world.does(change);
        began.elapsed()
    });
    let whole = took.into_iter().min().unwrap();
    let mut seen = [0; 4];
    let rounds = std::iter::repeat_n(changes, ROUNDS).flatten();
    for (version, change) in (5..).zip(rounds) {
        let before = world.text("wrangler.toml");
        assert_eq!(before, tables(version));
        // Evenly over all the time that it takes, and a little more.
        let part = (f64::from(version) * 0.618_034).fract() * 1.1;
        let killed = world.killed_after(change, whole.mul_f64(part));
        let left = world.text("wrangler.toml");
        let after = tables(version + 1);
        assert!(
            left == before || left == after,
            "{version}: half a file: {left}"
        );
        let is_begun = world.confirmed().len() == version as usize;
        let is_in_force = world.text("applied/wrangler.toml") == after;
        seen[usize::from(is_begun) + usize::from(left == after) + usize::from(is_in_force)] += 1;
        world.does(change);
        let history = world.confirmed();
        assert_eq!(history.len(), version as usize, "{killed:?} {history:?}");
        assert!(
            history.iter().all(|(_, is_confirmed)| *is_confirmed),
            "{history:?}"
        );
        assert_eq!(world.text("wrangler.toml"), after, "{killed:?}");
        assert_eq!(world.text("applied/wrangler.toml"), after, "{killed:?}");
    }
    eprintln!("killed {seen:?} times before the entry, the edit, the deployment, and after it");
}
