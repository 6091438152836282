//! What `core_app` may and may not, and at which databases a core serves.

use regional_core::db::{self, DatabaseError};
use sqlx::{Connection, PgConnection};

use crate::support::database::{TestDatabase, bootstrap_database};
use crate::support::{TestCore, record};

/// PostgreSQL's "insufficient privilege".
const REFUSED: &str = "42501";

#[tokio::test]
async fn the_app_takes_in_and_reads_and_can_do_nothing_else() {
    let core = TestCore::start().await;
    core.post(record("")).await.event_id("accepted");
    core.post("[]").await.assert_invalid_payload();

    for statement in [
        "create table mine (x int)",
        "create temporary table mine (x int)",
        "create schema mine",
        "create function mine() returns int language sql as 'select 1'",
        "alter table pancake_webhook_event add column mine text",
        "alter table pancake_webhook_event disable trigger all",
        "drop table pancake_webhook_event",
        "drop table pancake_rejected_request",
        "truncate pancake_webhook_event",
        "delete from pancake_webhook_event",
        "delete from pancake_rejected_request",
        "update pancake_webhook_event set payload = '\\x00'",
        "update pancake_webhook_event set phone_number = null",
        "delete from ticket",
        "delete from account",
        "delete from pancake_replay",
        "update pancake_rejected_request set body = ''",
        "insert into _core_migrations values (9, 'x', now(), true, '', 0)",
        "delete from _core_migrations",
        "create index on pancake_webhook_event (name)",
        "set role core_owner",
        "set role postgres",
        "set session authorization core_owner",
        "select pg_read_file('/etc/passwd')",
        "create role mine",
        "create database mine",
        "alter role core_app bypassrls",
    ] {
        let error = sqlx::raw_sql(statement)
            .execute(&core.pool)
            .await
            .expect_err(statement);
        let sqlstate = error.as_database_error().unwrap().code().unwrap();
        assert_eq!(sqlstate, REFUSED, "{statement}: {error}");
    }
    assert_eq!(core.count_events().await, 1);
}

#[tokio::test]
async fn everybody_else_stays_outside() {
    let database = TestDatabase::create_empty().await;
    let open: i64 = sqlx::query_scalar(
        "select count(*) from pg_database, aclexplode(datacl) as entry \
         where datname = current_database() and entry.grantee = 0",
    )
    .fetch_one(database.owner_pool())
    .await
    .unwrap();
    assert_eq!(open, 0, "PUBLIC has rights to the database");
    let public_in_schema: bool = sqlx::query_scalar(
        "select has_schema_privilege('public', 'public', 'create') \
             or has_schema_privilege('public', 'public', 'usage')",
    )
    .fetch_one(database.owner_pool())
    .await
    .unwrap();
    assert!(!public_in_schema);
}

#[tokio::test]
async fn a_core_serves_as_core_app_only() {
    let core = TestCore::start().await;
    for (url, why) in [
        (core.database.admin_url(), "is a superuser"),
        (core.database.owner_url(), "owns the database or its tables"),
    ] {
        let mut connection = PgConnection::connect(&url).await.unwrap();
        let error = db::check_connection(&mut connection).await.unwrap_err();
        assert!(!error.is_passing());
        assert!(
            matches!(error, DatabaseError::RoleTooStrong { why: found, .. } if found == why),
            "{error}"
        );
    }
    let mut connection = PgConnection::connect(&core.database.app_url())
        .await
        .unwrap();
    db::check_connection(&mut connection).await.unwrap();

    // And if one were started all the same, its pool would give it no connection.
    let url = core.database.owner_url();
    let too_strong = TestCore::start_on(core.database, &url, |config| {
        config.database.acquire_timeout = std::time::Duration::from_millis(300);
    });
    too_strong.post(record("")).await.assert_problem(503);
    assert_eq!(too_strong.get("/readyz").await.status, 503);
}

#[tokio::test]
async fn each_connection_waits_for_the_disk_whatever_the_default_is() {
    let core = TestCore::start().await;
    let value: String = sqlx::query_scalar("show synchronous_commit")
        .fetch_one(&core.pool)
        .await
        .unwrap();
    assert_eq!(value, "on");
    core.database
        .as_owner("do $$ begin execute format('alter database %I set synchronous_commit = off', current_database()); end $$")
        .await;
    let url = core.database.app_url();
    let core = TestCore::start_on(core.database, &url, |_| {});
    let settings: (String, String) = sqlx::query_as(
        "select current_setting('synchronous_commit'), current_setting('statement_timeout')",
    )
    .fetch_one(&core.pool)
    .await
    .unwrap();
    assert_eq!(settings, ("on".to_owned(), "20s".to_owned()));
}

#[tokio::test]
async fn bootstrap_again_changes_nothing_but_what_differs() {
    let database = TestDatabase::create_empty().await;
    let name: String = sqlx::query_scalar("select current_database()")
        .fetch_one(database.owner_pool())
        .await
        .unwrap();
    assert_eq!(bootstrap_database(&name).await, Vec::<String>::new());
    // Each password is still the one that its URL says.
    for url in [
        database.app_url(),
        database.owner_url(),
        database.editor_url(),
    ] {
        PgConnection::connect(&url).await.unwrap();
        let wrong = url.replacen("assword", "assw0rd", 1);
        assert_ne!(url, wrong);
        PgConnection::connect(&wrong).await.unwrap_err();
    }
}
