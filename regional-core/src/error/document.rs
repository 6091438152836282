//! What an answer says to a program of the region, or to the person who writes it.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::{AppError, RETRY_AFTER_SECS};

/// A problem document (RFC 9457) that says what to change.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemDocument {
    /// Always `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    #[schema(example = "about:blank")]
    kind: &'static str,
    /// What kind of problem it is, the same text each time.
    title: &'static str,
    /// The status of the answer.
    #[schema(example = 400)]
    status: u16,
    /// What is wrong here, naming the field and the limit.
    #[schema(example = "amount: at most 15 digits before the point and 4 after it")]
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// With 400: the parameter or header to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) field: Option<&'static str>,
    /// With 422: all that is wrong with the row.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) errors: Vec<FieldError>,
    /// With 409: where master data is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) current_seq: Option<i64>,
    /// With 412: the version of the row that is there, for `If-Match`. Absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) current_version: Option<i64>,
}

/// A field of a row that cannot be as it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Which.
    #[schema(example = "rate")]
    pub field: String,
    /// The limit that it does not keep to.
    #[schema(example = "it must be given")]
    pub message: &'static str,
}

impl ProblemDocument {
    pub(super) fn new(status: StatusCode, title: &'static str, detail: Option<String>) -> Self {
        Self {
            kind: "about:blank",
            title,
            status: status.as_u16(),
            detail,
            field: None,
            errors: Vec::new(),
            current_seq: None,
            current_version: None,
        }
    }

    pub(super) fn into_response(self, status: StatusCode) -> Response {
        let Ok(document) = serde_json::to_vec(&self) else {
            return AppError::Internal.into_response();
        };
        let content_type = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (status, content_type, document).into_response();
        let headers = response.headers_mut();
        // A cache must not keep what the next notification may change.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let retry_after = HeaderValue::from_static(RETRY_AFTER_SECS);
            headers.insert(header::RETRY_AFTER, retry_after);
        }
        response
    }
}
