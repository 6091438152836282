//! `regional-core migrate down`, as an operator or a script runs it.

use std::fs::File;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::data::fill;
use super::{database_at, last_applied};
use crate::support::database::TestDatabase;

fn down_command(database: &TestDatabase, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_regional-core"));
    command
        .args(["migrate", "down"])
        .args(arguments)
        .env_clear()
        .env("CORE_OWNER_DATABASE_URL", database.owner_url());
    command
}

fn down(database: &TestDatabase, arguments: &[&str]) -> Output {
    down_command(database, arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// As somebody at a terminal, who types `answer`.
fn down_at_a_terminal(database: &TestDatabase, answer: &str) -> Output {
    let terminal = nix::pty::openpty(None, None).unwrap();
    let child = down_command(database, &[])
        .stdin(Stdio::from(terminal.slave))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The terminal keeps the line until it is read.
    let mut keyboard = File::from(terminal.master);
    writeln!(keyboard, "{answer}").unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn without_a_terminal_it_shows_and_needs_yes() {
    let (database, owner) = database_at(10).await;
    fill(&database).await;

    let refused = down(&database, &["--to", "5"]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let plan = text(&refused.stdout);
    assert_eq!(plan.lines().count(), 5, "{plan}");
    assert!(plan.contains("drops pancake_source (3 rows)"), "{plan}");
    assert_eq!(
        text(&refused.stderr),
        "there is no terminal to ask at: --yes takes them back\nnothing was changed\n"
    );
    assert_eq!(last_applied(&owner).await, 10);

    let as_json = down(&database, &["--to", "5", "--json"]);
    assert_eq!(as_json.status.code(), Some(2));
    let plan: Value = serde_json::from_slice(&as_json.stdout).unwrap();
    let of_0006 = &plan["migrations"][4];
    assert_eq!(of_0006["version"], 6);
    assert_eq!(of_0006["form"], "hard");
    assert_eq!(of_0006["effects"][2]["what"], "drops pancake_source");
    assert_eq!(of_0006["effects"][2]["rows"], 3);
    assert_eq!(last_applied(&owner).await, 10);

    let done = down(&database, &["--to", "5", "--yes"]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let notes: Vec<&str> = text(&done.stderr).lines().collect();
    assert_eq!(notes.len(), 5, "{notes:?}");
    assert!(notes[0].starts_with("took back 0010 "), "{notes:?}");
    assert!(notes[4].starts_with("took back 0006 "), "{notes:?}");
    assert_eq!(last_applied(&owner).await, 5);

    let nothing = down(&database, &["--to", "5"]);
    assert_eq!(nothing.status.code(), Some(0));
    assert_eq!(text(&nothing.stderr), "nothing to take back\n");
}

#[tokio::test]
async fn at_a_terminal_the_databases_name_is_what_agrees() {
    let (database, owner) = database_at(10).await;
    let url = database.owner_url();
    let (_, name) = url.rsplit_once('/').unwrap();
    let name = name.split('?').next().unwrap();
    for answer in ["", "y", "postgres"] {
        let refused = down_at_a_terminal(&database, answer);
        assert_eq!(refused.status.code(), Some(2), "{answer:?}: {refused:?}");
        let notes = text(&refused.stderr);
        assert!(
            notes.starts_with("Type the name of the database"),
            "{notes}"
        );
        assert!(notes.ends_with("nothing was changed\n"), "{notes}");
        assert_eq!(last_applied(&owner).await, 10);
    }
    let done = down_at_a_terminal(&database, name);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert_eq!(last_applied(&owner).await, 9);
}

#[tokio::test]
async fn the_events_are_lost_only_where_that_was_said() {
    let (database, owner) = database_at(10).await;
    fill(&database).await;
    assert_eq!(
        down(&database, &["--to", "1", "--yes"]).status.code(),
        Some(0)
    );
    let refused = down(&database, &["--yes"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("--to 0"), "{refused:?}");
    assert_eq!(last_applied(&owner).await, 1);

    let done = down(&database, &["--to", "0", "--yes"]);
    assert_eq!(done.status.code(), Some(0));
    assert!(text(&done.stdout).contains("drops pancake_webhook_event (2 rows)"));
    assert_eq!(last_applied(&owner).await, 0);
}
