//! Who may do what in a region's Kafka.
//!
//! The same rights have to be granted in production, by whatever manages the clusters there.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use protocol::MASTER_DATA_TOPIC;
use protocol::RegionId;
use replication::{apply, relay};

use super::KafkaUser;
use super::wire::{Connection, Reader, Writer};

/// Something a user may do with something.
#[derive(Debug, Clone)]
pub(super) struct Right {
    user: KafkaUser,
    resource: Resource,
    operation: Operation,
}

/// What a right is about.
#[derive(Debug, Clone)]
enum Resource {
    Topic(String),
    TopicsBeginningWith(&'static str),
    Group(String),
    Cluster,
}

impl Resource {
    /// Kafka's numbers: of the kind of resource, and of the kind of name.
    fn encoded(&self) -> (i8, &str, i8) {
        const LITERAL: i8 = 3;
        const PREFIXED: i8 = 4;
        match self {
            Self::Topic(name) => (2, name, LITERAL),
            Self::TopicsBeginningWith(prefix) => (2, prefix, PREFIXED),
            Self::Group(name) => (3, name, LITERAL),
            Self::Cluster => (4, "kafka-cluster", LITERAL),
        }
    }
}

/// What is done, by Kafka's numbers.
#[derive(Debug, Clone, Copy)]
enum Operation {
    Read = 3,
    Write = 4,
    Create = 5,
    Describe = 8,
    DescribeConfigs = 10,
    AlterConfigs = 11,
    IdempotentWrite = 12,
}

use Operation::{
    AlterConfigs, Create, Describe, DescribeConfigs, IdempotentWrite, Read, Write as WriteTo,
};

/// Looking, which never changes anything.
const READING: [Operation; 3] = [Describe, DescribeConfigs, Read];
/// All that keeping a topic takes, but for deleting it.
const KEEPING: [Operation; 6] = [
    Create,
    Describe,
    DescribeConfigs,
    AlterConfigs,
    WriteTo,
    Read,
];

/// In the hub the relay keeps the topic; MirrorMaker 2 reads it, and may change nothing at all.
pub(super) fn in_the_hub() -> Vec<Right> {
    let topic = || Resource::Topic(MASTER_DATA_TOPIC.to_owned());
    [
        rights(KafkaUser::Relay, &topic(), &KEEPING),
        rights(KafkaUser::Relay, &Resource::Cluster, &[IdempotentWrite]),
        rights(
            KafkaUser::Relay,
            &Resource::Group(relay::GROUP.to_owned()),
            &[Describe, Read],
        ),
        rights(KafkaUser::Mirror, &topic(), &READING),
        rights(KafkaUser::Applier, &topic(), &READING),
    ]
    .concat()
}

/// In a spoke MirrorMaker 2 keeps the topic and its own; the applier reads.
pub(super) fn in_a_spoke(hub: &RegionId) -> Vec<Right> {
    let topic = || Resource::Topic(MASTER_DATA_TOPIC.to_owned());
    // Made by MirrorMaker 2 even where its heartbeats are off.
    let heartbeats = Resource::Topic("heartbeats".to_owned());
    let own = Resource::TopicsBeginningWith("mm2-");
    let workers = Resource::Group(format!("{hub}-mm2"));
    [
        rights(KafkaUser::Mirror, &topic(), &KEEPING),
        rights(KafkaUser::Mirror, &own, &KEEPING),
        rights(KafkaUser::Mirror, &heartbeats, &[Create, Describe]),
        rights(KafkaUser::Mirror, &workers, &[Describe, Read]),
        rights(KafkaUser::Applier, &topic(), &READING),
        rights(
            KafkaUser::Applier,
            &Resource::Group(apply::GROUP.to_owned()),
            &[Describe, Read],
        ),
    ]
    .concat()
}

fn rights(user: KafkaUser, resource: &Resource, operations: &[Operation]) -> Vec<Right> {
    operations
        .iter()
        .map(|&operation| Right {
            user,
            resource: resource.clone(),
            operation,
        })
        .collect()
}

/// Grants rights in a cluster that has none yet, and waits until its broker knows them.
///
/// Asked of Kafka by hand: its `AclCommand` takes a JVM for every few rights.
pub(super) async fn grant(admin: &mut Connection, rights: &[Right]) -> Result<()> {
    create(admin, rights).await?;
    let deadline = Instant::now() + Duration::from_secs(30);
    // The controller has them now, and its broker follows.
    while count(admin).await? < rights.len() {
        ensure!(
            Instant::now() < deadline,
            "the broker does not know its ACLs"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

async fn create(admin: &mut Connection, rights: &[Right]) -> Result<()> {
    const CREATE_ACLS: (i16, i16) = (30, 1);
    const ALLOW: i8 = 3;
    let mut body = Writer::default();
    body.length(rights.len())?;
    for Right {
        user,
        resource,
        operation,
    } in rights
    {
        let (kind, name, pattern) = resource.encoded();
        body.i8(kind);
        body.string(name)?;
        body.i8(pattern);
        body.string(&format!("User:{}", user.name()))?;
        body.string("*")?;
        body.i8(*operation as i8);
        body.i8(ALLOW);
    }
    let answer = admin.ask(CREATE_ACLS, body).await?;
    let mut answer = Reader::new(&answer);
    let _throttled_ms = answer.i32()?;
    let results = answer.length()?;
    ensure!(results == rights.len(), "Kafka answered {results} ACLs");
    for right in rights {
        let (code, message) = (answer.i16()?, answer.nullable_string()?);
        ensure!(code == 0, "Kafka refused {right:?}: {code} {message:?}");
    }
    Ok(())
}

/// How many rights the broker knows.
async fn count(admin: &mut Connection) -> Result<usize> {
    const DESCRIBE_ACLS: (i16, i16) = (29, 1);
    const ANY: i8 = 1;
    let mut body = Writer::default();
    body.i8(ANY);
    body.null();
    body.i8(ANY);
    body.null();
    body.null();
    body.i8(ANY);
    body.i8(ANY);
    let answer = admin.ask(DESCRIBE_ACLS, body).await?;
    let mut answer = Reader::new(&answer);
    let _throttled_ms = answer.i32()?;
    let (code, message) = (answer.i16()?, answer.nullable_string()?);
    ensure!(
        code == 0,
        "Kafka does not describe ACLs: {code} {message:?}"
    );
    let mut known = 0;
    for _ in 0..answer.length()? {
        let _resource = (answer.i8()?, answer.nullable_string()?, answer.i8()?);
        let acls = answer.length()?;
        known += acls;
        for _ in 0..acls {
            let _who = (answer.nullable_string()?, answer.nullable_string()?);
            let _what = (answer.i8()?, answer.i8()?);
        }
    }
    Ok(known)
}
