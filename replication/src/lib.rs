//! Master data: written in the hub, carried by Kafka and MirrorMaker 2, applied in every region.
//!
//! Owns schema `smp_global` and the binary `replicator`. The hub's triggers write each change into an
//! outbox in the order of the commits ([`migrations`](database)); [`relay`] publishes it; [`apply`]
//! writes rows and position in one transaction; [`regions`] asks every region how far it is. What crosses is
//! [`envelope`], and back [`position`]; nothing but [`kafka`] knows the Kafka client.

pub mod apply;
pub mod config;
pub mod database;
pub mod envelope;
pub mod kafka;
pub mod position;
pub mod regions;
pub mod relay;
pub mod report;
pub mod serve;
pub mod table;
