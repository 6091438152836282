//! The connections' document as it lies in storage that others can read: sealed with a key that only the edge
//! has. ChaCha20-Poly1305 (RFC 8439).
//!
//! On the wire: version of this form (1 byte, `1`), the document's version and when it was changed (8 bytes each,
//! the highest first), length of the key's name (1 byte), the name, the nonce (12 bytes), the ciphertext with its
//! tag at the end. What stands before the nonce is authenticated with it. The plaintext is the connections as a
//! JSON array of [`super::document::Entry`].

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce, Tag};

use super::document::Document;
use super::{ConnectionId, Connections};

/// The first byte of the form described above.
const VERSION: u8 = 1;

/// A key of ChaCha20-Poly1305.
const KEY_BYTES: usize = 32;

/// ChaCha20-Poly1305's tag (RFC 8439 §2.8).
const TAG_BYTES: usize = 16;

/// How much randomness one sealing takes: a nonce (RFC 8439 §2.8). A document changes some times a day, so that
/// chance never gives one twice.
pub const NONCE_BYTES: usize = 12;

/// The longest snapshot that is read or made.
pub const SNAPSHOT_LIMIT_BYTES: usize = 1_048_576;

/// The keys of a deployment: the first seals, all of them open.
pub struct SnapshotKeys(Vec<SnapshotKey>);

struct SnapshotKey {
    keyid: Box<str>,
    cipher: ChaCha20Poly1305,
}

impl fmt::Debug for SnapshotKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|key| &key.keyid);
        formatter.debug_list().entries(names).finish()
    }
}

/// Keys that cannot be used. Quotes none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "CONNECTIONS_KEYS: [\"name:32 bytes in base64\", …] is expected, each name once, the key that seals first \
     (`smpctl connection key` makes one)"
)]
pub struct InvalidSnapshotKeys;

/// Why a snapshot was not made or not read. Quotes nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The document is longer than [`SNAPSHOT_LIMIT_BYTES`].
    #[error("too_large")]
    TooLarge,
    /// It is cut off, or of a version that is not known.
    #[error("malformed")]
    Malformed,
    /// It was sealed with a key that is not here.
    #[error("unknown_key")]
    UnknownKey,
    /// It was changed since, or the key of this name is another one.
    #[error("not_authentic")]
    NotAuthentic,
    /// What was sealed is no document of connections.
    #[error("no_document")]
    NoDocument,
}

impl SnapshotKeys {
    /// Reads the secret `CONNECTIONS_KEYS`, a JSON array of `"name:base64"`.
    pub fn from_json(document: &str) -> Result<Self, InvalidSnapshotKeys> {
        let texts: Vec<String> = serde_json::from_str(document).map_err(|_| InvalidSnapshotKeys)?;
        let mut keys: Vec<SnapshotKey> = Vec::new();
        for text in texts {
            let (keyid, encoded) = text.split_once(':').ok_or(InvalidSnapshotKeys)?;
            let bytes = BASE64.decode(encoded).map_err(|_| InvalidSnapshotKeys)?;
            let key: [u8; KEY_BYTES] = bytes.try_into().map_err(|_| InvalidSnapshotKeys)?;
            let is_new = keys.iter().all(|known| *known.keyid != *keyid);
            // The same alphabet as a connection's id, and so short enough for one byte of length.
            if !is_new || ConnectionId::parse(keyid).is_err() {
                return Err(InvalidSnapshotKeys);
            }
            keys.push(SnapshotKey {
                keyid: keyid.into(),
                cipher: ChaCha20Poly1305::new(&Key::from(key)),
            });
        }
        if keys.is_empty() {
            return Err(InvalidSnapshotKeys);
        }
        Ok(Self(keys))
    }

    /// Writes a key as [`SnapshotKeys::from_json`] reads it. This is the secret itself.
    #[must_use]
    pub fn expose_key(name: &str, randomness: &[u8; KEY_BYTES]) -> String {
        format!("{name}:{}", BASE64.encode(randomness))
    }

