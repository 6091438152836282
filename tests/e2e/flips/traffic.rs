//! Leads that come all the while.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use platform::pancake::DemoConnection;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use uuid::Uuid;

use super::PATIENCE;
use super::moving::Moving;
use crate::support::{Signed, WRANGLERS_OWN, client, lead, record_url};

/// Requests a second, as long as the routes are changed and the machine takes them.
const RATE: u32 = 600;
const AT_ONCE: usize = 256;

/// The versions of the route table that may be in force: the last one that the edge has confirmed, and the one that
/// was asked for.
#[derive(Default)]
struct InForce {
    confirmed: AtomicU32,
    asked_for: AtomicU32,
}

/// A record that was sent: by which versions it may have been routed, and how often it was sent.
pub(super) struct Lead {
    pub(super) versions: RangeInclusive<u32>,
    pub(super) tries: u32,
    pub(super) answer: String,
}

/// Leads that come at an even rate, as long as not too much of what was sent before is under way.
pub(super) struct Traffic {
    in_force: Arc<InForce>,
    is_over: Arc<AtomicBool>,
    sender: JoinHandle<(HashMap<Uuid, Lead>, Duration)>,
}

impl Traffic {
    pub(super) fn start(moving: &Moving) -> Self {
        let in_force = Arc::new(InForce {
            confirmed: 1.into(),
            asked_for: 1.into(),
        });
        let is_over = Arc::<AtomicBool>::default();
        let url = record_url(&moving.url, &moving.thailand);
        let sending = send(
            url,
            moving.thailand.clone(),
            Arc::clone(&in_force),
            Arc::clone(&is_over),
        );
        Self {
            in_force,
            is_over,
            sender: tokio::spawn(sending),
        }
    }

    /// Changes the routes.
    pub(super) async fn during(&self, moving: &Moving, change: &[&str], expected: &str) -> Value {
        self.in_force.asked_for.fetch_add(1, Ordering::SeqCst);
        let done = moving.does(change).await;
        self.in_force.confirmed.fetch_add(1, Ordering::SeqCst);
        assert_eq!(done["changes"], json!([expected]));
        eprintln!("{expected}: confirmed after {} ms", done["confirmed_ms"]);
        done
    }

    pub(super) async fn stop(self) -> HashMap<Uuid, Lead> {
        self.is_over.store(true, Ordering::SeqCst);
        let (sent, took) = self.sender.await.unwrap();
        let mut answers = BTreeMap::<&str, u32>::new();
        for lead in sent.values() {
            *answers.entry(&lead.answer).or_default() += 1;
        }
        let twice = sent.values().filter(|lead| lead.tries > 1).count();
        let rate = f64::from(u32::try_from(sent.len()).unwrap()) / took.as_secs_f64();
        eprintln!(
            "{} leads, {rate:.0} a second, {twice} sent again: {answers:?}",
            sent.len()
        );
        sent
    }
}

async fn send(
    url: String,
    thailand: DemoConnection,
    in_force: Arc<InForce>,
    is_over: Arc<AtomicBool>,
) -> (HashMap<Uuid, Lead>, Duration) {
    // On a machine that cannot keep up, requests wait here and not on connections of their own.
    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    let (client, mut sending) = (client(), JoinSet::new());
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
    let began = Instant::now();
    while !is_over.load(Ordering::SeqCst) {
        ticks.tick().await;
        let turn = Arc::clone(&at_once).acquire_owned().await.unwrap();
        let (client, in_force) = (client.clone(), Arc::clone(&in_force));
        let (url, thailand) = (url.clone(), thailand.clone());
        sending.spawn(async move {
            let _turn = turn;
            send_one(&client, &url, &thailand, &in_force).await
        });
    }
    let took = began.elapsed();
    (sending.join_all().await.into_iter().collect(), took)
}

/// Sends a lead until it is answered by the edge, as Pancake does: wrangler's own proxy, which stands before it here,
/// cuts connections off or answers itself while it starts the edge anew. What it cut off may have arrived.
async fn send_one(
    client: &reqwest::Client,
    url: &str,
    thailand: &DemoConnection,
    in_force: &InForce,
) -> (Uuid, Lead) {
    let (id, body) = lead();
    let earliest = in_force.confirmed.load(Ordering::SeqCst);
    let deadline = Instant::now() + PATIENCE;
    for tries in 1.. {
        let signed = Signed::now(thailand, body.as_bytes());
        let request = client
            .post(url)
            .timeout(PATIENCE)
            .header("x-pancake-timestamp", signed.timestamp.unwrap())
            .header("x-pancake-signature", signed.signature.unwrap())
            .body(body.clone());
        let said = async { request.send().await?.text().await }.await;
        match said {
            Ok(said) if !said.as_bytes().starts_with(WRANGLERS_OWN) => {
                let answer: Value = serde_json::from_str(&said).unwrap_or_default();
                let answer = answer["status"].as_str().unwrap_or(&said).to_owned();
                let versions = earliest..=in_force.asked_for.load(Ordering::SeqCst);
                return (
                    id,
                    Lead {
                        versions,
                        tries,
                        answer,
                    },
                );
            }
            lost => assert!(Instant::now() < deadline, "sent {tries} times: {lost:?}"),
        }
    }
    unreachable!("it is sent until there is an answer")
}
