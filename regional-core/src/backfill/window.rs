//! When a job may work: hours of the day, by the clock of a time zone. Pure.

use std::str::FromStr;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

/// A window opens within so many days: one may be left out by its zone, and another may lack these hours.
const DAYS: i64 = 3;

/// Hours of a day, as `02:00-06:00`; over midnight if the second is the earlier one (`22:00-04:00`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    from: Time,
    to: Time,
}

/// A text that is no hours of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HoursError {
    /// Not two times of day.
    #[error("two times of day are expected, as 02:00-06:00")]
    Form,
    /// The same time twice.
    #[error("it begins when it ends: leave it out for the whole day")]
    Empty,
}

impl FromStr for Hours {
    type Err = HoursError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (from, to) = text.split_once('-').ok_or(HoursError::Form)?;
        let time = |text: &str| {
            let text = text.trim();
            // The end of a day is the beginning of the next.
            let text = if text == "24:00" { "00:00" } else { text };
            Time::strptime("%H:%M", text).map_err(|_| HoursError::Form)
        };
        let (from, to) = (time(from)?, time(to)?);
        if from == to {
            return Err(HoursError::Empty);
        }
        Ok(Self { from, to })
    }
}

/// Hours of each day in a time zone, as its clocks show them: an hour that summer time leaves out is not there, and
/// one that comes twice is there twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    hours: Hours,
    zone: TimeZone,
}

impl Window {
    /// These hours there.
    #[must_use]
    pub const fn new(hours: Hours, zone: TimeZone) -> Self {
        Self { hours, zone }
    }

