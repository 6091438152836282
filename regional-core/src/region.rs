//! `GET /api/region`: where a route leads, for ops who have just flipped one.

use axum::extract::{Extension, State};
use axum::http::header;
use axum::response::{IntoResponse, Json, Response};
use protocol::hop::VerifiedProxied;
use protocol::{Country, RegionId};
use serde::Serialize;

use crate::app::SharedApp;

#[derive(Serialize)]
struct RegionAnswer<'a> {
    /// This core's region.
    region: &'a RegionId,
    /// All that it serves.
    countries: Vec<Country>,
    /// The one that this request was routed by.
    country: Country,
    /// The version of the route table that said so.
    route_version: u32,
}

/// Says which core answered, and under which route.
pub(crate) async fn show(
    State(app): State<SharedApp>,
    Extension(hop): Extension<VerifiedProxied>,
) -> Response {
    let answer = Json(RegionAnswer {
        region: app.guard.region(),
        countries: app.guard.countries().iter().copied().collect(),
        country: hop.country,
        route_version: hop.route_version,
    });
    // A cache would show the route as it was before the flip.
    ([(header::CACHE_CONTROL, "no-store")], answer).into_response()
}
