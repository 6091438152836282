//! Random secrets and the key that signs tokens, made anew for each platform.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use infra::token::{Claims, LIFETIME_MAX_SECS, SigningKey};
use protocol::{Country, RegionId};

use crate::pancake::now;

/// `iss` of the platform's tokens. Their `aud` is the region's id.
pub const ISSUER: &str = "smpctl";

/// 32 random bytes.
pub fn random_bytes() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("no randomness: {error}"))?;
    Ok(bytes)
}

/// 32 random bytes in hex.
pub fn random_hex() -> Result<String> {
    Ok(hex(&random_bytes()?))
}

/// Bytes as lower-case hex digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

/// Writes a file that holds secrets: for its owner only, and whole or not at all.
pub fn write_private(path: &Path, text: &str) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let whole = PathBuf::from(name);
    // What somebody left half written may be readable by all; a new file has the mode it is given.
    let _ = std::fs::remove_file(&whole);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&whole)
        .with_context(|| format!("cannot write {}", whole.display()))?;
    file.write_all(text.as_bytes())?;
    std::fs::rename(&whole, path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

/// Who signs the platform's bearer tokens, in place of an identity provider.
#[derive(Debug)]
pub struct Issuer {
    key: SigningKey,
    jwks: PathBuf,
}

impl Issuer {
    /// Makes a key: `auth-key.pem`, which is private, and `jwks.json`, which the cores read.
    pub fn create(directory: &Path) -> Result<Self> {
        let (key, pem) = SigningKey::generate()?;
        write_private(&directory.join("auth-key.pem"), &pem)?;
        let jwks = directory.join("jwks.json");
        std::fs::write(&jwks, key.jwks())
            .with_context(|| format!("cannot write {}", jwks.display()))?;
        Ok(Self { key, jwks })
    }

    /// The key that [`Issuer::create`] made.
    pub fn open(directory: &Path) -> Result<Self> {
        let file = directory.join("auth-key.pem");
        let pem = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        let key = SigningKey::from_pem(&pem).with_context(|| file.display().to_string())?;
        Ok(Self {
            key,
            jwks: directory.join("jwks.json"),
        })
    }

    /// Where the public key is.
    #[must_use]
    pub fn jwks(&self) -> &Path {
        &self.jwks
    }

    /// A token for one region's core, good for an hour from now, of somebody who may do everything there.
    pub fn admin_token(&self, region: &RegionId, countries: &[Country]) -> Result<String> {
        let claims = Claims {
            issuer: ISSUER.to_owned(),
            audience: region.to_string(),
            subject: "platform-admin".to_owned(),
            roles: vec!["admin".to_owned(), "master_data_editor".to_owned()],
            countries: countries.iter().map(ToString::to_string).collect(),
            ttl_secs: LIFETIME_MAX_SECS,
        };
        Ok(self.key.mint(&claims, now())?)
    }
}
