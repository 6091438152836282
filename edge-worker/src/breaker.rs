//! Spares a core that fails again and again: a circuit breaker, one per region and isolate. Pure. A core that
//! is well has none: with the first success it is forgotten.
//!
//! While a core does not answer, each webhook would wait 3 s for it before it is spooled. Once some have in a
//! row, the next ones are spooled at once, and one every now and then is sent to see whether the core is back.

use protocol::UnixSeconds;

/// So many webhooks in a row must have failed.
const FAILURES: u32 = 5;

/// How long none is sent then, in seconds.
const PAUSE_SECS: u64 = 2;

/// How long a probe may take, in seconds: as long as a core may, and one for the clock's rounding. Only then
/// another is sent.
const PROBE_SECS: u64 = 4;

/// What an isolate has seen of a region's core.
#[derive(Debug, Default)]
pub struct Breaker {
    failures: u32,
    /// Nothing is sent before.
    closed_at: Option<UnixSeconds>,
}

impl Breaker {
    /// Whether a webhook may be sent. Whoever is let through while the core fails is the probe.
    pub fn lets_through(&mut self, now: UnixSeconds) -> bool {
        match self.closed_at {
            None => true,
            Some(closed_at) if now < closed_at => false,
            Some(_) => {
                self.closed_at = Some(UnixSeconds(now.0 + PROBE_SECS));
                true
            }
        }
    }

    /// A webhook was sent in vain.
    pub fn failed(&mut self, now: UnixSeconds) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES {
            self.closed_at = Some(UnixSeconds(now.0 + PAUSE_SECS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing() -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES {
            assert!(breaker.lets_through(UnixSeconds(100)));
            breaker.failed(UnixSeconds(100));
        }
        breaker
    }

    #[test]
    fn a_few_failures_are_nothing() {
        let mut breaker = Breaker::default();
        for _ in 1..FAILURES {
            breaker.failed(UnixSeconds(100));
        }
        assert!(breaker.lets_through(UnixSeconds(100)));
    }

    #[test]
    fn a_core_that_fails_again_and_again_is_spared_but_for_probes() {
        let mut breaker = failing();
        assert!(!breaker.lets_through(UnixSeconds(100)));
        assert!(!breaker.lets_through(UnixSeconds(101)));
        assert!(breaker.lets_through(UnixSeconds(102)), "the probe");
        assert!(!breaker.lets_through(UnixSeconds(105)));
        breaker.failed(UnixSeconds(105));
        assert!(!breaker.lets_through(UnixSeconds(106)));
        assert!(breaker.lets_through(UnixSeconds(107)), "the next probe");
    }

    #[test]
    fn a_probe_of_which_nothing_is_heard_is_followed_by_another() {
        let mut breaker = failing();
        assert!(breaker.lets_through(UnixSeconds(102)));
        assert!(breaker.lets_through(UnixSeconds(106)));
    }
}
