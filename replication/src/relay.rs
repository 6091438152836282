//! Hub → Kafka: publishes the change log, in its order, by one relay at a time.
//!
//! Kafka is written first, the position in the database after it: a relay that dies in between publishes
//! those changes again, which appliers take for what they are, the same versions.
//!
//! An advisory lock lets one relay publish. It cannot keep one that has lost the lock, and does not know
//! yet, from landing what it had under way behind newer changes, where compaction would keep it. That is
//! seen by the offsets: those of one writer have no gaps. Whatever else is found in the log, and a log that
//! is not the one it was, is mended in one way: the stream begins anew, with every row.

use std::time::Duration;

use serde_json::value::RawValue;
use sqlx::postgres::PgListener;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row as _};
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use crate::database::DatabaseError;
use crate::envelope::{Change, Encoded, Envelope, UnixMicros, seq_in};
use crate::kafka::{self, Broker, Fetched, Published, Publisher, Reader, StreamError};
use crate::regions::{self, Regions};
use crate::table::Table;

/// The advisory lock of the one active relay: "relay" in ASCII.
pub const LOCK: i64 = 0x72_656c_6179;

/// The relay's group, by which it is granted to read. Its offsets are never used.
pub use protocol::RELAY_GROUP as GROUP;

/// How many changes are published together. 2,000 rows of 1 KiB are 2 MiB.
const BATCH_ROWS: i64 = 2_000;

/// How many records of the log's end are looked at together.
const BATCH_RECORDS: usize = 2_000;

/// How long the broker may take to give the next of them.
const TAIL_PATIENCE: Duration = Duration::from_secs(10);

/// How many batches of old changes are removed with each digest: faster than restates can bring them.
const PRUNE_ROUNDS: usize = 20;

/// How long published changes stay in the log, for whoever looks.
const KEEP_PUBLISHED: &str = "1 day";

/// How a relay is set.
#[derive(Debug, Clone)]
pub struct RelaySettings {
    /// The hub's broker.
    pub broker: Broker,
    /// On how many brokers the topic is kept.
    pub replication: i32,
    /// How often a heartbeat goes out.
    pub heartbeat_every: Duration,
    /// How often digests go out.
    pub digest_every: Duration,
    /// The regions that are asked how far they are.
    pub regions: Regions,
}

/// Why a relay ended.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The hub's database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The hub's broker.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// A change that the log should not hold.
    #[error("change {seq}: {reason}")]
    Change {
        /// Its place.
        seq: i64,
        /// What is wrong with it.
        reason: String,
    },
}

impl From<sqlx::Error> for RelayError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// Publishes until something fails. Waits first for a relay that is active.
pub async fn run(pool: &PgPool, settings: &RelaySettings) -> Result<(), RelayError> {
    // The lock lives as long as its connection: if that breaks, so does every statement of this relay.
    let mut lock = pool.acquire().await?.detach();
    let is_free: bool = sqlx::query_scalar("select pg_try_advisory_lock($1)")
        .bind(LOCK)
        .fetch_one(&mut lock)
        .await?;
    if !is_free {
        info!("another relay is active: standing by");
        sqlx::query("select pg_advisory_lock($1)")
            .bind(LOCK)
            .execute(&mut lock)
            .await?;
    }
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen("smp_global_change").await?;

    let is_new = kafka::ensure_topic(&settings.broker, settings.replication).await?;
    let publisher = Publisher::new(&settings.broker)?;
    let mut position = Position::load(&mut lock).await?;
    take_over(&mut lock, settings, is_new, &mut position).await?;
    info!(seq = position.seq, "relay is active");
    tokio::select! {
        result = publish_all(&mut lock, listener, &publisher, settings, position) => result,
        result = regions::watch(pool, &settings.regions) => Ok(result?),
    }
}

async fn publish_all(
    lock: &mut PgConnection,
    mut listener: PgListener,
    publisher: &Publisher,
    settings: &RelaySettings,
    mut position: Position,
) -> Result<(), RelayError> {
    let mut heartbeat_at = Instant::now();
    let mut digest_at = Instant::now();
    loop {
        let now = Instant::now();
        if now >= heartbeat_at {
            sqlx::query("select smp_global.log_heartbeat()")
                .execute(&mut *lock)
                .await?;
            heartbeat_at = now + settings.heartbeat_every;
        }
        if now >= digest_at {
            sqlx::query("select smp_global.log_digests()")
                .execute(&mut *lock)
                .await?;
            prune(lock, position.seq).await?;
            digest_at = now + settings.digest_every;
        }
        if !publish_next(lock, publisher, &settings.broker, &mut position).await? {
            // A notice wakes at once; whoever misses one still looks at the next heartbeat.
            let until = heartbeat_at
                .min(digest_at)
                .saturating_duration_since(Instant::now());
            if let Ok(notice) = timeout(until, listener.recv()).await {
                notice?;
            }
        }
    }
}

