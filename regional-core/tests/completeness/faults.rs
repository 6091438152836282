//! Pancake away, slow, confused, or against us.

use std::time::Duration;

use serde_json::json;

use super::shop::{Shop, WORKSPACE, lead};
use crate::support::eventually;
use crate::support::pancake_rest::Fault;

const BREAKER: &str = r#"pancake_circuit_breaker_state{name="pancake_rest"}"#;

#[tokio::test]
async fn while_it_is_down_the_watermark_stands_and_nothing_is_lost_and_the_breaker_opens() {
    let shop = Shop::open().await;
    shop.put_leads(0..10, 600);
    shop.pancake.set_fault(Fault::Status(502));
    assert_eq!(
        shop.failed("poll").await,
        "vn-main: Pancake fails with status 502"
    );
    let error = shop.failed("poll").await;
    assert_eq!(
        error,
        "vn-main: Pancake failed too often of late, and is not asked for a while"
    );
    assert_eq!(shop.pancake.requests().len(), 5, "four tries, and one more");
    assert!((shop.core.metric(BREAKER).await - 2.0).abs() < 0.1);
    assert_eq!(
        shop.count("select count(*) from pancake_watermark where complete_until is not null")
            .await,
        0
    );
    // A core that is started anew asks again.
    shop.pancake.set_fault(Fault::None);
    let mut shop = shop;
    shop.stop();
    shop.start();
    shop.done("poll").await;
    assert_eq!(shop.layers().await, "poll 10");
    assert!(shop.core.metric(BREAKER).await.abs() < 0.1);
}

#[tokio::test]
async fn one_answer_that_is_lost_is_asked_for_again() {
    let shop = Shop::open().await;
    shop.put_leads(0..10, 600);
    shop.pancake.set_fault(Fault::RateLimit {
        retry_after: 1,
        times: 1,
    });
    shop.done("poll").await;
    assert_eq!(shop.layers().await, "poll 10");
    let series = r#"pancake_rest_requests_total{operation="records",outcome="rate_limited"}"#;
    assert!((shop.core.metric(series).await - 1.0).abs() < 0.1);
}

#[tokio::test]
async fn what_takes_too_long_is_given_up() {
    let shop = Shop::open_with(|config| config.pancake.timeout = Duration::from_millis(100)).await;
    shop.put_leads(0..10, 600);
    shop.pancake.set_fault(Fault::Slow(Duration::from_secs(5)));
    assert_eq!(
        shop.failed("poll").await,
        "vn-main: Pancake took too long to answer"
    );
}

