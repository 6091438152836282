//! The core's end of the hop: believes it or says why not.

use base64::Engine as _;
use hmac::Mac;
use sha2::{Digest, Sha256};

use super::{
    BASE64, BASE64_SHA256_BYTES, CONNECTION, CONTENT_DIGEST, COUNTRY, HopKey, INQUIRY_COMPONENTS,
    PROXIED_COMPONENTS, RECORD_COMPONENTS, REGION, ROUTE_VERSION, SEALED_COMPONENTS, SIGNATURE,
    SIGNATURE_INPUT, SLACK_SECS, Target, VERDICT, inquiry_base, proxied_base, sealed_base,
};
use crate::connection::ConnectionId;
use crate::signature::Verdict;
use crate::{Country, RegionId, UnixSeconds};

/// The headers of a hop as a core received them. A header that is absent, sent more than once or
/// not ASCII is `None`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReceivedHeaders<'a> {
    /// [`COUNTRY`].
    pub country: Option<&'a str>,
    /// [`REGION`].
    pub region: Option<&'a str>,
    /// [`CONNECTION`].
    pub connection: Option<&'a str>,
    /// [`VERDICT`].
    pub verdict: Option<&'a str>,
    /// [`ROUTE_VERSION`].
    pub route_version: Option<&'a str>,
    /// [`CONTENT_DIGEST`].
    pub content_digest: Option<&'a str>,
    /// [`SIGNATURE_INPUT`].
    pub signature_input: Option<&'a str>,
    /// [`SIGNATURE`].
    pub signature: Option<&'a str>,
}

/// Why a hop is not believed. The answer to all of them is 401; the text is for logs and metrics
/// and quotes nothing that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HopError {
    /// A header is absent, repeated or not ASCII.
    #[error("header_missing")]
    Missing(&'static str),
    /// A header is not spelled as the edge spells it.
    #[error("header_malformed")]
    Malformed(&'static str),
    /// `keyid` names no key that this core holds.
    #[error("key_unknown")]
    UnknownKey,
    /// `created` is more than [`SLACK_SECS`] away.
    #[error("created_out_of_slack")]
    Stale,
    /// The signature is not that of the key.
    #[error("signature_wrong")]
    WrongSignature,
    /// The body is not the one that was signed.
    #[error("digest_wrong")]
    WrongDigest,
}

/// A record whose hop is believed. Only [`verify_record`] and [`verify_old_record`] make one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedRecord<'a> {
    /// The country it belongs to.
    pub country: Country,
    /// The region it was sent to.
    pub region: RegionId,
    /// The connection it came through.
    pub connection: ConnectionId,
    /// What the edge knows of Pancake's signature.
    pub verdict: Verdict,
    /// The version of the route table that the edge decided by.
    pub route_version: u32,
    /// When the edge signed it.
    pub created: UnixSeconds,
    /// SHA-256 of the body.
    pub body_sha256: [u8; 32],
    /// `signature-input` as received: half of the receipt.
    pub signature_input: &'a str,
    /// `signature` as received: the other half.
    pub signature: &'a str,
}

/// A proxied request whose hop is believed. [`verify_proxied`] alone makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedProxied {
    /// The country it belongs to.
    pub country: Country,
    /// The region it was sent to.
    pub region: RegionId,
    /// The version of the route table that the edge decided by.
    pub route_version: u32,
    /// The name of the key that signed it.
    pub keyid: Box<str>,
}

/// The keys that a core believes: one, or two while they are being rotated.
#[derive(Debug, Clone)]
pub struct HopKeys(Vec<HopKey>);

/// A set of keys that a core cannot start with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("one or two keys with different names are expected, {0} are given")]
pub struct InvalidHopKeys(usize);

impl HopKeys {
    /// One or two keys, each with a name of its own.
    pub fn new(keys: Vec<HopKey>) -> Result<Self, InvalidHopKeys> {
        match keys.as_slice() {
            [_] => Ok(Self(keys)),
            [one, other] if one.keyid != other.keyid => Ok(Self(keys)),
            _ => Err(InvalidHopKeys(keys.len())),
        }
    }

    /// The keys' names.
    pub fn keyids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(HopKey::keyid)
    }

    fn find(&self, keyid: &str) -> Option<&HopKey> {
        self.0.iter().find(|key| *key.keyid == *keyid)
    }
}

/// Checks the hop of a record: its form, its time, its signature, and that the body is the one
/// signed.
pub fn verify_record<'a>(
    keys: &HopKeys,
    target: Target<'_>,
    headers: ReceivedHeaders<'a>,
    body: &[u8],
    now: UnixSeconds,
) -> Result<VerifiedRecord<'a>, HopError> {
    let envelope = Envelope::read(headers, RECORD_COMPONENTS)?;
    let key = envelope.key(keys, now)?;
    check_record(key, &envelope, target, headers, body)
}

