//! The connections' document as it lies in KV: sealed ([`crate::at_rest`]) with a key that only the edge has.
//!
//! On the wire: the document's version and when it was changed (8 bytes each, the highest first), and behind them the
//! connections, a JSON array of [`super::document::Entry`], sealed. What stands before is authenticated with it.

use super::Connections;
use super::document::Document;
use crate::at_rest::{AtRestError, AtRestKeys, NONCE_BYTES};

/// What is sealed here opens as nothing else.
const CONTEXT: &[u8] = b"smp-global connections 1";

/// The longest snapshot that is read or made.
pub const SNAPSHOT_LIMIT_BYTES: usize = 1_048_576;

/// Seals a document. `nonce` was never used before.
pub fn seal(
    keys: &AtRestKeys,
    document: &Document,
    nonce: [u8; NONCE_BYTES],
) -> Result<Vec<u8>, AtRestError> {
    let connections =
        serde_json::to_string(&document.connections).map_err(|_| AtRestError::TooLarge)?;
    let head = [
        document.version.to_be_bytes(),
        document.changed_at.to_be_bytes(),
    ]
    .concat();
    let sealed = keys.seal(&context(&head), connections.as_bytes(), nonce)?;
    let snapshot = [head, sealed].concat();
    if snapshot.len() > SNAPSHOT_LIMIT_BYTES {
        return Err(AtRestError::TooLarge);
    }
    Ok(snapshot)
}

/// Opens a snapshot.
pub fn open(keys: &AtRestKeys, snapshot: &[u8]) -> Result<Document, AtRestError> {
    if snapshot.len() > SNAPSHOT_LIMIT_BYTES {
        return Err(AtRestError::TooLarge);
    }
    let (version, rest) = take_u64(snapshot).ok_or(AtRestError::Malformed)?;
    let (changed_at, sealed) = take_u64(rest).ok_or(AtRestError::Malformed)?;
    let head = snapshot.strip_suffix(sealed).unwrap_or_default();
    let plaintext = keys.open(&context(head), sealed)?;
    let connections = str::from_utf8(&plaintext)
        .ok()
        .and_then(|text| serde_json::from_str(text).ok());
    Ok(Document {
        version,
        changed_at,
        connections: connections.ok_or(AtRestError::NoDocument)?,
    })
}

/// Opens a snapshot, and reads the connections in it.
pub fn open_connections(keys: &AtRestKeys, snapshot: &[u8]) -> Result<Connections, AtRestError> {
    let document = open(keys, snapshot)?;
    Connections::from_document(&document).map_err(|_| AtRestError::NoDocument)
}

/// The version that a snapshot says it has; only opening it shows whether that is so.
#[must_use]
pub fn version_of(snapshot: &[u8]) -> Option<u64> {
    Some(take_u64(snapshot)?.0)
}

fn take_u64(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(*number), rest))
}

fn context(head: &[u8]) -> Vec<u8> {
    [CONTEXT, head].concat()
}
