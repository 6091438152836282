//! What the endpoints have in common: the request's head, and the headers of the answer.
//!
//! An answer may be kept for a minute: what it says changes by the day or slower, and whoever must see a
//! change at once names its version token in `x-smp-min-seq`, which makes it another answer to a cache
//! (`Vary`).

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest, Sha256};
use time::{Date, UtcOffset};

use super::parse::{self, Parameters, invalid};
use super::snapshot::Snapshot;
use crate::app::SharedApp;
use crate::error::MasterDataError;

/// Up to which change of the hub the answer knows everything.
pub(super) const SEQ: HeaderName = HeaderName::from_static("x-smp-seq");
/// What it must at least know: the version token that a write in the hub was answered with.
pub(super) const MIN_SEQ: HeaderName = HeaderName::from_static("x-smp-min-seq");
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("public, max-age=60");
const VARY: HeaderValue = HeaderValue::from_static("x-smp-min-seq");
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The request, but for its path.
pub(super) struct Ask {
    app: SharedApp,
    query: Option<String>,
    headers: HeaderMap,
}

impl FromRequestParts<SharedApp> for Ask {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        app: &SharedApp,
    ) -> Result<Self, Self::Rejection> {
        Ok(Self {
            app: Arc::clone(app),
            query: parts.uri.query().map(str::to_owned),
            headers: parts.headers.clone(),
        })
    }
}

impl Ask {
    pub(super) fn parameters(
        &self,
        known: &'static [&'static str],
    ) -> Result<Parameters, MasterDataError> {
        Parameters::parse(self.query.as_deref(), known)
    }

    pub(super) fn today(&self) -> Date {
        self.app.clock.now().to_offset(UtcOffset::UTC).date()
    }

    /// What to answer from: at least as new as the request asks for.
    pub(super) async fn snapshot(&self) -> Result<Arc<Snapshot>, MasterDataError> {
        let mut values = self.headers.get_all(&MIN_SEQ).iter();
        let min_seq = values
            .next()
            // What is no text is no number either.
            .map(|value| parse::min_seq(value.to_str().unwrap_or_default()))
            .transpose()?;
        if values.next().is_some() {
            return Err(invalid("x-smp-min-seq", "given twice"));
        }
        self.app.master_data.at_least(min_seq).await
    }

    pub(super) fn answer(&self, snapshot: &Snapshot, answer: &impl Serialize) -> Answered {
        let body = serde_json::to_vec(answer).map_err(|_| MasterDataError::Internal)?;
        self.told(snapshot, &etag_of(&body), body)
    }

    /// One row, whose `ETag` is its version, as `If-Match` takes it.
    pub(super) fn answer_row(
        &self,
        snapshot: &Snapshot,
        row_version: i64,
        row: &impl Serialize,
    ) -> Answered {
        let body = serde_json::to_vec(row).map_err(|_| MasterDataError::Internal)?;
        self.told(snapshot, &row_etag(row_version), body)
    }

    fn told(&self, snapshot: &Snapshot, etag: &str, body: Vec<u8>) -> Answered {
        let mut response = self.cached(etag, body)?;
        response
            .headers_mut()
            .insert(SEQ, HeaderValue::from(snapshot.seq));
        Ok(response)
    }

    /// The body, or 304 if the caller has it.
    pub(super) fn cached(&self, etag: &str, body: impl Into<Bytes>) -> Answered {
        let mut response = if self.has(etag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            ([(header::CONTENT_TYPE, JSON)], body.into()).into_response()
        };
        let etag = HeaderValue::from_str(etag).map_err(|_| MasterDataError::Internal)?;
        let headers = response.headers_mut();
        headers.insert(header::ETAG, etag);
        headers.insert(header::CACHE_CONTROL, CACHE_CONTROL);
        headers.insert(header::VARY, VARY);
        Ok(response)
    }

    /// `If-None-Match` (RFC 9110 section 13.1.2), which compares weakly. No `ETag` of ours has a comma.
    fn has(&self, etag: &str) -> bool {
        self.headers
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == etag)
    }
}

/// A row's version rises with each change and is its own, so it stands for what is answered of the row.
pub(super) fn row_etag(row_version: i64) -> String {
    format!("\"{row_version}\"")
}

/// Strong, so a hash of the bytes.
pub(super) fn etag_of(body: &[u8]) -> String {
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(Sha256::digest(body)))
}

pub(super) type Answered = Result<Response, MasterDataError>;
pub(super) type PathOf<T> = Result<Path<T>, PathRejection>;

pub(super) fn path_of<T>(path: PathOf<T>) -> Result<T, MasterDataError> {
    path.map(|Path(path)| path)
        .map_err(|_| invalid("path", "UTF-8 is expected, percent-encoded"))
}
