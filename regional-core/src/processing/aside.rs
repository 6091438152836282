//! Events that are tried after all others. Something among them took too long, and nobody knows yet whether that
//! is their fault, or whether somebody holds a lock that all events need.

use std::collections::VecDeque;

use uuid::Uuid;

/// How many are remembered at most. What is forgotten is claimed again like any other.
const MOST_EVENTS: usize = 4_096;

/// After so many time-outs in a row nothing is concluded any more before something was processed.
pub(super) const MOST_TIMEOUTS: u32 = 8;

/// They are this process's: another one finds out by itself.
#[derive(Debug)]
pub(super) struct Aside {
    events: VecDeque<Uuid>,
    /// How many are tried at once.
    piece: usize,
    /// Others were processed since: whatever still takes too long does so by itself.
    is_fine: bool,
    timeouts: u32,
}

impl Default for Aside {
    fn default() -> Self {
        Self {
            events: VecDeque::new(),
            piece: 1,
            is_fine: false,
            timeouts: 0,
        }
    }
}

impl Aside {
    /// Whom to leave out meanwhile.
    pub(super) fn events(&self) -> Vec<Uuid> {
        self.events.iter().copied().collect()
    }

    /// After a round of tries that something of it took too long.
    pub(super) fn put(
        &mut self,
        events: impl IntoIterator<Item = Uuid>,
        others_were_processed: bool,
    ) {
        self.events.extend(events);
        let too_many = self.events.len().saturating_sub(MOST_EVENTS);
        self.events.drain(..too_many);
        self.piece = 1;
        self.is_fine = others_were_processed;
        self.timeouts = 0;
    }

    /// Others were processed.
    pub(super) fn others_were_processed(&mut self) {
        self.is_fine = true;
        self.timeouts = 0;
    }

    /// Takes those whose turn it is.
    pub(super) fn take(&mut self) -> Vec<Uuid> {
        let piece = self.piece.min(self.events.len());
        self.events.drain(..piece).collect()
    }

    /// These were processed, so more are tried at once.
    pub(super) fn were_processed(&mut self, most: usize) {
        self.others_were_processed();
        self.piece = (self.piece * 2).min(most.max(1));
    }

    /// These took too long again. Whether that is their fault; otherwise their turn comes again.
    pub(super) fn took_too_long(&mut self, events: Vec<Uuid>) -> bool {
        self.piece = 1;
        self.timeouts += 1;
        let is_theirs = self.is_fine && events.len() == 1;
        if self.timeouts >= MOST_TIMEOUTS {
            self.is_fine = false;
        }
        if !is_theirs {
            // Alone, it has had its turn.
            if events.len() == 1 {
                self.events.extend(events);
            } else {
                events
                    .into_iter()
                    .rev()
                    .for_each(|event| self.events.push_front(event));
            }
        }
        is_theirs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(count: u128) -> Vec<Uuid> {
        (0..count).map(Uuid::from_u128).collect()
    }

    #[test]
    fn nobody_is_blamed_before_others_were_processed() {
        let mut aside = Aside::default();
        aside.put(ids(3), false);
        for turn in 0..6 {
            let one = aside.take();
            assert_eq!(one, [Uuid::from_u128(turn % 3)], "each has its turn");
            assert!(!aside.took_too_long(one));
        }
        aside.others_were_processed();
        let one = aside.take();
        assert!(aside.took_too_long(one));
        assert_eq!(aside.events().len(), 2);
    }

    #[test]
    fn after_many_timeouts_in_a_row_nobody_is_blamed_any_more() {
        let mut aside = Aside::default();
        aside.put(ids(20), true);
        let blamed = (0..20).filter(|_| {
            let one = aside.take();
            aside.took_too_long(one)
        });
        assert_eq!(blamed.count(), 8);
        assert_eq!(aside.events().len(), 12);
    }

    #[test]
    fn more_and_more_are_tried_while_it_goes_well() {
        let mut aside = Aside::default();
        aside.put(ids(20), true);
        let mut sizes = Vec::new();
        for _ in 0..4 {
            sizes.push(aside.take().len());
            aside.were_processed(4);
        }
        assert_eq!(sizes, [1, 2, 4, 4]);
        let several = aside.take();
        assert!(!aside.took_too_long(several.clone()), "who of them?");
        assert_eq!(aside.take(), several[..1]);
    }

    #[test]
    fn no_more_are_remembered_than_fit() {
        let mut aside = Aside::default();
        aside.put(ids(5_000), false);
        assert_eq!(aside.events().len(), MOST_EVENTS);
    }
}
