//! The one file that knows the Kafka client.
//!
//! The topic has one partition, so that the order of the hub's commits is the order of the log. The
//! producer is idempotent, so its records stand in the log once, in their order, without a gap: whoever
//! finds one has found another writer, or another log.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use protocol::MASTER_DATA_TOPIC as TOPIC;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::task::block_in_place;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use crate::envelope::Encoded;

const PARTITION: i32 = 0;

/// How long the broker may take to answer before a call fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// For how long a poll looks for what the broker has said: it looks for all of that time.
const POLL: Duration = Duration::from_millis(1);

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
    /// User and password, if the broker asks who is there.
    pub credentials: Option<(String, SecretString)>,
    /// How the password is shown.
    pub mechanism: Mechanism,
    /// Whether all is encrypted, and by whom the broker is vouched for.
    pub encryption: Encryption,
}

/// How a client shows its password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mechanism {
    /// As it is.
    #[default]
    Plain,
    /// As the answer to a challenge.
    ScramSha512,
}

/// Whether what is said to the broker is encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Encryption {
    /// Not at all: within a network that is trusted.
    #[default]
    None,
    /// TLS. The broker's name must be in its certificate.
    Tls {
        /// The file with the certificates of whoever may vouch for it; without it those that the system trusts.
        ca: Option<String>,
    },
}

impl Broker {
    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config.set("socket.keepalive.enable", "true");
        // The broker comes back within seconds; waiting for minutes would be lag.
        config.set("reconnect.backoff.max.ms", "1000");
        let is_encrypted = self.encryption != Encryption::None;
        let protocol = match (self.credentials.is_some(), is_encrypted) {
            (true, true) => "sasl_ssl",
            (true, false) => "sasl_plaintext",
            (false, true) => "ssl",
            (false, false) => "plaintext",
        };
        config.set("security.protocol", protocol);
        if is_encrypted {
            config.set("ssl.endpoint.identification.algorithm", "https");
        }
        if let Encryption::Tls { ca: Some(file) } = &self.encryption {
            config.set("ssl.ca.location", file);
        }
        if let Some((user, password)) = &self.credentials {
            let mechanism = match self.mechanism {
                Mechanism::Plain => "PLAIN",
                Mechanism::ScramSha512 => "SCRAM-SHA-512",
            };
            config.set("sasl.mechanism", mechanism);
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
    /// The topic is not as it must be, and cannot be made so.
    #[error("topic {TOPIC}: {0}")]
    Topic(String),
    /// The log's end is not there any more while it is read.
    #[error("topic {TOPIC}: the log has changed at {0} while it was read")]
    Changed(i64),
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

/// Where records stand in the log that were published together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// The offset of the first.
    pub first: i64,
    /// The offset of the last.
    pub last: i64,
}

/// What the broker has said of records that were published together.
#[derive(Default)]
struct Delivered {
    published: Option<Published>,
    failed: Option<KafkaError>,
}

#[derive(Default)]
struct Deliveries(Mutex<Delivered>);

impl Deliveries {
    fn take(&self) -> Delivered {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): Self::DeliveryOpaque) {
        let mut delivered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(message) => {
                let last = message.offset();
                let first = delivered.published.map_or(last, |records| records.first);
                delivered.published = Some(Published { first, last });
            }
            // The first failure is the cause of those behind it.
            Err((error, _)) => {
                delivered.failed.get_or_insert_with(|| error.clone());
            }
        }
    }
}

/// Publishes to the topic.
pub struct Publisher {
    // Not the one with a thread of its own: that looks ten times a second, and here somebody waits.
    producer: BaseProducer<Deliveries>,
}

impl Publisher {
    /// Connects with the first records.
    pub fn new(broker: &Broker) -> Result<Self, StreamError> {
        let producer = broker
            .config()
            .set("enable.idempotence", "true")
            // What stands behind a record that failed is not sent without it.
            .set("enable.gapless.guarantee", "true")
            .set("acks", "all")
            .set("message.timeout.ms", PATIENCE.as_millis().to_string())
            .set("compression.type", "lz4")
            .set("linger.ms", "0")
            .set("queue.buffering.max.kbytes", "16384")
            .create_with_context(Deliveries::default())?;
        Ok(Self { producer })
    }

    /// Publishes records in their order, and waits until the broker has all of them. Of none, returns none.
    /// If it fails, the first of them may be there, and others may still come.
    pub fn publish<'a>(
        &self,
        records: impl Iterator<Item = (&'a str, &'a Encoded)>,
    ) -> Result<Option<Published>, StreamError> {
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
                .headers(headers);
            record.payload = encoded.value.as_ref();
            // A full queue drains by itself.
            while let Err((error, returned)) = self.producer.send(record) {
                if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                    return Err(error.into());
                }
                record = returned;
                block_in_place(|| self.producer.poll(POLL));
            }
        }
        while self.producer.in_flight_count() > 0 {
            block_in_place(|| self.producer.poll(POLL));
        }
        let delivered = self.producer.context().take();
        match delivered.failed {
            Some(error) => Err(error.into()),
            None => Ok(delivered.published),
        }
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
            // The relay writes no transactions; a stranger's, left open, must not hide what stands behind.
            .set("isolation.level", "read_uncommitted")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.error.backoff.ms", "100")
            // What is fetched ahead is two batches, and not what the default of 100,000 records takes; the
            // broker is asked for more as soon as there is room.
            .set("queued.min.messages", "4000")
            .set("queued.max.messages.kbytes", "4096")
            .set("fetch.queue.backoff.ms", "2")
            // Compressed: it may become ten times as much.
            .set("fetch.max.bytes", "1048576")
            .set("max.partition.fetch.bytes", "262144")
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
