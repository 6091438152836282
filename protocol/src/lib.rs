//! All that crosses a process border in SMP Global, and every decision about it.
//!
//! Owns: Pancake's signature ([`signature`]), country and region codes, the route table
//! ([`routes`]), the signed hop from edge to core ([`hop`]), the seal of a record that waits at the edge
//! ([`sealed`]), Pancake's record ([`record`]), the edge's view of a Pancake connection ([`connection`]) and the
//! form of secrets at rest ([`at_rest`]).
//!
//! Owns no I/O, no clock, no environment and no randomness: bytes and `now` come in, values go
//! out. It compiles to wasm (in the edge) and natively (everywhere else), so both ends of each
//! border run the same code.

pub mod address;
pub mod at_rest;
pub mod connection;
pub mod country;
pub mod hop;
pub mod ops;
pub mod record;
pub mod record_status;
pub mod region;
pub mod routes;
pub mod sealed;
pub mod signature;

pub use country::Country;
pub use region::RegionId;
use sha2::{Digest, Sha256};

/// Seconds since 1970-01-01T00:00:00Z, leap seconds not counted (POSIX time).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixSeconds(pub u64);

impl UnixSeconds {
    /// How far apart two moments are, whichever is first.
    #[must_use]
    pub fn distance_secs(self, other: Self) -> u64 {
        self.0.abs_diff(other.0)
    }
}

/// The SHA-256 of a token in hex: what is kept of it.
#[must_use]
pub fn token_sha256(token: &str) -> String {
    let hash = Sha256::digest(token);
    hash.iter()
        .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// The one Kafka topic that crosses regions: master data, from the hub to all others.
pub const MASTER_DATA_TOPIC: &str = "smp_global.master_data";

/// The group by whose name the hub's relay reads the topic, and is granted that.
pub const RELAY_GROUP: &str = "smp_global-relay";

/// The group by whose name a region's applier reads the topic, and is granted that.
pub const APPLIER_GROUP: &str = "smp_global-applier";

/// The largest webhook body, in bytes, that edge and core take: 1 MiB.
///
/// A record is some hundreds of bytes, so this leaves room for custom fields a thousand times over, and
/// an isolate of 128 MB can still buffer many at once.
pub const BODY_LIMIT_BYTES: usize = 1_048_576;
