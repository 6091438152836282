//! What the edge answers when the core does not say that it has kept the record: always the same, and
//! always in time for Pancake, which gives up after 5 s.

use std::time::{Duration, Instant};

use serde_json::json;
use uuid::Uuid;

use crate::support::fake_core::Received;
use crate::support::workerd::{Binding, Workerd};
use crate::support::{Answer, Scripted, Signed, client, post, scripted, send, wait_for_log};

/// Posts a record that tells the core what to do. Gives the answer, how long it took, and the key
/// that stands in the record.
async fn post_fake(edge: &Scripted, country: &str, what: &str) -> (Answer, Duration, String) {
    let key = Uuid::new_v4().simple().to_string();
    let body = json!({"fake": format!("{what}/{key}")}).to_string();
    let started = Instant::now();
    let answer = post(&edge.record_url(country), &Signed::default(), body).await;
    (answer, started.elapsed(), key)
}

#[tokio::test]
async fn a_core_that_does_not_say_that_it_kept_the_record_is_not_believed() {
    let edge = scripted().await;
    for what in [
        "400",
        "401",
        "403",
        "404",
        "408",
        "409",
        "413",
        "421",
        "429",
        "500",
        "501",
        "502",
        "503",
        "504",
        "created",
        "no-content",
        "redirect",
        "header-and-500",
        "header-and-202",
        "other-header",
        "other-status",
        "no-status",
        "not-json",
        "empty",
        "truncated",
        "huge",
        "not-http",
        "close",
    ] {
        let (answer, _, key) = post_fake(edge, "VN", what).await;
        assert_eq!(answer.status, 503, "the core said {what}: {answer:?}");
        answer.is_unavailable("unavailable");
        // It did reach the core, once: the edge does not try again on its own.
        let received = edge.core.the_one_with(&key);
        assert_eq!(received.target, "/v1/pancake/vn-main/records", "{what}");
    }
    // The control: the same way, to a core that kept it, and says so in its body alone or before it.
    for what in ["accepted", "accepted-by-header"] {
        let (answer, _, _) = post_fake(edge, "VN", what).await;
        answer.is_kept("accepted");
    }
}

#[tokio::test]
async fn a_core_that_takes_longer_than_3_s_is_given_up() {
    let edge = scripted().await;
    let (silent, head_only) = tokio::join!(
        post_fake(edge, "VN", "silent"),
        post_fake(edge, "TH", "head-only"),
    );
    for (answer, elapsed, key) in [silent, head_only] {
        answer.is_unavailable("unavailable");
        let in_time = Duration::from_millis(2_900)..Duration::from_millis(4_500);
        assert!(in_time.contains(&elapsed), "{elapsed:?}");
        edge.core.the_one_with(&key);
    }
    wait_for_log("scripted-edge.log", "\"cause\":\"core_timed_out\"").await;
}

#[tokio::test]
async fn a_core_that_stops_in_the_middle_of_its_answer_holds_nobody_up() {
    let edge = scripted().await;
    let (answer, elapsed, _) = post_fake(edge, "VN", "half-a-body").await;
    answer.is_unavailable("unavailable");
    assert!(elapsed < Duration::from_millis(4_500), "{elapsed:?}");
}

#[tokio::test]
async fn a_core_that_refuses_connections_is_unavailable_at_once() {
    let edge = scripted().await;
    let (answer, elapsed, _) = post_fake(edge, "ID", "accepted").await;
    answer.is_unavailable("unavailable");
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
}

/// `smpctl check` keeps such a deployment from being made; if it is made all the same, nothing is lost.
#[tokio::test]
async fn a_deployment_that_is_misconfigured_takes_nothing_and_quotes_no_secret() {
    let bindings = [
        ("ROUTES", Binding::Json("{\"version\": 0}".to_owned())),
        (
            "HOP_SECRETS",
            Binding::Text("{\"smp-asia\": \"hush-hush-1\"".to_owned()),
        ),
        (
            "CONNECTIONS_KEYS",
            Binding::Text("[\"hush-hush-2\"]".to_owned()),
        ),
    ];
    let entry = platform::checkout::root().join("edge-worker/entry.js");
    let worker = Workerd::start("misconfigured-edge", &entry, &bindings).await;
    let url = format!("{}/api/pancake/record/any-token", worker.url);
    post(&url, &Signed::default(), "{}")
        .await
        .is_unavailable("unavailable");
    let proxied = client()
        .get(format!("{}/api/region", worker.url))
        .header("x-country-code", "VN");
    send(proxied).await.is_unavailable("unavailable");
    let log = wait_for_log("misconfigured-edge.log", "\"cause\":\"misconfigured\"").await;
    for mistake in ["the route table", "HOP_SECRETS", "CONNECTIONS_KEYS"] {
        assert!(log.contains(mistake), "{mistake} is not named: {log}");
    }
    assert!(!log.contains("hush-hush"), "{log}");
}

#[tokio::test]
async fn nothing_is_sent_to_a_region_that_is_paused() {
    let edge = scripted().await;
    let (answer, _, key) = post_fake(edge, "MY", "accepted").await;
    answer.is_unavailable("unavailable");
    let sent = |one: &Received| String::from_utf8_lossy(&one.body).contains(&key);
    assert_eq!(edge.core.received(sent).len(), 0);
}

#[tokio::test]
async fn of_what_the_sender_sends_only_body_and_trace_reach_the_core() {
    let edge = scripted().await;
    let key = Uuid::new_v4().simple().to_string();
    let body = json!({"fake": "accepted", "key": key}).to_string();
    let answer = send(
        client()
            .post(edge.record_url("VN") + "?query=1")
            .header("x-pancake-signature", "00".repeat(32))
            .header("x-smp-country", "CN")
            .header("X-SMP-Verdict", "verified")
            .header("x-smp-anything", "1")
            .header("signature", "smp=:AAAA:")
            .header("signature-input", "smp=()")
            .header("content-digest", "sha-256=:AAAA:")
            .header("cookie", "a=1")
            .header("x-country-code", "CN")
            .header("traceparent", TRACEPARENT)
            .body(body.clone()),
    )
    .await;
    answer.is_kept("accepted");
    let received = edge.core.the_one_with(&key);
    assert_eq!(
        (received.method.as_str(), received.body),
        ("POST", body.into_bytes())
    );
    assert_eq!(received.target, "/v1/pancake/vn-main/records");
    let mut names: Vec<_> = received
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    names.sort_unstable();
    // `cf-…` is what workerd adds by itself, if anything.
    names.retain(|name| !name.starts_with("cf-"));
    assert_eq!(
        names,
        [
            "content-digest",
            "content-length",
            "content-type",
            "host",
            "signature",
            "signature-input",
            "traceparent",
            "x-smp-connection",
            "x-smp-country",
            "x-smp-region",
            "x-smp-route-version",
            "x-smp-verdict",
        ]
    );
    let value = |name| edge.core.the_one_with(&key).all(name).join("|");
    assert_eq!(value("x-smp-country"), "VN");
    assert_eq!(value("x-smp-verdict"), "unsigned");
    assert_eq!(value("x-smp-connection"), "vn-main");
    assert_eq!(value("traceparent"), TRACEPARENT);

    // It is not the next sender's.
    let key = Uuid::new_v4().simple().to_string();
    let body = json!({"fake": "accepted", "key": key}).to_string();
    let answer = send(client().post(edge.record_url("VN")).body(body)).await;
    answer.is_kept("accepted");
    assert!(edge.core.the_one_with(&key).all("traceparent").is_empty());
}

/// A trace, as W3C Trace Context has it.
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
