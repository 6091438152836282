//! `/tickets/{ticket_id}/assignment`.

use axum::body::Body;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{self, Answered, PathOf, path_of};
use super::body::{Fields, refused};
use super::caller::Caller;
use super::desk::Change;
use super::openapi::{BadBody, InTheWay, NoRow, Refusals};
use super::store::assignments::{self as store, Given};
use super::store::tickets;
use super::value::Id;
use crate::app::SharedApp;
use crate::error::StaffApiError;

pub(super) fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new().routes(routes!(assign_ticket))
}

/// Whom to give a ticket.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "it describes the body, which `read_staff_id` reads"
)]
struct AssignmentRequest {
    /// Somebody who works in this country.
    staff_id: Id,
}

/// Gives a ticket to somebody, by hand
///
/// Whether they have room for it is not asked, but told. They are notified. It costs them no turn of the
/// automatic distribution. To whom it belongs already, it stays.
#[utoipa::path(
    post,
    path = "/tickets/{ticket_id}/assignment",
    tag = "tickets",
    params(("ticket_id" = String, Path, format = "uuid")),
    request_body = AssignmentRequest,
    responses(
        (status = 201, body = Given, description = "It is theirs"),
        (status = 200, body = Given, description = "It was theirs already; nobody is notified"),
        Refusals, NoRow, BadBody, InTheWay
    )
)]
async fn assign_ticket(caller: Caller, path: PathOf<String>, body: Body) -> Answered {
    caller.require_office()?;
    let ticket_id = Id::parse("ticket_id", &path_of(path)?)?;
    caller.parameters(&[])?;
    let staff_id = read_staff_id(&caller.read(body).await?)?;
    let mut desk = caller.desk().await?;
    let country = caller.country.as_str();
    let ticket = tickets::lock(desk.connection(), country, ticket_id).await?;
    let ticket = ticket.ok_or(StaffApiError::NotThere("ticket"))?;
    if ticket.status == "closed" {
        return Err(StaffApiError::Conflict(
            "the ticket is closed: open it again first",
        ));
    }
    match store::is_active(desk.connection(), country, staff_id).await? {
        Some(true) => {}
        Some(false) => return Err(refused("staff_id", "they do not work here any more")),
        None => {
            return Err(refused(
                "staff_id",
                "nobody of this id works in this country",
            ));
        }
    }
    if ticket.assignee_id == Some(staff_id) {
        let given = store::given(desk.connection(), country, ticket_id).await?;
        desk.leave().await?;
        return answer::ok(&given);
    }
    let whom = (ticket_id, staff_id);
    store::assign(desk.connection(), country, whom, &caller.subject).await?;
    let given = store::given(desk.connection(), country, ticket_id).await?;
    let name = |id: Option<Id>| id.map(|id| id.0.to_string());
    let change = Change::new("assign", "ticket", &ticket_id.0).field(
        "assignee_id",
        name(ticket.assignee_id),
        name(Some(staff_id)),
    );
    desk.commit(change).await?;
    answer::created(&given)
}

fn read_staff_id(body: &[u8]) -> Result<Id, StaffApiError> {
    let mut fields = Fields::parse(body)?;
    let staff_id = fields.required("staff_id", "a UUID with its hyphens is expected", |value| {
        Id::read(value.as_str()?)
    });
    fields.finish()?;
    staff_id.ok_or(StaffApiError::Internal)
}
