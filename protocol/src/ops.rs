//! Who may ask the edge how it is, and change what it holds: bearer tokens (RFC 6750) of ops, of which the edge
//! knows the SHA-256 only.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::signature::parse_hex32;
use crate::token_sha256;

/// What a token's holder may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// See.
    Read,
    /// And change.
    Admin,
}

/// The tokens of one deployment. Several are good at once, so that one can be replaced without a gap.
#[derive(Debug, Default)]
pub struct OpsTokens {
    by_sha256: HashMap<[u8; 32], (String, Scope)>,
}

/// One token, as the secret `OPS_TOKENS` holds it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpsToken {
    /// Whose it is: 1 to 64 letters, digits and `-_.@`, for it stands in our logs.
    pub name: String,
    /// The token's SHA-256, in hex.
    pub sha256: String,
    /// What its holder may do.
    pub scope: Scope,
}

impl OpsToken {
    /// The entry for a token.
    #[must_use]
    pub fn new(name: &str, token: &str, scope: Scope) -> Self {
        Self {
            name: name.to_owned(),
            sha256: token_sha256(token),
            scope,
        }
    }
}

impl OpsTokens {
    /// Reads the secret `OPS_TOKENS`: a JSON array of `{"name", "sha256" (64 hex digits), "scope" ("read" or
    /// "admin")}`. Every mistake is named.
    pub fn from_json(document: &str) -> Result<Self, Vec<String>> {
        let tokens: Vec<OpsToken> = serde_json::from_str(document).map_err(|error| {
            vec![format!(
                "OPS_TOKENS: [{{\"name\", \"sha256\", \"scope\": \"read\" or \"admin\"}}, …] is expected \
                 (line {}, column {})",
                error.line(),
                error.column()
            )]
        })?;
        let (mut by_sha256, mut mistakes) = (HashMap::new(), Vec::new());
        for OpsToken {
            name,
            sha256,
            scope,
        } in tokens
        {
            let clean = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
            if !(1..=64).contains(&name.len()) || !name.chars().all(clean) {
                mistakes.push(
                    "OPS_TOKENS: name: 1 to 64 of A-Z a-z 0-9 - _ . @ are expected".to_owned(),
                );
                continue;
            }
            match parse_hex32(sha256.as_bytes()) {
                Some(sha256) if !by_sha256.contains_key(&sha256) => {
                    by_sha256.insert(sha256, (name, scope));
                }
                Some(_) => mistakes.push(format!("OPS_TOKENS: {name}: its token is there twice")),
                None => mistakes.push(format!(
                    "OPS_TOKENS: {name}: sha256: 64 hex digits are expected"
                )),
            }
        }
        if mistakes.is_empty() {
            Ok(Self { by_sha256 })
        } else {
            Err(mistakes)
        }
    }

    /// Who the sender of an `authorization` header is, and what they may do. The token is hashed before it is looked
    /// up, so the time taken says nothing about how much of a guess was right.
    #[must_use]
    pub fn holder_of(&self, authorization: Option<&str>) -> Option<(&str, Scope)> {
        let (scheme, token) = authorization?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let sha256: [u8; 32] = Sha256::digest(token.trim()).into();
        let (name, scope) = self.by_sha256.get(&sha256)?;
        Some((name, *scope))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> OpsTokens {
        let tokens = [
            OpsToken::new("prometheus", "see", Scope::Read),
            OpsToken::new("anna", "do", Scope::Admin),
        ];
        OpsTokens::from_json(&serde_json::to_string(&tokens).unwrap()).unwrap()
    }

    #[test]
    fn only_a_known_bearer_token_opens_and_only_what_it_may() {
        let tokens = tokens();
        let holder = |authorization| tokens.holder_of(authorization);
        assert_eq!(
            holder(Some("Bearer see")),
            Some(("prometheus", Scope::Read))
        );
        assert_eq!(holder(Some("bearer do")), Some(("anna", Scope::Admin)));
        for other in [
            None,
            Some(""),
            Some("see"),
            Some("Bearer"),
            Some("Bearer "),
            Some("Bearer seen"),
            Some("Basic see"),
        ] {
            assert_eq!(holder(other), None, "{other:?}");
        }
        assert_eq!(OpsTokens::default().holder_of(Some("Bearer see")), None);
    }

    #[test]
    fn each_mistake_in_the_tokens_is_named() {
        let mistakes = OpsTokens::from_json(
            &serde_json::json!([
                {"name": "a", "sha256": "12", "scope": "read"},
                OpsToken::new("b", "x", Scope::Read),
                OpsToken::new("c", "x", Scope::Admin),
                OpsToken::new("d\n", "y", Scope::Admin),
            ])
            .to_string(),
        )
        .unwrap_err();
        assert_eq!(
            mistakes,
            [
                "OPS_TOKENS: a: sha256: 64 hex digits are expected",
                "OPS_TOKENS: c: its token is there twice",
                "OPS_TOKENS: name: 1 to 64 of A-Z a-z 0-9 - _ . @ are expected"
            ]
        );
        for other in [
            "",
            "{}",
            r#"[{"name": "a", "sha256": "b", "scope": "write"}]"#,
        ] {
            assert!(OpsTokens::from_json(other).is_err(), "{other}");
        }
    }
}
