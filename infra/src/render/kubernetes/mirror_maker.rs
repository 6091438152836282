//! A spoke's `MirrorMaker` 2, by Strimzi, with the settings of [`super::super::mirror`].

use serde_json::{Map, Value, json};

use super::super::mirror::{self, Scope};
use super::kafka::KAFKA_VERSION;
use super::{File, HUB_KAFKA, KAFKA, MIRROR, Plan, hub_user, is_hub, metadata, own_kafka};
use crate::kafka_rights::{User, workers_group};
use crate::registry::{Region, SaslMechanism};

pub(super) fn mirror_maker(plan: Plan<'_>) -> File {
    let objects = if is_hub(plan.region) {
        Vec::new()
    } else {
        vec![mirror_maker_2(plan)]
    };
    File {
        name: "mirror-maker.yaml",
        about: "MirrorMaker 2, by Strimzi: hub to region, one topic. infra/rendered/ has its settings with their reasons,\n\
                for one that runs by itself; both are made from one table.",
        objects,
    }
}

fn mirror_maker_2(plan: Plan<'_>) -> Value {
    let Plan {
        region: spoke, hub, ..
    } = plan;
    let (mut worker, mut connector, mut tasks) = (Map::new(), Map::new(), Value::Null);
    for setting in mirror::settings(spoke) {
        let value = typed(&setting.value);
        match setting.scope {
            Scope::Worker | Scope::WorkerWithoutAlias => {
                worker.insert(setting.key.to_owned(), value);
            }
            Scope::Consumer => {
                connector.insert(format!("source.consumer.{}", setting.key), value);
            }
            Scope::Connector if setting.key == "tasks.max" => tasks = value,
            Scope::Connector => {
                connector.insert(setting.key.to_owned(), value);
            }
            Scope::Alone => {}
        }
    }
    // As MirrorMaker 2 calls them where it runs by itself: rights are granted by these names.
    let topic = |what: &str| format!("mm2-{what}.{}.internal", hub.id);
    let user = User::Mirror.name();
    json!({
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaMirrorMaker2",
        "metadata": metadata(MIRROR),
        "spec": {
            "version": KAFKA_VERSION,
            "replicas": 1,
            // Without it a task that has run out of memory stays dead while its process lives.
            "jvmOptions": {"-XX": {"ExitOnOutOfMemoryError": "true"}},
            "target": {
                "alias": spoke.id.as_str(),
                "bootstrapServers": own_kafka(spoke),
                "groupId": workers_group(&hub.id),
                "configStorageTopic": topic("configs"),
                "offsetStorageTopic": topic("offsets"),
                "statusStorageTopic": topic("status"),
                "tls": trust(spoke, &format!("{KAFKA}-cluster-ca-cert")),
                "authentication": login(spoke, user, user),
                "config": worker,
            },
            "mirrors": [{
                "source": {
                    "alias": hub.id.as_str(),
                    "bootstrapServers": hub.kafka.bootstrap_servers.join(","),
                    "tls": trust(hub, HUB_KAFKA),
                    "authentication": login(hub, &hub_user(spoke), HUB_KAFKA),
                },
                "sourceConnector": {"tasksMax": tasks, "config": connector},
                "topicsPattern": mirror::topic_pattern(),
            }],
        },
    })
}

/// Strimzi's brokers have certificates of a CA of their own; managed ones of a public CA.
fn trust(region: &Region, secret: &str) -> Value {
    let certificates = match region.kubernetes.kafka {
        Some(_) => vec![json!({"secretName": secret, "pattern": "*.crt"})],
        None => Vec::new(),
    };
    json!({"trustedCertificates": certificates})
}

fn login(region: &Region, user: &str, secret: &str) -> Value {
    let kind = match region.kafka.sasl_mechanism {
        SaslMechanism::Plain => "plain",
        SaslMechanism::ScramSha512 => "scram-sha-512",
    };
    json!({
        "type": kind,
        "username": user,
        "passwordSecret": {"secretName": secret, "password": "password"},
    })
}

/// A setting as YAML would write it by hand.
fn typed(value: &str) -> Value {
    match value {
        "true" => json!(true),
        "false" => json!(false),
        _ => value
            .parse::<i64>()
            .map_or_else(|_| json!(value), |number| json!(number)),
    }
}
