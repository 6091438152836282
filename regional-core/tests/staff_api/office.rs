//! A core with the staff, customers and events of two countries.

use axum::body::Body;
use axum::http::{Method, Request};
use regional_core::auth::JwksLocation;
use regional_core::config::Config;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::support::auth::{Issuer, trust};
use crate::support::database::TestDatabase;
use crate::support::proxy::Proxy;
use crate::support::{Answer, NOW, TestCore};

/// Rows of one country; `$CC` is its code, `$N` its digit.
const COUNTRY: &str = r#"
insert into staff (staff_id, country_code, subject, display_name, role, is_active) values
    ('01890000-0000-7000-8000-00000000$N0c1', '$CC', 'manager', 'Mai', 'manager', true),
    ('01890000-0000-7000-8000-00000000$N0c2', '$CC', 'lan', 'Lan', 'telesale', true),
    ('01890000-0000-7000-8000-00000000$N0c3', '$CC', 'hoa', 'Hoa', 'telesale', true),
    ('01890000-0000-7000-8000-00000000$N0c4', '$CC', 'gone', 'Gone', 'telesale', false);
insert into staff_absence (absence_id, country_code, staff_id, starts_at, ends_at, reason) values
    ('01890000-0000-7000-8000-00000000$N0ca', '$CC', '01890000-0000-7000-8000-00000000$N0c3', '2026-02-17', '2026-02-22', 'Tết');
insert into staff_source (staff_id, country_code, source_id)
values ('01890000-0000-7000-8000-00000000$N0c3', '$CC', 'fb');
insert into account (account_id, country_code, name, phone_number, normalized_phone, email) values
    ('01890000-0000-7000-8000-00000000$N0a1', '$CC', 'Customer $CC one', '0912 345 678', '+84912345678', 'one@example.com'),
    ('01890000-0000-7000-8000-00000000$N0a2', '$CC', 'Customer $CC two', '0912 345 679', '+84912345679', null);
insert into contact_book (contact_id, country_code, account_id, name, primary_phone) values
    ('01890000-0000-7000-8000-00000000$N0b1', '$CC', '01890000-0000-7000-8000-00000000$N0a1', 'Contact one', '+84912345678'),
    ('01890000-0000-7000-8000-00000000$N0b2', '$CC', '01890000-0000-7000-8000-00000000$N0a2', 'Contact two', '+84912345679');
insert into ticket (ticket_id, country_code, account_id, contact_id, source_id, status, subject, assignee_id, created_at, closed_at,
                    connection_id, record_id, record_digest, phone_state) values
    ('01890000-0000-7000-8000-00000000$N0d1', '$CC', '01890000-0000-7000-8000-00000000$N0a1', '01890000-0000-7000-8000-00000000$N0b1',
     'ticket_source_pancake', 'open', 'Lead one', '01890000-0000-7000-8000-00000000$N0c2', '2026-03-01T00:00:01Z', null,
     'conn-$CC', '01890000-0000-7000-8000-0000000000f1', decode(repeat('01', 32), 'hex'), 'usable'),
    ('01890000-0000-7000-8000-00000000$N0d2', '$CC', '01890000-0000-7000-8000-00000000$N0a2', '01890000-0000-7000-8000-00000000$N0b2',
     'ticket_source_1', 'in_progress', 'Lead two', '01890000-0000-7000-8000-00000000$N0c3', '2026-03-01T00:00:02Z', null, null, null, null, null),
    ('01890000-0000-7000-8000-00000000$N0d3', '$CC', null, null, 'ticket_source_pancake', 'open', 'Lead three', null, '2026-03-01T00:00:03Z', null,
     'conn-$CC', null, decode(repeat('01', 32), 'hex'), 'missing'),
    ('01890000-0000-7000-8000-00000000$N0d4', '$CC', '01890000-0000-7000-8000-00000000$N0a1', null, 'ticket_source_pancake', 'closed', 'Lead four',
     '01890000-0000-7000-8000-00000000$N0c2', '2026-03-01T00:00:04Z', '2026-03-02',
     'conn-$CC', '01890000-0000-7000-8000-0000000000f1', decode(repeat('01', 32), 'hex'), 'usable');
