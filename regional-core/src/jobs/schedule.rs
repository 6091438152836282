//! When a job is due. Time is passed in, as the database's clock has it, so that all cores have the same.
//!
//! A clock that is set back makes no job wait for longer than its schedule, and a day without a 02:00, or with two,
//! has one daily run.

use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// What failed is tried again after so long, if it is not due sooner.
const RETRY: SignedDuration = SignedDuration::from_mins(10);
/// What was broken off is begun again so long after it began, at the earliest: it may be the job itself that ends cores.
const AGAIN: SignedDuration = SignedDuration::from_secs(5);
/// A run that began later than now by more than this began by another clock.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_mins(5);

/// When a job is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    /// So long after it began last.
    Every(Duration),
    /// At a time of day. On a day that has no such time (summer time begins) at the first one after it; on one that
    /// has it twice, the first time.
    Daily(Time),
}

/// How the last run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It is under way, as far as the database knows.
    Running,
    /// As it should.
    Ok,
    /// With an error.
    Failed,
    /// Its core ended first.
    Interrupted,
}

/// The last run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRun {
    /// When it began.
    pub started_at: Timestamp,
    /// How it ended.
    pub ending: Ending,
}

impl Schedule {
    /// From when on the job is due, after that run; a moment that is past if it is due now.
    #[must_use]
    pub fn due_at(self, last: Option<LastRun>, now: Timestamp, zone: &TimeZone) -> Timestamp {
        let Some(last) = last.filter(|last| last.started_at.duration_since(now) <= CLOCK_SLACK)
        else {
            return now;
        };
        let by_schedule = match self {
            Self::Every(pause) => after(last.started_at, pause),
            Self::Daily(time) => next_daily(time, last.started_at, zone),
        };
        match last.ending {
            Ending::Ok | Ending::Running => by_schedule,
            Ending::Interrupted => last.started_at.saturating_add(AGAIN).unwrap_or(now),
            Ending::Failed => by_schedule.min(last.started_at.saturating_add(RETRY).unwrap_or(now)),
        }
    }

    /// Whether it is due.
    #[must_use]
    pub fn is_due(self, last: Option<LastRun>, now: Timestamp, zone: &TimeZone) -> bool {
        self.due_at(last, now, zone) <= now
    }
}

fn after(moment: Timestamp, pause: Duration) -> Timestamp {
    moment.checked_add(pause).unwrap_or(Timestamp::MAX)
}

/// The first moment after `moment` at which it is `time` there.
fn next_daily(time: Time, moment: Timestamp, zone: &TimeZone) -> Timestamp {
    let mut date = moment.to_zoned(zone.clone()).date();
    // Today's, tomorrow's, and one more for a zone that left out a day.
    for _ in 0..3 {
        let at = date.to_datetime(time).to_zoned(zone.clone());
        if let Ok(at) = at
            && at.timestamp() > moment
        {
            return at.timestamp();
        }
        date = date.tomorrow().unwrap_or(date);
    }
    after(moment, Duration::from_hours(24))
}

#[cfg(test)]
mod tests {
    use jiff::civil::time;
    use proptest::prelude::*;

    use super::*;

    const TWO: Schedule = Schedule::Daily(time(2, 0, 0, 0));

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn run(started_at: &str, ending: Ending) -> LastRun {
        LastRun {
            started_at: at(started_at),
            ending,
        }
    }

    #[test]
    fn what_never_ran_is_due() {
        let now = at("2026-03-01T12:00:00Z");
        assert!(TWO.is_due(None, now, &TimeZone::UTC));
        assert!(Schedule::Every(Duration::from_mins(5)).is_due(None, now, &TimeZone::UTC));
    }

    #[test]
    fn every_five_minutes_is_five_minutes_after_the_last_began() {
        let every = Schedule::Every(Duration::from_mins(5));
        let last = Some(run("2026-03-01T12:00:00Z", Ending::Ok));
        assert!(!every.is_due(last, at("2026-03-01T12:04:59Z"), &TimeZone::UTC));
        assert!(every.is_due(last, at("2026-03-01T12:05:00Z"), &TimeZone::UTC));
    }

    #[test]
    fn two_in_the_morning_is_that_of_the_country() {
        let ho_chi_minh = zone("Asia/Ho_Chi_Minh");
        let last = Some(run("2026-02-28T19:00:00Z", Ending::Ok));
        assert!(!TWO.is_due(last, at("2026-03-01T18:59:59Z"), &ho_chi_minh));
        assert!(TWO.is_due(last, at("2026-03-01T19:00:00Z"), &ho_chi_minh));
    }

