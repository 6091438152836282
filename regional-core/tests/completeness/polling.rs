//! Polling finds what webhooks did not bring, and moves the watermark.

use serde_json::json;

use super::shop::{Shop, WORKSPACE, lead};
use crate::support::NOW;

const MARK: &str = "select complete_until::text from pancake_watermark where table_name = 'lead'";

#[tokio::test]
async fn what_no_webhook_brought_is_found_once_and_the_watermark_moves_on() {
    let mut shop = Shop::open().await;
    shop.put_leads(0..70, 3600);
    for number in 0..5 {
        shop.post_lead(number, 3600).await;
    }
    for table in ["account", "contact"] {
        let mut record = lead(900, 60);
        record["id"] = json!(uuid::Uuid::new_v4().to_string());
        shop.pancake.put(WORKSPACE, table, record);
    }
    let progress = shop.done("poll").await;
    assert_eq!(
        progress["vn-main"],
        json!({"checked": 72, "brought": 67, "pages": 74})
    );
    assert_eq!(shop.layers().await, "poll 67, webhook 5");
    let settled = jiff::Timestamp::from_second(NOW - 60).unwrap();
    let mark = shop
        .text(MARK)
        .await
        .unwrap()
        .replace(' ', "T")
        .replace("+00", "Z");
    assert_eq!(mark.parse::<jiff::Timestamp>().unwrap(), settled);

    let progress = shop.done("poll").await;
    assert_eq!(progress["vn-main"]["brought"], 0);
    assert_eq!(shop.layers().await, "poll 67, webhook 5");

    // What a webhook brings late is a delivery of its own, and the next poll finds nothing in it.
    shop.put_leads(100..101, 30);
    shop.advance(60);
    assert_eq!(shop.done("poll").await["vn-main"]["brought"], 1);
    shop.core.post(lead(100, 30).to_string()).await;
    assert_eq!(shop.done("poll").await["vn-main"]["brought"], 0);
    let series = r#"pancake_records_found_total{country="VN",connection="vn-main",layer="poll"}"#;
    assert!((shop.core.metric(series).await - 68.0).abs() < 0.5);
}

#[tokio::test]
async fn a_record_is_known_by_the_time_of_its_change_to_the_second_where_one_form_has_no_more() {
    let shop = Shop::open().await;
    let mut by_webhook = lead(1, 600);
    by_webhook["modified_on"] = json!("2026-02-28T23:50:00");
    shop.core
        .post(by_webhook.to_string())
        .await
        .event_id("accepted");
    let mut listed = by_webhook.clone();
    listed["modified_on"] = json!("2026-02-28T23:50:00.123456Z");
    listed["interested_product"] = json!(["A"]);
    shop.pancake.put(WORKSPACE, "lead", listed.clone());
    assert_eq!(shop.done("poll").await["vn-main"]["brought"], 0);

    listed["modified_on"] = json!("2026-02-28T23:50:01.000001Z");
    shop.pancake.put(WORKSPACE, "lead", listed.clone());
    assert_eq!(shop.done("poll").await["vn-main"]["brought"], 1);
    listed["modified_on"] = json!("2026-02-28T23:50:01.000002Z");
    shop.pancake.put(WORKSPACE, "lead", listed);
    assert_eq!(
        shop.done("poll").await["vn-main"]["brought"],
        1,
        "both are exact, and differ"
    );
}

