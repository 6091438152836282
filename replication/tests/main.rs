//! The schema, the outbox and the applier on real databases. The way through Kafka is tested end to end
//! in package `platform`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "clippy.toml allows these within test functions; the helpers beside them are tests too"
)]

mod outbox;
mod roles;
mod schema;
mod support;
