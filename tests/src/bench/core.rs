//! The core's ingest against pgbench: signed hops of some 800 bytes over 32 connections, each
//! acknowledged after its commit, against 32 clients that insert the same row singly into a table of
//! the same shape on the same server, `fsync` and `synchronous_commit` on. Once with the processing paused, which is
//! the same work as pgbench's, and once while the same core makes something of each event besides.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use platform::checkout;
use platform::ports::Ports;
use platform::region::Region;
use protocol::{Country, RegionId};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use super::load::{self, Load};
use super::machine::resident_mb;
use super::{Effort, median, percentile};
use crate::up::say;

const CONNECTIONS: usize = 32;
/// More than any machine acknowledged so far: what is signed before the clock starts.
const SIGNED_PER_SECOND: usize = 40_000;

pub(super) async fn run(effort: Effort) -> Result<Value> {
    let pgbench = find_pgbench()?;
    let directory = checkout::run_dir("bench/core")?;
    let countries = vec![Country::parse("VN")?];
    let mut region = Region::start(
        RegionId::parse("smp-asia")?,
        countries,
        0,
        Ports::Free,
        &directory,
        "bench",
    )
    .await?;
    let mut owner = PgConnection::connect(&region.owner_url()).await?;
    sqlx::raw_sql("create table pgbench_event (like pancake_webhook_event including all)")
        .execute(&mut owner)
        .await?;
    fs::write(directory.join("insert.sql"), INSERT)?;
    let seconds = usize::try_from(effort.seconds)?;
    sqlx::raw_sql("insert into app_setting (country_code) values ('VN') on conflict do nothing")
        .execute(&mut owner)
        .await?;
    let mut turns = Turns::default();
    // The first round warms up and is not counted.
    for round in 0..=effort.rounds {
        reset(&region, &mut owner).await?;
        let theirs = run_pgbench(&pgbench, &region, &directory, effort.seconds)?;
        let mut ours = Vec::new();
        for is_paused in [true, false] {
            pause_processing(&mut owner, is_paused).await?;
            reset(&region, &mut owner).await?;
            let requests = load::sign_records(&region, SIGNED_PER_SECOND * seconds)?;
            let address = region.core_url().replace("http://", "");
            let patience = Duration::from_secs(effort.seconds);
            let load = load::send(&address, requests, CONNECTIONS, patience).await?;
            let kept: i64 = sqlx::query_scalar("select count(*) from pancake_webhook_event")
                .fetch_one(&mut owner)
                .await?;
            ensure!(
                usize::try_from(kept)? == load.latencies_ms.len(),
                "{} were acknowledged and {kept} are there",
                load.latencies_ms.len()
            );
            ours.push(load);
        }
        if round > 0 {
            turns.peer.push(theirs);
            turns.processing.extend(ours.pop());
            turns.paused.extend(ours.pop());
        }
        say(&format!("core: round {round} of {} done", effort.rounds));
    }
    let resident = resident_mb(region.core()?.pid());
    let report = report(&turns, resident);
    region.core()?.stop(Duration::from_secs(10))?;
    region.postgres.remove()?;
    Ok(report)
}

/// What came of the turns, round by round.
#[derive(Default)]
struct Turns {
    peer: Vec<Load>,
    /// Ours, and nothing is processed meanwhile.
    paused: Vec<Load>,
    /// Ours, and each event is processed as well: a new country's kill switch is on, so it is skipped.
    processing: Vec<Load>,
}

async fn pause_processing(owner: &mut PgConnection, is_paused: bool) -> Result<()> {
    sqlx::query(
        "update app_setting set app_settings = jsonb_set(app_settings, \
             '{pancake_integration,processing_paused}', to_jsonb($1)) where country_code = 'VN'",
    )
    .bind(is_paused)
    .execute(owner)
    .await?;
    Ok(())
}

/// The same row as a core inserts: as many columns, as many bytes, the same keys and checks.
const INSERT: &str = "\
insert into pgbench_event (event_id, country_code, region_id, connection_id, layer, record_id, \
modified_on, payload_hash, payload, name, phone_number, email, source_ids, verdict, route_version, \
hop_signature_input, hop_signature) values (uuidv7(), 'VN', 'smp-asia', 'vn-main', 'webhook', \
gen_random_uuid(), '2026-11-22T08:00:00Z', sha256(uuid_send(gen_random_uuid())), \
convert_to(repeat('x', 800), 'UTF8'), 'Nguyễn Thị Hồng', '0901234567', 'hong@example.com', '{-11}', \
'unsigned', 1, repeat('i', 190), repeat('s', 51)) \
on conflict do nothing;
";

