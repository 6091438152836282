//! Who may reach whom. Nothing may but what stands here, or what an operator adds for the pods that it makes.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    CORE, CORE_PORT, File, KAFKA, KAFKA_PORT, MIRROR, POSTGRES, POSTGRES_PORT, PREPARE, Plan,
    REPLICATOR, REPLICATOR_PORT, is_hub, metadata, selector,
};
use crate::registry::Region;

/// Where the operators are, as their own manuals install them.
const POSTGRES_OPERATOR: &str = "cnpg-system";
/// By which `CloudNativePG` looks after its servers, and by which they tell of themselves.
const POSTGRES_STATUS_PORT: u16 = 8000;
const POSTGRES_METRICS_PORT: u16 = 9187;

/// The servers of Kubernetes: at 443 as its Service, at 6443 behind that.
const KUBERNETES_PORTS: [u16; 2] = [443, 6443];

pub(super) fn stores(plan: Plan<'_>) -> File {
    let kubernetes = &plan.region.kubernetes;
    let mut objects = vec![
        policy("default-deny", &json!({}), &[], &[]),
        policy("dns", &json!({}), &[], &dns()),
    ];
    if kubernetes.postgres.is_some() {
        let itself = || pods(&postgres_pods());
        let clients = [CORE, REPLICATOR, PREPARE].map(|name| pods(&selector(name)));
        objects.push(policy(
            POSTGRES,
            &postgres_pods(),
            &[
                from(&[itself()], &[POSTGRES_PORT, POSTGRES_STATUS_PORT]),
                from(&clients, &[POSTGRES_PORT]),
                from(&[namespace(POSTGRES_OPERATOR)], &[POSTGRES_STATUS_PORT]),
                from(
                    &[namespace(&kubernetes.monitoring_namespace)],
                    &[POSTGRES_METRICS_PORT],
                ),
            ],
            &[
                to(&[itself()], &[POSTGRES_PORT, POSTGRES_STATUS_PORT]),
                // The object store too.
                to(&anywhere(), &KUBERNETES_PORTS),
            ],
        ));
    }
    if kubernetes.kafka.is_some() {
        // Who comes in is said at each listener, and Strimzi makes policies of it.
        let itself = json!({"strimzi.io/cluster": KAFKA});
        objects.push(policy(
            KAFKA,
            &itself,
            &[],
            &[
                json!({"to": [pods(&itself)]}),
                to(&anywhere(), &KUBERNETES_PORTS),
            ],
        ));
    }
    File {
        name: "network-policies.yaml",
        about: "Nothing reaches anything, but for what a policy allows; nothing of another region's namespace is in one.",
        objects,
    }
}

pub(super) fn services(plan: Plan<'_>) -> File {
    let region = plan.region;
    let kubernetes = &region.kubernetes;
    let monitoring = || namespace(&kubernetes.monitoring_namespace);
    let ingress = || namespace(&kubernetes.ingress_namespace);
    let mut replicator_out = vec![to_database(region), to_own_kafka(region)];
    let mut replicator_in = vec![monitoring()];
    if is_hub(region) {
        let ports = plan.spokes.iter().filter_map(|spoke| {
            let origin = spoke.replicator.as_ref()?.as_str();
            let (_, port) = origin.trim_start_matches("https://").split_once(':')?;
            port.parse().ok()
        });
        let ports: BTreeSet<u16> = ports.chain([443]).collect();
        if !plan.spokes.is_empty() {
            replicator_out.push(to(&outside(), &ports.into_iter().collect::<Vec<_>>()));
        }
    } else {
        // The hub asks how far the region is.
        replicator_in.push(ingress());
    }
    let mut objects = vec![
        policy(
            CORE,
            &selector(CORE),
            &[from(&[ingress(), monitoring()], &[CORE_PORT])],
            // Pancake, and where the keys are that verify staff's tokens.
            &[to_database(region), to(&outside(), &[443])],
        ),
        policy(
            REPLICATOR,
            &selector(REPLICATOR),
            &[from(&replicator_in, &[REPLICATOR_PORT])],
            &replicator_out,
        ),
        policy(PREPARE, &selector(PREPARE), &[], &[to_database(region)]),
    ];
    if !is_hub(region) {
        let itself = json!({"strimzi.io/cluster": MIRROR});
        objects.push(policy(
            MIRROR,
            &itself,
            &[],
            &[
                to_own_kafka(region),
                // By which way the hub's brokers are reached, and so from which addresses, is not known here.
                to(&anywhere(), &ports_of(plan.hub)),
                // Strimzi's pods read their passwords from Kubernetes.
                to(&anywhere(), &KUBERNETES_PORTS),
            ],
        ));
    }
    File {
        name: "network-policies.yaml",
        about: "What is ours: the core is reached by the ingress and Prometheus only, and reaches its database and 443\n\
                outside; the replicator its database and Kafka; MirrorMaker 2 its Kafka and the hub's.",
        objects,
    }
}

