//! The hub asks the region how far it is.

use nix::sys::signal::Signal;

use super::kafka_tools::{compact_at_once, sequence_up_to};
use super::pair::{Pair, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_is_healed_by_itself_and_a_deletion_leaves_the_log_when_it_has_passed_it() {
    let mut pair = Pair::start_introduced("md-regions").await;
    pair.wait_until_proven_equal().await;
    eprintln!("only the hub is answered");
    only_the_hub_is_answered(&pair).await;
    eprintln!("a region that differs");
    a_region_that_differs_is_healed(&pair).await;
    eprintln!("a silent region");
    a_silent_region_holds_a_deletion_back(&pair).await;
    eprintln!("a region that is cut off while the log is compacted");
    a_deletion_outlives_compaction_while_the_region_is_cut_off(&mut pair).await;
}

async fn only_the_hub_is_answered(pair: &Pair) {
    let url = format!(
        "{}/v1/replication/position",
        pair.region.node.replicator_url()
    );
    let answer = reqwest::get(&url).await.unwrap();
    assert_eq!(answer.status(), 401, "nobody signed it");
    let of_the_hub = format!("{}/v1/replication/position", pair.hub.node.replicator_url());
    let answer = reqwest::get(&of_the_hub).await.unwrap();
    assert_eq!(answer.status(), 404, "nobody asks the hub");
}

async fn a_region_that_differs_is_healed(pair: &Pair) {
    pair.region
        .execute(
            "set session_replication_role = replica; \
             update smp_global.currencies set name = 'tampered' where code = 'VND'; \
             set session_replication_role = origin; \
             select smp_global.rebase_digests()",
        )
        .await;
    // Nobody calls for a restate.
    pair.wait_until_proven_equal().await;
    let restated = "select (restated_seq > 0)::int::bigint from smp_global.relay_state";
    assert_eq!(pair.hub.number(restated).await.unwrap(), 1);
    let differs = "replication_region_differs";
    eventually("the hub knows that it is healed", async || {
        match pair.hub.metric(differs).await {
            Some(0.0) => Ok(()),
            found => Err(format!("{found:?}")),
        }
    })
    .await;
}

async fn delete_one(pair: &Pair) {
    let delete = "delete from smp_global.i18n_translations where ctid = \
         (select ctid from smp_global.i18n_translations order by locale, namespace, key limit 1)";
    pair.hub.execute(delete).await;
}

const TOMBSTONES: &str = "select count(*) from smp_global.change_log where kind = 'tombstone'";
const WAITING: &str = "select count(*) from smp_global.deleted_row";

async fn a_silent_region_holds_a_deletion_back(pair: &Pair) {
    pair.region.replicator.stop();
    let silent = "select count(*) from smp_global.region_report where error is not null";
    pair.hub.wait_for(1, silent).await;
    delete_one(pair).await;
    // Several rounds of asking: a heartbeat is as often.
    let beats = "select count(*) from smp_global.change_log where kind = 'heartbeat'";
    let before = pair.hub.number(beats).await.unwrap();
    eventually("time passes in the hub", async || {
        match pair.hub.number(beats).await.unwrap() - before {
            5.. => Ok(()),
            passed => Err(format!("{passed} heartbeats")),
        }
    })
    .await;
    assert_eq!(
        pair.hub.number(TOMBSTONES).await.unwrap(),
        0,
        "not passed by all"
    );
    assert_eq!(
        pair.hub.metric("replication_deletions_waiting").await,
        Some(1.0)
    );
    let verified = pair.hub.try_run(&["verify"]);
    assert!(!verified.status.success(), "a silent region is no fault");

    pair.region.replicator.start();
    pair.hub.wait_for(1, TOMBSTONES).await;
    pair.hub.wait_for(0, WAITING).await;
    pair.wait_until_proven_equal().await;
    eventually("all is well in the hub", async || {
        let verified = pair.hub.try_run(&["verify"]);
        if verified.status.success() {
            Ok(())
        } else {
            Err(super::text(&verified.stdout))
        }
    })
    .await;
}

async fn a_deletion_outlives_compaction_while_the_region_is_cut_off(pair: &mut Pair) {
    pair.mirror.process().signal(Signal::SIGSTOP).unwrap();
    compact_at_once(&pair.hub.node.kafka);
    let oldest = "select row_version from smp_global.i18n_translations \
         order by locale, namespace, key limit 1";
    let written = pair.hub.number(oldest).await.unwrap();
    delete_one(pair).await;
    let deleted = pair
        .hub
        .number("select max(row_version) from smp_global.deleted_row");
    let deleted = deleted.await.unwrap();
    let published =
        format!("select (published_seq >= {deleted})::int::bigint from smp_global.relay_state");
    pair.hub.wait_for(1, &published).await;
    // Each heartbeat may begin a segment, and a finished one is compacted.
    eventually("what was deleted is compacted away", async || {
        let left = records(pair).await;
        if left.contains(&written) {
            return Err(format!("{} records are left", left.len()));
        }
        assert!(left.contains(&deleted), "the deletion itself is gone");
        Ok(())
    })
    .await;
    pair.mirror.process().signal(Signal::SIGCONT).unwrap();
    // In the region the row was there until now.
    pair.wait_until_proven_equal().await;
    pair.hub.wait_for(0, WAITING).await;
    eventually(
        "once passed, the deletion is compacted away as well",
        async || {
            if records(pair).await.contains(&deleted) {
                Err(String::new())
            } else {
                Ok(())
            }
        },
    )
    .await;
    pair.wait_until_proven_equal().await;
}

/// What the hub's log holds.
async fn records(pair: &Pair) -> Vec<i64> {
    let published = "select published_seq from smp_global.relay_state";
    let last = pair.hub.number(published).await.unwrap();
    sequence_up_to(&pair.hub.node.kafka, last)
}