insert into ticket_assignment (assignment_id, country_code, ticket_id, staff_id, method) values
    ('01890000-0000-7000-8000-00000000$N0da', '$CC', '01890000-0000-7000-8000-00000000$N0d1', '01890000-0000-7000-8000-00000000$N0c2', 'automatic'),
    ('01890000-0000-7000-8000-00000000$N0db', '$CC', '01890000-0000-7000-8000-00000000$N0d2', '01890000-0000-7000-8000-00000000$N0c3', 'automatic');
insert into notification (notification_id, country_code, staff_id, role, template_code, ticket_id, data, created_at) values
    ('01890000-0000-7000-8000-00000000$N0e1', '$CC', '01890000-0000-7000-8000-00000000$N0c2', null, 'noti_pancake_new_lead',
     '01890000-0000-7000-8000-00000000$N0d1', '{}', '2026-03-01T00:00:01Z'),
    ('01890000-0000-7000-8000-00000000$N0e2', '$CC', '01890000-0000-7000-8000-00000000$N0c3', null, 'noti_pancake_new_lead',
     '01890000-0000-7000-8000-00000000$N0d2', '{}', '2026-03-01T00:00:02Z'),
    ('01890000-0000-7000-8000-00000000$N0e3', '$CC', null, 'manager', 'noti_pancake_unassigned',
     '01890000-0000-7000-8000-00000000$N0d3', '{}', '2026-03-01T00:00:03Z'),
    ('01890000-0000-7000-8000-00000000$N0e4', '$CC', null, 'admin', 'noti_pancake_failed', null,
     '{"event_id": "01890000-0000-7000-8000-00000000$N104", "attempts": 5}', '2026-03-01T00:00:04Z');
insert into customer_consent (consent_id, country_code, account_id)
values ('01890000-0000-7000-8000-00000000$N0a9', '$CC', '01890000-0000-7000-8000-00000000$N0a1');
insert into pancake_connection (connection_id, country_code, workspace, api_key_encrypted)
values ('conn-$CC', '$CC', 'Workspace', '\x01'), ('other-$CC', '$CC', null, null);
insert into pancake_connection_status (change_id, country_code, connection_id, status, reason)
values ('01890000-0000-7000-8000-00000000$N0f2', '$CC', 'conn-$CC', 'active', 'began');
insert into pancake_source (country_code, connection_id, source_id, name, is_active)
values ('$CC', 'conn-$CC', '(none)', null, true), ('$CC', 'conn-$CC', 'a/b %', 'Facebook', false), ('$CC', 'other-$CC', 'z', null, false);
insert into pancake_watermark (connection_id, country_code, table_name, layer) values ('conn-$CC', '$CC', 'lead', 'poll');
insert into job_run (run_id, country_code, job, state) values (gen_random_uuid(), '$CC', 'poll', 'requested');
insert into pancake_daily (country_code, day, time_zone, events, processed, failed, dead_letters, skipped,
                           found_by_poll, found_by_reconcile, tickets, assigned_automatically, assigned_by_hand, missing)
