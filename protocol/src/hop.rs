//! The signed hop from edge to core: HTTP Message Signatures (RFC 9421) with `hmac-sha256`.
//!
//! Four forms and no others. A **record** (a webhook) covers `@method`, `@path`, `content-digest`
//! (RFC 9530, sha-256) and all `x-smp-*` headers. A **sealed record** is one that waited at the edge: all
//! but its region is inside ([`crate::sealed`]), the hop that it would have had then included. A
//! **proxied** request streams, so it covers `@query` in place of the digest and has no connection or
//! verdict: it can never pass for a record. An **inquiry** is the hub's, not the edge's: it asks a
//! region's replicator how far it is, and has neither country nor body.
//!
//! Both ends are ours, so the core takes `Signature-Input` only in the exact spelling that the edge
//! writes. It is valid RFC 9421, and any implementation of it verifies a captured hop; but there is
//! no structured-field parser to disagree about.

mod verify;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

pub use verify::{
    HopError, HopKeys, InvalidHopKeys, ReceivedHeaders, VerifiedProxied, VerifiedRecord,
    verify_inquiry, verify_old_record, verify_proxied, verify_record, verify_sealed,
};

use crate::connection::ConnectionId;
use crate::signature::{Admitted, SigningSecret, Verdict};
use crate::{Country, RegionId, UnixSeconds};

/// How far `created` may be from the core's clock, either way, in seconds. Exactly this far is
/// inside. Edge and core are ours and keep time by NTP: a minute is for the request's own way.
pub const SLACK_SECS: u64 = 60;

/// The header that names the country.
pub const COUNTRY: &str = "x-smp-country";
/// The header that names the region.
pub const REGION: &str = "x-smp-region";
/// The header that names the Pancake connection.
pub const CONNECTION: &str = "x-smp-connection";
/// The header that says what is known of Pancake's signature.
pub const VERDICT: &str = "x-smp-verdict";
/// The header that says under which version of the route table the edge decided.
pub const ROUTE_VERSION: &str = "x-smp-route-version";
/// The digest of the content (RFC 9530).
pub const CONTENT_DIGEST: &str = "content-digest";
/// What is signed (RFC 9421 §4.1).
pub const SIGNATURE_INPUT: &str = "signature-input";
/// The signature (RFC 9421 §4.2).
pub const SIGNATURE: &str = "signature";

/// The shortest secret of a hop, in bytes: the length of an HMAC-SHA256 output (RFC 2104 §3).
pub const SECRET_MIN_BYTES: usize = 32;

const RECORD_COMPONENTS: &str = r#"("@method" "@path" "content-digest" "x-smp-country" "x-smp-region" "x-smp-connection" "x-smp-verdict" "x-smp-route-version")"#;
const PROXIED_COMPONENTS: &str =
    r#"("@method" "@path" "@query" "x-smp-country" "x-smp-region" "x-smp-route-version")"#;
const SEALED_COMPONENTS: &str = r#"("@method" "@path" "content-digest" "x-smp-region")"#;
const INQUIRY_COMPONENTS: &str = r#"("@method" "@path" "x-smp-region")"#;

/// Whether a header belongs to the hop. What a client sends of these never goes on.
#[must_use]
pub fn is_hop_header(name: &str) -> bool {
    let starts_with_smp = name
        .get(..6)
        .is_some_and(|prefix| prefix.eq_ignore_ascii_case("x-smp-"));
    starts_with_smp
        || name.eq_ignore_ascii_case(SIGNATURE)
        || name.eq_ignore_ascii_case(SIGNATURE_INPUT)
}

/// The path of a connection's ingest endpoint in a core.
#[must_use]
pub fn record_path(connection: &ConnectionId) -> String {
    format!("/v1/pancake/{connection}/records")
}

/// The path of a core's endpoint for records that waited at the edge.
pub const SEALED_RECORDS_PATH: &str = "/v1/pancake/sealed-records";

/// A secret that edge and one region's core share, under the name that `keyid` carries.
#[derive(Clone)]
pub struct HopKey {
    keyid: Box<str>,
    secret: SigningSecret,
}

/// A hop's key that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHopKey {
    /// `keyid` has characters that would need escaping.
    #[error("keyid: 1 to 64 lower-case letters, digits and hyphens are expected")]
    Keyid,
    /// The secret can be guessed.
    #[error("secret of \"{keyid}\": at least {SECRET_MIN_BYTES} bytes are expected")]
    Secret {
        /// Which key's secret.
        keyid: Box<str>,
    },
}

impl HopKey {
    /// A key by its name and secret.
    pub fn new(keyid: &str, secret: &[u8]) -> Result<Self, InvalidHopKey> {
        // The same alphabet as a connection's id: nothing in it needs escaping within quotes.
        ConnectionId::parse(keyid).map_err(|_| InvalidHopKey::Keyid)?;
        let secret = Some(secret)
            .filter(|secret| secret.len() >= SECRET_MIN_BYTES)
            .and_then(SigningSecret::new)
            .ok_or_else(|| InvalidHopKey::Secret {
                keyid: keyid.into(),
            })?;
        Ok(Self {
            keyid: keyid.into(),
            secret,
        })
    }

