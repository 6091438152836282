//! What the Prometheus operator scrapes: each pod by itself, under the jobs that the alerts' rules name.

use serde_json::{Value, json};

use super::{CORE, File, Plan, REPLICATOR, metadata, selector};

pub(super) fn pod_monitors(plan: Plan<'_>) -> File {
    File {
        name: "pod-monitors.yaml",
        about: "For the Prometheus operator: the jobs that infra/monitoring/rules/ name, with the label `region`.",
        objects: vec![
            pod_monitor(plan, CORE, "regional-core"),
            pod_monitor(plan, REPLICATOR, "replicator"),
        ],
    }
}

fn pod_monitor(plan: Plan<'_>, name: &str, job: &str) -> Value {
    let region = plan.region.id.as_str();
    json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": metadata(name),
        "spec": {
            "selector": {"matchLabels": selector(name)},
            "podMetricsEndpoints": [{
                "port": "http",
                "path": "/metrics",
                // A replicator names its region itself.
                "honorLabels": name == REPLICATOR,
                "relabelings": [
                    {"action": "replace", "targetLabel": "job", "replacement": job},
                    {"action": "replace", "targetLabel": "region", "replacement": region},
                ],
            }],
        },
    })
}
