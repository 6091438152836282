//! The region registry (`infra/regions/*.toml`) and what is held against it.
//!
//! Mints bearer tokens for local use too ([`token`]).
//!
//! Owns the registry's format ([`registry`]), the agreement of registry and route table ([`check`]), the files
//! that are made from the registry ([`render`]), what ops ask the edge ([`edge`]), the form of a region's backups
//! ([`backup`]), what a country needs before it is opened ([`country`]), what a pilot has to show before it is widened
//! ([`gate`]), and how all regions are at a glance ([`status`]). Owns no deployment: `wrangler.toml` says what the edge
//! does, the registry what there is.

pub mod backup;
pub mod check;
pub mod connections;
pub mod country;
pub mod diff;
pub mod edge;
pub mod exposition;
pub mod files;
pub mod gate;
pub mod jobs;
pub mod jurisdiction;
pub mod kafka_rights;
pub mod registry;
pub mod render;
pub mod rollback;
pub mod rotate;
pub mod route;
pub mod secrets;
pub mod smoke;
pub mod status;
pub mod token;

/// Bytes as lower-case hex digits.
fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}
