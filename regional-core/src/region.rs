//! `GET /api/region`: where a route leads, for ops who have just flipped one. `GET /v1/keys`: which keys are in
//! force, for `smpctl rotate`; it takes a hop too, and the edge lets nobody through to it.

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
    /// The name of the key by which the edge signed it.
    hop_key: &'a str,
}

#[derive(Serialize)]
struct KeysAnswer<'a> {
    /// This core's region.
    region: &'a RegionId,
    /// The names of the keys by which a hop is believed.
    hop_keys: Vec<&'a str>,
    /// To what the edge may seal: public halves.
    sealing_keys: Vec<String>,
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
        hop_key: &hop.keyid,
    });
    // A cache would show the route as it was before the flip.
    ([(header::CACHE_CONTROL, "no-store")], answer).into_response()
}

/// Says which keys are in force. Names and public halves only.
pub(crate) async fn show_keys(State(app): State<SharedApp>) -> Response {
    let answer = Json(KeysAnswer {
        region: app.guard.region(),
        hop_keys: app.guard.hop_keyids().collect(),
        sealing_keys: app
            .guard
            .sealing_keys()
            .map(|key| key.to_string())
            .collect(),
    });
    ([(header::CACHE_CONTROL, "no-store")], answer).into_response()
}
