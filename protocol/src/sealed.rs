//! A record sealed to its region's public key, for as long as it waits at the edge.
//!
//! Whoever keeps it can read nothing of it; the region alone opens it. HPKE (RFC 9180) in base mode with
//! DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and ChaCha20-Poly1305.
//!
//! Base mode does not say who sealed. The hop's signature does: it is made when the record is sealed, and
//! sealed with it, so that the region keeps the same receipt as of a record that came straight.
//!
//! On the wire: version (1 byte, `1`), length of the key's name (1 byte), the name, the encapsulated key
//! (32 bytes), the ciphertext with its tag at the end. What stands before the encapsulated key is
//! authenticated as HPKE's `aad`. The plaintext is a [`SealedHop`] as one line of JSON, and the body.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hpke::aead::{AeadTag, ChaCha20Poly1305};
use hpke::inout::InOutBuf;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use serde::{Deserialize, Serialize};

use crate::BODY_LIMIT_BYTES;
use crate::connection::ConnectionId;
use crate::hop::{
    self, HopError, HopKey, ReceivedHeaders, Target, VerifiedRecord, verify_old_record,
};

/// HPKE's `info`: a key used for anything else would not open these.
const INFO: &[u8] = b"smp-global sealed record 1";

/// The first byte of the form described above.
const VERSION: u8 = 1;

/// An X25519 key, public or private (RFC 7748 §5), and so an encapsulated one.
const KEY_BYTES: usize = 32;

/// ChaCha20-Poly1305's tag (RFC 8439 §2.8).
const TAG_BYTES: usize = 16;

/// How much randomness one sealing takes (RFC 9180 §7.1.3: as much as a private key is long).
pub const RANDOMNESS_BYTES: usize = KEY_BYTES;

/// The longest [`SealedHop`] that is read, in bytes of JSON.
const HOP_LIMIT_BYTES: usize = 2_048;

/// The longest sealed record that is read.
pub const SEALED_LIMIT_BYTES: usize =
    2 + ConnectionId::MAX_BYTES + KEY_BYTES + HOP_LIMIT_BYTES + 1 + BODY_LIMIT_BYTES + TAG_BYTES;

type PublicKey = <X25519HkdfSha256 as Kem>::PublicKey;
type PrivateKey = <X25519HkdfSha256 as Kem>::PrivateKey;
type EncappedKey = <X25519HkdfSha256 as Kem>::EncappedKey;

/// The hop of a sealed record, as the edge signed it: the headers of [`crate::hop`] by what they say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedHop {
    /// [`crate::hop::COUNTRY`].
    pub country: String,
    /// [`crate::hop::REGION`].
    pub region: String,
    /// [`crate::hop::CONNECTION`].
    pub connection: String,
    /// [`crate::hop::VERDICT`].
    pub verdict: String,
    /// [`crate::hop::ROUTE_VERSION`].
    pub route_version: String,
    /// [`crate::hop::CONTENT_DIGEST`], of the body that is sealed.
    pub content_digest: String,
    /// [`crate::hop::SIGNATURE_INPUT`].
    pub signature_input: String,
    /// [`crate::hop::SIGNATURE`].
    pub signature: String,
    /// Milliseconds of the second in which it was signed, from 0 to 999: of two states of a record that both
    /// waited, the later one counts.
    pub created_ms: u16,
}

/// A key that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSealingKey {
    /// It is not written as `name:key`.
    #[error(
        "a sealing key is its name, a colon and 32 bytes in base64 (`smpctl sealing-key` makes one)"
    )]
    Form,
    /// The name has characters that would need escaping, or is too long.
    #[error("the name of a sealing key has 1 to 64 lower-case letters, digits and hyphens")]
    Keyid,
}

/// A region's public key: the edge seals with it. No secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SealingKey {
    keyid: Box<str>,
    public: PublicKey,
}

impl SealingKey {
    /// Reads `name:base64`.
    pub fn parse(text: &str) -> Result<Self, InvalidSealingKey> {
        let (keyid, bytes) = read_key(text)?;
        let public = PublicKey::from_bytes(&bytes).map_err(|_| InvalidSealingKey::Form)?;
        Ok(Self { keyid, public })
    }

    /// The key's name.
    #[must_use]
    pub fn keyid(&self) -> &str {
        &self.keyid
    }
}

impl fmt::Display for SealingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let public = BASE64.encode(self.public.to_bytes());
        write!(formatter, "{}:{public}", self.keyid)
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SealingKey({self})")
    }
}

/// A region's private key: its core opens with it. It never leaves the region.
#[derive(Clone)]
pub struct OpeningKey {
    keyid: Box<str>,
    private: PrivateKey,
}

