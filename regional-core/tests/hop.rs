//! Whom the core believes.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::json;

use crate::support::edge::{Edge, KEYID, RETIRED_KEYID, RETIRED_SECRET, opening_key, request};
use crate::support::{NOW, TestCore, record};

/// All headers that a record's signature covers or consists of.
const HEADERS: [&str; 8] = [
    "x-smp-country",
    "x-smp-region",
    "x-smp-connection",
    "x-smp-verdict",
    "x-smp-route-version",
    "content-digest",
    "signature-input",
    "signature",
];

#[track_caller]
fn changed(headers: &[(String, String)], name: &str, value: &str) -> Vec<(String, String)> {
    let mut headers = headers.to_vec();
    let header = headers.iter_mut().find(|(known, _)| known == name).unwrap();
    assert_ne!(header.1, value, "nothing is changed");
    value.clone_into(&mut header.1);
    headers
}

#[tokio::test]
async fn a_record_without_one_of_the_headers_is_refused() {
    let core = TestCore::start().await;
    let body = record("");
    let (path, headers) = core.edge.signed(body.as_bytes());
    for missing in HEADERS {
        let mut headers = headers.clone();
        headers.retain(|(name, _)| name != missing);
        assert_eq!(headers.len(), HEADERS.len() - 1);
        let request = request("POST", &path, &headers, body.clone().into());
        core.send(request).await.assert_problem(401);
    }
    assert_eq!(core.count_events().await, 0);
}

#[tokio::test]
async fn a_repeated_header_counts_as_absent() {
    let core = TestCore::start().await;
    let body = record("");
    let (path, headers) = core.edge.signed(body.as_bytes());
    for repeated in HEADERS {
        let mut headers = headers.clone();
        let twice = headers
            .iter()
            .find(|(name, _)| name == repeated)
            .unwrap()
            .clone();
        headers.push(twice);
        let request = request("POST", &path, &headers, body.clone().into());
        core.send(request).await.assert_problem(401);
    }
    assert_eq!(core.count_events().await, 0);
}

#[tokio::test]
async fn a_changed_header_is_refused() {
    let core = TestCore::start().await;
    let body = record("");
    let (path, headers) = core.edge.signed(body.as_bytes());
    let zeros = "A".repeat(43);
    let input = &headers
        .iter()
        .find(|(name, _)| name == "signature-input")
        .unwrap()
        .1;
    for (name, value) in [
        ("x-smp-country", "SG"),
        ("x-smp-region", "smp-china"),
        ("x-smp-connection", "vn-other"),
        ("x-smp-verdict", "verified"),
        ("x-smp-route-version", "8"),
        ("content-digest", &format!("sha-256=:{zeros}=:")),
        ("signature", &format!("smp=:{zeros}=:")),
        ("signature", "smp=:short:"),
        ("signature-input", &input.replace("smp=", "sig=")),
        (
            "signature-input",
            &input.replace(&format!("created={NOW}"), &format!("created={}", NOW + 1)),
        ),
    ] {
        let headers = changed(&headers, name, value);
        let request = request("POST", &path, &headers, body.clone().into());
        core.send(request).await.assert_problem(401);
    }
    assert_eq!(core.count_events().await, 0);
}

