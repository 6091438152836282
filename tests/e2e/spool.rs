//! What a region cannot take now waits at the edge, sealed, and arrives once when the region is back.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use platform::pancake::DemoConnection;
use platform::ports::Ports;
use platform::region::Region;
use platform::secrets::{random_bytes, random_hex};
use protocol::RegionId;
use protocol::ops::{OpsToken, Scope};
use protocol::sealed::OpeningKey;
use serde_json::json;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use uuid::Uuid;

use crate::support::workerd::{Binding, OBJECTS_DIRECTORY, Workerd};
use crate::support::{PEOPLE, Signed, client, lead, lifetime, post, record_url};

/// A region of its own, and an edge before it whose spool is on disk.
pub(crate) struct Waiting {
    pub(crate) region: Region,
    pub(crate) edge: Workerd,
    pub(crate) connection: DemoConnection,
    database: PgPool,
}

/// How the region stands in the route table.
pub(crate) struct Route<'r> {
    pub(crate) name: &'r str,
    pub(crate) state: &'r str,
    /// To what its records are sealed, if they may wait.
    pub(crate) seal: Seal,
}

/// To what a region's records are sealed.
#[derive(PartialEq)]
pub(crate) enum Seal {
    /// They may not wait.
    Off,
    /// To the region's own key.
    Own,
    /// To one that no core of it has, as after a mistake in the route table.
    Unknown,
}

/// Tokens of ops for each edge here.
pub(crate) const READ_TOKEN: &str = "read-token-of-the-tests";
pub(crate) const ADMIN_TOKEN: &str = "admin-token-of-the-tests";

pub(crate) fn ops_tokens() -> String {
    let tokens = [
        OpsToken::new("reader", READ_TOKEN, Scope::Read),
        OpsToken::new("admin", ADMIN_TOKEN, Scope::Admin),
    ];
    serde_json::to_string(&tokens).unwrap()
}

impl Waiting {
    pub(crate) async fn start(route: Route<'_>) -> Self {
        let run = lifetime::run_directory();
        let region = Region::start(
            RegionId::parse("smp-asia").unwrap(),
            vec!["VN".parse().unwrap()],
            7,
            Ports::Free,
            &run.join("logs"),
            route.name,
        )
        .await
        .unwrap();
        let connection = DemoConnection {
            country: "VN",
            mode: "enforce",
            token: random_hex().unwrap(),
            secret: random_hex().unwrap(),
            previous_secret: None,
        };
        let mut table = json!({"origin": region.core_url(), "state": route.state});
        let key = match route.seal {
            Seal::Off => None,
            Seal::Own => Some(region.sealing_key()),
            Seal::Unknown => {
                let key = OpeningKey::derive("nobodys", &random_bytes().unwrap());
                Some(key.unwrap().sealing_key())
            }
        };
        if let Some(key) = key {
            table["spool"] = "sealed".into();
            table["sealing_key"] = key.to_string().into();
        }
        let routes = json!({
            "version": 7,
            "countries": {"VN": "smp-asia"},
            "regions": {"smp-asia": table},
        });
        let hop = json!({"smp-asia": {"keyid": region.hop_keyid, "secret": region.hop_secret}});
        let connections = DemoConnection::to_entries(std::slice::from_ref(&connection));
        let bindings = [
            ("ROUTES", Binding::Json(routes.to_string())),
            ("HOP_SECRETS", Binding::Text(hop.to_string())),
            ("CONNECTIONS", Binding::Connections(connections)),
            ("SPOOL", Binding::DurableObjects("SpoolShard")),
            ("METRICS", Binding::DurableObjects("EdgeMetrics")),
            ("OPS_TOKENS", Binding::Text(ops_tokens())),
            // A record that is refused is parked after a second in place of an hour.
            ("SPOOL_RECORD_PAUSE_MS", Binding::Text("1".to_owned())),
        ];
        let entry = platform::checkout::root().join("edge-worker/entry.js");
        let edge = Workerd::start(route.name, &entry, &bindings).await;
        let database = region.database().await.unwrap();
        Self {
            region,
            edge,
            connection,
            database,
        }
    }

    /// Posts a lead of its own; gives its id, what was answered, and how long that took.
    pub(crate) async fn post_lead(&self) -> (Uuid, crate::support::Answer, Duration) {
        let (id, body) = lead();
        let url = record_url(&self.edge.url, &self.connection);
        let started = Instant::now();
        let answer = post(&url, &Signed::now(&self.connection, body.as_bytes()), body).await;
        (id, answer, started.elapsed())
    }

    /// The records that arrived, in the order in which they did, each with its layer.
    async fn arrived(&self) -> Vec<(Uuid, String)> {
        sqlx::query_as("select record_id, layer from pancake_webhook_event order by event_id")
            .fetch_all(&self.database)
            .await
            .unwrap()
    }

