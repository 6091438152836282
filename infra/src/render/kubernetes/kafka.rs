//! The region's Kafka, by Strimzi, and who may do what there.

use serde_json::{Value, json};

use super::{
    File, KAFKA, KAFKA_PORT, MIRROR, Plan, REPLICATOR, hub_user, is_hub, metadata, selector,
};
use crate::kafka_rights::{self, Resource, Right, User};
use crate::registry::{BROKER_PORT, KubernetesKafka};

/// The version that the project's tests run; each Strimzi knows a few.
pub(super) const KAFKA_VERSION: &str = "4.3.0";

pub(super) fn kafka(plan: Plan<'_>) -> File {
    let objects = match &plan.region.kubernetes.kafka {
        Some(kafka) => vec![node_pool(plan, kafka), cluster(plan)],
        None => Vec::new(),
    };
    File {
        name: "kafka.yaml",
        about: "Kafka, by Strimzi. Each broker is a controller too. No topic is here: the replicator keeps its own.",
        objects,
    }
}

fn of_cluster(name: &str) -> Value {
    let mut metadata = metadata(name);
    if let Some(labels) = metadata
        .pointer_mut("/labels")
        .and_then(Value::as_object_mut)
    {
        labels.insert("strimzi.io/cluster".to_owned(), json!(KAFKA));
    }
    metadata
}

fn node_pool(plan: Plan<'_>, kafka: &KubernetesKafka) -> Value {
    json!({
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaNodePool",
        "metadata": of_cluster("brokers"),
        "spec": {
            "replicas": plan.region.kafka.bootstrap_servers.len(),
            "roles": ["controller", "broker"],
            "storage": {
                "type": "jbod",
                "volumes": [{
                    "id": 0,
                    "type": "persistent-claim",
                    "size": kafka.storage,
                    "class": kafka.storage_class,
                    "deleteClaim": false,
                    "kraftMetadata": "shared",
                }],
            },
        },
    })
}

fn cluster(plan: Plan<'_>) -> Value {
    let replication_factor = plan.region.kafka.replication_factor;
    let in_sync = replication_factor.saturating_sub(1).max(1);
    let mut listeners = vec![inside(plan)];
    if is_hub(plan.region) && !plan.spokes.is_empty() {
        listeners.push(outside(plan));
    }
    json!({
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "Kafka",
        "metadata": metadata(KAFKA),
        "spec": {
            "kafka": {
                "version": KAFKA_VERSION,
                "listeners": listeners,
                "authorization": {"type": "simple"},
                "config": {
                    "auto.create.topics.enable": false,
                    "default.replication.factor": replication_factor,
                    "min.insync.replicas": in_sync,
                    "offsets.topic.replication.factor": replication_factor,
                    "transaction.state.log.replication.factor": replication_factor,
                    "transaction.state.log.min.isr": in_sync,
                },
            },
            "entityOperator": {"userOperator": {}},
        },
    })
}

fn inside(plan: Plan<'_>) -> Value {
    let mut peers = vec![json!({"podSelector": {"matchLabels": selector(REPLICATOR)}})];
    if !is_hub(plan.region) {
        peers.push(json!({"podSelector": {"matchLabels": {"strimzi.io/cluster": MIRROR}}}));
    }
    json!({
        "name": "inside",
        "port": KAFKA_PORT,
        "type": "internal",
        "tls": true,
        "authentication": {"type": "scram-sha-512"},
        "networkPolicyPeers": peers,
    })
}

/// The hub's, for the `MirrorMaker` 2 of each spoke. Each broker tells of itself what the registry says of it.
fn outside(plan: Plan<'_>) -> Value {
    let servers = plan.region.kafka.bootstrap_servers.iter();
    let hosts: Vec<_> = servers
        .filter_map(|server| Some(server.split_once(':')?.0))
        .collect();
    let brokers: Vec<_> = hosts
        .iter()
        .enumerate()
        .map(|(broker, host)| json!({"broker": broker, "advertisedHost": host}))
        .collect();
    let ranges: Vec<_> = plan
        .spokes
        .iter()
        .flat_map(|spoke| &spoke.kubernetes.leaves_from)
        .map(ToString::to_string)
        .collect();
    let peers: Vec<_> = ranges
        .iter()
        .map(|range| json!({"ipBlock": {"cidr": range}}))
        .collect();
    json!({
        "name": "outside",
        "port": BROKER_PORT,
        "type": "loadbalancer",
        "tls": true,
        "authentication": {"type": "scram-sha-512"},
        "configuration": {
            // Else the address of whoever calls is lost on the way, and nobody would be let in.
            "externalTrafficPolicy": "Local",
            "loadBalancerSourceRanges": ranges,
            "bootstrap": {"alternativeNames": hosts},
            "brokers": brokers,
        },
        "networkPolicyPeers": peers,
    })
}

pub(super) fn users(plan: Plan<'_>) -> File {
    let mut objects = Vec::new();
    if plan.region.kubernetes.kafka.is_some() {
        if is_hub(plan.region) {
            let rights = kafka_rights::in_the_hub();
            objects.push(user(User::Relay.name(), User::Relay, &rights));
            objects.extend(
                plan.spokes
                    .iter()
                    .map(|spoke| user(&hub_user(spoke), User::Mirror, &rights)),
            );
        } else {
            let rights = kafka_rights::in_a_spoke(&plan.hub.id);
            objects.extend([User::Mirror, User::Applier].map(|who| user(who.name(), who, &rights)));
        }
    }
    File {
        name: "kafka-users.yaml",
        about: "Who may do what in Kafka. Strimzi makes the passwords: each is in a Secret called as the user.",
        objects,
    }
}

fn user(name: &str, who: User, rights: &[Right]) -> Value {
    let acls: Vec<_> = rights
        .iter()
        .filter(|right| right.user == who)
        .map(|right| {
            let resource = match &right.resource {
                Resource::Topic(name) => json!({"type": "topic", "name": name}),
                Resource::TopicsBeginningWith(prefix) => {
                    json!({"type": "topic", "name": prefix, "patternType": "prefix"})
                }
                Resource::Group(name) => json!({"type": "group", "name": name}),
                Resource::Cluster => json!({"type": "cluster"}),
            };
            let operations = right.operations.iter().map(|operation| operation.as_str());
            json!({"resource": resource, "operations": operations.collect::<Vec<_>>()})
        })
        .collect();
    json!({
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaUser",
        "metadata": of_cluster(name),
        "spec": {
            "authentication": {"type": "scram-sha-512"},
            "authorization": {"type": "simple", "acls": acls},
        },
    })
}
