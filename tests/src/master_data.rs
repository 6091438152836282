//! Master data in one region: its Kafka, its replicator, and, behind the hub, its MirrorMaker 2.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use protocol::RegionId;
use serde_json::{Map, Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::checkout;
use crate::kafka::{Kafka, KafkaUser};
use crate::link::Link;
use crate::mirror::Mirror;
use crate::ports::{Listener, Ports};
use crate::postgres::Postgres;
use crate::process::Process;
use crate::secrets::random_hex;

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
    environment: Environment,
    admin_url: String,
    port: u16,
    log_dir: PathBuf,
}

/// The variables that a replicator reads.
pub type Environment = Vec<(&'static str, String)>;

/// How often the hub's relay sends heartbeats and digests here: often, for people and tests that wait.
const HEARTBEAT_MS: &str = "500";
const DIGEST_MS: &str = "2000";
/// How often it asks the regions how far they are, and waits before it sends all rows to them again.
const ASK_MS: &str = "500";
const RESTATE_PAUSE_MS: &str = "5000";

impl Node {
    /// Starts the broker, and makes roles, schema and, in the hub, the first rows in `database`, which must
    /// be there. Starts no replicator yet. `link` is how those from other regions come, if not straight.
    pub async fn start(
        id: &RegionId,
        is_hub: bool,
        (postgres, database): (&Postgres, &str),
        (ports, index): (Ports, u16),
        link: Option<&Link>,
        log_dir: &Path,
        name: &str,
    ) -> Result<Self> {
        let kafka_log = log_dir.join(format!("{id}-kafka.log"));
        let kafka = Kafka::start(id, name, (ports, index), link, &kafka_log).await?;
        let port = ports.take(Listener::Replicator(index), &format!("replicator of {id}"))?;
        let admin_url = postgres.admin_url(database);
        let mut environment = vec![
            ("REPLICATOR_REGION", id.to_string()),
            ("REPLICATOR_ADMIN_DATABASE_URL", admin_url.clone()),
            ("REPLICATOR_KAFKA", kafka.bootstrap()),
            ("REPLICATOR_LISTEN", format!("127.0.0.1:{port}")),
            ("REPLICATOR_TOPIC_REPLICATION", "1".to_owned()),
            ("REPLICATOR_HEARTBEAT_MS", HEARTBEAT_MS.to_owned()),
            ("REPLICATOR_DIGEST_MS", DIGEST_MS.to_owned()),
            ("REPLICATOR_ASK_MS", ASK_MS.to_owned()),
            ("REPLICATOR_RESTATE_PAUSE_MS", RESTATE_PAUSE_MS.to_owned()),
        ];
        for (variable, role) in [
            ("REPLICATOR_OWNER_DATABASE_URL", "master_data_owner"),
            ("REPLICATOR_RELAY_DATABASE_URL", "master_data_relay"),
            ("REPLICATOR_APPLIER_DATABASE_URL", "master_data_applier"),
        ] {
            environment.push((variable, postgres.url(role, &random_hex()?, database)));
        }
        let user = if is_hub {
            KafkaUser::Relay
        } else {
            KafkaUser::Applier
        };
        let (user, password) = kafka.credentials(user);
        environment.push(("REPLICATOR_KAFKA_USER", user.to_owned()));
        environment.push(("REPLICATOR_KAFKA_PASSWORD", password.to_owned()));
        let node = Self {
            id: id.clone(),
            is_hub,
            kafka,
            mirror: None,
            replicator: None,
            environment,
            admin_url,
            port,
            log_dir: log_dir.to_owned(),
        };
        node.run(&["provision"])?;
        if is_hub {
            node.run(&["migrate", "--part", "hub"])?;
            node.run(&["seed"])?;
        } else {
            node.run(&["migrate", "--part", "region"])?;
        }
        Ok(node)
    }

    /// Tells the hub's relay, before it starts, whom to ask how far they are, and those whom to answer.
    pub fn introduce<'n>(&mut self, regions: impl IntoIterator<Item = &'n mut Self>) -> Result<()> {
        let (mut addresses, mut secrets) = (Vec::new(), Map::new());
        for region in regions {
            let secret = random_hex()?;
            let keyid = format!("{}-1", region.id);
            let keys = json!({&keyid: &secret}).to_string();
            region.environment.push(("REPLICATOR_HUB_SECRETS", keys));
            addresses.push(format!("{}={}", region.id, region.replicator_url()));
            let key = json!({"keyid": keyid, "secret": secret});
            secrets.insert(region.id.to_string(), key);
        }
        let secrets = Value::Object(secrets).to_string();
        self.environment
            .push(("REPLICATOR_REGIONS", addresses.join(" ")));
        self.environment
            .push(("REPLICATOR_REGION_SECRETS", secrets));
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
        let mut command = command(&self.environment)?;
        command.arg(if self.is_hub { "relay" } else { "apply" });
        let log = self.log_dir.join(format!("{}-replicator.log", self.id));
        let mut process = Process::start(&format!("replicator of {}", self.id), command, &log)?;
        let url = format!("{}/healthz", self.replicator_url());
        process
            .wait_until("answering", || async {
                let response = reqwest::get(&url).await.ok()?;
                response.status().is_success().then_some(())
            })
            .await?;
        self.replicator = Some(process);
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
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Runs a command of the replicator to its end, whatever that is.
    pub fn try_run(&self, arguments: &[&str]) -> Result<Output> {
        Ok(command(&self.environment)?.args(arguments).output()?)
    }

    /// Runs a command of the replicator that must succeed; gives what it printed.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.try_run(arguments)?;
        ensure!(
            output.status.success(),
            "replicator {} in {}: {}{}",
            arguments.join(" "),
            self.id,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The region's database, as its administrator.
    pub async fn database(&self) -> Result<PgPool> {
        Ok(PgPoolOptions::new()
            .max_connections(4)
            .connect(&self.admin_url)
            .await?)
    }

    /// All processes, to be detached or stopped by whoever comes later.
    pub fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        [Some(self.kafka.process())]
            .into_iter()
            .chain([
                self.mirror.as_mut().map(Mirror::process),
                self.replicator.as_mut(),
            ])
            .flatten()
    }

    /// The variables of this region's replicator.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.environment
    }
}

/// `replicator` with these variables, to be run with arguments.
pub fn command(environment: &Environment) -> Result<Command> {
    let mut command = Command::new(checkout::built_program("replicator")?);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    Ok(command)
}
