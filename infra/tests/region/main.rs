//! `smpctl region add`, `doctor`, `sign-off`, `open` and `remove`, killed wherever they can be, on a platform that is
//! made of files. The real one is in `tests/e2e/`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected should end there; clippy.toml spares test functions only, \
              and these have helpers"
)]

mod add;
mod doctor;
#[path = "../common/http.rs"]
mod http;
mod left;
mod open;
mod remove;
mod stubs;
mod tree;
mod world;
