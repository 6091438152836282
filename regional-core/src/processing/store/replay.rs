//! Replays: what a selection comes to, and its next events.

use protocol::Country;
use sqlx::{AssertSqlSafe, FromRow, PgConnection, PgTransaction};
use uuid::Uuid;

use crate::processing::replay::{ReplayFilter, ReplayableState};

/// How many events are looked at to count a selection.
const COUNT_EVENTS: i64 = 100_000;
/// The same for those of a source: each may have to be fetched with 16 KiB of sources.
const COUNT_EVENTS_OF_SOURCE: i64 = 25_000;

/// How many events are looked at in one step, and how many are moved, at most.
const LOOKED_AT: i64 = 10_000;
const MOVED: i64 = 500;

/// The states written out: only then is an index of such events found, whatever `$2` is.
const HELD_BACK: &str =
    "e.status in ('skipped_kill_switch', 'skipped_source_disabled', 'failed', 'dead_letter')";

/// What a filter says beside country and ids, as a condition on `e`, `$2` to `$7`.
const MATCHES: &str = "e.status = any ($2) and e.blanked_at is null \
     and ($4::text is null or e.connection_id = $4) \
     and ($5::text is null or $5 = any (e.source_ids) or ($5 = '(none)' and e.source_ids = '{}')) \
     and e.received_at >= coalesce($6::timestamptz, '-infinity') \
     and e.received_at < coalesce($7::timestamptz, 'infinity')";

/// Ids that are named are looked up, one by one.
fn ids(filter: &ReplayFilter) -> &'static str {
    if filter.event_ids.is_some() {
        "e.event_id = any ($3)"
    } else {
        "$3::uuid[] is null"
    }
}

/// A statement whose first seven parameters are a filter's.
macro_rules! bind {
    ($query:expr, $country:expr, $filter:expr) => {{
        let states = $filter.states.as_deref().unwrap_or(&ReplayableState::ALL);
        let states: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
        $query
            .bind($country)
            .bind(states)
            .bind($filter.event_ids.as_deref())
            .bind($filter.connection_id.as_deref())
            .bind($filter.source_id.as_deref())
            .bind($filter.received_from)
            .bind($filter.received_to)
    }};
}

/// What a selection comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromRow)]
pub struct Count {
    /// How many events it would send through again.
    pub events: i64,
    /// There are more of its states and times than are looked at: `events` is what was found among those.
    pub is_truncated: bool,
}

/// How many events a selection would send through again. Looks at no more than 100,000, or 25,000 for a source's.
pub async fn count(
    connection: &mut PgConnection,
    country: Country,
    filter: &ReplayFilter,
) -> Result<Count, sqlx::Error> {
    let ids = ids(filter);
    let most = match filter.source_id {
        Some(_) => COUNT_EVENTS_OF_SOURCE,
        None => COUNT_EVENTS,
    };
    // What narrows by an index stands inside, so that a selection of few is counted whole.
    let statement = format!(
        "select count(*) filter (where {MATCHES}) as events, count(*) = {most} as is_truncated from ( \
             select e.status, e.blanked_at, e.connection_id, e.source_ids, e.received_at \
             from pancake_webhook_event as e \
             where e.country_code = $1 and e.status = any ($2) and {HELD_BACK} and e.status <> 'processed' \
               and {ids} and e.received_at >= coalesce($6::timestamptz, '-infinity') \
               and e.received_at < coalesce($7::timestamptz, 'infinity') \
             limit {most}) as e"
    );
    let query = sqlx::query_as(AssertSqlSafe(statement));
    bind!(query, country.as_str(), filter)
        .fetch_one(connection)
        .await
}

/// A replay that runs.
#[derive(FromRow)]
pub(in crate::processing) struct Running {
    pub(in crate::processing) replay_id: Uuid,
    country_code: String,
    /// As text: what cannot be read is that replay's own failure.
    filter: String,
    after_event: Option<Uuid>,
    until_event: Option<Uuid>,
}

