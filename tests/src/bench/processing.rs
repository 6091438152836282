//! Processing: how many waiting events a second one core makes tickets of, beside pgbench, which runs the
//! same statements on the same server, one event a transaction; how long an event takes at 100 a second;
//! and what a look-up costs among a million customers and a million events.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use platform::ports::Ports;
use platform::region::Region;
use platform::{checkout, pancake};
use protocol::connection::ConnectionId;
use protocol::hop::{Destination, HopKey, RecordSigner, record_path};
use protocol::signature::{Policy, SignedHeaders, admit};
use protocol::{Country, RegionId, UnixSeconds};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::machine::{peak_resident_mb, resident_mb};
use super::{Effort, median, percentile};
use crate::up::say;

/// Events that wait before the clock starts.
const WAITING: u32 = 20_000;
/// pgbench's clients, one run each.
const CLIENTS: [u32; 2] = [1, 8];
/// Of pgbench's turn. A client more often waits than works, so more would tell nothing new.
const PGBENCH_SECONDS_MAX: u64 = 10;
/// Events a second that come in, and for how long at least: a 99th percentile needs some thousands.
const STEADY_PER_SECOND: u32 = 100;
const STEADY_SECONDS_MIN: u64 = 30;
const LOOK_UPS: u32 = 2_000;
/// Customers who are there before, and how they are told from those of a turn.
const CUSTOMERS: u32 = 100_000;
const BASE: &str = "there before";
/// Who takes leads.
const TELESALES: u32 = 20;
/// Only a failure waits for it.
const PATIENCE: Duration = Duration::from_mins(5);

/// What is to be reached.
const REACH_PER_SECOND: f64 = 1_000.0;
const REACH_WEBHOOK_P95_MS: f64 = 50.0;
const REACH_PROCESSED_P95_MS: f64 = 1_000.0;
const REACH_MEMORY_MB: f64 = 128.0;
const REACH_LOOK_UP_P95_MS: f64 = 5.0;

pub(super) async fn run(effort: Effort) -> Result<Value> {
    let pgbench = super::core::find_pgbench()?;
    let directory = checkout::run_dir("bench/processing")?;
    let mut region = Region::start(
        RegionId::parse("smp-asia")?,
        vec![Country::parse("VN")?],
        0,
        Ports::Free,
        &directory,
        "bench-processing",
    )
    .await?;
    keep_commit_times(&mut region).await?;
    let mut owner = PgConnection::connect(&region.owner_url()).await?;
    sqlx::raw_sql(AssertSqlSafe(office()))
        .execute(&mut owner)
        .await?;
    fill_office(&mut owner).await?;
    let sustained = sustained(&mut region, &mut owner, &pgbench, &directory, effort).await?;
    let steady = steady(&mut region, &mut owner, effort).await?;
    let look_ups = look_ups(&region, &mut owner, effort.rows).await?;
    owner.close().await?;
    region.core()?.stop(Duration::from_secs(10))?;
    region.postgres.remove()?;
    Ok(json!({"sustained": sustained, "steady": steady, "look_ups": look_ups}))
}

/// With it the server can tell when a row was committed. `settled_at` is a batch's beginning.
async fn keep_commit_times(region: &mut Region) -> Result<()> {
    let mut admin = PgConnection::connect(&region.postgres.admin_url("postgres")).await?;
    sqlx::query("alter system set track_commit_timestamp = on")
        .execute(&mut admin)
        .await?;
    drop(admin);
    region.core()?.stop(Duration::from_secs(10))?;
    region.postgres.crash_and_recover().await?;
    region.start_core().await
}

/// A country in which everything is switched on, and who works there.
fn office() -> String {
    format!(
        "insert into app_setting (country_code) values ('VN'); \
         insert into pancake_connection (connection_id, country_code) values ('vn-main', 'VN'); \
         insert into pancake_source (country_code, connection_id, source_id, is_active) \
             values ('VN', 'vn-main', '-11', true); \
         insert into staff (staff_id, country_code, subject, display_name, role, capacity) \
             select uuidv7(), 'VN', 'telesale-' || n, 'Telesale', 'telesale', 100000000 \
             from generate_series(1, {TELESALES}) as n; {}",
        switches(false)
    )
}

