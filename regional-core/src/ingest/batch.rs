//! Records that wait at the same moment share one round trip to the database.
//!
//! One task writes. While a batch is on its way, the next one forms, so a batch is as large as the
//! load makes it; a commit costs nearly the same for one row as for 64. Whether it then waits a moment
//! longer is `company`'s matter.

use std::sync::Arc;
use std::time::Duration;

use protocol::RegionId;
use sqlx::PgPool;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::error;
use uuid::Uuid;

use super::company::Company;
use super::event::NewEvent;
use super::write::Writer;
use crate::config::IngestLimits;
use crate::error::{AppError, Unavailability};
use crate::metrics::Metrics;
use crate::processing::Wake;

/// After this long without a record the batcher gives its connection back, to be tested before it is
/// used again: what lies on the way forgets idle connections after minutes.
const CONNECTION_HELD: Duration = Duration::from_secs(20);

/// What became of a record. It is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// As a new event.
    Accepted(Uuid),
    /// It was there: the event that is there.
    Duplicate(Uuid),
    /// As a rejected request: the database would not take it as an event.
    Refused,
}

/// A record that waits.
pub(super) struct Pending {
    pub(super) event: NewEvent,
    /// When its request will have been answered.
    pub(super) deadline: Instant,
    reply: oneshot::Sender<Result<Stored, AppError>>,
    /// Its share of the queue's bytes.
    _bytes: OwnedSemaphorePermit,
}

impl Pending {
    /// Answers its request, if that still waits.
    pub(super) fn answer(self, answer: Result<Stored, AppError>) {
        // A client that hung up has not cancelled its row.
        let _nobody_waits = self.reply.send(answer);
    }
}

/// Where records wait for the database.
#[derive(Clone)]
pub struct EventQueue {
    sender: mpsc::Sender<Pending>,
    bytes: Arc<Semaphore>,
}

impl EventQueue {
    /// Waits until the event is committed, or until the deadline. After a deadline the event may still
    /// be committed: repeat it and the answer is [`Stored::Duplicate`].
    ///
    /// Dropping the future does not take the event back.
    pub async fn store(&self, event: NewEvent, deadline: Instant) -> Result<Stored, AppError> {
        let payload_bytes = u32::try_from(event.delivery.body.len()).unwrap_or(u32::MAX);
        let bytes = Arc::clone(&self.bytes)
            .try_acquire_many_owned(payload_bytes)
            .map_err(|_| AppError::Unavailable(Unavailability::QueueFull))?;
        let (reply, answer) = oneshot::channel();
        let pending = Pending {
            event,
            deadline,
            reply,
            _bytes: bytes,
        };
        self.sender
            .try_send(pending)
            .map_err(|refusal| match refusal {
                mpsc::error::TrySendError::Full(_) => Unavailability::QueueFull,
                mpsc::error::TrySendError::Closed(_) => Unavailability::ShuttingDown,
            })
            .map_err(AppError::Unavailable)?;
        match timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            // The writer panicked with it. It may be committed.
            Ok(Err(_)) => Err(AppError::Internal),
            Err(_) => Err(AppError::Unavailable(Unavailability::Timeout)),
        }
    }

    /// How many wait.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.sender.max_capacity() - self.sender.capacity()
    }
}

/// The task that writes.
pub struct Batcher {
    stop: watch::Sender<bool>,
    supervisor: JoinHandle<()>,
}

