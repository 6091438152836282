//! Where an isolate has its connections from.
//!
//! They are one sealed document ([`protocol::connection::snapshot`]) in KV, which every location of Cloudflare
//! has nearby. The Durable Object `registry` alone writes it there, and is asked itself where KV fails or has
//! nothing. Each isolate reads it before its first webhook, and then behind an answer, each half a minute: an
//! unknown token is answered from memory, and a revoke holds everywhere within two minutes.

pub(crate) mod registry;

use wasm_bindgen::prelude::wasm_bindgen;

use crate::{hot_path, with_edge_mut};

/// The KV namespace's binding.
pub const CONNECTIONS_BINDING: &str = "CONNECTIONS";

/// Under this the document is in KV.
const KEY: &str = "snapshot";

/// The binding of the Durable Object that writes it.
pub const REGISTRY_BINDING: &str = "CONNECTION_REGISTRY";

/// There is one.
pub const REGISTRY_NAME: &str = "registry";

/// How old an isolate's connections are when it reads them again behind an answer, in milliseconds. From twice
/// that on, a webhook waits for it: an isolate that nobody has called for an hour knows nothing of a revoke.
const REFRESH_MS: u32 = 30_000;

/// How long a location of Cloudflare may show what it has of KV without asking, in seconds: the least there is.
/// A revoke holds everywhere after this and twice [`REFRESH_MS`], and what KV takes for its own way.
const KV_CACHE_SECS: u32 = 30;

/// How long after a read that failed the next one is tried, in milliseconds. Meanwhile an isolate goes by what it has.
const RETRY_MS: u32 = 5_000;

/// How long KV, and then the registry, may take to answer, in milliseconds. Of Pancake's 5 s, the core may take 3.
const READ_TIMEOUT_MS: u32 = 750;

/// How `entry.js` reads the connections, as JSON.
pub(crate) fn source() -> String {
    format!(
        "{{\"key\":\"{KEY}\",\"registry\":\"{REGISTRY_NAME}\",\"refreshMs\":{REFRESH_MS},\
         \"cacheTtl\":{KV_CACHE_SECS},\"retryMs\":{RETRY_MS},\"timeoutMs\":{READ_TIMEOUT_MS}}}"
    )
}

/// Takes a snapshot that was read: 1 if the connections are others now, 0 if not, −1 if it cannot be opened.
#[wasm_bindgen]
#[must_use]
pub fn take_connections(sealed: &[u8]) -> i32 {
    match with_edge_mut(|edge| edge.take_snapshot(sealed)) {
        Some(Ok(is_newer)) => is_newer.into(),
        Some(Err(error)) => {
            worker::console_error!(
                "{{\"event\":\"connections_not_opened\",\"error\":\"{error}\"}}"
            );
            -1
        }
        None => -1,
    }
}

/// Counts that the connections were read, or were not, from KV or from their registry.
#[wasm_bindgen]
pub fn count_connections_read(from_registry: bool, is_read: bool) {
    let from = if from_registry { "registry" } else { "kv" };
    let outcome = if is_read { "read" } else { "failed" };
    hot_path::count_connections_read(from, outcome);
}
