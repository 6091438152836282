//! `/pancake/connections`.

use axum::body::Body;
use axum::http::StatusCode;
use protocol::connection::ConnectionId;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{self, Answered, Page, PathOf, path_of};
use super::body::{Fields, text};
use super::caller::Caller;
use super::condition::{check, version_of};
use super::cursor::List;
use super::desk::{Action, Change};
use super::openapi::{BadBody, InTheWay, NoRow, NotThisVersion, Refusals};
use super::query::read_name;
use super::store::connections::{self as store, Connection, StatusChange};
use crate::api_keys;
use crate::app::SharedApp;
use crate::error::StaffApiError;

const LIST: List = List("connections");
const STATUSES: [&str; 3] = ["active", "suspended", "disabled"];

pub(super) fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new()
        .routes(routes!(list_connections, add_connection))
        .routes(routes!(show_connection, change_connection))
        .routes(routes!(put_api_key, delete_api_key))
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

/// A new connection.
#[derive(ToSchema)]
struct NewConnection {
    /// Its id at the edge: 1 to 64 lower-case letters, digits and hyphens.
    #[schema(
        min_length = 1,
        max_length = 64,
        pattern = "^[a-z0-9-]+$",
        example = "vn-main"
    )]
    connection_id: String,
    /// Its number in Pancake, by which the core asks for what webhooks did not bring: 1 to 256 bytes.
    #[schema(required = false, min_length = 1, max_length = 256)]
    workspace: Option<String>,
}

/// Adds a connection, which is active
///
/// One that is there already is left as it is, and answered 409: somebody added it, or a record came by it.
#[utoipa::path(
    post,
    path = "/pancake/connections",
    tag = "pancake",
    request_body = NewConnection,
    responses(
        (status = 201, body = Connection, description = "The connection"),
        Refusals, BadBody, InTheWay
    )
)]
async fn add_connection(caller: Caller, body: Body) -> Answered {
    caller.require_office()?;
    caller.parameters(&[])?;
    let new = read_new(&caller.read(body).await?)?;
    let mut desk = caller.desk_for(Action::ManageConnection).await?;
    let (country, connection_id) = (caller.country.as_str(), new.connection_id.as_str());
    let workspace = new.workspace.as_deref();
    let added = store::insert(desk.connection(), country, connection_id, workspace).await?;
    let status = (added.status.as_str(), Some("added"));
    let subject = &caller.subject;
    store::note_status(desk.connection(), country, connection_id, status, subject).await?;
    let change = Change::new("create", "pancake_connection", connection_id)
        .set("status", added.status.as_str())
        .hidden("workspace", workspace.is_some());
    desk.commit(change).await?;
    answer::row(StatusCode::CREATED, added.version, &added)
}

fn read_new(body: &[u8]) -> Result<NewConnection, StaffApiError> {
    let mut fields = Fields::parse(body)?;
    let connection_id = fields.required(
        "connection_id",
        "1 to 64 lower-case letters, digits and hyphens are expected",
        |value| ConnectionId::parse(value.as_str()?).ok(),
    );
    let workspace = fields.optional(
        "workspace",
        "1 to 256 bytes without control characters are expected",
        |value| text(value, 1..=256),
    );
    fields.finish()?;
    let connection_id = connection_id.ok_or(StaffApiError::Internal)?.to_string();
    Ok(NewConnection {
        connection_id,
        workspace,
    })
}

/// What to change of a connection: its status together with why, its workspace, or both.
#[derive(ToSchema)]
struct ConnectionChange {
    /// `active`, `suspended` or `disabled`.
    #[schema(
        required = false,
        example = "disabled",
        pattern = "^(active|suspended|disabled)$"
    )]
    status: Option<String>,
    /// Why: 1 to 1024 bytes, no customer's data. It is kept in the history. Given with a status, and only then.
    #[schema(
        required = false,
        min_length = 1,
        max_length = 1024,
        example = "moved to another workspace"
    )]
    reason: Option<String>,
    /// Its number in Pancake, at most 256 bytes; null takes it away, and nothing is asked for.
    #[expect(
        clippy::option_option,
        reason = "not given, null and a name are three things"
    )]
    #[schema(required = false, value_type = Option<String>, min_length = 1, max_length = 256)]
    workspace: Option<Option<String>>,
}

/// Changes a connection's status or workspace
///
/// What is received by a connection after it was disabled is kept and not processed: it becomes
/// `skipped_source_disabled`, from the next batch on. What was received before is processed all the same. Once the
/// connection is active again, a replay brings back what was skipped. `suspended` is a note, and stops nothing.
///
/// Of another workspace nothing was read yet: the watermarks and gaps of the one before are forgotten, and the next poll
/// begins anew.
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
    let status = wanted.status.as_deref().unwrap_or(&there.status);
    let workspace = wanted.workspace.unwrap_or_else(|| there.workspace.clone());
    let change = Change::new("update", "pancake_connection", &connection_id)
        .field("status", there.status.as_str(), status)
        .hidden("workspace", workspace != there.workspace);
    if change.is_empty() {
        desk.leave().await?;
        return answer::row(StatusCode::OK, there.version, &there);
    }
    if status != there.status {
        let noted = (status, wanted.reason.as_deref());
        let subject = &caller.subject;
        store::note_status(desk.connection(), country, &connection_id, noted, subject).await?;
    }
    let values = (workspace.as_deref(), status);
    let changed = store::update(desk.connection(), country, &connection_id, values).await?;
    if workspace != there.workspace {
        store::forget_watermarks(desk.connection(), country, &connection_id).await?;
    }
    desk.commit(change).await?;
    answer::row(StatusCode::OK, changed.version, &changed)
}

