//! How near Pancake is to suspending a connection. Pure.
//!
//! Pancake's rule: within 30 minutes, more than 80 % of the requests and at least 300 of them failed, that is,
//! were not answered 2xx within 5 s. What failed on its way to us is not in here.

use protocol::UnixSeconds;
use serde::{Deserialize, Serialize};

/// How long Pancake looks back, in minutes.
const MINUTES: u64 = 30;

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
}

impl Requests {
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

/// The last half an hour of a connection: each minute in which something came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    minutes: Vec<(u64, Requests)>,
}

impl Window {
    /// Counts requests that were answered about now.
    pub fn count(&mut self, requests: Requests, now: UnixSeconds) {
        let minute = now.0 / 60;
        self.minutes.retain(|(past, _)| *past >= oldest(minute));
        let known = self.minutes.iter_mut().find(|(past, _)| *past == minute);
        match known {
            Some((_, sum)) => {
                sum.total += requests.total;
                sum.failed += requests.failed;
            }
            None => self.minutes.push((minute, requests)),
        }
    }

    /// What was counted within the last half an hour.
    #[must_use]
    pub fn sum(&self, now: UnixSeconds) -> Requests {
        let mut sum = Requests::default();
        for (past, requests) in &self.minutes {
            if *past >= oldest(now.0 / 60) {
                sum.total += requests.total;
                sum.failed += requests.failed;
            }
        }
        sum
    }
}

/// The minute that has begun, and those before it.
fn oldest(minute: u64) -> u64 {
    (minute + 1).saturating_sub(MINUTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(failed: u64, total: u64) -> f64 {
        Requests { total, failed }.budget_used()
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
    fn what_is_older_than_half_an_hour_is_forgotten() {
        let mut window = Window::default();
        let at = |minute: u64| UnixSeconds(1_780_000_020 + 60 * minute);
        let failed = |count| Requests {
            total: count,
            failed: count,
        };
        window.count(failed(5), at(0));
        window.count(failed(7), at(1));
        assert_eq!(window.sum(at(29)), failed(12));
        assert_eq!(window.sum(at(30)), failed(7));
        assert_eq!(window.sum(at(31)), Requests::default());
        window.count(failed(1), at(30));
        assert_eq!(window.minutes.len(), 2, "nothing is kept for longer");
    }

    #[test]
    fn a_clock_that_steps_back_counts_all_the_same() {
        let mut window = Window::default();
        window.count(
            Requests {
                total: 1,
                failed: 0,
            },
            UnixSeconds(6_000),
        );
        window.count(
            Requests {
                total: 1,
                failed: 1,
            },
            UnixSeconds(5_940),
        );
        assert_eq!(
            window.sum(UnixSeconds(6_000)),
            Requests {
                total: 2,
                failed: 1
            }
        );
        assert_eq!(window.sum(UnixSeconds(0)).total, 2);
    }
}
