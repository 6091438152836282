//! A bearer token (RFC 7519) becomes a [`Principal`], or is refused. Pure.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use protocol::{Country, UnixSeconds};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::jwks::{Algorithm, KeySet};
use crate::error::AuthError;

/// The longest token: half of what a request's head may hold.
const TOKEN_MAX_BYTES: usize = 8192;
/// The longest `sub`: it goes to the log and to the database's session.
const SUBJECT_MAX_BYTES: usize = 128;
/// How far the issuer's clock may be from ours.
const LEEWAY_SECS: i64 = 30;
/// How long a token may be good for: there is no other way to take one back.
const LIFETIME_MAX_SECS: i64 = 3600;

/// Whose tokens are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// `iss`, to the letter.
    pub issuer: String,
    /// What `aud` is, or has among others.
    pub audience: String,
}

/// Why a token is not taken. Quotes nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// Not three parts of base64url with JSON in the first; or too long; or it has critical extensions.
    #[error("it is not a signed JSON Web Token")]
    Malformed,
    /// Neither `EdDSA` nor RS256, or not what its key is for.
    #[error("alg: EdDSA or RS256 is expected, as its key is for")]
    Algorithm,
    /// No `kid`.
    #[error("kid: it must be given")]
    NoKeyId,
    /// No key of this `kid`.
    #[error("kid: there is no such key")]
    UnknownKey,
    /// Not signed by that key.
    #[error("the signature is wrong")]
    Signature,
    /// A claim that must be there is not, or one is of another type.
    #[error(
        "the claims iss, aud, exp, iat, sub, roles and countries are expected, and nbf and scope as \
         RFC 7519 and RFC 8693 have them"
    )]
    Claims,
    /// Another issuer's.
    #[error("iss: another issuer is expected")]
    Issuer,
    /// For somebody else.
    #[error("aud: another audience is expected")]
    Audience,
    /// `exp` has passed.
    #[error("exp: it has expired")]
    Expired,
    /// Good for too long.
    #[error("exp: at most an hour after iat")]
    TooLong,
    /// `iat` or `nbf` is in the future.
    #[error("iat, nbf: it is not valid yet")]
    NotYet,
}

/// Somebody whose token was verified. Nothing else makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    subject: String,
    roles: BTreeSet<String>,
    countries: BTreeSet<Country>,
    scopes: BTreeSet<String>,
}

impl Principal {
    /// Who it is, by the issuer's name: 1 to 128 bytes, no control characters.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The countries that it may act for.
    #[must_use]
    pub fn countries(&self) -> &BTreeSet<Country> {
        &self.countries
    }

    /// What its token is limited to. None where it is not limited.
    #[must_use]
    pub fn scopes(&self) -> &BTreeSet<String> {
        &self.scopes
    }

    /// Whether it has this role.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.contains(role)
    }

    /// Refuses whoever lacks the role, and whose token is limited to other scopes than `scope`.
    pub fn require(&self, role: &'static str, scope: &'static str) -> Result<(), AuthError> {
        if !self.roles.contains(role) {
            return Err(AuthError::RoleMissing(role));
        }
        if !self.scopes.is_empty() && !self.scopes.contains(scope) {
            return Err(AuthError::ScopeMissing(scope));
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood (RFC 7515 section 4.1.11): we know none.
    crit: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Audience,
    exp: i64,
    /// Required, though RFC 7519 does not: without it nobody knows how long a token has been good.
    iat: i64,
    nbf: Option<i64>,
    sub: String,
    roles: BTreeSet<String>,
    countries: BTreeSet<Country>,
    scope: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// Verifies a token and its claims. `exp` and the others may be off by 30 s.
pub fn verify(
    token: &str,
    keys: &KeySet,
    expected: &Expected,
    now: UnixSeconds,
) -> Result<Principal, TokenRefusal> {
    if token.len() > TOKEN_MAX_BYTES {
        return Err(TokenRefusal::Malformed);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenRefusal::Malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(TokenRefusal::Malformed)?;
    let header: Header = decode(header).ok_or(TokenRefusal::Malformed)?;
    if header.crit.is_some() {
        return Err(TokenRefusal::Malformed);
    }
    let algorithm = Algorithm::of(&header.alg).ok_or(TokenRefusal::Algorithm)?;
    let kid = header.kid.ok_or(TokenRefusal::NoKeyId)?;
    let key = keys.find(&kid).ok_or(TokenRefusal::UnknownKey)?;
    if key.algorithm() != algorithm {
        return Err(TokenRefusal::Algorithm);
    }
    let signature = URL_SAFE_NO_PAD
        .decode(signature)
        .map_err(|_| TokenRefusal::Malformed)?;
    if !key.verifies(signed.as_bytes(), &signature) {
        return Err(TokenRefusal::Signature);
    }
    let claims: Claims = decode(claims).ok_or(TokenRefusal::Claims)?;
    claims.accept(expected, now)
}

fn decode<T: DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

impl Claims {
    fn accept(self, expected: &Expected, now: UnixSeconds) -> Result<Principal, TokenRefusal> {
        let now = i64::try_from(now.0).map_err(|_| TokenRefusal::Expired)?;
        if self.iss != expected.issuer {
            return Err(TokenRefusal::Issuer);
        }
        let is_for_us = match &self.aud {
            Audience::One(audience) => *audience == expected.audience,
            Audience::Several(audiences) => audiences.contains(&expected.audience),
        };
        if !is_for_us {
            return Err(TokenRefusal::Audience);
        }
        if self.exp.saturating_add(LEEWAY_SECS) <= now {
            return Err(TokenRefusal::Expired);
        }
        let not_before = self.iat.max(self.nbf.unwrap_or(self.iat));
        if not_before > now.saturating_add(LEEWAY_SECS) {
            return Err(TokenRefusal::NotYet);
        }
        if self.exp.saturating_sub(self.iat) > LIFETIME_MAX_SECS {
            return Err(TokenRefusal::TooLong);
        }
        let subject = self.sub;
        if !(1..=SUBJECT_MAX_BYTES).contains(&subject.len()) || subject.contains(char::is_control) {
            return Err(TokenRefusal::Claims);
        }
        let scope = self.scope.unwrap_or_default();
        Ok(Principal {
            subject,
            roles: self.roles,
            countries: self.countries,
            scopes: scope.split_whitespace().map(str::to_owned).collect(),
        })
    }
}

#[cfg(test)]
mod tests;
