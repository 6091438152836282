//! Runs of jobs, and how complete the connections are.

use serde::Serialize;
use serde_json::Value;
use sqlx::{FromRow, PgConnection};
use utoipa::ToSchema;

use crate::staff_api::value::{Id, Moment};

/// A run of a job.
#[derive(Debug, Clone, FromRow, Serialize, ToSchema)]
pub(in crate::staff_api) struct JobRun {
    pub(in crate::staff_api) run_id: Id,
    #[schema(example = "poll")]
    pub(in crate::staff_api) job: String,
    /// `requested`, `running`, `ok`, `failed`, or `interrupted`: its core ended before it did, and another run follows.
    #[schema(example = "ok")]
    pub(in crate::staff_api) state: String,
    /// The `sub` of who asked for it; null if it was due.
    requested_by: Option<String>,
    #[schema(value_type = Object)]
    parameters: Value,
    /// How far it is, in figures.
    #[schema(value_type = Object)]
    progress: Value,
    /// Why it failed.
    error: Option<String>,
    created_at: Moment,
    pub(in crate::staff_api) started_at: Option<Moment>,
    finished_at: Option<Moment>,
}

const COLUMNS: &str = "run_id, job, state, requested_by, parameters, progress, error, created_at, started_at, \
     finished_at";

/// The last runs of a job, the latest first.
pub(in crate::staff_api) async fn runs(
    connection: &mut PgConnection,
    (country, job): (&str, &str),
    limit: i64,
) -> Result<Vec<JobRun>, sqlx::Error> {
    let statement = format!(
        "select {COLUMNS} from job_run where country_code = $1 and job = $2 order by number desc limit $3"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(country)
        .bind(job)
        .bind(limit)
        .fetch_all(connection)
        .await
}

pub(in crate::staff_api) async fn find(
    connection: &mut PgConnection,
    (country, job): (&str, &str),
    run_id: Id,
) -> Result<Option<JobRun>, sqlx::Error> {
    let statement = format!(
        "select {COLUMNS} from job_run where country_code = $1 and job = $2 and run_id = $3"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(country)
        .bind(job)
        .bind(run_id)
        .fetch_optional(connection)
        .await
}

/// Asks for a run; none if one is asked for already.
pub(in crate::staff_api) async fn request(
    connection: &mut PgConnection,
    (country, job): (&str, &str),
    parameters: &Value,
    subject: &str,
) -> Result<Option<JobRun>, sqlx::Error> {
    let statement = format!(
        "insert into job_run (run_id, country_code, job, state, requested_by, parameters) \
         values ($1, $2, $3, 'requested', $4, $5) \
         on conflict (country_code, job) where state = 'requested' do nothing returning {COLUMNS}"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(Id::new())
        .bind(country)
        .bind(job)
        .bind(subject)
        .bind(parameters)
        .fetch_optional(connection)
        .await
}

/// Whether the country has a connection whose webhooks stay away.
pub(in crate::staff_api) async fn is_suspended(
    connection: &mut PgConnection,
    country: &str,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "select exists (select from pancake_connection \
             where country_code = $1 and status = 'suspended' and has_api_key)",
    )
    .bind(country)
    .fetch_one(connection)
    .await
}

/// Up to where a table of a connection is complete.
#[derive(Debug, FromRow, Serialize, ToSchema)]
pub(in crate::staff_api) struct Completeness {
    #[schema(example = "vn-main")]
    connection_id: String,
    /// Of Pancake's tables: `lead`, `account` or `contact`.
    #[serde(rename = "table")]
    table_name: String,
    /// What was changed before is here, by whatever way it came, but for the gaps. Null: nothing was asked for yet.
    complete_until: Option<Moment>,
    /// Spans that could not be read, each with `from`, `to`, `tries` and `cause`; they are tried again.
    #[schema(value_type = Vec<Object>)]
    gaps: Value,
    updated_at: Moment,
}

/// All of a country.
pub(in crate::staff_api) async fn completeness(
    connection: &mut PgConnection,
    country: &str,
) -> Result<Vec<Completeness>, sqlx::Error> {
    sqlx::query_as(
        "select connection_id, table_name, complete_until, gaps, updated_at from pancake_watermark \
         where country_code = $1 order by connection_id, table_name limit 1000",
    )
    .bind(country)
    .fetch_all(connection)
    .await
}

/// A comparison with Pancake.
#[derive(Debug, FromRow, Serialize, ToSchema)]
pub(in crate::staff_api) struct Reconciliation {
    run_id: Id,
    connection_id: String,
    window_from: Moment,
    window_to: Moment,
    started_at: Moment,
    /// Null: it is under way, or its core ended before it did.
    finished_at: Option<Moment>,
    /// Records of Pancake's that were compared.
    checked: i64,
    /// Those that were not here.
    missing: i64,
    /// Those of them that are here now.
    healed: i64,
    error: Option<String>,
}

/// The latest ones of a country.
pub(in crate::staff_api) async fn reconciliations(
    connection: &mut PgConnection,
    country: &str,
) -> Result<Vec<Reconciliation>, sqlx::Error> {
    sqlx::query_as(
        "select run_id, connection_id, window_from, window_to, started_at, finished_at, checked, missing, healed, \
                error \
         from pancake_reconciliation_run where country_code = $1 order by started_at desc, run_id limit 100",
    )
    .bind(country)
    .fetch_all(connection)
    .await
}
