//! `replicator`: carries master data from the hub to the regions.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use replication::config::{self, DatabaseRole, DatabaseUrl};
use replication::database::{self, Part};
use replication::regions::Regions;
use replication::relay::{self, RelaySettings};
use replication::report::Status;
use replication::{apply, serve};
use tracing_subscriber::EnvFilter;

/// Carry master data from the hub to every region, and prove that it is the same there.
///
/// Every setting comes from the environment (REPLICATOR_…), secrets too; docs/master-data.md lists them.
#[derive(Parser)]
#[command(name = "replicator", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the roles and the schema in an existing database, as its administrator. Idempotent.
    Provision,
    /// Apply the migrations, and make the database the hub's or a region's. Idempotent.
    Migrate {
        /// The database's part.
        #[arg(long)]
        part: Part,
        /// Apply no migration above this version: as far as a backup that is to be restored.
        #[arg(long, value_name = "VERSION")]
        to: Option<i64>,
    },
    /// Hub: write the first master data: eight countries, ten currencies, rates, Viet Nam's taxes, the
    /// interface's texts. What is there already stays as it is.
    Seed,
    /// Hub: publish every change, in the order of the commits, until stopped.
    Relay,
    /// Region: apply what comes from the hub, until stopped.
    Apply,
    /// Region: apply all that is in the log now, with progress, and verify it.
    Bootstrap,
    /// Hub: send every row again, so that the regions become equal whatever happened to them.
    Restate,
    /// Say how far this database is, and whether it is the same as the hub's.
    Status {
        /// Print JSON in place of the table.
        #[arg(long)]
        json: bool,
    },
    /// As `status`, and count every row anew; exits with 1 if anything is wrong.
    Verify {
        /// Print JSON in place of the table.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::new(config::optional("REPLICATOR_LOG").unwrap_or("info".to_owned()));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let result = runtime
        .context("cannot start the runtime")
        .and_then(|runtime| runtime.block_on(run(cli.command)));
    match result {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "replicator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Provision => {
            let admin = DatabaseUrl::of(DatabaseRole::Admin)?;
            let mut roles = Vec::new();
            for role in [
                DatabaseRole::Owner,
                DatabaseRole::Relay,
                DatabaseRole::Applier,
            ] {
                roles.push((role, DatabaseUrl::of(role)?));
            }
            database::provision(&admin, &roles).await?;
        }
        Command::Migrate { part, to } => {
            let owner = DatabaseUrl::of(DatabaseRole::Owner)?;
            database::migrate_to(&owner, &config::region()?, part, to).await?;
        }
        Command::Seed => {
            let owner = DatabaseUrl::of(DatabaseRole::Owner)?;
            database::seed(&owner, &config::region()?).await?;
        }
        Command::Relay => {
            let settings = RelaySettings {
                broker: config::broker()?,
                replication: i32::try_from(config::number("REPLICATOR_TOPIC_REPLICATION", 3)?)
                    .context("REPLICATOR_TOPIC_REPLICATION")?,
                heartbeat_every: config::milliseconds("REPLICATOR_HEARTBEAT_MS", 1_000)?,
                digest_every: config::milliseconds("REPLICATOR_DIGEST_MS", 10_000)?,
                regions: Regions {
                    replicators: config::replicators()?,
                    ask_every: config::milliseconds("REPLICATOR_ASK_MS", 10_000)?,
                    restate_pause: config::milliseconds("REPLICATOR_RESTATE_PAUSE_MS", 600_000)?,
                },
            };
            let pool = database::connect(&DatabaseUrl::of(DatabaseRole::Relay)?).await?;
            database::check_part(&pool, &config::region()?, Part::Hub).await?;
            tokio::select! {
                result = relay::run(&pool, &settings) => result?,
                result = serve::run(pool.clone(), None) => result?,
                () = termination() => tracing::info!("stopped"),
            }
        }
        Command::Apply => {
            let pool = database::connect(&DatabaseUrl::of(DatabaseRole::Applier)?).await?;
            database::check_part(&pool, &config::region()?, Part::Region).await?;
            let broker = config::broker()?;
            let hub_keys = config::hub_keys()?;
            tokio::select! {
                result = apply::run(&pool, &broker, false, |_| ()) => { result?; },
                result = serve::run(pool.clone(), hub_keys) => result?,
                () = termination() => tracing::info!("stopped"),
            }
        }
        Command::Bootstrap => return bootstrap().await,
        Command::Restate => {
            let pool = database::connect(&DatabaseUrl::of(DatabaseRole::Relay)?).await?;
            database::check_part(&pool, &config::region()?, Part::Hub).await?;
            let since: i64 = sqlx::query_scalar("select smp_global.restate()")
                .fetch_one(&pool)
                .await?;
            print(&format!(
                "every row goes out again, from seq {since} on; `replicator status` in a region tells when it is there\n"
            ));
        }
        Command::Status { json } => return report(false, json).await,
        Command::Verify { json } => return report(true, json).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// The database as the role whose part it plays: the relay in the hub, the applier in a region.
async fn own_database() -> Result<sqlx::PgPool> {
    let mut refusal = None;
    for (role, part) in [
        (DatabaseRole::Relay, Part::Hub),
        (DatabaseRole::Applier, Part::Region),
    ] {
        let Ok(url) = DatabaseUrl::of(role) else {
            continue;
        };
        let pool = database::connect(&url).await?;
        match database::check_part(&pool, &config::region()?, part).await {
            Ok(()) => return Ok(pool),
            Err(error) => refusal = Some(error),
        }
    }
    match refusal {
        Some(refusal) => Err(refusal.into()),
        None => anyhow::bail!(
            "set {} in the hub, {} in a region",
            DatabaseRole::Relay.variable(),
            DatabaseRole::Applier.variable()
        ),
    }
}

async fn report(recount: bool, json: bool) -> Result<ExitCode> {
    let pool = own_database().await?;
    let status = Status::read(&pool, recount).await?;
    let faults = status.faults();
    if json {
        let document = serde_json::json!({"status": status, "faults": faults});
        print(&format!("{document:#}\n"));
    } else {
        print(&status.to_text());
    }
    Ok(if recount && !faults.is_empty() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

async fn bootstrap() -> Result<ExitCode> {
    let pool = database::connect(&DatabaseUrl::of(DatabaseRole::Applier)?).await?;
    database::check_part(&pool, &config::region()?, Part::Region).await?;
    let started = Instant::now();
    let is_terminal = std::io::stderr().is_terminal();
    let mut first = None;
    let mut shown_at = Instant::now();
    apply::run(&pool, &config::broker()?, true, |progress| {
        let first = *first.get_or_insert(progress.next_offset);
        if shown_at.elapsed().as_millis() < 500 {
            return;
        }
        shown_at = Instant::now();
        let line = progress_line(&progress, first, started);
        let _ = if is_terminal {
            write!(std::io::stderr(), "\r{line}\x1b[K")
        } else {
            writeln!(std::io::stderr(), "{line}")
        };
    })
    .await?;
    if is_terminal {
        let _ = writeln!(std::io::stderr());
    }
    print(&format!(
        "all of the log is applied ({} s)\n",
        started.elapsed().as_secs()
    ));
    report(true, false).await
}

#[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
fn progress_line(progress: &apply::Progress, first: i64, started: Instant) -> String {
    let done = (progress.next_offset - first) as f64;
    let left = (progress.end_offset - progress.next_offset).max(0) as f64;
    let elapsed = started.elapsed().as_secs_f64();
    let percent = 100.0 * done / (done + left).max(1.0);
    let left_secs = if done > 0.0 {
        elapsed * left / done
    } else {
        0.0
    };
    format!("{percent:>3.0} %  {done:.0} records in {elapsed:.0} s, {left_secs:.0} s left")
}

async fn termination() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! { _ = terminate.recv() => (), _ = interrupt.recv() => () }
}

/// Whoever closed the pipe does not read on.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
