//! Which events are tried together: a batch, and the parts of one that failed, until those are found that are
//! to blame.

use std::sync::Arc;
use std::time::Duration;

use protocol::Country;
use sqlx::{Connection as _, PgConnection, PgPool, PgTransaction};
use tokio::sync::watch;
use tracing::warn;
use uuid::Uuid;

use super::aside::{Aside, MOST_TIMEOUTS};
use super::batch::{BatchError, Done, process};
use super::retry::FailureKind;
use super::silence::{describe, heard, unless_silent};
use super::store::{self, Claimed};
use crate::config::ProcessingLimits;
use crate::db::has_code;
use crate::metrics::{EventOutcome, Metrics};
use crate::phone::normalize;

/// `query_canceled` and `lock_not_available`: by `statement_timeout` and `lock_timeout`.
pub(crate) const TIMED_OUT: [&str; 2] = ["57014", "55P03"];

/// What tries need beside the events.
pub(super) struct Tries {
    pub(super) pool: PgPool,
    pub(super) countries: Vec<Country>,
    pub(super) limits: ProcessingLimits,
    pub(super) metrics: Arc<Metrics>,
    pub(super) patience: Duration,
}

/// What one batch tells the next.
pub(super) struct Memory {
    aside: Aside,
    /// How many events are claimed at once: fewer after a claim that took too long.
    claim: i64,
}

impl Memory {
    pub(super) fn new(limits: &ProcessingLimits) -> Self {
        Self {
            aside: Aside::default(),
            claim: limits.batch_events.get().into(),
        }
    }
}

/// The event that was tried alone, and why it failed.
struct Alone {
    event: Claimed,
    cause: String,
}

/// What became of events that were tried together.
enum Tried {
    /// So many are dealt with; some became tickets, or came to one.
    Done { events: usize, is_proof: bool },
    /// They took too long. The one that it was, if it was alone.
    TookTooLong(Option<Box<Alone>>),
    /// As above, for another reason.
    Failed(FailureKind, Option<Box<Alone>>),
}

/// What became of a claim.
enum Next {
    /// It took too long.
    NotClaimed(sqlx::Error),
    Claimed(Vec<Uuid>, Tried),
}

impl Tries {
    /// Processes the next batch, and tells how many events it had. Those set aside are left out.
    pub(super) async fn process_next(
        &self,
        memory: &mut Memory,
        stopped: &watch::Receiver<bool>,
    ) -> Result<usize, sqlx::Error> {
        let aside = memory.aside.events();
        let (events, tried) = loop {
            let mut connection = self.pool.acquire().await?;
            let next = self.claim_and_try(&mut connection, memory.claim, &aside);
            let next = unless_silent(self.patience, next).await;
            match heard(connection, next)? {
                Next::Claimed(events, tried) => break (events, tried),
                Next::NotClaimed(failure) if memory.claim == 1 || *stopped.borrow() => {
                    return Err(failure);
                }
                Next::NotClaimed(_) => memory.claim /= 2,
            }
        };
        // Slowly: finding out again that it was too much costs a time-out.
        let more = memory.claim + memory.claim / 8 + 1;
        memory.claim = more.min(self.limits.batch_events.get().into());
        let count = events.len();
        match tried {
            Tried::Done { is_proof, .. } => {
                if is_proof {
                    memory.aside.others_were_processed();
                }
            }
            Tried::TookTooLong(_) | Tried::Failed(..) => {
                self.halve(events, memory, stopped).await?;
            }
        }
        Ok(count)
    }

    /// Tries some of those set aside, and tells how many are dealt with.
    pub(super) async fn process_aside(
        &self,
        memory: &mut Memory,
        stopped: &watch::Receiver<bool>,
    ) -> Result<usize, sqlx::Error> {
        let events = memory.aside.take();
        if events.is_empty() {
            return Ok(0);
        }
        let count = events.len();
        match self.try_these(&events).await? {
            Tried::Done { events, is_proof } => {
                if is_proof {
                    let most = self.limits.batch_events.get();
                    memory
                        .aside
                        .were_processed(usize::try_from(most).unwrap_or(usize::MAX));
                }
                Ok(events)
            }
            Tried::TookTooLong(alone) => {
                let is_theirs = memory.aside.took_too_long(events);
                match alone {
                    Some(alone) if is_theirs => {
                        self.fail(&alone, FailureKind::TimedOut).await?;
                        Ok(1)
                    }
                    _ => Ok(0),
                }
            }
            Tried::Failed(kind, Some(alone)) => {
                self.fail(&alone, kind).await?;
                Ok(1)
            }
            Tried::Failed(_, None) => {
                self.halve(events, memory, stopped).await?;
                Ok(count)
            }
        }
    }