    /// The key's name.
    #[must_use]
    pub fn keyid(&self) -> &str {
        &self.keyid
    }
}

impl fmt::Debug for HopKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "HopKey({}, redacted)", self.keyid)
    }
}

/// Where a signed request goes.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'a> {
    /// The country it belongs to.
    pub country: Country,
    /// The region that serves the country.
    pub region: &'a RegionId,
    /// The version of the route table that said so.
    pub route_version: u32,
}

/// Signs the records of one connection on their way to one core.
///
/// All that does not change from request to request is laid out once: what is left per request is
/// the digest, the verdict and the time.
pub struct RecordSigner {
    /// Keyed, and already fed with all lines up to the digest's value.
    until_digest: Hmac<Sha256>,
    /// From behind the digest up to `created`, by [`Verdict`] in the order of [`Verdict::ALL`].
    until_created: [Box<str>; 4],
    /// `;keyid=…;alg=…`
    after_created: Box<str>,
    /// The headers that do not change, but for the verdict.
    headers: [(&'static str, Box<str>); 4],
}

/// What [`RecordSigner::sign`] computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordSignature {
    /// SHA-256 of the body, in base64: the inside of `content-digest: sha-256=:…:`.
    pub body_sha256: [u8; BASE64_SHA256_BYTES],
    /// The signature, in base64: the inside of `signature: smp=:…:`.
    pub signature: [u8; BASE64_SHA256_BYTES],
}

/// 32 bytes in base64 with padding.
pub const BASE64_SHA256_BYTES: usize = 44;

impl RecordSigner {
    /// Lays out what does not change.
    #[must_use]
    pub fn new(key: &HopKey, destination: Destination<'_>, connection: &ConnectionId) -> Self {
        let Destination {
            country,
            region,
            route_version,
        } = destination;
        let mut until_digest = key.secret.mac();
        until_digest.update(
            format!(
                "\"@method\": POST\n\"@path\": {}\n\"content-digest\": sha-256=:",
                record_path(connection)
            )
            .as_bytes(),
        );
        let until_created = Verdict::ALL.map(|verdict| {
            format!(
                ":\n\"{COUNTRY}\": {country}\n\"{REGION}\": {region}\n\"{CONNECTION}\": {connection}\n\
                 \"{VERDICT}\": {}\n\"{ROUTE_VERSION}\": {route_version}\n\
                 \"@signature-params\": {RECORD_COMPONENTS};created=",
                verdict.as_str()
            )
            .into()
        });
        Self {
            until_digest,
            until_created,
            after_created: after_created(key).into(),
            headers: [
                (COUNTRY, country.as_str().into()),
                (REGION, region.as_str().into()),
                (CONNECTION, connection.as_str().into()),
                (ROUTE_VERSION, route_version.to_string().into()),
            ],
        }
    }

    /// Signs an admitted body.
    #[must_use]
    pub fn sign(&self, admitted: &Admitted<'_>, created: UnixSeconds) -> RecordSignature {
        let body_sha256 = base64_of(&admitted.body_sha256());
        let mut mac = self.until_digest.clone();
        mac.update(&body_sha256);
        let [verified, unsigned, stale, invalid] = &self.until_created;
        mac.update(
            match admitted.verdict() {
                Verdict::Verified => verified,
                Verdict::Unsigned => unsigned,
                Verdict::Stale => stale,
                Verdict::Invalid => invalid,
            }
            .as_bytes(),
        );
        mac.update(created.0.to_string().as_bytes());
        mac.update(self.after_created.as_bytes());
        RecordSignature {
            body_sha256,
            signature: base64_of(&mac.finalize().into_bytes().into()),
        }
    }

    /// The headers that are the same for each record with this verdict.
    pub fn constant_headers(&self, verdict: Verdict) -> impl Iterator<Item = (&'static str, &str)> {
        self.headers
            .iter()
            .map(|(name, value)| (*name, &**value))
            .chain([(VERDICT, verdict.as_str())])
    }

    /// `signature-input` in two halves, between which the time of signing stands in decimal.
    #[must_use]
    pub fn signature_input_around_created(&self) -> (String, &str) {
        (
            format!("smp={RECORD_COMPONENTS};created="),
            &self.after_created,
        )
    }
}

impl fmt::Debug for RecordSigner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RecordSigner")
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

/// Method, path and query of a request, as they stand on the wire.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The path, percent-encoded, starting with a slash.
    pub path: &'a str,
    /// What is behind the question mark, if there is one.
    pub query: Option<&'a str>,
}

