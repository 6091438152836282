//! Row-level security: what the database shows, whatever a handler asks.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::office::{ADMIN, LAN, Office, vn};

/// A connection of the core's.
async fn app(office: &Office) -> PgConnection {
    PgConnection::connect(&office.core.database.app_url())
        .await
        .unwrap()
}

async fn tables(office: &Office) -> Vec<String> {
    let tables = office
        .json_of(
            "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' \
               and exists (select from pg_attribute where attrelid = pg_class.oid and attname = 'country_code')",
        )
        .await;
    let tables = tables.as_array().unwrap();
    tables
        .iter()
        .map(|table| table["relname"].as_str().unwrap().to_owned())
        .collect()
}

/// What `core_staff` sees of each table with these settings: country → rows. None where it may not look.
async fn seen(
    connection: &mut PgConnection,
    tables: &[String],
    settings: &[(&str, &str)],
) -> BTreeMap<String, Option<BTreeMap<String, i64>>> {
    let mut seen = BTreeMap::new();
    for table in tables {
        let mut transaction = connection.begin().await.unwrap();
        sqlx::raw_sql("set local role core_staff")
            .execute(&mut *transaction)
            .await
            .unwrap();
        for (name, value) in settings {
            sqlx::query("select set_config($1, $2, true)")
                .bind(name)
                .bind(value)
                .execute(&mut *transaction)
                .await
                .unwrap();
        }
        let query = format!("select country_code, count(*) from {table} group by 1");
        let rows: Result<Vec<(String, i64)>, _> = sqlx::query_as(AssertSqlSafe(query))
            .fetch_all(&mut *transaction)
            .await;
        let rows = match rows {
            Ok(rows) => Some(rows.into_iter().collect()),
            Err(error) => {
                let code = error.as_database_error().unwrap().code().unwrap();
                assert_eq!(code, "42501", "{table}: {error}");
                None
            }
        };
        seen.insert(table.clone(), rows);
        transaction.rollback().await.unwrap();
    }
    seen
}

const NOT_FOR_STAFF: [&str; 2] = ["audit_log", "customer_consent"];

fn settings<'s>(role: &'s str, subject: &'s str, staff_id: &'s str) -> [(&'s str, &'s str); 4] {
    [
        ("smp.countries", "VN"),
        ("smp.role", role),
        ("smp.subject", subject),
        ("smp.staff_id", staff_id),
    ]
}

#[tokio::test]
async fn the_office_sees_every_row_of_its_country_and_none_of_another() {
    let office = Office::open().await;
    office
        .run(
            "insert into pancake_replay (replay_id, country_code, filter, total, created_by) \
             select gen_random_uuid(), code, '{}', 0, 'root' from unnest('{VN,SG}'::text[]) as c (code)",
        )
        .await;
    let tables = tables(&office).await;
    let mut connection = app(&office).await;
    for role in ["admin", "manager"] {
        for (table, rows) in seen(&mut connection, &tables, &settings(role, "x", "")).await {
            let Some(rows) = rows else {
                assert!(NOT_FOR_STAFF.contains(&table.as_str()), "{table}");
                continue;
            };
            assert!(!NOT_FOR_STAFF.contains(&table.as_str()), "{table}");
            let countries: Vec<_> = rows.keys().cloned().collect();
            assert_eq!(countries, ["VN"], "{table} as {role}");
            if table != "notification" {
                let all = office
                    .json_of(&format!(
                        "select count(*) from {table} where country_code = 'VN'"
                    ))
                    .await;
                assert_eq!(all[0]["count"], rows["VN"], "{table} as {role}");
            }
        }
    }
    // Two countries are as good as one.
    let both = [("smp.countries", "SG,VN"), ("smp.role", "manager")];
    let rows = seen(&mut connection, &["ticket".to_owned()], &both).await;
    assert_eq!(rows["ticket"].as_ref().unwrap().len(), 2);
}

#[tokio::test]
async fn a_telesale_sees_what_belongs_to_their_own_tickets() {
    let office = Office::open().await;
    let tables = tables(&office).await;
    let mut connection = app(&office).await;
    let lan = vn("0c2");
    let seen = seen(&mut connection, &tables, &settings("telesale", "lan", &lan)).await;
    let counts: BTreeMap<&str, i64> = seen
        .iter()
        .filter_map(|(table, rows)| Some((table.as_str(), *rows.as_ref()?.get("VN")?)))
        .collect();
    let expected = [
        ("account", 1),
        ("contact_book", 1),
        ("notification", 1),
        ("staff", 1),
        ("ticket", 2),
        ("ticket_assignment", 1),
    ];
    assert_eq!(
        counts,
        BTreeMap::from(expected),
        "and nothing of any other table"
    );
    assert!(seen.values().flatten().all(|rows| !rows.contains_key("SG")));
}

