//! Whether Pancake's webhooks still come. Pancake suspends a webhook that fails too often, tells it by e-mail, and
//! sends nothing until somebody enables it again by hand; here it shows by records in Pancake's lists that are newer
//! than any that a webhook brought.

use std::time::Duration;

use jiff::Timestamp;

/// A webhook may be that much later than its record is in a list.
const GRACE: Duration = Duration::from_mins(2);
/// So many records without a webhook …
const RECORDS: u32 = 3;
/// … for so long are no accident.
const SILENCE: Duration = Duration::from_mins(10);

/// As `pancake_connection.status` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Active,
    Suspended,
    Disabled,
}

impl Status {
    pub(crate) const ALL: [Self; 3] = [Self::Active, Self::Suspended, Self::Disabled];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Disabled => "disabled",
        }
    }
}

/// What is remembered of a connection from poll to poll.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// The latest change that a webhook brought, of those that were seen in a list.
    pub(crate) webhook_seen_on: Option<Timestamp>,
    /// How many changes after it none brought.
    pub(crate) missed_records: u32,
    /// The first of these.
    pub(crate) missed_since: Option<Timestamp>,
}

/// What a poll saw: when the records of the lists were changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Observation {
    /// The latest of those that a webhook has brought.
    pub(crate) by_webhook: Option<Timestamp>,
    /// Those that this poll brought.
    pub(crate) missed: Vec<Timestamp>,
}

impl Observation {
    pub(crate) fn add(&mut self, other: Self) {
        self.by_webhook = self.by_webhook.max(other.by_webhook);
        self.missed.extend(other.missed);
    }
}

/// What is to be remembered now, and what the status becomes, if it changes. `since` is when the status became what it
/// is: what happened before says nothing.
pub(crate) fn judge(
    memory: Memory,
    (status, since): (Status, Timestamp),
    observation: &Observation,
    now: Timestamp,
) -> (Memory, Option<Status>) {
    // What is said to be changed in the future would hide all that is changed until then.
    let by_webhook = observation.by_webhook.map(|on| on.min(now));
    let mut memory = Memory {
        webhook_seen_on: memory.webhook_seen_on.map(|on| on.min(now)),
        missed_since: memory.missed_since.map(|on| on.min(now)),
        ..memory
    };
    let webhooks_come = by_webhook > memory.webhook_seen_on;
    if webhooks_come {
        memory = Memory {
            webhook_seen_on: by_webhook,
            ..Memory::default()
        };
    }
    let after = memory.webhook_seen_on.map_or(since, |on| on.max(since));
    let before = now.checked_sub(GRACE).unwrap_or(now);
    for on in &observation.missed {
        if *on > after && *on <= before {
            memory.missed_records = memory.missed_records.saturating_add(1);
            memory.missed_since = Some(memory.missed_since.map_or(*on, |first| first.min(*on)));
        }
    }
    let is_silent = memory.missed_records >= RECORDS
        && memory.missed_since.is_some_and(|first| {
            now.duration_since(first).unsigned_abs() >= SILENCE && first < now
        });
    let becomes = match status {
        Status::Active if is_silent => Some(Status::Suspended),
        Status::Suspended if webhooks_come && by_webhook > Some(since) => Some(Status::Active),
        _ => None,
    };
    (memory, becomes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + minutes * 60).unwrap()
    }

    fn saw(by_webhook: Option<i64>, missed: &[i64]) -> Observation {
        Observation {
            by_webhook: by_webhook.map(at),
            missed: missed.iter().copied().map(at).collect(),
        }
    }

    const ACTIVE: Status = Status::Active;

    #[test]
    fn a_change_of_the_future_hides_nothing() {
        let seen = Memory {
            webhook_seen_on: Some(at(1_000_000)),
            ..Memory::default()
        };
        let nothing = saw(None, &[]);
        let (mended, _) = judge(seen, (ACTIVE, at(0)), &nothing, at(30));
        assert_eq!(mended.webhook_seen_on, Some(at(30)));
        let (new, _) = judge(
            Memory::default(),
            (ACTIVE, at(0)),
            &saw(Some(1_000_000), &[]),
            at(30),
        );
        assert_eq!(new.webhook_seen_on, Some(at(30)));
        let missed = saw(None, &[31, 32, 33]);
        let (_, becomes) = judge(mended, (ACTIVE, at(0)), &missed, at(60));
        assert_eq!(becomes, Some(Status::Suspended));
    }

    #[test]
    fn three_newer_records_and_no_webhook_for_ten_minutes_are_a_suspension() {
        let (memory, becomes) = judge(
            Memory::default(),
            (ACTIVE, at(0)),
            &saw(Some(10), &[12, 13]),
            at(30),
        );
        assert_eq!((memory.missed_records, becomes), (2, None));
        let (memory, becomes) = judge(memory, (ACTIVE, at(0)), &saw(None, &[25]), at(35));
        assert_eq!(
            (memory.missed_records, memory.missed_since),
            (3, Some(at(12)))
        );
        assert_eq!(becomes, Some(Status::Suspended));
        let (_, becomes) = judge(
            memory,
            (Status::Suspended, at(35)),
            &saw(None, &[40]),
            at(45),
        );
        assert_eq!(becomes, None, "it is known");
    }

    #[test]
    fn a_few_minutes_of_silence_are_none() {
        let (memory, becomes) = judge(
            Memory::default(),
            (ACTIVE, at(0)),
            &saw(Some(10), &[11, 12, 13, 14]),
            at(18),
        );
        assert_eq!((memory.missed_records, becomes), (4, None));
    }

    #[test]
    fn a_webhook_that_comes_late_makes_good() {
        let missed = saw(None, &[11, 12]);
        let (memory, _) = judge(Memory::default(), (ACTIVE, at(0)), &missed, at(20));
        let (memory, becomes) = judge(memory, (ACTIVE, at(0)), &saw(Some(13), &[]), at(40));
        assert_eq!(becomes, None);
        assert_eq!(memory.missed_records, 0);
        assert_eq!(memory.webhook_seen_on, Some(at(13)));
    }

    #[test]
    fn what_a_webhook_may_still_bring_and_what_was_before_does_not_count() {
        let (memory, _) = judge(
            Memory::default(),
            (ACTIVE, at(50)),
            &saw(Some(40), &[41, 49, 99, 100]),
            at(100),
        );
        assert_eq!(
            memory.missed_records, 0,
            "before 50, or less than two minutes ago"
        );
    }

    #[test]
    fn webhooks_that_come_again_end_it_and_old_ones_do_not() {
        let suspended = (Status::Suspended, at(100));
        let (memory, becomes) = judge(Memory::default(), suspended, &saw(Some(90), &[]), at(120));
        assert_eq!(becomes, None, "it was sent before");
        let (memory, becomes) = judge(memory, suspended, &saw(Some(110), &[]), at(121));
        assert_eq!(becomes, Some(ACTIVE));
        let disabled = (Status::Disabled, at(0));
        let (_, becomes) = judge(memory, disabled, &saw(None, &[112, 113, 114]), at(400));
        assert_eq!(becomes, None, "that was us");
    }

    #[test]
    fn a_clock_that_was_set_back_suspends_nothing() {
        let (_, becomes) = judge(
            Memory {
                missed_records: 9,
                missed_since: Some(at(500)),
                webhook_seen_on: None,
            },
            (ACTIVE, at(0)),
            &saw(None, &[]),
            at(100),
        );
        assert_eq!(becomes, None);
    }
}
