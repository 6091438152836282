//! Writes a batch, and finds out what became of each of its rows.

use std::sync::Arc;
use std::time::Duration;

use protocol::RegionId;
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, PgPool, Postgres};
use tokio::time::{Instant, timeout};
use tracing::{error, warn};

use super::batch::{Pending, Stored};
use super::event::{DeliveryKey, NewEvent};
use super::rejected::{self, REFUSED_BY_DATABASE};
use super::store::{Failure, classify, find_deliveries, insert_events};
use crate::db::{self, ROUND_TRIP_GRACE};
use crate::error::{AppError, Unavailability};
use crate::metrics::Metrics;

/// How long nothing is tried after a connection could not be made: some requests more are answered 503,
/// which the edge keeps.
const CONNECT_PAUSE: Duration = Duration::from_millis(100);

/// Writes batches over a connection that it keeps.
pub(super) struct Writer {
    region: RegionId,
    pool: PgPool,
    metrics: Arc<Metrics>,
    round_trip_patience: Duration,
    connection: Option<PoolConnection<Postgres>>,
    /// No connection is tried before.
    connect_again_at: Option<Instant>,
}

impl Writer {
    pub(super) fn new(
        region: RegionId,
        pool: PgPool,
        metrics: Arc<Metrics>,
        statement_timeout: Duration,
    ) -> Self {
        Self {
            region,
            pool,
            metrics,
            round_trip_patience: statement_timeout + ROUND_TRIP_GRACE,
            connection: None,
            connect_again_at: None,
        }
    }

    /// Gives the connection back. The next batch gets one that the pool has tested.
    pub(super) fn release_connection(&mut self) {
        self.connection = None;
    }

    /// Writes a batch, and answers each of its requests.
    pub(super) async fn write(&mut self, batch: Vec<Pending>) {
        let now = Instant::now();
        // Whose request is already answered will come again: after a jam, the time is for the others.
        let (mut waiting, late): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .partition(|pending| pending.deadline > now);
        answer_all(late, AppError::Unavailable(Unavailability::Timeout));
        // The same order in every process, or two of them that have the same rows could deadlock.
        waiting.sort_unstable_by(|one, other| {
            one.event.delivery.key().cmp(&other.event.delivery.key())
        });

        let mut to_write = vec![waiting];
        while let Some(mut rows) = to_write.pop() {
            match self.store(&rows).await {
                Ok(stored) => {
                    for (pending, stored) in rows.into_iter().zip(stored) {
                        pending.answer(Ok(stored));
                    }
                }
                // One row does not fit, and nothing of the statement is there. Halve it until that row
                // is alone: twelve more statements for one bad row of 64, where one by one takes 64.
                Err(Failure::Data) if rows.len() > 1 => {
                    let second_half = rows.split_off(rows.len() / 2);
                    to_write.push(second_half);
                    to_write.push(rows);
                }
                Err(Failure::Data) => {
                    for pending in rows {
                        let kept = self.keep_refused(&pending.event).await;
                        pending.answer(kept);
                    }
                }
                Err(failure @ (Failure::Connection | Failure::Unavailable | Failure::Bug)) => {
                    let answer = match failure {
                        Failure::Bug => AppError::Internal,
                        _ => AppError::Unavailable(Unavailability::Database),
                    };
                    answer_all(rows, answer);
                    // What is left of this batch would only meet the same.
                    for rows in to_write.drain(..) {
                        answer_all(rows, answer);
                    }
                }
            }
        }
    }

    /// Stores rows, which are sorted by their keys, in one statement. A connection that was lost is
    /// replaced once: a row that it may have committed is recognised by its id.
    async fn store(&mut self, rows: &[Pending]) -> Result<Vec<Stored>, Failure> {
        match self.try_store(rows).await {
            Err(Failure::Connection) => self.try_store(rows).await,
            outcome => outcome,
        }
    }