fn read_change(body: &[u8]) -> Result<ConnectionChange, StaffApiError> {
    let mut fields = Fields::parse_change(body)?;
    let (mut status, mut reason) = (None, None);
    if fields.has("status") || fields.has("reason") {
        status = fields.required(
            "status",
            "active, suspended or disabled is expected",
            |value| text(value, 1..=16).filter(|status| STATUSES.contains(&status.as_str())),
        );
        reason = fields.required(
            "reason",
            "1 to 1024 bytes without control characters are expected",
            |value| text(value, 1..=1024),
        );
    }
    let workspace = fields.optional(
        "workspace",
        "null, or 1 to 256 bytes without control characters, is expected",
        |value| match value {
            Value::Null => Some(None),
            value => text(value, 1..=256).map(Some),
        },
    );
    fields.finish()?;
    Ok(ConnectionChange {
        status,
        reason,
        workspace,
    })
}

/// A key of Pancake's REST interface.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "it describes the body, which `read_api_key` reads"
)]
struct ApiKey {
    /// 1 to 1024 printable ASCII characters. It is kept sealed, and nobody is shown it.
    #[schema(min_length = 1, max_length = 1024, pattern = "^[!-~]+$")]
    api_key: String,
}

/// Gives a connection its API key, in place of the one before
#[utoipa::path(
    put,
    path = "/pancake/connections/{connection_id}/api-key",
    tag = "pancake",
    params(("connection_id" = String, Path, example = "vn-main")),
    request_body = ApiKey,
    responses(
        (status = 200, body = Connection, description = "The connection as it is now"),
        Refusals, NoRow, BadBody, InTheWay
    )
)]
async fn put_api_key(caller: Caller, path: PathOf<String>, body: Body) -> Answered {
    let connection_id = name_in_path(path)?;
    caller.parameters(&[])?;
    let api_key = read_api_key(&caller.read(body).await?)?;
    let keys = caller.app.at_rest.as_ref().ok_or(StaffApiError::Conflict(
        "api_key: this core has no key to keep it by (CORE_AT_REST_KEYS)",
    ))?;
    let connection = (caller.country.as_str(), connection_id.as_str());
    let sealed = api_keys::seal(keys, connection, api_key.expose_secret());
    let sealed = sealed.map_err(|_| StaffApiError::Internal)?;
    set_api_key(&caller, &connection_id, Some(&sealed)).await
}

/// Takes a connection's API key away
#[utoipa::path(
    delete,
    path = "/pancake/connections/{connection_id}/api-key",
    tag = "pancake",
    params(("connection_id" = String, Path, example = "vn-main")),
    responses(
        (status = 200, body = Connection, description = "The connection as it is now"),
        Refusals, NoRow
    )
)]
async fn delete_api_key(caller: Caller, path: PathOf<String>) -> Answered {
    let connection_id = name_in_path(path)?;
    caller.parameters(&[])?;
    set_api_key(&caller, &connection_id, None).await
}

async fn set_api_key(caller: &Caller, connection_id: &str, sealed: Option<&[u8]>) -> Answered {
    let mut desk = caller.desk_for(Action::ManageConnection).await?;
    let country = caller.country.as_str();
    let there = store::lock(desk.connection(), country, connection_id).await?;
    let there = there.ok_or(StaffApiError::NotThere("connection"))?;
    let change = Change::new("update", "pancake_connection", connection_id)
        .hidden("api_key", sealed.is_some() || there.has_api_key);
    if change.is_empty() {
        desk.leave().await?;
        return answer::row(StatusCode::OK, there.version, &there);
    }
    let changed = store::set_api_key(desk.connection(), country, connection_id, sealed).await?;
    desk.commit(change).await?;
    answer::row(StatusCode::OK, changed.version, &changed)
}

fn read_api_key(body: &[u8]) -> Result<SecretString, StaffApiError> {
    let mut fields = Fields::parse(body)?;
    let api_key = fields.required(
        "api_key",
        "1 to 1024 printable ASCII characters are expected",
        |value| {
            let text = value.as_str()?;
            let is_key = text.len() <= 1_024 && text.bytes().all(|byte| byte.is_ascii_graphic());
            (is_key && !text.is_empty()).then(|| SecretString::from(text))
        },
    );
    fields.finish()?;
    api_key.ok_or(StaffApiError::Internal)
}

fn name_in_path(path: PathOf<String>) -> Result<String, StaffApiError> {
    read_name(&path_of(path)?).ok_or(StaffApiError::NotThere("connection"))
}
