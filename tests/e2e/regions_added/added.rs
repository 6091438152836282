//! The region smp-us, which the checkout does not have: its file, what is rendered of it, its secrets, and the commands
//! that bring it up.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use platform::process::alive::writers;
use platform::process::record::Records;
use platform::secrets::{random_bytes, random_hex};
use platform::system::System;
use platform::{checkout, variables};
use protocol::at_rest::AtRestKeys;
use protocol::sealed::OpeningKey;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// What runs of a region, in the order in which it is started.
pub(super) const PROCESSES: [&str; 5] = ["postgres", "kafka", "core", "replicator", "mirror"];

/// The folder of somebody who adds a region.
pub(super) struct Added {
    /// The platform's folder.
    pub(super) run: PathBuf,
    folder: PathBuf,
    pub(super) sealing_key: String,
    /// Of the hops from the edge, and from the hub.
    hop: String,
    hub: String,
}

impl Added {
    pub(super) async fn prepare(system: &System) -> Self {
        let run = system.directory().to_owned();
        let folder = run.join("operator");
        let regions = folder.join("infra/regions");
        fs::create_dir_all(&regions).unwrap();
        let own = checkout::root().join("infra/regions");
        for file in fs::read_dir(&own).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), regions.join(file.file_name())).unwrap();
        }
        let mut us = fs::read_to_string(own.join("smp-china.toml")).unwrap();
        for (from, to) in [
            ("smp-china", "smp-us"),
            ("\"CN\"", "\"US\""),
            ("spool = \"off\"", "spool = \"sealed\""),
            ("198.51.100.20", "198.51.100.30"),
        ] {
            assert!(us.contains(from), "{from}");
            us = us.replace(from, to);
        }
        fs::write(regions.join("smp-us.toml"), us).unwrap();
        let key = OpeningKey::derive("smp-us-1", &random_bytes().unwrap()).unwrap();
        let added = Self {
            run,
            folder,
            sealing_key: key.sealing_key().to_string(),
            hop: random_hex().unwrap(),
            hub: random_hex().unwrap(),
        };
        added.write_secrets(&key);
        let rendered = Command::new(checkout::built_program("smpctl").unwrap())
            .current_dir(&added.folder)
            .args(["render", "--regions", "infra/regions"])
            .args(["--into", "infra/rendered"])
            .output();
        let rendered = rendered.await.unwrap();
        assert!(rendered.status.success(), "{rendered:?}");
        added
    }

    /// As they are for production, where the region's PostgreSQL has another name.
    fn write_secrets(&self, opening_key: &OpeningKey) {
        let url = |role: &str| {
            format!(
                "postgres://{role}:{}@postgres-rw.smp-us.svc/smp?sslmode=verify-full&sslrootcert=/etc/ca.crt",
                random_hex().unwrap()
            )
        };
        let (hop, hub) = (&self.hop, &self.hub);
        let at_rest = AtRestKeys::expose_key("smp-us-1", &random_bytes().unwrap());
        let folder = self.secrets().join("smp-us");
        fs::create_dir_all(&folder).unwrap();
        let write = |file: &str, lines: &[(&str, String)]| {
            let lines = lines
                .iter()
                .map(|(name, value)| format!("{name}='{value}'\n"));
            fs::write(folder.join(file), lines.collect::<String>()).unwrap();
        };
        write(
            "core.env",
            &[
                ("CORE_DATABASE_URL", url("core_app")),
                ("CORE_HOP_SECRETS", json!({"smp-us-1": hop}).to_string()),
                ("CORE_OPENING_KEYS", opening_key.expose()),
                ("CORE_AT_REST_KEYS", json!([at_rest]).to_string()),
            ],
        );
        let owner = url("core_owner");
        write("core-setup.env", &[("CORE_OWNER_DATABASE_URL", owner)]);
        write(
            "replicator.env",
            &[
                (
                    "REPLICATOR_APPLIER_DATABASE_URL",
                    url("master_data_applier"),
                ),
                (
                    "REPLICATOR_HUB_SECRETS",
                    json!({"smp-us-1": hub}).to_string(),
                ),
            ],
        );
        write(
            "replicator-setup.env",
            &[
                ("REPLICATOR_OWNER_DATABASE_URL", url("master_data_owner")),
                ("REPLICATOR_RELAY_DATABASE_URL", url("master_data_relay")),
            ],
        );
    }

    /// Gives the hub and the Worker a key for the region, beside those that the platform has written down.
    pub(super) fn introduce(&self) {
        let file = self.secrets().join("smp-asia/replicator.env");
        let mut variables = variables::read(&file).unwrap();
        let keys = variables.get_mut("REPLICATOR_REGION_SECRETS").unwrap();
        *keys = with_key(keys, &self.hub);
        variables::write(&file, &variables).unwrap();
        let edge = self.secrets().join("edge.json");
        let text = fs::read_to_string(&edge).unwrap();
        let mut secrets: BTreeMap<String, String> = serde_json::from_str(&text).unwrap();
        let keys = secrets.get_mut("HOP_SECRETS").unwrap();
        *keys = with_key(keys, &self.hop);
        fs::write(edge, serde_json::to_string(&secrets).unwrap()).unwrap();
    }

    pub(super) fn secrets(&self) -> PathBuf {
        self.run.join("secrets")
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(checkout::built_program("platform").unwrap());
        command
            .current_dir(&self.folder)
            .arg("region")
            .args(arguments.split(' '))
            .args(["--run", ".."])
            .stdin(Stdio::null());
        if arguments.starts_with("up") {
            command.args(["--regions", "infra/regions", "--rendered", "infra/rendered"]);
        }
        if !arguments.starts_with("down") {
            command.args(["--secrets", "../secrets"]);
        }
        command
    }

    /// Runs `platform region` to its end; gives whether it succeeded, and all that it said.
    pub(super) async fn try_run(&self, arguments: &str) -> (bool, String) {
        let output = self.command(arguments).kill_on_drop(true).output();
        let output = timeout(PATIENCE, output).await.unwrap().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        (output.status.success(), said)
    }

    pub(super) async fn run(&self, arguments: &str) -> String {
        let (is_done, said) = self.try_run(arguments).await;
        assert!(is_done, "{arguments}: {said}");
        said
    }

    /// Runs it until it says something and, if a log is named, something new writes into that; then kills it.
    pub(super) async fn kill_at(&self, arguments: &str, line: &str, log: Option<&str>) {
        let writing = || log.map_or_else(Vec::new, |what| writers(&self.log(what)));
        let before = writing();
        let mut child = self
            .command(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let killing = async {
            let _reader = wait_for_line(&mut child, line).await;
            while log.is_some() && writing().iter().all(|pid| before.contains(pid)) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            child.start_kill().unwrap();
            child.wait().await.unwrap()
        };
        let status = timeout(PATIENCE, killing).await.unwrap();
        assert_eq!(
            status.signal(),
            Some(9),
            "{arguments} ended before it was killed"
        );
    }

    fn log(&self, what: &str) -> PathBuf {
        self.run.join(format!("logs/smp-us-{what}.log"))
    }

    /// How many processes write into a log of the region's.
    pub(super) fn writers(&self, what: &str) -> usize {
        writers(&self.log(what)).len()
    }

    /// The ids of a region's processes, all of which must be alive.
    pub(super) fn pids(&self, region: &str) -> BTreeMap<String, i32> {
        let mut records = Records::of(&self.run).all().unwrap();
        records.retain(|name, _| name.starts_with(region));
        assert!(
            records
                .values()
                .all(platform::process::record::Record::is_alive)
        );
        let pid = |(name, record): (String, platform::process::record::Record)| {
            let what = name.strip_prefix(region).unwrap();
            (
                what.trim_start_matches('-').to_owned(),
                record.pid().as_raw(),
            )
        };
        records.into_iter().map(pid).collect()
    }

    /// A variable of `platform.env`, which stands there once; none if it does not.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        let variables = variables::read(&self.run.join("platform.env")).unwrap();
        variables.get(name).cloned()
    }

    pub(super) fn cores(&self) -> Value {
        read_json(&self.run.join("cores.json"))
    }
}

pub(super) fn read_json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// A document of keys with one for the new region.
fn with_key(document: &str, secret: &str) -> String {
    let mut keys: Value = serde_json::from_str(document).unwrap();
    keys["smp-us"] = json!({"keyid": "smp-us-1", "secret": secret});
    keys.to_string()
}

/// Gives who reads, so that what is said later is no failure.
async fn wait_for_line(child: &mut Child, line: &str) -> Lines<BufReader<ChildStdout>> {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while let Some(said) = lines.next_line().await.unwrap() {
        if said.contains(line) {
            return lines;
        }
    }
    panic!("it ended without saying {line:?}");
}