#[tokio::test]
async fn a_changed_body_is_refused_whatever_its_size() {
    let core = TestCore::start().await;
    for size in [10, 20_000, 1_000_000] {
        let body = record(&format!(r#","n":"{}""#, "x".repeat(size)));
        let (path, headers) = core.edge.signed(body.as_bytes());
        let other = body.replacen('x', "y", 1);
        let forged = request("POST", &path, &headers, other.into());
        core.send(forged).await.assert_problem(401);
        let right = request("POST", &path, &headers, body.into());
        core.send(right).await.event_id("accepted");
    }
}

/// `created` may be 60 seconds away, either way, and not 61.
#[tokio::test]
async fn the_slack_of_created_ends_after_exactly_sixty_seconds() {
    let core = TestCore::start().await;
    for (away, accepted) in [(-61, false), (-60, true), (60, true), (61, false)] {
        let edge = Edge {
            created: NOW + away,
            ..core.edge.clone()
        };
        let answer = core
            .send(edge.record(record(&format!(r#","n":{away}"#))))
            .await;
        if accepted {
            answer.event_id("accepted");
            let skew = core.metric("pancake_webhook_hop_skew_seconds").await;
            let expected = if away < 0 { 60.0 } else { -60.0 };
            assert!((skew - expected).abs() < 0.5, "{away}: {skew}");
        } else {
            answer.assert_problem(401);
        }
    }
    assert_eq!(core.count_events().await, 2);
}

#[tokio::test]
async fn only_live_keys_are_believed() {
    let core = TestCore::start().await;
    let edges = [
        Edge {
            keyid: RETIRED_KEYID,
            secret: RETIRED_SECRET,
            ..Edge::default()
        },
        Edge {
            keyid: KEYID,
            secret: RETIRED_SECRET,
            ..Edge::default()
        },
    ];
    for edge in edges {
        core.send(edge.record(record(""))).await.assert_problem(401);
    }
    for (cause, expected) in [("key_unknown", 1.0), ("signature_wrong", 1.0)] {
        let series = format!(r#"pancake_webhook_hop_refusals_total{{cause="{cause}"}}"#);
        assert!((core.metric(&series).await - expected).abs() < 0.5);
    }
}

#[tokio::test]
async fn a_signature_is_good_for_its_own_path_only() {
    let core = TestCore::start().await;
    let body = record("");
    let (path, headers) = core.edge.signed(body.as_bytes());
    for path in [
        "/v1/pancake/vn-other/records".to_owned(),
        "/v1/pancake/vn%2Dmain/records".to_owned(),
        format!("{path}?limit=1"),
        format!("{path}?"),
    ] {
        let request = request("POST", &path, &headers, body.clone().into());
        core.send(request).await.assert_problem(401);
    }
    for path in [
        format!("{path}/"),
        format!("/{path}"),
        "/v1/pancake/records".to_owned(),
    ] {
        let request = request("POST", &path, &headers, body.clone().into());
        core.send(request).await.assert_problem(404);
    }
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let request = request(method.as_str(), &path, &headers, body.clone().into());
        core.send(request).await.assert_problem(405);
    }
    assert_eq!(core.count_events().await, 0);
}

#[tokio::test]
async fn a_proxied_signature_takes_no_record_in() {
    let core = TestCore::start().await;
    let mut request = core.edge.proxied("POST", "/v1/pancake/vn-main/records");
    *request.body_mut() = Body::from(record(""));
    core.send(request).await.assert_problem(401);

    // Nor do the headers of a record help it.
    let mut request = core.edge.proxied("POST", "/v1/pancake/vn-main/records");
    let (_, headers) = core.edge.signed(record("").as_bytes());
    for (name, value) in headers {
        let name: axum::http::HeaderName = name.parse().unwrap();
        request
            .headers_mut()
            .entry(name)
            .or_insert(value.parse().unwrap());
    }
    *request.body_mut() = Body::from(record(""));
    core.send(request).await.assert_problem(401);
    assert_eq!(core.count_events().await, 0);
}

#[tokio::test]
async fn a_record_for_another_core_is_misdirected() {
    let core = TestCore::start().await;
    let edges = [
        Edge {
            region: "smp-china",
            ..Edge::default()
        },
        Edge {
            country: "CN",
            ..Edge::default()
        },
    ];
    for edge in edges {
        core.send(edge.record(record(""))).await.assert_problem(421);
        // A body that is no record too: nothing of another country's is kept here.
        core.send(edge.record("[]")).await.assert_problem(421);
        core.send(edge.proxied("GET", "/api/region"))
            .await
            .assert_problem(421);
    }
    assert_eq!(core.count_events().await, 0);
    let rejected: i64 = sqlx::query_scalar("select count(*) from pancake_rejected_request")
        .fetch_one(&core.pool)
        .await
        .unwrap();
    assert_eq!(rejected, 0);
}

#[tokio::test]
async fn a_proxied_request_is_answered_only_with_its_own_hop() {
    let core = TestCore::start().await;
    let answer = core.send(core.edge.proxied("GET", "/api/region")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.json(),
        json!({
            "region": "smp-asia", "countries": ["SG", "VN"], "country": "VN", "route_version": 7,
            "hop_key": KEYID,
        })
    );
    let with_query = core.edge.proxied("GET", "/api/region?a=1");
    assert_eq!(core.send(with_query).await.status, 200);

    core.get("/api/region").await.assert_problem(401);
    // The query is signed, and so is its absence.
    for (signed, sent) in [
        ("/api/region", "/api/region?a=1"),
        ("/api/region?a=1", "/api/region?a=2"),
        ("/api/region?a=1", "/api/region"),
        ("/api/", "/api/region"),
    ] {
        let mut request = core.edge.proxied("GET", signed);
        *request.uri_mut() = sent.parse().unwrap();
        core.send(request).await.assert_problem(401);
    }
    let stale = Edge {
        created: NOW - 61,
        ..Edge::default()
    };
    core.send(stale.proxied("GET", "/api/region"))
        .await
        .assert_problem(401);
}

#[tokio::test]
async fn which_keys_are_in_force_is_told_by_name_to_whoever_has_one_of_them() {
    let core = TestCore::start().await;
    let answer = core.send(core.edge.proxied("GET", "/v1/keys")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.cache_control.as_deref(), Some("no-store"));
    let sealing_key = opening_key().sealing_key().to_string();
    assert_eq!(
        answer.json(),
        json!({"region": "smp-asia", "hop_keys": [KEYID], "sealing_keys": [sealing_key]})
    );
    core.get("/v1/keys").await.assert_problem(401);
    let retired = Edge {
        keyid: RETIRED_KEYID,
        secret: RETIRED_SECRET,
        ..Edge::default()
    };
    core.send(retired.proxied("GET", "/v1/keys"))
        .await
        .assert_problem(401);
}

/// Ops look here after a flip: a kept answer would show the route as it was before.
#[tokio::test]
async fn where_a_route_leads_is_kept_by_no_cache() {
    let core = TestCore::start().await;
    let answer = core.send(core.edge.proxied("GET", "/api/region")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.cache_control.as_deref(), Some("no-store"));
}

/// Without a hop, nobody learns which paths there are.
#[tokio::test]
async fn unknown_paths_are_told_apart_only_behind_the_hop() {
    let core = TestCore::start().await;
    for path in ["/api/", "/api/nothing", "/api/region/", "/api/a/b/c?d"] {
        core.get(path).await.assert_problem(401);
        core.send(core.edge.proxied("GET", path))
            .await
            .assert_problem(404);
    }
    core.send(core.edge.proxied("POST", "/api/region"))
        .await
        .assert_problem(405);
    let unsigned = Request::post("/api/region").body(Body::empty()).unwrap();
    core.send(unsigned).await.assert_problem(401);
    for path in [
        "/",
        "/api",
        "//api/region",
        "/%61pi/region",
        "/v1",
        "/v1/pancake/x/y/records",
    ] {
        core.get(path).await.assert_problem(404);
    }
}
