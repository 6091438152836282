//! `PUT` and `DELETE /v1/master-data/…`: master data is written here, in the hub.
//!
//! One request is one row and one transaction. A row has a version, and whoever changes or deletes it says
//! which version that was (`If-Match`), so that nobody undoes what they have not seen; whoever makes one
//! says that none should be there (`If-None-Match: *`). The answer's `x-smp-seq` is the version token: a
//! read that names it in `x-smp-min-seq` sees the change, in every region.
//!
//! - `rows`: what a row may be, and how it is read from a body. Pure;
//! - `fields`: reads a JSON object and finds all that is wrong with it. Pure;
//! - `limits`: what the schema refuses, by constraint, and what to say of it. Pure;
//! - `condition`: `If-Match` and `If-None-Match`. Pure;
//! - `store`: the SQL;
//! - `handlers`: the endpoints.
//!
//! What the schema alone can judge (the lists of ISO and IANA, composed letters, references) is left to it.

mod condition;
mod fields;
mod handlers;
mod limits;
mod rows;
mod store;

pub(super) use self::handlers::routes;
pub use self::limits::is_known_constraint;
