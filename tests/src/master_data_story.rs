//! The second story: a tax rate changes in the hub, and is the same everywhere.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use platform::system::System;

use crate::up::say;

/// Longer than it takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Plays it.
pub(crate) async fn tell(system: &System) -> Result<()> {
    let hub = system.hub()?;
    let hub_database = hub.database().await?;
    say(&format!(
        "\nMaster data is the same everywhere, and written in the hub, {}. Viet Nam decides that its",
        hub.id
    ));
    say(
        "standard VAT is 11 % from 1 July 2027 on. Somebody writes that there, with plain SQL; Kafka and",
    );
    say("MirrorMaker 2 carry it.");
    sqlx::query(
        "insert into smp_global.tax_configs (country, kind, category, valid_from, rate) \
         values ('VN', 'vat', 'standard', '2027-07-01', 0.11)",
    )
    .execute(&hub_database)
    .await?;
    let changed_at = Instant::now();
    say(&format!("  {:<28} 0.11", "VAT from 2027-07-01, hub"));
    for node in system.master_data.iter().filter(|node| !node.is_hub) {
        let database = node.database().await?;
        loop {
            let rate: Option<String> = sqlx::query_scalar(
                "select rate::text from smp_global.tax_configs where country = 'VN' and kind = 'vat' \
                 and category = 'standard' and valid_from = '2027-07-01'",
            )
            .fetch_optional(&database)
            .await?;
            if rate.as_deref() == Some("0.11") {
                break;
            }
            ensure!(
                changed_at.elapsed() < PATIENCE,
                "the change did not arrive in {}; the logs are in .run/logs/",
                node.id
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        say(&format!(
            "  {:<28} 0.11 after {} ms",
            format!("the same in {}", node.id),
            changed_at.elapsed().as_millis()
        ));
        say(
            "\nThe hub's digests travel in the same stream: each region compares all of its rows with the hub's,",
        );
        say("at exactly the same position.");
        let hub_seq: i64 = sqlx::query_scalar("select last_value from smp_global.change_seq")
            .fetch_one(&hub_database)
            .await?;
        let compared_at = Instant::now();
        loop {
            let same: i64 = sqlx::query_scalar(
                "select count(*) from smp_global.digest_check where is_same and seq > $1",
            )
            .bind(hub_seq)
            .fetch_one(&database)
            .await?;
            if same == 5 {
                break;
            }
            ensure!(
                compared_at.elapsed() < PATIENCE,
                "the digests of {} do not agree: 'replicator verify' says why",
                node.id
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let report = node.run(&["verify"]).context("verify")?;
        for line in report.lines() {
            say(&format!("  {line}"));
        }
        database.close().await;
    }
    write_and_read_by_http(system).await
}

/// What programs do: write through the hub's core, and read from their own region's with the version token.
async fn write_and_read_by_http(system: &System) -> Result<()> {
    let hub = system.region(system.hub()?.id.as_str())?;
    say(
        "\nAn editor's program writes the next rate through the hub's core, with a token and not over a row that",
    );
    say(
        "it does not know. It shows the change's version to another region's core, which waits for it and reads.",
    );
    let token = hub.admin_token.as_deref().context("no token")?;
    let client = reqwest::Client::new();
    let written = client
        .put(format!(
            "{}/v1/master-data/taxes/VN/vat/standard/2028-01-01",
            hub.core_url()
        ))
        .header("if-none-match", "*")
        .bearer_auth(token)
        .body(r#"{"rate": "0.12", "note": null}"#)
        .send()
        .await?;
    let (status, seq) = (
        written.status(),
        written.headers().get("x-smp-seq").cloned(),
    );
    say(&format!("  {:<28} {status}", "PUT VAT from 2028-01-01"));
    let seq = seq
        .filter(|_| status.is_success())
        .context("the hub's core did not take the rate")?;
    for node in system.master_data.iter().filter(|node| !node.is_hub) {
        let core = system.region(node.id.as_str())?.core_url();
        let began = Instant::now();
        let read = client
            .get(format!(
                "{core}/v1/master-data/taxes?country=VN&on=2028-01-01"
            ))
            .header("x-smp-min-seq", seq.clone())
            .send()
            .await?
            .error_for_status()?;
        let took = began.elapsed().as_millis();
        let taxes: serde_json::Value = serde_json::from_str(&read.text().await?)?;
        ensure!(
            taxes.to_string().contains("\"0.12\""),
            "{} answers with an older rate: {taxes}",
            node.id
        );
        say(&format!(
            "  {:<28} 0.12 after {took} ms",
            format!("GET it in {}", node.id)
        ));
    }
    Ok(())
}
