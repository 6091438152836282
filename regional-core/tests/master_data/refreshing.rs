//! How what is held follows the database.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use sqlx::Connection as _;
use tokio::time::Instant;

use crate::support::database::TestDatabase;
use crate::support::master_data::{
    Part, admin, apply, as_role, core_of, core_with, provision, wait_until, write,
};
use crate::support::proxy::{Proxy, Way};
use crate::support::{Answer, TestCore, eventually, record, send};

const SINGAPORE: &str = "/v1/master-data/countries/SG";

async fn name_of_singapore(core: &TestCore) -> Value {
    core.get(SINGAPORE).await.json()["name"].clone()
}

fn seq_of(answer: &Answer) -> i64 {
    answer.headers["x-smp-seq"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap()
}

fn at_least(seq: i64) -> Request<Body> {
    asking_for(seq.to_string().as_bytes())
}

fn asking_for(min_seq: &[u8]) -> Request<Body> {
    Request::get(SINGAPORE)
        .header("x-smp-min-seq", min_seq)
        .body(Body::empty())
        .unwrap()
}

/// The greatest version in the hub, as a write there would be answered with.
async fn newest_version(core: &TestCore) -> i64 {
    sqlx::query_scalar("select max(row_version) from smp_global.countries")
        .fetch_one(&mut admin(&core.database).await)
        .await
        .unwrap()
}

async fn tables_read(core: &TestCore) -> f64 {
    core.metric("master_data_table_loads_total").await
}

/// Nobody polls here, so it is the notification that brings it.
#[tokio::test]
async fn what_is_committed_in_the_hub_is_served_and_only_its_table_is_read() {
    let core = core_of(Part::Hub).await;
    assert_eq!(name_of_singapore(&core).await, "Singapore");
    let before = tables_read(&core).await;
    write(
        &core,
        "update smp_global.countries set name = 'Republic of Singapore' where code = 'SG'",
    )
    .await;
    eventually("the new name is served", async || {
        name_of_singapore(&core).await == "Republic of Singapore"
    })
    .await;
    let answer = core.get(SINGAPORE).await;
    assert_eq!(seq_of(&answer), newest_version(&core).await);
    assert!((tables_read(&core).await - before - 1.0).abs() < 0.5);

    // A row that is deleted is gone too; the position stays where it was, or goes on.
    write(&core, "delete from smp_global.countries where code = 'SG'").await;
    eventually("it is gone", async || {
        core.get(SINGAPORE).await.status == 404
    })
    .await;
    let after = core.get("/v1/master-data/countries").await;
    assert!(seq_of(&after) >= seq_of(&answer));
}

#[tokio::test]
async fn what_the_applier_commits_is_served_at_its_position() {
    let core = core_of(Part::Region).await;
    assert_eq!(seq_of(&core.get(SINGAPORE).await), 0);
    apply(
        &core,
        1_099_511_627_999,
        "update smp_global.countries set name = 'Republic of Singapore', row_version = 7 \
         where code = 'SG'",
    )
    .await;
    eventually("the new name is served", async || {
        name_of_singapore(&core).await == "Republic of Singapore"
    })
    .await;
    assert_eq!(seq_of(&core.get(SINGAPORE).await), 1_099_511_627_999);
    // A position that rises with no row (a heartbeat) reads no table.
    let before = tables_read(&core).await;
    apply(&core, 1_099_511_628_000, "select 1").await;
    eventually("the position is served", async || {
        seq_of(&core.get(SINGAPORE).await) == 1_099_511_628_000
    })
    .await;
    assert!((tables_read(&core).await - before).abs() < 0.5);
    let served = core.metric("master_data_seq").await;
    assert!((served - 1_099_511_628_000.0).abs() < 0.5);
}

/// The grants that make it cheaper and the hub's position exact: nothing else may change with them.
#[tokio::test]
async fn with_the_digests_and_the_log_it_counts_no_row_and_sees_deletions() {
    let core = core_of(Part::Hub).await;
    as_role(
        &core.database,
        "master_data_owner",
        "grant select on smp_global.table_digest to master_data_reader; \
         grant select (seq) on smp_global.change_log to master_data_reader",
    )
    .await;
    write(&core, "delete from smp_global.countries where code = 'SG'").await;
    let deleted_at: i64 = sqlx::query_scalar("select max(seq) from smp_global.change_log")
        .fetch_one(&mut admin(&core.database).await)
        .await
        .unwrap();
    assert!(deleted_at > newest_version(&core).await);
    let answer = core.send(at_least(deleted_at)).await;
    assert_eq!(answer.status, 404);
    let list = core.get("/v1/master-data/countries").await;
    assert_eq!(seq_of(&list), deleted_at);

    let before = tables_read(&core).await;
    write(
        &core,
        "update smp_global.tax_configs set rate = 0.09 \
         where category = 'temporary_reduction' and valid_from = '2025-07-01'",
    )
    .await;
    let path = "/v1/master-data/taxes/vat?country=VN&category=temporary_reduction&on=2026-06-01";
    eventually("the new rate is served", async || {
        core.get(path).await.json()["rate"] == "0.09"
    })
    .await;
    assert!((tables_read(&core).await - before - 1.0).abs() < 0.5);
}

#[tokio::test]
async fn a_request_waits_for_the_position_that_it_asks_for() {
    let core = core_with(Part::Region, |config| {
        config.master_data.wait = Duration::from_secs(20);
    })
    .await;
    let waiting = tokio::spawn(send(core.router.clone(), at_least(500)));
    let other = tokio::spawn(send(core.router.clone(), at_least(501)));
    apply(&core, 499, "select 1").await;
    eventually("it is at 499", async || {
        seq_of(&core.get(SINGAPORE).await) == 499
    })
    .await;
    assert!(!waiting.is_finished() && !other.is_finished());
    apply(
        &core,
        501,
        "update smp_global.countries set name = 'New', row_version = 501 where code = 'SG'",
    )
    .await;
    for waiting in [waiting, other] {
        let answer = waiting.await.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["name"], "New");
        assert_eq!(seq_of(&answer), 501);
    }
    assert_eq!(core.send(at_least(501)).await.status, 200);
    assert_eq!(core.send(at_least(0)).await.status, 200);
}