    pub(crate) async fn wait_until_arrived(&self, count: usize) -> Vec<(Uuid, String)> {
        let deadline = Instant::now() + Duration::from_mins(5);
        loop {
            let arrived = self.arrived().await;
            if arrived.len() >= count {
                return arrived;
            }
            assert!(
                Instant::now() < deadline,
                "{} of {count} arrived: see .run/e2e/logs/",
                arrived.len()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Whether a text stands in any file below a folder.
pub(crate) fn is_on_disk(directory: &Path, text: &str) -> bool {
    fs::read_dir(directory).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return is_on_disk(&path, text);
        }
        let content = fs::read(&path).unwrap_or_default();
        content
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_while_the_region_was_away_arrives_once_though_the_edge_was_killed_too() {
    let mut waiting = Waiting::start(Route {
        name: "spool-away",
        state: "open",
        seal: Seal::Own,
    })
    .await;
    let (before, answer, _) = waiting.post_lead().await;
    answer.is_kept("accepted");

    waiting.region.core().unwrap().kill().unwrap();
    let mut queued = HashSet::new();
    for number in 0..40 {
        // Killed in mid-spool, with an alarm set.
        if number == 20 {
            waiting.edge.kill();
            waiting.edge.start_again().await;
        }
        let (id, answer, elapsed) = waiting.post_lead().await;
        answer.is(200, "queued");
        assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
        queued.insert(id);
    }
    // Once more, so that nothing is left but what is on disk, and no request calls a shard.
    waiting.edge.kill();
    let disk = waiting.edge.directory.join(OBJECTS_DIRECTORY);
    assert!(is_on_disk(&disk, "vn-main"), "this would find nothing");
    for (name, phone_number) in PEOPLE {
        assert!(!is_on_disk(&disk, name) && !is_on_disk(&disk, phone_number));
    }
    for id in &queued {
        assert!(!is_on_disk(&disk, &id.to_string()));
    }

    waiting.region.start_core().await.unwrap();
    waiting.edge.start_again().await;
    let arrived = waiting.wait_until_arrived(41).await;
    assert_eq!(arrived.len(), 41);
    assert_eq!(arrived[0], (before, "webhook".to_owned()));
    let spooled: HashSet<Uuid> = arrived[1..]
        .iter()
        .map(|(id, layer)| {
            assert_eq!(layer, "spool");
            *id
        })
        .collect();
    assert_eq!(spooled, queued);

    // Each keeps the receipt of the way that it would have taken.
    let events: Vec<Uuid> = sqlx::query_scalar("select event_id from pancake_webhook_event")
        .fetch_all(&waiting.database)
        .await
        .unwrap();
    for event in &events[..5] {
        let report = waiting.region.run_core(&format!("verify-receipt {event}"));
        assert!(report.is_ok(), "{report:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_region_gets_nothing_and_what_came_waits() {
    let waiting = Waiting::start(Route {
        name: "spool-paused",
        state: "paused",
        seal: Seal::Own,
    })
    .await;
    let (_, answer, elapsed) = waiting.post_lead().await;
    answer.is(200, "queued");
    assert!(elapsed < Duration::from_secs(1), "{elapsed:?}");
    assert_eq!(waiting.arrived().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_may_wait_the_sender_is_told_to_come_again() {
    let mut waiting = Waiting::start(Route {
        name: "spool-off",
        state: "open",
        seal: Seal::Off,
    })
    .await;
    waiting.region.core().unwrap().kill().unwrap();
    let (_, answer, _) = waiting.post_lead().await;
    answer.is_unavailable("unavailable");
    let disk = waiting.edge.directory.join(OBJECTS_DIRECTORY);
    assert!(!is_on_disk(&disk, "vn-main"));
}

/// Takes connections and says nothing, as a core whose machine hangs does, until it is aborted.
async fn be_a_black_hole(port: &str) -> JoinHandle<()> {
    let listener = TcpListener::bind(format!("127.0.0.1:{port}"))
        .await
        .unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(listener.accept().await);
        }
    })
}

/// The rule by which Pancake suspends a webhook looks at 30 minutes; this is how many come at 10 a second.
const HALF_AN_HOUR: usize = 18_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_hangs_for_half_an_hour_costs_no_failed_webhook_and_no_late_one_and_no_lead()
{
    let mut waiting = Waiting::start(Route {
        name: "spool-hangs",
        state: "open",
        seal: Seal::Own,
    })
    .await;
    waiting.region.core().unwrap().kill().unwrap();
    let core = waiting.region.core_url();
    let (_, port) = core.rsplit_once(':').unwrap();
    let black_hole = be_a_black_hole(port).await;
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let mut senders = JoinSet::new();
    for _ in 0..32 {
        let url = record_url(&waiting.edge.url, &waiting.connection);
        senders.spawn(send_leads(
            url,
            waiting.connection.clone(),
            Arc::clone(&next),
        ));
    }
    let slowest = senders.join_all().await.into_iter().max().unwrap();
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    eprintln!(
        "{HALF_AN_HOUR} webhooks in {:?}, the slowest {slowest:?}",
        started.elapsed()
    );

    black_hole.abort();
    assert!(black_hole.await.unwrap_err().is_cancelled());
    let started = Instant::now();
    waiting.region.start_core().await.unwrap();
    let arrived = waiting.wait_until_arrived(HALF_AN_HOUR).await;
    eprintln!("all of them arrived within {:?}", started.elapsed());
    let distinct: HashSet<Uuid> = arrived.iter().map(|(id, _)| *id).collect();
    assert_eq!(
        (arrived.len(), distinct.len()),
        (HALF_AN_HOUR, HALF_AN_HOUR)
    );
}

/// Posts leads as fast as they are answered, until half an hour's are sent. Gives the longest that one took.
async fn send_leads(url: String, connection: DemoConnection, next: Arc<AtomicUsize>) -> Duration {
    let client = client();
    let mut slowest = Duration::ZERO;
    while next.fetch_add(1, Ordering::Relaxed) < HALF_AN_HOUR {
        let (_, body) = lead();
        let signed = Signed::now(&connection, body.as_bytes());
        let request = client
            .post(&url)
            .header("x-pancake-timestamp", signed.timestamp.unwrap())
            .header("x-pancake-signature", signed.signature.unwrap())
            .body(body);
        let started = Instant::now();
        let answer = request.send().await;
        let elapsed = started.elapsed();
        let answer = answer.unwrap_or_else(|error| panic!("after {elapsed:?}: {error:?}"));
        assert_eq!(answer.status().as_u16(), 200);
        assert_eq!(answer.text().await.unwrap(), r#"{"status":"queued"}"#);
        slowest = slowest.max(elapsed);
    }
    slowest
}
