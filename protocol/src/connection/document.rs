//! All connections of a deployment as one document with a version: what the edge's registry keeps, and how it
//! is changed. Pure: a document, a change and `now` in, the next document out.

use serde::{Deserialize, Serialize};

use super::{Connections, InvalidConnections};
use crate::UnixSeconds;
use crate::signature::Mode;

/// So many connections are taken. At some 600 bytes each the document stays below 1 MiB, which an isolate reads
/// within some milliseconds.
pub const CONNECTIONS_LIMIT: usize = 1_000;

/// How long a token stays good after another took its place, in seconds, if nothing else is asked for: a day.
pub const OLD_TOKEN_GOOD_SECS: u64 = 86_400;

/// How long a token may stay good after another took its place, in seconds: 30 days.
const OLD_TOKEN_GOOD_MAX_SECS: u64 = 30 * OLD_TOKEN_GOOD_SECS;

/// One connection as the document holds it. Its secrets are in here: it is never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// See [`super::ConnectionId`].
    pub id: String,
    /// The SHA-256 of the webhook's token, as 64 hex digits.
    pub token_sha256: String,
    /// The SHA-256 of the token before, as long as that is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_token_sha256: Option<String>,
    /// Until when it is good, in seconds since 1970; in this second it is not.
    #[serde(default)]
    pub old_token_good_until: u64,
    /// Whose leads it brings. It never changes: records of one country must not turn up in another's region.
    pub country: String,
    /// What is done with signatures.
    pub mode: Mode,
    /// The webhook's secrets, none to two, the newest first. Modes `observe` and `enforce` need one.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// Ranges of addresses from which its webhooks come; none: from anywhere.
    #[serde(default)]
    pub allow: Vec<String>,
}

/// All connections at one version.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// Rises with every change.
    pub version: u64,
    /// When it was changed, in seconds since 1970.
    pub changed_at: u64,
    /// The connections, in the order in which they came.
    pub connections: Vec<Entry>,
}

/// A change of a document. It is made as a whole or not at all, and may be asked for again: what is so already
/// stays so.
///
/// As JSON it is one object: `change` is its name as [`Change::name`] gives it, the other members are those of
/// the variant; those of [`Change::Add`] are called `connections`.
#[derive(Clone)]
pub enum Change {
    /// More connections.
    Add(Vec<Entry>),
    /// Another token. The one before stays good for a while.
    RotateToken {
        /// Whose.
        id: String,
        /// The new one's SHA-256, as 64 hex digits.
        token_sha256: String,
        /// How long the old one stays good, in seconds; 0 if it is no secret any more.
        old_good_secs: u64,
    },
    /// Another secret. The one before stays good until [`Change::RetireSecret`].
    RotateSecret {
        /// Whose.
        id: String,
        /// The new one.
        secret: String,
    },
    /// Only the newest secret stays.
    RetireSecret {
        /// Whose.
        id: String,
    },
    /// Signatures are treated in another way.
    SetMode {
        /// Whose.
        id: String,
        /// How.
        mode: Mode,
    },
    /// Webhooks come from elsewhere.
    SetAllow {
        /// Whose.
        id: String,
        /// See [`Entry::allow`].
        allow: Vec<String>,
    },
    /// Nothing is taken by this connection any more.
    Revoke {
        /// Which.
        id: String,
    },
    /// Nothing but the version: the document is sealed anew, by the first of the keys.
    Reseal,
}

/// All members that any change has: one struct in place of eight keeps the edge's wasm small.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    change: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    connections: Option<Vec<Entry>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    old_good_secs: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    allow: Option<Vec<String>>,
}

