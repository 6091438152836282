//! How a region runs on Kubernetes, as manifests in two stages: `stores` (`PostgreSQL` and Kafka, by their operators),
//! then `services` (what is ours). A third, `monitoring`, is for a cluster with the Prometheus operator.
//!
//! No manifest holds a secret's value. docs/kubernetes.md lists which Secrets must be there.

mod kafka;
mod mirror_maker;
mod monitoring;
mod network;
mod pods;
mod postgres;
mod services;

use serde_json::{Value, json};

use crate::registry::{Region, Role};

/// What a region's manifests are made of.
#[derive(Clone, Copy)]
struct Plan<'r> {
    region: &'r Region,
    hub: &'r Region,
    spokes: &'r [&'r Region],
}

/// A file of a stage: its name, why it is as it is, and its objects.
struct File {
    name: &'static str,
    about: &'static str,
    objects: Vec<Value>,
}

/// A region's files, by their paths below the folder of rendered files.
pub(super) fn files(
    region: &Region,
    hub: &Region,
    spokes: &[&Region],
) -> Result<Vec<(String, String)>, String> {
    let plan = Plan {
        region,
        hub,
        spokes,
    };
    let mut rendered = Vec::new();
    for (stage, files) in [
        ("stores", stores(plan)),
        ("services", services(plan)),
        ("monitoring", vec![monitoring::pod_monitors(plan)]),
    ] {
        let files: Vec<_> = files
            .into_iter()
            .filter(|file| !file.objects.is_empty())
            .collect();
        let folder = format!("kubernetes/{}/{stage}", region.id);
        let kustomization = kustomization(region, &files);
        for file in std::iter::once(kustomization).chain(files) {
            let text =
                text(region, &file).map_err(|error| format!("{folder}/{}: {error}", file.name))?;
            rendered.push((format!("{folder}/{}", file.name), text));
        }
    }
    Ok(rendered)
}

fn stores(plan: Plan<'_>) -> Vec<File> {
    vec![
        File {
            name: "namespace.yaml",
            about: "The namespace holds this region and nothing else.",
            objects: vec![namespace(plan.region)],
        },
        network::stores(plan),
        postgres::postgres(plan.region),
        kafka::kafka(plan),
        kafka::users(plan),
    ]
}

fn services(plan: Plan<'_>) -> Vec<File> {
    vec![
        network::services(plan),
        services::prepare(plan),
        services::core(plan.region),
        services::replicator(plan),
        mirror_maker::mirror_maker(plan),
    ]
}

/// What people want to know of a region where it runs is in the annotations.
fn namespace(region: &Region) -> Value {
    let jurisdiction = &region.jurisdiction;
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": region.namespace(),
            "labels": {
                "app.kubernetes.io/part-of": PART_OF,
                // Ours keep to `restricted`; an operator may be set up to make less of its pods.
                "pod-security.kubernetes.io/enforce": "baseline",
                "pod-security.kubernetes.io/warn": "restricted",
            },
            "annotations": {
                "smp-global/region": format!("{} ({})", region.name, region.id),
                "smp-global/location": format!("{}, {}", region.location.provider, region.location.place),
                "smp-global/laws": jurisdiction.laws.join("; "),
                "smp-global/licences": jurisdiction.licences.join("; "),
                "smp-global/operation": region.operation.model.as_str(),
                "smp-global/lead-time-weeks": region.operation.lead_time_weeks.to_string(),
            },
        },
    })
}

fn kustomization(region: &Region, files: &[File]) -> File {
    let names: Vec<_> = files.iter().map(|file| file.name).collect();
    File {
        name: "kustomization.yaml",
        about: "kubectl apply -k this folder. docs/kubernetes.md says in which order, and what must be there before.",
        objects: vec![json!({
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": region.namespace(),
            "resources": names,
        })],
    }
}

fn text(region: &Region, file: &File) -> Result<String, yaml_serde::Error> {
    let mut text = format!(
        "# rendered by smpctl render from infra/regions; change infra/regions/{}.toml instead\n#\n",
        region.id
    );
    for line in file.about.lines() {
        text.extend(["# ", line, "\n"]);
    }
    for object in &file.objects {
        text += "---\n";
        text += &yaml_serde::to_string(object)?;
    }
    Ok(text)
}

const PART_OF: &str = "smp-global";
const POSTGRES: &str = "postgres";
const KAFKA: &str = "kafka";
const CORE: &str = "core";
const REPLICATOR: &str = "replicator";
const PREPARE: &str = "prepare";
const MIRROR: &str = "mirror";

const POSTGRES_PORT: u16 = 5432;
/// Where Kafka listens for those in the namespace. Those of other regions come to `registry::BROKER_PORT`.
const KAFKA_PORT: u16 = 9092;
const CORE_PORT: u16 = 8701;
const REPLICATOR_PORT: u16 = 8790;

/// What `MirrorMaker` 2 of a spoke needs at the hub's Kafka: a Secret in the spoke's namespace.
const HUB_KAFKA: &str = "hub-kafka";

fn is_hub(region: &Region) -> bool {
    region.role == Role::Hub
}

/// As whom a spoke's `MirrorMaker` 2 calls on the hub's Kafka: each spoke has a name of its own there.
fn hub_user(spoke: &Region) -> String {
    format!("{MIRROR}-{}", spoke.id)
}

/// An object's name and labels. Its namespace comes from the kustomization.
fn metadata(name: &str) -> Value {
    json!({
        "name": name,
        "labels": {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": PART_OF},
    })
}

/// By which the pods of one of our own are known.
fn selector(name: &str) -> Value {
    json!({"app.kubernetes.io/name": name})
}

/// Where those in the namespace find Kafka.
fn own_kafka(region: &Region) -> String {
    if region.kubernetes.kafka.is_some() {
        format!(
            "{KAFKA}-kafka-bootstrap.{}.svc:{KAFKA_PORT}",
            region.namespace()
        )
    } else {
        region.kafka.bootstrap_servers.join(",")
    }
}
