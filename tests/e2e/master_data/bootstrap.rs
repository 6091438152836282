//! A region from nothing.

use super::pair::{Pair, text};

const TRANSLATIONS: u32 = 20_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_region_is_filled_with_progress_and_verified() {
    let fill = format!(
        "insert into smp_global.i18n_translations (locale, namespace, key, text) \
         select 'en', 'bulk', 'k' || n, 'Text ' || n from generate_series(1, {TRANSLATIONS}) n"
    );
    // MirrorMaker 2 has hardly begun: what is to come is part of what is to be filled.
    let pair = Pair::start_without_applier("md-bootstrap", &fill).await;
    let output = pair.region.run(&["bootstrap"]);
    // Not waited for: it is there.
    assert_eq!(pair.difference().await.unwrap(), None);
    let (printed, progress) = (text(&output.stdout), text(&output.stderr));
    assert!(printed.contains("all of the log is applied"), "{printed}");
    assert!(!printed.contains("fault"), "{printed}");
    assert!(progress.contains(" records in "), "{progress}");

    // The applier goes on from there.
    pair.region.replicator.start();
    let change = "update smp_global.currencies set name = 'Changed' where code = 'VND'";
    pair.hub.execute(change).await;
    pair.wait_until_proven_equal().await;
}
