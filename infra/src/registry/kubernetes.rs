//! How a region runs on Kubernetes, as the table `[kubernetes]` of its file says.

use ipnet::IpNet;
use serde::Deserialize;

/// Where brokers within the namespace listen for other regions, and so the port of each in `kafka.bootstrap_servers`.
pub const BROKER_PORT: u16 = 9093;

/// A region on Kubernetes.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "KubernetesTable")]
pub struct Kubernetes {
    /// The namespace that holds the region and nothing else; without it, it is called as the region.
    pub namespace: Option<String>,
    /// Where the images `regional-core` and `replicator` are, without a `/` at the end.
    pub images: String,
    /// How many cores serve at once.
    pub core_replicas: u8,
    /// The namespace of the ingress controller, which alone reaches the cores from outside.
    pub ingress_namespace: String,
    /// The namespace of Prometheus.
    pub monitoring_namespace: String,
    /// A spoke's: from which addresses what leaves it comes, so that the hub's Kafka lets it in and nobody else.
    pub leaves_from: Vec<IpNet>,
    /// `PostgreSQL` within the namespace, by `CloudNativePG`; without it the database is somewhere else, managed.
    pub postgres: Option<KubernetesPostgres>,
    /// Kafka within the namespace, by Strimzi; without it the brokers are somewhere else, managed.
    pub kafka: Option<KubernetesKafka>,
}

/// A region's `PostgreSQL`, by `CloudNativePG`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KubernetesPostgres {
    /// The image, with its version: the operator must not choose another one by itself.
    pub image: String,
    /// How many servers: one is written to, the others follow.
    pub instances: u8,
    /// How large each one's volume is.
    pub storage: String,
    /// Of which class the volumes are.
    pub storage_class: String,
    /// The `ObjectStore` of the Barman Cloud plugin that backups and the log go to, made beforehand; without it there
    /// are none.
    pub backup_store: Option<String>,
}

/// A region's Kafka, by Strimzi. It has as many brokers as `kafka.bootstrap_servers` lists.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KubernetesKafka {
    /// How large each broker's volume is.
    pub storage: String,
    /// Of which class the volumes are.
    pub storage_class: String,
}

/// [`Kubernetes`] as it is written, not yet judged.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KubernetesTable {
    namespace: Option<String>,
    images: String,
    core_replicas: u8,
    ingress_namespace: String,
    monitoring_namespace: String,
    #[serde(default)]
    leaves_from: Vec<String>,
    postgres: Option<KubernetesPostgres>,
    kafka: Option<KubernetesKafka>,
}

/// Collects what is wrong with each field.
#[derive(Default)]
struct Judge(Vec<String>);

impl Judge {
    fn expect(&mut self, holds: bool, field: &str, value: impl std::fmt::Display, expected: &str) {
        if !holds {
            self.0
                .push(format!("kubernetes.{field}: \"{value}\": {expected}"));
        }
    }

    /// What a field's text stands for, if it stands for anything.
    fn read<T>(
        &mut self,
        field: &str,
        text: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let mistake = match read(text) {
            Ok(value) => return Some(value),
            Err(mistake) => mistake,
        };
        self.0
            .push(format!("kubernetes.{field}: \"{text}\": {mistake}"));
        None
    }

    fn namespace(&mut self, field: &str, name: &str) {
        self.expect(
            is_dns_label(name),
            field,
            name,
            "1 to 63 lower-case letters, digits and hyphens are expected, with a letter or digit at both ends",
        );
    }

    fn name(&mut self, field: &str, name: &str) {
        self.read(field, name, object_name);
    }

    fn image(&mut self, field: &str, image: &str) {
        let (repository, version) = image.rsplit_once(':').unwrap_or((image, ""));
        self.expect(
            is_image_path(repository) && !version.is_empty() && is_image_part(version),
            field,
            image,
            "host/path:version is expected",
        );
    }

    fn count(&mut self, field: &str, count: u8, (least, most): (u8, u8), why: &str) {
        self.expect(
            (least..=most).contains(&count),
            field,
            count,
            &format!("{least} to {most} are expected{why}"),
        );
    }

    fn storage(&mut self, field: &str, size: &str) {
        self.expect(
            is_size(size),
            field,
            size,
            "a whole number with Gi or Ti is expected, as 100Gi",
        );
    }
}

impl TryFrom<KubernetesTable> for Kubernetes {
    type Error = String;

