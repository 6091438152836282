//! The task that processes, batch by batch.

use std::sync::Arc;
use std::time::Duration;

use protocol::Country;
use sqlx::PgPool;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::{error, warn};

use super::backlog;
use super::replay::{self, Setbacks};
use super::silence::describe;
use super::tries::{Memory, Tries};
use crate::config::ProcessingLimits;
use crate::db::ROUND_TRIP_GRACE;
use crate::metrics::Metrics;
use crate::phone;

/// The first pause after the database failed, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

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
    backlog: JoinHandle<()>,
}

impl Processor {
    /// Starts it. It looks when it is woken, and every [`ProcessingLimits::sweep`] beside that: for what
    /// another process left, and for what is due again.
    #[must_use]
    pub fn start(
        pool: PgPool,
        countries: Vec<Country>,
        limits: ProcessingLimits,
        statement_timeout: Duration,
        metrics: Arc<Metrics>,
        wake: Wake,
    ) -> Self {
        let patience = statement_timeout + ROUND_TRIP_GRACE;
        let backlog = tokio::spawn(backlog::watch(
            pool.clone(),
            countries.clone(),
            patience,
            Arc::clone(&metrics),
        ));
        let (stop, stopped) = watch::channel(false);
        let worker = Worker(Tries {
            pool,
            countries,
            limits,
            metrics,
            patience,
        });
        let worker = Arc::new(worker);
        let task = tokio::spawn(async move {
            loop {
                let (worker, wake, stopped) = (Arc::clone(&worker), wake.clone(), stopped.clone());
                match tokio::spawn(async move { worker.run(&wake, stopped).await }).await {
                    Ok(()) => break,
                    Err(failure) => {
                        error!(panicked = failure.is_panic(), "processing starts again");
                    }
                }
                sleep(LONGEST_PAUSE).await;
            }
        });
        Self {
            stop,
            task,
            backlog,
        }
    }

    /// Finishes the batch under way, and ends.
    pub async fn stop(self) {
        self.backlog.abort();
        self.stop.send_replace(true);
        if let Err(failure) = self.task.await {
            error!(
                panicked = failure.is_panic(),
                "processing did not end as it should"
            );
        }
    }
}

struct Worker(Tries);

impl Worker {
    async fn run(&self, wake: &Wake, mut stopped: watch::Receiver<bool>) {
        phone::load();
        let mut memory = Memory::new(&self.0.limits);
        let mut setbacks = Setbacks::default();
        let mut pause = None;
        loop {
            match self.look(&mut memory, &mut setbacks, &stopped).await {
                Ok(0) => {
                    pause = None;
                    if !self.wait(wake, &mut stopped).await {
                        return;
                    }
                }
                Ok(_) => pause = None,
                Err(failure) => {
                    if pause.is_none() {
                        warn!(
                            error = describe(&failure),
                            "events wait: the database does not take them"
                        );
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

    /// Until there may be something to do; false if it is to end.
    async fn wait(&self, wake: &Wake, stopped: &mut watch::Receiver<bool>) -> bool {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => return false,
            () = wake.0.notified() => {}
            () = sleep(self.0.limits.sweep) => return true,
        }
        // What comes with it shares the transaction.
        timeout(self.0.limits.linger, stopped.wait_for(|stopped| *stopped))
            .await
            .is_err()
    }

    /// Processes the next batch, and something of what was set aside. While there is no more than that to do,
    /// lets those of a replay wait as well. Tells how much was done.
    async fn look(
        &self,
        memory: &mut Memory,
        setbacks: &mut Setbacks,
        stopped: &watch::Receiver<bool>,
    ) -> Result<usize, sqlx::Error> {
        let mut done = self.0.process_next(memory, stopped).await?;
        if *stopped.borrow() {
            return Ok(done);
        }
        let is_full =
            u32::try_from(done).is_ok_and(|done| done >= self.0.limits.batch_events.get());
        done += self.0.process_aside(memory, stopped).await?;
        if is_full {
            return Ok(done);
        }
        match replay::advance(&self.0.pool, self.0.patience, setbacks).await {
            Ok(moved) => Ok(done + moved),
            // It goes on at a later look; events do not wait for it.
            Err(failure) => {
                warn!(error = describe(&failure), "a replay does not go on");
                Ok(done)
            }
        }
    }
}