    /// Finds the events that keep their batch from being processed, and processes the others. What takes too
    /// long is set aside and not blamed: somebody may hold a lock that all of them need.
    async fn halve(
        &self,
        events: Vec<Uuid>,
        memory: &mut Memory,
        stopped: &watch::Receiver<bool>,
    ) -> Result<(), sqlx::Error> {
        let mut parts = vec![events];
        let mut slow = Vec::new();
        let (mut some_were_processed, mut timeouts) = (false, 0);
        while let Some(mut part) = parts.pop() {
            // What is left waits where it was.
            if *stopped.borrow() {
                return Ok(());
            }
            if timeouts == MOST_TIMEOUTS {
                slow.extend(part);
                slow.extend(parts.drain(..).rev().flatten());
                break;
            }
            if part.len() > 1 {
                let second_half = part.split_off(part.len() / 2);
                parts.push(second_half);
            }
            let tried = self.try_these(&part).await?;
            timeouts = match &tried {
                Tried::TookTooLong(_) => timeouts + 1,
                Tried::Done { .. } | Tried::Failed(..) => 0,
            };
            match tried {
                Tried::Done { is_proof, .. } => some_were_processed |= is_proof,
                Tried::TookTooLong(Some(alone)) => slow.push(alone.event.event_id),
                Tried::Failed(kind, Some(alone)) => self.fail(&alone, kind).await?,
                Tried::TookTooLong(None) | Tried::Failed(_, None) => parts.push(part),
            }
        }
        if !slow.is_empty() {
            warn!(
                events = slow.len(),
                "events that take too long are tried after all others"
            );
            memory.aside.put(slow, some_were_processed);
        } else if some_were_processed {
            memory.aside.others_were_processed();
        }
        Ok(())
    }

    async fn claim_and_try(
        &self,
        connection: &mut PgConnection,
        limit: i64,
        aside: &[Uuid],
    ) -> Result<Next, sqlx::Error> {
        let mut transaction = connection.begin().await?;
        let countries = self.open_countries(&mut transaction).await?;
        let claimed = match store::claim(&mut transaction, &countries, limit, aside).await {
            Ok(claimed) => claimed,
            Err(failure) if has_code(&failure, &TIMED_OUT) => {
                roll_back(transaction).await;
                return Ok(Next::NotClaimed(failure));
            }
            Err(failure) => return Err(failure),
        };
        let events = claimed.iter().map(|event| event.event_id).collect();
        let tried = self.try_claimed(transaction, claimed).await?;
        Ok(Next::Claimed(events, tried))
    }

    /// Tries those of these that still wait.
    async fn try_these(&self, events: &[Uuid]) -> Result<Tried, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let tried = unless_silent(self.patience, async {
            let mut transaction = connection.begin().await?;
            let countries = self.open_countries(&mut transaction).await?;
            let claimed = store::claim_these(&mut transaction, &countries, events).await?;
            self.try_claimed(transaction, claimed).await
        })
        .await;
        heard(connection, tried)
    }

    async fn try_claimed(
        &self,
        mut transaction: PgTransaction<'_>,
        claimed: Vec<Claimed>,
    ) -> Result<Tried, sqlx::Error> {
        let events = claimed.len();
        if events == 0 {
            roll_back(transaction).await;
            return Ok(Tried::Done {
                events,
                is_proof: false,
            });
        }
        let alone = match &claimed[..] {
            [alone] => Some(alone.clone()),
            _ => None,
        };
        let (kind, cause) = match process(&mut transaction, claimed).await {
            Ok(done) => {
                transaction.commit().await?;
                return Ok(Tried::Done {
                    events,
                    is_proof: self.count(done),
                });
            }
            Err(BatchError::Database(failure)) => return Err(failure),
            Err(BatchError::Event(kind, cause)) => (kind, cause),
        };
        roll_back(transaction).await;
        let alone = alone.map(|event| Box::new(Alone { event, cause }));
        Ok(match kind {
            FailureKind::TimedOut => Tried::TookTooLong(alone),
            FailureKind::Refused | FailureKind::Internal => Tried::Failed(kind, alone),
        })
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

    async fn fail(&self, alone: &Alone, kind: FailureKind) -> Result<(), sqlx::Error> {
        let Alone { event, cause } = alone;
        let attempts = u16::try_from(event.attempts)
            .unwrap_or_default()
            .saturating_add(1);
        let pause = kind.pause_after(attempts, jitter());
        let phone = normalize(event.phone_number.as_deref(), event.country).ok();
        let mut connection = self.pool.acquire().await?;
        let settled = store::settle_failed(&mut connection, event, phone.as_ref(), cause, pause);
        let settled = unless_silent(self.patience, settled).await;
        if !heard(connection, settled)? {
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

    /// Tells whether one of them was processed, and not held back by a switch.
    fn count(&self, done: Done) -> bool {
        let took = done.began.elapsed();
        let mut some_were_processed = false;
        for (event, outcome, age) in done.events {
            self.metrics.count_event(event.country, outcome);
            if outcome == EventOutcome::Processed {
                some_were_processed = true;
                self.metrics.observe_processing(age + took);
            }
        }
        some_were_processed
    }
}

/// The connection may be gone; then so is what it had begun.
async fn roll_back(transaction: PgTransaction<'_>) {
    if let Err(failure) = transaction.rollback().await {
        warn!(
            error = describe(&failure),
            "a batch was broken off with its connection"
        );
    }
}

/// In 0..1, by the random bits of a fresh id.
fn jitter() -> f64 {
    let bits = u16::try_from(Uuid::new_v4().as_u128() & 0xffff).unwrap_or_default();
    f64::from(bits) / f64::from(u16::MAX)
}
