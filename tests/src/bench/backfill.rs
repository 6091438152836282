//! Backfill of normalised phone numbers: how long a table takes, and how long those wait who write to it
//! meanwhile, beside the same numbers made by SQL alone: by one `update`, which is the bound for the time, and
//! by a loop in PL/pgSQL that commits as often as we do.
//!
//! The peers have it easy: their numbers are cut together from texts that are known to be numbers. What is no
//! number, or another country's, only the core can tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use platform::checkout;
use platform::ports::Ports;
use platform::region::Region;
use protocol::{Country, RegionId};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::task::{JoinSet, block_in_place};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{Effort, median, percentile};
use crate::up::say;

/// A turn takes a minute with what is made ready for it, so there are no more.
const ROUNDS_MAX: usize = 3;
/// Who writes meanwhile, and how long each thinks between two rows.
const WRITERS: usize = 4;
const THINKS: Duration = Duration::from_millis(5);
/// Accounts among which they choose.
const CHOICE: i32 = 50_000;

/// What is to be reached, with a million accounts.
const REACH_SECONDS: f64 = 60.0;
const REACH_WAIT_MS: f64 = 1_000.0;

/// The numbers, as SQL has them.
const PHONE: &str = "case country_code when 'VN' then '+84' when 'TH' then '+66' else '+65' end \
    || ltrim(replace(phone_number, ' ', ''), '0')";

/// Who fills the column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contender {
    OneUpdate,
    Loop,
    Ours,
    OursWithoutPause,
}

impl Contender {
    const ALL: [Self; 4] = [
        Self::OneUpdate,
        Self::Loop,
        Self::Ours,
        Self::OursWithoutPause,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::OneUpdate => "one update in SQL",
            Self::Loop => "loop in PL/pgSQL",
            Self::Ours => "regional-core backfill",
            Self::OursWithoutPause => "the same, --pause-ms 0",
        }
    }
}

/// What a turn came to.
struct Turn {
    seconds: f64,
    /// How long each row of the others took, in milliseconds, sorted.
    times: Vec<f64>,
    /// What the command says of itself.
    report: Option<Value>,
}

pub(super) async fn run(effort: Effort) -> Result<Value> {
    let directory = checkout::run_dir("bench/backfill")?;
    let countries = ["VN", "TH", "SG"].map(Country::parse);
    let mut region = Region::start(
        RegionId::parse("smp-asia")?,
        countries.into_iter().collect::<Result<_, _>>()?,
        0,
        Ports::Free,
        &directory,
        "bench-backfill",
    )
    .await?;
    // It would only wait.
    region.core()?.stop(Duration::from_secs(10))?;
    let mut owner = PgConnection::connect(&region.owner_url()).await?;
    say(&format!("backfill: making {} accounts", effort.rows));
    make_base(&mut owner, effort.rows).await?;
    let rounds = effort.rounds.min(ROUNDS_MAX);
    let mut turns: [Vec<Turn>; 4] = Default::default();
    for round in 1..=rounds {
        for (contender, turns) in Contender::ALL.into_iter().zip(&mut turns) {
            reset(&region, &mut owner).await?;
            let turn = take_turn(contender, &region, &mut owner, effort.rows).await?;
            say(&format!(
                "backfill: round {round} of {rounds}, {}: {:.1} s",
                contender.name(),
                turn.seconds
            ));
            turns.push(turn);
        }
    }
    owner.close().await?;
    region.postgres.remove()?;
    Ok(tell(effort.rows, &turns))
}

