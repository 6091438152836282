//! Events that were held back or failed are sent through again.

use protocol::Country;
use regional_core::processing::replay::{ReplayFilter, count};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::office::Office;

async fn counted(office: &Office, filter: &ReplayFilter) -> i64 {
    let mut connection = office.core.pool.acquire().await.unwrap();
    count(&mut connection, Country::parse("VN").unwrap(), filter)
        .await
        .unwrap()
}

/// Counts a selection, lets it run, and waits for its end; gives how many were moved.
async fn replay(office: &Office, filter: &ReplayFilter) -> i64 {
    let id = Uuid::now_v7();
    let total = counted(office, filter).await;
    sqlx::query(
        "insert into pancake_replay (replay_id, country_code, filter, state, total, created_by) \
         values ($1, 'VN', $2, 'running', $3, 'an-admin')",
    )
    .bind(id)
    .bind(serde_json::to_value(filter).unwrap())
    .bind(total)
    .execute(&office.core.pool)
    .await
    .unwrap();
    let done =
        format!("select count(*) from pancake_replay where replay_id = '{id}' and state = 'done'");
    office.wait_for(1, &done).await;
    office.wait_until_none_waits().await;
    office
        .number(&format!(
            "select done from pancake_replay where replay_id = '{id}'"
        ))
        .await
}

const TICKETS: &str = "select count(*) from ticket";

#[tokio::test]
async fn what_a_switch_held_back_is_processed_once_however_often_it_is_replayed() {
    let office = Office::open(1).await;
    office.process(json!({"n": "before"})).await;
    office.set_switches(true, false).await;
    // More than one batch of a replay.
    for number in 0..520 {
        office.post(json!({"n": number})).await;
    }
    office.wait_until_none_waits().await;
    let all = ReplayFilter::default();
    assert_eq!(counted(&office, &all).await, 520);
    assert_eq!(office.number(TICKETS).await, 1);

    // The switch is still on: they come back to where they were.
    assert_eq!(replay(&office, &all).await, 520);
    assert_eq!(office.number(TICKETS).await, 1);

    office.set_switches(false, false).await;
    assert_eq!(replay(&office, &all).await, 520);
    assert_eq!(office.number(TICKETS).await, 521);
    assert_eq!(replay(&office, &all).await, 0);
    assert_eq!(office.number(TICKETS).await, 521);
}

#[tokio::test]
async fn a_selection_is_no_more_than_was_asked_for() {
    let office = Office::open(1).await;
    let off = office.post(json!({"source": ["off"], "n": 1})).await;
    office.post(json!({"source": ["other"], "n": 2})).await;
    office.settled(off).await;
    office.set_switches(true, false).await;
    let killed = office.post(json!({"n": 3})).await;
    office.settled(killed).await;
    office.wait_until_none_waits().await;
    let received: OffsetDateTime =
        sqlx::query_scalar("select max(received_at) from pancake_webhook_event")
            .fetch_one(&office.core.pool)
            .await
            .unwrap();
    let received = received.format(&Rfc3339).unwrap();
    for (filter, expected) in [
        (json!({}), 3),
        (json!({"event_ids": [off]}), 1),
        (json!({"event_ids": []}), 0),
        (json!({"states": ["skipped_kill_switch"]}), 1),
        (json!({"states": ["dead_letter", "failed"]}), 0),
        (json!({"source_id": "other"}), 1),
        (json!({"source_id": "(none)"}), 1),
        (json!({"connection_id": "vn-main"}), 3),
        (json!({"connection_id": "vn-other"}), 0),
        (json!({"received_from": received}), 3),
        (json!({"received_to": received}), 0),
    ] {
        let read: ReplayFilter = serde_json::from_value(filter.clone()).unwrap();
        assert_eq!(counted(&office, &read).await, expected, "{filter}");
        assert_eq!(serde_json::to_value(&read).unwrap(), filter);
    }
    office.set_switches(false, false).await;
    let one = ReplayFilter {
        event_ids: Some(vec![killed]),
        ..ReplayFilter::default()
    };
    assert_eq!(replay(&office, &one).await, 1);
    assert_eq!(office.number(TICKETS).await, 1);
    assert_eq!(counted(&office, &ReplayFilter::default()).await, 2);
}
