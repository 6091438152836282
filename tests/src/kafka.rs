//! A Kafka broker: the real one from Maven, a single node that is its own controller, with a data folder
//! of its own.
//!
//! Who may do what is as in production: everybody says who they are, and nobody may do more than the
//! part needs (`kafka/acl.rs`). Only the encryption is missing, for nothing leaves the machine.

mod acl;
mod wire;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use infra::registry::Role;
use protocol::RegionId;

use crate::checkout;
use crate::link::Link;
use crate::ports::{Listener, Ports};
use crate::process::Process;
use crate::secrets::{random_hex, write_private};

/// Who connects to a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KafkaUser {
    /// The operator, who may do anything; the broker itself, too.
    Admin,
    /// `replicator relay`: writes master data in the hub.
    Relay,
    /// `replicator apply`: reads master data in its own region.
    Applier,
    /// MirrorMaker 2: reads in the hub what it writes in the region.
    Mirror,
}

impl KafkaUser {
    const ALL: [Self; 4] = [Self::Admin, Self::Relay, Self::Applier, Self::Mirror];

    /// The name by which the broker knows the user.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Relay => "relay",
            Self::Applier => "applier",
            Self::Mirror => "mirror",
        }
    }
}

/// A broker of one region.
#[derive(Debug)]
pub struct Kafka {
    id: RegionId,
    process: Process,
    directory: PathBuf,
    port: u16,
    /// Where those from other regions begin.
    advertised_port: u16,
    /// In the order of [`KafkaUser::ALL`].
    passwords: [String; 4],
    log: PathBuf,
}

impl Kafka {
    /// Starts the broker of a region that the registry knows, with the rights of its role. A data folder
    /// of this name and region is made anew: what a platform holds is demonstration data. `index` numbers
    /// the regions of one platform. `link` is how those from other regions come, if not straight.
    pub async fn start(
        id: &RegionId,
        name: &str,
        (ports, index): (Ports, u16),
        link: Option<&Link>,
        log: &Path,
    ) -> Result<Self> {
        let rights = rights_in(id)?;
        let port = ports.take(Listener::Kafka(index), &format!("Kafka of {id}"))?;
        let controller_port = ports.take(
            Listener::KafkaController(index),
            &format!("Kafka controller of {id}"),
        )?;
        let outside_port = ports.take(
            Listener::KafkaOutside(index),
            &format!("Kafka of {id} for other regions"),
        )?;
        let advertised_port = link.map_or(outside_port, Link::port);
        if let Some(link) = link {
            link.lead_to(outside_port);
        }
        let directory = checkout::run_dir("kafka")?.join(format!("{name}-{id}"));
        if directory.exists() {
            fs::remove_dir_all(&directory)
                .with_context(|| format!("cannot remove {}", directory.display()))?;
        }
        fs::create_dir_all(&directory)?;
        let passwords = [random_hex()?, random_hex()?, random_hex()?, random_hex()?];
        let addresses = Addresses {
            port,
            controller_port,
            outside_port,
            advertised_port,
        };
        let settings = server_properties(addresses, &directory.join("data"), &passwords);
        write_private(&directory.join("server.properties"), &settings)?;
        for (user, password) in KafkaUser::ALL.iter().zip(&passwords) {
            let settings = format!(
                "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.jaas.config={}\n",
                plain_login(user.name(), password, "")
            );
            write_private(&client_properties(&directory, *user), &settings)?;
        }
        format(&directory)?;
        let process = spawn(id, &directory, log)?;
        let mut kafka = Self {
            id: id.clone(),
            process,
            directory,
            port,
            advertised_port,
            passwords,
            log: log.to_owned(),
        };
        kafka.wait_until_ready().await?;
        acl::grant(&mut kafka.admin().await?, &rights).await?;
        Ok(kafka)
    }

    /// The region's id.
    #[must_use]
    pub fn id(&self) -> &RegionId {
        &self.id
    }

    /// Where clients begin.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where those from other regions begin: MirrorMaker 2.
    #[must_use]
    pub fn bootstrap_outside(&self) -> String {
        format!("127.0.0.1:{}", self.advertised_port)
    }

    /// A user's name and password (SASL/PLAIN, `SASL_PLAINTEXT`).
    #[must_use]
    pub fn credentials(&self, user: KafkaUser) -> (&str, &str) {
        let [admin, relay, applier, mirror] = &self.passwords;
        let password = match user {
            KafkaUser::Admin => admin,
            KafkaUser::Relay => relay,
            KafkaUser::Applier => applier,
            KafkaUser::Mirror => mirror,
        };
        (user.name(), password)
    }

    /// The settings with which Kafka's own programs connect as a user (`--command-config`).
    #[must_use]
    pub fn client_properties(&self, user: KafkaUser) -> PathBuf {
        client_properties(&self.directory, user)
    }

    /// The folder of the broker's data and settings.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The process, to be detached, stopped or looked at.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Kills the broker with SIGKILL, as a power cut would.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Stops the broker in order.
    pub fn stop(&mut self) -> Result<()> {
        stop(&mut self.process)
    }

    /// Starts the broker on the data that it left, at the same address, and waits until it answers.
    pub async fn start_again(&mut self) -> Result<()> {
        self.process = spawn(&self.id, &self.directory, &self.log)?;
        self.wait_until_ready().await
    }

    /// Stops the broker and removes its data.
    pub fn remove(mut self) -> Result<()> {
        // Whatever it might still write is not wanted. It may have been stopped before.
        let _ = self.process.kill();
        fs::remove_dir_all(&self.directory)?;
        Ok(())
    }

