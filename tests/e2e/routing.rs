//! Requests that are no webhooks: which country, which core, and what must never get through.

use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::fake_core::Received;
use crate::support::wire::exchange;
use crate::support::workerd::CF_HEADER;
use crate::support::{
    Answer, SCRIPTED_ROUTE_VERSION, Signed, client, lead, post, scripted, send, system,
};

fn get(edge: &str, path: &str) -> RequestBuilder {
    client().get(format!("{edge}{path}"))
}

#[track_caller]
fn came_from(answer: &Answer, region: &str, country: &str) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        (&answer.body["region"], &answer.body["country"]),
        (&json!(region), &json!(country)),
        "{answer:?}"
    );
    assert!(answer.body["route_version"].is_u64(), "{answer:?}");
}

#[tokio::test]
async fn the_country_that_a_client_names_decides_which_core_answers() {
    let edge = &system().await.edge.url;
    for (code, region, country) in [
        ("VN", "smp-asia", "VN"),
        ("vn", "smp-asia", "VN"),
        ("sG", "smp-asia", "SG"),
        ("CN", "smp-china", "CN"),
        ("cn", "smp-china", "CN"),
    ] {
        let request = get(edge, "/api/region?with=query").header("x-country-code", code);
        came_from(&send(request).await, region, country);
    }
}

#[tokio::test]
async fn a_country_that_is_malformed_or_not_served_is_taken_nowhere() {
    let edge = &system().await.edge.url;
    // The host says CN each time, and must not be asked.
    for code in ["US", "XX", "Vietnam", "V", "VNM", "", "VN,CN", "V1", "ＶＮ"] {
        let request = get(edge, "/api/region")
            .header("host", "cn.example.com")
            .header("x-country-code", code.as_bytes());
        let answer = send(request).await;
        assert_eq!(answer.status, 404, "{code:?}: {answer:?}");
        answer.is(404, "no_region");
    }
}

