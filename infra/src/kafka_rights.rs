//! Who may do what in a region's Kafka: granted on Kubernetes as `smpctl render` writes it, and likewise by the
//! platform on one machine.

use protocol::{APPLIER_GROUP, MASTER_DATA_TOPIC, RELAY_GROUP, RegionId};

/// Who connects to a broker, beside the operator, who may do anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// `replicator relay`: writes master data in the hub.
    Relay,
    /// `replicator apply`: reads master data in its own region.
    Applier,
    /// `MirrorMaker` 2: reads in the hub what it writes in the region.
    Mirror,
}

impl User {
    /// The name by which the broker knows the user.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Applier => "applier",
            Self::Mirror => "mirror",
        }
    }
}

/// What a right is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// One topic.
    Topic(String),
    /// All topics whose names begin so.
    TopicsBeginningWith(&'static str),
    /// A group of consumers, or of Connect's workers.
    Group(String),
    /// The cluster as a whole.
    Cluster,
}

/// What is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are Kafka's own names")]
pub enum Operation {
    Read,
    Write,
    Create,
    Describe,
    DescribeConfigs,
    AlterConfigs,
    IdempotentWrite,
}

impl Operation {
    /// Strimzi's name of it, which is Kafka's.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "Read",
            Self::Write => "Write",
            Self::Create => "Create",
            Self::Describe => "Describe",
            Self::DescribeConfigs => "DescribeConfigs",
            Self::AlterConfigs => "AlterConfigs",
            Self::IdempotentWrite => "IdempotentWrite",
        }
    }
}

use Operation::{AlterConfigs, Create, Describe, DescribeConfigs, IdempotentWrite, Read, Write};

/// What somebody may do with something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    /// Who.
    pub user: User,
    /// With what.
    pub resource: Resource,
    /// All that they may do.
    pub operations: &'static [Operation],
}

/// Looking, which never changes anything.
const READING: &[Operation] = &[Describe, DescribeConfigs, Read];
/// All that keeping a topic takes, but for deleting it.
const KEEPING: &[Operation] = &[Create, Describe, DescribeConfigs, AlterConfigs, Write, Read];
/// Belonging to a group.
const BELONGING: &[Operation] = &[Describe, Read];

/// In the hub the relay keeps the topic; `MirrorMaker` 2 reads it, and may change nothing at all.
#[must_use]
pub fn in_the_hub() -> Vec<Right> {
    let topic = || Resource::Topic(MASTER_DATA_TOPIC.to_owned());
    vec![
        right(User::Relay, topic(), KEEPING),
        right(User::Relay, Resource::Cluster, &[IdempotentWrite]),
        right(
            User::Relay,
            Resource::Group(RELAY_GROUP.to_owned()),
            BELONGING,
        ),
        right(User::Mirror, topic(), READING),
    ]
}

/// In a spoke `MirrorMaker` 2 keeps the topic and its own; the applier reads.
#[must_use]
pub fn in_a_spoke(hub: &RegionId) -> Vec<Right> {
    let topic = || Resource::Topic(MASTER_DATA_TOPIC.to_owned());
    // Made by MirrorMaker 2 even where its heartbeats are off.
    let heartbeats = Resource::Topic("heartbeats".to_owned());
    let workers = Resource::Group(workers_group(hub));
    vec![
        right(User::Mirror, topic(), KEEPING),
        right(User::Mirror, Resource::TopicsBeginningWith("mm2-"), KEEPING),
        right(User::Mirror, heartbeats, &[Create, Describe]),
        right(User::Mirror, workers, BELONGING),
        right(User::Applier, topic(), READING),
        right(
            User::Applier,
            Resource::Group(APPLIER_GROUP.to_owned()),
            BELONGING,
        ),
    ]
}

/// The group of the workers of a `MirrorMaker` 2 that reads in this hub; its own name of it where it runs by itself.
#[must_use]
pub fn workers_group(hub: &RegionId) -> String {
    format!("{hub}-mm2")
}

fn right(user: User, resource: Resource, operations: &'static [Operation]) -> Right {
    Right {
        user,
        resource,
        operations,
    }
}
