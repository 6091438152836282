//! `platform`: starts and stops the system on this machine. The Makefile's targets call it.

mod bench;
mod demo;
mod master_data_story;
mod polling_story;
mod processing_story;
mod region_command;
mod spool_story;
mod up;

use std::io::{self, Write as _};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use platform::checkout;
use platform::ports::{Listener, Ports};
use platform::postgres::Postgres;

/// Start and stop SMP Global on this machine: two regions, each with PostgreSQL and a core, and the
/// edge on workerd.
#[derive(Parser)]
#[command(name = "platform", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Start the platform in the background; .run/platform.env then names all of it.
    Up,
    /// Stop the platform that `up` started.
    Down,
    /// Remove PostgreSQL's copy and data, where they lie outside of the checkout. For `make clean`.
    #[command(hide = true)]
    Clean,
    /// Start the platform, play the story of a webhook, and stay up until Ctrl-C.
    Demo {
        /// Stop after the story.
        #[arg(long)]
        once: bool,
    },
    /// Add a region to the platform that is up, or take it away.
    #[command(subcommand)]
    Region(region_command::RegionCommand),
    /// Run the benchmarks, each against its peer in the same run.
    #[command(after_help = "Example:\n  platform bench edge --rounds 5 --seconds 4")]
    Bench {
        /// What to measure; everything if nothing is named.
        subjects: Vec<bench::Subject>,
        /// Rounds in which each contender has its turn; the median counts.
        #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(3..))]
        rounds: u16,
        /// Seconds of a turn; of processing at an even rate, 30 at least.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
        seconds: u64,
        /// Customers, and as many events, among which processing looks something up; accounts of the backfill.
        #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
        rows: u32,
    },
    /// Run a command with `SMP_TEST_POSTGRES_URL`, the URL of a throw-away PostgreSQL.
    #[command(after_help = "Example:\n  platform with-postgres -- cargo test -p regional-core")]
    WithPostgres {
        /// The command and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    run(Cli::parse().command).await.unwrap_or_else(|error| {
        // Not by returning it: that would print a backtrace where RUST_BACKTRACE is set.
        let _stderr_is_closed = writeln!(io::stderr(), "platform: {error:#}");
        ExitCode::FAILURE
    })
}

async fn run(command: Subcommands) -> Result<ExitCode> {
    match command {
        Subcommands::Up => up::up().await.map(|()| ExitCode::SUCCESS),
        Subcommands::Down => up::down().map(|()| ExitCode::SUCCESS),
        Subcommands::Clean => up::clean().map(|()| ExitCode::SUCCESS),
        Subcommands::Region(command) => Box::pin(region_command::run(command))
            .await
            .map(|()| ExitCode::SUCCESS),
        Subcommands::Demo { once } => demo::run(once).await.map(|()| ExitCode::SUCCESS),
        Subcommands::Bench {
            subjects,
            rounds,
            seconds,
            rows,
        } => {
            let effort = bench::Effort {
                rounds: rounds.into(),
                seconds,
                rows,
            };
            bench::run(&subjects, effort)
                .await
                .map(|()| ExitCode::SUCCESS)
        }
        Subcommands::WithPostgres { command } => with_postgres(&command).await,
    }
}

async fn with_postgres(command: &[String]) -> Result<ExitCode> {
    let port = Ports::Free.take(Listener::Postgres(0), "throw-away PostgreSQL")?;
    let name = format!("throw-away-{}", std::process::id());
    let log = checkout::run_dir("logs")?.join(format!("{name}.log"));
    let server = Postgres::start(&name, port, &log).await?;
    let (program, arguments) = command.split_first().context("no command")?;
    let status = Command::new(program)
        .args(arguments)
        .env("SMP_TEST_POSTGRES_URL", server.admin_url("postgres"))
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    server.remove()?;
    let code = status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1);
    Ok(ExitCode::from(code))
}
