//! `/staff/{staff_id}/absences` and `/staff/{staff_id}/sources`: when somebody gets no ticket, and whose leads they
//! take.

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{self, Answered, Page, PathOf, path_of};
use super::body::{Fields, moment, text};
use super::caller::Caller;
use super::cursor::{List, Place};
use super::desk::{Change, Desk};
use super::openapi::{BadBody, NoRow, Refusals};
use super::query::{MOMENT_EXPECTED, read_name};
use super::staff::role_to_change;
use super::store::staff::{self as store, Absence};
use super::value::{Id, Moment};
use crate::app::SharedApp;
use crate::error::StaffApiError;

const LIST: List = List("absences");
const SOURCES_MAX: usize = 200;
const NOBODY: StaffApiError = StaffApiError::NotThere("member of the staff");

pub(super) fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new()
        .routes(routes!(list_absences, add_absence))
        .routes(routes!(delete_absence))
        .routes(routes!(show_sources, replace_sources))
}

/// A desk at which this member of the staff is seen, or locked for a change that the caller may make.
async fn desk_of(
    caller: &Caller,
    staff_id: Id,
    is_change: bool,
) -> Result<Desk<'_>, StaffApiError> {
    let mut desk = caller.desk().await?;
    let country = caller.country.as_str();
    let staff = if is_change {
        store::lock(desk.connection(), country, staff_id).await?
    } else {
        store::find(desk.connection(), country, staff_id).await?
    };
    let staff = staff.ok_or(NOBODY)?;
    if is_change {
        role_to_change(caller, &staff)?;
    }
    Ok(desk)
}

/// When somebody gets no ticket, the latest first
#[utoipa::path(
    get,
    path = "/staff/{staff_id}/absences",
    tag = "staff",
    params(
        ("staff_id" = String, Path, format = "uuid"),
        ("limit" = Option<u8>, Query, minimum = 1, maximum = 200, description = "50 if not given"),
        ("cursor" = Option<String>, Query, min_length = 1, description = "`next` of the page before"),
    ),
    responses((status = 200, body = Page<Absence>, description = "A page"), Refusals, NoRow)
)]
async fn list_absences(caller: Caller, path: PathOf<String>) -> Answered {
    let staff_id = Id::parse("staff_id", &path_of(path)?)?;
    let parameters = caller.parameters(&["limit", "cursor"])?;
    let limit = parameters.limit()?;
    let before = LIST.place(&parameters)?;
    let mut desk = desk_of(&caller, staff_id, false).await?;
    let country = caller.country.as_str();
    let connection = desk.connection();
    let rows = i64::from(limit) + 1;
    let items = store::list_absences(connection, country, staff_id, before, rows).await?;
    desk.leave().await?;
    answer::ok(&Page::new(items, limit, |last| {
        LIST.write_place(Place {
            at: last.starts_at,
            id: last.absence_id,
        })
    }))
}

/// A new absence.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "it describes the body, which `read_absence` reads"
)]
struct NewAbsence {
    /// Its first moment.
    starts_at: Moment,
    /// The first moment after it.
    ends_at: Moment,
    /// At most 1024 bytes.
    #[schema(required = false, min_length = 1, max_length = 1024)]
    reason: Option<String>,
}

/// Adds an absence
#[utoipa::path(
    post,
    path = "/staff/{staff_id}/absences",
    tag = "staff",
    params(("staff_id" = String, Path, format = "uuid")),
    request_body = NewAbsence,
    responses((status = 201, body = Absence, description = "The absence"), Refusals, NoRow, BadBody)
)]
async fn add_absence(caller: Caller, path: PathOf<String>, body: Body) -> Answered {
    caller.require_office()?;
    let staff_id = Id::parse("staff_id", &path_of(path)?)?;
    caller.parameters(&[])?;
    let absence = read_absence(&caller.read(body).await?)?;
    let mut desk = desk_of(&caller, staff_id, true).await?;
    let country = caller.country.as_str();
    store::insert_absence(desk.connection(), country, staff_id, &absence).await?;
    let change = Change::new("create", "staff_absence", &absence.absence_id.0)
        .set("staff_id", staff_id.0.to_string())
        .set("starts_at", json(absence.starts_at))
        .set("ends_at", json(absence.ends_at))
        .hidden("reason", absence.reason.is_some());
    desk.commit(change).await?;
    answer::created(&absence)
}

fn json(moment: Moment) -> Value {
    serde_json::to_value(moment).unwrap_or_default()
}