#[tokio::test]
async fn without_settings_there_is_nothing_and_nothing_can_be_written() {
    let office = Office::open().await;
    let tables = tables(&office).await;
    let mut connection = app(&office).await;
    let nothing: [&[(&str, &str)]; 5] = [
        &[],
        &[("smp.countries", "")],
        &[("smp.countries", "VN")],
        &[("smp.countries", "VN"), ("smp.role", "owner")],
        &[("smp.role", "admin"), ("smp.subject", "root")],
    ];
    for settings in nothing {
        for (table, rows) in seen(&mut connection, &tables, settings).await {
            assert!(
                rows.is_none_or(|rows| rows.is_empty()),
                "{table} {settings:?}"
            );
        }
    }
    for (statement, refusal) in [
        // Rows of another country are not there to be changed, and cannot be made.
        (
            "update ticket set status = 'in_progress' where country_code = 'SG'",
            None,
        ),
        (
            "update app_setting set version = 9 where country_code = 'SG'",
            None,
        ),
        ("delete from staff_absence where country_code = 'SG'", None),
        (
            "insert into staff_source (staff_id, country_code, source_id) values ('01890000-0000-7000-8000-0000000020c2', 'SG', 'x')",
            Some("42501"),
        ),
        (
            "insert into audit_log (audit_id, country_code, subject, role, action, entity, entity_id) values (gen_random_uuid(), 'SG', 'root', 'admin', 'x', 'x', 'x')",
            Some("42501"),
        ),
        (
            "insert into audit_log (audit_id, country_code, subject, role, action, entity, entity_id) values (gen_random_uuid(), 'VN', 'somebody else', 'admin', 'x', 'x', 'x')",
            Some("42501"),
        ),
        ("update audit_log set subject = 'x'", Some("42501")),
        ("delete from audit_log", Some("42501")),
        ("select * from audit_log", Some("42501")),
        (
            "select api_key_encrypted from pancake_connection",
            Some("42501"),
        ),
        ("select body from pancake_rejected_request", Some("42501")),
        (
            "select hop_signature from pancake_webhook_event",
            Some("42501"),
        ),
        (
            "update pancake_webhook_event set status = 'received', due_at = null",
            Some("42501"),
        ),
        ("update account set name = 'x'", Some("42501")),
        ("update staff set subject = 'x'", Some("42501")),
        (
            "update module_permission_action set role = 'telesale'",
            Some("42501"),
        ),
        ("delete from ticket", Some("42501")),
        (
            "alter table ticket disable row level security",
            Some("42501"),
        ),
    ] {
        changes_nothing(&mut connection, statement, refusal).await;
    }
}

/// As an admin of VN, it is refused with this code, or finds no row.
async fn changes_nothing(connection: &mut PgConnection, statement: &str, refusal: Option<&str>) {
    let mut transaction = connection.begin().await.unwrap();
    let preamble = "select set_config('role', 'core_staff', true), set_config('smp.countries', 'VN', true), \
                    set_config('smp.role', 'admin', true), set_config('smp.subject', 'root', true)";
    sqlx::raw_sql(preamble)
        .execute(&mut *transaction)
        .await
        .unwrap();
    let outcome = sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(&mut *transaction)
        .await;
    match (outcome, refusal) {
        (Ok(done), None) => assert_eq!(done.rows_affected(), 0, "{statement}"),
        (Err(error), Some(code)) => {
            assert_eq!(
                error.as_database_error().unwrap().code().unwrap(),
                code,
                "{statement}: {error}"
            );
        }
        (outcome, _) => panic!("{statement}: {outcome:?}"),
    }
    transaction.rollback().await.unwrap();
}

#[tokio::test]
async fn connections_are_added_to_ones_own_country_and_without_a_key() {
    let office = Office::open().await;
    let mut connection = app(&office).await;
    for (statement, refusal) in [
        (
            "insert into pancake_connection (connection_id, country_code) values ('sg-new', 'SG')",
            Some("42501"),
        ),
        (
            "insert into pancake_connection (connection_id, country_code, api_key_encrypted) values ('vn-new', 'VN', '\\x01')",
            Some("42501"),
        ),
        (
            "update pancake_connection set workspace = 'x' where country_code = 'SG'",
            None,
        ),
        (
            "update pancake_connection set connection_id = 'x'",
            Some("42501"),
        ),
        (
            "update pancake_connection set api_key_encrypted = null where country_code = 'SG'",
            None,
        ),
        (
            "update pancake_connection set workspace = encode(api_key_encrypted, 'hex')",
            Some("42501"),
        ),
        ("delete from pancake_connection", Some("42501")),
    ] {
        changes_nothing(&mut connection, statement, refusal).await;
    }
}

