//! An identity provider: a key, its key set, and tokens.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use regional_core::auth::JwksLocation;
use regional_core::config::Config;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use uuid::Uuid;

use super::NOW;

const ISSUER: &str = "https://id.test";
const AUDIENCE: &str = "smp-asia";

/// Who signs tokens.
pub(crate) struct Issuer {
    pair: Ed25519KeyPair,
    kid: String,
}

impl Issuer {
    /// Each number has a key of its own.
    pub(crate) fn new(number: u8) -> Self {
        Self {
            pair: Ed25519KeyPair::from_seed_unchecked(&[number; 32]).unwrap(),
            kid: format!("test-{number}"),
        }
    }

    pub(crate) fn jwks(&self) -> String {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key());
        let key = json!({"kty": "OKP", "crv": "Ed25519", "kid": self.kid, "x": x});
        json!({"keys": [key]}).to_string()
    }

    /// A file with its key set.
    pub(crate) fn jwks_file(&self) -> PathBuf {
        let name = format!("jwks-{}.json", Uuid::new_v4().simple());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, self.jwks()).unwrap();
        path
    }

    /// A token of somebody with these roles, good for ten minutes.
    pub(crate) fn token(&self, roles: &[&str]) -> String {
        self.sign(&json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "anna", "iat": NOW, "exp": NOW + 600,
            "roles": roles, "countries": ["VN"],
        }))
    }

    /// As [`Issuer::token`], limited to a scope.
    pub(crate) fn token_of_scope(&self, roles: &[&str], scope: &str) -> String {
        self.sign(&json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "anna", "iat": NOW, "exp": NOW + 600,
            "roles": roles, "countries": ["VN"], "scope": scope,
        }))
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let header = json!({"alg": "EdDSA", "kid": self.kid});
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

/// Lets a core take the tokens of whoever has these keys.
pub(crate) fn trust(config: &mut Config, jwks: JwksLocation) {
    config.jwks = Some(jwks);
    ISSUER.clone_into(&mut config.jwt_issuer);
    AUDIENCE.clone_into(&mut config.jwt_audience);
}
