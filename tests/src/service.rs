//! A region's own programs: what each is started with, whoever starts it, and how it is seen to be ready.
//!
//! Secrets come in the files that Kubernetes' Secrets are made of (docs/kubernetes.md), two for each program: one for
//! when it serves, and one more for when it sets up.

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use protocol::{Country, RegionId};
use serde::{Deserialize, Serialize};

use crate::checkout;
use crate::process::Process;
use crate::variables::{Variables, database_of, on_this_machine};

/// What a program is given in confidence.
#[derive(Clone, Default)]
pub struct Secrets {
    /// When it serves, and besides.
    pub serving: Variables,
    /// Only when it sets up.
    pub setup: Variables,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.serving.keys().chain(self.setup.keys());
        formatter.debug_set().entries(names).finish()
    }
}

impl Secrets {
    /// The same with the database server of this machine.
    fn here(&self, port: u16) -> Result<Self> {
        let here = |variables: &Variables| {
            variables
                .iter()
                .map(|(name, value)| {
                    let value = if name.ends_with("_DATABASE_URL") {
                        on_this_machine(name, value, port)?
                    } else {
                        value.clone()
                    };
                    Ok((name.clone(), value))
                })
                .collect::<Result<_>>()
        };
        Ok(Self {
            serving: here(&self.serving)?,
            setup: here(&self.setup)?,
        })
    }
}

/// The database server that a program talks to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Server {
    /// Its port.
    pub port: u16,
    /// The password of its superuser.
    pub password: String,
}

impl Server {
    fn admin_url(&self, database: &str) -> String {
        let Self { port, password } = self;
        format!("postgres://postgres:{password}@127.0.0.1:{port}/{database}")
    }
}

/// Where a core is.
#[derive(Debug)]
pub struct CorePlace<'p> {
    /// The region's id.
    pub region: &'p RegionId,
    /// The countries whose data it holds.
    pub countries: &'p [Country],
    /// Where it listens.
    pub port: u16,
    /// Its database.
    pub server: Server,
    /// Where it logs.
    pub log: PathBuf,
}

/// A region's core.
pub struct Core {
    name: String,
    url: String,
    serving: Variables,
    setup: Variables,
    log: PathBuf,
}

impl Core {
    /// What it is started with.
    pub fn new(place: CorePlace<'_>, secrets: &Secrets) -> Result<Self> {
        let countries: Vec<_> = place.countries.iter().map(Country::as_str).collect();
        let secrets = secrets.here(place.server.port)?;
        let mut serving = named([
            ("CORE_REGION", place.region.to_string()),
            ("CORE_COUNTRIES", countries.join(",")),
            ("CORE_LISTEN", format!("127.0.0.1:{}", place.port)),
            // On a developer's machine a refused hop is worth a line.
            (
                "CORE_LOG",
                "info,regional_core::ingest=debug,regional_core::hop=debug".to_owned(),
            ),
        ]);
        serving.extend(secrets.serving);
        let mut setup = serving.clone();
        let admin = place.server.admin_url("postgres");
        setup.insert("CORE_ADMIN_DATABASE_URL".to_owned(), admin);
        setup.extend(secrets.setup);
        Ok(Self {
            name: format!("core of {}", place.region),
            url: local_url(place.port),
            serving,
            setup,
            log: place.log,
        })
    }

    /// What serves.
    pub fn command(&self) -> Result<Command> {
        let mut command = Command::new(checkout::built_program("regional-core")?);
        command.envs(&self.serving).arg("serve");
        Ok(command)
    }

    /// Makes roles, database and schema, or what is missing of them.
    pub fn prepare(&self) -> Result<()> {
        self.run("bootstrap")?;
        self.run("migrate")?;
        Ok(())
    }

    /// Starts it and waits until it is ready.
    pub async fn start(&self) -> Result<Process> {
        let mut process = Process::start(&self.name, self.command()?, &self.log)?;
        wait_for(&mut process, "ready", &format!("{}/readyz", self.url)).await?;
        Ok(process)
    }

    /// Runs a subcommand to its end.
    pub fn run(&self, subcommand: &str) -> Result<String> {
        let output = Command::new(checkout::built_program("regional-core")?)
            .envs(&self.setup)
            .args(subcommand.split(' '))
            .output()?;
        printed(&format!("regional-core {subcommand}"), &output)
    }
}

/// Where a replicator is.
#[derive(Debug)]
pub struct ReplicatorPlace<'p> {
    /// The region's id.
    pub region: &'p RegionId,
    /// Whether master data is written here.
    pub is_hub: bool,
    /// Where it listens.
    pub port: u16,
    /// Its database.
    pub server: Server,
    /// The region's broker.
    pub kafka: String,
    /// Its user there, and the password.
    pub credentials: (&'p str, &'p str),
    /// In the hub, whom it asks how far they are: `REPLICATOR_REGIONS`.
    pub regions: Option<String>,
    /// Where it logs.
    pub log: PathBuf,
}

