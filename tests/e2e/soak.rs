//! The edge with all that it is deployed with, as fast as it goes: every answer is the one that Node's crypto
//! found before, and its memory stays flat.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use platform::checkout;
use platform::pancake::DemoConnection;
use platform::ports::{Listener, Ports};
use platform::secrets::{random_bytes, random_hex};
use protocol::sealed::OpeningKey;
use serde_json::json;

use crate::differential::{connections, independent, to_lines};
use crate::support::lifetime;
use crate::support::workerd::{Binding, Workerd};

/// How long the long story takes, if `SMP_EDGE_SOAK_MINUTES` does not say otherwise.
const MINUTES: f64 = 10.0;

/// How long the short one does: enough for webhooks of each kind, too short for a word on memory.
const SECONDS: u32 = 5;

/// As `wrangler.toml` has it bound, before a core on a port; and addresses from which nothing is taken.
async fn start_edge(name: &str, connections: &[DemoConnection], core_port: u16) -> Workerd {
    let countries: serde_json::Map<_, _> = connections
        .iter()
        .map(|connection| (connection.country.to_owned(), json!("smp-asia")))
        .collect();
    let sealing = OpeningKey::derive("nobodys", &random_bytes().unwrap()).unwrap();
    let routes = json!({
        "version": 1,
        "countries": countries,
        "regions": {"smp-asia": {
            "origin": format!("http://127.0.0.1:{core_port}"), "state": "open",
            "spool": "sealed", "sealing_key": sealing.sealing_key().to_string(),
        }},
    });
    let hop = json!({"smp-asia": {"keyid": "smp-asia-1", "secret": random_hex().unwrap()}});
    let blocked = json!(["198.51.100.0/24"]);
    let bindings = [
        ("ROUTES", Binding::Json(routes.to_string())),
        ("HOP_SECRETS", Binding::Text(hop.to_string())),
        (
            "CONNECTIONS",
            Binding::Connections(DemoConnection::to_entries(connections)),
        ),
        ("SPOOL", Binding::DurableObjects("SpoolShard")),
        ("METRICS", Binding::DurableObjects("EdgeMetrics")),
        ("BLOCKED_ADDRESSES", Binding::Text(blocked.to_string())),
        // Counts as the one that is deployed does, and is never reached.
        ("RATE_LIMIT", Binding::RateLimit(u32::MAX)),
    ];
    let entry = checkout::root().join("edge-worker/entry.js");
    Workerd::start(name, &entry, &bindings).await
}

async fn play(name: &str, arguments: &[&str]) {
    lifetime::run_directory();
    let connections = connections();
    let core_port = Ports::Free.take(Listener::Core(0), "a core").unwrap();
    let edge = start_edge(name, &connections, core_port).await;
    let file = edge.directory.join("connections");
    fs::write(&file, to_lines(&connections)).unwrap();

    let mut command = Command::new("node");
    command
        .arg(independent().join("soak.mjs"))
        .args(["--edge", &edge.url])
        .args(["--core-port", &core_port.to_string()])
        .args(["--group", &edge.group().to_string()])
        .arg("--connections")
        .arg(&file)
        .args(arguments);
    if let Ok(seed) = std::env::var("SMP_TEST_SEED") {
        command.args(["--seed", &seed]);
    }
    let mut script = command.stdout(Stdio::piped()).spawn().unwrap();
    // Minutes are long: each line is shown as it comes.
    let mut last = String::new();
    for line in BufReader::new(script.stdout.take().unwrap()).lines() {
        last = line.unwrap();
        eprintln!("{last}");
    }
    assert!(script.wait().unwrap().success(), "{last}");
    assert!(last.ends_with(": 0 different"), "{last}");
}

#[tokio::test]
async fn at_full_speed_every_answer_is_the_one_that_nodes_crypto_found_before() {
    let seconds = SECONDS.to_string();
    play("soak-short", &["--seconds", &seconds, "--warm-up", "0"]).await;
}

#[tokio::test]
#[ignore = "minutes: for `make soak`"]
async fn after_ten_minutes_at_full_speed_the_edge_has_no_more_memory_than_before() {
    let minutes =
        std::env::var("SMP_EDGE_SOAK_MINUTES").map_or(MINUTES, |minutes| minutes.parse().unwrap());
    let seconds = (minutes * 60.0).to_string();
    let results = checkout::root().join("bench-results");
    fs::create_dir_all(&results).unwrap();
    let result = results.join("edge-soak.json").display().to_string();
    play("soak", &["--seconds", &seconds, "--result", &result]).await;
}
