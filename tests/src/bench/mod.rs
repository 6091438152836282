//! The benchmarks. Every figure is a ratio to a peer in the same run, the median of several rounds
//! in which all take turns: only that means anything on a machine that others use too.

mod backfill;
mod core;
mod edge;
mod load;
mod machine;
mod master_data;
mod processing;
mod recovery;

use std::fs;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use platform::checkout;
use serde_json::json;

use crate::up::say;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Subject {
    /// The edge against JavaScript and nginx on the same machine.
    Edge,
    /// The core's ingest against pgbench on the same server.
    Core,
    /// Master data from hub to region against bare Kafka and MirrorMaker 2.
    MasterData,
    /// From event to ticket against pgbench on the same server.
    Processing,
    /// Polling and reconciliation against the mere reading of Pancake's pages.
    Recovery,
    /// Numbers of old accounts against the same numbers made by SQL on the same server.
    Backfill,
}

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Rounds in which each contender has its turn.
    pub(crate) rounds: usize,
    /// Seconds of a turn.
    pub(crate) seconds: u64,
    /// Customers, and events, among which processing looks something up; accounts of the backfill.
    pub(crate) rows: u32,
}

/// Of a turn: what is signed before it must fit into memory. Processing alone has turns that may be longer.
const SECONDS_MAX: u64 = 30;

/// Runs the benchmarks, prints their tables, and writes `bench-results/<subject>.json`.
pub(crate) async fn run(subjects: &[Subject], effort: Effort) -> Result<()> {
    ensure!(
        effort.seconds <= SECONDS_MAX || subjects == [Subject::Processing],
        "more than {SECONDS_MAX} seconds are for 'platform bench processing' alone"
    );
    let machine = machine::describe();
    say(&format!("{machine:#}"));
    let directory = checkout::root().join("bench-results");
    fs::create_dir_all(&directory)?;
    for (subject, name) in [
        (Subject::Edge, "edge"),
        (Subject::Core, "core"),
        (Subject::MasterData, "master-data"),
        (Subject::Processing, "processing"),
        (Subject::Recovery, "recovery"),
        (Subject::Backfill, "backfill"),
    ] {
        if !subjects.is_empty() && !subjects.contains(&subject) {
            continue;
        }
        let figures = match subject {
            Subject::Edge => edge::run(effort)?,
            Subject::Core => core::run(effort).await?,
            Subject::MasterData => Box::pin(master_data::run(effort)).await?,
            Subject::Processing => Box::pin(processing::run(effort)).await?,
            Subject::Recovery => Box::pin(recovery::run()).await?,
            Subject::Backfill => Box::pin(backfill::run(effort)).await?,
        };
        let file = directory.join(format!("{name}.json"));
        let whole = json!({"machine": machine, "rounds": effort.rounds, "seconds": effort.seconds, "figures": figures});
        fs::write(&file, format!("{whole:#}\n"))?;
        say(&format!("written to bench-results/{name}.json\n"));
    }
    Ok(())
}

/// The middle one of some figures.
fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The figure below which a share of the (sorted) figures is.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index of a list of some thousands"
    )]
    let index = (sorted.len() as f64 * share) as usize;
    sorted
        .get(index.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}
