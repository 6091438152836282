//! `/pancake/replays`.

use axum::body::Body;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{self, Answered, Page, PathOf, path_of};
use super::body::{Fields, moment, text};
use super::caller::Caller;
use super::cursor::{List, Place};
use super::desk::{Action, Change};
use super::openapi::{BadBody, NoRow, Refusals};
use super::query::{NAME_EXPECTED, read_name};
use super::store::replays::{self as store, Replay};
use super::value::Id;
use crate::app::SharedApp;
use crate::error::StaffApiError;
use crate::processing::replay::{ReplayFilter, ReplayableState};

const LIST: List = List("replays");

/// How many events may be named one by one.
const EVENT_IDS_MAX: usize = 1_000;

pub(super) fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new()
        .routes(routes!(list_replays, count_replay))
        .routes(routes!(show_replay))
        .routes(routes!(run_replay))
        .routes(routes!(cancel_replay))
}

/// Replays, the latest first
#[utoipa::path(
    get,
    path = "/pancake/replays",
    tag = "pancake",
    params(
        ("limit" = Option<u8>, Query, minimum = 1, maximum = 200, description = "50 if not given"),
        ("cursor" = Option<String>, Query, min_length = 1, description = "`next` of the page before"),
    ),
    responses((status = 200, body = Page<Replay>, description = "A page"), Refusals)
)]
async fn list_replays(caller: Caller) -> Answered {
    let parameters = caller.parameters(&["limit", "cursor"])?;
    let limit = parameters.limit()?;
    let before = LIST.place(&parameters)?;
    let mut desk = caller.desk_for(Action::Replay).await?;
    let country = caller.country.as_str();
    let items = store::list(desk.connection(), country, before, i64::from(limit) + 1).await?;
    desk.leave().await?;
    answer::ok(&Page::new(items, limit, |last| {
        LIST.write_place(Place {
            at: last.created_at,
            id: last.replay_id,
        })
    }))
}

/// Which events: all that are held back or failed, but for what these narrow it to.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "describes the body, which is read member by member"
)]
struct Selection {
    /// These events, up to 1000.
    #[schema(required = false, max_items = 1000, value_type = Vec<String>)]
    event_ids: Option<Vec<Id>>,
    /// Of `skipped_kill_switch`, `skipped_source_disabled`, `failed`, `dead_letter`.
    #[schema(required = false, example = json!(["dead_letter"]))]
    states: Option<Vec<String>>,
    #[schema(required = false, min_length = 1, max_length = 64, example = "vn-main")]
    connection_id: Option<String>,
    /// Events that name it; `(none)` for those that name none.
    #[schema(required = false, min_length = 1, max_length = 256)]
    source_id: Option<String>,
    /// Received then or later.
    #[schema(required = false, format = "date-time")]
    received_from: Option<String>,
    /// Received before.
    #[schema(required = false, format = "date-time")]
    received_to: Option<String>,
}

/// Counts a selection of events, and keeps it
///
/// No event is moved before it is run.
#[utoipa::path(
    post,
    path = "/pancake/replays",
    tag = "pancake",
    request_body = Selection,
    responses((status = 201, body = Replay, description = "Counted, not run"), Refusals, BadBody)
)]
async fn count_replay(caller: Caller, body: Body) -> Answered {
    caller.parameters(&[])?;
    let filter = read_selection(&caller.read(body).await?)?;
    let mut desk = caller.desk_for(Action::Replay).await?;
    let (country, subject) = (caller.country, &caller.subject);
    let replay = store::insert(desk.connection(), country, &filter, subject).await?;
    let change =
        Change::new("create", "pancake_replay", &replay.replay_id.0).set("total", replay.total);
    desk.commit(change).await?;
    answer::created(&replay)
}

