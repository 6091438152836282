//! Acknowledged means committed: cores and PostgreSQL servers are killed under load, and every event
//! that was answered 200 is there, once; those that were queued at the edge meanwhile, a little later.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use platform::pancake::{self, DemoConnection};
use platform::ports::Ports;
use platform::region::Region;
use platform::system::System;
use serde_json::json;
use sqlx::PgPool;
use tokio::sync::watch;
use uuid::Uuid;

use crate::support::lifetime;

const EVENTS: usize = 50_000;
const KILLS: usize = 24;
/// As many at once as in the benchmarks: enough that batches form and requests wait when a kill comes.
const SENDERS: usize = 32;

/// Sends events until all of them are acknowledged; gives the ids of those it got a 200 for.
async fn send(
    client: reqwest::Client,
    edge_url: String,
    connection: DemoConnection,
    next: Arc<AtomicUsize>,
    acknowledged: Arc<watch::Sender<usize>>,
) -> Vec<Uuid> {
    let mut kept = Vec::new();
    while next.fetch_add(1, Ordering::Relaxed) < EVENTS {
        let id = Uuid::new_v4();
        let body = json!({
            "id": id.to_string(),
            "name": "Nguyễn Thị Hồng",
            "phone_number": "0901234567",
            "modified_on": "2026-11-22T08:00:00Z",
            "ghi_chú": "x".repeat(300),
        })
        .to_string();
        // As Pancake does: the same event again until it is acknowledged.
        loop {
            let answer = pancake::post(&client, &edge_url, &connection, body.as_str()).await;
            if let Ok((200, answer)) = &answer {
                let status = answer["status"].as_str().unwrap_or_default();
                assert!(
                    matches!(status, "accepted" | "duplicate" | "queued"),
                    "a good event was answered 200 {answer}"
                );
                kept.push(id);
                acknowledged.send_modify(|count| *count += 1);
                break;
            }
            // Not a wait for anything: a sender that is turned away does not come back at once.
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
    kept
}

/// Kills what is next in line, and brings it up again.
async fn kill(regions: &mut [Region], number: usize) {
    let region = &mut regions[number % 2];
    if (number / 2).is_multiple_of(2) {
        region.core().unwrap().kill().unwrap();
        region.start_core().await.unwrap();
    } else {
        // The core must find its database again by itself.
        region.postgres.crash_and_recover().await.unwrap();
    }
}

/// The records that are there, once there are so many: what was queued is under way.
async fn wait_for_rows(database: &PgPool, count: usize) -> Vec<Uuid> {
    let deadline = Instant::now() + Duration::from_mins(3);
    loop {
        let rows: Vec<Uuid> = sqlx::query_scalar("select record_id from pancake_webhook_event")
            .fetch_all(database)
            .await
            .unwrap();
        if rows.len() >= count || Instant::now() > deadline {
            return rows;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_under_load_every_acknowledged_event_is_there_once() {
    // Its folder is made anew, and what writes into it is watched.
    lifetime::run_directory();
    let mut system = System::start("e2e/kills", Ports::Free, |_| ())
        .await
        .unwrap();
    let client = reqwest::Client::new();
    let next = Arc::new(AtomicUsize::new(0));
    let (acknowledged, mut progress) = watch::channel(0);
    let acknowledged = Arc::new(acknowledged);
    let connections = [
        system.connection("VN").unwrap(),
        system.connection("CN").unwrap(),
    ];
    let senders: Vec<_> = (0..SENDERS)
        .map(|number| {
            tokio::spawn(send(
                client.clone(),
                system.edge.url.clone(),
                connections[number % 2].clone(),
                Arc::clone(&next),
                Arc::clone(&acknowledged),
            ))
        })
        .collect();

    for number in 0..KILLS {
        // Spread over the run, by what was acknowledged and not by time.
        let due = (number + 1) * EVENTS / (KILLS + 1);
        let reached = tokio::time::timeout(
            Duration::from_mins(3),
            progress.wait_for(|acknowledged| *acknowledged >= due),
        );
        reached
            .await
            .expect("no progress for 3 minutes: see .run/e2e/kills/logs/")
            .unwrap();
        kill(&mut system.regions, number).await;
    }

    let mut kept: [HashSet<Uuid>; 2] = Default::default();
    for (number, sender) in senders.into_iter().enumerate() {
        kept[number % 2].extend(sender.await.unwrap());
    }
    assert_eq!(kept[0].len() + kept[1].len(), EVENTS);
    for (region, kept) in ["smp-asia", "smp-china"].into_iter().zip(kept) {
        let database = system.region(region).unwrap().database().await.unwrap();
        let rows = wait_for_rows(&database, kept.len()).await;
        let found: HashSet<Uuid> = rows.iter().copied().collect();
        assert_eq!(
            rows.len(),
            found.len(),
            "{region} holds an event more than once"
        );
        let missing = kept.difference(&found).count();
        assert_eq!(
            missing,
            0,
            "{region} lost {missing} acknowledged events of {}",
            kept.len()
        );
    }
}
