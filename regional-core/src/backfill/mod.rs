//! `account.normalized_phone` of the accounts that were there before the column, by
//! `regional-core backfill normalized-phone`.
//!
//! - `normalise`: the numbers, on all cores, before any row is locked;
//! - `store`: the SQL: a batch and where the job stands are one transaction, so it may be killed at any moment;
//! - [`pace`]: how many rows a transaction takes, so that nobody waits for its locks;
//! - [`window`]: the hours in which it may work;
//! - [`show`]: what is seen of it.
//!
//! Owns no rule about numbers: those are [`crate::phone`]'s.

mod normalise;
pub mod pace;
pub mod show;
mod store;
pub mod window;

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use sqlx::{Connection as _, PgConnection};
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

pub use self::normalise::States;
use self::normalise::{Outcome, Row};
use self::pace::Pace;
use self::show::{Figures, Meter, thousands};
use self::store::Written;
use self::window::Window;
use crate::config::secrets::DatabaseUrl;
use crate::db::{self, DatabaseError};

/// How often to look whether what is waited for has ended.
const LOOK: Duration = Duration::from_secs(1);
/// How long to leave a row to whoever holds it.
const ROW_PAUSE: Duration = Duration::from_millis(100);
/// How often in a row a database that was there is asked again, [`LOOK`] apart.
const TRIES: u32 = 60;
/// How long a connection may take to be there.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// Rows that a dry run reads at once.
const DRY_BATCH: usize = 10_000;
/// What writing a row costs, for the estimate of a dry run: `platform bench backfill` measures it.
const WRITE_A_ROW: Duration = Duration::from_micros(15);

/// How to work.
#[derive(Debug, Clone)]
pub struct Options {
    /// The most rows of a transaction.
    pub batch: usize,
    /// Between two transactions.
    pub pause: Duration,
    /// When it may work; always if there is none.
    pub window: Option<Window>,
    /// Begin anew.
    pub restart: bool,
}

/// Why it ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    /// Somebody else is at it.
    #[error("another backfill of normalized phones is under way: there is one at a time")]
    Busy,
    /// Tables, columns or grants are missing.
    #[error("the database has not this binary's schema: run `regional-core migrate` first")]
    Schema,
    /// `backfill_run` has no row of it.
    #[error("backfill_run has no row of this job any more: was migration 0004 taken back?")]
    Gone,
    /// A number could not be made one because the process is ending.
    #[error("normalising broke off: {0}")]
    Normalising(#[from] JoinError),
    /// Anything else of the database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<sqlx::Error> for BackfillError {
    fn from(error: sqlx::Error) -> Self {
        if store::is_schema(&error) {
            Self::Schema
        } else {
            Self::Database(error.into())
        }
    }
}

impl BackfillError {
    fn is_away(&self) -> bool {
        matches!(self, Self::Database(DatabaseError::Query(error)) if store::is_away(error))
    }
}

/// What a run came to.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// It wrote nothing, by intention.
    pub dry_run: bool,
    /// All accounts are done. False if it was told to stop.
    pub finished: bool,
    /// They were done before this run, which had nothing to do.
    pub finished_before: bool,
    /// What this run looked at.
    pub rows: u64,
    /// Of them got a number.
    pub changed: u64,
    /// Of them, what was written.
    pub states: States,
    /// Transactions.
    pub batches: u64,
    /// Transactions that were given up so that somebody else got on, and done again smaller.
    pub given_up: u64,
    /// The longest transaction, by this process's clock: for so long, at most, a row was locked.
    #[serde(rename = "longest_lock_ms", serialize_with = "milliseconds")]
    pub longest_lock: Duration,
    /// From beginning to end.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub took: Duration,
    /// Of that, it waited: for its window, or for a reconciliation.
    #[serde(rename = "waited_seconds", serialize_with = "seconds")]
    pub waited: Duration,
    /// What a run would take, by a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_seconds: Option<u64>,
    /// Of all runs together: looked at.
    pub rows_done: u64,
    /// Of all runs together: got a number.
    pub rows_changed: u64,
    /// When the first of them began.
    pub started_at: Option<Timestamp>,
    /// When the last of them ended.
    pub finished_at: Option<Timestamp>,
}

