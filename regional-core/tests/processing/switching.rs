//! Switches: who may pass.

use serde_json::json;

use super::office::{E164, Office, PHONE};
use crate::support::NOW;
use crate::support::edge::Edge;

#[tokio::test]
async fn nothing_is_processed_in_a_country_where_nobody_has_said_so() {
    let mut office = Office::closed(1).await;
    office.run("delete from app_setting").await;
    office.start();
    let event = office.post(json!({"phone_number": PHONE})).await;
    assert_eq!(office.settled(event).await, "skipped_kill_switch");
    // It is found by its number all the same.
    let found =
        format!("select count(*) from pancake_webhook_event where normalized_phone = '{E164}'");
    assert_eq!(office.number(&found).await, 1);
    assert_eq!(office.number("select count(*) from ticket").await, 0);
}

#[tokio::test]
async fn the_kill_switch_holds_for_the_next_event() {
    let office = Office::open(1).await;
    office.process(json!({"n": 1})).await;
    office.set_switches(true, false).await;
    let event = office.post(json!({"n": 2})).await;
    assert_eq!(office.settled(event).await, "skipped_kill_switch");
    office.set_switches(false, false).await;
    office.process(json!({"n": 3})).await;
    assert_eq!(office.number("select count(*) from ticket").await, 2);
}

#[tokio::test]
async fn a_source_that_is_seen_first_is_registered_and_off() {
    let office = Office::open(1).await;
    let event = office.post(json!({"source": ["tiktok"]})).await;
    assert_eq!(office.settled(event).await, "skipped_source_disabled");
    let registered =
        "select count(*) from pancake_source where source_id = 'tiktok' and not is_active";
    assert_eq!(office.number(registered).await, 1);
    office.activate("tiktok").await;
    office.process(json!({"source": ["tiktok"], "n": 2})).await;
    // One active source of several is enough; the others are registered.
    office
        .process(json!({"source": ["shopee", "tiktok"]}))
        .await;
    assert_eq!(
        office.number("select count(*) from pancake_source").await,
        3
    );
}

#[tokio::test]
async fn a_connection_that_is_seen_first_is_registered() {
    let mut office = Office::closed(1).await;
    office.core.edge.connection = "vn-other";
    office.start();
    let event = office.post(json!({"n": 1})).await;
    assert_eq!(office.settled(event).await, "skipped_source_disabled");
    let registered = "select count(*) from pancake_source join pancake_connection using (connection_id) \
         where connection_id = 'vn-other' and source_id = '(none)' and status = 'active'";
    assert_eq!(office.number(registered).await, 1);
}

/// The test's clock stands at [`NOW`]; what waited at the edge was received before.
#[tokio::test]
async fn a_disabled_connection_takes_what_was_received_until_then_and_nothing_after() {
    let mut office = Office::closed(1).await;
    // Another country's of that name is none of its own.
    office
        .run(
            "insert into pancake_connection (connection_id, country_code, status, status_changed_at) \
             values ('vn-main', 'SG', 'disabled', '2020-01-01')",
        )
        .await;
    let set_status = async |office: &Office, status: &str, at: i64| {
        office
            .run(&format!(
                "update pancake_connection set status = '{status}', status_changed_at = to_timestamp({at}) \
                 where country_code = 'VN' and connection_id = 'vn-main'"
            ))
            .await;
    };
    let waited_since = async |office: &Office, created: i64, record: &str| {
        let sealed = Edge {
            created,
            ..Edge::default()
        }
        .sealed(record.as_bytes());
        let delivery = office.core.edge.delivery(sealed);
        office.core.send(delivery).await.event_id("accepted")
    };
    set_status(&office, "disabled", NOW - 5).await;
    let before = waited_since(&office, NOW - 10, r#"{"n":1}"#).await;
    let after = waited_since(&office, NOW - 4, r#"{"n":2}"#).await;
    let straight = office.post(json!({"n": 3})).await;
    office.start();
    assert_eq!(office.settled(before).await, "processed");
    assert_eq!(office.settled(after).await, "skipped_source_disabled");
    assert_eq!(office.settled(straight).await, "skipped_source_disabled");

    // It holds for the next event, as it ends with the next one.
    set_status(&office, "suspended", NOW - 3).await;
    office.process(json!({"n": 4})).await;
    set_status(&office, "disabled", NOW - 2).await;
    let event = office.post(json!({"n": 5})).await;
    assert_eq!(office.settled(event).await, "skipped_source_disabled");
    set_status(&office, "active", NOW - 1).await;
    office.process(json!({"n": 6})).await;
    assert_eq!(office.settled(after).await, "skipped_source_disabled");
}

#[tokio::test]
async fn while_processing_is_paused_records_are_taken_and_wait() {
    let office = Office::open(1).await;
    office.set_switches(false, true).await;
    let event = office.post(json!({"n": 1})).await;
    // The next one of a country that is not paused is dealt with meanwhile.
    let mut edge = office.core.edge.clone();
    (edge.country, edge.connection) = ("SG", "sg-main");
    let answer = office.core.send(edge.record(r#"{"n":2}"#)).await;
    assert_eq!(
        office.settled(answer.event_id("accepted")).await,
        "skipped_kill_switch"
    );
    let waiting = "select count(*) from pancake_webhook_event where status = 'received'";
    assert_eq!(office.number(waiting).await, 1);
    office.set_switches(false, false).await;
    assert_eq!(office.settled(event).await, "processed");
}

#[tokio::test]
async fn a_connection_of_two_countries_has_its_own_sources_in_each() {
    let office = Office::open(1).await;
    office
        .run(
            "insert into app_setting (country_code) values ('SG') on conflict do nothing; \
             update app_setting set app_settings = jsonb_set(app_settings, '{pancake_integration,kill_switch}', 'false')",
        )
        .await;
    // In the other country it is taken already.
    office.process(json!({"n": 1})).await;
    let mut edge = office.core.edge.clone();
    edge.country = "SG";
    let answer = office.core.send(edge.record(r#"{"n":2}"#)).await;
    let event = answer.event_id("accepted");
    assert_eq!(office.settled(event).await, "skipped_source_disabled");
    let switched_on = sqlx::query(
        "update pancake_source set is_active = true \
         where country_code = 'SG' and connection_id = 'vn-main' and source_id = '(none)'",
    )
    .execute(office.core.database.owner_pool())
    .await
    .unwrap();
    assert_eq!(switched_on.rows_affected(), 1);
    let answer = office.core.send(edge.record(r#"{"n":3}"#)).await;
    let event = answer.event_id("accepted");
    assert_eq!(office.settled(event).await, "processed");
}