    /// Whether it is open. Its last moment is before its end.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        let Hours { from, to } = self.hours;
        let time = now.to_zoned(self.zone.clone()).time();
        if from < to {
            from <= time && time < to
        } else {
            from <= time || time < to
        }
    }

    /// A moment by its clock, for people.
    #[must_use]
    pub fn show(&self, moment: Timestamp) -> String {
        let moment = moment.to_zoned(self.zone.clone());
        moment.strftime("%Y-%m-%d %H:%M %Z").to_string()
    }

    /// The first moment, from `now` on, at which it is open.
    #[must_use]
    pub fn opens_at(&self, now: Timestamp) -> Timestamp {
        if self.is_open(now) {
            return now;
        }
        let today = now.to_zoned(self.zone.clone()).date();
        let begins = (0..=DAYS).flat_map(|day| {
            let date = today.checked_add(day.days()).unwrap_or(today);
            let begin = self
                .zone
                .to_ambiguous_zoned(date.to_datetime(self.hours.from));
            [begin.clone().earlier(), begin.later()]
        });
        let begins = begins.flatten().map(|begin| begin.timestamp());
        let until = now
            .saturating_add(SignedDuration::from_hours(24 * DAYS))
            .unwrap_or(Timestamp::MAX);
        // A clock that is set forward, or back, may be set into these hours.
        let changes = self.zone.following(now).map(|change| change.timestamp());
        begins
            .chain(changes.take_while(|change| *change <= until))
            .filter(|moment| *moment > now && self.is_open(*moment))
            .min()
            .unwrap_or(until)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window(hours: &str, zone: &str) -> Window {
        Window::new(hours.parse().unwrap(), TimeZone::get(zone).unwrap())
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn hours_are_two_times_of_day() {
        for text in [
            "",
            "02:00",
            "02:00-",
            "2-6",
            "02:00-25:00",
            "02:60-03:00",
            "a-b",
        ] {
            assert_eq!(text.parse::<Hours>(), Err(HoursError::Form), "{text}");
        }
        for text in ["02:00-02:00", "00:00-24:00"] {
            assert_eq!(text.parse::<Hours>(), Err(HoursError::Empty), "{text}");
        }
        let until_midnight: Hours = "22:00-24:00".parse().unwrap();
        assert_eq!(until_midnight, "22:00 - 00:00".parse().unwrap());
    }

    #[test]
    fn it_is_open_from_its_first_moment_to_before_its_end() {
        let window = window("02:00-06:00", "Asia/Ho_Chi_Minh");
        assert!(!window.is_open(at("2026-03-01T18:59:59.999Z")));
        assert!(window.is_open(at("2026-03-01T19:00:00Z")));
        assert!(window.is_open(at("2026-03-01T22:59:59.999Z")));
        assert!(!window.is_open(at("2026-03-01T23:00:00Z")));
        assert_eq!(
            window.opens_at(at("2026-03-01T23:00:00Z")),
            at("2026-03-02T19:00:00Z")
        );
        let open = at("2026-03-01T20:00:00Z");
        assert_eq!(window.opens_at(open), open);
    }

    #[test]
    fn over_midnight_it_is_open_on_both_days() {
        let window = window("22:00-04:00", "UTC");
        for (moment, is_open) in [
            ("2026-03-01T21:59:59Z", false),
            ("2026-03-01T22:00:00Z", true),
            ("2026-03-02T00:00:00Z", true),
            ("2026-03-02T03:59:59Z", true),
            ("2026-03-02T04:00:00Z", false),
        ] {
            assert_eq!(window.is_open(at(moment)), is_open, "{moment}");
        }
        assert_eq!(
            window.opens_at(at("2026-03-02T04:00:00Z")),
            at("2026-03-02T22:00:00Z")
        );
    }

    #[test]
    fn hours_that_summer_time_leaves_out_are_not_there() {
        // 8 March 2026 in New York: 02:00 EST is followed by 03:00 EDT, which is 07:00Z.
        let left_out = window("02:00-03:00", "America/New_York");
        assert_eq!(
            left_out.opens_at(at("2026-03-08T05:00:00Z")),
            at("2026-03-09T06:00:00Z"),
            "not on that day"
        );
        let in_part = window("02:30-04:00", "America/New_York");
        assert_eq!(
            in_part.opens_at(at("2026-03-08T05:00:00Z")),
            at("2026-03-08T07:00:00Z"),
            "when the clock is set into it"
        );
        assert!(!in_part.is_open(at("2026-03-08T08:00:00Z")));
    }

    #[test]
    fn hours_that_come_twice_are_there_twice() {
        // 1 November 2026 in New York: 02:00 EDT (06:00Z) is followed by 01:00 EST.
        let window = window("01:30-01:45", "America/New_York");
        let first = window.opens_at(at("2026-11-01T04:00:00Z"));
        assert_eq!(first, at("2026-11-01T05:30:00Z"));
        assert!(!window.is_open(at("2026-11-01T05:45:00Z")));
        let second = window.opens_at(at("2026-11-01T05:45:00Z"));
        assert_eq!(second, at("2026-11-01T06:30:00Z"));
        let third = window.opens_at(at("2026-11-01T06:45:00Z"));
        assert_eq!(third, at("2026-11-02T06:30:00Z"));
    }

    proptest! {
        #[test]
        fn the_moment_at_which_it_opens_is_the_first(
            name in prop::sample::select(vec![
                "America/New_York", "Asia/Ho_Chi_Minh", "Europe/London", "Australia/Lord_Howe", "Pacific/Apia",
            ]),
            minutes in 20_000_000_i64..30_000_000,
            from in 0_i64..1440,
            length in 1_i64..1440,
        ) {
            let clock = |minute: i64| format!("{:02}:{:02}", minute / 60 % 24, minute % 60);
            let window = window(&format!("{}-{}", clock(from), clock(from + length)), name);
            let now = Timestamp::from_second(minutes * 60).unwrap();
            // Clocks are set on full minutes in these years, so a look each minute misses nothing.
            let first = (0..4 * 1440)
                .map(|minute| now + SignedDuration::from_mins(minute))
                .find(|moment| window.is_open(*moment));
            prop_assert_eq!(Some(window.opens_at(now)), first);
        }
    }
}