/// Checks the hop of a record that was signed a while ago: all but its time.
///
/// For records that waited, sealed, and for receipts. `keys` are the live and the retired; a name may have
/// been used again after its secret was retired, so each key of the name is tried.
pub fn verify_old_record<'a>(
    keys: &[HopKey],
    target: Target<'_>,
    headers: ReceivedHeaders<'a>,
    body: &[u8],
) -> Result<VerifiedRecord<'a>, HopError> {
    let envelope = Envelope::read(headers, RECORD_COMPONENTS)?;
    let mut error = HopError::UnknownKey;
    for key in keys.iter().filter(|key| *key.keyid == *envelope.keyid) {
        match check_record(key, &envelope, target, headers, body) {
            Err(HopError::WrongSignature) => error = HopError::WrongSignature,
            outcome => return outcome,
        }
    }
    Err(error)
}

fn check_record<'a>(
    key: &HopKey,
    envelope: &Envelope<'a>,
    target: Target<'_>,
    headers: ReceivedHeaders<'a>,
    body: &[u8],
) -> Result<VerifiedRecord<'a>, HopError> {
    let country = required(COUNTRY, headers.country)?;
    let region = required(REGION, headers.region)?;
    let connection = required(CONNECTION, headers.connection)?;
    let verdict = required(VERDICT, headers.verdict)?;
    let route_version = required(ROUTE_VERSION, headers.route_version)?;
    let content_digest = required(CONTENT_DIGEST, headers.content_digest)?;
    let Target {
        method,
        path,
        query: _,
    } = target;
    let base = format!(
        "\"@method\": {method}\n\"@path\": {path}\n\"{CONTENT_DIGEST}\": {content_digest}\n\
         \"{COUNTRY}\": {country}\n\"{REGION}\": {region}\n\"{CONNECTION}\": {connection}\n\
         \"{VERDICT}\": {verdict}\n\"{ROUTE_VERSION}\": {route_version}\n\
         \"@signature-params\": {}",
        envelope.params
    );
    envelope.check(key, &base)?;
    let body_sha256: [u8; 32] = Sha256::digest(body).into();
    // The digest is no secret: it came over the same wire.
    if read_base64_sha256(content_digest, "sha-256=:") != Some(body_sha256) {
        return Err(HopError::WrongDigest);
    }
    Ok(VerifiedRecord {
        country: read_canonical(country).ok_or(HopError::Malformed(COUNTRY))?,
        region: RegionId::parse(region).map_err(|_| HopError::Malformed(REGION))?,
        connection: ConnectionId::parse(connection).map_err(|_| HopError::Malformed(CONNECTION))?,
        verdict: verdict.parse().map_err(|_| HopError::Malformed(VERDICT))?,
        // As the edge writes it and no other way: it is kept as a number, and the receipt holds the text.
        route_version: route_version
            .parse()
            .ok()
            .filter(|number: &u32| number.to_string() == route_version)
            .ok_or(HopError::Malformed(ROUTE_VERSION))?,
        created: envelope.created,
        body_sha256,
        signature_input: envelope.signature_input,
        signature: envelope.signature_text,
    })
}

/// Checks the hop of a proxied request: its form, its time and its signature.
pub fn verify_proxied(
    keys: &HopKeys,
    target: Target<'_>,
    headers: ReceivedHeaders<'_>,
    now: UnixSeconds,
) -> Result<VerifiedProxied, HopError> {
    let country = required(COUNTRY, headers.country)?;
    let region = required(REGION, headers.region)?;
    let route_version = required(ROUTE_VERSION, headers.route_version)?;
    let envelope = Envelope::read(headers, PROXIED_COMPONENTS)?;
    let key = envelope.key(keys, now)?;
    envelope.check(
        key,
        &proxied_base(target, country, region, route_version, envelope.params),
    )?;
    Ok(VerifiedProxied {
        country: read_canonical(country).ok_or(HopError::Malformed(COUNTRY))?,
        region: RegionId::parse(region).map_err(|_| HopError::Malformed(REGION))?,
        route_version: route_version
            .parse()
            .map_err(|_| HopError::Malformed(ROUTE_VERSION))?,
        keyid: envelope.keyid.into(),
    })
}