fn read_absence(body: &[u8]) -> Result<Absence, StaffApiError> {
    let mut fields = Fields::parse(body)?;
    let starts_at = fields.required("starts_at", MOMENT_EXPECTED, moment);
    let ends_at = fields.required("ends_at", MOMENT_EXPECTED, moment);
    let reason = fields.optional(
        "reason",
        "1 to 1024 bytes without control characters are expected",
        |value| text(value, 1..=1024),
    );
    let span = starts_at.zip(ends_at);
    if span.is_some_and(|(starts_at, ends_at)| ends_at.micros() <= starts_at.micros()) {
        fields.refuse("ends_at", "it must be after starts_at");
    }
    fields.finish()?;
    let (starts_at, ends_at) = span.ok_or(StaffApiError::Internal)?;
    Ok(Absence {
        absence_id: Id::new(),
        starts_at,
        ends_at,
        reason,
    })
}

/// Calls an absence off
#[utoipa::path(
    delete,
    path = "/staff/{staff_id}/absences/{absence_id}",
    tag = "staff",
    params(
        ("staff_id" = String, Path, format = "uuid"),
        ("absence_id" = String, Path, format = "uuid"),
    ),
    responses((status = 204, description = "It is gone"), Refusals, NoRow)
)]
async fn delete_absence(caller: Caller, path: PathOf<(String, String)>) -> Answered {
    caller.require_office()?;
    let (staff_id, absence_id) = path_of(path)?;
    let staff_id = Id::parse("staff_id", &staff_id)?;
    let absence_id = Id::parse("absence_id", &absence_id)?;
    caller.parameters(&[])?;
    let mut desk = desk_of(&caller, staff_id, true).await?;
    let country = caller.country.as_str();
    if !store::delete_absence(desk.connection(), country, staff_id, absence_id).await? {
        return Err(StaffApiError::NotThere("absence"));
    }
    let change = Change::new("delete", "staff_absence", &absence_id.0)
        .set("staff_id", staff_id.0.to_string());
    desk.commit(change).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Whose leads somebody takes.
#[derive(Serialize, ToSchema)]
struct StaffSources {
    /// At most 200, each of 1 to 256 bytes. Of none, they take those of every source.
    #[schema(max_items = 200, example = json!(["(none)"]))]
    source_ids: Vec<String>,
}

/// The sources whose leads somebody takes
#[utoipa::path(
    get,
    path = "/staff/{staff_id}/sources",
    tag = "staff",
    params(("staff_id" = String, Path, format = "uuid")),
    responses((status = 200, body = StaffSources, description = "The sources"), Refusals, NoRow)
)]
async fn show_sources(caller: Caller, path: PathOf<String>) -> Answered {
    let staff_id = Id::parse("staff_id", &path_of(path)?)?;
    caller.parameters(&[])?;
    let mut desk = desk_of(&caller, staff_id, false).await?;
    let country = caller.country.as_str();
    let source_ids = store::list_sources(desk.connection(), country, staff_id).await?;
    desk.leave().await?;
    answer::ok(&StaffSources { source_ids })
}

/// Replaces the sources whose leads somebody takes
#[utoipa::path(
    put,
    path = "/staff/{staff_id}/sources",
    tag = "staff",
    params(("staff_id" = String, Path, format = "uuid")),
    request_body = StaffSources,
    responses(
        (status = 200, body = StaffSources, description = "The sources as they are now"),
        Refusals, NoRow, BadBody
    )
)]
async fn replace_sources(caller: Caller, path: PathOf<String>, body: Body) -> Answered {
    caller.require_office()?;
    let staff_id = Id::parse("staff_id", &path_of(path)?)?;
    caller.parameters(&[])?;
    let wanted = read_sources(&caller.read(body).await?)?;
    let mut desk = desk_of(&caller, staff_id, true).await?;
    let country = caller.country.as_str();
    let there = store::list_sources(desk.connection(), country, staff_id).await?;
    store::replace_sources(desk.connection(), country, staff_id, &wanted).await?;
    let source_ids = store::list_sources(desk.connection(), country, staff_id).await?;
    if there == source_ids {
        desk.leave().await?;
    } else {
        // Two lists of the longest ids would not fit into a row of the audit trail.
        let change = Change::new("update", "staff_source", &staff_id.0)
            .field("count", there.len(), source_ids.len())
            .hidden("source_ids", true);
        desk.commit(change).await?;
    }
    answer::ok(&StaffSources { source_ids })
}

fn read_sources(body: &[u8]) -> Result<Vec<String>, StaffApiError> {
    let mut fields = Fields::parse(body)?;
    let expected = "a list of at most 200 texts is expected, each of 1 to 256 bytes and given once";
    let source_ids = fields.required("source_ids", expected, |value| {
        let ids: Option<Vec<String>> = value
            .as_array()
            .filter(|ids| ids.len() <= SOURCES_MAX)?
            .iter()
            .map(|id| read_name(id.as_str()?))
            .collect();
        let ids = ids?;
        let mut sorted: Vec<&String> = ids.iter().collect();
        sorted.sort_unstable();
        sorted.dedup();
        let is_each_once = sorted.len() == ids.len();
        is_each_once.then_some(ids)
    });
    fields.finish()?;
    source_ids.ok_or(StaffApiError::Internal)
}
