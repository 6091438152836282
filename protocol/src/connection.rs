//! A Pancake connection as the edge knows it: whom a webhook token belongs to.
//!
//! Tokens are kept as SHA-256 only. Tokens and webhook secrets end at the edge; a core knows a
//! connection by its id.

use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::Country;
use crate::address::AddressRanges;
use crate::signature::{Mode, Policy, SecretSet, SigningSecret, parse_hex32};

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
    /// From where its webhooks come; from anywhere if that is not said.
    pub allow: AddressRanges,
}

/// All connections, found by webhook token.
///
/// Today they are read from one JSON document (the Worker secret `PANCAKE_CONNECTIONS`); another
/// source only has to build the same type.
#[derive(Default)]
pub struct Connections {
    connections: Vec<Connection>,
    by_token_sha256: HashMap<[u8; 32], usize>,
}

impl fmt::Debug for Connections {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(&self.connections).finish()
    }
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
    #[serde(default)]
    allow: Vec<String>,
}

impl ConnectionEntry {
    fn policy(&self) -> Result<Policy, &'static str> {
        let secrets: Option<Vec<_>> = self
            .secrets
            .iter()
            .map(|secret| SigningSecret::new(secret.as_bytes()))
            .collect();
        let mut secrets = secrets.ok_or("secrets: a secret is empty")?.into_iter();
        let secret_set = secrets
            .next()
            .map(|current| SecretSet::new(current, secrets.next()));
        if secrets.next().is_some() {
            return Err("secrets: at most two are live at once");
        }
        match (self.mode, secret_set) {
            (Mode::Off, _) => Ok(Policy::Off),
            (Mode::Observe, Some(secrets)) => Ok(Policy::Observe(secrets)),
            (Mode::Enforce, Some(secrets)) => Ok(Policy::Enforce(secrets)),
            (Mode::Observe | Mode::Enforce, None) => {
                Err("secrets: modes observe and enforce need at least one")
            }
        }
    }
}

impl Connections {
    /// Reads the document: a JSON array of
    /// `{"id", "token_sha256" (64 hex digits), "country", "mode", "secrets" (none to two), "allow" (ranges of
    /// addresses; none: from anywhere)}`.
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
            for mistake in connections.insert(&entry) {
                mistakes.push(format!("connection {position}: {mistake}"));
            }
        }
        if mistakes.is_empty() {
            Ok(connections)
        } else {
            Err(InvalidConnections(mistakes))
        }
    }

    /// Adds a connection, or says all that is wrong with it.
    fn insert(&mut self, entry: &ConnectionEntry) -> Vec<String> {
        let mut mistakes = Vec::new();
        let id = ConnectionId::parse(&entry.id)
            .map_err(|error| mistakes.push(format!("id: {error}")))
            .ok()
            .filter(|id| {
                let is_new = self.connections.iter().all(|known| known.id != *id);
                if !is_new {
                    mistakes.push(format!("id: {id} is there twice"));
                }
                is_new
            });
        let country = Country::parse(&entry.country)
            .map_err(|error| mistakes.push(format!("country: {error}")))
            .ok();
        let token_sha256 = parse_hex32(entry.token_sha256.as_bytes());
        match token_sha256 {
            None => mistakes.push("token_sha256: 64 hex digits are expected".to_owned()),
            Some(sha256) if self.by_token_sha256.contains_key(&sha256) => {
                mistakes.push("token_sha256: another connection has the same token".to_owned());
            }
            Some(_) => {}
        }
        let policy = entry
            .policy()
            .map_err(|mistake| mistakes.push(mistake.to_owned()))
            .ok();
        let allow = AddressRanges::parse(&entry.allow)
            .map_err(|error| mistakes.push(format!("allow: {error}")))
            .unwrap_or_default();
        if let (true, Some(id), Some(country), Some(token_sha256), Some(policy)) =
            (mistakes.is_empty(), id, country, token_sha256, policy)
        {
            self.by_token_sha256
                .insert(token_sha256, self.connections.len());
            self.connections.push(Connection {
                id,
                country,
                policy,
                allow,
            });
        }
        mistakes
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

    /// Each connection, in the order of the indexes.
    pub fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.connections.iter()
    }

    /// The connection at an index that [`Connections::find_by_token`] gave.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Connection> {
        self.connections.get(index)
    }
}
