//! The description, and that what it lists is there, and shut to whoever shows no token.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Method, Request};
use regional_core::staff_api::description;
use serde_json::Value;

use super::office::{ADMIN, Office, problem};
use crate::support::TestCore;

fn operations(description: &Value) -> Vec<(Method, String, Value)> {
    let mut operations = Vec::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method = method.to_uppercase().parse().unwrap();
            operations.push((method, path.clone(), operation.clone()));
        }
    }
    operations
}

/// Any values in a path's places.
fn fill(path: &str) -> String {
    path.split('/')
        .map(|part| {
            if part.starts_with('{') {
                "01890000-0000-7000-8000-000000001999"
            } else {
                part
            }
        })
        .collect::<Vec<_>>()
        .join("/")
}

#[tokio::test]
async fn each_route_that_is_described_is_there_and_needs_a_token() {
    let office = Office::open().await;
    let core = &office.core;
    let served = core.get("/v1/crm/openapi.json").await;
    assert_eq!(served.status, 200);
    let served = served.json();
    assert_eq!(served, serde_json::to_value(description()).unwrap());
    assert!(served["openapi"].as_str().unwrap().starts_with("3.1"));
    let operations = operations(&served);
    let routes: BTreeSet<String> = operations
        .iter()
        .map(|(method, path, _)| format!("{method} {}", path.trim_start_matches("/v1/crm")))
        .collect();
    let expected = [
        "DELETE /pancake/connections/{connection_id}/api-key",
        "DELETE /staff/{staff_id}/absences/{absence_id}",
        "GET /notifications",
        "GET /openapi.json",
        "GET /pancake/completeness",
        "GET /pancake/connections",
        "GET /pancake/connections/{connection_id}",
        "GET /pancake/dead-letters",
        "GET /pancake/events",
        "GET /pancake/events/{event_id}",
        "GET /pancake/events/{event_id}/payload",
        "GET /pancake/reconciliations",
        "GET /pancake/rejected-requests",
        "GET /pancake/rejected-requests/{rejected_id}",
        "GET /pancake/replays",
        "GET /pancake/replays/{replay_id}",
        "GET /pancake/sources",
        "GET /pancake/switches",
        "GET /reports/pancake",
        "GET /staff",
        "GET /staff/{staff_id}",
        "GET /staff/{staff_id}/absences",
        "GET /staff/{staff_id}/sources",
        "GET /tickets",
        "GET /tickets/{ticket_id}",
        "PATCH /pancake/connections/{connection_id}",
        "PATCH /pancake/sources/{connection_id}/{source_id}",
        "PATCH /pancake/switches",
        "PATCH /staff/{staff_id}",
        "PATCH /tickets/{ticket_id}",
        "POST /notifications/{notification_id}/read",
        "POST /pancake/connections",
        "POST /pancake/events/search",
        "POST /pancake/replays",
        "POST /pancake/replays/{replay_id}/cancel",
        "POST /pancake/replays/{replay_id}/run",
        "POST /staff",
        "POST /staff/{staff_id}/absences",
        "POST /tickets/{ticket_id}/assignment",
        "PUT /pancake/connections/{connection_id}/api-key",
        "PUT /staff/{staff_id}/sources",
        // Beside `/v1/crm`, not below it.
        "GET /v1/jobs",
        "GET /v1/jobs/{job}/runs",
        "GET /v1/jobs/{job}/runs/{run_id}",
        "POST /v1/jobs/{job}/runs",
    ];
    assert_eq!(routes, BTreeSet::from(expected.map(str::to_owned)));

    for (method, path, operation) in operations {
        if path.ends_with("/openapi.json") {
            continue;
        }
        let request = Request::builder()
            .method(method.clone())
            .uri(fill(&path))
            .body(Body::empty());
        let answer = core.send(request.unwrap()).await;
        problem(&answer, 401);
        assert_eq!(
            answer.headers["www-authenticate"], "Bearer",
            "{method} {path}"
        );
        assert!(
            operation["security"][0].get("bearer").is_some(),
            "{method} {path}"
        );
        // With a token it is some answer of those that are described.
        let answer = office
            .send_to(ADMIN, method.clone(), &fill(&path), &[], "{}")
            .await;
        let status = answer.status.as_str();
        assert!(
            operation["responses"].get(status).is_some(),
            "{method} {path}: {status} {}",
            answer.text()
        );
    }
}

#[test]
fn what_is_refused_in_any_case_is_described() {
    let described = serde_json::to_value(description()).unwrap();
    let (mut parameters, mut bodies) = (BTreeSet::new(), BTreeSet::new());
    for (_, path, operation) in operations(&described) {
        let listed = operation["parameters"].as_array();
        for parameter in listed.into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap();
            let schema = &parameter["schema"];
            match name {
                "x-country-code" => assert_eq!(schema["pattern"], "^[A-Za-z]{2}$", "{path}"),
                "if-match" => assert_eq!(schema["pattern"], r#"^"[0-9]+"$"#, "{path}"),
                "cursor" | "connection" | "source" => assert_eq!(schema["minLength"], 1, "{path}"),
                _ => continue,
            }
            parameters.insert(name.to_owned());
        }
        let body = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
        if let Some(body) = body.as_str() {
            let schema = &described.pointer(body.trim_start_matches('#')).unwrap();
            assert_eq!(schema["additionalProperties"], false, "{body}");
            bodies.insert(body.to_owned());
        }
    }
    assert_eq!((parameters.len(), bodies.len()), (5, 14));
}

#[tokio::test]
async fn a_core_that_knows_no_keys_lets_nobody_in() {
    let core = TestCore::start().await;
    let request = Request::get("/v1/crm/tickets").header("authorization", "Bearer a.b.c");
    let answer = core.send(request.body(Body::empty()).unwrap()).await;
    problem(&answer, 503);
}
