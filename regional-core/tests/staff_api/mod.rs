//! What staff see and change: the real router, and a real PostgreSQL with two countries in it.

mod auditing;
mod describing;
mod doors;
mod events;
mod isolation;
mod notifications;
mod office;
mod outages;
mod pancake;
mod permissions;
mod replays;
mod staff;
mod tickets;
mod walking;
