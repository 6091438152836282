//! Pancake's webhook signature, and what a connection's mode makes of it.
//!
//! The signature is `X-Pancake-Signature` = hex(HMAC-SHA256(secret, timestamp + "." + body)), where
//! the timestamp is the very bytes of `X-Pancake-Timestamp` and the body the very bytes received.
//! The timestamp is judged before the signature. Time and secrets are passed in.

use std::fmt;
use std::str::FromStr;

use hmac::digest::CtOutput;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::UnixSeconds;

/// How far the sender's clock may be from ours, either way, in seconds. Exactly this far is inside.
///
/// The go-live checklist (E7.2) asks for five minutes against replays.
pub const TOLERANCE_SECS: u64 = 300;

/// The longest timestamp that is read: 19 digits, the most that any `u64` of ours holds without
/// overflow (the largest such number, 9,999,999,999,999,999,999, is below 2^64).
pub const TIMESTAMP_MAX_DIGITS: usize = 19;

/// A block of SHA-256 (FIPS 180-4).
pub const BLOCK_BYTES: usize = 64;

/// A SHA-256.
pub const HASH_BYTES: usize = 32;

/// A secret for HMAC-SHA256, kept as the keyed state so that no request pays for keying again.
///
/// Debug output is redacted.
#[derive(Clone)]
pub struct SigningSecret {
    keyed: Hmac<Sha256>,
    /// The secret as RFC 2104 §2 prepares it: a whole block.
    block: [u8; BLOCK_BYTES],
}

impl SigningSecret {
    /// Keys HMAC-SHA256 (RFC 2104) with the secret's bytes as they are.
    #[must_use]
    pub fn new(secret: &[u8]) -> Option<Self> {
        // HMAC takes keys of any length; an empty one is a configuration error, not a secret.
        if secret.is_empty() {
            None
        } else {
            let mut block = [0; BLOCK_BYTES];
            match block.get_mut(..secret.len()) {
                Some(place) => place.copy_from_slice(secret),
                None => block[..HASH_BYTES].copy_from_slice(&Sha256::digest(secret)),
            }
            let keyed = Hmac::new_from_slice(secret).ok()?;
            Some(Self { keyed, block })
        }
    }

    pub(crate) fn mac(&self) -> Hmac<Sha256> {
        self.keyed.clone()
    }

    /// What stands before the message where HMAC hashes it (RFC 2104 §2, `ipad`). As secret as the secret.
    fn inner_block(&self) -> [u8; BLOCK_BYTES] {
        self.block.map(|byte| byte ^ 0x36)
    }

    /// The HMAC whose inner hash is this (RFC 2104 §2, `opad`).
    fn finish(&self, inner: &[u8; 32]) -> CtOutput<Hmac<Sha256>> {
        let mut outer = Sha256::new();
        outer.update(self.block.map(|byte| byte ^ 0x5c));
        outer.update(inner);
        CtOutput::new(outer.finalize())
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SigningSecret(redacted)")
    }
}

/// The secrets of one connection: one, or two while they are being rotated.
#[derive(Debug, Clone)]
pub struct SecretSet {
    current: SigningSecret,
    previous: Option<SigningSecret>,
}

impl SecretSet {
    /// A set with the secret in use and, during a rotation, the one before it.
    #[must_use]
    pub fn new(current: SigningSecret, previous: Option<SigningSecret>) -> Self {
        Self { current, previous }
    }

    /// What a [`HashedBody`] is hashed behind, once for each secret.
    pub fn inner_blocks(&self) -> impl Iterator<Item = [u8; BLOCK_BYTES]> {
        self.all().map(SigningSecret::inner_block)
    }

