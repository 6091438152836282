//! What is kept of a process that goes on when the one that started it ends.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::alive;
use crate::secrets::write_private;

/// What is started: by it one that runs is told from one that should.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    program: String,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    directory: Option<PathBuf>,
}

impl Launch {
    /// What a command would start.
    #[must_use]
    pub fn of(command: &Command) -> Self {
        let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
        Self {
            program: text(command.get_program()),
            arguments: command.get_args().map(text).collect(),
            environment: command
                .get_envs()
                .filter_map(|(name, value)| Some((text(name), text(value?))))
                .collect(),
            directory: command.get_current_dir().map(Path::to_owned),
        }
    }

    /// What starts it again.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).envs(&self.environment);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
    }

    /// A variable that it was started with, beside those that it has from whoever started it.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str)
    }
}

impl fmt::Debug for Launch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Some of the values are secrets.
        let variables: Vec<_> = self.environment.keys().collect();
        formatter
            .debug_struct("Launch")
            .field("program", &self.program)
            .field("arguments", &self.arguments)
            .field("environment", &variables)
            .finish_non_exhaustive()
    }
}

/// A process, by which somebody finds it again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    pid: i32,
    /// None of a process that had ended already.
    started: Option<String>,
    /// What was started.
    #[serde(flatten)]
    pub launch: Launch,
    /// Where its output goes.
    pub log: PathBuf,
}

impl Record {
    pub(super) fn new(pid: Pid, launch: Launch, log: &Path) -> Self {
        Self {
            pid: pid.as_raw(),
            started: alive::started(pid),
            launch,
            log: log.to_owned(),
        }
    }

    /// The id of the process, which is also that of its group.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.pid)
    }

    /// Whether that very process runs, not a later one of the same number.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.started.is_some() && alive::started(self.pid()) == self.started
    }
}

/// The records of one platform, one private file a process: `processes/<name>.json`.
#[derive(Debug, Clone)]
pub struct Records(PathBuf);

impl Records {
    /// Those of the platform whose files are in `run`.
    #[must_use]
    pub fn of(run: &Path) -> Self {
        Self(run.join("processes"))
    }

    /// Keeps a process's record.
    pub fn write(&self, name: &str, record: &Record) -> Result<()> {
        fs::create_dir_all(&self.0).with_context(|| format!("cannot make {}", self.0.display()))?;
        write_private(&self.path(name), &serde_json::to_string_pretty(record)?)
    }

    /// A process's record.
    pub fn find(&self, name: &str) -> Result<Option<Record>> {
        let path = self.path(name);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        // serde's own text may quote a value, and some are secrets.
        let record = serde_json::from_str(&text).ok();
        let record = record.with_context(|| {
            format!(
                "{} is no record of a process: remove it, once what it was for is stopped",
                path.display()
            )
        })?;
        Ok(Some(record))
    }

    /// All records, by their names.
    pub fn all(&self) -> Result<BTreeMap<String, Record>> {
        let mut records = BTreeMap::new();
        let Ok(files) = fs::read_dir(&self.0) else {
            return Ok(records);
        };
        for file in files {
            let name = file?.file_name().to_string_lossy().into_owned();
            if let Some(name) = name.strip_suffix(".json")
                && let Some(record) = self.find(name)?
            {
                records.insert(name.to_owned(), record);
            }
        }
        Ok(records)
    }

    /// Forgets a process.
    pub fn remove(&self, name: &str) -> Result<()> {
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_is_another_one_with_another_variable_and_shows_no_value() {
        let mut command = Command::new("core");
        command.arg("serve").env("CORE_SECRET", "hidden");
        let launch = Launch::of(&command);
        assert_eq!(launch, Launch::of(&command));
        assert!(!format!("{launch:?}").contains("hidden"));
        command.env("CORE_SECRET", "another");
        assert_ne!(launch, Launch::of(&command));
    }

    #[test]
    fn a_record_names_the_process_and_not_a_later_one_of_its_number() {
        let launch = Launch::of(&Command::new("x"));
        let mut record = Record::new(Pid::this(), launch, Path::new("x.log"));
        let text = serde_json::to_string(&record).unwrap();
        let read: Record = serde_json::from_str(&text).unwrap();
        assert!(read.is_alive());
        record.started = Some("an earlier time".to_owned());
        assert!(!record.is_alive());
        record.started = None;
        assert!(!record.is_alive());
    }
}
