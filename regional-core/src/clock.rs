//! Time, passed in so that tests can set it.

use protocol::UnixSeconds;
use time::OffsetDateTime;

/// Where a core gets the time from.
pub trait Clock: Send + Sync + 'static {
    /// The moment, in UTC.
    fn now(&self) -> OffsetDateTime;
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }
}

/// The moment as the protocol counts it. Before 1970 it is 1970: no signature is that old.
#[must_use]
pub fn unix_seconds(now: OffsetDateTime) -> UnixSeconds {
    UnixSeconds(u64::try_from(now.unix_timestamp()).unwrap_or_default())
}
