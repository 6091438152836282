//! `/pancake/sources`.

use axum::body::Body;
use axum::http::StatusCode;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{self, Answered, Page, PathOf, path_of};
use super::body::{BOOLEAN, Fields, boolean, text};
use super::caller::Caller;
use super::condition::{check, version_of};
use super::cursor::List;
use super::desk::{Action, Change};
use super::openapi::{BadBody, NoRow, NotThisVersion, Refusals};
use super::query::read_name;
use super::store::sources::{self as store, Source, SourceFilter};
use crate::app::SharedApp;
use crate::error::StaffApiError;

const LIST: List = List("sources");

pub(super) fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new()
        .routes(routes!(list_sources))
        .routes(routes!(change_source))
}

/// Where leads come from, by connection and id
///
/// A page that looks for those that are taken, or are not, looks at 10,000 sources, so that it may be short, or empty, and
/// still have a `next`.
#[utoipa::path(
    get,
    path = "/pancake/sources",
    tag = "pancake",
    params(
        ("connection" = Option<String>, Query, min_length = 1, max_length = 256, description = "Of this connection"),
        ("active" = Option<bool>, Query, description = "Only those that are taken, or are not"),
        ("limit" = Option<u8>, Query, minimum = 1, maximum = 200, description = "50 if not given"),
        ("cursor" = Option<String>, Query, min_length = 1, description = "`next` of the page before"),
    ),
    responses((status = 200, body = Page<Source>, description = "A page"), Refusals)
)]
async fn list_sources(caller: Caller) -> Answered {
    let parameters = caller.parameters(&["connection", "active", "limit", "cursor"])?;
    let limit = parameters.limit()?;
    let filter = SourceFilter {
        connection_id: parameters.name("connection")?,
        is_active: parameters.boolean("active")?,
        after: LIST.names(&parameters)?,
    };
    let mut desk = caller.desk_for(Action::Access).await?;
    let country = caller.country.as_str();
    let found = store::list(desk.connection(), country, filter, i64::from(limit) + 1).await?;
    desk.leave().await?;
    answer::ok(&Page::found(found, limit, Source::key, |key| {
        LIST.write_names(&key.0, &key.1)
    }))
}

/// What to change of a source: at least one of these.
#[derive(ToSchema)]
struct SourceChange {
    /// Whether its leads are taken.
    #[schema(required = false)]
    is_active: Option<bool>,
    /// What staff call it, at most 1024 bytes; null takes the name away.
    #[expect(
        clippy::option_option,
        reason = "not given, null and a name are three things"
    )]
    #[schema(required = false, value_type = Option<String>, min_length = 1, max_length = 1024)]
    name: Option<Option<String>>,
}

/// Changes a source
#[utoipa::path(
    patch,
    path = "/pancake/sources/{connection_id}/{source_id}",
    tag = "pancake",
    params(
        ("connection_id" = String, Path, example = "vn-main"),
        ("source_id" = String, Path, description = "Percent-encoded", example = "(none)"),
    ),
    request_body = SourceChange,
    responses(
        (status = 200, body = Source, description = "The source as it is now"),
        Refusals, NoRow, BadBody, NotThisVersion
    )
)]
async fn change_source(caller: Caller, path: PathOf<(String, String)>, body: Body) -> Answered {
    let (connection_id, source_id) = path_of(path)?;
    let names = read_name(&connection_id).zip(read_name(&source_id));
    let (connection_id, source_id) = names.ok_or(StaffApiError::NotThere("source"))?;
    caller.parameters(&[])?;
    let version = version_of(&caller.headers)?;
    let wanted = read_change(&caller.read(body).await?)?;
    let mut desk = caller.desk_for(Action::ManageSource).await?;
    let country = caller.country.as_str();
    let key = (connection_id.as_str(), source_id.as_str());
    let there = store::lock(desk.connection(), country, key).await?;
    let there = there.ok_or(StaffApiError::NotThere("source"))?;
    check(version, there.version)?;
    let name = wanted.name.unwrap_or_else(|| there.name.clone());
    let is_active = wanted.is_active.unwrap_or(there.is_active);
    let change = Change::new(
        "update",
        "pancake_source",
        &format!("{connection_id}/{source_id}"),
    )
    .field("is_active", there.is_active, is_active)
    .hidden("name", name != there.name);
    if change.is_empty() {
        desk.leave().await?;
        return answer::row(StatusCode::OK, there.version, &there);
    }
    let values = (name.as_deref(), is_active);
    let changed =
        store::update(desk.connection(), country, &there, values, &caller.subject).await?;
    desk.commit(change).await?;
    answer::row(StatusCode::OK, changed.version, &changed)
}

fn read_change(body: &[u8]) -> Result<SourceChange, StaffApiError> {
    let mut fields = Fields::parse_change(body)?;
    let is_active = fields.optional("is_active", BOOLEAN, boolean);
    let name = fields.optional(
        "name",
        "null, or 1 to 1024 bytes without control characters, is expected",
        |value| match value {
            Value::Null => Some(None),
            value => text(value, 1..=1024).map(Some),
        },
    );
    fields.finish()?;
    Ok(SourceChange { is_active, name })
}
