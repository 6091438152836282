//! The task that processes, batch by batch.

use std::sync::Arc;
use std::time::Duration;

use protocol::Country;
use sqlx::{PgConnection, PgPool, PgTransaction};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, warn};
use uuid::Uuid;

use super::batch::{BatchError, Done, process};
use super::replay;
use super::retention;
use super::retry::FailureKind;
use super::store::{self, Claimed};
use crate::config::ProcessingLimits;
use crate::metrics::{EventOutcome, Metrics};
use crate::phone::{self, normalize};

/// The first pause after the database failed, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long after the start it is first looked for what is old enough to be blanked, at most.
const FIRST_RETENTION: Duration = Duration::from_mins(1);

/// How often what is not done with is counted.
const COUNT_EVERY: Duration = Duration::from_secs(5);

/// Tells processing that there is something to do.
#[derive(Debug, Clone, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    /// At once, also if it is busy: it then looks again.
    pub fn wake(&self) {
        self.0.notify_one();
    }
}

/// The task that processes.
pub struct Processor {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    retention: JoinHandle<()>,
}

impl Processor {
    /// Starts it. It looks when it is woken, and every [`ProcessingLimits::sweep`] beside that: for what
    /// another process left, and for what is due again.
    #[must_use]
    pub fn start(
        pool: PgPool,
        countries: Vec<Country>,
        limits: ProcessingLimits,
        metrics: Arc<Metrics>,
        wake: Wake,
    ) -> Self {
        let retention = tokio::spawn(retain(
            pool.clone(),
            countries.clone(),
            limits.clone(),
            Arc::clone(&metrics),
        ));
        let (stop, stopped) = watch::channel(false);
        let worker = Worker {
            pool,
            countries,
            limits,
            metrics,
        };
        let worker = Arc::new(worker);
        let task = tokio::spawn(async move {
            loop {
                let (worker, wake, stopped) = (Arc::clone(&worker), wake.clone(), stopped.clone());
                match tokio::spawn(async move { worker.run(&wake, stopped).await }).await {
                    Ok(()) => break,
                    Err(failure) => error!(error = %failure, "processing starts again"),
                }
                sleep(LONGEST_PAUSE).await;
            }
        });
        Self {
            stop,
            task,
            retention,
        }
    }

    /// Finishes the batch under way, and ends.
    pub async fn stop(self) {
        self.retention.abort();
        self.stop.send_replace(true);
        if let Err(failure) = self.task.await {
            error!(error = %failure, "processing did not end as it should");
        }
    }
}

/// Blanks what is old enough, every [`ProcessingLimits::retention_every`]. Whatever it is doing may end at any
/// moment: each batch is a transaction.
async fn retain(
    pool: PgPool,
    countries: Vec<Country>,
    limits: ProcessingLimits,
    metrics: Arc<Metrics>,
) {
    // Soon after the start: a core may be started more often than this is due.
    let mut pause = limits.retention_every.min(FIRST_RETENTION);
    loop {
        sleep(pause).await;
        pause = limits.retention_every;
        let days = limits.retention_days.get();
        if let Err(failure) = retention::blank(&pool, &countries, days, &metrics).await {
            warn!(error = %failure, "personal data that is old enough could not be blanked; it is tried again");
        }
    }
}

struct Worker {
    pool: PgPool,
    countries: Vec<Country>,
    limits: ProcessingLimits,
    metrics: Arc<Metrics>,
}

impl Worker {
    async fn run(&self, wake: &Wake, mut stopped: watch::Receiver<bool>) {
        phone::load();
        let mut pause = None;
        let mut counted_at: Option<Instant> = None;
        loop {
            if counted_at.is_none_or(|at| at.elapsed() >= COUNT_EVERY) {
                // A database that is away is told of below.
                let _not_counted = self.count_backlog().await;
                counted_at = Some(Instant::now());
            }
            match self.look().await {
                Ok(0) => {
                    pause = None;
                    if !self.wait(wake, &mut stopped).await {
                        return;
                    }
                }
                Ok(_) => pause = None,
                Err(failure) => {
                    if pause.is_none() {
                        warn!(error = %failure, "events wait: the database does not take them");
                    }
                    let next = pause.map_or(FIRST_PAUSE, |pause: Duration| {
                        (pause * 2).min(LONGEST_PAUSE)
                    });
                    pause = Some(next);
                    let _stopped = timeout(next, stopped.wait_for(|stopped| *stopped)).await;
                }
            }
            if *stopped.borrow() {
                return;
            }
        }
    }

    /// For whoever watches: what waits, what is tried again, what is dead, and for how long.
    async fn count_backlog(&self) -> Result<(), sqlx::Error> {
        let countries: Vec<&str> = self.countries.iter().map(Country::as_str).collect();
        let backlog = store::backlog(&self.pool, &countries).await?;
        for country in &self.countries {
            for status in store::UNFINISHED {
                let found = backlog.iter().find(|unfinished| {
                    unfinished.country_code == country.as_str() && unfinished.status == status
                });
                let (events, oldest) = found.map_or((0, 0.0), |found| (found.events, found.oldest));
                self.metrics
                    .set_unfinished(*country, status, events, oldest);
            }
        }
        Ok(())
    }

