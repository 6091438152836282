//! How far a region is, as it tells the hub, and what the hub makes of that. Pure.

use protocol::RegionId;
use serde::{Deserialize, Serialize};

/// Where a region's replicator tells its position: a signed inquiry (`protocol::hop`), answered as JSON.
pub const PATH: &str = "/v1/replication/position";

/// A region's position. Nothing else crosses from a region to the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Whose it is.
    pub region: RegionId,
    /// The epoch of the stream that the region follows.
    pub epoch: i64,
    /// The highest `seq` that is applied, durably: with all below it.
    pub seq: i64,
    /// Where the tables were compared with the hub's digests last: those that differ, if any do.
    pub compared_seq: i64,
    /// Whether a table was not the hub's when it was compared last.
    pub differs: bool,
}

/// The last restate, as the hub knows it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LastRestate {
    /// Its last `seq`; 0 if there was none.
    pub seq: i64,
    /// How long ago it was made.
    pub secs_ago: f64,
}

impl Position {
    /// Whether the region needs all rows again. Not while the last restate is still on its way there, and
    /// not more often than every `pause_secs`: one that did not help is for people to look at.
    #[must_use]
    pub fn needs_restate(&self, last: LastRestate, pause_secs: f64) -> bool {
        self.differs && self.compared_seq > last.seq && last.secs_ago >= pause_secs
    }
}

/// Up to which `seq` every region has passed: the lowest of those that follow the hub's epoch. None if one
/// did not answer, or is behind by an epoch: what it has not seen must not be taken away.
#[must_use]
pub fn passed_by_all<'p>(
    answers: impl IntoIterator<Item = Option<&'p Position>>,
    epoch: i64,
) -> Option<i64> {
    let mut lowest = None;
    for answer in answers {
        let position = answer.filter(|position| position.epoch == epoch)?;
        lowest = Some(lowest.map_or(position.seq, |lowest: i64| lowest.min(position.seq)));
    }
    lowest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(epoch: i64, seq: i64) -> Position {
        Position {
            region: RegionId::parse("smp-china").unwrap(),
            epoch,
            seq,
            compared_seq: seq,
            differs: false,
        }
    }

    #[test]
    fn what_all_have_passed_is_the_lowest() {
        let (one, other) = (position(1, 7), position(1, 5));
        assert_eq!(passed_by_all([Some(&one), Some(&other)], 1), Some(5));
    }

    #[test]
    fn a_region_that_is_silent_or_an_epoch_behind_holds_all_back() {
        let (one, behind) = (position(2, 7), position(1, 900));
        assert_eq!(passed_by_all([Some(&one), None], 2), None);
        assert_eq!(passed_by_all([Some(&one), Some(&behind)], 2), None);
        assert_eq!(passed_by_all([], 2), None);
    }

    #[test]
    fn a_region_that_differs_is_restated_once_until_the_restate_is_there_and_the_pause_is_over() {
        let long_ago = LastRestate {
            seq: 4,
            secs_ago: 900.0,
        };
        let differs = Position {
            differs: true,
            ..position(1, 7)
        };
        assert!(differs.needs_restate(long_ago, 600.0));
        assert!(
            !position(1, 7).needs_restate(long_ago, 600.0),
            "it is equal"
        );
        let on_its_way = LastRestate { seq: 8, ..long_ago };
        assert!(!differs.needs_restate(on_its_way, 600.0));
        let just_now = LastRestate {
            secs_ago: 599.0,
            ..long_ago
        };
        assert!(!differs.needs_restate(just_now, 600.0));
    }
}
