//! Bodies that are no records.

use sha2::{Digest, Sha256};
use sqlx::Row;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::support::{NOW, TestCore, record};

#[tokio::test]
async fn a_body_that_is_no_record_is_kept_byte_for_byte_with_its_cause() {
    let core = TestCore::start().await;
    for (body, cause) in [
        (b"".as_slice(), "not_json"),
        (b"{\"name\":", "not_json"),
        (b"{\"name\":\"x\"} {}", "not_json"),
        (b"name=x", "not_json"),
        (b"{\"name\":\"\xff\"}", "not_utf8"),
        (b"[{\"name\":\"x\"}]", "not_an_object"),
        (b"null", "not_an_object"),
        (b"{\"id\":7}", "id_not_a_uuid"),
        (b"{\"id\":\"\"}", "id_not_a_uuid"),
        (
            b"{\"id\":\"1f0e2d3c4b5a69788796a5b4c3d2e1f0\"}",
            "id_not_a_uuid",
        ),
    ] {
        core.post(body).await.assert_invalid_payload();
        let row = sqlx::query("select * from pancake_rejected_request where body = $1")
            .bind(body)
            .fetch_one(&core.pool)
            .await
            .unwrap();
        assert_eq!(row.get::<&str, _>("cause"), cause);
        assert_eq!(
            row.get::<Vec<u8>, _>("body_sha256"),
            Sha256::digest(body).as_slice()
        );
        assert_eq!(row.get::<Uuid, _>("rejected_id").get_version_num(), 7);
        for (column, expected) in [
            ("country_code", "VN"),
            ("region_id", "smp-asia"),
            ("connection_id", "vn-main"),
            ("verdict", "unsigned"),
        ] {
            assert_eq!(row.get::<&str, _>(column), expected, "{column}");
        }
        assert_eq!(row.get::<i64, _>("route_version"), 7);
        let (_, headers) = core.edge.signed(body);
        for (column, header) in [
            ("hop_signature_input", "signature-input"),
            ("hop_signature", "signature"),
        ] {
            let sent = &headers.iter().find(|(name, _)| name == header).unwrap().1;
            assert_eq!(row.get::<&str, _>(column), sent, "{column}");
        }
    }
    assert_eq!(core.count_events().await, 0);
}

#[tokio::test]
async fn the_same_body_again_is_counted_and_not_kept_twice() {
    let mut core = TestCore::start().await;
    core.post("[]").await.assert_invalid_payload();
    core.clock.advance(30);
    core.edge.created += 30;
    core.post("[]").await.assert_invalid_payload();
    // A clock that was set back must not fail the row.
    core.clock.advance(-60);
    core.edge.created -= 60;
    core.post("[]").await.assert_invalid_payload();

    let (times, first, last): (i64, OffsetDateTime, OffsetDateTime) = sqlx::query_as(
        "select times_received, received_at, last_received_at from pancake_rejected_request",
    )
    .fetch_one(&core.pool)
    .await
    .unwrap();
    assert_eq!(
        (times, first.unix_timestamp(), last.unix_timestamp()),
        (3, NOW, NOW + 30)
    );

    core.edge.connection = "vn-other";
    core.post("[]").await.assert_invalid_payload();
    let rows: i64 = sqlx::query_scalar("select count(*) from pancake_rejected_request")
        .fetch_one(&core.pool)
        .await
        .unwrap();
    assert_eq!(rows, 2);
}

/// The owner's trigger stands for whatever PostgreSQL may find wrong with one row.
#[tokio::test]
async fn a_row_that_the_database_refuses_fails_alone_and_is_kept() {
    let core = TestCore::start().await;
    core.database
        .as_owner(
            "create function refuse_poison() returns trigger language plpgsql as $$ begin \
                 if new.name = 'poison' then raise exception 'poison' using errcode = '22000'; end if; \
                 return new; end $$; \
             create trigger refuse_poison before insert on pancake_webhook_event \
                 for each row execute function refuse_poison()",
        )
        .await;

    let held_up = core.hold_up_events().await;
    let mut good = vec![core.spawn_post(record(r#","n":0"#))];
    core.wait_until_held_up().await;
    for number in 1..=40 {
        good.push(core.spawn_post(record(&format!(r#","n":{number}"#))));
    }
    let poison = [r#"{"name":"poison"}"#, r#"{"name":"poison" }"#];
    let bad: Vec<_> = poison.iter().map(|body| core.spawn_post(*body)).collect();
    let bad_again = core.spawn_post(poison[0]);
    core.wait_until_queued(43.0).await;
    held_up.rollback().await.unwrap();

    for post in good {
        post.await.unwrap().event_id("accepted");
    }
    for post in bad {
        post.await.unwrap().assert_invalid_payload();
    }
    bad_again.await.unwrap().assert_invalid_payload();
    assert_eq!(core.count_events().await, 41);
    let kept: Vec<(Vec<u8>, String, i64)> = sqlx::query_as(
        "select body, cause, times_received from pancake_rejected_request order by length(body)",
    )
    .fetch_all(&core.pool)
    .await
    .unwrap();
    let cause = "refused_by_database".to_owned();
    assert_eq!(
        kept,
        [
            (poison[0].into(), cause.clone(), 2),
            (poison[1].into(), cause, 1)
        ]
    );
}
