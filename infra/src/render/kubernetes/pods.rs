//! What every pod of ours has in common.

use serde_json::{Value, json};

use super::{KAFKA, POSTGRES};
use crate::registry::Region;

/// Where the certificate is by which the database is known.
const POSTGRES_CA: &str = "/etc/smp-global/postgres";
/// Where the certificate is by which Kafka is known.
pub(super) const KAFKA_CA: &str = "/etc/smp-global/kafka";

/// A container of one of our images, at the version that this `smpctl` belongs to.
pub(super) fn container(region: &Region, image: &str, name: &str, args: &[&str]) -> Value {
    json!({
        "name": name,
        "image": format!("{}/{image}:{}", region.kubernetes.images, env!("CARGO_PKG_VERSION")),
        "args": args,
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
    })
}

/// Puts more into an object.
pub(super) fn with(mut object: Value, more: Value) -> Value {
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
    object
}

/// What a pod is, but for its containers.
pub(super) fn pod(more: Value) -> Value {
    let common = json!({
        // Else Kubernetes would set CORE_PORT and the like for the Service `core`, and a core refuses to start with a
        // CORE_ variable that it does not know.
        "enableServiceLinks": false,
        "automountServiceAccountToken": false,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    });
    with(common, more)
}

/// One variable.
pub(super) fn variable(name: &str, value: &str) -> Value {
    json!({"name": name, "value": value})
}

/// One variable, from one key of a Secret.
pub(super) fn secret_variable(name: &str, secret: &str, key: &str) -> Value {
    json!({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}})
}

/// All of a Secret's keys, as variables.
pub(super) fn from_secret(name: &str) -> Value {
    json!({"secretRef": {"name": name}})
}

/// The volumes, and where they are mounted, of the certificates that a pod checks by.
pub(super) fn certificates(region: &Region, kafka_too: bool) -> (Vec<Value>, Vec<Value>) {
    let kubernetes = &region.kubernetes;
    let postgres = kubernetes.postgres.as_ref();
    let postgres = postgres.map(|_| (POSTGRES, format!("{POSTGRES}-ca"), POSTGRES_CA));
    let kafka = kubernetes.kafka.as_ref().filter(|_| kafka_too);
    let kafka = kafka.map(|_| (KAFKA, format!("{KAFKA}-cluster-ca-cert"), KAFKA_CA));
    [postgres, kafka]
        .into_iter()
        .flatten()
        .map(|(name, secret, path)| {
            let name = format!("{name}-ca");
            // The CA's key, which CloudNativePG keeps beside the certificate, stays out.
            let items = json!([{"key": "ca.crt", "path": "ca.crt"}]);
            let volume = json!({"name": name, "secret": {"secretName": secret, "items": items}});
            let mount = json!({"name": name, "mountPath": path, "readOnly": true});
            (volume, mount)
        })
        .unzip()
}

/// The administrator's URL, of which only the password is secret, and that is made by `CloudNativePG`. Where the
/// database is managed, the Secret of the set-up holds the whole URL.
/// `database` is where they begin.
pub(super) fn administrator(region: &Region, variable_name: &str, database: &str) -> Vec<Value> {
    if region.kubernetes.postgres.is_none() {
        return Vec::new();
    }
    let password = "POSTGRES_SUPERUSER_PASSWORD";
    let host = format!("{POSTGRES}-rw.{}.svc", region.namespace());
    let url = format!(
        "postgres://postgres:$({password})@{host}/{database}?sslmode=verify-full&sslrootcert={POSTGRES_CA}/ca.crt"
    );
    vec![
        secret_variable(password, &format!("{POSTGRES}-superuser"), "password"),
        variable(variable_name, &url),
    ]
}
