//! Public keys (RFC 7517), and what they verify. Pure.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;

/// An Ed25519 public key.
const ED25519_BYTES: usize = 32;
/// RSA moduli of 2048 to 8192 bits, which is what [`RSA_PKCS1_2048_8192_SHA256`] takes.
const RSA_MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// How a token may be signed. There is no other way: nothing symmetric, and not without a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// Ed25519 (RFC 8037).
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518).
    Rs256,
}

impl Algorithm {
    /// The algorithm of this name, if it is one of the two.
    pub(super) fn of(name: &str) -> Option<Self> {
        match name {
            "EdDSA" => Some(Self::EdDsa),
            "RS256" => Some(Self::Rs256),
            _ => None,
        }
    }
}

/// A public key. It verifies by its own algorithm, whatever a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PublicKey {
    Ed25519(Vec<u8>),
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
}

impl PublicKey {
    pub(super) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::EdDsa,
            Self::Rsa { .. } => Algorithm::Rs256,
        }
    }

    /// Whether the owner of this key signed `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(message, signature),
            Self::Rsa { modulus, exponent } => RsaPublicKeyComponents {
                n: modulus,
                e: exponent,
            }
            .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature),
        }
        .is_ok()
    }
}

/// Why a document gives no keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// It is not what RFC 7517 describes.
    #[error("a JSON Web Key Set is expected: {{\"keys\": [...]}}")]
    NotAKeySet,
    /// A key of a kind that we use is not well-formed.
    #[error("the key {0:?} is not well-formed")]
    Malformed(String),
    /// Which one a token means could not be told.
    #[error("two keys are called {0:?}")]
    Twice(String),
    /// Nothing could be verified by it.
    #[error("it holds no key that has a kid and is for EdDSA (Ed25519) or RS256")]
    NoKey,
}

/// Public keys by their `kid`. There is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySet(HashMap<String, PublicKey>);

#[derive(Deserialize)]
struct Document {
    keys: Vec<Jwk>,
}

/// What is read of a key. A member that is not there, or not used, is not looked at.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

impl KeySet {
    /// Reads a document. Keys that are not for us are passed over: of another kind or use, or without
    /// a `kid`.
    pub fn parse(document: &[u8]) -> Result<Self, JwksError> {
        let document: Document =
            serde_json::from_slice(document).map_err(|_| JwksError::NotAKeySet)?;
        let mut keys = HashMap::new();
        for jwk in document.keys {
            let Some(algorithm) = jwk.algorithm() else {
                continue;
            };
            let Some(kid) = jwk.kid.clone() else {
                continue;
            };
            let Some(key) = jwk.read(algorithm) else {
                return Err(JwksError::Malformed(kid));
            };
            if keys.contains_key(&kid) {
                return Err(JwksError::Twice(kid));
            }
            keys.insert(kid, key);
        }
        if keys.is_empty() {
            return Err(JwksError::NoKey);
        }
        Ok(Self(keys))
    }

    pub(super) fn find(&self, kid: &str) -> Option<&PublicKey> {
        self.0.get(kid)
    }
}

impl Jwk {
    /// What it verifies, if that is one of our algorithms.
    fn algorithm(&self) -> Option<Algorithm> {
        if self.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return None;
        }
        let algorithm = match (self.kty.as_str(), self.crv.as_deref()) {
            ("OKP", Some("Ed25519")) => Algorithm::EdDsa,
            ("RSA", _) => Algorithm::Rs256,
            _ => return None,
        };
        match self.alg.as_deref() {
            Some(name) if Algorithm::of(name) != Some(algorithm) => None,
            _ => Some(algorithm),
        }
    }

    fn read(&self, algorithm: Algorithm) -> Option<PublicKey> {
        let bytes = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
        match algorithm {
            Algorithm::EdDsa => bytes(&self.x)
                .filter(|key| key.len() == ED25519_BYTES)
                .map(PublicKey::Ed25519),
            Algorithm::Rs256 => {
                let modulus = bytes(&self.n).filter(|n| RSA_MODULUS_BYTES.contains(&n.len()))?;
                let exponent = bytes(&self.e).filter(|e| !e.is_empty())?;
                Some(PublicKey::Rsa { modulus, exponent })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn parse(keys: &str) -> Result<KeySet, JwksError> {
        KeySet::parse(format!("{{\"keys\":[{keys}]}}").as_bytes())
    }

    #[test]
    fn keys_that_are_not_for_us_are_passed_over() {
        let ours = format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"a","x":"{X}"}}"#);
        let keys = parse(&format!(
            r#"{{"kty":"EC","crv":"P-256","kid":"b","x":"?","y":"?"}},
               {{"kty":"oct","kid":"c","k":"c2VjcmV0"}},
               {{"kty":"OKP","crv":"Ed25519","x":"{X}"}},
               {{"kty":"OKP","crv":"Ed25519","kid":"d","use":"enc","x":"{X}"}},
               {{"kty":"OKP","crv":"Ed25519","kid":"e","alg":"HS256","x":"{X}"}},
               {{"kty":"RSA","kid":"f","alg":"RS512","n":"AQAB","e":"AQAB"}},
               {ours}"#
        ))
        .unwrap();
        assert_eq!(keys, parse(&ours).unwrap());
        assert!(keys.find("a").is_some() && keys.find("c").is_none());
    }

    #[test]
    fn a_document_without_good_keys_is_refused() {
        for (keys, refusal) in [
            ("", JwksError::NoKey),
            (
                r#"{"kty":"oct","kid":"c","k":"c2VjcmV0"}"#,
                JwksError::NoKey,
            ),
            (
                r#"{"kty":"OKP","crv":"Ed25519","kid":"a","x":"AQAB"}"#,
                JwksError::Malformed("a".to_owned()),
            ),
            (
                r#"{"kty":"RSA","kid":"short","n":"AQAB","e":"AQAB"}"#,
                JwksError::Malformed("short".to_owned()),
            ),
            ("1", JwksError::NotAKeySet),
        ] {
            assert_eq!(parse(keys).unwrap_err(), refusal, "{keys}");
        }
        let twice = format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"a","x":"{X}"}}"#);
        let refusal = parse(&format!("{twice},{twice}")).unwrap_err();
        assert_eq!(refusal, JwksError::Twice("a".to_owned()));
        assert_eq!(KeySet::parse(b"keys").unwrap_err(), JwksError::NotAKeySet);
    }
}
