//! Replays: counted, run, watched, cancelled.

use serde_json::json;

use super::office::{ADMIN, LAN, MANAGER, Office, blamed, column, problem, sg, vn};
use crate::support::eventually;

const REPLAYS: &str = "/pancake/replays";

#[tokio::test]
async fn a_selection_is_counted_then_run_and_watched_to_its_end() {
    let office = Office::open().await;
    let counted = office
        .post(ADMIN, REPLAYS, &json!({"states": ["dead_letter"]}))
        .await;
    assert_eq!(counted.status, 201, "{}", counted.text());
    let replay = counted.json();
    assert_eq!(
        (&replay["state"], &replay["total"], &replay["done"]),
        (&json!("counted"), &json!(1), &json!(0))
    );
    assert_eq!(replay["filter"], json!({"states": ["dead_letter"]}));
    let one = format!("{REPLAYS}/{}", replay["replay_id"].as_str().unwrap());
    let dead = "select event_id from pancake_webhook_event where country_code = 'VN' and status = 'dead_letter'";
    assert_eq!(
        office.json_of(dead).await.as_array().unwrap().len(),
        1,
        "counting moves nothing"
    );

    let run = office.post(ADMIN, &format!("{one}/run"), &json!({})).await;
    assert_eq!(run.json()["state"], "running");
    let processor = office.core.app.start_processing();
    eventually("the replay is done", async || {
        office.found(ADMIN, &one).await["state"] == "done"
    })
    .await;
    let done = office.found(ADMIN, &one).await;
    assert_eq!(done["done"], 1);
    assert!(done["finished_at"].is_string());
    eventually("the event is no dead letter any more", async || {
        office.json_of(dead).await == json!([])
    })
    .await;
    // Again, it stays as it is; and it cannot be cancelled any more.
    for step in ["run", "cancel"] {
        let again = office
            .post(ADMIN, &format!("{one}/{step}"), &json!({}))
            .await;
        assert_eq!((again.status.as_u16(), again.json()), (200, done.clone()));
    }
    processor.stop().await;
    let other = "select status from pancake_webhook_event where country_code = 'SG' and status = 'dead_letter'";
    assert_eq!(
        office.json_of(other).await.as_array().unwrap().len(),
        1,
        "another country's"
    );
    let actions: Vec<_> = office
        .audit()
        .await
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["changes"].clone())
        .collect();
    assert_eq!(
        actions,
        [
            json!({"total": {"to": 1}}),
            json!({"state": {"from": "counted", "to": "running"}})
        ]
    );
}

#[tokio::test]
async fn a_cancelled_replay_moves_no_more() {
    let office = Office::open().await;
    for selection in [json!({}), json!({"event_ids": [vn("103"), sg("103")]})] {
        office.post(ADMIN, REPLAYS, &selection).await;
    }
    let page = office.found(ADMIN, REPLAYS).await;
    assert_eq!(page["items"][0]["total"], 1, "no other country's event");
    assert_eq!(
        page["items"][1]["total"], 2,
        "all but the waiting and the processed"
    );
    for id in column(&page, "replay_id") {
        office
            .post(ADMIN, &format!("{REPLAYS}/{id}/run"), &json!({}))
            .await;
        let cancelled = office
            .post(ADMIN, &format!("{REPLAYS}/{id}/cancel"), &json!({}))
            .await;
        assert_eq!(cancelled.json()["state"], "cancelled");
        let run = office
            .post(ADMIN, &format!("{REPLAYS}/{id}/run"), &json!({}))
            .await;
        assert_eq!(run.json()["state"], "cancelled");
    }
    let first = office.found(ADMIN, &format!("{REPLAYS}?limit=1")).await;
    let next = first["next"].as_str().unwrap();
    let second = office
        .found(ADMIN, &format!("{REPLAYS}?limit=1&cursor={next}"))
        .await;
    assert_eq!(
        [column(&first, "replay_id"), column(&second, "replay_id")].concat(),
        column(&page, "replay_id")
    );
}

#[tokio::test]
async fn a_list_shows_few_of_the_events_that_a_selection_names() {
    let office = Office::open().await;
    let ids: Vec<_> = (0..1_000).map(|n| vn(&format!("{n:03x}"))).collect();
    let named = office
        .post(
            ADMIN,
            REPLAYS,
            &json!({"event_ids": ids, "states": ["failed"]}),
        )
        .await
        .json();
    assert_eq!(named["filter"]["event_ids"], json!(ids));
    office.post(ADMIN, REPLAYS, &json!({})).await;
    let page = office.found(ADMIN, REPLAYS).await;
    assert_eq!(page["items"][0]["filter"], json!({}));
    let listed = &page["items"][1]["filter"];
    assert_eq!(listed["states"], json!(["failed"]));
    assert_eq!(listed["event_ids"], json!(ids[..64]));
    let one = format!("{REPLAYS}/{}", named["replay_id"].as_str().unwrap());
    assert_eq!(office.found(ADMIN, &one).await["filter"], named["filter"]);
}

#[tokio::test]
async fn selections_are_read_strictly() {
    let office = Office::open().await;
    for (body, blames) in [
        (json!({"states": ["processed"]}), vec!["states"]),
        (json!({"states": []}), vec!["states"]),
        (json!({"event_ids": ["1"]}), vec!["event_ids"]),
        (
            json!({"event_ids": vec![vn("101"); 1_001]}),
            vec!["event_ids"],
        ),
        (json!({"connection_id": ""}), vec!["connection_id"]),
        (json!({"source_id": "x".repeat(257)}), vec!["source_id"]),
        (
            json!({"received_from": "today", "received_to": 1}),
            vec!["received_from", "received_to"],
        ),
        (json!({"phone": "0912345678"}), vec!["phone"]),
    ] {
        assert_eq!(
            blamed(&office.post(ADMIN, REPLAYS, &body).await),
            blames,
            "{body}"
        );
    }
    assert_eq!(office.found(ADMIN, REPLAYS).await["items"], json!([]));
}

#[tokio::test]
async fn replays_are_for_whom_the_table_says() {
    let office = Office::open().await;
    let body = json!({});
    for who in [MANAGER, LAN] {
        let refusal = problem(&office.post(who, REPLAYS, &body).await, 403);
        assert!(
            refusal["detail"].as_str().unwrap().contains("replay"),
            "{refusal}"
        );
        problem(&office.get(who, REPLAYS).await, 403);
    }
    office
        .run("insert into module_permission_action values ('pancake_crm_integration', 'replay', 'manager')")
        .await;
    assert_eq!(office.post(MANAGER, REPLAYS, &body).await.status, 201);
    problem(
        &office.get(ADMIN, &format!("{REPLAYS}/{}", vn("101"))).await,
        404,
    );
}
