//! When a batch should wait for company: pure, no clock.
//!
//! The edge sends over many connections, and each sends its next record when the last one is answered.
//! If a batch goes as soon as the one before it is back, half of the connections are always on their
//! way while the other half waits, and each commit carries half of what it could. Where a commit is
//! slow (a network disk, a synchronous stand-by) it pays to wait the moment until those just answered
//! are here again. Measured once, with 32 connections and each sync delayed by 4 ms: about 3.7 k records
//! a second in place of 2.8 k. On a machine busy with other work it brought nothing.
//!
//! It pays only then. So: never when a commit is fast, never for a lone record, only for as many as
//! there were just now, and after waiting in vain not again for a while.

use std::time::Duration;

/// Below this round trip nothing is won: the timer itself has steps of 1 ms.
const ROUND_TRIP_WORTH_IT: Duration = Duration::from_millis(2);

/// The longest wait, however slow the database is.
const LONGEST_WAIT: Duration = Duration::from_millis(3);

/// After waiting in vain again and again, it is tried once in so many batches.
const RAREST: u32 = 64;

/// What the last batches tell of the next.
#[derive(Debug)]
pub(super) struct Company {
    /// How many records were on their way or waiting when the last batch came back.
    expected: usize,
    /// How long the last batch took.
    round_trip: Duration,
    /// For so many batches it is not tried.
    pause: u32,
    /// The pause after the next wait in vain.
    next_pause: u32,
}

impl Default for Company {
    fn default() -> Self {
        Self {
            expected: 0,
            round_trip: Duration::ZERO,
            pause: 0,
            next_pause: 1,
        }
    }
}

impl Company {
    /// How many to wait for and for how long, if `here` are waiting now.
    pub(super) fn worth_waiting_for(&mut self, here: usize) -> Option<(usize, Duration)> {
        if self.expected <= here.max(1) || self.round_trip < ROUND_TRIP_WORTH_IT {
            return None;
        }
        if self.pause > 0 {
            self.pause -= 1;
            return None;
        }
        Some((self.expected, (self.round_trip / 2).min(LONGEST_WAIT)))
    }

    /// Learns from a wait: `here` were waiting at its start, `came` at its end.
    pub(super) fn waited(&mut self, here: usize, came: usize) {
        let hoped_for = self.expected.saturating_sub(here);
        let got = came.saturating_sub(here);
        if got * 2 >= hoped_for {
            self.next_pause = 1;
        } else {
            self.pause = self.next_pause;
            self.next_pause = (self.next_pause * 2).min(RAREST);
        }
    }

    /// Learns from a batch that is back.
    pub(super) fn returned(&mut self, rows: usize, waiting: usize, round_trip: Duration) {
        self.expected = rows + waiting;
        self.round_trip = round_trip;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Duration = Duration::from_millis(4);

    fn after(rows: usize, waiting: usize, round_trip: Duration) -> Company {
        let mut company = Company::default();
        company.returned(rows, waiting, round_trip);
        company
    }

    #[test]
    fn a_lone_record_never_waits() {
        assert_eq!(Company::default().worth_waiting_for(1), None);
        assert_eq!(after(1, 0, SLOW).worth_waiting_for(1), None);
    }

    #[test]
    fn nobody_waits_where_commits_are_fast() {
        let fast = Duration::from_millis(1);
        assert_eq!(after(16, 16, fast).worth_waiting_for(16), None);
    }

    #[test]
    fn those_just_answered_are_waited_for_within_bounds() {
        let wait = after(16, 16, SLOW).worth_waiting_for(16);
        assert_eq!(wait, Some((32, Duration::from_millis(2))));
        let wait = after(16, 16, Duration::from_secs(1)).worth_waiting_for(16);
        assert_eq!(wait, Some((32, LONGEST_WAIT)));
        assert_eq!(after(16, 16, SLOW).worth_waiting_for(32), None);
    }

    #[test]
    fn waiting_in_vain_makes_it_rarer_and_success_makes_it_usual_again() {
        let mut company = after(16, 16, SLOW);
        let mut waits = 0;
        for _ in 0..1000 {
            if company.worth_waiting_for(16).is_some() {
                waits += 1;
                company.waited(16, 17);
            }
        }
        // 1, 2, 4 … 64 batches apart, and then each 65th.
        assert!((15..=25).contains(&waits), "{waits}");
        while company.worth_waiting_for(16).is_none() {}
        company.waited(16, 30);
        assert!(company.worth_waiting_for(16).is_some());
    }
}
