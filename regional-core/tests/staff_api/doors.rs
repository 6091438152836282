//! Who is let in: at the core, and behind the edge's hop.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::json;

use super::office::{ADMIN, GONE, LAN, MANAGER, Office, Who, problem, vn};
use crate::support::Answer;
use crate::support::edge::Edge;

async fn proxied(office: &Office, edge: &Edge, who: Who, path: &str) -> Answer {
    let mut request = edge.proxied("GET", path);
    let token = format!("Bearer {}", office.token(who));
    request
        .headers_mut()
        .insert("authorization", token.parse().unwrap());
    // The edge passes on what a client sends.
    request
        .headers_mut()
        .insert("x-country-code", "TH".parse().unwrap());
    office.core.send(request).await
}

#[tokio::test]
async fn behind_the_hop_only_the_hops_country_counts() {
    let office = Office::open().await;
    let both = Who {
        countries: &["SG", "VN"],
        ..ADMIN
    };
    for (country, connection) in [("VN", "conn-VN"), ("SG", "conn-SG")] {
        let edge = Edge {
            country,
            ..Edge::default()
        };
        let path = "/api/v1/crm/pancake/connections?limit=1";
        let answer = proxied(&office, &edge, both, path).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["items"][0]["connection_id"], connection);
    }
    // Rightly routed, but the token is not for that country.
    let edge = Edge {
        country: "SG",
        ..Edge::default()
    };
    problem(
        &proxied(&office, &edge, ADMIN, "/api/v1/crm/tickets").await,
        403,
    );
}

#[tokio::test]
async fn without_a_hop_nothing_below_api_answers_and_nothing_is_below_api_pancake() {
    let office = Office::open().await;
    let token = office.token(ADMIN);
    for path in ["/api/v1/crm/tickets", "/api/v1/crm/openapi.json"] {
        let request = Request::get(path).header("authorization", format!("Bearer {token}"));
        let answer = office.core.send(request.body(Body::empty()).unwrap()).await;
        answer.assert_problem(401);
    }
    let edge = Edge::default();
    for path in [
        "/api/pancake/connections",
        "/api/pancake/record/x",
        "/api/crm/tickets",
        "/api/v1/pancake/connections",
        "/api/v1/crm/nothing",
    ] {
        proxied(&office, &edge, ADMIN, path)
            .await
            .assert_problem(404);
    }
    let mut deleted = edge.proxied("DELETE", "/api/v1/crm/tickets");
    let value = format!("Bearer {token}").parse().unwrap();
    deleted.headers_mut().insert("authorization", value);
    office.core.send(deleted).await.assert_problem(405);
}

