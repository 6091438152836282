//! Events that were held back or failed, sent through processing again: counted first, then moved batch by
//! batch, so that it can be watched and cancelled. Whatever dies, it goes on where it was.

use protocol::Country;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

/// How many events are moved in one transaction.
const BATCH_EVENTS: i64 = 500;

/// The states from which an event may be sent through again. One that waits will be processed anyway, and
/// one that was processed has its ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayableState {
    /// A kill switch held it back.
    SkippedKillSwitch,
    /// None of its sources was active.
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

/// The filter as a condition on `e`, `$1` to `$7`. The states are also written out: only then is the index of
/// such events found, whatever `$2` is.
const MATCHES: &str = "e.country_code = $1 and e.status = any ($2) and e.blanked_at is null \
     and e.status in ('skipped_kill_switch', 'skipped_source_disabled', 'failed', 'dead_letter') \
     and ($3::uuid[] is null or e.event_id = any ($3)) \
     and ($4::text is null or e.connection_id = $4) \
     and ($5::text is null or $5 = any (e.source_ids) or ($5 = '(none)' and e.source_ids = '{}')) \
     and ($6::timestamptz is null or e.received_at >= $6) \
     and ($7::timestamptz is null or e.received_at < $7)";

type Query<'q, O> = sqlx::query::QueryScalar<'q, sqlx::Postgres, O, sqlx::postgres::PgArguments>;

fn bind<'q, O>(query: Query<'q, O>, country: &'q str, filter: &'q ReplayFilter) -> Query<'q, O> {
    let states = filter.states.as_deref().unwrap_or(&ReplayableState::ALL);
    let states: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
    query
        .bind(country)
        .bind(states)
        .bind(filter.event_ids.as_deref())
        .bind(filter.connection_id.as_deref())
        .bind(filter.source_id.as_deref())
        .bind(filter.received_from)
        .bind(filter.received_to)
}

/// How many events it would send through again.
pub async fn count(
    connection: &mut PgConnection,
    country: Country,
    filter: &ReplayFilter,
) -> Result<i64, sqlx::Error> {
    let statement = format!("select count(*) from pancake_webhook_event as e where {MATCHES}");
    let query = sqlx::query_scalar(sqlx::AssertSqlSafe(statement));
    bind(query, country.as_str(), filter)
        .fetch_one(connection)
        .await
}

/// Moves the next events of a replay that runs, and tells how many; none if none runs.
pub(super) async fn advance(pool: &PgPool) -> Result<Option<u64>, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let running: Option<(Uuid, String, sqlx::types::Json<ReplayFilter>, Option<Uuid>)> =
        sqlx::query_as(
            "select replay_id, country_code, filter, after_event from pancake_replay \
             where state = 'running' order by created_at limit 1 for update skip locked",
        )
        .fetch_optional(&mut *transaction)
        .await?;
    let Some((replay_id, country, sqlx::types::Json(filter), after_event)) = running else {
        return Ok(None);
    };
    // What another transaction is just processing is left to it: it is no longer in a state to be replayed.
    let statement = format!(
        "with next as ( \
             select e.event_id from pancake_webhook_event as e \
             where {MATCHES} and ($8::uuid is null or e.event_id > $8) \
             order by e.event_id limit {BATCH_EVENTS} for update skip locked \
         ) \
         update pancake_webhook_event as e \
         set status = 'received', attempts = 0, due_at = null, cause = null, settled_at = null \
         from next where e.event_id = next.event_id returning e.event_id"
    );
    let query = sqlx::query_scalar(sqlx::AssertSqlSafe(statement));
    let moved: Vec<Uuid> = bind(query, &country, &filter)
        .bind(after_event)
        .fetch_all(&mut *transaction)
        .await?;
    let count = i64::try_from(moved.len()).unwrap_or(i64::MAX);
    sqlx::query(
        "update pancake_replay set done = done + $2, after_event = coalesce($3, after_event), \
                state = case when $2 = 0 then 'done' else state end, \
                finished_at = case when $2 = 0 then clock_timestamp() end \
         where replay_id = $1",
    )
    .bind(replay_id)
    .bind(count)
    .bind(moved.iter().max())
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(Some(count.unsigned_abs()))
}
