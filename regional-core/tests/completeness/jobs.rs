//! The jobs themselves: one at a time in however many cores, seen and asked for by the API.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use regional_core::auth::JwksLocation;
use serde_json::{Value, json};
use sqlx::Connection as _;
use time::OffsetDateTime;

use super::shop::Shop;
use crate::support::auth::{Issuer, trust};
use crate::support::{Answer, eventually};

async fn ask(shop: &Shop, issuer: &Issuer, roles: &[&str], (method, path): (&str, &str)) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {}", issuer.token(roles)))
        .body(Body::empty())
        .unwrap();
    shop.core.send(request).await
}

async fn trusting(issuer: &Issuer) -> Shop {
    Shop::open_with(|config| trust(config, JwksLocation::File(issuer.jwks_file()))).await
}

#[tokio::test]
async fn admins_see_the_jobs_and_ask_for_a_run() {
    let issuer = Issuer::new(1);
    let shop = trusting(&issuer).await;
    shop.put_leads(0..3, 600);
    let answer = ask(&shop, &issuer, &["admin"], ("GET", "/v1/jobs")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let jobs = answer.json();
    let poll = &jobs["items"][0];
    assert_eq!(
        (&poll["job"], &poll["every_seconds"]),
        (&json!("poll"), &json!(300))
    );
    assert_eq!(poll["last_run"]["state"], "ok");
    let reconciliation = &jobs["items"][1];
    assert_eq!(reconciliation["daily_at"], "02:00");
    assert_eq!(
        reconciliation["time_zone"], "UTC",
        "there is no master data here"
    );

    let path = "/v1/jobs/poll/runs";
    let asked = ask(&shop, &issuer, &["admin"], ("POST", path)).await;
    assert_eq!(asked.status, 201, "{}", asked.text());
    let run = asked.json();
    assert_eq!(
        (&run["requested_by"], &run["job"]),
        (&json!("anna"), &json!("poll"))
    );
    let run_path = format!("{path}/{}", run["run_id"].as_str().unwrap());
    let now = async || -> Value {
        ask(&shop, &issuer, &["admin"], ("GET", &run_path))
            .await
            .json()
    };
    eventually("it ends", async || now().await["state"] == "ok").await;
    assert_eq!(now().await["progress"]["vn-main"]["brought"], 3);
    let audited = "select count(*) from audit_log where entity = 'job_run'";
    assert_eq!(shop.count(audited).await, 1);

    let complete = ask(
        &shop,
        &issuer,
        &["admin"],
        ("GET", "/v1/crm/pancake/completeness"),
    )
    .await;
    let items = complete.json()["items"].as_array().unwrap().clone();
    assert_eq!(items.len(), 3);
    assert_eq!(items[2]["table"], "lead");
    assert_eq!(items[2]["complete_until"], "2026-02-28T23:59:00Z");
}

#[tokio::test]
async fn who_may_not_does_not_and_what_is_not_there_is_said() {
    let issuer = Issuer::new(1);
    let shop = trusting(&issuer).await;
    for (roles, request, status) in [
        (["telesale"], ("POST", "/v1/jobs/poll/runs"), 403),
        (["manager"], ("GET", "/v1/jobs"), 403),
        (["admin"], ("POST", "/v1/jobs/nothing/runs"), 404),
        (["admin"], ("GET", "/v1/jobs/poll/runs/7"), 400),
        (
            ["admin"],
            (
                "GET",
                "/v1/jobs/poll/runs/01890a5d-ac96-774b-bcce-b302099a8057",
            ),
            404,
        ),
        (["admin"], ("DELETE", "/v1/jobs"), 405),
    ] {
        let answer = ask(&shop, &issuer, &roles, request).await;
        assert_eq!(
            answer.status.as_u16(),
            status,
            "{request:?}: {}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn two_cores_never_run_the_same_job_at_once_and_a_second_request_waits() {
    let shop = Shop::open().await;
    shop.put_leads(0..300, 600);
    shop.pancake.set_latency(Duration::from_millis(10));
    let other = shop.core.app.start_jobs();
    let run_id = shop.request("poll", &json!({})).await;
    eventually("it is under way", async || {
        shop.core.count_events().await > 0
    })
    .await;
    let second = shop.request("poll", &json!({})).await;
    let running = "select count(*) from job_run where job = 'poll' and state = 'running'";
    assert_eq!(shop.count(running).await, 1);
    assert_eq!(shop.ended(run_id).await.0, "ok");
    assert_eq!(shop.ended(second).await.0, "ok");
    let overlaps = "select count(*) from job_run as one join job_run as other \
         on one.job = other.job and one.country_code = other.country_code and one.run_id < other.run_id \
         and one.started_at < other.finished_at and other.started_at < one.finished_at";
    assert_eq!(shop.count(overlaps).await, 0);
    other.stop();
}

#[tokio::test]
async fn what_another_core_is_at_takes_no_place_of_this_one() {
    let shop = Shop::open().await;
    // Another core runs all of SG's jobs: reconciliation among them, which is heavy.
    let mut other = sqlx::PgConnection::connect(&shop.core.database.admin_url())
        .await
        .unwrap();
    let sg = i32::from(b'S') * 256 + i32::from(b'G');
    for place in 0..7 {
        sqlx::query("select pg_advisory_lock($1, $2)")
            .bind(0x6a_6f62)
            .bind(place * 65_536 + sg)
            .execute(&mut other)
            .await
            .unwrap();
    }
    shop.run("update job_run set state = 'running', finished_at = null where country_code = 'SG'")
        .await;
    shop.done("rollup").await;
    let running = "select count(*) from job_run where country_code = 'SG' and state = 'running'";
    assert_eq!(shop.count(running).await, 7, "it is left alone");
    // That core is gone.
    other.close().await.unwrap();
    eventually("they are broken off", async || {
        shop.count(running).await == 0
    })
    .await;
}

#[tokio::test]
async fn a_span_that_somebody_asked_for_is_compared_though_its_run_is_broken_off() {
    let mut shop = Shop::open().await;
    shop.put_leads(0..3, 10 * 86_400);
    shop.pancake.set_latency(Duration::from_millis(200));
    let parameters = json!({"from": "2026-02-18T00:00:00Z", "to": "2026-02-20T00:00:00Z"});
    let run_id = shop.request("reconciliation", &parameters).await;
    eventually("it is under way", async || {
        !shop.pancake.requests().is_empty()
    })
    .await;
    shop.stop();
    // Another waits, and comes first.
    let other = shop.request("reconciliation", &json!({})).await;
    shop.pancake.set_latency(Duration::ZERO);
    shop.start();
    assert_eq!(shop.ended(run_id).await.0, "interrupted");
    assert_eq!(shop.ended(other).await.0, "ok");
    let again = "select count(*) from job_run where job = 'reconciliation' and state = 'ok' \
         and parameters ->> 'from' = '2026-02-18T00:00:00Z' and requested_by = 'anna'";
    eventually("it is done", async || shop.count(again).await == 1).await;
    assert_eq!(shop.layers().await, "reconcile 3");
    let all = "select count(*) from job_run where job = 'reconciliation' and parameters <> '{}'";
    assert_eq!(shop.count(all).await, 2, "and once");
}

#[tokio::test]
async fn a_comparison_may_begin_a_year_ago_and_no_longer() {
    let issuer = Issuer::new(1);
    let shop = trusting(&issuer).await;
    for (from, status) in [("2025-02-28T00:00:00Z", 201), ("2025-02-27T23:59:59Z", 422)] {
        let request = Request::builder()
            .method("POST")
            .uri("/v1/jobs/reconciliation/runs")
            .header(
                "authorization",
                format!("Bearer {}", issuer.token(&["admin"])),
            )
            .header("content-type", "application/json")
            .body(Body::from(
                json!({"from": from, "to": "2025-03-01T00:00:00Z"}).to_string(),
            ))
            .unwrap();
        let answer = shop.core.send(request).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        if status == 422 {
            assert_eq!(
                answer.json()["errors"],
                json!([{
                    "field": "from",
                    "message": "RFC 3339 with an offset is expected, at most 366 days back",
                }])
            );
        }
    }
}

#[tokio::test]
async fn nothing_runs_before_the_schema_is_there() {
    let shop = Shop::open().await;
    shop.run("update _core_migrations set success = false where version = 22")
        .await;
    let late = shop.core.app.start_jobs();
    // Those of `open` were ready before, so they are ended.
    let mut shop = shop;
    shop.stop();
    let run_id = shop.request("poll", &json!({})).await;
    // It has looked at the schema since, and does so on one connection or another each time.
    let admin = sqlx::PgPool::connect(&shop.core.database.admin_url())
        .await
        .unwrap();
    let asked: OffsetDateTime = sqlx::query_scalar("select clock_timestamp()")
        .fetch_one(&admin)
        .await
        .unwrap();
    eventually("it looks at the schema", async || {
        sqlx::query_scalar(
            "select exists (select from pg_stat_activity where datname = current_database() \
                 and query like 'select version, checksum%' and query_start > $1)",
        )
        .bind(asked)
        .fetch_one(&admin)
        .await
        .unwrap()
    })
    .await;
    let state = format!("select state from job_run where run_id = '{run_id}'");
    assert_eq!(shop.text(&state).await.as_deref(), Some("requested"));
    shop.run("update _core_migrations set success = true").await;
    assert_eq!(shop.ended(run_id).await.0, "ok");
    late.stop();
}