#[tokio::test]
async fn a_record_without_the_time_of_its_change_is_compared_by_what_both_forms_have() {
    let mut shop = Shop::open().await;
    let mut record = lead(1, 0);
    record.as_object_mut().unwrap().remove("modified_on");
    let mut by_webhook = record.clone();
    by_webhook["pancake_tags_obj"] = json!([{"id": "1_11", "text": "VIP"}]);
    shop.core
        .post(by_webhook.to_string())
        .await
        .event_id("accepted");
    shop.pancake.put(WORKSPACE, "lead", record.clone());
    assert_eq!(shop.done("poll").await["vn-main"]["brought"], 0);
    record["phone_number"] = json!("0987654321");
    shop.pancake.put(WORKSPACE, "lead", record.clone());
    assert_eq!(shop.done("poll").await["vn-main"]["brought"], 1);
    assert_eq!(shop.done("poll").await["vn-main"]["brought"], 0);
    // Back to what it was: that is news again, since the latest event is compared.
    shop.pancake.put(WORKSPACE, "lead", {
        record["phone_number"] = by_webhook["phone_number"].clone();
        record
    });
    shop.advance(1);
    assert_eq!(shop.done("poll").await["vn-main"]["brought"], 1);
}

#[tokio::test]
async fn what_is_no_record_is_kept_and_costs_the_others_nothing() {
    let shop = Shop::open().await;
    shop.put_leads(0..3, 600);
    let mut odd = lead(7, 600);
    odd["id"] = json!("not-a-uuid");
    shop.pancake.put(WORKSPACE, "lead", odd);
    let mut refused = lead(8, 600);
    refused["name"] = json!("x");
    refused["source"] = json!([["\u{0}"], "\u{0}", "ok"]);
    shop.pancake.put(WORKSPACE, "lead", refused);
    for _ in 0..2 {
        shop.done("poll").await;
    }
    assert_eq!(shop.layers().await, "poll 4");
    let kept = shop
        .text("select cause || ' ' || layer || ' ' || coalesce(verdict, '-') from pancake_rejected_request")
        .await;
    assert_eq!(kept.as_deref(), Some("id_not_a_uuid poll -"));
}

#[tokio::test]
async fn connections_without_a_key_or_that_are_disabled_are_not_asked_for_and_one_that_fails_costs_no_other()
 {
    let shop = Shop::open().await;
    shop.put_leads(0..1, 600);
    shop.add_connection("vn-off", "disabled").await;
    shop.add_connection("vn-odd", "active").await;
    shop.run(
        "insert into pancake_connection (connection_id, country_code, workspace) values ('vn-new', 'VN', '5'); \
         update pancake_connection set workspace = 'Cửa hàng' where connection_id = 'vn-odd'",
    )
    .await;
    let error = shop.failed("poll").await;
    assert!(
        error.starts_with(
            "vn-odd: its workspace is not the number that Pancake's interface takes: set it by PATCH"
        ),
        "{error}"
    );
    assert_eq!(shop.layers().await, "poll 1");
    assert_eq!(
        shop.count("select count(*) from pancake_watermark").await,
        3
    );
}

#[tokio::test]
async fn a_poll_says_what_its_connections_lack() {
    let shop = Shop::open().await;
    shop.run(
        "insert into pancake_connection (connection_id, country_code, workspace, status) \
         values ('vn-new', 'VN', null, 'active'), ('vn-off', 'VN', null, 'disabled'); \
         update pancake_connection set api_key_encrypted = null where connection_id = 'vn-main'",
    )
    .await;
    assert_eq!(
        shop.done("poll").await,
        json!({"connections": 0, "without_api_key": 2, "without_workspace": 1})
    );
}

#[tokio::test]
async fn a_list_that_heeds_no_filter_brings_no_history() {
    let shop = Shop::open().await;
    shop.put_leads(0..40, 30 * 86_400);
    shop.put_leads(40..45, 600);
    shop.pancake
        .set_fault(crate::support::pancake_rest::Fault::IgnoreFilter);
    shop.done("poll").await;
    assert_eq!(shop.layers().await, "poll 5");
}

#[tokio::test]
async fn the_key_is_in_no_log_table_or_metric() {
    let shop = Shop::open().await;
    shop.put_leads(0..1, 600);
    shop.done("poll").await;
    let metrics = shop.core.get("/metrics").await.text();
    assert!(!metrics.contains("signs"), "{metrics}");
    assert_eq!(
        shop.count("select count(*) from job_run where job_run::text like '%signs%'")
            .await,
        0
    );
}
