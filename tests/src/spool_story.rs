//! The third story: a region is paused under traffic, and nobody's lead is lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use infra::edge::Status;
use platform::pancake::{self, DemoConnection};
use platform::system::System;
use protocol::routes::RouteState;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::up::say;

/// How many leads have to be queued before the region is opened again.
const QUEUED: u64 = 50;

/// Between two leads, and before one is sent again.
const PAUSE: Duration = Duration::from_millis(20);

/// Longer than it takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// Plays it.
pub(crate) async fn tell(system: &mut System) -> Result<()> {
    say(
        "\nLeads come all the while. Ops pause smp-asia in the route table, and Pancake hears nothing of it:",
    );
    say(
        "the edge seals each to the region's public key, so that nobody outside of the region can read it.",
    );
    let traffic = Traffic::start(&system.edge.url, system.connection("VN")?);
    let version = system.edge.flip("smp-asia", RouteState::Paused).await?;
    say(&format!("  route table {version:<18} smp-asia is paused"));
    let waiting = wait_until_queued(system).await?;
    say(&format!(
        "  {:<30} {waiting} wait, sealed; smpctl edge status shows them",
        "leads for VN"
    ));
    say("They open it again, and the edge sends what waits, while leads go on to come.");
    let version = system.edge.flip("smp-asia", RouteState::Open).await?;
    say(&format!("  route table {version:<18} smp-asia is open"));
    let opened_at = Instant::now();
    let Sent { leads, answers } = traffic.stop().await?;
    let answers: Vec<_> = answers
        .iter()
        .map(|(answer, count)| format!("{count} {answer}"))
        .collect();
    say(&format!(
        "  {:<30} {} in all: {}",
        "leads for VN",
        leads.len(),
        answers.join(", ")
    ));
    loop {
        let arrived = count(system, &leads).await?;
        if arrived == leads.len() {
            break;
        }
        ensure!(
            opened_at.elapsed() < PATIENCE,
            "{arrived} of {} leads arrived; the logs are in .run/logs/",
            leads.len()
        );
        tokio::time::sleep(PAUSE).await;
    }
    say(&format!(
        "  {:<30} {}, each once, {} ms after that",
        "arrived",
        leads.len(),
        opened_at.elapsed().as_millis()
    ));
    Ok(())
}

/// Leads that come without an end.
struct Traffic {
    is_over: Arc<AtomicBool>,
    sender: JoinHandle<Result<Sent>>,
}

/// What was sent.
struct Sent {
    leads: Vec<Uuid>,
    /// How often each answer was given.
    answers: BTreeMap<String, u64>,
}

impl Traffic {
    fn start(edge_url: &str, connection: &DemoConnection) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let sender = tokio::spawn(send(
            edge_url.to_owned(),
            connection.clone(),
            Arc::clone(&is_over),
        ));
        Self { is_over, sender }
    }

    async fn stop(self) -> Result<Sent> {
        self.is_over.store(true, Ordering::Relaxed);
        self.sender.await?
    }
}

/// Sends leads one after the other, each until it is taken, as Pancake does.
async fn send(
    edge_url: String,
    connection: DemoConnection,
    is_over: Arc<AtomicBool>,
) -> Result<Sent> {
    let client = reqwest::Client::new();
    let mut sent = Sent {
        leads: Vec::new(),
        answers: BTreeMap::new(),
    };
    while !is_over.load(Ordering::Relaxed) {
        let lead = Uuid::new_v4();
        let body =
            json!({"id": lead.to_string(), "name": "Bùi Thị Hạnh", "phone_number": "0907 888 999"});
        let started = Instant::now();
        loop {
            let answer = pancake::post(&client, &edge_url, &connection, body.to_string()).await;
            // Here, and only here, a flip restarts workerd, which cuts off who is being answered.
            let (status, answer) = answer.unwrap_or_default();
            let is_taken = status == 200;
            let said = answer.get("status").and_then(Value::as_str);
            let said = said.filter(|_| is_taken);
            let said = said.unwrap_or("sent again");
            *sent.answers.entry(said.to_owned()).or_default() += 1;
            tokio::time::sleep(PAUSE).await;
            if is_taken {
                break;
            }
            ensure!(
                started.elapsed() < PATIENCE,
                "{status} {answer}, and 200 was expected; the logs are in .run/logs/"
            );
        }
        sent.leads.push(lead);
    }
    Ok(sent)
}

/// Waits until enough leads wait at the edge, and says how many, as the edge tells it.
async fn wait_until_queued(system: &System) -> Result<u64> {
    let client = reqwest::Client::new();
    let started = Instant::now();
    loop {
        let status = client
            .get(format!("{}/_edge/status", system.edge.url))
            .bearer_auth(&system.edge.ops_token);
        let (_, status) = pancake::answer_of(status).await.unwrap_or_default();
        // While workerd restarts for the flip there is none.
        let status = serde_json::from_value::<Status>(status).ok();
        let regions = status.map(|status| status.regions).unwrap_or_default();
        let asia = regions.iter().find(|region| region.region == "smp-asia");
        let waiting = asia.map_or(0, |asia| asia.waiting);
        if waiting >= QUEUED {
            return Ok(waiting);
        }
        ensure!(
            started.elapsed() < PATIENCE,
            "{waiting} records wait at the edge, and {QUEUED} were expected; the logs are in .run/logs/"
        );
        tokio::time::sleep(PAUSE).await;
    }
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
    .await
    .context("cannot count the leads")?;
    database.close().await;
    ensure!(rows == leads, "{rows} events of {leads} leads");
    Ok(usize::try_from(rows)?)
}
