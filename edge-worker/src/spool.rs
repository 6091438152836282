//! Records that their region cannot take now wait here, sealed, and are sent when it can. Pure: what a
//! shard does with its records is decided here, `shard` does it.
//!
//! A region has [`SHARDS`] shards, each a Durable Object with a database of its own. A shard sends one record
//! after the other, in the order in which they came. While nothing gets through, nobody is to blame but the
//! region, and all of them wait. One that fails while others are taken is to blame itself: it waits longer and
//! longer, and after [`ATTEMPTS`] it is parked, kept until somebody looks at it.

mod shard;

use protocol::UnixSeconds;
use protocol::record_status::RecordStatus;
use serde::{Deserialize, Serialize};

/// The binding of the shards' namespace.
pub const SPOOL_BINDING: &str = "SPOOL";

/// How many shards a region has. A Durable Object takes some 300 writes of a record a second, and
/// Pancake sends 1000 at most from one address. More may be added; fewer would leave records behind.
pub const SHARDS: u32 = 8;

/// How long a shard may take to keep a record, in milliseconds. With the 3 s that a core is given it stays
/// below the 5 s after which Pancake gives up.
pub const PUT_TIMEOUT_MS: u32 = 1_500;

/// How long a core may take over one record that waited. Nobody waits for the answer.
pub const DELIVERY_TIMEOUT_MS: u32 = 10_000;

/// So many times a record may be refused while others are taken.
pub const ATTEMPTS: u32 = 10;

/// So many records in a row are tried while none gets through.
const PROBES: usize = 3;

/// The pause before a region is tried again, and the longest.
const REGION_PAUSE_MS: (f64, f64) = (1_000.0, 60_000.0);

/// The first pause of a record that was refused, unless the deployment's `SPOOL_RECORD_PAUSE_MS` says another:
/// ten attempts take an hour then.
pub const RECORD_PAUSE_MS: f64 = 5_000.0;

/// The longest pause, in first ones: a quarter of an hour.
const RECORD_PAUSES: f64 = 180.0;

/// How many records and bytes a shard holds at most. Cloudflare gives a Durable Object 10 GB.
pub const SHARD_LIMIT: Held = Held {
    records: 1_000_000,
    bytes: 4_000_000_000,
};

/// What a shard holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// How many records.
    pub records: u64,
    /// How many bytes, sealed.
    pub bytes: u64,
}

impl Held {
    /// With one record more; nothing if it would be too much.
    #[must_use]
    pub fn with(self, bytes: u64) -> Option<Self> {
        let held = Self {
            records: self.records + 1,
            bytes: self.bytes + bytes,
        };
        (held.records <= SHARD_LIMIT.records && held.bytes <= SHARD_LIMIT.bytes).then_some(held)
    }

    /// How much of what a shard can hold this is.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "both limits are far below 2^53")]
    pub fn used_ratio(self) -> f64 {
        let records = self.records as f64 / SHARD_LIMIT.records as f64;
        let bytes = self.bytes as f64 / SHARD_LIMIT.bytes as f64;
        records.max(bytes)
    }

    /// With one record less.
    #[must_use]
    pub fn without(self, bytes: u64) -> Self {
        Self {
            records: self.records.saturating_sub(1),
            bytes: self.bytes.saturating_sub(bytes),
        }
    }
}

/// What a shard says of itself, or several together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ShardStatus {
    /// Records that wait for their region.
    pub waiting: u64,
    /// Records that wait for somebody to look at them.
    pub parked: u64,
    /// What both take, sealed.
    pub bytes: u64,
    /// When the oldest that waits came, in milliseconds since 1970.
    pub oldest_received_at_ms: Option<f64>,
    /// How much of what it can hold it holds, by records or bytes, whichever is more; of the fullest.
    pub used_ratio: f64,
}

impl ShardStatus {
    /// Together with another.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        let oldest = [self.oldest_received_at_ms, other.oldest_received_at_ms];
        Self {
            waiting: self.waiting + other.waiting,
            parked: self.parked + other.parked,
            bytes: self.bytes + other.bytes,
            oldest_received_at_ms: oldest.into_iter().flatten().reduce(f64::min),
            used_ratio: self.used_ratio.max(other.used_ratio),
        }
    }

    /// How long the oldest that waits has waited, in seconds.
    #[must_use]
    pub fn oldest_seconds(&self, now: UnixSeconds) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a time is far below 2^53")]
        let now = now.0 as f64;
        self.oldest_received_at_ms
            .map_or(0.0, |received_at| (now - received_at / 1_000.0).max(0.0))
    }
}