fn switches(processing_paused: bool) -> String {
    format!(
        "update app_setting set app_settings = jsonb_set(app_settings, '{{pancake_integration}}', \
         '{{\"kill_switch\": false, \"processing_paused\": {processing_paused}}}')"
    )
}

/// What is there before: customers with a contact, a closed ticket and an event each. In empty tables the
/// server would read whole tables, and go on doing so as they grow, until it is told how large they are.
async fn fill_office(owner: &mut PgConnection) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(format!(
        "create temp table base as select uuidv7() as account, uuidv7() as contact, uuidv7() as ticket, \
             gen_random_uuid() as record, '+848' || (10000000 + n) as phone, n \
             from generate_series(1, {CUSTOMERS}) as n; \
         insert into account (account_id, country_code, name, normalized_phone) \
             select account, 'VN', '{BASE}', phone from base; \
         insert into contact_book (contact_id, country_code, account_id, name, primary_phone) \
             select contact, 'VN', account, '{BASE}', phone from base; \
         insert into ticket (ticket_id, country_code, connection_id, record_id, record_digest, account_id, \
                             contact_id, subject, phone_state, source_id, status, closed_at) \
             select ticket, 'VN', 'vn-main', record, sha256(uuid_send(record)), account, contact, '{BASE}', \
                    'usable', 'ticket_source_pancake', 'closed', now() from base; \
         insert into pancake_webhook_event (event_id, country_code, region_id, connection_id, layer, status, \
                                            record_id, payload_hash, payload, name, normalized_phone, source_ids) \
             select uuidv7(), 'VN', 'smp-asia', 'vn-main', 'poll', 'processed', record, \
                    sha256(uuid_send(record)), convert_to(repeat('x', 620), 'UTF8'), '{BASE}', phone, '{{-11}}' \
             from base; \
         drop table base"
    )))
    .execute(owner)
    .await?;
    Ok(())
}

/// Takes away what a turn left, and all that came of it. The server knows how large the tables are, and the
/// last turn's pages are written.
async fn reset(region: &Region, owner: &mut PgConnection) -> Result<()> {
    let mut admin = PgConnection::connect(&region.postgres.admin_url("core")).await?;
    // All that refers to a row goes with it: as a replica the server does not look for it, which it would
    // without an index.
    sqlx::raw_sql(AssertSqlSafe(format!(
        "set session_replication_role = replica; \
         truncate notification, ticket_assignment; \
         delete from ticket where subject is distinct from '{BASE}'; \
         delete from contact_book where name is distinct from '{BASE}'; \
         delete from account where name is distinct from '{BASE}'; \
         delete from pancake_webhook_event where name is distinct from '{BASE}'; \
         update staff set last_assigned_at = null"
    )))
    .execute(&mut admin)
    .await?;
    for table in [
        "ticket",
        "contact_book",
        "account",
        "pancake_webhook_event",
        "staff",
    ] {
        sqlx::raw_sql(AssertSqlSafe(format!("vacuum analyze {table}")))
            .execute(&mut *owner)
            .await?;
    }
    sqlx::raw_sql("checkpoint").execute(&mut admin).await?;
    admin.close().await?;
    Ok(())
}

/// Events as a core writes them, each of a person and a record of its own.
async fn insert_events(owner: &mut PgConnection, from: u32, number: u32) -> Result<()> {
    sqlx::query(
        "insert into pancake_webhook_event (event_id, country_code, region_id, connection_id, layer, record_id, \
             modified_on, payload_hash, payload, name, phone_number, email, source_ids, verdict, route_version, \
             hop_signature_input, hop_signature, received_at) \
         select uuidv7(), 'VN', 'smp-asia', 'vn-main', 'webhook', gen_random_uuid(), '2026-11-22T08:00:00Z', \
                sha256(int4send(n)), convert_to(repeat('x', 620), 'UTF8'), 'Nguyễn Thị Hồng', \
                '09' || (10000000 + n), 'hong@example.com', '{-11}', 'unsigned', 1, repeat('i', 190), \
                repeat('s', 51), clock_timestamp() \
         from generate_series($1::int, $1 + $2 - 1) as n",
    )
    .bind(i32::try_from(from)?)
    .bind(i32::try_from(number)?)
    .execute(owner)
    .await?;
    Ok(())
}

