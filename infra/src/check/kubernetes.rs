//! What is wrong with the regions' Kubernetes, by itself and between them.

use std::collections::BTreeMap;

use crate::registry::{BROKER_PORT, Region, Role, SaslMechanism, SecurityProtocol};

/// The mistakes of all regions.
pub(super) fn mistakes(regions: &[Region]) -> Vec<String> {
    let mut mistakes: Vec<_> = regions
        .iter()
        .flat_map(|region| {
            of_one(region)
                .into_iter()
                .map(|mistake| format!("infra/regions: {}: {mistake}", region.id))
        })
        .collect();
    let mut namespaces: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for region in regions {
        let owners = namespaces.entry(region.namespace()).or_default();
        owners.push(&region.id);
    }
    for (namespace, owners) in namespaces {
        if owners.len() > 1 {
            mistakes.push(format!(
                "infra/regions: kubernetes.namespace: {namespace} is that of {owners:?}; each region has one of its own"
            ));
        }
    }
    mistakes
}

fn of_one(region: &Region) -> Vec<String> {
    let mut mistakes = Vec::new();
    let kubernetes = &region.kubernetes;
    match (region.role, kubernetes.leaves_from.is_empty()) {
        (Role::Spoke, true) => mistakes.push(
            "kubernetes.leaves_from: at least one address range is needed: the hub's Kafka lets nobody else in"
                .to_owned(),
        ),
        (Role::Hub, false) => mistakes.push(
            "kubernetes.leaves_from: the hub calls on nobody's Kafka: leave it out".to_owned(),
        ),
        _ => {}
    }
    if kubernetes.kafka.is_some() {
        mistakes.extend(brokers(region));
    }
    mistakes
}

/// What Strimzi cannot do.
fn brokers(region: &Region) -> Vec<String> {
    let kafka = &region.kafka;
    let mut mistakes = Vec::new();
    let brokers = kafka.bootstrap_servers.len();
    // Each is a controller too, and an even one more lets no more of them fail.
    if !matches!(brokers, 3 | 5 | 7) {
        mistakes.push(format!(
            "kafka.bootstrap_servers: {brokers} are listed, and with [kubernetes.kafka] each is a broker: 3, 5 or 7 \
             are expected"
        ));
    }
    let port = format!(":{BROKER_PORT}");
    for server in &kafka.bootstrap_servers {
        if !server.ends_with(&port) {
            mistakes.push(format!(
                "kafka.bootstrap_servers: {server}: with [kubernetes.kafka] brokers listen at {BROKER_PORT} for other \
                 regions"
            ));
        }
    }
    if usize::from(kafka.replication_factor) > brokers {
        mistakes.push(format!(
            "kafka.replication_factor: {} is more than the {brokers} brokers",
            kafka.replication_factor
        ));
    }
    if (kafka.security_protocol, kafka.sasl_mechanism)
        != (SecurityProtocol::SaslSsl, SaslMechanism::ScramSha512)
    {
        mistakes.push(
            "kafka.sasl_mechanism: with [kubernetes.kafka] SCRAM-SHA-512 over SASL_SSL is expected: Strimzi's \
             brokers take no other password"
                .to_owned(),
        );
    }
    mistakes
}