/// One replay, and how far it is
#[utoipa::path(
    get,
    path = "/pancake/replays/{replay_id}",
    tag = "pancake",
    params(("replay_id" = String, Path, format = "uuid")),
    responses((status = 200, body = Replay, description = "The replay"), Refusals, NoRow)
)]
async fn show_replay(caller: Caller, path: PathOf<String>) -> Answered {
    let replay_id = Id::parse("replay_id", &path_of(path)?)?;
    caller.parameters(&[])?;
    let mut desk = caller.desk_for(Action::Replay).await?;
    let country = caller.country.as_str();
    let replay = store::find(desk.connection(), country, replay_id, false).await?;
    desk.leave().await?;
    answer::ok(&replay.ok_or(StaffApiError::NotThere("replay"))?)
}

/// Sends the selection's events through processing
///
/// Those that are in one of its states by then. Run again, it answers how it stands.
#[utoipa::path(
    post,
    path = "/pancake/replays/{replay_id}/run",
    tag = "pancake",
    params(("replay_id" = String, Path, format = "uuid")),
    responses((status = 200, body = Replay, description = "The replay as it is now"), Refusals, NoRow)
)]
async fn run_replay(caller: Caller, path: PathOf<String>) -> Answered {
    move_to(caller, path, "running", &["counted"]).await
}

/// Ends a replay: what waits again goes on, and no more is moved
#[utoipa::path(
    post,
    path = "/pancake/replays/{replay_id}/cancel",
    tag = "pancake",
    params(("replay_id" = String, Path, format = "uuid")),
    responses((status = 200, body = Replay, description = "The replay as it is now"), Refusals, NoRow)
)]
async fn cancel_replay(caller: Caller, path: PathOf<String>) -> Answered {
    move_to(caller, path, "cancelled", &["counted", "running"]).await
}

/// From one of these states; from another it stays as it is.
async fn move_to(
    caller: Caller,
    path: PathOf<String>,
    state: &'static str,
    from: &[&str],
) -> Answered {
    let replay_id = Id::parse("replay_id", &path_of(path)?)?;
    caller.parameters(&[])?;
    let mut desk = caller.desk_for(Action::Replay).await?;
    let country = caller.country.as_str();
    let there = store::find(desk.connection(), country, replay_id, true).await?;
    let there = there.ok_or(StaffApiError::NotThere("replay"))?;
    if !from.contains(&there.state.as_str()) {
        desk.leave().await?;
        return answer::ok(&there);
    }
    let replay = store::set_state(desk.connection(), country, replay_id, state).await?;
    let change = Change::new("update", "pancake_replay", &replay_id.0).field(
        "state",
        there.state.as_str(),
        replay.state.as_str(),
    );
    desk.commit(change).await?;
    caller.app.wake.wake();
    answer::ok(&replay)
}

fn read_selection(body: &[u8]) -> Result<ReplayFilter, StaffApiError> {
    let mut fields = Fields::parse(body)?;
    let filter = ReplayFilter {
        event_ids: fields.optional("event_ids", "1 to 1000 UUIDs with their hyphens are expected", |value| {
            list(value, 1..=EVENT_IDS_MAX, |id| Some(Id::read(id)?.0))
        }),
        states: fields.optional(
            "states",
            "a list of skipped_kill_switch, skipped_source_disabled, failed and dead_letter is expected",
            |value| {
                list(value, 1..=ReplayableState::ALL.len(), |name| {
                    ReplayableState::ALL.into_iter().find(|state| state.as_str() == name)
                })
            },
        ),
        connection_id: fields.optional("connection_id", "1 to 64 bytes are expected", |value| {
            text(value, 1..=64)
        }),
        source_id: fields.optional("source_id", NAME_EXPECTED, |value| read_name(value.as_str()?)),
        received_from: fields.optional("received_from", MOMENT, moment).map(Into::into),
        received_to: fields.optional("received_to", MOMENT, moment).map(Into::into),
    };
    fields.finish()?;
    Ok(filter)
}

const MOMENT: &str = "RFC 3339 with an offset is expected";

fn list<T>(
    value: &Value,
    length: std::ops::RangeInclusive<usize>,
    read: impl Fn(&str) -> Option<T>,
) -> Option<Vec<T>> {
    let items = value
        .as_array()
        .filter(|items| length.contains(&items.len()))?;
    items.iter().map(|item| read(item.as_str()?)).collect()
}
