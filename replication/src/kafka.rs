//! The one file that knows the Kafka client.
//!
//! The topic has one partition, so that the order of the hub's commits is the order of the log. The
//! producer is transactional: whoever starts later with the same id fences the one before, whose open
//! transaction is aborted, so that no older change can land behind a newer one.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use protocol::MASTER_DATA_TOPIC as TOPIC;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::task::block_in_place;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use crate::envelope::Encoded;

/// The id by which relays fence one another.
pub const TRANSACTIONAL_ID: &str = "smp_global-relay";

const PARTITION: i32 = 0;

/// How long the broker may take to answer before a call fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// How the topic must be set: compacted, and a deletion stays long enough for a region that was cut off.
pub const TOPIC_CONFIG: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("delete.retention.ms", "604800000"), // 7 days
    ("min.compaction.lag.ms", "3600000"), // 1 hour
    ("max.message.bytes", "1048588"),
];

/// A broker, and as whom to talk to it.
#[derive(Debug, Clone)]
pub struct Broker {
    /// `host:port,…`.
    pub bootstrap: String,
    /// SASL/PLAIN, if the broker asks for it.
    pub credentials: Option<(String, SecretString)>,
}

impl Broker {
    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config.set("socket.keepalive.enable", "true");
        // The broker comes back within seconds; waiting for minutes would be lag.
        config.set("reconnect.backoff.max.ms", "1000");
        if let Some((user, password)) = &self.credentials {
            config.set("security.protocol", "sasl_plaintext");
            config.set("sasl.mechanism", "PLAIN");
            config.set("sasl.username", user);
            config.set("sasl.password", password.expose_secret());
        }
        config.set_log_level(RDKafkaLogLevel::Warning);
        config
    }
}

/// What went wrong between us and the broker.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// Another relay has taken over.
    #[error("another relay has taken over: {0}")]
    Fenced(KafkaError),
    /// The topic is not as it must be, and cannot be made so.
    #[error("topic {TOPIC}: {0}")]
    Topic(String),
    /// Anything else.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
}

/// Makes the topic if it is absent, and sees that it is set as it must be. Says whether it was absent.
pub async fn ensure_topic(broker: &Broker, replication: i32) -> Result<bool, StreamError> {
    let admin: AdminClient<DefaultClientContext> = broker.config().create()?;
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let mut topic = NewTopic::new(TOPIC, 1, TopicReplication::Fixed(replication));
    for (name, value) in TOPIC_CONFIG {
        topic = topic.set(name, value);
    }
    let results = admin.create_topics([&topic], &options).await?;
    let is_new = match results.first() {
        Some(Ok(_)) => true,
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => false,
        Some(Err((_, code))) => return Err(StreamError::Topic(code.to_string())),
        None => return Err(StreamError::Topic("the broker did not answer".to_owned())),
    };
    let described = admin
        .describe_configs([&ResourceSpecifier::Topic(TOPIC)], &options)
        .await?;
    let Some(Ok(found)) = described.first() else {
        return Err(StreamError::Topic("its settings cannot be read".to_owned()));
    };
    for (name, expected) in TOPIC_CONFIG {
        let value = found.get(name).and_then(|entry| entry.value.as_deref());
        if value != Some(expected) {
            return Err(StreamError::Topic(format!(
                "{name} is {}, and must be {expected}: an operator must mend it, or records are lost",
                value.unwrap_or("unknown")
            )));
        }
    }
    let metadata = block_in_place(|| admin.inner().fetch_metadata(Some(TOPIC), PATIENCE))?;
    let partitions = metadata
        .topics()
        .first()
        .map_or(0, |topic| topic.partitions().len());
    if !is_new && partitions != 1 {
        return Err(StreamError::Topic(format!(
            "it has {partitions} partitions, and must have 1: the order of changes is that of one log"
        )));
    }
    Ok(is_new)
}

/// Remembers the highest offset that the broker has given a record.
#[derive(Default)]
struct LastOffset(AtomicI64);

impl ClientContext for LastOffset {}

impl ProducerContext for LastOffset {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): Self::DeliveryOpaque) {
        // A failure fails the transaction, which is where it is seen.
        if let Ok(message) = result {
            self.0.store(message.offset(), Ordering::Release);
        }
    }
}

/// Publishes to the topic, in transactions.
pub struct Publisher {
    producer: ThreadedProducer<LastOffset>,
}

impl Publisher {
    /// Connects, and fences whoever published before.
    pub fn connect(broker: &Broker) -> Result<Self, StreamError> {
        let producer: ThreadedProducer<LastOffset> = broker
            .config()
            .set("transactional.id", TRANSACTIONAL_ID)
            .set("transaction.timeout.ms", "30000")
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", "lz4")
            .set("linger.ms", "0")
            .set("queue.buffering.max.kbytes", "16384")
            .create_with_context(LastOffset::default())?;
        block_in_place(|| producer.init_transactions(PATIENCE)).map_err(fenced)?;
        Ok(Self { producer })
    }

