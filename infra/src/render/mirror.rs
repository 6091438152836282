//! The settings of the `MirrorMaker` 2 that runs in a spoke region: hub → spoke, one topic, same name.
//!
//! There is one table of them ([`sections`]), from which both forms are made: the properties of a `MirrorMaker` 2
//! that runs by itself, and what Strimzi takes.

use protocol::MASTER_DATA_TOPIC;

use crate::registry::Region;

/// Whose setting it is. Each form spells that differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The connector's that copies.
    Connector,
    /// The connector's consumer's, in the hub.
    Consumer,
    /// The worker's, which runs in the spoke. Without the spoke's alias in front `MirrorMaker` 2 would ignore it
    /// without a word.
    Worker,
    /// The worker's too, of which `MirrorMaker` 2 wants no alias.
    WorkerWithoutAlias,
    /// Only of a `MirrorMaker` 2 that runs by itself: Strimzi starts no other connector than the one that copies.
    Alone,
}

/// One setting.
pub(super) struct Setting {
    pub(super) scope: Scope,
    pub(super) key: &'static str,
    pub(super) value: String,
}

/// Settings that belong together, and why they are as they are.
struct Section {
    reason: &'static str,
    settings: Vec<Setting>,
}

/// All settings but for the addresses, the credentials, the topic and which way it goes.
#[expect(clippy::too_many_lines, reason = "it is one table")]
fn sections(spoke: &Region) -> Vec<Section> {
    use Scope::{Alone, Connector, Consumer, Worker, WorkerWithoutAlias};
    let replication_factor = spoke.kafka.replication_factor.to_string();
    let replicated = |scope, key| (scope, key, replication_factor.as_str());
    [
        (
            "",
            vec![(
                Connector,
                "replication.policy.class",
                "org.apache.kafka.connect.mirror.IdentityReplicationPolicy",
            )],
        ),
        (
            "# MirrorMaker 2's own heartbeats would cross whatever the topics are.\n",
            vec![(Connector, "heartbeats.replication.enabled", "false")],
        ),
        (
            "
# The applier keeps its position in its database, and heartbeats are master data's own: nothing of this is
# used, and without it nothing is ever written in the hub.
",
            vec![
                (Alone, "emit.heartbeats.enabled", "false"),
                (Alone, "emit.checkpoints.enabled", "false"),
                (Connector, "emit.offset-syncs.enabled", "false"),
                (Alone, "sync.group.offsets.enabled", "false"),
                (Connector, "sync.topic.acls.enabled", "false"),
            ],
        ),
        (
            "
# The region's topic is configured as the hub's; what is changed in the region only is undone.
",
            vec![
                (Connector, "sync.topic.configs.enabled", "true"),
                (Connector, "sync.topic.configs.interval.seconds", "10"),
                (Connector, "refresh.topics.interval.seconds", "5"),
            ],
        ),
        (
            "
# Duplicates do no harm, since versions never go back: exactly once would cost time and buy nothing.
",
            vec![
                (Worker, "exactly.once.source.support", "disabled"),
                (Worker, "offset.flush.interval.ms", "1000"),
            ],
        ),
        (
            "# Killed, it goes on when the group has given its predecessor up.\n",
            vec![
                (Worker, "session.timeout.ms", "6000"),
                (Worker, "heartbeat.interval.ms", "2000"),
                (Worker, "scheduled.rebalance.max.delay.ms", "0"),
                (Connector, "consumer.poll.timeout.ms", "100"),
                (Connector, "tasks.max", "1"),
            ],
        ),
        (
            "
# What is on its way is in memory, each record as many small objects. A region that has much to catch up with
# would otherwise fill the heap with the producer's default of 32 MiB, and a task that has run out of memory
# stays dead while its process lives.
",
            vec![
                (Consumer, "fetch.max.bytes", "4194304"),
                (Worker, "producer.buffer.memory", "4194304"),
                (Worker, "producer.compression.type", "lz4"),
            ],
        ),
        (
            "\n",
            vec![
                replicated(Connector, "replication.factor"),
                replicated(Alone, "heartbeats.topic.replication.factor"),
                replicated(Alone, "checkpoints.topic.replication.factor"),
                replicated(WorkerWithoutAlias, "config.storage.replication.factor"),
                replicated(WorkerWithoutAlias, "offset.storage.replication.factor"),
                (WorkerWithoutAlias, "offset.storage.partitions", "1"),
                replicated(WorkerWithoutAlias, "status.storage.replication.factor"),
                (WorkerWithoutAlias, "status.storage.partitions", "1"),
            ],
        ),
        (
            "\n# One worker a region: there is nobody to forward to.\n",
            vec![
                (Alone, "dedicated.mode.enable.internal.rest", "false"),
                (Alone, "plugin.discovery", "service_load"),
                (Worker, "plugin.discovery", "service_load"),
            ],
        ),
    ]
    .into_iter()
    .map(|(reason, settings)| Section {
        reason,
        settings: settings
            .into_iter()
            .map(|(scope, key, value)| Setting {
                scope,
                key,
                value: value.to_owned(),
            })
            .collect(),
    })
    .collect()
}