impl Batcher {
    /// Starts it.
    #[must_use]
    pub fn start(
        limits: IngestLimits,
        statement_timeout: Duration,
        region: RegionId,
        pool: PgPool,
        metrics: Arc<Metrics>,
        wake: Wake,
    ) -> (EventQueue, Self) {
        let (sender, receiver) = mpsc::channel(limits.queue_rows.get());
        let bytes = usize::try_from(limits.queue_bytes.get()).unwrap_or(Semaphore::MAX_PERMITS);
        let queue = EventQueue {
            sender,
            bytes: Arc::new(Semaphore::new(bytes)),
        };
        let (stop, stopped) = watch::channel(false);
        let supervisor = tokio::spawn(async move {
            // The queue outlives a panic of the task: the rows of one batch are lost then, and their
            // requests answered 500, but the next ones find a writer.
            let receiver = Arc::new(Mutex::new(receiver));
            loop {
                let task = tokio::spawn({
                    let receiver = Arc::clone(&receiver);
                    let writer = Writer::new(
                        region.clone(),
                        pool.clone(),
                        Arc::clone(&metrics),
                        statement_timeout,
                    );
                    let (limits, stopped, wake) = (limits.clone(), stopped.clone(), wake.clone());
                    async move {
                        run(&mut *receiver.lock().await, stopped, writer, &limits, &wake).await;
                    }
                });
                match task.await {
                    Ok(()) => break,
                    Err(failure) => error!(panicked = failure.is_panic(), "batcher starts again"),
                }
            }
        });
        (queue, Self { stop, supervisor })
    }

    /// Takes nothing more in, writes all that waits, and ends.
    pub async fn drain(self) {
        self.stop.send_replace(true);
        if let Err(failure) = self.supervisor.await {
            error!(
                panicked = failure.is_panic(),
                "batcher did not end as it should"
            );
        }
    }
}

async fn run(
    receiver: &mut mpsc::Receiver<Pending>,
    mut stopped: watch::Receiver<bool>,
    mut writer: Writer,
    limits: &IngestLimits,
    wake: &Wake,
) {
    let mut company = Company::default();
    while let Some(first) = next(receiver, &mut stopped, &mut writer).await {
        let mut batch = FormingBatch::new(first, limits);
        batch.take_waiting(receiver);
        let here = batch.rows.len();
        if let Some((expected, patience)) = company.worth_waiting_for(here) {
            batch.wait_for(receiver, expected, patience).await;
            company.waited(here, batch.rows.len());
        }
        let rows = batch.rows.len();
        let sent_at = Instant::now();
        writer.write(batch.rows).await;
        wake.wake();
        company.returned(rows, receiver.len(), sent_at.elapsed());
    }
}

/// A batch before it is sent.
struct FormingBatch<'l> {
    rows: Vec<Pending>,
    payload_bytes: usize,
    limits: &'l IngestLimits,
}

impl<'l> FormingBatch<'l> {
    fn new(first: Pending, limits: &'l IngestLimits) -> Self {
        let mut batch = Self {
            rows: Vec::with_capacity(limits.batch_rows.get()),
            payload_bytes: 0,
            limits,
        };
        batch.push(first);
        batch
    }

    fn push(&mut self, pending: Pending) {
        self.payload_bytes += pending.event.delivery.body.len();
        self.rows.push(pending);
    }

    fn is_full(&self) -> bool {
        self.rows.len() >= self.limits.batch_rows.get()
            || self.payload_bytes >= self.limits.batch_bytes.get()
    }

    /// Takes what waits.
    fn take_waiting(&mut self, receiver: &mut mpsc::Receiver<Pending>) {
        while !self.is_full()
            && let Ok(pending) = receiver.try_recv()
        {
            self.push(pending);
        }
    }

    /// Waits until there are as many as expected, for as long as it was said to pay.
    async fn wait_for(
        &mut self,
        receiver: &mut mpsc::Receiver<Pending>,
        expected: usize,
        patience: Duration,
    ) {
        let give_up_at = Instant::now() + patience;
        while !self.is_full()
            && self.rows.len() < expected
            && let Ok(Some(pending)) = timeout_at(give_up_at, receiver.recv()).await
        {
            self.push(pending);
        }
    }
}

/// The next record that waits; nothing once the batcher is stopped and none is left.
async fn next(
    receiver: &mut mpsc::Receiver<Pending>,
    stopped: &mut watch::Receiver<bool>,
    writer: &mut Writer,
) -> Option<Pending> {
    loop {
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped), if !receiver.is_closed() => receiver.close(),
            next = timeout(CONNECTION_HELD, receiver.recv()) => match next {
                Ok(next) => return next,
                Err(_) => writer.release_connection(),
            },
        }
    }
}
