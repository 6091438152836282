//! `smpctl route` under traffic: a flip loses and misroutes nothing, and each change is one command that can be taken
//! back.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use infra::registry::Spool;
use platform::checkout;
use platform::edge::{CoreAddress, Edge, States};
use platform::pancake::DemoConnection;
use platform::ports::Ports;
use platform::region::Region;
use platform::secrets::random_hex;
use protocol::RegionId;
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::{Signed, WRANGLERS_OWN, client, lead, lifetime, record_url};

/// Requests a second, and for how long: all flips fall into it.
const RATE: u32 = 500;
const SECONDS: u32 = 8;
const AT_ONCE: usize = 256;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// Two regions that both take TH, as while it moves, and the edge before them.
struct Moving {
    asia: Region,
    china: Region,
    _edge: Edge,
    url: String,
    thailand: DemoConnection,
    folder: PathBuf,
}

impl Moving {
    async fn start() -> Self {
        let folder = lifetime::run_directory().join("flips");
        let logs = folder.join("logs");
        fs::create_dir_all(&logs).unwrap();
        let region = async |id: &str, countries: &[&str], index| {
            let countries = countries.iter().map(|code| code.parse().unwrap()).collect();
            let id = RegionId::parse(id).unwrap();
            let region = Region::start(id, countries, index, Ports::Free, &logs, "flips");
            region.await.unwrap()
        };
        let asia = region("smp-asia", &["VN", "SG", "TH", "ID", "MY", "PH"], 8).await;
        let china = region("smp-china", &["CN", "TH"], 9).await;
        let thailand = DemoConnection {
            country: "TH",
            mode: "enforce",
            token: random_hex().unwrap(),
            secret: random_hex().unwrap(),
            previous_secret: None,
        };
        let cores = [&asia, &china].map(|region| CoreAddress::of(region, Spool::Sealed));
        let log = logs.join("edge.log");
        let edge = Edge::start(
            (&cores, States::AllOpen),
            std::slice::from_ref(&thailand),
            Ports::Free,
            &folder,
            &log,
        );
        let edge = edge.await.unwrap();
        let root = checkout::root();
        let wrangler = fs::read_to_string(root.join("wrangler.toml")).unwrap();
        fs::write(folder.join("routes.toml"), wrangler).unwrap();
        let regions = folder.join("regions");
        fs::create_dir_all(&regions).unwrap();
        for (id, from, to) in [
            ("smp-asia", "\"TH\", ", ""),
            ("smp-china", "[\"CN\"]", "[\"CN\", \"TH\"]"),
        ] {
            let text = fs::read_to_string(root.join(format!("infra/regions/{id}.toml"))).unwrap();
            assert!(text.contains(from));
            fs::write(regions.join(format!("{id}.toml")), text.replace(from, to)).unwrap();
        }
        let environment = format!("EDGE_URL={}\nEDGE_OPS_TOKEN={}\n", edge.url, edge.ops_token);
        fs::write(folder.join("platform.env"), environment).unwrap();
        Self {
            asia,
            china,
            url: edge.url.clone(),
            _edge: edge,
            thailand,
            folder,
        }
    }

    async fn smpctl(&self, arguments: &[&str]) -> (bool, String) {
        let output = Command::new(checkout::built_program("smpctl").unwrap())
            .current_dir(&self.folder)
            .kill_on_drop(true)
            .args([
                "route",
                "--local=.",
                "--wrangler",
                "routes.toml",
                "--regions",
                "regions",
            ])
            .args(arguments)
            .output();
        let output = tokio::time::timeout(PATIENCE, output)
            .await
            .unwrap()
            .unwrap();
        let said =
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    }

    async fn does(&self, arguments: &[&str]) -> Value {
        let arguments = [
            arguments,
            &["--why", "a test", "--by", "Anna", "--yes", "--json"],
        ]
        .concat();
        let (is_done, said) = self.smpctl(&arguments).await;
        assert!(is_done, "{arguments:?}: {said}");
        serde_json::from_str(&said).unwrap()
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap()
    }

    /// Each record that a region has, with the version of the routes that led it there.
    async fn records(&self, region: &Region) -> HashMap<Uuid, i64> {
        let database = region.database().await.unwrap();
        let rows: Vec<(Uuid, i64)> =
            sqlx::query_as("select record_id, route_version::int8 from pancake_webhook_event")
                .fetch_all(&database)
                .await
                .unwrap();
        rows.into_iter().collect()
    }
}

/// What was sent.
#[derive(Default)]
struct Sent {
    records: HashSet<Uuid>,
    /// Wrangler's own proxy lost the first try of these, which may have arrived.
    twice: HashSet<Uuid>,
    others: Vec<String>,
}

