//! Master data's way from the hub to a region, against a bare produce → MirrorMaker 2 → consume on the same
//! brokers: how long one change takes at 20 and at 200 changes a second, and how long 200,000 take that
//! come at once, against the same number of records, consumed, followed by COPY.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use platform::checkout;
use platform::kafka::{Kafka, KafkaUser, Part};
use platform::master_data::Node;
use platform::ports::{Listener, Ports};
use platform::postgres::Postgres;
use protocol::{MASTER_DATA_TOPIC, RegionId};
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use replication::kafka::{Broker, Encryption, Fetched, Mechanism, Reader};
use serde_json::{Map, Value, json};
use sqlx::postgres::PgListener;
use sqlx::{Connection as _, PgConnection};
use tokio::time::{MissedTickBehavior, interval};

use super::machine::{cpu_time_us, cpu_time_with_children_us, peak_resident_mb};
use super::{Effort, median, percentile};
use crate::up::say;

/// Changes a second.
const RATES: [u32; 2] = [20, 200];

/// Changes that come at once.
const BURST_ROWS: i64 = 200_000;

/// Rows of a region that is filled from nothing, and how often that is measured.
const BOOTSTRAP_ROWS: i64 = 1_000_000;
const BOOTSTRAPS: u32 = 3;

/// Only a failure waits for it.
const PATIENCE: Duration = Duration::from_mins(3);

const STOP_PATIENCE: Duration = Duration::from_secs(10);

type BareProducer = ThreadedProducer<rdkafka::producer::DefaultProducerContext>;

/// The latencies of one turn, in milliseconds, sorted.
type Latencies = Vec<f64>;

pub(super) async fn run(effort: Effort) -> Result<Value> {
    let directory = checkout::run_dir("bench/master-data")?;
    let (mut hub_server, mut hub) = start("smp-asia", true, 0, &directory).await?;
    let (mut region_server, mut region) = start("smp-china", false, 1, &directory).await?;
    region.start_mirror(&hub.kafka).await?;
    start_replicators(&mut hub, &mut region).await?;

    let mut results = Results::default();
    for round in 0..=effort.rounds {
        let mut ours = Vec::new();
        for rate in RATES {
            ours.push(our_latencies(&hub, &region, rate, effort.seconds).await?);
        }
        write_rows(&hub, "burst", BURST_ROWS).await?;
        let servers = [&mut hub_server, &mut region_server].map(|server| server.process().pid());
        let before = processor_seconds(&mut hub, &mut region, servers)?;
        let our_burst = until_applied(&hub, &region).await?;
        let after = processor_seconds(&mut hub, &mut region, servers)?;
        // The bare way has the brokers and MirrorMaker 2 for itself.
        let peaks = stop_replicators(&mut hub, &mut region)?;
        let mut bare = Vec::new();
        for rate in RATES {
            bare.push(bare_latencies(&hub.kafka, &region.kafka, rate, effort.seconds).await?);
        }
        let bare_burst = bare_burst(&hub, &region, BURST_ROWS).await?;
        start_replicators(&mut hub, &mut region).await?;
        // The first round warms up and is not counted.
        if round > 0 {
            for (all, both) in results.latencies.iter_mut().zip(ours.into_iter().zip(bare)) {
                all.push(both);
            }
            results.bursts.push((our_burst, bare_burst));
            for (all, (after, before)) in
                results.spent.iter_mut().zip(after.into_iter().zip(before))
            {
                all.push(after - before);
            }
            results.take_peaks(peaks);
        }
        say(&format!(
            "master data: round {round} of {}: {BURST_ROWS} rows in {our_burst:.1} s, bare in {bare_burst:.1} s",
            effort.rounds
        ));
    }
    drop((hub, region));
    hub_server.remove()?;
    region_server.remove()?;
    for turn in 1..=BOOTSTRAPS {
        let (ours, bare) = bootstrap(&directory).await?;
        results.bootstraps.push((ours, bare));
        say(&format!(
            "master data: bootstrap {turn} of {BOOTSTRAPS}: {BOOTSTRAP_ROWS} rows in {ours:.1} s, bare in {bare:.1} s"
        ));
    }
    Ok(report(&results))
}

