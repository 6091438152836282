//! Starts the whole system on this machine: two regions, each with a PostgreSQL server and a core of
//! its own, and the edge on workerd.
//!
//! Used by `make up` and `make demo`, by the end-to-end tests and by the benchmarks. Nothing of the
//! product depends on it.

pub mod admin;
pub mod checkout;
pub mod edge;
pub mod hand_over;
pub mod kafka;
pub mod link;
pub mod master_data;
pub mod mirror;
pub mod office;
pub mod pancake;
pub mod pancake_rest;
pub mod platform_env;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod region;
pub mod regions;
pub mod secrets;
pub mod service;
pub mod sites;
pub mod system;
pub mod variables;
