//! From a request's head to its [`Principal`].

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use tracing::debug;

use super::Principal;
use crate::app::SharedApp;
use crate::clock::unix_seconds;
use crate::error::AuthError;

impl FromRequestParts<SharedApp> for Principal {
    type Rejection = AuthError;

    async fn from_request_parts(
        parts: &mut Parts,
        app: &SharedApp,
    ) -> Result<Self, Self::Rejection> {
        let authenticator = app.authenticator.as_ref().ok_or(AuthError::NotSetUp)?;
        let token = bearer(&parts.headers).ok_or(AuthError::TokenMissing)?;
        let now = unix_seconds(app.clock.now());
        let outcome = authenticator.authenticate(token, now).await;
        if let Err(error) = &outcome {
            // Anybody can bring this about: a warning would let them flood the log.
            debug!(auth.refusal = %error, "a token is refused");
        }
        outcome
    }
}

/// The token of the one `Authorization: Bearer …`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let is_only_bearer = values.next().is_none() && scheme.eq_ignore_ascii_case("bearer");
    is_only_bearer.then(|| token.trim_matches(' '))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_token_is_there_once_and_of_the_bearer_scheme() {
        let found = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
            }
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(found(&["Bearer a.b.c"]).as_deref(), Some("a.b.c"));
        assert_eq!(found(&["bearer  a.b.c"]).as_deref(), Some("a.b.c"));
        for values in [
            &[][..],
            &["Basic a.b.c"],
            &["a.b.c"],
            &["Bearer"],
            &["Bearer a.b.c", "Bearer a.b.c"],
        ] {
            assert_eq!(found(values), None, "{values:?}");
        }
    }
}
