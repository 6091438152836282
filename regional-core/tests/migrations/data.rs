//! A row or more in each table, in the scripts of several languages.

use std::collections::BTreeMap;

use sqlx::AssertSqlSafe;

use crate::support::database::TestDatabase;

/// Rows for every table of the last version.
const FILL: &str = r#"
insert into pancake_webhook_event
    (event_id, country_code, region_id, connection_id, layer, payload_hash, payload, name,
     phone_number, normalized_phone)
values
    ('01890000-0000-7000-8000-0000000000e1', 'VN', 'smp-asia', 'vn-1', 'poll',
     decode(repeat('01', 32), 'hex'), '{}', 'Nguyễn Thị Ánh', '0901 234 567', '+84901234567'),
    ('01890000-0000-7000-8000-0000000000e2', 'SG', 'smp-asia', 'sg-1', 'poll',
     decode(repeat('02', 32), 'hex'), '{}', '陈小明 👩‍💻', null, null);
insert into pancake_rejected_request
    (rejected_id, country_code, region_id, connection_id, cause, body_sha256, body, verdict,
     route_version, hop_signature_input, hop_signature)
values ('01890000-0000-7000-8000-0000000000f1', 'VN', 'smp-asia', 'vn-1', 'not_json',
    decode(repeat('03', 32), 'hex'), 'ไม่ใช่ JSON', 'unsigned', 1, 'x', 'x');
insert into account (account_id, country_code, name, phone_code, phone_number, email,
                     normalized_phone, pancake_metadata)
values
    ('01890000-0000-7000-8000-0000000000a1', 'VN', 'Nguyễn Thị Ánh', '+84', '0901 234 567',
     'anh@example.vn', '+84901234567', '{"tags": ["khách VIP"]}'),
    ('01890000-0000-7000-8000-0000000000a2', 'VN', 'Trần Văn Bình', '+84', '0901 234 567', null,
     '+84901234567', null),
    ('01890000-0000-7000-8000-0000000000a3', 'SG', '陈小明', '65', '8123 4567', null, null, null),
    ('01890000-0000-7000-8000-0000000000a4', 'SG', 'محمد العلي', null, null, null, null, null);
insert into contact_book (contact_id, country_code, account_id, name, phone_number, primary_phone)
values
    ('01890000-0000-7000-8000-0000000000b1', 'VN', '01890000-0000-7000-8000-0000000000a1',
     'สมชาย ใจดี', '0901 234 567', '+84901234567'),
    ('01890000-0000-7000-8000-0000000000b2', 'SG', '01890000-0000-7000-8000-0000000000a3',
     'அருண்', null, null),
    ('01890000-0000-7000-8000-0000000000b3', 'SG', '01890000-0000-7000-8000-0000000000a3',
     'Nguyễn 🇻🇳', null, null);
insert into staff (staff_id, country_code, subject, display_name, role)
values
    ('01890000-0000-7000-8000-0000000000c1', 'VN', 'lan', 'Lê Thị Lan', 'telesale'),
    ('01890000-0000-7000-8000-0000000000c2', 'SG', 'mei', '林美', 'manager');
insert into staff_absence (absence_id, country_code, staff_id, starts_at, ends_at, reason)
values ('01890000-0000-7000-8000-0000000000c3', 'VN', '01890000-0000-7000-8000-0000000000c1',
    '2026-02-17', '2026-02-22', 'Tết Nguyên Đán');
insert into staff_source (staff_id, country_code, source_id)
values ('01890000-0000-7000-8000-0000000000c1', 'VN', 'แหล่งที่มา-1');
insert into ticket (ticket_id, country_code, account_id, contact_id, source_id, status, subject,
                    assignee_id, closed_at)
values
    ('01890000-0000-7000-8000-0000000000d1', 'VN', '01890000-0000-7000-8000-0000000000a1',
     '01890000-0000-7000-8000-0000000000b1', 'ticket_source_6', 'in_progress', 'Hỏi giá',
     '01890000-0000-7000-8000-0000000000c1', null),
    ('01890000-0000-7000-8000-0000000000d2', 'SG', '01890000-0000-7000-8000-0000000000a3', null,
     'ticket_source_8', 'closed', '询价', null, '2026-03-01');
