//! What `replicator` reads from its environment, all of it named `REPLICATOR_…`.

mod broker;

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::str::FromStr as _;
use std::time::Duration;

use protocol::RegionId;
use protocol::hop::{HopKey, HopKeys};
use protocol::routes::Origin;
use secrecy::SecretString;
use sqlx::postgres::PgConnectOptions;

pub use broker::broker;

/// A variable that is absent or wrong.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is not set.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// It is set to what cannot be used.
    #[error("{variable}: {reason}")]
    Invalid {
        /// Which.
        variable: &'static str,
        /// What is expected.
        reason: String,
    },
}

/// As whom a command talks to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseRole {
    /// The server's administrator: makes the others.
    Admin,
    /// `master_data_owner`: migrates.
    Owner,
    /// `master_data_relay`: publishes, in the hub.
    Relay,
    /// `master_data_applier`: the only one that writes in a region.
    Applier,
}

impl DatabaseRole {
    /// The variable that holds its URL.
    #[must_use]
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Admin => "REPLICATOR_ADMIN_DATABASE_URL",
            Self::Owner => "REPLICATOR_OWNER_DATABASE_URL",
            Self::Relay => "REPLICATOR_RELAY_DATABASE_URL",
            Self::Applier => "REPLICATOR_APPLIER_DATABASE_URL",
        }
    }

    /// The role's name in the database; the administrator's is whatever its URL says.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::Admin => None,
            Self::Owner => Some("master_data_owner"),
            Self::Relay => Some("master_data_relay"),
            Self::Applier => Some("master_data_applier"),
        }
    }
}

/// How to reach the database. Debug output is redacted.
#[derive(Clone)]
pub struct DatabaseUrl {
    options: PgConnectOptions,
    password: SecretString,
}

impl DatabaseUrl {
    /// The URL of a role from the environment.
    pub fn of(role: DatabaseRole) -> Result<Self, ConfigError> {
        Self::parse(role, &required(role.variable())?)
    }

    /// Reads a URL.
    pub fn parse(role: DatabaseRole, url: &str) -> Result<Self, ConfigError> {
        let invalid = |reason: &str| ConfigError::Invalid {
            variable: role.variable(),
            reason: reason.to_owned(),
        };
        let form = "a URL as postgres://user:password@host:port/database is expected";
        // The parsers' own texts may quote the URL, and there is a password in it.
        let options = PgConnectOptions::from_str(url).map_err(|_| invalid(form))?;
        let parsed = url::Url::parse(url).map_err(|_| invalid(form))?;
        if options.get_database().is_none_or(str::is_empty) {
            return Err(invalid("it names no database"));
        }
        if let Some(name) = role.name()
            && options.get_username() != name
        {
            return Err(invalid(&format!("the user must be {name}")));
        }
        let password = percent_encoding::percent_decode_str(parsed.password().unwrap_or_default())
            .decode_utf8()
            .map_err(|_| invalid("the password is not UTF-8"))?;
        Ok(Self {
            options,
            password: password.into_owned().into(),
        })
    }

    /// What the driver needs to connect.
    #[must_use]
    pub fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// The password, for the one who sets it.
    #[must_use]
    pub fn password(&self) -> &SecretString {
        &self.password
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DatabaseUrl(redacted)")
    }
}

/// The region that this process belongs to: `REPLICATOR_REGION`.
pub fn region() -> Result<RegionId, ConfigError> {
    let variable = "REPLICATOR_REGION";
    RegionId::parse(&required(variable)?).map_err(|error| ConfigError::Invalid {
        variable,
        reason: error.to_string(),
    })
}

const REGIONS: &str = "REPLICATOR_REGIONS";
const REGION_SECRETS: &str = "REPLICATOR_REGION_SECRETS";
const HUB_SECRETS: &str = "REPLICATOR_HUB_SECRETS";

/// In the hub, each region's replicator and its key: `REPLICATOR_REGIONS` (`id=https://host`, with spaces
/// between), which `smpctl render` writes, and `REPLICATOR_REGION_SECRETS`
/// (`{"id": {"keyid": "…", "secret": "…"}}`). Empty if the first is not set.
pub fn replicators() -> Result<BTreeMap<RegionId, (Origin, HopKey)>, ConfigError> {
    let Some(regions) = optional(REGIONS) else {
        return Ok(BTreeMap::new());
    };
    read_replicators(&regions, &required(REGION_SECRETS)?)
}

