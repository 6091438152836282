//! Schema `smp_global` in a test's database, made of the replicator's own files.

use std::fs;
use std::path::Path;
use std::time::Duration;

use regional_core::config::Config;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::sync::OnceCell;

use super::database::TestDatabase;
use super::{TestCore, eventually};

/// What a database is to master data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Hub,
    Region,
}

/// A core whose database has the first master data, all of it loaded.
pub(crate) async fn core_of(part: Part) -> TestCore {
    core_with(part, |_| {}).await
}

/// The same with other settings. It is not asked for changes: it must be told of them.
pub(crate) async fn core_with(part: Part, change: impl FnOnce(&mut Config)) -> TestCore {
    let database = TestDatabase::create().await;
    provision(&database, part).await;
    let url = database.app_url();
    let core = TestCore::start_on(database, &url, |config| {
        config.master_data.poll = Duration::from_hours(1);
        config.master_data.wait = Duration::from_secs(20);
        change(config);
    });
    wait_until(&core, "loaded").await;
    core
}

/// Waits until `/readyz` says this of master data.
pub(crate) async fn wait_until(core: &TestCore, state: &str) {
    eventually(state, async || {
        core.get("/readyz").await.json()["checks"]["master_data"] == state
    })
    .await;
}

/// Makes roles, schema and first rows.
pub(crate) async fn provision(database: &TestDatabase, part: Part) {
    static ROLES: OnceCell<()> = OnceCell::const_new();
    let mut admin = admin(database).await;
    ROLES.get_or_init(|| make_roles(&mut admin)).await;
    run(
        &mut admin,
        "create schema smp_global authorization master_data_owner; set role master_data_owner",
    )
    .await;
    run(&mut admin, &file("migrations/0001_master_data.up.sql")).await;
    run(&mut admin, &file("migrations/0002_replication.up.sql")).await;
    if part == Part::Hub {
        run(&mut admin, &file("sql/hub.sql")).await;
    }
    for seed in [
        "01_currencies",
        "02_countries",
        "03_currency_rates",
        "04_tax_configs",
        "05_i18n_translations",
    ] {
        run(&mut admin, &file(&format!("seeds/{seed}.sql"))).await;
    }
    if part == Part::Region {
        run(&mut admin, &file("sql/region.sql")).await;
    }
    run(
        &mut admin,
        match part {
            Part::Hub => "insert into smp_global.node (region_id, role) values ('smp-asia', 'hub')",
            Part::Region => {
                "insert into smp_global.node (region_id, role) values ('smp-china', 'region')"
            }
        },
    )
    .await;
    run(
        &mut admin,
        "grant select on smp_global.node to master_data_reader",
    )
    .await;
    admin.close().await.unwrap();
}

/// Roles belong to the server. Another process may make them at the same time.
async fn make_roles(admin: &mut PgConnection) {
    run(
        admin,
        "do $$
        declare name text;
        begin
            perform pg_advisory_xact_lock(1936550000);
            foreach name in array array['owner', 'relay', 'applier', 'reader', 'editor'] loop
                if not exists (select from pg_roles where rolname = 'master_data_' || name) then
                    execute format('create role %I', 'master_data_' || name);
                end if;
            end loop;
            grant master_data_reader to core_app;
        end $$",
    )
    .await;
}

/// What the hub's editors write, in one transaction.
pub(crate) async fn write(core: &TestCore, sql: &str) {
    as_role(&core.database, "master_data_editor", sql).await;
}

/// What the applier writes in a region, in one transaction, up to `seq`.
pub(crate) async fn apply(core: &TestCore, seq: i64, sql: &str) {
    let sql = format!(
        "{sql}; update smp_global.applied_position set applied_seq = {seq}; \
         select pg_notify('smp_global_applied', '{seq}')"
    );
    as_role(&core.database, "master_data_applier", &sql).await;
}

/// Runs statements in one transaction.
pub(crate) async fn as_role(database: &TestDatabase, role: &str, sql: &str) {
    let mut connection = admin(database).await;
    run(&mut connection, &format!("set role {role}")).await;
    run(&mut connection, sql).await;
    connection.close().await.unwrap();
}

pub(crate) async fn admin(database: &TestDatabase) -> PgConnection {
    PgConnection::connect(&database.admin_url()).await.unwrap()
}

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../replication")
        .join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

async fn run(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{error}\n{sql}"));
}
