//! Faults that a pair survives one after the other: a link that stalls, records twice, poison, records that
//! the relay did not write, two relays.

use nix::sys::signal::Signal;
use replication::relay::LOCK;
use tokio::time::Instant;

use super::kafka_tools::{produce, sequence};
use super::pair::{Pair, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_duplicates_poison_and_a_second_relay_do_no_harm() {
    let mut pair = Pair::start("md-faults").await;
    pair.wait_until_proven_equal().await;
    eprintln!("MirrorMaker 2 stalls");
    lag_tells_the_truth(&mut pair).await;
    eprintln!("all records come twice");
    duplicates_change_nothing(&pair).await;
    eprintln!("poison");
    poison_is_parked_and_healed(&pair).await;
    eprintln!("records of somebody else");
    records_of_somebody_else_are_driven_out(&mut pair).await;
    eprintln!("two relays");
    one_relay_is_active(&pair).await;
}

async fn lag_tells_the_truth(pair: &mut Pair) {
    pair.mirror.process().signal(Signal::SIGSTOP).unwrap();
    let stopped = Instant::now();
    let lag = "replication_lag_seconds";
    let region = &pair.region;
    eventually("the lag rises", async || {
        // Whatever has come through was written before.
        let passed = stopped.elapsed().as_secs_f64();
        let lag = region.metric(lag).await.ok_or("no metric")?;
        assert!(
            lag >= passed,
            "MirrorMaker 2 has been stopped for {passed} s, and the lag is said to be {lag} s"
        );
        if lag > 3.0 {
            Ok(())
        } else {
            Err(format!("{lag} s"))
        }
    })
    .await;
    pair.mirror.process().signal(Signal::SIGCONT).unwrap();
    eventually("the lag falls", async || {
        let lag = region.metric(lag).await.ok_or("no metric")?;
        if lag < 2.0 {
            Ok(())
        } else {
            Err(format!("{lag} s"))
        }
    })
    .await;
}

async fn duplicates_change_nothing(pair: &Pair) {
    // Among what comes again: a row that was changed, one that is gone, and one that was gone.
    pair.hub
        .execute(
            "create temp table taken on commit drop as \
             select * from smp_global.i18n_translations order by locale, namespace, key limit 4; \
             update smp_global.i18n_translations set text = 'changed' where locale = 'en'; \
             delete from smp_global.i18n_translations t using taken k \
             where (t.locale, t.namespace, t.key) = (k.locale, k.namespace, k.key); \
             insert into smp_global.i18n_translations select * from taken limit 2",
        )
        .await;
    pair.wait_until_proven_equal().await;

    pair.region.replicator.stop();
    let before = pair.region.rows_and_places().await;
    let position = "select next_offset from smp_global.applied_position";
    let reached = pair.region.number(position).await.unwrap();
    let begin = "update smp_global.applied_position set next_offset = 0";
    pair.region.execute(begin).await;
    pair.region.replicator.start();
    let again =
        format!("select (next_offset >= {reached})::int::bigint from smp_global.applied_position");
    pair.region.wait_for(1, &again).await;
    let after = pair.region.rows_and_places().await;
    assert_eq!(
        before.symmetric_difference(&after).next(),
        None,
        "a row was written again"
    );
    pair.wait_until_proven_equal().await;
}

/// An envelope of a row.
fn row(table: &str, row: &str) -> String {
    format!("{{\"envelope\":1,\"kind\":\"row\",\"table\":\"{table}\",\"row\":{row}}}")
}

/// What cannot be applied: key, value and a part of the cause. `vn` is a row of a country.
fn poison(vn: &str, seq: i64) -> [(&'static str, String, &'static str); 5] {
    let long = "ậ".repeat(600);
    let unsqueezable: String = (0..200)
        .map(|_| platform::secrets::random_hex().unwrap())
        .collect();
    [
        (
            "garbage",
            "\u{1}\u{7f} no JSON".to_owned(),
            "value: not an envelope",
        ),
        (
            "newer",
            "{\"envelope\":2,\"kind\":\"row\"}".to_owned(),
            "envelope version 2: this replicator reads up to 1",
        ),
        (
            "refused",
            row("countries", &vn.replace("\"VN\"", "\"XX\"")),
            "countries_code_is_iso_3166_1",
        ),
        (
            "long-cause",
            row(
                "countries",
                &format!("{{\"code\":\"VN\",\"is_active\":\"{long}\",\"row_version\":{seq}}}"),
            ),
            "invalid input syntax for type boolean",
        ),
        (
            "long-key",
            format!(
                "{{\"envelope\":1,\"kind\":\"delete\",\"table\":\"i18n_translations\",\
                 \"key\":{{\"locale\":\"en\",\"namespace\":\"poison\",\"key\":\"{unsqueezable}\"}}}}"
            ),
            "index row",
        ),
    ]
}

async fn poison_is_parked_and_healed(pair: &Pair) {
    let good = async |key: &str| {
        let insert = format!(
            "insert into smp_global.i18n_translations (locale, namespace, key, text) \
             values ('en', 'poison', '{key}', 'good')"
        );
        pair.hub.execute(&insert).await;
    };
    let next_seq = "select nextval('smp_global.change_seq')";
    let seq = pair.hub.number(next_seq).await.unwrap();
    let headers = format!(
        "smp-epoch:{},smp-seq:{seq},smp-committed-at:1780000000000000,smp-published-at:1780000000000000",
        seq >> 40
    );
    let vn: String = sqlx::query_scalar(
        "select (to_jsonb(r) || jsonb_build_object('row_version', $1::bigint))::text \
         from smp_global.countries r where code = 'VN'",
    )
    .bind(seq)
    .fetch_one(&pair.hub.database)
    .await
    .unwrap();
    let twice = |text: &str| {
        row(
            "i18n_translations",
            &format!(
                "{{\"locale\":\"en\",\"namespace\":\"poison\",\"key\":\"twice\",\"text\":\"{text}\",\
                 \"row_version\":{seq},\"updated_at\":\"2026-01-01T00:00:00Z\"}}"
            ),
        )
    };
    let poison = poison(&vn, seq);
    let restate_end = format!(
        "{{\"envelope\":1,\"kind\":\"restate_end\",\"since\":{},\"rows\":7}}",
        seq - 1
    );
    let records: String = poison
        .iter()
        .map(|(key, value, _)| (*key, value.clone()))
        // Not parked: a deletion that all have passed, the end of a restate of which nothing has come, and
        // a row under two keys.
        .chain([
            ("unknown", "NULL".to_owned()),
            ("end", restate_end),
            ("one", twice("one")),
            ("other", twice("other")),
        ])
        .map(|(key, value)| [headers.as_str(), key, &value].join("\t") + "\n")
        .collect();

    // All in one batch, as far as can be, of good and bad.
    pair.region.replicator.stop();
    good("before").await;
    produce(&pair.region.node.kafka, &records);
    good("after").await;
    pair.region.replicator.start();

    let applied = "select count(*) from smp_global.i18n_translations where namespace = 'poison'";
    pair.region.wait_for(3, applied).await;
    // A restate deletes what is older than its beginning, but not if it has not come.
    pair.region
        .wait_for(10, "select count(*) from smp_global.currencies")
        .await;
    let causes: Vec<(String, String)> = sqlx::query_as(
        "select convert_from(record_key, 'UTF8'), cause from smp_global.parked_record order by kafka_offset",
    )
    .fetch_all(&pair.region.database)
    .await
    .unwrap();
    assert_eq!(causes.len(), poison.len(), "{causes:?}");
    for ((key, cause), (expected_key, _, expected)) in causes.iter().zip(&poison) {
        assert_eq!(key, expected_key, "{causes:?}");
        assert!(cause.contains(expected), "{key}: {cause}, not {expected}");
    }
    let parked = "replication_parked_records";
    eventually("the metric counts what is parked", async || {
        match pair.region.metric(parked).await {
            Some(5.0) => Ok(()),
            parked => Err(format!("{parked:?}")),
        }
    })
    .await;
    let verified = pair.region.try_run(&["verify"]);
    assert!(!verified.status.success(), "parked records are no fault");

    // A restate sends all that they might have said.
    pair.hub.run(&["restate"]);
    let healed = "select count(*) from smp_global.parked_record where healed_at is not null";
    pair.region.wait_for(5, healed).await;
    pair.wait_until_proven_equal().await;
    assert_eq!(pair.region.metric(parked).await, Some(0.0));
}

/// What a relay that has lost its lock had still under way: an older version behind a newer one, where
/// compaction would keep it.
async fn records_of_somebody_else_are_driven_out(pair: &mut Pair) {
    let older: (i64, String) = sqlx::query_as(
        "select row_version - 1, (to_jsonb(r) || jsonb_build_object('name', 'older', 'row_version', \
         row_version - 1))::text from smp_global.currencies r where code = 'VND'",
    )
    .fetch_one(&pair.hub.database)
    .await
    .unwrap();
    let (seq, older) = (older.0, row("currencies", &older.1));
    let record = format!(
        "smp-epoch:{},smp-seq:{seq},smp-committed-at:1780000000000000,smp-published-at:1780000000000000\t\
         [\"currencies\", {{\"code\": \"VND\"}}]\t{older}\n",
        seq >> 40
    );
    // And from a stream that is ahead of this hub: what a region takes it for must not be the end of all.
    let epoch = (seq >> 40) + 5;
    let ahead = format!(
        "smp-epoch:{epoch},smp-seq:{},smp-committed-at:1780000000000000,smp-published-at:1780000000000000\t\
         [\"heartbeat\"]\t{{\"envelope\":1,\"kind\":\"heartbeat\"}}\n",
        (epoch << 40) + 9
    );
    let restated = "select restate_since from smp_global.applied_position";
    for (relay_runs, record) in [(true, &record), (false, &record), (true, &ahead)] {
        let before = pair.region.number(restated).await.unwrap();
        if !relay_runs {
            pair.hub.replicator.stop();
        }
        produce(&pair.hub.node.kafka, record);
        if !relay_runs {
            pair.hub.replicator.start();
        }
        let later = format!(
            "select (restate_since > {before})::int::bigint from smp_global.applied_position"
        );
        pair.region.wait_for(1, &later).await;
        pair.wait_until_proven_equal().await;
    }
}

async fn one_relay_is_active(pair: &Pair) {
    let (first, hub) = (&pair.hub.replicator, &pair.hub);
    let second = hub.second_replicator("relay");
    second.start();
    let lock = format!(
        "from pg_locks where locktype = 'advisory' and (classid::bigint << 32 | objid::bigint) = {LOCK}"
    );
    let waiting = format!("select count(*) {lock} and not granted");
    hub.wait_for(1, &waiting).await;
    let change = async |name: &str| {
        let update = format!("update smp_global.currencies set name = '{name}' where code = 'VND'");
        hub.execute(&update).await;
        pair.wait_until_caught_up().await;
    };

    // The active one is killed: the other takes over.
    first.stop();
    let killed = Instant::now();
    change("killed").await;
    let took = killed.elapsed();
    assert!(took.as_secs() < 10, "the second relay took {took:?}");

    // The active one stops, and loses its lock without knowing: the other takes over.
    first.start();
    hub.wait_for(1, &waiting).await;
    second.leave_alone();
    second.signal(Signal::SIGSTOP);
    hub.execute(&format!(
        "select pg_terminate_backend(pid) {lock} and granted"
    ))
    .await;
    change("stopped").await;
    let taken_over = pair.hub_seq().await;
    hub.execute("update smp_global.currencies set name = 'unseen' where code = 'VND'")
        .await;
    second.signal(Signal::SIGCONT);
    eventually("the relay that lost its lock ends", async || {
        if second.is_running() {
            Err(String::new())
        } else {
            Ok(())
        }
    })
    .await;
    assert_eq!(second.endings(), ["exit status: 1"], "see its log");
    change("after").await;
    pair.wait_until_proven_equal().await;
    assert_eq!(first.endings(), [""; 0], "the active relay was disturbed");

    first.stop();
    let published: Vec<_> = sequence(&hub.node.kafka)
        .into_iter()
        .skip_while(|seq| *seq <= taken_over)
        .collect();
    assert!(published.len() > 2, "{published:?}");
    assert!(
        published.is_sorted_by(|one, next| one < next),
        "somebody else published as well: {published:?}"
    );
    first.start();
}
