//! A Pancake connection as the edge knows it: whom a webhook token belongs to.
//!
//! Tokens are kept as SHA-256 only. Tokens and webhook secrets end at the edge; a core knows a
//! connection by its id. All connections are one [`document`], which lies sealed ([`snapshot`]) where each
//! isolate of the edge reads it.

pub mod document;
pub mod snapshot;

use std::collections::HashMap;
use std::fmt;

use sha2::{Digest, Sha256};

use self::document::{CONNECTIONS_LIMIT, Document, Entry};
use crate::address::AddressRanges;
use crate::signature::{Mode, Policy, SecretSet, SigningSecret, parse_hex32};
use crate::{Country, UnixSeconds};

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

/// The longest webhook secret.
const SECRET_MAX_BYTES: usize = 1_024;

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

/// The connections at one version, found by webhook token.
#[derive(Default)]
pub struct Connections {
    version: u64,
    /// By index.
    slots: Vec<Connection>,
    by_token_sha256: HashMap<[u8; 32], Token>,
}

/// Whose a token is.
struct Token {
    index: usize,
    /// Until when it is good, if another has taken its place.
    good_until: Option<UnixSeconds>,
}

impl fmt::Debug for Connections {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(&self.slots).finish()
    }
}

/// What is wrong with connections, every mistake at once. Names no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct InvalidConnections(pub Vec<String>);

impl Entry {
    fn policy(&self) -> Result<Policy, &'static str> {
        if self
            .secrets
            .iter()
            .any(|secret| secret.len() > SECRET_MAX_BYTES)
        {
            return Err("secrets: a secret is over 1024 bytes");
        }
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
    /// Reads a document, or says all that is wrong with it: ids and tokens are unique.
    pub fn from_document(document: &Document) -> Result<Self, InvalidConnections> {
        let mut connections = Self {
            version: document.version,
            ..Self::default()
        };
        let mut mistakes = Vec::new();
        if document.connections.len() > CONNECTIONS_LIMIT {
            mistakes.push(format!(
                "there are more than {CONNECTIONS_LIMIT} connections"
            ));
        }
        for (position, entry) in document.connections.iter().enumerate() {
            for mistake in connections.insert(entry) {
                // An id that is none may be anything, a secret in the wrong place too.
                mistakes.push(match ConnectionId::parse(&entry.id) {
                    Ok(id) => format!("{id}: {mistake}"),
                    Err(_) => format!("connection {position}: {mistake}"),
                });
            }
        }
        if mistakes.is_empty() {
            Ok(connections)
        } else {
            Err(InvalidConnections(mistakes))
        }
    }

    /// Adds a connection, or says all that is wrong with it.
    fn insert(&mut self, entry: &Entry) -> Vec<String> {
        let mut mistakes = Vec::new();
        let id = ConnectionId::parse(&entry.id)
            .map_err(|error| mistakes.push(format!("id: {error}")))
            .ok()
            .filter(|id| {
                let is_new = self.slots.iter().all(|known| known.id != *id);
                if !is_new {
                    mistakes.push("id: it is there twice".to_owned());
                }
                is_new
            });
        let country = Country::parse(&entry.country)
            .map_err(|error| mistakes.push(format!("country: {error}")))
            .ok();
        let index = self.slots.len();
        let old_token = entry.old_token_sha256.as_deref();
        let old_token = old_token.map(|old| (old, Some(entry.old_token_good_until)));
        for (name, (sha256, good_until)) in ["token_sha256", "old_token_sha256"].into_iter().zip(
            [(entry.token_sha256.as_str(), None)]
                .into_iter()
                .chain(old_token),
        ) {
            let token = Token {
                index,
                good_until: good_until.map(UnixSeconds),
            };
            match parse_hex32(sha256.as_bytes()) {
                None => mistakes.push(format!("{name}: 64 hex digits are expected")),
                Some(sha256) if self.by_token_sha256.contains_key(&sha256) => {
                    mistakes.push(format!("{name}: another connection has the same token"));
                }
                Some(sha256) => {
                    self.by_token_sha256.insert(sha256, token);
                }
            }
        }
        let policy = entry
            .policy()
            .map_err(|mistake| mistakes.push(mistake.to_owned()))
            .ok();
        let allow = AddressRanges::parse(&entry.allow)
            .map_err(|error| mistakes.push(format!("allow: {error}")))
            .unwrap_or_default();
        if let (true, Some(id), Some(country), Some(policy)) =
            (mistakes.is_empty(), id, country, policy)
        {
            self.slots.push(Connection {
                id,
                country,
                policy,
                allow,
            });
        }
        mistakes
    }

    /// The version of the document.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The next version of these. Whoever has an index here keeps it, without a token if it is not in the next
    /// version: what is under way still finds its connection. A connection of another country is another one.
    #[must_use]
    pub fn followed_by(&self, next: Self) -> Self {
        let mut slots = self.slots.clone();
        let mut indexes = Vec::new();
        for connection in next.slots {
            let known = slots
                .iter()
                .position(|known| known.id == connection.id && known.country == connection.country);
            let index = known.unwrap_or(slots.len());
            match slots.get_mut(index) {
                Some(place) => *place = connection,
                None => slots.push(connection),
            }
            indexes.push(index);
        }
        let tokens = next.by_token_sha256.into_iter();
        let by_token_sha256 = tokens.filter_map(|(sha256, token)| {
            let index = *indexes.get(token.index)?;
            Some((sha256, Token { index, ..token }))
        });
        Self {
            version: next.version,
            slots,
            by_token_sha256: by_token_sha256.collect(),
        }
    }

    /// The connection that a webhook token belongs to now, and its index.
    ///
    /// The token is hashed before it is looked up, so the time taken says nothing about how much of
    /// a guess was right.
    #[must_use]
    pub fn find_by_token(&self, token: &[u8], now: UnixSeconds) -> Option<(usize, &Connection)> {
        let token_sha256: [u8; 32] = Sha256::digest(token).into();
        let token = self.by_token_sha256.get(&token_sha256)?;
        if token.good_until.is_some_and(|until| now >= until) {
            return None;
        }
        let connection = self.slots.get(token.index)?;
        Some((token.index, connection))
    }

    /// Each connection, in the order of the indexes.
    pub fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.slots.iter()
    }

    /// The connection at an index that [`Connections::find_by_token`] gave.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&Connection> {
        self.slots.get(index)
    }
}
