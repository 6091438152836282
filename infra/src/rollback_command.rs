//! `smpctl rollback`: a switch, the program before, or the schema before: each with a look before it, a confirmation,
//! a look after it, and its time.

mod migration;
mod service;
mod switch;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand, ValueEnum};
use infra::edge;
use infra::rollback::Step;
use infra::rollback::service::ready_url;
use protocol::Country;
use serde_json::json;
use ureq::http::Uri;

use crate::edge_command::{edge_origin, from_environment, read_secret};
use crate::print_or_fail;
use migration::Wanted;

#[derive(Subcommand)]
#[command(after_help = "Examples:\n  \
    smpctl rollback switch --country VN --kill-switch on          # only shows\n  \
    smpctl rollback switch --country VN --kill-switch on --yes")]
#[expect(
    clippy::doc_markdown,
    reason = "the text of --help, which shows backticks as they are"
)]
pub(crate) enum Action {
    /// Tier 1: throw a switch of a country, or switch a source off. No downtime, no data at risk: always the first.
    ///
    /// Leads go on being kept. What a switch held back is processed later by a replay. Without --yes it is only shown
    /// what would change.
    #[command(after_help = "Examples:\n  \
        smpctl rollback switch --country VN --kill-switch on --yes\n  \
        smpctl rollback switch --country VN --processing paused --yes\n  \
        smpctl rollback switch --country VN --source vn-main/-11 off --yes")]
    Switch {
        #[command(flatten)]
        staff: StaffAccess,
        /// Whose switches.
        #[arg(long)]
        country: Country,
        #[command(flatten)]
        what: Switched,
        /// Do it.
        #[arg(long)]
        yes: bool,
        /// Print JSON in place of lines.
        #[arg(long)]
        json: bool,
    },
    /// Tier 2: put the program before back, by your own command, and wait until another one answers. For when a switch
    /// did not help.
    ///
    /// The old program runs on the newer schema: migrations expand before they contract. While cores restart, the
    /// edge keeps what comes (spool = "sealed") or Pancake sends it again, and polling finds the rest. Without --yes
    /// it is only looked whether it answers now.
    ///
    /// Done is: it is ready, and process_start_time_seconds of the /metrics beside --ready is of after this began.
    /// Where there are no such metrics: it was seen not ready in between. Otherwise it was not seen to change, and that
    /// ends with 1. Which version answers is not checked. Behind a balancer one look sees one program: let --run
    /// wait for all of them, as kubectl rollout status does.
    #[command(after_help = "Example:\n  \
        smpctl rollback service --ready https://core.smp-asia.example.com/readyz --yes \\\n    \
        --run 'kubectl -n smp-asia rollout undo deployment/regional-core &&\n           \
        kubectl -n smp-asia rollout status deployment/regional-core'")]
    Service {
        /// What puts the program before back and returns once that is under way.
        #[arg(long, value_name = "COMMAND")]
        run: String,
        /// What answers 200 when the service is ready.
        #[arg(long, value_name = "URL", value_parser = ready_url)]
        ready: Uri,
        /// How long to wait until it has changed and is ready, in seconds.
        #[arg(long, default_value_t = 900)]
        within_secs: u64,
        /// Do it.
        #[arg(long)]
        yes: bool,
        /// Print JSON in place of lines.
        #[arg(long)]
        json: bool,
    },
    /// Tier 3: take migrations back. Data is lost: only where the schema itself is wrong, and tiers 1 and 2 did not help.
    ///
    /// Needs CORE_OWNER_DATABASE_URL (the database's owner), and an admin's token for each country of the region.
    ///
    /// Checked is that the kill switch is on in every country of the region, as they share the database; and that the
    /// backup is one of smpctl region backup, or of pg_dump -Fc or -Fd, by its first bytes, not older than an hour and
    /// not dated in the future.
    ///
    /// Not checked is whether the backup is complete, and of this database: smpctl region verify-backup (pg_restore
    /// --list of a dump) reads it, a restore elsewhere proves it. Without --yes it is only shown what would be lost.
    #[command(after_help = "Example:\n  \
        smpctl region backup smp-asia --into before.smpbackup --keys-file backup.key\n  \
        smpctl rollback migration --to 23 --backup before.smpbackup --country VN --yes")]
    Migration {
        #[command(flatten)]
        staff: StaffAccess,
        /// Whose core; repeat it for more, all of one region. The switches of all countries of the region are looked
        /// at, whichever are named.
        #[arg(long, required = true)]
        country: Vec<Country>,
        /// The folder of the region registry, which says what countries a region has.
        #[arg(long, default_value = "infra/regions", value_name = "FOLDER")]
        regions: PathBuf,
        /// Take back all above this version.
        #[arg(long, value_name = "VERSION")]
        to: u32,
        /// A backup of the database as it is: of smpctl region backup, or a dump in custom or directory format.
        #[arg(long, value_name = "FILE")]
        backup: PathBuf,
        /// The program that knows the migrations.
        #[arg(long, default_value = "regional-core", value_name = "PROGRAM")]
        core: PathBuf,
        /// Do it.
        #[arg(long)]
        yes: bool,
        /// Print JSON in place of lines.
        #[arg(long)]
        json: bool,
    },
}

