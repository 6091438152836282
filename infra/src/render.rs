//! Files that are made from the registry: the settings of MirrorMaker 2, one file a spoke region, and whom
//! the hub's relay asks.
//!
//! They are checked in, so that a change of a region shows what becomes of it, and held true by
//! `smpctl render --check`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{fs, io};

use protocol::MASTER_DATA_TOPIC;
use serde::Serialize;

use crate::check;
use crate::registry::{Region, Registry, Role};

/// Every rendered file, by its name. Fails with what is wrong in the registry.
pub fn all(registry: &Registry) -> Result<BTreeMap<String, String>, Vec<String>> {
    let mut mistakes = registry.mistakes.clone();
    mistakes.extend(check::registry_mistakes(registry));
    let mut regions = registry.regions.iter();
    match regions.find(|region| region.role == Role::Hub) {
        Some(hub) if mistakes.is_empty() => {
            let spokes = || {
                let regions = registry.regions.iter();
                regions.filter(|region| region.role == Role::Spoke)
            };
            let mirrors =
                spokes().map(|spoke| (format!("mm2-{}.properties", spoke.id), mirror(hub, spoke)));
            let relay = (format!("relay-{}.env", hub.id), relay(hub, spokes()));
            Ok(mirrors.chain([relay]).collect())
        }
        _ => Err(mistakes),
    }
}

/// What the hub's relay is told of the regions, as lines of an environment file.
fn relay<'r>(hub: &Region, spokes: impl Iterator<Item = &'r Region>) -> String {
    let regions: Vec<_> = spokes
        .filter_map(|spoke| Some(format!("{}={}", spoke.id, spoke.replicator.as_ref()?)))
        .collect();
    format!(
        "\
# rendered by smpctl render from infra/regions; change the region's file instead
#
# Whom `replicator relay` of {} asks how far they are. The keys come from REPLICATOR_REGION_SECRETS.
REPLICATOR_REGIONS=\"{}\"
",
        hub.id,
        regions.join(" ")
    )
}

/// The settings of the MirrorMaker 2 that runs in a spoke region: hub → spoke, one topic, same name.
///
/// Worker settings need the target's alias in front, or are ignored without a word. Credentials come from
/// the environment when MirrorMaker 2 starts; not even Connect's own topics hold them.
#[must_use]
pub fn mirror(hub: &Region, spoke: &Region) -> String {
    let topic = MASTER_DATA_TOPIC.replace('.', r"\\.");
    let replication_factor = spoke.kafka.replication_factor;
    let hub_connection = connection(hub, "HUB");
    let spoke_connection = connection(spoke, "REGION");
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
replication.policy.class = org.apache.kafka.connect.mirror.IdentityReplicationPolicy
# MirrorMaker 2's own heartbeats would cross whatever the topics are.
heartbeats.replication.enabled = false

# The applier keeps its position in its database, and heartbeats are master data's own: nothing of this is
# used, and without it nothing is ever written in the hub.
emit.heartbeats.enabled = false
emit.checkpoints.enabled = false
emit.offset-syncs.enabled = false
sync.group.offsets.enabled = false
sync.topic.acls.enabled = false

# The region's topic is configured as the hub's; what is changed in the region only is undone.
sync.topic.configs.enabled = true
sync.topic.configs.interval.seconds = 10
refresh.topics.interval.seconds = 5

# Duplicates do no harm, since versions never go back: exactly once would cost time and buy nothing.
{spoke}.exactly.once.source.support = disabled
{spoke}.offset.flush.interval.ms = 1000
# Killed, it goes on when the group has given its predecessor up.
{spoke}.session.timeout.ms = 6000
{spoke}.heartbeat.interval.ms = 2000
{spoke}.scheduled.rebalance.max.delay.ms = 0
consumer.poll.timeout.ms = 100
tasks.max = 1

# What is on its way is in memory, each record as many small objects. A region that has much to catch up with
# would otherwise fill the heap with the producer's default of 32 MiB, and a task that has run out of memory
# stays dead while its process lives.
{hub}.consumer.fetch.max.bytes = 4194304
{spoke}.producer.buffer.memory = 4194304
{spoke}.producer.compression.type = lz4

replication.factor = {replication_factor}
heartbeats.topic.replication.factor = {replication_factor}
checkpoints.topic.replication.factor = {replication_factor}
config.storage.replication.factor = {replication_factor}
offset.storage.replication.factor = {replication_factor}
offset.storage.partitions = 1
status.storage.replication.factor = {replication_factor}
status.storage.partitions = 1

# One worker a region: there is nobody to forward to.
dedicated.mode.enable.internal.rest = false
plugin.discovery = service_load
{spoke}.plugin.discovery = service_load
"
    )
}

