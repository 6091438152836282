//! What is ours in a region: the core, the replicator, and what prepares their database.

use serde_json::{Value, json};

use super::pods::{
    KAFKA_CA, administrator, certificates, container, from_secret, pod, secret_variable, variable,
    with,
};
use super::{
    CORE, CORE_PORT, File, PREPARE, Plan, REPLICATOR, REPLICATOR_PORT, is_hub, metadata, own_kafka,
    selector,
};
use crate::kafka_rights::User;
use crate::registry::Region;
use crate::secrets::Database;

/// What a core may take (docs/gates.md), and a replicator likewise.
const MEMORY: &str = "256M";

/// Those of a service that one may do without, so that a node that fails takes one of them.
fn spread(name: &str) -> Value {
    let over = |key: &str| {
        json!({
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector(name)},
        })
    };
    json!([
        over("topology.kubernetes.io/zone"),
        over("kubernetes.io/hostname")
    ])
}

fn template(name: &str, pod: &Value) -> Value {
    let mut metadata = metadata(name);
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.remove("name");
    }
    json!({"metadata": metadata, "spec": pod})
}

fn probe(path: &str) -> Value {
    json!({"httpGet": {"path": path, "port": "http"}, "periodSeconds": 5, "timeoutSeconds": 2})
}

fn port(number: u16) -> Value {
    json!([{"name": "http", "containerPort": number}])
}

fn resources() -> Value {
    json!({"requests": {"cpu": "250m", "memory": MEMORY}, "limits": {"memory": MEMORY}})
}

fn service(name: &str, number: u16) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(name),
        "spec": {
            "selector": selector(name),
            "ports": [{"name": "http", "port": number, "targetPort": "http"}],
        },
    })
}

pub(super) fn core(region: &Region) -> File {
    let countries: Vec<_> = region.countries.iter().map(ToString::to_string).collect();
    let (volumes, mounts) = certificates(region, false);
    let container = with(
        container(region, "regional-core", CORE, &["serve"]),
        json!({
            "env": [
                variable("CORE_REGION", region.id.as_str()),
                variable("CORE_COUNTRIES", &countries.join(",")),
                variable("CORE_LISTEN", &format!("0.0.0.0:{CORE_PORT}")),
            ],
            "envFrom": [from_secret(CORE)],
            "ports": port(CORE_PORT),
            "readinessProbe": probe("/readyz"),
            "livenessProbe": with(probe("/healthz"), json!({"failureThreshold": 6})),
            // A core that ends takes no new connections at once, and it takes a moment until nobody opens one.
            "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
            "resources": resources(),
            "volumeMounts": mounts,
        }),
    );
    let pod = pod(json!({
        "containers": [container],
        "volumes": volumes,
        "topologySpreadConstraints": spread(CORE),
    }));
    File {
        name: "core.yaml",
        about: "The core. Secrets and what else differs from the defaults come from the Secret `core`.",
        objects: vec![
            json!({
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": metadata(CORE),
                "spec": {
                    "replicas": region.kubernetes.core_replicas,
                    "selector": {"matchLabels": selector(CORE)},
                    "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
                    "template": template(CORE, &pod),
                },
            }),
            service(CORE, CORE_PORT),
            json!({
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": metadata(CORE),
                "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector(CORE)}},
            }),
        ],
    }
}

