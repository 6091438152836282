//! How much processor time a contender needs from nothing to its first answer: `pass`, whose code is one
//! line, shows workerd's own share.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::contenders::{Contender, start_worker};
use super::webhook::{Client, Webhook};
use crate::bench::machine::threads_cpu_time_us;
use crate::bench::median;
use crate::up::say;

/// How often each is started.
const STARTS: usize = 10;
const NAMES: [&str; 2] = ["pass", "ours"];

/// Milliseconds of processor time, of all threads.
struct Start {
    until_listening: f64,
    first_request: f64,
}

/// Starts each of them by turns. Gives the table's rows.
pub(super) fn measure(body: &str, upstream_port: u16, directory: &Path) -> Result<Value> {
    let mut starts = NAMES.map(|_| Vec::new());
    for _ in 0..STARTS {
        for (name, starts) in NAMES.into_iter().zip(&mut starts) {
            starts.push(start(name, body, upstream_port, directory)?);
        }
    }
    say(&format!(
        "\n{:<10} {:>15} {:>14} {:>9} {:>10}  ms of processor time, medians of {STARTS} starts",
        "edge", "until it listens", "first request", "together", "over pass"
    ));
    let mut of_pass = None;
    let rows: Vec<_> = NAMES
        .into_iter()
        .zip(&starts)
        .map(|(name, starts)| row(name, starts, &mut of_pass))
        .collect();
    Ok(json!(rows))
}

fn row(name: &str, starts: &[Start], of_pass: &mut Option<f64>) -> Value {
    let of = |of: fn(&Start) -> f64| median(&starts.iter().map(of).collect::<Vec<_>>());
    let listening = of(|start| start.until_listening);
    let first = of(|start| start.first_request);
    let together = of(|start| start.until_listening + start.first_request);
    let over = together - *of_pass.get_or_insert(together);
    say(&format!(
        "{name:<10} {listening:>16.1} {first:>14.1} {together:>9.1} {over:>10.1}"
    ));
    json!({
        "name": name, "until_listening_ms": listening, "first_request_ms": first,
        "together_ms": together, "together_ms_over_pass": over,
    })
}

fn start(name: &'static str, body: &str, upstream_port: u16, directory: &Path) -> Result<Start> {
    let contender = start_worker(name, directory, upstream_port)?;
    let request = Webhook::signed_now(body).request();
    let used = || {
        let used = threads_cpu_time_us(contender.process.pid());
        used.context("this system does not tell the processor time of threads")
    };
    let mut client = connect_once_it_listens(&contender)?;
    let at_first = used()?;
    client.send(&request).context(name)?;
    let in_the_end = used()?;
    Ok(Start {
        until_listening: at_first / 1_000.0,
        first_request: (in_the_end - at_first) / 1_000.0,
    })
}

fn connect_once_it_listens(contender: &Contender) -> Result<Client> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match Client::connect(contender.port) {
            Err(error) => ensure!(
                Instant::now() < deadline,
                "{} does not listen: {error}",
                contender.name
            ),
            connected => return connected,
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
