//! The region registry (`infra/regions/*.toml`) and what is held against it.
//!
//! Owns the registry's format ([`registry`]) and the agreement of registry and route table
//! ([`check`]). Owns no deployment: `wrangler.toml` says what the edge does, the registry what there
//! is.

pub mod check;
pub mod registry;
