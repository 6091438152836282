//! Settings and secrets.
//!
//! Settings come from `config/default.toml`, which is compiled in, and from `CORE_…` variables over
//! it. Secrets come from variables only ([`secrets`]). Each mistake names its variable, and none quotes
//! a secret.

pub mod secrets;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::time::Duration;

use config::{FileFormat, Map, Source, Value, ValueKind};
use jiff::civil::Time;
use protocol::{Country, RegionId};
use serde::{Deserialize, Deserializer};
use url::{Host, Url};

use crate::auth::JwksLocation;

/// Every setting with its default and what it is for.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

const PREFIX: &str = "CORE_";

/// A start-up that cannot go on. Quotes no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A variable that must be set is not, or is empty.
    #[error("{0} is not set")]
    Missing(String),
    /// A variable has a value that cannot be used.
    #[error("{variable}: {reason}")]
    Invalid {
        /// The variable.
        variable: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A variable has our prefix and no meaning: most likely a misspelt one.
    #[error("{0} is not a setting of regional-core (regional-core/config/default.toml lists them)")]
    Unknown(String),
}

/// All settings that are no secrets. `config/default.toml` says what each is for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// This region.
    pub region: RegionId,
    /// The countries it serves.
    pub countries: BTreeSet<Country>,
    /// Worker threads; 0 is one per core.
    pub workers: usize,
    /// How long to finish what was accepted.
    #[serde(rename = "shutdown_timeout_ms", deserialize_with = "milliseconds")]
    pub shutdown_timeout: Duration,
    /// What to log.
    pub log: String,
    /// How to log.
    pub log_format: LogFormat,
    /// Where the keys are that verify bearer tokens. Without them no token is taken.
    #[serde(deserialize_with = "optional_location")]
    pub jwks: Option<JwksLocation>,
    /// Who issues them.
    pub jwt_issuer: String,
    /// For whom.
    pub jwt_audience: String,
    /// Limits of connections and requests.
    pub http: HttpLimits,
    /// Limits of taking records in.
    pub ingest: IngestLimits,
    /// How events are processed.
    pub processing: ProcessingLimits,
    /// How Pancake's REST interface is asked.
    pub pancake: PancakeLimits,
    /// When jobs are due.
    pub jobs: JobLimits,
    /// Limits of talking to the database.
    pub database: DatabaseLimits,
    /// How master data is kept up to date.
    pub master_data: MasterDataLimits,
}

/// How to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text to a terminal, JSON to anything else.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Limits of connections and requests.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpLimits {
    /// Open connections.
    pub max_connections: NonZeroU32,
    /// How long a request's head may take, and a kept-alive connection may idle.
    #[serde(rename = "header_timeout_ms", deserialize_with = "milliseconds")]
    pub header_timeout: Duration,
    /// How long a request's body may take.
    #[serde(rename = "body_timeout_ms", deserialize_with = "milliseconds")]
    pub body_timeout: Duration,
    /// How long a peer may take to read anything of an answer.
    #[serde(rename = "write_timeout_ms", deserialize_with = "milliseconds")]
    pub write_timeout: Duration,
    /// The largest head.
    pub max_header_bytes: NonZeroU32,
    /// The most headers.
    pub max_headers: NonZeroU32,
}

/// Limits of taking records in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngestLimits {
    /// Records that may wait.
    pub queue_rows: NonZeroUsize,
    /// Bytes of payload that may wait.
    pub queue_bytes: NonZeroU32,
    /// Rows in one round trip.
    pub batch_rows: NonZeroUsize,
    /// Bytes of payload after which a batch takes no further row.
    pub batch_bytes: NonZeroUsize,
    /// When a request is answered whatever has happened.
    #[serde(rename = "deadline_ms", deserialize_with = "milliseconds")]
    pub deadline: Duration,
}

/// How events are processed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessingLimits {
    /// Events in one transaction.
    pub batch_events: NonZeroU32,
    /// How long a first event waits for company.
    #[serde(rename = "linger_ms", deserialize_with = "milliseconds")]
    pub linger: Duration,
    /// How often it looks without being woken.
    #[serde(rename = "sweep_ms", deserialize_with = "milliseconds")]
    pub sweep: Duration,
    /// For how long personal data of an event stays, where a country has set nothing else.
    pub retention_days: NonZeroU16,
}

/// How Pancake's REST interface is asked.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PancakeLimits {
    /// Where it is.
    #[serde(deserialize_with = "https_url")]
    pub url: Url,
    /// How long a request may take.
    #[serde(rename = "timeout_ms", deserialize_with = "milliseconds")]
    pub timeout: Duration,
    /// The most requests a second.
    pub requests_per_second: NonZeroU32,
}

