//! Whoever is not known, or may not.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::{AppError, ProblemDocument, Unavailability};
use crate::auth::TokenRefusal;

/// Why a caller is not let in. None of it quotes a token.
///
/// | error | status | `WWW-Authenticate` (RFC 6750) |
/// |---|---|---|
/// | [`AuthError::TokenMissing`] | 401 | `Bearer` |
/// | [`AuthError::TokenInvalid`] | 401 | `Bearer error="invalid_token"` |
/// | [`AuthError::RoleMissing`], [`AuthError::ScopeMissing`] | 403 | `Bearer error="insufficient_scope"` |
/// | [`AuthError::NotSetUp`], [`AuthError::NoKeys`] | 503 + `Retry-After` | |
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No token, or more than one.
    #[error("authorization: one bearer token is expected")]
    TokenMissing,
    /// A token that is not taken.
    #[error("the bearer token cannot be used: {0}")]
    TokenInvalid(TokenRefusal),
    /// The token is good, and its holder may not do this.
    #[error("the role {0} is needed")]
    RoleMissing(&'static str),
    /// The token is limited, and not to this.
    #[error("the token's scope lacks {0}")]
    ScopeMissing(&'static str),
    /// `CORE_JWKS` is not set.
    #[error("this core knows nobody: CORE_JWKS is not set")]
    NotSetUp,
    /// The keys are behind a URL that could not be read yet.
    #[error("this core has no keys yet: what CORE_JWKS names cannot be read")]
    NoKeys,
}

impl AuthError {
    fn answer(self) -> (StatusCode, &'static str, Option<&'static str>) {
        match self {
            Self::TokenMissing => (
                StatusCode::UNAUTHORIZED,
                "A bearer token is needed.",
                Some("Bearer"),
            ),
            Self::TokenInvalid(_) => (
                StatusCode::UNAUTHORIZED,
                "The bearer token cannot be used.",
                Some("Bearer error=\"invalid_token\""),
            ),
            Self::RoleMissing(_) | Self::ScopeMissing(_) => (
                StatusCode::FORBIDDEN,
                "The bearer token does not allow this.",
                Some("Bearer error=\"insufficient_scope\""),
            ),
            Self::NotSetUp | Self::NoKeys => {
                let (status, title) = AppError::Unavailable(Unavailability::Database).answer();
                (status, title, None)
            }
        }
    }

    pub(super) fn document(self) -> (StatusCode, ProblemDocument) {
        let (status, title, _) = self.answer();
        let detail = Some(self.to_string());
        (status, ProblemDocument::new(status, title, detail))
    }
}

impl IntoResponse for AuthError {
    fn into_response(self) -> Response {
        let (_, _, challenge) = self.answer();
        let (status, document) = self.document();
        let mut response = document.into_response(status);
        if let Some(challenge) = challenge {
            let challenge = HeaderValue::from_static(challenge);
            let headers = response.headers_mut();
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
