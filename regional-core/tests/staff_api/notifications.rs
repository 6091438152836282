//! What staff are told, in their language.

use axum::http::Method;
use serde_json::{Value, json};

use super::office::{ADMIN, HOA, LAN, MANAGER, Office, Who, column, problem, vn};

async fn news(office: &Office, who: Who, language: &str) -> Value {
    let headers = [("accept-language", language)];
    let answer = office
        .send(who, Method::GET, "/notifications", &headers, "")
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn each_is_told_their_own_and_what_is_for_their_role() {
    let office = Office::open().await;
    for (who, expected) in [
        (LAN, vn("0e1")),
        (HOA, vn("0e2")),
        (MANAGER, vn("0e3")),
        (ADMIN, vn("0e4")),
    ] {
        let page = office.found(who, "/notifications").await;
        assert_eq!(column(&page, "notification_id"), [expected], "{who:?}");
    }
    office.run("insert into notification (notification_id, country_code, role, template_code) \
                select gen_random_uuid(), 'VN', 'telesale', 'noti_pancake_unassigned' from generate_series(1, 3)").await;
    let first = office.found(LAN, "/notifications?limit=3").await;
    let next = first["next"].as_str().unwrap();
    let second = office
        .found(LAN, &format!("/notifications?limit=3&cursor={next}"))
        .await;
    assert_eq!(
        (
            column(&first, "notification_id").len(),
            column(&second, "notification_id")
        ),
        (3, vec![vn("0e1")])
    );
}

#[tokio::test]
async fn the_text_is_in_the_language_that_is_asked_for_and_its_places_are_filled() {
    let office = Office::open().await;
    for (language, subject, body) in [
        (
            "vi-VN,vi;q=0.9,en;q=0.8",
            "Khách hàng tiềm năng mới từ Pancake",
            "Bạn được giao khách hàng Customer VN one, nguồn Pancake.",
        ),
        (
            "zh-Hans",
            "来自 Pancake 的新线索",
            "已将客户 Customer VN one 分配给您，来源：Pancake。",
        ),
        (
            "th",
            "ลูกค้าเป้าหมายใหม่จาก Pancake",
            "คุณได้รับมอบหมายลูกค้า Customer VN one จากแหล่งที่มา Pancake",
        ),
        (
            "fr",
            "New lead from Pancake",
            "You have been assigned Customer VN one, source Pancake.",
        ),
    ] {
        let item = news(&office, LAN, language).await["items"][0].clone();
        assert_eq!(
            (&item["subject"], &item["body"]),
            (&json!(subject), &json!(body))
        );
    }
    let failed = news(&office, ADMIN, "en").await["items"][0]["body"].clone();
    assert_eq!(
        failed,
        format!(
            "Event {} failed after 5 attempts. Please look into it and replay it.",
            vn("104")
        )
    );
    let unassigned = news(&office, MANAGER, "en").await["items"][0]["body"].clone();
    assert_eq!(
        unassigned,
        "Nobody could take Lead three, source Pancake. Please assign the ticket by hand."
    );
    // The ticket is somebody else's by now: its customer is not told any more.
    let (hoa, ticket) = (vn("0c3"), vn("0d1"));
    office
        .run(&format!(
            "update ticket set assignee_id = '{hoa}' where ticket_id = '{ticket}'"
        ))
        .await;
    let gone = news(&office, LAN, "en").await["items"][0]["body"].clone();
    assert_eq!(gone, "You have been assigned —, source —.");
}

#[tokio::test]
async fn what_was_read_is_marked_once() {
    let office = Office::open().await;
    let path = format!("/notifications/{}/read", vn("0e1"));
    problem(&office.post(HOA, &path, &json!({})).await, 404);
    problem(&office.post(ADMIN, &path, &json!({})).await, 404);
    let read = office.post(LAN, &path, &json!({})).await;
    assert_eq!(read.headers["content-language"], "en");
    let read_at = read.json()["read_at"].clone();
    assert!(read_at.is_string());
    assert_eq!(
        office.post(LAN, &path, &json!({})).await.json()["read_at"],
        read_at
    );
    assert_eq!(
        office.found(LAN, "/notifications?unread=true").await["items"],
        json!([])
    );
    assert_eq!(office.audit().await.as_array().unwrap().len(), 1);
}
