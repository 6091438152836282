//! A circuit breaker: who fails is left alone for a while, then tried with one request.
//!
//! Opens after [`FAILURES`] failures within [`WINDOW`], whatever succeeded between them; lets one request through
//! after [`PAUSE`], and closes if that succeeds. (Of the crates that could be had, those that count failures within
//! a time need a newer compiler or wrap the call itself, and those that take the time as an argument count failures in a row.)
//!
//! Time is passed in: any clock that never goes back.

use std::collections::VecDeque;
use std::time::Duration;

/// So many failures …
pub const FAILURES: usize = 5;
/// … within so long open it,
pub const WINDOW: Duration = Duration::from_mins(1);
/// and after so long one request is let through.
pub const PAUSE: Duration = Duration::from_secs(30);

/// As `pancake_circuit_breaker_state` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// All is let through.
    Closed = 0,
    /// One request is let through, to see.
    HalfOpen = 1,
    /// Nothing is.
    Open = 2,
}

/// That a request may be made. What becomes of it counts only while the breaker is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Permit {
    generation: u64,
}

/// One for all requests to one interface.
#[derive(Debug, Default)]
pub struct Breaker {
    generation: u64,
    failures: VecDeque<Duration>,
    /// When it opened, or let the last request through to see; none while it is closed.
    waits_since: Option<Duration>,
    is_trying: bool,
}

impl Breaker {
    /// Whether a request may be made now.
    pub fn permit(&mut self, now: Duration) -> Option<Permit> {
        if let Some(since) = self.waits_since {
            if now < since + PAUSE {
                return None;
            }
            // A request that never says what became of it keeps others waiting no longer than this either.
            self.waits_since = Some(now);
            self.is_trying = true;
            self.generation += 1;
        }
        let generation = self.generation;
        Some(Permit { generation })
    }

    /// It went well.
    pub fn succeeded(&mut self, permit: Permit) {
        if permit.generation == self.generation && self.is_trying {
            *self = Self {
                generation: self.generation + 1,
                ..Self::default()
            };
        }
    }

    /// It failed.
    pub fn failed(&mut self, permit: Permit, now: Duration) {
        if permit.generation != self.generation {
            return;
        }
        self.failures.push_back(now);
        let is_old = |at: &Duration| *at + WINDOW <= now;
        while self.failures.len() > FAILURES || self.failures.front().is_some_and(is_old) {
            self.failures.pop_front();
        }
        if self.is_trying || self.failures.len() >= FAILURES {
            self.failures.clear();
            self.waits_since = Some(now);
            self.is_trying = false;
            self.generation += 1;
        }
    }

    /// How it stands.
    #[must_use]
    pub fn state(&self, now: Duration) -> State {
        match self.waits_since {
            None => State::Closed,
            Some(_) if self.is_trying => State::HalfOpen,
            Some(since) if now < since + PAUSE => State::Open,
            Some(_) => State::HalfOpen,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn fail(breaker: &mut Breaker, seconds: u64) {
        let permit = breaker.permit(at(seconds)).unwrap();
        breaker.failed(permit, at(seconds));
    }

    #[test]
    fn it_opens_at_the_fifth_failure_within_a_minute_and_not_before() {
        let mut breaker = Breaker::default();
        for seconds in [0, 10, 20, 30] {
            fail(&mut breaker, seconds);
            assert_eq!(breaker.state(at(seconds)), State::Closed, "{seconds}");
        }
        let permit = breaker.permit(at(40)).unwrap();
        breaker.succeeded(permit);
        fail(&mut breaker, 59);
        assert_eq!(breaker.state(at(59)), State::Open);
        assert_eq!(breaker.permit(at(88)), None);
    }

    #[test]
    fn failures_that_are_a_minute_old_do_not_count() {
        let mut breaker = Breaker::default();
        for seconds in [0, 10, 20, 30, 60, 70, 80, 90] {
            fail(&mut breaker, seconds);
            assert_eq!(breaker.state(at(seconds)), State::Closed, "{seconds}");
        }
        fail(&mut breaker, 91);
        assert_eq!(breaker.state(at(91)), State::Open, "31 s, not 60, for five");
    }

    #[test]
    fn after_thirty_seconds_one_request_is_tried_and_closes_it_or_opens_it_anew() {
        let mut breaker = Breaker::default();
        (0..5).for_each(|_| fail(&mut breaker, 100));
        assert_eq!(breaker.permit(at(129)), None);
        assert_eq!(breaker.state(at(130)), State::HalfOpen);
        fail(&mut breaker, 130);
        assert_eq!(breaker.state(at(130)), State::Open);
        assert_eq!(breaker.permit(at(159)), None);
        let permit = breaker.permit(at(160)).unwrap();
        assert_eq!(breaker.permit(at(160)), None, "one at a time");
        assert_eq!(breaker.state(at(161)), State::HalfOpen);
        breaker.succeeded(permit);
        assert_eq!(breaker.state(at(161)), State::Closed);
        fail(&mut breaker, 162);
        assert_eq!(breaker.state(at(162)), State::Closed, "it begins anew");
    }

    #[test]
    fn who_was_asked_before_it_opened_says_nothing_of_now() {
        let mut breaker = Breaker::default();
        let old = breaker.permit(at(0)).unwrap();
        (0..5).for_each(|_| fail(&mut breaker, 1));
        breaker.succeeded(old);
        assert_eq!(breaker.state(at(2)), State::Open);
        let trial = breaker.permit(at(31)).unwrap();
        breaker.failed(old, at(32));
        assert_eq!(breaker.state(at(32)), State::HalfOpen);
        breaker.succeeded(trial);
        assert_eq!(breaker.state(at(33)), State::Closed);
    }

    #[test]
    fn a_trial_that_never_ends_does_not_keep_it_shut() {
        let mut breaker = Breaker::default();
        (0..5).for_each(|_| fail(&mut breaker, 0));
        let lost = breaker.permit(at(30)).unwrap();
        assert_eq!(breaker.permit(at(59)), None);
        let next = breaker.permit(at(60)).unwrap();
        breaker.succeeded(lost);
        assert_eq!(breaker.state(at(60)), State::HalfOpen);
        breaker.succeeded(next);
        assert_eq!(breaker.state(at(60)), State::Closed);
    }

    proptest! {
        #[test]
        fn it_is_never_open_for_longer_than_its_pause_after_the_last_failure(
            steps in prop::collection::vec((0_u64..20, any::<bool>()), 1..200)
        ) {
            let (mut breaker, mut now) = (Breaker::default(), 0);
            for (pause, fails) in steps {
                now += pause;
                if let Some(permit) = breaker.permit(at(now)) {
                    if fails { breaker.failed(permit, at(now)) } else { breaker.succeeded(permit) }
                } else {
                    prop_assert_ne!(breaker.state(at(now)), State::Closed);
                }
                prop_assert!(breaker.permit(at(now) + PAUSE).is_some());
                // That was only asked for: nothing became of it.
                let state = breaker.state(at(now));
                prop_assert!(state == State::Closed || breaker.waits_since.is_some());
                now += PAUSE.as_secs();
            }
        }
    }
}
