//! The receipt of an event: what the edge signed, put together again and checked.
//!
//! It is evidence for us, not proof against us: edge and core hold the same secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use protocol::connection::ConnectionId;
use protocol::hop::{self, HopError, HopKey, ReceivedHeaders, Target};
use serde::Serialize;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

/// What a receipt turned out to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReceiptReport {
    /// The event.
    pub event_id: Uuid,
    /// Its country.
    pub country: String,
    /// Its connection.
    pub connection: String,
    /// When the edge signed it, in seconds since 1970; nothing if the receipt does not say.
    pub signed_at: Option<u64>,
    /// The name of the key that it says it was signed with.
    pub keyid: Option<String>,
    /// What is known of the payload.
    pub payload: PayloadFinding,
    /// What is known of the signature.
    pub signature: SignatureFinding,
}

impl ReceiptReport {
    /// Whether all is as it was when the edge signed.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.payload != PayloadFinding::Changed && self.signature == SignatureFinding::Right
    }
}

/// What is known of an event's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PayloadFinding {
    /// It is the one whose SHA-256 is kept beside it.
    AsReceived,
    /// It is another.
    Changed,
    /// It is gone, by age. Its SHA-256 is still what was signed, if the signature is right.
    Blanked,
}

/// What is known of a receipt's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SignatureFinding {
    /// That of one of the keys, over what the row says.
    Right,
    /// The key is there, the signature is not its own: a column was changed.
    Wrong,
    /// No key of that name, live or retired, was given.
    KeyUnknown,
    /// The event did not come by an edge, or its receipt cannot be read.
    Absent,
}

/// What an event keeps of the way it took.
#[derive(sqlx::FromRow)]
struct Receipt {
    event_id: Uuid,
    country_code: String,
    region_id: String,
    connection_id: String,
    verdict: Option<String>,
    route_version: Option<i64>,
    payload: Option<Vec<u8>>,
    payload_hash: Vec<u8>,
    hop_signature_input: Option<String>,
    hop_signature: Option<String>,
}

/// Checks the receipt of an event; nothing if there is no such event.
pub async fn verify_receipt(
    connection: &mut PgConnection,
    keys: &[HopKey],
    event_id: Uuid,
) -> Result<Option<ReceiptReport>, sqlx::Error> {
    let receipt: Option<Receipt> = sqlx::query_as(
        "select event_id, country_code, region_id, connection_id, verdict, route_version, \
                payload, payload_hash, hop_signature_input, hop_signature \
         from pancake_webhook_event where event_id = $1",
    )
    .bind(event_id)
    .fetch_optional(connection)
    .await?;
    Ok(receipt.map(|receipt| judge(receipt, keys)))
}

fn judge(receipt: Receipt, keys: &[HopKey]) -> ReceiptReport {
    let input = receipt.hop_signature_input.as_deref().unwrap_or_default();
    let signed_at = parameter(input, ";created=").and_then(|created| created.parse().ok());
    let keyid = parameter(input, ";keyid=").map(|keyid| keyid.trim_matches('"').to_owned());
    let payload = match &receipt.payload {
        None => PayloadFinding::Blanked,
        Some(payload) if Sha256::digest(payload)[..] == receipt.payload_hash[..] => {
            PayloadFinding::AsReceived
        }
        Some(_) => PayloadFinding::Changed,
    };
    let signature = find_signature(&receipt, keys);
    ReceiptReport {
        event_id: receipt.event_id,
        signed_at,
        keyid,
        payload,
        signature,
        country: receipt.country_code,
        connection: receipt.connection_id,
    }
}

/// Puts the hop together again and asks the protocol.
fn find_signature(receipt: &Receipt, keys: &[HopKey]) -> SignatureFinding {
    let Ok(connection) = ConnectionId::parse(&receipt.connection_id) else {
        return SignatureFinding::Absent;
    };
    let path = hop::record_path(&connection);
    let target = Target {
        method: "POST",
        path: &path,
        query: None,
    };
    // The hash that is kept, not the payload's own: that one is judged apart.
    let digest = format!("sha-256=:{}:", BASE64.encode(&receipt.payload_hash));
    let route_version = receipt.route_version.map(|version| version.to_string());
    let headers = ReceivedHeaders {
        country: Some(&receipt.country_code),
        region: Some(&receipt.region_id),
        connection: Some(&receipt.connection_id),
        verdict: receipt.verdict.as_deref(),
        route_version: route_version.as_deref(),
        content_digest: Some(&digest),
        signature_input: receipt.hop_signature_input.as_deref(),
        signature: receipt.hop_signature.as_deref(),
    };
    let payload = receipt.payload.as_deref().unwrap_or_default();
    match hop::verify_old_record(keys, target, headers, payload) {
        // The signature is judged before the digest.
        Ok(_) | Err(HopError::WrongDigest) => SignatureFinding::Right,
        Err(HopError::Missing(_) | HopError::Malformed(_)) => SignatureFinding::Absent,
        Err(HopError::UnknownKey) => SignatureFinding::KeyUnknown,
        Err(HopError::WrongSignature | HopError::Stale) => SignatureFinding::Wrong,
    }
}

/// A parameter of `Signature-Input`, up to the next one.
fn parameter<'i>(input: &'i str, name: &str) -> Option<&'i str> {
    let (_, rest) = input.split_once(name)?;
    Some(rest.split(';').next().unwrap_or(rest))
}