pub(super) fn replicator(plan: Plan<'_>) -> File {
    let region = plan.region;
    let (command, user) = if is_hub(region) {
        ("relay", User::Relay)
    } else {
        ("apply", User::Applier)
    };
    let mut env = vec![
        variable("REPLICATOR_REGION", region.id.as_str()),
        variable("REPLICATOR_LISTEN", &format!("0.0.0.0:{REPLICATOR_PORT}")),
        variable("REPLICATOR_KAFKA", &own_kafka(region)),
        variable(
            "REPLICATOR_KAFKA_SECURITY_PROTOCOL",
            region.kafka.security_protocol.as_str(),
        ),
        variable(
            "REPLICATOR_KAFKA_SASL_MECHANISM",
            region.kafka.sasl_mechanism.as_str(),
        ),
        variable("REPLICATOR_KAFKA_USER", user.name()),
        secret_variable("REPLICATOR_KAFKA_PASSWORD", user.name(), "password"),
    ];
    if region.kubernetes.kafka.is_some() {
        env.push(variable(
            "REPLICATOR_KAFKA_CA",
            &format!("{KAFKA_CA}/ca.crt"),
        ));
    }
    if is_hub(region) {
        env.push(variable(
            "REPLICATOR_TOPIC_REPLICATION",
            &region.kafka.replication_factor.to_string(),
        ));
        let regions = super::super::replicators(plan.spokes.iter().copied());
        if !regions.is_empty() {
            env.push(variable("REPLICATOR_REGIONS", &regions));
        }
    }
    let (volumes, mounts) = certificates(region, true);
    let container = with(
        container(region, "replicator", REPLICATOR, &[command]),
        json!({
            "env": env,
            "envFrom": [from_secret(REPLICATOR)],
            "ports": port(REPLICATOR_PORT),
            "readinessProbe": probe("/healthz"),
            "livenessProbe": with(probe("/healthz"), json!({"failureThreshold": 6})),
            "resources": resources(),
            "volumeMounts": mounts,
        }),
    );
    let pod = pod(json!({"containers": [container], "volumes": volumes}));
    File {
        name: "replicator.yaml",
        about: "The replicator: the relay in the hub, the applier elsewhere. One is active; whatever it dies of, it is\n\
                started again.",
        objects: vec![
            json!({
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": metadata(REPLICATOR),
                "spec": {
                    "replicas": 1,
                    "selector": {"matchLabels": selector(REPLICATOR)},
                    "strategy": {"type": "Recreate"},
                    "template": template(REPLICATOR, &pod),
                },
            }),
            service(REPLICATOR, REPLICATOR_PORT),
        ],
    }
}

/// Roles, database, schemas: one after the other, each idempotent.
pub(super) fn prepare(plan: Plan<'_>) -> File {
    let region = plan.region;
    let (volumes, mounts) = certificates(region, false);
    let part = if is_hub(region) { "hub" } else { "region" };
    let step = |image: &str, name: &str, args: &[&str], env: Vec<Value>, secrets: &[&str]| {
        let secrets: Vec<_> = secrets.iter().map(|secret| from_secret(secret)).collect();
        with(
            container(region, image, name, args),
            json!({"env": env, "envFrom": secrets, "volumeMounts": mounts, "resources": resources()}),
        )
    };
    let core_setup = format!("{CORE}-setup");
    let replicator_setup = format!("{REPLICATOR}-setup");
    let countries: Vec<_> = region.countries.iter().map(ToString::to_string).collect();
    let core_env = || {
        vec![
            variable("CORE_REGION", region.id.as_str()),
            variable("CORE_COUNTRIES", &countries.join(",")),
        ]
    };
    let replicator_env = || vec![variable("REPLICATOR_REGION", region.id.as_str())];
    // The core's makes the database, the replicator's grants within it.
    let core_admin = administrator(region, "CORE_ADMIN_DATABASE_URL", "postgres");
    let replicator_admin = administrator(region, "REPLICATOR_ADMIN_DATABASE_URL", Database::NAME);
    let before = [
        step(
            "regional-core",
            "core-bootstrap",
            &["bootstrap"],
            [core_env(), core_admin].concat(),
            &[CORE, &core_setup],
        ),
        step(
            "regional-core",
            "core-migrate",
            &["migrate"],
            core_env(),
            &[CORE, &core_setup],
        ),
        step(
            "replicator",
            "replicator-provision",
            &["provision"],
            [replicator_env(), replicator_admin].concat(),
            &[REPLICATOR, &replicator_setup],
        ),
    ];
    let last = step(
        "replicator",
        "replicator-migrate",
        &["migrate", "--part", part],
        replicator_env(),
        &[&replicator_setup],
    );
    let pod = pod(json!({
        "restartPolicy": "OnFailure",
        "initContainers": before,
        "containers": [last],
        "volumes": volumes,
    }));
    // A Job cannot be changed, so each version has its own.
    let name = format!("{PREPARE}-{}", env!("CARGO_PKG_VERSION").replace('.', "-"));
    File {
        name: "prepare.yaml",
        about: "Makes roles, database and schemas before a version serves; until then a core is not ready, and a\n\
                replicator starts again and again. It can run any number of times.",
        objects: vec![json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": with(metadata(PREPARE), json!({"name": name})),
            "spec": {
                "backoffLimit": 10,
                "ttlSecondsAfterFinished": 86_400,
                "template": template(PREPARE, &pod),
            },
        })],
    }
}
