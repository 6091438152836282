//! From event to ticket, on a real database.

mod assigning;
mod bulky;
mod crowds;
mod failing;
mod office;
mod replaying;
mod retaining;
mod switching;
mod tickets;
mod vanishing;