/// What one event comes to, in the statements that processing has, without its batches: claims one, finds
/// or makes customer, contact and ticket, gives it to whoever has waited longest, and tells them.
const TRANSACTION: &str = "\
begin;
select event_id, record_id, modified_on, name, email, phone_number, '+84' || substr(phone_number, 2) as phone, \
connection_id from pancake_webhook_event where status = 'received' and country_code = 'VN' \
and connection_id = 'vn-main' and left(coalesce(source_ids[1], '(none)'), 64) = '-11' \
order by received_at limit 1 for update skip locked \\gset
select pg_advisory_xact_lock(key) from (select hashtextextended(name, 0) as key from unnest(array[\
'phone VN ' || :phone, 'record VN vn-main ' || :record_id]) as n (name) order by key) as keys;
select coalesce(max(account_id::text), '') as account, uuidv7() as new_account, uuidv7() as contact, \
uuidv7() as ticket from (select account_id from account where country_code = 'VN' and normalized_phone = :phone \
order by created_at, account_id limit 1) as a \\gset
select contact_id from contact_book where account_id = nullif(:account, '')::uuid and primary_phone = :phone;
select ticket_id, record_modified_on from ticket where record_id = :record_id::uuid and connection_id = 'vn-main';
select pg_advisory_xact_lock(hashtextextended('assign VN', 0));
select staff_id as staff from staff as s where country_code = 'VN' and role = 'telesale' and is_active \
and not exists (select from staff_absence as a where a.staff_id = s.staff_id and a.starts_at <= now() \
and a.ends_at > now()) and capacity > (select count(*) from ticket as t where t.assignee_id = s.staff_id \
and t.status <> 'closed') order by last_assigned_at nulls first, staff_id limit 1 \\gset
insert into account (account_id, country_code, name, phone_number, email, normalized_phone, pancake_metadata) \
values (:new_account, 'VN', :name, :phone_number, :email, :phone, \
jsonb_build_object('connection_id', 'vn-main', 'record_id', :record_id::text, 'event_id', :event_id::text));
insert into contact_book (contact_id, country_code, account_id, name, email, primary_phone) \
values (:contact, 'VN', :new_account, :name, :email, :phone);
insert into ticket (ticket_id, country_code, connection_id, record_id, record_modified_on, record_digest, \
account_id, contact_id, subject, phone_state, assignee_id, source_id) values (:ticket, 'VN', 'vn-main', \
:record_id, :modified_on, sha256(convert_to(:name, 'UTF8')), :new_account, :contact, :name, 'usable', :staff, \
'ticket_source_pancake');
update staff set last_assigned_at = clock_timestamp() where staff_id = :staff;
insert into ticket_assignment (assignment_id, country_code, ticket_id, staff_id, method) \
values (uuidv7(), 'VN', :ticket, :staff, 'automatic');
insert into notification (notification_id, country_code, ticket_id, staff_id, template_code) \
values (uuidv7(), 'VN', :ticket, :staff, 'noti_pancake_new_lead');
update pancake_webhook_event set status = 'processed', normalized_phone = :phone, account_id = :new_account, \
ticket_id = :ticket, settled_at = clock_timestamp() where event_id = :event_id;
commit;
";

