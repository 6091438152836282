//! A Pancake connection as the edge knows it: whom a webhook token belongs to.
//!
//! Tokens are kept as SHA-256 only. Tokens and webhook secrets end at the edge; a core knows a
//! connection by its id.

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::Country;
use crate::signature::{Mode, Policy, SecretSet, SigningSecret};

/// A connection's id: the name under which core, metrics and logs know it.
///
/// Lower-case letters, digits and hyphens, at most [`ConnectionId::MAX_BYTES`]: it stands in paths
/// and labels unescaped.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(Box<str>);

/// A text that is not a connection's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a connection's id is 1 to {} lower-case letters, digits and hyphens (for example \"vn-main\")",
    ConnectionId::MAX_BYTES
)]
pub struct InvalidConnectionId;

impl ConnectionId {
    /// Long enough for a UUID in text with a prefix.
    pub const MAX_BYTES: usize = 64;

    /// Reads a connection's id.
    pub fn parse(id: &str) -> Result<Self, InvalidConnectionId> {
        let clean = id
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if clean && (1..=Self::MAX_BYTES).contains(&id.len()) {
            Ok(Self(id.into()))
        } else {
            Err(InvalidConnectionId)
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// One connection: its country, and how its signatures are treated.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The id that travels with each record.
    pub id: ConnectionId,
    /// The country whose region gets the records.
    pub country: Country,
    /// Mode and secrets.
    pub policy: Policy,
}

/// All connections, found by webhook token.
///
/// Today they are read from one JSON document (the Worker secret `PANCAKE_CONNECTIONS`); another
/// source only has to build the same type.
#[derive(Debug, Default)]
pub struct Connections {
    connections: Vec<Connection>,
    by_token_sha256: HashMap<[u8; 32], usize>,
}

/// What is wrong with the connections' document, every mistake at once. Names no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("PANCAKE_CONNECTIONS: {}", .0.join("; "))]
pub struct InvalidConnections(pub Vec<String>);

/// One connection as written in the document.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConnectionEntry {
    id: String,
    token_sha256: String,
    country: String,
    mode: Mode,
    #[serde(default)]
    secrets: Vec<String>,
}

impl Connections {
    /// Reads the document: a JSON array of
    /// `{"id", "token_sha256" (64 hex digits), "country", "mode", "secrets" (none to two)}`.
    ///
    /// `observe` and `enforce` need a secret; ids and tokens are unique.
    pub fn from_json(document: &str) -> Result<Self, InvalidConnections> {
        let entries: Vec<ConnectionEntry> = serde_json::from_str(document)
            // serde's own text may quote a value, and a value here may be a secret.
            .map_err(|error| {
                InvalidConnections(vec![format!(
                    "not a JSON array of connections (line {}, column {})",
                    error.line(),
                    error.column()
                )])
            })?;
        let mut connections = Self::default();
        let mut mistakes = Vec::new();
        for (position, entry) in entries.into_iter().enumerate() {
            if let Err(mistake) = connections.insert(&entry) {
                mistakes.push(format!("connection {position}: {mistake}"));
            }
        }
        if mistakes.is_empty() {
            Ok(connections)
        } else {
            Err(InvalidConnections(mistakes))
        }
    }

    fn insert(&mut self, entry: &ConnectionEntry) -> Result<(), String> {
        let id = ConnectionId::parse(&entry.id).map_err(|error| format!("id: {error}"))?;
        let country =
            Country::parse(&entry.country).map_err(|error| format!("country: {error}"))?;
        let token_sha256 = parse_sha256(&entry.token_sha256)
            .ok_or_else(|| "token_sha256: 64 hex digits are expected".to_owned())?;
        let mut secrets = Vec::new();
        for secret in &entry.secrets {
            secrets.push(
                SigningSecret::new(secret.as_bytes())
                    .ok_or_else(|| "secrets: a secret is empty".to_owned())?,
            );
        }
        let mut secrets = secrets.into_iter();
        let secret_set = secrets
            .next()
            .map(|current| SecretSet::new(current, secrets.next()));
        if secrets.next().is_some() {
            return Err("secrets: at most two are live at once".to_owned());
        }
        let policy = match (entry.mode, secret_set) {
            (Mode::Off, _) => Policy::Off,
            (Mode::Observe, Some(secrets)) => Policy::Observe(secrets),
            (Mode::Enforce, Some(secrets)) => Policy::Enforce(secrets),
            (Mode::Observe | Mode::Enforce, None) => {
                return Err("secrets: modes observe and enforce need at least one".to_owned());
            }
        };
        if self.connections.iter().any(|known| known.id == id) {
            return Err(format!("id: {id} is there twice"));
        }
        if self
            .by_token_sha256
            .insert(token_sha256, self.connections.len())
            .is_some()
        {
            return Err("token_sha256: another connection has the same token".to_owned());
        }
        self.connections.push(Connection {
            id,
            country,
            policy,
        });
        Ok(())
    }

    /// The connection that a webhook token belongs to, and its index.
    ///
    /// The token is hashed before it is looked up, so the time taken says nothing about how much of
    /// a guess was right.
    #[must_use]
    pub fn find_by_token(&self, token: &[u8]) -> Option<(usize, &Connection)> {
        let token_sha256: [u8; 32] = Sha256::digest(token).into();
        let index = *self.by_token_sha256.get(&token_sha256)?;
        self.connections
            .get(index)
            .map(|connection| (index, connection))
    }

    /// The connection at an index that [`Connections::find_by_token`] gave.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Connection> {
        self.connections.get(index)
    }
}

fn parse_sha256(hex: &str) -> Option<[u8; 32]> {
    crate::signature::parse_hex32(hex.as_bytes())
}
