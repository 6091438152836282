//! From event to ticket: what was received becomes a customer, a contact and a ticket with its telesale.
//!
//! Events are claimed in batches (`store`), each is judged by the switches and its sources (`switches`),
//! what it comes to is decided without I/O (`plan`, `assign`), and all of it is written in the one
//! transaction that also says of each event that it is done. A process that dies has done nothing; two that
//! run at once take different events (`skip locked`), and wait for one another only over the same
//! person, the same record, and whose turn it is.
//!
//! What the database refuses is found by halving the batch (`tries`), and then tried again by the table in
//! `retry`. What takes too long is set aside first (`aside`): it may be nobody's fault.

mod aside;
mod assign;
mod backlog;
mod batch;
mod plan;
pub mod replay;
mod retry;
pub(crate) mod silence;
mod store;
mod switches;
pub(crate) mod tries;
mod worker;

pub use worker::{Processor, Wake};