/// Sends at an even rate, as long as not too much of what was sent before is under way.
async fn send(url: String, thailand: DemoConnection) -> Sent {
    let sent = Arc::new(Mutex::new(Sent::default()));
    // On a machine that cannot keep up, requests wait here and not on connections of their own.
    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    let (client, mut sending) = (client(), JoinSet::new());
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
    for _ in 0..RATE * SECONDS {
        ticks.tick().await;
        let turn = Arc::clone(&at_once).acquire_owned().await.unwrap();
        let (sent, client) = (Arc::clone(&sent), client.clone());
        let (url, thailand) = (record_url(&url, &thailand), thailand.clone());
        sending.spawn(async move {
            let _turn = turn;
            let (id, body) = lead();
            sent.lock().unwrap().records.insert(id);
            loop {
                let signed = Signed::now(&thailand, body.as_bytes());
                let request = client
                    .post(&url)
                    .timeout(PATIENCE)
                    .header("x-pancake-timestamp", signed.timestamp.unwrap())
                    .header("x-pancake-signature", signed.signature.unwrap());
                let answer = request.body(body.clone()).send().await.unwrap();
                let (status, said) = (answer.status(), answer.text().await.unwrap());
                if said.as_bytes().starts_with(WRANGLERS_OWN) {
                    sent.lock().unwrap().twice.insert(id);
                    continue;
                }
                let is_kept = ["accepted", "duplicate", "queued"]
                    .iter()
                    .any(|kept| said.contains(&format!("\"status\":\"{kept}\"")));
                if !is_kept {
                    sent.lock().unwrap().others.push(format!("{status} {said}"));
                }
                return;
            }
        });
    }
    while let Some(ended) = sending.join_next().await {
        ended.unwrap();
    }
    Arc::into_inner(sent).unwrap().into_inner().unwrap()
}

#[tokio::test]
#[ignore = "500 requests a second want the machine: for `make soak`"]
async fn flips_at_500_requests_a_second_lose_and_misroute_nothing() {
    let moving = Moving::start().await;
    let sender = tokio::spawn(send(moving.url.clone(), moving.thailand.clone()));
    let before = moving.text("routes.toml");
    // The replicators do not run here, so nobody can say that master data is equal.
    let (is_done, said) = moving
        .smpctl(&[
            "flip",
            "TH",
            "--to",
            "smp-china",
            "--why",
            "a test",
            "--by",
            "Anna",
            "--yes",
        ])
        .await;
    assert!(
        !is_done && said.contains("master data of smp-china"),
        "{said}"
    );
    assert_eq!(
        moving.text("routes.toml"),
        before,
        "what is refused changes nothing"
    );
    let flipped = moving
        .does(&["flip", "TH", "--to", "smp-china", "--force"])
        .await;
    assert_eq!(flipped["changes"][0], "TH: smp-asia → smp-china");
    assert_eq!(flipped["moved"][0]["country"], "TH");
    let paused = moving.does(&["pause", "smp-china"]).await;
    assert_eq!(paused["changes"][0], "smp-china: open → paused");
    let opened = moving.does(&["revert"]).await;
    assert_eq!(opened["changes"][0], "smp-china: paused → open");
    // The registry has moved on.
    let back = moving.does(&["revert", "--force"]).await;
    assert_eq!(back["changes"][0], "TH: smp-china → smp-asia");
    let sent = sender.await.unwrap();
    assert!(sent.others.is_empty(), "{:?}", sent.others.first());
    let (first, last) = (1, 5);
    assert_eq!(
        moving.text("routes.toml"),
        before.replacen("version = 1 ", &format!("version = {last} "), 1)
    );
    let history = serde_json::from_str::<Value>(&moving.smpctl(&["history", "--json"]).await.1);
    let history = history.unwrap();
    assert_eq!(history.as_array().unwrap().len(), 4);
    for change in history.as_array().unwrap() {
        assert_eq!(
            (change["by"].as_str(), change["why"].as_str()),
            (Some("Anna"), Some("a test"))
        );
        assert!(change["confirmed"]["confirmed_at"].is_string(), "{change}");
    }
    // What waited while the region was paused comes once it is open.
    let deadline = Instant::now() + PATIENCE;
    let (asia, china) = loop {
        let (asia, china) = (
            moving.records(&moving.asia).await,
            moving.records(&moving.china).await,
        );
        let arrived: HashSet<Uuid> = asia.keys().chain(china.keys()).copied().collect();
        if arrived == sent.records {
            break (asia, china);
        }
        assert!(
            Instant::now() < deadline,
            "{} of {} arrived",
            arrived.len(),
            sent.records.len()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    for (record, version) in &asia {
        assert!(
            *version == first || *version == last,
            "{record}: by version {version}"
        );
        let is_elsewhere = china.contains_key(record);
        assert!(
            !is_elsewhere || sent.twice.contains(record),
            "{record} is in both regions"
        );
    }
    for (record, version) in &china {
        assert!(
            (first + 1..last).contains(version),
            "{record}: by version {version}"
        );
    }
    assert!(!asia.is_empty() && !china.is_empty());
}