/// The accounts, as the old code entered them: in three countries, in several spellings, some with their code.
async fn make_base(owner: &mut PgConnection, rows: u32) -> Result<()> {
    let statement = format!(
        "create table base as \
         select uuidv7() as account_id, country_code, 'Nguyễn Thị Hồng' as name, \
                case when n % 4 = 0 then case country_code when 'VN' then '+84' when 'TH' then '66' else '+65' end \
                end as phone_code, \
                case country_code when 'SG' then '81' || lpad((n % 1000000)::text, 6, '0') \
                     when 'TH' then '08' || (10000000 + n) \
                     when 'VN' then case n % 3 when 0 then '9' || (10000000 + n) \
                                               when 1 then '09' || (10000000 + n) \
                                               else '09' || (1000 + n / 10000) || ' ' || lpad((n % 10000)::text, 4, '0') \
                                    end end as phone_number \
         from (select n, (array['VN', 'VN', 'VN', 'TH', 'SG'])[1 + n % 5] as country_code \
               from generate_series(0, {rows} - 1) as n) as numbered"
    );
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(owner)
        .await?;
    Ok(())
}

/// The table as it was before, on disk, and the server knows how large it is.
async fn reset(region: &Region, owner: &mut PgConnection) -> Result<()> {
    sqlx::raw_sql(
        "truncate account cascade; \
         insert into account (account_id, country_code, name, phone_code, phone_number) select * from base; \
         update backfill_run set last_account_id = null, rows_done = 0, rows_changed = 0, started_at = null, \
                finished_at = null",
    )
    .execute(&mut *owner)
    .await?;
    sqlx::raw_sql("vacuum analyze account")
        .execute(&mut *owner)
        .await?;
    let mut admin = PgConnection::connect(&region.postgres.admin_url("core")).await?;
    sqlx::raw_sql("checkpoint").execute(&mut admin).await?;
    admin.close().await?;
    Ok(())
}

async fn take_turn(
    contender: Contender,
    region: &Region,
    owner: &mut PgConnection,
    rows: u32,
) -> Result<Turn> {
    let writers = Writers::start(region, owner).await?;
    let mut app = PgConnection::connect(&region.app_url()).await?;
    let began = Instant::now();
    let report = match contender {
        Contender::OneUpdate => {
            let statement = format!(
                "update account set normalized_phone = {PHONE} where normalized_phone is null"
            );
            sqlx::raw_sql(AssertSqlSafe(statement))
                .execute(&mut app)
                .await?;
            None
        }
        Contender::Loop => {
            let statement = format!(
                "do $$ \
                 declare ids uuid[]; last uuid := '00000000-0000-0000-0000-000000000000'; \
                 begin \
                     loop \
                         select array_agg(account_id order by account_id) into ids from ( \
                             select account_id from account where account_id > last \
                             order by account_id limit 10000) as next; \
                         exit when ids is null; \
                         update account set normalized_phone = {PHONE} \
                         where account_id = any(ids) and normalized_phone is null; \
                         last := ids[array_upper(ids, 1)]; \
                         commit; \
                     end loop; \
                 end $$"
            );
            sqlx::raw_sql(AssertSqlSafe(statement))
                .execute(&mut app)
                .await?;
            None
        }
        Contender::Ours => Some("backfill normalized-phone --json"),
        Contender::OursWithoutPause => Some("backfill normalized-phone --json --pause-ms 0"),
    };
    let report = report
        .map(|command| block_in_place(|| region.run_core(command)))
        .transpose()?;
    let seconds = began.elapsed().as_secs_f64();
    let times = writers.stop().await?;
    app.close().await?;
    let wrong: i64 = sqlx::query_scalar(AssertSqlSafe(format!(
        "select count(*) from account where normalized_phone is distinct from {PHONE}"
    )))
    .fetch_one(owner)
    .await?;
    ensure!(
        wrong == 0,
        "{}: {wrong} of {rows} numbers are not as they should be",
        contender.name()
    );
    let report = report
        .map(|report| serde_json::from_str(&report))
        .transpose()
        .context("the report is no JSON")?;
    Ok(Turn {
        seconds,
        times,
        report,
    })
}

/// Those who change customers all the while, a row a transaction.
struct Writers {
    is_over: Arc<AtomicBool>,
    tasks: JoinSet<Result<Vec<f64>>>,
}