/// What people read of it.
impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.finished_before {
            let at = self.finished_at.unwrap_or_default();
            return writeln!(
                out,
                "all {} accounts were done at {at:.0}: --restart begins anew",
                thousands(self.rows_done)
            );
        }
        let end = match (self.dry_run, self.finished) {
            (true, true) => "nothing was written (--dry-run)",
            (false, true) => "done",
            (_, false) => "stopped before its end: run it again, and it goes on",
        };
        writeln!(out, "{end}")?;
        let States {
            usable,
            missing,
            too_long,
            unreadable,
            invalid,
            already,
        } = self.states;
        for (what, number) in [
            ("accounts", self.rows),
            ("usable", usable),
            ("missing", missing),
            ("too_long", too_long),
            ("unreadable", unreadable),
            ("invalid", invalid),
            ("already", already),
        ] {
            writeln!(out, "  {what:<12}{:>14}", thousands(number))?;
        }
        let took = self.took.as_secs_f64();
        if let Some(estimate) = self.estimated_seconds {
            return writeln!(
                out,
                "read and normalised in {took:.1} s; with writing it takes some {estimate} s"
            );
        }
        writeln!(
            out,
            "{took:.1} s, of them {:.1} waiting; {} transactions, the longest {} ms; {} given up",
            self.waited.as_secs_f64(),
            thousands(self.batches),
            self.longest_lock.as_millis(),
            thousands(self.given_up)
        )?;
        writeln!(
            out,
            "in all runs: {} accounts, of them {} got a number",
            thousands(self.rows_done),
            thousands(self.rows_changed)
        )
    }
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 1_000.0).round() / 1_000.0)
}

fn milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((duration.as_secs_f64() * 100_000.0).round() / 100.0)
}

/// How many accounts were looked at so far, by all runs since the beginning.
pub async fn rows_done(database: &DatabaseUrl) -> Result<u64, BackfillError> {
    let mut reader = connected(store::connect_reader(database)).await?;
    let standing = store::standing(&mut reader).await?;
    Ok(standing.ok_or(BackfillError::Gone)?.rows_done)
}

/// Normalises all accounts from where it stands, until the end or until `stop` is true; then it may be run again, and
/// goes on. A database that is away for some seconds is waited for.
pub async fn run(
    database: &DatabaseUrl,
    options: &Options,
    meter: &mut Meter,
    stop: watch::Receiver<bool>,
) -> Result<Report, BackfillError> {
    let began = Instant::now();
    let mut run = Run {
        database,
        options,
        meter,
        stop,
        pace: Pace::new(options.batch),
        restart: options.restart,
        has_begun: false,
        of: 0,
        report: Report::default(),
        began,
    };
    let mut tries = 0;
    let mut rows = 0;
    while let Err(failure) = run.go().await {
        if run.report.rows > rows {
            tries = 0;
        }
        (tries, rows) = (tries + 1, run.report.rows);
        if !run.has_begun || !failure.is_away() || tries > TRIES {
            return Err(failure);
        }
        run.meter.waits("the database does not answer");
        if run.sleep(LOOK).await {
            break;
        }
    }
    let figures = run.figures();
    run.report.took = began.elapsed();
    if run.report.rows > 0 {
        run.meter.end(&figures);
    }
    Ok(run.report)
}

/// Normalises all accounts and writes nothing: for nobody is waited, and nobody waits.
pub async fn rehearse(
    database: &DatabaseUrl,
    options: &Options,
    meter: &mut Meter,
    stop: watch::Receiver<bool>,
) -> Result<Report, BackfillError> {
    let began = Instant::now();
    let mut report = Report {
        dry_run: true,
        ..Report::default()
    };
    let mut reader = connected(store::connect_reader(database)).await?;
    let of = store::count_after(&mut reader, None).await?;
    let mut figures = Figures {
        of,
        ..Figures::default()
    };
    let mut last = None;
    loop {
        let rows = prepare(&mut reader, last, DRY_BATCH).await?;
        let Some(end) = rows.last() else {
            report.finished = true;
            break;
        };
        last = Some(end.entered.account_id);
        for row in &rows {
            report.states.count(&row.outcome);
        }
        report.rows = report.states.rows();
        figures.done = report.rows;
        figures.here = report.rows;
        figures.worked = began.elapsed();
        meter.show(&figures);
        if *stop.borrow() {
            break;
        }
    }
    report.took = began.elapsed();
    report.estimated_seconds = Some(estimate(&report, options).as_secs().max(1));
    Ok(report)
}

/// The next batch is read and normalised in the pause, so of the two the longer counts.
fn estimate(report: &Report, options: &Options) -> Duration {
    let batches = report.rows.div_ceil(options.batch.max(1) as u64);
    let batches = u32::try_from(batches).unwrap_or(u32::MAX);
    let usable = u32::try_from(report.states.usable).unwrap_or(u32::MAX);
    let pauses = options.pause.saturating_mul(batches);
    pauses.max(report.took) + WRITE_A_ROW.saturating_mul(usable)
}