#[tokio::test]
async fn a_country_that_is_named_twice_is_taken_nowhere() {
    let edge = &system().await.edge.url;
    let headers = ["X-Country-Code: VN", "X-Country-Code: VN"];
    assert_eq!(
        exchange(edge, "GET /api/region", &headers, b""),
        (404, r#"{"status":"no_region"}"#.to_owned())
    );
}

#[tokio::test]
async fn the_host_name_decides_where_no_header_does() {
    let edge = &system().await.edge.url;
    for (host, region, country) in [
        ("cn.example.com", "smp-china", "CN"),
        ("vn.example.com:8443", "smp-asia", "VN"),
        ("TH.Example.com", "smp-asia", "TH"),
    ] {
        let answer = send(get(edge, "/api/region").header("host", host)).await;
        came_from(&answer, region, country);
    }
    let answer = send(get(edge, "/api/region").header("host", "us.example.com")).await;
    answer.is(404, "no_region");
}

/// Locally wrangler says of everybody that they are in the US, which no region serves.
#[tokio::test]
async fn a_client_of_no_country_is_taken_nowhere() {
    let edge = &system().await.edge.url;
    for path in ["/api/region", "/api/"] {
        let answer = send(get(edge, path)).await;
        answer.is(404, "no_region");
    }
    // On workerd alone there is no `request.cf` at all.
    let edge = &scripted().await.url;
    send(get(edge, "/api/fake/echo")).await.is(404, "no_region");
}

/// What a GET carries has no meaning (RFC 9110 §9.3.1); it is no reason to fail.
#[tokio::test]
async fn a_get_with_a_body_is_proxied_without_it() {
    let edge = &system().await.edge.url;
    let request = get(edge, "/api/region")
        .header("x-country-code", "VN")
        .body("ab");
    assert_eq!(send(request).await.status, 200);
}

/// A misspelt webhook URL holds a token all the same, and tokens end at the edge.
#[tokio::test]
async fn a_webhook_whose_path_is_misspelt_is_proxied_to_no_core() {
    let edge = &scripted().await.url;
    for path in [
        "/api/pancake",
        "/api/pancake/record",
        "/api/%70ancake/record/token",
        "/api/Pancake/record/token",
        "/api//pancake/record/token",
    ] {
        let answer = send(get(edge, path).header("x-country-code", "VN")).await;
        answer.is(404, "not_found");
    }
}

#[tokio::test]
async fn what_cloudflare_says_of_the_country_comes_last() {
    let edge = &scripted().await.url;
    let echo = |cf: Value| get(edge, "/api/fake/echo").header(CF_HEADER, cf.to_string());
    let answer = send(echo(json!({"country": "TH"}))).await;
    assert_eq!(received_header(&answer, "x-smp-country"), ["TH"]);
    let answer = send(echo(json!({"country": "TH"})).header("x-country-code", "VN")).await;
    assert_eq!(received_header(&answer, "x-smp-country"), ["VN"]);
    let answer = send(echo(json!({"country": "TH"})).header("host", "vn.example.com")).await;
    assert_eq!(received_header(&answer, "x-smp-country"), ["VN"]);
    for cf in [
        json!({"country": "T1"}),
        json!({"country": "US"}),
        json!({"country": 1}),
        json!({}),
    ] {
        send(echo(cf)).await.is(404, "no_region");
    }
}

fn received_header(answer: &Answer, name: &str) -> Vec<String> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let headers = answer.body["headers"].as_array().unwrap();
    headers
        .iter()
        .filter(|header| header[0] == name)
        .map(|header| header[1].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_client_cannot_speak_for_the_edge() {
    let edge = scripted().await;
    let body = "the body";
    let request = client()
        .post(format!("{}/api/fake/echo?a=%2F&b=", edge.url))
        .header("X-Country-Code", "vn")
        .header("x-smp-country", "CN")
        .header("X-SMP-Region", "smp-china")
        .header("X-Smp-Connection", "vn-main")
        .header("x-smp-verdict", "verified")
        .header("x-sMp-route-version", "9")
        .header("x-smp-", "1")
        .header("X-SMP-anything", "1")
        .header("Signature", "sig1=:AAAA:")
        .header("SIGNATURE-INPUT", "sig1=()")
        .header("authorization", "Bearer of-the-client")
        .header("accept-language", "vi")
        .body(body);
    let answer = send(request).await;
    let mut ours: Vec<_> = answer.body["headers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|header| header[0].as_str().unwrap())
        .filter(|name| name.starts_with("x-smp-") || name.starts_with("signature"))
        .collect();
    ours.sort_unstable();
    assert_eq!(
        ours,
        [
            "signature",
            "signature-input",
            "x-smp-country",
            "x-smp-region",
            "x-smp-route-version"
        ]
    );
    let header = |name| received_header(&answer, name).join("|");
    assert_eq!(header("x-smp-country"), "VN");
    assert_eq!(header("x-smp-region"), "smp-asia");
    assert_eq!(
        header("x-smp-route-version"),
        SCRIPTED_ROUTE_VERSION.to_string()
    );
    assert!(header("signature").starts_with("smp=:"), "{answer:?}");
    // All else is the client's, and stays.
    assert_eq!(header("authorization"), "Bearer of-the-client");
    assert_eq!(header("accept-language"), "vi");
    assert_eq!(answer.body["method"], "POST");
    assert_eq!(answer.body["target"], "/api/fake/echo?a=%2F&b=");
    assert_eq!(answer.body["body"], body);
}

#[tokio::test]
async fn each_method_reaches_the_core_and_its_answer_the_client() {
    let edge = scripted().await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = client()
            .request(method.clone(), format!("{}/api/fake/echo", edge.url))
            .header("x-country-code", "VN");
        let answer = send(request).await;
        assert_eq!(answer.status, 200, "{method}");
        assert_eq!(answer.body["method"], method.as_str());
    }
    let answer = send(get(&edge.url, "/api/fake/418").header("x-country-code", "VN")).await;
    assert_eq!(
        (answer.status, &answer.body["status"]),
        (418, &json!("accepted"))
    );
    let answer = send(get(&edge.url, "/api/fake/hello").header("x-country-code", "VN")).await;
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
}

#[tokio::test]
async fn a_redirect_is_the_clients_to_follow() {
    let edge = scripted().await;
    let key = Uuid::new_v4().simple().to_string();
    let path = format!("/api/fake/redirect/{key}");
    let answer = send(get(&edge.url, &path).header("x-country-code", "VN")).await;
    assert_eq!(answer.status, 302);
    let location = format!("{}/elsewhere/{key}", edge.core.origin());
    assert_eq!(answer.header("location"), Some(location.as_str()));
    assert_eq!(edge.core.the_one_with(&key).target, path);
}

#[tokio::test]
async fn a_core_that_cannot_be_reached_is_a_bad_gateway() {
    let edge = scripted().await;
    for (country, path) in [
        ("ID", "/api/fake/echo"),
        ("VN", "/api/fake/close"),
        ("VN", "/api/fake/not-http"),
    ] {
        let request = client()
            .post(format!("{}{path}", edge.url))
            .header("x-country-code", country)
            .body("{}");
        send(request).await.is(502, "bad_gateway");
    }
}

#[tokio::test]
async fn a_region_that_is_paused_says_when_to_come_back() {
    let edge = scripted().await;
    let path = format!("/api/fake/echo?{}", Uuid::new_v4());
    let answer = send(get(&edge.url, &path).header("x-country-code", "MY")).await;
    answer.is_unavailable("unavailable");
    assert_eq!(edge.core.received(|one| one.target == path).len(), 0);
}

#[tokio::test]
async fn a_core_that_does_not_begin_to_answer_within_10_s_is_a_gateway_timeout() {
    let edge = scripted().await;
    let started = Instant::now();
    let answer = send(get(&edge.url, "/api/fake/silent").header("x-country-code", "VN")).await;
    answer.is(504, "gateway_timeout");
    let elapsed = started.elapsed();
    let in_time = Duration::from_millis(9_900)..Duration::from_secs(13);
    assert!(in_time.contains(&elapsed), "{elapsed:?}");
}

#[tokio::test]
async fn no_spelling_of_a_path_leads_out_of_api() {
    let wrangler = system().await.edge.url.as_str();
    let edge = scripted().await;
    let ingest = "v1/pancake/vn-main/records";
    for path in [
        format!("/api/../{ingest}"),
        format!("/api/./../{ingest}"),
        format!("/api/%2e%2e/{ingest}"),
        format!("/api/%2E./{ingest}"),
        format!("/api/.%2e/{ingest}"),
        format!("/api/..%2f{ingest}"),
        format!("/api/x/../../{ingest}"),
        format!("/api/..\\{ingest}"),
        format!("/api/\\..\\..\\{ingest}"),
        format!("/api/%5c..%5c{ingest}"),
        format!("/api/.\t./{ingest}"),
        format!("/api/.%09./{ingest}"),
        format!("/api/..;/{ingest}"),
        format!("/api/..?/../{ingest}"),
        format!("/api/..#/../{ingest}"),
        format!("/api//../../{ingest}"),
        format!("//api/../{ingest}"),
        format!("/{ingest}"),
        format!("//{ingest}"),
        format!("/api/pancake/record/../../../{ingest}"),
        format!("http://127.0.0.1/api/../{ingest}"),
        format!("http://127.0.0.1/{ingest}"),
    ] {
        let (id, body) = lead();
        for url in [wrangler, &edge.url] {
            let (status, answer) = exchange(
                url,
                &format!("POST {path}"),
                &[
                    "X-Country-Code: VN",
                    "Content-Type: application/json",
                    "Connection: close",
                ],
                body.as_bytes(),
            );
            // 4xx from us; workerd itself answers 500 to a URL where a path should be.
            assert!(status >= 400, "{path:?} at {url}: {status} {answer}");
        }
        let record = id.to_string();
        let arrived = edge
            .core
            .received(|one| String::from_utf8_lossy(&one.body).contains(&record));
        for one in arrived {
            assert!(
                one.target.starts_with("/api/"),
                "{path:?} arrived as {}",
                one.target
            );
            let resolved = reqwest::Url::parse(&format!("http://core{}", one.target)).unwrap();
            assert!(
                resolved.path().starts_with("/api/"),
                "{path:?} is {resolved}"
            );
        }
        crate::support::assert_nowhere(&[id]).await;
    }
}

/// Sends a captured hop on to a real core, as whoever sits on the way could.
async fn replay(core: &str, path: &str, captured: &Received) -> Answer {
    let mut request = client()
        .post(format!("{core}{path}"))
        .body(captured.body.clone());
    for (name, value) in captured.hop_headers() {
        request = request.header(name, value);
    }
    send(request).await
}

#[tokio::test]
async fn a_proxied_hop_is_no_record() {
    let core = system().await.region("smp-asia").unwrap().core_url();
    let edge = scripted().await;
    let (proxied_id, body) = lead();
    let request = client()
        .post(format!("{}/api/fake/echo", edge.url))
        .header("x-country-code", "VN")
        .body(body);
    assert_eq!(send(request).await.status, 200);
    let proxied = edge.core.the_one_with(&proxied_id.to_string());
    let ingest = "/v1/pancake/vn-main/records";
    assert_eq!(replay(&core, ingest, &proxied).await.status, 401);

    // With what a record has more, which nobody has signed.
    let (record_id, body) = lead();
    post(&edge.record_url("VN"), &Signed::default(), body).await;
    let record = edge.core.the_one_with(&record_id.to_string());
    let mut dressed_up = proxied;
    for name in ["content-digest", "x-smp-connection", "x-smp-verdict"] {
        let value = record.all(name)[0].to_owned();
        dressed_up.headers.push((name.to_owned(), value));
    }
    dressed_up.body.clone_from(&record.body);
    assert_eq!(replay(&core, ingest, &dressed_up).await.status, 401);
    crate::support::assert_nowhere(&[proxied_id, record_id]).await;

    // The controls: a captured record is taken by the real core, so the refusals were not for
    // something else; and on another path, or with a query, it is not.
    assert_eq!(
        replay(&core, "/v1/pancake/th-main/records", &record)
            .await
            .status,
        401
    );
    assert_eq!(
        replay(&core, &format!("{ingest}?x"), &record).await.status,
        401
    );
    replay(&core, ingest, &record).await.is_kept("accepted");
}

#[tokio::test]
async fn a_record_hop_opens_nothing_under_api() {
    let core = system().await.region("smp-asia").unwrap().core_url();
    let edge = scripted().await;
    let (id, body) = lead();
    post(&edge.record_url("VN"), &Signed::default(), body).await;
    let record = edge.core.the_one_with(&id.to_string());
    assert_eq!(replay(&core, "/api/region", &record).await.status, 401);
}

#[tokio::test]
async fn the_edge_answers_for_itself_and_for_nothing_else() {
    let edge = &system().await.edge.url;
    let health = send(get(edge, "/healthz")).await;
    health.is(200, "ok");
    let version = health.header("x-smp-route-version").unwrap();
    assert!(version.parse::<u32>().is_ok(), "{version}");
    for path in [
        "/",
        "/metrics",
        "/readyz",
        "/v1/pancake/vn-main/records",
        "/apiary",
        "/api",
    ] {
        let answer = send(get(edge, path).header("x-country-code", "VN")).await;
        answer.is(404, "not_found");
    }
}
