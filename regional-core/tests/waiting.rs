//! Records that waited at the edge, sealed.

use protocol::sealed::{SEALED_LIMIT_BYTES, seal};
use protocol::{BODY_LIMIT_BYTES, sealed::OpeningKey};

use crate::support::edge::{Edge, RETIRED_KEYID, RETIRED_SECRET, opening_key, request};
use crate::support::{NOW, TestCore, record};

/// An edge that signed long ago, with a secret that is retired by now.
fn long_ago() -> Edge {
    Edge {
        keyid: RETIRED_KEYID,
        secret: RETIRED_SECRET,
        created: NOW - 3 * 86_400,
        ..Edge::default()
    }
}

#[tokio::test]
async fn a_record_that_waited_for_days_is_an_event_with_the_receipt_of_then() {
    let core = TestCore::start().await;
    let body = record("");
    let sealed = long_ago().sealed(body.as_bytes());
    core.send(core.edge.delivery(sealed))
        .await
        .event_id("accepted");
    let (layer, input, payload): (String, String, Vec<u8>) =
        sqlx::query_as("select layer, hop_signature_input, payload from pancake_webhook_event")
            .fetch_one(&core.pool)
            .await
            .unwrap();
    assert_eq!((layer.as_str(), payload), ("spool", body.into_bytes()));
    assert!(
        input.contains(&format!("created={}", NOW - 3 * 86_400)),
        "{input}"
    );
    assert!(input.contains(RETIRED_KEYID), "{input}");
}

/// Two states of a record may both wait, in two shards, and come the wrong way round.
#[tokio::test]
async fn what_waited_was_received_when_the_edge_received_it() {
    let core = TestCore::start().await;
    for (created, body) in [
        (NOW - 7, record(r#","n":1"#)),
        (NOW + 7, record(r#","n":2"#)),
    ] {
        let edge = Edge {
            created,
            ..Edge::default()
        };
        let sealed = edge.sealed(body.as_bytes());
        core.send(core.edge.delivery(sealed))
            .await
            .event_id("accepted");
    }
    let received: Vec<f64> = sqlx::query_scalar(
        "select extract(epoch from received_at)::float8 from pancake_webhook_event order by received_at",
    )
    .fetch_all(&core.pool)
    .await
    .unwrap();
    let now = 1_772_323_200.0;
    // A clock that is ahead of ours makes nothing later than now.
    assert_eq!(received, [now - 7.0 + 0.25, now]);
}

#[tokio::test]
async fn what_came_straight_as_well_is_one_event() {
    let core = TestCore::start().await;
    let body = record("");
    core.post(body.clone()).await.event_id("accepted");
    let delivery = core.edge.delivery(core.edge.sealed(body.as_bytes()));
    core.send(delivery).await.event_id("duplicate");
    assert_eq!(core.count_events().await, 1);
}

#[tokio::test]
async fn a_body_that_is_no_record_is_kept_as_any_other() {
    let core = TestCore::start().await;
    let delivery = core.edge.delivery(core.edge.sealed(b"no record"));
    core.send(delivery).await.assert_invalid_payload();
    let cause: String = sqlx::query_scalar("select cause from pancake_rejected_request")
        .fetch_one(&core.pool)
        .await
        .unwrap();
    assert_eq!(cause, "not_json");
}

#[tokio::test]
async fn what_the_edge_did_not_send_is_not_opened() {
    let core = TestCore::start().await;
    let sealed = core.edge.sealed(record("").as_bytes());
    let unsigned = request("POST", "/v1/pancake/sealed-records", &[], sealed.clone());
    core.send(unsigned).await.assert_problem(401);
    let of_the_hops_retired_secret = Edge {
        created: NOW,
        ..long_ago()
    };
    core.send(of_the_hops_retired_secret.delivery(sealed.clone()))
        .await
        .assert_problem(401);
    let late = Edge {
        created: NOW - 61,
        ..Edge::default()
    };
    core.send(late.delivery(sealed.clone()))
        .await
        .assert_problem(401);
    let elsewhere = Edge {
        region: "smp-china",
        ..Edge::default()
    };
    core.send(elsewhere.delivery(sealed))
        .await
        .assert_problem(421);
    assert_eq!(core.count_events().await, 0);
}

#[tokio::test]
async fn what_cannot_be_opened_or_believed_stays_at_the_edge() {
    let core = TestCore::start().await;
    let body = record("");
    let mut changed = core.edge.sealed(body.as_bytes());
    *changed.last_mut().unwrap() ^= 1;
    // Whoever knows the public key can seal; only the edge can sign what is inside.
    let forged = Edge {
        secret: "a secret that is not the hop's, of 32 bytes",
        ..Edge::default()
    };
    let forged = forged.sealed(body.as_bytes());
    for sealed in [
        b"".to_vec(),
        b"\x01".to_vec(),
        vec![0; 200],
        changed,
        forged,
    ] {
        core.send(core.edge.delivery(sealed))
            .await
            .assert_problem(422);
    }
    assert_eq!(core.count_events().await, 0);
    let other_key = OpeningKey::derive("smp-asia-2", &[6; 32]).unwrap();
    let opened = protocol::sealed::open(&[opening_key()], &core.edge.sealed(b"{}")).unwrap();
    let for_another = seal(&other_key.sealing_key(), &opened.hop, b"{}", &[1; 32]).unwrap();
    core.send(core.edge.delivery(for_another))
        .await
        .assert_problem(422);
}

#[tokio::test]
async fn what_is_refused_is_counted_by_cause() {
    let core = TestCore::start().await;
    let mut changed = core.edge.sealed(record("").as_bytes());
    *changed.last_mut().unwrap() ^= 1;
    core.send(core.edge.delivery(changed))
        .await
        .assert_problem(422);
    core.send(request("POST", "/v1/pancake/sealed-records", &[], vec![1]))
        .await
        .assert_problem(401);
    for series in [
        "pancake_webhook_sealed_refusals_total{cause=\"seal_broken\"}",
        "pancake_webhook_hop_refusals_total{cause=\"header_missing\"}",
    ] {
        assert!((core.metric(series).await - 1.0).abs() < 0.5, "{series}");
    }
}

#[tokio::test]
async fn a_country_that_is_not_served_here_any_more_is_misdirected() {
    let core = TestCore::start().await;
    let moved = Edge {
        country: "CN",
        ..Edge::default()
    };
    let sealed = moved.sealed(record("").as_bytes());
    core.send(core.edge.delivery(sealed))
        .await
        .assert_problem(421);
}

#[tokio::test]
async fn the_longest_body_fits_sealed_and_nothing_longer_is_read() {
    let core = TestCore::start().await;
    let body = format!("{{\"x\":\"{}\"}}", "x".repeat(BODY_LIMIT_BYTES - 8));
    assert_eq!(body.len(), BODY_LIMIT_BYTES);
    let sealed = core.edge.sealed(body.as_bytes());
    core.send(core.edge.delivery(sealed))
        .await
        .event_id("accepted");
    let too_long = vec![0; SEALED_LIMIT_BYTES + 1];
    core.send(core.edge.delivery(too_long))
        .await
        .assert_problem(413);
}
