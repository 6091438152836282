//! SQL of `job_run`.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use protocol::Country;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection, PgExecutor};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Job;
use super::schedule::{Ending, LastRun};
use crate::completeness::store::to_jiff;

/// How jobs stand.
pub(crate) struct Board {
    /// By the database's clock.
    pub(crate) now: Timestamp,
    rows: HashMap<(Country, Job), Standing>,
    /// With a connection whose webhooks stay away.
    pub(crate) suspended: HashSet<Country>,
}

/// How a job of a country stands.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Standing {
    pub(crate) last: Option<LastRun>,
    /// Somebody asked for a run, or one that somebody asked for with parameters was broken off.
    pub(crate) is_requested: bool,
    /// A core is at it: it has the lock.
    pub(crate) is_locked: bool,
}

impl Board {
    pub(crate) fn of(&self, country: Country, job: Job) -> Standing {
        self.rows.get(&(country, job)).copied().unwrap_or_default()
    }
}

/// Looks at all jobs of these countries.
pub(crate) async fn board(
    connection: &mut PgConnection,
    countries: &[Country],
) -> Result<Board, sqlx::Error> {
    type Row = (String, String, Option<String>, Option<OffsetDateTime>, bool);
    let codes: Vec<&str> = countries.iter().map(Country::as_str).collect();
    let locked: Vec<(i64, i64)> = sqlx::query_as(
        "select classid::bigint, objid::bigint from pg_locks \
         where locktype = 'advisory' and objsubid = 2 and classid = $1::bigint::oid and granted \
           and database = (select oid from pg_database where datname = current_database())",
    )
    .bind(i64::from(LOCK_CLASS))
    .fetch_all(&mut *connection)
    .await?;
    let statement = format!(
        "select country, j.job, last.state, last.started_at, \
                exists (select from job_run as r \
                        where r.country_code = country and r.job = j.job and r.state = 'requested') \
                or j.job = $3 and exists (select from job_run as r \
                        where r.country_code = country and r.job = $3 and {OWED}) \
         from unnest($1::text[]) as country cross join unnest($2::text[]) as j (job) \
         left join lateral ( \
             select state, started_at from job_run as r \
             where r.country_code = country and r.job = j.job and r.state <> 'requested' \
             order by number desc limit 1) as last on true"
    );
    let rows: Vec<Row> = sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(&codes)
        .bind(Job::ALL.map(Job::as_str))
        .bind(Job::Reconciliation.as_str())
        .fetch_all(&mut *connection)
        .await?;
    let (now, suspended): (OffsetDateTime, Vec<String>) = sqlx::query_as(
        "select clock_timestamp(), coalesce((select array_agg(distinct country_code) from pancake_connection \
             where status = 'suspended' and api_key_encrypted is not null), '{}')",
    )
    .fetch_one(connection)
    .await?;
    let rows = rows
        .into_iter()
        .filter_map(|(country, job, state, started_at, is_requested)| {
            let key = (Country::parse(&country).ok()?, Job::parse(&job)?);
            let standing = Standing {
                last: last_run(state.as_deref(), started_at),
                is_requested,
                is_locked: locked.contains(&(LOCK_CLASS.into(), lock_key(key).into())),
            };
            Some((key, standing))
        });
    Ok(Board {
        now: to_jiff(now).unwrap_or(Timestamp::UNIX_EPOCH),
        rows: rows.collect(),
        suspended: suspended
            .iter()
            .filter_map(|code| Country::parse(code).ok())
            .collect(),
    })
}

fn last_run(state: Option<&str>, started_at: Option<OffsetDateTime>) -> Option<LastRun> {
    let ending = match state? {
        "running" => Ending::Running,
        "ok" => Ending::Ok,
        "failed" => Ending::Failed,
        _ => Ending::Interrupted,
    };
    let started_at = to_jiff(started_at?)?;
    Some(LastRun { started_at, ending })
}

/// Of advisory locks: "job" in ASCII.
const LOCK_CLASS: i32 = 0x6a_6f62;

/// A number for each country and job.
fn lock_key((country, job): (Country, Job)) -> i32 {
    let code = country.as_str().as_bytes().iter();
    let code = code.fold(0_i32, |sum, letter| sum * 256 + i32::from(*letter));
    let place = Job::ALL.iter().position(|one| *one == job);
    i32::try_from(place.unwrap_or_default()).unwrap_or_default() * 65_536 + code
}

/// Takes the lock of a job for as long as this connection lives; whether it was free. A connection whose other end is
/// gone without a word loses it after `patience` without a statement.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    of: (Country, Job),
    patience: Duration,
) -> Result<bool, sqlx::Error> {
    let is_free: bool = sqlx::query_scalar("select pg_try_advisory_lock($1, $2)")
        .bind(LOCK_CLASS)
        .bind(lock_key(of))
        .fetch_one(&mut *connection)
        .await?;
    if is_free {
        sqlx::query("select set_config('idle_session_timeout', $1, false)")
            .bind(patience.as_millis().to_string())
            .execute(connection)
            .await?;
    }
    Ok(is_free)
}

