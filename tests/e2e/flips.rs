//! `smpctl route` under traffic: a flip loses and misroutes nothing, and each change is one command that can be taken
//! back.

mod killed;
mod moving;
mod traffic;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::{Duration, Instant};

use platform::edge::{CoreAddress, Edge, States};
use platform::ports::Ports;
use platform::secrets::random_hex;
use protocol::routes::RouteState;
use serde_json::json;
use uuid::Uuid;

use moving::{Moving, in_full};
use traffic::{Lead, Traffic};

use crate::support::lifetime;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// How many requests a second that were is told; alone on the machine it is to be 500 and more.
#[tokio::test(flavor = "multi_thread")]
async fn flips_under_traffic_lose_and_misroute_nothing() {
    let moving = Moving::start("flips").await;
    let traffic = Traffic::start(&moving);
    let before = moving.text("routes.toml");
    // The replicators do not run here, so nobody can say that master data is equal.
    let (is_done, said) = moving
        .smpctl(&in_full(&["flip", "TH", "--to", "smp-china"]))
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

    let flip = ["flip", "TH", "--to", "smp-china", "--force"];
    let flipped = traffic
        .during(&moving, &flip, "TH: smp-asia → smp-china")
        .await;
    assert_eq!(flipped["moved"][0]["country"], "TH");
    let pause = ["pause", "smp-china"];
    traffic
        .during(&moving, &pause, "smp-china: open → paused")
        .await;
    traffic
        .during(&moving, &["revert"], "smp-china: paused → open")
        .await;
    // The registry has moved on.
    let back = ["revert", "--force"];
    traffic
        .during(&moving, &back, "TH: smp-china → smp-asia")
        .await;
    let sent = traffic.stop().await;

    let (first, last) = (1, 5);
    let after = before.replacen("version = 1 ", &format!("version = {last} "), 1);
    assert_eq!(moving.text("routes.toml"), after);
    let history = moving.history().await;
    assert_eq!(history.len(), 4);
    for change in history {
        assert_eq!(
            (&change["by"], &change["why"]),
            (&json!("Anna"), &json!("a test"))
        );
        assert!(change["confirmed"]["confirmed_at"].is_string(), "{change}");
    }

    for lead in sent.values() {
        let is_right = match &*lead.answer {
            // It waits if its region is paused, or if its core takes too long on a busy machine.
            "accepted" | "queued" => true,
            "duplicate" => lead.tries > 1,
            _ => false,
        };
        assert!(is_right, "{} after {} tries", lead.answer, lead.tries);
    }
    let (asia, china) = wait_until_arrived(&moving, &sent).await;
    for (region, events, is_its) in [
        ("smp-asia", &asia, [first, last]),
        ("smp-china", &china, [2, 4]),
    ] {
        assert!(!events.is_empty(), "{region} has nothing");
        let records: HashSet<Uuid> = events.iter().map(|(record, _)| *record).collect();
        assert_eq!(records.len(), events.len(), "{region} has a record twice");
        for (record, version) in events {
            let lead = &sent[record];
            let may_be = &lead.versions;
            assert!(
                may_be.contains(version),
                "{record}: by version {version}, not by {may_be:?}"
            );
            let is_led_here = match region {
                "smp-asia" => is_its.contains(version),
                _ => (is_its[0]..=is_its[1]).contains(version),
            };
            assert!(is_led_here, "{record} is in {region} by version {version}");
        }
    }
    let china: HashSet<Uuid> = china.into_iter().map(|(record, _)| record).collect();
    for (record, _) in asia.iter().filter(|(record, _)| china.contains(record)) {
        // Sent again after a flip, because wrangler lost the answer.
        assert!(sent[record].tries > 1, "{record} is in both regions");
    }
}

/// wrangler loses sight of a file that is replaced for the third time.
#[tokio::test(flavor = "multi_thread")]
async fn the_platforms_own_flips_are_all_in_force_however_many_there_are() {
    let folder = lifetime::run_directory().join("flips-own");
    fs::create_dir_all(&folder).unwrap();
    // No core is asked for anything.
    let cores = ["smp-asia", "smp-china"].map(|region| CoreAddress {
        region: region.to_owned(),
        origin: "http://127.0.0.1:1".to_owned(),
        keyid: format!("{region}-1"),
        secret: random_hex().unwrap(),
        sealing_key: None,
    });
    let log = lifetime::run_directory().join("logs/flips-own.log");
    let edge = Edge::start((&cores, States::AllOpen), &[], Ports::Free, &folder, &log);
    let mut edge = edge.await.unwrap();
    let states = [RouteState::Paused, RouteState::Open];
    for (version, state) in (2..8).zip(states.into_iter().cycle()) {
        assert_eq!(edge.flip("smp-asia", state).await.unwrap(), version);
    }
}

/// The events of both regions, once all that was sent is there: what waited while the region was paused comes once it
/// is open.
async fn wait_until_arrived(
    moving: &Moving,
    sent: &HashMap<Uuid, Lead>,
) -> (Vec<(Uuid, u32)>, Vec<(Uuid, u32)>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (asia, china) = (
            moving.events(&moving.asia).await,
            moving.events(&moving.china).await,
        );
        let all = asia.iter().chain(&china);
        let arrived: HashSet<Uuid> = all.map(|(record, _)| *record).collect();
        let missing = sent
            .keys()
            .filter(|record| !arrived.contains(record))
            .count();
        if missing == 0 {
            return (asia, china);
        }
        assert!(
            Instant::now() < deadline,
            "{missing} of {} are missing",
            sent.len()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
