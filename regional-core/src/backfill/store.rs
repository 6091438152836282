//! SQL of the job: `account`, `backfill_run`, and whether a reconciliation runs.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::{Connection as _, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use super::normalise::{self, Entered, Row};
use crate::completeness::store::to_jiff;
use crate::config::secrets::DatabaseUrl;
use crate::db;
use crate::phone::NormalizedPhone;

/// The job, as `backfill_run` has it.
pub(super) const NAME: &str = "account_normalized_phone";

/// Rows that somebody else changed between reading and writing, up to which they are done over while the others'
/// locks are held. Of more, all are read anew.
const DONE_OVER_MOST: u64 = 64;

/// Who writes: nobody may wait for it for long. A transaction that takes too long, or meets a row that is somebody
/// else's, is given up. The latter before the server looks for a deadlock, so that it never is the other who ends.
/// Should this process be stopped in the middle of one, the server ends it.
const WRITER: [(&str, &str); 4] = [
    ("statement_timeout", "600ms"),
    ("lock_timeout", "100ms"),
    ("idle_in_transaction_session_timeout", "300ms"),
    // A batch that a crash of the server loses is done again: where the job stands is lost with it.
    ("synchronous_commit", "off"),
];

/// Who reads locks nothing.
const READER: [(&str, &str); 3] = [
    ("statement_timeout", "60s"),
    ("lock_timeout", "10s"),
    ("default_transaction_read_only", "on"),
];

pub(super) async fn connect_writer(url: &DatabaseUrl) -> Result<PgConnection, sqlx::Error> {
    PgConnection::connect_with(&db::aside_options(url, &WRITER)).await
}

pub(super) async fn connect_reader(url: &DatabaseUrl) -> Result<PgConnection, sqlx::Error> {
    PgConnection::connect_with(&db::aside_options(url, &READER)).await
}

/// Takes the job's lock for as long as this connection lives; whether it was free.
pub(super) async fn lock(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select pg_try_advisory_lock(hashtextextended('backfill ' || $1, 0))")
        .bind(NAME)
        .fetch_one(connection)
        .await
}

/// How the job stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    /// All up to this one are done.
    pub(super) last: Option<Uuid>,
    pub(super) rows_done: u64,
    pub(super) rows_changed: u64,
    pub(super) started_at: Option<Timestamp>,
    pub(super) finished_at: Option<Timestamp>,
}

/// How the job stands; none where its row is gone, as after `migrate down`.
pub(super) async fn standing(
    connection: &mut PgConnection,
) -> Result<Option<Standing>, sqlx::Error> {
    type Row = (
        Option<Uuid>,
        i64,
        i64,
        Option<OffsetDateTime>,
        Option<OffsetDateTime>,
    );
    let row: Option<Row> = sqlx::query_as(
        "select last_account_id, rows_done, rows_changed, started_at, finished_at from backfill_run \
         where name = $1",
    )
    .bind(NAME)
    .fetch_optional(connection)
    .await?;
    let standing = row.map(
        |(last, rows_done, rows_changed, started_at, finished_at)| Standing {
            last,
            rows_done: rows_done.unsigned_abs(),
            rows_changed: rows_changed.unsigned_abs(),
            started_at: started_at.and_then(to_jiff),
            finished_at: finished_at.and_then(to_jiff),
        },
    );
    Ok(standing)
}

/// Puts the job back to its beginning. Numbers that are there stay.
pub(super) async fn restart(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update backfill_run set last_account_id = null, rows_done = 0, rows_changed = 0, started_at = null, \
                finished_at = null, updated_at = clock_timestamp() \
         where name = $1",
    )
    .bind(NAME)
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes that the job has begun, if it has not before.
pub(super) async fn begin(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update backfill_run set started_at = clock_timestamp() where name = $1 and started_at is null",
    )
    .bind(NAME)
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes that the job has ended, and all before it with it: on disk when this returns.
pub(super) async fn finish(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    sqlx::query("set local synchronous_commit = on")
        .execute(&mut *transaction)
        .await?;
    let updated = sqlx::query(
        "update backfill_run set finished_at = greatest(started_at, clock_timestamp()), \
                updated_at = clock_timestamp() \
         where name = $1",
    )
    .bind(NAME)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(updated.rows_affected() == 1)
}

/// How many accounts come after this one.
pub(super) async fn count_after(
    connection: &mut PgConnection,
    after: Option<Uuid>,
) -> Result<u64, sqlx::Error> {
    let rows: i64 = match after {
        None => {
            sqlx::query_scalar("select count(*) from account")
                .fetch_one(connection)
                .await?
        }
        Some(after) => {
            sqlx::query_scalar("select count(*) from account where account_id > $1")
                .bind(after)
                .fetch_one(connection)
                .await?
        }
    };
    Ok(rows.unsigned_abs())
}

type Account = (Uuid, String, Option<String>, Option<String>, bool);

fn entered((account_id, country, code, number, is_done): Account) -> Entered {
    Entered {
        account_id,
        country,
        code,
        number,
        is_done,
    }
}

/// The next accounts, by their id.
pub(super) async fn read(
    connection: &mut PgConnection,
    after: Option<Uuid>,
    most: usize,
) -> Result<Vec<Entered>, sqlx::Error> {
    const FIRST: &str = "select account_id, country_code, phone_code, phone_number, normalized_phone is not null \
         from account where account_id >= $1 order by account_id limit $2";
    const NEXT: &str = "select account_id, country_code, phone_code, phone_number, normalized_phone is not null \
         from account where account_id > $1 order by account_id limit $2";
    let rows: Vec<Account> = sqlx::query_as(if after.is_some() { NEXT } else { FIRST })
        .bind(after.unwrap_or(Uuid::nil()))
        .bind(i64::try_from(most).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().map(entered).collect())
}

