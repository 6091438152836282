//! A database that is slow, or gone without a word.

use std::time::Duration;

use axum::http::Method;
use serde_json::json;
use tokio::time::timeout;

use super::office::{ADMIN, Office, etag, problem, vn};
use crate::support::eventually;
use crate::support::proxy::{Proxy, Way};

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// An office whose staff share one connection, which leads through a proxy.
async fn open_behind(proxy: &Proxy) -> Office {
    Office::open_behind(proxy, |config| {
        config.database.staff_connections = 1.try_into().unwrap();
        config.database.statement_timeout = Duration::from_secs(2);
        config.database.acquire_timeout = Duration::from_secs(2);
    })
    .await
}

/// Holds up whatever looks at tickets, until the returned transaction ends.
async fn hold_up_tickets(office: &Office) -> sqlx::PgTransaction<'static> {
    let mut owner = office.core.database.owner_pool().begin().await.unwrap();
    sqlx::raw_sql("lock table ticket in access exclusive mode")
        .execute(&mut *owner)
        .await
        .unwrap();
    owner
}

#[tokio::test]
async fn staff_who_wait_for_the_database_keep_no_record_waiting() {
    let office = Office::open_with(|config| {
        config.database.max_connections = 2.try_into().unwrap();
        config.database.acquire_timeout = Duration::from_secs(3);
    })
    .await;
    let owner = hold_up_tickets(&office).await;
    let ask = || office.get(ADMIN, "/tickets");
    let staff = async { tokio::join!(ask(), ask(), ask(), ask(), ask(), ask()) };
    let records = async {
        office.core.wait_until_held_up().await;
        for number in 0..3 {
            let record = crate::support::record(&format!(r#","n":{number}"#));
            office.core.post(record).await.event_id("accepted");
            let body = format!("[{number}]");
            office.core.post(body).await.assert_invalid_payload();
        }
        owner.rollback().await.unwrap();
    };
    tokio::join!(staff, records);
}

/// No packet comes, not even one that says that there is nobody.
#[tokio::test]
async fn a_database_that_falls_silent_is_503_in_time_and_keeps_no_connection() {
    let proxy = Proxy::start().await;
    let office = open_behind(&proxy).await;
    let close = json!({"status": "closed"});
    let one = format!("/tickets/{}", vn("0d1"));
    for (method, path) in [
        (Method::GET, "/tickets"),
        (Method::PATCH, one.as_str()),
        (Method::GET, "/reports/pancake"),
    ] {
        eventually("staff are answered", async || {
            office.get(ADMIN, "/tickets").await.status == 200
        })
        .await;
        let mut owner = hold_up_tickets(&office).await;
        sqlx::raw_sql("lock table pancake_webhook_event in access exclusive mode")
            .execute(&mut *owner)
            .await
            .unwrap();
        let headers = [("if-match", "\"1\"")];
        let asked = office.send(ADMIN, method, path, &headers, close.to_string());
        let silence = async {
            office.core.wait_until_held_up().await;
            proxy.set(Way::Silent);
            owner.rollback().await.unwrap();
        };
        let (answer, ()) = tokio::join!(timeout(PATIENCE, asked), silence);
        let answer = answer.expect("staff are left waiting");
        let detail = problem(&answer, 503)["detail"].to_string();
        assert!(detail.contains("nothing was changed"), "{detail}");
        assert!(answer.retry_after.is_some());
        // While it is silent still.
        let staff = office.core.app.staff_pool();
        eventually("the connection is given up", async || staff.size() == 0).await;
        problem(&office.get(ADMIN, "/tickets").await, 503);
        proxy.set(Way::Open);
    }
}

#[tokio::test]
async fn who_hangs_up_on_a_silent_database_keeps_no_connection() {
    let proxy = Proxy::start().await;
    let office = open_behind(&proxy).await;
    eventually("staff are answered", async || {
        office.get(ADMIN, "/tickets").await.status == 200
    })
    .await;
    let owner = hold_up_tickets(&office).await;
    tokio::select! {
        _ = office.get(ADMIN, "/tickets") => panic!("it was held up"),
        () = office.core.wait_until_held_up() => proxy.set(Way::Silent),
    }
    owner.rollback().await.unwrap();
    let staff = office.core.app.staff_pool();
    eventually("the connection is given up", async || staff.size() == 0).await;
}

/// The health check gives up so, for one.
#[tokio::test]
async fn no_statement_that_is_given_up_keeps_a_connection_of_the_cores() {
    let proxy = Proxy::start().await;
    let office = open_behind(&proxy).await;
    let pool = &office.core.pool;
    let count = || sqlx::query("select count(*) from ticket").execute(pool);
    eventually("the database answers", async || count().await.is_ok()).await;
    let owner = hold_up_tickets(&office).await;
    tokio::select! {
        _ = count() => panic!("it was held up"),
        () = office.core.wait_until_held_up() => proxy.set(Way::Silent),
    }
    owner.rollback().await.unwrap();
    eventually("the connection is given up", async || {
        usize::try_from(pool.size()).unwrap() == pool.num_idle()
    })
    .await;
}

#[tokio::test]
async fn a_refusal_costs_no_connection() {
    let office = Office::open_with(|config| {
        config.database.staff_connections = 1.try_into().unwrap();
    })
    .await;
    let backend = async || -> i32 {
        sqlx::query_scalar("select pg_backend_pid()")
            .fetch_one(office.core.app.staff_pool())
            .await
            .unwrap()
    };
    let before = backend().await;
    for _ in 0..3 {
        problem(
            &office.get(ADMIN, &format!("/tickets/{}", vn("999"))).await,
            404,
        );
        problem(&office.get(ADMIN, "/tickets?assignee=me").await, 400);
    }
    assert_eq!(backend().await, before);
}

#[tokio::test]
async fn only_who_changes_something_hears_that_it_may_be_there() {
    let office = Office::open_with(|config| {
        config.database.statement_timeout = Duration::from_millis(500);
    })
    .await;
    let one = format!("/tickets/{}", vn("0d1"));
    let version = etag(&office.get(ADMIN, &one).await);
    let close = json!({"status": "closed"});
    let owner = hold_up_tickets(&office).await;
    for answer in [
        office.get(ADMIN, "/tickets").await,
        office.patch(ADMIN, &one, &version, &close).await,
    ] {
        let detail = problem(&answer, 503)["detail"].to_string();
        assert!(detail.contains("nothing was changed"), "{detail}");
    }
    owner.rollback().await.unwrap();

    // The commit is what takes too long.
    office
        .run(
            "create function dawdle() returns trigger language plpgsql as $$ begin \
             perform pg_sleep(30); return null; end $$; \
             create constraint trigger dawdle after insert on audit_log deferrable initially deferred \
             for each row execute function dawdle()",
        )
        .await;
    let payload = format!("/pancake/events/{}/payload", vn("101"));
    for (answer, expected) in [
        (
            office.patch(ADMIN, &one, &version, &close).await,
            "a change may be there",
        ),
        (office.get(ADMIN, &payload).await, "nothing was changed"),
    ] {
        let detail = problem(&answer, 503)["detail"].to_string();
        assert!(detail.contains(expected), "{detail}");
    }
}
