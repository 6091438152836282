//! Master data in one region: its Kafka, its replicator, and, behind the hub, its MirrorMaker 2.

use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context as _, Result};
use protocol::RegionId;
use serde_json::{Map, Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::kafka::{Kafka, KafkaUser, Part};
use crate::link::Link;
use crate::mirror::Mirror;
use crate::ports::{Listener, Ports};
use crate::postgres::Postgres;
use crate::process::Process;
use crate::secrets::random_hex;
use crate::service::{Replicator, ReplicatorPlace, Secrets, Server, local_url};
use crate::variables::Variables;

/// A region's part in master data.
#[derive(Debug)]
pub struct Node {
    /// The region's id.
    pub id: RegionId,
    /// Whether master data is written here.
    pub is_hub: bool,
    /// The region's broker.
    pub kafka: Kafka,
    /// What carries the hub's records here; none in the hub.
    pub mirror: Option<Mirror>,
    replicator: Option<Process>,
    server: Server,
    secrets: Secrets,
    /// In the hub, whom its relay asks.
    regions: Option<String>,
    admin_url: String,
    port: u16,
    log_dir: PathBuf,
}

impl Node {
    /// Starts the broker, and makes roles, schema and, in the hub, the first rows in `database`, which must
    /// be there. Starts no replicator yet. `link` is how those from other regions come, if not straight.
    pub async fn start(
        id: &RegionId,
        part: Part<'_>,
        (postgres, database): (&Postgres, &str),
        (ports, index): (Ports, u16),
        link: Option<&Link>,
        log_dir: &Path,
        name: &str,
    ) -> Result<Self> {
        let kafka_log = log_dir.join(format!("{id}-kafka.log"));
        let kafka = Kafka::start(id, part, name, (ports, index), link, &kafka_log).await?;
        let is_hub = part.is_hub();
        let listens_at = ports.take(Listener::Replicator(index), &format!("replicator of {id}"))?;
        let mut secrets = Secrets::default();
        for (variable, role, serves) in [
            ("REPLICATOR_OWNER_DATABASE_URL", "master_data_owner", false),
            ("REPLICATOR_RELAY_DATABASE_URL", "master_data_relay", is_hub),
            (
                "REPLICATOR_APPLIER_DATABASE_URL",
                "master_data_applier",
                !is_hub,
            ),
        ] {
            let url = postgres.url(role, &random_hex()?, database);
            let place = if serves {
                &mut secrets.serving
            } else {
                &mut secrets.setup
            };
            place.insert(variable.to_owned(), url);
        }
        let node = Self {
            id: id.clone(),
            is_hub,
            kafka,
            mirror: None,
            replicator: None,
            server: postgres.server().clone(),
            secrets,
            regions: None,
            admin_url: postgres.admin_url(database),
            port: listens_at,
            log_dir: log_dir.to_owned(),
        };
        node.service()?.prepare()?;
        Ok(node)
    }

    /// Tells the hub's relay, before it starts, whom to ask how far they are, and those whom to answer.
    pub fn introduce<'n>(&mut self, regions: impl IntoIterator<Item = &'n mut Self>) -> Result<()> {
        let (mut addresses, mut secrets) = (Vec::new(), Map::new());
        for region in regions {
            let secret = random_hex()?;
            let keyid = format!("{}-1", region.id);
            let keys = json!({&keyid: &secret}).to_string();
            let hub_secrets = "REPLICATOR_HUB_SECRETS".to_owned();
            region.secrets.serving.insert(hub_secrets, keys);
            addresses.push(format!("{}={}", region.id, region.replicator_url()));
            let key = json!({"keyid": keyid, "secret": secret});
            secrets.insert(region.id.to_string(), key);
        }
        self.regions = Some(addresses.join(" "));
        self.secrets.serving.insert(
            "REPLICATOR_REGION_SECRETS".to_owned(),
            Value::Object(secrets).to_string(),
        );
        Ok(())
    }

    /// Starts MirrorMaker 2 from the hub to here.
    pub async fn start_mirror(&mut self, hub: &Kafka) -> Result<()> {
        let log = self.log_dir.join(format!("{}-mirror.log", self.id));
        self.mirror = Some(Mirror::start(hub, &self.kafka, &log).await?);
        Ok(())
    }

    /// Starts `replicator relay` in the hub, `replicator apply` elsewhere, and waits until it answers.
    pub async fn start_replicator(&mut self) -> Result<()> {
        self.replicator = Some(self.service()?.start().await?);
        Ok(())
    }

    /// The replicator's process.
    pub fn replicator(&mut self) -> Result<&mut Process> {
        self.replicator
            .as_mut()
            .context("the replicator is not running")
    }

    /// Where the replicator's metrics are.
    #[must_use]
    pub fn replicator_url(&self) -> String {
        local_url(self.port)
    }

    /// Where the replicator listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the replicator is given in confidence.
    #[must_use]
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Runs a command of the replicator to its end, whatever that is.
    pub fn try_run(&self, arguments: &[&str]) -> Result<Output> {
        self.service()?.try_run(arguments)
    }

    /// Runs a command of the replicator that must succeed; gives what it printed.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        self.service()?.run(arguments)
    }

    /// The region's database, as its administrator.
    pub async fn database(&self) -> Result<PgPool> {
        Ok(PgPoolOptions::new()
            .max_connections(4)
            .connect(&self.admin_url)
            .await?)
    }

    /// All processes, by what they are, to be detached, kept or stopped by whoever comes later.
    pub fn processes(&mut self) -> impl Iterator<Item = (&'static str, &mut Process)> {
        [Some(("kafka", self.kafka.process()))]
            .into_iter()
            .chain([
                self.mirror
                    .as_mut()
                    .map(|mirror| ("mirror", mirror.process())),
                self.replicator
                    .as_mut()
                    .map(|process| ("replicator", process)),
            ])
            .flatten()
    }

    /// The variables of this region's replicator, those of its set-up too.
    pub fn environment(&self) -> Result<Variables> {
        Ok(self.service()?.variables().clone())
    }

    fn service(&self) -> Result<Replicator> {
        let user = if self.is_hub {
            KafkaUser::Relay
        } else {
            KafkaUser::Applier
        };
        let place = ReplicatorPlace {
            region: &self.id,
            is_hub: self.is_hub,
            port: self.port,
            server: self.server.clone(),
            kafka: self.kafka.bootstrap(),
            credentials: self.kafka.credentials(user),
            regions: self.regions.clone(),
            log: self.log_dir.join(format!("{}-replicator.log", self.id)),
        };
        Replicator::new(place, &self.secrets)
    }
}
