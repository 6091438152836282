//! `/pancake/connections`.

use axum::body::Body;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{self, Answered, Page, PathOf, path_of};
use super::body::{Fields, text};
use super::caller::Caller;
use super::condition::{check, version_of};
use super::cursor::List;
use super::desk::{Action, Change};
use super::openapi::{BadBody, NoRow, NotThisVersion, Refusals};
use super::query::read_name;
use super::store::connections::{self as store, Connection, StatusChange};
use crate::app::SharedApp;
use crate::error::StaffApiError;

const LIST: List = List("connections");
const STATUSES: [&str; 3] = ["active", "suspended", "disabled"];

pub(super) fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new()
        .routes(routes!(list_connections))
        .routes(routes!(show_connection, change_connection))
}

/// Connections to Pancake, by id
#[utoipa::path(
    get,
    path = "/pancake/connections",
    tag = "pancake",
    params(
        ("limit" = Option<u8>, Query, minimum = 1, maximum = 200, description = "50 if not given"),
        ("cursor" = Option<String>, Query, min_length = 1, description = "`next` of the page before"),
    ),
    responses((status = 200, body = Page<Connection>, description = "A page"), Refusals)
)]
async fn list_connections(caller: Caller) -> Answered {
    let parameters = caller.parameters(&["limit", "cursor"])?;
    let limit = parameters.limit()?;
    let (after, _) = LIST.names(&parameters)?.unwrap_or_default();
    let mut desk = caller.desk_for(Action::Access).await?;
    let country = caller.country.as_str();
    let items = store::list(desk.connection(), country, &after, i64::from(limit) + 1).await?;
    desk.leave().await?;
    answer::ok(&Page::new(items, limit, |last| {
        LIST.write_names(&last.connection_id, "")
    }))
}

/// A connection, and how its status changed.
#[derive(Serialize, ToSchema)]
struct ConnectionDetail {
    #[serde(flatten)]
    connection: Connection,
    /// The last 50 changes, the latest first.
    history: Vec<StatusChange>,
}

/// One connection
#[utoipa::path(
    get,
    path = "/pancake/connections/{connection_id}",
    tag = "pancake",
    params(("connection_id" = String, Path, example = "vn-main")),
    responses((status = 200, body = ConnectionDetail, description = "The connection"), Refusals, NoRow)
)]
async fn show_connection(caller: Caller, path: PathOf<String>) -> Answered {
    let connection_id = name_in_path(path)?;
    caller.parameters(&[])?;
    let mut desk = caller.desk_for(Action::Access).await?;
    let country = caller.country.as_str();
    let connection = store::find(desk.connection(), country, &connection_id).await?;
    let connection = connection.ok_or(StaffApiError::NotThere("connection"))?;
    let history = store::history(desk.connection(), country, &connection_id).await?;
    desk.leave().await?;
    let version = connection.version;
    let detail = ConnectionDetail {
        connection,
        history,
    };
    answer::row(StatusCode::OK, version, &detail)
}

/// A new status.
#[derive(ToSchema)]
struct ConnectionChange {
    /// `active`, `suspended` or `disabled`.
    #[schema(example = "disabled", pattern = "^(active|suspended|disabled)$")]
    status: String,
    /// Why: 1 to 1024 bytes, no customer's data. It is kept in the history.
    #[schema(
        min_length = 1,
        max_length = 1024,
        example = "moved to another workspace"
    )]
    reason: String,
}

/// Changes a connection's status
#[utoipa::path(
    patch,
    path = "/pancake/connections/{connection_id}",
    tag = "pancake",
    params(("connection_id" = String, Path, example = "vn-main")),
    request_body = ConnectionChange,
    responses(
        (status = 200, body = Connection, description = "The connection as it is now"),
        Refusals, NoRow, BadBody, NotThisVersion
    )
)]
async fn change_connection(caller: Caller, path: PathOf<String>, body: Body) -> Answered {
    let connection_id = name_in_path(path)?;
    caller.parameters(&[])?;
    let version = version_of(&caller.headers)?;
    let wanted = read_change(&caller.read(body).await?)?;
    let mut desk = caller.desk_for(Action::ManageConnection).await?;
    let country = caller.country.as_str();
    let there = store::lock(desk.connection(), country, &connection_id).await?;
    let there = there.ok_or(StaffApiError::NotThere("connection"))?;
    check(version, there.version)?;
    let change = Change::new("update", "pancake_connection", &connection_id).field(
        "status",
        there.status.as_str(),
        wanted.status.as_str(),
    );
    if change.is_empty() {
        desk.leave().await?;
        return answer::row(StatusCode::OK, there.version, &there);
    }
    let status = (wanted.status.as_str(), wanted.reason.as_str());
    let connection = desk.connection();
    let changed =
        store::set_status(connection, country, &connection_id, status, &caller.subject).await?;
    desk.commit(change).await?;
    answer::row(StatusCode::OK, changed.version, &changed)
}

fn read_change(body: &[u8]) -> Result<ConnectionChange, StaffApiError> {
    let mut fields = Fields::parse_change(body)?;
    let status = fields.required(
        "status",
        "active, suspended or disabled is expected",
        |value| text(value, 1..=16).filter(|status| STATUSES.contains(&status.as_str())),
    );
    let reason = fields.required(
        "reason",
        "1 to 1024 bytes without control characters are expected",
        |value| text(value, 1..=1024),
    );
    fields.finish()?;
    match (status, reason) {
        (Some(status), Some(reason)) => Ok(ConnectionChange { status, reason }),
        _ => Err(StaffApiError::Internal),
    }
}

fn name_in_path(path: PathOf<String>) -> Result<String, StaffApiError> {
    read_name(&path_of(path)?).ok_or(StaffApiError::NotThere("connection"))
}
