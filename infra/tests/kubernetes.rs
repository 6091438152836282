//! What `smpctl render` makes of the registry for Kubernetes.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "clippy.toml allows these within test functions; the helpers beside them are tests too"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use infra::{registry, render};
use serde::Deserialize as _;
use serde_json::{Value, json};

/// A copy of the shipped regions, to be changed at will.
fn regions(name: &str) -> PathBuf {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("regions");
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kubernetes-{name}"));
    let _ = fs::remove_dir_all(&copy);
    fs::create_dir_all(&copy).unwrap();
    for entry in fs::read_dir(shipped).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    copy
}

fn replace(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{} has no {from:?}", file.display());
    fs::write(file, text.replacen(from, to, 1)).unwrap();
}

/// A table of a file, with those below it, is taken away.
fn remove_table(file: &Path, table: &str) {
    let text = fs::read_to_string(file).unwrap();
    let begin = text.find(&format!("\n[{table}]")).unwrap();
    let end = text[begin + 2..].find("\n[").map(|end| begin + 2 + end);
    let rest = end.map_or("", |end| &text[end..]);
    fs::write(file, format!("{}{rest}", &text[..begin])).unwrap();
}

fn rendered(regions: &Path) -> BTreeMap<String, String> {
    render::all(&registry::survey(regions)).unwrap()
}

/// The one mistake of a registry.
fn mistake(regions: &Path) -> String {
    let mistakes = render::all(&registry::survey(regions)).unwrap_err();
    let [mistake] = mistakes.try_into().unwrap();
    mistake
}

/// All objects of a region's stage.
fn objects(rendered: &BTreeMap<String, String>, region: &str, stage: &str) -> Vec<Value> {
    let folder = format!("kubernetes/{region}/{stage}/");
    rendered
        .iter()
        .filter(|(file, _)| file.starts_with(&folder))
        .flat_map(|(_, text)| yaml_serde::Deserializer::from_str(text))
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|object| object["kind"] != "Kustomization" && !object.is_null())
        .collect()
}

fn find<'o>(objects: &'o [Value], kind: &str, name: &str) -> &'o Value {
    objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("no {kind} {name}"))
}

fn kinds(objects: &[Value]) -> BTreeSet<&str> {
    objects
        .iter()
        .map(|object| object["kind"].as_str().unwrap())
        .collect()
}

#[test]
fn a_kustomization_lists_every_file_of_its_folder() {
    let rendered = rendered(&regions("kustomizations"));
    let mut folders = 0;
    for (path, text) in &rendered {
        let Some(folder) = path.strip_suffix("kustomization.yaml") else {
            continue;
        };
        folders += 1;
        let kustomization: Value = yaml_serde::from_str(text).unwrap();
        let listed = kustomization["resources"].as_array().unwrap().iter();
        let listed: BTreeSet<_> = listed
            .map(|name| format!("{folder}{}", name.as_str().unwrap()))
            .collect();
        let there = rendered.keys().filter(|other| other.starts_with(folder));
        let there: BTreeSet<_> = there.filter(|other| *other != path).cloned().collect();
        assert_eq!(listed, there);
    }
    assert_eq!(folders, 6);
}

#[test]
fn a_changed_region_has_changed_manifests() {
    for (from, to, stage, kind, name, pointer, expected) in [
        (
            "core_replicas = 2",
            "core_replicas = 7",
            "services",
            "Deployment",
            "core",
            "/spec/replicas",
            json!(7),
        ),
        (
            "images = \"registry.smp-china.example.com/smp-global\"",
            "images = \"registry.smp-china.example.com:5000/other\"",
            "services",
            "Deployment",
            "core",
            "/spec/template/spec/containers/0/image",
            json!(format!(
                "registry.smp-china.example.com:5000/other/regional-core:{}",
                env!("CARGO_PKG_VERSION")
            )),
        ),
        (
            "instances = 3",
            "instances = 2",
            "stores",
            "Cluster",
            "postgres",
            "/spec/postgresql/synchronous/dataDurability",
            json!("preferred"),
        ),
        (
            "storage = \"20Gi\"",
            "storage = \"1Ti\"",
            "stores",
            "KafkaNodePool",
            "brokers",
            "/spec/storage/volumes/0/size",
            json!("1Ti"),
        ),
        (
            "[kubernetes]",
            "[kubernetes]\nnamespace = \"crm-cn\"",
            "stores",
            "Namespace",
            "crm-cn",
            "/metadata/annotations/smp-global~1lead-time-weeks",
            json!("12"),
        ),
        (
            "replication_factor = 3",
            "replication_factor = 2",
            "services",
            "KafkaMirrorMaker2",
            "mirror",
            "/spec/mirrors/0/sourceConnector/config/replication.factor",
            json!(2),
        ),
    ] {
        let regions = regions("changed");
        replace(&regions.join("smp-china.toml"), from, to);
        let objects = objects(&rendered(&regions), "smp-china", stage);
        let object = find(&objects, kind, name);
        assert_eq!(object.pointer(pointer), Some(&expected), "{to}");
    }
}

