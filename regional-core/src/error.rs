//! The only map from errors to HTTP.
//!
//! The reader of these answers is the edge (and, through it, a person at a browser): it gets a fixed
//! text, never what happened inside. Why is in the log and in the metrics.

use std::fmt;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use protocol::hop::HopError;
use serde::Serialize;
use time::Date;
use utoipa::ToSchema;

/// How long, in seconds, the edge should wait after a 503. Our restarts and PostgreSQL's take less.
const RETRY_AFTER_SECS: &str = "2";

/// What can go wrong with a request.
///
/// Of a record, nothing here reaches Pancake: whatever a core answers but 200, the edge answers 503 with
/// `Retry-After`. "Again" says whether the same request may succeed later.
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

/// What can go wrong with a request for master data. Unlike the edge, its reader is a program of the
/// region or the person who writes it, so the answer says what to change.
///
/// | error | status | again? |
/// |---|---|---|
/// | [`MasterDataError::Invalid`] | 400 | no |
/// | [`MasterDataError::NotThere`] | 404 | once it is written |
/// | [`MasterDataError::Behind`] | 409 | yes |
/// | [`MasterDataError::Absent`] | 503 + `Retry-After` | yes |
/// | [`MasterDataError::Internal`] | 500 | perhaps |
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MasterDataError {
    /// A field of the request cannot be used.
    #[error("{field}: {reason}")]
    Invalid {
        /// Which.
        field: &'static str,
        /// The limit that it does not keep to.
        reason: &'static str,
    },
    /// Nothing is known of it.
    #[error("{0}")]
    NotThere(Missing),
    /// Not as new as asked for, and not within the time that a request may wait.
    #[error("x-smp-min-seq: master data is at {seq}, and {min_seq} was asked for")]
    Behind {
        /// Where it is.
        seq: i64,
        /// Where it should be.
        min_seq: i64,
    },
    /// No master data is loaded: the schema is not there, or the database has not answered yet.
    #[error("no master data is loaded")]
    Absent,
    /// A bug of ours.
    #[error("internal")]
    Internal,
}

/// What nothing is known of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// A country.
    #[error("{field}: there is no country {code}")]
    Country {
        /// Where it was named.
        field: &'static str,
        /// The code.
        code: String,
    },
    /// A currency.
    #[error("{field}: there is no currency {code}")]
    Currency {
        /// Where it was named.
        field: &'static str,
        /// The code.
        code: String,
    },
    /// A rate of this pair on this day.
    #[error("there is no rate from {base} to {quote} on {on}")]
    Rate {
        /// From.
        base: String,
        /// To.
        quote: String,
        /// The day.
        on: Date,
    },
    /// A tax on this day.
    #[error("there is no {kind} of category {category} in {country} on {on}")]
    Tax {
        /// The country.
        country: String,
        /// Which tax.
        kind: String,
        /// Which of its rates.
        category: String,
        /// The day.
        on: Date,
    },
    /// Any text of a namespace in a locale, its fallbacks included.
    #[error(
        "namespace: there is no text in {namespace}, neither for {locale} nor for its fallbacks"
    )]
    Namespace {
        /// The namespace.
        namespace: String,
        /// The locale.
        locale: String,
    },
}

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
    field: Option<&'static str>,
    /// With 409: where master data is.
    #[serde(skip_serializing_if = "Option::is_none")]
    current_seq: Option<i64>,
}

impl MasterDataError {
    fn document(&self) -> (StatusCode, ProblemDocument) {
        let (status, title) = match self {
            Self::Invalid { .. } => (
                StatusCode::BAD_REQUEST,
                "A part of the request cannot be used.",
            ),
            Self::NotThere(_) => (StatusCode::NOT_FOUND, "There is no such master data."),
            Self::Behind { .. } => (
                StatusCode::CONFLICT,
                "Master data is not as new as was asked for.",
            ),
            Self::Absent => AppError::Unavailable(Unavailability::Database).answer(),
            Self::Internal => AppError::Internal.answer(),
        };
        let document = ProblemDocument {
            kind: "about:blank",
            title,
            status: status.as_u16(),
            detail: (*self != Self::Internal).then(|| self.to_string()),
            field: match self {
                Self::Invalid { field, .. } => Some(field),
                _ => None,
            },
            current_seq: match self {
                Self::Behind { seq, .. } => Some(*seq),
                _ => None,
            },
        };
        (status, document)
    }
}

impl IntoResponse for MasterDataError {
    fn into_response(self) -> Response {
        let (status, document) = self.document();
        let Ok(document) = serde_json::to_vec(&document) else {
            return AppError::Internal.into_response();
        };
        let content_type = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (status, content_type, document).into_response();
        // A cache must not keep what the next notification may change.
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(
                header::RETRY_AFTER,
                HeaderValue::from_static(RETRY_AFTER_SECS),
            );
        }
        response
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