impl Change {
    /// Reads a change.
    pub fn from_json(json: &str) -> Result<Self, InvalidConnections> {
        fn there<T>(member: Option<T>, name: &str) -> Result<T, InvalidConnections> {
            member.ok_or_else(|| InvalidConnections(vec![format!("{name}: it is missing")]))
        }
        let members: Members = read(json, "not a change of connections")?;
        let id = || there(members.id, "id");
        Ok(match members.change.as_str() {
            "add" => Self::Add(there(members.connections, "connections")?),
            "rotate_token" => Self::RotateToken {
                id: id()?,
                token_sha256: there(members.token_sha256, "token_sha256")?,
                old_good_secs: there(members.old_good_secs, "old_good_secs")?,
            },
            "rotate_secret" => Self::RotateSecret {
                id: id()?,
                secret: there(members.secret, "secret")?,
            },
            "retire_secret" => Self::RetireSecret { id: id()? },
            "set_mode" => Self::SetMode {
                id: id()?,
                mode: there(members.mode, "mode")?,
            },
            "set_allow" => Self::SetAllow {
                id: id()?,
                allow: there(members.allow, "allow")?,
            },
            "revoke" => Self::Revoke { id: id()? },
            "reseal" => Self::Reseal,
            _ => {
                let mistake = "change: add, rotate_token, rotate_secret, retire_secret, set_mode, set_allow, \
                               revoke or reseal is expected";
                return Err(InvalidConnections(vec![mistake.to_owned()]));
            }
        })
    }

    /// As [`Change::from_json`] reads it. Secrets are in here.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut members = Members {
            change: self.name().to_owned(),
            id: self.connection().map(str::to_owned),
            ..Members::default()
        };
        match self.clone() {
            Self::Add(entries) => {
                members.id = None;
                members.connections = Some(entries);
            }
            Self::RotateToken {
                token_sha256,
                old_good_secs,
                ..
            } => {
                members.token_sha256 = Some(token_sha256);
                members.old_good_secs = Some(old_good_secs);
            }
            Self::RotateSecret { secret, .. } => members.secret = Some(secret),
            Self::SetMode { mode, .. } => members.mode = Some(mode),
            Self::SetAllow { allow, .. } => members.allow = Some(allow),
            Self::RetireSecret { .. } | Self::Revoke { .. } | Self::Reseal => {}
        }
        // All keys are texts, so there is always a JSON.
        serde_json::to_string(&members).unwrap_or_default()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Add(_) => "add",
            Self::RotateToken { .. } => "rotate_token",
            Self::RotateSecret { .. } => "rotate_secret",
            Self::RetireSecret { .. } => "retire_secret",
            Self::SetMode { .. } => "set_mode",
            Self::SetAllow { .. } => "set_allow",
            Self::Revoke { .. } => "revoke",
            Self::Reseal => "reseal",
        }
    }

    /// Of which connection it is, or of which first.
    #[must_use]
    pub fn connection(&self) -> Option<&str> {
        match self {
            Self::Add(entries) => entries.first().map(|entry| entry.id.as_str()),
            Self::RotateToken { id, .. }
            | Self::RotateSecret { id, .. }
            | Self::RetireSecret { id }
            | Self::SetMode { id, .. }
            | Self::SetAllow { id, .. }
            | Self::Revoke { id } => Some(id),
            Self::Reseal => None,
        }
    }
}

/// What may be shown of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// Its country.
    pub country: String,
    /// What is done with signatures.
    pub mode: Mode,
    /// How many secrets are good.
    pub secrets: usize,
    /// The first eight hex digits of the token's SHA-256: enough to see which one it is.
    pub token: String,
    /// Likewise of the token before, as long as it is good.
    pub old_token: Option<String>,
    /// Until when that is, in seconds since 1970.
    pub old_token_good_until: Option<u64>,
    /// From where its webhooks come.
    pub allow: Vec<String>,
}

impl Entry {
    /// What may be shown of it.
    #[must_use]
    pub fn listed(&self, now: UnixSeconds) -> Listed {
        let start = |sha256: &str| sha256.chars().take(8).collect();
        let old = self.old_token(now);
        Listed {
            id: self.id.clone(),
            country: self.country.clone(),
            mode: self.mode,
            secrets: self.secrets.len(),
            token: start(&self.token_sha256),
            old_token: old.map(start),
            old_token_good_until: old.map(|_| self.old_token_good_until),
            allow: self.allow.clone(),
        }
    }

    fn forget_old_token(&mut self) {
        self.old_token_sha256 = None;
        self.old_token_good_until = 0;
    }

    /// The token before, if it is still good.
    fn old_token(&self, now: UnixSeconds) -> Option<&str> {
        let old = self.old_token_sha256.as_deref();
        old.filter(|_| now.0 < self.old_token_good_until)
    }
}

