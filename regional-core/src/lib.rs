//! One region's service.
//!
//! Owns: the way in for Pancake's records ([`ingest`]), the region's own PostgreSQL ([`db`] and
//! `migrations/`), health and metrics. The map:
//!
//! - [`app`]: the one list of routes, and what all handlers share;
//! - [`auth`]: who a caller is, by a bearer token;
//! - [`backfill`]: what is done once to all rows that were there before a column;
//! - `completeness`: what a webhook did not bring is asked for at Pancake, and up to where all is here;
//! - [`config`]: settings and secrets, from `config/default.toml` and `CORE_…` variables;
//! - [`error`]: the only map from errors to HTTP;
//! - [`hop`]: from an HTTP request to the question that [`protocol::hop`] answers;
//! - [`ingest`]: handler, batcher, and the SQL of the two tables;
//! - [`jobs`]: what is done on a schedule, by one core at a time;
//! - [`master_data`]: countries, currencies, rates, taxes and texts, held in memory and read by HTTP, and in
//!   the hub written by it;
//! - [`processing`]: what was received becomes a customer and a ticket with its telesale;
//! - [`open_files`]: as many as the connections need;
//! - [`pancake`]: Pancake's REST interface;
//! - [`phone`]: a phone number as people write it, made one number;
//! - [`receipt`]: checks the receipt that an event keeps of its way;
//! - [`server`]: sockets, limits, graceful shutdown;
//! - `sources`: which of a record's sources count;
//! - [`staff_api`]: what admins, managers and telesales see and change.
//!
//! Owns no decision about signatures, countries or records: those are `protocol`'s, and the edge
//! takes them with the same code.

pub mod api_keys;
pub mod app;
pub mod auth;
pub mod backfill;
pub mod clock;
mod completeness;
pub mod config;
pub mod db;
pub mod error;
pub mod health;
pub mod hop;
pub mod ingest;
pub mod jobs;
pub mod master_data;
pub mod metrics;
pub mod open_files;
pub mod pancake;
pub mod phone;
pub mod processing;
mod query;
pub mod receipt;
pub mod region;
pub mod server;
mod sources;
pub mod staff_api;
pub mod telemetry;
mod unread;