#[test]
fn what_the_provider_runs_is_not_rendered_and_is_reached_where_it_is() {
    let regions = regions("managed");
    let china = regions.join("smp-china.toml");
    remove_table(&china, "kubernetes.postgres");
    remove_table(&china, "kubernetes.kafka");
    let rendered = rendered(&regions);
    let stores = objects(&rendered, "smp-china", "stores");
    assert_eq!(
        kinds(&stores),
        BTreeSet::from(["Namespace", "NetworkPolicy"])
    );

    let services = objects(&rendered, "smp-china", "services");
    let replicator = find(&services, "Deployment", "replicator");
    let container = &replicator["spec"]["template"]["spec"]["containers"][0];
    let env = container["env"].as_array().unwrap();
    let kafka = env
        .iter()
        .find(|variable| variable["name"] == "REPLICATOR_KAFKA");
    let servers = "kafka-1.smp-china.example.com:9093,kafka-2.smp-china.example.com:9093,\
                   kafka-3.smp-china.example.com:9093";
    assert_eq!(kafka.unwrap()["value"], servers);
    assert_eq!(container["volumeMounts"], json!([]));
    let mirror = find(&services, "KafkaMirrorMaker2", "mirror");
    assert_eq!(mirror["spec"]["target"]["bootstrapServers"], servers);
    // A public CA's certificates need no Secret.
    assert_eq!(
        mirror["spec"]["target"]["tls"],
        json!({"trustedCertificates": []})
    );
}

/// Both forms of `MirrorMaker` 2's settings say the same.
#[test]
fn mirror_maker_has_every_setting_of_the_properties() {
    let rendered = rendered(&regions("mirror"));
    let services = objects(&rendered, "smp-china", "services");
    let spec = &find(&services, "KafkaMirrorMaker2", "mirror")["spec"];
    let source = &spec["mirrors"][0];
    let mut compared = 0;
    for line in rendered["mm2-smp-china.properties"].lines() {
        let Some((key, value)) = line.split_once(" = ") else {
            continue;
        };
        let elsewhere = [
            ".servers",
            ".protocol",
            ".mechanism",
            ".jaas.config",
            ".enabled",
            ".topics",
        ];
        let is_of_a_cluster =
            key.starts_with("smp-") && elsewhere.iter().any(|end| key.ends_with(end));
        // What only one that runs by itself has to be told: which clusters, and which connectors not to start.
        let alone = [
            "clusters",
            "config.providers",
            "emit.heartbeats",
            "emit.checkpoints",
            "sync.group.offsets",
            "heartbeats.topic",
            "checkpoints.topic",
            "dedicated.mode",
            "plugin.discovery",
        ];
        if is_of_a_cluster
            || line.starts_with('#')
            || alone.iter().any(|start| key.starts_with(start))
        {
            continue;
        }
        let found = if let Some(key) = key.strip_prefix("smp-china.") {
            &spec["target"]["config"][key]
        } else if let Some(key) = key.strip_prefix("smp-asia.") {
            &source["sourceConnector"]["config"][format!("source.{key}")]
        } else if key == "tasks.max" {
            &source["sourceConnector"]["tasksMax"]
        } else if key.starts_with("config.")
            || key.starts_with("offset.")
            || key.starts_with("status.")
        {
            &spec["target"]["config"][key]
        } else {
            &source["sourceConnector"]["config"][key]
        };
        let found = found
            .as_str()
            .map_or_else(|| found.to_string(), str::to_owned);
        assert_eq!(found, value, "{key}");
        compared += 1;
    }
    assert_eq!(compared, 24);
    assert_eq!(source["topicsPattern"], r"smp_global\.master_data");
}

