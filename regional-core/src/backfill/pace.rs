//! How many rows the next transaction takes, by how long those before held their locks. Pure.

use std::time::Duration;

/// How long a transaction may hold its rows' locks before the next one is made smaller.
const HELD_MOST: Duration = Duration::from_millis(500);
/// With how many rows it begins: nobody knows yet how fast the server is.
const FIRST: usize = 1_000;
/// A slow transaction makes them no fewer than this; one that is given up does.
const SLOW_LEAST: usize = 100;

/// The size of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    rows: usize,
    most: usize,
}

impl Pace {
    /// Begins small; never more than `most` rows.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let most = most.max(1);
        Self {
            rows: most.min(FIRST),
            most,
        }
    }

    /// How many rows the next one takes.
    #[must_use]
    pub const fn rows(self) -> usize {
        self.rows
    }

    /// A transaction of so many rows held their locks for so long.
    pub fn took(&mut self, rows: usize, held: Duration) {
        if held > HELD_MOST {
            self.rows = (self.rows / 2).max(SLOW_LEAST.min(self.most));
        } else if rows < self.rows {
            // A small one tells nothing of a large one.
        } else if held < HELD_MOST / 4 {
            self.rows = (self.rows * 2).min(self.most);
        } else if held < HELD_MOST / 2 {
            self.rows = (self.rows + self.rows / 4).min(self.most);
        }
    }

    /// A transaction was given up: it took too long, or one of its rows is another's.
    pub fn gave_up(&mut self, rows: usize) {
        self.rows = (rows / 2).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_millis(10);

    fn settled(most: usize, rate: impl Fn(usize) -> Duration) -> Pace {
        let mut pace = Pace::new(most);
        for _ in 0..100 {
            pace.took(pace.rows(), rate(pace.rows()));
        }
        pace
    }

    #[test]
    fn it_grows_to_the_most_and_no_further() {
        assert_eq!(settled(10_000, |_| FAST).rows(), 10_000);
        assert_eq!(settled(7, |_| FAST).rows(), 7);
        assert_eq!(Pace::new(0).rows(), 1);
    }

    #[test]
    fn it_settles_where_locks_are_held_for_no_longer_than_they_may_be() {
        for micros in [1, 20, 60, 400, 4_000] {
            let held = |rows: usize| Duration::from_micros(micros * rows as u64);
            let pace = settled(10_000, held);
            let is_least = pace.rows() == SLOW_LEAST || pace.rows() == 10_000;
            assert!(
                held(pace.rows()) <= HELD_MOST,
                "{micros} µs a row: {pace:?}"
            );
            assert!(
                is_least || held(pace.rows()) >= HELD_MOST / 4,
                "{micros} µs a row: {pace:?}"
            );
        }
    }

    #[test]
    fn what_is_given_up_is_halved_down_to_one_row_and_grows_again() {
        let mut pace = Pace::new(10_000);
        for _ in 0..20 {
            pace.gave_up(pace.rows());
        }
        assert_eq!(pace.rows(), 1);
        for _ in 0..20 {
            pace.took(pace.rows(), FAST);
        }
        assert_eq!(pace.rows(), 10_000);
    }

    #[test]
    fn the_last_rows_of_a_table_make_it_neither_larger_nor_smaller() {
        let mut pace = Pace::new(10_000);
        pace.took(3, FAST);
        assert_eq!(pace.rows(), FIRST);
    }
}