/// How often the hub's relay sends heartbeats and digests here: often, for people and tests that wait.
const HEARTBEAT_MS: &str = "500";
const DIGEST_MS: &str = "2000";
/// How often it asks the regions how far they are, and waits before it sends all rows to them again.
const ASK_MS: &str = "500";
const RESTATE_PAUSE_MS: &str = "5000";

/// A region's replicator: the relay in the hub, the applier elsewhere.
pub struct Replicator {
    name: String,
    url: String,
    is_hub: bool,
    serving: Variables,
    setup: Variables,
    log: PathBuf,
}

impl Replicator {
    /// What it is started with.
    pub fn new(place: ReplicatorPlace<'_>, secrets: &Secrets) -> Result<Self> {
        let owner = "REPLICATOR_OWNER_DATABASE_URL";
        let owner_url = secrets.setup.get(owner);
        // Schema and rights are made in that database, not in the server's own.
        let database = database_of(owner_url.with_context(|| format!("{owner} is not set"))?);
        let admin = place.server.admin_url(database);
        let secrets = secrets.here(place.server.port)?;
        let (user, password) = place.credentials;
        let mut serving = named([
            ("REPLICATOR_REGION", place.region.to_string()),
            ("REPLICATOR_LISTEN", format!("127.0.0.1:{}", place.port)),
            ("REPLICATOR_KAFKA", place.kafka),
            ("REPLICATOR_KAFKA_USER", user.to_owned()),
            ("REPLICATOR_KAFKA_PASSWORD", password.to_owned()),
            ("REPLICATOR_TOPIC_REPLICATION", "1".to_owned()),
            ("REPLICATOR_HEARTBEAT_MS", HEARTBEAT_MS.to_owned()),
            ("REPLICATOR_DIGEST_MS", DIGEST_MS.to_owned()),
            ("REPLICATOR_ASK_MS", ASK_MS.to_owned()),
            ("REPLICATOR_RESTATE_PAUSE_MS", RESTATE_PAUSE_MS.to_owned()),
        ]);
        let regions = place.regions.map(|regions| (REGIONS.to_owned(), regions));
        serving.extend(regions);
        serving.extend(secrets.serving);
        let mut setup = serving.clone();
        setup.insert("REPLICATOR_ADMIN_DATABASE_URL".to_owned(), admin);
        setup.extend(secrets.setup);
        Ok(Self {
            name: format!("replicator of {}", place.region),
            url: local_url(place.port),
            is_hub: place.is_hub,
            serving,
            setup,
            log: place.log,
        })
    }

    /// What carries master data.
    pub fn command(&self) -> Result<Command> {
        let mut command = replicator(&self.serving)?;
        command.arg(if self.is_hub { "relay" } else { "apply" });
        Ok(command)
    }

    /// All variables, those of the set-up too.
    #[must_use]
    pub fn variables(&self) -> &Variables {
        &self.setup
    }

    /// Makes roles, schema and, in the hub, the first rows, or what is missing of them. The database must be there.
    pub fn prepare(&self) -> Result<()> {
        self.run(&["provision"])?;
        if self.is_hub {
            self.run(&["migrate", "--part", "hub"])?;
            self.run(&["seed"])?;
        } else {
            self.run(&["migrate", "--part", "region"])?;
        }
        Ok(())
    }

    /// Starts it and waits until it answers.
    pub async fn start(&self) -> Result<Process> {
        let mut process = Process::start(&self.name, self.command()?, &self.log)?;
        wait_for(&mut process, "answering", &format!("{}/healthz", self.url)).await?;
        Ok(process)
    }

    /// Runs a command to its end, whatever that is.
    pub fn try_run(&self, arguments: &[&str]) -> Result<Output> {
        Ok(replicator(&self.setup)?.args(arguments).output()?)
    }

    /// Runs a command that must succeed; gives what it printed.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.try_run(arguments)?;
        let what = format!("replicator {} ({})", arguments.join(" "), self.name);
        printed(&what, &output)
    }
}

/// The variable that names the regions which the relay asks.
pub const REGIONS: &str = "REPLICATOR_REGIONS";

/// `replicator` with these variables, to be run with arguments.
pub fn replicator(variables: &Variables) -> Result<Command> {
    let mut command = Command::new(checkout::built_program("replicator")?);
    command.envs(variables);
    Ok(command)
}

/// The origin of a port of this machine.
#[must_use]
pub fn local_url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Waits until a process answers 2xx.
pub async fn wait_for(process: &mut Process, what: &str, url: &str) -> Result<()> {
    process
        .wait_until(what, || async {
            let response = reqwest::get(url).await.ok()?;
            response.status().is_success().then_some(())
        })
        .await
}

fn named<const N: usize>(variables: [(&str, String); N]) -> Variables {
    variables
        .map(|(name, value)| (name.to_owned(), value))
        .into()
}

fn printed(what: &str, output: &Output) -> Result<String> {
    let stdout = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{what}: {stdout}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(stdout.into_owned())
}
