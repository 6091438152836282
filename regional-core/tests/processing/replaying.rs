//! Events that were held back or failed are sent through again.

use std::time::Duration;

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
        .events
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
    let other = office.post(json!({"source": ["other"], "n": 2})).await;
    office.settled(off).await;
    office.settled(other).await;
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

/// Lets a selection run that nobody counted.
async fn run(office: &Office, filter: &str) -> Uuid {
    let id = Uuid::now_v7();
    office
        .run(&format!(
            "insert into pancake_replay (replay_id, country_code, filter, state, total, created_by) \
             values ('{id}', 'VN', '{filter}', 'running', 0, 'an-admin')"
        ))
        .await;
    id
}

async fn done(office: &Office, replay: Uuid) -> i64 {
    let is_done = format!(
        "select count(*) from pancake_replay where replay_id = '{replay}' and state = 'done'"
    );
    office.wait_for(1, &is_done).await;
    let moved = format!("select done from pancake_replay where replay_id = '{replay}'");
    office.number(&moved).await
}

/// Events of a source that is off, held back.
async fn hold_back(office: &Office, events: u32, source: &str) {
    office
        .run(&format!(
            "insert into pancake_webhook_event (event_id, country_code, region_id, connection_id, layer, status, \
                    payload_hash, payload, source_ids) \
             select gen_random_uuid(), 'VN', 'smp-asia', 'vn-main', 'poll', 'skipped_source_disabled', \
                    sha256(('{source}' || n)::bytea), '{{}}', '{{{source}}}' from generate_series(1, {events}) as n"
        ))
        .await;
}

#[tokio::test]
async fn a_replay_that_cannot_be_read_holds_up_no_other() {
    let mut office = Office::closed(1).await;
    hold_back(&office, 3, "off").await;
    run(&office, r#"{"of a newer binary": 1}"#).await;
    run(&office, r#"{"received_from": "never"}"#).await;
    let readable = run(&office, "{}").await;
    office.start();
    assert_eq!(done(&office, readable).await, 3);
    let running = "select count(*) from pancake_replay where state = 'running'";
    assert_eq!(
        office.number(running).await,
        2,
        "another binary may know it"
    );
}

#[tokio::test]
async fn a_replay_that_takes_too_long_holds_up_no_other() {
    let mut office = Office::closed_with(1, |config| {
        config.database.statement_timeout = Duration::from_millis(300);
    })
    .await;
    hold_back(&office, 3, "slow").await;
    hold_back(&office, 3, "off").await;
    office
        .run(
            "create function dawdle() returns trigger language plpgsql as $$ begin \
             if new.status = 'received' and new.source_ids = '{slow}' then perform pg_sleep(30); end if; \
             return new; end $$; \
             create trigger dawdle before update on pancake_webhook_event for each row execute function dawdle()",
        )
        .await;
    run(&office, r#"{"source_id": "slow"}"#).await;
    let quick = run(&office, r#"{"source_id": "off"}"#).await;
    office.start();
    assert_eq!(done(&office, quick).await, 3);
}

#[tokio::test]
async fn a_replay_ends_although_more_is_held_back_meanwhile() {
    let mut office = Office::closed(1).await;
    hold_back(&office, 3, "off").await;
    // Each event that is moved brings another, with a higher id.
    office
        .run(
            "create sequence number; \
             create function bring_another() returns trigger language plpgsql security definer as $$ begin \
             insert into pancake_webhook_event (event_id, country_code, region_id, connection_id, layer, status, \
                    payload_hash, payload, source_ids) \
             select ('ffffffff-ffff-7fff-8fff-' || lpad(n::text, 12, '0'))::uuid, 'VN', 'smp-asia', 'vn-main', \
                    'poll', 'skipped_source_disabled', sha256(('x' || n)::bytea), '{}', '{off}' \
             from nextval('number') as n; return null; end $$; \
             create trigger bring_another after update on pancake_webhook_event for each row \
             when (new.status = 'received') execute function bring_another()",
        )
        .await;
    let replay = run(&office, "{}").await;
    office.start();
    assert_eq!(done(&office, replay).await, 3);
}

#[tokio::test]
async fn of_very_many_that_are_held_back_few_are_looked_at_at_once() {
    let mut office = Office::closed(1).await;
    hold_back(&office, 3, "wanted").await;
    hold_back(&office, 100_000, "off").await;
    office.run("analyze pancake_webhook_event").await;
    let count = async |filter: serde_json::Value| {
        let filter: ReplayFilter = serde_json::from_value(filter).unwrap();
        let mut connection = office.core.pool.acquire().await.unwrap();
        count(&mut connection, Country::parse("VN").unwrap(), &filter)
            .await
            .unwrap()
    };
    let all = count(json!({})).await;
    assert_eq!((all.events, all.is_truncated), (100_000, true));
    let off = count(json!({"source_id": "off"})).await;
    assert!(off.is_truncated && (24_997..=25_000).contains(&off.events));
    let none = count(json!({"received_to": "2020-01-01T00:00:00Z"})).await;
    assert_eq!((none.events, none.is_truncated), (0, false));
    let wanted = run(&office, r#"{"source_id": "wanted"}"#).await;
    office.start();
    assert_eq!(done(&office, wanted).await, 3);
}