/// Up to where the log is in Kafka.
struct Position {
    seq: i64,
    offset: i64,
}

impl Position {
    async fn load(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let (seq, offset) =
            sqlx::query_as("select published_seq, published_offset from smp_global.relay_state")
                .fetch_one(connection)
                .await?;
        Ok(Self { seq, offset })
    }
}

/// The stream and the database must be of one history. A topic that is new though records were published,
/// or shorter than it was, has lost them; a stream that is ahead of the database outlived a restored
/// backup; and behind the last record whose place is known, only what a relay published before it died may
/// stand. Else the stream begins anew, above all that it ever held.
async fn take_over(
    connection: &mut PgConnection,
    settings: &RelaySettings,
    is_new: bool,
    position: &mut Position,
) -> Result<(), RelayError> {
    let reader = Reader::connect(&settings.broker, GROUP)?;
    let (low, high) = reader.watermarks()?.unwrap_or((0, 0));
    let was_published = position.offset >= 0;
    let is_lost = was_published && (is_new || high <= position.offset);
    let last_seq: i64 = sqlx::query_scalar("select last_value from smp_global.change_seq")
        .fetch_one(&mut *connection)
        .await?;
    let from = if is_lost { low } else { position.offset + 1 };
    let tail = read_tail(&reader, from.max(low), high, position.seq).await?;
    let is_ahead = tail.last_seq > last_seq;
    if is_lost || is_ahead || tail.is_foreign {
        begin_anew(connection, tail.last_seq.max(last_seq)).await?;
    }
    position.offset = high - 1;
    Ok(())
}

/// Sends every row again, in a new epoch above `seq`.
async fn begin_anew(connection: &mut PgConnection, seq: i64) -> Result<(), sqlx::Error> {
    warn!("the log is not what this relay made of it: the stream begins anew, with every row");
    sqlx::query("select smp_global.restate($1)")
        .bind(seq)
        .execute(connection)
        .await?;
    Ok(())
}

/// What stands at the end of the log.
#[derive(Debug, Default)]
struct Tail {
    /// The highest `seq`; 0 if there is none.
    last_seq: i64,
    /// Whether there is anything that is no change after the one that was published last.
    is_foreign: bool,
}

async fn read_tail(
    reader: &Reader,
    from: i64,
    high: i64,
    published_seq: i64,
) -> Result<Tail, RelayError> {
    let mut tail = Tail::default();
    if from >= high {
        return Ok(tail);
    }
    reader.start_at(from)?;
    let mut next = from;
    while next < high {
        let deadline = Instant::now() + TAIL_PATIENCE;
        let Fetched::Records(records) = reader.fetch(BATCH_RECORDS, deadline).await? else {
            return Err(StreamError::Changed(next).into());
        };
        if records.is_empty() {
            // What stands there cannot be read, such as the mark of a transaction: not of this relay.
            tail.is_foreign = true;
            break;
        }
        for record in &records {
            next = record.offset + 1;
            let seq = seq_in(|name| record.header(name)).unwrap_or(0);
            tail.last_seq = tail.last_seq.max(seq);
            tail.is_foreign |= seq <= published_seq;
        }
    }
    Ok(tail)
}

/// Publishes the next changes. Returns whether there were any.
async fn publish_next(
    connection: &mut PgConnection,
    publisher: &Publisher,
    broker: &Broker,
    position: &mut Position,
) -> Result<bool, RelayError> {
    let rows = sqlx::query(
        "select seq, kind, table_name, key::text as key, content::text as content, \
         (extract(epoch from committed_at) * 1000000)::bigint as committed_us, \
         (extract(epoch from clock_timestamp()) * 1000000)::bigint as now_us, \
         coalesce(jsonb_build_array(table_name, key)::text, '') as row_key \
         from smp_global.change_log where seq > $1 order by seq limit $2",
    )
    .bind(position.seq)
    .bind(BATCH_ROWS)
    .fetch_all(&mut *connection)
    .await?;
    let Some(last) = rows.last() else {
        return Ok(false);
    };
    let last_seq: i64 = last.try_get("seq")?;
    let records: Vec<(String, Encoded)> = rows
        .iter()
        .map(record_of)
        .collect::<Result<_, RelayError>>()?;
    let encoded = records.iter().map(|(key, encoded)| (key.as_str(), encoded));
    let Some(Published {
        first,
        last: offset,
    }) = publisher.publish(encoded)?
    else {
        return Ok(false);
    };
    let has_no_gap = i64::try_from(records.len()).is_ok_and(|count| offset - first + 1 == count);
    if first != position.offset + 1 || !has_no_gap {
        // Above whatever stands there: a region may have read it by now.
        let reader = Reader::connect(broker, GROUP)?;
        let (low, high) = reader.watermarks()?.unwrap_or((0, 0));
        let from = if first <= position.offset {
            low
        } else {
            position.offset + 1
        };
        let tail = read_tail(&reader, from.max(low), high, position.seq).await?;
        begin_anew(connection, last_seq.max(tail.last_seq)).await?;
    }
    *position = Position {
        seq: last_seq,
        offset,
    };
    // Nothing waits for the disk: what a crash takes back is published again.
    sqlx::raw_sql(AssertSqlSafe(format!(
        "begin; set local synchronous_commit = off; update smp_global.relay_state \
         set published_seq = {last_seq}, published_offset = {offset}, published_at = clock_timestamp(); \
         commit"
    )))
    .execute(connection)
    .await?;
    Ok(true)
}

