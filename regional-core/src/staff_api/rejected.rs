//! `/pancake/rejected-requests`.

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{self, Answered, Page, PathOf, path_of};
use super::caller::Caller;
use super::cursor::{List, Place};
use super::desk::Action;
use super::openapi::{NoRow, Refusals};
use super::store::rejected::{self as store, RejectedRequest};
use super::value::Id;
use crate::app::SharedApp;
use crate::error::StaffApiError;

const LIST: List = List("rejected");

pub(super) fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new()
        .routes(routes!(list_rejected_requests))
        .routes(routes!(show_rejected_request))
}

/// Requests of Pancake's that were no records, the latest first
#[utoipa::path(
    get,
    path = "/pancake/rejected-requests",
    tag = "pancake",
    params(
        ("limit" = Option<u8>, Query, minimum = 1, maximum = 200, description = "50 if not given"),
        ("cursor" = Option<String>, Query, min_length = 1, description = "`next` of the page before"),
    ),
    responses((status = 200, body = Page<RejectedRequest>, description = "A page"), Refusals)
)]
async fn list_rejected_requests(caller: Caller) -> Answered {
    let parameters = caller.parameters(&["limit", "cursor"])?;
    let limit = parameters.limit()?;
    let before = LIST.place(&parameters)?;
    let mut desk = caller.desk_for(Action::Access).await?;
    let country = caller.country.as_str();
    let items = store::list(desk.connection(), country, before, i64::from(limit) + 1).await?;
    desk.leave().await?;
    answer::ok(&Page::new(items, limit, |last| {
        LIST.write_place(Place {
            at: last.received_at,
            id: last.rejected_id,
        })
    }))
}

/// One request that was no record, without its body
#[utoipa::path(
    get,
    path = "/pancake/rejected-requests/{rejected_id}",
    tag = "pancake",
    params(("rejected_id" = String, Path, format = "uuid")),
    responses((status = 200, body = RejectedRequest, description = "The request"), Refusals, NoRow)
)]
async fn show_rejected_request(caller: Caller, path: PathOf<String>) -> Answered {
    let rejected_id = Id::parse("rejected_id", &path_of(path)?)?;
    caller.parameters(&[])?;
    let mut desk = caller.desk_for(Action::Access).await?;
    let rejected = store::find(desk.connection(), caller.country.as_str(), rejected_id).await?;
    desk.leave().await?;
    answer::ok(&rejected.ok_or(StaffApiError::NotThere("rejected request"))?)
}
