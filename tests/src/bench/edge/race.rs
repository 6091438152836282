//! How many webhooks a second, and at which cost: as many as go over 32 connections.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::contenders::Contender;
use super::middle_half;
use super::webhook::{Webhook, path};
use crate::bench::machine::cpu_time_us;
use crate::bench::{Effort, median};
use crate::up::say;

const CONNECTIONS: u32 = 32;

/// How one of those who race did.
pub(super) struct Standing {
    name: &'static str,
    what: &'static str,
    turns: Vec<Turn>,
    /// Each turn against the bound's turns before and after it: of the bound's rate, and the bound's
    /// CPU time of this one's. Of the bound itself there are none.
    of_bound: Vec<Turn>,
}

/// What came of a turn.
#[derive(Clone, Copy)]
struct Turn {
    /// Requests a second.
    rate: f64,
    /// CPU time of a request in µs.
    cpu: f64,
}

impl Standing {
    fn of(contender: &Contender) -> Self {
        Self {
            name: contender.name,
            what: contender.what,
            turns: Vec::new(),
            of_bound: Vec::new(),
        }
    }

    /// Webhooks a second.
    pub(super) fn rate(&self) -> f64 {
        median(&values(&self.turns, |turn| turn.rate))
    }
}

/// Every turn stands between two of the bound's, and is measured against them: the machine is not as
/// fast from one second to the next. The first to be given back is the bound.
pub(super) fn race(
    bound: &Contender,
    others: &[&Contender],
    body: &str,
    effort: Effort,
    directory: &Path,
) -> Result<Vec<Standing>> {
    for contender in [&bound].into_iter().chain(others) {
        contender.wait_until_it_answers(body, directory)?;
        take_turn(contender, body, directory, effort.seconds)?; // warms it up
    }
    let mut standing = Standing::of(bound);
    let mut standings: Vec<_> = others.iter().map(|other| Standing::of(other)).collect();
    let mut before = take_turn(bound, body, directory, effort.seconds)?;
    for round in 1..=effort.rounds {
        for (contender, standing_of_it) in others.iter().zip(&mut standings) {
            let turn = take_turn(contender, body, directory, effort.seconds)?;
            let after = take_turn(bound, body, directory, effort.seconds)?;
            standing_of_it.turns.push(turn);
            standing_of_it.of_bound.push(Turn {
                rate: turn.rate / f64::midpoint(before.rate, after.rate),
                cpu: f64::midpoint(before.cpu, after.cpu) / turn.cpu,
            });
            standing.turns.push(after);
            before = after;
        }
        say(&format!(
            "edge: {} bytes: round {round} of {} done",
            body.len(),
            effort.rounds
        ));
    }
    standings.insert(0, standing);
    Ok(standings)
}

/// One table for each body. Gives the rows of each.
pub(super) fn report(races: &[(usize, Vec<Standing>)]) -> Vec<Value> {
    say(&format!(
        "\n{:<10} {:>8} {:>7} {:>9} {:>13} {:>9} {:>11}  what it does",
        "edge", "bytes", "req/s", "of bound", "middle half", "CPU µs", "of bound's"
    ));
    let of_a_body = |(bytes, standings): &(usize, Vec<Standing>)| {
        let rows: Vec<_> = standings.iter().map(|one| row(*bytes, one)).collect();
        json!({"body_bytes": bytes, "contenders": rows})
    };
    races.iter().map(of_a_body).collect()
}

fn row(bytes: usize, standing: &Standing) -> Value {
    let rate = standing.rate();
    let cpu = median(&values(&standing.turns, |turn| turn.cpu));
    let mut ratios = values(&standing.of_bound, |turn| turn.rate);
    ratios.sort_by(f64::total_cmp);
    let is_bound = ratios.is_empty();
    let (of_bound, by_cpu, half) = if is_bound {
        (1.0, 1.0, String::new())
    } else {
        let by_cpu = values(&standing.of_bound, |turn| turn.cpu);
        let [from, to] = middle_half(&ratios);
        (
            median(&ratios),
            median(&by_cpu),
            format!("{from:.2} to {to:.2}"),
        )
    };
    say(&format!(
        "{:<10} {bytes:>8} {rate:>7.0} {of_bound:>9.2} {half:>13} {cpu:>9.0} {by_cpu:>11.2}  {}",
        standing.name, standing.what
    ));
    json!({
        "name": standing.name, "requests_per_second": rate, "cpu_us_per_request": cpu,
        "of_bound": of_bound, "of_bound_by_cpu": by_cpu, "ratios": ratios,
    })
}

fn values(turns: &[Turn], of: impl Fn(&Turn) -> f64) -> Vec<f64> {
    turns.iter().map(of).collect()
}

fn take_turn(contender: &Contender, body: &str, directory: &Path, seconds: u64) -> Result<Turn> {
    let script = directory.join("post.lua");
    let body_file = directory.join("body");
    fs::write(&body_file, body)?;
    let mut text = format!(
        "local file = io.open(\"{}\")\nwrk.method = \"POST\"\nwrk.body = file:read(\"a\")\n",
        body_file.display()
    );
    for (name, value) in Webhook::signed_now(body).headers {
        text.extend(["wrk.headers[\"", name, "\"] = \"", &value, "\"\n"]);
    }
    fs::write(&script, text)?;
    let pid = contender.working_pid();
    let before = cpu_time_us(pid);
    let output = Command::new("wrk")
        .args([
            "-t1",
            &format!("-c{CONNECTIONS}"),
            &format!("-d{seconds}s"),
            "-s",
        ])
        .arg(&script)
        .arg(format!("http://127.0.0.1:{}{}", contender.port, path()))
        .output()?;
    let used = cpu_time_us(pid)
        .zip(before)
        .map(|(after, before)| after - before);
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && !text.contains("Non-2xx") && !text.contains("Socket errors"),
        "{}: {text}",
        contender.name
    );
    let number_before = |marker: &str| -> Option<f64> {
        text.lines()
            .find(|line| line.contains(marker))?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    };
    let rate = text
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:"))
        .and_then(|rate| rate.trim().parse::<f64>().ok())
        .context("wrk printed no rate")?;
    let requests = number_before("requests in").context("wrk printed no count")?;
    // Not a number, and null in JSON, where the system tells no CPU time.
    let used = used.unwrap_or(f64::NAN);
    Ok(Turn {
        rate,
        cpu: used / requests,
    })
}