/// When jobs are due.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobLimits {
    /// How often to look whether one is.
    #[serde(rename = "look_ms", deserialize_with = "milliseconds")]
    pub look: Duration,
    /// Between two polls.
    #[serde(rename = "poll_ms", deserialize_with = "milliseconds")]
    pub poll: Duration,
    /// Between two polls of a country with a connection that is suspended.
    #[serde(rename = "poll_suspended_ms", deserialize_with = "milliseconds")]
    pub poll_suspended: Duration,
    /// How far back a poll reads again.
    #[serde(rename = "poll_overlap_ms", deserialize_with = "milliseconds")]
    pub poll_overlap: Duration,
    /// Up to that before now nothing counts as complete.
    #[serde(rename = "poll_settle_ms", deserialize_with = "milliseconds")]
    pub poll_settle: Duration,
    /// How far back the first poll reads.
    #[serde(rename = "first_poll_ms", deserialize_with = "milliseconds")]
    pub first_poll: Duration,
    /// Between two looks at Pancake's sources.
    #[serde(rename = "source_sync_ms", deserialize_with = "milliseconds")]
    pub source_sync: Duration,
    /// When keys are looked at.
    #[serde(deserialize_with = "time_of_day")]
    pub expiry_at: Time,
    /// How old a key of Pancake's interface may be.
    pub api_key_days: NonZeroU16,
    /// Between two looks for personal data that is old enough to go.
    #[serde(rename = "retention_ms", deserialize_with = "milliseconds")]
    pub retention: Duration,
    /// Between two looks for events that wait for too long.
    #[serde(rename = "stuck_events_ms", deserialize_with = "milliseconds")]
    pub stuck_events: Duration,
    /// Between two countings.
    #[serde(rename = "rollup_ms", deserialize_with = "milliseconds")]
    pub rollup: Duration,
    /// When the daily comparison begins.
    #[serde(deserialize_with = "time_of_day")]
    pub reconciliation_at: Time,
    /// How far back it reads.
    #[serde(rename = "reconciliation_ms", deserialize_with = "milliseconds")]
    pub reconciliation: Duration,
}

/// Limits of talking to the database.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseLimits {
    /// Connections.
    pub max_connections: NonZeroU32,
    /// Connections beside those, for staff.
    pub staff_connections: NonZeroU32,
    /// How long to wait for one.
    #[serde(rename = "acquire_timeout_ms", deserialize_with = "milliseconds")]
    pub acquire_timeout: Duration,
    /// How long a statement may take.
    #[serde(rename = "statement_timeout_ms", deserialize_with = "milliseconds")]
    pub statement_timeout: Duration,
}

/// How master data is kept up to date.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MasterDataLimits {
    /// How long a request waits for the position that it asks for.
    #[serde(rename = "wait_ms", deserialize_with = "milliseconds")]
    pub wait: Duration,
    /// How often the database is asked, beside the notifications.
    #[serde(rename = "poll_ms", deserialize_with = "milliseconds")]
    pub poll: Duration,
    /// How long one look at the database may take.
    #[serde(rename = "load_timeout_ms", deserialize_with = "milliseconds")]
    pub load_timeout: Duration,
}

fn optional_location<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<JwksLocation>, D::Error> {
    let text = String::deserialize(deserializer)?;
    (!text.is_empty())
        .then(|| text.parse())
        .transpose()
        .map_err(serde::de::Error::custom)
}

fn https_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    parse_https_url(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// What lies behind it is asked with secrets, or for keys.
pub(crate) fn parse_https_url(text: &str) -> Result<Url, &'static str> {
    let refusal = "an https URL is expected (http on this machine only)";
    let url = Url::parse(text).map_err(|_| refusal)?;
    let is_local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_local => Ok(url),
        _ => Err(refusal),
    }
}

fn time_of_day<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
    let text = String::deserialize(deserializer)?;
    Time::strptime("%H:%M", text)
        .map_err(|_| serde::de::Error::custom("a time of day is expected, such as 02:00"))
}

fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let milliseconds = u32::deserialize(deserializer)?;
    if milliseconds == 0 {
        return Err(serde::de::Error::custom(
            "at least one millisecond is expected",
        ));
    }
    Ok(Duration::from_millis(milliseconds.into()))
}

/// The process's `CORE_…` variables: the one place from which settings and secrets are read.
pub struct Environment(BTreeMap<String, String>);

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Some of the values are secrets.
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

