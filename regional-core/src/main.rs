//! The binary `regional-core`: start-up phases only.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use jiff::tz::TimeZone;
use protocol::at_rest::AtRestKeys;
use regional_core::app::{App, router};
use regional_core::auth::Authenticator;
use regional_core::backfill::show::{Meter, thousands};
use regional_core::backfill::window::{Hours, Window};
use regional_core::backfill::{self, Report};
use regional_core::clock::SystemClock;
use regional_core::config::secrets::{DatabaseUrl, Role};
use regional_core::config::{Config, Environment};
use regional_core::db::migrate::plan::{DownPlan, PlannedDown};
use regional_core::db::migrate::{MigrationStatus, down};
use regional_core::db::{self, DatabaseError, bootstrap, migrate};
use regional_core::hop::{HopGuard, WaitedKeys};
use regional_core::receipt::{PayloadFinding, ReceiptReport, SignatureFinding, verify_receipt};
use regional_core::{api_keys, open_files, server, telemetry};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{error, info, warn};
use uuid::Uuid;

/// How long to wait before asking a database again that did not answer at the start.
const DATABASE_PAUSE: Duration = Duration::from_secs(1);

/// The exit code where nobody agreed to lose data.
const REFUSED: u8 = 2;

/// One region's service: takes Pancake's records in and keeps them in the region's own PostgreSQL.
///
/// Settings and secrets come from CORE_… variables. All of them, with their defaults, are listed in
/// regional-core/config/default.toml.
#[derive(Parser)]
#[command(version, arg_required_else_help = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
#[expect(
    clippy::doc_markdown,
    reason = "the text of --help, which shows backticks as they are"
)]
enum Command {
    /// Serve. Ends on SIGTERM or SIGINT, when what was accepted is finished
    ///
    /// Needs CORE_REGION, CORE_COUNTRIES, CORE_HOP_SECRETS and CORE_DATABASE_URL (as core_app). Starts
    /// while the database is down, and answers 503 until it is there. In the hub, master data is written
    /// through it if CORE_EDITOR_DATABASE_URL (as core_editor), CORE_JWKS, CORE_JWT_ISSUER and
    /// CORE_JWT_AUDIENCE are set.
    #[command(after_help = "Example:\n  \
        CORE_REGION=smp-asia CORE_COUNTRIES=VN,SG,TH,ID,MY,PH \\\n  \
        CORE_HOP_SECRETS='{\"smp-asia-1\": \"at-least-32-bytes…\"}' \\\n  \
        CORE_DATABASE_URL=postgres://core_app:…@127.0.0.1:5432/smp_asia \\\n  \
        regional-core serve")]
    Serve,
    /// Bring the schema up to this binary's, say how it stands, or take migrations back
    ///
    /// Needs CORE_OWNER_DATABASE_URL (as core_owner). Several at once wait for one another.
    #[command(after_help = "Examples:\n  \
        CORE_OWNER_DATABASE_URL=postgres://core_owner:…@127.0.0.1:5432/smp_asia regional-core migrate\n  \
        regional-core migrate status          # exits with 1 if something is missing\n  \
        regional-core migrate down            # shows what the last one's data is, and asks")]
    Migrate {
        #[command(subcommand)]
        action: Option<MigrateAction>,
    },
    /// Make the roles core_owner and core_app, and their database
    ///
    /// Needs CORE_ADMIN_DATABASE_URL (who may create roles and databases), CORE_OWNER_DATABASE_URL and
    /// CORE_DATABASE_URL: the roles get the passwords that stand in their URLs. In the hub
    /// CORE_EDITOR_DATABASE_URL makes core_editor too, who writes master data. Run it again after
    /// changing one.
    #[command(after_help = "Example:\n  \
        CORE_ADMIN_DATABASE_URL=postgres://postgres:…@127.0.0.1:5432/postgres \\\n  \
        CORE_OWNER_DATABASE_URL=postgres://core_owner:…@127.0.0.1:5432/smp_asia \\\n  \
        CORE_DATABASE_URL=postgres://core_app:…@127.0.0.1:5432/smp_asia \\\n  \
        regional-core bootstrap")]
    Bootstrap,
    /// Seal secrets in the database anew, with the first key of CORE_AT_REST_KEYS: after that the others can go
    ///
    /// Needs CORE_DATABASE_URL and CORE_AT_REST_KEYS. Stops at the first one that does not open, and can be run
    /// again.
    #[command(after_help = "Example:\n  regional-core reseal")]
    Reseal,
    /// Fill a column of the rows that were there before it. Goes on where an earlier run ended
    Backfill {
        #[command(subcommand)]
        what: Backfill,
    },
    /// Check the receipt of an event: was it signed by the edge, and is it as it was?
    ///
    /// Needs CORE_DATABASE_URL and CORE_HOP_SECRETS; CORE_HOP_RETIRED_SECRETS too, if the event is older
    /// than the last rotation. Exits with 1 if the receipt is not good.
    #[command(after_help = "Example:\n  \
        regional-core verify-receipt 01890a5d-ac96-774b-bcce-b302099a8057")]
    VerifyReceipt {
        /// The event's id, as the answer to its sender said it
        event_id: Uuid,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
#[expect(
    clippy::doc_markdown,
    reason = "the text of --help, which shows backticks as they are"
)]
enum Backfill {
    /// Give each account that has none its phone number in E.164, by the rules of its country
    ///
    /// Needs CORE_DATABASE_URL (as core_app). Works in small transactions while the system runs, one such command
    /// at a time, and waits while a reconciliation runs. It may be killed at any moment and run again. Where a
    /// number is written that is none, the account stays without.
    ///
    /// Exits with 1 if it was stopped before its end, and with 2 where nothing was done because nobody agreed.
    #[command(after_help = "Examples:\n  \
        regional-core backfill normalized-phone --dry-run                 # what there is, and how long it takes\n  \
        regional-core backfill normalized-phone\n  \
        regional-core backfill normalized-phone --window 02:00-06:00 --time-zone Asia/Ho_Chi_Minh")]
    NormalizedPhone(NormalizedPhone),
}

