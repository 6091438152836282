//! Who asks, as what, and for which country.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use bytes::Bytes;
use http_body_util::LengthLimitError;
use protocol::Country;
use protocol::hop::VerifiedProxied;
use tokio::time::timeout;

use super::deadline::Deadline;
use super::query::{Parameters, invalid};
use super::value::Role;
use crate::app::SharedApp;
use crate::auth::Principal;
use crate::error::{AuthError, StaffApiError};

/// What a token that is limited by a scope must be good for.
const SCOPE: &str = "crm";
const ROLES: &str = "admin, manager or telesale";
/// For which country, at the core itself. Behind the hop it is the hop's.
pub(super) const COUNTRY: HeaderName = HeaderName::from_static("x-country-code");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Several times the largest body, a name of 1 KiB in which each letter is escaped.
const BODY_MAX_BYTES: usize = 64 * 1024;

/// Somebody with a good token and one of the roles, and the request's head. Nothing of a request is looked
/// at before that is known.
pub(super) struct Caller {
    pub(super) app: SharedApp,
    pub(super) subject: String,
    pub(super) role: Role,
    pub(super) country: Country,
    pub(super) request_id: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) deadline: Deadline,
    /// Whether the request is for a change.
    pub(super) changes: bool,
    query: Option<String>,
}

impl FromRequestParts<SharedApp> for Caller {
    type Rejection = StaffApiError;

    async fn from_request_parts(
        parts: &mut Parts,
        app: &SharedApp,
    ) -> Result<Self, Self::Rejection> {
        let principal = Principal::from_request_parts(parts, app).await?;
        let role = Role::ALL
            .into_iter()
            .find(|role| principal.has_role(role.as_str()))
            .ok_or(AuthError::RoleMissing(ROLES))?;
        principal.require(role.as_str(), SCOPE)?;
        let countries: BTreeSet<Country> = principal
            .countries()
            .intersection(app.guard.countries())
            .copied()
            .collect();
        let country = match parts.extensions.get::<VerifiedProxied>() {
            Some(hop) => Some(hop.country),
            None => named_country(&parts.headers)?,
        };
        let deadline = parts.extensions.get::<Deadline>().cloned();
        let deadline = deadline.ok_or(StaffApiError::Internal)?;
        Ok(Self {
            app: Arc::clone(app),
            subject: principal.subject().to_owned(),
            role,
            country: choose(&countries, country)?,
            request_id: request_id(&parts.headers),
            headers: parts.headers.clone(),
            deadline,
            changes: !parts.method.is_safe(),
            query: parts.uri.query().map(str::to_owned),
        })
    }
}

impl Caller {
    pub(super) fn parameters(
        &self,
        known: &'static [&'static str],
    ) -> Result<Parameters, StaffApiError> {
        Parameters::parse(self.query.as_deref(), known)
    }

    /// Refuses whoever is less than a manager.
    pub(super) fn require_office(&self) -> Result<(), StaffApiError> {
        if self.role >= Role::Manager {
            Ok(())
        } else {
            Err(StaffApiError::NotForRole("this is for managers and admins"))
        }
    }

    pub(super) async fn read(&self, body: Body) -> Result<Bytes, StaffApiError> {
        let patience = self.app.config.http.body_timeout;
        let read = timeout(patience, to_bytes(body, BODY_MAX_BYTES)).await;
        let read = read.map_err(|_| StaffApiError::BodyBroken)?;
        read.map_err(|error| match error.source() {
            Some(cause) if cause.is::<LengthLimitError>() => StaffApiError::BodyTooLarge,
            _ => StaffApiError::BodyBroken,
        })
    }
}

/// The one country of a request.
fn choose(countries: &BTreeSet<Country>, named: Option<Country>) -> Result<Country, StaffApiError> {
    let mut allowed = countries.iter();
    match (named, allowed.next(), allowed.next()) {
        (Some(country), ..) if countries.contains(&country) => Ok(country),
        (Some(_), ..) | (None, None, _) => Err(StaffApiError::NotHere),
        (None, Some(only), None) => Ok(*only),
        (None, Some(_), Some(_)) => Err(invalid(
            "x-country-code",
            "the token is for several countries of this region: one must be named",
        )),
    }
}

fn named_country(headers: &HeaderMap) -> Result<Option<Country>, StaffApiError> {
    let refusal = || invalid("x-country-code", "one ISO 3166-1 alpha-2 code is expected");
    let mut values = headers.get_all(COUNTRY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let country = value
        .to_str()
        .ok()
        .and_then(|code| Country::parse(code).ok());
    match (country, values.next()) {
        (Some(country), None) => Ok(Some(country)),
        _ => Err(refusal()),
    }
}

/// What a proxy called the request, if that fits the audit trail.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    (1..=128).contains(&id.len()).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_for_one_country_of_the_token() {
        let country = |code: &str| Country::parse(code).unwrap();
        let set = |codes: &[&str]| codes.iter().map(|code| country(code)).collect();
        let both = set(&["SG", "VN"]);
        assert_eq!(choose(&both, Some(country("VN"))), Ok(country("VN")));
        assert_eq!(choose(&set(&["SG"]), None), Ok(country("SG")));
        assert_eq!(
            choose(&both, Some(country("TH"))),
            Err(StaffApiError::NotHere)
        );
        assert_eq!(choose(&set(&[]), None), Err(StaffApiError::NotHere));
        assert!(matches!(
            choose(&both, None),
            Err(StaffApiError::Invalid { .. })
        ));
    }
}
