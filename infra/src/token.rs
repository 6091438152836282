//! Bearer tokens for local use, as a core takes them: JSON Web Tokens (RFC 7519), signed with Ed25519.
//!
//! In production an identity provider issues them. Owns no verification: that is the core's.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::json;

/// What a core takes at most.
pub const LIFETIME_MAX_SECS: u64 = 3600;

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";
/// PKCS#8 of an Ed25519 key up to its 32 bytes (RFC 8410 section 7).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Why there is no token. Quotes no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The key's file holds something else.
    #[error(
        "an Ed25519 private key in PKCS#8 PEM is expected, as 'smpctl token keygen' or 'openssl genpkey \
         -algorithm ed25519' makes it"
    )]
    NotAKey,
    /// The system gives no randomness.
    #[error("no randomness")]
    NoRandomness,
    /// Longer than a core takes.
    #[error("a token is good for 1 to 3600 seconds")]
    Lifetime,
    /// A core takes no token of nobody.
    #[error("sub: who is it? it is empty")]
    NoSubject,
}

/// A private key. Debug shows the name of its public one.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    kid: String,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SigningKey({}, redacted)", self.kid)
    }
}

/// What a token says of its holder.
#[derive(Debug, Clone)]
pub struct Claims {
    /// `iss`.
    pub issuer: String,
    /// `aud`.
    pub audience: String,
    /// `sub`.
    pub subject: String,
    /// `roles`.
    pub roles: Vec<String>,
    /// `countries`: what it may act for.
    pub countries: Vec<String>,
    /// How long it is good for, at most [`LIFETIME_MAX_SECS`].
    pub ttl_secs: u64,
}

impl SigningKey {
    /// Makes a key. Returns it, and its PEM, which is a secret.
    pub fn generate() -> Result<(Self, String), TokenError> {
        let mut seed = [0; 32];
        SystemRandom::new()
            .fill(&mut seed)
            .map_err(|_| TokenError::NoRandomness)?;
        let document = STANDARD.encode([PKCS8_PREFIX.as_slice(), &seed].concat());
        let pem = format!("{PEM_BEGIN}\n{document}\n{PEM_END}\n");
        Ok((Self::from_pem(&pem)?, pem))
    }

    /// Reads a PKCS#8 PEM.
    pub fn from_pem(pem: &str) -> Result<Self, TokenError> {
        let inner = pem
            .trim()
            .strip_prefix(PEM_BEGIN)
            .and_then(|rest| rest.strip_suffix(PEM_END))
            .ok_or(TokenError::NotAKey)?;
        let encoded: String = inner.split_ascii_whitespace().collect();
        let document = STANDARD.decode(encoded).map_err(|_| TokenError::NotAKey)?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&document)
            .map_err(|_| TokenError::NotAKey)?;
        let kid = thumbprint(pair.public_key().as_ref());
        Ok(Self { pair, kid })
    }

    /// The JSON Web Key Set of its public key: what a core's `CORE_JWKS` names.
    #[must_use]
    pub fn jwks(&self) -> String {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key());
        let key = json!({
            "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": self.kid, "x": x,
        });
        format!("{:#}\n", json!({"keys": [key]}))
    }

    /// Signs a token that is good from `now`, in seconds since 1970, on.
    pub fn mint(&self, claims: &Claims, now: u64) -> Result<String, TokenError> {
        if !(1..=LIFETIME_MAX_SECS).contains(&claims.ttl_secs) {
            return Err(TokenError::Lifetime);
        }
        if claims.subject.trim().is_empty() {
            return Err(TokenError::NoSubject);
        }
        let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": self.kid});
        let claims = json!({
            "iss": claims.issuer, "aud": claims.audience, "sub": claims.subject,
            "iat": now, "exp": now.saturating_add(claims.ttl_secs),
            "roles": claims.roles, "countries": claims.countries,
        });
        let encode = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes()));
        Ok(format!("{signed}.{signature}"))
    }
}

/// The key's name is its thumbprint (RFC 7638, RFC 8037 section 2), so that another key has another one.
fn thumbprint(public_key: &[u8]) -> String {
    let x = URL_SAFE_NO_PAD.encode(public_key);
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes()))
}

#[cfg(test)]
mod tests {
    use ring::signature::{ED25519, UnparsedPublicKey};
    use serde_json::Value;

    use super::*;

    fn claims() -> Claims {
        Claims {
            issuer: "smpctl".to_owned(),
            audience: "smp-asia".to_owned(),
            subject: "anna".to_owned(),
            roles: vec!["master_data_editor".to_owned()],
            countries: vec!["VN".to_owned()],
            ttl_secs: 60,
        }
    }

    fn decode(part: &str) -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    #[test]
    fn a_token_is_verified_by_the_key_set() {
        let (made, pem) = SigningKey::generate().unwrap();
        let key = SigningKey::from_pem(&pem).unwrap();
        assert_eq!(key.jwks(), made.jwks());
        let jwks: Value = serde_json::from_str(&key.jwks()).unwrap();
        let jwk = &jwks["keys"][0];
        assert_eq!((&jwk["alg"], &jwk["use"]), (&json!("EdDSA"), &json!("sig")));

        let token = key.mint(&claims(), 1000).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (header, said) = signed.split_once('.').unwrap();
        assert_eq!(decode(header)["kid"], jwk["kid"]);
        assert_eq!(
            decode(said),
            json!({
                "iss": "smpctl", "aud": "smp-asia", "sub": "anna", "iat": 1000, "exp": 1060,
                "roles": ["master_data_editor"], "countries": ["VN"],
            })
        );
        let public = URL_SAFE_NO_PAD.decode(jwk["x"].as_str().unwrap()).unwrap();
        UnparsedPublicKey::new(&ED25519, public)
            .verify(
                signed.as_bytes(),
                &URL_SAFE_NO_PAD.decode(signature).unwrap(),
            )
            .unwrap();
    }

    #[test]
    fn the_name_of_a_key_is_its_thumbprint() {
        // RFC 8037, appendix A.
        let pem = format!(
            "{PEM_BEGIN}\n{}\n{PEM_END}",
            STANDARD.encode(
                [
                    PKCS8_PREFIX.as_slice(),
                    &URL_SAFE_NO_PAD
                        .decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
                        .unwrap()
                ]
                .concat()
            )
        );
        let key = SigningKey::from_pem(&pem).unwrap();
        assert!(
            key.jwks()
                .contains("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
        );
        assert_eq!(key.kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert!(format!("{key:?}").ends_with("redacted)"));
    }

    #[test]
    fn what_is_no_key_or_too_long_is_refused() {
        for pem in [
            "",
            PEM_BEGIN,
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----\n?\n-----END PRIVATE KEY-----",
        ] {
            assert_eq!(SigningKey::from_pem(pem).unwrap_err(), TokenError::NotAKey);
        }
        let (key, _) = SigningKey::generate().unwrap();
        for ttl_secs in [0, 3601] {
            let claims = Claims {
                ttl_secs,
                ..claims()
            };
            assert_eq!(key.mint(&claims, 0).unwrap_err(), TokenError::Lifetime);
        }
    }
}