/// Both tables empty, and the last turn's pages written: each starts alike.
async fn reset(region: &Region, owner: &mut PgConnection) -> Result<()> {
    sqlx::raw_sql("truncate pancake_webhook_event; truncate pgbench_event")
        .execute(&mut *owner)
        .await?;
    let mut admin = PgConnection::connect(&region.postgres.admin_url("postgres")).await?;
    sqlx::raw_sql("checkpoint").execute(&mut admin).await?;
    admin.close().await?;
    Ok(())
}

pub(super) fn find_pgbench() -> Result<std::path::PathBuf> {
    let on_path = Command::new("sh")
        .args(["-c", "command -v pgbench"])
        .output()?;
    let on_path = String::from_utf8(on_path.stdout)?.trim().to_owned();
    if !on_path.is_empty() {
        return Ok(on_path.into());
    }
    // Debian keeps it beside the server.
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    versions
        .filter_map(|entry| Some(entry.ok()?.path().join("bin/pgbench")))
        .find(|path| path.is_file())
        .context("this benchmark needs pgbench: install PostgreSQL's client tools (Debian: postgresql-contrib)")
}

fn run_pgbench(pgbench: &Path, region: &Region, directory: &Path, seconds: u64) -> Result<Load> {
    for file in fs::read_dir(directory)?.filter_map(|entry| Some(entry.ok()?.path())) {
        if file
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("pgbench_log"))
        {
            fs::remove_file(file)?;
        }
    }
    let clients = CONNECTIONS.to_string();
    let output = Command::new(pgbench)
        .args([
            "-n",
            "-c",
            &clients,
            "-j",
            "2",
            "-M",
            "prepared",
            "-l",
            "-f",
            "insert.sql",
        ])
        .args(["-T", &seconds.to_string()])
        .arg(region.owner_url())
        .current_dir(directory)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "pgbench: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let per_second = text
        .lines()
        .find_map(|line| line.strip_prefix("tps = "))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .context("pgbench printed no rate")?;
    let mut latencies_ms = Vec::new();
    for file in fs::read_dir(directory)?.filter_map(|entry| Some(entry.ok()?.path())) {
        if file
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("pgbench_log"))
        {
            // client, transaction, time in microseconds, …
            latencies_ms.extend(
                fs::read_to_string(&file)?.lines().filter_map(|line| {
                    Some(line.split(' ').nth(2)?.parse::<f64>().ok()? / 1_000.0)
                }),
            );
        }
    }
    latencies_ms.sort_by(f64::total_cmp);
    Ok(Load {
        per_second,
        latencies_ms,
    })
}

fn report(turns: &Turns, resident_mb: Option<f64>) -> Value {
    let ratio = |ours: &[Load]| {
        let ratios: Vec<f64> = ours
            .iter()
            .zip(&turns.peer)
            .map(|(ours, peer)| ours.per_second / peer.per_second)
            .collect();
        median(&ratios)
    };
    say(&format!(
        "\n{:<20} {:>9} {:>12} {:>8} {:>8}",
        "core", "per s", "of pgbench", "p50 ms", "p99 ms"
    ));
    let mut rows = Vec::new();
    for (name, loads) in [
        ("pgbench", &turns.peer),
        ("ours", &turns.paused),
        ("ours, processing too", &turns.processing),
    ] {
        let ratio = ratio(loads);
        let of =
            |figure: &dyn Fn(&Load) -> f64| median(&loads.iter().map(figure).collect::<Vec<_>>());
        let rate = of(&|load| load.per_second);
        let p50 = of(&|load| percentile(&load.latencies_ms, 0.50));
        let p99 = of(&|load| percentile(&load.latencies_ms, 0.99));
        say(&format!(
            "{name:<20} {rate:>9.0} {ratio:>12.2} {p50:>8.2} {p99:>8.2}"
        ));
        rows.push(json!({
            "name": name, "per_second": rate, "of_pgbench": ratio, "p50_ms": p50, "p99_ms": p99,
            "rounds": loads.iter().map(|load| load.per_second).collect::<Vec<_>>(),
        }));
    }
    if let Some(resident) = resident_mb {
        say(&format!("the core's memory at the end: {resident:.1} MB"));
    }
    json!({"contenders": rows, "core_resident_mb": resident_mb})
}
