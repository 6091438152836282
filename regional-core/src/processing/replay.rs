//! Events that were held back or failed, sent through processing again: counted first, then moved batch by
//! batch, so that it can be watched and cancelled. Whatever dies, it goes on where it was.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection, PgPool};
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use super::silence::{heard, unless_silent};
use super::store::replay as store;
use super::tries::TIMED_OUT;
use crate::db::has_code;
use crate::ingest::store::{Failure, classify};

pub use super::store::replay::{Count, count};

/// The states from which an event may be sent through again. One that waits will be processed anyway, and
/// one that was processed has its ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayableState {
    /// A kill switch held it back.
    SkippedKillSwitch,
    /// None of its sources was active, or its connection was disabled before it was received.
    SkippedSourceDisabled,
    /// It is due again later.
    Failed,
    /// It is not tried again by itself.
    DeadLetter,
}

/// Which events of a country, but for those whose data is blanked. What is absent does not narrow the choice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayFilter {
    /// These events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_ids: Option<Vec<Uuid>>,
    /// In one of these states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub states: Option<Vec<ReplayableState>>,
    /// Of this connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_id: Option<String>,
    /// Naming this source among others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_id: Option<String>,
    /// Received then or later.
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub received_from: Option<OffsetDateTime>,
    /// Received before.
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub received_to: Option<OffsetDateTime>,
}

impl ReplayableState {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::SkippedKillSwitch,
        Self::SkippedSourceDisabled,
        Self::Failed,
        Self::DeadLetter,
    ];

    /// As in `pancake_webhook_event.status`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SkippedKillSwitch => "skipped_kill_switch",
            Self::SkippedSourceDisabled => "skipped_source_disabled",
            Self::Failed => "failed",
            Self::DeadLetter => "dead_letter",
        }
    }
}

/// The first pause after a step that failed, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Replays whose last step failed: the others go on meanwhile.
#[derive(Debug, Default)]
pub(super) struct Setbacks(HashMap<Uuid, Setback>);

#[derive(Debug)]
struct Setback {
    /// How often in a row.
    times: u32,
    again_at: Instant,
}

impl Setbacks {
    fn pausing(&self, now: Instant) -> Vec<Uuid> {
        let pausing = self.0.iter().filter(|(_, setback)| setback.again_at > now);
        pausing.map(|(replay_id, _)| *replay_id).collect()
    }

    /// After each failure the next step is half as large.
    fn times(&self, replay_id: Uuid) -> u32 {
        self.0.get(&replay_id).map_or(0, |setback| setback.times)
    }

    fn note(&mut self, replay_id: Uuid, now: Instant) {
        let times = self.times(replay_id) + 1;
        let pause = FIRST_PAUSE * 2_u32.saturating_pow(times.min(8) - 1);
        let again_at = now + pause.min(LONGEST_PAUSE);
        self.0.insert(replay_id, Setback { times, again_at });
    }
}

/// Moves the next events of a replay that runs. Tells how much was done; 0 if none runs, or none can.
pub(super) async fn advance(
    pool: &PgPool,
    patience: Duration,
    setbacks: &mut Setbacks,
) -> Result<usize, sqlx::Error> {
    let mut tried = None;
    let mut connection = pool.acquire().await?;
    let step = step(&mut connection, setbacks, &mut tried);
    let moved = unless_silent(patience, step).await;
    let moved = heard(connection, moved);
    match (&moved, tried) {
        (Ok(_), Some(replay_id)) => {
            setbacks.0.remove(&replay_id);
        }
        // Not if the database is away: that is no replay's fault.
        (Err(failure), Some(replay_id)) if is_its_own(failure) => {
            setbacks.note(replay_id, Instant::now());
        }
        _ => {}
    }
    moved
}

fn is_its_own(failure: &sqlx::Error) -> bool {
    has_code(failure, &TIMED_OUT)
        || !matches!(
            classify(failure),
            Failure::Connection | Failure::Unavailable
        )
}

/// One transaction; `tried` becomes the replay whose step it is.
async fn step(
    connection: &mut PgConnection,
    setbacks: &Setbacks,
    tried: &mut Option<Uuid>,
) -> Result<usize, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let pausing = setbacks.pausing(Instant::now());
    let Some(running) = store::running(&mut transaction, &pausing).await? else {
        return Ok(0);
    };
    let replay_id = running.replay_id;
    *tried = Some(replay_id);
    let moved = store::advance(&mut transaction, running, setbacks.times(replay_id)).await?;
    transaction.commit().await?;
    Ok(moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_pauses_longer_each_time_and_others_do_not() {
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut setbacks = Setbacks::default();
        let now = Instant::now();
        for (times, pause) in [(1, 1), (2, 2), (3, 4)] {
            setbacks.note(one, now);
            assert_eq!((setbacks.times(one), setbacks.times(other)), (times, 0));
            let almost = now + Duration::from_secs(pause) - Duration::from_millis(1);
            assert_eq!(setbacks.pausing(almost), [one]);
            assert!(
                setbacks
                    .pausing(now + Duration::from_secs(pause))
                    .is_empty()
            );
        }
        for _ in 0..100 {
            setbacks.note(one, now);
        }
        assert!(setbacks.pausing(now + LONGEST_PAUSE).is_empty());
    }
}
