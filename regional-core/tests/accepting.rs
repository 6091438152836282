//! What a record becomes, and what its sender hears.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};
use sqlx::Row;
use time::OffsetDateTime;
use time::macros::datetime;
use tokio::time::Instant;
use uuid::Uuid;

use crate::support::{NOW, TestCore, eventually, record};

const ID: &str = "1f0e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";

#[tokio::test]
async fn a_record_is_accepted_once_and_then_is_a_duplicate_with_the_same_id() {
    let core = TestCore::start().await;
    let body = record(&format!(
        r#","id":"{ID}","modified_on":"2026-02-28T09:00:00Z""#
    ));

    let id = core.post(body.clone()).await.event_id("accepted");
    assert_eq!(core.post(body.clone()).await.event_id("duplicate"), id);
    assert_eq!(core.post(body).await.event_id("duplicate"), id);
    assert_eq!(core.count_events().await, 1);
}

#[tokio::test]
async fn a_row_holds_the_bytes_the_parsed_fields_and_the_receipt() {
    let core = TestCore::start().await;
    let body = format!(
        r#" {{"id":"{ID}", "name":"นภา \"Na\"", "phone_number":"+84 90 000 00 00", "email":"a@example.com",
        "source":["-11", 7, {{"not":"an id"}}, "q\"\\,{{}}"], "created_on":"2026-01-02T03:04:05.678901",
        "modified_on":"2026-02-28T16:00:00.5+07:00", "tự chọn":[1e999]}}"#
    );
    let id = core.post(body.clone()).await.event_id("accepted");

    let row = sqlx::query("select * from pancake_webhook_event")
        .fetch_one(&core.pool)
        .await
        .unwrap();
    assert_eq!(row.get::<Uuid, _>("event_id"), id);
    for (column, expected) in [
        ("country_code", "VN"),
        ("region_id", "smp-asia"),
        ("connection_id", "vn-main"),
        ("layer", "webhook"),
        ("status", "received"),
        ("name", "นภา \"Na\""),
        ("phone_number", "+84 90 000 00 00"),
        ("email", "a@example.com"),
        ("verdict", "unsigned"),
    ] {
        assert_eq!(row.get::<String, _>(column), expected, "{column}");
    }
    assert_eq!(row.get::<Uuid, _>("record_id").to_string(), ID);
    assert_eq!(row.get::<Vec<u8>, _>("payload"), body.as_bytes());
    assert_eq!(
        row.get::<Vec<u8>, _>("payload_hash"),
        Sha256::digest(&body).as_slice()
    );
    assert_eq!(
        row.get::<Vec<String>, _>("source_ids"),
        ["-11", "7", r#"q"\,{}"#]
    );
    assert_eq!(
        row.get::<OffsetDateTime, _>("modified_on"),
        datetime!(2026-02-28 09:00:00.5 UTC)
    );
    assert_eq!(
        row.get::<OffsetDateTime, _>("record_created_on"),
        datetime!(2026-01-02 03:04:05.678901 UTC)
    );
    assert_eq!(
        row.get::<OffsetDateTime, _>("received_at").unix_timestamp(),
        NOW
    );
    assert_eq!(row.get::<i64, _>("route_version"), 7);
    let (_, headers) = core.edge.signed(body.as_bytes());
    for (column, header) in [
        ("hop_signature_input", "signature-input"),
        ("hop_signature", "signature"),
    ] {
        let sent = &headers.iter().find(|(name, _)| name == header).unwrap().1;
        assert_eq!(row.get::<&str, _>(column), sent, "{column}");
    }
}

