//! A row that is written through the hub's core is read in another region by whoever names its version token.

use std::time::Duration;

use platform::ports::Ports;
use platform::region::Region;
use platform::system::System;
use serde_json::{Value, json};

use crate::support::lifetime;

const ROW: &str = "/v1/master-data/taxes/VN/vat/standard/2029-07-01";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_in_the_hub_is_read_in_the_region_at_its_version() {
    lifetime::run_directory();
    let name = format!("{}/editing", lifetime::NAME);
    let mut system = System::start(&name, Ports::Free, |_| ()).await.unwrap();
    system
        .start_master_data(&name, Ports::Free, |_| ())
        .await
        .unwrap();
    let hub = system.region("smp-asia").unwrap();
    let other = system.region("smp-china").unwrap();
    wait_until_loaded(hub).await;
    wait_until_loaded(other).await;

    // Without a token nobody writes, and elsewhere not with one.
    let nobody = put(hub, None, ("if-none-match", "*"), "0.11").await;
    assert_eq!(nobody.status(), 401);
    let elsewhere = put(other, token(other), ("if-none-match", "*"), "0.11").await;
    assert_eq!(elsewhere.status(), 409);
    let of_another_region = put(hub, token(other), ("if-none-match", "*"), "0.11").await;
    assert_eq!(of_another_region.status(), 401);

    let made = put(hub, token(hub), ("if-none-match", "*"), "0.11").await;
    assert_eq!(made.status(), 201);
    let version = read_after(other, &made, "0.11").await;
    let changed = put(hub, token(hub), ("if-match", &version), "0.12").await;
    assert_eq!(changed.status(), 200);
    let version = read_after(other, &changed, "0.12").await;
    let stale = put(hub, token(hub), ("if-match", "\"1\""), "0.13").await;
    assert_eq!(stale.status(), 412);

    let gone = reqwest::Client::new()
        .delete(format!("{}{ROW}", hub.core_url()))
        .bearer_auth(token(hub).unwrap())
        .header("if-match", version)
        .send()
        .await
        .unwrap();
    assert_eq!(gone.status(), 200);
    assert_eq!(read(other, &gone).await.status(), 404);

    // The log says who it was, and holds neither token nor row.
    let log = system.directory().join("logs/smp-asia-core.log");
    let log = std::fs::read_to_string(log).unwrap();
    assert_eq!(log.matches("platform-admin").count(), 3);
    assert!(!log.contains(token(hub).unwrap()) && !log.contains("0.12"));
}

/// A core looks for master data every few seconds while there is none.
async fn wait_until_loaded(region: &Region) {
    let url = format!("{}/readyz", region.core_url());
    for _ in 0..600 {
        let ready: Value = reqwest::get(&url).await.unwrap().json().await.unwrap();
        if ready["checks"]["master_data"] == "loaded" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{} has loaded no master data", region.id);
}

fn token(region: &Region) -> Option<&str> {
    region.admin_token.as_deref()
}

async fn put(
    region: &Region,
    token: Option<&str>,
    (name, value): (&'static str, &str),
    rate: &str,
) -> reqwest::Response {
    let mut request = reqwest::Client::new()
        .put(format!("{}{ROW}", region.core_url()))
        .header(name, value)
        .json(&json!({"rate": rate, "note": null}));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    request.send().await.unwrap()
}

/// Reads the row with the version token of `written`, as often as the region is behind it.
async fn read(region: &Region, written: &reqwest::Response) -> reqwest::Response {
    let seq = &written.headers()["x-smp-seq"];
    for _ in 0..30 {
        let request = reqwest::Client::new().get(format!("{}{ROW}", region.core_url()));
        let answer = request.header("x-smp-min-seq", seq).send().await.unwrap();
        // It has waited for two seconds, or there is no master data yet.
        if !matches!(answer.status().as_u16(), 409 | 503) {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it did not arrive");
}

/// The row's version in the region, where it must be as it was written.
async fn read_after(region: &Region, written: &reqwest::Response, rate: &str) -> String {
    let answer = read(region, written).await;
    assert_eq!(answer.status(), 200);
    let etag = answer.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(etag, written.headers()["etag"].to_str().unwrap());
    let row: Value = answer.json().await.unwrap();
    assert_eq!(row["rate"], rate);
    etag
}
