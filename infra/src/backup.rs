//! A region's backup as one file: what is in it, and how it is known to be whole.
//!
//! ```text
//! magic (8 bytes), then frames: kind (1 byte), length (4 bytes, big-endian), content
//!   H  the header: JSON, in the clear
//!   D  rows of one table: its number (4 bytes), then lines of COPY's text format, compressed
//!   M  the manifest: JSON, compressed: every table with its count and digest
//!   E  SHA-256 of everything before this frame
//! ```
//!
//! D and M are sealed ([`protocol::at_rest`]) where there is a key; what they are sealed for is this header, the
//! frame's number and its kind, so no frame can stand in another place or in another file. A file without its E is no backup, whatever
//! else it holds.
//!
//! Nothing here talks to a database.

pub mod archive;
pub mod compare;
pub mod digest;
pub mod file;
pub mod order;
pub mod progress;
pub mod reader;
pub mod writer;