    #[test]
    fn a_day_without_two_in_the_morning_has_a_run_and_one_with_two_has_one() {
        let new_york = zone("America/New_York");
        // 8 March 2026: 02:00 EST is followed by 03:00 EDT, which is 07:00Z.
        let last = Some(run("2026-03-07T07:00:00Z", Ending::Ok));
        assert_eq!(
            TWO.due_at(last, at("2026-03-08T00:00:00Z"), &new_york),
            at("2026-03-08T07:00:00Z")
        );
        let last = Some(run("2026-03-08T07:00:00Z", Ending::Ok));
        assert_eq!(
            TWO.due_at(last, at("2026-03-08T08:00:00Z"), &new_york),
            at("2026-03-09T06:00:00Z")
        );
        // 1 November 2026: 01:30 comes twice, at 05:30Z and 06:30Z.
        let half_past_one = Schedule::Daily(time(1, 30, 0, 0));
        let last = Some(run("2026-10-31T05:30:00Z", Ending::Ok));
        let due = half_past_one.due_at(last, at("2026-11-01T00:00:00Z"), &new_york);
        assert_eq!(due, at("2026-11-01T05:30:00Z"));
        let last = Some(run("2026-11-01T05:30:00Z", Ending::Ok));
        let due = half_past_one.due_at(last, at("2026-11-01T05:31:00Z"), &new_york);
        assert_eq!(due, at("2026-11-02T06:30:00Z"), "not at the second 01:30");
    }

    #[test]
    fn what_was_missed_is_done_once_and_not_once_a_day() {
        let last = Some(run("2026-03-01T02:00:00Z", Ending::Ok));
        let now = at("2026-03-09T15:00:00Z");
        assert!(TWO.is_due(last, now, &TimeZone::UTC));
        let last = Some(run("2026-03-09T15:00:00Z", Ending::Ok));
        assert_eq!(
            TWO.due_at(last, now, &TimeZone::UTC),
            at("2026-03-10T02:00:00Z")
        );
    }

    #[test]
    fn what_failed_is_tried_again_before_its_time_and_what_was_broken_off_at_once() {
        let now = at("2026-03-01T02:05:00Z");
        let failed = Some(run("2026-03-01T02:00:00Z", Ending::Failed));
        assert!(!TWO.is_due(failed, now, &TimeZone::UTC));
        assert!(TWO.is_due(failed, at("2026-03-01T02:10:00Z"), &TimeZone::UTC));
        let every = Schedule::Every(Duration::from_mins(1));
        assert!(every.is_due(failed, at("2026-03-01T02:01:00Z"), &TimeZone::UTC));
        let interrupted = Some(run("2026-03-01T02:00:00Z", Ending::Interrupted));
        assert!(TWO.is_due(interrupted, now, &TimeZone::UTC));
    }

    #[test]
    fn a_clock_that_was_set_back_keeps_nothing_waiting() {
        let now = at("2026-03-01T12:00:00Z");
        let future = Some(run("2027-03-01T12:00:00Z", Ending::Ok));
        assert!(TWO.is_due(future, now, &TimeZone::UTC));
        let every = Schedule::Every(Duration::from_mins(5));
        assert!(every.is_due(future, now, &TimeZone::UTC));
        let a_moment_ahead = Some(run("2026-03-01T12:01:00Z", Ending::Ok));
        assert!(!every.is_due(a_moment_ahead, now, &TimeZone::UTC));
    }

    proptest! {
        #[test]
        fn a_daily_job_runs_once_each_day_of_the_calendar_in_any_zone(
            name in prop::sample::select(vec![
                "America/New_York", "Asia/Ho_Chi_Minh", "Europe/London", "Australia/Lord_Howe", "America/Sao_Paulo",
            ]),
            start in 0_i64..1_500_000_000,
            hour in 0_i8..24,
        ) {
            let zone = zone(name);
            let schedule = Schedule::Daily(time(hour, 30, 0, 0));
            let mut last = LastRun { started_at: Timestamp::from_second(start).unwrap(), ending: Ending::Ok };
            last.started_at = schedule.due_at(Some(last), last.started_at, &zone);
            for _ in 0..400 {
                let next = schedule.due_at(Some(last), last.started_at, &zone);
                let day = |moment: Timestamp| moment.to_zoned(zone.clone()).date();
                prop_assert_eq!(day(last.started_at).tomorrow().unwrap(), day(next));
                last.started_at = next;
            }
        }
    }
}
