//! MirrorMaker 2 between the hub's Kafka and a region's: the real program, with the settings that
//! `smpctl render` made, of which only what differs on this machine is replaced.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use infra::registry::SaslMechanism;
use protocol::RegionId;

use crate::checkout;
use crate::kafka::{self, Kafka, KafkaUser};
use crate::process::Process;
use crate::secrets::write_private;

/// A MirrorMaker 2 that is to run.
#[derive(Debug)]
pub struct Plan {
    region: RegionId,
    settings: PathBuf,
    text: String,
    /// The credentials, by the names that the settings have for them.
    environment: [(&'static str, String); 4],
    log: PathBuf,
}

impl Plan {
    /// What is rendered for a region, with the addresses of these brokers.
    pub fn new(rendered: &Path, hub: &Kafka, region: &Kafka, log: &Path) -> Result<Self> {
        let text = fs::read_to_string(rendered)
            .with_context(|| format!("{}: run 'smpctl render'", rendered.display()))?;
        let text = for_this_machine(&text, hub, region)
            .with_context(|| format!("{}: run 'smpctl render'", rendered.display()))?;
        let (hub_user, hub_password) = hub.credentials(KafkaUser::Mirror);
        let (region_user, region_password) = region.credentials(KafkaUser::Mirror);
        let environment = [
            ("MM2_HUB_USERNAME", hub_user),
            ("MM2_HUB_PASSWORD", hub_password),
            ("MM2_REGION_USERNAME", region_user),
            ("MM2_REGION_PASSWORD", region_password),
        ]
        .map(|(name, value)| (name, value.to_owned()));
        Ok(Self {
            region: region.id().clone(),
            settings: region.directory().join("mirror.properties"),
            text,
            environment,
            log: log.to_owned(),
        })
    }

    /// Whether the settings with which it was started last are these.
    #[must_use]
    pub fn is_written(&self) -> bool {
        fs::read_to_string(&self.settings).is_ok_and(|text| text == self.text)
    }

    /// What mirrors.
    pub fn command(&self) -> Result<Command> {
        let mut command = kafka::java("org.apache.kafka.connect.mirror.MirrorMaker")?;
        command
            .arg(&self.settings)
            .args(["--clusters", self.region.as_str()])
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// Starts it and waits until it mirrors.
    pub async fn start(self) -> Result<Mirror> {
        write_private(&self.settings, &self.text)?;
        let written = length(&self.log);
        let process = self.spawn()?;
        let mut mirror = Mirror {
            process,
            plan: self,
        };
        mirror.wait_until_ready(written).await?;
        Ok(mirror)
    }

    fn spawn(&self) -> Result<Process> {
        let name = format!("MirrorMaker 2 of {}", self.region);
        Process::start(&name, self.command()?, &self.log)
    }
}

/// A MirrorMaker 2 of one region.
#[derive(Debug)]
pub struct Mirror {
    process: Process,
    plan: Plan,
}

impl Mirror {
    /// Starts the region's MirrorMaker 2, as it is rendered in the checkout, and waits until it mirrors.
    pub async fn start(hub: &Kafka, region: &Kafka, log: &Path) -> Result<Self> {
        let rendered = format!("infra/rendered/mm2-{}.properties", region.id());
        let rendered = checkout::root().join(rendered);
        Plan::new(&rendered, hub, region, log)?.start().await
    }

    /// The process, to be detached, stopped or looked at.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Kills MirrorMaker 2 with SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Stops MirrorMaker 2 in order.
    pub fn stop(&mut self) -> Result<()> {
        self.process.terminate(kafka::STOP_PATIENCE)
    }

    /// Starts it where it left off, and waits until it mirrors.
    pub async fn start_again(&mut self) -> Result<()> {
        let written = length(&self.plan.log);
        self.process = self.plan.spawn()?;
        self.wait_until_ready(written).await
    }

    /// `written` is how long the log was before this start: the one before has said the same.
    async fn wait_until_ready(&mut self, written: usize) -> Result<()> {
        let log = &self.plan.log;
        self.process
            .wait_until("mirroring", || async {
                let log = fs::read(log).ok()?;
                let log = String::from_utf8_lossy(log.get(written..)?);
                log.contains("Started MirrorSourceConnector with")
                    .then_some(())
            })
            .await
    }
}

fn length(log: &Path) -> usize {
    fs::read(log).map_or(0, |text| text.len())
}

/// The rendered settings with the addresses of these brokers, which are single, do not encrypt
/// and take passwords as they are.
fn for_this_machine(rendered: &str, hub: &Kafka, region: &Kafka) -> Result<String> {
    let mut addresses = 0;
    let mut text = String::new();
    for line in rendered.lines() {
        let key = line.split_once(" = ").map_or("", |(key, _value)| key);
        let of = |kafka: &Kafka, what: &str| key == format!("{}.{what}", kafka.id());
        let either = |what: &str| of(hub, what) || of(region, what);
        let value = if of(hub, "bootstrap.servers") {
            addresses += 1;
            Some(hub.bootstrap_outside())
        } else if of(region, "bootstrap.servers") {
            addresses += 1;
            Some(region.bootstrap())
        } else if either("security.protocol") {
            Some("SASL_PLAINTEXT".to_owned())
        } else if either("sasl.mechanism") {
            Some("PLAIN".to_owned())
        } else if either("sasl.jaas.config") {
            let (_, value) = line.split_once(" = ").unwrap_or_default();
            let (scram, plain) = (SaslMechanism::ScramSha512, SaslMechanism::Plain);
            Some(value.replace(scram.login_module(), plain.login_module()))
        } else if key.ends_with("replication.factor") {
            Some("1".to_owned())
        } else {
            None
        };
        match value {
            Some(value) => text.extend([key, " = ", &value, "\n"]),
            None => text.extend([line, "\n"]),
        }
    }
    ensure!(addresses == 2, "{addresses} of the 2 addresses are there");
    Ok(text)
}
