//! The edge's answers to a webhook, row by row of the table in the design, before real cores.

use platform::pancake::{self, DemoConnection};
use protocol::BODY_LIMIT_BYTES;
use reqwest::Method;
use serde_json::json;
use sqlx::Row as _;
use uuid::Uuid;

use crate::support::wire::exchange;
use crate::support::{
    Answer, Signed, assert_nowhere, client, count_events, database, lead, post, record_url, send,
    system,
};

/// An edge's endpoint for a connection.
async fn endpoint(country: &str) -> (String, &'static DemoConnection) {
    let system = system().await;
    let connection = system.connection(country).unwrap();
    (record_url(&system.edge.url, connection), connection)
}

#[tokio::test]
async fn what_a_core_says_of_a_record_that_it_kept_goes_to_the_sender_as_it_is() {
    let (url, vietnam) = endpoint("VN").await;
    let (id, body) = lead();
    let first = post(&url, &Signed::now(vietnam, body.as_bytes()), body.as_str()).await;
    let event = first.is_kept("accepted");
    assert_eq!(first.header("content-type"), Some("application/json"));
    let again = post(&url, &Signed::now(vietnam, body.as_bytes()), body.as_str()).await;
    assert_eq!(again.is_kept("duplicate"), event);
    assert_eq!(count_events("smp-asia", id).await, 1);

    // Another body of its own, so that it is not one that was rejected before.
    let no_record = format!("[\"{}\"]", Uuid::new_v4());
    let answer = post(
        &url,
        &Signed::now(vietnam, no_record.as_bytes()),
        no_record.as_str(),
    )
    .await;
    answer.is(200, "invalid_payload");
    let cause: String =
        sqlx::query_scalar("select cause from pancake_rejected_request where body = $1")
            .bind(no_record.as_bytes())
            .fetch_one(&database("smp-asia").await)
            .await
            .unwrap();
    assert_eq!(cause, "not_an_object");
}

#[tokio::test]
async fn without_a_timestamp_that_can_be_read_nothing_goes_on() {
    let (url, vietnam) = endpoint("VN").await;
    let now = pancake::now();
    let mut turned_away = Vec::new();
    for timestamp in [
        None,
        Some(String::new()),
        Some("now".to_owned()),
        Some(format!("+{now}")),
        Some(format!("-{now}")),
        Some(format!("{now}.0")),
        Some(format!("{now}000")),
        Some(format!("{now}, {now}")),
        Some(format!("0x{now:x}")),
        Some(format!("{now:020}")),
        Some("0".to_owned()),
        Some("9999999999999999999".to_owned()),
        Some("9".repeat(5_000)),
        Some((now - 86_400).to_string()),
    ] {
        let (id, body) = lead();
        let text = timestamp.clone().unwrap_or_default();
        let signed = Signed {
            timestamp,
            signature: Some(pancake::sign(&vietnam.secret, &text, body.as_bytes())),
        };
        let answer = post(&url, &signed, body).await;
        answer.is(200, "timestamp_out_of_window");
        turned_away.push(id);
    }
    // Leading zeros are digits: the longest timestamp that is read.
    let (id, body) = lead();
    let signed = Signed::at(format!("{now:019}"), &vietnam.secret, body.as_bytes());
    post(&url, &signed, body).await.is_kept("accepted");
    assert_eq!(count_events("smp-asia", id).await, 1);
    assert_nowhere(&turned_away).await;
}

/// Posts a lead that was signed `offset` seconds from now, and looks at the clock before and behind:
/// if a second has passed in between, nobody knows by which of the two the edge has judged, so it is
/// done again.
async fn post_signed_at_offset(
    url: &str,
    connection: &DemoConnection,
    offset: i64,
) -> (Uuid, Answer) {
    for _ in 0..50 {
        let (id, body) = lead();
        let now = pancake::now();
        let timestamp = now.checked_add_signed(offset).unwrap();
        let signed = Signed::at(timestamp, &connection.secret, body.as_bytes());
        let answer = post(url, &signed, body).await;
        if pancake::now() == now {
            return (id, answer);
        }
    }
    panic!("no exchange of fifty went through within one second of the clock");
}