    /// Until there may be something to do; false if it is to end.
    async fn wait(&self, wake: &Wake, stopped: &mut watch::Receiver<bool>) -> bool {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return false,
            () = wake.0.notified() => {}
            () = sleep(self.limits.sweep) => return true,
        }
        // What comes with it shares the transaction.
        timeout(self.limits.linger, stopped.wait_for(|stopped| *stopped))
            .await
            .is_err()
    }

    /// Processes the next batch. While there is no more than that to do, lets those of a replay wait as well.
    /// Tells how many events it has dealt with.
    async fn look(&self) -> Result<u64, sqlx::Error> {
        let processed = self.process_next().await?;
        if processed >= u64::from(self.limits.batch_events.get()) {
            return Ok(processed);
        }
        match replay::advance(&self.pool).await {
            Ok(moved) => Ok(processed + moved.unwrap_or_default()),
            // It goes on at the next look; events do not wait for it.
            Err(failure) => {
                warn!(error = %failure, "a replay does not go on");
                Ok(processed)
            }
        }
    }

    /// The region's countries that are not paused.
    async fn open_countries(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Vec<&str>, sqlx::Error> {
        let switches = store::switches(connection).await?;
        let is_open = |country: &&Country| {
            !switches
                .get(country)
                .is_some_and(|switches| switches.processing_paused)
        };
        Ok(self
            .countries
            .iter()
            .filter(is_open)
            .map(Country::as_str)
            .collect())
    }

    /// Processes the next batch, and tells how many events it had.
    async fn process_next(&self) -> Result<u64, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        let countries = self.open_countries(&mut transaction).await?;
        let limit = i64::from(self.limits.batch_events.get());
        let claimed = store::claim(&mut transaction, &countries, limit).await?;
        if claimed.is_empty() {
            return Ok(0);
        }
        let count = u64::try_from(claimed.len()).unwrap_or(u64::MAX);
        let events: Vec<Uuid> = claimed.iter().map(|event| event.event_id).collect();
        match process(&mut transaction, claimed).await {
            Ok(done) => {
                transaction.commit().await?;
                self.count(done);
            }
            Err(BatchError::Database(error)) => return Err(error),
            Err(BatchError::Event(..)) => {
                roll_back(transaction).await;
                if !self.halve(events).await? {
                    return Ok(0);
                }
            }
        }
        Ok(count)
    }

    /// Finds the event that keeps its batch from being processed, and processes the others. Returns false, and
    /// blames nobody, if it is not one event: when what comes after one that took too long takes too long as
    /// well, somebody holds a lock that all of them need.
    async fn halve(&self, events: Vec<Uuid>) -> Result<bool, sqlx::Error> {
        let mut parts = vec![events];
        let mut suspect: Option<(Claimed, String)> = None;
        while let Some(mut part) = parts.pop() {
            if part.len() > 1 {
                let second_half = part.split_off(part.len() / 2);
                parts.push(second_half);
            }
            let mut transaction = self.pool.begin().await?;
            let countries = self.open_countries(&mut transaction).await?;
            let claimed = store::claim_these(&mut transaction, &countries, &part).await?;
            let alone = match &claimed[..] {
                [alone] => Some(alone.clone()),
                _ => None,
            };
            let (kind, cause) = match process(&mut transaction, claimed).await {
                Ok(done) => {
                    transaction.commit().await?;
                    self.count(done);
                    if let Some((event, cause)) = suspect.take() {
                        self.fail(&event, FailureKind::TimedOut, &cause).await?;
                    }
                    continue;
                }
                Err(BatchError::Database(error)) => return Err(error),
                Err(BatchError::Event(kind, cause)) => (kind, cause),
            };
            roll_back(transaction).await;
            if kind == FailureKind::TimedOut && suspect.is_some() {
                warn!("events wait: whatever is tried takes too long");
                return Ok(false);
            }
            match alone {
                Some(event) if kind == FailureKind::TimedOut => suspect = Some((event, cause)),
                Some(event) => self.fail(&event, kind, &cause).await?,
                None => parts.push(part),
            }
        }
        if let Some((event, cause)) = suspect {
            self.fail(&event, FailureKind::TimedOut, &cause).await?;
        }
        Ok(true)
    }

    async fn fail(
        &self,
        event: &Claimed,
        kind: FailureKind,
        cause: &str,
    ) -> Result<(), sqlx::Error> {
        let attempts = u16::try_from(event.attempts)
            .unwrap_or_default()
            .saturating_add(1);
        let pause = kind.pause_after(attempts, jitter());
        let mut connection = self.pool.acquire().await?;
        let phone = normalize(event.phone_number.as_deref(), event.country).ok();
        if !store::settle_failed(&mut connection, event, phone.as_ref(), cause, pause).await? {
            return Ok(());
        }
        let outcome = if pause.is_some() {
            EventOutcome::Failed
        } else {
            EventOutcome::DeadLetter
        };
        self.metrics.count_event(event.country, outcome);
        warn!(event.id = %event.event_id, attempts, cause, outcome = outcome.as_str(), "an event failed");
        Ok(())
    }

    fn count(&self, done: Done) {
        let took = done.began.elapsed();
        for (event, outcome, age) in done.events {
            self.metrics.count_event(event.country, outcome);
            if outcome == EventOutcome::Processed {
                self.metrics.observe_processing(age + took);
            }
        }
    }
}

/// The connection may be gone; then so is what it had begun.
async fn roll_back(transaction: PgTransaction<'_>) {
    if let Err(failure) = transaction.rollback().await {
        warn!(error = %failure, "a batch was broken off with its connection");
    }
}

/// In 0..1, by the random bits of a fresh id.
fn jitter() -> f64 {
    let bits = u16::try_from(Uuid::new_v4().as_u128() & 0xffff).unwrap_or_default();
    f64::from(bits) / f64::from(u16::MAX)
}