#[tokio::test]
async fn the_same_record_with_changed_bytes_is_another_event() {
    let core = TestCore::start().await;
    let members = format!(r#","id":"{ID}","modified_on":"2026-02-28T09:00:00Z""#);

    let first = core.post(record(&members)).await.event_id("accepted");
    let second = core.post(record(&format!("{members} "))).await;

    assert_ne!(second.event_id("accepted"), first);
    assert_eq!(core.count_events().await, 2);
}

/// `null` is not different from `null` in each of the four ways in which id and time may be absent.
#[tokio::test]
async fn absent_ids_and_times_do_not_keep_a_duplicate_from_being_found() {
    let core = TestCore::start().await;
    for members in [
        String::new(),
        format!(r#","id":"{ID}""#),
        r#","modified_on":"2026-02-28T09:00:00Z""#.to_owned(),
        format!(r#","id":"{ID}","modified_on":"2026-02-28T09:00:00Z""#),
        format!(r#","id":"{ID}","modified_on":"not a time""#),
    ] {
        let body = record(&members);
        let id = core.post(body.clone()).await.event_id("accepted");
        assert_eq!(core.post(body).await.event_id("duplicate"), id, "{members}");
    }
    assert_eq!(core.count_events().await, 5);
}

#[tokio::test]
async fn identical_requests_at_the_same_moment_make_one_row() {
    let core = TestCore::start().await;
    let body = record(&format!(r#","id":"{ID}""#));

    // They wait together behind another record, so they share one statement.
    let held_up = core.hold_up_events().await;
    let other = core.spawn_post(record(r#","n":0"#));
    core.wait_until_held_up().await;
    let posts: Vec<_> = (0..5).map(|_| core.spawn_post(body.clone())).collect();
    core.wait_until_queued(5.0).await;
    held_up.rollback().await.unwrap();

    other.await.unwrap().event_id("accepted");
    let mut answers = Vec::new();
    for post in posts {
        answers.push(post.await.unwrap());
    }
    let accepted: Vec<_> = answers
        .iter()
        .filter(|answer| answer.json()["status"] == "accepted")
        .collect();
    assert_eq!(accepted.len(), 1);
    let id = accepted[0].event_id("accepted");
    for answer in &answers {
        assert_eq!(answer.json()["event_id"], id.to_string());
    }
    assert_eq!(core.count_events().await, 2);
}

/// The row of another transaction is not in the snapshot of the insert that waited for it.
#[tokio::test]
async fn a_row_that_another_transaction_commits_meanwhile_is_found() {
    let core = TestCore::start().await;
    let body = record(&format!(r#","id":"{ID}""#));
    let mut other = core.database.owner_pool().begin().await.unwrap();
    let id = Uuid::now_v7();
    sqlx::query(
        "insert into pancake_webhook_event \
             (event_id, country_code, region_id, connection_id, layer, record_id, payload_hash, payload) \
         values ($1, 'VN', 'smp-asia', 'vn-main', 'poll', $2, $3, $4)",
    )
    .bind(id)
    .bind(Uuid::try_parse(ID).unwrap())
    .bind(Sha256::digest(&body).as_slice())
    .bind(body.as_bytes())
    .execute(&mut *other)
    .await
    .unwrap();

    let post = core.spawn_post(body);
    core.wait_until_held_up().await;
    other.commit().await.unwrap();

    assert_eq!(post.await.unwrap().event_id("duplicate"), id);
}

#[tokio::test]
async fn records_that_wait_together_share_statements_and_all_of_them_land() {
    let core = TestCore::start().await;
    let held_up = core.hold_up_events().await;
    let mut posts = vec![core.spawn_post(record(r#","n":0"#))];
    core.wait_until_held_up().await;
    for number in 1..=100 {
        posts.push(core.spawn_post(record(&format!(r#","n":{number}"#))));
    }
    core.wait_until_queued(100.0).await;
    held_up.rollback().await.unwrap();

    let mut ids = BTreeSet::new();
    for post in posts {
        ids.insert(post.await.unwrap().event_id("accepted"));
    }
    assert_eq!(ids.len(), 101);
    let rows: Vec<Uuid> = sqlx::query_scalar("select event_id from pancake_webhook_event")
        .fetch_all(&core.pool)
        .await
        .unwrap();
    assert_eq!(rows.into_iter().collect::<BTreeSet<_>>(), ids);
    // One alone, then 64, then the 36 that are left.
    for (series, expected) in [
        ("pancake_webhook_batch_rows_count", 3.0),
        ("pancake_webhook_batch_rows_sum", 101.0),
        (r#"pancake_webhook_batch_rows_bucket{le="1.0"}"#, 1.0),
        (r#"pancake_webhook_batch_rows_bucket{le="32.0"}"#, 1.0),
        (r#"pancake_webhook_batch_rows_bucket{le="64.0"}"#, 3.0),
    ] {
        let value = core.metric(series).await;
        assert!((value - expected).abs() < 0.5, "{series} {value}");
    }
}

#[tokio::test]
async fn two_cores_on_one_database_agree_on_what_is_there() {
    let one = TestCore::start().await;
    let two = TestCore::start_with(|_| {}).await;
    // The second core's own database is not used: it looks through the first one's.
    let url = one.database.app_url();
    let two = TestCore::start_on(two.database, &url, |_| {});

    let mut ids = BTreeSet::new();
    let mut accepted = 0;
    for number in 0..20 {
        let body = record(&format!(r#","n":{}"#, number % 10));
        let (first, second) = tokio::join!(one.post(body.clone()), two.post(body));
        for answer in [first, second] {
            accepted += i32::from(answer.json()["status"] == "accepted");
            ids.insert(answer.json()["event_id"].to_string());
        }
    }
    assert_eq!((accepted, ids.len()), (10, 10));
    assert_eq!(one.count_events().await, 10);
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_cancel_its_row() {
    let core = TestCore::start().await;
    let held_up = core.hold_up_events().await;
    let in_flight = core.spawn_post(record(r#","n":0"#));
    core.wait_until_held_up().await;
    let waiting = core.spawn_post(record(r#","n":1"#));
    core.wait_until_queued(1.0).await;
    for post in [in_flight, waiting] {
        post.abort();
        assert!(post.await.unwrap_err().is_cancelled());
    }
    held_up.rollback().await.unwrap();

    eventually("both rows are there", async || {
        core.count_events().await == 2
    })
    .await;
}

#[tokio::test]
async fn what_no_text_column_holds_never_fails_the_insert() {
    let core = TestCore::start().await;
    let body = r#"{"name":"a\u0000b\ud800c","phone_number":"\udfff","source":["\u0000"],
        "email":"\ud83d\ude00","custom\u0000":"\u0000"}"#;
    core.post(body).await.event_id("accepted");

    let (name, phone, email, sources, payload): (String, String, String, Vec<String>, Vec<u8>) =
        sqlx::query_as(
            "select name, phone_number, email, source_ids, payload from pancake_webhook_event",
        )
        .fetch_one(&core.pool)
        .await
        .unwrap();
    assert!(
        name.starts_with("a\u{fffd}b\u{fffd}") && name.ends_with('c'),
        "{name:?}"
    );
    assert!(phone.chars().all(|character| character == '\u{fffd}'));
    assert_eq!(email, "😀");
    assert_eq!(sources, ["\u{fffd}"]);
    assert_eq!(payload, body.as_bytes());
}

#[tokio::test]
async fn fields_of_a_wrong_type_are_kept_as_they_came_and_read_as_absent() {
    let core = TestCore::start().await;
    let body = r#"{"id":null,"name":["x"],"phone_number":84,"email":{},"source":"-11","modified_on":5,
        "created_on":"31/12/2025","name2":1e999}"#;
    core.post(body).await.event_id("accepted");

    let absent: bool = sqlx::query_scalar(
        "select num_nulls(record_id, name, phone_number, email, modified_on, record_created_on) = 6 \
            and source_ids = '{}' from pancake_webhook_event where payload = $1",
    )
    .bind(body.as_bytes())
    .fetch_one(&core.pool)
    .await
    .unwrap();
    assert!(absent);
}

#[tokio::test]
async fn of_a_key_that_stands_twice_the_last_one_counts() {
    let core = TestCore::start().await;
    core.post(r#"{"name":"first","name":"last"}"#)
        .await
        .event_id("accepted");

    let name: String = sqlx::query_scalar("select name from pancake_webhook_event")
        .fetch_one(&core.pool)
        .await
        .unwrap();
    assert_eq!(name, "last");
}

#[tokio::test]
async fn a_record_of_exactly_one_mebibyte_is_accepted() {
    let core = TestCore::start().await;
    let frame = r#"{"name":""}"#.len();
    let body = format!(
        r#"{{"name":"{}"}}"#,
        "x".repeat(protocol::BODY_LIMIT_BYTES - frame)
    );
    assert_eq!(body.len(), protocol::BODY_LIMIT_BYTES);
    let started = Instant::now();
    core.post(body.clone()).await.event_id("accepted");
    assert!(started.elapsed().as_secs() < 25);

    let stored: Vec<u8> = sqlx::query_scalar("select payload from pancake_webhook_event")
        .fetch_one(&core.pool)
        .await
        .unwrap();
    assert!(stored == body.as_bytes());
}

#[tokio::test]
async fn deep_nesting_is_kept_whatever_it_is_read_as() {
    let core = TestCore::start().await;
    for depth in [100, 100_000] {
        let body = format!(
            r#"{{"name":"x","deep":{}{}}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        );
        let answer = core.post(body.clone()).await;
        let table = if answer.json()["status"] == "invalid_payload" {
            "select body from pancake_rejected_request"
        } else {
            answer.event_id("accepted");
            "select payload from pancake_webhook_event order by length(payload) desc limit 1"
        };
        let kept: Vec<u8> = sqlx::query_scalar(table)
            .fetch_one(&core.pool)
            .await
            .unwrap();
        assert!(kept == body.as_bytes(), "{depth}");
    }
}
