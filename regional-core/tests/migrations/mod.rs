//! The schema, up and down, and what /readyz says of it.

mod asking;
mod data;
mod down;
mod rules;
mod up;

use regional_core::config::secrets::DatabaseUrl;
use regional_core::db::migrate;
use regional_core::db::migrate::down::DownError;
use regional_core::db::migrate::plan::{DownPlan, PlannedDown};
use serde_json::json;
use sqlx::migrate::Migrate as _;
use sqlx::{Connection as _, PgConnection};

use crate::support::database::{TestDatabase, parse};
use crate::support::{TestCore, eventually, record};

/// Takes back all above `version`, as `migrate down --to VERSION --yes` does.
async fn take_back_to(owner: &DatabaseUrl, version: i64) -> Result<DownPlan, DownError> {
    let plan = migrate::down::plan(owner, Some(version)).await?;
    let mut done = Vec::new();
    migrate::down::take_back(owner, &plan, |down| done.push(down.clone())).await?;
    let form = |down: &PlannedDown| (down.version, down.form);
    // Not the counts: what is done first leaves less to do for the next.
    assert!(done.iter().map(form).eq(plan.migrations.iter().map(form)));
    Ok(plan)
}

/// A database on which the migrations up to this one are applied.
async fn database_at(version: i64) -> (TestDatabase, DatabaseUrl) {
    let database = TestDatabase::create().await;
    let owner = parse(&database.owner_url());
    take_back_to(&owner, version).await.unwrap();
    (database, owner)
}

async fn last_applied(owner: &DatabaseUrl) -> i64 {
    let statuses = migrate::status(owner).await.unwrap();
    let applied = statuses.iter().filter(|migration| migration.applied);
    applied
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0)
}

async fn is_whole(owner: &DatabaseUrl) -> bool {
    let statuses = migrate::status(owner).await.unwrap();
    statuses.iter().all(|migration| migration.applied)
}

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
            "region": "smp-asia",
            "countries": ["SG", "VN"],
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

    take_back_to(&owner, 0).await.unwrap();
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

/// The replicator's migrations take sqlx's lock on the same database. Whoever waits for it waits inside of
/// a statement, for which an index that is built concurrently waits.
#[tokio::test]
async fn a_migrator_that_waits_for_sqlxs_lock_holds_up_no_index() {
    let database = TestDatabase::create_empty().await;
    let owner = parse(&database.owner_url());
    let (done, mut is_done) = tokio::sync::oneshot::channel::<()>();
    let mut other = PgConnection::connect(&database.owner_url()).await.unwrap();
    let others = tokio::spawn(async move {
        let mut turns = 0;
        while is_done.try_recv().is_err() {
            other.lock().await.unwrap();
            other.unlock().await.unwrap();
            turns += 1;
        }
        turns
    });
    migrate::up(&owner).await.unwrap();
    done.send(()).unwrap();
    assert!(others.await.unwrap() > 0);
    assert!(is_whole(&owner).await);
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
    // The same in every country, with no customer's data.
    let of_all_countries = [
        "backfill_run",
        "crm_master_data",
        "module_permission_action",
        "notification_template",
    ];
    let without_country: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class where relnamespace = 'public'::regnamespace \
           and relkind = 'r' and relname <> '_core_migrations' and not exists ( \
             select from pg_attribute where attrelid = pg_class.oid \
               and attname = 'country_code' and attnotnull) order by 1",
    )
    .fetch_all(core.database.owner_pool())
    .await
    .unwrap();
    assert_eq!(without_country, of_all_countries);
}
