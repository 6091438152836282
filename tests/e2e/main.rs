//! End-to-end stories: the edge on real workerd, real cores, real PostgreSQL, two regions.
//!
//! One file per story. All stories but [`connections`], [`countries`], [`differential`], [`editing`], [`flips`], [`gates`], [`guards`], [`guides`], [`kafka_encrypted`], [`kills`], [`master_data`], [`probe`], [`processing`], [`recovery`], [`regions_added`], [`rotation`], [`soak`], [`spool`] and [`watching`] share one
//! platform ([`support::system`]) and one edge before a scripted core ([`support::scripted`]), neither of
//! which any of them stops or changes; what a test posts has ids of its own. So all of them run at once, in
//! any order.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that meets what it does not expect has failed"
)]

mod answer_table;
mod answer_table_script;
mod connections;
mod core_failures;
mod countries;
mod differential;
mod editing;
mod flips;
mod gates;
mod guards;
mod guides;
mod isolation;
mod kafka_encrypted;
mod kills;
mod logs;
mod master_data;
mod mirror;
mod probe;
mod processing;
mod recovery;
mod regions_added;
mod rotation;
mod routing;
mod soak;
mod spool;
mod streaming;
mod support;
mod vectors;
mod watching;
