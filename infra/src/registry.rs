//! The region registry: one file a region, named after it.

pub mod edit;
pub mod kubernetes;
mod new;
pub mod sign_off;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::ValueEnum;
use protocol::routes::Origin;
use protocol::{Country, RegionId};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

pub use kubernetes::{BROKER_PORT, Kubernetes, KubernetesKafka, KubernetesPostgres};
pub use new::NewRegion;
pub use sign_off::SignOff;

/// A region as its file describes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// The id, which is also the file's name.
    pub id: RegionId,
    /// What people call it.
    pub name: String,
    /// Whether master data is written here.
    pub role: Role,
    /// The countries whose data this region may hold. A country moves here only when it is listed.
    #[serde(deserialize_with = "in_capitals")]
    pub countries: Vec<Country>,
    /// Where it runs.
    pub location: Location,
    /// Whose law applies.
    pub jurisdiction: Jurisdiction,
    /// Who runs it, and how long that takes to begin.
    pub operation: Operation,
    /// Whether records may wait outside of it, at the edge, sealed to its key.
    pub spool: Spool,
    /// Its Kafka cluster.
    pub kafka: Kafka,
    /// A spoke's `replicator apply`, which the hub asks how far it is.
    #[serde(default, deserialize_with = "origin")]
    pub replicator: Option<Origin>,
    /// How it runs on Kubernetes.
    pub kubernetes: Kubernetes,
    /// Counsel's leave to serve; without it no route to it is opened.
    #[serde(default)]
    pub sign_off: Option<SignOff>,
}

impl Region {
    /// The namespace that holds the region on Kubernetes.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.kubernetes
            .namespace
            .as_deref()
            .unwrap_or(self.id.as_str())
    }
}

fn origin<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Origin>, D::Error> {
    let origin = String::deserialize(deserializer)?;
    Origin::parse(&origin).map(Some).map_err(D::Error::custom)
}

/// A region's part in master data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Master data is written here. There is one hub.
    Hub,
    /// Master data is only read here.
    Spoke,
}

/// Whether a region's records may wait outside of it. A law may forbid even ciphertext abroad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Spool {
    /// Sealed to the region's key.
    Sealed,
    /// Not at all.
    Off,
}

impl Spool {
    /// As the registry and the route table write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sealed => "sealed",
            Self::Off => "off",
        }
    }
}

/// Where a region runs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Location {
    /// Who runs the machines.
    pub provider: String,
    /// The provider's name of the place.
    pub place: String,
}

/// Whose law applies to a region's data.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jurisdiction {
    /// Data-protection laws.
    pub laws: Vec<String>,
    /// What must be granted before the region may serve.
    #[serde(default)]
    pub licences: Vec<String>,
}

/// Who runs a region.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// Whose machines they are.
    pub model: OperationModel,
    /// From the decision to open the region until it may serve, in weeks.
    #[serde(deserialize_with = "weeks")]
    pub lead_time_weeks: u8,
}

/// Whose machines a region runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum OperationModel {
    /// Ours.
    Own,
    /// Of a partner, who alone may log in there.
    Partner,
}

impl OperationModel {
    /// As the registry writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Partner => "partner",
        }
    }
}

const MAX_LEAD_TIME_WEEKS: u8 = 104;

fn weeks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let weeks = u64::deserialize(deserializer)?;
    u8::try_from(weeks)
        .ok()
        .filter(|weeks| *weeks <= MAX_LEAD_TIME_WEEKS)
        .ok_or_else(|| {
            D::Error::custom(format!(
                "operation.lead_time_weeks: {weeks}: 0 to {MAX_LEAD_TIME_WEEKS} is expected"
            ))
        })
}

/// A region's Kafka cluster, through which master data reaches it.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "KafkaTable")]
pub struct Kafka {
    /// Where clients begin: `host:port`, at least one.
    pub bootstrap_servers: Vec<String>,
    /// On how many brokers each topic is kept.
    pub replication_factor: u8,
    /// How clients connect.
    pub security_protocol: SecurityProtocol,
    /// How clients show their password.
    pub sasl_mechanism: SaslMechanism,
}

/// How clients of a Kafka cluster show their password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum SaslMechanism {
    /// As it is.
    #[default]
    #[serde(rename = "PLAIN")]
    Plain,
    /// As the answer to a challenge: Strimzi's brokers take no other password.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl SaslMechanism {
    /// Kafka's name of it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }

    /// The class by which a client in Java does it.
    #[must_use]
    pub fn login_module(self) -> &'static str {
        match self {
            Self::Plain => "org.apache.kafka.common.security.plain.PlainLoginModule",
            Self::ScramSha512 => "org.apache.kafka.common.security.scram.ScramLoginModule",
        }
    }
}

/// How clients of a Kafka cluster connect. They always say who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum SecurityProtocol {
    /// User and password, encrypted.
    #[serde(rename = "SASL_SSL")]
    SaslSsl,
    /// User and password in the clear: on one machine only.
    #[serde(rename = "SASL_PLAINTEXT")]
    SaslPlaintext,
}

impl SecurityProtocol {
    /// Kafka's name of it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SaslSsl => "SASL_SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
        }
    }
}

