//! The one table of what is tried again, when, and how often.

use std::time::Duration;

/// Why processing an event failed. A database that is away is none of these: then nothing is marked, and
/// all of it is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// The database refuses what the event comes to: a constraint, a limit, a trigger.
    Refused,
    /// It took longer than a statement or a lock may.
    TimedOut,
    /// A bug of ours.
    Internal,
}

/// How a kind of failure is tried again.
#[derive(Debug, Clone, Copy)]
struct Policy {
    /// How often it is tried in all, before it is a dead letter.
    attempts: u16,
    /// The first pause.
    first: Duration,
    /// Each pause is so many times the one before.
    factor: u32,
    /// The longest pause.
    longest: Duration,
}

impl FailureKind {
    /// The start of an event's `cause`, and a metric's label.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused_by_database",
            Self::TimedOut => "timed_out",
            Self::Internal => "internal",
        }
    }

    const fn policy(self) -> Policy {
        match self {
            // A constraint seldom changes its mind; somebody may mend the schema.
            Self::Refused => Policy {
                attempts: 4,
                first: Duration::from_secs(30),
                factor: 4,
                longest: Duration::from_mins(10),
            },
            // Mostly a busy server.
            Self::TimedOut => Policy {
                attempts: 10,
                first: Duration::from_secs(2),
                factor: 2,
                longest: Duration::from_mins(5),
            },
            // The next release may know better.
            Self::Internal => Policy {
                attempts: 6,
                first: Duration::from_secs(10),
                factor: 4,
                longest: Duration::from_mins(30),
            },
        }
    }

    /// How long to wait after the `attempts`-th failure; none if that was the last try. `jitter` in 0..1
    /// spreads what failed together over a fifth of the pause either way.
    pub(super) fn pause_after(self, attempts: u16, jitter: f64) -> Option<Duration> {
        let policy = self.policy();
        if attempts >= policy.attempts {
            return None;
        }
        let times = u32::from(attempts.saturating_sub(1)).min(16);
        let pause = policy
            .first
            .saturating_mul(policy.factor.saturating_pow(times))
            .min(policy.longest);
        Some(pause.mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_end() {
        for kind in [
            FailureKind::Refused,
            FailureKind::TimedOut,
            FailureKind::Internal,
        ] {
            let policy = kind.policy();
            let pauses: Vec<_> = (1..policy.attempts)
                .map(|attempts| kind.pause_after(attempts, 0.5).unwrap())
                .collect();
            assert_eq!(pauses[0], policy.first);
            assert!(pauses.is_sorted(), "{kind:?}: {pauses:?}");
            assert!(pauses.iter().all(|pause| *pause <= policy.longest));
            assert_eq!(kind.pause_after(policy.attempts, 0.5), None);
            assert_eq!(kind.pause_after(u16::MAX, 0.5), None);
        }
    }

    #[test]
    fn jitter_is_a_fifth_either_way() {
        let pause = |jitter| FailureKind::TimedOut.pause_after(1, jitter).unwrap();
        assert_eq!(pause(0.0), Duration::from_millis(1_600));
        assert_eq!(pause(1.0), Duration::from_millis(2_400));
        assert_eq!(pause(f64::INFINITY), pause(1.0));
    }
}
