//! `smpctl rollback`, as far as it needs no edge and no database. With them it is tested in `tests/e2e/recovery.rs`.

#![expect(
    clippy::unwrap_used,
    reason = "a test that meets the unexpected should end there; clippy.toml spares test functions only, \
              and these have helpers"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn smpctl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_smpctl"))
        .arg("rollback")
        .args(arguments)
        .env_remove("EDGE_URL")
        .env("SMP_STAFF_TOKEN", "nobody")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap()
}

fn refused(arguments: &[&str]) -> String {
    let output = smpctl(arguments);
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn an_address_of_readiness_that_is_none_is_refused_before_anything_is_run() {
    let witness = folder("rollback-ready").join("ran");
    let run = format!("touch {}", witness.display());
    for ready in ["nonsense", "ftp://127.0.0.1/readyz", "/readyz"] {
        let said = refused(&["service", "--run", &run, "--ready", ready, "--yes"]);
        assert!(
            said.contains("--ready") && said.contains("https://HOST"),
            "{said}"
        );
    }
    assert!(!witness.exists());
}

/// Answers everything with 200: readiness and, if `has_metrics`, a process that started long ago; until it is told to
/// be another one.
fn service(has_metrics: bool, is_new: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ready = format!("http://{}/readyz", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            while !lines.next().unwrap().unwrap().is_empty() {}
            let started_at = if is_new.load(Ordering::SeqCst) {
                1_795_410_000
            } else {
                1_795_000_000
            };
            let (status, body) = if !first.contains("/metrics") {
                ("200 OK", String::new())
            } else if has_metrics {
                (
                    "200 OK",
                    format!("process_start_time_seconds {started_at}\n"),
                )
            } else {
                ("404 Not Found", String::new())
            };
            let _closed = write!(
                stream,
                "HTTP/1.1 {status}\r\nDate: Mon, 23 Nov 2026 05:00:00 GMT\r\nConnection: close\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
        }
    });
    ready
}

#[test]
fn a_service_that_was_not_seen_to_change_is_not_done() {
    let is_new = Arc::new(AtomicBool::new(false));
    for (has_metrics, why) in [(true, "started after"), (false, "never seen not ready")] {
        let ready = service(has_metrics, Arc::clone(&is_new));
        let said = refused(&[
            "service",
            "--run",
            "true",
            "--ready",
            &ready,
            "--within-secs",
            "0",
            "--yes",
        ]);
        assert!(
            said.contains("not seen to change") && said.contains(why),
            "{said}"
        );
    }
    let ready = service(true, Arc::clone(&is_new));
    let witness = folder("rollback-service").join("ran");
    let run = format!("touch {}", witness.display());
    let changing = std::thread::spawn({
        let witness = witness.clone();
        move || {
            while !witness.exists() {
                std::thread::yield_now();
            }
            is_new.store(true, Ordering::SeqCst);
        }
    });
    let done = smpctl(&["service", "--run", &run, "--ready", &ready, "--yes"]);
    changing.join().unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(
        done.status.success() && said.contains("tier 2 done"),
        "{said}"
    );
}

#[test]
fn a_migration_is_taken_back_in_a_whole_region_that_the_registry_knows() {
    let migration = |country, other| {
        refused(&[
            "migration",
            "--to",
            "1",
            "--backup",
            "x",
            "--country",
            country,
            "--country",
            other,
            "--core",
            "/nowhere",
        ])
    };
    assert!(migration("ZZ", "ZZ").contains("no region of the registry has it"));
    assert!(migration("VN", "CN").contains("not in smp-asia"));
    assert!(migration("VN", "TH").contains("--core says where it is"));
}

#[test]
fn an_edge_whose_address_is_none_is_named() {
    let said = refused(&[
        "switch",
        "--edge",
        "nonsense",
        "--country",
        "VN",
        "--kill-switch",
        "on",
    ]);
    assert!(said.contains("--edge is no address"), "{said}");
    let output = Command::new(env!("CARGO_BIN_EXE_smpctl"))
        .args(["job", "list", "--country", "VN"])
        .env("EDGE_URL", "nonsense")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("EDGE_URL is no address"), "{said}");
}
