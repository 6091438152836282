//! Migrations are taken back one by one, and cost what was said.

use regional_core::db::migrate::down::{DownError, plan, take_back};
use regional_core::db::migrate::plan::{Effect, Form};
use regional_core::db::migrate::{self, MigrationError};
use sqlx::AssertSqlSafe;

use super::data::{count, fill, snapshot};
use super::{database_at, is_whole, last_applied, take_back_to};
use crate::support::database::{TestDatabase, parse};
use crate::support::eventually;

/// Whose rows a migration makes or takes.
fn tables_of(version: i64) -> &'static [&'static str] {
    match version {
        2 => &[
            "account",
            "app_setting",
            "contact_book",
            "crm_master_data",
            "customer_consent",
            "module_permission_action",
            "notification",
            "notification_template",
            "staff",
            "staff_absence",
            "staff_source",
            "ticket",
            "ticket_assignment",
        ],
        4 => &["backfill_run"],
        6 => &[
            "pancake_connection",
            "pancake_connection_status",
            "pancake_reconciliation_run",
            "pancake_source",
            "pancake_watermark",
        ],
        7 => &["crm_master_data"],
        8 => &["module_permission_action"],
        9 => &["notification_template"],
        10 => &["app_setting"],
        _ => &[],
    }
}

#[tokio::test]
async fn each_step_goes_down_up_and_down_and_leaves_the_others_rows_alone() {
    let (database, owner) = database_at(10).await;
    fill(&database).await;
    for version in (2..=10).rev() {
        let mut before = snapshot(&database).await;
        let plan = take_back_to(&owner, version - 1).await.unwrap();
        assert_eq!(plan.migrations.len(), 1);
        assert_eq!(plan.migrations[0].form, Form::Hard);
        assert_eq!(last_applied(&owner).await, version - 1);
        let after = snapshot(&database).await;
        let mut rest = after.clone();
        for table in tables_of(version) {
            assert_ne!(before.remove(*table), rest.remove(*table), "{version}");
        }
        assert_eq!(before, rest, "{version}");

        migrate::up(&owner).await.unwrap();
        assert!(is_whole(&owner).await);
        take_back_to(&owner, version - 1).await.unwrap();
        assert_eq!(snapshot(&database).await, after, "{version}");
    }
    assert_eq!(snapshot(&database).await.len(), 2);

    // Then only the events are left, which nobody loses by accident.
    assert!(matches!(
        plan(&owner, None).await,
        Err(DownError::FirstNotNamed)
    ));
    let first = take_back_to(&owner, 0).await.unwrap();
    assert_eq!(
        first.to_string(),
        "0001 pancake intake (hard): drops pancake_webhook_event (2 rows), \
         drops pancake_rejected_request (1 row)\n"
    );
    assert!(plan(&owner, None).await.unwrap().migrations.is_empty());
    migrate::up(&owner).await.unwrap();
    assert!(is_whole(&owner).await);
}

#[tokio::test]
async fn a_plan_counts_the_live_rows_and_changes_nothing() {
    let (database, owner) = database_at(10).await;
    fill(&database).await;
    let before = snapshot(&database).await;
    let text = plan(&owner, Some(0)).await.unwrap().to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..8],
        [
            "0010 pancake setting (hard): removes pancake_integration from app_setting (2 rows), \
             forgets a kill switch that is off (1 row)",
            "0009 pancake notification templates (hard): deletes noti_pancake_… from \
             notification_template (3 rows)",
            "0008 pancake permission (hard): deletes pancake_crm_integration from \
             module_permission_action (6 rows)",
            "0007 ticket source pancake (hard): deletes ticket_source_pancake from \
             crm_master_data (1 row)",
            "0006 pancake tables (hard): drops pancake_reconciliation_run (1 row), drops \
             pancake_watermark (1 row), drops pancake_source (3 rows), drops \
             pancake_connection_status (1 row), drops pancake_connection (2 rows), drops \
             pancake_webhook_event.normalized_phone (1 row)",
            "0005 contact book primary phone (hard): drops contact_book.primary_phone (1 row), \
             drops the foreign key that keeps the account of contact_book (3 rows)",
            "0004 normalized phone backfill (hard): drops backfill_run (1 row), empties \
             account.normalized_phone (2 rows)",
            "0003 account normalized phone (hard): drops account.normalized_phone (2 rows), \
             drops account.pancake_metadata (1 row)",
        ]
    );
    assert_eq!(lines.len(), 10);
    assert!(lines[8].contains("drops ticket (2 rows)"), "{text}");
    assert!(lines[9].contains("drops pancake_webhook_event (2 rows)"));

    assert_eq!(snapshot(&database).await, before);
    assert_eq!(last_applied(&owner).await, 10);
    // Without a version, the last one alone.
    assert_eq!(plan(&owner, None).await.unwrap().migrations.len(), 1);
}

const TICKET: &str = "insert into ticket (ticket_id, country_code, source_id) \
    values (gen_random_uuid(), 'VN', 'ticket_source_pancake')";
