//! `smpctl edge`, as far as it needs no edge. With one it is tested in `tests/e2e/watching.rs`.

#![expect(
    clippy::unwrap_used,
    reason = "a test that meets the unexpected should end there; clippy.toml spares test functions only, \
              and these have helpers"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use protocol::ops::{OpsTokens, Scope};

fn smpctl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_smpctl"))
        .arg("edge")
        .args(arguments)
        .env_remove("EDGE_URL")
        .env_remove("EDGE_OPS_TOKEN")
        .output()
        .unwrap()
}

#[test]
fn a_token_is_made_once_and_its_entry_lets_in_who_has_it() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ops-token");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("token");
    let path = file.to_str().unwrap();
    let make = || smpctl(&["token", "--name", "anna", "--token", path, "--admin"]);
    let output = make();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let token = fs::read_to_string(&file).unwrap();
    let entry = String::from_utf8(output.stdout).unwrap();
    assert!(!entry.contains(token.trim()), "the token itself is printed");
    let tokens = OpsTokens::from_json(&format!("[{entry}]")).unwrap();
    let shown = format!("Bearer {}", token.trim());
    let holder = tokens.holder_of(Some(&shown));
    assert_eq!(holder.map(|(_, scope)| scope), Some(Scope::Admin));

    assert!(!make().status.success(), "it would replace a token");
    assert_eq!(fs::read_to_string(&file).unwrap(), token);
}

#[test]
fn what_is_missing_is_named() {
    for (arguments, expected) in [
        (&["status"][..], "--edge or EDGE_URL"),
        (
            &["status", "--edge", "http://127.0.0.1:1"],
            "--token-file or EDGE_OPS_TOKEN",
        ),
        (
            &[
                "smoke",
                "--edge",
                "http://127.0.0.1:1",
                "--wrangler",
                "no.toml",
            ],
            "no.toml",
        ),
        (
            &[
                "smoke",
                "--edge",
                "http://127.0.0.1:1",
                "--wrangler",
                "../wrangler.toml",
                "--environment",
                "x",
            ],
            "no environment x",
        ),
    ] {
        let output = smpctl(arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && text.contains(expected),
            "{arguments:?}: {text}"
        );
    }
}

#[test]
fn a_deployment_that_is_not_there_fails_the_smoke_test() {
    let arguments = [
        "smoke",
        "--edge",
        "http://127.0.0.1:1",
        "--wrangler",
        "../wrangler.toml",
        "--json",
    ];
    let output = smpctl(&arguments);
    assert!(!output.status.success());
    let steps: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        steps.len() > 2 && steps.iter().all(|step| step["is_right"] == false),
        "{steps:?}"
    );
}
