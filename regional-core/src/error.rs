//! The only map from errors to HTTP.
//!
//! The reader of these answers is the edge (and, through it, a person at a browser): it gets a fixed
//! text, never what happened inside. Why is in the log and in the metrics. Who reads or writes master data
//! is told what to change (`error/master_data.rs`, `error/auth.rs`), and so are staff (`error/staff_api.rs`).

mod auth;
mod document;
mod master_data;
mod staff_api;

use std::fmt;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use protocol::hop::HopError;
use protocol::sealed::OpenError;

pub use self::auth::AuthError;
pub use self::document::{FieldError, ProblemDocument};
pub use self::master_data::{MasterDataError, Missing};
pub use self::staff_api::{NotStaff, StaffApiError};

/// How long, in seconds, the edge should wait after a 503. Our restarts and PostgreSQL's take less.
const RETRY_AFTER_SECS: &str = "2";

/// What can go wrong with a request.
///
/// Of a record, nothing here reaches Pancake: whatever a core answers but 200, the edge keeps the record in its
/// spool, or answers 503 with `Retry-After` where none may wait. "Again" says whether the same request may succeed later.
///
/// | error | status | again? |
/// |---|---|---|
/// | [`AppError::BodyBroken`] | 400 | yes |
/// | [`AppError::Unauthorized`] | 401 | not with this signature |
/// | [`AppError::NotFound`] | 404 | no |
/// | [`AppError::MethodNotAllowed`] | 405 | no |
/// | [`AppError::BodyTimeout`] | 408 | yes |
/// | [`AppError::TooLarge`] | 413 | no |
/// | [`AppError::Misdirected`] | 421 | when the route is right |
/// | [`AppError::NotOpened`] | 422 | when the key is there |
/// | [`AppError::Internal`] | 500 | perhaps |
/// | [`AppError::Unavailable`] | 503 + `Retry-After` | yes |
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppError {
    /// The hop is not believed.
    #[error("unauthorized: {0}")]
    Unauthorized(HopRefusal),
    /// Rightly signed, but for another region or for a country that is not this region's.
    #[error("misdirected")]
    Misdirected,
    /// A record that waited at the edge cannot be opened, or what was sealed is not believed.
    #[error("not opened: {0}")]
    NotOpened(SealRefusal),
    /// No such path.
    #[error("not found")]
    NotFound,
    /// The path is there, the method is not.
    #[error("method not allowed")]
    MethodNotAllowed,
    /// The body is longer than [`protocol::BODY_LIMIT_BYTES`].
    #[error("too large")]
    TooLarge,
    /// The body did not arrive in time.
    #[error("body timeout")]
    BodyTimeout,
    /// The body broke off or is not HTTP.
    #[error("body broken")]
    BodyBroken,
    /// Nothing is lost, and nothing is promised: repeat it.
    #[error("unavailable: {0}")]
    Unavailable(Unavailability),
    /// A bug of ours or of our set-up.
    #[error("internal")]
    Internal,
}

/// Why a hop is not believed. The text is the label of the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HopRefusal {
    /// The protocol's verdict.
    #[error(transparent)]
    Hop(#[from] HopError),
    /// The path is not the one of the connection that was signed.
    #[error("connection_mismatch")]
    OtherConnection,
    /// A record's hop signs no query, so nobody vouches for this one.
    #[error("query_not_signed")]
    Query,
}

/// Why a record that waited at the edge is not taken. The text is the label of the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SealRefusal {
    /// It cannot be opened.
    #[error(transparent)]
    Open(OpenError),
    /// The hop that was sealed with it is not believed.
    #[error(transparent)]
    Hop(HopError),
}

/// Why a request cannot be served now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailability {
    /// The database is down, unreachable, or not ready for this version.
    #[error("database")]
    Database,
    /// The database did not answer in time. The row may still be committed.
    #[error("timeout")]
    Timeout,
    /// As many records wait as may.
    #[error("queue_full")]
    QueueFull,
    /// The process is about to end.
    #[error("shutting_down")]
    ShuttingDown,
}

impl AppError {
    /// Status and fixed text.
    fn answer(self) -> (StatusCode, &'static str) {
        match self {
            Self::Unauthorized(_) => (
                StatusCode::UNAUTHORIZED,
                "The request is not signed as the edge signs.",
            ),
            Self::Misdirected => (
                StatusCode::MISDIRECTED_REQUEST,
                "This core does not serve that region or country.",
            ),
            Self::NotOpened(_) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "The sealed record cannot be opened.",
            ),
            Self::NotFound => (StatusCode::NOT_FOUND, "There is nothing here."),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "This path does not take that method.",
            ),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "The body is larger than 1 MiB.",
            ),
            Self::BodyTimeout => (
                StatusCode::REQUEST_TIMEOUT,
                "The body did not arrive in time.",
            ),
            Self::BodyBroken => (StatusCode::BAD_REQUEST, "The body could not be read."),
            Self::Unavailable(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The service cannot answer now. Repeat the request.",
            ),
            Self::Internal => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "Something went wrong on our side.",
            ),
        }
    }
}

impl IntoResponse for AppError {
    fn into_response(self) -> Response {
        let (status, title) = self.answer();
        let mut response = Problem { status, title }.into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(
                header::RETRY_AFTER,
                HeaderValue::from_static(RETRY_AFTER_SECS),
            );
        }
        response
    }
}

/// A problem document (RFC 9457).
struct Problem {
    status: StatusCode,
    title: &'static str,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The titles are ours and hold nothing that JSON escapes; a test reads each of them.
        write!(
            formatter,
            r#"{{"type":"about:blank","title":"{}","status":{}}}"#,
            self.title,
            self.status.as_u16()
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (
            self.status,
            [(header::CONTENT_TYPE, "application/problem+json")],
            self.to_string(),
        )
            .into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_its_status_and_a_title_that_is_json() {
        for (error, status) in [
            (AppError::Unauthorized(HopRefusal::Query), 401),
            (AppError::Misdirected, 421),
            (
                AppError::NotOpened(SealRefusal::Open(OpenError::Broken)),
                422,
            ),
            (AppError::NotFound, 404),
            (AppError::MethodNotAllowed, 405),
            (AppError::TooLarge, 413),
            (AppError::BodyTimeout, 408),
            (AppError::BodyBroken, 400),
            (AppError::Unavailable(Unavailability::QueueFull), 503),
            (AppError::Internal, 500),
        ] {
            let (code, title) = error.answer();
            let problem: serde_json::Value = serde_json::from_str(
                &Problem {
                    status: code,
                    title,
                }
                .to_string(),
            )
            .unwrap();
            assert_eq!(
                problem,
                serde_json::json!({"type": "about:blank", "title": title, "status": status})
            );
        }
    }

    #[test]
    fn only_unavailable_asks_for_a_repetition_later() {
        let unavailable = AppError::Unavailable(Unavailability::Database).into_response();
        assert_eq!(unavailable.headers()[header::RETRY_AFTER], "2");
        let internal = AppError::Internal.into_response();
        assert!(!internal.headers().contains_key(header::RETRY_AFTER));
    }
}
