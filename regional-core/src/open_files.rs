//! How many files the process may have open: each connection is one, and the usual soft limit is lower than the
//! connections that may be set.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::{info, warn};

use crate::config::Config;
use crate::db;

/// What is open beside connections: the listener, the log, the runtime's own, a look at the keys of tokens.
const OTHERS: u64 = 64;

/// Raises the soft limit as far as is needed. Where the hard limit is lower, it says so and goes on: a core that
/// takes fewer connections is better than none.
pub fn raise_limit(config: &Config) {
    let needed = needed(
        config.http.max_connections.get(),
        db::connections(&config.database),
    );
    let (soft, hard) = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok(limits) => limits,
        Err(error) => return warn!(error = %error, "the limit of open files is not known"),
    };
    if let Some(raised) = raised(soft, hard, needed) {
        match setrlimit(Resource::RLIMIT_NOFILE, raised, hard) {
            Ok(()) => info!(from = soft, to = raised, "limit of open files raised"),
            Err(error) => {
                warn!(error = %error, limit = soft, needed, "the limit of open files cannot be raised");
            }
        }
    }
    if hard < needed {
        warn!(
            setting = "http.max_connections",
            limit = hard,
            needed,
            "as many connections as are set cannot be open: the hard limit of open files is too low"
        );
    }
}

/// How many files may be open at once.
fn needed(http_connections: u32, database_connections: u32) -> u64 {
    u64::from(http_connections) + u64::from(database_connections) + OTHERS
}

/// What the soft limit is to become, if it is too low and may be higher.
fn raised(soft: u64, hard: u64, needed: u64) -> Option<u64> {
    let raised = needed.min(hard);
    (raised > soft).then_some(raised)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_is_for_connections_of_both_kinds_and_some_more() {
        assert_eq!(needed(1024, 16), 1104);
        assert_eq!(needed(u32::MAX, u32::MAX), 2 * u64::from(u32::MAX) + OTHERS);
    }

    #[test]
    fn a_soft_limit_is_raised_as_far_as_is_needed_and_may_be() {
        const UNLIMITED: u64 = u64::MAX;
        for (soft, hard, expected) in [
            (1024, 524_288, Some(1104)),
            (1024, UNLIMITED, Some(1104)),
            (1024, 1100, Some(1100)),
            (1024, 1024, None),
            (1104, 524_288, None),
            (UNLIMITED, UNLIMITED, None),
        ] {
            assert_eq!(raised(soft, hard, 1104), expected, "{soft} {hard}");
        }
    }
}