#[tokio::test]
async fn a_telesale_cannot_give_a_ticket_away_or_write_for_another() {
    let office = Office::open().await;
    let mut connection = app(&office).await;
    for statement in [
        "update ticket set assignee_id = '01890000-0000-7000-8000-0000000010c3' where ticket_id = '01890000-0000-7000-8000-0000000010d1'",
        "insert into notification (notification_id, country_code, staff_id, template_code) values (gen_random_uuid(), 'VN', '01890000-0000-7000-8000-0000000010c3', 'noti_pancake_failed')",
        "insert into ticket_assignment (assignment_id, country_code, ticket_id, staff_id, method) values (gen_random_uuid(), 'VN', '01890000-0000-7000-8000-0000000010d1', '01890000-0000-7000-8000-0000000010c2', 'automatic')",
        "insert into staff (staff_id, country_code, subject, display_name, role) values (gen_random_uuid(), 'VN', 'x', 'x', 'admin')",
        "insert into pancake_connection (connection_id, country_code) values ('vn-new', 'VN')",
    ] {
        let mut transaction = connection.begin().await.unwrap();
        let preamble = "select set_config('role', 'core_staff', true), set_config('smp.countries', 'VN', true), \
                        set_config('smp.role', 'telesale', true), set_config('smp.subject', 'lan', true), \
                        set_config('smp.staff_id', '01890000-0000-7000-8000-0000000010c2', true)";
        sqlx::raw_sql(preamble)
            .execute(&mut *transaction)
            .await
            .unwrap();
        let error = sqlx::raw_sql(statement)
            .execute(&mut *transaction)
            .await
            .expect_err(statement);
        assert_eq!(
            error.as_database_error().unwrap().code().unwrap(),
            "42501",
            "{statement}: {error}"
        );
        transaction.rollback().await.unwrap();
    }
}

#[tokio::test]
async fn a_pooled_connection_keeps_neither_role_nor_setting() {
    let office =
        Office::open_with(|config| config.database.staff_connections = 1.try_into().unwrap()).await;
    let state = async || -> (String, Option<String>, i64) {
        sqlx::query_as("select current_user::text, nullif(current_setting('smp.countries', true), ''), count(*) from ticket")
            .fetch_one(office.core.app.staff_pool())
            .await
            .unwrap()
    };
    let all = ("core_app".to_owned(), None, 8);
    assert_eq!(state().await, all);
    for path in [
        "/tickets",
        "/tickets/x",
        "/pancake/switches",
        "/pancake/connections/none",
    ] {
        office.get(LAN, path).await;
        assert_eq!(state().await, all, "{path}");
        office.get(ADMIN, path).await;
        assert_eq!(state().await, all, "{path}");
    }
    // Nor does one whose client hung up in the middle.
    {
        let mut owner = office.core.database.owner_pool().begin().await.unwrap();
        sqlx::raw_sql("lock table ticket in access exclusive mode")
            .execute(&mut *owner)
            .await
            .unwrap();
        let request = office.get(ADMIN, "/tickets");
        let cut = tokio::time::timeout(std::time::Duration::from_millis(200), request).await;
        assert!(cut.is_err(), "it did not wait");
        owner.rollback().await.unwrap();
    }
    assert_eq!(state().await, all);
}

/// The core's own work sees every row, and pays nothing for it.
#[tokio::test]
async fn the_cores_own_statements_are_planned_without_a_filter() {
    let office = Office::open().await;
    let mut connection = app(&office).await;
    let mut transaction = connection.begin().await.unwrap();
    sqlx::raw_sql("set local enable_seqscan = off")
        .execute(&mut *transaction)
        .await
        .unwrap();
    for (statement, needed) in [
        (
            "select * from pancake_webhook_event where event_id = '01890000-0000-7000-8000-000000001101'",
            "Index Cond",
        ),
        (
            "select * from account where account_id = '01890000-0000-7000-8000-0000000010a1'",
            "Index Cond",
        ),
        (
            "select * from ticket where ticket_id = '01890000-0000-7000-8000-0000000010d1'",
            "Index Cond",
        ),
    ] {
        let lines: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(format!("explain (costs off) {statement}")))
                .fetch_all(&mut *transaction)
                .await
                .unwrap();
        let plan = lines.join("\n");
        assert!(
            plan.contains(needed) && !plan.contains("Filter") && !plan.contains("smp"),
            "{plan}"
        );
    }
}

#[tokio::test]
async fn each_table_of_a_country_is_guarded() {
    let office = Office::open().await;
    let open = office
        .json_of(
            "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' \
               and not relrowsecurity and has_table_privilege('core_staff', oid, 'select, insert, update, delete')",
        )
        .await;
    let open: BTreeSet<&str> = open
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["relname"].as_str().unwrap())
        .collect();
    let the_same_everywhere = [
        "crm_master_data",
        "module_permission_action",
        "notification_template",
    ];
    assert_eq!(open, BTreeSet::from(the_same_everywhere));
    let login = office.json_of("select rolcanlogin, rolsuper, rolbypassrls, rolcreaterole from pg_roles where rolname = 'core_staff'").await;
    let no = serde_json::json!([{"rolcanlogin": false, "rolsuper": false, "rolbypassrls": false, "rolcreaterole": false}]);
    assert_eq!(login, no);
}
