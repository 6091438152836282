//! Kafka → a region's tables: rows and position in one transaction, so that what is applied is applied
//! once, whatever dies.
//!
//! The position is the database's; Kafka's consumer groups are not used. The log is not trusted to be
//! the one it was: an offset that is not there any more, and an epoch that begins without its beginning,
//! both lead back to the log's start, which does no harm, because a row's version never goes back.

mod store;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::PgPool;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::database::DatabaseError;
use crate::envelope::{Change, Envelope, UnixMicros, epoch_of};
use crate::kafka::{Broker, Fetched, Reader, Record, StreamError};

pub use store::Position;
use store::Store;

/// The applier's group, by which it is granted to read. Its offsets are never used.
pub use protocol::APPLIER_GROUP as GROUP;

/// How many records go into one transaction at most.
const BATCH_RECORDS: usize = 2_000;

/// How long to wait for records before looking whether the log is still there.
const IDLE: Duration = Duration::from_secs(1);

/// Why an applier ended.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The region's database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The region's broker.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// Somebody else has written the position.
    #[error("another applier has moved the position from {expected} to {found}")]
    Fenced {
        /// What this applier wrote last.
        expected: i64,
        /// What is there.
        found: i64,
    },
}

impl From<sqlx::Error> for ApplyError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// What [`run`] tells of itself.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Where it is.
    pub next_offset: i64,
    /// Where the log ended when it was last looked at.
    pub end_offset: i64,
}

/// Applies until something fails, or, if `stop_at_end`, until all is applied that was committed in the hub
/// when it started, by the hub's own digests: where the log ends says nothing while MirrorMaker 2 is still
/// filling it. Waits first for an applier that is active.
pub async fn run(
    pool: &PgPool,
    broker: &Broker,
    stop_at_end: bool,
    mut progress: impl FnMut(Progress),
) -> Result<Position, ApplyError> {
    let mut store = Store::open(pool).await?;
    let reader = Reader::connect(broker, GROUP)?;
    let started = now();
    let mut rewound_for = None;
    loop {
        let Some((low, mut high)) = reader.watermarks()? else {
            // MirrorMaker 2 makes it with the first record.
            sleep(IDLE).await;
            continue;
        };
        let next = store.position().next_offset;
        if next < low || next > high {
            warn!(
                next,
                low, high, "the log is not there where it was read: it is read from its start"
            );
            store.rewind(low).await?;
        }
        reader.start_at(store.position().next_offset)?;
        info!(
            offset = store.position().next_offset,
            high, "reading the log"
        );
        'reading: loop {
            if stop_at_end && store.is_compared_since(started) {
                return Ok(store.position());
            }
            match reader.fetch(BATCH_RECORDS, Instant::now() + IDLE).await? {
                Fetched::OutOfRange => break 'reading,
                Fetched::Records(records) if records.is_empty() => {
                    let high = reader.watermarks()?.map(|(_, high)| high);
                    if high.is_none_or(|high| high < store.position().next_offset) {
                        break 'reading;
                    }
                }
                Fetched::Records(records) => {
                    let read = read_all(records);
                    let known = epoch_of(store.position().applied_seq);
                    if let Some(epoch) = missed_beginning(&read, known)
                        && rewound_for != Some(epoch)
                        && known > 0
                    {
                        warn!(
                            epoch,
                            "an epoch goes on that has not begun here: the log is read from its start"
                        );
                        rewound_for = Some(epoch);
                        store.rewind(low).await?;
                        break 'reading;
                    }
                    store.apply(&read).await?;
                    if stop_at_end && store.position().next_offset >= high {
                        high = reader.watermarks()?.map_or(high, |(_, high)| high);
                    }
                    progress(Progress {
                        next_offset: store.position().next_offset,
                        end_offset: high.max(store.position().next_offset),
                    });
                }
            }
        }
    }
}

fn now() -> UnixMicros {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    UnixMicros(since_1970.map_or(0, |time| {
        i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
    }))
}

/// A record, and what it says, or why that cannot be told. None: a tombstone.
type Read = (Record, Option<Result<Envelope, String>>);

fn read_all(records: Vec<Record>) -> Vec<Read> {
    records
        .into_iter()
        .map(|record| {
            let envelope = record.value.as_deref().map(|value| {
                Envelope::decode(value, |name| record.header(name))
                    .map_err(|unreadable| unreadable.to_string())
            });
            (record, envelope)
        })
        .collect()
}

/// The epoch that the records go on with, if it is above `known` and does not begin among them.
fn missed_beginning(records: &[Read], known: i64) -> Option<i64> {
    let mut known = known;
    for (_, read) in records {
        let Some(Ok(envelope)) = read else { continue };
        let epoch = epoch_of(envelope.seq);
        if epoch > known {
            if !matches!(envelope.change, Change::RestateBegin) {
                return Some(epoch);
            }
            known = epoch;
        }
    }
    None
}
