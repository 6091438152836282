//! How much later than the bound's an answer comes when there is no hurry: webhooks arrive at an even
//! rate, half of what the slowest can do, whether or not the ones before them were answered.
//!
//! Each counts from the moment it was due, not from when a connection was free for it: otherwise one
//! that is held up would hide that the next ones were late too (coordinated omission).

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use serde_json::{Value, json};

use super::contenders::Contender;
use super::middle_half;
use super::webhook::{Client, Webhook};
use crate::bench::{Effort, median, percentile};
use crate::up::say;

/// Connections, with a thread each that sleeps until its next webhook is due: tokio's timers count whole
/// milliseconds, in which several are. As many webhooks as this may be under way at once.
const SENDERS: usize = 64;

/// How late answers were in one contender's turns.
pub(super) struct Lateness {
    name: String,
    turns: Vec<Turn>,
    /// Milliseconds between a turn's p99 and that of the bound's turns before and after it.
    added: Vec<f64>,
}

/// Milliseconds from when a webhook was due.
#[derive(Clone, Copy)]
struct Turn {
    p50: f64,
    p99: f64,
    /// The p99 of when it was sent. More than a tenth means that the machine was busy with something else,
    /// or that all connections were.
    sent_p99: f64,
}

/// When a webhook was sent and when it was answered, in milliseconds from when it was due.
struct Times {
    sent: f64,
    answered: f64,
}

impl Lateness {
    fn of(name: String) -> Self {
        Self {
            name,
            turns: Vec::new(),
            added: Vec::new(),
        }
    }
}

/// Each turn stands between two of the bound's. The bound has turns of its own against itself as well:
/// what they come to is what a difference has to exceed to mean anything.
pub(super) fn measure(
    bound: &Contender,
    others: &[&Contender],
    body: &str,
    rate: f64,
    effort: Effort,
) -> Result<Vec<Lateness>> {
    let with_itself: Vec<_> = others.iter().copied().chain([bound]).collect();
    let turn_of = |contender| take_turn(contender, body, rate, effort.seconds);
    for contender in &with_itself {
        turn_of(contender)?; // warms it up
    }
    let mut latenesses = vec![Lateness::of(bound.name.to_owned())];
    latenesses.extend(others.iter().map(|it| Lateness::of(it.name.to_owned())));
    latenesses.push(Lateness::of(format!("{} again", bound.name)));
    let mut before = turn_of(bound)?;
    for round in 1..=effort.rounds {
        for (index, contender) in with_itself.iter().enumerate() {
            let turn = turn_of(contender)?;
            let after = turn_of(bound)?;
            if let [of_bound, rest @ ..] = latenesses.as_mut_slice() {
                of_bound.turns.push(after);
                if let Some(lateness) = rest.get_mut(index) {
                    let added = turn.p99 - f64::midpoint(before.p99, after.p99);
                    lateness.turns.push(turn);
                    lateness.added.push(added);
                }
            }
            before = after;
        }
        say(&format!(
            "edge: at half load: round {round} of {} done",
            effort.rounds
        ));
    }
    Ok(latenesses)
}

pub(super) fn report(rate: f64, latenesses: &mut [Lateness]) -> Value {
    say(&format!(
        "\n{:<10} {:>8} {:>8} {:>14} {:>16} {:>9}  at {rate:.0} a second, half of what the slowest can do",
        "edge", "p50 ms", "p99 ms", "p99 over bound", "middle half", "sent p99"
    ));
    let rows: Vec<_> = latenesses.iter_mut().map(row).collect();
    json!({"requests_per_second": rate, "contenders": rows})
}

fn row(lateness: &mut Lateness) -> Value {
    let Lateness { name, turns, added } = lateness;
    let of_turns = |of: fn(&Turn) -> f64| median(&turns.iter().map(of).collect::<Vec<_>>());
    let (p50, p99) = (of_turns(|turn| turn.p50), of_turns(|turn| turn.p99));
    let sent_p99 = of_turns(|turn| turn.sent_p99);
    added.sort_by(f64::total_cmp);
    let over_bound = (!added.is_empty()).then(|| median(added));
    let (over, half) = over_bound.map_or_else(Default::default, |over| {
        let [from, to] = middle_half(added);
        (format!("{over:.2}"), format!("{from:.2} to {to:.2}"))
    });
    say(&format!(
        "{name:<10} {p50:>8.2} {p99:>8.2} {over:>14} {half:>16} {sent_p99:>9.2}"
    ));
    json!({
        "name": name, "p50_ms": p50, "p99_ms": p99, "p99_ms_over_bound": over_bound,
        "rounds_ms_over_bound": added, "sent_p99_ms": sent_p99,
    })
}

fn take_turn(contender: &Contender, body: &str, rate: f64, seconds: u64) -> Result<Turn> {
    let request = Webhook::signed_now(body).request();
    let clients = (0..SENDERS).map(|_| Client::connect(contender.port));
    let clients: Vec<_> = clients.collect::<Result<_>>()?;
    let schedule = Schedule {
        // Later than all senders are ready.
        start: Instant::now() + Duration::from_millis(50),
        interval: Duration::from_secs(1).div_f64(rate),
        duration: Duration::from_secs(seconds),
        next: AtomicU32::new(0),
    };
    let times = thread::scope(|scope| {
        let start = |client| scope.spawn(|| send_when_due(client, &request, &schedule));
        let senders: Vec<_> = clients.into_iter().map(start).collect();
        let mut all = Vec::new();
        for sender in senders {
            let of_one = sender.join().map_err(|_| anyhow!("a sender panicked"))?;
            all.extend(of_one?);
        }
        anyhow::Ok(all)
    })
    .with_context(|| contender.name)?;
    let sorted = |of: fn(&Times) -> f64| {
        let mut ms: Vec<_> = times.iter().map(of).collect();
        ms.sort_by(f64::total_cmp);
        ms
    };
    let (sent, answered) = (sorted(|times| times.sent), sorted(|times| times.answered));
    Ok(Turn {
        p50: percentile(&answered, 0.50),
        p99: percentile(&answered, 0.99),
        sent_p99: percentile(&sent, 0.99),
    })
}

/// When webhooks are due, of all senders together.
struct Schedule {
    start: Instant,
    interval: Duration,
    duration: Duration,
    /// The first that no sender has taken.
    next: AtomicU32,
}

/// Takes the next webhook, sends it when it is due, or at once if that is past, until all have been.
fn send_when_due(mut client: Client, request: &[u8], schedule: &Schedule) -> Result<Vec<Times>> {
    let mut times = Vec::new();
    loop {
        let after_start = schedule.interval * schedule.next.fetch_add(1, Ordering::Relaxed);
        if after_start >= schedule.duration {
            return Ok(times);
        }
        let due = schedule.start + after_start;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let since_due = || due.elapsed().as_secs_f64() * 1_000.0;
        let sent = since_due();
        client.send(request)?;
        let answered = since_due();
        times.push(Times { sent, answered });
    }
}
