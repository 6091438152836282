//! The fourth story: webhooks stay away, and no lead does.

#![expect(
    clippy::indexing_slicing,
    reason = "what is not in a JSON value is null there"
)]

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use platform::admin::Admin;
use platform::pancake::{self, DemoConnection, now};
use platform::pancake_rest::Fault;
use platform::system::System;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::sleep;
use uuid::Uuid;

use crate::up::say;

/// Viet Nam's workspace in Pancake, and its key.
const WORKSPACE: u64 = 104;
const KEY: &str = "demo-api-key";

/// The leads whose webhooks never come.
const LOST: u64 = 12;

/// Plays it.
pub(crate) async fn tell(system: &mut System) -> Result<()> {
    let vietnam = system.connection("VN")?.clone();
    let base = format!("{}/api/v1", system.edge.url);
    let admin = Admin::new(system.region("smp-asia")?, base)?;
    say(
        "\nWebhooks can be lost, so the core also asks Pancake itself. An admin gives Viet Nam's connection its",
    );
    say(
        "workspace and its API key, which the core keeps sealed; Pancake's lists have one lead that came before.",
    );
    system.pancake.add_workspace(WORKSPACE, KEY);
    admin.connect(&vietnam.id(), (WORKSPACE, KEY)).await?;
    let known = lead(0);
    system.pancake.put(WORKSPACE, "lead", known.clone());
    post(system, &vietnam, &known).await?;
    let first = poll(&admin).await?;
    say(&format!("  {:<30} {}", "polling", first.told));
    let before = watermark(&admin).await?;
    say(&format!("  {:<30} {before}", "complete until"));
    let until: jiff::Timestamp = before.parse()?;
    ensure!(
        until.as_second() + 120 > i64::try_from(now())?,
        "the first poll reads a day, up to a minute ago"
    );

    say(&format!(
        "\nNow Pancake drops its webhooks: {LOST} leads come in, and we hear of none. Its interface is down, too, so"
    ));
    say("polling fails, and the watermark stands: nobody claims that all is here.");
    for number in 1..=LOST {
        system.pancake.put(WORKSPACE, "lead", lead(number));
    }
    system.pancake.set_fault(Fault::Status(503));
    let failed = poll(&admin).await?;
    say(&format!("  {:<30} {}", "polling", failed.told));
    ensure!(
        failed.state == "failed",
        "polling should fail while Pancake is down"
    );
    let stood = watermark(&admin).await?;
    say(&format!("  {:<30} {stood}", "complete until"));
    ensure!(stood == before, "the watermark moved over what nobody read");

    say(
        "\nPancake is back. The next poll finds the leads, each once, and they become tickets as ever.",
    );
    system.pancake.set_fault(Fault::None);
    sleep(Duration::from_secs(1)).await;
    let found = poll(&admin).await?;
    say(&format!("  {:<30} {}", "polling", found.told));
    let events = count(system, "pancake_webhook_event where layer = 'poll'").await?;
    say(&format!("  {:<30} {events}", "events brought by polling"));
    ensure!(
        events == i64::try_from(LOST)?,
        "{LOST} events by polling were expected"
    );
    let after = watermark(&admin).await?;
    say(&format!("  {:<30} {after}", "complete until"));
    ensure!(after > before, "the watermark should move on");
    let again = poll(&admin).await?;
    say(&format!("  {:<30} {}", "polling again", again.told));
    ensure!(
        count(system, "pancake_webhook_event where layer = 'poll'").await? == events,
        "what was here was brought again"
    );
    wait_for_tickets(system, events).await
}

/// A record as Pancake's list has it, changed half a minute ago.
fn lead(number: u64) -> Value {
    let moment = jiff::Timestamp::from_second(i64::try_from(now()).unwrap_or_default() - 30);
    json!({
        "id": Uuid::new_v4().to_string(),
        "name": format!("Khách {number}"),
        "phone_number": format!("0977{number:06}"),
        "source": ["-11"],
        "modified_on": moment.unwrap_or_default().to_string(),
    })
}

async fn post(system: &System, connection: &DemoConnection, lead: &Value) -> Result<()> {
    let (body, timestamp) = (lead.to_string(), now().to_string());
    let signature = pancake::sign(&connection.secret, &timestamp, body.as_bytes());
    let url = format!(
        "{}/api/pancake/record/{}",
        system.edge.url, connection.token
    );
    let request = reqwest::Client::new()
        .post(url)
        .header("x-pancake-timestamp", timestamp)
        .header("x-pancake-signature", signature)
        .body(body);
    let answer = request.send().await?.text().await?;
    ensure!(answer.contains("accepted"), "the lead's webhook: {answer}");
    Ok(())
}

async fn count(system: &System, what: &str) -> Result<i64> {
    let database = system.region("smp-asia")?.database().await?;
    let query = format!("select count(*) from {what}");
    let found = sqlx::query_scalar(sqlx::AssertSqlSafe(query))
        .fetch_one(&database)
        .await
        .context("cannot read the database of smp-asia")?;
    database.close().await;
    Ok(found)
}

async fn wait_for_tickets(system: &System, events: i64) -> Result<()> {
    let what = "pancake_webhook_event where layer = 'poll' and status = 'processed' and ticket_id is not null";
    for _ in 0..600 {
        let tickets = count(system, what).await?;
        if tickets == events {
            say(&format!("  {:<30} {tickets}", "of these with a ticket"));
            return Ok(());
        }
        sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("what polling brought did not become tickets; the logs are in .run/logs/")
}

/// What came of a run.
struct Polled {
    state: String,
    told: String,
}

/// Runs polling, and waits for its end.
async fn poll(admin: &Admin) -> Result<Polled> {
    let run = admin.run("poll").await?;
    let state = run["state"].as_str().unwrap_or_default().to_owned();
    let figures = &run["progress"]["vn-main"];
    let told = match run["error"].as_str() {
        Some(error) => format!("{state}: {error}"),
        None => format!(
            "{state}: {} checked, {} brought in",
            figures["checked"], figures["brought"]
        ),
    };
    Ok(Polled { state, told })
}

/// Up to where Viet Nam's leads are complete.
async fn watermark(admin: &Admin) -> Result<String> {
    let list = admin
        .ask(Method::GET, "crm/pancake/completeness", None)
        .await?;
    let items = list["items"].as_array().context("a list has items")?;
    let lead = items.iter().find(|item| item["table"] == "lead");
    let until = lead.and_then(|item| item["complete_until"].as_str());
    Ok(until.context("there is no watermark")?.to_owned())
}