impl Writers {
    async fn start(region: &Region, owner: &mut PgConnection) -> Result<Self> {
        let ids: Vec<Uuid> = sqlx::query_scalar(
            "select account_id from account order by hashint8(('x' || right(account_id::text, 8))::bit(32)::bigint) \
             limit $1",
        )
        .bind(CHOICE)
        .fetch_all(owner)
        .await?;
        let (ids, is_over) = (Arc::new(ids), Arc::new(AtomicBool::new(false)));
        let mut tasks = JoinSet::new();
        for first in 0..WRITERS {
            let mut connection = PgConnection::connect(&region.app_url()).await?;
            let (ids, is_over) = (Arc::clone(&ids), Arc::clone(&is_over));
            tasks.spawn(async move {
                let mut times = Vec::new();
                for id in ids.iter().skip(first).step_by(WRITERS).cycle() {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    let began = Instant::now();
                    sqlx::query(
                        "update account set name = 'Nguyễn Thị Lan', updated_at = now() where account_id = $1",
                    )
                    .bind(id)
                    .execute(&mut connection)
                    .await?;
                    times.push(began.elapsed().as_secs_f64() * 1_000.0);
                    sleep(THINKS).await;
                }
                connection.close().await?;
                Ok(times)
            });
        }
        Ok(Self { is_over, tasks })
    }

    async fn stop(mut self) -> Result<Vec<f64>> {
        self.is_over.store(true, Ordering::Relaxed);
        let mut times = Vec::new();
        while let Some(ended) = self.tasks.join_next().await {
            times.extend(ended??);
        }
        times.sort_by(f64::total_cmp);
        Ok(times)
    }
}

fn tell(rows: u32, turns: &[Vec<Turn>; 4]) -> Value {
    let [bound, _, ours, without_pause] = turns;
    say(&format!(
        "\n{:<24} {:>8} {:>12} {:>14} {:>14} {:>14}",
        format!("backfill of {rows}"),
        "s",
        "accounts/s",
        "of one update",
        "writers' p99",
        "longest, ms"
    ));
    let mut contenders = Vec::new();
    for (contender, turns) in Contender::ALL.into_iter().zip(turns) {
        let seconds = median(&turns.iter().map(|turn| turn.seconds).collect::<Vec<_>>());
        let of_bound: Vec<f64> = turns
            .iter()
            .zip(bound)
            .map(|(turn, bound)| turn.seconds / bound.seconds)
            .collect();
        let of_bound = median(&of_bound);
        let p99: Vec<f64> = turns
            .iter()
            .map(|turn| percentile(&turn.times, 0.99))
            .collect();
        let (p99, longest) = (median(&p99), longest(turns));
        say(&format!(
            "{:<24} {seconds:>8.1} {:>12.0} {of_bound:>14.2} {p99:>14.1} {longest:>14.1}",
            contender.name(),
            f64::from(rows) / seconds
        ));
        contenders.push(json!({
            "name": contender.name(), "seconds": seconds, "of_one_update": of_bound,
            "writers_p99_ms": p99, "writers_longest_ms": longest,
            "rounds": turns.iter().map(|turn| turn.seconds).collect::<Vec<_>>(),
            "reports": turns.iter().filter_map(|turn| turn.report.as_ref()).collect::<Vec<_>>(),
        }));
    }
    let seconds: Vec<f64> = ours.iter().map(|turn| turn.seconds).collect();
    let wait = longest(ours).max(longest(without_pause));
    for (what, is, reach) in [
        (
            "the command with its pauses, s, below",
            median(&seconds),
            REACH_SECONDS,
        ),
        (
            "a writer's longest wait beside it, ms, below",
            wait,
            REACH_WAIT_MS,
        ),
    ] {
        let verdict = if is < reach { "reached" } else { "MISSED" };
        say(&format!("{what:<48} {is:>10.2} of {reach:>8.0}  {verdict}"));
    }
    json!({"accounts": rows, "contenders": contenders})
}

/// Of all turns.
fn longest(turns: &[Turn]) -> f64 {
    let last = turns.iter().filter_map(|turn| turn.times.last());
    last.copied().fold(0.0, f64::max)
}
