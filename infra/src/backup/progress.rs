//! What an operator sees of a job that takes minutes: a bar on a terminal, else a line now and then.

use std::io::{IsTerminal as _, Write, stderr};
use std::time::{Duration, Instant};

const BAR_EVERY: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(5);
const BAR_WIDTH: u64 = 30;

/// Says on standard error how far something is.
#[derive(Debug)]
pub struct Meter {
    what: &'static str,
    unit: &'static str,
    is_terminal: bool,
    began: Instant,
    shown: Option<Instant>,
    of: u64,
    done: u64,
}

impl Meter {
    /// Begins: `of` units in all.
    #[must_use]
    pub fn new(what: &'static str, unit: &'static str, of: u64) -> Self {
        Self {
            what,
            unit,
            is_terminal: stderr().is_terminal(),
            began: Instant::now(),
            shown: None,
            of,
            done: 0,
        }
    }

    /// So many are done; shows it if it was not shown a moment ago.
    pub fn at(&mut self, done: u64) {
        self.done = done;
        let every = if self.is_terminal {
            BAR_EVERY
        } else {
            LINE_EVERY
        };
        let now = Instant::now();
        // The first line without a terminal comes after the first five seconds: what is quick says nothing.
        let last = self.shown.unwrap_or(self.began);
        if now.duration_since(last) >= every {
            self.shown = Some(now);
            self.print(true);
        }
    }

    /// Says how far it was when it ended, if it said anything.
    pub fn end(mut self, done: u64) {
        self.done = done;
        if self.shown.is_some() {
            self.print(false);
        }
    }

    fn print(&self, is_passing: bool) {
        let text = line(self, self.began.elapsed());
        let mut out = stderr().lock();
        // Whoever closed the pipe does not read on.
        let _ = match (self.is_terminal, is_passing) {
            (true, true) => write!(out, "\r{text}\x1b[K"),
            (true, false) => writeln!(out, "\r{text}\x1b[K"),
            (false, _) => writeln!(out, "{text}"),
        };
        let _ = out.flush();
    }
}

/// `backup [######------]  45 %  450,000 of 1,000,000 rows, 22,310/s, 24 s left`, without the bar where it would be
/// repeated.
fn line(meter: &Meter, worked: Duration) -> String {
    let &Meter {
        what,
        unit,
        of,
        done,
        ..
    } = meter;
    let of = of.max(done);
    let share = |whole: u64| {
        let share = u128::from(done) * u128::from(whole);
        let share = share.checked_div(of.into()).unwrap_or(whole.into());
        u64::try_from(share).unwrap_or(whole)
    };
    let bar = if meter.is_terminal {
        let full = usize::try_from(share(BAR_WIDTH)).unwrap_or_default();
        let rest = usize::try_from(BAR_WIDTH).unwrap_or_default() - full;
        format!("[{}{}] ", "#".repeat(full), "-".repeat(rest))
    } else {
        String::new()
    };
    let millis = u64::try_from(worked.as_millis()).unwrap_or(u64::MAX);
    let rate = done
        .saturating_mul(1_000)
        .checked_div(millis)
        .unwrap_or_default();
    let left = match (of - done).checked_div(rate) {
        _ if of == done => String::new(),
        Some(seconds) if seconds >= 120 => format!(", {} min left", seconds.div_ceil(60)),
        Some(seconds) => format!(", {seconds} s left"),
        None => String::new(),
    };
    format!(
        "{what} {bar}{:>3} %  {} of {} {unit}, {}/s{left}",
        share(100),
        thousands(done),
        thousands(of),
        thousands(rate)
    )
}

/// `1,234,567`.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_how_fast_and_how_long() {
        let meter = Meter {
            is_terminal: true,
            done: 450_000,
            ..Meter::new("backup", "rows", 1_000_000)
        };
        assert_eq!(
            line(&meter, Duration::from_secs(20)),
            "backup [#############-----------------]  45 %  450,000 of 1,000,000 rows, 22,500/s, 24 s left"
        );
    }

    #[test]
    fn nothing_to_do_is_all_done() {
        let meter = Meter {
            is_terminal: false,
            ..Meter::new("restore", "rows", 0)
        };
        assert_eq!(
            line(&meter, Duration::ZERO),
            "restore 100 %  0 of 0 rows, 0/s"
        );
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(thousands(123), "123");
    }
}