/// Reads connections: a JSON array of [`Entry`].
pub fn entries_from_json(json: &str) -> Result<Vec<Entry>, InvalidConnections> {
    read(json, "not a JSON array of connections")
}

fn read<'j, T: Deserialize<'j>>(json: &'j str, mistake: &str) -> Result<T, InvalidConnections> {
    // serde's own text may quote a value, and a value here may be a secret.
    serde_json::from_str(json).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        InvalidConnections(vec![format!("{mistake} (line {line}, column {column})")])
    })
}

impl Document {
    /// The document after a change. It is valid: [`Connections::from_document`] takes it.
    pub fn apply(&self, change: Change, now: UnixSeconds) -> Result<Self, InvalidConnections> {
        let mut next = self.clone();
        next.version += 1;
        next.changed_at = now.0;
        for entry in &mut next.connections {
            if entry.old_token(now).is_none() {
                entry.forget_old_token();
            }
        }
        next.change(change, now)
            .map_err(|mistake| InvalidConnections(vec![mistake]))?;
        Connections::from_document(&next)?;
        Ok(next)
    }

    fn change(&mut self, change: Change, now: UnixSeconds) -> Result<(), String> {
        match change {
            Change::Add(entries) => {
                for entry in entries {
                    let known = self.connections.iter().find(|known| known.id == entry.id);
                    match known {
                        // Asked for again.
                        Some(known) if *known == entry => {}
                        Some(_) => {
                            return Err(format!("{}: there is one of this id already", entry.id));
                        }
                        None => self.connections.push(entry),
                    }
                }
            }
            Change::RotateToken {
                id,
                token_sha256,
                old_good_secs,
            } => {
                let entry = self.entry(&id)?;
                if old_good_secs > OLD_TOKEN_GOOD_MAX_SECS {
                    return Err(format!(
                        "{id}: an old token stays good for {OLD_TOKEN_GOOD_MAX_SECS} s at most"
                    ));
                }
                if entry.token_sha256.eq_ignore_ascii_case(&token_sha256) {
                    // It may have become known meanwhile that the old one has to end sooner; later never.
                    let good_until = entry.old_token_good_until.min(now.0 + old_good_secs);
                    entry.old_token_good_until = good_until;
                    if old_good_secs == 0 {
                        entry.forget_old_token();
                    }
                    return Ok(());
                }
                // Only one can be remembered, and whoever still uses it would be turned away.
                if old_good_secs > 0 && entry.old_token_sha256.is_some() {
                    let left = entry.old_token_good_until.saturating_sub(now.0);
                    return Err(format!(
                        "{id}: the token before is good for another {left} s; wait, or end both old ones at once (0 s)"
                    ));
                }
                let old = std::mem::replace(&mut entry.token_sha256, token_sha256);
                entry.forget_old_token();
                if old_good_secs > 0 {
                    entry.old_token_sha256 = Some(old);
                    entry.old_token_good_until = now.0 + old_good_secs;
                }
            }
            Change::RotateSecret { id, secret } => {
                let entry = self.entry(&id)?;
                if entry.secrets.first() != Some(&secret) {
                    if entry.secrets.len() > 1 {
                        return Err(format!(
                            "{id}: two secrets are good already: retire the old one first"
                        ));
                    }
                    entry.secrets.insert(0, secret);
                }
            }
            Change::RetireSecret { id } => self.entry(&id)?.secrets.truncate(1),
            Change::SetMode { id, mode } => self.entry(&id)?.mode = mode,
            Change::SetAllow { id, allow } => self.entry(&id)?.allow = allow,
            Change::Revoke { id } => {
                // Whoever mistypes it must not believe that it is done.
                self.entry(&id)?;
                self.connections.retain(|entry| entry.id != id);
            }
            Change::Reseal => {}
        }
        Ok(())
    }

    fn entry(&mut self, id: &str) -> Result<&mut Entry, String> {
        let mut entries = self.connections.iter_mut();
        entries
            .find(|entry| entry.id == id)
            .ok_or_else(|| format!("{id}: there is no connection of this id"))
    }
}