/// What came of sending a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The core has it.
    Kept,
    /// The core answered, and will not have this one.
    Refused,
    /// Nothing was heard, or nothing that says whose fault it is.
    Failed,
}

impl Delivery {
    /// Reads a core's answer: its status, and its header [`protocol::record_status::RECORD_STATUS`].
    #[must_use]
    pub fn of_answer(http_status: u16, record_status: Option<&str>) -> Self {
        match http_status {
            200 if record_status.and_then(RecordStatus::parse).is_some() => Self::Kept,
            // Broken, too large, for another core, not to be opened. 401 is not here: then the hop's
            // secrets differ, and every record meets it.
            400 | 413 | 421 | 422 => Self::Refused,
            _ => Self::Failed,
        }
    }
}

/// What is to be done with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The core has it: it need not be kept here.
    Remove(i64),
    /// It is to blame: one attempt more.
    Blame(i64),
}

/// One round of sending what waits: the oldest first. While nothing gets through, others are tried besides,
/// in each round others, so that records that no core takes do not stand before those that it would.
#[derive(Debug)]
pub struct Round {
    /// The core was heard of.
    is_heard: bool,
    /// Records in a row that failed.
    failures: usize,
    after: i64,
    probe_after: i64,
}

impl Round {
    /// A round. `probe_after` is what the one before gave.
    #[must_use]
    pub fn new(probe_after: i64) -> Self {
        Self {
            is_heard: false,
            failures: 0,
            after: 0,
            probe_after,
        }
    }

    /// The next record is the first that is due behind this one.
    #[must_use]
    pub fn after(&self) -> i64 {
        self.after
    }

    /// Takes in what came of a record. Gives what is to be done with it.
    #[must_use]
    pub fn settle(&mut self, record: i64, delivery: Delivery) -> Option<Change> {
        if delivery == Delivery::Failed {
            self.failures += 1;
            if self.is_heard {
                self.after = record;
                return Some(Change::Blame(record));
            }
            self.after = record.max(self.probe_after);
            return None;
        }
        let is_first_sign = !self.is_heard && self.failures > 0;
        // Those that failed before are tried again, and now they are to blame if they fail.
        self.after = if is_first_sign { 0 } else { record };
        self.is_heard = true;
        self.failures = 0;
        Some(if delivery == Delivery::Kept {
            Change::Remove(record)
        } else {
            Change::Blame(record)
        })
    }

    /// Whether the region is better left alone for a while.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.failures >= PROBES
    }

    /// Once it has ended: whether the last that was heard of the region is that it does not answer.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.is_over() || (self.failures > 0 && !self.is_heard)
    }

    /// Where the next round looks for others; it begins with the oldest all the same.
    #[must_use]
    pub fn probe_after(&self) -> i64 {
        // Whoever did not fill a round was at the end.
        if self.is_over() && !self.is_heard {
            self.after
        } else {
            0
        }
    }
}

/// The first look at a region after a record was put here, in milliseconds: it has just failed.
const FIRST_PAUSE_MS: f64 = 1_000.0;

/// A shard's alarm. There is one, so whoever needs it earlier than it is set for must get it. Times are in
/// milliseconds since 1970.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alarm {
    /// Nothing while it is not known to be set.
    set_for_ms: Option<f64>,
    /// Until then the region is left alone, whatever comes.
    rests_until_ms: f64,
}

impl Alarm {
    /// It rang, or could not be set.
    pub fn clear(&mut self) {
        self.set_for_ms = None;
    }

    /// Leaves the region alone for so long; 0 ends that.
    pub fn rest(&mut self, now_ms: f64, pause_ms: f64) {
        self.rests_until_ms = now_ms + pause_ms;
    }

    /// How long a record that comes now has to wait.
    #[must_use]
    pub fn first_pause_ms(&self, now_ms: f64) -> f64 {
        FIRST_PAUSE_MS.max(self.rests_until_ms - now_ms)
    }

    /// Whether it is to be set for so much later; it is taken for set then.
    pub fn set(&mut self, now_ms: f64, pause_ms: f64) -> bool {
        let at = now_ms + pause_ms;
        let is_later = self.set_for_ms.is_none_or(|set_for| set_for > at);
        if is_later {
            self.set_for_ms = Some(at);
        }
        is_later
    }
}

