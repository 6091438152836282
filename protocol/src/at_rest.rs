//! What lies where others can read it: sealed with a key that only its owner has. ChaCha20-Poly1305 (RFC 8439).
//!
//! On the wire: version (1 byte, `1`), length of the key's name (1 byte), the name, the nonce (12 bytes), the
//! ciphertext with its tag at the end. A context, which whoever opens it knows, and what stands before the nonce are
//! authenticated with it: what was sealed for one place does not open in another.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce, Tag};

use crate::connection::ConnectionId;

/// The first byte of the form described above.
const VERSION: u8 = 1;

/// A key of ChaCha20-Poly1305.
const KEY_BYTES: usize = 32;

/// ChaCha20-Poly1305's tag (RFC 8439 §2.8).
const TAG_BYTES: usize = 16;

/// How much randomness one sealing takes: a nonce (RFC 8439 §2.8). What is sealed here changes some times a day, so
/// that chance never gives one twice.
pub const NONCE_BYTES: usize = 12;

/// Keys by name: the first seals, all of them open.
pub struct AtRestKeys(Vec<NamedKey>);

struct NamedKey {
    keyid: Box<str>,
    cipher: ChaCha20Poly1305,
}

impl fmt::Debug for AtRestKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|key| &key.keyid);
        formatter.debug_list().entries(names).finish()
    }
}

/// Keys that cannot be used. Quotes none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "[\"name:32 bytes in base64\", …] is expected, each name once, the key that seals first (`smpctl at-rest-key` \
     makes one)"
)]
pub struct InvalidAtRestKeys;

/// Why something was not sealed or not opened. Quotes nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AtRestError {
    /// It is longer than anything that lies there.
    #[error("too_large")]
    TooLarge,
    /// It is cut off, or of a version that is not known.
    #[error("malformed")]
    Malformed,
    /// It was sealed with a key that is not here.
    #[error("unknown_key")]
    UnknownKey,
    /// It was changed since, or is for another context, or the key of this name is another one.
    #[error("not_authentic")]
    NotAuthentic,
    /// What was sealed is not what is expected here.
    #[error("no_document")]
    NoDocument,
}

impl AtRestKeys {
    /// Reads a JSON array of `"name:base64"`.
    pub fn from_json(document: &str) -> Result<Self, InvalidAtRestKeys> {
        let texts: Vec<String> = serde_json::from_str(document).map_err(|_| InvalidAtRestKeys)?;
        let mut keys: Vec<NamedKey> = Vec::new();
        for text in texts {
            let (keyid, encoded) = text.split_once(':').ok_or(InvalidAtRestKeys)?;
            let bytes = BASE64.decode(encoded).map_err(|_| InvalidAtRestKeys)?;
            let key: [u8; KEY_BYTES] = bytes.try_into().map_err(|_| InvalidAtRestKeys)?;
            let is_new = keys.iter().all(|known| *known.keyid != *keyid);
            // The same alphabet as a connection's id, and so short enough for one byte of length.
            if !is_new || ConnectionId::parse(keyid).is_err() {
                return Err(InvalidAtRestKeys);
            }
            keys.push(NamedKey {
                keyid: keyid.into(),
                cipher: ChaCha20Poly1305::new(&Key::from(key)),
            });
        }
        if keys.is_empty() {
            return Err(InvalidAtRestKeys);
        }
        Ok(Self(keys))
    }

    /// Writes a key as [`AtRestKeys::from_json`] reads it. This is the secret itself.
    #[must_use]
    pub fn expose_key(name: &str, randomness: &[u8; KEY_BYTES]) -> String {
        format!("{name}:{}", BASE64.encode(randomness))
    }

    /// Seals with the first key. `nonce` was never used before.
    pub fn seal(
        &self,
        context: &[u8],
        plaintext: &[u8],
        nonce: [u8; NONCE_BYTES],
    ) -> Result<Vec<u8>, AtRestError> {
        let key = self.0.first().ok_or(AtRestError::UnknownKey)?;
        let keyid_bytes = u8::try_from(key.keyid.len()).map_err(|_| AtRestError::TooLarge)?;
        let mut sealed = vec![VERSION, keyid_bytes];
        sealed.extend_from_slice(key.keyid.as_bytes());
        let associated = [context, &sealed].concat();
        sealed.extend_from_slice(&nonce);
        let text_start = sealed.len();
        sealed.extend_from_slice(plaintext);
        let (_, text) = sealed.split_at_mut(text_start);
        let tag = key
            .cipher
            .encrypt_inout_detached(&Nonce::from(nonce), &associated, InOutBuf::from(text))
            .map_err(|_| AtRestError::TooLarge)?;
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    /// Opens what was sealed for this context.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, AtRestError> {
        let (keyid, rest) = take_keyid(sealed).ok_or(AtRestError::Malformed)?;
        let parts = rest.split_first_chunk().and_then(|(nonce, rest)| {
            let (ciphertext, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
            Some((nonce, ciphertext, tag))
        });
        let (nonce, ciphertext, tag) = parts.ok_or(AtRestError::Malformed)?;
        let mut keys = self.0.iter();
        let key = keys
            .find(|key| key.keyid.as_bytes() == keyid)
            .ok_or(AtRestError::UnknownKey)?;
        let head = sealed.strip_suffix(rest).unwrap_or_default();
        let associated = [context, head].concat();
        let mut plaintext = ciphertext.to_vec();
        let nonce: [u8; NONCE_BYTES] = *nonce;
        key.cipher
            .decrypt_inout_detached(
                &Nonce::from(nonce),
                &associated,
                InOutBuf::from(plaintext.as_mut_slice()),
                &Tag::from(*tag),
            )
            .map_err(|_| AtRestError::NotAuthentic)?;
        Ok(plaintext)
    }

    /// Whether this was sealed with the key that seals now.
    #[must_use]
    pub fn is_current(&self, sealed: &[u8]) -> bool {
        let current = self.0.first().map(|key| key.keyid.as_bytes());
        take_keyid(sealed).map(|(keyid, _)| keyid) == current
    }
}

/// The key's name, and what stands behind it.
fn take_keyid(sealed: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[VERSION, keyid_bytes], rest) = sealed.split_first_chunk()? else {
        return None;
    };
    rest.split_at_checked(keyid_bytes.into())
}
