//! What the edge tells of itself: to Prometheus, and to ops.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use infra::check::read_environments;
use infra::smoke::{Lead, Smoke, table};
use platform::pancake;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::spool::{ADMIN_TOKEN, READ_TOKEN, Route, Seal, Waiting};
use crate::support::{Signed, client, lead, post, record_url, system};

impl Waiting {
    /// Asks the edge something under `/_edge/`.
    async fn ask(&self, method: Method, path: &str, token: Option<&str>) -> (StatusCode, String) {
        let url = format!("{}/_edge/{path}", self.edge.url);
        let mut request = client().request(method, url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    async fn samples(&self) -> BTreeMap<String, f64> {
        let (status, text) = self.ask(Method::GET, "metrics", Some(READ_TOKEN)).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples
            .map(|line| {
                let (series, value) = line.rsplit_once(' ').unwrap();
                (series.to_owned(), value.parse().unwrap())
            })
            .collect()
    }

    /// Waits until the series have these values; gives all samples.
    async fn wait_for_samples(&self, expected: &[(&str, f64)]) -> BTreeMap<String, f64> {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let samples = self.samples().await;
            let differs = expected.iter().find(|(series, value)| {
                (samples.get(*series).copied().unwrap_or(0.0) - value).abs() > f64::EPSILON
            });
            let Some((series, value)) = differs else {
                return samples;
            };
            let found = samples.get(*series);
            assert!(
                Instant::now() < deadline,
                "{series}: {found:?}, not {value}: {samples:#?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Three leads, and one request of each kind that is refused. Gives what a proxied one was answered.
async fn send_one_of_each(waiting: &Waiting) -> u16 {
    for _ in 0..3 {
        waiting.post_lead().await.1.is_kept("accepted");
    }
    let url = record_url(&waiting.edge.url, &waiting.connection);
    let (_, body) = lead();
    let forged = Signed {
        signature: Some("00".repeat(32)),
        ..Signed::now(&waiting.connection, body.as_bytes())
    };
    post(&url, &forged, body.clone())
        .await
        .is(200, "hmac_invalid");
    let late = Signed {
        timestamp: Some("1".to_owned()),
        ..Signed::now(&waiting.connection, body.as_bytes())
    };
    post(&url, &late, body.clone())
        .await
        .is(200, "timestamp_out_of_window");
    let stranger = format!("{}/api/pancake/record/nobody", waiting.edge.url);
    post(&stranger, &late, body.clone())
        .await
        .is(404, "unknown_token");
    post(&url, &late, "x".repeat(1_048_577))
        .await
        .is(413, "body_too_large");
    let get = client().get(&url).send().await.unwrap();
    assert_eq!(get.status(), StatusCode::METHOD_NOT_ALLOWED);
    let proxied = format!("{}/api/v1/nothing", waiting.edge.url);
    let proxied = client()
        .get(proxied)
        .header("x-country-code", "VN")
        .send()
        .await
        .unwrap();
    proxied.status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_and_what_waits_is_counted_and_no_counter_that_was_seen_goes_back() {
    let mut waiting = Waiting::start(Route {
        name: "watching",
        state: "open",
        seal: Seal::Own,
    })
    .await;
    let proxied_status = send_one_of_each(&waiting).await;
    let place = r#"connection="vn-main",region="smp-asia""#;
    let webhooks = |status: &str, cause: &str| {
        format!(r#"edge_webhooks_total{{{place},status="{status}",cause="{cause}"}}"#)
    };
    let verdicts =
        |verdict: &str| format!(r#"edge_webhook_verdicts_total{{{place},verdict="{verdict}"}}"#);
    let unknown = r#"edge_webhooks_total{connection="",region="",status="unknown_token",cause=""}"#;
    let proxied =
        format!(r#"edge_proxied_requests_total{{region="smp-asia",outcome="{proxied_status}"}}"#);
    let expected = [
        (&*webhooks("accepted", ""), 3.0),
        (&*webhooks("hmac_invalid", ""), 1.0),
        (&*webhooks("timestamp_out_of_window", ""), 1.0),
        (&*webhooks("body_too_large", ""), 1.0),
        (&*webhooks("method_not_allowed", ""), 1.0),
        (unknown, 1.0),
        (&*verdicts("verified"), 3.0),
        (&*verdicts("invalid"), 1.0),
        (&*verdicts("stale"), 1.0),
        (&*proxied, 1.0),
        (
            r#"edge_webhook_duration_seconds_count{region="smp-asia"}"#,
            7.0,
        ),
        (
            r#"edge_suspension_window_requests{connection="vn-main"}"#,
            7.0,
        ),
        (
            r#"edge_suspension_window_failures{connection="vn-main"}"#,
            2.0,
        ),
        (r#"edge_region_open{region="smp-asia"}"#, 1.0),
        ("edge_routes_version", 7.0),
    ];
    let seen = waiting.wait_for_samples(&expected).await;

    // What Prometheus saw is there after a crash at any moment, and counting goes on from there.
    waiting.edge.kill();
    waiting.edge.start_again().await;
    assert_eq!(waiting.samples().await, seen);
    waiting.region.core().unwrap().kill().unwrap();
    for _ in 0..4 {
        waiting.post_lead().await.1.is(200, "queued");
    }
    let queued = webhooks("queued", "core_unreachable");
    let samples = waiting
        .wait_for_samples(&[
            (&queued, 4.0),
            (&verdicts("verified"), 7.0),
            (r#"edge_spool_records{region="smp-asia"}"#, 4.0),
        ])
        .await;
    assert!(samples[r#"edge_spool_bytes{region="smp-asia"}"#] > 400.0);
    assert!(samples[r#"edge_spool_used_ratio{region="smp-asia"}"#] > 0.0);
    let (status, text) = waiting.ask(Method::GET, "status", Some(READ_TOKEN)).await;
    assert_eq!(status, StatusCode::OK);
    let status: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status["regions"][0]["waiting"], json!(4));
    assert_eq!(status["regions"][0]["state"], json!("open"));
    assert_eq!(status["connections"][0]["requests"], json!(11));

    waiting.region.start_core().await.unwrap();
    waiting.wait_until_arrived(7).await;
    waiting
        .wait_for_samples(&[
            (r#"edge_spool_records{region="smp-asia"}"#, 0.0),
            (r#"edge_spool_bytes{region="smp-asia"}"#, 0.0),
            (r#"edge_spool_oldest_seconds{region="smp-asia"}"#, 0.0),
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_no_core_opens_is_parked_shown_tried_again_and_removed_by_ops_alone() {
    let mut waiting = Waiting::start(Route {
        name: "parked",
        state: "open",
        seal: Seal::Unknown,
    })
    .await;
    waiting.region.core().unwrap().kill().unwrap();
    for _ in 0..2 {
        waiting.post_lead().await.1.is(200, "queued");
    }
    let parked = "spool/smp-asia/parked";
    // While nobody answers nobody is to blame.
    let (_, none) = waiting.ask(Method::GET, parked, Some(READ_TOKEN)).await;
    assert_eq!(none, "[]");
    waiting.region.start_core().await.unwrap();
    let series = r#"edge_spool_parked_records{region="smp-asia"}"#;
    waiting.wait_for_samples(&[(series, 2.0)]).await;

    for (method, path, token, expected) in [
        (Method::GET, "metrics", None, 401),
        (Method::GET, "status", Some("guess"), 401),
        (Method::GET, parked, None, 401),
        (Method::POST, parked, Some(READ_TOKEN), 403),
        (
            Method::DELETE,
            "spool/smp-asia/parked/0/1",
            Some(READ_TOKEN),
            403,
        ),
        (
            Method::DELETE,
            "spool/smp-asia/parked/0/999",
            Some(ADMIN_TOKEN),
            404,
        ),
        (Method::GET, "nothing", Some(READ_TOKEN), 404),
    ] {
        let (status, text) = waiting.ask(method.clone(), path, token).await;
        assert_eq!(status.as_u16(), expected, "{method} {path}: {text}");
    }

    let (_, again) = waiting.ask(Method::POST, parked, Some(ADMIN_TOKEN)).await;
    assert_eq!(again, r#"{"records":2}"#);
    waiting.wait_for_samples(&[(series, 2.0)]).await;
    let (status, list) = waiting.ask(Method::GET, parked, Some(READ_TOKEN)).await;
    assert_eq!(status, StatusCode::OK);
    let list: Vec<Value> = serde_json::from_str(&list).unwrap();
    assert_eq!(list.len(), 2, "{list:?}");
    for record in &list {
        assert_eq!(record["connection"], "vn-main");
        assert_eq!(record["cause"], "core_unreachable");
        assert_eq!(record["attempts"], 10);
        let path = format!("{parked}/{}/{}", record["shard"], record["seq"]);
        let (status, _) = waiting.ask(Method::DELETE, &path, Some(ADMIN_TOKEN)).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
    }
    waiting
        .wait_for_samples(&[
            (series, 0.0),
            (r#"edge_spool_bytes{region="smp-asia"}"#, 0.0),
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_smoke_test_tells_a_deployment_that_does_what_its_routes_say_from_one_that_does_not() {
    let system = system().await;
    let url = system.edge.url.clone();
    let connection = system.connection("VN").unwrap().clone();
    let text = fs::read_to_string(platform::checkout::root().join("wrangler.toml")).unwrap();
    let steps = tokio::task::spawn_blocking(move || {
        let (environments, _) = read_environments(&text);
        let smoke = Smoke::new(&url, &environments[0].routes);
        let mut right = smoke.routes();
        let lead = Lead {
            token: connection.token,
            secret: connection.secret,
        };
        let id = Uuid::new_v4().to_string();
        right.extend(smoke.lead(&lead, (&id, pancake::now())));

        let other = text.replace("version = 1 ", "version = 9 ");
        let (environments, _) =
            read_environments(&other.replace("CN = \"smp-china\"", "CN = \"smp-asia\""));
        (right, Smoke::new(&url, &environments[0].routes).routes())
    });
    let (right, wrong) = steps.await.unwrap();
    assert!(right.iter().all(|step| step.is_right), "{}", table(&right));
    let wrong: Vec<_> = wrong
        .iter()
        .filter(|step| !step.is_right)
        .map(|step| &*step.asked)
        .collect();
    assert_eq!(wrong, ["the edge", "CN's core"]);
}