/// How long to leave a region alone after so many rounds in which nothing got through, in milliseconds.
/// `random` is from 0 to 1: shards that failed together do not come again together.
#[must_use]
pub fn region_pause_ms(rounds: u32, random: f64) -> f64 {
    pause_ms(REGION_PAUSE_MS, rounds, random)
}

/// How long a record waits that was refused so many times; nothing if it is to be parked.
#[must_use]
pub fn record_pause_ms(first_ms: f64, attempts: u32, random: f64) -> Option<f64> {
    let pause = (first_ms, first_ms * RECORD_PAUSES);
    (attempts < ATTEMPTS).then(|| pause_ms(pause, attempts, random))
}

/// Doubles with each time, up to the longest; half of it is by chance.
fn pause_ms((first, longest): (f64, f64), times: u32, random: f64) -> f64 {
    let doublings = i32::try_from(times.saturating_sub(1)).unwrap_or(i32::MAX);
    let whole = (first * 2f64.powi(doublings)).min(longest);
    whole * (1.0 + random) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays a round over records that stay: gives the order in which they are tried, and the changes.
    fn play(round: &mut Round, records: &[(i64, Delivery)]) -> (Vec<i64>, Vec<Change>) {
        let (mut tried, mut changes) = (Vec::new(), Vec::new());
        let mut settled = Vec::new();
        while !round.is_over()
            && let Some((record, delivery)) = records
                .iter()
                .find(|(record, _)| *record > round.after() && !settled.contains(record))
        {
            tried.push(*record);
            if let Some(change) = round.settle(*record, *delivery) {
                settled.push(*record);
                changes.push(change);
            }
        }
        (tried, changes)
    }

    const KEPT: Delivery = Delivery::Kept;
    const REFUSED: Delivery = Delivery::Refused;
    const FAILED: Delivery = Delivery::Failed;

    #[test]
    fn what_waits_is_sent_in_order() {
        let mut round = Round::new(0);
        let (tried, changes) = play(&mut round, &[(1, KEPT), (2, KEPT), (3, KEPT)]);
        assert_eq!(tried, [1, 2, 3]);
        assert_eq!(changes, [1, 2, 3].map(Change::Remove));
        assert!(!round.has_failed());
    }

    #[test]
    fn nobody_is_to_blame_while_nothing_gets_through() {
        let mut round = Round::new(0);
        let all = [1, 2, 3, 4, 5].map(|record| (record, FAILED));
        assert_eq!(play(&mut round, &all), (vec![1, 2, 3], vec![]));
        assert!(round.is_over() && round.has_failed());
        assert_eq!(round.probe_after(), 3);

        // The next round looks at others, after the oldest; and when there are no more, from the start.
        let mut round = Round::new(3);
        assert_eq!(play(&mut round, &all), (vec![1, 4, 5], vec![]));
        let mut round = Round::new(round.probe_after());
        assert_eq!(play(&mut round, &all), (vec![1], vec![]));
        assert!(!round.is_over() && round.has_failed());
        assert_eq!(round.probe_after(), 0);
    }

    #[test]
    fn whoever_fails_while_others_are_taken_is_to_blame_and_blocks_nobody() {
        let mut round = Round::new(0);
        let poison = [(1, FAILED), (2, FAILED), (3, KEPT), (4, KEPT)];
        let (tried, changes) = play(&mut round, &poison);
        assert_eq!(tried, [1, 2, 3, 1, 2, 4]);
        assert_eq!(
            changes,
            [
                Change::Remove(3),
                Change::Blame(1),
                Change::Blame(2),
                Change::Remove(4)
            ]
        );
        assert!(!round.has_failed());
    }

    #[test]
    fn more_poison_than_a_round_tries_is_got_around() {
        let records: Vec<_> = (1..=8)
            .map(|record| (record, if record < 8 { FAILED } else { KEPT }))
            .collect();
        let (mut probe_after, mut removed) = (0, false);
        for _ in 0..4 {
            let mut round = Round::new(probe_after);
            let (_, changes) = play(&mut round, &records);
            probe_after = round.probe_after();
            removed |= changes.contains(&Change::Remove(8));
        }
        assert!(removed);
    }

    #[test]
    fn a_refusal_shows_that_the_core_is_there() {
        let mut round = Round::new(0);
        let (_, changes) = play(&mut round, &[(1, FAILED), (2, REFUSED)]);
        assert_eq!(changes, [Change::Blame(2), Change::Blame(1)]);
    }

    #[test]
    fn a_region_that_goes_down_ends_the_round() {
        let mut round = Round::new(0);
        let down = [
            (1, KEPT),
            (2, FAILED),
            (3, FAILED),
            (4, FAILED),
            (5, FAILED),
        ];
        let (tried, _) = play(&mut round, &down);
        assert_eq!(tried, [1, 2, 3, 4]);
        assert!(round.has_failed());
        assert_eq!(round.probe_after(), 0);
    }

    #[test]
    fn only_a_core_that_says_so_has_kept_a_record() {
        let of = Delivery::of_answer;
        for status in RecordStatus::ALL.map(RecordStatus::as_str) {
            assert_eq!(of(200, Some(status)), Delivery::Kept);
            assert_eq!(of(503, Some(status)), Delivery::Failed);
        }
        // What stands before a core may answer in its place.
        assert_eq!(of(200, None), Delivery::Failed);
        assert_eq!(of(200, Some("queued")), Delivery::Failed);
        assert_eq!(of(422, None), Delivery::Refused);
        assert_eq!(of(421, None), Delivery::Refused);
        for status in [301, 401, 404, 408, 429, 500, 502, 503, 504] {
            assert_eq!(of(status, None), Delivery::Failed, "{status}");
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_differ_by_chance() {
        let exact = |pause: f64, expected: f64| (pause - expected).abs() < 1e-6;
        assert!(exact(region_pause_ms(1, 1.0), 1_000.0));
        assert!(exact(region_pause_ms(1, 0.0), 500.0));
        assert!(exact(region_pause_ms(4, 1.0), 8_000.0));
        assert!(exact(region_pause_ms(u32::MAX, 1.0), 60_000.0));
        let of_record = |attempts| record_pause_ms(RECORD_PAUSE_MS, attempts, 1.0);
        assert!(exact(of_record(1).unwrap(), 5_000.0));
        assert!(exact(of_record(ATTEMPTS - 1).unwrap(), 900_000.0));
        assert_eq!(of_record(ATTEMPTS), None);
    }

    #[test]
    fn a_record_that_comes_does_not_wait_for_the_alarm_of_one_that_was_refused() {
        let mut alarm = Alarm::default();
        assert!(alarm.set(0.0, 900_000.0), "for the one that was refused");
        assert!(alarm.set(50.0, alarm.first_pause_ms(50.0)));
        assert!(!alarm.set(60.0, alarm.first_pause_ms(60.0)), "that is soon");
        assert!(!alarm.set(70.0, 900_000.0), "nobody puts it off");
        alarm.clear();
        assert!(alarm.set(1_050.0, 900_000.0));
    }

    #[test]
    fn a_region_that_failed_is_left_alone_whatever_comes() {
        let mut alarm = Alarm::default();
        alarm.rest(0.0, 60_000.0);
        assert!(alarm.set(0.0, 60_000.0));
        let exact = |pause: f64, expected: f64| (pause - expected).abs() < 1e-6;
        assert!(exact(alarm.first_pause_ms(10_000.0), 50_000.0));
        assert!(!alarm.set(10_000.0, alarm.first_pause_ms(10_000.0)));
        assert!(exact(alarm.first_pause_ms(59_900.0), FIRST_PAUSE_MS));
        alarm.rest(20_000.0, 0.0);
        assert!(exact(alarm.first_pause_ms(20_000.0), FIRST_PAUSE_MS));
    }

    #[test]
    fn a_shard_holds_no_more_than_it_may() {
        let nearly_full = Held {
            records: SHARD_LIMIT.records - 1,
            bytes: SHARD_LIMIT.bytes - 10,
        };
        assert!(nearly_full.with(10).is_some());
        assert_eq!(nearly_full.with(11), None);
        assert_eq!(nearly_full.with(10).and_then(|full| full.with(0)), None);
        assert_eq!(nearly_full.with(10).unwrap().without(10), nearly_full);
        assert!(nearly_full.used_ratio() > 0.99 && SHARD_LIMIT.used_ratio() >= 1.0);
    }
}