impl OpeningKey {
    /// Reads `name:base64`.
    pub fn parse(text: &str) -> Result<Self, InvalidSealingKey> {
        let (keyid, bytes) = read_key(text)?;
        let private = PrivateKey::from_bytes(&bytes).map_err(|_| InvalidSealingKey::Form)?;
        Ok(Self { keyid, private })
    }

    /// A new key of this name, made of randomness that nothing else has seen.
    pub fn derive(
        keyid: &str,
        randomness: &[u8; RANDOMNESS_BYTES],
    ) -> Result<Self, InvalidSealingKey> {
        let (private, _) = X25519HkdfSha256::derive_keypair(randomness);
        Ok(Self {
            keyid: read_keyid(keyid)?,
            private,
        })
    }

    /// The key's name.
    #[must_use]
    pub fn keyid(&self) -> &str {
        &self.keyid
    }

    /// What the edge seals with.
    #[must_use]
    pub fn sealing_key(&self) -> SealingKey {
        SealingKey {
            keyid: self.keyid.clone(),
            public: X25519HkdfSha256::sk_to_pk(&self.private),
        }
    }

    /// As [`OpeningKey::parse`] reads it. This is the secret itself.
    #[must_use]
    pub fn expose(&self) -> String {
        let private = BASE64.encode(self.private.to_bytes());
        format!("{}:{private}", self.keyid)
    }
}

impl fmt::Debug for OpeningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "OpeningKey({}, redacted)", self.keyid)
    }
}

fn read_key(text: &str) -> Result<(Box<str>, [u8; KEY_BYTES]), InvalidSealingKey> {
    let (keyid, encoded) = text.split_once(':').ok_or(InvalidSealingKey::Form)?;
    let keyid = read_keyid(keyid)?;
    let bytes = BASE64
        .decode(encoded)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(InvalidSealingKey::Form)?;
    Ok((keyid, bytes))
}

fn read_keyid(keyid: &str) -> Result<Box<str>, InvalidSealingKey> {
    // The same alphabet as a connection's id, and so short enough for one byte of length.
    ConnectionId::parse(keyid).map_err(|_| InvalidSealingKey::Keyid)?;
    Ok(keyid.into())
}

/// Why a record was not sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The body is over [`BODY_LIMIT_BYTES`], or the hop has texts that no hop has.
    #[error("too_large")]
    TooLarge,
    /// The key is one that HPKE refuses: an X25519 point of small order (RFC 9180 §7.1.4).
    #[error("key_refused")]
    Key,
}

/// Seals a record. `randomness` is used up by it: the same bytes twice would give two records one key.
pub fn seal(
    key: &SealingKey,
    hop: &SealedHop,
    body: &[u8],
    randomness: &[u8; RANDOMNESS_BYTES],
) -> Result<Vec<u8>, SealError> {
    let hop = serde_json::to_vec(hop).map_err(|_| SealError::TooLarge)?;
    if body.len() > BODY_LIMIT_BYTES || hop.len() > HOP_LIMIT_BYTES {
        return Err(SealError::TooLarge);
    }
    let keyid_bytes = u8::try_from(key.keyid.len()).map_err(|_| SealError::TooLarge)?;
    let mut sealed = Vec::with_capacity(SEALED_LIMIT_BYTES - BODY_LIMIT_BYTES + body.len());
    sealed.extend_from_slice(&[VERSION, keyid_bytes]);
    sealed.extend_from_slice(key.keyid.as_bytes());
    let head_bytes = sealed.len();
    sealed.extend_from_slice(&[0; KEY_BYTES]);
    sealed.extend_from_slice(&hop);
    sealed.push(b'\n');
    sealed.extend_from_slice(body);
    let (head, rest) = sealed.split_at_mut(head_bytes);
    let (encapped_place, plaintext) = rest.split_at_mut(KEY_BYTES);
    let mut randomness = Given {
        left: randomness,
        ran_out: false,
    };
    let (encapped, tag) = hpke::single_shot_seal_inout_detached_with_rng::<
        ChaCha20Poly1305,
        HkdfSha256,
        X25519HkdfSha256,
    >(
        &OpModeS::Base,
        &key.public,
        INFO,
        InOutBuf::from(plaintext),
        head,
        &mut randomness,
    )
    .map_err(|_| SealError::Key)?;
    if randomness.ran_out {
        return Err(SealError::Key);
    }
    encapped_place.copy_from_slice(&encapped.to_bytes());
    sealed.extend_from_slice(&tag.to_bytes());
    Ok(sealed)
}

/// A source of randomness that was made beforehand.
struct Given<'r> {
    left: &'r [u8],
    /// More was asked for than there is: what was made of it must not be used.
    ran_out: bool,
}

impl TryRng for Given<'_> {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, place: &mut [u8]) -> Result<(), Self::Error> {
        match self.left.split_at_checked(place.len()) {
            Some((bytes, left)) => {
                place.copy_from_slice(bytes);
                self.left = left;
            }
            None => self.ran_out = true,
        }
        Ok(())
    }
}