/// Seconds from the commit of all rows in the hub until an empty region has them and has verified it, and
/// those of the bare way. On brokers made anew: a new region reads all that the log holds.
async fn bootstrap(directory: &Path) -> Result<(f64, f64)> {
    let (hub_server, mut hub) = start("smp-asia", true, 0, directory).await?;
    let (region_server, mut region) = start("smp-china", false, 1, directory).await?;
    hub.start_replicator().await?;
    region.start_mirror(&hub.kafka).await?;
    write_rows(&hub, "bootstrap", BOOTSTRAP_ROWS).await?;
    let began = Instant::now();
    region.run(&["bootstrap"])?;
    let ours = began.elapsed().as_secs_f64();
    hub.replicator()?.stop(STOP_PATIENCE)?;
    let bare = bare_burst(&hub, &region, BOOTSTRAP_ROWS).await?;
    drop((hub, region));
    hub_server.remove()?;
    region_server.remove()?;
    Ok((ours, bare))
}

#[derive(Default)]
struct Results {
    /// Ours and bare, a round each, by rate.
    latencies: [Vec<(Latencies, Latencies)>; RATES.len()],
    /// Ours and bare, in seconds.
    bursts: Vec<(f64, f64)>,
    bootstraps: Vec<(f64, f64)>,
    /// Processor time of each burst, by [`PARTS`].
    spent: [Vec<f64>; PARTS.len()],
    /// The most that relay and applier ever had in memory.
    peaks: [Option<f64>; 2],
}

impl Results {
    fn take_peaks(&mut self, peaks: [Option<f64>; 2]) {
        for (known, peak) in self.peaks.iter_mut().zip(peaks) {
            *known = known.iter().copied().chain(peak).reduce(f64::max);
        }
    }
}

async fn start_replicators(hub: &mut Node, region: &mut Node) -> Result<()> {
    hub.start_replicator().await?;
    region.start_replicator().await?;
    wait_until_applied(hub, region).await
}

/// Stops both, and tells the most that each had in memory.
fn stop_replicators(hub: &mut Node, region: &mut Node) -> Result<[Option<f64>; 2]> {
    let mut peaks = [None; 2];
    for (node, peak) in [hub, region].into_iter().zip(&mut peaks) {
        *peak = peak_resident_mb(node.replicator()?.pid());
        node.replicator()?.stop(STOP_PATIENCE)?;
    }
    Ok(peaks)
}

async fn start(id: &str, is_hub: bool, index: u16, directory: &Path) -> Result<(Postgres, Node)> {
    let id = RegionId::parse(id)?;
    let port = Ports::Free.take(Listener::Postgres(index), "PostgreSQL")?;
    let log = directory.join(format!("{id}-postgres.log"));
    let postgres = Postgres::start(&format!("bench-{id}"), port, &log).await?;
    let mut admin = PgConnection::connect(&postgres.admin_url("postgres")).await?;
    sqlx::query("create database core")
        .execute(&mut admin)
        .await?;
    let at = (Ports::Free, index);
    let hub = RegionId::parse("smp-asia")?;
    let role = if is_hub {
        Part::Hub
    } else {
        Part::SpokeOf(&hub)
    };
    let node = Node::start(&id, role, (&postgres, "core"), at, None, directory, "bench").await?;
    Ok((postgres, node))
}