    /// A broker that lets a user log in serves: it takes connections only once it is part of its cluster.
    async fn wait_until_ready(&mut self) -> Result<()> {
        let (port, password) = (self.port, self.passwords[0].clone());
        self.process
            .wait_until("ready", || async {
                wire::Connection::open(port, KafkaUser::Admin.name(), &password)
                    .await
                    .ok()
            })
            .await?;
        Ok(())
    }

    async fn admin(&self) -> Result<wire::Connection> {
        let (name, password) = self.credentials(KafkaUser::Admin);
        wire::Connection::open(self.port, name, password).await
    }
}

/// How long a program of Kafka's may take to end in order.
const STOP_PATIENCE: Duration = Duration::from_secs(15);

/// Stops a JVM in order. One that a shell started in its background ignores SIGINT, so SIGTERM is sent
/// first.
pub(crate) fn stop(process: &mut Process) -> Result<()> {
    let _ = process.signal(nix::sys::signal::Signal::SIGTERM);
    process.stop(STOP_PATIENCE)?;
    Ok(())
}

/// A program of Kafka's, by the name of its class: the broker, a tool, MirrorMaker 2.
pub fn java(class: &str) -> Result<Command> {
    let arguments = checkout::root().join(".toolchain/kafka/jvm.args");
    ensure!(
        arguments.exists(),
        ".toolchain/kafka is missing: run 'make setup'"
    );
    let mut command = Command::new("java");
    command
        .arg(format!("@{}", arguments.display()))
        .arg(class)
        // The C library would keep tens of megabytes for the JVM's threads.
        .env("MALLOC_ARENA_MAX", "2");
    Ok(command)
}

/// The line with which a program of Kafka's logs in; `others` are the users that a broker lets in.
fn plain_login(user: &str, password: &str, others: &str) -> String {
    format!(
        "org.apache.kafka.common.security.plain.PlainLoginModule required \
         username=\"{user}\" password=\"{password}\"{others};"
    )
}

fn client_properties(directory: &Path, user: KafkaUser) -> PathBuf {
    directory.join(format!("{}.properties", user.name()))
}

fn rights_in(id: &RegionId) -> Result<Vec<acl::Right>> {
    let registry = infra::registry::read(&checkout::root().join("infra/regions"))
        .map_err(|mistakes| anyhow!(mistakes.join("\n")))?;
    let hub = registry
        .iter()
        .find(|region| region.role == Role::Hub)
        .context("infra/regions: no region is the hub")?;
    let region = registry
        .iter()
        .find(|region| region.id == *id)
        .with_context(|| format!("infra/regions: no region {id}"))?;
    Ok(match region.role {
        Role::Hub => acl::in_the_hub(),
        Role::Spoke => acl::in_a_spoke(&hub.id),
    })
}

/// Where a broker listens.
#[derive(Clone, Copy)]
struct Addresses {
    port: u16,
    controller_port: u16,
    outside_port: u16,
    /// As which port the outside is reached.
    advertised_port: u16,
}

/// Small, and quick to start. Every setting with a 1 is for a cluster of one.
fn server_properties(addresses: Addresses, data: &Path, passwords: &[String; 4]) -> String {
    let Addresses {
        port,
        controller_port,
        outside_port,
        advertised_port,
    } = addresses;
    let [admin, ..] = passwords;
    let letting_in = |users: &[KafkaUser]| {
        let users = KafkaUser::ALL
            .iter()
            .zip(passwords)
            .filter(|(user, _)| users.contains(user))
            .map(|(user, password)| format!(" user_{}=\"{password}\"", user.name()));
        plain_login("admin", admin, &users.collect::<String>())
    };
    let everybody = letting_in(&KafkaUser::ALL);
    let itself = letting_in(&[KafkaUser::Admin]);
    let mirrors = letting_in(&[KafkaUser::Mirror]);
    let data = data.display();
    format!(
        "\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=BROKER://127.0.0.1:{port},OUTSIDE://127.0.0.1:{outside_port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=BROKER://127.0.0.1:{port},OUTSIDE://127.0.0.1:{advertised_port}
listener.security.protocol.map=BROKER:SASL_PLAINTEXT,OUTSIDE:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
early.start.listeners=CONTROLLER
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
sasl.mechanism.controller.protocol=PLAIN
listener.name.broker.plain.sasl.jaas.config={everybody}
listener.name.outside.plain.sasl.jaas.config={mirrors}
listener.name.controller.plain.sasl.jaas.config={itself}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:admin
log.dirs={data}
# A topic that made itself would be kept for a week only: master data must be compacted.
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
# A killed broker's successor is let in when the dead one's session is over.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
num.network.threads=2
num.io.threads=4
background.threads=2
log.cleaner.dedupe.buffer.size=4194304
# Tests wait for what is compacted away.
log.cleaner.backoff.ms=500
"
    )
}

/// Prepares the data folder, once.
fn format(directory: &Path) -> Result<()> {
    // 16 bytes in URL-safe base64, as which hex digits pass.
    let cluster_id = random_hex()?.chars().take(22).collect::<String>();
    let output = java("kafka.tools.StorageTool")?
        .args(["format", "--cluster-id", &cluster_id, "--config"])
        .arg(directory.join("server.properties"))
        .output()
        .context("cannot start java")?;
    ensure!(
        output.status.success(),
        "Kafka's StorageTool: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn spawn(id: &RegionId, directory: &Path, log: &Path) -> Result<Process> {
    let mut command = java("kafka.Kafka")?;
    command.arg(directory.join("server.properties"));
    Process::start(&format!("Kafka of {id}"), command, log)
}