/// One core's rate from the first batch to the last, and pgbench's, in turns.
async fn sustained(
    region: &mut Region,
    owner: &mut PgConnection,
    pgbench: &Path,
    directory: &Path,
    effort: Effort,
) -> Result<Value> {
    fs::write(directory.join("process.sql"), TRANSACTION)?;
    let mut ours = Vec::new();
    let mut theirs: [Vec<f64>; 2] = Default::default();
    // The first round warms up and is not counted.
    for round in 0..=effort.rounds {
        for (clients, rates) in CLIENTS.into_iter().zip(&mut theirs) {
            pause(owner, true).await?;
            reset(region, owner).await?;
            insert_events(owner, 0, WAITING).await?;
            let rate = run_pgbench(pgbench, region, directory, clients, effort.seconds)?;
            let left = count(owner, "received").await?;
            ensure!(left > 0, "pgbench ran out of events");
            if round > 0 {
                rates.push(rate);
            }
        }
        pause(owner, true).await?;
        reset(region, owner).await?;
        insert_events(owner, 0, WAITING).await?;
        pause(owner, false).await?;
        until_processed(owner, i64::from(WAITING)).await?;
        // A batch is settled as of its beginning: the last one is not counted.
        let rate: f64 = sqlx::query_scalar(
            "with batch as materialized ( \
                 select settled_at, count(*) as events from pancake_webhook_event \
                 where settled_at is not null group by settled_at) \
             select (sum(events) - (select events from batch order by settled_at desc limit 1))::float8 \
                    / extract(epoch from max(settled_at) - min(settled_at))::float8 \
             from batch",
        )
        .fetch_one(&mut *owner)
        .await?;
        let tickets: i64 = sqlx::query_scalar("select count(*) from ticket_assignment")
            .fetch_one(&mut *owner)
            .await?;
        ensure!(
            tickets == i64::from(WAITING),
            "{tickets} tickets of {WAITING} events"
        );
        if round > 0 {
            ours.push(rate);
        }
        say(&format!(
            "processing: round {round} of {} done",
            effort.rounds
        ));
    }
    say(&format!(
        "\n{:<22} {:>9} {:>14} {:>14}",
        "processing", "events/s", "of 1 client", "of 8 clients"
    ));
    let mut rows = Vec::new();
    let [one, eight] = &theirs;
    for (name, rates) in [
        ("pgbench, 1 client", one),
        ("pgbench, 8 clients", eight),
        ("one core", &ours),
    ] {
        let of = |peer: &Vec<f64>| {
            let ratios: Vec<f64> = rates
                .iter()
                .zip(peer)
                .map(|(rate, peer)| rate / peer)
                .collect();
            median(&ratios)
        };
        let rate = median(rates);
        say(&format!(
            "{name:<22} {rate:>9.0} {:>14.2} {:>14.2}",
            of(one),
            of(eight)
        ));
        rows.push(json!({
            "name": name, "per_second": rate, "of_one_client": of(one), "of_eight_clients": of(eight),
            "rounds": rates,
        }));
    }
    reach(
        "sustained, events/s, at least",
        median(&ours),
        REACH_PER_SECOND,
        |is, reach| is >= reach,
    );
    Ok(json!({"events": WAITING, "contenders": rows, "reach_per_second": REACH_PER_SECOND}))
}

/// Holds from the next batch on.
async fn pause(owner: &mut PgConnection, is_paused: bool) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(switches(is_paused)))
        .execute(owner)
        .await?;
    Ok(())
}

async fn count(owner: &mut PgConnection, status: &str) -> Result<i64> {
    let query = format!(
        "select count(*) from pancake_webhook_event where status = '{status}' and name <> '{BASE}'"
    );
    Ok(sqlx::query_scalar(AssertSqlSafe(query))
        .fetch_one(owner)
        .await?)
}

async fn until_processed(owner: &mut PgConnection, events: i64) -> Result<()> {
    let began = Instant::now();
    loop {
        let processed = count(owner, "processed").await?;
        if processed == events {
            return Ok(());
        }
        ensure!(
            began.elapsed() < PATIENCE,
            "{processed} of {events} events are processed"
        );
        sleep(Duration::from_millis(100)).await;
    }
}