/// Which country's core, and by which right.
#[derive(Args)]
#[expect(
    clippy::doc_markdown,
    reason = "the text of --help, which shows backticks as they are"
)]
pub(crate) struct StaffAccess {
    /// The edge's origin; else the environment's EDGE_URL.
    #[arg(long, value_name = "URL")]
    edge: Option<String>,
    /// The file that holds the bearer token of an admin of the country; else the environment's SMP_STAFF_TOKEN.
    #[arg(long, value_name = "FILE")]
    staff_token_file: Option<PathBuf>,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Switched {
    /// On: whatever comes is kept and skipped, until a replay.
    #[arg(long)]
    kill_switch: Option<OnOff>,
    /// Paused: whatever comes is kept and waits.
    #[arg(long)]
    processing: Option<Processing>,
    /// CONNECTION/SOURCE and on or off: leads of that source alone are kept and skipped.
    #[arg(long, num_args = 2, value_names = ["CONNECTION/SOURCE", "on|off"])]
    source: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnOff {
    On,
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Processing {
    Paused,
    Running,
}

/// Runs one of them.
pub(crate) fn run(action: Action) -> ExitCode {
    let (outcome, as_json) = match action {
        Action::Switch {
            staff,
            country,
            what,
            yes,
            json,
        } => (switch::switch((&staff, country), &what, yes), json),
        Action::Service {
            run,
            ready,
            within_secs,
            yes,
            json,
        } => (
            service::service(&run, &ready, Duration::from_secs(within_secs), yes),
            json,
        ),
        Action::Migration {
            staff,
            country,
            regions,
            to,
            backup,
            core,
            yes,
            json,
        } => {
            let wanted = Wanted {
                countries: &country,
                regions: &regions,
                to,
                backup: &backup,
                core: &core,
            };
            (migration::migration(&staff, &wanted, yes), json)
        }
    };
    print_or_fail(outcome.map(|report| {
        if as_json {
            format!("{:#}\n", json!(report))
        } else {
            report.lines()
        }
    }))
}

/// Takes steps, and the time of each.
#[derive(Default)]
struct Steps(Vec<Step>);

impl Steps {
    fn take<T>(
        &mut self,
        what: &str,
        step: impl FnOnce() -> Result<(String, T), String>,
    ) -> Result<T, String> {
        let began = Instant::now();
        let (found, value) = step().map_err(|error| format!("{what}: {error}"))?;
        self.0.push(Step {
            what: what.to_owned(),
            found,
            took_ms: began.elapsed().as_millis(),
        });
        Ok(value)
    }
}

impl StaffAccess {
    /// The edge, and the token for the country's core behind it.
    fn open(&self) -> Result<(edge::Client, String), String> {
        let origin = edge_origin(self.edge.as_deref())?;
        let token = match &self.staff_token_file {
            Some(path) => Some(read_secret(path)?),
            None => from_environment("SMP_STAFF_TOKEN"),
        };
        let token = token.ok_or("by whose right? --staff-token-file or SMP_STAFF_TOKEN says it")?;
        Ok((edge::Client::new(&origin, String::new()), token))
    }
}