const ENABLED_SOURCES: &str =
    "select count(*) from crm_master_data where id = 'ticket_source_pancake' and not disabled";

#[tokio::test]
async fn a_source_that_a_ticket_refers_to_is_disabled_and_enabled_again() {
    let (database, owner) = database_at(7).await;
    database.as_owner(TICKET).await;
    let plan = take_back_to(&owner, 6).await.unwrap();
    assert_eq!(
        plan.to_string(),
        "0007 ticket source pancake (soft, because ticket refers to it (1 row)): \
         disables ticket_source_pancake in crm_master_data (1 row)\n"
    );
    assert_eq!(last_applied(&owner).await, 6);
    assert_eq!(count(&database, ENABLED_SOURCES).await, 0);
    let tickets = "select count(*) from ticket join crm_master_data on source_id = id and disabled";
    assert_eq!(count(&database, tickets).await, 1);

    migrate::up(&owner).await.unwrap();
    assert!(is_whole(&owner).await);
    assert_eq!(count(&database, ENABLED_SOURCES).await, 1);

    // Once nothing refers to it, it goes.
    database
        .as_owner("update ticket set source_id = 'ticket_source_8'")
        .await;
    take_back_to(&owner, 6).await.unwrap();
    let all = "select count(*) from crm_master_data";
    assert_eq!(count(&database, all).await, 8);
}

#[tokio::test]
async fn templates_that_a_notification_uses_are_disabled_and_enabled_again() {
    let (database, owner) = database_at(9).await;
    database
        .as_owner(
            "insert into notification (notification_id, country_code, role, template_code) \
             values (gen_random_uuid(), 'VN', 'admin', 'noti_pancake_failed')",
        )
        .await;
    let plan = take_back_to(&owner, 8).await.unwrap();
    assert_eq!(plan.migrations[0].form, Form::Soft);
    assert_eq!(
        plan.migrations[0].because,
        [Effect {
            what: "notification uses them".to_owned(),
            rows: 1
        }]
    );
    let disabled = "select count(*) from notification_template where disabled";
    assert_eq!(count(&database, disabled).await, 3);
    migrate::up(&owner).await.unwrap();
    assert_eq!(count(&database, disabled).await, 0);
}

#[tokio::test]
async fn what_became_otherwise_since_it_was_shown_is_not_touched() {
    let (database, owner) = database_at(7).await;
    let shown = plan(&owner, None).await.unwrap();
    assert_eq!(shown.migrations[0].form, Form::Hard);
    database.as_owner(TICKET).await;
    let refused = take_back(&owner, &shown, |_| {}).await.unwrap_err();
    assert!(matches!(refused, DownError::Changed { version: 7 }));
    assert_eq!(count(&database, ENABLED_SOURCES).await, 1);
    assert_eq!(last_applied(&owner).await, 7);

    // Or somebody migrated.
    migrate::up(&owner).await.unwrap();
    let refused = take_back(&owner, &shown, |_| {}).await.unwrap_err();
    assert!(
        matches!(refused, DownError::Changed { version } if version > 7),
        "{refused}"
    );
    assert!(is_whole(&owner).await);
}

/// A ticket that is not committed yet is not counted, and must not lose its source.
#[tokio::test]
async fn a_ticket_that_is_being_made_keeps_its_source() {
    let (database, owner) = database_at(7).await;
    let shown = plan(&owner, None).await.unwrap();
    let mut ticket = database.owner_pool().begin().await.unwrap();
    sqlx::query(TICKET).execute(&mut *ticket).await.unwrap();
    let taking_back = {
        let owner = owner.clone();
        tokio::spawn(async move { take_back(&owner, &shown, |_| {}).await })
    };
    eventually("it waits for the ticket, or gave up", async || {
        taking_back.is_finished() || waits_for_a_lock(&database).await
    })
    .await;
    ticket.commit().await.unwrap();
    let refused = taking_back.await.unwrap().unwrap_err();
    // A machine that is too busy makes it give up first.
    assert!(
        matches!(
            refused,
            DownError::Changed { version: 7 }
                | DownError::Migration(MigrationError::Busy { version: 7 })
        ),
        "{refused}"
    );
    assert_eq!(count(&database, ENABLED_SOURCES).await, 1);
    assert_eq!(last_applied(&owner).await, 7);
}

async fn waits_for_a_lock(database: &TestDatabase) -> bool {
    sqlx::query_scalar(
        "select exists (select from pg_stat_activity where datname = current_database() \
           and wait_event_type = 'Lock')",
    )
    .fetch_one(database.owner_pool())
    .await
    .unwrap()
}