values ('$CC', '2026-03-01', 'UTC', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
insert into pancake_reconciliation_run (run_id, country_code, connection_id, window_from, window_to)
values ('01890000-0000-7000-8000-00000000$N0f3', '$CC', 'conn-$CC', '2026-02-28', '2026-03-01');
insert into pancake_webhook_event (event_id, country_code, region_id, connection_id, layer, status, payload_hash, payload, name, phone_number,
                                   normalized_phone, source_ids, received_at, record_id, attempts, due_at, cause) values
    ('01890000-0000-7000-8000-00000000$N101', '$CC', 'smp-asia', 'conn-$CC', 'poll', 'processed', decode(repeat('01', 32), 'hex'), '{"name": "Secret"}',
     'Nguyễn', '0912 345 678', '+84912345678', '{a,b}', now() - interval '4 minutes', '01890000-0000-7000-8000-0000000000f1', 0, null, null),
    ('01890000-0000-7000-8000-00000000$N102', '$CC', 'smp-asia', 'other-$CC', 'poll', 'received', decode(repeat('02', 32), 'hex'), '{}',
     'Trần', null, null, '{}', now() - interval '3 minutes', null, 0, null, null),
    ('01890000-0000-7000-8000-00000000$N103', '$CC', 'smp-asia', 'conn-$CC', 'poll', 'failed', decode(repeat('03', 32), 'hex'), '{}',
     'Lê', null, null, '{b}', now() - interval '2 minutes', null, 1, now() + interval '1 hour', 'refused 22000'),
    ('01890000-0000-7000-8000-00000000$N104', '$CC', 'smp-asia', 'conn-$CC', 'poll', 'dead_letter', decode(repeat('04', 32), 'hex'), '{}',
     'Phạm', null, null, '{a}', now() - interval '1 minutes', null, 5, null, 'refused 23514 x');
insert into pancake_rejected_request (rejected_id, country_code, region_id, connection_id, cause, body_sha256, body, verdict, route_version,
                                      hop_signature_input, hop_signature, received_at) values
    ('01890000-0000-7000-8000-00000000$N0f4', '$CC', 'smp-asia', 'conn-$CC', 'not_json', decode(repeat('03', 32), 'hex'), 'Secret', 'unsigned', 1, 'x', 'x', '2026-03-01'),
    ('01890000-0000-7000-8000-00000000$N0f5', '$CC', 'smp-asia', 'conn-$CC', 'not_utf8', decode(repeat('04', 32), 'hex'), 'Secret', 'unsigned', 1, 'x', 'x', '2026-03-02');
insert into app_setting (country_code, app_settings)
values ('$CC', '{"other": 1, "pancake_integration": {"kill_switch": false, "processing_paused": false, "more": 2}}');
"#;

/// An id of a seeded row in VN; `last` are its last three digits.
pub(super) fn vn(last: &str) -> String {
    format!("01890000-0000-7000-8000-000000001{last}")
}

/// The same in SG.
pub(super) fn sg(last: &str) -> String {
    format!("01890000-0000-7000-8000-000000002{last}")
}

/// Who shows a token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Who {
    pub(super) subject: &'static str,
    pub(super) roles: &'static [&'static str],
    pub(super) countries: &'static [&'static str],
}

