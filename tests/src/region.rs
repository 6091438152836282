//! One region: a PostgreSQL server, its database, and a core.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use protocol::at_rest::AtRestKeys;
use protocol::sealed::{OpeningKey, SealingKey};
use protocol::{Country, RegionId};
use serde_json::json;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::ports::{Listener, Ports};
use crate::postgres::Postgres;
use crate::process::Process;
use crate::secrets::{ISSUER, Issuer, random_bytes, random_hex};
use crate::service::{Core, CorePlace, Secrets, local_url};
use crate::variables::Variables;

/// Whose tokens a region's core takes.
#[derive(Debug, Clone, Copy)]
pub struct Access<'i> {
    /// Who signs them.
    pub issuer: &'i Issuer,
    /// Whether master data is written here.
    pub is_hub: bool,
    /// Where Pancake's REST interface is.
    pub pancake_url: &'i str,
}

/// A running region.
#[derive(Debug)]
pub struct Region {
    /// The region's id.
    pub id: RegionId,
    /// The countries whose data it holds.
    pub countries: Vec<Country>,
    /// The name of the hop's key.
    pub hop_keyid: String,
    /// The hop's secret.
    pub hop_secret: String,
    /// The private key that opens what waited at the edge.
    opening_key: OpeningKey,
    at_rest_key: String,
    /// Its database server.
    pub postgres: Postgres,
    core: Option<Process>,
    core_port: u16,
    owner_password: String,
    app_password: String,
    /// In the hub: of `core_editor`.
    editor_password: Option<String>,
    jwks: Option<PathBuf>,
    /// What the core's environment has in place of its own or besides.
    pub environment: Variables,
    /// Of somebody who may do everything here, good for an hour; none where no tokens are taken.
    pub admin_token: Option<String>,
    log: PathBuf,
}

impl Region {
    /// Starts server and core of a region: database and roles made, schema current, ready to serve.
    /// `index` numbers the regions of one platform.
    pub async fn start(
        id: RegionId,
        countries: Vec<Country>,
        index: u16,
        ports: Ports,
        log_dir: &Path,
        name: &str,
    ) -> Result<Self> {
        Self::start_for(id, countries, index, ports, log_dir, name, None).await
    }

    /// The same, and its core takes tokens.
    pub async fn start_for(
        id: RegionId,
        countries: Vec<Country>,
        index: u16,
        ports: Ports,
        log_dir: &Path,
        name: &str,
        access: Option<Access<'_>>,
    ) -> Result<Self> {
        let postgres_port =
            ports.take(Listener::Postgres(index), &format!("PostgreSQL of {id}"))?;
        let core_port = ports.take(Listener::Core(index), &format!("core of {id}"))?;
        let postgres_log = log_dir.join(format!("{id}-postgres.log"));
        let postgres =
            Postgres::start(&format!("{name}-{id}"), postgres_port, &postgres_log).await?;
        let mut region = Self {
            hop_keyid: format!("{id}-1"),
            hop_secret: random_hex()?,
            opening_key: OpeningKey::derive(&format!("{id}-1"), &random_bytes()?)?,
            at_rest_key: AtRestKeys::expose_key(&format!("{id}-1"), &random_bytes()?),
            postgres,
            core: None,
            core_port,
            owner_password: random_hex()?,
            app_password: random_hex()?,
            editor_password: access
                .filter(|access| access.is_hub)
                .map(|_| random_hex())
                .transpose()?,
            environment: access
                .map(|access| {
                    let url = access.pancake_url.to_owned();
                    Variables::from([("CORE_PANCAKE__URL".to_owned(), url)])
                })
                .unwrap_or_default(),
            jwks: access.map(|access| access.issuer.jwks().to_owned()),
            admin_token: access
                .map(|access| access.issuer.admin_token(&id, &countries))
                .transpose()?,
            log: log_dir.join(format!("{id}-core.log")),
            id,
            countries,
        };
        region.service()?.prepare()?;
        region.start_core().await?;
        Ok(region)
    }

    /// Starts the core and waits until it is ready.
    pub async fn start_core(&mut self) -> Result<()> {
        self.core = Some(self.service()?.start().await?);
        Ok(())
    }

    /// The core's process.
    pub fn core(&mut self) -> Result<&mut Process> {
        self.core.as_mut().context("the core is not running")
    }

    /// The core's origin.
    #[must_use]
    pub fn core_url(&self) -> String {
        local_url(self.core_port)
    }

    /// Where the core listens.
    #[must_use]
    pub fn core_port(&self) -> u16 {
        self.core_port
    }

    /// The public key to which the edge seals what has to wait.
    #[must_use]
    pub fn sealing_key(&self) -> SealingKey {
        self.opening_key.sealing_key()
    }

    /// The private half of that, as a core has it.
    #[must_use]
    pub fn opening_key(&self) -> &OpeningKey {
        &self.opening_key
    }

    /// The URL of the region's database for `core_owner`.
    #[must_use]
    pub fn owner_url(&self) -> String {
        self.postgres
            .url("core_owner", &self.owner_password, "core")
    }

    /// The URL of the region's database for `core_app`.
    #[must_use]
    pub fn app_url(&self) -> String {
        self.postgres.url("core_app", &self.app_password, "core")
    }

    /// A connection pool to the region's database, to look what is there.
    pub async fn database(&self) -> Result<PgPool> {
        let pool = PgPoolOptions::new()
            .max_connections(2)
            .connect(&self.owner_url())
            .await?;
        Ok(pool)
    }

    /// What its programs are given in confidence, and whatever else differs from the defaults.
    #[must_use]
    pub fn secrets(&self) -> Secrets {
        let hop_secrets = json!({ self.hop_keyid.as_str(): self.hop_secret });
        let mut serving = vec![
            ("CORE_DATABASE_URL", self.app_url()),
            ("CORE_HOP_SECRETS", hop_secrets.to_string()),
            ("CORE_OPENING_KEYS", self.opening_key.expose()),
            ("CORE_AT_REST_KEYS", json!([self.at_rest_key]).to_string()),
        ];
        if let Some(jwks) = &self.jwks {
            serving.extend([
                ("CORE_JWKS", jwks.display().to_string()),
                ("CORE_JWT_ISSUER", ISSUER.to_owned()),
                ("CORE_JWT_AUDIENCE", self.id.to_string()),
            ]);
        }
        if let Some(password) = &self.editor_password {
            let url = self.postgres.url("core_editor", password, "core");
            serving.push(("CORE_EDITOR_DATABASE_URL", url));
        }
        let named = |(name, value): (&str, String)| (name.to_owned(), value);
        let mut serving: Variables = serving.into_iter().map(named).collect();
        serving.extend(self.environment.clone());
        let setup = [("CORE_OWNER_DATABASE_URL", self.owner_url())];
        Secrets {
            serving,
            setup: setup.map(named).into(),
        }
    }

    fn service(&self) -> Result<Core> {
        let place = CorePlace {
            region: &self.id,
            countries: &self.countries,
            port: self.core_port,
            server: self.postgres.server().clone(),
            log: self.log.clone(),
        };
        Core::new(place, &self.secrets())
    }

    /// Runs a subcommand of the core to its end.
    pub fn run_core(&self, subcommand: &str) -> Result<String> {
        self.service()?.run(subcommand)
    }
}
