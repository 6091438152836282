//! What cannot be processed is kept with its cause, and keeps nobody else waiting.

use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::json;
use sqlx::PgPool;
use tokio::time::timeout;

use super::office::{Office, PHONE};
use crate::support::database::TestDatabase;
use crate::support::eventually;

const POISON: &str = "create function refuse_poison() returns trigger language plpgsql as $$ begin \
     if new.subject = 'poison' then raise exception 'no % here', new.subject; end if; return new; end $$; \
     create trigger refuse_poison before insert on ticket for each row execute function refuse_poison()";

#[tokio::test]
async fn a_poison_event_is_found_and_blocks_no_other() {
    let mut office = Office::closed(1).await;
    office.run(POISON).await;
    for number in 0..50 {
        let name = if number % 20 == 7 { "poison" } else { "good" };
        office.post(json!({"name": name, "n": number})).await;
    }
    office.start();
    office.wait_until_none_waits().await;
    assert_eq!(office.number("select count(*) from ticket").await, 47);
    let failed = "select count(*) from pancake_webhook_event \
         where status = 'failed' and attempts = 1 and name = 'poison' and due_at > clock_timestamp()";
    assert_eq!(office.number(failed).await, 3);
    let causes = office
        .texts("select distinct cause from pancake_webhook_event where cause is not null")
        .await;
    assert_eq!(
        causes,
        [Some("refused_by_database P0001".to_owned())],
        "a cause quotes no value"
    );
}

#[tokio::test]
async fn what_fails_again_and_again_is_a_dead_letter_and_the_admins_are_told() {
    let mut office = Office::closed(1).await;
    office.run(POISON).await;
    let event = office.post(json!({"name": "poison"})).await;
    office.start();
    for attempts in 1..4 {
        let failed = format!(
            "select count(*) from pancake_webhook_event where status = 'failed' and attempts = {attempts}"
        );
        office.wait_for(1, &failed).await;
        office
            .run("update pancake_webhook_event set due_at = now()")
            .await;
    }
    office
        .wait_for(1, "select count(*) from pancake_webhook_event where status = 'dead_letter' and attempts = 4")
        .await;
    let told = format!(
        "select count(*) from notification where role = 'admin' and template_code = 'noti_pancake_failed' \
         and data = '{{\"event_id\": \"{event}\", \"attempts\": 4}}'"
    );
    assert_eq!(office.number(&told).await, 1);
    eventually("the backlog is counted", async || {
        let unfinished = r#"pancake_events_unfinished{country="VN",status="dead_letter"}"#;
        (office.core.metric(unfinished).await - 1.0).abs() < 0.5
    })
    .await;
    let dead = r#"pancake_events_total{country="VN",outcome="dead_letter"}"#;
    assert!((office.core.metric(dead).await - 1.0).abs() < 0.5);
}

