//! The story of a webhook, for a newcomer: what arrives, where it lands, what is turned away.

use anyhow::{Context as _, Result, ensure};
use platform::pancake::{self, answer_of};
use platform::system::System;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::up::{self, say};

/// Starts the platform, plays the story, and stays up until Ctrl-C, unless `once`.
pub(crate) async fn run(once: bool) -> Result<()> {
    let mut system = up::start().await?;
    let told = tell(&system).await;
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

async fn tell(system: &System) -> Result<()> {
    let client = reqwest::Client::new();
    let edge = &system.edge.url;
    let vietnam = system.connection("VN")?;
    let china = system.connection("CN")?;
    let asia = system.region("smp-asia")?;

    say(
        "\nPancake posts a lead of Viet Nam, signed. The edge verifies it, finds the region of VN in",
    );
    say("the route table, signs the hop, and the region's core keeps it before it answers.");
    let (vietnamese_id, vietnamese) = lead("Nguyễn Thị Hồng", "0901234567");
    let answer = pancake::post(&client, edge, vietnam, vietnamese.as_str()).await?;
    expect("signed webhook for VN", &answer, 200, "accepted")?;
    expect_rows(system, vietnamese_id, &[("smp-asia", 1), ("smp-china", 0)]).await?;

    say("\nThe same for China. It lands in China's own database, and nowhere else.");
    let (chinese_id, chinese) = lead("王小明", "13800138000");
    let answer = pancake::post(&client, edge, china, chinese.as_str()).await?;
    expect("signed webhook for CN", &answer, 200, "accepted")?;
    expect_rows(system, chinese_id, &[("smp-asia", 0), ("smp-china", 1)]).await?;

    say("\nPancake sends the first lead again, as it does when it is unsure. It is kept once.");
    let answer = pancake::post(&client, edge, vietnam, vietnamese.as_str()).await?;
    expect("the same webhook again", &answer, 200, "duplicate")?;
    expect_rows(system, vietnamese_id, &[("smp-asia", 1), ("smp-china", 0)]).await?;

    say(
        "\nSomebody changes a digit of the telephone number on the way. The answer is a 200, so that",
    );
    say("Pancake does not count it against us, but nothing is kept.");
    let (tampered_id, body) = lead("Trần Văn Nam", "0912345678");
    let timestamp = pancake::now().to_string();
    let signature = pancake::sign(&vietnam.secret, &timestamp, body.as_bytes());
    let url = format!("{edge}/api/pancake/record/{}", vietnam.token);
    let post = |timestamp: &str, signature: &str, body: String| {
        client
            .post(&url)
            .header("x-pancake-timestamp", timestamp)
            .header("x-pancake-signature", signature)
            .body(body)
    };
    let tampered = body.replace("0912345678", "0912345679");
    let answer = answer_of(post(&timestamp, &signature, tampered)).await?;
    expect("tampered body", &answer, 200, "hmac_invalid")?;

    say("\nSomebody replays a webhook that was signed 301 seconds ago.");
    let stale = (pancake::now() - 301).to_string();
    let signature = pancake::sign(&vietnam.secret, &stale, body.as_bytes());
    let answer = answer_of(post(&stale, &signature, body)).await?;
    expect("stale timestamp", &answer, 200, "timestamp_out_of_window")?;
    expect_rows(system, tampered_id, &[("smp-asia", 0), ("smp-china", 0)]).await?;

    say("\nSomebody finds the core and goes there without the edge: no signed hop, no entry.");
    let (_, body) = lead("Ai đó", "0900000000");
    let direct = client
        .post(format!(
            "{}/v1/pancake/{}/records",
            asia.core_url(),
            vietnam.id()
        ))
        .body(body);
    let (status, _) = answer_of(direct).await?;
    ensure!(
        status == 401,
        "the core answered {status} to an unsigned request"
    );
    say(&format!("  {:<28} 401", "unsigned, straight to a core"));
    say("\nThat is the whole story.");
    Ok(())
}

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

fn expect(what: &str, answer: &(u16, Value), status: u16, text: &str) -> Result<()> {
    let (got_status, body) = answer;
    say(&format!("  {what:<28} {got_status} {body}"));
    ensure!(
        *got_status == status && body["status"] == text,
        "{what}: {status} {text} was expected; the logs are in .run/logs/"
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
        say(&format!("  rows in {region:<20} {found}"));
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
    say("all else    .run/platform.env, logs in .run/logs/");
    say("\nCtrl-C stops the platform.");
}
