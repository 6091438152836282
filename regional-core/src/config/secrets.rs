//! Secrets: read from variables, shown by nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use protocol::at_rest::AtRestKeys;
use protocol::hop::{HopKey, HopKeys};
use protocol::sealed::OpeningKey;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;
use url::Url;

use super::{ConfigError, Environment};

/// The variables that hold secrets.
pub(super) const VARIABLES: [&str; 8] = [
    Role::App.variable(),
    Role::Editor.variable(),
    Role::Owner.variable(),
    Role::Admin.variable(),
    HOP_SECRETS,
    HOP_RETIRED_SECRETS,
    OPENING_KEYS,
    AT_REST_KEYS,
];

const HOP_SECRETS: &str = "CORE_HOP_SECRETS";
const HOP_RETIRED_SECRETS: &str = "CORE_HOP_RETIRED_SECRETS";
const OPENING_KEYS: &str = "CORE_OPENING_KEYS";
const AT_REST_KEYS: &str = "CORE_AT_REST_KEYS";

/// As whom a command talks to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `core_app`: serves. No DDL, owns nothing.
    App,
    /// `core_editor`: writes master data, in the hub. Nothing else.
    Editor,
    /// `core_owner`: migrates. Owns the database and all in it.
    Owner,
    /// The server's administrator: makes the other two and the database.
    Admin,
}

impl Role {
    /// The variable that holds its URL.
    #[must_use]
    pub const fn variable(self) -> &'static str {
        match self {
            Self::App => "CORE_DATABASE_URL",
            Self::Editor => "CORE_EDITOR_DATABASE_URL",
            Self::Owner => "CORE_OWNER_DATABASE_URL",
            Self::Admin => "CORE_ADMIN_DATABASE_URL",
        }
    }
}

/// How to reach the database, with a password in it. Debug output is redacted.
#[derive(Clone)]
pub struct DatabaseUrl {
    variable: &'static str,
    url: SecretString,
    options: PgConnectOptions,
}

impl DatabaseUrl {
    /// Reads a URL. `variable` is what a mistake in it is reported under.
    pub fn parse(variable: &'static str, url: &str) -> Result<Self, ConfigError> {
        let invalid = |reason: &str| ConfigError::Invalid {
            variable: variable.to_owned(),
            reason: reason.to_owned(),
        };
        let form = "a URL as postgres://user:password@host:port/database is expected";
        // The parser's own text may quote the URL, and there is a password in it.
        let parsed = Url::parse(url).map_err(|_| invalid(form))?;
        if !matches!(parsed.scheme(), "postgres" | "postgresql") {
            return Err(invalid(form));
        }
        let options = PgConnectOptions::from_str(url).map_err(|_| invalid(form))?;
        if options.get_database().is_none_or(str::is_empty) {
            return Err(invalid("it names no database"));
        }
        Ok(Self {
            variable,
            url: url.into(),
            options,
        })
    }

    /// What a driver needs to connect.
    #[must_use]
    pub fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// The database's name.
    #[must_use]
    pub fn database(&self) -> &str {
        self.options.get_database().unwrap_or_default()
    }

    /// The variable it was read from.
    #[must_use]
    pub fn variable(&self) -> &'static str {
        self.variable
    }

    /// The password, for the one who sets it.
    pub fn password(&self) -> Result<SecretString, ConfigError> {
        let invalid = |reason: &str| ConfigError::Invalid {
            variable: self.variable.to_owned(),
            reason: reason.to_owned(),
        };
        let url = Url::parse(self.url.expose_secret()).map_err(|_| invalid("not a URL"))?;
        let password = url
            .password()
            .filter(|password| !password.is_empty())
            .ok_or_else(|| invalid("it holds no password"))?;
        let password = percent_encoding::percent_decode_str(password)
            .decode_utf8()
            .map_err(|_| invalid("the password is not UTF-8"))?;
        Ok(password.into_owned().into())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DatabaseUrl({}, redacted)", self.variable)
    }
}

impl Environment {
    /// The database as this role.
    pub fn database_url(&self, role: Role) -> Result<DatabaseUrl, ConfigError> {
        let variable = role.variable();
        DatabaseUrl::parse(variable, self.required(variable)?)
    }

    /// The database as `core_editor`, in the hub. None elsewhere.
    pub fn editor_database_url(&self) -> Result<Option<DatabaseUrl>, ConfigError> {
        let variable = Role::Editor.variable();
        self.value(variable)
            .map(|url| DatabaseUrl::parse(variable, url))
            .transpose()
    }

    /// The keys of the hop that are live.
    pub fn hop_keys(&self) -> Result<HopKeys, ConfigError> {
        let keys = read_keys(HOP_SECRETS, self.required(HOP_SECRETS)?)?;
        HopKeys::new(keys).map_err(|error| ConfigError::Invalid {
            variable: HOP_SECRETS.to_owned(),
            reason: error.to_string(),
        })
    }

    /// Every key that a receipt may have been signed with: the live ones and the retired.
    pub fn receipt_keys(&self) -> Result<Vec<HopKey>, ConfigError> {
        let mut keys = read_keys(HOP_SECRETS, self.required(HOP_SECRETS)?)?;
        if let Some(document) = self.value(HOP_RETIRED_SECRETS) {
            keys.extend(read_keys(HOP_RETIRED_SECRETS, document)?);
        }
        Ok(keys)
    }

    /// The private keys that open what waited at the edge; none where nothing waits. After a change the old
    /// ones stay as long as something may wait that was sealed with them.
    pub fn opening_keys(&self) -> Result<Vec<OpeningKey>, ConfigError> {
        let keys = self.value(OPENING_KEYS).unwrap_or_default();
        keys.split_ascii_whitespace()
            .map(|key| {
                OpeningKey::parse(key).map_err(|error| ConfigError::Invalid {
                    variable: OPENING_KEYS.to_owned(),
                    reason: error.to_string(),
                })
            })
            .collect()
    }

    /// The keys by which secrets lie in the database; none where nobody gives it any.
    pub fn at_rest_keys(&self) -> Result<Option<AtRestKeys>, ConfigError> {
        let document = self.value(AT_REST_KEYS);
        document
            .map(|document| {
                AtRestKeys::from_json(document).map_err(|error| ConfigError::Invalid {
                    variable: AT_REST_KEYS.to_owned(),
                    reason: error.to_string(),
                })
            })
            .transpose()
    }
}

fn read_keys(variable: &str, document: &str) -> Result<Vec<HopKey>, ConfigError> {
    let invalid = |reason: String| ConfigError::Invalid {
        variable: variable.to_owned(),
        reason,
    };
    // serde's own text may quote a value, and each value here is a secret.
    let secrets: BTreeMap<String, String> = serde_json::from_str(document).map_err(|error| {
        invalid(format!(
            "a JSON object {{\"keyid\": \"secret\"}} is expected (line {}, column {})",
            error.line(),
            error.column()
        ))
    })?;
    secrets
        .iter()
        .map(|(keyid, secret)| {
            HopKey::new(keyid, secret.as_bytes()).map_err(|error| invalid(error.to_string()))
        })
        .collect()
}
