//! `/jobs`, and what comes of them: `/crm/pancake/completeness` and `/crm/pancake/reconciliations`.

use axum::body::Body;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{self, Answered, PathOf, path_of};
use super::body::{Fields, moment};
use super::caller::Caller;
use super::desk::{Action, Change};
use super::openapi::{BadBody, NoRow, Refusals};
use super::store::jobs::{self as store, Completeness, JobRun, Reconciliation};
use super::value::{Id, Moment};
use crate::app::SharedApp;
use crate::error::StaffApiError;
use crate::jobs::schedule::{Ending, LastRun, Schedule};
use crate::jobs::{Job, schedule_of};

/// A comparison may begin so long ago: each of its days asks Pancake for 72 lists at least.
const DAYS_BACK: i64 = 366;

/// Runs that a list has.
const RUNS: i64 = 50;

/// Below `/v1`.
pub(super) fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new()
        .routes(routes!(list_jobs))
        .routes(routes!(list_runs, request_run))
        .routes(routes!(show_run))
}

/// Below `/v1/crm`.
pub(super) fn crm_routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new()
        .routes(routes!(list_completeness))
        .routes(routes!(list_reconciliations))
}

/// All of a list, which is short.
#[derive(Serialize, ToSchema)]
struct Items<T> {
    items: Vec<T>,
}

/// A job of the country.
#[derive(Serialize, ToSchema)]
struct JobStanding {
    #[schema(example = "poll")]
    job: &'static str,
    /// If it is due so long after it began last.
    #[schema(example = 300)]
    every_seconds: Option<u64>,
    /// If it is due at a time of day.
    #[schema(example = "02:00")]
    daily_at: Option<String>,
    /// By whose clock that is.
    #[schema(example = "Asia/Ho_Chi_Minh")]
    time_zone: Option<String>,
    /// When it is due next; a moment that is past if it is due now.
    due_at: Moment,
    /// The last run, or the one that waits or is under way.
    last_run: Option<JobRun>,
}

/// The jobs of the country, and how they stand
#[utoipa::path(
    get,
    path = "/jobs",
    tag = "jobs",
    responses((status = 200, body = Items<JobStanding>, description = "All of them"), Refusals)
)]
async fn list_jobs(caller: Caller) -> Answered {
    caller.parameters(&[])?;
    let now = caller.app.clock.now();
    let mut desk = caller.desk_for(Action::ViewReport).await?;
    let country = caller.country.as_str();
    let is_suspended = store::is_suspended(desk.connection(), country).await?;
    let mut items = Vec::new();
    for job in Job::ALL {
        let runs = store::runs(desk.connection(), (country, job.as_str()), 2).await?;
        let schedule = schedule_of(job, &caller.app.config.jobs, is_suspended);
        items.push(standing(&caller, (job, schedule), &runs, now));
    }
    desk.leave().await?;
    answer::ok(&Items { items })
}

fn standing(
    caller: &Caller,
    (job, schedule): (Job, Schedule),
    runs: &[JobRun],
    now: OffsetDateTime,
) -> JobStanding {
    let zone = caller.app.master_data.zones().of(caller.country);
    let last = runs.iter().find_map(|run| {
        let started_at = Timestamp::from_microsecond(run.started_at?.micros()).ok()?;
        let ending = match run.state.as_str() {
            "running" => Ending::Running,
            "ok" => Ending::Ok,
            "failed" => Ending::Failed,
            _ => Ending::Interrupted,
        };
        Some(LastRun { started_at, ending })
    });
    let now_ = Timestamp::from_second(now.unix_timestamp()).unwrap_or(Timestamp::UNIX_EPOCH);
    let due_at = schedule.due_at(last, now_, &zone).as_microsecond();
    let (every_seconds, daily_at) = match schedule {
        Schedule::Every(pause) => (Some(pause.as_secs()), None),
        Schedule::Daily(time) => (None, Some(time.strftime("%H:%M").to_string())),
    };
    JobStanding {
        job: job.as_str(),
        every_seconds,
        time_zone: daily_at
            .is_some()
            .then(|| zone.iana_name().unwrap_or("UTC").to_owned()),
        daily_at,
        due_at: Moment::from_micros(due_at).unwrap_or(Moment::from(now)),
        last_run: runs.first().cloned(),
    }
}

/// The last 50 runs of a job, the latest first
#[utoipa::path(
    get,
    path = "/jobs/{job}/runs",
    tag = "jobs",
    params(("job" = String, Path, example = "poll")),
    responses((status = 200, body = Items<JobRun>, description = "The runs"), Refusals, NoRow)
)]
async fn list_runs(caller: Caller, path: PathOf<String>) -> Answered {
    let job = job_of(&path_of(path)?)?;
    caller.parameters(&[])?;
    let mut desk = caller.desk_for(Action::ViewReport).await?;
    let of = (caller.country.as_str(), job.as_str());
    let items = store::runs(desk.connection(), of, RUNS).await?;
    desk.leave().await?;
    answer::ok(&Items { items })
}

