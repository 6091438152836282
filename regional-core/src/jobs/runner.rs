//! The task that looks which jobs are due, and runs them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use protocol::Country;
use sqlx::{Connection as _, PgConnection};
use tokio::task::{Id, JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use super::schedule::{Ending, Schedule};
use super::store::{self, Begun, Board};
use super::{
    Context, Job, Progress, expiry, poll, reconcile, retention, rollup, schedule_of, source_sync,
    stuck_events, watch,
};
use crate::db::{self, SchemaState};
use crate::processing::silence::unless_silent;

/// So many runs are under way in a core at once, each with a connection of its own beside the pool's. What is due waits
/// its turn.
pub(crate) const RUNS_AT_ONCE: u32 = 6;

/// So many of them may be jobs that ask Pancake.
const ASKING_AT_ONCE: usize = 4;

/// How often a run says how far it is. Its lock is lost after several times that without a word.
const BEAT: Duration = Duration::from_secs(2);
const SILENCE: Duration = Duration::from_secs(10);

/// The tasks that run jobs and count them.
pub struct Jobs([JoinHandle<()>; 2]);

impl Jobs {
    /// Starts it. Nothing runs before the database answers and has this binary's schema.
    pub(crate) fn start(context: Context) -> Self {
        let context = Arc::new(context);
        let counting = tokio::spawn(watch::watch(Arc::clone(&context)));
        let looking = tokio::spawn(Looker::new(context).look());
        Self([looking, counting])
    }

    /// Breaks off what is running: it goes on, here or in another core.
    pub fn stop(self) {
        for task in self.0 {
            task.abort();
        }
    }
}

struct Looker {
    context: Arc<Context>,
    runs: JoinSet<()>,
    running: HashMap<Id, (Country, Job)>,
    is_ready: bool,
}

impl Looker {
    fn new(context: Arc<Context>) -> Self {
        Self {
            context,
            runs: JoinSet::new(),
            running: HashMap::new(),
            is_ready: false,
        }
    }

    async fn look(mut self) {
        let mut is_well = true;
        loop {
            tokio::select! {
                () = sleep(self.context.limits.look) => {}
                Some(ended) = self.runs.join_next_with_id() => {
                    let id = match ended {
                        Ok((id, ())) => id,
                        Err(failure) => failure.id(),
                    };
                    self.running.remove(&id);
                    continue;
                }
            }
            match self.start_due().await {
                Ok(()) => is_well = true,
                Err(failure) => {
                    if is_well {
                        warn!(
                            error = db::describe(&failure),
                            "jobs wait: the database does not answer"
                        );
                    }
                    is_well = false;
                }
            }
        }
    }

    async fn start_due(&mut self) -> Result<(), sqlx::Error> {
        let patience = self.context.patience;
        if !self.is_ready {
            let state = unless_silent(patience, db::schema_state(&self.context.pool)).await??;
            self.is_ready = state == SchemaState::Current;
            if !self.is_ready {
                return Ok(());
            }
        }
        let mut connection = self.context.pool.acquire().await?;
        let board = store::board(&mut connection, &self.context.countries);
        // A connection that is lost in the middle would else be waited for, and no job of this core would run again.
        let board = unless_silent(patience, board).await;
        if !matches!(board, Ok(Ok(_))) {
            connection.close_on_drop();
        }
        let board = board??;
        drop(connection);
        let mut busy: HashSet<(Country, Job)> = self.running.values().copied().collect();
        for country in self.context.countries.clone() {
            for job in Job::ALL {
                if !has_room(job, country, &busy) || !self.is_to_run(&board, country, job) {
                    continue;
                }
                busy.insert((country, job));
                let run = Run {
                    context: Arc::clone(&self.context),
                    country,
                    job,
                    schedule: self.schedule(&board, country, job),
                    zone: self.context.zones.of(country),
                    now: board.now,
                };
                let handle = self.runs.spawn(run.run());
                self.running.insert(handle.id(), (country, job));
            }
        }
        Ok(())
    }

    fn schedule(&self, board: &Board, country: Country, job: Job) -> Schedule {
        let is_suspended = board.suspended.contains(&country);
        schedule_of(job, &self.context.limits, is_suspended)
    }

    /// Whether it is due, somebody asked for it, or a run is said to be under way that no core may be at any more.
    fn is_to_run(&self, board: &Board, country: Country, job: Job) -> bool {
        let standing = board.of(country, job);
        // A core is at it, this one or another: neither its turn nor a place here.
        if standing.is_locked {
            return false;
        }
        let schedule = self.schedule(board, country, job);
        let is_said_to_run = standing
            .last
            .is_some_and(|last| last.ending == Ending::Running);
        standing.is_requested
            || is_said_to_run
            || schedule.is_due(standing.last, board.now, &self.context.zones.of(country))
    }
}

/// Whether a run may begin beside those that are under way in this core: it is none of them, there are not too many,
/// also of those that ask Pancake, and of the heavy ones there is none.
fn has_room(job: Job, country: Country, busy: &HashSet<(Country, Job)>) -> bool {
    let is_full = u32::try_from(busy.len()).is_ok_and(|runs| runs >= RUNS_AT_ONCE);
    let waits = job.is_heavy() && busy.iter().any(|(_, other)| other.is_heavy());
    let asking = busy.iter().filter(|(_, other)| other.asks_pancake());
    let is_one_too_many = job.asks_pancake() && asking.count() >= ASKING_AT_ONCE;
    !is_full && !waits && !is_one_too_many && !busy.contains(&(country, job))
}

struct Run {
    context: Arc<Context>,
    country: Country,
    job: Job,
    schedule: Schedule,
    zone: TimeZone,
    now: Timestamp,
}

impl Run {
    async fn run(self) {
        if let Err(failure) = self.try_run().await {
            warn!(
                country = %self.country,
                job = %self.job,
                error = db::describe(&failure),
                "a job does not run: it is tried again"
            );
        }
    }

    async fn try_run(&self) -> Result<(), sqlx::Error> {
        let Some(mut lock) = self.lock().await? else {
            return Ok(());
        };
        let is_due = |last| self.schedule.is_due(last, self.now, &self.zone);
        let begun = store::begin(&mut lock, (self.country, self.job), is_due);
        let begun = unless_silent(self.context.patience, begun).await??;
        if let Some(begun) = begun {
            self.perform(&mut lock, begun).await?;
        }
        unless_silent(self.context.patience, lock.close()).await?
    }

    /// The connection that holds the job's lock; none if another core has it.
    async fn lock(&self) -> Result<Option<PgConnection>, sqlx::Error> {
        let mut connection = self.context.pool.acquire().await?;
        let locking = store::lock(&mut connection, (self.country, self.job), SILENCE);
        // On a failure nobody knows whether it has the lock: it goes with its connection.
        let locked = unless_silent(self.context.patience, locking).await;
        match locked {
            Ok(Ok(true)) => Ok(Some(connection.detach())),
            Ok(Ok(false)) => Ok(None),
            Ok(Err(failure)) => {
                connection.close_on_drop();
                Err(failure)
            }
            Err(silent) => {
                connection.close_on_drop();
                Err(silent.into())
            }
        }
    }

    async fn perform(&self, lock: &mut PgConnection, begun: Begun) -> Result<(), sqlx::Error> {
        let (context, metrics) = (&*self.context, &self.context.metrics);
        let (of, started) = ((self.country, self.job), Instant::now());
        let (progress, run_id) = (Progress::default(), begun.run_id);
        let work = async {
            match self.job {
                Job::Poll => poll::run(context, self.country, &progress).await,
                Job::Reconciliation => {
                    reconcile::run(context, self.country, begun.parameters, &progress).await
                }
                Job::SourceSync => source_sync::run(context, self.country, &progress).await,
                Job::Expiry => expiry::run(context, self.country, &progress).await,
                Job::Retention => retention::run(context, self.country, &progress).await,
                Job::StuckEvents => stuck_events::run(context, self.country, &progress).await,
                Job::Rollup => rollup::run(context, self.country, &progress).await,
            }
        };
        let outcome = tokio::select! {
            outcome = work => outcome,
            lost = beat(&mut *lock, run_id, &progress) => Err(lost.into()),
        };
        let error = outcome.as_ref().err().map(ToString::to_string);
        metrics.count_run(of, error.is_none());
        match &error {
            None => {
                debug!(country = %self.country, job = %self.job, took_ms = started.elapsed().as_millis(), "job done");
            }
            Some(error) => warn!(country = %self.country, job = %self.job, error, "job failed"),
        }
        let (figures, error) = (progress.figures(), error.as_deref());
        let finish = store::finish(lock, run_id, &figures, error);
        unless_silent(context.patience, finish).await?
    }
}

/// Says how far a run is for as long as the database hears it. Ends when it does not: then the lock may be another's.
async fn beat(lock: &mut PgConnection, run_id: uuid::Uuid, progress: &Progress) -> sqlx::Error {
    loop {
        sleep(BEAT).await;
        let figures = progress.figures();
        match timeout(
            SILENCE / 2,
            store::note_progress(&mut *lock, run_id, &figures),
        )
        .await
        {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => return failure,
            Err(_) => return sqlx::Error::PoolTimedOut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_run_at_once_and_one_heavy_one_among_them() {
        let country = |code: &str| Country::parse(code).unwrap();
        let mut busy = HashSet::from([(country("VN"), Job::Reconciliation)]);
        assert!(
            !has_room(Job::Reconciliation, country("VN"), &busy),
            "it runs"
        );
        assert!(!has_room(Job::Rollup, country("SG"), &busy), "it is heavy");
        for code in ["VN", "SG", "TH", "ID", "MY"] {
            assert!(has_room(Job::StuckEvents, country(code), &busy), "{code}");
            busy.insert((country(code), Job::StuckEvents));
        }
        assert!(!has_room(Job::Poll, country("PH"), &busy), "it is full");
    }

    #[test]
    fn four_ask_pancake_at_once_and_the_others_find_room() {
        let country = |code: &str| Country::parse(code).unwrap();
        let mut busy = HashSet::new();
        for code in ["VN", "SG", "TH", "ID"] {
            assert!(has_room(Job::Poll, country(code), &busy), "{code}");
            busy.insert((country(code), Job::Poll));
        }
        for job in [Job::Poll, Job::Reconciliation, Job::SourceSync] {
            assert!(!has_room(job, country("PH"), &busy), "{job}");
        }
        for job in [Job::StuckEvents, Job::Retention, Job::Rollup, Job::Expiry] {
            assert!(has_room(job, country("PH"), &busy), "{job}");
        }
    }
}
