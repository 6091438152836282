//! What the figures were measured on.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

/// Processor, memory, system and versions.
pub(super) fn describe() -> Value {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |text: &str, name: &str| {
        text.lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
    };
    json!({
        "processor": field(&cpuinfo, "model name"),
        "cores": std::thread::available_parallelism().map(usize::from).ok(),
        "memory": field(&meminfo, "MemTotal"),
        "system": first_line("uname", &["-srm"]),
        "node": first_line("node", &["--version"]),
        "rustc": first_line("rustc", &["--version"]),
    })
}

fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    String::from_utf8(output.stdout)
        .ok()?
        .lines()
        .next()
        .map(str::to_owned)
}

/// The processor time that a process has used so far, in microseconds; none where `/proc` has none.
pub(super) fn cpu_time_us(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name in brackets; user and system time are fields 14 and 15 (proc(5)).
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    // Linux counts them in hundredths of a second for user space, on every architecture.
    Some(ticks * 10_000.0)
}

/// As [`cpu_time_us`], but exact, and without what threads used that have ended.
pub(super) fn threads_cpu_time_us(pid: u32) -> Option<f64> {
    let mut sum_ns = 0.0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        // Its first field is the time spent on a processor, in nanoseconds.
        let Ok(schedstat) = fs::read_to_string(thread.ok()?.path().join("schedstat")) else {
            continue;
        };
        sum_ns += schedstat.split_whitespace().next()?.parse::<f64>().ok()?;
    }
    (sum_ns > 0.0).then_some(sum_ns / 1_000.0)
}

/// As [`cpu_time_us`], of a process and of its children, those that have ended too.
pub(super) fn cpu_time_with_children_us(pid: u32) -> Option<f64> {
    let parent_of = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?
            .1
            .split_whitespace()
            .nth(1)?
            .parse()
            .ok()
    };
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let children = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|child| parent_of(*child) == Some(pid))
        .filter_map(cpu_time_us);
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // Of those that were waited for: fields 16 and 17.
    let ended: f64 = fields.get(13)?.parse::<f64>().ok()? + fields.get(14)?.parse::<f64>().ok()?;
    Some(cpu_time_us(pid)? + ended * 10_000.0 + children.sum::<f64>())
}

/// The memory of a process that is in RAM, in MB.
pub(super) fn resident_mb(pid: u32) -> Option<f64> {
    megabytes(pid, "VmRSS:")
}

/// The most that it ever was.
pub(super) fn peak_resident_mb(pid: u32) -> Option<f64> {
    megabytes(pid, "VmHWM:")
}

fn megabytes(pid: u32, field: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1_024.0)
}