/// Checks the hop of a sealed record: its form, its time, its signature, and that what is sealed is what
/// was signed. Gives the region that it was sent to.
pub fn verify_sealed(
    keys: &HopKeys,
    target: Target<'_>,
    headers: ReceivedHeaders<'_>,
    sealed: &[u8],
    now: UnixSeconds,
) -> Result<RegionId, HopError> {
    let region = required(REGION, headers.region)?;
    let content_digest = required(CONTENT_DIGEST, headers.content_digest)?;
    let envelope = Envelope::read(headers, SEALED_COMPONENTS)?;
    let key = envelope.key(keys, now)?;
    envelope.check(
        key,
        &sealed_base(target, content_digest, region, envelope.params),
    )?;
    let sha256: [u8; 32] = Sha256::digest(sealed).into();
    if read_base64_sha256(content_digest, "sha-256=:") != Some(sha256) {
        return Err(HopError::WrongDigest);
    }
    RegionId::parse(region).map_err(|_| HopError::Malformed(REGION))
}

/// Checks the hop of an inquiry: its form, its time and its signature. Gives the region that is asked.
pub fn verify_inquiry(
    keys: &HopKeys,
    target: Target<'_>,
    headers: ReceivedHeaders<'_>,
    now: UnixSeconds,
) -> Result<RegionId, HopError> {
    let region = required(REGION, headers.region)?;
    let envelope = Envelope::read(headers, INQUIRY_COMPONENTS)?;
    let key = envelope.key(keys, now)?;
    envelope.check(key, &inquiry_base(target, region, envelope.params))?;
    RegionId::parse(region).map_err(|_| HopError::Malformed(REGION))
}

fn required<'a>(name: &'static str, value: Option<&'a str>) -> Result<&'a str, HopError> {
    value.ok_or(HopError::Missing(name))
}

/// `signature-input` and `signature`, taken apart.
struct Envelope<'a> {
    signature_input: &'a str,
    signature_text: &'a str,
    /// The value of `@signature-params`.
    params: &'a str,
    created: UnixSeconds,
    keyid: &'a str,
    signature: [u8; 32],
}

impl<'a> Envelope<'a> {
    fn read(headers: ReceivedHeaders<'a>, components: &str) -> Result<Self, HopError> {
        let signature_input = required(SIGNATURE_INPUT, headers.signature_input)?;
        let signature_text = required(SIGNATURE, headers.signature)?;
        let malformed = HopError::Malformed(SIGNATURE_INPUT);
        let params = signature_input.strip_prefix("smp=").ok_or(malformed)?;
        let (created, keyid) = params
            .strip_prefix(components)
            .and_then(|rest| rest.strip_prefix(";created="))
            .and_then(|rest| rest.split_once(";keyid=\""))
            .ok_or(malformed)?;
        let keyid = keyid
            .strip_suffix("\";alg=\"hmac-sha256\"")
            .ok_or(malformed)?;
        let is_number = !created.is_empty() && created.bytes().all(|byte| byte.is_ascii_digit());
        let created = created
            .parse()
            .ok()
            .filter(|_| is_number)
            .ok_or(malformed)?;
        let signature =
            read_base64_sha256(signature_text, "smp=:").ok_or(HopError::Malformed(SIGNATURE))?;
        Ok(Self {
            signature_input,
            signature_text,
            params,
            created: UnixSeconds(created),
            keyid,
            signature,
        })
    }

    fn key<'k>(&self, keys: &'k HopKeys, now: UnixSeconds) -> Result<&'k HopKey, HopError> {
        if self.created.distance_secs(now) > SLACK_SECS {
            return Err(HopError::Stale);
        }
        keys.find(self.keyid).ok_or(HopError::UnknownKey)
    }

    fn check(&self, key: &HopKey, base: &str) -> Result<(), HopError> {
        let mut mac = key.secret.mac();
        mac.update(base.as_bytes());
        // Constant time: `verify_slice` compares through `subtle`.
        mac.verify_slice(&self.signature)
            .map_err(|_| HopError::WrongSignature)
    }
}

/// Reads a value that is spelt as it would be written: what is kept can then be spelt the same when the
/// receipt is checked.
fn read_canonical<T: std::str::FromStr + ToString>(text: &str) -> Option<T> {
    text.parse()
        .ok()
        .filter(|value: &T| value.to_string() == text)
}

/// Reads `prefix` + base64 of 32 bytes + `:`.
fn read_base64_sha256(text: &str, prefix: &str) -> Option<[u8; 32]> {
    let text = text.strip_prefix(prefix)?.strip_suffix(':')?;
    let mut bytes = [0; 33];
    if text.len() != BASE64_SHA256_BYTES || BASE64.decode_slice(text, &mut bytes).ok()? != 32 {
        return None;
    }
    bytes.first_chunk().copied()
}
