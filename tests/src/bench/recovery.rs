//! What is asked for at Pancake: how long it takes until an hour of leads is here whose webhooks were dropped, and how
//! long a comparison of 100,000 records takes, at 20 pages a second. Beside it a program that reads the same pages and
//! does nothing with them: no faster can it be.

#![expect(
    clippy::indexing_slicing,
    reason = "what is not in a JSON value is null there"
)]

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use platform::admin::Admin;
use platform::pancake::{DemoConnection, now};
use platform::pancake_rest::{PAGE, PancakeRest};
use platform::ports::Ports;
use platform::region::{Access, Region};
use platform::secrets::Issuer;
use platform::{checkout, office};
use protocol::{Country, RegionId};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::machine::peak_resident_mb;
use crate::up::say;

const WORKSPACE: u64 = 104;
const KEY: &str = "bench";
/// Of Pancake for each page: 20 pages a second.
const LATENCY: Duration = Duration::from_millis(50);

/// Ten leads a second for an hour, whose webhooks were dropped.
const DROPPED: u32 = 36_000;
/// Records that are compared, with those.
const COMPARED: u32 = 100_000;
/// How far back a comparison reads.
const COMPARED_SECS: u32 = 45 * 3_600;

/// What is to be reached, in seconds.
const REACH_POLL_SECS: f64 = 120.0;
const REACH_RECONCILIATION_SECS: f64 = 300.0;

pub(super) async fn run() -> Result<Value> {
    let directory = checkout::run_dir("bench/recovery")?;
    let pancake = PancakeRest::start(0).await?;
    pancake.add_workspace(WORKSPACE, KEY);
    let (issuer, url) = (Issuer::create(&directory)?, pancake.url());
    let access = Access {
        issuer: &issuer,
        is_hub: false,
        pancake_url: &url,
    };
    let mut region = Region::start_for(
        RegionId::parse("smp-asia")?,
        vec![Country::parse("VN")?],
        0,
        Ports::Free,
        &directory,
        "bench-recovery",
        Some(access),
    )
    .await?;
    let connection = DemoConnection::all()?
        .into_iter()
        .find(|connection| connection.country == "VN")
        .context("VN has no connection")?;
    let telesales: Vec<String> = (0..20).map(|number| format!("T{number}")).collect();
    let telesales: Vec<&str> = telesales.iter().map(String::as_str).collect();
    office::open(&region, &connection, &telesales).await?;
    let admin = Admin::new(&region, format!("{}/v1", region.core_url()))?;
    let connection = connection.id();
    begun(&admin).await?;
    admin.connect(&connection, (WORKSPACE, KEY)).await?;
    pancake.set_latency(LATENCY);

    say(&format!(
        "recovery: {DROPPED} leads of the last hour, dropped"
    ));
    // An hour by tenths of a second, up to seven minutes ago: what is later, reconciliation leaves to polling.
    let newest = 1_000 * i64::try_from(now())? - 420_000;
    for number in 0..DROPPED {
        pancake.put(
            WORKSPACE,
            "lead",
            lead(number, newest - i64::from(number) * 96),
        );
    }
    let bound = read_all(&url, "lead").await?;
    let poll = timed(&admin, "poll", &connection).await?;
    ensure!(
        poll.figures["brought"] == DROPPED,
        "polling: {}",
        poll.figures
    );
    tell("polling", &poll, bound, REACH_POLL_SECS);

    say(&format!(
        "recovery: {COMPARED} records of two days, most of them missing"
    ));
    let others = COMPARED - DROPPED;
    let step = i64::from(COMPARED_SECS) * 1_000 / i64::from(others);
    for number in 0..others {
        let changed = newest - 3_700_000 - i64::from(number) * step;
        pancake.put(WORKSPACE, "lead", lead(DROPPED + number, changed));
    }
    let bound_all = read_all(&url, "lead").await?;
    let first = timed(&admin, "reconciliation", &connection).await?;
    ensure!(
        first.figures["checked"] == COMPARED && first.figures["missing"] == others,
        "reconciliation: {}",
        first.figures
    );
    tell(
        "reconciliation",
        &first,
        bound_all,
        REACH_RECONCILIATION_SECS,
    );
    let again = timed(&admin, "reconciliation", &connection).await?;
    ensure!(
        again.figures["missing"] == 0,
        "reconciliation again: {}",
        again.figures
    );
    tell(
        "reconciliation again",
        &again,
        bound_all,
        REACH_RECONCILIATION_SECS,
    );

    let memory = peak_resident_mb(region.core()?.pid()).unwrap_or(f64::NAN);
    say(&format!("the core's memory was {memory:.0} MB at most"));
    region.core()?.stop(Duration::from_secs(10))?;
    region.postgres.remove()?;
    Ok(json!({
        "pages_per_second": 1.0 / LATENCY.as_secs_f64(),
        "poll": {"records": DROPPED, "seconds": poll.seconds, "bound_seconds": bound},
        "reconciliation": {"records": COMPARED, "missing": others, "seconds": first.seconds, "bound_seconds": bound_all},
        "reconciliation_again": {"records": COMPARED, "seconds": again.seconds, "bound_seconds": bound_all},
        "peak_resident_mb": memory,
    }))
}