/// Waits until the region has what the hub has now, and a change that is made now: all are connected.
async fn wait_until_applied(hub: &Node, region: &Node) -> Result<()> {
    sqlx::query("select smp_global.log_heartbeat()")
        .execute(&hub.database().await?)
        .await?;
    let seq: i64 = sqlx::query_scalar("select last_value from smp_global.change_seq")
        .fetch_one(&hub.database().await?)
        .await?;
    let database = region.database().await?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let applied: i64 =
            sqlx::query_scalar("select applied_seq from smp_global.applied_position")
                .fetch_one(&database)
                .await?;
        if applied >= seq {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "the region does not catch up; the logs are in .run/bench/master-data/"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// From the commit in the hub to the commit in the region.
async fn our_latencies(hub: &Node, region: &Node, rate: u32, seconds: u64) -> Result<Latencies> {
    let mut listener = PgListener::connect_with(&region.database().await?).await?;
    listener.listen("smp_global_applied").await?;
    let changes = u64::from(rate) * seconds;
    let database = hub.database().await?;
    let writer = tokio::spawn(async move {
        let mut committed = Vec::new();
        let mut ticks = interval(Duration::from_secs(1) / rate);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for change in 0..changes {
            ticks.tick().await;
            let seq: i64 = sqlx::query_scalar(
                "insert into smp_global.i18n_translations (locale, namespace, key, text) \
                 values ('en', 'bench', $1, $2) \
                 on conflict (locale, namespace, key) do update set text = excluded.text \
                 returning row_version",
            )
            .bind(format!("key_{}", change % 50))
            .bind(format!("change {change}"))
            .fetch_one(&database)
            .await?;
            committed.push((seq, Instant::now()));
        }
        Ok::<_, sqlx::Error>(committed)
    });
    let mut applied: Vec<(i64, Instant)> = Vec::new();
    let mut committed = None;
    let mut writer = Some(writer);
    let deadline = Instant::now() + PATIENCE;
    loop {
        if writer
            .as_ref()
            .is_some_and(tokio::task::JoinHandle::is_finished)
            && let Some(finished) = writer.take()
        {
            committed = Some(finished.await??);
        }
        let last = committed.as_ref().and_then(|committed| committed.last());
        if let (Some((last, _)), Some((seq, _))) = (last, applied.last())
            && seq >= last
        {
            break;
        }
        ensure!(Instant::now() < deadline, "changes do not arrive");
        if let Ok(notice) = tokio::time::timeout(Duration::from_millis(200), listener.recv()).await
        {
            let at = Instant::now();
            applied.push((notice?.payload().parse()?, at));
        }
    }
    let mut notices = applied.iter().peekable();
    let mut latencies = Vec::new();
    for (seq, at) in committed.unwrap_or_default() {
        while notices.peek().is_some_and(|(applied, _)| *applied < seq) {
            notices.next();
        }
        let (_, seen) = notices.peek().context("a change was not applied")?;
        latencies.push(seen.saturating_duration_since(at).as_secs_f64() * 1e3);
    }
    latencies.sort_by(f64::total_cmp);
    Ok(latencies)
}

/// The relay would find the bare records in its log, and send everything again.
async fn take_for_published(hub: &Node) -> Result<()> {
    let (_, end) = reader(&hub.kafka)?
        .watermarks()?
        .context("the hub has no topic")?;
    sqlx::query("update smp_global.relay_state set published_offset = $1")
        .bind(end - 1)
        .execute(&hub.database().await?)
        .await?;
    Ok(())
}

/// From the hub's broker, through MirrorMaker 2, to a consumer in the region.
async fn bare_latencies(hub: &Kafka, region: &Kafka, rate: u32, seconds: u64) -> Result<Latencies> {
    let producer = producer(hub)?;
    let reader = warm_reader(region, &producer).await?;
    let records = i64::from(rate) * i64::try_from(seconds)?;
    let began = Instant::now();
    let sender = tokio::spawn(async move {
        let mut ticks = interval(Duration::from_secs(1) / rate);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for record in 0..records {
            ticks.tick().await;
            send(&producer, &began.elapsed().as_nanos().to_string(), record)?;
        }
        Ok::<_, anyhow::Error>(producer)
    });
    let mut latencies = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while i64::try_from(latencies.len())? < records {
        ensure!(
            Instant::now() < deadline,
            "{} of {records} records arrived at {rate}/s",
            latencies.len()
        );
        let until = tokio::time::Instant::now() + Duration::from_millis(200);
        if let Fetched::Records(batch) = reader.fetch(1_000, until).await? {
            let now = began.elapsed().as_secs_f64();
            for record in batch {
                let sent = record.header("sent").context("no header")?;
                let sent: f64 = std::str::from_utf8(sent)?.parse()?;
                latencies.push((now - sent / 1e9) * 1e3);
            }
        }
    }
    drop(sender.await??);
    latencies.sort_by(f64::total_cmp);
    Ok(latencies)
}

/// What a change comes through, in this order.
const PARTS: [&str; 7] = [
    "hub's PostgreSQL",
    "relay",
    "hub's Kafka",
    "MirrorMaker 2",
    "region's Kafka",
    "applier",
    "region's PostgreSQL",
];

/// The processor time that each of [`PARTS`] has used so far; `servers` are hub's and region's PostgreSQL.
fn processor_seconds(
    hub: &mut Node,
    region: &mut Node,
    servers: [u32; 2],
) -> Result<[f64; PARTS.len()]> {
    let [hub_server, region_server] = servers;
    let mirror = region.mirror.as_mut().context("no MirrorMaker 2")?;
    let used = [
        cpu_time_with_children_us(hub_server),
        cpu_time_us(hub.replicator()?.pid()),
        cpu_time_us(hub.kafka.process().pid()),
        cpu_time_us(mirror.process().pid()),
        cpu_time_us(region.kafka.process().pid()),
        cpu_time_us(region.replicator()?.pid()),
        cpu_time_with_children_us(region_server),
    ];
    Ok(used.map(|used| used.unwrap_or(f64::NAN) / 1e6))
}

/// Seconds from the commit of all rows in the hub to the last one's in the region.
async fn until_applied(hub: &Node, region: &Node) -> Result<f64> {
    let began = Instant::now();
    wait_until_applied(hub, region).await?;
    Ok(began.elapsed().as_secs_f64())
}

async fn write_rows(hub: &Node, namespace: &str, rows: i64) -> Result<()> {
    sqlx::query(
        "insert into smp_global.i18n_translations (locale, namespace, key, text) \
         select 'en', $2, 'key_' || n, 'text ' || n || ' ' || clock_timestamp() \
         from generate_series(1, $1) n \
         on conflict (locale, namespace, key) do update set text = excluded.text",
    )
    .bind(rows)
    .bind(namespace)
    .execute(&hub.database().await?)
    .await?;
    Ok(())
}

/// Seconds to produce as many records, consume them in the region, and COPY as many rows.
async fn bare_burst(hub: &Node, region: &Node, rows: i64) -> Result<f64> {
    let producer = producer(&hub.kafka)?;
    let reader = warm_reader(&region.kafka, &producer).await?;
    let database = region.database().await?;
    sqlx::raw_sql(
        "drop table if exists bare_copy; \
         create table bare_copy (locale text, namespace text, key text, text text, \
         row_version bigint, updated_at timestamptz, primary key (locale, namespace, key))",
    )
    .execute(&database)
    .await?;
    let began = Instant::now();
    let sender = tokio::task::spawn_blocking(move || {
        for row in 0..rows {
            send(&producer, "0", row)?;
        }
        producer.flush(PATIENCE)?;
        Ok::<_, anyhow::Error>(())
    });
    let mut received = 0;
    let mut lines = String::new();
    let deadline = Instant::now() + PATIENCE;
    while received < rows {
        ensure!(
            Instant::now() < deadline,
            "{received} of {rows} records arrived"
        );
        let until = tokio::time::Instant::now() + Duration::from_millis(200);
        if let Fetched::Records(batch) = reader.fetch(2_000, until).await? {
            for _ in batch {
                received += 1;
                lines.push_str("en\tburst\tkey_");
                lines.push_str(&received.to_string());
                lines
                    .push_str("\ttext of some length, as it is there\t1\t2026-01-01 00:00:00+00\n");
            }
        }
    }
    sender.await??;
    let mut connection = database.acquire().await?;
    let mut copy = connection.copy_in_raw("copy bare_copy from stdin").await?;
    copy.send(lines.as_bytes()).await?;
    copy.finish().await?;
    let seconds = began.elapsed().as_secs_f64();
    take_for_published(hub).await?;
    Ok(seconds)
}

fn broker(kafka: &Kafka) -> Broker {
    let (user, password) = kafka.credentials(KafkaUser::Admin);
    Broker {
        bootstrap: kafka.bootstrap(),
        credentials: Some((user.to_owned(), password.into())),
        mechanism: Mechanism::Plain,
        encryption: Encryption::None,
    }
}

fn reader(kafka: &Kafka) -> Result<Reader> {
    Ok(Reader::connect(&broker(kafka), "bench")?)
}

/// A reader in the region that has read what the producer wrote in the hub last: both are connected, and
/// nothing else is under way.
async fn warm_reader(region: &Kafka, producer: &BareProducer) -> Result<Reader> {
    let reader = reader(region)?;
    let (_, end) = reader.watermarks()?.context("the region has no topic")?;
    reader.start_at(end)?;
    let last = "warm";
    send(producer, last, 0)?;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let Fetched::Records(batch) = reader.fetch(1_000, deadline).await? else {
            bail!("the region's log is not there where it was");
        };
        ensure!(!batch.is_empty(), "a record does not arrive");
        if batch
            .iter()
            .any(|record| record.header("sent") == Some(last.as_bytes()))
        {
            return Ok(reader);
        }
    }
}

fn producer(kafka: &Kafka) -> Result<BareProducer> {
    let (user, password) = kafka.credentials(KafkaUser::Admin);
    Ok(ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .set("security.protocol", "sasl_plaintext")
        .set("sasl.mechanism", "PLAIN")
        .set("sasl.username", user)
        .set("sasl.password", password)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", "lz4")
        .set("linger.ms", "0")
        .create()?)
}

/// Sends a record like that of a translation, byte for byte as long and as varied. What would be its value
/// goes as a header: appliers take a record without a value for a tombstone, which is nothing to them.
fn send(producer: &BareProducer, sent: &str, number: i64) -> Result<()> {
    let key = format!(
        r#"["i18n_translations", {{"key": "key_{number}", "locale": "en", "namespace": "burst"}}]"#
    );
    let seq = (1_i64 << 40) + number;
    let value = format!(
        r#"{{"envelope":1,"kind":"row","table":"i18n_translations","row":{{"key": "key_{number}", "text": "text {number} 2026-11-22 10:00:00.{number:06}+00", "locale": "en", "namespace": "burst", "updated_at": "2026-11-22T10:00:00.123456+00:00", "row_version": {seq}}}}}"#
    );
    let micros = (1_780_000_000_000_000 + number).to_string();
    let headers = [
        ("sent", sent),
        ("value", &value),
        ("smp-epoch", "1"),
        ("smp-seq", &seq.to_string()),
        ("smp-committed-at", &micros),
        ("smp-published-at", &micros),
    ];
    let mut all = OwnedHeaders::new_with_capacity(headers.len());
    for (key, value) in headers {
        let value = Some(value);
        all = all.insert(Header { key, value });
    }
    let mut record = BaseRecord::<str, [u8]>::to(MASTER_DATA_TOPIC)
        .partition(0)
        .key(&key)
        .headers(all);
    while let Err((error, returned)) = producer.send(record) {
        let code = error.rdkafka_error_code();
        ensure!(
            code == Some(rdkafka::types::RDKafkaErrorCode::QueueFull),
            error
        );
        record = returned;
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn report(results: &Results) -> Value {
    say(&format!(
        "\n{:<34} {:>10} {:>10} {:>8}",
        "master data, hub → region", "ours", "bare", "ratio"
    ));
    let mut rows = Vec::new();
    let mut row = |what: String, unit: &str, pairs: Vec<(f64, f64)>| {
        let ours = median(&pairs.iter().map(|pair| pair.0).collect::<Vec<_>>());
        let bare = median(&pairs.iter().map(|pair| pair.1).collect::<Vec<_>>());
        // Of each round its own ratio: what disturbed the machine disturbed both.
        let ratio = median(&pairs.iter().map(|pair| pair.0 / pair.1).collect::<Vec<_>>());
        say(&format!(
            "{what:<34} {ours:>7.1} {unit:<2} {bare:>7.1} {unit:<2} {ratio:>8.2}"
        ));
        rows.push(json!({"what": what, "unit": unit, "ours": ours, "bare": bare, "ratio": ratio}));
    };
    for (rate, rounds) in RATES.iter().zip(&results.latencies) {
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            row(
                format!("{rate} changes/s, {name}"),
                "ms",
                rounds
                    .iter()
                    .map(|(ours, bare)| (percentile(ours, share), percentile(bare, share)))
                    .collect(),
            );
        }
    }
    let bursts = format!("{BURST_ROWS} rows at once");
    row(bursts, "s", results.bursts.clone());
    let bootstraps = format!("bootstrap of {BOOTSTRAP_ROWS} rows");
    row(bootstraps, "s", results.bootstraps.clone());
    let spent = results.spent.each_ref().map(|seconds| median(seconds));
    let shares: Vec<_> = PARTS
        .iter()
        .zip(spent)
        .map(|(part, seconds)| format!("{part} {seconds:.1} s"))
        .collect();
    say(&format!(
        "processor time of {BURST_ROWS} rows: {}",
        shares.join(", ")
    ));
    let [relay, applier] = results.peaks.map(|megabytes| megabytes.unwrap_or(f64::NAN));
    say(&format!(
        "the most memory: relay {relay:.1} MB, applier {applier:.1} MB"
    ));
    let spent: Map<_, _> = PARTS
        .iter()
        .zip(spent)
        .map(|(part, seconds)| ((*part).to_owned(), json!(seconds)))
        .collect();
    json!({"rows": rows, "burst_processor_seconds": spent, "relay_peak_mb": relay, "applier_peak_mb": applier})
}
