//! A database that is gone without a word: no answer, and no end of the connection either.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use time::OffsetDateTime;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

use super::office::Office;
use crate::support::database::{TestDatabase, server_address};
use crate::support::proxy::{Proxy, Way};
use crate::support::{NOW, eventually};

/// A way to PostgreSQL whose connections can be lost: both ends stay open, and nothing ever comes through
/// again. New ones are as good as any.
struct Losing {
    address: SocketAddr,
    lost: watch::Sender<u32>,
}

impl Losing {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (lost, seen) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut seen = seen.clone();
                seen.mark_unchanged();
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(server_address()).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        _ = seen.changed() => std::future::pending().await,
                    }
                });
            }
        });
        Self { address, lost }
    }

    fn lose_all(&self) {
        self.lost.send_modify(|times| *times += 1);
    }

    /// A core behind it that gives up soon. Its clock is the database's: by both it is decided what is old.
    async fn office(&self) -> Office {
        let database = TestDatabase::create().await;
        let mut url = url::Url::parse(&database.app_url()).unwrap();
        url.set_ip_host(self.address.ip()).unwrap();
        url.set_port(Some(self.address.port())).unwrap();
        let mut office = Office::closed_on(database, url.as_str(), 1, |config| {
            config.database.statement_timeout = Duration::from_secs(2);
            config.database.acquire_timeout = Duration::from_secs(3);
            (config.jobs.retention, config.jobs.look) =
                (Duration::from_millis(100), Duration::from_millis(10));
        })
        .await;
        let now = OffsetDateTime::now_utc().unix_timestamp();
        office.core.clock.advance(now - NOW);
        office.core.edge.created = now;
        office
    }
}

#[tokio::test]
async fn connections_that_were_lost_while_idle_fail_nobody() {
    let way = Losing::start().await;
    let office = way.office().await;
    let (pool, mut connections) = (&office.core.pool, Vec::new());
    for _ in 0..4 {
        connections.push(pool.acquire().await.unwrap());
    }
    drop(connections);
    eventually("they are idle", async || pool.num_idle() == 4).await;
    way.lose_all();
    for n in 0..4 {
        let answer = office.core.post(format!(r#"{{"n":{n}}}"#)).await;
        answer.event_id("accepted");
    }
}

#[tokio::test]
async fn a_batch_whose_connection_is_lost_is_processed_over_another() {
    let way = Losing::start().await;
    let mut office = way.office().await;
    let event = office.post(json!({"n": 1})).await;
    let mut held_up = office.core.database.owner_pool().begin().await.unwrap();
    sqlx::query("lock table ticket in share row exclusive mode")
        .execute(&mut *held_up)
        .await
        .unwrap();
    office.start();
    office.core.wait_until_held_up().await;
    way.lose_all();
    held_up.rollback().await.unwrap();
    assert_eq!(office.settled(event).await, "processed");
}

#[tokio::test]
async fn a_replay_whose_connection_is_lost_goes_on_over_another() {
    let way = Losing::start().await;
    let mut office = way.office().await;
    office.start();
    office.set_switches(true, false).await;
    let event = office.post(json!({"n": 1})).await;
    assert_eq!(office.settled(event).await, "skipped_kill_switch");
    let mut held_up = office.core.database.owner_pool().begin().await.unwrap();
    sqlx::query("lock table pancake_replay in exclusive mode")
        .execute(&mut *held_up)
        .await
        .unwrap();
    sqlx::query(
        "insert into pancake_replay (replay_id, country_code, filter, state, total, created_by) \
         values ($1, 'VN', '{}', 'running', 1, 'an-admin')",
    )
    .bind(Uuid::now_v7())
    .execute(&mut *held_up)
    .await
    .unwrap();
    office.core.wait_until_held_up().await;
    way.lose_all();
    held_up.commit().await.unwrap();
    office
        .wait_for(
            1,
            "select count(*) from pancake_replay where state = 'done' and done = 1",
        )
        .await;
}

#[tokio::test]
async fn retention_whose_connection_is_lost_goes_on_over_another() {
    let way = Losing::start().await;
    let mut office = way.office().await;
    office.start();
    office.start_jobs();
    let event = office.post(json!({"n": 1})).await;
    assert_eq!(office.settled(event).await, "processed");
    let mut held_up = office.core.database.owner_pool().begin().await.unwrap();
    sqlx::raw_sql(
        "lock table pancake_webhook_event in exclusive mode; \
         update pancake_webhook_event set received_at = now() - interval '181 days'",
    )
    .execute(&mut *held_up)
    .await
    .unwrap();
    // Whose queries others run, only an administrator sees.
    let admin = sqlx::PgPool::connect(&office.core.database.admin_url())
        .await
        .unwrap();
    eventually("it is held up", async || {
        let blanking = "select count(*) from pg_stat_activity where datname = current_database() \
             and wait_event_type = 'Lock' and query like 'select blank_old%'";
        let blanking: i64 = sqlx::query_scalar(blanking)
            .fetch_one(&admin)
            .await
            .unwrap();
        blanking == 1
    })
    .await;
    way.lose_all();
    held_up.commit().await.unwrap();
    office
        .wait_for(
            1,
            "select count(*) from pancake_webhook_event where blanked_at is not null",
        )
        .await;
}

const WAITING: &str = r#"pancake_events_unfinished{country="VN",status="received"}"#;
const OLDEST: &str = r#"pancake_events_unfinished_oldest_seconds{country="VN",status="received"}"#;

#[tokio::test]
async fn while_nothing_answers_the_backlog_grows_older_and_a_stop_is_heard() {
    let proxy = Proxy::start().await;
    let database = TestDatabase::create().await;
    let url = proxy.through(&database.app_url());
    let mut office = Office::closed_on(database, &url, 1, |config| {
        config.database.statement_timeout = Duration::from_secs(1);
        config.database.acquire_timeout = Duration::from_secs(2);
    })
    .await;
    office.set_switches(false, true).await;
    office.post(json!({"n": 1})).await;
    office.start();
    eventually("it is counted", async || {
        let metrics = office.core.get("/metrics").await.text();
        metrics.contains(WAITING) && (office.core.metric(WAITING).await - 1.0).abs() < 0.5
    })
    .await;
    let before = office.core.metric(OLDEST).await;
    proxy.set(Way::Silent);
    eventually("it is older", async || {
        office.core.metric(OLDEST).await > before + 4.0
    })
    .await;
    assert!((office.core.metric(WAITING).await - 1.0).abs() < 0.5);
    timeout(Duration::from_secs(10), office.stop())
        .await
        .expect("it waits for an answer");
}
