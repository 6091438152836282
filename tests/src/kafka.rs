//! A Kafka broker: the real one from Maven, a single node that is its own controller, with a data folder
//! of its own.
//!
//! Who may do what is as in production: everybody says who they are, and nobody may do more than the
//! part needs (`kafka/acl.rs`). Only the encryption is missing, for nothing leaves the machine.

mod acl;
mod place;
mod settings;
mod users;
mod wire;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use protocol::RegionId;

use crate::checkout;
use crate::link::Link;
use crate::ports::Ports;
use crate::process::Process;
use crate::secrets::{random_hex, write_private};

pub use place::Place;
pub use users::{KafkaUser, Part};

use settings::{plain_login, server_properties};

/// A broker of one region.
#[derive(Debug)]
pub struct Kafka {
    id: RegionId,
    process: Process,
    directory: PathBuf,
    place: Place,
    /// Where those from other regions begin.
    advertised_port: u16,
    log: PathBuf,
}

impl Kafka {
    /// Starts the broker of a region, with the rights of its part. A data folder of this name and region is made anew:
    /// what a platform holds is demonstration data. `index` numbers the regions of one platform. `link` is how those
    /// from other regions come, if not straight.
    pub async fn start(
        id: &RegionId,
        part: Part<'_>,
        name: &str,
        (ports, index): (Ports, u16),
        link: Option<&Link>,
        log: &Path,
    ) -> Result<Self> {
        let place = Place::take(id, ports, index)?;
        if let Some(link) = link {
            link.lead_to(place.outside_port);
        }
        remove_data(id, name)?;
        let advertised_port = link.map_or(place.outside_port, Link::port);
        Self::start_at(id, part, name, (place, advertised_port), log).await
    }

    /// The same on the data that are there, if there are any.
    pub async fn open(
        id: &RegionId,
        part: Part<'_>,
        name: &str,
        place: Place,
        log: &Path,
    ) -> Result<Self> {
        if !directory_of(id, name)?.join(FORMATTED).exists() {
            remove_data(id, name)?;
        }
        let advertised_port = place.outside_port;
        Self::start_at(id, part, name, (place, advertised_port), log).await
    }

    async fn start_at(
        id: &RegionId,
        part: Part<'_>,
        name: &str,
        (place, advertised_port): (Place, u16),
        log: &Path,
    ) -> Result<Self> {
        let directory = directory_of(id, name)?;
        fs::create_dir_all(&directory)?;
        let settings = server_properties(&place, advertised_port, &directory.join("data"));
        write_private(&directory.join("server.properties"), &settings)?;
        for (user, password) in KafkaUser::ALL.iter().zip(&place.passwords) {
            let settings = format!(
                "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.jaas.config={}\n",
                plain_login(user.name(), password, "")
            );
            write_private(&client_properties(&directory, *user), &settings)?;
        }
        let formatted = directory.join(FORMATTED);
        if !formatted.exists() {
            format(&directory, log)?;
            fs::write(formatted, "")?;
        }
        let process = spawn(id, &directory, log)?;
        let mut kafka = Self {
            id: id.clone(),
            process,
            directory,
            place,
            advertised_port,
            log: log.to_owned(),
        };
        kafka.wait_until_ready().await?;
        acl::grant(&mut kafka.admin().await?, &part.rights()).await?;
        Ok(kafka)
    }

    /// A broker that runs, whoever started it.
    pub async fn find(
        id: &RegionId,
        name: &str,
        place: Place,
        process: Process,
        log: &Path,
    ) -> Result<Self> {
        let mut kafka = Self {
            id: id.clone(),
            process,
            directory: directory_of(id, name)?,
            advertised_port: place.outside_port,
            place,
            log: log.to_owned(),
        };
        kafka.wait_until_ready().await?;
        Ok(kafka)
    }

    /// Where it listens, and the passwords.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The region's id.
    #[must_use]
    pub fn id(&self) -> &RegionId {
        &self.id
    }

    /// Where clients begin.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.place.port)
    }

    /// Where those from other regions begin: MirrorMaker 2.
    #[must_use]
    pub fn bootstrap_outside(&self) -> String {
        format!("127.0.0.1:{}", self.advertised_port)
    }

    /// A user's name and password (SASL/PLAIN, `SASL_PLAINTEXT`).
    #[must_use]
    pub fn credentials(&self, user: KafkaUser) -> (&str, &str) {
        let [admin, relay, applier, mirror] = &self.place.passwords;
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
        self.process.terminate(STOP_PATIENCE)
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
        let [password, ..] = &self.place.passwords;
        let port = self.place.port;
        self.process
            .wait_until("ready", || async {
                wire::Connection::open(port, KafkaUser::Admin.name(), password)
                    .await
                    .ok()
            })
            .await?;
        Ok(())
    }

    async fn admin(&self) -> Result<wire::Connection> {
        let (name, password) = self.credentials(KafkaUser::Admin);
        wire::Connection::open(self.place.port, name, password).await
    }
}

/// How long a program of Kafka's may take to end in order.
pub const STOP_PATIENCE: Duration = Duration::from_secs(15);

/// The file that says that the data folder is whole.
const FORMATTED: &str = "formatted";

/// Removes the data of a broker that does not run.
pub fn remove_data(id: &RegionId, name: &str) -> Result<()> {
    let directory = directory_of(id, name)?;
    if directory.exists() {
        fs::remove_dir_all(&directory)
            .with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    Ok(())
}

fn directory_of(id: &RegionId, name: &str) -> Result<PathBuf> {
    Ok(checkout::run_dir("kafka")?.join(format!("{name}-{id}")))
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

fn client_properties(directory: &Path, user: KafkaUser) -> PathBuf {
    directory.join(format!("{}.properties", user.name()))
}

/// Prepares the data folder, once.
fn format(directory: &Path, log: &Path) -> Result<()> {
    // 16 bytes in URL-safe base64, as which hex digits pass.
    let cluster_id = random_hex()?.chars().take(22).collect::<String>();
    let mut command = java("kafka.tools.StorageTool")?;
    command
        .args(["format", "--cluster-id", &cluster_id, "--config"])
        .arg(directory.join("server.properties"));
    Process::run("Kafka's StorageTool", command, log)
}

fn spawn(id: &RegionId, directory: &Path, log: &Path) -> Result<Process> {
    let mut command = java("kafka.Kafka")?;
    command.arg(directory.join("server.properties"));
    Process::start(&format!("Kafka of {id}"), command, log)
}
