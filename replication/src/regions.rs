//! The hub asks every region how far it is. What all have passed may be taken out of the log; a region that
//! differs gets all rows again.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use protocol::hop::{self, HopKey};
use protocol::routes::Origin;
use protocol::{RegionId, UnixSeconds};
use sqlx::PgPool;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{info, warn};
use ureq::tls::{RootCerts, TlsConfig};

use crate::envelope::{MAX_EPOCH, epoch_of};
use crate::position::{self, LastRestate, Position};

/// How long a region may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest answer, in bytes: some hundred are expected.
const ANSWER_LIMIT_BYTES: u64 = 4_096;

/// As much of an error as is kept.
const ERROR_CHARS: usize = 200;

/// The regions that the hub asks, and how often.
#[derive(Debug, Clone)]
pub struct Regions {
    /// Each region's replicator, and the key that it believes.
    pub replicators: BTreeMap<RegionId, (Origin, HopKey)>,
    /// The pause between two rounds.
    pub ask_every: Duration,
    /// How long to wait after a restate before another, if that did not help.
    pub restate_pause: Duration,
}

/// Asks, round after round, until the database fails. One process at a time should: the active relay.
pub async fn watch(pool: &PgPool, regions: &Regions) -> Result<(), sqlx::Error> {
    if regions.replicators.is_empty() {
        warn!(
            "REPLICATOR_REGIONS is not set: no region is asked, so deletions stay in the log, and a region \
             that differs is not healed by itself"
        );
        return std::future::pending().await;
    }
    forget_others(pool, regions).await?;
    loop {
        let asked = regions
            .replicators
            .iter()
            .map(|(region, (origin, key))| ask(region, origin, key));
        let answers = join_all(asked).await;
        for (region, answer) in regions.replicators.keys().zip(&answers) {
            record(pool, region, answer).await?;
        }
        let positions: Vec<_> = answers.iter().map(|answer| answer.as_ref().ok()).collect();
        act_on(pool, regions, &positions).await?;
        sleep(regions.ask_every).await;
    }
}

/// Takes out of the log what all have passed, and sends every row again, once, where one needs it.
async fn act_on(
    pool: &PgPool,
    regions: &Regions,
    positions: &[Option<&Position>],
) -> Result<(), sqlx::Error> {
    let (last_seq, last_restate) = hub_state(pool).await?;
    let known = || positions.iter().copied().flatten();
    let highest = known().map(|position| position.seq).max().unwrap_or(0);
    if highest > last_seq {
        // The hub was restored from a backup, or somebody else's record came through.
        warn!(
            highest,
            last_seq, "a region is ahead of the hub: the stream begins anew above it"
        );
        return restate(pool, Some(highest)).await;
    }
    let passed = position::passed_by_all(positions.iter().copied(), epoch_of(last_seq));
    if let Some(passed) = passed {
        let gone: i64 = sqlx::query_scalar("select smp_global.log_tombstones($1)")
            .bind(passed)
            .fetch_one(pool)
            .await?;
        if gone > 0 {
            info!(gone, passed, "all regions have passed these deletions");
        }
    }
    let pause_secs = regions.restate_pause.as_secs_f64();
    if let Some(position) =
        known().find(|position| position.needs_restate(last_restate, pause_secs))
    {
        warn!(region = %position.region, "the region differs: every row goes out again");
        restate(pool, None).await?;
    }
    Ok(())
}

/// Sends every row again; in a new epoch, if it must be above a `seq`.
async fn restate(pool: &PgPool, above: Option<i64>) -> Result<(), sqlx::Error> {
    sqlx::query("select smp_global.restate($1)")
        .bind(above)
        .execute(pool)
        .await?;
    Ok(())
}

/// The last `seq`, and the last restate.
async fn hub_state(pool: &PgPool) -> Result<(i64, LastRestate), sqlx::Error> {
    let (last_seq, seq, secs_ago) = sqlx::query_as(
        "select (select last_value from smp_global.change_seq), restated_seq, \
         coalesce(extract(epoch from clock_timestamp() - restated_at)::float8, 'infinity') \
         from smp_global.relay_state",
    )
    .fetch_one(pool)
    .await?;
    Ok((last_seq, LastRestate { seq, secs_ago }))
}

/// A region that is not asked any more is no reason for alarm.
async fn forget_others(pool: &PgPool, regions: &Regions) -> Result<(), sqlx::Error> {
    let asked: Vec<_> = regions.replicators.keys().map(RegionId::as_str).collect();
    sqlx::query("delete from smp_global.region_report where region_id <> all ($1)")
        .bind(&asked)
        .execute(pool)
        .await?;
    Ok(())
}

async fn record(
    pool: &PgPool,
    region: &RegionId,
    answer: &Result<Position, String>,
) -> Result<(), sqlx::Error> {
    match answer {
        Ok(position) => sqlx::query(
            "insert into smp_global.region_report \
             (region_id, answered_at, applied_seq, compared_seq, differs) values ($1, now(), $2, $3, $4) \
             on conflict (region_id) do update set answered_at = now(), applied_seq = excluded.applied_seq, \
             compared_seq = excluded.compared_seq, differs = excluded.differs, error = null",
        )
        .bind(region.as_str())
        .bind(position.seq)
        .bind(position.compared_seq)
        .bind(position.differs),
        Err(error) => sqlx::query(
            "insert into smp_global.region_report (region_id, error) values ($1, $2) \
             on conflict (region_id) do update set error = excluded.error",
        )
        .bind(region.as_str())
        .bind(error.chars().take(ERROR_CHARS).collect::<String>()),
    }
    .execute(pool)
    .await?;
    Ok(())
}

/// One region's answer, or why there is none.
async fn ask(region: &RegionId, origin: &Origin, key: &HopKey) -> Result<Position, String> {
    let target = hop::Target {
        method: "GET",
        path: position::PATH,
        query: None,
    };
    let headers = hop::sign_inquiry(key, region, target, now());
    let url = format!("{}{}", origin.as_str(), position::PATH);
    let answer = spawn_blocking(move || get(&url, &headers))
        .await
        .map_err(|_| "the inquiry was given up".to_owned())??;
    let position: Position = serde_json::from_slice(&answer)
        .map_err(|error| format!("the answer is no position (column {})", error.column()))?;
    if position.region != *region {
        return Err(format!("{} answers in its place", position.region));
    }
    if epoch_of(position.seq) > MAX_EPOCH {
        return Err(format!("its position is beyond epoch {MAX_EPOCH}"));
    }
    Ok(position)
}

fn get(url: &str, headers: &[(&'static str, String)]) -> Result<Vec<u8>, String> {
    // The machine's own authorities: a company may have one of its own.
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .build();
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .max_redirects(0)
        .tls_config(tls)
        .build()
        .new_agent();
    let mut request = agent.get(url);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let mut response = request.call().map_err(|error| error.to_string())?;
    response
        .body_mut()
        .with_config()
        .limit(ANSWER_LIMIT_BYTES)
        .read_to_vec()
        .map_err(|error| error.to_string())
}

/// The time of this machine.
pub(crate) fn now() -> UnixSeconds {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    UnixSeconds(since_1970.map_or(0, |time| time.as_secs()))
}
