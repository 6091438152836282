//! Tickets: whose they are, what becomes of them, and who gives them to whom.

use serde_json::json;

use super::office::{ADMIN, HOA, LAN, MANAGER, Office, blamed, column, etag, problem, sg, vn};

async fn ids(office: &Office, who: super::office::Who, query: &str) -> Vec<String> {
    let page = office.found(who, &format!("/tickets{query}")).await;
    column(&page, "ticket_id")
        .iter()
        .map(|id| id[33..].to_owned())
        .collect()
}

#[tokio::test]
async fn a_telesale_sees_their_own_and_the_office_all_of_the_country() {
    let office = Office::open().await;
    for (who, query, expected) in [
        (MANAGER, String::new(), vec!["0d4", "0d3", "0d2", "0d1"]),
        (ADMIN, "?status=open".to_owned(), vec!["0d3", "0d1"]),
        (ADMIN, "?status=closed".to_owned(), vec!["0d4"]),
        (ADMIN, "?unassigned=true".to_owned(), vec!["0d3"]),
        (
            ADMIN,
            "?unassigned=false&status=in_progress".to_owned(),
            vec!["0d2"],
        ),
        (ADMIN, "?source=ticket_source_1".to_owned(), vec!["0d2"]),
        (
            MANAGER,
            format!("?assignee={}", vn("0c2")),
            vec!["0d4", "0d1"],
        ),
        (MANAGER, "?assignee=me".to_owned(), vec![]),
        (LAN, String::new(), vec!["0d4", "0d1"]),
        (LAN, "?assignee=me&status=open".to_owned(), vec!["0d1"]),
        (LAN, "?unassigned=true".to_owned(), vec![]),
        (LAN, format!("?assignee={}", vn("0c3")), vec![]),
        (HOA, String::new(), vec!["0d2"]),
    ] {
        assert_eq!(ids(&office, who, &query).await, expected, "{who:?} {query}");
    }
    let first = office.found(MANAGER, "/tickets?limit=3").await;
    let cursor = first["next"].as_str().unwrap();
    assert_eq!(
        ids(&office, MANAGER, &format!("?limit=3&cursor={cursor}")).await,
        ["0d1"]
    );
    assert_eq!(
        ids(&office, HOA, &format!("?cursor={cursor}")).await,
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn a_ticket_is_shown_with_its_customer_and_who_had_it() {
    let office = Office::open().await;
    let path = format!("/tickets/{}", vn("0d1"));
    let ticket = office.found(LAN, &path).await;
    assert_eq!(ticket["account"]["name"], "Customer VN one");
    assert_eq!(ticket["contact"]["primary_phone"], "+84912345678");
    assert_eq!(ticket["assignments"][0]["method"], "automatic");
    assert_eq!(
        office
            .found(MANAGER, &format!("/tickets/{}", vn("0d3")))
            .await["account"],
        json!(null)
    );
    problem(&office.get(HOA, &path).await, 404);
    problem(
        &office.get(ADMIN, &format!("/tickets/{}", sg("0d1"))).await,
        404,
    );
    problem(
        &office.get(ADMIN, &format!("/tickets/{}", vn("999"))).await,
        404,
    );
}

#[tokio::test]
async fn a_status_is_changed_by_its_telesale_or_the_office_and_by_nobody_else() {
    let office = Office::open().await;
    let path = format!("/tickets/{}", vn("0d1"));
    let begun = office
        .patch_as_read(LAN, &path, &json!({"status": "in_progress"}))
        .await;
    assert_eq!(
        (begun.status.as_u16(), begun.json()["status"].as_str()),
        (200, Some("in_progress"))
    );
    problem(
        &office
            .patch_as_read(HOA, &path, &json!({"status": "closed"}))
            .await,
        404,
    );
    let closed = office
        .patch(MANAGER, &path, &etag(&begun), &json!({"status": "closed"}))
        .await;
    assert!(closed.json()["closed_at"].is_string(), "{}", closed.text());
    problem(
        &office
            .patch(LAN, &path, &etag(&begun), &json!({"status": "open"}))
            .await,
        412,
    );
    assert_eq!(
        blamed(
            &office
                .patch(LAN, &path, "\"1\"", &json!({"status": "done"}))
                .await
        ),
        ["status"]
    );
    // It may be opened again, unless its record has another open ticket by now.
    let other = format!("/tickets/{}", vn("0d4"));
    let opened = office
        .patch_as_read(LAN, &other, &json!({"status": "open"}))
        .await;
    assert_eq!(
        (opened.status.as_u16(), &opened.json()["closed_at"]),
        (200, &json!(null))
    );
    let second = office
        .patch_as_read(LAN, &path, &json!({"status": "open"}))
        .await;
    problem(&second, 409);
    assert_eq!(office.audit().await.as_array().unwrap().len(), 3);
}

/// The other one may be somebody else's, whom a telesale does not see.
#[tokio::test]
async fn a_person_has_no_two_open_tickets_of_records_without_an_id() {
    let office = Office::open().await;
    office
        .run(
            "update ticket set record_id = null, assignee_id = '01890000-0000-7000-8000-0000000010c3' \
             where ticket_id = '01890000-0000-7000-8000-0000000010d1'; \
             update ticket set record_id = null where ticket_id = '01890000-0000-7000-8000-0000000010d4'",
        )
        .await;
    let path = format!("/tickets/{}", vn("0d4"));
    let open = json!({"status": "open"});
    for who in [LAN, MANAGER] {
        let refused = office.patch_as_read(who, &path, &open).await;
        let detail = problem(&refused, 409)["detail"].to_string();
        assert!(detail.contains("person"), "{detail}");
    }
    let other = format!("/tickets/{}", vn("0d1"));
    let closed = office
        .patch_as_read(HOA, &other, &json!({"status": "closed"}))
        .await;
    assert_eq!(closed.status, 200);
    assert_eq!(office.patch_as_read(LAN, &path, &open).await.status, 200);
}

#[tokio::test]
async fn a_ticket_is_given_by_hand_and_its_telesale_told() {
    let office = Office::open().await;
    office.run("update staff set capacity = 1").await;
    let path = format!("/tickets/{}/assignment", vn("0d3"));
    let given = office
        .post(MANAGER, &path, &json!({"staff_id": vn("0c2")}))
        .await;
    assert_eq!(given.status, 201, "{}", given.text());
    // Above the capacity, which is told.
    assert_eq!(
        (&given.json()["open_tickets"], &given.json()["capacity"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(ids(&office, LAN, "?status=open").await, ["0d3", "0d1"]);
    let ticket = office.found(LAN, &format!("/tickets/{}", vn("0d3"))).await;
    assert_eq!(ticket["assignments"][0]["method"], "manual");
    assert_eq!(ticket["assignments"][0]["assigned_by"], "manager");
    let news = office
        .found(LAN, "/notifications?unread=true&limit=1")
        .await;
    assert_eq!(news["items"][0]["ticket_id"], vn("0d3"));
    // Again is no change.
    assert_eq!(
        office
            .post(ADMIN, &path, &json!({"staff_id": vn("0c2")}))
            .await
            .status,
        200
    );
    assert_eq!(office.audit().await.as_array().unwrap().len(), 1);

    for (staff, status) in [(vn("0c4"), 422), (sg("0c2"), 422), (vn("999"), 422)] {
        let answer = office.post(ADMIN, &path, &json!({"staff_id": staff})).await;
        assert_eq!(blamed(&answer), ["staff_id"], "{status}");
    }
    assert_eq!(
        blamed(&office.post(ADMIN, &path, &json!({})).await),
        ["staff_id"]
    );
    let closed = format!("/tickets/{}/assignment", vn("0d4"));
    problem(
        &office
            .post(ADMIN, &closed, &json!({"staff_id": vn("0c3")}))
            .await,
        409,
    );
    let elsewhere = format!("/tickets/{}/assignment", sg("0d3"));
    problem(
        &office
            .post(ADMIN, &elsewhere, &json!({"staff_id": vn("0c2")}))
            .await,
        404,
    );
    problem(
        &office
            .post(LAN, &path, &json!({"staff_id": vn("0c2")}))
            .await,
        403,
    );
}
