//! What admins, managers and telesales see and change, as JSON: `/v1/crm/…` and `/v1/jobs` at the core itself, and
//! the same below `/api` behind the edge's hop. One list of handlers for both.
//!
//! A request acts for one country. Its transaction becomes `core_staff` and says for whom it asks, and
//! row-level security (migration 0012) shows it no other country's rows, and a telesale only their own
//! tickets: a handler that forgot a `where` would leak nothing. Each change is written together with its row
//! in `audit_log`.
//!
//! - `caller`: who asks, for which country;
//! - `desk`: the transaction, which cannot be committed without saying what was changed;
//! - `deadline`: how long a request may be at it;
//! - `query`, `body`, `condition`, `cursor`, `value`: what a request may say. Pure;
//! - `language`: the text of a notification. Pure;
//! - `answer`, `openapi`: what the endpoints have in common;
//! - `store`: the SQL, a file for each kind of row; the other files are the endpoints.
//!
//! No customer's name, phone number or address goes to a URL, a log, a metric or the audit trail.

#![expect(
    clippy::struct_field_names,
    reason = "fields are called as their columns are"
)]

mod absences;
mod answer;
mod assignments;
mod body;
mod caller;
mod condition;
mod connections;
mod cursor;
mod deadline;
mod desk;
mod events;
mod jobs;
mod language;
mod notifications;
mod openapi;
mod query;
mod rejected;
mod replays;
mod reports;
mod sources;
mod staff;
mod store;
mod switches;
mod tickets;
mod value;

use std::sync::LazyLock;

use axum::Router;
use axum::middleware::from_fn;
use axum::response::Response;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::openapi::Description;
use crate::app::SharedApp;

/// Where it is at the core.
const PREFIX: &str = "/v1";
/// Where it is behind the edge's hop.
const PROXIED_PREFIX: &str = "/api/v1";

fn described() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new()
        .nest("/crm", crm())
        .merge(jobs::routes())
}

fn crm() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new()
        .merge(connections::routes())
        .merge(sources::routes())
        .merge(switches::routes())
        .merge(events::routes())
        .merge(rejected::routes())
        .merge(replays::routes())
        .merge(tickets::routes())
        .merge(assignments::routes())
        .merge(staff::routes())
        .merge(absences::routes())
        .merge(notifications::routes())
        .merge(reports::routes())
        .merge(jobs::crm_routes())
        .routes(routes!(show_description))
}

/// The routes at the core itself.
pub fn router() -> Router<SharedApp> {
    router_at(PREFIX)
}

/// The same routes, for the check of the hop to stand before.
pub fn proxied_router() -> Router<SharedApp> {
    router_at(PROXIED_PREFIX)
}

fn router_at(prefix: &str) -> Router<SharedApp> {
    let routes = described().split_for_parts().0;
    Router::new().nest(prefix, routes.route_layer(from_fn(deadline::hold)))
}

/// The `OpenAPI` document of the routes, which is made from the same list as they.
#[must_use]
pub fn description() -> utoipa::openapi::OpenApi {
    let router = OpenApiRouter::with_openapi(Description::openapi()).nest(PREFIX, described());
    let mut description = router.split_for_parts().1;
    openapi::complete(&mut description);
    description
}

/// This document
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "description",
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json"))
)]
async fn show_description() -> Response {
    static DESCRIPTION: LazyLock<String> =
        LazyLock::new(|| description().to_json().unwrap_or_default());
    answer::ok_text(DESCRIPTION.as_str())
}