#[tokio::test]
async fn a_position_that_does_not_come_in_time_is_409_with_the_current_one() {
    let core = core_with(Part::Region, |config| {
        config.master_data.wait = Duration::from_millis(100);
    })
    .await;
    apply(&core, 41, "select 1").await;
    eventually("it is at 41", async || {
        seq_of(&core.get(SINGAPORE).await) == 41
    })
    .await;
    let started = Instant::now();
    let answer = core.send(at_least(42)).await;
    assert!(started.elapsed() >= Duration::from_millis(100));
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert_eq!(
        answer.content_type.as_deref(),
        Some("application/problem+json")
    );
    assert_eq!(
        answer.json(),
        json!({
            "type": "about:blank",
            "title": "Master data is not as new as was asked for.",
            "status": 409,
            "detail": "x-smp-min-seq: master data is at 41, and 42 was asked for",
            "current_seq": 41,
        })
    );
    for bad in ["", "-1", "+1", "1.0", "x", "9223372036854775808", "é"] {
        let answer = core.send(asking_for(bad.as_bytes())).await;
        assert_eq!(answer.status, 400, "{bad}: {}", answer.text());
        assert_eq!(answer.json()["field"], "x-smp-min-seq");
    }
}

#[tokio::test]
async fn without_the_schema_a_core_takes_records_in_and_says_that_there_is_no_master_data() {
    let core = TestCore::start_with(|config| {
        config.master_data.poll = Duration::from_millis(20);
    })
    .await;
    let unavailable = async || {
        let answer = core.get(SINGAPORE).await;
        let problem = answer.json();
        assert_eq!(answer.status, 503, "{problem}");
        assert_eq!(
            answer.content_type.as_deref(),
            Some("application/problem+json")
        );
        assert_eq!(problem["detail"], "no master data is loaded");
        assert_eq!(answer.retry_after.as_deref(), Some("2"));
    };
    let started = Instant::now();
    unavailable().await;
    // Nobody waits for a position of nothing.
    assert_eq!(core.send(at_least(1)).await.status, 503);
    assert!(started.elapsed() < Duration::from_secs(20));
    core.post(record("")).await.event_id("accepted");
    let ready = core.get("/readyz").await;
    assert_eq!(ready.status, 200);
    assert_eq!(
        ready.json(),
        json!({
            "status": "ready",
            "region": "smp-asia",
            "countries": ["SG", "VN"],
            "checks": {"process": "ok", "database": "ok", "schema": "ok", "master_data": "absent"},
        })
    );
    let described = core.get("/v1/master-data/openapi.json").await;
    assert_eq!(described.status, 200);

    // It comes later, and goes.
    provision(&core.database, Part::Hub).await;
    wait_until(&core, "loaded").await;
    assert_eq!(name_of_singapore(&core).await, "Singapore");
    as_role(&core.database, "postgres", "drop schema smp_global cascade").await;
    wait_until(&core, "absent").await;
    unavailable().await;
    assert_eq!(core.get("/readyz").await.status, 200);
    core.post(record("")).await.event_id("duplicate");
}

