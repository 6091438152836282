//! `/tickets`.

use axum::body::Body;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{self, Answered, Page, PathOf, path_of};
use super::body::Fields;
use super::caller::Caller;
use super::condition::{check, version_of};
use super::cursor::{List, Place};
use super::desk::Change;
use super::openapi::{BadBody, InTheWay, NoRow, NotThisVersion, Refusals};
use super::query::{Parameters, invalid};
use super::store::tickets::{self as store, Account, Assignment, Contact, Ticket, TicketFilter};
use super::store::walk::Found;
use super::value::{Id, Role};
use crate::app::SharedApp;
use crate::error::StaffApiError;

const LIST: List = List("tickets");
const STATUSES: [&str; 3] = ["open", "in_progress", "closed"];
const STATUS_EXPECTED: &str = "open, in_progress or closed is expected";

pub(super) fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new()
        .routes(routes!(list_tickets))
        .routes(routes!(show_ticket, change_ticket))
}

fn read_status(name: &str) -> Option<&'static str> {
    STATUSES.into_iter().find(|known| *known == name)
}

/// Tickets, the latest first
///
/// A telesale sees their own. A page that looks for a status, a source, or for what is somebody's or nobody's, looks at
/// 10,000 tickets, so that it may be short, or empty, and still have a `next`.
#[utoipa::path(
    get,
    path = "/tickets",
    tag = "tickets",
    params(
        ("status" = Option<String>, Query, description = "`open`, `in_progress` or `closed`"),
        ("assignee" = Option<String>, Query, description = "A staff id, or `me`"),
        ("unassigned" = Option<bool>, Query, description = "Only those that are nobody's, or somebody's"),
        ("source" = Option<String>, Query, min_length = 1, max_length = 256, description = "Of this ticket source", example = "ticket_source_pancake"),
        ("limit" = Option<u8>, Query, minimum = 1, maximum = 200, description = "50 if not given"),
        ("cursor" = Option<String>, Query, min_length = 1, description = "`next` of the page before"),
    ),
    responses((status = 200, body = Page<Ticket>, description = "A page"), Refusals)
)]
async fn list_tickets(caller: Caller) -> Answered {
    let parameters = caller.parameters(&[
        "status",
        "assignee",
        "unassigned",
        "source",
        "limit",
        "cursor",
    ])?;
    let limit = parameters.limit()?;
    let mut filter = TicketFilter {
        status: parameters.read("status", STATUS_EXPECTED, read_status)?,
        assignee_id: None,
        is_unassigned: parameters.boolean("unassigned")?,
        source_id: parameters.name("source")?,
        before: LIST.place(&parameters)?,
    };
    let assignee = read_assignee(&parameters)?;
    let mut desk = caller.desk().await?;
    let own = desk.staff_id;
    let is_telesale = caller.role == Role::Telesale;
    filter.assignee_id = match assignee {
        Some(Assignee::Me) => Some(own.ok_or(invalid(
            "assignee",
            "me is nobody: the token's subject is not on the staff",
        ))?),
        Some(Assignee::Somebody(id)) => Some(id),
        // Row-level security leaves no others, but looks at them all: no index finds its "or".
        None if is_telesale => own,
        None => None,
    };
    let found = if is_telesale && filter.assignee_id != own {
        Found::nothing()
    } else {
        let country = caller.country.as_str();
        store::list(desk.connection(), country, &filter, i64::from(limit) + 1).await?
    };
    desk.leave().await?;
    let place = |last: &Ticket| Place {
        at: last.created_at,
        id: last.ticket_id,
    };
    answer::ok(&Page::found(found, limit, place, |place| {
        LIST.write_place(place)
    }))
}

enum Assignee {
    Me,
    Somebody(Id),
}

fn read_assignee(parameters: &Parameters) -> Result<Option<Assignee>, StaffApiError> {
    let expected = "me, or a UUID with its hyphens, is expected";
    parameters.read("assignee", expected, |text| {
        if text == "me" {
            Some(Assignee::Me)
        } else {
            Id::read(text).map(Assignee::Somebody)
        }
    })
}

/// A ticket with all that belongs to it.
#[derive(Serialize, ToSchema)]
struct TicketDetail {
    #[serde(flatten)]
    ticket: Ticket,
    account: Option<Account>,
    contact: Option<Contact>,
    /// The last 50, the latest first.
    assignments: Vec<Assignment>,
}

/// One ticket, with its customer
#[utoipa::path(
    get,
    path = "/tickets/{ticket_id}",
    tag = "tickets",
    params(("ticket_id" = String, Path, format = "uuid")),
    responses((status = 200, body = TicketDetail, description = "The ticket"), Refusals, NoRow)
)]
async fn show_ticket(caller: Caller, path: PathOf<String>) -> Answered {
    let ticket_id = Id::parse("ticket_id", &path_of(path)?)?;
    caller.parameters(&[])?;
    let mut desk = caller.desk().await?;
    let country = caller.country.as_str();
    let ticket = store::find(desk.connection(), country, ticket_id).await?;
    let ticket = ticket.ok_or(StaffApiError::NotThere("ticket"))?;
    let account = store::find_account(desk.connection(), country, &ticket).await?;
    let contact = store::find_contact(desk.connection(), country, &ticket).await?;
    let assignments = store::assignments(desk.connection(), country, ticket_id).await?;
    desk.leave().await?;
    let version = ticket.version;
    let detail = TicketDetail {
        ticket,
        account,
        contact,
        assignments,
    };
    answer::row(StatusCode::OK, version, &detail)
}

/// A new status.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes the body, which `read_change` reads")]
struct TicketChange {
    /// `open`, `in_progress` or `closed`.
    #[schema(example = "in_progress", pattern = "^(open|in_progress|closed)$")]
    status: String,
}

/// Changes a ticket's status
///
/// For the telesale whose ticket it is, managers and admins. A closed one may be opened again.
#[utoipa::path(
    patch,
    path = "/tickets/{ticket_id}",
    tag = "tickets",
    params(("ticket_id" = String, Path, format = "uuid")),
    request_body = TicketChange,
    responses(
        (status = 200, body = Ticket, description = "The ticket as it is now"),
        Refusals, NoRow, BadBody, NotThisVersion, InTheWay
    )
)]
async fn change_ticket(caller: Caller, path: PathOf<String>, body: Body) -> Answered {
    let ticket_id = Id::parse("ticket_id", &path_of(path)?)?;
    caller.parameters(&[])?;
    let version = version_of(&caller.headers)?;
    let status = read_change(&caller.read(body).await?)?;
    let mut desk = caller.desk().await?;
    let country = caller.country.as_str();
    let there = store::lock(desk.connection(), country, ticket_id).await?;
    let there = there.ok_or(StaffApiError::NotThere("ticket"))?;
    check(version, there.version)?;
    let change = Change::new("update", "ticket", &ticket_id.0).field(
        "status",
        there.status.as_str(),
        status,
    );
    if change.is_empty() {
        desk.leave().await?;
        return answer::row(StatusCode::OK, there.version, &there);
    }
    let changed = store::set_status(desk.connection(), country, ticket_id, status).await?;
    desk.commit(change).await?;
    answer::row(StatusCode::OK, changed.version, &changed)
}

fn read_change(body: &[u8]) -> Result<&'static str, StaffApiError> {
    let mut fields = Fields::parse_change(body)?;
    let status = fields.required("status", STATUS_EXPECTED, |value| {
        read_status(value.as_str()?)
    });
    fields.finish()?;
    status.ok_or(StaffApiError::Internal)
}
