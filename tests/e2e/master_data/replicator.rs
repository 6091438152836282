//! `replicator`, supervised as in production: whoever ends is started again at once.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use platform::service::replicator;
use platform::variables::Variables;
use tokio::task::JoinHandle;

/// How often the supervisor looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A replicator's process and whoever starts it again.
pub(super) struct Replicator {
    state: Arc<Mutex<State>>,
    supervisor: JoinHandle<()>,
}

struct State {
    part: &'static str,
    environment: Variables,
    log: PathBuf,
    is_supervised: bool,
    child: Option<Child>,
    endings: Vec<String>,
}

impl State {
    fn look(&mut self) {
        if let Some(child) = &mut self.child
            && let Some(status) = child.try_wait().unwrap()
        {
            self.endings.push(status.to_string());
            self.child = None;
        }
        if self.is_supervised && self.child.is_none() {
            let log = File::options().create(true).append(true).open(&self.log);
            let log = log.unwrap();
            let child = replicator(&self.environment)
                .unwrap()
                .arg(self.part)
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .process_group(0)
                .spawn()
                .unwrap();
            self.child = Some(child);
        }
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Replicator {
    /// `part` is `relay` or `apply`. Not started yet.
    pub(super) fn new(part: &'static str, environment: Variables, log: PathBuf) -> Self {
        let state = Arc::new(Mutex::new(State {
            part,
            environment,
            log,
            is_supervised: false,
            child: None,
            endings: Vec::new(),
        }));
        let watched = Arc::clone(&state);
        let supervisor = tokio::spawn(async move {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                watched.lock().unwrap().look();
            }
        });
        Self { state, supervisor }
    }

    /// Starts it, and from now on starts it again whenever it ends.
    pub(super) fn start(&self) {
        let mut state = self.state();
        state.is_supervised = true;
        state.look();
    }

    /// Kills it with SIGKILL. Its supervisor starts it again.
    pub(super) fn kill(&self) {
        self.state().kill();
    }

    /// Kills it with SIGKILL, for good.
    pub(super) fn stop(&self) {
        let mut state = self.state();
        state.is_supervised = false;
        state.kill();
    }

    /// Lets it end, if it does, without starting it again.
    pub(super) fn leave_alone(&self) {
        self.state().is_supervised = false;
    }

    /// Sends it a signal.
    pub(super) fn signal(&self, signal: Signal) {
        let state = self.state();
        let child = state.child.as_ref().expect("the replicator runs");
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
    }

    /// Whether its process is there.
    pub(super) fn is_running(&self) -> bool {
        self.state().child.is_some()
    }

    /// How it ended each time that it did by itself.
    pub(super) fn endings(&self) -> Vec<String> {
        self.state().endings.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Drop for Replicator {
    fn drop(&mut self) {
        self.supervisor.abort();
        if let Ok(mut state) = self.state.lock() {
            state.is_supervised = false;
            state.kill();
        }
    }
}
