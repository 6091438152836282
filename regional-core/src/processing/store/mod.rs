//! SQL of processing. All of a batch runs in its one transaction, and by the database's clock.

mod backlog;
mod claim;
mod gate;
mod known;
pub(super) mod replay;
mod settle;
mod write;

use protocol::Country;
use sqlx::PgConnection;
use time::OffsetDateTime;

pub(super) use backlog::{Backlog, UNFINISHED, backlog};
pub(super) use claim::{Claimed, claim, claim_these};
pub(super) use gate::{gate, switches};
pub(super) use known::{known, lock_people_and_records, telesales};
pub(super) use settle::{settle_failed, settle_processed, settle_skipped};
pub(super) use write::write;

/// The transaction's moment, by the database's clock.
pub(super) async fn now(connection: &mut PgConnection) -> Result<OffsetDateTime, sqlx::Error> {
    sqlx::query_scalar("select clock_timestamp()")
        .fetch_one(connection)
        .await
}

fn country(code: &str) -> Result<Country, sqlx::Error> {
    Country::parse(code).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// A column as an array: PostgreSQL then plans one statement for any number of rows.
fn column<'r, R, T>(rows: &[&'r R], value: impl Fn(&'r R) -> T) -> Vec<T> {
    rows.iter().map(|row| value(row)).collect()
}