fn read_replicators(
    regions: &str,
    secrets: &str,
) -> Result<BTreeMap<RegionId, (Origin, HopKey)>, ConfigError> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Secret {
        keyid: String,
        secret: String,
    }
    let mut secrets: BTreeMap<String, Secret> = read_secrets(
        REGION_SECRETS,
        secrets,
        "{\"region\": {\"keyid\": \"…\", \"secret\": \"…\"}}",
    )?;
    regions
        .split_whitespace()
        .map(|entry| {
            let (region, origin) = entry
                .split_once('=')
                .ok_or_else(|| invalid(REGIONS, format!("{entry}: id=https://host is expected")))?;
            let region = RegionId::parse(region)
                .map_err(|error| invalid(REGIONS, format!("{region}: {error}")))?;
            let origin = Origin::parse(origin)
                .map_err(|error| invalid(REGIONS, format!("{region}: {error}")))?;
            let Secret { keyid, secret } = secrets
                .remove(region.as_str())
                .ok_or_else(|| invalid(REGION_SECRETS, format!("no key for region {region}")))?;
            let key = HopKey::new(&keyid, secret.as_bytes())
                .map_err(|error| invalid(REGION_SECRETS, format!("{region}: {error}")))?;
            Ok((region, (origin, key)))
        })
        .collect()
}

/// In a region, the keys by which it knows the hub: `REPLICATOR_HUB_SECRETS` (`{"keyid": "secret"}`, two
/// while they are being rotated). None if it is not set.
pub fn hub_keys() -> Result<Option<HopKeys>, ConfigError> {
    optional(HUB_SECRETS)
        .map(|document| read_hub_keys(&document))
        .transpose()
}

fn read_hub_keys(document: &str) -> Result<HopKeys, ConfigError> {
    let secrets: BTreeMap<String, String> =
        read_secrets(HUB_SECRETS, document, "{\"keyid\": \"secret\"}")?;
    let keys = secrets
        .iter()
        .map(|(keyid, secret)| HopKey::new(keyid, secret.as_bytes()))
        .collect::<Result<_, _>>()
        .map_err(|error| invalid(HUB_SECRETS, error.to_string()))?;
    HopKeys::new(keys).map_err(|error| invalid(HUB_SECRETS, error.to_string()))
}

fn read_secrets<T: serde::de::DeserializeOwned>(
    variable: &'static str,
    document: &str,
    expected: &str,
) -> Result<T, ConfigError> {
    // serde's own text may quote a value, and each value here is a secret.
    serde_json::from_str(document).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let reason = format!("{expected} is expected (line {line}, column {column})");
        invalid(variable, reason)
    })
}

fn invalid(variable: &'static str, reason: String) -> ConfigError {
    ConfigError::Invalid { variable, reason }
}

/// A span of time in milliseconds, with a default.
pub fn milliseconds(variable: &'static str, default: u64) -> Result<Duration, ConfigError> {
    number(variable, default).map(Duration::from_millis)
}

/// A number from 1 on, with a default.
pub fn number(variable: &'static str, default: u64) -> Result<u64, ConfigError> {
    let Some(text) = optional(variable) else {
        return Ok(default);
    };
    text.parse()
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| ConfigError::Invalid {
            variable,
            reason: "a whole number from 1 on is expected".to_owned(),
        })
}

/// A variable that need not be set.
#[must_use]
pub fn optional(variable: &str) -> Option<String> {
    env::var(variable).ok().filter(|value| !value.is_empty())
}

fn required(variable: &'static str) -> Result<String, ConfigError> {
    optional(variable).ok_or(ConfigError::Missing(variable))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRETS: &str =
        r#"{"smp-china": {"keyid": "china-1", "secret": "0123456789abcdef0123456789abcdef"}}"#;

    #[test]
    fn each_region_has_an_address_and_a_key() {
        let regions = "smp-china=https://replicator.smp-china.example.com";
        let replicators = read_replicators(regions, SECRETS).unwrap();
        let (region, (origin, key)) = replicators.first_key_value().unwrap();
        assert_eq!(region.as_str(), "smp-china");
        assert_eq!(origin.as_str(), "https://replicator.smp-china.example.com");
        assert_eq!(key.keyid(), "china-1");
    }

    #[test]
    fn what_is_wrong_is_named_and_no_secret_is_shown() {
        let cases = [
            ("smp-china", SECRETS, "id=https://host is expected"),
            ("smp-china=http://far", SECRETS, "smp-china: http:// is for"),
            ("smp-us=https://far", SECRETS, "no key for region smp-us"),
            (
                "smp-china=https://far",
                "{\"smp-china\": 7}",
                "line 1, column",
            ),
            (
                "smp-china=https://far",
                r#"{"smp-china": {"keyid": "china-1", "secret": "short-secret"}}"#,
                "at least 32 bytes",
            ),
        ];
        for (regions, secrets, expected) in cases {
            let error = read_replicators(regions, secrets).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("short-secret"), "{error}");
        }
        let error = read_hub_keys(r#"{"one": "0123456789abcdef0123456789abcdef", "two": 1}"#);
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("is expected") && !error.contains("0123456789"),
            "{error}"
        );
    }
}