    fn try_from(table: KubernetesTable) -> Result<Self, String> {
        let mut judge = Judge::default();
        if let Some(namespace) = &table.namespace {
            judge.namespace("namespace", namespace);
            // Quotas and policies of the cluster itself would be ours, and ours its.
            judge.expect(
                namespace != "default" && !namespace.starts_with("kube-"),
                "namespace",
                namespace,
                "the cluster's own namespaces hold no region",
            );
        }
        judge.namespace("ingress_namespace", &table.ingress_namespace);
        judge.namespace("monitoring_namespace", &table.monitoring_namespace);
        judge.read("images", &table.images, images);
        judge.count(
            "core_replicas",
            table.core_replicas,
            (2, 20),
            ", so that one may restart",
        );
        let ranges = table.leaves_from.iter();
        let leaves_from = ranges
            .filter_map(|text| judge.read("leaves_from", text, range))
            .collect();
        if let Some(postgres) = &table.postgres {
            judge.image("postgres.image", &postgres.image);
            judge.count(
                "postgres.instances",
                postgres.instances,
                (2, 9),
                ", so that one may be lost",
            );
            judge.storage("postgres.storage", &postgres.storage);
            judge.name("postgres.storage_class", &postgres.storage_class);
            if let Some(store) = &postgres.backup_store {
                judge.name("postgres.backup_store", store);
            }
        }
        if let Some(kafka) = &table.kafka {
            judge.storage("kafka.storage", &kafka.storage);
            judge.name("kafka.storage_class", &kafka.storage_class);
        }
        if !judge.0.is_empty() {
            return Err(judge.0.join("; "));
        }
        Ok(Self {
            namespace: table.namespace,
            images: table.images,
            core_replicas: table.core_replicas,
            ingress_namespace: table.ingress_namespace,
            monitoring_namespace: table.monitoring_namespace,
            leaves_from,
            postgres: table.postgres,
            kafka: table.kafka,
        })
    }
}

/// Addresses from which a region's Kafka is called upon.
pub fn range(text: &str) -> Result<IpNet, String> {
    match text.parse::<IpNet>() {
        Ok(network) if network.prefix_len() > 0 => Ok(network.trunc()),
        // All of the world is nobody's address.
        Ok(_) => Err("some addresses are expected, not all".to_owned()),
        Err(_) => Err("an address range is expected, as 198.51.100.7/32".to_owned()),
    }
}

/// Where images are.
pub fn images(text: &str) -> Result<String, String> {
    if is_image_path(text) {
        return Ok(text.to_owned());
    }
    Err("host/path is expected, without a version".to_owned())
}

/// The name of an object of Kubernetes: a subdomain of RFC 1123.
pub fn object_name(text: &str) -> Result<String, String> {
    if text.len() <= 253 && text.split('.').all(is_dns_label) {
        return Ok(text.to_owned());
    }
    Err("a name of Kubernetes is expected: lower-case letters, digits, hyphens and dots".to_owned())
}

/// The name below which a region's names are; the longest of them, `replicator.`, is to fit into 253 bytes (RFC 1035).
pub fn domain(text: &str) -> Result<String, String> {
    if text.len() <= 240 && text.contains('.') && text.split('.').all(is_dns_label) {
        return Ok(text.to_owned());
    }
    Err(
        "a name of at most 240 lower-case letters, digits, hyphens and dots is expected, as smp-us.example.com"
            .to_owned(),
    )
}

/// A label of RFC 1123, which a namespace is.
fn is_dns_label(name: &str) -> bool {
    let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|byte| is_alphanumeric(byte) || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn is_image_path(path: &str) -> bool {
    // A port may follow the host.
    let (host, rest) = path.split_once('/').unwrap_or((path, ""));
    let (host, port) = host.split_once(':').unwrap_or((host, "443"));
    is_image_part(host)
        && port.parse::<u16>().is_ok()
        && !rest.is_empty()
        && rest.split('/').all(is_image_part)
}

fn is_image_part(part: &str) -> bool {
    !part.is_empty()
        && part
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn is_size(size: &str) -> bool {
    let number = size
        .strip_suffix("Gi")
        .or_else(|| size.strip_suffix("Ti"))
        .unwrap_or("");
    number.len() <= 5
        && !number.starts_with('0')
        && !number.starts_with('+')
        && number.parse::<u32>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_a_label_of_dns() {
        for good in ["a", "smp-asia", "2-east", &"n".repeat(63)] {
            assert!(is_dns_label(good), "{good}");
        }
        for bad in [
            "",
            "Smp",
            "smp_asia",
            "smp.asia",
            "-smp",
            "smp-",
            &"n".repeat(64),
        ] {
            assert!(!is_dns_label(bad), "{bad}");
        }
    }

    #[test]
    fn an_image_has_a_host_and_a_path() {
        for good in ["ghcr.io/smp", "registry.example.com:5000/a/b"] {
            assert!(is_image_path(good), "{good}");
        }
        for bad in [
            "",
            "ghcr.io",
            "ghcr.io/",
            "a b/c",
            "ghcr.io/a:1",
            "host:x/y",
        ] {
            assert!(!is_image_path(bad), "{bad}");
        }
    }

    #[test]
    fn a_size_is_a_whole_number_of_gibibytes_or_tebibytes() {
        for good in ["1Gi", "100Gi", "2Ti"] {
            assert!(is_size(good), "{good}");
        }
        for bad in [
            "",
            "Gi",
            "0Gi",
            "1.5Gi",
            "-1Gi",
            "+1Gi",
            "10G",
            "10",
            "100000000Gi",
        ] {
            assert!(!is_size(bad), "{bad}");
        }
    }
}
