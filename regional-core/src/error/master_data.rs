//! What can go wrong with master data.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use protocol::RegionId;
use time::Date;

use super::{AppError, AuthError, FieldError, ProblemDocument, Unavailability};

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
///
/// And, to whoever writes:
///
/// | error | status | again? |
/// |---|---|---|
/// | [`MasterDataError::Auth`] | 401, 403, 503 | see [`AuthError`] |
/// | [`MasterDataError::NotTheHub`], [`MasterDataError::InUse`] | 409 | no |
/// | [`MasterDataError::Stale`] | 412 | with the current version |
/// | [`MasterDataError::BodyTooLarge`] | 413 | no |
/// | [`MasterDataError::Refused`] | 422 | no |
/// | [`MasterDataError::Unconditional`] | 428 | with a condition |
/// | [`MasterDataError::NoEditor`], [`MasterDataError::Unavailable`] | 503 + `Retry-After` | yes |
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
    /// Who writes is not known, or may not.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// Master data is only read here.
    #[error(
        "this is region {region}, which has a copy: write through a core of the hub, the region with \
         role = \"hub\" in infra/regions"
    )]
    NotTheHub {
        /// This core's region.
        region: RegionId,
    },
    /// The hub's core has no login by which it may write.
    #[error("this core cannot write: CORE_EDITOR_DATABASE_URL is not set")]
    NoEditor,
    /// The row cannot be as it was sent.
    #[error("{}", list(.0))]
    Refused(Vec<FieldError>),
    /// The row is not the one that the request was made for.
    #[error("{}", stale(*.current_version))]
    Stale {
        /// The version of the one that is there.
        current_version: Option<i64>,
    },
    /// The request does not say which version it is made for.
    #[error(
        "if-match: \"<row_version>\" is expected, or if-none-match: * for a row that is not there yet"
    )]
    Unconditional,
    /// Other rows refer to the one that should be deleted.
    #[error("rows of {by} refer to it")]
    InUse {
        /// The table and the column.
        by: &'static str,
    },
    /// More than a row can be.
    #[error("the body is larger than 64 KiB")]
    BodyTooLarge,
    /// The body did not arrive.
    #[error("the body did not arrive whole, or not in time")]
    BodyBroken,
    /// The database did not answer, or not in time. The change may be there all the same.
    #[error("the database does not answer, or not in time: the change may be there all the same")]
    Unavailable,
}

fn list(errors: &[FieldError]) -> String {
    let errors = errors.iter();
    let lines: Vec<_> = errors
        .map(|error| format!("{}: {}", error.field, error.message))
        .collect();
    lines.join("; ")
}

fn stale(current_version: Option<i64>) -> String {
    current_version.map_or_else(
        || "there is no such row; if-none-match: * makes one".to_owned(),
        |version| format!("the row is there in version {version}"),
    )
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
    /// The row of this very key.
    #[error("there is no row of this key in {table}")]
    Row {
        /// The table.
        table: &'static str,
    },
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
            Self::Absent | Self::NoEditor | Self::Unavailable => {
                AppError::Unavailable(Unavailability::Database).answer()
            }
            Self::Internal => AppError::Internal.answer(),
            Self::Auth(error) => return error.document(),
            Self::NotTheHub { .. } => (
                StatusCode::CONFLICT,
                "Master data is written in the hub only.",
            ),
            Self::Refused(_) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "The row cannot be as it was sent.",
            ),
            Self::Stale { .. } => (
                StatusCode::PRECONDITION_FAILED,
                "The row is not the one that the request is for.",
            ),
            Self::Unconditional => (
                StatusCode::PRECONDITION_REQUIRED,
                "The request does not say which version of the row it is for.",
            ),
            Self::InUse { .. } => (StatusCode::CONFLICT, "Other rows refer to this one."),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "The body is too large."),
            Self::BodyBroken => AppError::BodyBroken.answer(),
        };
        let detail = (*self != Self::Internal).then(|| self.to_string());
        let mut document = ProblemDocument::new(status, title, detail);
        match self {
            Self::Invalid { field, .. } => document.field = Some(field),
            Self::Behind { seq, .. } => document.current_seq = Some(*seq),
            Self::Stale { current_version } => document.current_version = *current_version,
            Self::Refused(errors) => document.errors.clone_from(errors),
            _ => {}
        }
        (status, document)
    }
}

impl IntoResponse for MasterDataError {
    fn into_response(self) -> Response {
        if let Self::Auth(error) = self {
            return error.into_response();
        }
        let (status, document) = self.document();
        document.into_response(status)
    }
}
