//! The third story: a region is paused while leads come, and nobody's lead is lost.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use platform::pancake;
use platform::system::System;
use protocol::routes::RouteState;
use serde_json::json;
use uuid::Uuid;

use crate::up::say;

/// How many leads come meanwhile.
const LEADS: usize = 50;

/// Longer than it takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// Plays it.
pub(crate) async fn tell(system: &mut System) -> Result<()> {
    say(
        "\nOps pause smp-asia in the route table. Leads come all the same, and Pancake hears nothing of it:",
    );
    say(
        "the edge seals each to the region's public key, so that nobody outside of the region can read it.",
    );
    let version = system.edge.flip("smp-asia", RouteState::Paused).await?;
    say(&format!("  route table {version:<18} smp-asia is paused"));
    let mut leads = Vec::new();
    for _ in 0..LEADS {
        leads.push(post_lead(system).await?);
    }
    say(&format!(
        "  {:<30} {LEADS} answered 200 queued, {} in the database",
        format!("{LEADS} leads for VN"),
        count(system, &leads).await?
    ));
    say("They open it again, and the edge sends what waits.");
    let version = system.edge.flip("smp-asia", RouteState::Open).await?;
    say(&format!("  route table {version:<18} smp-asia is open"));
    let opened_at = Instant::now();
    loop {
        let arrived = count(system, &leads).await?;
        if arrived == LEADS {
            break;
        }
        ensure!(
            opened_at.elapsed() < PATIENCE,
            "{arrived} of {LEADS} leads arrived; the logs are in .run/logs/"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    say(&format!(
        "  {:<30} {LEADS}, each once, {} ms after that",
        "arrived",
        opened_at.elapsed().as_millis()
    ));
    Ok(())
}

/// Posts a lead of its own, which has to be queued.
async fn post_lead(system: &System) -> Result<Uuid> {
    let connection = system.connection("VN")?;
    let id = Uuid::new_v4();
    let body =
        json!({"id": id.to_string(), "name": "Bùi Thị Hạnh", "phone_number": "0907 888 999"});
    let answer = pancake::post(
        &reqwest::Client::new(),
        &system.edge.url,
        connection,
        body.to_string(),
    )
    .await?;
    ensure!(
        answer == (200, json!({"status": "queued"})),
        "{answer:?}, and 200 queued was expected; the logs are in .run/logs/"
    );
    Ok(id)
}

/// How many of these leads are in the region's database; none may be there twice.
async fn count(system: &System, leads: &[Uuid]) -> Result<usize> {
    let database = system.region("smp-asia")?.database().await?;
    let (rows, leads): (i64, i64) = sqlx::query_as(
        "select count(*), count(distinct record_id) from pancake_webhook_event \
         where record_id = any ($1)",
    )
    .bind(leads)
    .fetch_one(&database)
    .await?;
    database.close().await;
    ensure!(rows == leads, "{rows} events of {leads} leads");
    Ok(usize::try_from(rows)?)
}
