//! Which processes of this machine are alive, whoever started them.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// When a process was started, by which it is told from a later one of the same number. None if it is gone; one whose
/// parent has not looked yet how it ended is gone too.
#[must_use]
pub fn started(pid: Pid) -> Option<String> {
    if Path::new("/proc/self/stat").exists() {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        return read_stat(&stat);
    }
    let output = Command::new("ps")
        .args(["-o", "stat=,lstart=", "-p", &pid.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (state, started) = text.trim().split_once(char::is_whitespace)?;
    (!state.starts_with('Z')).then(|| started.trim().to_owned())
}

/// The time of the start, in ticks since the boot: `proc_pid_stat(5)`.
fn read_stat(stat: &str) -> Option<String> {
    // The name, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    let started = fields.nth(18)?;
    (!matches!(state, "Z" | "X")).then(|| started.to_owned())
}

/// All processes that write their output into a log.
#[must_use]
pub fn writers(log: &Path) -> Vec<Pid> {
    // As the system names it.
    let Ok(log) = log.canonicalize() else {
        return Vec::new();
    };
    let pid = |text: &str| text.parse().ok().map(Pid::from_raw);
    let Ok(processes) = fs::read_dir("/proc") else {
        let output = Command::new("lsof")
            .args(["-a", "-d", "1", "-t", "--"])
            .arg(&log)
            .output();
        let text = output.map(|output| output.stdout).unwrap_or_default();
        return String::from_utf8_lossy(&text)
            .lines()
            .filter_map(pid)
            .collect();
    };
    processes
        .filter_map(|process| {
            let process = process.ok()?;
            let pid = pid(process.file_name().to_str()?)?;
            let output = fs::read_link(process.path().join("fd/1")).ok()?;
            (output == log).then_some(pid)
        })
        .collect()
}

/// Ends all processes that write their output into a log: whatever its starter could not write down any more. Gives
/// whether there were any.
pub(crate) fn end_writers(log: &Path, signal: Signal, patience: Duration) -> bool {
    let first = writers(log);
    for pid in &first {
        let _ = kill(*pid, signal);
    }
    let deadline = Instant::now() + patience;
    loop {
        let left = writers(log);
        if left.is_empty() {
            return !first.is_empty();
        }
        if Instant::now() > deadline {
            for pid in left {
                let _ = kill(pid, Signal::SIGKILL);
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_is_found_whatever_the_name_holds() {
        let stat = |state: &str| {
            format!(
                "12 (a) b) (c) {state} 1 12 12 0 -1 4194560 1 0 0 0 5 6 0 0 20 0 1 0 98765 4096"
            )
        };
        assert_eq!(read_stat(&stat("S")).as_deref(), Some("98765"));
        assert_eq!(read_stat(&stat("Z")), None);
        assert_eq!(read_stat(""), None);
    }

    #[test]
    fn this_process_is_alive_and_one_that_has_ended_is_not() {
        assert!(started(Pid::this()).is_some());
        let mut child = Command::new("true").spawn().unwrap();
        let pid = Pid::from_raw(child.id().try_into().unwrap());
        while started(pid).is_some() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(started(pid), None);
    }
}