/// What became of a batch.
#[derive(Debug)]
pub(super) enum Written {
    /// It is committed, and so is that the job is past it. `done_over` are rows that somebody else changed since they
    /// were read, as they were taken instead.
    Done { changed: u64, done_over: Vec<Row> },
    /// Nothing was changed: too many of its rows are no longer as they were read.
    Stale,
    /// Nothing was changed: the job's row is gone.
    Gone,
}

/// Gives accounts their numbers, and notes that the job is past them, in one transaction. An account that has a number
/// by now keeps it; of one whose columns are no longer those that were read, the new ones count.
pub(super) async fn write(
    connection: &mut PgConnection,
    rows: &[Row],
) -> Result<Written, sqlx::Error> {
    let usable: Vec<&Row> = rows.iter().filter(|row| row.phone().is_some()).collect();
    let last = rows.last().map(|row| row.entered.account_id);
    let mut transaction = connection.begin().await?;
    let mut changed = update(&mut transaction, &usable).await?;
    let left = (usable.len() as u64).saturating_sub(changed);
    if left > DONE_OVER_MOST {
        transaction.rollback().await?;
        return Ok(Written::Stale);
    }
    let mut done_over = Vec::new();
    if left > 0 {
        // Of those that were changed now.
        let rows: Vec<Account> = sqlx::query_as(
            "select account_id, country_code, phone_code, phone_number, false from account \
             where account_id = any($1) and normalized_phone is null order by account_id for no key update",
        )
        .bind(ids(&usable))
        .fetch_all(&mut *transaction)
        .await?;
        done_over = rows.into_iter().map(entered).map(normalise::one).collect();
        let usable: Vec<&Row> = done_over
            .iter()
            .filter(|row| row.phone().is_some())
            .collect();
        changed += update(&mut transaction, &usable).await?;
    }
    let moved = sqlx::query(
        "update backfill_run set last_account_id = coalesce($2, last_account_id), rows_done = rows_done + $3, \
                rows_changed = rows_changed + $4, updated_at = clock_timestamp() \
         where name = $1",
    )
    .bind(NAME)
    .bind(last)
    .bind(i64::try_from(rows.len()).unwrap_or(i64::MAX))
    .bind(i64::try_from(changed).unwrap_or(i64::MAX))
    .execute(&mut *transaction)
    .await?;
    if moved.rows_affected() == 0 {
        transaction.rollback().await?;
        return Ok(Written::Gone);
    }
    transaction.commit().await?;
    Ok(Written::Done { changed, done_over })
}

fn ids(rows: &[&Row]) -> Vec<Uuid> {
    rows.iter().map(|row| row.entered.account_id).collect()
}

fn texts<'r>(rows: &[&'r Row], value: impl Fn(&'r Row) -> Option<&'r str>) -> Vec<Option<&'r str>> {
    rows.iter().map(|row| value(row)).collect()
}

/// Locks these rows until the transaction ends, in the order of their ids. `updated_at` stays: nobody changed what
/// people see of the customer.
async fn update(connection: &mut PgConnection, rows: &[&Row]) -> Result<u64, sqlx::Error> {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return Ok(0);
    };
    let updated = sqlx::query(
        "update account as a set normalized_phone = n.phone \
         from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[]) \
              as n (account_id, country, code, number, phone) \
         where a.account_id = n.account_id and a.account_id between $6 and $7 and a.normalized_phone is null \
           and a.country_code = n.country and a.phone_code is not distinct from n.code \
           and a.phone_number is not distinct from n.number",
    )
    .bind(ids(rows))
    .bind(texts(rows, |row| Some(&row.entered.country)))
    .bind(texts(rows, |row| row.entered.code.as_deref()))
    .bind(texts(rows, |row| row.entered.number.as_deref()))
    .bind(texts(rows, |row| row.phone().map(NormalizedPhone::as_str)))
    .bind(first.entered.account_id)
    .bind(last.entered.account_id)
    .execute(connection)
    .await?;
    Ok(updated.rows_affected())
}

/// Whether a transaction was given up so that others get on: it took too long, a row was somebody else's, or two
/// waited for each other.
pub(super) fn is_in_the_way(error: &sqlx::Error) -> bool {
    db::has_code(error, &["57014", "55P03", "40P01", "40001"])
}

/// Whether it was given up because a row, or the job's own, was somebody else's.
pub(super) fn is_locked(error: &sqlx::Error) -> bool {
    db::has_code(error, &["55P03", "40P01"])
}

/// Whether the schema lacks what the job needs.
pub(super) fn is_schema(error: &sqlx::Error) -> bool {
    db::has_code(error, &["42P01", "42703", "42501"])
}

/// Whether the other end is gone, or going, and may be back: nothing is known to be wrong.
pub(super) fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        // Idle in a transaction for too long: this process was stopped in the middle of it.
        error => db::has_code(error, &["57P01", "57P02", "57P03", "53300", "25P03"]),
    }
}

/// A reconciliation that is under way.
pub(super) struct Reconciliation {
    pub(super) country: String,
    pub(super) since: Option<Timestamp>,
}

/// The first reconciliation that is under way, in any of the region's countries.
pub(super) async fn reconciliation(
    connection: &mut PgConnection,
) -> Result<Option<Reconciliation>, sqlx::Error> {
    let row: Option<(String, Option<OffsetDateTime>)> = sqlx::query_as(
        "select country_code, started_at from job_run where job = 'reconciliation' and state = 'running' \
         order by country_code limit 1",
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|(country, since)| Reconciliation {
        country,
        since: since.and_then(to_jiff),
    }))
}

/// How long a restarted process waits for its predecessor's lock: the server notices that a process is gone once the
/// statement that it left has ended.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_secs(3);
