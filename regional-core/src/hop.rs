//! From an HTTP request to the question that [`protocol::hop`] answers.
//!
//! A covered header counts only if it is there exactly once and is visible ASCII; anything else is as
//! good as absent. Method, path and query are taken as they stood on the wire.

use std::collections::BTreeSet;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use protocol::hop::{
    self, HopError, HopKey, HopKeys, ReceivedHeaders, Target, VerifiedProxied, VerifiedRecord,
};
use protocol::sealed::{self, Opened, OpeningKey, SealingKey};
use protocol::{Country, RegionId, UnixSeconds};
use tracing::{debug, warn};

use crate::app::SharedApp;
use crate::clock::unix_seconds;
use crate::error::{AppError, HopRefusal, SealRefusal};

/// Whom a core believes, and whom it serves.
#[derive(Debug)]
pub struct HopGuard {
    keys: HopKeys,
    waited: WaitedKeys,
    region: RegionId,
    countries: BTreeSet<Country>,
}

/// What it takes to believe a record that waited at the edge.
#[derive(Debug, Default)]
pub struct WaitedKeys {
    /// They open the seal.
    pub opening: Vec<OpeningKey>,
    /// The hop's, live and retired: it was signed when it was sealed.
    pub signing: Vec<HopKey>,
}

impl HopGuard {
    /// A guard that believes these keys and serves these countries of this region.
    #[must_use]
    pub fn new(
        keys: HopKeys,
        waited: WaitedKeys,
        region: RegionId,
        countries: BTreeSet<Country>,
    ) -> Self {
        Self {
            keys,
            waited,
            region,
            countries,
        }
    }

    /// The region served.
    #[must_use]
    pub fn region(&self) -> &RegionId {
        &self.region
    }

    /// The countries served.
    #[must_use]
    pub fn countries(&self) -> &BTreeSet<Country> {
        &self.countries
    }

    /// The names of the hop's live keys.
    pub fn hop_keyids(&self) -> impl Iterator<Item = &str> {
        self.keys.keyids()
    }

    /// To what a record may be sealed that this core is to open: public halves.
    pub fn sealing_keys(&self) -> impl Iterator<Item = SealingKey> {
        self.waited.opening.iter().map(OpeningKey::sealing_key)
    }

    /// Whether a record's head is rightly signed, when its body is not there yet.
    ///
    /// The signature covers the body's digest and not the body, so all but the body can be judged.
    /// This keeps anybody but the edge from making a core buffer a large body.
    pub(crate) fn verify_head(&self, parts: &Parts, now: UnixSeconds) -> Result<(), HopRefusal> {
        match self.verify_record(parts, b"", now) {
            Ok(_) | Err(HopRefusal::Hop(HopError::WrongDigest)) => Ok(()),
            Err(refusal) => Err(refusal),
        }
    }

    /// Believes a record, or says why not.
    pub(crate) fn verify_record<'p>(
        &self,
        parts: &'p Parts,
        body: &[u8],
        now: UnixSeconds,
    ) -> Result<VerifiedRecord<'p>, HopRefusal> {
        if parts.uri.query().is_some() {
            return Err(HopRefusal::Query);
        }
        let record = hop::verify_record(
            &self.keys,
            target(parts),
            received_headers(&parts.headers),
            body,
            now,
        )?;
        let signed_for_this_path = parts
            .uri
            .path()
            .strip_prefix("/v1/pancake/")
            .and_then(|rest| rest.strip_suffix("/records"))
            == Some(record.connection.as_str());
        if signed_for_this_path {
            Ok(record)
        } else {
            Err(HopRefusal::OtherConnection)
        }
    }

    /// As [`HopGuard::verify_head`], of a sealed record.
    pub(crate) fn verify_sealed_head(
        &self,
        parts: &Parts,
        now: UnixSeconds,
    ) -> Result<(), HopRefusal> {
        match hop::verify_sealed(
            &self.keys,
            target(parts),
            received_headers(&parts.headers),
            b"",
            now,
        ) {
            Ok(_) | Err(HopError::WrongDigest) => Ok(()),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Believes that the edge sent a sealed record, and opens it. What is inside is not judged yet.
    pub(crate) fn open(
        &self,
        parts: &Parts,
        sealed: &[u8],
        now: UnixSeconds,
    ) -> Result<Opened, AppError> {
        let headers = received_headers(&parts.headers);
        let region = hop::verify_sealed(&self.keys, target(parts), headers, sealed, now)
            .map_err(|error| AppError::Unauthorized(error.into()))?;
        if region != self.region {
            return Err(AppError::Misdirected);
        }
        sealed::open(&self.waited.opening, sealed)
            .map_err(|error| AppError::NotOpened(SealRefusal::Open(error)))
    }

    /// Believes the hop that was sealed with a record.
    pub(crate) fn verify_opened<'o>(
        &self,
        opened: &'o Opened,
    ) -> Result<VerifiedRecord<'o>, AppError> {
        opened
            .verify(&self.waited.signing)
            .map_err(|error| AppError::NotOpened(SealRefusal::Hop(error)))
    }

    /// Whether this core is where a believed request belongs.
    pub(crate) fn check_destination(
        &self,
        country: Country,
        region: &RegionId,
    ) -> Result<(), AppError> {
        if *region == self.region && self.countries.contains(&country) {
            Ok(())
        } else {
            Err(AppError::Misdirected)
        }
    }

    fn verify_proxied(
        &self,
        parts: &Parts,
        now: UnixSeconds,
    ) -> Result<VerifiedProxied, HopRefusal> {
        Ok(hop::verify_proxied(
            &self.keys,
            target(parts),
            received_headers(&parts.headers),
            now,
        )?)
    }
}

/// Lets a proxied request on only if its hop is believed and its country is ours. Handlers behind it
/// find the [`VerifiedProxied`] among the request's extensions.
pub(crate) async fn require_proxied_hop(
    State(app): State<SharedApp>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let now = unix_seconds(app.clock.now());
    match app.guard.verify_proxied(&parts, now) {
        Ok(hop) => {
            if let Err(error) = app.guard.check_destination(hop.country, &hop.region) {
                warn!(hop.country = %hop.country, "proxied request is for another core");
                return error.into_response();
            }
            parts.extensions.insert(hop);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(refusal) => {
            app.metrics.count_hop_refusal(refusal);
            // Anybody can bring this about: a warning would let them flood the log. The metric tells ops.
            debug!(hop.refusal = %refusal, "proxied request is not signed as the edge signs");
            AppError::Unauthorized(refusal).into_response()
        }
    }
}

fn target(parts: &Parts) -> Target<'_> {
    Target {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query(),
    }
}

fn received_headers(headers: &HeaderMap) -> ReceivedHeaders<'_> {
    ReceivedHeaders {
        country: only(headers, hop::COUNTRY),
        region: only(headers, hop::REGION),
        connection: only(headers, hop::CONNECTION),
        verdict: only(headers, hop::VERDICT),
        route_version: only(headers, hop::ROUTE_VERSION),
        content_digest: only(headers, hop::CONTENT_DIGEST),
        signature_input: only(headers, hop::SIGNATURE_INPUT),
        signature: only(headers, hop::SIGNATURE),
    }
}

/// A header's value, if the header is there exactly once and is visible ASCII.
fn only<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    value.to_str().ok()
}
