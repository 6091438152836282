//! Metrics.

use crate::support::edge::Edge;
use crate::support::{TestCore, record};

#[tokio::test]
async fn requests_are_counted_by_how_they_ended() {
    let core = TestCore::start().await;
    core.post(record("")).await.event_id("accepted");
    core.post(record("")).await.event_id("duplicate");
    core.post("[]").await.assert_invalid_payload();
    let elsewhere = Edge {
        country: "CN",
        connection: "cn-main",
        ..Edge::default()
    };
    core.send(elsewhere.record("{}")).await.assert_problem(421);
    let unbelieved = Edge {
        created: 5,
        connection: "made-up",
        ..Edge::default()
    };
    core.send(unbelieved.record("{}")).await.assert_problem(401);
    core.post(vec![b' '; protocol::BODY_LIMIT_BYTES + 1])
        .await
        .assert_problem(413);

    for (country, connection, outcome) in [
        ("VN", "vn-main", "accepted"),
        ("VN", "vn-main", "duplicate"),
        ("VN", "vn-main", "invalid_payload"),
        ("CN", "cn-main", "misdirected"),
        ("", "", "unauthorized"),
        ("", "", "too_large"),
    ] {
        let series = format!(
            "pancake_webhook_requests_total{{country=\"{country}\",connection=\"{connection}\",\
             outcome=\"{outcome}\"}}"
        );
        assert!((core.metric(&series).await - 1.0).abs() < 0.5, "{series}");
    }
    for (series, expected) in [
        ("pancake_webhook_latency_seconds_count", 6.0),
        ("pancake_webhook_queue_depth", 0.0),
        (
            r#"pancake_webhook_hop_refusals_total{cause="created_out_of_slack"}"#,
            1.0,
        ),
    ] {
        assert!(
            (core.metric(series).await - expected).abs() < 0.5,
            "{series}"
        );
    }
    assert!(core.metric("database_pool_connections").await >= 1.0);
    assert!(core.metric("process_start_time_seconds").await > 1.7e9);
    #[cfg(target_os = "linux")]
    assert!(core.metric("process_resident_memory_bytes").await > 1e6);
    let text = core.get("/metrics").await.text();
    let build = format!(
        "regional_core_build_info{{version=\"{}\"}} 1",
        env!("CARGO_PKG_VERSION")
    );
    assert!(text.contains(&build), "{text}");
    for bucket in ["0.001", "1.0", "2.0", "5.0", "+Inf"] {
        let bucket = format!("pancake_webhook_latency_seconds_bucket{{le=\"{bucket}\"}}");
        assert!(text.contains(&bucket), "{bucket}\n{text}");
    }
}

#[tokio::test]
async fn metrics_hold_nothing_of_a_person_and_nothing_unsigned() {
    let core = TestCore::start().await;
    core.post(
        r#"{"id":"1f0e2d3c-4b5a-6978-8796-a5b4c3d2e1f0","name":"Secretive","phone_number":"+84901112223",
            "email":"secretive@example.com"}"#,
    )
    .await
    .event_id("accepted");
    let unbelieved = Edge {
        secret: crate::support::edge::RETIRED_SECRET,
        country: "XX",
        connection: "made-up",
        ..Edge::default()
    };
    core.send(unbelieved.record("{}")).await.assert_problem(401);

    let answer = core.get("/metrics").await;
    assert_eq!(
        answer.content_type.as_deref(),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    let text = answer.text();
    assert!(text.contains("vn-main"));
    for secret in [
        "Secretive",
        "84901112223",
        "secretive",
        "1f0e2d3c",
        "XX",
        "made-up",
    ] {
        assert!(!text.contains(secret), "{secret}\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}
