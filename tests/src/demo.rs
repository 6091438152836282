//! The story of a webhook, for a newcomer: what arrives, where it lands, what is turned away.

use anyhow::{Context as _, Result, anyhow, ensure};
use platform::checkout;
use platform::pancake::{self, DemoConnection, now};
use platform::system::System;
use protocol::routes::RouteState;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::up::{self, say};
use crate::{master_data_story, polling_story, processing_story, spool_story};

/// Starts the platform, plays the story, and stays up until Ctrl-C, unless `once`.
pub(crate) async fn run(once: bool) -> Result<()> {
    ensure_open()?;
    let mut system = up::start().await?;
    let told = tokio::select! {
        told = Box::pin(tell(&mut system)) => told,
        () = up::interrupted() => Err(anyhow!("interrupted")),
    };
    if told.is_ok() && !once {
        print_addresses(&system);
        up::interrupted().await;
    }
    say("stopping");
    for region in &mut system.regions {
        region.core()?.stop(std::time::Duration::from_secs(10))?;
    }
    drop(system);
    up::forget()?;
    told
}

/// The story sends to every region, so none may be paused in the route table.
fn ensure_open() -> Result<()> {
    let text = std::fs::read_to_string(checkout::root().join("wrangler.toml"))
        .context("cannot read wrangler.toml")?;
    let (environments, _) = infra::check::read_environments(&text);
    let paused: Vec<_> = environments
        .iter()
        .filter(|environment| environment.name == "production")
        .flat_map(|environment| environment.routes.regions())
        .filter(|route| route.state == RouteState::Paused)
        .map(|route| route.region.as_str())
        .collect();
    ensure!(
        paused.is_empty(),
        "wrangler.toml pauses {}, and the story needs every region open; 'make up' starts with that",
        paused.join(" and ")
    );
    Ok(())
}

async fn tell(system: &mut System) -> Result<()> {
    first_story(system).await?;
    spool_story::tell(system).await?;
    polling_story::tell(system).await?;
    master_data_story::tell(system).await?;
    say("\nThat is the whole story.");
    Ok(())
}

async fn first_story(system: &System) -> Result<()> {
    let client = reqwest::Client::new();
    let vietnam = system.connection("VN")?;
    let china = system.connection("CN")?;
    let asia = system.region("smp-asia")?;
    let webhook = |connection: &DemoConnection, signed_at: u64, signed: &str, sent: String| {
        let timestamp = signed_at.to_string();
        let signature = pancake::sign(&connection.secret, &timestamp, signed.as_bytes());
        client
            .post(format!(
                "{}/api/pancake/record/{}",
                system.edge.url, connection.token
            ))
            .header("x-pancake-timestamp", timestamp)
            .header("x-pancake-signature", signature)
            .header("content-type", "application/json")
            .body(sent)
    };

    say(
        "\nPancake posts a lead of Viet Nam, signed. The edge verifies it, finds the region of VN in",
    );
    say("the route table, signs the hop, and the region's core keeps it before it answers.");
    let (vietnamese_id, vietnamese) = lead("Nguyễn Thị Hồng", "0901234567");
    let request = webhook(vietnam, now(), &vietnamese, vietnamese.clone());
    expect("signed webhook for VN", request, 200, "accepted").await?;
    expect_rows(system, vietnamese_id, &[("smp-asia", 1), ("smp-china", 0)]).await?;

    say("\nThe same for China. It lands in China's own database, and nowhere else.");
    let (chinese_id, chinese) = lead("王小明", "13800138000");
    let request = webhook(china, now(), &chinese, chinese.clone());
    expect("signed webhook for CN", request, 200, "accepted").await?;
    expect_rows(system, chinese_id, &[("smp-asia", 0), ("smp-china", 1)]).await?;

    say("\nPancake sends the first lead again, as it does when it is unsure. It is kept once.");
    let request = webhook(vietnam, now(), &vietnamese, vietnamese.clone());
    expect("the same webhook again", request, 200, "duplicate").await?;
    expect_rows(system, vietnamese_id, &[("smp-asia", 1), ("smp-china", 0)]).await?;

    say(
        "\nSomebody changes a digit of the telephone number on the way. The answer is a 200, so that",
    );
    say("Pancake does not count it against us, but nothing is kept.");
    let (tampered_id, body) = lead("Trần Văn Nam", "0912345678");
    let tampered = body.replace("0912345678", "0912345679");
    let request = webhook(vietnam, now(), &body, tampered);
    expect("tampered body", request, 200, "hmac_invalid").await?;
    expect_rows(system, tampered_id, NOWHERE).await?;

    say("\nSomebody sends a webhook that was signed 301 seconds ago.");
    let (stale_id, stale) = lead("Lê Thị Mai", "0987654321");
    let request = webhook(vietnam, now() - 301, &stale, stale.clone());
    expect("stale timestamp", request, 200, "timestamp_out_of_window").await?;
    expect_rows(system, stale_id, NOWHERE).await?;

    say("\nSomebody finds the core and goes there without the edge: no signed hop, no entry.");
    let (direct_id, body) = lead("Ai đó", "0900000000");
    let request = client
        .post(format!(
            "{}/v1/pancake/{}/records",
            asia.core_url(),
            vietnam.id()
        ))
        .body(body);
    expect("unsigned, straight to a core", request, 401, 401).await?;
    expect_rows(system, direct_id, NOWHERE).await?;
    processing_story::tell(system, vietnamese_id, chinese_id).await
}

