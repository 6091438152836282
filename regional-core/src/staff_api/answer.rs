//! What the endpoints have in common: the answer.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::query::invalid;
use super::store::walk::Found;
use crate::error::StaffApiError;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

pub(super) type Answered = Result<Response, StaffApiError>;
pub(super) type PathOf<T> = Result<Path<T>, PathRejection>;

pub(super) fn path_of<T>(path: PathOf<T>) -> Result<T, StaffApiError> {
    path.map(|Path(path)| path)
        .map_err(|_| invalid("path", "UTF-8 is expected, percent-encoded"))
}

/// A part of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page<T> {
    /// In a stable order; at most `limit`. There may be fewer, or none, although `next` is there.
    pub(super) items: Vec<T>,
    /// For `cursor`: where the list goes on. Null at its end.
    pub(super) next: Option<String>,
}

impl<T> Page<T> {
    /// Of `limit` and one more item, if there is one; `cursor` writes where an item stands.
    pub(super) fn new(mut items: Vec<T>, limit: u8, cursor: impl FnOnce(&T) -> String) -> Self {
        let limit = usize::from(limit);
        let goes_on = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| goes_on).map(cursor);
        Self { items, next }
    }

    /// Of rows that were found by looking at so many at most.
    pub(super) fn found<P>(
        found: Found<T, P>,
        limit: u8,
        place: impl FnOnce(&T) -> P,
        cursor: impl Fn(P) -> String,
    ) -> Self {
        let mut page = Self::new(found.items, limit, |last| cursor(place(last)));
        if page.next.is_none() {
            page.next = found.looked_until.map(cursor);
        }
        page
    }
}

pub(super) fn ok(answer: &impl Serialize) -> Answered {
    Ok(ok_text(json(answer)?))
}

/// What is JSON already.
pub(super) fn ok_text(body: impl IntoResponse) -> Response {
    respond(StatusCode::OK, JSON, body)
}

/// One row, whose version is its `ETag`.
pub(super) fn row(status: StatusCode, version: i64, row: &impl Serialize) -> Answered {
    let mut response = respond(status, JSON, json(row)?);
    let etag = HeaderValue::from_str(&format!("\"{version}\""));
    let etag = etag.map_err(|_| StaffApiError::Internal)?;
    response.headers_mut().insert(header::ETAG, etag);
    Ok(response)
}

pub(super) fn created(answer: &impl Serialize) -> Answered {
    Ok(respond(StatusCode::CREATED, JSON, json(answer)?))
}

fn json(answer: &impl Serialize) -> Result<Vec<u8>, StaffApiError> {
    serde_json::to_vec(answer).map_err(|_| StaffApiError::Internal)
}

/// Personal data is for nobody's cache, and for no guess at what it is.
fn respond(status: StatusCode, content_type: HeaderValue, body: impl IntoResponse) -> Response {
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}