#[tokio::test]
async fn a_change_goes_through_the_hop_too() {
    let office = Office::open().await;
    let path = format!("/api/v1/crm/tickets/{}/assignment", vn("0d3"));
    let mut request = Edge::default().proxied("POST", &path);
    let token = format!("Bearer {}", office.token(MANAGER));
    request
        .headers_mut()
        .insert("authorization", token.parse().unwrap());
    *request.body_mut() = Body::from(json!({"staff_id": vn("0c2")}).to_string());
    let answer = office.core.send(request).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

#[tokio::test]
async fn at_the_core_the_token_or_a_header_says_which_country() {
    let office = Office::open().await;
    let both = Who {
        countries: &["SG", "TH", "VN"],
        ..ADMIN
    };
    let ask = async |headers: &[(&str, &str)]| {
        office
            .send(both, Method::GET, "/pancake/switches", headers, "")
            .await
    };
    assert_eq!(problem(&ask(&[]).await, 400)["field"], "x-country-code");
    for code in ["SG", "VN"] {
        assert_eq!(
            ask(&[("x-country-code", code)]).await.json()["country_code"],
            code
        );
    }
    // Of the token but not of the region; of neither; nonsense; twice.
    problem(&ask(&[("x-country-code", "TH")]).await, 403);
    problem(&ask(&[("x-country-code", "CN")]).await, 403);
    problem(&ask(&[("x-country-code", "vietnam")]).await, 400);
    let twice = [("x-country-code", "SG"), ("x-country-code", "VN")];
    problem(&ask(&twice).await, 400);
    let elsewhere = Who {
        countries: &["CN"],
        ..ADMIN
    };
    problem(&office.get(elsewhere, "/pancake/switches").await, 403);
}

#[tokio::test]
async fn a_role_and_the_scope_are_needed_and_the_highest_role_counts() {
    let office = Office::open().await;
    let editor = Who {
        roles: &["master_data_editor"],
        ..ADMIN
    };
    problem(&office.get(editor, "/tickets").await, 403);
    let several = Who {
        roles: &["telesale", "admin"],
        ..ADMIN
    };
    office.found(several, "/pancake/switches").await;
    let of_scope = async |scope| {
        let token = office.token_of_scope(ADMIN, scope);
        let request =
            Request::get("/v1/crm/tickets").header("authorization", format!("Bearer {token}"));
        office.core.send(request.body(Body::empty()).unwrap()).await
    };
    assert_eq!(of_scope("master_data:write crm").await.status, 200);
    problem(&of_scope("master_data:write").await, 403);
}

#[tokio::test]
async fn whoever_is_not_on_the_staff_is_told_so() {
    let office = Office::open().await;
    let stranger = Who {
        subject: "stranger",
        ..LAN
    };
    for (who, word) in [(stranger, "nobody"), (GONE, "any more")] {
        let refusal = problem(&office.get(who, "/tickets").await, 403);
        assert!(
            refusal["detail"].as_str().unwrap().contains(word),
            "{refusal}"
        );
    }
    let manager = Who {
        subject: "stranger",
        ..MANAGER
    };
    problem(&office.get(manager, "/tickets").await, 403);
    office.found(ADMIN, "/tickets").await;
}

#[tokio::test]
async fn an_admin_needs_no_row_but_an_admins_that_is_not_active_shuts_them_out() {
    let office = Office::open().await;
    let roles: [&[&str]; 2] = [&["manager"], &["telesale"]];
    for roles in roles {
        let who = Who { roles, ..GONE };
        for path in ["/tickets", "/staff", "/pancake/switches"] {
            problem(&office.get(who, path).await, 403);
        }
    }
    // A manager may make a row for an admin's subject, and deactivate it; that shuts no admin out.
    let gone = Who {
        roles: &["admin"],
        ..GONE
    };
    office.found(gone, "/tickets").await;
    office
        .run("update staff set role = 'admin' where subject = 'gone'")
        .await;
    let refusal = problem(&office.get(gone, "/tickets").await, 403);
    assert!(refusal["detail"].as_str().unwrap().contains("any more"));
    let path = format!("/staff/{}", vn("0c4"));
    let back = json!({"is_active": true});
    problem(&office.patch(gone, &path, "\"1\"", &back).await, 403);
    office
        .run("update staff set is_active = true where subject = 'gone'")
        .await;
    office.found(gone, "/tickets").await;
}

#[tokio::test]
async fn methods_heads_and_bodies_are_held_to_their_limits() {
    let office = Office::open().await;
    let head = office.send(ADMIN, Method::HEAD, "/tickets", &[], "").await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    office
        .send(ADMIN, Method::PUT, "/tickets", &[], "")
        .await
        .assert_problem(405);
    let large = format!("{{\"staff_id\":\"{}\"}}", "x".repeat(64 * 1024));
    let path = format!("/tickets/{}/assignment", vn("0d1"));
    problem(
        &office.send(ADMIN, Method::POST, &path, &[], large).await,
        413,
    );
    for (path, field) in [
        ("/tickets?statu=open", "query"),
        ("/tickets?status=opened", "status"),
        ("/tickets?limit=201", "limit"),
        ("/tickets?limit=0", "limit"),
        ("/tickets?limit=1&limit=1", "limit"),
        ("/tickets?cursor=x", "cursor"),
        ("/tickets?assignee=lan", "assignee"),
        ("/tickets?assignee=me", "assignee"),
        ("/tickets/17", "ticket_id"),
        ("/tickets/01890000000070008000000000000000", "ticket_id"),
        ("/pancake/events/x/payload", "event_id"),
        ("/pancake/events?from=yesterday", "from"),
        ("/pancake/events?phone=0912345678", "query"),
        ("/pancake/sources?active=1", "active"),
    ] {
        assert_eq!(
            problem(&office.get(ADMIN, path).await, 400)["field"],
            field,
            "{path}"
        );
    }
    problem(&office.get(ADMIN, "/pancake/connections/%00").await, 404);
    problem(&office.get(ADMIN, "/pancake/connections/%ff").await, 400);
}
