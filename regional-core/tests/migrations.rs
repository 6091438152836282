//! The schema, up and down, and what /readyz says of it.

use regional_core::db::migrate;
use serde_json::json;

use crate::support::database::{TestDatabase, parse};
use crate::support::{TestCore, eventually, record};

async fn schema_check(core: &TestCore, expected: &str) {
    eventually(expected, async || {
        let answer = core.get("/readyz").await;
        let checks = &answer.json()["checks"];
        assert_eq!(checks["database"], "ok");
        assert_eq!(answer.status == 200, checks["schema"] == "ok");
        checks["schema"] == expected
    })
    .await;
}

#[tokio::test]
async fn a_core_is_ready_once_its_schema_is_there() {
    let database = TestDatabase::create_empty().await;
    let owner = parse(&database.owner_url());
    let url = database.app_url();
    let core = TestCore::start_on(database, &url, |_| {});
    schema_check(&core, "missing").await;
    core.post(record("")).await.assert_problem(503);
    core.post("[]").await.assert_problem(503);
    assert!(
        migrate::status(&owner)
            .await
            .unwrap()
            .iter()
            .all(|m| !m.applied)
    );

    let applied = migrate::up(&owner).await.unwrap();
    assert_eq!(applied, migrate::status(&owner).await.unwrap());
    assert!(migrate::up(&owner).await.unwrap().is_empty());
    schema_check(&core, "ok").await;
    assert_eq!(
        core.get("/readyz").await.json(),
        json!({
            "status": "ready",
            "checks": {"process": "ok", "database": "ok", "schema": "ok", "master_data": "absent"},
        })
    );
    core.post(record("")).await.event_id("accepted");
}

#[tokio::test]
async fn migrations_go_up_down_and_up_on_a_database_with_data() {
    let core = TestCore::start().await;
    let owner = parse(&core.database.owner_url());
    core.post(record("")).await.event_id("accepted");
    core.post("[]").await.assert_invalid_payload();

    migrate::down_to(&owner, 0).await.unwrap();
    let left: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class \
         where relnamespace = 'public'::regnamespace and relkind <> 'i'",
    )
    .fetch_all(core.database.owner_pool())
    .await
    .unwrap();
    assert_eq!(left, ["_core_migrations"]);
    schema_check(&core, "missing").await;
    core.post(record("")).await.assert_problem(503);

    assert_eq!(
        migrate::up(&owner).await.unwrap().len(),
        migrate::status(&owner).await.unwrap().len()
    );
    schema_check(&core, "ok").await;
    core.post(record("")).await.event_id("accepted");
    core.post("[]").await.assert_invalid_payload();
}

#[tokio::test]
async fn a_newer_schema_is_fine_and_a_changed_or_unfinished_one_is_not() {
    let core = TestCore::start().await;
    core.database
        .as_owner("insert into _core_migrations values (9999, 'of a newer binary', now(), true, '\\x00', 0)")
        .await;
    schema_check(&core, "ok").await;
    let owner = parse(&core.database.owner_url());
    assert!(migrate::up(&owner).await.unwrap().is_empty());

    core.database
        .as_owner("update _core_migrations set success = false where version = 9999")
        .await;
    schema_check(&core, "dirty").await;
    core.database
        .as_owner(
            "delete from _core_migrations where version = 9999; \
             update _core_migrations set checksum = '\\x00' where version = 1",
        )
        .await;
    schema_check(&core, "behind").await;
    migrate::up(&owner).await.unwrap_err();
}

/// Several at once wait for one another; the lock is PostgreSQL's.
#[tokio::test]
async fn migrators_that_run_at_once_apply_each_migration_once() {
    let database = TestDatabase::create_empty().await;
    let owner = parse(&database.owner_url());
    let (one, two, three) = tokio::join!(
        migrate::up(&owner),
        migrate::up(&owner),
        migrate::up(&owner)
    );
    for outcome in [one, two, three] {
        outcome.unwrap();
    }
    assert!(
        migrate::status(&owner)
            .await
            .unwrap()
            .iter()
            .all(|m| m.applied)
    );
}

#[tokio::test]
async fn each_table_and_column_says_what_it_is() {
    let core = TestCore::start().await;
    let unexplained: Vec<String> = sqlx::query_scalar(
        "select format('%s.%s', relname, attname) from pg_class \
         join pg_attribute on attrelid = pg_class.oid and attnum >= 0 and not attisdropped \
         where relnamespace = 'public'::regnamespace and relkind = 'r' \
           and relname <> '_core_migrations' and col_description(pg_class.oid, attnum) is null \
         union all \
         select relname::text from pg_class \
         where relnamespace = 'public'::regnamespace and relkind = 'r' \
           and relname <> '_core_migrations' and obj_description(oid, 'pg_class') is null",
    )
    .fetch_all(core.database.owner_pool())
    .await
    .unwrap();
    assert_eq!(unexplained, Vec::<String>::new());
    let without_country: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class where relnamespace = 'public'::regnamespace \
           and relkind = 'r' and relname <> '_core_migrations' and not exists ( \
             select from pg_attribute where attrelid = pg_class.oid \
               and attname = 'country_code' and attnotnull)",
    )
    .fetch_all(core.database.owner_pool())
    .await
    .unwrap();
    assert_eq!(without_country, Vec::<String>::new());
}