const fn of_vn(subject: &'static str, roles: &'static [&'static str]) -> Who {
    let countries = &["VN"];
    Who {
        subject,
        roles,
        countries,
    }
}

/// Not on the staff.
pub(super) const ADMIN: Who = of_vn("root", &["admin"]);
pub(super) const MANAGER: Who = of_vn("manager", &["manager"]);
pub(super) const LAN: Who = of_vn("lan", &["telesale"]);
pub(super) const HOA: Who = of_vn("hoa", &["telesale"]);
pub(super) const GONE: Who = of_vn("gone", &["telesale"]);

pub(super) struct Office {
    pub(super) core: TestCore,
    issuer: Issuer,
}

impl Office {
    pub(super) async fn open() -> Self {
        Self::open_with(|_| {}).await
    }

    pub(super) async fn open_with(change: impl FnOnce(&mut Config)) -> Self {
        let database = TestDatabase::create().await;
        let url = database.app_url();
        Self::open_on(database, &url, change).await
    }

    /// One whose core finds its database behind a proxy.
    pub(super) async fn open_behind(proxy: &Proxy, change: impl FnOnce(&mut Config)) -> Self {
        let database = TestDatabase::create().await;
        let url = proxy.through(&database.app_url());
        Self::open_on(database, &url, change).await
    }

    async fn open_on(database: TestDatabase, url: &str, change: impl FnOnce(&mut Config)) -> Self {
        let issuer = Issuer::new(1);
        let jwks = issuer.jwks_file();
        let core = TestCore::start_on(database, url, |config| {
            trust(config, JwksLocation::File(jwks));
            change(config);
        });
        let office = Self { core, issuer };
        for (code, digit) in [("VN", "1"), ("SG", "2")] {
            office
                .run(&COUNTRY.replace("$CC", code).replace("$N", digit))
                .await;
        }
        office
    }

    pub(super) async fn run(&self, statement: &str) {
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .execute(self.core.database.owner_pool())
            .await
            .unwrap();
    }

    pub(super) async fn json_of(&self, query: &str) -> Value {
        let query = format!("select coalesce(jsonb_agg(to_jsonb(q)), '[]') from ({query}) q");
        sqlx::query_scalar(AssertSqlSafe(query))
            .fetch_one(self.core.database.owner_pool())
            .await
            .unwrap()
    }

    pub(super) fn token(&self, who: Who) -> String {
        self.issuer.sign(&json!({
            "iss": "https://id.test", "aud": "smp-asia", "sub": who.subject, "iat": NOW, "exp": NOW + 600,
            "roles": who.roles, "countries": who.countries,
        }))
    }

    pub(super) fn token_of_scope(&self, who: Who, scope: &str) -> String {
        self.issuer.sign(&json!({
            "iss": "https://id.test", "aud": "smp-asia", "sub": who.subject, "iat": NOW, "exp": NOW + 600,
            "roles": who.roles, "countries": who.countries, "scope": scope,
        }))
    }

    pub(super) async fn send(
        &self,
        who: Who,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let path = format!("/v1/crm{path}");
        self.send_to(who, method, &path, headers, body).await
    }

    /// The same to a whole path.
    pub(super) async fn send_to(
        &self,
        who: Who,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.token(who)));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.core.send(request.body(body.into()).unwrap()).await
    }

    pub(super) async fn get(&self, who: Who, path: &str) -> Answer {
        self.send(who, Method::GET, path, &[], "").await
    }

    /// The body of a 200.
    pub(super) async fn found(&self, who: Who, path: &str) -> Value {
        let answer = self.get(who, path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(answer.content_type.as_deref(), Some("application/json"));
        assert_eq!(answer.cache_control.as_deref(), Some("no-store"));
        answer.json()
    }

    pub(super) async fn post(&self, who: Who, path: &str, body: &Value) -> Answer {
        self.send(who, Method::POST, path, &[], body.to_string())
            .await
    }

    /// Changes a row in the version that a read of `read` gives.
    pub(super) async fn patch_as_read(&self, who: Who, path: &str, body: &Value) -> Answer {
        let etag = etag(&self.get(ADMIN, path).await);
        self.patch(who, path, &etag, body).await
    }

    pub(super) async fn patch(&self, who: Who, path: &str, etag: &str, body: &Value) -> Answer {
        let headers = [("if-match", etag)];
        self.send(who, Method::PATCH, path, &headers, body.to_string())
            .await
    }

    /// The audit trail, without what only says which row it is and when.
    pub(super) async fn audit(&self) -> Value {
        self.json_of(
            "select country_code, subject, role, action, entity, entity_id, changes, request_id \
             from audit_log order by happened_at",
        )
        .await
    }
}

#[track_caller]
pub(super) fn etag(answer: &Answer) -> String {
    let value = answer.headers.get("etag");
    let value = value.unwrap_or_else(|| panic!("no etag: {}", answer.text()));
    value.to_str().unwrap().to_owned()
}

/// The values of a field in a page's items.
#[track_caller]
pub(super) fn column(page: &Value, field: &str) -> Vec<String> {
    let items = page["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item[field].as_str().unwrap().to_owned())
        .collect()
}

#[track_caller]
pub(super) fn problem(answer: &Answer, status: u16) -> Value {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text());
    assert_eq!(
        answer.content_type.as_deref(),
        Some("application/problem+json")
    );
    let problem = answer.json();
    assert_eq!(problem["status"], status);
    let text = answer.text().to_lowercase();
    for internal in ["sqlstate", "select ", "constraint", "policy", "_check"] {
        assert!(!text.contains(internal), "{text}");
    }
    problem
}

/// The fields that a 422 names.
#[track_caller]
pub(super) fn blamed(answer: &Answer) -> Vec<String> {
    let problem = problem(answer, 422);
    let errors = problem["errors"].as_array().unwrap();
    errors
        .iter()
        .map(|error| error["field"].as_str().unwrap().to_owned())
        .collect()
}