/// Signs a proxied request. Gives all headers of the hop.
#[must_use]
pub fn sign_proxied(
    key: &HopKey,
    destination: Destination<'_>,
    target: Target<'_>,
    created: UnixSeconds,
) -> Vec<(&'static str, String)> {
    let Destination {
        country,
        region,
        route_version,
    } = destination;
    let route_version = route_version.to_string();
    let params = format!(
        "{PROXIED_COMPONENTS};created={}{}",
        created.0,
        after_created(key)
    );
    let base = proxied_base(
        target,
        country.as_str(),
        region.as_str(),
        &route_version,
        &params,
    );
    let mut mac = key.secret.mac();
    mac.update(base.as_bytes());
    let signature = BASE64.encode(mac.finalize().into_bytes());
    vec![
        (COUNTRY, country.to_string()),
        (REGION, region.to_string()),
        (ROUTE_VERSION, route_version),
        (SIGNATURE_INPUT, format!("smp={params}")),
        (SIGNATURE, format!("smp=:{signature}:")),
    ]
}

fn proxied_base(
    target: Target<'_>,
    country: &str,
    region: &str,
    route_version: &str,
    params: &str,
) -> String {
    let Target {
        method,
        path,
        query,
    } = target;
    // RFC 9421 §2.2.7: an absent query is a lone question mark.
    let query = query.unwrap_or_default();
    format!(
        "\"@method\": {method}\n\"@path\": {path}\n\"@query\": ?{query}\n\"{COUNTRY}\": {country}\n\
         \"{REGION}\": {region}\n\"{ROUTE_VERSION}\": {route_version}\n\
         \"@signature-params\": {params}"
    )
}

/// Signs a sealed record on its way to its region. Gives all headers of the hop.
#[must_use]
pub fn sign_sealed(
    key: &HopKey,
    region: &RegionId,
    sealed: &[u8],
    created: UnixSeconds,
) -> Vec<(&'static str, String)> {
    let digest = content_digest(&Sha256::digest(sealed).into());
    let params = format!(
        "{SEALED_COMPONENTS};created={}{}",
        created.0,
        after_created(key)
    );
    let target = Target {
        method: "POST",
        path: SEALED_RECORDS_PATH,
        query: None,
    };
    let mut mac = key.secret.mac();
    mac.update(sealed_base(target, &digest, region.as_str(), &params).as_bytes());
    let signature = BASE64.encode(mac.finalize().into_bytes());
    vec![
        (REGION, region.to_string()),
        (CONTENT_DIGEST, digest),
        (SIGNATURE_INPUT, format!("smp={params}")),
        (SIGNATURE, format!("smp=:{signature}:")),
    ]
}

fn sealed_base(target: Target<'_>, content_digest: &str, region: &str, params: &str) -> String {
    let Target { method, path, .. } = target;
    format!(
        "\"@method\": {method}\n\"@path\": {path}\n\"{CONTENT_DIGEST}\": {content_digest}\n\
         \"{REGION}\": {region}\n\"@signature-params\": {params}"
    )
}

/// The value of [`CONTENT_DIGEST`].
fn content_digest(sha256: &[u8; 32]) -> String {
    format!("sha-256=:{}:", BASE64.encode(sha256))
}

/// Signs an inquiry: a request without query and body, to the region that is asked. Gives all headers of
/// the hop.
#[must_use]
pub fn sign_inquiry(
    key: &HopKey,
    region: &RegionId,
    target: Target<'_>,
    created: UnixSeconds,
) -> Vec<(&'static str, String)> {
    let params = format!(
        "{INQUIRY_COMPONENTS};created={}{}",
        created.0,
        after_created(key)
    );
    let mut mac = key.secret.mac();
    mac.update(inquiry_base(target, region.as_str(), &params).as_bytes());
    let signature = BASE64.encode(mac.finalize().into_bytes());
    vec![
        (REGION, region.to_string()),
        (SIGNATURE_INPUT, format!("smp={params}")),
        (SIGNATURE, format!("smp=:{signature}:")),
    ]
}

fn inquiry_base(target: Target<'_>, region: &str, params: &str) -> String {
    let Target { method, path, .. } = target;
    format!(
        "\"@method\": {method}\n\"@path\": {path}\n\"{REGION}\": {region}\n\
         \"@signature-params\": {params}"
    )
}

fn after_created(key: &HopKey) -> String {
    format!(";keyid=\"{}\";alg=\"hmac-sha256\"", key.keyid)
}

fn base64_of(bytes: &[u8; 32]) -> [u8; BASE64_SHA256_BYTES] {
    let mut text = [0; BASE64_SHA256_BYTES];
    // 32 bytes are 44 in base64, so the slice always fits.
    let written = BASE64.encode_slice(bytes, &mut text);
    debug_assert_eq!(written, Ok(BASE64_SHA256_BYTES));
    text
}