#[tokio::test]
async fn what_another_binary_applied_is_left_to_it() {
    let database = TestDatabase::create().await;
    let owner = parse(&database.owner_url());
    database
        .as_owner(
            "insert into _core_migrations values (9999, 'of a newer binary', now(), true, '\\x00', 0)",
        )
        .await;
    for to in [None, Some(5)] {
        let refused = plan(&owner, to).await.unwrap_err();
        assert!(
            matches!(refused, DownError::Unknown { version: 9999 }),
            "{refused}"
        );
    }
    database
        .as_owner(
            "delete from _core_migrations where version = 9999; \
             update _core_migrations set checksum = '\\x00' \
                 where version = (select max(version) from _core_migrations)",
        )
        .await;
    plan(&owner, None).await.unwrap_err();
    database
        .as_owner("update _core_migrations set success = false")
        .await;
    plan(&owner, None).await.unwrap_err();
}

#[tokio::test]
async fn a_connection_of_two_countries_goes_back_to_the_one_that_had_it_first() {
    let (database, owner) = database_at(17).await;
    database
        .as_owner(
            "insert into pancake_connection (connection_id, country_code, created_at) values \
                 ('both', 'VN', '2026-01-01'), ('both', 'SG', '2026-01-02'), ('sg-1', 'SG', '2026-01-03'); \
             insert into pancake_source (country_code, connection_id, source_id) \
                 select country_code, connection_id, source \
                 from pancake_connection, unnest(array['a', 'b']) as source; \
             insert into pancake_watermark (connection_id, country_code, table_name, layer) \
                 select connection_id, country_code, 'lead', 'poll' from pancake_connection; \
             insert into pancake_connection_status (change_id, country_code, connection_id, status) \
                 select gen_random_uuid(), country_code, connection_id, 'active' from pancake_connection; \
             insert into pancake_reconciliation_run \
                 (run_id, country_code, connection_id, window_from, window_to) \
                 select gen_random_uuid(), country_code, connection_id, '2026-01-01', '2026-01-02' \
                 from pancake_connection",
        )
        .await;
    let plan = take_back_to(&owner, 16).await.unwrap();
    assert_eq!(
        plan.to_string(),
        "0017 connections by country (hard): deletes from pancake_connection those whose name another \
         country had first (1 row), deletes their pancake_source (2 rows)\n"
    );
    for table in [
        "pancake_connection",
        "pancake_source",
        "pancake_watermark",
        "pancake_connection_status",
        "pancake_reconciliation_run",
    ] {
        let left: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!(
            "select distinct country_code || ' ' || connection_id from {table} order by 1"
        )))
        .fetch_all(database.owner_pool())
        .await
        .unwrap();
        assert_eq!(left, ["SG sg-1", "VN both"], "{table}");
    }
    migrate::up(&owner).await.unwrap();
    assert!(is_whole(&owner).await);
}

/// What the code before it does, on the new schema and after it was taken back.
#[tokio::test]
async fn the_bounds_of_replays_and_tickets_come_and_go_with_their_rows_in_place() {
    let (database, owner) = database_at(14).await;
    let rows = "insert into ticket (ticket_id, country_code, source_id, connection_id, record_digest, phone_state) \
             values (gen_random_uuid(), 'VN', 'ticket_source_pancake', 'vn-1', sha256('x'), 'missing'); \
         insert into pancake_replay (replay_id, country_code, filter, total, created_by) \
             values (gen_random_uuid(), 'VN', '{}', 3, 'an-admin')";
    database.as_owner(rows).await;
    migrate::up(&owner).await.unwrap();
    database.as_owner(rows).await;
    let unknown = "select count(*) from ticket, pancake_replay \
         where record_received_at is null and until_event is null and not is_truncated";
    assert_eq!(count(&database, unknown).await, 4);
    take_back_to(&owner, 14).await.unwrap();
    let all = "select (select count(*) from ticket) + (select count(*) from pancake_replay)";
    assert_eq!(count(&database, all).await, 4);
    migrate::up(&owner).await.unwrap();
    assert!(is_whole(&owner).await);
}

#[tokio::test]
async fn what_staff_may_add_of_connections_comes_and_goes_and_the_connections_stay() {
    let (database, owner) = database_at(19).await;
    let rights = "select count(*) from information_schema.column_privileges \
         where grantee = 'core_staff' and table_name = 'pancake_connection' \
           and (privilege_type = 'INSERT' or (privilege_type, column_name) = ('UPDATE', 'workspace'))";
    let policies = "select count(*) from pg_policies where tablename = 'pancake_connection'";
    let of_before = (0, count(&database, policies).await);
    let found = async || {
        (
            count(&database, rights).await,
            count(&database, policies).await,
        )
    };
    assert_eq!(found().await, of_before);
    migrate::up(&owner).await.unwrap();
    assert_eq!(found().await, (4, of_before.1 + 1));
    database
        .as_owner(
            "insert into pancake_connection (connection_id, country_code) values ('vn-1', 'VN')",
        )
        .await;
    take_back_to(&owner, 19).await.unwrap();
    assert_eq!(found().await, of_before);
    let connections = "select count(*) from pancake_connection";
    assert_eq!(count(&database, connections).await, 1);
    migrate::up(&owner).await.unwrap();
    assert!(is_whole(&owner).await);
}