    /// Seals a document with the first key. `nonce` was never used before.
    pub fn seal(
        &self,
        document: &Document,
        nonce: [u8; NONCE_BYTES],
    ) -> Result<Vec<u8>, SnapshotError> {
        let key = self.0.first().ok_or(SnapshotError::UnknownKey)?;
        let plaintext = serde_json::to_string(&document.connections);
        let plaintext = plaintext.map_err(|_| SnapshotError::TooLarge)?;
        let keyid_bytes = u8::try_from(key.keyid.len()).map_err(|_| SnapshotError::TooLarge)?;
        let mut sealed = vec![VERSION];
        sealed.extend_from_slice(&document.version.to_be_bytes());
        sealed.extend_from_slice(&document.changed_at.to_be_bytes());
        sealed.push(keyid_bytes);
        sealed.extend_from_slice(key.keyid.as_bytes());
        let head_bytes = sealed.len();
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plaintext.as_bytes());
        if sealed.len() + TAG_BYTES > SNAPSHOT_LIMIT_BYTES {
            return Err(SnapshotError::TooLarge);
        }
        let (head, rest) = sealed.split_at_mut(head_bytes);
        let (_, text) = rest.split_at_mut(NONCE_BYTES);
        let tag = key
            .cipher
            .encrypt_inout_detached(&Nonce::from(nonce), head, InOutBuf::from(text))
            .map_err(|_| SnapshotError::TooLarge)?;
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    /// Opens a snapshot.
    pub fn open(&self, sealed: &[u8]) -> Result<Document, SnapshotError> {
        let parts = take_apart(sealed)?;
        let mut keys = self.0.iter();
        let key = keys
            .find(|key| key.keyid.as_bytes() == parts.keyid)
            .ok_or(SnapshotError::UnknownKey)?;
        let mut plaintext = parts.ciphertext.to_vec();
        key.cipher
            .decrypt_inout_detached(
                &Nonce::from(parts.nonce),
                parts.head,
                InOutBuf::from(plaintext.as_mut_slice()),
                &Tag::from(parts.tag),
            )
            .map_err(|_| SnapshotError::NotAuthentic)?;
        let connections = str::from_utf8(&plaintext)
            .ok()
            .and_then(|text| serde_json::from_str(text).ok());
        Ok(Document {
            version: parts.version,
            changed_at: parts.changed_at,
            connections: connections.ok_or(SnapshotError::NoDocument)?,
        })
    }

    /// Opens a snapshot, and reads the connections in it.
    pub fn open_connections(&self, sealed: &[u8]) -> Result<Connections, SnapshotError> {
        let document = self.open(sealed)?;
        Connections::from_document(&document).map_err(|_| SnapshotError::NoDocument)
    }
}

/// The version that a snapshot says it has; only opening it shows whether that is so.
#[must_use]
pub fn version_of(sealed: &[u8]) -> Option<u64> {
    Some(take_apart(sealed).ok()?.version)
}

struct Parts<'s> {
    /// What is authenticated.
    head: &'s [u8],
    version: u64,
    changed_at: u64,
    keyid: &'s [u8],
    nonce: [u8; NONCE_BYTES],
    ciphertext: &'s [u8],
    tag: [u8; TAG_BYTES],
}

fn take_apart(sealed: &[u8]) -> Result<Parts<'_>, SnapshotError> {
    if sealed.len() > SNAPSHOT_LIMIT_BYTES {
        return Err(SnapshotError::TooLarge);
    }
    let parts = || {
        let (&[VERSION], rest) = sealed.split_first_chunk()? else {
            return None;
        };
        let (version, rest) = rest.split_first_chunk()?;
        let (changed_at, rest) = rest.split_first_chunk()?;
        let (&[keyid_bytes], rest) = rest.split_first_chunk()?;
        let (keyid, rest) = rest.split_at_checked(keyid_bytes.into())?;
        let head = sealed.get(..sealed.len() - rest.len())?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let (ciphertext, tag) = rest.split_last_chunk()?;
        Some(Parts {
            head,
            version: u64::from_be_bytes(*version),
            changed_at: u64::from_be_bytes(*changed_at),
            keyid,
            nonce: *nonce,
            ciphertext,
            tag: *tag,
        })
    };
    parts().ok_or(SnapshotError::Malformed)
}
