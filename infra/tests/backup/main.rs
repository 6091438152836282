//! `smpctl region backup` and `restore` on a real server, with the members' real programs.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected should end there; clippy.toml spares test functions only, \
              and these have helpers"
)]

mod faults;
mod refusals;
mod round_trip;
mod support;