    async fn try_store(&mut self, rows: &[Pending]) -> Result<Vec<Stored>, Failure> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect(rows.len()).await?,
        };
        let events = distinct(rows);
        if !events.is_empty() {
            self.metrics.observe_batch(events.len());
        }
        let stored = store_events(&mut connection, &self.region, &events);
        match timeout(self.round_trip_patience, stored).await {
            Ok(Ok(stored)) => {
                self.connection = Some(connection);
                Ok(spread(rows, &stored))
            }
            Ok(Err(failure)) => {
                let meaning = classify(&failure);
                let error = db::describe(&failure);
                if meaning == Failure::Data {
                    self.connection = Some(connection);
                    warn!(error, batch.rows = rows.len(), "database refuses a row");
                } else {
                    connection.close_on_drop();
                    error!(error, batch.rows = rows.len(), "batch is not written");
                }
                Err(meaning)
            }
            Err(_) => {
                connection.close_on_drop();
                error!(batch.rows = rows.len(), "database does not answer");
                Err(Failure::Unavailable)
            }
        }
    }

    /// A connection from the pool. After a failure, none is tried for a moment: a server that refuses at
    /// once (a wrong password, one that is starting) would be asked hundreds of times a second.
    async fn connect(&mut self, rows: usize) -> Result<PoolConnection<Postgres>, Failure> {
        if self.connect_again_at.is_some_and(|at| Instant::now() < at) {
            return Err(Failure::Unavailable);
        }
        match self.pool.acquire().await {
            Ok(connection) => {
                self.connect_again_at = None;
                Ok(connection)
            }
            Err(failure) => {
                self.connect_again_at = Some(Instant::now() + CONNECT_PAUSE);
                error!(error = %db::describe(&failure), batch.rows = rows, "no connection");
                Err(classify(&failure))
            }
        }
    }

    /// Keeps a row that the database would not take as an event.
    async fn keep_refused(&mut self, event: &NewEvent) -> Result<Stored, AppError> {
        rejected::keep(
            &self.pool,
            &self.region,
            &event.delivery,
            REFUSED_BY_DATABASE,
        )
        .await
        .map(|()| Stored::Refused)
    }
}

fn answer_all(rows: Vec<Pending>, error: AppError) {
    for pending in rows {
        pending.answer(Err(error));
    }
}

/// One event of each delivery; the rows are sorted by their keys.
fn distinct(rows: &[Pending]) -> Vec<&NewEvent> {
    let mut events: Vec<&NewEvent> = rows.iter().map(|pending| &pending.event).collect();
    events.dedup_by(|one, other| one.delivery.key() == other.delivery.key());
    events
}

/// What became of each row, by what became of each [`distinct`] event: of rows with the same key the
/// first is the event, and the others are its duplicates.
fn spread(rows: &[Pending], stored: &[Stored]) -> Vec<Stored> {
    let mut stored = stored.iter().copied();
    let mut last: Option<(DeliveryKey<'_>, Stored)> = None;
    rows.iter()
        .filter_map(|pending| {
            let key = pending.event.delivery.key();
            let became = match last {
                Some((known, Stored::Accepted(id) | Stored::Duplicate(id))) if known == key => {
                    Stored::Duplicate(id)
                }
                Some((known, refused @ Stored::Refused)) if known == key => refused,
                _ => stored.next()?,
            };
            last = Some((key, became));
            Some(became)
        })
        .collect()
}

/// Stores distinct events, and says what became of each.
async fn store_events(
    connection: &mut PgConnection,
    region: &RegionId,
    events: &[&NewEvent],
) -> Result<Vec<Stored>, sqlx::Error> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let inserted = insert_events(connection, region, events).await?;
    let others: Vec<&NewEvent> = events
        .iter()
        .copied()
        .filter(|event| !inserted.contains(&event.delivery.id))
        .collect();
    if others.is_empty() {
        return Ok(events
            .iter()
            .map(|event| Stored::Accepted(event.delivery.id))
            .collect());
    }
    let found = find_deliveries(connection, &others).await?;
    let mut position_of_other = 0;
    events
        .iter()
        .map(|event| {
            let id = event.delivery.id;
            if inserted.contains(&id) {
                return Ok(Stored::Accepted(id));
            }
            let found = found.get(&position_of_other).copied();
            position_of_other += 1;
            match found {
                // Ours, from an attempt whose connection broke before it could say so.
                Some(found) if found == id => Ok(Stored::Accepted(id)),
                Some(found) => Ok(Stored::Duplicate(found)),
                // Deleted between the two statements, which only an administrator can.
                None => Err(sqlx::Error::RowNotFound),
            }
        })
        .collect()
}
