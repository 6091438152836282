//! Where the keys come from, and when they are read again.

use std::fs;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use protocol::UnixSeconds;
use serde::{Deserialize, Deserializer};
use tokio::sync::{Mutex, watch};
use tokio::task::spawn_blocking;
use tracing::{info, warn};
use ureq::tls::{RootCerts, TlsConfig};
use url::Url;

use super::jwks::{JwksError, KeySet};
use super::token::{Expected, Principal, TokenRefusal, verify};
use crate::config::{Config, ConfigError, parse_https_url};
use crate::error::AuthError;

/// Keys are read again for an unknown `kid`, which anybody can name, so not more often than this.
const REFRESH_PAUSE_SECS: u64 = 60;
/// How long a request that brought an unknown `kid` may wait for the keys.
const PATIENCE: Duration = Duration::from_secs(5);
/// Far above any provider's document.
const DOCUMENT_MAX_BYTES: u64 = 256 * 1024;

/// Where a JSON Web Key Set is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwksLocation {
    /// In a file.
    File(PathBuf),
    /// Behind `https`, or `http` on this machine.
    Url(Url),
}

impl FromStr for JwksLocation {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.contains("://") {
            return Ok(Self::File(text.into()));
        }
        parse_https_url(text)
            .map(Self::Url)
            .map_err(|_| "a file's path or an https URL is expected (http on this machine only)")
    }
}

impl<'de> Deserialize<'de> for JwksLocation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Why there are no (new) keys.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("cannot be read: {0}")]
    File(#[from] std::io::Error),
    #[error("cannot be fetched: {0}")]
    Url(#[from] ureq::Error),
    #[error(transparent)]
    Document(#[from] JwksError),
    #[error("the task that read it has ended")]
    Task(#[from] tokio::task::JoinError),
}

impl JwksLocation {
    /// Blocks.
    fn read(&self) -> Result<KeySet, ReadError> {
        let document = match self {
            Self::File(path) => fs::read(path)?,
            Self::Url(url) => fetch(url)?,
        };
        Ok(KeySet::parse(&document)?)
    }
}

fn fetch(url: &Url) -> Result<Vec<u8>, ureq::Error> {
    // The machine's own authorities: a company may have one of its own.
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .build();
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .max_redirects(0)
        .tls_config(tls)
        .build()
        .new_agent();
    let mut response = agent.get(url.as_str()).call()?;
    let body = response.body_mut().with_config();
    body.limit(DOCUMENT_MAX_BYTES).read_to_vec()
}

/// Knows the keys, and tells by them who a caller is.
#[derive(Debug)]
pub struct Authenticator {
    location: JwksLocation,
    expected: Expected,
    keys: watch::Sender<Option<Arc<KeySet>>>,
    /// When the keys were last looked for, whatever came of it.
    read_at: Mutex<Option<UnixSeconds>>,
}

impl Authenticator {
    /// By the settings; none where `CORE_JWKS` is not set. A file is read at once and must be good; a URL
    /// may be out of reach for now, and is read by [`Authenticator::refresh`] or when a token comes.
    pub fn new(config: &Config) -> Result<Option<Self>, ConfigError> {
        let Some(location) = config.jwks.clone() else {
            return Ok(None);
        };
        let keys = match &location {
            JwksLocation::Url(_) => None,
            JwksLocation::File(_) => {
                let keys = location.read().map_err(|error| ConfigError::Invalid {
                    variable: "CORE_JWKS".to_owned(),
                    reason: error.to_string(),
                })?;
                Some(Arc::new(keys))
            }
        };
        Ok(Some(Self {
            location,
            expected: Expected {
                issuer: config.jwt_issuer.clone(),
                audience: config.jwt_audience.clone(),
            },
            keys: watch::Sender::new(keys),
            read_at: Mutex::default(),
        }))
    }

    /// Reads the keys again, unless that was tried within the last minute. What was known stays if it
    /// fails. Whoever calls meanwhile waits for the same reading.
    pub async fn refresh(self: &Arc<Self>, now: UnixSeconds) {
        let this = Arc::clone(self);
        // A task of its own: a caller that hangs up would spend the minute and learn nothing.
        if let Err(error) = tokio::spawn(async move { this.read_again(now).await }).await {
            warn!(error = %error, "CORE_JWKS: the task that read it has ended");
        }
    }

    async fn read_again(&self, now: UnixSeconds) {
        let mut read_at = self.read_at.lock().await;
        if read_at.is_some_and(|at| at.0.abs_diff(now.0) < REFRESH_PAUSE_SECS) {
            return;
        }
        *read_at = Some(now);
        let location = self.location.clone();
        let read = match spawn_blocking(move || location.read()).await {
            Ok(read) => read,
            Err(error) => Err(error.into()),
        };
        match read {
            Ok(keys) => {
                info!("the keys of CORE_JWKS are read");
                self.keys.send_replace(Some(Arc::new(keys)));
            }
            Err(error) => warn!(error = %error, "CORE_JWKS: the keys stay as they were"),
        }
    }

    /// Who shows this token.
    pub(crate) async fn authenticate(
        self: &Arc<Self>,
        token: &str,
        now: UnixSeconds,
    ) -> Result<Principal, AuthError> {
        let known = || self.keys.borrow().clone();
        let judge = |keys: &KeySet| verify(token, keys, &self.expected, now);
        if let Some(keys) = known() {
            match judge(&keys) {
                // Perhaps it is a new one.
                Err(TokenRefusal::UnknownKey) => {}
                judged => return judged.map_err(AuthError::TokenInvalid),
            }
        }
        self.refresh(now).await;
        let keys = known().ok_or(AuthError::NoKeys)?;
        judge(&keys).map_err(AuthError::TokenInvalid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_from_a_file_or_by_https() {
        for text in [
            "https://id.example.com/jwks.json",
            "http://localhost:8080/jwks",
            "http://127.0.0.1/jwks",
            "http://[::1]:1/jwks",
        ] {
            let location: JwksLocation = text.parse().unwrap();
            assert!(matches!(location, JwksLocation::Url(_)), "{text}");
        }
        for text in ["jwks.json", "/etc/smp/jwks.json"] {
            assert_eq!(text.parse(), Ok(JwksLocation::File(text.into())));
        }
        for text in [
            "http://id.example.com/jwks.json",
            "http://localhost.example.com/jwks",
            "http://10.0.0.1/jwks",
            "ftp://localhost/jwks",
            "file:///etc/jwks.json",
            "https://",
        ] {
            assert!(text.parse::<JwksLocation>().is_err(), "{text}");
        }
    }
}
