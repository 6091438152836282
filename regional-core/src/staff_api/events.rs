//! `/pancake/events` and `/pancake/dead-letters`.

use axum::body::Body;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{self, Answered, Page, PathOf, path_of};
use super::body::{Fields, moment, refused, text};
use super::caller::Caller;
use super::cursor::{List, Place};
use super::desk::{Action, Change};
use super::openapi::{BadBody, NoRow, Refusals};
use super::query::{
    LIMIT_EXPECTED, MOMENT_EXPECTED, NAME_EXPECTED, Parameters, is_limit, read_name,
};
use super::store::events::{self as store, Event, EventFilter, State};
use super::value::{Id, Moment};
use crate::app::SharedApp;
use crate::error::StaffApiError;
use crate::phone::{MAX_CHARS, PhoneFault, normalize};

const LIST: List = List("events");
const STATE_EXPECTED: &str = "received, ingested, processed, failed, dead_letter, skipped_source_disabled or \
     skipped_kill_switch is expected";

pub(super) fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new()
        .routes(routes!(list_events))
        .routes(routes!(search_events))
        .routes(routes!(list_dead_letters))
        .routes(routes!(show_event))
        .routes(routes!(show_payload))
}

async fn page_of(caller: &Caller, filter: EventFilter, limit: u8) -> Answered {
    let mut desk = caller.desk_for(Action::Access).await?;
    let country = caller.country.as_str();
    let found = store::list(desk.connection(), country, &filter, i64::from(limit) + 1).await?;
    desk.leave().await?;
    let place = |last: &Event| Place {
        at: last.received_at,
        id: last.event_id,
    };
    answer::ok(&Page::found(found, limit, place, |place| {
        LIST.write_place(place)
    }))
}

fn filter(parameters: &Parameters) -> Result<EventFilter, StaffApiError> {
    Ok(EventFilter {
        state: parameters.read("state", STATE_EXPECTED, State::read)?,
        connection_id: parameters.name("connection")?,
        source_id: parameters.name("source")?,
        record_id: parameters.id("record_id")?,
        normalized_phone: None,
        from: parameters.moment("from")?,
        to: parameters.moment("to")?,
        before: LIST.place(parameters)?,
    })
}

/// Events, the latest first
///
/// By phone number: `POST /pancake/events/search`. A page that looks for a connection, a source or what is processed
/// looks at 10,000 events, so that it may be short, or empty, and still have a `next`. What a record says of itself is
/// cut to what processing takes of it; `GET /pancake/events/{event_id}` has it whole.
#[utoipa::path(
    get,
    path = "/pancake/events",
    tag = "pancake",
    params(
        ("state" = Option<String>, Query, description = "In this state", example = "failed"),
        ("connection" = Option<String>, Query, min_length = 1, max_length = 256, description = "Of this connection"),
        ("source" = Option<String>, Query, min_length = 1, max_length = 256, description = "Of this source; `(none)` for those that name none"),
        ("record_id" = Option<String>, Query, format = "uuid", description = "Of this record"),
        ("from" = Option<String>, Query, format = "date-time", description = "Received at this moment or later"),
        ("to" = Option<String>, Query, format = "date-time", description = "Received before this moment"),
        ("limit" = Option<u8>, Query, minimum = 1, maximum = 200, description = "50 if not given"),
        ("cursor" = Option<String>, Query, min_length = 1, description = "`next` of the page before"),
    ),
    responses((status = 200, body = Page<Event>, description = "A page"), Refusals)
)]
async fn list_events(caller: Caller) -> Answered {
    let parameters = caller.parameters(&[
        "state",
        "connection",
        "source",
        "record_id",
        "from",
        "to",
        "limit",
        "cursor",
    ])?;
    let limit = parameters.limit()?;
    page_of(&caller, filter(&parameters)?, limit).await
}

/// Events that are not tried again by themselves, with their cause, the latest first
#[utoipa::path(
    get,
    path = "/pancake/dead-letters",
    tag = "pancake",
    params(
        ("connection" = Option<String>, Query, min_length = 1, max_length = 256, description = "Of this connection"),
        ("source" = Option<String>, Query, min_length = 1, max_length = 256, description = "Of this source; `(none)` for those that name none"),
        ("record_id" = Option<String>, Query, format = "uuid", description = "Of this record"),
        ("from" = Option<String>, Query, format = "date-time", description = "Received at this moment or later"),
        ("to" = Option<String>, Query, format = "date-time", description = "Received before this moment"),
        ("limit" = Option<u8>, Query, minimum = 1, maximum = 200, description = "50 if not given"),
        ("cursor" = Option<String>, Query, min_length = 1, description = "`next` of the page before"),
    ),
    responses((status = 200, body = Page<Event>, description = "A page"), Refusals)
)]
async fn list_dead_letters(caller: Caller) -> Answered {
    let parameters = caller.parameters(&[
        "connection",
        "source",
        "record_id",
        "from",
        "to",
        "limit",
        "cursor",
    ])?;
    let limit = parameters.limit()?;
    let filter = EventFilter {
        state: Some(State::DEAD_LETTER),
        ..filter(&parameters)?
    };
    page_of(&caller, filter, limit).await
}

