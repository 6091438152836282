//! What the schema refuses, and to whom.

use std::collections::BTreeMap;

use sqlx::{Connection, PgConnection};

use super::data::fill;
use super::database_at;
use crate::support::database::TestDatabase;

async fn refusal(database: &TestDatabase, statement: &'static str) -> (String, String) {
    let error = sqlx::raw_sql(statement)
        .execute(database.owner_pool())
        .await
        .expect_err(statement);
    let error = error.as_database_error().unwrap();
    (
        error.code().unwrap().into_owned(),
        error.constraint().unwrap_or_default().to_owned(),
    )
}

/// The ids are those of the filled tables: each row refers to one that is there, in another country.
#[tokio::test]
async fn no_reference_leaves_its_country() {
    let (database, _) = database_at(10).await;
    fill(&database).await;
    for (statement, constraint) in [
        (
            "update contact_book set country_code = 'VN' \
             where contact_id = '01890000-0000-7000-8000-0000000000b3'",
            "contact_book_account_fkey",
        ),
        (
            "update ticket set account_id = '01890000-0000-7000-8000-0000000000a3' \
             where country_code = 'VN'",
            "ticket_account_fkey",
        ),
        (
            "update ticket set contact_id = '01890000-0000-7000-8000-0000000000b2' \
             where country_code = 'VN'",
            "ticket_contact_fkey",
        ),
        (
            "update ticket set assignee_id = '01890000-0000-7000-8000-0000000000c2' \
             where country_code = 'VN'",
            "ticket_assignee_fkey",
        ),
        (
            "update ticket_assignment set ticket_id = '01890000-0000-7000-8000-0000000000d2'",
            "ticket_assignment_ticket_fkey",
        ),
        (
            "update ticket_assignment set staff_id = '01890000-0000-7000-8000-0000000000c2'",
            "ticket_assignment_staff_fkey",
        ),
        (
            "update notification set role = null, \
                 staff_id = '01890000-0000-7000-8000-0000000000c1'",
            "notification_staff_fkey",
        ),
        (
            "update notification set ticket_id = '01890000-0000-7000-8000-0000000000d1'",
            "notification_ticket_fkey",
        ),
        (
            "update customer_consent set country_code = 'SG'",
            "customer_consent_account_fkey",
        ),
        (
            "update staff_absence set country_code = 'SG'",
            "staff_absence_staff_fkey",
        ),
        (
            "update staff_source set country_code = 'SG'",
            "staff_source_staff_fkey",
        ),
        (
            "update pancake_connection_status set connection_id = 'sg-1'",
            "pancake_connection_status_connection_fkey",
        ),
        (
            "update pancake_source set connection_id = 'vn-1', source_id = '2' \
             where country_code = 'SG'",
            "pancake_source_connection_fkey",
        ),
        (
            "update pancake_watermark set connection_id = 'sg-1'",
            "pancake_watermark_connection_fkey",
        ),
        (
            "update pancake_reconciliation_run set connection_id = 'sg-1'",
            "pancake_reconciliation_run_connection_fkey",
        ),
    ] {
        assert_eq!(
            refusal(&database, statement).await,
            ("23503".to_owned(), constraint.to_owned()),
            "{statement}"
        );
    }
}