/// Each spoke's `MirrorMaker` 2 has a name of its own in the hub, where it may read and no more; nobody may delete.
#[test]
fn rights_in_kafka_are_what_each_needs() {
    let rendered = rendered(&regions("rights"));
    let hub = objects(&rendered, "smp-asia", "stores");
    let users = |objects: &[Value]| -> BTreeSet<String> {
        let users = objects
            .iter()
            .filter(|object| object["kind"] == "KafkaUser");
        users
            .map(|user| user["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        users(&hub),
        BTreeSet::from(["mirror-smp-china".to_owned(), "relay".to_owned()])
    );
    assert_eq!(
        find(&hub, "KafkaUser", "mirror-smp-china")["spec"]["authorization"]["acls"],
        json!([{
            "resource": {"type": "topic", "name": "smp_global.master_data"},
            "operations": ["Describe", "DescribeConfigs", "Read"],
        }])
    );
    let spoke = objects(&rendered, "smp-china", "stores");
    assert_eq!(
        users(&spoke),
        BTreeSet::from(["applier".to_owned(), "mirror".to_owned()])
    );
    for text in rendered.values() {
        assert!(!text.contains("- Delete") && !text.contains("- All"));
    }
}

#[test]
fn no_pod_of_ours_is_privileged_or_learns_of_services_by_variables() {
    let rendered = rendered(&regions("pods"));
    let mut containers = 0;
    for region in ["smp-asia", "smp-china"] {
        for object in objects(&rendered, region, "services") {
            let pod = &object["spec"]["template"]["spec"];
            if !matches!(object["kind"].as_str(), Some("Deployment" | "Job")) {
                continue;
            }
            // A Service called `core` would set CORE_PORT, which a core refuses.
            assert_eq!(pod["enableServiceLinks"], false);
            assert_eq!(pod["automountServiceAccountToken"], false);
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
            let both = [&pod["containers"], &pod["initContainers"]];
            for container in both.into_iter().filter_map(Value::as_array).flatten() {
                containers += 1;
                let context = &container["securityContext"];
                assert_eq!(context["readOnlyRootFilesystem"], true);
                assert_eq!(context["allowPrivilegeEscalation"], false);
                assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
                assert!(container["resources"]["limits"]["memory"].is_string());
            }
        }
    }
    assert_eq!(containers, 2 * (1 + 1 + 4));
}

/// Nothing in a manifest looks like a secret: no object is a Secret, and no variable whose name says so has a value.
#[test]
fn no_secret_has_a_value() {
    let rendered = rendered(&regions("secrets"));
    for region in ["smp-asia", "smp-china"] {
        for stage in ["stores", "services", "monitoring"] {
            for object in objects(&rendered, region, stage) {
                assert_ne!(object["kind"], "Secret");
                let text = object.to_string();
                assert!(!text.contains("\"stringData\""));
            }
        }
    }
    for text in rendered.values() {
        for (number, line) in text.lines().enumerate() {
            let name = line.trim_start().strip_prefix("- name: ").unwrap_or("");
            if name.ends_with("_PASSWORD") || name.ends_with("_SECRETS") || name.ends_with("_KEYS")
            {
                let next = text.lines().nth(number + 1).unwrap().trim_start();
                assert_eq!(next, "valueFrom:", "{name}");
            }
        }
    }
}

#[test]
fn the_network_is_closed_but_for_what_each_needs() {
    let rendered = rendered(&regions("network"));
    let stores = objects(&rendered, "smp-asia", "stores");
    let closed = &find(&stores, "NetworkPolicy", "default-deny")["spec"];
    assert_eq!(
        *closed,
        json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [], "egress": []})
    );
    let services = objects(&rendered, "smp-asia", "services");
    let core = &find(&services, "NetworkPolicy", "core")["spec"];
    let namespaces: Vec<_> = core["ingress"][0]["from"]
        .as_array()
        .unwrap()
        .iter()
        .map(|peer| &peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"])
        .collect();
    assert_eq!(namespaces, ["ingress-nginx", "monitoring"]);
    // Only a replicator of a spoke is asked from outside.
    let replicator = &find(&services, "NetworkPolicy", "replicator")["spec"];
    assert_eq!(
        replicator["ingress"][0]["from"].as_array().unwrap().len(),
        1
    );
    // The hub's Kafka lets the spokes' addresses in, and nobody else.
    let kafka = find(&stores, "Kafka", "kafka");
    let outside = &kafka["spec"]["kafka"]["listeners"][1];
    assert_eq!(
        outside["networkPolicyPeers"],
        json!([{"ipBlock": {"cidr": "198.51.100.20/32"}}])
    );
    let spoke = objects(&rendered, "smp-china", "stores");
    let listeners = &find(&spoke, "Kafka", "kafka")["spec"]["kafka"]["listeners"];
    assert_eq!(listeners.as_array().unwrap().len(), 1);
    // No policy names another region's namespace.
    for (path, text) in &rendered {
        if path.ends_with("network-policies.yaml") {
            let other = if path.contains("smp-asia") {
                "smp-china"
            } else {
                "smp-asia"
            };
            assert_eq!(text.matches(&format!(": {other}")).count(), 0, "{path}");
        }
    }
}

#[test]
fn what_kubernetes_or_the_operators_would_refuse_is_refused_by_name() {
    let long = format!("namespace = \"{}\"\nimages", "n".repeat(64));
    for (from, to, named) in [
        (
            "images",
            "namespace = \"SMP_China\"\nimages",
            "kubernetes.namespace: \"SMP_China\": 1 to 63 lower-case letters",
        ),
        ("images", &long, "1 to 63 lower-case letters"),
        (
            "images",
            "namespace = \"kube-system\"\nimages",
            "kubernetes.namespace: \"kube-system\": the cluster's own namespaces hold no region",
        ),
        (
            "images",
            "namespace = \"smp-asia\"\nimages",
            "kubernetes.namespace: smp-asia is that of [smp-asia, smp-china]; each region has one of its own",
        ),
        (
            "id = \"smp-china\"",
            "id = \"smp_china\"",
            "a region's id is 2 to 32 lower-case letters, digits and single hyphens",
        ),
        (
            "core_replicas = 2",
            "core_replicas = 1",
            "kubernetes.core_replicas: \"1\": 2 to 20 are expected",
        ),
        (
            "instances = 3",
            "instances = 10",
            "kubernetes.postgres.instances: \"10\": 2 to 9 are expected",
        ),
        (
            "storage = \"20Gi\"",
            "storage = \"20G\"",
            "kubernetes.kafka.storage: \"20G\": a whole number with Gi or Ti is expected",
        ),
        (
            "storage_class = \"alicloud-disk-essd\"",
            "storage_class = \"Fast Disk\"",
            "kubernetes.postgres.storage_class: \"Fast Disk\"",
        ),
        (
            "postgresql:18.6-system-trixie",
            "postgresql",
            "kubernetes.postgres.image: \"registry.smp-china.example.com/cloudnative-pg/postgresql\": host/path:version",
        ),
        (
            "smp-global\"\n",
            "smp-global:1\"\n",
            "kubernetes.images: \"registry.smp-china.example.com/smp-global:1\": host/path is expected",
        ),
        (
            "leaves_from = [\"198.51.100.20/32\"]",
            "leaves_from = [\"example.com\"]",
            "kubernetes.leaves_from: \"example.com\": an address range is expected",
        ),
        (
            "leaves_from = [\"198.51.100.20/32\"]",
            "",
            "smp-china: kubernetes.leaves_from: at least one address range is needed",
        ),
        ("backup_store", "backups", "unknown field `backups`"),
        (
            "sasl_mechanism = \"SCRAM-SHA-512\"",
            "sasl_mechanism = \"PLAIN\"",
            "smp-china: kafka.sasl_mechanism: with [kubernetes.kafka] SCRAM-SHA-512",
        ),
        (
            "kafka-3.smp-china.example.com:9093",
            "kafka-3.smp-china.example.com:9094",
            "kafka.bootstrap_servers: kafka-3.smp-china.example.com:9094: with [kubernetes.kafka] brokers listen at 9093",
        ),
        (
            ", \"kafka-3.smp-china.example.com:9093\"",
            "",
            "kafka.bootstrap_servers: 2 are listed, and with [kubernetes.kafka] each is a broker: 3, 5 or 7",
        ),
    ] {
        let regions = regions("refused");
        let file = regions.join("smp-china.toml");
        replace(&file, from, to);
        let mistakes = render::all(&registry::survey(&regions)).unwrap_err();
        assert!(
            mistakes.iter().any(|mistake| mistake.contains(named)),
            "no {named:?} in {mistakes:?}"
        );
    }
    let regions = regions("hub-leaves");
    replace(
        &regions.join("smp-asia.toml"),
        "[kubernetes]",
        "[kubernetes]\nleaves_from = [\"198.51.100.1/32\"]",
    );
    assert_eq!(
        mistake(&regions),
        "infra/regions: smp-asia: kubernetes.leaves_from: the hub calls on nobody's Kafka: leave it out"
    );
}
