//! What a role may do with the Pancake integration is in a table.

use axum::http::Method;
use serde_json::json;

use super::office::{ADMIN, LAN, MANAGER, Office, problem, vn};

#[tokio::test]
async fn each_action_is_allowed_by_its_row_and_by_no_other() {
    let office = Office::open().await;
    let event = format!("/pancake/events/{}", vn("101"));
    let payload = format!("{event}/payload");
    let rejected = format!("/pancake/rejected-requests/{}", vn("0f4"));
    let reads = [
        ("access", "/pancake/connections"),
        ("access", "/pancake/connections/conn-VN"),
        ("access", "/pancake/sources"),
        ("access", "/pancake/switches"),
        ("access", "/pancake/events"),
        ("access", "/pancake/dead-letters"),
        ("access", &event),
        ("access", &payload),
        ("access", "/pancake/rejected-requests"),
        ("access", &rejected),
        ("view_report", "/reports/pancake"),
    ];
    for (action, path) in reads {
        for who in [MANAGER, LAN] {
            let refusal = problem(&office.get(who, path).await, 403);
            assert!(
                refusal["detail"].as_str().unwrap().contains(action),
                "{path}: {refusal}"
            );
        }
        office.run(&format!("insert into module_permission_action values ('pancake_crm_integration', '{action}', 'manager')")).await;
        assert_eq!(office.get(MANAGER, path).await.status, 200, "{path}");
        office
            .run("delete from module_permission_action where role = 'manager'")
            .await;
        office
            .run(&format!(
                "delete from module_permission_action where action = '{action}'"
            ))
            .await;
        problem(&office.get(ADMIN, path).await, 403);
        office.run(&format!("insert into module_permission_action values ('pancake_crm_integration', '{action}', 'admin')")).await;
    }
}

#[tokio::test]
async fn each_change_needs_its_own_action() {
    let office = Office::open().await;
    for (action, path, body) in [
        (
            "manage_connection",
            "/pancake/connections/conn-VN",
            json!({"status": "disabled", "reason": "test"}),
        ),
        (
            "manage_source",
            "/pancake/sources/conn-VN/(none)",
            json!({"is_active": false}),
        ),
        (
            "toggle_switch",
            "/pancake/switches",
            json!({"kill_switch": true}),
        ),
    ] {
        office.run("insert into module_permission_action values ('pancake_crm_integration', 'access', 'manager')").await;
        let refusal = problem(&office.patch(MANAGER, path, "\"1\"", &body).await, 403);
        assert!(
            refusal["detail"].as_str().unwrap().contains(action),
            "{refusal}"
        );
        office.run(&format!("insert into module_permission_action values ('pancake_crm_integration', '{action}', 'manager')")).await;
        // Allowed, but not this version.
        problem(&office.patch(MANAGER, path, "\"999\"", &body).await, 412);
        office
            .run("delete from module_permission_action where role = 'manager'")
            .await;
    }
    assert_eq!(office.audit().await, json!([]));
}

#[tokio::test]
async fn connections_are_added_by_whoever_may_manage_them_and_by_no_telesale() {
    let office = Office::open().await;
    let new = json!({"connection_id": "vn-new"});
    let add = async |who| office.post(who, "/pancake/connections", &new).await;
    let refusal = problem(&add(MANAGER).await, 403);
    assert!(
        refusal["detail"]
            .as_str()
            .unwrap()
            .contains("manage_connection"),
        "{refusal}"
    );
    office
        .run(
            "insert into module_permission_action values \
                 ('pancake_crm_integration', 'manage_connection', 'manager'), \
                 ('pancake_crm_integration', 'manage_connection', 'telesale')",
        )
        .await;
    problem(&add(LAN).await, 403);
    assert_eq!(office.audit().await, json!([]));
    assert_eq!(add(MANAGER).await.status, 201);
}

#[tokio::test]
async fn the_office_is_for_managers_and_admins() {
    let office = Office::open().await;
    let lan = format!("/staff/{}", vn("0c2"));
    for (method, path) in [
        (Method::GET, "/staff".to_owned()),
        (Method::POST, "/staff".to_owned()),
        (Method::PATCH, lan.clone()),
        (Method::POST, format!("{lan}/absences")),
        (Method::DELETE, format!("{lan}/absences/{}", vn("0ca"))),
        (Method::PUT, format!("{lan}/sources")),
        (Method::POST, format!("/tickets/{}/assignment", vn("0d1"))),
    ] {
        let answer = office.send(LAN, method, &path, &[], "{}").await;
        problem(&answer, 403);
    }
}