#[tokio::test]
async fn what_failed_is_processed_once_the_cause_is_gone() {
    let mut office = Office::closed(1).await;
    office.run(POISON).await;
    let event = office
        .post(json!({"name": "poison", "phone_number": PHONE}))
        .await;
    office.start();
    assert_eq!(office.settled(event).await, "failed");
    assert_eq!(
        office.number("select count(*) from account").await,
        0,
        "half of it stayed"
    );
    office
        .run(
            "drop trigger refuse_poison on ticket; update pancake_webhook_event set due_at = now()",
        )
        .await;
    office
        .wait_for(1, "select count(*) from pancake_webhook_event where status = 'processed' and cause is null")
        .await;
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_tried_again_and_keeps_the_others_waiting_for_as_long_only()
 {
    let mut office = Office::closed_with(1, |config| {
        config.database.statement_timeout = Duration::from_millis(300);
    })
    .await;
    office.run(SLOW).await;
    let slow = office.post(json!({"name": "slow"})).await;
    let quick = office.post(json!({"name": "quick"})).await;
    office.start();
    assert_eq!(office.settled(quick).await, "processed");
    assert_eq!(office.settled(slow).await, "failed");
    let causes = office
        .texts("select cause from pancake_webhook_event where status = 'failed'")
        .await;
    assert_eq!(causes, [Some("timed_out 57014".to_owned())]);
}

/// Whatever becomes of a ticket called "slow" takes longer than any statement may.
const SLOW: &str = "create function dawdle() returns trigger language plpgsql as $$ begin \
     if new.subject = 'slow' then perform pg_sleep(30); end if; return new; end $$; \
     create trigger dawdle before insert on ticket for each row execute function dawdle()";

#[tokio::test]
async fn two_events_next_to_one_another_that_take_too_long_keep_nobody_waiting() {
    let mut office = Office::closed_with(1, |config| {
        config.database.statement_timeout = Duration::from_millis(300);
    })
    .await;
    office.run(SLOW).await;
    let slow = [
        office.post(json!({"name": "slow", "n": 1})).await,
        office.post(json!({"name": "slow", "n": 2})).await,
    ];
    let quick = office.post(json!({"name": "quick"})).await;
    office.start();
    assert_eq!(office.settled(quick).await, "processed");
    for event in slow {
        assert_eq!(office.settled(event).await, "failed");
    }
}

#[tokio::test]
async fn batches_of_nothing_but_what_takes_too_long_keep_nobody_waiting() {
    let mut office = Office::closed_with(1, |config| {
        config.database.statement_timeout = Duration::from_millis(200);
        config.processing.batch_events = NonZeroU32::new(8).unwrap();
    })
    .await;
    office.run(SLOW).await;
    for number in 0..20 {
        office.post(json!({"name": "slow", "n": number})).await;
    }
    let quick = office.post(json!({"name": "quick"})).await;
    office.start();
    assert_eq!(office.settled(quick).await, "processed");
    // Then it is known to be their fault.
    eventually("several are blamed", async || {
        let blamed = "select count(*) from pancake_webhook_event where attempts > 0";
        office.number(blamed).await >= 3
    })
    .await;
}

#[tokio::test]
async fn a_stop_does_not_wait_until_all_that_failed_is_found() {
    let mut office = Office::closed(1).await;
    office
        .run(
            "create function refuse_slowly() returns trigger language plpgsql as $$ begin \
             perform pg_sleep(0.3); raise exception 'no'; end $$; \
             create trigger refuse_slowly before insert on ticket for each row execute function refuse_slowly()",
        )
        .await;
    for number in 0..60 {
        office.post(json!({"n": number})).await;
    }
    office.start();
    eventually("one was found", async || {
        let failed = "select count(*) from pancake_webhook_event where status = 'failed'";
        office.number(failed).await >= 1
    })
    .await;
    timeout(Duration::from_secs(5), office.stop())
        .await
        .expect("it goes on halving");
}

/// Each row that is claimed costs something, as on a busy disk.
#[tokio::test]
async fn a_claim_that_takes_too_long_is_made_smaller() {
    let database = TestDatabase::create().await;
    let admin = PgPool::connect(&database.admin_url()).await.unwrap();
    sqlx::raw_sql(
        "do $$ begin execute format( \
             'alter role core_app in database %I set search_path = public, pg_catalog', current_database()); end $$; \
         create function public.left(text, integer) returns text language plpgsql as $$ begin \
         if $2 = 1024 then perform pg_sleep(0.02); end if; return pg_catalog.left($1, $2); end $$",
    )
    .execute(&admin)
    .await
    .unwrap();
    admin.close().await;
    let url = database.app_url();
    let mut office = Office::closed_on(database, &url, 1, |config| {
        config.database.statement_timeout = Duration::from_millis(500);
        config.processing.batch_events = NonZeroU32::new(64).unwrap();
    })
    .await;
    for number in 0..64 {
        office.post(json!({"n": number})).await;
    }
    office.start();
    office.wait_until_none_waits().await;
    let batches = "select count(distinct settled_at) from pancake_webhook_event";
    assert!(office.number(batches).await > 2);
}

#[tokio::test]
async fn a_busy_source_keeps_no_other_waiting() {
    let mut office = Office::closed_with(1, |config| {
        config.processing.batch_events = NonZeroU32::new(8).unwrap();
    })
    .await;
    office.activate("busy").await;
    office.activate("quiet").await;
    for number in 0..60 {
        office.post(json!({"source": ["busy"], "n": number})).await;
    }
    let quiet = office.post(json!({"source": ["quiet"]})).await;
    office.start();
    office.wait_until_none_waits().await;
    let before = format!(
        "select count(*) from pancake_webhook_event \
         where settled_at < (select settled_at from pancake_webhook_event where event_id = '{quiet}')"
    );
    assert_eq!(office.number(&before).await, 0, "it was in no first batch");
    let batches = "select count(distinct settled_at) from pancake_webhook_event";
    assert!(office.number(batches).await > 5);
}

#[tokio::test]
async fn of_more_sources_than_have_shares_none_waits_for_ever() {
    let mut office = Office::closed_with(1, |config| {
        config.processing.batch_events = NonZeroU32::new(16).unwrap();
    })
    .await;
    let posts: Vec<_> = (0..450)
        .map(|number| {
            let record = json!({"source": [format!("s{number}")], "n": number});
            office.core.spawn_post(record.to_string())
        })
        .collect();
    for post in posts {
        post.await.unwrap().event_id("accepted");
    }
    office.start();
    office.wait_until_none_waits().await;
    let registered = "select count(*) from pancake_source where source_id like 's%'";
    assert_eq!(office.number(registered).await, 450);
}

#[tokio::test]
async fn a_record_of_thousands_of_sources_is_bounded_work() {
    let office = Office::open(1).await;
    let sources: Vec<String> = (0..100_000).map(|number| format!("s{number}")).collect();
    let event = office.post(json!({"source": sources})).await;
    assert_eq!(office.settled(event).await, "skipped_source_disabled");
    let registered = "select count(*) from pancake_source where source_id like 's%'";
    assert_eq!(office.number(registered).await, 64);
}

#[tokio::test]
async fn a_lock_that_all_events_need_is_no_events_fault() {
    let mut office = Office::closed_with(1, |config| {
        config.database.statement_timeout = Duration::from_millis(200);
    })
    .await;
    for number in 0..6 {
        office.post(json!({"n": number})).await;
    }
    let mut somebody = office.core.database.owner_pool().begin().await.unwrap();
    sqlx::query("select from staff for update")
        .execute(&mut *somebody)
        .await
        .unwrap();
    office.start();
    // Time and again it waits in vain.
    let mut tries = std::collections::HashSet::new();
    eventually("several tries", async || {
        let waiting =
            "select waitstart::text from pg_locks where not granted and waitstart is not null";
        tries.extend(office.texts(waiting).await);
        tries.len() >= 12
    })
    .await;
    somebody.rollback().await.unwrap();
    office
        .wait_for(
            6,
            "select count(*) from pancake_webhook_event where status = 'processed'",
        )
        .await;
    // But for the one that was tried last before the lock was gone.
    let blamed = "select sum(attempts)::bigint from pancake_webhook_event";
    assert!(office.number(blamed).await <= 1);
}
