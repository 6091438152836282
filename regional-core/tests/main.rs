//! The core as the edge and ops see it: the real router, a real PostgreSQL, a clock that is set.

mod accepting;
mod binary;
mod config;
mod hop;
mod migrations;
mod observing;
mod outages;
mod receipts;
mod rejecting;
mod roles;
mod sockets;
mod support;
