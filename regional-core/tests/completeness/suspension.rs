//! Webhooks that stay away are noticed.

use super::shop::Shop;

const STATUS: &str = "select status from pancake_connection where connection_id = 'vn-main'";
const HISTORY: &str = "select string_agg(status || ': ' || reason, '; ' order by changed_at) \
     from pancake_connection_status";

#[tokio::test]
async fn newer_records_without_a_webhook_suspend_a_connection_until_webhooks_come_again() {
    let mut shop = Shop::open().await;
    shop.put_leads(0..5, 3600);
    for number in 0..5 {
        shop.post_lead(number, 3600).await;
    }
    shop.done("poll").await;
    assert_eq!(shop.text(STATUS).await.as_deref(), Some("active"));

    shop.advance(900);
    shop.put_leads(10..12, -200);
    shop.done("poll").await;
    assert_eq!(
        shop.text(STATUS).await.as_deref(),
        Some("active"),
        "two may be an accident"
    );
    shop.put_leads(12..13, -300);
    shop.done("poll").await;
    assert_eq!(shop.text(STATUS).await.as_deref(), Some("suspended"));
    let series =
        r#"pancake_connection_status{country="VN",connection="vn-main",status="suspended"} 1"#;
    crate::support::eventually("it is told", async || {
        shop.core.get("/metrics").await.text().contains(series)
    })
    .await;

    // Somebody enabled it at Pancake. The database's clock says since when it was suspended.
    shop.run("update pancake_connection set status_changed_at = to_timestamp(1772323200 + 900)")
        .await;
    shop.advance(600);
    shop.put_leads(20..21, -1200);
    shop.post_lead(20, -1200).await;
    shop.done("poll").await;
    assert_eq!(shop.text(STATUS).await.as_deref(), Some("active"));
    let history = shop.text(HISTORY).await.unwrap();
    assert!(
        history.starts_with("suspended: no webhook came"),
        "{history}"
    );
    assert!(
        history.ends_with("active: webhooks come again"),
        "{history}"
    );
}

#[tokio::test]
async fn a_country_with_a_suspended_connection_is_polled_more_often() {
    let shop = Shop::open_with(|config| {
        config.jobs.poll_suspended = std::time::Duration::from_millis(100);
    })
    .await;
    shop.run("update pancake_connection set status = 'suspended'")
        .await;
    crate::support::eventually("it is polled again and again", async || {
        shop.count("select count(*) from job_run where job = 'poll' and country_code = 'VN' and state = 'ok'")
            .await
            >= 4
    })
    .await;
    let others = "select count(*) from job_run where job = 'poll' and country_code = 'SG'";
    assert_eq!(shop.count(others).await, 1);
}

#[tokio::test]
async fn a_change_that_is_dated_in_the_future_does_not_hide_that_webhooks_stay_away() {
    let mut shop = Shop::open().await;
    shop.pancake
        .set_fault(crate::support::pancake_rest::Fault::IgnoreFilter);
    shop.put_leads(0..1, -300 * 86_400);
    shop.post_lead(0, -300 * 86_400).await;
    shop.done("poll").await;
    shop.advance(900);
    shop.put_leads(10..13, -200);
    shop.done("poll").await;
    assert_eq!(shop.text(STATUS).await.as_deref(), Some("suspended"));
}