    fn all(&self) -> impl Iterator<Item = &SigningSecret> {
        [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten()
    }

    fn signed(&self, timestamp: &[u8], body: Body<'_>, signature: &[u8; 32]) -> bool {
        let signs = |secret: &SigningSecret, place: usize| {
            let expected = match body {
                Body::Bytes(body) => {
                    let mut mac = secret.mac();
                    mac.update(timestamp);
                    mac.update(b".");
                    mac.update(body);
                    mac.finalize()
                }
                Body::Hashed(hashed) => {
                    let Some(inner) = hashed.inner.get(place) else {
                        return false;
                    };
                    secret.finish(inner)
                }
            };
            // Constant time: `CtOutput` compares through `subtle`.
            expected == CtOutput::new((*signature).into())
        };
        // All are always tried, so that time does not tell which of them matched.
        let mut any = false;
        for (secret, place) in self.all().zip(0..) {
            any |= signs(secret, place);
        }
        any
    }
}

/// A body as it is judged.
#[derive(Clone, Copy)]
pub enum Body<'b> {
    /// Byte for byte as received.
    Bytes(&'b [u8]),
    /// A long one, of which the platform has made hashes.
    Hashed(&'b HashedBody),
}

/// What whoever has SHA-256 in hardware has hashed of a body, so that this code need not. All else about the
/// signature is computed and decided here.
#[derive(Clone)]
pub struct HashedBody {
    /// Of the body.
    pub sha256: [u8; HASH_BYTES],
    /// Of each of [`SecretSet::inner_blocks`], the timestamp, a dot, and the body: HMAC's inner hash (RFC 2104 §2).
    pub inner: [[u8; HASH_BYTES]; 2],
}

impl<'b, T: AsRef<[u8]> + ?Sized> From<&'b T> for Body<'b> {
    fn from(bytes: &'b T) -> Self {
        Self::Bytes(bytes.as_ref())
    }
}

/// The two headers that Pancake signs with, as received; `None` where a header is absent.
///
/// A header that was sent twice must be given joined with `", "` (RFC 9110 §5.3): neither a
/// timestamp nor a signature holds a comma, so it is judged malformed.
#[derive(Debug, Clone, Copy, Default)]
pub struct SignedHeaders<'h> {
    /// `X-Pancake-Timestamp`.
    pub timestamp: Option<&'h [u8]>,
    /// `X-Pancake-Signature`.
    pub signature: Option<&'h [u8]>,
}

/// What a connection does with signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Neither header is read. Token and address are the trust, as in the pilot's first weeks.
    Off,
    /// Both headers are judged, and the request goes on with the verdict whatever it is.
    Observe,
    /// Only a request with a fresh timestamp and a right signature goes on.
    Enforce,
}

impl Mode {
    /// Each mode, from the one that asks least of a request.
    pub const ALL: [Self; 3] = [Self::Off, Self::Observe, Self::Enforce];

    /// Its name in configurations.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }
}

/// A text that names no [`Mode`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a mode is one of off, observe, enforce")]
pub struct InvalidMode;

impl FromStr for Mode {
    type Err = InvalidMode;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let mut modes = Self::ALL.into_iter();
        modes.find(|mode| mode.as_str() == name).ok_or(InvalidMode)
    }
}

/// What is known of a request's signature when it goes on to its core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Fresh and rightly signed.
    Verified,
    /// Not judged ([`Mode::Off`]).
    Unsigned,
    /// Timestamp missing, malformed or out of the window ([`Mode::Observe`]).
    Stale,
    /// Signature missing or wrong ([`Mode::Observe`]).
    Invalid,
}

impl Verdict {
    /// Each verdict, in the order of the wire's names.
    pub const ALL: [Self; 4] = [Self::Verified, Self::Unsigned, Self::Stale, Self::Invalid];

    /// The name on the wire (`x-smp-verdict`) and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Unsigned => "unsigned",
            Self::Stale => "stale",
            Self::Invalid => "invalid",
        }
    }
}

/// A text that names no [`Verdict`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a verdict is one of verified, unsigned, stale, invalid")]
pub struct InvalidVerdict;

impl FromStr for Verdict {
    type Err = InvalidVerdict;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|verdict| verdict.as_str() == name)
            .ok_or(InvalidVerdict)
    }
}

/// Why a request is not let on. The names are the answer's `status` and the metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RejectReason {
    /// The timestamp is missing, malformed, or more than [`TOLERANCE_SECS`] away.
    #[error("timestamp_out_of_window")]
    TimestampOutOfWindow,
    /// The signature is missing, malformed, or of none of the connection's secrets.
    #[error("hmac_invalid")]
    HmacInvalid,
}

impl RejectReason {
    /// The verdict that [`Mode::Observe`] sends on in place of the refusal.
    fn observed(self) -> Verdict {
        match self {
            Self::TimestampOutOfWindow => Verdict::Stale,
            Self::HmacInvalid => Verdict::Invalid,
        }
    }
}

/// A body whose sender knew the secret, within the window. [`verify`] alone makes one.
#[derive(Clone, Copy)]
pub struct Verified<'b> {
    body: Body<'b>,
}

