//! What is answered when something is down, full, or about to end.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::support::database::TestDatabase;
use crate::support::proxy::{Proxy, Way};
use crate::support::{TestCore, eventually, record};

/// A core whose database can be cut off, and that gives up soon.
async fn core_behind(proxy: &Proxy) -> TestCore {
    let database = TestDatabase::create().await;
    let url = proxy.through(&database.app_url());
    TestCore::start_on(database, &url, |config| {
        config.database.acquire_timeout = Duration::from_millis(300);
        config.ingest.deadline = Duration::from_millis(1500);
    })
}

async fn posts_are_accepted_again(core: &TestCore) {
    eventually("a record is accepted", async || {
        let again = Uuid::new_v4();
        let answer = core.post(record(&format!(r#","again":"{again}""#))).await;
        if answer.status == 503 {
            answer.assert_problem(503);
            return false;
        }
        answer.event_id("accepted");
        true
    })
    .await;
}

#[tokio::test]
async fn a_database_that_is_down_is_503_and_its_return_is_noticed() {
    let proxy = Proxy::start().await;
    let core = core_behind(&proxy).await;
    // The first connections are made here, on a busy machine perhaps in more than one attempt.
    posts_are_accepted_again(&core).await;
    core.post(record("")).await.event_id("accepted");
    core.post("[]").await.assert_invalid_payload();

    for way in [Way::Cut, Way::Silent] {
        proxy.set(way);
        core.post(record(r#","n":1"#)).await.assert_problem(503);
        core.post("[1]").await.assert_problem(503);
        proxy.set(Way::Open);
        posts_are_accepted_again(&core).await;
    }
    assert_eq!(core.post(record("")).await.json()["status"], "duplicate");
}

#[tokio::test]
async fn a_core_starts_while_its_database_is_down() {
    let proxy = Proxy::start().await;
    proxy.set(Way::Cut);
    let core = core_behind(&proxy).await;
    core.post(record("")).await.assert_problem(503);
    assert_eq!(core.get("/healthz").await.status, 200);
    let ready = core.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["checks"]["database"], "unreachable");

    proxy.set(Way::Open);
    posts_are_accepted_again(&core).await;
    eventually("it is ready", async || {
        core.get("/readyz").await.status == 200
    })
    .await;
}

/// A connection that breaks between two records is replaced without anybody noticing.
#[tokio::test]
async fn a_connection_that_is_gone_is_replaced_within_the_request() {
    let core = TestCore::start().await;
    for number in 0..3 {
        core.post(record(&format!(r#","n":{number}"#)))
            .await
            .event_id("accepted");
        sqlx::query(
            "select pg_terminate_backend(pid) from pg_stat_activity \
             where datname = current_database() and usename = 'core_app'",
        )
        .fetch_all(&core_admin(&core).await)
        .await
        .unwrap();
    }
    core.post(record(r#","n":3"#)).await.event_id("accepted");
    assert_eq!(core.count_events().await, 4);
}

async fn core_admin(core: &TestCore) -> sqlx::PgPool {
    sqlx::PgPool::connect(&core.database.admin_url())
        .await
        .unwrap()
}

/// The connection breaks while the row is under way: it is repeated, and its own row is no duplicate.
#[tokio::test]
async fn a_row_whose_connection_breaks_is_written_once() {
    let core = TestCore::start().await;
    let held_up = core.hold_up_events().await;
    let post = core.spawn_post(record(""));
    core.wait_until_held_up().await;
    sqlx::query(
        "select pg_terminate_backend(pid) from pg_stat_activity \
         where datname = current_database() and usename = 'core_app'",
    )
    .fetch_all(&core_admin(&core).await)
    .await
    .unwrap();
    held_up.rollback().await.unwrap();

    post.await.unwrap().event_id("accepted");
    assert_eq!(core.count_events().await, 1);
}

#[tokio::test]
async fn a_database_that_is_too_slow_is_503_at_the_deadline() {
    let core = TestCore::start_with(|config| {
        config.ingest.deadline = Duration::from_millis(200);
    })
    .await;
    let held_up = core.hold_up_events().await;
    let started = Instant::now();
    core.post(record("")).await.assert_problem(503);
    assert!(started.elapsed() >= Duration::from_millis(200));
    held_up.rollback().await.unwrap();

    // It was under way, so it is written; the sender repeats it and hears so.
    eventually("the row is there", async || core.count_events().await == 1).await;
    core.post(record("")).await.event_id("duplicate");
}

#[tokio::test]
async fn statements_that_take_too_long_are_given_up_by_postgresql() {
    let core = TestCore::start_with(|config| {
        config.database.statement_timeout = Duration::from_millis(100);
    })
    .await;
    let held_up = core.hold_up_events().await;
    core.post(record("")).await.assert_problem(503);
    held_up.rollback().await.unwrap();
    core.post(record("")).await.event_id("accepted");
}

#[tokio::test]
async fn a_full_queue_is_503_at_once_and_loses_nothing_that_waits() {
    let core = TestCore::start_with(|config| {
        config.ingest.queue_rows = 4.try_into().unwrap();
    })
    .await;
    let held_up = core.hold_up_events().await;
    let mut posts = vec![core.spawn_post(record(r#","n":0"#))];
    core.wait_until_held_up().await;
    for number in 1..=4 {
        posts.push(core.spawn_post(record(&format!(r#","n":{number}"#))));
    }
    core.wait_until_queued(4.0).await;
    core.post(record(r#","n":5"#)).await.assert_problem(503);
    held_up.rollback().await.unwrap();

    for post in posts {
        post.await.unwrap().event_id("accepted");
    }
    assert_eq!(core.count_events().await, 5);
}

/// Large records fill the queue by their bytes long before they fill it by their number.
#[tokio::test]
async fn a_queue_is_full_by_bytes_too() {
    let core = TestCore::start_with(|config| {
        config.ingest.queue_bytes = 1_100_000.try_into().unwrap();
    })
    .await;
    let held_up = core.hold_up_events().await;
    let large = record(&format!(r#","n":"{}""#, "x".repeat(900_000)));
    let post = core.spawn_post(large.clone());
    core.wait_until_held_up().await;
    core.post(record(&format!(r#","n":"{}""#, "y".repeat(300_000))))
        .await
        .assert_problem(503);
    held_up.rollback().await.unwrap();

    post.await.unwrap().event_id("accepted");
    core.post(large).await.event_id("duplicate");
}

#[tokio::test]
async fn a_shutdown_finishes_what_was_accepted_and_takes_nothing_more() {
    let mut core = TestCore::start().await;
    let held_up = core.hold_up_events().await;
    let mut posts = vec![core.spawn_post(record(r#","n":0"#))];
    core.wait_until_held_up().await;
    for number in 1..=100 {
        posts.push(core.spawn_post(record(&format!(r#","n":{number}"#))));
    }
    core.wait_until_queued(100.0).await;
    core.app.announce_shutdown();
    let drained = tokio::spawn(core.batcher.take().unwrap().drain());
    held_up.rollback().await.unwrap();

    drained.await.unwrap();
    for post in posts {
        post.await.unwrap().event_id("accepted");
    }
    assert_eq!(core.count_events().await, 101);
    core.post(record(r#","n":101"#)).await.assert_problem(503);
    let ready = core.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["checks"]["process"], "shutting_down");
    assert_eq!(core.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_handler_that_panics_is_500_and_the_next_request_is_served() {
    let core = TestCore::start().await;
    core.clock.set_broken(true);
    core.post(record("")).await.assert_problem(500);
    core.send(core.edge.proxied("GET", "/api/region"))
        .await
        .assert_problem(500);
    core.clock.set_broken(false);
    core.post(record("")).await.event_id("accepted");
}