#[tokio::test]
async fn a_row_that_makes_no_sense_is_refused() {
    let (database, _) = database_at(10).await;
    fill(&database).await;
    for (statement, constraint) in [
        (
            "update account set normalized_phone = '0901234567'",
            "account_normalized_phone_is_e164",
        ),
        (
            "update account set pancake_metadata = to_jsonb(repeat('x', 65536))",
            "account_pancake_metadata_is_small",
        ),
        (
            "update contact_book set primary_phone = '+0123456789'",
            "contact_book_primary_phone_is_e164",
        ),
        (
            "update pancake_webhook_event set normalized_phone = E'+84901234567\\n'",
            "pancake_webhook_event_normalized_phone_is_e164",
        ),
        (
            "update account set name = repeat('ế', 342)",
            "account_name_check",
        ),
        (
            "update ticket set status = 'closed' where status <> 'closed'",
            "ticket_closed_at_iff_closed",
        ),
        (
            "update ticket_assignment set assigned_by = null",
            "ticket_assignment_manual_has_author",
        ),
        (
            "update notification set role = null",
            "notification_is_for_a_person_or_a_role",
        ),
        (
            "update staff_absence set ends_at = starts_at",
            "staff_absence_ends_after_start",
        ),
        (
            "update app_setting set app_settings = '[]'",
            "app_setting_app_settings_check",
        ),
    ] {
        assert_eq!(
            refusal(&database, statement).await,
            ("23514".to_owned(), constraint.to_owned()),
            "{statement}"
        );
    }
    let twice = "insert into contact_book (contact_id, country_code, account_id, primary_phone) \
                 select gen_random_uuid(), country_code, account_id, primary_phone \
                 from contact_book where primary_phone is not null";
    let (code, constraint) = refusal(&database, twice).await;
    assert_eq!(
        (code.as_str(), constraint.as_str()),
        ("23505", "contact_book_account_primary_phone_key")
    );
}

/// Each right of `core_app`, column rights too, as the first ten migrations leave it.
#[tokio::test]
async fn the_app_has_the_rights_that_it_needs_and_no_other() {
    let (database, _) = database_at(10).await;
    let rights: Vec<(String, String)> = sqlx::query_as(
        "select relname::text, string_agg(privilege, ' ' order by privilege) \
         from pg_class, unnest(array['delete', 'insert', 'references', 'select', 'trigger', \
                                     'truncate', 'update']) as privilege \
         where relnamespace = 'public'::regnamespace and relkind = 'r' \
           and (has_table_privilege('core_app', pg_class.oid, privilege) \
                or privilege in ('insert', 'select', 'update', 'references') \
                   and has_any_column_privilege('core_app', pg_class.oid, privilege)) \
         group by 1",
    )
    .fetch_all(database.owner_pool())
    .await
    .unwrap();
    let rights: BTreeMap<&str, &str> = rights
        .iter()
        .map(|(table, rights)| (table.as_str(), rights.as_str()))
        .collect();
    let expected = [
        ("_core_migrations", "select"),
        ("account", "insert select update"),
        ("app_setting", "insert select update"),
        ("backfill_run", "select update"),
        ("contact_book", "insert select update"),
        ("crm_master_data", "select"),
        ("customer_consent", "insert select update"),
        ("module_permission_action", "select"),
        ("notification", "insert select update"),
        ("notification_template", "select"),
        ("pancake_connection", "insert select update"),
        ("pancake_connection_status", "insert select"),
        ("pancake_reconciliation_run", "insert select update"),
        ("pancake_rejected_request", "insert select update"),
        ("pancake_source", "insert select update"),
        ("pancake_watermark", "insert select update"),
        ("pancake_webhook_event", "insert select"),
        ("staff", "insert select update"),
        ("staff_absence", "delete insert select update"),
        ("staff_source", "delete insert select update"),
        ("ticket", "insert select update"),
        ("ticket_assignment", "insert select"),
    ];
    assert_eq!(rights, BTreeMap::from(expected));

    let mut app = PgConnection::connect(&database.app_url()).await.unwrap();
    for statement in [
        "delete from account",
        "delete from ticket",
        "truncate ticket",
        "update ticket_assignment set method = 'automatic'",
        "update crm_master_data set disabled = true",
        "insert into module_permission_action values ('x', 'y', 'telesale')",
        "alter table ticket disable trigger all",
        "drop index account_normalized_phone_idx",
        "create index on account (name)",
        "comment on table account is ''",
    ] {
        let error = sqlx::raw_sql(statement)
            .execute(&mut app)
            .await
            .expect_err(statement);
        let code = error.as_database_error().unwrap().code().unwrap();
        assert_eq!(code, "42501", "{statement}: {error}");
    }
}
