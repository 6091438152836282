//! The core as the edge and ops see it: the real router, a real PostgreSQL, a clock that is set.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that meets the unexpected should end there; clippy.toml spares test functions only, \
              and these have helpers"
)]

mod accepting;
mod backfilling;
mod binary;
mod completeness;
mod config;
mod hop;
mod master_data;
mod migrations;
mod observing;
mod outages;
mod phone;
mod processing;
mod receipts;
mod rejecting;
mod roles;
mod sockets;
mod staff_api;
mod support;
mod waiting;