#[tokio::test]
async fn what_is_held_outlives_the_database_and_follows_it_again() {
    let proxy = Proxy::start().await;
    let database = TestDatabase::create().await;
    provision(&database, Part::Hub).await;
    let url = proxy.through(&database.app_url());
    let core = TestCore::start_on(database, &url, |config| {
        config.database.acquire_timeout = Duration::from_millis(300);
        config.master_data.poll = Duration::from_millis(100);
    });
    wait_until(&core, "loaded").await;
    proxy.set(Way::Cut);
    write(
        &core,
        "update smp_global.countries set name = 'Meanwhile' where code = 'SG'",
    )
    .await;
    eventually("a look at the database fails", async || {
        core.metric("master_data_failures_total").await > 0.5
    })
    .await;
    assert_eq!(name_of_singapore(&core).await, "Singapore");
    proxy.set(Way::Open);
    eventually("what happened meanwhile is served", async || {
        name_of_singapore(&core).await == "Meanwhile"
    })
    .await;
}

/// Each of the commits notifies. While one look at the database is under way, they make one more.
#[tokio::test]
async fn a_burst_of_changes_is_looked_at_once() {
    let core = core_of(Part::Hub).await;
    let before = tables_read(&core).await;
    let mut admin = admin(&core.database).await;
    let mut held_up = admin.begin().await.unwrap();
    sqlx::query("lock table smp_global.node in access exclusive mode")
        .execute(&mut *held_up)
        .await
        .unwrap();
    for number in 0..20 {
        write(
            &core,
            &format!("update smp_global.countries set name = 'N {number}' where code = 'SG'"),
        )
        .await;
        core.wait_until_held_up().await;
    }
    held_up.rollback().await.unwrap();

    let last = newest_version(&core).await;
    let answer = core.send(at_least(last)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["name"], "N 19");
    let reads = tables_read(&core).await - before;
    assert!((0.5..2.5).contains(&reads), "{reads}");
}

/// A million texts may be there one day; here are some more than one page of rows.
#[tokio::test]
async fn many_texts_are_loaded_and_found() {
    let core = core_of(Part::Hub).await;
    write(
        &core,
        "insert into smp_global.i18n_translations (locale, namespace, key, text) \
         select 'en', 'bulk', 'key.' || number, 'Text ' || number \
         from generate_series(1, 20000) as number",
    )
    .await;
    eventually("they are served", async || {
        core.get("/v1/master-data/translations/vi-VN/bulk")
            .await
            .status
            == 200
    })
    .await;
    let texts = core
        .get("/v1/master-data/translations/vi-VN/bulk")
        .await
        .json();
    let texts = texts["texts"].as_object().unwrap();
    assert_eq!(texts.len(), 20_000);
    for number in [1, 512, 513, 20_000] {
        assert_eq!(texts[&format!("key.{number}")], format!("Text {number}"));
    }
}