struct Run<'r> {
    database: &'r DatabaseUrl,
    options: &'r Options,
    meter: &'r mut Meter,
    stop: watch::Receiver<bool>,
    pace: Pace,
    /// Has still to be done.
    restart: bool,
    /// It had the lock: from then on a database that is away is waited for.
    has_begun: bool,
    of: u64,
    report: Report,
    began: Instant,
}

/// What there was to wait for.
#[derive(PartialEq, Eq)]
enum Gate {
    Open,
    Waited,
    Stopped,
}

impl Run<'_> {
    /// Goes on from where the job stands until its end, or until it is told to stop.
    async fn go(&mut self) -> Result<(), BackfillError> {
        let mut writer = connected(store::connect_writer(self.database)).await?;
        let mut reader = connected(store::connect_reader(self.database)).await?;
        db::check_connection(&mut writer).await?;
        self.lock(&mut writer).await?;
        let is_finished = self.begin(&mut writer).await?;
        if !is_finished {
            self.work(&mut writer, &mut reader).await?;
        }
        self.stand(&mut reader).await?;
        let _ = timeout(LOOK, writer.close()).await;
        let _ = timeout(LOOK, reader.close()).await;
        Ok(())
    }

    async fn lock(&mut self, writer: &mut PgConnection) -> Result<(), BackfillError> {
        let until = Instant::now() + store::LOCK_PATIENCE;
        while !store::lock(writer).await? {
            if Instant::now() > until || self.sleep(ROW_PAUSE).await {
                return Err(BackfillError::Busy);
            }
        }
        self.has_begun = true;
        Ok(())
    }

    /// Whether there is nothing to do.
    async fn begin(&mut self, writer: &mut PgConnection) -> Result<bool, BackfillError> {
        if self.restart {
            store::restart(writer).await?;
            self.restart = false;
        }
        let standing = store::standing(writer).await?.ok_or(BackfillError::Gone)?;
        let is_finished = standing.finished_at.is_some();
        self.report.finished_before = is_finished;
        self.report.finished = is_finished;
        if !is_finished {
            store::begin(writer).await?;
        }
        Ok(is_finished)
    }

    /// Takes over into the report how the job stands.
    async fn stand(&mut self, reader: &mut PgConnection) -> Result<Option<Uuid>, BackfillError> {
        let standing = store::standing(reader).await?.ok_or(BackfillError::Gone)?;
        self.report.rows_done = standing.rows_done;
        self.report.rows_changed = standing.rows_changed;
        self.report.started_at = standing.started_at;
        self.report.finished_at = standing.finished_at;
        Ok(standing.last)
    }

    async fn work(
        &mut self,
        writer: &mut PgConnection,
        reader: &mut PgConnection,
    ) -> Result<(), BackfillError> {
        let mut done_to = self.stand(reader).await?;
        let left = store::count_after(reader, done_to).await?;
        self.of = self.report.rows_done + left;
        let mut queue: VecDeque<Row> = VecDeque::new();
        loop {
            match self.wait_until_allowed(reader).await? {
                Gate::Open => {}
                // What was read is old by now.
                Gate::Waited => queue.clear(),
                Gate::Stopped => return Ok(()),
            }
            self.fill(&mut queue, done_to, reader).await?;
            let rows = queue.make_contiguous();
            let rows = rows.get(..self.pace.rows()).unwrap_or(rows);
            let Some(last) = rows.last().map(|row| row.entered.account_id) else {
                if !store::finish(writer).await? {
                    return Err(BackfillError::Gone);
                }
                self.report.finished = true;
                return Ok(());
            };
            let began = Instant::now();
            match store::write(writer, rows).await {
                Ok(Written::Done { changed, done_over }) => {
                    self.note(rows, changed, &done_over, began.elapsed());
                    let number = rows.len();
                    queue.drain(..number);
                    done_to = Some(last);
                    // The next batch is made ready in the pause.
                    let pause = Instant::now() + self.options.pause;
                    self.fill(&mut queue, done_to, reader).await?;
                    self.sleep(pause.saturating_duration_since(Instant::now()))
                        .await;
                }
                Ok(Written::Stale) => queue.clear(),
                Ok(Written::Gone) => return Err(BackfillError::Gone),
                Err(failure) if store::is_in_the_way(&failure) => {
                    let number = rows.len();
                    self.report.given_up += 1;
                    self.pace.gave_up(number);
                    if number == 1 {
                        self.meter.waits(if store::is_locked(&failure) {
                            "the next account is locked by another transaction"
                        } else {
                            "the database takes too long for a single account"
                        });
                    }
                    self.sleep(ROW_PAUSE).await;
                }
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    /// Has the next batch at hand, normalised.
    async fn fill(
        &self,
        queue: &mut VecDeque<Row>,
        done_to: Option<Uuid>,
        reader: &mut PgConnection,
    ) -> Result<(), BackfillError> {
        if queue.len() < self.pace.rows() {
            let after = queue.back().map(|row| row.entered.account_id).or(done_to);
            queue.extend(prepare(reader, after, self.pace.rows()).await?);
        }
        Ok(())
    }

    /// Counts what was committed.
    fn note(&mut self, rows: &[Row], changed: u64, done_over: &[Row], held: Duration) {
        self.pace.took(rows.len(), held);
        for row in rows {
            self.report.states.count(&row.outcome);
        }
        // What somebody else changed meanwhile is counted as it was then, or as left alone.
        let states = &mut self.report.states;
        let usable = rows.iter().filter(|row| row.phone().is_some()).count() as u64;
        let done_over_usable = done_over.iter().filter(|row| row.phone().is_some()).count() as u64;
        let not_as_read = usable - (changed - done_over_usable.min(changed)).min(usable);
        states.usable -= not_as_read;
        for row in done_over {
            states.count(&row.outcome);
        }
        for _ in done_over.len() as u64..not_as_read {
            states.count(&Outcome::Already);
        }
        self.report.rows += rows.len() as u64;
        self.report.changed += changed;
        self.report.rows_done += rows.len() as u64;
        self.report.batches += 1;
        self.report.longest_lock = self.report.longest_lock.max(held);
        self.meter.show(&self.figures());
    }

    fn figures(&self) -> Figures {
        Figures {
            of: self.of,
            done: self.report.rows_done,
            here: self.report.rows,
            worked: self.began.elapsed().saturating_sub(self.report.waited),
        }
    }

    /// Waits outside of its hours, and while a reconciliation runs.
    async fn wait_until_allowed(
        &mut self,
        reader: &mut PgConnection,
    ) -> Result<Gate, BackfillError> {
        let began = Instant::now();
        let mut gate = Gate::Open;
        loop {
            if *self.stop.borrow() {
                return Ok(Gate::Stopped);
            }
            let Some(why) = self.what_forbids(reader).await? else {
                if gate == Gate::Waited {
                    self.report.waited += began.elapsed();
                    self.meter.note("goes on");
                }
                return Ok(gate);
            };
            self.meter.waits(&why);
            gate = Gate::Waited;
            self.sleep(LOOK).await;
        }
    }

    async fn what_forbids(
        &self,
        reader: &mut PgConnection,
    ) -> Result<Option<String>, BackfillError> {
        let now = Timestamp::now();
        if let Some(window) = &self.options.window {
            let opens_at = window.opens_at(now);
            if opens_at > now {
                return Ok(Some(format!(
                    "its window opens at {}",
                    window.show(opens_at)
                )));
            }
        }
        let running = store::reconciliation(reader).await?;
        Ok(running.map(|running| {
            let since = running
                .since
                .map_or_else(String::new, |since| format!(" since {since:.0}"));
            format!("the reconciliation of {} runs{since}", running.country)
        }))
    }

    /// Sleeps, unless it is told to stop; whether it was.
    async fn sleep(&mut self, duration: Duration) -> bool {
        tokio::select! {
            () = sleep(duration) => {}
            told = self.stop.wait_for(|stop| *stop) => {
                if told.is_err() {
                    // Nobody can tell it any more.
                    sleep(duration).await;
                }
            }
        }
        *self.stop.borrow()
    }
}

async fn connected(
    connecting: impl Future<Output = Result<PgConnection, sqlx::Error>>,
) -> Result<PgConnection, BackfillError> {
    match timeout(CONNECT_PATIENCE, connecting).await {
        Ok(connected) => Ok(connected?),
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()).into()),
    }
}

async fn prepare(
    reader: &mut PgConnection,
    after: Option<Uuid>,
    most: usize,
) -> Result<Vec<Row>, BackfillError> {
    let entered = store::read(reader, after, most).await?;
    Ok(normalise::all(entered).await?)
}
