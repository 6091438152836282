//! What polling and reconciliation have in common: a connection, its key, and what became of each of many.

use std::pin::Pin;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use protocol::Country;
use protocol::connection::ConnectionId;
use secrecy::SecretString;
use tracing::{info, warn};

use super::{Context, JobError};
use crate::api_keys;
use crate::completeness::entry::Origin;
use crate::completeness::store::{self, Polled};
use crate::completeness::suspension::Observation;
use crate::completeness::walk::{Found, Walk, WalkError};
use crate::completeness::watermark::Watermark;
use crate::ingest::event::Layer;
use crate::pancake::client::Workspace;
use crate::pancake::{PancakeError, Table};

/// So many connections are asked for at once: one that is slow keeps not all others waiting.
const AT_ONCE: usize = 4;
/// `job_run.error` holds no more.
const ERROR_MAX_BYTES: usize = 1024;

/// A connection that is asked for, and by which key.
pub(super) struct Asking<'c> {
    pub(super) context: &'c Context,
    pub(super) polled: &'c Polled,
    pub(super) origin: Origin,
    pub(super) workspace: Workspace,
}

impl<'c> Asking<'c> {
    pub(super) fn new(
        context: &'c Context,
        country: Country,
        layer: Layer,
        polled: &'c Polled,
    ) -> Result<Self, JobError> {
        let keys = context.at_rest.as_deref().ok_or(JobError::NoAtRestKeys)?;
        let of = (country.as_str(), polled.connection.as_str());
        let key = api_keys::open(keys, of, &polled.api_key_encrypted)
            .map_err(|_| JobError::KeyDoesNotOpen)?;
        let id = polled.workspace.as_deref().and_then(|id| id.parse().ok());
        let id = id.ok_or(JobError::NoWorkspace)?;
        Ok(Self {
            context,
            polled,
            origin: Origin {
                country,
                connection: polled.connection.clone(),
                layer,
            },
            workspace: Workspace {
                id,
                key: SecretString::from(key),
            },
        })
    }

    pub(super) fn walk(&self) -> Walk<'_> {
        Walk {
            client: &self.context.client,
            pool: &self.context.pool,
            clock: &*self.context.clock,
            region: &self.context.region,
            origin: &self.origin,
            workspace: &self.workspace,
        }
    }

    /// By our own clock, to the second: a span's end must be what the database keeps of it, or the next one would seem to
    /// begin after a hole.
    pub(super) fn now(&self) -> Timestamp {
        let seconds = self.context.clock.now().unix_timestamp();
        Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Changes the watermark of one of its tables.
    pub(super) async fn change_watermark(
        &self,
        table: Table,
        change: impl FnOnce(&mut Watermark) + Send,
    ) -> Result<Watermark, WalkError> {
        let mut connection = self.context.pool.acquire().await?;
        let of = (self.polled.workspace.as_deref(), table);
        let changed = store::change_watermark(&mut connection, &self.origin, of, change).await?;
        changed.ok_or(WalkError::Moved)
    }

    /// After which nothing counts as complete of what was asked for at `asked`: what was changed then may not have been
    /// in Pancake's lists yet, or may be stamped by a clock that is behind.
    pub(super) fn settled(&self, asked: Timestamp, found: &Found) -> Timestamp {
        let behind = u64::try_from(found.clock_behind.unwrap_or_default()).unwrap_or_default();
        let settle = self.context.limits.poll_settle + std::time::Duration::from_secs(behind);
        asked.checked_sub(settle).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// What comes of the end of a connection's run: what Pancake says of the key, whether its webhooks come, and whether
    /// there is something to process.
    pub(super) async fn conclude(
        &self,
        found: &Found,
        outcome: Result<(), WalkError>,
    ) -> Result<(), JobError> {
        self.note_key(match &outcome {
            Err(WalkError::Pancake(error)) => Err(*error),
            // Before anything was answered, nothing is known.
            Err(WalkError::Database(_) | WalkError::Moved) if found.pages == 0 => {
                Err(PancakeError::Unreachable)
            }
            _ => Ok(()),
        })
        .await?;
        let mut connection = self.context.pool.acquire().await?;
        if found.missing > 0 {
            self.context.wake.wake();
            let (layer, records) = (self.origin.layer, found.missing);
            self.context.metrics.count_found(&self.origin, records);
            info!(
                country = %self.origin.country,
                connection = self.origin.connection.as_str(),
                layer = layer.as_str(),
                records,
                "records that no webhook had brought are here now"
            );
        }
        if found.older > 0 {
            warn!(
                country = %self.origin.country,
                connection = self.origin.connection.as_str(),
                records = found.older,
                "Pancake lists records that are older than what it was asked for: it may not heed the filter"
            );
        }
        self.notice_silence(&mut connection, &found.observation)
            .await?;
        Ok(outcome?)
    }

    /// Writes down what Pancake says of the key, if it says anything.
    pub(super) async fn note_key(
        &self,
        answered: Result<(), PancakeError>,
    ) -> Result<(), sqlx::Error> {
        let is_accepted = match answered {
            Ok(()) => true,
            Err(PancakeError::KeyRefused) => false,
            Err(_) => return Ok(()),
        };
        let (pool, sealed) = (&self.context.pool, &self.polled.api_key_encrypted);
        store::note_key(pool, &self.origin, sealed, is_accepted).await
    }

    async fn notice_silence(
        &self,
        connection: &mut sqlx::PgConnection,
        observation: &Observation,
    ) -> Result<(), sqlx::Error> {
        use crate::completeness::suspension::{Status, judge};
        let standing = (self.polled.status, self.polled.status_changed_at);
        let (memory, becomes) = judge(self.polled.memory, standing, observation, self.now());
        let change = becomes.map(|becomes| {
            let reason = match becomes {
                Status::Suspended => {
                    "no webhook came while Pancake's lists have newer records: it may have suspended the webhook"
                }
                _ => "webhooks come again",
            };
            warn!(
                country = %self.origin.country,
                connection = self.origin.connection.as_str(),
                status = becomes.as_str(),
                reason,
                "the connection's status changes"
            );
            (self.polled.status, becomes, reason)
        });
        if change.is_none() && memory == self.polled.memory {
            return Ok(());
        }
        store::remember(connection, &self.origin, memory, change).await
    }
}

/// What is done for one connection.
pub(super) type Work<'p> = Pin<Box<dyn Future<Output = Result<(), JobError>> + Send + 'p>>;

/// Does something for each of a country's connections, a few at a time. One that fails keeps no other from its turn; all
/// errors are told together.
pub(super) async fn for_each(work: Vec<(&ConnectionId, Work<'_>)>) -> Result<(), JobError> {
    let mut failures = Vec::new();
    let mut waiting = work.into_iter();
    let mut under_way = FuturesUnordered::new();
    loop {
        while under_way.len() < AT_ONCE {
            let Some((connection, work)) = waiting.next() else {
                break;
            };
            under_way.push(async move { (connection, work.await) });
        }
        match under_way.next().await {
            None => break,
            Some((_, Ok(()))) => {}
            Some((connection, Err(error))) => failures.push(format!("{connection}: {error}")),
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    let mut text = failures.join("; ");
    let mut end = text.len().min(ERROR_MAX_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    Err(JobError::Connections(text))
}
