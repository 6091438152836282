//! What can go wrong with a request of staff.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::{AppError, AuthError, FieldError, ProblemDocument, Unavailability};

/// What can go wrong with a request of staff. The reader is the person at the screen, or who writes that
/// screen, so the answer says what to change. None of it quotes what was sent.
///
/// | error | status | again? |
/// |---|---|---|
/// | [`StaffApiError::Invalid`], [`StaffApiError::BodyBroken`] | 400 | no |
/// | [`StaffApiError::Auth`] | 401, 403, 503 | see [`AuthError`] |
/// | [`StaffApiError::NotHere`], [`StaffApiError::NotStaff`], [`StaffApiError::NotAllowed`], [`StaffApiError::NotForRole`] | 403 | once somebody allows it |
/// | [`StaffApiError::NotThere`] | 404 | no |
/// | [`StaffApiError::Conflict`] | 409 | once the other is gone |
/// | [`StaffApiError::Stale`] | 412 | with the current version |
/// | [`StaffApiError::BodyTooLarge`] | 413 | no |
/// | [`StaffApiError::Refused`] | 422 | no |
/// | [`StaffApiError::Unconditional`] | 428 | with a condition |
/// | [`StaffApiError::Internal`] | 500 | perhaps |
/// | [`StaffApiError::Unavailable`], [`StaffApiError::Uncertain`] | 503 + `Retry-After` | yes |
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StaffApiError {
    /// A part of the request cannot be used.
    #[error("{field}: {reason}")]
    Invalid {
        /// Which.
        field: &'static str,
        /// The limit that it does not keep to.
        reason: &'static str,
    },
    /// Who asks is not known, or has none of the roles.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The token is not for this country, or for none of this region's.
    #[error("countries: the token is for no country that is asked for here")]
    NotHere,
    /// The token's subject does not work in this country.
    #[error("{0}")]
    NotStaff(NotStaff),
    /// What the role may do is in `module_permission_action`.
    #[error("the action {action} of {module} is not allowed to the role {role}")]
    NotAllowed {
        /// Of what.
        module: &'static str,
        /// Which action.
        action: &'static str,
        /// Who asks.
        role: &'static str,
    },
    /// Only some roles may do this.
    #[error("{0}")]
    NotForRole(&'static str),
    /// There is nothing of this key that the caller may see.
    #[error("there is no such {0}, or it is not yours to see")]
    NotThere(&'static str),
    /// Another row is in the way.
    #[error("{0}")]
    Conflict(&'static str),
    /// The row is not the one that the request was made for.
    #[error("the row is there in version {current_version}")]
    Stale {
        /// The version of the one that is there.
        current_version: i64,
    },
    /// The request does not say which version it is made for.
    #[error("if-match: \"<version>\" is expected, as the ETag of the row has it")]
    Unconditional,
    /// Fields of the body cannot be as they were sent.
    #[error("{}", list(.0))]
    Refused(Vec<FieldError>),
    /// More than any request needs.
    #[error("the body is larger than 64 KiB")]
    BodyTooLarge,
    /// The body did not arrive.
    #[error("the body did not arrive whole, or not in time")]
    BodyBroken,
    /// A bug of ours.
    #[error("internal")]
    Internal,
    /// The database did not answer, or not in time, before anything was committed.
    #[error("the database does not answer, or not in time: nothing was changed")]
    Unavailable,
    /// The same while a change was being committed.
    #[error("the database does not answer, or not in time: a change may be there all the same")]
    Uncertain,
}

/// Why somebody with a good token does not work here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotStaff {
    /// No row in `staff`.
    #[error(
        "nobody with this token's subject works in this country: an admin adds them to the staff"
    )]
    Missing,
    /// A row that is not active.
    #[error("this token's subject does not work in this country any more")]
    Inactive,
}

fn list(errors: &[FieldError]) -> String {
    let lines: Vec<_> = errors
        .iter()
        .map(|error| format!("{}: {}", error.field, error.message))
        .collect();
    lines.join("; ")
}

impl StaffApiError {
    fn document(&self) -> (StatusCode, ProblemDocument) {
        let (status, title) = match self {
            Self::Auth(error) => return error.document(),
            Self::Invalid { .. } => (
                StatusCode::BAD_REQUEST,
                "A part of the request cannot be used.",
            ),
            Self::NotHere | Self::NotStaff(_) | Self::NotAllowed { .. } | Self::NotForRole(_) => {
                (StatusCode::FORBIDDEN, "You may not do this.")
            }
            Self::NotThere(_) => (StatusCode::NOT_FOUND, "There is nothing here for you."),
            Self::Conflict(_) => (StatusCode::CONFLICT, "Something else is in the way."),
            Self::Stale { .. } => (
                StatusCode::PRECONDITION_FAILED,
                "The row is not the one that the request is for.",
            ),
            Self::Unconditional => (
                StatusCode::PRECONDITION_REQUIRED,
                "The request does not say which version of the row it is for.",
            ),
            Self::Refused(_) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "The body cannot be as it was sent.",
            ),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "The body is too large."),
            Self::BodyBroken => AppError::BodyBroken.answer(),
            Self::Internal => AppError::Internal.answer(),
            Self::Unavailable | Self::Uncertain => {
                AppError::Unavailable(Unavailability::Database).answer()
            }
        };
        let detail = (*self != Self::Internal).then(|| self.to_string());
        let mut document = ProblemDocument::new(status, title, detail);
        match self {
            Self::Invalid { field, .. } => document.field = Some(field),
            Self::Stale { current_version } => document.current_version = Some(*current_version),
            Self::Refused(errors) => document.errors.clone_from(errors),
            _ => {}
        }
        (status, document)
    }
}

impl IntoResponse for StaffApiError {
    fn into_response(self) -> Response {
        if let Self::Auth(error) = self {
            return error.into_response();
        }
        let (status, document) = self.document();
        document.into_response(status)
    }
}
