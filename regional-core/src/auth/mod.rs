//! Who a caller is: people and apps show a bearer token (RFC 6750), a JSON Web Token that their identity
//! provider signed.
//!
//! - `jwks`: the provider's public keys. Pure;
//! - `token`: from a token to a [`Principal`], with the time passed in. Pure;
//! - `source`: where the keys come from, and when they are read again;
//! - `extract`: from a request's head to its [`Principal`].
//!
//! Only `EdDSA` and RS256 verify, and a key only by its own algorithm: a token's header chooses the key,
//! never the way. It is done with `ring`, which TLS needs anyway: of `jsonwebtoken`, the releases that
//! build on `ring` have a known fault in how they read claims, and the later ones need `aws-lc` or `rsa`.
//!
//! Owns no list of people and no session. No token is ever logged or quoted.

mod extract;
mod jwks;
mod source;
mod token;

pub use self::jwks::{JwksError, KeySet};
pub use self::source::{Authenticator, JwksLocation};
pub use self::token::{Expected, Principal, TokenRefusal, verify};
