//! The way in for Pancake's records.
//!
//! [`handler`] takes a request apart, [`event`] makes a row of it, [`batch`] lets rows that wait at the
//! same moment share one round trip, [`store`] and [`rejected`] hold the SQL. What is answered with 200
//! is committed.

pub mod batch;
mod body;
mod company;
pub mod event;
pub mod handler;
pub mod rejected;
pub mod store;
mod write;