/// What a run `r` is that somebody asked for with parameters and that was broken off: nobody has done that since, it was
/// today, and it was not broken off again and again, as if it were what ends cores.
const OWED: &str = "r.state = 'interrupted' and r.parameters <> '{}' \
     and r.started_at between clock_timestamp() - interval '1 day' and clock_timestamp() - interval '5 seconds' \
     and not exists (select from job_run as later \
                     where later.country_code = r.country_code and later.job = r.job \
                       and later.parameters = r.parameters and later.number > r.number) \
     and (select count(*) from job_run as other \
          where other.country_code = r.country_code and other.job = r.job and other.parameters = r.parameters \
            and other.state = 'interrupted' and other.started_at > clock_timestamp() - interval '1 day') < 5";

/// A run that has begun.
pub(crate) struct Begun {
    pub(crate) run_id: Uuid,
    pub(crate) parameters: Value,
}

/// Begins a run, under the job's lock: what another core left running is broken off, and a run that somebody asked for
/// is this one, or one with the parameters of what was broken off. `is_due` judges by the last run as it is now: another core may have done it since the board was read.
pub(crate) async fn begin(
    connection: &mut PgConnection,
    (country, job): (Country, Job),
    is_due: impl FnOnce(Option<LastRun>) -> bool + Send,
) -> Result<Option<Begun>, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    sqlx::query(
        "update job_run set state = 'interrupted', finished_at = clock_timestamp() \
         where country_code = $1 and job = $2 and state = 'running'",
    )
    .bind(country.as_str())
    .bind(job.as_str())
    .execute(&mut *transaction)
    .await?;
    let requested: Option<(Uuid, Value)> = sqlx::query_as(
        "update job_run set state = 'running', started_at = clock_timestamp() \
         where country_code = $1 and job = $2 and state = 'requested' returning run_id, parameters",
    )
    .bind(country.as_str())
    .bind(job.as_str())
    .fetch_optional(&mut *transaction)
    .await?;
    let begun = if let Some((run_id, parameters)) = requested {
        Some(Begun { run_id, parameters })
    } else if let Some(owed) = begin_owed(&mut transaction, (country, job)).await? {
        Some(owed)
    } else {
        let last: Option<(String, OffsetDateTime)> = sqlx::query_as(
            "select state, started_at from job_run \
             where country_code = $1 and job = $2 order by number desc limit 1",
        )
        .bind(country.as_str())
        .bind(job.as_str())
        .fetch_optional(&mut *transaction)
        .await?;
        let last = last.and_then(|(state, at)| last_run(Some(&state), Some(at)));
        if is_due(last) {
            let run_id = Uuid::now_v7();
            sqlx::query(
                "insert into job_run (run_id, country_code, job, state, started_at) \
                 values ($1, $2, $3, 'running', clock_timestamp())",
            )
            .bind(run_id)
            .bind(country.as_str())
            .bind(job.as_str())
            .execute(&mut *transaction)
            .await?;
            let parameters = Value::Object(serde_json::Map::new());
            Some(Begun { run_id, parameters })
        } else {
            None
        }
    };
    transaction.commit().await?;
    Ok(begun)
}

/// Begins a run anew that somebody asked for with parameters, and that was broken off.
async fn begin_owed(
    connection: &mut PgConnection,
    (country, job): (Country, Job),
) -> Result<Option<Begun>, sqlx::Error> {
    if job != Job::Reconciliation {
        return Ok(None);
    }
    let statement = format!(
        "insert into job_run (run_id, country_code, job, state, started_at, requested_by, parameters) \
         select $3, r.country_code, r.job, 'running', clock_timestamp(), r.requested_by, r.parameters \
         from job_run as r where r.country_code = $1 and r.job = $2 and {OWED} \
         order by r.number limit 1 returning run_id, parameters"
    );
    let begun: Option<(Uuid, Value)> = sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(country.as_str())
        .bind(job.as_str())
        .bind(Uuid::now_v7())
        .fetch_optional(connection)
        .await?;
    Ok(begun.map(|(run_id, parameters)| Begun { run_id, parameters }))
}

/// Writes down how far a run is.
pub(crate) async fn note_progress(
    executor: impl PgExecutor<'_>,
    run_id: Uuid,
    progress: &Value,
) -> Result<(), sqlx::Error> {
    sqlx::query("update job_run set progress = $2 where run_id = $1")
        .bind(run_id)
        .bind(progress)
        .execute(executor)
        .await?;
    Ok(())
}

/// Ends a run.
pub(crate) async fn finish(
    executor: impl PgExecutor<'_>,
    run_id: Uuid,
    progress: &Value,
    error: Option<&str>,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update job_run set state = $2, error = $3, progress = $4, finished_at = clock_timestamp() \
         where run_id = $1 and state = 'running'",
    )
    .bind(run_id)
    .bind(if error.is_some() { "failed" } else { "ok" })
    .bind(error)
    .bind(progress)
    .execute(executor)
    .await?;
    Ok(())
}
