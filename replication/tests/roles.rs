//! Who may write: in the hub its editors, in a region the applier alone.

use replication::config::DatabaseRole;
use sqlx::Executor as _;

use crate::support::{Database, refusal, run};

const INSERT: &str = "insert into smp_global.i18n_translations (locale, namespace, key, text, row_version) \
                      values ('en', 'common', 'a', 'A', 1)";

#[tokio::test]
async fn in_a_region_nobody_but_the_applier_can_write() {
    let region = Database::region().await;
    for (role, code) in [
        (DatabaseRole::Relay, "42501"),
        (DatabaseRole::Owner, "42501"),
        (DatabaseRole::Admin, "42501"),
    ] {
        let pool = region.as_role(role).await;
        for table in [
            "currencies",
            "countries",
            "currency_rates",
            "tax_configs",
            "i18n_translations",
        ] {
            assert_eq!(
                refusal(&pool, &format!("delete from smp_global.{table}")).await,
                code,
                "{role:?} on {table}"
            );
        }
        assert_eq!(refusal(&pool, INSERT).await, code, "{role:?}");
    }
    let applier = region.as_role(DatabaseRole::Applier).await;
    run(&applier, INSERT).await;
}

#[tokio::test]
async fn the_applier_can_do_nothing_but_apply() {
    let region = Database::region().await;
    let applier = region.as_role(DatabaseRole::Applier).await;
    for sql in [
        "create table smp_global.x ()",
        "drop table smp_global.i18n_translations",
        "alter table smp_global.i18n_translations disable trigger all",
        "truncate smp_global.i18n_translations",
        "update smp_global.table_digest set hash = 0",
        "update smp_global.node set role = 'hub'",
        "select smp_global.restate()",
        "insert into smp_global.change_log (seq, kind) values (1, 'heartbeat')",
    ] {
        assert_eq!(refusal(&applier, sql).await, "42501", "{sql}");
    }
}

#[tokio::test]
async fn in_the_hub_editors_write_and_relay_and_applier_do_not() {
    let hub = Database::hub().await;
    for role in [DatabaseRole::Relay, DatabaseRole::Applier] {
        assert_eq!(refusal(&hub.as_role(role).await, INSERT).await, "42501");
    }
    let mut editor = hub.admin().await.acquire().await.unwrap();
    editor.execute("set role master_data_editor").await.unwrap();
    editor.execute(INSERT).await.unwrap();
    let error = editor
        .execute("delete from smp_global.change_log")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("permission denied"), "{error}");
}

#[tokio::test]
async fn a_region_that_becomes_the_hub_captures_and_one_that_stops_being_it_does_not() {
    let database = Database::region().await;
    let region = protocol::RegionId::parse("smp-china").unwrap();
    let owner = database.owner_url();
    replication::database::migrate(&owner, &region, replication::database::Part::Hub)
        .await
        .unwrap();
    run(&database.owner, INSERT).await;
    let logged = "select count(*) from smp_global.change_log where kind = 'row'";
    let count: i64 = sqlx::query_scalar(logged)
        .fetch_one(&database.owner)
        .await
        .unwrap();
    assert_eq!(count, 1);
    replication::database::migrate(&owner, &region, replication::database::Part::Region)
        .await
        .unwrap();
    assert_eq!(refusal(&database.owner, INSERT).await, "42501");
}
