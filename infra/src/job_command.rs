//! `smpctl job`: the jobs of a country's core.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use clap::{Args, Subcommand};
use infra::connections::Staff;
use infra::edge;
use infra::jobs::{Run, jobs_table, runs_table};
use protocol::Country;
use serde_json::json;

use crate::edge_command::{edge_origin, from_environment, read_secret};
use crate::print_or_fail;

/// How often it is asked how far a run is.
const ASKED_EVERY: Duration = Duration::from_millis(500);

/// Which country's core, and by which right.
#[derive(Args)]
#[expect(
    clippy::doc_markdown,
    reason = "the text of --help, which shows backticks as they are"
)]
pub(crate) struct Whose {
    /// The edge's origin; else the environment's EDGE_URL.
    #[arg(long, global = true, value_name = "URL")]
    edge: Option<String>,
    /// The file that holds the bearer token of an admin of the country; else the environment's SMP_STAFF_TOKEN.
    #[arg(long, global = true, value_name = "FILE")]
    staff_token_file: Option<PathBuf>,
    /// Whose jobs.
    #[arg(long, global = true)]
    country: Option<Country>,
    /// Print JSON in place of the table.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
#[command(after_help = "Examples:\n  \
    smpctl job list --country VN\n  \
    smpctl job run poll --country VN")]
pub(crate) enum Action {
    /// All jobs: when each is due, and how its last run ended.
    #[command(after_help = "Example:\n  smpctl job list --country VN")]
    List,
    /// The last 50 runs of a job.
    #[command(after_help = "Example:\n  smpctl job runs reconciliation --country VN")]
    Runs {
        /// Which, as `smpctl job list` names it.
        job: String,
    },
    /// Run a job now, and wait until it ends. It is safe at any time: a job does nothing twice, and one that is under
    /// way is not begun a second time, but the run waits its turn.
    #[command(after_help = "Examples:\n  \
        smpctl job run poll --country VN\n  \
        smpctl job run reconciliation --country VN --from 2026-11-20T00:00:00+07:00")]
    Run {
        /// Which, as `smpctl job list` names it.
        job: String,
        /// Of reconciliation: compare what was changed from then on, at most 366 days back; RFC 3339 with an offset. The
        /// last two days if not given.
        #[arg(long)]
        from: Option<String>,
        /// Of reconciliation: until then. Where polling's last turn ended, if not given.
        #[arg(long)]
        to: Option<String>,
        /// Do not wait for its end.
        #[arg(long)]
        no_wait: bool,
    },
}

/// Runs one of them.
pub(crate) fn run(action: Action, of: &Whose) -> ExitCode {
    match act(action, of) {
        Ok((text, is_well)) => {
            let printed = print_or_fail(Ok(text));
            if is_well { printed } else { ExitCode::FAILURE }
        }
        Err(mistake) => print_or_fail(Err(mistake)),
    }
}

/// What to print, and whether all is well.
fn act(action: Action, of: &Whose) -> Result<(String, bool), String> {
    let origin = edge_origin(of.edge.as_deref())?;
    let country = of.country.ok_or("whose jobs? --country says it")?;
    let token = match &of.staff_token_file {
        Some(path) => Some(read_secret(path)?),
        None => from_environment("SMP_STAFF_TOKEN"),
    };
    let token = token.ok_or("by whose right? --staff-token-file or SMP_STAFF_TOKEN says it")?;
    // What staff ask for needs no token of the edge's own.
    let client = edge::Client::new(&origin, String::new());
    let staff = client.staff(&token, country);
    match action {
        Action::List => {
            let jobs = staff.jobs()?;
            let text = if of.json {
                pretty(&json!(jobs))
            } else {
                jobs_table(&jobs)
            };
            Ok((text, true))
        }
        Action::Runs { job } => {
            let runs = staff.runs(&job)?;
            let text = if of.json {
                pretty(&json!(runs))
            } else {
                runs_table(&runs)
            };
            Ok((text, true))
        }
        Action::Run {
            job,
            from,
            to,
            no_wait,
        } => {
            let parameters: Vec<(&str, String)> = [("from", from), ("to", to)]
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect();
            let mut run = staff.request_run(&job, &parameters)?;
            if !no_wait {
                run = wait(&staff, run)?;
            }
            let is_well = no_wait || run.state == "ok";
            let text = if of.json {
                pretty(&json!(run))
            } else {
                runs_table(&[run])
            };
            Ok((text, is_well))
        }
    }
}

/// Waits for a run's end, and shows how far it is.
fn wait(staff: &Staff<'_>, mut run: Run) -> Result<Run, String> {
    let mut stderr = std::io::stderr();
    let is_terminal = stderr.is_terminal();
    let mut shown = String::new();
    while !run.has_ended() {
        sleep(ASKED_EVERY);
        run = staff.run(&run.job, &run.run_id)?;
        let line = run.progress_line();
        if line != shown {
            let _closed = if is_terminal {
                write!(stderr, "\r\x1b[K{line}")
            } else {
                writeln!(stderr, "{line}")
            };
            shown = line;
        }
    }
    if is_terminal {
        let _closed = write!(stderr, "\r\x1b[K");
    }
    Ok(run)
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}