/// What [`expect_rows`] finds of a lead that is kept by no region.
const NOWHERE: &[(&str, i64)] = &[("smp-asia", 0), ("smp-china", 0)];

/// A record as Pancake sends it, with an id of its own.
fn lead(name: &str, phone_number: &str) -> (Uuid, String) {
    let id = Uuid::new_v4();
    let record = json!({
        "id": id.to_string(),
        "name": name,
        "phone_number": phone_number,
        "source": ["-11"],
        "modified_on": "2026-11-22T08:00:00",
        "khu_vực": "Quận 1",
    });
    (id, record.to_string())
}

/// Sends a request, shows what came on the wire, and compares the status of HTTP and the body's.
async fn expect(
    what: &str,
    request: reqwest::RequestBuilder,
    status: u16,
    body_status: impl Into<Value>,
) -> Result<()> {
    let response = request.send().await?;
    let got_status = response.status().as_u16();
    let body = response.text().await?;
    say(&format!("  {what:<30} {got_status} {body}"));
    let parsed: Value = serde_json::from_str(&body).unwrap_or_default();
    let body_status = body_status.into();
    ensure!(
        got_status == status && parsed.get("status") == Some(&body_status),
        "{what}: {status} with status {body_status} was expected; the logs are in .run/logs/"
    );
    Ok(())
}

async fn expect_rows(system: &System, record: Uuid, expected: &[(&str, i64)]) -> Result<()> {
    for (region, rows) in expected {
        let database = system.region(region)?.database().await?;
        let found: i64 =
            sqlx::query_scalar("select count(*) from pancake_webhook_event where record_id = $1")
                .bind(record)
                .fetch_one(&database)
                .await
                .with_context(|| format!("cannot read the database of {region}"))?;
        let what = format!("rows of this lead in {region}");
        say(&format!("  {what:<30} {found}"));
        ensure!(
            found == *rows,
            "{region} should have {rows} rows of record {record}"
        );
        database.close().await;
    }
    Ok(())
}

fn print_addresses(system: &System) {
    say(&format!("\nedge        {}", system.edge.url));
    for region in &system.regions {
        say(&format!(
            "{:<11} {}  (metrics: /metrics)",
            region.id.as_str(),
            region.core_url()
        ));
    }
    for node in &system.master_data {
        say(&format!(
            "{:<11} {}  (replicator: /metrics)",
            node.id.as_str(),
            node.replicator_url()
        ));
    }
    say("all else    .run/platform.env, logs in .run/logs/");
    say("\nCtrl-C stops the platform.");
}