/// A body that its connection's mode lets on to the core, with the verdict that travels with it.
/// [`admit`] alone makes one, and the hop is signed for nothing else.
#[derive(Clone, Copy)]
pub struct Admitted<'b> {
    body: Body<'b>,
    verdict: Verdict,
}

impl Policy {
    /// The secrets by which signatures are judged, if they are.
    #[must_use]
    pub fn secrets(&self) -> Option<&SecretSet> {
        match self {
            Self::Off => None,
            Self::Observe(secrets) | Self::Enforce(secrets) => Some(secrets),
        }
    }
}

impl fmt::Debug for Verified<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Verified")
    }
}

impl fmt::Debug for Admitted<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Admitted({})", self.verdict.as_str())
    }
}

impl Admitted<'_> {
    /// The SHA-256 of the body as received.
    #[must_use]
    pub fn body_sha256(&self) -> [u8; 32] {
        match self.body {
            Body::Bytes(body) => Sha256::digest(body).into(),
            Body::Hashed(hashed) => hashed.sha256,
        }
    }

    /// What is known of the signature.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }
}

/// Checks timestamp, then signature.
pub fn verify<'b>(
    secrets: &SecretSet,
    headers: SignedHeaders<'_>,
    body: impl Into<Body<'b>>,
    now: UnixSeconds,
) -> Result<Verified<'b>, RejectReason> {
    let timestamp = headers
        .timestamp
        .ok_or(RejectReason::TimestampOutOfWindow)?;
    let sent_at = parse_timestamp(timestamp).ok_or(RejectReason::TimestampOutOfWindow)?;
    if sent_at.distance_secs(now) > TOLERANCE_SECS {
        return Err(RejectReason::TimestampOutOfWindow);
    }
    let signature = headers
        .signature
        .and_then(parse_hex32)
        .ok_or(RejectReason::HmacInvalid)?;
    let body = body.into();
    if secrets.signed(timestamp, body, &signature) {
        Ok(Verified { body })
    } else {
        Err(RejectReason::HmacInvalid)
    }
}

/// How a connection treats signatures: the mode, together with the secrets that the mode needs.
#[derive(Debug, Clone)]
pub enum Policy {
    /// [`Mode::Off`].
    Off,
    /// [`Mode::Observe`].
    Observe(SecretSet),
    /// [`Mode::Enforce`].
    Enforce(SecretSet),
}

/// Judges a request as its connection's policy says.
pub fn admit<'b>(
    policy: &Policy,
    headers: SignedHeaders<'_>,
    body: impl Into<Body<'b>>,
    now: UnixSeconds,
) -> Result<Admitted<'b>, RejectReason> {
    let body = body.into();
    let verdict = match policy {
        Policy::Off => Verdict::Unsigned,
        Policy::Observe(secrets) => match verify(secrets, headers, body, now) {
            Ok(_) => Verdict::Verified,
            Err(reason) => reason.observed(),
        },
        Policy::Enforce(secrets) => {
            let Verified { body } = verify(secrets, headers, body, now)?;
            return Ok(Admitted {
                body,
                verdict: Verdict::Verified,
            });
        }
    };
    Ok(Admitted { body, verdict })
}

/// Reads 1 to [`TIMESTAMP_MAX_DIGITS`] ASCII digits; leading zeros are allowed, nothing else is.
fn parse_timestamp(digits: &[u8]) -> Option<UnixSeconds> {
    if digits.is_empty() || digits.len() > TIMESTAMP_MAX_DIGITS {
        return None;
    }
    digits
        .iter()
        .try_fold(0_u64, |seconds, digit| {
            digit
                .is_ascii_digit()
                .then(|| seconds * 10 + u64::from(digit - b'0'))
        })
        .map(UnixSeconds)
}

/// Reads 64 hex digits, in either case.
pub(crate) fn parse_hex32(hex: &[u8]) -> Option<[u8; 32]> {
    let (pairs, rest) = hex.as_chunks::<2>();
    let pairs: &[[u8; 2]; 32] = pairs.try_into().ok()?;
    if !rest.is_empty() {
        return None;
    }
    let mut signature = [0; 32];
    for (byte, &[high, low]) in signature.iter_mut().zip(pairs) {
        *byte = hex_digit(high)? << 4 | hex_digit(low)?;
    }
    Some(signature)
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
