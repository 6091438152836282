//! Up to where a table of a connection is complete, and the spans before that which are not.
//!
//! "Complete until T" says: what was changed before T, as it was when it was read, is here, by whatever layer, but
//! for what lies in a gap. It is said of what was read; Pancake promises no order in its lists, so polling reads the
//! last minutes again each time, and reconciliation the last days.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::pancake::client::Span;

/// A span that cannot be read so often is left behind, as a gap, and what comes after it is read.
const TRIES: u32 = 3;
/// More gaps than these are not kept apart.
const GAPS_MAX: usize = 64;

/// A span that is still to be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Gap {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    /// How often it could not be read.
    pub(crate) tries: u32,
    /// Why, the last time. In our words.
    pub(crate) cause: String,
}

/// Of one table of one connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Watermark {
    pub(crate) complete_until: Option<Timestamp>,
    /// In order, and apart from one another.
    pub(crate) gaps: Vec<Gap>,
}

impl Watermark {
    /// All of a span is here; what lies after `settled` may still come into Pancake's lists. `begins`: whether the mark
    /// of a table that nobody has read yet begins here.
    pub(crate) fn seen(&mut self, span: Span, settled: Timestamp, begins: bool) {
        let to = span.to.min(settled);
        if span.from >= to {
            return;
        }
        self.gaps = std::mem::take(&mut self.gaps)
            .into_iter()
            .flat_map(|gap| {
                let before = (gap.from < span.from).then(|| Gap {
                    to: gap.to.min(span.from),
                    ..gap.clone()
                });
                let after = (gap.to > to).then(|| Gap {
                    from: gap.from.max(to),
                    ..gap
                });
                [before, after].into_iter().flatten()
            })
            .collect();
        self.move_to(span.from, to, begins);
    }

    /// A span cannot be read, for a reason of its own. Whether it is left behind, so that those after it can be read.
    pub(crate) fn unread(&mut self, span: Span, cause: &str, begins: bool) -> bool {
        let known = self
            .gaps
            .iter_mut()
            .find(|gap| gap.from <= span.from && span.from < gap.to);
        let tries = if let Some(gap) = known {
            gap.to = gap.to.max(span.to);
            gap.tries = gap.tries.saturating_add(1);
            cause.clone_into(&mut gap.cause);
            gap.tries
        } else {
            self.gaps.push(Gap {
                from: span.from,
                to: span.to,
                tries: 1,
                cause: cause.to_owned(),
            });
            1
        };
        self.merge();
        let is_left = tries >= TRIES;
        if is_left {
            self.move_to(span.from, span.to, begins);
        }
        is_left
    }

    /// The gaps before the mark: what a poll tries again once it has read what is new. Those that were tried least come
    /// first.
    pub(crate) fn left_behind(&self) -> Vec<Span> {
        let mut gaps: Vec<&Gap> = self
            .gaps
            .iter()
            .filter(|gap| self.complete_until.is_some_and(|until| gap.from < until))
            .collect();
        gaps.sort_by_key(|gap| (gap.tries, gap.from));
        let span = |gap: &Gap| Span {
            from: gap.from,
            to: gap.to,
        };
        gaps.into_iter().map(span).collect()
    }

    /// Whether it lies after now: a clock was ahead when it was moved.
    pub(crate) fn is_ahead(&self, now: Timestamp) -> bool {
        self.complete_until.is_some_and(|until| until > now)
    }

    /// Puts a mark that is ahead of now back to `until`: nobody knows what had been read when it was moved.
    pub(crate) fn put_back(&mut self, now: Timestamp, until: Timestamp) {
        if !self.is_ahead(now) {
            return;
        }
        self.complete_until = Some(until);
        self.gaps.retain(|gap| gap.from < now);
        for gap in &mut self.gaps {
            gap.to = gap.to.min(now);
        }
    }

    fn move_to(&mut self, from: Timestamp, to: Timestamp, begins: bool) {
        match self.complete_until {
            // What lies between the mark and the span is not known to be here.
            Some(until) if from > until => {}
            Some(until) => self.complete_until = Some(until.max(to)),
            // All that is older would count as complete.
            None if !begins => {}
            None => self.complete_until = Some(to),
        }
    }

    fn merge(&mut self) {
        self.gaps.sort_by_key(|gap| gap.from);
        let mut merged: Vec<Gap> = Vec::with_capacity(self.gaps.len());
        for gap in std::mem::take(&mut self.gaps) {
            let is_full = merged.len() >= GAPS_MAX;
            match merged.last_mut() {
                // Of too many, more is read again than had to be.
                Some(last) if gap.from < last.to || is_full => {
                    last.to = last.to.max(gap.to);
                    last.tries = last.tries.max(gap.tries);
                }
                _ => merged.push(gap),
            }
        }
        self.gaps = merged;
    }
}

