//! Master data as callers inside the region see it, from a database that the replicator's files made.

mod answering;
mod editing;
mod refreshing;
