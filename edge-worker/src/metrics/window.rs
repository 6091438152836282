//! The requests of the last half an hour, hour and day: how near Pancake is to suspending a connection, how many would
//! have gone elsewhere by another route, and what they would have got in another mode. Pure.
//!
//! Pancake's rule: within 30 minutes, more than 80 % of the requests and at least 300 of them failed, that is,
//! were not answered 2xx within 5 s. What failed on its way to us is not in here.

use protocol::UnixSeconds;
use protocol::signature::Verdict;
use serde::{Deserialize, Serialize};

/// So many failures are needed at least.
const FAILURES: u64 = 300;

/// And more than so large a share.
const SHARE: f64 = 0.8;

/// Requests and failures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// All of them.
    pub total: u64,
    /// Of these, failed.
    pub failed: u64,
    /// Of these, judged: by verdict, in the order of [`Verdict::ALL`].
    pub verdicts: [u64; Verdict::ALL.len()],
}

impl Requests {
    fn add(&mut self, more: Self) {
        self.total += more.total;
        self.failed += more.failed;
        for (sum, more) in self.verdicts.iter_mut().zip(more.verdicts) {
            *sum += more;
        }
    }

    /// How much of what Pancake tolerates is used up; it suspends at 1 and beyond.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "nobody sends that much in half an hour"
    )]
    pub fn budget_used(self) -> f64 {
        if self.total == 0 {
            return 0.0;
        }
        let by_count = self.failed as f64 / FAILURES as f64;
        let by_share = self.failed as f64 / self.total as f64 / SHARE;
        by_count.min(by_share)
    }
}

/// How far a [`Window`] looks back, and in what steps.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// How long a step is, in seconds.
    step_secs: u64,
    /// The step that has begun is one of them.
    steps: u64,
}

/// As far as Pancake's rule looks back.
pub const HALF_AN_HOUR: Span = Span {
    step_secs: 60,
    steps: 30,
};

/// An hour.
pub const HOUR: Span = Span {
    step_secs: 60,
    steps: 60,
};

/// A day.
pub const DAY: Span = Span {
    step_secs: 3_600,
    steps: 24,
};

impl Span {
    fn step(self, now: UnixSeconds) -> u64 {
        now.0 / self.step_secs
    }

    fn oldest(self, now: UnixSeconds) -> u64 {
        (self.step(now) + 1).saturating_sub(self.steps)
    }
}

/// The requests of a connection: each step of a span in which something came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Window {
    steps: Vec<(u64, Requests)>,
}

impl Window {
    /// Counts requests that were answered about now.
    pub fn count(&mut self, requests: Requests, span: Span, now: UnixSeconds) {
        let step = span.step(now);
        self.steps.retain(|(past, _)| *past >= span.oldest(now));
        match self.steps.iter_mut().find(|(past, _)| *past == step) {
            Some((_, sum)) => sum.add(requests),
            None => self.steps.push((step, requests)),
        }
    }

    /// What was counted within the span.
    #[must_use]
    pub fn sum(&self, span: Span, now: UnixSeconds) -> Requests {
        let mut sum = Requests::default();
        for (past, requests) in &self.steps {
            if *past >= span.oldest(now) {
                sum.add(*requests);
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(total: u64, failed: u64) -> Requests {
        Requests {
            total,
            failed,
            verdicts: [total, 0, 0, failed],
        }
    }

    fn used(failed: u64, total: u64) -> f64 {
        requests(total, failed).budget_used()
    }

    #[test]
    fn both_the_number_and_the_share_must_be_used_up() {
        let near = |found: f64, expected: f64| (found - expected).abs() < 1e-9;
        assert!(near(used(0, 0), 0.0));
        assert!(near(used(0, 10_000), 0.0));
        assert!(near(used(75, 75), 0.25), "few requests, all failed");
        assert!(
            near(used(3_000, 10_000), 0.375),
            "many, of which a third failed"
        );
        assert!(near(used(300, 375), 1.0), "exactly 80 % of enough");
        assert!(used(299, 299) < 1.0 && used(300, 300) >= 1.0);
    }

    #[test]
    fn what_is_older_than_the_span_is_forgotten() {
        for (span, last, step_secs) in [(HALF_AN_HOUR, 29, 60), (DAY, 23, 3_600)] {
            let mut window = Window::default();
            let at =
                |step: u64| UnixSeconds(1_780_002_000 / step_secs * step_secs + step_secs * step);
            window.count(requests(5, 5), span, at(0));
            window.count(requests(7, 7), span, at(1));
            assert_eq!(window.sum(span, at(last)), requests(12, 12));
            assert_eq!(window.sum(span, at(last + 1)), requests(7, 7));
            assert_eq!(window.sum(span, at(last + 2)), Requests::default());
            window.count(requests(1, 1), span, at(last + 1));
            assert_eq!(window.steps.len(), 2, "nothing is kept for longer");
        }
    }

    #[test]
    fn a_clock_that_steps_back_counts_all_the_same() {
        let mut window = Window::default();
        window.count(requests(1, 0), HALF_AN_HOUR, UnixSeconds(6_000));
        window.count(requests(1, 1), HALF_AN_HOUR, UnixSeconds(5_940));
        let sum = |now| window.sum(HALF_AN_HOUR, UnixSeconds(now));
        assert_eq!(sum(6_000), requests(2, 1));
        assert_eq!(sum(0).total, 2);
    }
}