/// Whose events to look for. In the body, because a URL is logged in many places.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes the body, which `read_search` reads")]
struct EventSearch {
    /// The number in any spelling; of the country unless it says another. Events are found by it once they
    /// were processed.
    #[schema(max_length = 64, example = "0912 345 678")]
    phone: String,
    #[schema(required = false)]
    state: Option<String>,
    /// Received at this moment or later.
    #[schema(required = false)]
    from: Option<Moment>,
    /// Received before this moment.
    #[schema(required = false)]
    to: Option<Moment>,
    /// 50 if not given.
    #[schema(required = false, minimum = 1, maximum = 200)]
    limit: Option<u8>,
    /// `next` of the page before.
    #[schema(required = false)]
    cursor: Option<String>,
}

/// Events about a phone number, the latest first
#[utoipa::path(
    post,
    path = "/pancake/events/search",
    tag = "pancake",
    request_body = EventSearch,
    responses((status = 200, body = Page<Event>, description = "A page"), Refusals, BadBody)
)]
async fn search_events(caller: Caller, body: Body) -> Answered {
    caller.parameters(&[])?;
    let body = caller.read(body).await?;
    let (filter, limit) = read_search(&caller, &body)?;
    page_of(&caller, filter, limit).await
}

fn read_search(caller: &Caller, body: &[u8]) -> Result<(EventFilter, u8), StaffApiError> {
    let mut fields = Fields::parse(body)?;
    let phone = fields.required(
        "phone",
        "a phone number of at most 64 characters is expected",
        |value| text(value, 1..=4 * MAX_CHARS),
    );
    let state = fields.optional("state", STATE_EXPECTED, |value| {
        State::read(value.as_str()?)
    });
    let from = fields.optional("from", MOMENT_EXPECTED, moment);
    let to = fields.optional("to", MOMENT_EXPECTED, moment);
    let limit = fields.optional("limit", LIMIT_EXPECTED, |value| {
        u8::try_from(value.as_u64()?)
            .ok()
            .filter(|limit| is_limit(*limit))
    });
    let cursor = fields.optional("cursor", NAME_EXPECTED, |value| read_name(value.as_str()?));
    fields.finish()?;
    let phone = normalize(phone.as_deref(), caller.country)
        .map_err(|fault| refused("phone", explain(fault)))?;
    let before = cursor.map(|text| LIST.read_place(&text)).transpose()?;
    let filter = EventFilter {
        state,
        normalized_phone: Some(phone.as_str().to_owned()),
        from,
        to,
        before,
        ..EventFilter::default()
    };
    Ok((filter, limit.unwrap_or(50)))
}

fn explain(fault: PhoneFault) -> &'static str {
    match fault {
        PhoneFault::Missing => "it has no digits",
        PhoneFault::TooLong => "at most 64 characters are expected",
        PhoneFault::Unreadable => "it cannot be read as a phone number",
        PhoneFault::Invalid => "there is no such number in its country's numbering plan",
    }
}

/// One event, without its payload
#[utoipa::path(
    get,
    path = "/pancake/events/{event_id}",
    tag = "pancake",
    params(("event_id" = String, Path, format = "uuid")),
    responses((status = 200, body = Event, description = "The event"), Refusals, NoRow)
)]
async fn show_event(caller: Caller, path: PathOf<String>) -> Answered {
    let event_id = Id::parse("event_id", &path_of(path)?)?;
    caller.parameters(&[])?;
    let mut desk = caller.desk_for(Action::Access).await?;
    let event = store::find(desk.connection(), caller.country.as_str(), event_id).await?;
    desk.leave().await?;
    answer::ok(&event.ok_or(StaffApiError::NotThere("event"))?)
}

/// What Pancake sent, byte for byte
///
/// That somebody read it goes to the audit trail.
#[utoipa::path(
    get,
    path = "/pancake/events/{event_id}/payload",
    tag = "pancake",
    params(("event_id" = String, Path, format = "uuid")),
    responses(
        (status = 200, body = Object, content_type = "application/json", description = "The record"),
        Refusals, NoRow
    )
)]
async fn show_payload(caller: Caller, path: PathOf<String>) -> Answered {
    let event_id = Id::parse("event_id", &path_of(path)?)?;
    caller.parameters(&[])?;
    let mut desk = caller.desk_for(Action::Access).await?;
    let payload = store::find_payload(desk.connection(), caller.country.as_str(), event_id).await?;
    let payload = payload.ok_or(StaffApiError::NotThere("payload"))?;
    let change = Change::new("read_payload", "pancake_event", &event_id.0);
    desk.commit(change).await?;
    Ok(answer::ok_text(payload))
}