insert into ticket_assignment (assignment_id, country_code, ticket_id, staff_id, method, assigned_by)
values ('01890000-0000-7000-8000-0000000000d3', 'VN', '01890000-0000-7000-8000-0000000000d1',
    '01890000-0000-7000-8000-0000000000c1', 'manual', 'mei');
insert into notification_template (code, subject, body)
values ('noti_ticket', '{"vi": "Phiếu mới"}', '{"vi": "{customer_name}"}');
insert into notification (notification_id, country_code, role, template_code, ticket_id, data)
values ('01890000-0000-7000-8000-0000000000d4', 'SG', 'manager', 'noti_ticket',
    '01890000-0000-7000-8000-0000000000d2', '{"customer_name": "陈小明"}');
insert into customer_consent (consent_id, country_code, account_id, consent_data)
values ('01890000-0000-7000-8000-0000000000a9', 'VN', '01890000-0000-7000-8000-0000000000a1',
    '{"văn bản": "đồng ý"}');
insert into app_setting (country_code, app_settings)
values ('VN', '{"lời chào": "Xin chào", "pancake_integration": {"kill_switch": false}}');
insert into app_setting (country_code) values ('SG');
insert into pancake_connection (connection_id, country_code, workspace)
values ('vn-1', 'VN', 'Cửa hàng'), ('sg-1', 'SG', '新加坡');
insert into pancake_connection_status (change_id, country_code, connection_id, status, reason)
values ('01890000-0000-7000-8000-0000000000f2', 'VN', 'vn-1', 'suspended', 'quá nhiều lỗi');
insert into pancake_source (country_code, connection_id, source_id, name)
values ('VN', 'vn-1', '(none)', null), ('VN', 'vn-1', '1', 'Trang Facebook'),
    ('SG', 'sg-1', '1', '脸书');
insert into pancake_watermark (connection_id, country_code, table_name, layer)
values ('vn-1', 'VN', 'lead', 'poll');
insert into pancake_reconciliation_run (run_id, country_code, connection_id, window_from, window_to)
values ('01890000-0000-7000-8000-0000000000f3', 'VN', 'vn-1', '2026-02-28', '2026-03-01');
update backfill_run set rows_done = 4, rows_changed = 2;
"#;

/// Fills every table, and checks that none was forgotten.
pub(super) async fn fill(database: &TestDatabase) {
    database.as_owner(FILL).await;
    let rows = snapshot(database).await;
    for (table, rows) in &rows {
        assert!(!rows.is_empty(), "{table} is empty");
    }
    assert_eq!(rows.len(), 21, "{:?}", rows.keys());
}

/// The rows of each table, without what only says when or how often they were changed, and without the
/// columns that 0003, 0005 and 0006 add to tables of others.
pub(super) async fn snapshot(database: &TestDatabase) -> BTreeMap<String, Vec<String>> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class where relnamespace = 'public'::regnamespace \
           and relkind = 'r' and relname <> '_core_migrations'",
    )
    .fetch_all(database.owner_pool())
    .await
    .unwrap();
    let mut rows = BTreeMap::new();
    for table in tables {
        let query = format!(
            "select (to_jsonb(t) - array['updated_at', 'version', 'normalized_phone', \
                 'pancake_metadata', 'primary_phone'])::text from {table} t order by 1"
        );
        let found = sqlx::query_scalar(AssertSqlSafe(query))
            .fetch_all(database.owner_pool())
            .await
            .unwrap();
        rows.insert(table, found);
    }
    rows
}

/// One number.
pub(super) async fn count(database: &TestDatabase, query: &'static str) -> i64 {
    sqlx::query_scalar(query)
        .fetch_one(database.owner_pool())
        .await
        .unwrap()
}