/// Cuts a span into pieces of at most `length`, the oldest first: a piece that is read need not be read again if the
/// next one cannot be.
pub(crate) fn slices(span: Span, length: std::time::Duration) -> impl Iterator<Item = Span> {
    let mut from = span.from;
    std::iter::from_fn(move || {
        if from >= span.to {
            return None;
        }
        let to = from
            .checked_add(length)
            .map_or(span.to, |to| to.min(span.to));
        let slice = Span { from, to };
        from = to;
        Some(slice)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + minutes * 60).unwrap()
    }

    fn span(from: i64, to: i64) -> Span {
        Span {
            from: at(from),
            to: at(to),
        }
    }

    fn gaps(mark: &Watermark) -> Vec<(Timestamp, Timestamp)> {
        mark.gaps.iter().map(|gap| (gap.from, gap.to)).collect()
    }

    #[test]
    fn it_moves_over_what_was_read_without_a_hole_and_no_further_than_what_has_settled() {
        let mut mark = Watermark::default();
        mark.seen(span(0, 60), at(1000), true);
        assert_eq!(mark.complete_until, Some(at(60)));
        mark.seen(span(50, 120), at(110), true);
        assert_eq!(mark.complete_until, Some(at(110)));
        mark.seen(span(115, 130), at(1000), true);
        assert_eq!(
            mark.complete_until,
            Some(at(110)),
            "110 to 115 was not read"
        );
        mark.seen(span(0, 20), at(1000), true);
        assert_eq!(mark.complete_until, Some(at(110)), "it never goes back");
        mark.seen(span(110, 200), at(90), true);
        assert_eq!(mark.complete_until, Some(at(110)));
    }

    #[test]
    fn a_span_that_cannot_be_read_stops_it_three_times_and_is_then_a_gap() {
        let mut mark = Watermark::default();
        mark.seen(span(0, 60), at(1000), true);
        for last in [120, 125] {
            assert!(!mark.unread(span(50, last), "repeats", true));
            assert_eq!(mark.complete_until, Some(at(60)));
        }
        assert!(mark.unread(span(50, 130), "repeats", true));
        assert_eq!(mark.complete_until, Some(at(130)));
        assert_eq!(gaps(&mark), [(at(50), at(130))]);
        assert_eq!(mark.gaps[0].tries, 3);
        assert_eq!(mark.left_behind(), [span(50, 130)]);
    }

    #[test]
    fn what_is_read_later_closes_gaps_wholly_or_in_part() {
        let mut mark = Watermark::default();
        mark.seen(span(0, 10), at(1000), true);
        for from in [10, 30, 50] {
            (0..3).for_each(|_| {
                mark.unread(span(from, from + 10), "x", true);
            });
            mark.seen(span(from + 10, from + 20), at(1000), true);
        }
        assert_eq!(mark.complete_until, Some(at(70)));
        mark.seen(span(35, 65), at(1000), true);
        assert_eq!(gaps(&mark), [(at(10), at(20)), (at(30), at(35))]);
        mark.seen(span(12, 15), at(1000), true);
        assert_eq!(
            gaps(&mark),
            [(at(10), at(12)), (at(15), at(20)), (at(30), at(35))]
        );
        mark.seen(span(0, 100), at(1000), true);
        assert_eq!(gaps(&mark), []);
    }

    #[test]
    fn what_was_read_of_old_before_anything_else_says_nothing_of_what_came_since() {
        let mut mark = Watermark::default();
        mark.seen(span(0, 60), at(1000), false);
        assert_eq!(mark.complete_until, None);
        for _ in 0..3 {
            mark.unread(span(60, 70), "x", false);
        }
        assert_eq!(mark.complete_until, None);
        mark.seen(span(900, 960), at(1000), true);
        assert_eq!(mark.complete_until, Some(at(960)));
        mark.seen(span(960, 970), at(1000), false);
        assert_eq!(mark.complete_until, Some(at(970)), "it goes on");
    }

    #[test]
    fn a_mark_that_is_ahead_of_now_is_put_back_and_one_that_is_not_stays() {
        let mut mark = Watermark::default();
        mark.seen(span(0, 500), at(1000), true);
        for _ in 0..3 {
            mark.unread(span(490, 510), "x", true);
        }
        let before = mark.clone();
        mark.put_back(at(510), at(10));
        assert_eq!(mark, before);
        mark.put_back(at(500), at(10));
        assert_eq!(mark.complete_until, Some(at(10)));
        assert_eq!(gaps(&mark), [(at(490), at(500))]);
        mark.complete_until = Some(at(600));
        mark.put_back(at(490), at(10));
        assert_eq!(gaps(&mark), []);
    }

    #[test]
    fn slices_follow_one_another_and_cover_all() {
        let cut: Vec<Span> = slices(span(0, 130), Duration::from_hours(1)).collect();
        assert_eq!(cut, [span(0, 60), span(60, 120), span(120, 130)]);
        assert_eq!(slices(span(5, 5), Duration::from_mins(1)).count(), 0);
        assert_eq!(slices(span(9, 5), Duration::from_mins(1)).count(), 0);
    }

    proptest! {
        #[test]
        fn no_minute_before_the_mark_is_without_having_been_read_or_being_a_gap(
            steps in prop::collection::vec((0_i64..300, 1_i64..80, any::<bool>()), 1..60)
        ) {
            let mut mark = Watermark::default();
            let mut read = std::collections::BTreeSet::new();
            let mut first = None;
            for (from, length, well) in steps {
                let one = span(from, from + length);
                // As polling does: it never leaves a hole between the mark and what it reads.
                if mark.complete_until.is_some_and(|until| one.from > until) { continue; }
                if well {
                    mark.seen(one, at(10_000), true);
                    read.extend(from..from + length);
                    first.get_or_insert(from);
                } else if mark.unread(one, "x", true) {
                    first.get_or_insert(from);
                }
                let Some(until) = mark.complete_until else { continue };
                for minute in first.unwrap_or(0).. {
                    if at(minute) >= until { break; }
                    let is_gap = mark.gaps.iter().any(|gap| gap.from <= at(minute) && at(minute) < gap.to);
                    prop_assert!(read.contains(&minute) || is_gap, "minute {minute}: {mark:?}");
                }
                prop_assert!(mark.gaps.len() <= GAPS_MAX);
                prop_assert!(mark.gaps.windows(2).all(|pair| pair[0].to <= pair[1].from));
            }
        }
    }
}
