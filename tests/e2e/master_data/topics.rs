//! Topics that are deleted and made anew. What the log held is gone, and offsets mean something else:
//! the system sees it, and comes back by itself, or says that it differs until the hub restates.

use super::kafka_tools::{create_topic, delete_topic, wait_for_record};
use super::pair::Pair;

/// So many changes that are found in the region by `word`.
async fn write(pair: &Pair, word: &str, count: u32) {
    pair.hub
        .execute(&format!(
            "insert into smp_global.i18n_translations (locale, namespace, key, text) \
             select 'en', 'topics', '{word}.' || n, '{word}' from generate_series(1, {count}) n"
        ))
        .await;
}

/// Makes the log longer than it will be anew, when each row stands in it once: so MirrorMaker 2 finds its
/// place gone, rather than going on in the middle of other records.
async fn lengthen_the_log(pair: &Pair) {
    for _ in 0..6 {
        pair.hub
            .execute("update smp_global.i18n_translations set text = text || '.'")
            .await;
    }
    pair.wait_until_proven_equal().await;
}

/// Heals what the digests find, and only then.
async fn restate_since_it_differs(pair: &Pair) {
    let differs =
        "select (count(*) > 0)::int::bigint from smp_global.digest_check where not is_same";
    pair.region.wait_for(1, differs).await;
    let verified = pair.region.try_run(&["verify"]);
    assert!(!verified.status.success(), "a difference was not seen");
    pair.hub.run(&["restate"]);
    pair.wait_until_proven_equal().await;
}

async fn epoch(pair: &Pair) -> i64 {
    let epoch = "select applied_seq >> 40 from smp_global.applied_position";
    pair.region.number(epoch).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_deleted_and_made_anew_is_noticed_and_made_good() {
    let mut pair = Pair::start("md-topics").await;
    write(&pair, "before", 500).await;
    lengthen_the_log(&pair).await;
    assert_eq!(epoch(&pair).await, 1);

    eprintln!("the hub's topic, while the relay is stopped: by itself");
    pair.hub.replicator.stop();
    write(&pair, "stopped", 5).await;
    delete_topic(&pair.hub.node.kafka);
    create_topic(&pair.hub.node.kafka);
    pair.hub.replicator.start();
    pair.wait_until_proven_equal().await;
    assert_eq!(epoch(&pair).await, 2);

    eprintln!("the hub's topic, while the relay runs: by itself");
    lengthen_the_log(&pair).await;
    delete_topic(&pair.hub.node.kafka);
    create_topic(&pair.hub.node.kafka);
    write(&pair, "running", 5).await;
    pair.wait_until_proven_equal().await;
    assert_eq!(epoch(&pair).await, 3);

    eprintln!("the hub's topic, while MirrorMaker 2 is down: its new log is longer than the old");
    pair.mirror.stop().unwrap();
    pair.hub.replicator.stop();
    delete_topic(&pair.hub.node.kafka);
    create_topic(&pair.hub.node.kafka);
    pair.hub.replicator.start();
    let restated = "select published_seq >> 40 from smp_global.relay_state";
    pair.hub.wait_for(4, restated).await;
    write(&pair, "longer", 4_000).await;
    let published = "select (published_offset > 4000)::int::bigint from smp_global.relay_state";
    pair.hub.wait_for(1, published).await;
    pair.mirror.start_again().await.unwrap();
    // MirrorMaker 2 goes on in the middle of what it takes for the old log.
    restate_since_it_differs(&pair).await;
    assert_eq!(epoch(&pair).await, 4);

    eprintln!("the region's topic, with what was mirrored but not applied");
    pair.region.replicator.stop();
    write(&pair, "mirrored", 5).await;
    let seq = pair.hub_seq().await;
    wait_for_record(&pair.region.node.kafka, seq);
    pair.mirror.stop().unwrap();
    delete_topic(&pair.region.node.kafka);
    create_topic(&pair.region.node.kafka);
    pair.mirror.start_again().await.unwrap();
    pair.region.replicator.start();
    restate_since_it_differs(&pair).await;

    eprintln!("the region's topic, of which all was applied: by itself");
    pair.mirror.stop().unwrap();
    delete_topic(&pair.region.node.kafka);
    write(&pair, "after", 5).await;
    pair.mirror.start_again().await.unwrap();
    pair.wait_until_proven_equal().await;
}
