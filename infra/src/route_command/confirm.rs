//! What a file says is put in force, and the edge itself says so.

use std::time::{Duration, Instant};

use infra::route::edit::Edited;
use infra::route::history::{Confirmation, Entry};
use infra::route::running::WATCHER_PATIENCE;
use infra::route::touched;
use infra::smoke;
use jiff::Timestamp;

use super::deploy::Deployment;
use super::past::write_down;
use super::report::Report;
use super::{Act, Place};
use crate::say;

/// How often somebody who waits is told so.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// Deploys what the file says, unless it is in force, and waits until the edge says so itself.
pub(super) fn confirm(
    place: &Place,
    deployment: &Deployment,
    act: &Act,
    (edited, entry): (&Edited, Option<Entry>),
    report: &mut Report,
) -> Result<(), String> {
    let origin = deployment.edge_origin(&place.access)?;
    let version = edited.after.version();
    let smoke = smoke::Smoke::new(&origin, &edited.after);
    if smoke.routes_version() != Some(version) {
        deployment.deploy(place)?;
    }
    let mut said = Instant::now();
    let (began, patience) = (Instant::now(), Duration::from_secs(act.patience_secs));
    let mut deployed = began;
    // How the others are answered is no matter of this change.
    let countries = touched(
        &edited.after,
        entry.as_ref().map_or(&[], |entry| &entry.changes),
    );
    loop {
        let is_in_force = smoke.routes_version() == Some(version);
        let steps: Vec<_> = if is_in_force {
            countries
                .iter()
                .filter_map(|country| smoke.country(*country))
                .collect()
        } else {
            Vec::new()
        };
        if is_in_force && steps.iter().all(|step| step.is_right) {
            let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let is_new = entry.is_some();
            if let Some(entry) = entry {
                let confirmed_at = Timestamp::now();
                let confirmation = Confirmation {
                    id: entry.id,
                    confirmed_at,
                    took_ms,
                };
                write_down(&place.history_file(), &confirmation).map_err(|mistake| {
                    format!(
                        "{mistake}; the edge answers with version {version} all the same: once that is mended, run the same \
                         command again, which writes it down"
                    )
                })?;
            }
            report.is_done = true;
            report.confirmed = steps;
            report.confirmed_ms = Some(took_ms);
            report.said = format!(
                "{}: the edge answers with version {version}, after {}.{} s",
                if is_new { "done" } else { "it is so already" },
                took_ms / 1_000,
                took_ms % 1_000 / 100
            );
            return Ok(());
        }
        if !is_in_force && deployment.is_local() && deployed.elapsed() >= WATCHER_PATIENCE {
            deployment.deploy(place)?;
            deployed = Instant::now();
        }
        if began.elapsed() >= patience {
            report.confirmed = steps;
            report.said = if is_in_force {
                format!(
                    "deployed, and the edge has it, but not every country is answered as it should be: see above; smpctl \
                     route revert{} --why WHY --yes takes it back",
                    place.flag()
                )
            } else {
                format!(
                    "{} says version {version}, and the edge does not answer with it after {} s: run the same command \
                     again to go on, or smpctl route revert{} --why WHY --yes",
                    place.wrangler.display(),
                    act.patience_secs,
                    place.flag()
                )
            };
            return Ok(());
        }
        if said.elapsed() >= SAY_EVERY && !act.json {
            said = Instant::now();
            say(&format!(
                "waiting for the edge to answer with version {version}, {} s of {} s",
                began.elapsed().as_secs(),
                act.patience_secs
            ));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
