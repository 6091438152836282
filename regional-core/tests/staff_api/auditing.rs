//! Each change has its row in the audit trail, and none has anything of a person.

use axum::http::Method;
use serde_json::json;

use super::office::{ADMIN, LAN, MANAGER, Office, etag, vn};

/// One change of each kind.
async fn change_everything(office: &Office) {
    let lan = format!("/staff/{}", vn("0c2"));
    let ticket = format!("/tickets/{}", vn("0d1"));
    office
        .patch_as_read(
            ADMIN,
            "/pancake/connections/conn-VN",
            &json!({"status": "disabled", "reason": "Mr Secret asked"}),
        )
        .await;
    let source = office.found(ADMIN, "/pancake/sources").await["items"][0]["version"].clone();
    office
        .patch(
            ADMIN,
            "/pancake/sources/conn-VN/(none)",
            &format!("\"{source}\""),
            &json!({"is_active": false, "name": "Mr Secret"}),
        )
        .await;
    office
        .patch_as_read(
            ADMIN,
            "/pancake/switches",
            &json!({"processing_paused": true}),
        )
        .await;
    office
        .get(ADMIN, &format!("/pancake/events/{}/payload", vn("101")))
        .await;
    office
        .patch_as_read(LAN, &ticket, &json!({"status": "in_progress"}))
        .await;
    office
        .post(
            MANAGER,
            &format!("{ticket}/assignment"),
            &json!({"staff_id": vn("0c3")}),
        )
        .await;
    office
        .post(
            MANAGER,
            "/staff",
            &json!({"subject": "mr-secret", "display_name": "Mr Secret", "role": "telesale"}),
        )
        .await;
    office
        .patch_as_read(
            MANAGER,
            &lan,
            &json!({"display_name": "Mr Secret", "capacity": 9}),
        )
        .await;
    let absence = json!({"starts_at": "2026-01-01T00:00:00Z", "ends_at": "2026-01-02T00:00:00Z", "reason": "Secret illness"});
    let absence = office
        .post(MANAGER, &format!("{lan}/absences"), &absence)
        .await
        .json()["absence_id"]
        .clone();
    let absence = format!("{lan}/absences/{}", absence.as_str().unwrap());
    office
        .send(MANAGER, Method::DELETE, &absence, &[], "")
        .await;
    office
        .send(
            MANAGER,
            Method::PUT,
            &format!("{lan}/sources"),
            &[],
            "{\"source_ids\":[\"fb\"]}",
        )
        .await;
    office
        .post(
            LAN,
            &format!("/notifications/{}/read", vn("0e1")),
            &json!({}),
        )
        .await;
    office
        .post(
            ADMIN,
            "/pancake/connections",
            &json!({"connection_id": "vn-new", "workspace": "Mr Secret"}),
        )
        .await;
    office
        .patch_as_read(
            ADMIN,
            "/pancake/connections/vn-new",
            &json!({"workspace": "Mr Secret & sons"}),
        )
        .await;
}

#[tokio::test]
async fn each_change_is_written_down_with_who_what_and_when_and_nothing_of_a_person() {
    let office = Office::open().await;
    change_everything(&office).await;
    let audit = office.audit().await;
    let rows: Vec<(&str, &str, &str, &str)> = audit
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let text = |field| row[field].as_str().unwrap();
            assert_eq!(text("country_code"), "VN");
            (
                text("subject"),
                text("role"),
                text("action"),
                text("entity"),
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("root", "admin", "update", "pancake_connection"),
            ("root", "admin", "update", "pancake_source"),
            ("root", "admin", "update", "pancake_switches"),
            ("root", "admin", "read_payload", "pancake_event"),
            ("lan", "telesale", "update", "ticket"),
            ("manager", "manager", "assign", "ticket"),
            ("manager", "manager", "create", "staff"),
            ("manager", "manager", "update", "staff"),
            ("manager", "manager", "create", "staff_absence"),
            ("manager", "manager", "delete", "staff_absence"),
            ("manager", "manager", "update", "staff_source"),
            ("lan", "telesale", "read", "notification"),
            ("root", "admin", "create", "pancake_connection"),
            ("root", "admin", "update", "pancake_connection"),
        ]
    );
    assert!(
        !audit.to_string().to_lowercase().contains("secret"),
        "{audit}"
    );
    assert_eq!(
        audit[0]["changes"],
        json!({"status": {"from": "active", "to": "disabled"}})
    );
    assert_eq!(audit[1]["entity_id"], "conn-VN/(none)");
    assert_eq!(
        audit[5]["changes"],
        json!({"assignee_id": {"from": vn("0c2"), "to": vn("0c3")}})
    );
    assert_eq!(
        audit[7]["changes"],
        json!({"capacity": {"from": 50, "to": 9}, "display_name": {"changed": true}})
    );
    assert_eq!(
        audit[12]["changes"],
        json!({"status": {"to": "active"}, "workspace": {"changed": true}})
    );
    assert_eq!(
        audit[13]["changes"],
        json!({"workspace": {"changed": true}})
    );
}

#[tokio::test]
async fn the_requests_id_is_kept_and_a_change_that_fails_leaves_no_row() {
    let office = Office::open().await;
    let tag = etag(&office.get(ADMIN, "/pancake/switches").await);
    let headers = [("if-match", tag.as_str()), ("x-request-id", "req-1")];
    let body = "{\"kill_switch\":true}";
    let thrown = office
        .send(ADMIN, Method::PATCH, "/pancake/switches", &headers, body)
        .await;
    assert_eq!(thrown.status, 200);
    office
        .send(ADMIN, Method::PATCH, "/pancake/switches", &headers, body)
        .await;
    assert_eq!(
        office.json_of("select request_id from audit_log").await,
        json!([{"request_id": "req-1"}])
    );

    // Where it cannot be written down, it is not done.
    office.run("revoke insert (audit_id, country_code, subject, role, action, entity, entity_id, changes, request_id) on audit_log from core_staff").await;
    let refused = office
        .patch_as_read(ADMIN, "/pancake/switches", &json!({"kill_switch": false}))
        .await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert_eq!(
        office.found(ADMIN, "/pancake/switches").await["kill_switch"],
        true
    );
}

#[tokio::test]
async fn nobody_but_the_owner_reads_or_changes_the_trail() {
    let office = Office::open().await;
    office
        .patch_as_read(ADMIN, "/pancake/switches", &json!({"kill_switch": true}))
        .await;
    for statement in [
        "select * from audit_log",
        "update audit_log set subject = 'x'",
        "delete from audit_log",
        "truncate audit_log",
        "insert into audit_log (audit_id, country_code, subject, role, action, entity, entity_id) values (gen_random_uuid(), 'VN', 'x', 'admin', 'x', 'x', 'x')",
    ] {
        let error = sqlx::raw_sql(statement)
            .execute(&office.core.pool)
            .await
            .expect_err(statement);
        assert_eq!(
            error.as_database_error().unwrap().code().unwrap(),
            "42501",
            "{statement}: {error}"
        );
    }
    assert_eq!(office.audit().await.as_array().unwrap().len(), 1);
}
