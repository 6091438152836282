//! The daily comparison.

use std::time::Duration;

use serde_json::json;

use super::shop::Shop;

#[tokio::test]
async fn what_polling_missed_is_found_reported_and_healed() {
    let shop = Shop::open().await;
    shop.done("poll").await;
    // Older than what polling reads again.
    shop.put_leads(0..40, 20 * 3600);
    shop.post_lead(0, 20 * 3600).await;
    assert_eq!(shop.done("poll").await["vn-main"]["brought"], 0);
    let progress = shop.done("reconciliation").await;
    assert_eq!(progress["vn-main"]["missing"], 39);
    assert_eq!(shop.layers().await, "reconcile 39, webhook 1");
    let report = shop
        .text(
            "select concat_ws(' ', checked, missing, healed, error, finished_at is not null, \
                    window_to - window_from) from pancake_reconciliation_run",
        )
        .await;
    assert_eq!(report.as_deref(), Some("40 39 39 t 2 days"));
    assert_eq!(shop.done("reconciliation").await["vn-main"]["missing"], 0);
    let series = r#"pancake_reconciliation_missing{country="VN"}"#;
    crate::support::eventually("it is told", async || {
        shop.core
            .get("/metrics")
            .await
            .text()
            .contains(&format!("{series} 39"))
    })
    .await;
}

#[tokio::test]
async fn somebody_may_ask_for_another_span() {
    let shop = Shop::open().await;
    shop.put_leads(0..3, 10 * 86_400);
    let parameters = json!({"from": "2026-02-18T00:00:00Z", "to": "2026-02-20T00:00:00Z"});
    let run_id = shop.request("reconciliation", &parameters).await;
    assert_eq!(shop.ended(run_id).await.0, "ok");
    assert_eq!(shop.layers().await, "reconcile 3");
    for parameters in [
        json!({"from": "2026-02-20T00:00:00Z", "to": "2026-02-18T00:00:00Z"}),
        json!({"from": "yesterday"}),
        json!({"form": "2026-02-18T00:00:00Z"}),
    ] {
        let run_id = shop.request("reconciliation", &parameters).await;
        let (state, error, _) = shop.ended(run_id).await;
        assert_eq!(state, "failed");
        assert!(error.unwrap().contains("RFC 3339"), "{parameters}");
    }
}

#[tokio::test]
async fn it_closes_the_gaps_that_polling_left() {
    use crate::support::pancake_rest::Fault;
    let mut shop = Shop::open_with(|config| config.jobs.first_poll = Duration::from_mins(30)).await;
    shop.put_leads(0..40, 600);
    shop.pancake.set_fault(Fault::RepeatCursor);
    for _ in 0..3 {
        shop.failed("poll").await;
    }
    shop.pancake.set_fault(Fault::None);
    // What was changed a moment ago is for polling to read.
    shop.advance(600);
    shop.done("reconciliation").await;
    let gaps = "select sum(jsonb_array_length(gaps))::bigint from pancake_watermark";
    assert_eq!(shop.count(gaps).await, 0);
    assert_eq!(shop.layers().await, "poll 30, reconcile 10");
}