/// A cluster's address, and how to log in.
fn connection(region: &Region, whose: &str) -> String {
    let id = &region.id;
    let servers = region.kafka.bootstrap_servers.join(",");
    let protocol = region.kafka.security_protocol.as_str();
    format!(
        "\
{id}.bootstrap.servers = {servers}
{id}.security.protocol = {protocol}
{id}.sasl.mechanism = PLAIN
{id}.sasl.jaas.config = org.apache.kafka.common.security.plain.PlainLoginModule required \
         username=\"${{env:MM2_{whose}_USERNAME}}\" password=\"${{env:MM2_{whose}_PASSWORD}}\";
"
    )
}

/// A rendered file, held against the one that is there.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// The file's name.
    pub file: String,
    /// How the two compare.
    pub state: State,
    /// The lines that differ: `-` is there, `+` should be.
    pub lines: Vec<String>,
}

/// How a file compares to what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should be.
    Same,
    /// Has other contents.
    Changed,
    /// Is not there.
    Missing,
    /// Is there for a region that is not, or is the hub.
    LeftOver,
}

impl State {
    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Same => "is as rendered",
            Self::Changed => "differs",
            Self::Missing => "is missing",
            Self::LeftOver => "is left over",
        }
    }
}

/// Holds what is in a folder against what should be. The folder holds nothing but rendered files.
pub fn compare(rendered: &BTreeMap<String, String>, folder: &Path) -> io::Result<Vec<Comparison>> {
    let mut names: BTreeSet<_> = rendered.keys().cloned().collect();
    if folder.exists() {
        for entry in fs::read_dir(folder)? {
            names.insert(entry?.file_name().to_string_lossy().into_owned());
        }
    }
    names
        .into_iter()
        .map(|file| {
            let there = match fs::read_to_string(folder.join(&file)) {
                Ok(text) => Some(text),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
            let wanted = rendered.get(&file).map(String::as_str);
            let state = match (there.as_deref(), wanted) {
                (there, wanted) if there == wanted => State::Same,
                (None, _) => State::Missing,
                (_, None) => State::LeftOver,
                _ => State::Changed,
            };
            let lines = match state {
                State::Changed => difference(
                    there.as_deref().unwrap_or_default(),
                    wanted.unwrap_or_default(),
                ),
                _ => Vec::new(),
            };
            Ok(Comparison { file, state, lines })
        })
        .collect()
}

/// Makes the folder's files what they should be; what is left over is removed.
pub fn write(
    rendered: &BTreeMap<String, String>,
    comparisons: &[Comparison],
    folder: &Path,
) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for Comparison { file, state, .. } in comparisons {
        match (state, rendered.get(file)) {
            (State::Changed | State::Missing, Some(text)) => fs::write(folder.join(file), text)?,
            (State::LeftOver, _) => fs::remove_file(folder.join(file))?,
            _ => {}
        }
    }
    Ok(())
}

/// The lines between the first and the last that differ.
fn difference(there: &str, wanted: &str) -> Vec<String> {
    let (mut there, mut wanted): (Vec<_>, Vec<_>) =
        (there.lines().collect(), wanted.lines().collect());
    while there.last().is_some() && there.last() == wanted.last() {
        there.pop();
        wanted.pop();
    }
    let same = there
        .iter()
        .zip(&wanted)
        .take_while(|(there, wanted)| there == wanted)
        .count();
    let removed = there.iter().skip(same).map(|line| format!("-{line}"));
    let added = wanted.iter().skip(same).map(|line| format!("+{line}"));
    removed.chain(added).collect()
}