/// A run, and how far it is
#[utoipa::path(
    get,
    path = "/jobs/{job}/runs/{run_id}",
    tag = "jobs",
    params(
        ("job" = String, Path, example = "poll"),
        ("run_id" = String, Path, format = "uuid"),
    ),
    responses((status = 200, body = JobRun, description = "The run"), Refusals, NoRow)
)]
async fn show_run(caller: Caller, path: PathOf<(String, String)>) -> Answered {
    let (job, run_id) = path_of(path)?;
    let (job, run_id) = (job_of(&job)?, Id::parse("run_id", &run_id)?);
    caller.parameters(&[])?;
    let mut desk = caller.desk_for(Action::ViewReport).await?;
    let of = (caller.country.as_str(), job.as_str());
    let run = store::find(desk.connection(), of, run_id).await?;
    desk.leave().await?;
    answer::ok(&run.ok_or(StaffApiError::NotThere("run"))?)
}

/// What a run is to do beside what it always does.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "it describes the body, which is read member by member"
)]
struct RunRequest {
    /// Of `reconciliation`: compare what was changed from then on, at most 366 days back. The days of the settings if
    /// not given.
    #[schema(required = false, format = "date-time")]
    from: Option<String>,
    /// Of `reconciliation`: until then. If not given, until one poll and what has to settle before now.
    #[schema(required = false, format = "date-time")]
    to: Option<String>,
}

/// Asks for a run of a job: it begins within seconds, or when the one that is under way has ended
///
/// One that waits already is answered as it is.
#[utoipa::path(
    post,
    path = "/jobs/{job}/runs",
    tag = "jobs",
    params(("job" = String, Path, example = "reconciliation")),
    request_body = RunRequest,
    responses(
        (status = 201, body = JobRun, description = "It is asked for"),
        (status = 200, body = JobRun, description = "It was asked for already"),
        Refusals, NoRow, BadBody
    )
)]
async fn request_run(caller: Caller, path: PathOf<String>, body: Body) -> Answered {
    let job = job_of(&path_of(path)?)?;
    caller.parameters(&[])?;
    let now = caller.app.clock.now();
    let parameters = read_request(job, &caller.read(body).await?, now)?;
    let mut desk = caller.desk_for(Action::ManageConnection).await?;
    let of = (caller.country.as_str(), job.as_str());
    let subject = &caller.subject;
    let Some(run) = store::request(desk.connection(), of, &parameters, subject).await? else {
        let runs = store::runs(desk.connection(), of, RUNS).await?;
        desk.leave().await?;
        let waiting = runs.into_iter().find(|run| run.state == "requested");
        // It began in this moment.
        return answer::ok(&waiting.ok_or(StaffApiError::Unavailable)?);
    };
    let change = Change::new("create", "job_run", &run.run_id.0).set("job", job.as_str());
    desk.commit(change).await?;
    answer::created(&run)
}

fn read_request(job: Job, body: &[u8], now: OffsetDateTime) -> Result<Value, StaffApiError> {
    if body.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let mut fields = Fields::parse(body)?;
    let mut parameters = Map::new();
    if job == Job::Reconciliation {
        let earliest = now - time::Duration::days(DAYS_BACK);
        for name in ["from", "to"] {
            let expected = match name {
                "from" => "RFC 3339 with an offset is expected, at most 366 days back",
                _ => "RFC 3339 with an offset is expected",
            };
            let read = |value: &Value| {
                moment(value).filter(|at| name != "from" || OffsetDateTime::from(*at) >= earliest)
            };
            if let Some(at) = fields.optional(name, expected, read) {
                let at = serde_json::to_value(at).map_err(|_| StaffApiError::Internal)?;
                parameters.insert(name.to_owned(), at);
            }
        }
    }
    fields.finish()?;
    Ok(Value::Object(parameters))
}

fn job_of(name: &str) -> Result<Job, StaffApiError> {
    Job::parse(name).ok_or(StaffApiError::NotThere("job"))
}

/// Up to where the country's connections are complete
#[utoipa::path(
    get,
    path = "/pancake/completeness",
    tag = "pancake",
    responses((status = 200, body = Items<Completeness>, description = "All connections and tables"), Refusals)
)]
async fn list_completeness(caller: Caller) -> Answered {
    caller.parameters(&[])?;
    let mut desk = caller.desk_for(Action::ViewReport).await?;
    let items = store::completeness(desk.connection(), caller.country.as_str()).await?;
    desk.leave().await?;
    answer::ok(&Items { items })
}

/// The last 100 comparisons with Pancake, the latest first
#[utoipa::path(
    get,
    path = "/pancake/reconciliations",
    tag = "pancake",
    responses((status = 200, body = Items<Reconciliation>, description = "The comparisons"), Refusals)
)]
async fn list_reconciliations(caller: Caller) -> Answered {
    caller.parameters(&[])?;
    let mut desk = caller.desk_for(Action::ViewReport).await?;
    let items = store::reconciliations(desk.connection(), caller.country.as_str()).await?;
    desk.leave().await?;
    answer::ok(&Items { items })
}