#[tokio::test]
async fn the_window_is_300_seconds_wide_either_way_and_not_one_more() {
    let (url, vietnam) = endpoint("VN").await;
    for offset in [-300, 300] {
        let (id, answer) = post_signed_at_offset(&url, vietnam, offset).await;
        answer.is_kept("accepted");
        assert_eq!(count_events("smp-asia", id).await, 1, "{offset}");
    }
    for offset in [-301, 301] {
        let (id, answer) = post_signed_at_offset(&url, vietnam, offset).await;
        answer.is(200, "timestamp_out_of_window");
        assert_nowhere(&[id]).await;
    }
}

/// Makes what stands in the header of a body's signature.
type Forge<'f> = &'f dyn Fn(&str) -> Option<String>;

#[tokio::test]
async fn without_the_right_signature_nothing_goes_on() {
    let (url, vietnam) = endpoint("VN").await;
    let (_, china) = endpoint("CN").await;
    let now = pancake::now().to_string();
    let mut turned_away = Vec::new();
    let forgeries: [(&str, Forge<'_>); 10] = [
        ("none", &|_| None),
        ("empty", &|_| Some(String::new())),
        ("of another secret", &|body| {
            Some(pancake::sign(&china.secret, &now, body.as_bytes()))
        }),
        ("of another body", &|body| {
            Some(pancake::sign(&vietnam.secret, &now, &body.as_bytes()[1..]))
        }),
        ("of another timestamp", &|body| {
            let earlier = (now.parse::<u64>().unwrap() - 1).to_string();
            Some(pancake::sign(&vietnam.secret, &earlier, body.as_bytes()))
        }),
        ("of the body alone", &|body| {
            Some(pancake::sign(&vietnam.secret, "", body.as_bytes()))
        }),
        ("one digit short", &|body| {
            Some(pancake::sign(&vietnam.secret, &now, body.as_bytes())[..63].to_owned())
        }),
        ("one digit long", &|body| {
            Some(pancake::sign(&vietnam.secret, &now, body.as_bytes()) + "0")
        }),
        ("with its algorithm", &|body| {
            let signature = pancake::sign(&vietnam.secret, &now, body.as_bytes());
            Some(format!("sha256={signature}"))
        }),
        ("of 5000 digits", &|_| Some("a".repeat(5_000))),
    ];
    for (what, forge) in forgeries {
        let (id, body) = lead();
        let signed = Signed {
            timestamp: Some(now.clone()),
            signature: forge(&body),
        };
        let answer = post(&url, &signed, body).await;
        assert_eq!(answer.body["status"], "hmac_invalid", "signature {what}");
        answer.is(200, "hmac_invalid");
        turned_away.push(id);
    }
    assert_nowhere(&turned_away).await;
}

#[tokio::test]
async fn the_timestamp_is_judged_before_the_signature() {
    let (url, vietnam) = endpoint("VN").await;
    let (_, body) = lead();
    let stale = Signed::at(pancake::now() - 400, "not the secret", body.as_bytes());
    post(&url, &stale, body.as_str())
        .await
        .is(200, "timestamp_out_of_window");
    let fresh = Signed::at(
        pancake::now(),
        &format!("{}x", vietnam.secret),
        body.as_bytes(),
    );
    post(&url, &fresh, body).await.is(200, "hmac_invalid");
}

#[tokio::test]
async fn a_signature_counts_in_capitals_too() {
    let (url, vietnam) = endpoint("VN").await;
    let (_, body) = lead();
    let mut signed = Signed::now(vietnam, body.as_bytes());
    signed.signature = signed.signature.map(|signature| signature.to_uppercase());
    post(&url, &signed, body).await.is_kept("accepted");
}

#[tokio::test]
async fn a_header_that_is_sent_twice_is_malformed_even_if_both_are_right() {
    let (url, vietnam) = endpoint("VN").await;
    let (origin, path) = url.split_at(url.find("/api/").unwrap());
    let request_line = format!("POST {path}");
    let (id, body) = lead();
    let signed = Signed::now(vietnam, body.as_bytes());
    let timestamp = format!("X-Pancake-Timestamp: {}", signed.timestamp.unwrap());
    let signature = format!("X-Pancake-Signature: {}", signed.signature.unwrap());
    let exchange = |headers: &[&str]| exchange(origin, &request_line, headers, body.as_bytes());
    assert_eq!(
        exchange(&[&timestamp, &timestamp, &signature]),
        (200, r#"{"status":"timestamp_out_of_window"}"#.to_owned())
    );
    assert_eq!(
        exchange(&[&timestamp, &signature, &signature]),
        (200, r#"{"status":"hmac_invalid"}"#.to_owned())
    );
    assert_nowhere(&[id]).await;
    // The very same lines, once each.
    let (status, answer) = exchange(&[&signature, &timestamp]);
    assert_eq!(status, 200);
    assert!(answer.starts_with(r#"{"status":"accepted""#), "{answer}");
}

#[tokio::test]
async fn during_a_rotation_both_secrets_are_good() {
    let (url, china) = endpoint("CN").await;
    let previous = china.previous_secret.as_deref().unwrap();
    for secret in [china.secret.as_str(), previous] {
        let (id, body) = lead();
        let signed = Signed::at(pancake::now(), secret, body.as_bytes());
        post(&url, &signed, body).await.is_kept("accepted");
        assert_eq!(count_events("smp-china", id).await, 1);
    }
}

#[tokio::test]
async fn the_verdict_travels_to_the_row_of_the_event() {
    let (observed, thailand) = endpoint("TH").await;
    let (off, singapore) = endpoint("SG").await;
    let (enforced, vietnam) = endpoint("VN").await;
    let now = pancake::now();
    let nothing = Signed::default();
    let (id, body) = lead();
    let right = |secret: &str| Signed::at(now, secret, body.as_bytes());
    let stale = Signed::at(now - 400, &thailand.secret, body.as_bytes());
    let unsigned = Signed {
        signature: None,
        ..right("")
    };
    for (url, country, signed, verdict) in [
        (&enforced, "VN", right(&vietnam.secret), "verified"),
        (&observed, "TH", right(&thailand.secret), "verified"),
        (&observed, "TH", stale.clone(), "stale"),
        (&observed, "TH", nothing.clone(), "stale"),
        (&observed, "TH", right("not the secret"), "invalid"),
        (&observed, "TH", unsigned, "invalid"),
        (&off, "SG", nothing, "unsigned"),
        (&off, "SG", stale, "unsigned"),
        (&off, "SG", right(&singapore.secret), "unsigned"),
    ] {
        // The signature is of these very bytes, so the events differ by nothing but their row.
        sqlx::query("delete from pancake_webhook_event where record_id = $1")
            .bind(id)
            .execute(&database("smp-asia").await)
            .await
            .unwrap();
        let event = post(url, &signed, body.as_str()).await.is_kept("accepted");
        let row = sqlx::query(
            "select verdict, country_code, connection_id, region_id, layer, payload \
             from pancake_webhook_event where event_id = $1",
        )
        .bind(event)
        .fetch_one(&database("smp-asia").await)
        .await
        .unwrap();
        let text = |column: &str| row.get::<String, _>(column);
        assert_eq!(text("verdict"), verdict, "{country} {signed:?}");
        assert_eq!(text("country_code"), country);
        assert_eq!(
            text("connection_id"),
            format!("{}-main", country.to_lowercase())
        );
        assert_eq!(text("region_id"), "smp-asia");
        assert_eq!(text("layer"), "webhook");
        assert_eq!(row.get::<Vec<u8>, _>("payload"), body.as_bytes());
    }
}

#[tokio::test]
async fn a_connection_whose_country_has_no_region_is_told_to_come_back() {
    let (url, japan) = endpoint("JP").await;
    let (id, body) = lead();
    let signed = Signed::now(japan, body.as_bytes());
    post(&url, &signed, body).await.is_unavailable("no_region");
    assert_nowhere(&[id]).await;
}

#[tokio::test]
async fn a_token_that_is_not_ours_to_the_letter_is_unknown() {
    let (url, vietnam) = endpoint("VN").await;
    let records = url.strip_suffix(&vietnam.token).unwrap();
    let token = &vietnam.token;
    let (id, body) = lead();
    let signed = Signed::now(vietnam, body.as_bytes());
    for wrong in [
        String::new(),
        "unknown".to_owned(),
        "a".repeat(257),
        "a".repeat(8_000),
        token.to_uppercase() + "A",
        format!("{token}/"),
        format!("{token}a"),
        format!("/{token}"),
        token[1..].to_owned(),
        format!("%{:02x}{}", token.as_bytes()[0], &token[1..]),
        format!("{token}%00"),
        format!("{token}%20"),
        format!("{token}%3Fx=1"),
        "vn-main".to_owned(),
        "%F0%9F%A5%9E".to_owned(),
    ] {
        let answer = post(&format!("{records}{wrong}"), &signed, body.as_str()).await;
        assert_eq!(answer.status, 404, "{wrong:?}");
        answer.is(404, "unknown_token");
    }
    assert_nowhere(&[id]).await;
    // The control: the right one, with what a proxy on the way may have put behind it.
    let answer = post(&format!("{url}?from=pancake&x=%2F"), &signed, body).await;
    answer.is_kept("accepted");
}

/// A record of exactly so many bytes.
fn record_of(bytes: usize) -> (Uuid, Vec<u8>) {
    let id = Uuid::new_v4();
    let empty = json!({"id": id.to_string(), "note": ""}).to_string();
    let note = "x".repeat(bytes - empty.len());
    let body = json!({"id": id.to_string(), "note": note}).to_string();
    assert_eq!(body.len(), bytes);
    (id, body.into_bytes())
}

#[tokio::test]
async fn a_body_of_one_mebibyte_is_taken_and_one_byte_more_is_not() {
    let (url, vietnam) = endpoint("VN").await;
    // Once with its length before it, once in chunks without.
    for in_chunks in [false, true] {
        for (bytes, is_taken) in [(BODY_LIMIT_BYTES, true), (BODY_LIMIT_BYTES + 1, false)] {
            let (id, body) = record_of(bytes);
            let signed = Signed::now(vietnam, &body);
            let answer = if in_chunks {
                post_in_chunks(&url, &signed, &body)
            } else {
                post(&url, &signed, body).await
            };
            if is_taken {
                answer.is_kept("accepted");
                assert_eq!(count_events("smp-asia", id).await, 1);
            } else {
                answer.is(413, "body_too_large");
                assert_nowhere(&[id]).await;
            }
        }
    }
}

fn post_in_chunks(url: &str, signed: &Signed, body: &[u8]) -> Answer {
    let (origin, path) = url.split_at(url.find("/api/").unwrap());
    let mut wire = crate::support::wire::Wire::connect(origin);
    wire.write(format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Pancake-Timestamp: {}\r\n\
         X-Pancake-Signature: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        signed.timestamp.as_deref().unwrap(),
        signed.signature.as_deref().unwrap(),
    ));
    for piece in body.chunks(100_000) {
        wire.write_chunk(piece);
    }
    wire.write_chunk(b"");
    let head = wire.read_head();
    let body = wire.read_body(&head);
    let mut headers = reqwest::header::HeaderMap::new();
    headers.insert(
        "content-type",
        head.header("content-type").unwrap().parse().unwrap(),
    );
    Answer {
        status: head.status,
        headers,
        body: serde_json::from_slice(&body).unwrap(),
    }
}

#[tokio::test]
async fn a_webhook_is_a_post_and_nothing_else() {
    let (url, vietnam) = endpoint("VN").await;
    let unknown = format!("{url}x");
    let (id, body) = lead();
    let signed = Signed::now(vietnam, body.as_bytes());
    for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        for url in [&url, &unknown] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let mut request = client()
                .request(method.clone(), url)
                .header("x-pancake-timestamp", signed.timestamp.as_deref().unwrap())
                .header("x-pancake-signature", signed.signature.as_deref().unwrap());
            if method != Method::GET && method != Method::HEAD {
                request = request.body(body.clone());
            }
            let answer = send(request).await;
            assert_eq!(answer.status, 405, "{method}");
            assert_eq!(answer.header("allow"), Some("POST"), "{method}");
            if method != Method::HEAD {
                answer.is(405, "method_not_allowed");
            }
        }
    }
    assert_nowhere(&[id]).await;
}
