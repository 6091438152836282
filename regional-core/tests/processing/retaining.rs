//! What is personal goes after a while, and what tells deliveries apart stays.

use std::time::Duration;

use protocol::Country;
use protocol::hop::HopKey;
use regional_core::processing::replay::{ReplayFilter, count};
use regional_core::receipt::{PayloadFinding, verify_receipt};
use serde_json::json;
use time::OffsetDateTime;

use super::office::{Office, PHONE};
use crate::support::NOW;
use crate::support::edge::{KEYID, SECRET};

/// Whose clock is the database's: by both it is decided what is old.
async fn office() -> Office {
    let mut office = Office::closed_with(1, |config| {
        (config.jobs.retention, config.jobs.look) =
            (Duration::from_millis(50), Duration::from_millis(10));
    })
    .await;
    let now = OffsetDateTime::now_utc().unix_timestamp();
    office.core.clock.advance(now - NOW);
    office.core.edge.created = now;
    office
}

const BLANKED: &str = "select count(*) from pancake_webhook_event where blanked_at is not null";

#[tokio::test]
async fn personal_data_of_old_events_that_are_done_with_goes_and_nothing_else() {
    let mut office = office().await;
    let person = |n: u32| json!({"name": "Nguyễn Văn A", "phone_number": PHONE, "email": "a@example.com", "n": n});
    office
        .run(
            "create function refuse() returns trigger language plpgsql as $$ begin \
         if new.subject = 'poison' then raise exception 'no'; end if; return new; end $$; \
         create trigger refuse before insert on ticket for each row execute function refuse()",
        )
        .await;
    office
        .core
        .post("[\"a person\"]")
        .await
        .assert_invalid_payload();
    let failed = office.post(json!({"name": "poison"})).await;
    let old = office.post(person(1)).await;
    let young = office.post(person(2)).await;
    office.start();
    office.start_jobs();
    office.wait_until_none_waits().await;
    office.run(&format!(
        "update pancake_webhook_event set received_at = now() - interval '179 days' where event_id = '{young}'; \
         update pancake_webhook_event set received_at = now() - interval '181 days' where event_id <> '{young}'; \
         update pancake_rejected_request set received_at = now() - interval '181 days', \
                last_received_at = now() - interval '181 days'"
    ))
    .await;
    office.wait_for(1, BLANKED).await;
    office
        .wait_for(1, "select count(*) from pancake_rejected_request where blanked_at is not null and body = ''")
        .await;
    let left = office
        .texts(&format!(
            "select concat_ws(' ', name, phone_number, email, normalized_phone, convert_from(payload, 'UTF8')) \
             from pancake_webhook_event where event_id = '{old}'"
        ))
        .await;
    assert_eq!(left, [Some(String::new())]);
    let whole = format!(
        "select count(*) from pancake_webhook_event where event_id in ('{young}', '{failed}') and payload is not null"
    );
    assert_eq!(
        office.number(&whole).await,
        2,
        "too young, or not done with"
    );

    // The same delivery is still known, and its receipt still good.
    let again = office.core.post(person(1).to_string()).await;
    assert_eq!(again.event_id("duplicate"), old);
    let mut connection = office.core.pool.acquire().await.unwrap();
    let key = HopKey::new(KEYID, SECRET.as_bytes()).unwrap();
    let receipt = verify_receipt(&mut connection, &[key], old)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(receipt.payload, PayloadFinding::Blanked);
    assert!(receipt.is_good());
    assert!((office.core.metric("pancake_blanked_rows_total").await - 2.0).abs() < 0.5);
}

#[tokio::test]
async fn a_country_may_have_a_period_of_its_own() {
    let mut office = office().await;
    let mut edge = office.core.edge.clone();
    (edge.country, edge.connection) = ("SG", "sg-main");
    office
        .core
        .send(edge.record(r#"{"n":1}"#))
        .await
        .event_id("accepted");
    office.post(json!({"n": 2})).await;
    office
        .run(
            "update app_setting set app_settings = jsonb_set(app_settings, \
             '{pancake_integration,retention_days}', '30')",
        )
        .await;
    office.start();
    office.start_jobs();
    office.wait_until_none_waits().await;
    office
        .run("update pancake_webhook_event set received_at = now() - interval '31 days'")
        .await;
    let vietnam = format!("{BLANKED} and country_code = 'VN'");
    office.wait_for(1, &vietnam).await;
    assert_eq!(office.number(BLANKED).await, 1);
    // What nobody could have meant is not taken for a period.
    for nonsense in ["0", "-1", "\"soon\"", "100000", "null"] {
        office
            .run(&format!(
                "update app_setting set app_settings = jsonb_set(app_settings, \
                 '{{pancake_integration,retention_days}}', '{nonsense}')"
            ))
            .await;
    }
    let event = office.post(json!({"n": 3})).await;
    assert_eq!(office.settled(event).await, "processed");
    office
        .run("update pancake_webhook_event set received_at = now() - interval '179 days' where blanked_at is null")
        .await;
    // Seen to be passed over: the next look blanks what is old enough by the default.
    let older = office.post(json!({"n": 4})).await;
    assert_eq!(office.settled(older).await, "processed");
    office
        .run(&format!(
            "update pancake_webhook_event set received_at = now() - interval '181 days' where event_id = '{older}'"
        ))
        .await;
    office.wait_for(2, BLANKED).await;
}

#[tokio::test]
async fn what_was_blanked_is_not_replayed() {
    let mut office = office().await;
    office.set_switches(true, false).await;
    let event = office.post(json!({"phone_number": PHONE})).await;
    office.start();
    office.start_jobs();
    assert_eq!(office.settled(event).await, "skipped_kill_switch");
    let counted = async || {
        let mut connection = office.core.pool.acquire().await.unwrap();
        let country = Country::parse("VN").unwrap();
        count(&mut connection, country, &ReplayFilter::default())
            .await
            .unwrap()
            .events
    };
    assert_eq!(counted().await, 1);
    office
        .run("update pancake_webhook_event set received_at = now() - interval '181 days'")
        .await;
    office.wait_for(1, BLANKED).await;
    assert_eq!(counted().await, 0);
}

#[tokio::test]
async fn a_batch_that_takes_too_long_is_made_smaller() {
    let mut office = Office::closed_with(1, |config| {
        config.database.statement_timeout = Duration::from_millis(500);
        (config.jobs.retention, config.jobs.look) =
            (Duration::from_millis(50), Duration::from_millis(10));
    })
    .await;
    office
        .run(
            "insert into pancake_webhook_event (event_id, country_code, region_id, connection_id, layer, status, \
                    payload_hash, payload, received_at) \
             select gen_random_uuid(), 'VN', 'smp-asia', 'vn-main', 'poll', 'processed', \
                    sha256(n::text::bytea), '{}', now() - interval '181 days' from generate_series(1, 20) as n; \
             create function blank_slowly() returns trigger language plpgsql as $$ begin \
             perform pg_sleep(0.06); return new; end $$; \
             create trigger blank_slowly before update on pancake_webhook_event \
             for each row execute function blank_slowly()",
        )
        .await;
    office.start();
    office.start_jobs();
    office.wait_for(20, BLANKED).await;
}
