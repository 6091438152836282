//! One region: a PostgreSQL server, its database, and a core.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use protocol::at_rest::AtRestKeys;
use protocol::sealed::{OpeningKey, SealingKey};
use protocol::{Country, RegionId};
use serde_json::json;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::checkout;
use crate::ports::{Listener, Ports};
use crate::postgres::Postgres;
use crate::process::Process;
use crate::secrets::{ISSUER, Issuer, random_bytes, random_hex};

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
    pub environment: BTreeMap<String, String>,
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
        log_dir: &std::path::Path,
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
        log_dir: &std::path::Path,
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
                    BTreeMap::from([("CORE_PANCAKE__URL".to_owned(), url)])
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
        region.run_core("bootstrap")?;
        region.run_core("migrate")?;
        region.start_core().await?;
        Ok(region)
    }

    /// Starts the core and waits until it is ready.
    pub async fn start_core(&mut self) -> Result<()> {
        let mut command = self.core_command()?;
        command.arg("serve");
        let mut core = Process::start(&format!("core of {}", self.id), command, &self.log)?;
        let url = format!("{}/readyz", self.core_url());
        core.wait_until("ready", || async {
            let response = reqwest::get(&url).await.ok()?;
            response.status().is_success().then_some(())
        })
        .await?;
        self.core = Some(core);
        Ok(())
    }

    /// The core's process.
    pub fn core(&mut self) -> Result<&mut Process> {
        self.core.as_mut().context("the core is not running")
    }

    /// The core's origin.
    #[must_use]
    pub fn core_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.core_port)
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

    fn core_command(&self) -> Result<Command> {
        let mut command = Command::new(checkout::built_program("regional-core")?);
        let countries: Vec<_> = self.countries.iter().map(Country::as_str).collect();
        command
            .env("CORE_REGION", self.id.as_str())
            .env("CORE_COUNTRIES", countries.join(","))
            .env("CORE_LISTEN", format!("127.0.0.1:{}", self.core_port))
            // On a developer's machine a refused hop is worth a line.
            .env(
                "CORE_LOG",
                "info,regional_core::ingest=debug,regional_core::hop=debug",
            )
            .env(
                "CORE_ADMIN_DATABASE_URL",
                self.postgres.admin_url("postgres"),
            )
            .env("CORE_OWNER_DATABASE_URL", self.owner_url())
            .env("CORE_DATABASE_URL", self.app_url())
            .env(
                "CORE_HOP_SECRETS",
                serde_json::json!({ self.hop_keyid.as_str(): self.hop_secret }).to_string(),
            )
            .env("CORE_OPENING_KEYS", self.opening_key.expose())
            .env("CORE_AT_REST_KEYS", json!([self.at_rest_key]).to_string());
        if let Some(jwks) = &self.jwks {
            command
                .env("CORE_JWKS", jwks)
                .env("CORE_JWT_ISSUER", ISSUER)
                .env("CORE_JWT_AUDIENCE", self.id.as_str());
        }
        if let Some(password) = &self.editor_password {
            let url = self.postgres.url("core_editor", password, "core");
            command.env("CORE_EDITOR_DATABASE_URL", url);
        }
        command.envs(&self.environment);
        Ok(command)
    }

    /// Runs a subcommand of the core to its end.
    pub fn run_core(&self, subcommand: &str) -> Result<String> {
        let output = self.core_command()?.args(subcommand.split(' ')).output()?;
        ensure!(
            output.status.success(),
            "regional-core {subcommand}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
