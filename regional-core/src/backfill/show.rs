//! What an operator sees of a job that takes minutes: a bar on a terminal, else a line now and then.

use std::io::{IsTerminal as _, Write, stderr};
use std::time::{Duration, Instant};

const BAR_EVERY: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(5);
/// How often it is said anew what is waited for.
const SAID_EVERY: Duration = Duration::from_mins(1);
const BAR_WIDTH: u64 = 30;

/// How far a job is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// Of these rows, in all runs,
    pub of: u64,
    /// these are done,
    pub done: u64,
    /// of them these in this run,
    pub here: u64,
    /// which worked for so long; waiting is not work.
    pub worked: Duration,
}

/// Says it.
pub struct Meter {
    out: Box<dyn Write + Send>,
    is_terminal: bool,
    shown_at: Option<Instant>,
    said: Option<(String, Instant)>,
}

impl Meter {
    /// On standard error.
    #[must_use]
    pub fn stderr() -> Self {
        Self {
            out: Box::new(stderr()),
            is_terminal: stderr().is_terminal(),
            shown_at: None,
            said: None,
        }
    }

    /// Shows how far it is, if it was not shown a moment ago.
    pub fn show(&mut self, figures: &Figures) {
        self.said = None;
        let every = if self.is_terminal {
            BAR_EVERY
        } else {
            LINE_EVERY
        };
        let now = Instant::now();
        let is_due = self
            .shown_at
            .is_none_or(|at| now.duration_since(at) >= every);
        if is_due {
            self.shown_at = Some(now);
            self.print(&line(figures, self.is_terminal), true);
        }
    }

    /// Shows how far it was when it ended.
    pub fn end(&mut self, figures: &Figures) {
        let text = line(figures, self.is_terminal);
        self.print(&text, false);
    }

    /// Something is waited for. It is said when it is new, and every minute.
    pub fn waits(&mut self, why: &str) {
        let is_said = self
            .said
            .as_ref()
            .is_some_and(|(said, at)| said == why && at.elapsed() < SAID_EVERY);
        if !is_said {
            self.said = Some((why.to_owned(), Instant::now()));
            self.note(&format!("waits: {why}"));
        }
    }

    /// A line that stays.
    pub fn note(&mut self, text: &str) {
        self.print(text, false);
    }

    fn print(&mut self, text: &str, is_passing: bool) {
        // Whoever closed the pipe does not read on.
        let _ = match (self.is_terminal, is_passing) {
            (true, true) => write!(self.out, "\r{text}\x1b[K"),
            (true, false) => writeln!(self.out, "\r{text}\x1b[K"),
            (false, _) => writeln!(self.out, "{text}"),
        };
        let _ = self.out.flush();
    }
}

/// `[######------]  45 %  450,000 of 1,000,000 accounts, 22,310/s, 24 s left`, without the bar where it would be
/// repeated.
fn line(figures: &Figures, is_terminal: bool) -> String {
    let Figures {
        of,
        done,
        here,
        worked,
    } = *figures;
    // Rows may come while it works.
    let of = of.max(done);
    let share = |whole: u64| (done * whole).checked_div(of).unwrap_or(whole);
    let bar = if is_terminal {
        let full = usize::try_from(share(BAR_WIDTH)).unwrap_or_default();
        let rest = usize::try_from(BAR_WIDTH).unwrap_or_default() - full;
        format!("[{}{}] ", "#".repeat(full), "-".repeat(rest))
    } else {
        String::new()
    };
    let millis = u64::try_from(worked.as_millis()).unwrap_or(u64::MAX);
    let rate = (here * 1_000).checked_div(millis).unwrap_or_default();
    let left = (of - done).checked_div(rate);
    let left = match left {
        Some(seconds) if seconds >= 120 => format!(", {} min left", seconds.div_ceil(60)),
        Some(seconds) => format!(", {seconds} s left"),
        None => String::new(),
    };
    format!(
        "{bar}{:>3} %  {} of {} accounts, {}/s{left}",
        share(100),
        thousands(done),
        thousands(of),
        thousands(rate)
    )
}

/// `1,234,567`
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
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
    fn a_line_says_how_far_it_is_how_fast_and_how_long_it_takes_yet() {
        let figures = Figures {
            of: 1_000_000,
            done: 450_000,
            here: 200_000,
            worked: Duration::from_secs(10),
        };
        assert_eq!(
            line(&figures, false),
            " 45 %  450,000 of 1,000,000 accounts, 20,000/s, 27 s left"
        );
        assert_eq!(
            line(&figures, true),
            "[#############-----------------]  45 %  450,000 of 1,000,000 accounts, 20,000/s, 27 s left"
        );
    }

    #[test]
    fn nothing_is_divided_by_nothing() {
        assert_eq!(
            line(&Figures::default(), false),
            "100 %  0 of 0 accounts, 0/s"
        );
        let more_than_counted = Figures {
            of: 10,
            done: 12,
            ..Figures::default()
        };
        assert_eq!(
            line(&more_than_counted, false),
            "100 %  12 of 12 accounts, 0/s"
        );
    }

    #[test]
    fn thousands_are_parted() {
        let texts = [0, 999, 1_000, 12_345, 1_234_567].map(thousands);
        assert_eq!(texts, ["0", "999", "1,000", "12,345", "1,234,567"]);
    }
}