/// A row of the log as the record that it becomes.
fn record_of(row: &sqlx::postgres::PgRow) -> Result<(String, Encoded), RelayError> {
    let seq: i64 = row.try_get("seq")?;
    let kind: &str = row.try_get("kind")?;
    let wrong = |reason: &str| RelayError::Change {
        seq,
        reason: reason.to_owned(),
    };
    let table = || {
        let name: Option<&str> = row.try_get("table_name")?;
        name.and_then(Table::parse)
            .ok_or_else(|| wrong("table_name: no such table"))
    };
    let json = |column: &str| {
        let text: Option<String> = row.try_get(column)?;
        let text = text.ok_or_else(|| wrong(&format!("{column} is null")))?;
        RawValue::from_string(text).map_err(|_| wrong(&format!("{column} is no JSON")))
    };
    let number = |text: &RawValue, field: &str| {
        serde_json::from_str::<serde_json::Value>(text.get())
            .ok()
            .and_then(|content| content.get(field)?.as_i64())
            .ok_or_else(|| wrong(&format!("content.{field}: a number is expected")))
    };
    let committed_at = UnixMicros(row.try_get("committed_us")?);
    let published_at = UnixMicros(row.try_get("now_us")?);
    if kind == "tombstone" {
        let encoded = Encoded::tombstone(seq, committed_at, published_at);
        return Ok((row.try_get("row_key")?, encoded));
    }
    let change = match kind {
        "row" => Change::Row {
            table: table()?,
            row: json("content")?,
        },
        "delete" => Change::Delete {
            table: table()?,
            key: json("key")?,
        },
        "heartbeat" => Change::Heartbeat,
        "digest" => {
            let content = json("content")?;
            let hash = serde_json::from_str::<serde_json::Value>(content.get())
                .ok()
                .and_then(|content| Some(content.get("hash")?.as_str()?.to_owned()))
                .ok_or_else(|| wrong("content.hash: a text is expected"))?;
            Change::Digest {
                table: table()?,
                rows: number(&content, "rows")?,
                hash,
            }
        }
        "restate_begin" => Change::RestateBegin,
        "restate_end" => {
            let content = json("content")?;
            Change::RestateEnd {
                since: number(&content, "since")?,
                rows: number(&content, "rows")?,
            }
        }
        _ => return Err(wrong("kind: no such kind")),
    };
    // Compaction keeps the last record of a key: of marks and digests too.
    let key = match &change {
        Change::Row { .. } | Change::Delete { .. } => row.try_get("row_key")?,
        Change::Digest { table, .. } => format!("[\"{kind}\", \"{table}\"]"),
        _ => format!("[\"{kind}\"]"),
    };
    let envelope = Envelope {
        seq,
        committed_at,
        published_at,
        change,
    };
    let encoded = envelope
        .encode()
        .map_err(|error| wrong(&error.to_string()))?;
    Ok((key, encoded))
}

/// Removes published changes that are old enough, if they are among the first: looking at all of them
/// would keep new ones waiting.
async fn prune(connection: &mut PgConnection, published_seq: i64) -> Result<(), sqlx::Error> {
    for _ in 0..PRUNE_ROUNDS {
        let gone = sqlx::query(
            "delete from smp_global.change_log where seq in (select seq from (select seq, committed_at \
             from smp_global.change_log where seq <= $1 order by seq limit $3) as first \
             where committed_at < now() - $2::interval)",
        )
        .bind(published_seq)
        .bind(KEEP_PUBLISHED)
        .bind(BATCH_ROWS)
        .execute(&mut *connection)
        .await?
        .rows_affected();
        if gone < BATCH_ROWS.unsigned_abs() {
            break;
        }
    }
    Ok(())
}