fn tell(what: &str, run: &Timed, bound: f64, reach: f64) {
    say(&format!(
        "  {what:<22} {:6.1} s, {:.2} of the time that the pages alone take ({bound:.1} s); to be reached: {reach:.0} s",
        run.seconds,
        run.seconds / bound
    ));
}

/// Changed at a moment, in milliseconds since 1970.
fn lead(number: u32, changed: i64) -> Value {
    let changed = jiff::Timestamp::from_millisecond(changed).unwrap_or_default();
    json!({
        "id": Uuid::from_u128(u128::from(number) + 1).to_string(),
        "name": format!("Nguyễn Văn {number}"),
        "phone_number": format!("09{number:08}"),
        "email": format!("lead{number}@example.com"),
        "source": ["-11"],
        "full_address": "Số 126 Hàng Trống, Phường Hoàn Kiếm, Hà Nội, Việt Nam",
        "created_on": changed.to_string(),
        "modified_on": changed.to_string(),
        "interested_product": ["A", "B"],
    })
}

/// Reads all pages, one after the other: the seconds.
async fn read_all(url: &str, table: &str) -> Result<f64> {
    let (client, mut cursor, began) = (Client::new(), String::new(), Instant::now());
    loop {
        let url = format!("{url}/workspaces/{WORKSPACE}/{table}/records?api_key={KEY}{cursor}");
        let page: Value = client.get(url).send().await?.json().await?;
        ensure!(
            page["entries"]
                .as_array()
                .is_some_and(|entries| entries.len() <= PAGE)
        );
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={}", next.replace('|', "%7C")),
            None => return Ok(began.elapsed().as_secs_f64()),
        }
    }
}

struct Timed {
    seconds: f64,
    figures: Value,
}

/// Waits for the poll with which a new core begins.
async fn begun(admin: &Admin) -> Result<()> {
    loop {
        let runs = admin.ask(Method::GET, "jobs/poll/runs", None).await?;
        if runs["items"][0]["state"] == "ok" {
            return Ok(());
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Runs a job, which must end well.
async fn timed(admin: &Admin, job: &str, connection: &str) -> Result<Timed> {
    let run = admin.run(job).await?;
    ensure!(run["state"] == "ok", "{job}: {run}");
    let moment = |name: &str| -> Result<jiff::Timestamp> {
        Ok(run[name].as_str().context("a run has its times")?.parse()?)
    };
    let took = moment("finished_at")?.duration_since(moment("started_at")?);
    Ok(Timed {
        seconds: took.as_secs_f64(),
        figures: run["progress"][connection].clone(),
    })
}
