//! Up to where a connection is complete is never said of what nobody read.

use std::time::Duration;

use serde_json::json;

use super::shop::Shop;
use crate::support::eventually;

/// So many seconds after the time at which the test begins.
const MARK: &str = "select extract(epoch from complete_until)::bigint - 1772323200 from pancake_watermark where table_name = 'lead'";

#[tokio::test]
async fn what_entered_while_it_was_read_does_not_count_as_read() {
    let shop = Shop::open_with(|config| config.jobs.first_poll = Duration::from_mins(30)).await;
    shop.pancake.set_latency(Duration::from_secs(1));
    let run_id = shop.request("poll", &json!({})).await;
    eventually("it asks", async || !shop.pancake.requests().is_empty()).await;
    shop.core.clock.advance(600);
    shop.pancake.set_latency(Duration::ZERO);
    assert_eq!(shop.ended(run_id).await.0, "ok");
    assert_eq!(shop.count(MARK).await, -60);
}

#[tokio::test]
async fn a_mark_that_a_clock_put_ahead_is_put_back_and_nothing_is_missed() {
    let mut shop = Shop::open().await;
    shop.advance(86_400);
    shop.done("poll").await;
    assert_eq!(shop.count(MARK).await, 86_340);
    shop.advance(7_200 - 86_400);
    // Long before what polling reads again.
    shop.put_leads(0..3, -3_600);
    shop.done("poll").await;
    assert_eq!(shop.layers().await, "poll 3");
    assert_eq!(shop.count(MARK).await, 7_140);
}

#[tokio::test]
async fn an_old_span_that_is_compared_before_the_first_poll_opens_no_history() {
    let shop = Shop::open().await;
    shop.put_leads(0..2, 600);
    let old = json!({"from": "2026-02-18T00:00:00Z", "to": "2026-02-18T02:00:00Z"});
    let run_id = shop.request("reconciliation", &old).await;
    assert_eq!(shop.ended(run_id).await.0, "ok");
    shop.pancake.forget_requests();
    shop.done("poll").await;
    assert_eq!(
        shop.pancake.requests().len(),
        72,
        "a day of three tables, by the hour"
    );
    assert_eq!(shop.layers().await, "poll 2");
    assert_eq!(shop.count(MARK).await, -60);
}

#[tokio::test]
async fn what_polling_had_no_turn_for_yet_is_not_missed() {
    let mut shop = Shop::open().await;
    shop.done("poll").await;
    shop.put_leads(0..1, 120);
    shop.put_leads(1..2, 400);
    assert_eq!(shop.done("reconciliation").await["vn-main"]["missing"], 1);
    let window = "select (extract(epoch from window_to)::bigint - 1772323200)::text \
         from pancake_reconciliation_run";
    assert_eq!(shop.text(window).await.as_deref(), Some("-360"));
    shop.advance(60);
    shop.done("poll").await;
    assert_eq!(shop.layers().await, "poll 1, reconcile 1");
}

#[tokio::test]
async fn what_is_read_of_a_workspace_says_nothing_of_the_one_that_takes_its_place() {
    let shop = Shop::open_with(|config| config.jobs.first_poll = Duration::from_mins(30)).await;
    shop.pancake.set_latency(Duration::from_secs(1));
    let run_id = shop.request("poll", &json!({})).await;
    eventually("it asks", async || !shop.pancake.requests().is_empty()).await;
    shop.run("update pancake_connection set workspace = '77'")
        .await;
    shop.pancake.set_latency(Duration::ZERO);
    let (state, error, _) = shop.ended(run_id).await;
    assert_eq!(state, "failed");
    assert!(error.unwrap().contains("workspace was changed meanwhile"));
    let marks = "select count(*) from pancake_watermark where complete_until is not null";
    assert_eq!(shop.count(marks).await, 0);
}