impl TryCryptoRng for Given<'_> {}

/// Why a sealed record was not opened. Quotes nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum OpenError {
    /// It is longer than any, cut off, or of a version that is not known.
    #[error("sealed_malformed")]
    Malformed,
    /// It was sealed with a key that is not among these.
    #[error("sealing_key_unknown")]
    UnknownKey,
    /// It was changed, or sealed for something else.
    #[error("seal_broken")]
    Broken,
    /// What was sealed is not a hop and a body.
    #[error("sealed_content_malformed")]
    Content,
}

/// What was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The hop. It is not judged yet.
    pub hop: SealedHop,
    /// The body, byte for byte.
    pub body: Vec<u8>,
}

impl Opened {
    /// Checks the hop that was sealed: whoever knows the region's public key can seal. `keys` are the hop's
    /// live and retired ones; how long it waited is no matter.
    pub fn verify(&self, keys: &[HopKey]) -> Result<VerifiedRecord<'_>, HopError> {
        let SealedHop {
            country,
            region,
            connection,
            verdict,
            route_version,
            content_digest,
            signature_input,
            signature,
            created_ms,
        } = &self.hop;
        if *created_ms > 999 {
            return Err(HopError::Malformed("created_ms"));
        }
        let headers = ReceivedHeaders {
            country: Some(country),
            region: Some(region),
            connection: Some(connection),
            verdict: Some(verdict),
            route_version: Some(route_version),
            content_digest: Some(content_digest),
            signature_input: Some(signature_input),
            signature: Some(signature),
        };
        let connection =
            ConnectionId::parse(connection).map_err(|_| HopError::Malformed(hop::CONNECTION))?;
        let target = Target {
            method: "POST",
            path: &hop::record_path(&connection),
            query: None,
        };
        verify_old_record(keys, target, headers, &self.body)
    }
}

/// Opens a sealed record with the key that it names.
pub fn open(keys: &[OpeningKey], sealed: &[u8]) -> Result<Opened, OpenError> {
    if sealed.len() > SEALED_LIMIT_BYTES {
        return Err(OpenError::Malformed);
    }
    let (keyid, head_bytes) = read_head(sealed).ok_or(OpenError::Malformed)?;
    let (head, rest) = sealed
        .split_at_checked(head_bytes)
        .ok_or(OpenError::Malformed)?;
    let (encapped, rest) = rest
        .split_at_checked(KEY_BYTES)
        .ok_or(OpenError::Malformed)?;
    let (ciphertext, tag) = rest
        .len()
        .checked_sub(TAG_BYTES)
        .and_then(|at| rest.split_at_checked(at))
        .ok_or(OpenError::Malformed)?;
    let encapped = EncappedKey::from_bytes(encapped).map_err(|_| OpenError::Malformed)?;
    let tag = AeadTag::<ChaCha20Poly1305>::from_bytes(tag).map_err(|_| OpenError::Malformed)?;
    let mut plaintext = ciphertext.to_vec();
    let mut error = OpenError::UnknownKey;
    // A name may have been used again for another key, so each key of the name is tried.
    for key in keys.iter().filter(|key| *key.keyid == *keyid) {
        let opened = hpke::single_shot_open_inout_detached::<
            ChaCha20Poly1305,
            HkdfSha256,
            X25519HkdfSha256,
        >(
            &OpModeR::Base,
            &key.private,
            &encapped,
            INFO,
            InOutBuf::from(plaintext.as_mut_slice()),
            head,
            &tag,
        );
        if opened.is_ok() {
            return read_content(plaintext);
        }
        // What a failed attempt leaves is undefined.
        plaintext.copy_from_slice(ciphertext);
        error = OpenError::Broken;
    }
    Err(error)
}

/// The key's name, and how long all before the encapsulated key is.
fn read_head(sealed: &[u8]) -> Option<(&str, usize)> {
    let (&[VERSION, keyid_bytes], rest) = sealed.split_first_chunk()? else {
        return None;
    };
    let keyid = rest.get(..usize::from(keyid_bytes))?;
    Some((str::from_utf8(keyid).ok()?, 2 + keyid.len()))
}

fn read_content(mut plaintext: Vec<u8>) -> Result<Opened, OpenError> {
    let line_end = plaintext
        .iter()
        .take(HOP_LIMIT_BYTES + 1)
        .position(|byte| *byte == b'\n')
        .ok_or(OpenError::Content)?;
    let body = plaintext.split_off(line_end + 1);
    plaintext.truncate(line_end);
    let hop = serde_json::from_slice(&plaintext).map_err(|_| OpenError::Content)?;
    if body.len() > BODY_LIMIT_BYTES {
        return Err(OpenError::Content);
    }
    Ok(Opened { hop, body })
}
