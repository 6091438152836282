//! Whether a request is made again, and when.
//!
//! Retries come out of a budget that successes fill: a provider that is well is asked again at once where one answer
//! is lost, and one that is not gets hardly more requests than without retries.

use std::time::Duration;

use super::PancakeError;

/// How often one request is made at most.
const TRIES: u32 = 4;
/// Retries that a run has at its beginning.
const FIRST: u32 = 10;
/// So many successes are worth one retry more,
const SUCCESSES_PER_RETRY: u32 = 10;
/// up to so many.
const MOST: u32 = 50;

/// The first pause before a retry; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// How long a provider that wants fewer requests is left alone if it does not say how long, and at most.
const RATE_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// How often who waits for an open breaker looks whether it lets one through.
const BREAKER_PAUSE: Duration = Duration::from_secs(2);

/// The retries that a run may still make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudget {
    tenths: u32,
    /// How long it may still wait for an open breaker.
    patience: Duration,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            tenths: FIRST * SUCCESSES_PER_RETRY,
            patience: Duration::ZERO,
        }
    }
}

impl RetryBudget {
    /// One of a run that waits for an open breaker, so long in all, in place of failing.
    #[must_use]
    pub fn patient(patience: Duration) -> Self {
        Self {
            patience,
            ..Self::default()
        }
    }

    /// A request went well.
    pub fn succeeded(&mut self) {
        self.tenths = (self.tenths + 1).min(MOST * SUCCESSES_PER_RETRY);
    }

    /// How long to wait before the request is made again, that was made `tries` times; none if it is not. `chance`,
    /// between 0 and 1, keeps those who fail together from coming back together.
    pub fn retry(&mut self, error: PancakeError, tries: u32, chance: f64) -> Option<Duration> {
        if error == PancakeError::BreakerOpen {
            let pause = BREAKER_PAUSE.min(self.patience);
            self.patience -= pause;
            return (!pause.is_zero()).then_some(pause);
        }
        if !error.is_passing() || tries >= TRIES {
            return None;
        }
        self.tenths = self.tenths.checked_sub(SUCCESSES_PER_RETRY)?;
        let pause = match error {
            PancakeError::RateLimited { retry_after } => retry_after.unwrap_or(RATE_PAUSE),
            _ => FIRST_PAUSE * 2_u32.saturating_pow(tries.saturating_sub(1)),
        };
        let pause = pause.min(LONGEST_PAUSE);
        // Never sooner than it asked for.
        Some(pause + pause.mul_f64(chance.clamp(0.0, 1.0) / 4.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWN: PancakeError = PancakeError::Unreachable;

    #[test]
    fn a_request_is_made_four_times_at_most_with_longer_and_longer_pauses() {
        let mut budget = RetryBudget::default();
        let pauses: Vec<_> = (1..5).map(|tries| budget.retry(DOWN, tries, 0.0)).collect();
        let milliseconds = |pause: &Option<Duration>| pause.map(|pause| pause.as_millis());
        let pauses: Vec<_> = pauses.iter().map(milliseconds).collect();
        assert_eq!(pauses, [Some(500), Some(1000), Some(2000), None]);
    }

    #[test]
    fn a_run_whose_retries_are_used_up_makes_no_more_until_others_succeed() {
        let mut budget = RetryBudget::default();
        assert_eq!(
            (0..20).filter_map(|_| budget.retry(DOWN, 1, 0.5)).count(),
            10
        );
        (0..9).for_each(|_| budget.succeeded());
        assert_eq!(budget.retry(DOWN, 1, 0.5), None);
        budget.succeeded();
        assert!(budget.retry(DOWN, 1, 0.5).is_some());
        (0..10_000).for_each(|_| budget.succeeded());
        assert_eq!(
            (0..100).filter_map(|_| budget.retry(DOWN, 1, 0.5)).count(),
            50
        );
    }

    #[test]
    fn who_wants_fewer_requests_is_left_alone_for_as_long_as_it_says_within_a_minute() {
        let pause = |retry_after| {
            let error = PancakeError::RateLimited { retry_after };
            RetryBudget::default()
                .retry(error, 1, 0.0)
                .unwrap()
                .as_secs()
        };
        assert_eq!(pause(None), 5);
        assert_eq!(pause(Some(Duration::from_secs(7))), 7);
        assert_eq!(pause(Some(Duration::from_hours(24))), 60);
    }

    #[test]
    fn who_is_patient_waits_for_an_open_breaker_for_so_long_in_all() {
        let mut budget = RetryBudget::patient(Duration::from_secs(5));
        // However often it was asked before.
        let pauses: Vec<_> = (1..6)
            .map(|tries| budget.retry(PancakeError::BreakerOpen, tries, 0.5))
            .collect();
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(pauses, [seconds(2), seconds(2), seconds(1), None, None]);
        assert!(budget.retry(DOWN, 1, 0.5).is_some(), "it costs no retry");
    }

    #[test]
    fn what_would_be_answered_the_same_is_not_asked_again() {
        for error in [
            PancakeError::KeyRefused,
            PancakeError::Refused(404),
            PancakeError::CursorRepeats,
            PancakeError::TooManyPages(7),
            PancakeError::BreakerOpen,
        ] {
            assert_eq!(RetryBudget::default().retry(error, 1, 0.0), None, "{error}");
        }
    }
}