    /// Publishes records in one transaction: all of them or none. Returns the offset of the last.
    pub fn publish<'a>(
        &self,
        records: impl Iterator<Item = (&'a str, &'a Encoded)>,
    ) -> Result<i64, StreamError> {
        self.producer.begin_transaction().map_err(fenced)?;
        for (key, encoded) in records {
            let mut headers = OwnedHeaders::new_with_capacity(encoded.headers.len());
            for (name, value) in &encoded.headers {
                headers = headers.insert(Header {
                    key: name,
                    value: Some(value),
                });
            }
            let mut record = BaseRecord::to(TOPIC)
                .partition(PARTITION)
                .key(key)
                .payload(&encoded.value)
                .headers(headers);
            // A full queue drains by itself.
            while let Err((error, returned)) = self.producer.send(record) {
                if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                    return Err(fenced(error));
                }
                record = returned;
                self.producer.poll(Duration::from_millis(10));
            }
        }
        block_in_place(|| self.producer.commit_transaction(PATIENCE)).map_err(fenced)?;
        Ok(self.producer.context().0.load(Ordering::Acquire))
    }
}

fn fenced(error: KafkaError) -> StreamError {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced) => {
            StreamError::Fenced(error)
        }
        _ => error.into(),
    }
}

/// A record as it came, and where it stood.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its offset.
    pub offset: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Record {
    /// A header's value. Of a repeated header the last counts.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let mut headers = self.headers.iter().rev();
        let (_, value) = headers.find(|(known, _)| known == name)?;
        Some(value)
    }
}

/// What came of waiting for records.
#[derive(Debug)]
pub enum Fetched {
    /// Records in the order of the log; none if none came in time.
    Records(Vec<Record>),
    /// The log is not there any more where it was read: it was truncated, or made anew.
    OutOfRange,
}

/// Reads the topic from a position that the caller keeps.
pub struct Reader {
    consumer: StreamConsumer,
    is_out_of_range: AtomicBool,
}

impl Reader {
    /// Connects. Reads nothing until [`Reader::start_at`]. The client must name a group, and the broker
    /// let us; its offsets are never used.
    pub fn connect(broker: &Broker, group: &str) -> Result<Self, StreamError> {
        let consumer: StreamConsumer = broker
            .config()
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", "read_committed")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.error.backoff.ms", "100")
            .set("queued.max.messages.kbytes", "8192")
            .set("fetch.max.bytes", "4194304")
            .set("max.partition.fetch.bytes", "4194304")
            .create()?;
        Ok(Self {
            consumer,
            is_out_of_range: AtomicBool::new(false),
        })
    }

    /// The first offset that is there, and the one that the next record will get. None if there is no
    /// such topic.
    pub fn watermarks(&self) -> Result<Option<(i64, i64)>, StreamError> {
        match block_in_place(|| self.consumer.fetch_watermarks(TOPIC, PARTITION, PATIENCE)) {
            Ok(watermarks) => Ok(Some(watermarks)),
            Err(error)
                if matches!(
                    error.rdkafka_error_code(),
                    Some(
                        RDKafkaErrorCode::UnknownTopicOrPartition
                            | RDKafkaErrorCode::UnknownPartition
                    )
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reads on from `offset`.
    pub fn start_at(&self, offset: i64) -> Result<(), StreamError> {
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(TOPIC, PARTITION, Offset::Offset(offset))?;
        // Not `seek`: after OFFSET_OUT_OF_RANGE the client is in no state to.
        self.is_out_of_range.store(false, Ordering::Release);
        self.consumer.unassign()?;
        self.consumer.assign(&assignment)?;
        Ok(())
    }

    /// Waits until `deadline` for a first record, and takes with it up to `limit` that are there already.
    pub async fn fetch(&self, limit: usize, deadline: Instant) -> Result<Fetched, StreamError> {
        let mut records = Vec::new();
        if self.is_out_of_range.swap(false, Ordering::AcqRel) {
            return Ok(Fetched::OutOfRange);
        }
        let Ok(first) = timeout_at(deadline, self.consumer.recv()).await else {
            return Ok(Fetched::Records(records));
        };
        let mut next = Some(first);
        while let Some(result) = next {
            match result {
                Ok(message) => {
                    let headers = message.headers();
                    let headers = headers.into_iter().flat_map(|headers| headers.iter());
                    records.push(Record {
                        offset: message.offset(),
                        key: message.key().map(<[u8]>::to_vec),
                        value: message.payload().map(<[u8]>::to_vec),
                        headers: headers
                            .map(|header| {
                                let value = header.value.unwrap_or_default().to_vec();
                                (header.key.to_owned(), value)
                            })
                            .collect(),
                    });
                }
                Err(error) => match error.rdkafka_error_code() {
                    Some(
                        RDKafkaErrorCode::AutoOffsetReset
                        | RDKafkaErrorCode::OffsetOutOfRange
                        | RDKafkaErrorCode::UnknownTopicOrPartition
                        | RDKafkaErrorCode::UnknownTopic
                        | RDKafkaErrorCode::UnknownPartition,
                    ) => {
                        // What came before it is applied first.
                        self.is_out_of_range.store(true, Ordering::Release);
                        break;
                    }
                    Some(
                        RDKafkaErrorCode::BrokerTransportFailure
                        | RDKafkaErrorCode::AllBrokersDown
                        | RDKafkaErrorCode::OperationTimedOut
                        | RDKafkaErrorCode::Resolve
                        | RDKafkaErrorCode::NotLeaderForPartition
                        | RDKafkaErrorCode::LeaderNotAvailable,
                    ) => {
                        // The client goes on trying by itself.
                        debug!(error = %error, "broker does not answer");
                        break;
                    }
                    _ if records.is_empty() => return Err(error.into()),
                    _ => break,
                },
            }
            if records.len() >= limit {
                break;
            }
            next = self.consumer.recv().now_or_never();
        }
        Ok(Fetched::Records(records))
    }
}