/// All settings of the table, whatever belongs together.
pub(super) fn settings(spoke: &Region) -> impl Iterator<Item = Setting> {
    sections(spoke)
        .into_iter()
        .flat_map(|section| section.settings)
}

/// The topic as the pattern that Kafka reads.
pub(super) fn topic_pattern() -> String {
    MASTER_DATA_TOPIC.replace('.', r"\.")
}

/// The settings as properties. Credentials come from the environment when `MirrorMaker` 2 starts; not even
/// Connect's own topics hold them.
pub(super) fn properties(hub: &Region, spoke: &Region) -> String {
    // A properties file takes a backslash away.
    let topic = topic_pattern().replace('\\', r"\\");
    let hub_connection = connection(hub, "HUB");
    let spoke_connection = connection(spoke, "REGION");
    let settings = sections(spoke).iter().fold(String::new(), |text, section| {
        let lines = section.settings.iter().map(|setting| {
            let (hub, spoke) = (&hub.id, &spoke.id);
            let Setting { scope, key, value } = setting;
            match scope {
                Scope::Consumer => format!("{hub}.consumer.{key} = {value}\n"),
                Scope::Worker => format!("{spoke}.{key} = {value}\n"),
                Scope::Connector | Scope::WorkerWithoutAlias | Scope::Alone => {
                    format!("{key} = {value}\n")
                }
            }
        });
        text + section.reason + &lines.collect::<String>()
    });
    let (hub, spoke) = (&hub.id, &spoke.id);
    format!(
        "\
# rendered by smpctl render from infra/regions/{hub}.toml and infra/regions/{spoke}.toml; change the
# region's file instead
#
# MirrorMaker 2 of {spoke}, to be run there: MirrorMaker mm2-{spoke}.properties --clusters {spoke}

# Who it is at the hub (may read one topic) and in the region comes from the environment.
config.providers = env
config.providers.env.class = org.apache.kafka.common.config.provider.EnvVarConfigProvider
config.providers.env.param.allowlist.pattern = MM2_.*

clusters = {hub}, {spoke}
{hub_connection}
{spoke_connection}
# Hub to region only. Topics keep their names, so nothing else would break a cycle.
{hub}->{spoke}.enabled = true
{hub}->{spoke}.topics = {topic}
{spoke}->{hub}.enabled = false
{settings}"
    )
}

/// A cluster's address, and how to log in.
fn connection(region: &Region, whose: &str) -> String {
    let id = &region.id;
    let servers = region.kafka.bootstrap_servers.join(",");
    let protocol = region.kafka.security_protocol.as_str();
    let mechanism = region.kafka.sasl_mechanism;
    let (mechanism, module) = (mechanism.as_str(), mechanism.login_module());
    format!(
        "\
{id}.bootstrap.servers = {servers}
{id}.security.protocol = {protocol}
{id}.sasl.mechanism = {mechanism}
{id}.sasl.jaas.config = {module} required \
         username=\"${{env:MM2_{whose}_USERNAME}}\" password=\"${{env:MM2_{whose}_PASSWORD}}\";
"
    )
}
