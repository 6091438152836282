//! Processes: started into a log file, or found by what is kept of them, waited for by a condition, killed with all
//! their own.

pub mod alive;
pub mod record;

use std::fs::File;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use record::{Launch, Record};

/// A process group of ours. Killed when dropped, unless [`Process::detach`]ed.
#[derive(Debug)]
pub struct Process {
    name: String,
    handle: Handle,
    launch: Launch,
    log: PathBuf,
    detached: bool,
}

#[derive(Debug)]
enum Handle {
    Child(Child),
    /// Of somebody who has ended.
    Found(Record),
}

impl Process {
    /// Starts a command in a process group of its own, with its output in `log`.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let launch = Launch::of(&command);
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()
            .with_context(|| format!("{name}: cannot start {}", command.get_program().display()))?;
        Ok(Self {
            name: name.to_owned(),
            handle: Handle::Child(child),
            launch,
            log: log.to_owned(),
            detached: false,
        })
    }

    /// The process of a record, if it runs. It goes on when this value is dropped.
    #[must_use]
    pub fn find(name: &str, record: Record) -> Option<Self> {
        record.is_alive().then(|| Self {
            name: name.to_owned(),
            launch: record.launch.clone(),
            log: record.log.clone(),
            handle: Handle::Found(record),
            detached: true,
        })
    }

    /// Runs a command to its end, which must be a good one, with its output in `log`: by that it is found, should it
    /// outlive this program.
    pub fn run(name: &str, command: Command, log: &Path) -> Result<()> {
        let mut process = Self::start(name, command, log)?;
        let Handle::Child(child) = &mut process.handle else {
            return Ok(());
        };
        let status = child.wait()?;
        process.detached = true;
        ensure!(
            status.success(),
            "{name} ended ({status}):\n{}",
            process.log_tail()
        );
        Ok(())
    }

    /// What was started.
    #[must_use]
    pub fn launch(&self) -> &Launch {
        &self.launch
    }

    /// What is to be kept of it, so that somebody else finds it.
    #[must_use]
    pub fn record(&self) -> Record {
        match &self.handle {
            Handle::Child(_) => Record::new(self.process_id(), self.launch.clone(), &self.log),
            Handle::Found(record) => record.clone(),
        }
    }

    /// The id of the process, which is also that of its group.
    #[must_use]
    pub fn pid(&self) -> u32 {
        // A process id is positive on every system that we run on.
        self.process_id().as_raw().unsigned_abs()
    }

    /// Sends a signal to the process alone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        nix::sys::signal::kill(self.process_id(), signal)
            .with_context(|| format!("{}: cannot send {signal}", self.name))
    }

    /// Kills the process alone with SIGKILL, as a crash would, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.wait()
    }

    /// Whether [`Process::detach`] was called.
    #[must_use]
    pub fn is_detached(&self) -> bool {
        self.detached
    }

    /// Asks the process to end (SIGINT, which PostgreSQL takes for "at once, but orderly", and all others
    /// of ours like SIGTERM), and kills its group if it does not within `patience`. Gives the exit
    /// code, if it ended by itself.
    pub fn stop(&mut self, patience: Duration) -> Result<Option<i32>> {
        // Whoever has ended already cannot be asked to.
        let _ = self.signal(Signal::SIGINT);
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.ended()? {
                let _ = killpg(self.process_id(), Signal::SIGKILL);
                return Ok(status.code);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = killpg(self.process_id(), Signal::SIGKILL);
        self.wait()?;
        Ok(None)
    }

    /// The same, asked by SIGTERM as well: a JVM that a shell started in its background ignores SIGINT.
    pub fn terminate(&mut self, patience: Duration) -> Result<()> {
        let _ = self.signal(Signal::SIGTERM);
        self.stop(patience)?;
        Ok(())
    }

    /// Leaves the process running when this value is dropped.
    pub fn detach(&mut self) {
        self.detached = true;
    }

    /// Waits until `ready` gives something, or says why not: the process ended, or time is up.
    pub async fn wait_until<T, F>(&mut self, what: &str, mut ready: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Option<T>>,
    {
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            if let Some(value) = ready().await {
                return Ok(value);
            }
            if let Some(end) = self.ended()? {
                bail!(
                    "{} ended{} before it was {what}:\n{}",
                    self.name,
                    end.how,
                    self.log_tail()
                );
            }
            if Instant::now() > deadline {
                bail!(
                    "{} was not {what} within {} s:\n{}",
                    self.name,
                    START_PATIENCE.as_secs(),
                    self.log_tail()
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The last lines of the log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        let tail = lines
            .get(lines.len().saturating_sub(20)..)
            .unwrap_or_default()
            .join("\n");
        format!("--- end of {} ---\n{tail}", self.log.display())
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.ended()?.is_none())
    }

    /// How it ended, if it has.
    fn ended(&mut self) -> Result<Option<End>> {
        Ok(match &mut self.handle {
            Handle::Child(child) => child.try_wait()?.map(|status| End {
                how: format!(" ({status})"),
                code: status.code(),
            }),
            Handle::Found(record) => (!record.is_alive()).then(|| End {
                how: String::new(),
                code: None,
            }),
        })
    }

    /// Waits until it is gone.
    fn wait(&mut self) -> Result<()> {
        match &mut self.handle {
            Handle::Child(child) => {
                child.wait()?;
            }
            Handle::Found(record) => {
                while record.is_alive() {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        }
        Ok(())
    }

    fn process_id(&self) -> Pid {
        match &self.handle {
            // A process id is a positive `i32` on every system that we run on.
            Handle::Child(child) => Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX)),
            Handle::Found(record) => record.pid(),
        }
    }
}

/// How a process ended. Of another one's child nobody is told.
struct End {
    how: String,
    code: Option<i32>,
}

/// How long anything may take to come up. Generous: a loaded machine of two cores runs the tests.
const START_PATIENCE: Duration = Duration::from_mins(1);

impl Drop for Process {
    fn drop(&mut self) {
        if !self.detached {
            let _ = killpg(self.process_id(), Signal::SIGKILL);
            let _ = self.wait();
        }
    }
}
