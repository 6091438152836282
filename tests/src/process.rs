//! Child processes: started into a log file, waited for by a condition, killed with all their own.

use std::fs::File;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// A process group of ours. Killed when dropped, unless [`Process::detach`]ed.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    detached: bool,
}

impl Process {
    /// Starts a command in a process group of its own, with its output in `log`.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()
            .with_context(|| format!("{name}: cannot start {}", command.get_program().display()))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
            detached: false,
        })
    }

    /// The id of the process, which is also that of its group.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the process alone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        nix::sys::signal::kill(self.process_id(), signal)
            .with_context(|| format!("{}: cannot send {signal}", self.name))
    }

    /// Kills the process alone with SIGKILL, as a crash would, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.child.wait()?;
        Ok(())
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
            if let Some(status) = self.child.try_wait()? {
                let _ = killpg(self.process_id(), Signal::SIGKILL);
                return Ok(status.code());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = killpg(self.process_id(), Signal::SIGKILL);
        self.child.wait()?;
        Ok(None)
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
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{} ended ({status}) before it was {what}:\n{}",
                    self.name,
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

    fn process_id(&self) -> Pid {
        // A process id is a positive `i32` on every system that we run on.
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(i32::MAX))
    }
}

/// How long anything may take to come up. Generous: a loaded machine of two cores runs the tests.
const START_PATIENCE: Duration = Duration::from_mins(1);

impl Drop for Process {
    fn drop(&mut self) {
        if !self.detached {
            let _ = killpg(self.process_id(), Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}
