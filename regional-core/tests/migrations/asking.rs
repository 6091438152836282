//! `regional-core migrate down`, as an operator or a script runs it.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::data::fill;
use super::{database_at, last_applied};
use crate::support::database::TestDatabase;

fn down(database: &TestDatabase, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_regional-core"))
        .args(["migrate", "down"])
        .args(arguments)
        .env_clear()
        .env("CORE_OWNER_DATABASE_URL", database.owner_url())
        .stdin(Stdio::null())
        .output()
        .unwrap()
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