/// The oldest replay that runs, but for those that pause. Nobody else advances it meanwhile.
pub(in crate::processing) async fn running(
    transaction: &mut PgTransaction<'_>,
    pausing: &[Uuid],
) -> Result<Option<Running>, sqlx::Error> {
    sqlx::query_as(
        "select replay_id, country_code, filter::text as filter, after_event, until_event from pancake_replay \
         where state = 'running' and replay_id <> all ($1) order by created_at limit 1 for update skip locked",
    )
    .bind(pausing)
    .fetch_optional(&mut **transaction)
    .await
}

/// Moves the next events of a replay, fewer after it has failed so many times. Tells how much was done.
pub(in crate::processing) async fn advance(
    transaction: &mut PgTransaction<'_>,
    running: Running,
    failures: u32,
) -> Result<usize, sqlx::Error> {
    let filter: ReplayFilter = serde_json::from_str(&running.filter)
        .map_err(|failure| sqlx::Error::Decode(failure.into()))?;
    let fewer = |events: i64| (events >> failures.min(32)).max(1);
    let country = running.country_code.as_str();
    let after = running.after_event.unwrap_or(Uuid::nil());
    let until = match running.until_event {
        Some(until) => until,
        None => last_held_back(transaction, country).await?,
    };
    // In an order that no other replay can disturb, and so many at a time, however few it is that match.
    let last = if filter.event_ids.is_some() {
        None
    } else {
        let statement = format!(
            "select e.event_id from pancake_webhook_event as e \
             where e.country_code = $1 and {HELD_BACK} and e.event_id > $2 and e.event_id <= $3 \
             order by e.event_id offset $4 limit 1"
        );
        sqlx::query_scalar(AssertSqlSafe(statement))
            .bind(country)
            .bind(after)
            .bind(until)
            .bind(fewer(LOOKED_AT) - 1)
            .fetch_optional(&mut **transaction)
            .await?
    };
    let ids = ids(&filter);
    // What another transaction is just processing is left to it: it is no longer in a state to be replayed.
    let statement = format!(
        "with next as ( \
             select e.event_id from pancake_webhook_event as e \
             where e.country_code = $1 and {HELD_BACK} and {ids} and {MATCHES} \
               and e.event_id > $8 and e.event_id <= $9 \
             order by e.event_id limit $10 for update skip locked \
         ) \
         update pancake_webhook_event as e \
         set status = 'received', attempts = 0, due_at = null, cause = null, settled_at = null \
         from next where e.event_id = next.event_id returning e.event_id"
    );
    let query = sqlx::query_scalar(AssertSqlSafe(statement));
    let moved: Vec<Uuid> = bind!(query, country, filter)
        .bind(after)
        .bind(last.unwrap_or(until))
        .bind(fewer(MOVED))
        .fetch_all(&mut **transaction)
        .await?;
    let count = i64::try_from(moved.len()).unwrap_or(i64::MAX);
    let is_full = count == fewer(MOVED);
    let passed = if is_full {
        moved.iter().max().copied()
    } else {
        last
    };
    sqlx::query(
        "update pancake_replay set done = done + $2, after_event = coalesce($3, after_event), until_event = $4, \
                state = case when $3 is null then 'done' else state end, \
                finished_at = case when $3 is null then clock_timestamp() end \
         where replay_id = $1",
    )
    .bind(running.replay_id)
    .bind(count)
    .bind(passed)
    .bind(until)
    .execute(&mut **transaction)
    .await?;
    // A step that moved nothing may have others behind it.
    Ok(moved.len().max(usize::from(passed.is_some())))
}

/// What is held back later is none of a replay's that runs already.
async fn last_held_back(
    transaction: &mut PgTransaction<'_>,
    country: &str,
) -> Result<Uuid, sqlx::Error> {
    let statement = format!(
        "select e.event_id from pancake_webhook_event as e where e.country_code = $1 and {HELD_BACK} \
         order by e.event_id desc limit 1"
    );
    let last = sqlx::query_scalar(AssertSqlSafe(statement))
        .bind(country)
        .fetch_optional(&mut **transaction)
        .await?;
    Ok(last.unwrap_or(Uuid::nil()))
}