impl Environment {
    /// Reads the process's environment.
    pub fn from_process() -> Result<Self, ConfigError> {
        let mut variables = Vec::new();
        for (name, value) in env::vars_os() {
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
                continue;
            };
            let value = value.into_string().map_err(|_| ConfigError::Invalid {
                variable: name.to_owned(),
                reason: "the value is not UTF-8".to_owned(),
            })?;
            variables.push((name.to_owned(), value));
        }
        Self::from_variables(variables)
    }

    /// Takes these variables for the environment. Those without our prefix are left out, and so are
    /// empty ones.
    pub fn from_variables(
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let variables: BTreeMap<String, String> = variables
            .into_iter()
            .filter(|(name, _)| name.starts_with(PREFIX))
            .collect();
        let known: BTreeSet<String> = setting_keys()?.iter().map(|key| variable_of(key)).collect();
        for name in variables.keys() {
            if !known.contains(name) && !secrets::VARIABLES.contains(&name.as_str()) {
                return Err(ConfigError::Unknown(name.clone()));
            }
        }
        Ok(Self(
            variables
                .into_iter()
                .filter(|(_, value)| !value.is_empty())
                .collect(),
        ))
    }

    /// The settings, all checked.
    pub fn config(&self) -> Result<Config, ConfigError> {
        for variable in ["CORE_REGION", "CORE_COUNTRIES"] {
            if !self.0.contains_key(variable) {
                return Err(ConfigError::Missing(variable.to_owned()));
            }
        }
        let mut builder = config::Config::builder()
            .add_source(config::File::from_str(DEFAULTS, FileFormat::Toml));
        for key in setting_keys()? {
            if let Some(value) = self.0.get(&variable_of(&key)) {
                builder = if key == "countries" {
                    let countries: Vec<&str> = value.split(',').map(str::trim).collect();
                    builder.set_override(&key, countries)
                } else {
                    builder.set_override(&key, value.as_str())
                }
                .map_err(|error| invalid(&error))?;
            }
        }
        let config: Config = builder
            .build()
            .and_then(config::Config::try_deserialize)
            .map_err(|error| invalid(&error))?;
        config.check()?;
        Ok(config)
    }

    /// What to log and how, for the commands that need no other setting.
    pub fn log(&self) -> Result<(String, LogFormat), ConfigError> {
        let format = match self.value("CORE_LOG_FORMAT") {
            None | Some("auto") => LogFormat::Auto,
            Some("json") => LogFormat::Json,
            Some("text") => LogFormat::Text,
            Some(_) => {
                return Err(ConfigError::Invalid {
                    variable: "CORE_LOG_FORMAT".to_owned(),
                    reason: "text, json or auto is expected".to_owned(),
                });
            }
        };
        Ok((self.value("CORE_LOG").unwrap_or("info").to_owned(), format))
    }

    fn value(&self, variable: &str) -> Option<&str> {
        self.0.get(variable).map(String::as_str)
    }

    fn required(&self, variable: &str) -> Result<&str, ConfigError> {
        self.value(variable)
            .ok_or_else(|| ConfigError::Missing(variable.to_owned()))
    }
}

impl Config {
    /// The limits that only make sense together.
    fn check(&self) -> Result<(), ConfigError> {
        if self.database.statement_timeout >= self.ingest.deadline {
            return Err(ConfigError::Invalid {
                variable: "CORE_DATABASE__STATEMENT_TIMEOUT_MS".to_owned(),
                reason: "it must be below CORE_INGEST__DEADLINE_MS".to_owned(),
            });
        }
        let largest_body = protocol::BODY_LIMIT_BYTES;
        if usize::try_from(self.ingest.queue_bytes.get()).is_ok_and(|bytes| bytes < largest_body) {
            return Err(ConfigError::Invalid {
                variable: "CORE_INGEST__QUEUE_BYTES".to_owned(),
                reason: format!("one body of {largest_body} bytes must fit"),
            });
        }
        if self.database.max_connections.get() < 2 {
            return Err(ConfigError::Invalid {
                variable: "CORE_DATABASE__MAX_CONNECTIONS".to_owned(),
                reason: "at least 2 are needed: the batcher keeps one".to_owned(),
            });
        }
        for (value, variable) in [
            (&self.jwt_issuer, "CORE_JWT_ISSUER"),
            (&self.jwt_audience, "CORE_JWT_AUDIENCE"),
        ] {
            if self.jwks.is_some() && value.is_empty() {
                return Err(ConfigError::Missing(variable.to_owned()));
            }
        }
        Ok(())
    }
}

/// The dotted keys of `config/default.toml`, which holds every setting.
fn setting_keys() -> Result<Vec<String>, ConfigError> {
    fn collect(prefix: &str, table: Map<String, Value>, keys: &mut Vec<String>) {
        for (name, value) in table {
            let key = format!("{prefix}{name}");
            match value.kind {
                ValueKind::Table(table) => collect(&format!("{key}."), table, keys),
                _ => keys.push(key),
            }
        }
    }
    let defaults = config::File::from_str(DEFAULTS, FileFormat::Toml)
        .collect()
        .map_err(|error| invalid(&error))?;
    let mut keys = Vec::new();
    collect("", defaults, &mut keys);
    Ok(keys)
}

/// `http.max_connections` is set by `CORE_HTTP__MAX_CONNECTIONS`.
fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

fn invalid(error: &config::ConfigError) -> ConfigError {
    let (key, reason) = match error {
        config::ConfigError::Type {
            unexpected,
            expected,
            key,
            ..
        } => (
            key.as_deref(),
            format!("{expected} is expected, not {unexpected}"),
        ),
        config::ConfigError::At { error, key, .. } => (key.as_deref(), error.to_string()),
        other => (None, other.to_string()),
    };
    // An element of a list is `countries[1]`.
    let key = key.map(|key| key.split('[').next().unwrap_or(key));
    ConfigError::Invalid {
        variable: key.map_or_else(
            || "regional-core/config/default.toml".to_owned(),
            variable_of,
        ),
        reason,
    }
}
