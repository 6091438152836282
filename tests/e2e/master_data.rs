//! Master data through the real brokers, the real MirrorMaker 2 and the real replicators, and what each
//! of them may do to it: end, stop, forget and make up.

mod bootstrap;
mod faults;
mod kafka_tools;
mod kills;
mod pair;
mod regions;
mod replicator;
mod topics;
mod writers;

use pair::{Pair, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_in_the_hub_is_in_the_region_and_proven_so() {
    let pair = Pair::start("md-story").await;
    pair.wait_until_equal().await;

    // Plain SQL of every kind, exact decimals, deletions, a key that changes.
    pair.hub
        .execute(
            "insert into smp_global.currency_rates (base, quote, valid_from, rate, source) \
             values ('USD', 'VND', '2026-06-01', 26123.000000000000000001, 'test'); \
         update smp_global.tax_configs set note = 'changed' where country = 'VN' and kind = 'vat'; \
         delete from smp_global.i18n_translations where locale = 'th' and namespace = 'common'; \
         update smp_global.i18n_translations set key = 'renamed' \
             where (locale, namespace, key) = (select locale, namespace, key \
                 from smp_global.i18n_translations where locale = 'en' order by key limit 1);",
        )
        .await;
    pair.wait_until_proven_equal().await;

    // What is not the hub's is found at the next digest, and healed by a restate.
    pair.region
        .execute(
            "set session_replication_role = replica; \
         update smp_global.currencies set name = 'tampered' where code = 'VND'; \
         delete from smp_global.countries where code = 'US'; \
         insert into smp_global.i18n_translations (locale, namespace, key, text, row_version) \
             values ('en', 'common', 'ghost', 'ghost', 1);",
        )
        .await;
    let output = pair.region.try_run(&["verify"]);
    let printed = text(&output.stdout);
    assert!(!output.status.success(), "{printed}");
    assert!(printed.contains("fault: currencies"), "{printed}");
    pair.hub.run(&["restate"]);
    pair.wait_until_proven_equal().await;
}
