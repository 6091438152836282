//! What a webhook did not bring is asked for at Pancake: every few minutes what changed of late (polling), and every
//! night all that changed in the last days (reconciliation).
//!
//! - `watermark`: up to where all is here, and which spans before it are not. Pure;
//! - `entry`: what an entry of Pancake's list is. Pure;
//! - `suspension`: whether Pancake's webhooks still come. Pure;
//! - [`walk`]: a span of a table, page by page, into the database;
//! - `store`: the SQL.
//!
//! A record is found once, whatever layer finds it: what is here with the same `id` and `modified_on` is not
//! taken again.

pub(crate) mod entry;
pub(crate) mod store;
pub(crate) mod suspension;
pub(crate) mod walk;
pub(crate) mod watermark;