fn run_pgbench(
    pgbench: &Path,
    region: &Region,
    directory: &Path,
    clients: u32,
    seconds: u64,
) -> Result<f64> {
    let output = Command::new(pgbench)
        .args(["-n", "-j", "1", "-M", "prepared", "-f", "process.sql"])
        .args(["-c", &clients.to_string()])
        .args(["-T", &seconds.min(PGBENCH_SECONDS_MAX).to_string()])
        .arg(region.app_url())
        .current_dir(directory)
        .output()?;
    ensure!(
        output.status.success(),
        "pgbench: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("tps = "))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .context("pgbench printed no rate")
}

/// Says a figure beside what is to be reached.
fn reach(what: &str, is: f64, reach: f64, is_reached: impl Fn(f64, f64) -> bool) {
    let verdict = if is_reached(is, reach) {
        "reached"
    } else {
        "MISSED"
    };
    say(&format!("{what:<48} {is:>10.2} of {reach:>8.0}  {verdict}"));
}

/// Events at an even rate, signed as the edge signs them, each of a person and a record of its own. A
/// request's time counts from when it was due, so that a core that stalls is not spared its queue.
async fn steady(region: &mut Region, owner: &mut PgConnection, effort: Effort) -> Result<Value> {
    reset(region, owner).await?;
    pause(owner, false).await?;
    let seconds = effort.seconds.max(STEADY_SECONDS_MIN);
    let number = STEADY_PER_SECOND * u32::try_from(seconds)?;
    let sender = Arc::new(Sender::new(region)?);
    let began = Instant::now() + Duration::from_millis(100);
    let mut requests = JoinSet::new();
    let mut latencies = Vec::new();
    let mut succeeded = 0_u32;
    let mut take = |answer: std::result::Result<(bool, f64), tokio::task::JoinError>| {
        let (is_accepted, latency) = answer?;
        succeeded += u32::from(is_accepted);
        latencies.push(latency);
        anyhow::Ok(())
    };
    for event in 0..number {
        let due = began + Duration::from_secs(1) * event / STEADY_PER_SECOND;
        sleep_until(due).await;
        let sender = Arc::clone(&sender);
        requests.spawn(async move {
            let is_accepted = sender.post(event).await;
            (is_accepted, due.elapsed().as_secs_f64() * 1_000.0)
        });
        while let Some(answer) = requests.try_join_next() {
            take(answer)?;
        }
    }
    while let Some(answer) = requests.join_next().await {
        take(answer)?;
    }
    until_processed(owner, i64::from(succeeded)).await?;
    latencies.sort_by(f64::total_cmp);
    let memory = resident_mb(region.core()?.pid());
    let peak = peak_resident_mb(region.core()?.pid());
    let success = f64::from(succeeded) / f64::from(number);
    let [settled, committed] = processing_times(owner, region).await?;

    say(&format!(
        "\n{:<34} {:>8} {:>8} {:>8}",
        format!("{STEADY_PER_SECOND} events/s for {seconds} s, in ms"),
        "p50",
        "p95",
        "p99"
    ));
    let mut rows = Vec::new();
    for (name, times) in [
        ("webhook at the core", &latencies),
        ("received to settled_at", &settled),
        ("received to commit", &committed),
    ] {
        let [p50, p95, p99] = [0.50, 0.95, 0.99].map(|share| percentile(times, share));
        say(&format!("{name:<34} {p50:>8.2} {p95:>8.2} {p99:>8.2}"));
        rows.push(json!({"name": name, "p50_ms": p50, "p95_ms": p95, "p99_ms": p99}));
    }
    let below = |is: f64, reach: f64| is < reach;
    reach(
        "webhook p95, ms, below",
        percentile(&latencies, 0.95),
        REACH_WEBHOOK_P95_MS,
        below,
    );
    reach(
        "received to commit p95, ms, below",
        percentile(&committed, 0.95),
        REACH_PROCESSED_P95_MS,
        below,
    );
    reach("success, %", success * 100.0, 100.0, |is, reach| {
        is >= reach
    });
    if let (Some(memory), Some(peak)) = (memory, peak) {
        say(&format!("the core's memory at the end: {memory:.1} MB"));
        reach(
            "the core's memory at most, MB, below",
            peak,
            REACH_MEMORY_MB,
            below,
        );
    }
    Ok(json!({
        "per_second": STEADY_PER_SECOND, "seconds": seconds, "times": rows, "success": success,
        "core_resident_mb": memory, "core_peak_resident_mb": peak,
    }))
}

/// From receipt to `settled_at`, and to the commit that others see; in milliseconds, sorted.
async fn processing_times(owner: &mut PgConnection, region: &Region) -> Result<[Vec<f64>; 2]> {
    let mut settled: Vec<f64> = sqlx::query_scalar(
        "select extract(epoch from settled_at - received_at)::float8 * 1000 from pancake_webhook_event \
         where settled_at is not null",
    )
    .fetch_all(&mut *owner)
    .await?;
    // Only the superuser is told.
    let mut admin = PgConnection::connect(&region.postgres.admin_url("core")).await?;
    let mut committed: Vec<f64> = sqlx::query_scalar(
        "select extract(epoch from pg_xact_commit_timestamp(xmin) - received_at)::float8 * 1000 \
         from pancake_webhook_event where settled_at is not null",
    )
    .fetch_all(&mut admin)
    .await?;
    admin.close().await?;
    settled.sort_by(f64::total_cmp);
    committed.sort_by(f64::total_cmp);
    Ok([settled, committed])
}

/// The edge, straight to the core.
struct Sender {
    client: reqwest::Client,
    url: String,
    key: HopKey,
    region: RegionId,
    connection: ConnectionId,
    country: Country,
    filler: String,
}

impl Sender {
    fn new(region: &Region) -> Result<Self> {
        let connection = ConnectionId::parse("vn-main")?;
        Ok(Self {
            client: reqwest::Client::builder().no_proxy().build()?,
            url: format!("{}{}", region.core_url(), record_path(&connection)),
            key: HopKey::new(&region.hop_keyid, region.hop_secret.as_bytes())?,
            region: region.id.clone(),
            connection,
            country: Country::parse("VN")?,
            filler: "x".repeat(580),
        })
    }

    /// Whether it was answered that the record is accepted.
    async fn post(&self, event: u32) -> bool {
        let body = format!(
            "{{\"id\":\"{}\",\"name\":\"Nguyễn Thị Hồng\",\"phone_number\":\"09{}\",\"email\":\"hong@example.com\",\
             \"source\":[\"-11\"],\"modified_on\":\"2026-11-22T08:00:00Z\",\"note\":\"{}\"}}",
            Uuid::new_v4(),
            10_000_000 + event,
            self.filler
        );
        let destination = Destination {
            country: self.country,
            region: &self.region,
            route_version: 1,
        };
        let signer = RecordSigner::new(&self.key, destination, &self.connection);
        let created = UnixSeconds(pancake::now());
        let Ok(admitted) = admit(
            &Policy::Off,
            SignedHeaders::default(),
            body.as_bytes(),
            created,
        ) else {
            return false;
        };
        let signature = signer.sign(&admitted, created);
        let (before, after) = signer.signature_input_around_created();
        let mut request = self
            .client
            .post(&self.url)
            .header("content-type", "application/json")
            .header(
                "content-digest",
                format!(
                    "sha-256=:{}:",
                    String::from_utf8_lossy(&signature.body_sha256)
                ),
            )
            .header("signature-input", format!("{before}{}{after}", created.0))
            .header(
                "signature",
                format!("smp=:{}:", String::from_utf8_lossy(&signature.signature)),
            );
        for (name, value) in signer.constant_headers(admitted.verdict()) {
            request = request.header(name, value);
        }
        matches!(
            pancake::answer_of(request.body(body)).await,
            Ok((200, answer)) if answer.get("status").is_some_and(|status| status == "accepted")
        )
    }
}

/// How something is looked up, and by which index.
struct LookUp {
    what: &'static str,
    index: &'static str,
    query: &'static str,
}

const LOOK_UP: [LookUp; 3] = [
    LookUp {
        what: "customer by phone",
        index: "account_normalized_phone_idx",
        query: "select account_id from account where country_code = 'VN' \
                and normalized_phone = '+849' || (10000000 + $1::int) order by created_at, account_id limit 1",
    },
    LookUp {
        what: "events by phone",
        index: "pancake_webhook_event_normalized_phone_idx",
        query: "select event_id from pancake_webhook_event where country_code = 'VN' \
                and normalized_phone = '+849' || (10000000 + $1::int)",
    },
    LookUp {
        what: "event by its key",
        index: "pancake_webhook_event_delivery_key",
        query: "select event_id from pancake_webhook_event \
                where record_id = lpad(to_hex($1::int), 32, '0')::uuid and modified_on = '2026-11-22T08:00:00Z' \
                and payload_hash = sha256(int4send($1)) and country_code = 'VN' and connection_id = 'vn-main'",
    },
];

/// Look-ups among many customers and events, at random, as the core's own role.
async fn look_ups(region: &Region, owner: &mut PgConnection, rows: u32) -> Result<Value> {
    pause(owner, true).await?;
    sqlx::raw_sql("truncate pancake_webhook_event, notification, ticket_assignment, ticket, contact_book, account cascade")
        .execute(&mut *owner)
        .await?;
    say(&format!(
        "\nprocessing: making {rows} customers and {rows} events"
    ));
    fill(owner, rows).await?;
    let mut app = PgConnection::connect(&region.app_url()).await?;
    say(&format!(
        "\n{:<22} {:>8} {:>8} {:>8}  index",
        format!("look-up of {rows}"),
        "p50 ms",
        "p95 ms",
        "p99 ms"
    ));
    let mut found = Vec::new();
    let mut p95s = Vec::new();
    for LookUp { what, index, query } in LOOK_UP {
        let plan = explain(&mut app, query).await?;
        ensure!(
            plan.contains(&format!("\"Index Name\": \"{index}\"")) && !plan.contains("Seq Scan"),
            "{what}: not by {index}:\n{plan}"
        );
        let mut times = Vec::new();
        for _ in 0..LOOK_UPS {
            let (random, _) = Uuid::new_v4().as_u64_pair();
            let row = i32::try_from(random % u64::from(rows))?;
            let began = Instant::now();
            let there = sqlx::query(query).bind(row).fetch_all(&mut app).await?;
            times.push(began.elapsed().as_secs_f64() * 1_000.0);
            ensure!(there.len() == 1, "{what}: {} rows", there.len());
        }
        times.sort_by(f64::total_cmp);
        let [p50, p95, p99] = [0.50, 0.95, 0.99].map(|share| percentile(&times, share));
        say(&format!(
            "{what:<22} {p50:>8.3} {p95:>8.3} {p99:>8.3}  {index}"
        ));
        found.push(
            json!({"name": what, "index": index, "p50_ms": p50, "p95_ms": p95, "p99_ms": p99}),
        );
        p95s.push(p95);
    }
    let slowest = p95s.into_iter().fold(0.0, f64::max);
    reach(
        "the slowest look-up's p95, ms, below",
        slowest,
        REACH_LOOK_UP_P95_MS,
        |is, reach| is < reach,
    );
    app.close().await?;
    Ok(json!({"rows": rows, "look_ups": found}))
}

async fn fill(owner: &mut PgConnection, rows: u32) -> Result<()> {
    for statement in [
        "insert into account (account_id, country_code, name, phone_number, normalized_phone) \
         select uuidv7(), 'VN', 'Nguyễn Thị Hồng', '09' || (10000000 + n), '+849' || (10000000 + n) \
         from generate_series(0, $1 - 1) as n order by hashint4(n)",
        "insert into pancake_webhook_event (event_id, country_code, region_id, connection_id, layer, status, \
             record_id, modified_on, payload_hash, payload, name, phone_number, normalized_phone, source_ids, \
             settled_at) \
         select uuidv7(), 'VN', 'smp-asia', 'vn-main', 'poll', 'processed', lpad(to_hex(n), 32, '0')::uuid, \
                '2026-11-22T08:00:00Z', sha256(int4send(n)), convert_to(repeat('x', 300), 'UTF8'), \
                'Nguyễn Thị Hồng', '09' || (10000000 + n), '+849' || (10000000 + n), '{-11}', now() \
         from generate_series(0, $1 - 1) as n order by hashint4(n)",
    ] {
        sqlx::query(statement)
            .bind(i32::try_from(rows)?)
            .execute(&mut *owner)
            .await?;
    }
    for statement in [
        "vacuum analyze account",
        "vacuum analyze pancake_webhook_event",
    ] {
        sqlx::raw_sql(statement).execute(&mut *owner).await?;
    }
    Ok(())
}

/// The plan for any row: what the server uses once it knows the statement.
async fn explain(app: &mut PgConnection, query: &'static str) -> Result<String> {
    let statement = format!("explain (generic_plan, format json) {query}");
    let row = sqlx::raw_sql(AssertSqlSafe(statement))
        .fetch_one(app)
        .await?;
    Ok(row.try_get_unchecked::<String, _>(0)?)
}