#[derive(Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
struct NormalizedPhone {
    /// The most accounts of a transaction; fewer, where they would be locked for longer than half a second
    #[arg(long, value_name = "ROWS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: u32,
    /// The pause between two transactions
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    pause_ms: u64,
    /// Work at these hours of the day only
    #[arg(long, value_name = "HH:MM-HH:MM")]
    window: Option<Hours>,
    /// By the clock of which time zone (IANA)
    #[arg(long, value_name = "ZONE", default_value = "UTC", value_parser = time_zone, requires = "window")]
    time_zone: TimeZone,
    /// Read and normalise all, and write nothing
    #[arg(long, conflicts_with_all = ["restart", "window"])]
    dry_run: bool,
    /// Begin anew with the first account, and ask before. Numbers that are there stay
    #[arg(long)]
    restart: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

fn time_zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| "a name as Asia/Ho_Chi_Minh is expected".to_owned())
}

#[derive(Subcommand, Clone, Copy)]
enum MigrateAction {
    /// Apply what is missing (the default)
    #[command(after_help = "Example:\n  \
        regional-core migrate up --to 23              # as far as a backup that is to be restored")]
    Up {
        /// No further than this version
        #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(i64).range(0..))]
        to: Option<i64>,
    },
    /// Say how the schema stands, and change nothing
    Status,
    /// Take the last migration back: shows what would be lost, and asks
    ///
    /// Without a terminal and without --yes it only shows. Exits with 2 where nothing was done because
    /// nobody agreed.
    #[command(after_help = "Examples:\n  \
        regional-core migrate down                    # the last one\n  \
        regional-core migrate down --to 5             # all above 0005, newest first\n  \
        regional-core migrate down --to 5 --yes       # without asking")]
    Down {
        /// Take back all above this version; 0 is all, the events too
        #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(i64).range(0..))]
        to: Option<i64>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Print the plan as JSON
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    match run(&command) {
        Ok(code) => code,
        Err(error) => {
            // Not through the log: it may not have been started.
            let _stderr_is_closed = writeln!(io::stderr(), "regional-core: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let environment = Environment::from_process()?;
    let (log, log_format) = environment.log()?;
    telemetry::start(&log, log_format)?;
    match command {
        Command::Serve => run_serve(&environment),
        Command::Migrate { action } => {
            let owner = environment.database_url(Role::Owner)?;
            let runtime = small_runtime()?;
            match action.unwrap_or(MigrateAction::Up { to: None }) {
                MigrateAction::Up { to } => runtime.block_on(run_migrate_up(&owner, to)),
                MigrateAction::Status => runtime.block_on(run_migrate_status(&owner)),
                MigrateAction::Down { to, yes, json } => {
                    run_migrate_down(&runtime, &owner, to, yes, json)
                }
            }
        }
        Command::Bootstrap => {
            let admin = environment.database_url(Role::Admin)?;
            let owner = environment.database_url(Role::Owner)?;
            let app = environment.database_url(Role::App)?;
            let editor = environment.editor_database_url()?;
            small_runtime()?.block_on(run_bootstrap(&admin, &owner, &app, editor.as_ref()))
        }
        Command::Reseal => {
            let keys = environment.at_rest_keys()?;
            let keys = keys.context("CORE_AT_REST_KEYS is not set")?;
            let database = environment.database_url(Role::App)?;
            small_runtime()?.block_on(run_reseal(&keys, &database))
        }
        Command::Backfill {
            what: Backfill::NormalizedPhone(arguments),
        } => {
            let database = environment.database_url(Role::App)?;
            run_backfill(&small_runtime()?, &database, arguments)
        }
        Command::VerifyReceipt { event_id, json } => {
            let report = small_runtime()?.block_on(load_receipt(&environment, *event_id))?;
            print_receipt(&report, *json)?;
            Ok(exit_code(report.is_good()))
        }
    }
}

async fn run_reseal(keys: &AtRestKeys, database: &DatabaseUrl) -> anyhow::Result<ExitCode> {
    let mut connection = PgConnection::connect_with(database.options())
        .await
        .map_err(DatabaseError::from)?;
    let resealed = api_keys::reseal(keys, &mut connection).await?;
    connection.close().await.map_err(DatabaseError::from)?;
    writeln!(
        io::stdout(),
        "API keys: {} sealed anew, {} were so already",
        resealed.anew,
        resealed.current
    )?;
    Ok(ExitCode::SUCCESS)
}

fn exit_code(good: bool) -> ExitCode {
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn small_runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

fn run_serve(environment: &Environment) -> anyhow::Result<ExitCode> {
    let config = environment.config()?;
    let keys = environment.hop_keys()?;
    let database = environment.database_url(Role::App)?;
    let editors = environment.editor_database_url()?;
    let authenticator = Authenticator::new(&config)?;
    let at_rest = environment.at_rest_keys()?;
    let waited = WaitedKeys {
        opening: environment.opening_keys()?,
        signing: environment.receipt_keys()?,
    };
    let guard = HopGuard::new(
        keys,
        waited,
        config.region.clone(),
        config.countries.clone(),
    );
    let workers = match config.workers {
        0 => available_parallelism().context("CORE_WORKERS is 0, but how many cores are there?")?,
        workers => workers.try_into()?,
    };
    if cfg!(panic = "abort") {
        warn!("built with panic=abort: a panic in one request ends the process");
    }
    open_files::raise_limit(&config);
    let runtime = Builder::new_multi_thread()
        .worker_threads(workers.get())
        .enable_all()
        .build()?;
    let who = (editors, authenticator, at_rest);
    let outcome = runtime.block_on(serve(config, guard, &database, who));
    // What is cut off at the end of its time must not keep the process.
    runtime.shutdown_background();
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn serve(
    config: Config,
    guard: HopGuard,
    database: &DatabaseUrl,
    (editors, authenticator, at_rest): (
        Option<DatabaseUrl>,
        Option<Authenticator>,
        Option<AtRestKeys>,
    ),
) -> anyhow::Result<()> {
    let pool = db::connect_lazy(database, &config.database);
    let editors = editors.map(|url| db::connect_editors(&url, &config.database));
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("CORE_LISTEN: cannot listen on {}", config.listen))?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        region.id = %config.region,
        countries = ?config.countries,
        listen = %listener.local_addr()?,
        "serving"
    );
    let (app, batcher) = App::start(
        config.clone(),
        guard,
        pool.clone(),
        editors.clone(),
        authenticator,
        at_rest,
        Arc::new(SystemClock),
    );

    let processor = app.start_processing();
    let jobs = app.start_jobs();
    let (refused, database_refusal) = oneshot::channel();
    let database_check = tokio::spawn(check_database(database.clone(), refused));
    let mut refusal = None;
    let mut stop_at = Instant::now();
    let shutdown = async {
        tokio::select! {
            name = termination() => info!(signal = name, "shutting down"),
            Ok(error) = database_refusal => refusal = Some(error),
        }
        app.announce_shutdown();
        jobs.stop();
        stop_at = Instant::now();
    };
    let patience = config.shutdown_timeout;
    server::serve(listener, router(&app), &config.http, shutdown, patience).await;
    // Whose client hung up is still written.
    if timeout_at(stop_at + patience, batcher.drain())
        .await
        .is_err()
    {
        error!("records that waited are not written");
    }
    if timeout_at(stop_at + patience, processor.stop())
        .await
        .is_err()
    {
        warn!("a batch of events was not finished: it is processed again");
    }
    database_check.abort();
    let staff = app.staff_pool().clone();
    for pool in [Some(pool), Some(staff), editors].into_iter().flatten() {
        close_pool(&pool).await;
    }
    info!(duration_ms = stop_at.elapsed().as_millis(), "stopped");
    match refusal {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

async fn close_pool(pool: &PgPool) {
    // A connection whose other end is gone says no goodbye.
    let _timed_out = timeout(Duration::from_secs(1), pool.close()).await;
}

/// Waits for the database to answer once, and reports one at which a core must not serve. The pool
/// checks each connection likewise; this is for the process to end with a clear word.
async fn check_database(database: DatabaseUrl, refused: oneshot::Sender<DatabaseError>) {
    let check = || async {
        let mut connection = PgConnection::connect_with(database.options()).await?;
        db::check_connection(&mut connection).await?;
        connection.close().await?;
        Ok(())
    };
    let mut waiting = false;
    loop {
        match check().await {
            Ok(()) => {
                info!("database answers");
                return;
            }
            Err(error) if DatabaseError::is_passing(&error) => {
                if !waiting {
                    warn!(error = %error, "database does not answer yet");
                }
                waiting = true;
                sleep(DATABASE_PAUSE).await;
            }
            Err(error) => {
                let _shutting_down = refused.send(error);
                return;
            }
        }
    }
}

/// Ready when the process is told to end; gives the signal's name.
async fn termination() -> &'static str {
    let next = |kind| async move {
        match signal(kind) {
            Ok(mut signals) => {
                signals.recv().await;
            }
            Err(error) => {
                error!(error = %error, "cannot wait for a signal");
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = next(SignalKind::terminate()) => "SIGTERM",
        () = next(SignalKind::interrupt()) => "SIGINT",
    }
}

fn describe(migration: &MigrationStatus) -> String {
    let MigrationStatus { version, name, .. } = migration;
    format!("{version:04} {name}")
}

async fn run_migrate_up(owner: &DatabaseUrl, to: Option<i64>) -> anyhow::Result<ExitCode> {
    let applied = migrate::up_to(owner, to).await?;
    let mut out = io::stdout().lock();
    for migration in &applied {
        writeln!(out, "applied {}", describe(migration))?;
    }
    if applied.is_empty() {
        writeln!(out, "nothing to apply")?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn run_migrate_status(owner: &DatabaseUrl) -> anyhow::Result<ExitCode> {
    let statuses = migrate::status(owner).await?;
    let mut out = io::stdout().lock();
    for migration in &statuses {
        let state = if migration.applied {
            "applied"
        } else {
            "missing"
        };
        writeln!(out, "{state} {}", describe(migration))?;
    }
    Ok(exit_code(
        statuses.iter().all(|migration| migration.applied),
    ))
}

/// Nothing is locked while somebody reads the plan.
fn run_migrate_down(
    runtime: &Runtime,
    owner: &DatabaseUrl,
    to: Option<i64>,
    yes: bool,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let plan = runtime.block_on(down::plan(owner, to))?;
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &plan)?;
        writeln!(out)?;
    } else {
        write!(out, "{plan}")?;
    }
    out.flush()?;
    // What is no plan goes beside it, so that the JSON can be read by a program.
    let mut notes = io::stderr().lock();
    if plan.migrations.is_empty() {
        writeln!(notes, "nothing to take back")?;
        return Ok(ExitCode::SUCCESS);
    }
    if !yes && !is_agreed(&plan, &mut notes)? {
        writeln!(notes, "nothing was changed")?;
        return Ok(ExitCode::from(REFUSED));
    }
    let report = |done: &PlannedDown| {
        // A closed stderr must not stop it half way.
        let _stderr_is_closed = writeln!(notes, "took back {done}");
    };
    runtime.block_on(down::take_back(owner, &plan, report))?;
    Ok(ExitCode::SUCCESS)
}

/// On SIGTERM or SIGINT the batch that is under way is finished.
fn run_backfill(
    runtime: &Runtime,
    database: &DatabaseUrl,
    arguments: &NormalizedPhone,
) -> anyhow::Result<ExitCode> {
    let options = backfill::Options {
        batch: arguments.batch.try_into()?,
        pause: Duration::from_millis(arguments.pause_ms),
        window: arguments
            .window
            .map(|hours| Window::new(hours, arguments.time_zone.clone())),
        restart: arguments.restart,
    };
    if arguments.restart && !arguments.yes {
        let rows = runtime.block_on(backfill::rows_done(database))?;
        let mut notes = io::stderr().lock();
        if rows > 0 && !is_restart_agreed(rows, database, &mut notes)? {
            writeln!(notes, "nothing was changed")?;
            return Ok(ExitCode::from(REFUSED));
        }
    }
    let (stopper, stop) = watch::channel(false);
    let mut meter = Meter::stderr();
    let report = runtime.block_on(async {
        tokio::spawn(async move {
            termination().await;
            let _ended = stopper.send(true);
            // Held, so that nobody takes it for a word that can no longer come.
            std::future::pending::<()>().await;
        });
        if arguments.dry_run {
            backfill::rehearse(database, &options, &mut meter, stop).await
        } else {
            backfill::run(database, &options, &mut meter, stop).await
        }
    })?;
    print_backfill(&report, arguments.json)?;
    Ok(exit_code(report.finished))
}

fn is_restart_agreed(
    rows: u64,
    database: &DatabaseUrl,
    notes: &mut impl io::Write,
) -> io::Result<bool> {
    writeln!(
        notes,
        "{} accounts were done; it would look at them again",
        thousands(rows)
    )?;
    ask_for_database(database.database(), "--yes begins anew", notes)
}

fn print_backfill(report: &Report, json: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, report)?;
        writeln!(out)?;
        return Ok(());
    }
    write!(out, "{report}")?;
    Ok(())
}

fn is_agreed(plan: &DownPlan, notes: &mut impl io::Write) -> io::Result<bool> {
    ask_for_database(&plan.database, "--yes takes them back", notes)
}

/// Whether somebody at a terminal types the database's name.
fn ask_for_database(
    database: &str,
    without_asking: &str,
    notes: &mut impl io::Write,
) -> io::Result<bool> {
    if !io::stdin().is_terminal() {
        writeln!(notes, "there is no terminal to ask at: {without_asking}")?;
        return Ok(false);
    }
    write!(notes, "Type the name of the database to go on: ")?;
    notes.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer.trim() == database)
}

async fn run_bootstrap(
    admin: &DatabaseUrl,
    owner: &DatabaseUrl,
    app: &DatabaseUrl,
    editor: Option<&DatabaseUrl>,
) -> anyhow::Result<ExitCode> {
    let made = bootstrap::bootstrap(admin, owner, app, editor).await?;
    let mut out = io::stdout().lock();
    for thing in &made {
        writeln!(out, "made {thing}")?;
    }
    writeln!(out, "roles and database are as they should be")?;
    Ok(ExitCode::SUCCESS)
}

async fn load_receipt(environment: &Environment, event_id: Uuid) -> anyhow::Result<ReceiptReport> {
    let keys = environment.receipt_keys()?;
    let database = environment.database_url(Role::App)?;
    let mut connection = PgConnection::connect_with(database.options())
        .await
        .map_err(DatabaseError::from)?;
    let report = verify_receipt(&mut connection, &keys, event_id)
        .await
        .map_err(DatabaseError::from)?;
    connection.close().await.map_err(DatabaseError::from)?;
    report.with_context(|| format!("there is no event {event_id} in this region"))
}

fn print_receipt(report: &ReceiptReport, json: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, report)?;
        writeln!(out)?;
        return Ok(());
    }
    let signature = match report.signature {
        SignatureFinding::Right => "right",
        SignatureFinding::Wrong => "WRONG: a column or the receipt was changed",
        SignatureFinding::KeyUnknown => {
            "UNKNOWN KEY: set CORE_HOP_RETIRED_SECRETS to the secrets of that time"
        }
        SignatureFinding::Absent => "ABSENT: it came by no edge, or the receipt cannot be read",
    };
    let payload = match report.payload {
        PayloadFinding::AsReceived => "as received",
        PayloadFinding::Blanked => "blanked, by its age",
        PayloadFinding::Changed => "CHANGED: its SHA-256 is not payload_hash",
    };
    let signed_at = report.signed_at.map_or_else(
        || "-".to_owned(),
        |seconds| {
            i64::try_from(seconds)
                .ok()
                .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
                .map_or_else(|| seconds.to_string(), |moment| moment.to_string())
        },
    );
    for (name, value) in [
        ("event", report.event_id.to_string().as_str()),
        ("country", &report.country),
        ("connection", &report.connection),
        ("signed at", &signed_at),
        ("key", report.keyid.as_deref().unwrap_or("-")),
        ("signature", signature),
        ("payload", payload),
    ] {
        writeln!(out, "{name:<12}{value}")?;
    }
    Ok(())
}