fn to_database(region: &Region) -> Value {
    match region.kubernetes.postgres {
        Some(_) => to(&[pods(&postgres_pods())], &[POSTGRES_PORT]),
        None => to(&anywhere(), &[POSTGRES_PORT]),
    }
}

fn to_own_kafka(region: &Region) -> Value {
    match region.kubernetes.kafka {
        Some(_) => to(
            &[pods(&json!({"strimzi.io/cluster": KAFKA}))],
            &[KAFKA_PORT],
        ),
        None => to(&anywhere(), &ports_of(region)),
    }
}

fn ports_of(region: &Region) -> Vec<u16> {
    let servers = region.kafka.bootstrap_servers.iter();
    let ports: BTreeSet<u16> = servers
        .filter_map(|server| server.split_once(':')?.1.parse().ok())
        .collect();
    ports.into_iter().collect()
}

fn policy(name: &str, of: &Value, ingress: &[Value], egress: &[Value]) -> Value {
    let of = match of.as_object() {
        Some(labels) if !labels.is_empty() => json!({"matchLabels": labels}),
        _ => json!({}),
    };
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(name),
        "spec": {
            "podSelector": of,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": ingress,
            "egress": egress,
        },
    })
}

fn postgres_pods() -> Value {
    json!({"cnpg.io/cluster": POSTGRES})
}

fn pods(labels: &Value) -> Value {
    json!({"podSelector": {"matchLabels": labels}})
}

fn namespace(name: &str) -> Value {
    json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}})
}

fn from(peers: &[Value], ports: &[u16]) -> Value {
    json!({"from": peers, "ports": tcp(ports)})
}

fn to(peers: &[Value], ports: &[u16]) -> Value {
    json!({"to": peers, "ports": tcp(ports)})
}

fn tcp(ports: &[u16]) -> Vec<Value> {
    let port = |number: &u16| json!({"protocol": "TCP", "port": number});
    ports.iter().map(port).collect()
}

/// Cluster DNS, also where each node answers it itself.
fn dns() -> Vec<Value> {
    let ports = ["UDP", "TCP"].map(|protocol| json!({"protocol": protocol, "port": 53}));
    let on_the_node = json!({"ipBlock": {"cidr": "169.254.20.10/32"}});
    vec![json!({"to": [namespace("kube-system"), on_the_node], "ports": ports})]
}

/// Any address.
fn anywhere() -> Vec<Value> {
    ["0.0.0.0/0", "::/0"]
        .map(|range| json!({"ipBlock": {"cidr": range}}))
        .to_vec()
}

/// Any address that is not private: no pod of this cluster or of a network beside it.
fn outside() -> Vec<Value> {
    let v4 = [
        "10.0.0.0/8",
        "100.64.0.0/10",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
    ];
    vec![
        json!({"ipBlock": {"cidr": "0.0.0.0/0", "except": v4}}),
        json!({"ipBlock": {"cidr": "::/0", "except": ["fc00::/7", "fe80::/10"]}}),
    ]
}
