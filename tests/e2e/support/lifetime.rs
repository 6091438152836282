//! The end of whatever the tests start.
//!
//! The platform is a `static` that all tests share, and a `static` is never dropped; nor does anything
//! run when the test process is killed. So a second process watches the first: a shell that reads its
//! standard input, which ends when the test process is gone, however it went (done, panic, Ctrl-C,
//! SIGKILL). Then it stops every process that writes its output into the run's folder: all that
//! [`platform::process::Process`] starts do, and they do so from the moment at which they are started,
//! so there is no gap in which one could be forgotten. The shell has a process group of its own, that
//! Ctrl-C does not reach.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use platform::checkout;

/// The platform's name: its files are in `.run/e2e/`.
pub(crate) const NAME: &str = "e2e";

/// First an interrupt, so that PostgreSQL gives its shared memory back; then death to whole groups,
/// workerd's among them, whose output is a pipe to wrangler.
const WATCH: &str = r#"
writers() {
  if [ -d /proc/self/fd ]; then
    for output in /proc/[0-9]*/fd/1; do
      case "$(readlink "$output")" in "$1"/*) pid=${output#/proc/}; echo "${pid%%/*}" ;; esac
    done
  else
    lsof -t +D "$1"
  fi 2>/dev/null
}
while read -r _; do :; done
all=$(writers "$1")
for pid in $all; do kill -s INT "$pid" 2>/dev/null; done
tries=0
while [ "$tries" -lt 60 ] && [ -n "$(writers "$1")" ]; do sleep 0.05; tries=$((tries + 1)); done
for pid in $all $(writers "$1"); do
  kill -s KILL -- "-$pid" 2>/dev/null
  kill -s KILL "$pid" 2>/dev/null
done
"#;

struct Run {
    directory: PathBuf,
    /// Holds the other end of its standard input, which the system closes when this process ends.
    _watcher: Child,
}

/// The folder of this run, empty at its start. Two runs in one checkout wait for each other: the
/// watcher holds the lock too, until nothing of its run is left.
pub(crate) fn run_directory() -> &'static Path {
    static RUN: OnceLock<Run> = OnceLock::new();
    &RUN.get_or_init(start).directory
}

fn start() -> Run {
    let runs = checkout::run_dir("").unwrap();
    let lock = File::create(runs.join("e2e.lock")).unwrap();
    lock.lock().unwrap();
    let directory = runs.join(NAME);
    if directory.exists() {
        fs::remove_dir_all(&directory).unwrap();
    }
    fs::create_dir_all(directory.join("logs")).unwrap();
    let watcher = Command::new("sh")
        .args(["-c", WATCH, "watcher-of-the-e2e-tests"])
        .arg(&directory)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(lock)
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    Run {
        directory,
        _watcher: watcher,
    }
}