/// [`Kafka`] as it is written, not yet judged.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KafkaTable {
    bootstrap_servers: Vec<String>,
    replication_factor: u8,
    security_protocol: SecurityProtocol,
    #[serde(default)]
    sasl_mechanism: SaslMechanism,
}

impl TryFrom<KafkaTable> for Kafka {
    type Error = String;

    fn try_from(table: KafkaTable) -> Result<Self, String> {
        let mut mistakes = Vec::new();
        if table.bootstrap_servers.is_empty() {
            mistakes.push("kafka.bootstrap_servers: at least one host:port is needed".to_owned());
        }
        for server in &table.bootstrap_servers {
            if !is_host_and_port(server) {
                mistakes.push(format!(
                    "kafka.bootstrap_servers: \"{server}\": host:port is expected"
                ));
            } else if table.security_protocol == SecurityProtocol::SaslPlaintext
                && !server.starts_with("127.0.0.1:")
            {
                mistakes.push(format!(
                    "kafka.security_protocol: SASL_PLAINTEXT would show passwords on the way to \
                     {server}: write SASL_SSL"
                ));
            }
        }
        if table.replication_factor == 0 {
            mistakes.push("kafka.replication_factor: at least 1 is needed".to_owned());
        }
        if !mistakes.is_empty() {
            return Err(mistakes.join("; "));
        }
        Ok(Self {
            bootstrap_servers: table.bootstrap_servers,
            replication_factor: table.replication_factor,
            security_protocol: table.security_protocol,
            sasl_mechanism: table.sasl_mechanism,
        })
    }
}

/// Nothing else may stand in a bootstrap server: it is written into a properties file, where a line
/// break, a comma or a `$` would mean something.
fn is_host_and_port(server: &str) -> bool {
    server.split_once(':').is_some_and(|(host, port)| {
        !host.is_empty()
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
            && port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

/// The registry, as far as it could be read.
#[derive(Debug)]
pub struct Registry {
    /// The regions whose files could be read, sorted by id.
    pub regions: Vec<Region>,
    /// Why the other files, or the folder, could not be.
    pub mistakes: Vec<String>,
    /// The other files' names, which should be ids; `None` if not even the folder could be read.
    unread: Option<BTreeSet<String>>,
}

impl Registry {
    /// A region whose file could be read.
    #[must_use]
    pub fn find(&self, id: &RegionId) -> Option<&Region> {
        self.regions.iter().find(|region| region.id == *id)
    }

    /// Whether a region surely has no file: one that cannot be read is there all the same.
    #[must_use]
    pub fn lacks(&self, id: &RegionId) -> bool {
        let may_be_unread = self
            .unread
            .as_ref()
            .is_none_or(|names| names.contains(id.as_str()));
        self.find(id).is_none() && !may_be_unread
    }
}

/// Reads the text of one region's file.
pub fn parse(text: &str) -> Result<Region, String> {
    toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())
}

/// Reads the registry, sorted by id. Every file that cannot be read is a mistake of its own.
pub fn read(directory: &Path) -> Result<Vec<Region>, Vec<String>> {
    let Registry {
        regions, mistakes, ..
    } = survey(directory);
    if mistakes.is_empty() {
        Ok(regions)
    } else {
        Err(mistakes)
    }
}

/// Reads what can be read of the registry.
#[must_use]
pub fn survey(directory: &Path) -> Registry {
    let mut registry = Registry {
        regions: Vec::new(),
        mistakes: Vec::new(),
        unread: None,
    };
    let paths = match files(directory) {
        Ok(paths) => paths,
        Err(error) => {
            let mistake = format!("{}: {error}", directory.display());
            registry.mistakes.push(mistake);
            return registry;
        }
    };
    let mut unread = BTreeSet::new();
    for path in paths {
        match read_file(&path) {
            Ok(region) => registry.regions.push(region),
            Err(mistake) => {
                let mistake = format!("{}: {mistake}", path.display());
                registry.mistakes.push(mistake);
                let name = path.file_stem().unwrap_or_default();
                unread.insert(name.to_string_lossy().into_owned());
            }
        }
    }
    registry.unread = Some(unread);
    registry
}

fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(directory)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    });
    paths.sort();
    Ok(paths)
}

fn read_file(path: &Path) -> Result<Region, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let region = parse(&text)?;
    if path
        .file_stem()
        .is_some_and(|stem| stem == region.id.as_str())
    {
        Ok(region)
    } else {
        Err(format!(
            "id: \"{}\" is expected in a file of that name",
            region.id
        ))
    }
}

/// Countries as the route table must spell them too, so that whoever looks for `VN` finds every place.
/// [`Country`] alone would take either case.
fn in_capitals<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Country>, D::Error> {
    let mut countries = Vec::new();
    let mut mistakes = Vec::new();
    for code in Vec::<String>::deserialize(deserializer)? {
        match Country::parse(&code) {
            Ok(country) if country.as_str() == code => countries.push(country),
            Ok(country) => mistakes.push(format!(
                "countries: \"{code}\": write it in capitals, {country}"
            )),
            Err(error) => mistakes.push(format!("countries: \"{code}\": {error}")),
        }
    }
    if mistakes.is_empty() {
        Ok(countries)
    } else {
        Err(D::Error::custom(mistakes.join("; ")))
    }
}