#[tokio::test]
async fn nonsense_is_said_to_be_nonsense() {
    for (nonsense, why) in [
        ("<html>", "it is not the JSON that is specified"),
        ("{}", "it has no entries"),
        (r#"{"entries":7}"#, "it is not the JSON that is specified"),
    ] {
        let shop = Shop::open().await;
        shop.pancake.set_fault(Fault::Nonsense(nonsense.to_owned()));
        let error = shop.failed("poll").await;
        assert_eq!(
            error,
            format!("vn-main: Pancake's answer cannot be read: {why}")
        );
    }
}

#[tokio::test]
async fn an_answer_that_is_wrong_is_an_answer_and_opens_no_breaker() {
    let shop = Shop::open().await;
    shop.add_connection("vn-2", "active").await;
    shop.pancake.set_fault(Fault::Nonsense("<html>".to_owned()));
    let error = shop.failed("expiry").await;
    assert!(
        error.contains("vn-2: Pancake's answer cannot be read"),
        "{error}"
    );
    let asked = shop.pancake.requests().len();
    assert!(asked > 5, "as often as opens it: {asked}");
    assert!(shop.core.metric(BREAKER).await.abs() < 0.1);
}

#[tokio::test]
async fn a_reconciliation_waits_for_an_open_breaker() {
    let shop = Shop::open().await;
    shop.pancake.set_fault(Fault::Status(502));
    for _ in 0..2 {
        shop.failed("poll").await;
    }
    shop.pancake.set_fault(Fault::None);
    let refused = r#"pancake_rest_requests_total{operation="records",outcome="breaker_open"}"#;
    let before = shop.core.metric(refused).await;
    let run_id = shop.request("reconciliation", &json!({})).await;
    eventually("it is told twice to wait", async || {
        shop.core.metric(refused).await > before + 1.5
    })
    .await;
    let state = format!("select state from job_run where run_id = '{run_id}'");
    assert_eq!(shop.text(&state).await.as_deref(), Some("running"));
}

#[tokio::test]
async fn pages_that_do_not_end_become_a_gap_that_is_closed_once_they_do() {
    for fault in [Fault::RepeatCursor, Fault::Endless] {
        let mut shop = Shop::open_with(|config| {
            config.jobs.first_poll = Duration::from_mins(30);
        })
        .await;
        shop.put_leads(0..40, 600);
        shop.pancake.set_fault(fault);
        for _ in 0..3 {
            assert_eq!(shop.failed("poll").await, "vn-main: Pancake repeats a page");
        }
        let gaps = shop
            .text("select gaps -> 0 ->> 'cause' from pancake_watermark where table_name = 'lead'")
            .await;
        assert_eq!(gaps.as_deref(), Some("Pancake repeats a page"));
        // What comes after is read.
        shop.advance(1200);
        shop.pancake.set_fault(Fault::None);
        shop.put_leads(50..51, -600);
        shop.done("poll").await;
        assert_eq!(shop.layers().await, "poll 41");
        let gaps = shop
            .count("select sum(jsonb_array_length(gaps))::bigint from pancake_watermark")
            .await;
        assert_eq!(gaps, 0);
    }
}

#[tokio::test]
async fn records_that_change_while_they_are_paged_are_found_by_the_next_poll_at_the_latest() {
    let shop = Shop::open().await;
    shop.put_leads(0..100, 600);
    shop.put_leads(100..101, 500);
    shop.pancake.set_fault(Fault::ChangeWhilePaged);
    shop.done("poll").await;
    shop.pancake.set_fault(Fault::None);
    shop.done("poll").await;
    let records = shop
        .count("select count(distinct record_id) from pancake_webhook_event")
        .await;
    assert_eq!(records, 101);
}

#[tokio::test]
async fn a_key_that_is_refused_is_told_until_another_is_taken() {
    let shop = Shop::open().await;
    shop.put_leads(0..1, 600);
    shop.pancake.set_fault(Fault::RefuseKey);
    let error = shop.failed("poll").await;
    assert!(error.contains("refuses the API key"), "{error}");
    assert_eq!(shop.pancake.requests().len(), 1, "it is not asked again");
    let refused = r#"pancake_api_key_refused{country="VN",connection="vn-main"}"#;
    eventually("it is told", async || {
        shop.core
            .get("/metrics")
            .await
            .text()
            .contains(&format!("{refused} 1"))
    })
    .await;
    shop.pancake.set_fault(Fault::None);
    shop.done("poll").await;
    eventually("it is taken", async || {
        shop.core
            .get("/metrics")
            .await
            .text()
            .contains(&format!("{refused} 0"))
    })
    .await;
    assert_eq!(
        shop.count("select count(*) from pancake_connection where api_key_accepted_at is not null")
            .await,
        1
    );
}

#[tokio::test]
async fn a_core_that_is_killed_in_the_middle_leaves_nothing_out_and_does_nothing_twice() {
    let mut shop = Shop::open().await;
    shop.put_leads(0..600, 600);
    shop.pancake.set_latency(Duration::from_millis(20));
    for job in ["poll", "reconciliation"] {
        let run_id = shop.request(job, &json!({})).await;
        let before = shop.core.count_events().await;
        if job == "poll" {
            eventually("it is under way", async || {
                shop.core.count_events().await > before + 50
            })
            .await;
        } else {
            eventually("it is under way", async || {
                shop.count("select coalesce(max(checked), 0) from pancake_reconciliation_run")
                    .await
                    > 0
            })
            .await;
        }
        shop.stop();
        shop.start();
        let (state, ..) = shop.ended(run_id).await;
        assert_eq!(state, "interrupted", "{job}");
        eventually("another run has done it", async || {
            shop.count(&format!(
                "select count(*) from job_run where job = '{job}' and country_code = 'VN' and state = 'ok' \
                 and number > (select number from job_run where run_id = '{run_id}')"
            ))
            .await
                == 1
        })
        .await;
    }
    assert_eq!(shop.layers().await, "poll 600");
    let records = shop
        .count("select count(distinct record_id) from pancake_webhook_event")
        .await;
    assert_eq!(records, 600);
}

#[tokio::test]
async fn a_record_of_a_megabyte_and_more_is_kept_in_part_with_its_cause() {
    let shop = Shop::open().await;
    let mut large = lead(1, 600);
    large["note"] = json!("x".repeat(1_100_000));
    shop.pancake.put(WORKSPACE, "lead", large);
    shop.put_leads(2..3, 600);
    shop.done("poll").await;
    assert_eq!(shop.layers().await, "poll 1");
    let kept = shop
        .text("select cause || ' ' || octet_length(body) from pancake_rejected_request")
        .await;
    assert_eq!(kept.as_deref(), Some("too_large 1048576"));
}
