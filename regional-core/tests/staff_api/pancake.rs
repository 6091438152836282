//! Connections, sources, switches, rejected requests, and the report.

use axum::http::Method;
use protocol::at_rest::AtRestKeys;
use regional_core::api_keys::{open, reseal, seal};
use serde_json::json;
use uuid::Uuid;

use super::office::{ADMIN, Office, Who, blamed, column, etag, problem, sg, vn};
use crate::support::edge::at_rest_keys;
use crate::support::eventually;

#[tokio::test]
async fn a_connections_status_is_changed_with_a_reason_and_its_history_kept() {
    let office = Office::open().await;
    let path = "/pancake/connections/conn-VN";
    let page = office.found(ADMIN, "/pancake/connections").await;
    assert_eq!(column(&page, "connection_id"), ["conn-VN", "other-VN"]);
    assert_eq!(page["next"], json!(null));
    let before = office.get(ADMIN, path).await;
    assert_eq!(etag(&before), format!("\"{}\"", before.json()["version"]));
    assert!(!before.text().contains("api_key_encrypted"));

    let change = json!({"status": "suspended", "reason": "Pancake stopped it"});
    let changed = office.patch(ADMIN, path, &etag(&before), &change).await;
    assert_eq!(
        (changed.status.as_u16(), changed.json()["status"].as_str()),
        (200, Some("suspended"))
    );
    assert_ne!(etag(&changed), etag(&before));
    let stale = problem(
        &office.patch(ADMIN, path, &etag(&before), &change).await,
        412,
    );
    assert_eq!(stale["current_version"], changed.json()["version"]);
    let after = office.found(ADMIN, path).await;
    assert_eq!(after["history"][0]["reason"], "Pancake stopped it");
    assert_eq!(after["history"][0]["changed_by"], "root");
    assert_eq!(after["history"].as_array().unwrap().len(), 2);
    // The same again is no change.
    let again = office.patch(ADMIN, path, &etag(&changed), &change).await;
    assert_eq!((again.status.as_u16(), etag(&again)), (200, etag(&changed)));
    assert_eq!(office.audit().await.as_array().unwrap().len(), 1);

    problem(
        &office.get(ADMIN, "/pancake/connections/conn-SG").await,
        404,
    );
    let other = office
        .patch(
            ADMIN,
            "/pancake/connections/conn-SG",
            &etag(&changed),
            &change,
        )
        .await;
    problem(&other, 404);
}

#[tokio::test]
async fn a_connection_is_added_once_however_often_it_is_tried() {
    let office = Office::open().await;
    let path = "/pancake/connections/vn-new";
    problem(&office.get(ADMIN, path).await, 404);
    let new = json!({"connection_id": "vn-new", "workspace": "Shop Hà Nội"});
    let added = office.post(ADMIN, "/pancake/connections", &new).await;
    assert_eq!(added.status, 201, "{}", added.text());
    let row = added.json();
    assert_eq!(
        (&row["connection_id"], &row["workspace"], &row["status"]),
        (&json!("vn-new"), &json!("Shop Hà Nội"), &json!("active"))
    );
    assert_eq!(etag(&added), format!("\"{}\"", row["version"]));

    // The answer was lost, and it is sent again; or somebody else sends it.
    for other in [&new, &json!({"connection_id": "vn-new"})] {
        let again = office.post(ADMIN, "/pancake/connections", other).await;
        let refusal = problem(&again, 409);
        let detail = refusal["detail"].as_str().unwrap();
        assert!(detail.starts_with("connection_id: "), "{refusal}");
    }
    let mut there = office.found(ADMIN, path).await;
    let history = there.as_object_mut().unwrap().remove("history").unwrap();
    assert_eq!(there, row, "it is as it was added");
    assert_eq!(history.as_array().unwrap().len(), 1, "{history}");
    assert_eq!(
        (
            &history[0]["status"],
            &history[0]["reason"],
            &history[0]["changed_by"]
        ),
        (&json!("active"), &json!("added"), &json!("root"))
    );
    assert_eq!(office.audit().await.as_array().unwrap().len(), 1);

    let change = json!({"status": "disabled", "reason": "moved"});
    let changed = office.patch(ADMIN, path, &etag(&added), &change).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
}

#[tokio::test]
async fn an_api_key_is_kept_sealed_shown_to_nobody_and_sealed_anew_with_another_key() {
    let office = Office::open().await;
    let (connection, path) = (
        "/pancake/connections/other-VN",
        "/pancake/connections/other-VN/api-key",
    );
    // What others have was never sealed.
    office
        .run("update pancake_connection set api_key_encrypted = null")
        .await;
    let put = async |path: &str, api_key: &str| {
        let body = json!({"api_key": api_key}).to_string();
        office.send(ADMIN, Method::PUT, path, &[], body).await
    };
    assert_eq!(office.found(ADMIN, connection).await["has_api_key"], false);
    let given = put(path, "pk-QL-first").await;
    assert_eq!(given.status, 200, "{}", given.text());
    assert_eq!(given.json()["has_api_key"], true);
    let shown = format!("{} {}", given.text(), office.audit().await);
    assert!(!shown.contains("pk-QL"), "{shown}");

    let pool = office.core.database.owner_pool();
    let kept = || async {
        let sealed =
            "select api_key_encrypted from pancake_connection where connection_id = 'other-VN'";
        let sealed: Option<Vec<u8>> = sqlx::query_scalar(sealed).fetch_one(pool).await.unwrap();
        sealed
    };
    let first = kept().await.unwrap();
    let text = |sealed: &[u8], id| open(&at_rest_keys(), ("VN", id), sealed).ok();
    assert_eq!(text(&first, "other-VN").as_deref(), Some("pk-QL-first"));
    assert_eq!(text(&first, "conn-VN"), None, "it is this connection's");
    assert!(!String::from_utf8_lossy(&first).contains("pk-QL"));

    // As it lay before the key was changed.
    let old = AtRestKeys::from_json(&json!([AtRestKeys::expose_key("1", &[1; 32])]).to_string());
    let old = seal(&old.unwrap(), ("VN", "other-VN"), "pk-QL-second").unwrap();
    sqlx::query(
        "update pancake_connection set api_key_encrypted = $1 where connection_id = 'other-VN'",
    )
    .bind(&old)
    .execute(pool)
    .await
    .unwrap();
    let mut app = office.core.pool.acquire().await.unwrap();
    for expected in [(1, 0), (0, 1)] {
        let resealed = reseal(&at_rest_keys(), &mut app).await.unwrap();
        assert_eq!((resealed.anew, resealed.current), expected);
    }
    let anew = kept().await.unwrap();
    assert!(at_rest_keys().is_current(&anew) && !at_rest_keys().is_current(&old));
    assert_eq!(text(&anew, "other-VN").as_deref(), Some("pk-QL-second"));

    let gone = office.send(ADMIN, Method::DELETE, path, &[], "").await;
    assert_eq!(gone.json()["has_api_key"], false);
    assert_eq!(kept().await, None);
    for bad in ["", "a b", "ü", &"k".repeat(1_025)] {
        let refused = put(path, bad).await;
        let text = problem(&refused, 422).to_string();
        assert!(
            text.contains("1 to 1024 printable ASCII characters"),
            "{text}"
        );
        assert!(bad.is_empty() || !text.contains(bad), "{text}");
    }
    let nobodys = "/pancake/connections/conn-SG/api-key";
    problem(&put(nobodys, "pk").await, 404);
}

/// Also of one that a record registered before anybody added it.
#[tokio::test]
async fn a_connections_workspace_is_changed_and_its_status_stays_as_it_was() {
    let office = Office::open().await;
    let path = "/pancake/connections/other-VN";
    let before = office.get(ADMIN, path).await;
    let named = office
        .patch(ADMIN, path, &etag(&before), &json!({"workspace": "Shop"}))
        .await;
    assert_eq!(named.status, 200, "{}", named.text());
    let (before, named_row) = (before.json(), named.json());
    assert_eq!(named_row["workspace"], "Shop");
    assert_ne!(named_row["version"], before["version"]);
    for field in ["status", "status_changed_at", "created_at"] {
        assert_eq!(named_row[field], before[field]);
    }
    let both = json!({"workspace": null, "status": "disabled", "reason": "moved"});
    let disabled = office.patch(ADMIN, path, &etag(&named), &both).await;
    let disabled = disabled.json();
    assert_eq!(
        (&disabled["workspace"], &disabled["status"]),
        (&json!(null), &json!("disabled"))
    );
    assert_ne!(disabled["status_changed_at"], before["status_changed_at"]);
    let history = office.found(ADMIN, path).await["history"].clone();
    assert_eq!(history.as_array().unwrap().len(), 1, "{history}");

    // Said again, it is disabled since when it was: what came meanwhile came after.
    let again = json!({"workspace": "Shop", "status": "disabled", "reason": "still"});
    let again = office.patch_as_read(ADMIN, path, &again).await.json();
    assert_eq!(again["workspace"], "Shop");
    assert_eq!(again["status_changed_at"], disabled["status_changed_at"]);
    assert_eq!(office.found(ADMIN, path).await["history"], history);
}

#[tokio::test]
async fn of_another_workspace_nothing_is_complete() {
    let office = Office::open().await;
    office
        .run(
            "insert into pancake_watermark (connection_id, country_code, table_name, layer, complete_until, gaps) \
             select connection_id, country_code, 'lead', 'all', now(), '[{}]' from pancake_connection",
        )
        .await;
    let marks = "select country_code, connection_id from pancake_watermark where layer = 'all' order by 1, 2";
    let all = office.json_of(marks).await;
    let path = "/pancake/connections/conn-VN";
    let disabled = json!({"status": "disabled", "reason": "moves"});
    let answer = office.patch_as_read(ADMIN, path, &disabled).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(office.json_of(marks).await, all, "its workspace stayed");
    let moved = json!({"workspace": "77"});
    let answer = office.patch_as_read(ADMIN, path, &moved).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let left = office.json_of(marks).await;
    let ids: Vec<_> = left
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["connection_id"])
        .collect();
    assert_eq!(ids, ["conn-SG", "other-SG", "other-VN"]);
}

#[tokio::test]
async fn a_new_connections_id_is_the_edges_and_what_is_wrong_with_it_is_named() {
    let office = Office::open().await;
    for id in [
        json!(""),
        json!("VN-Main"),
        json!("vn main"),
        json!("vn/main"),
        json!("x".repeat(65)),
        json!(1),
        json!(null),
    ] {
        let new = json!({"connection_id": id});
        let refused = office.post(ADMIN, "/pancake/connections", &new).await;
        assert_eq!(
            problem(&refused, 422)["errors"],
            json!([{
                "field": "connection_id",
                "message": "1 to 64 lower-case letters, digits and hyphens are expected",
            }]),
            "{new}"
        );
    }
    for (new, blames) in [
        (json!({}), vec!["connection_id"]),
        (
            json!({"connection_id": "x", "workspace": "x".repeat(257), "status": "disabled"}),
            vec!["workspace", "status"],
        ),
    ] {
        let refused = office.post(ADMIN, "/pancake/connections", &new).await;
        assert_eq!(blamed(&refused), blames, "{new}");
    }
    let longest = json!({"connection_id": "x".repeat(64), "workspace": "x".repeat(256)});
    let added = office.post(ADMIN, "/pancake/connections", &longest).await;
    assert_eq!(added.status, 201, "{}", added.text());
    assert_eq!(office.audit().await.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_connection_is_of_the_country_that_added_it_and_of_no_other() {
    let office = Office::open().await;
    let path = "/pancake/connections";
    let new = json!({"connection_id": "new", "workspace": "of VN"});
    assert_eq!(office.post(ADMIN, path, &new).await.status, 201);

    // Not for a country that is not theirs, whichever way it is named.
    let headers = [("x-country-code", "SG")];
    let elsewhere = office
        .send(ADMIN, Method::POST, path, &headers, new.to_string())
        .await;
    problem(&elsewhere, 403);
    let named = json!({"connection_id": "other", "country_code": "SG"});
    assert_eq!(
        blamed(&office.post(ADMIN, path, &named).await),
        ["country_code"]
    );

    let of_sg = Who {
        countries: &["SG"],
        ..ADMIN
    };
    problem(&office.get(of_sg, &format!("{path}/new")).await, 404);
    let seen = office.found(of_sg, path).await;
    assert_eq!(column(&seen, "connection_id"), ["conn-SG", "other-SG"]);
    // One of the same name is another one.
    let own = json!({"connection_id": "new", "workspace": "of SG"});
    assert_eq!(office.post(of_sg, path, &own).await.status, 201);
    for (who, workspace) in [(ADMIN, "of VN"), (of_sg, "of SG")] {
        let there = office.found(who, &format!("{path}/new")).await;
        assert_eq!(there["workspace"], workspace);
        assert_eq!(there["history"].as_array().unwrap().len(), 1);
    }
}

/// The test's clock is set far before and after the database's, which says when somebody disabled it.
#[tokio::test]
async fn what_comes_by_a_connection_that_was_disabled_waits_for_a_replay_after_it_is_active_again()
{
    const YEARS: i64 = 20 * 365 * 86_400;
    let office = Office::open().await;
    let new = json!({"connection_id": "vn-new"});
    let added = office.post(ADMIN, "/pancake/connections", &new).await;
    assert_eq!(added.status, 201, "{}", added.text());
    office
        .run(
            "insert into pancake_source (country_code, connection_id, source_id, is_active) \
             values ('VN', 'vn-new', '(none)', true)",
        )
        .await;
    let receive = async |seconds: i64, record: &str| {
        let mut edge = office.core.edge.clone();
        edge.connection = "vn-new";
        edge.created += seconds;
        office.core.clock.advance(seconds);
        let answer = office.core.send(edge.record(record)).await;
        office.core.clock.advance(-seconds);
        answer.event_id("accepted")
    };
    let set_status = async |status: &str| {
        let change = json!({"status": status, "reason": "its token leaked"});
        let path = "/pancake/connections/vn-new";
        let changed = office.patch_as_read(ADMIN, path, &change).await;
        assert_eq!(changed.status, 200, "{}", changed.text());
    };
    let status_of = async |event: Uuid| {
        let query = format!("select status from pancake_webhook_event where event_id = '{event}'");
        let status = office.json_of(&query).await[0]["status"].clone();
        status.as_str().unwrap().to_owned()
    };
    let settled = async |event: Uuid| {
        eventually("the event is settled", async || {
            status_of(event).await != "received"
        })
        .await;
        status_of(event).await
    };
    let replay = async |events: [Uuid; 1]| {
        let selection = json!({"event_ids": events});
        let counted = office
            .post(ADMIN, "/pancake/replays", &selection)
            .await
            .json();
        assert_eq!(counted["total"], 1);
        let one = format!(
            "/pancake/replays/{}",
            counted["replay_id"].as_str().unwrap()
        );
        office.post(ADMIN, &format!("{one}/run"), &json!({})).await;
        eventually("the replay is done", async || {
            office.found(ADMIN, &one).await["state"] == "done"
        })
        .await;
        assert_eq!(office.found(ADMIN, &one).await["done"], 1);
    };

    let earlier = receive(-YEARS, r#"{"n":1}"#).await;
    set_status("disabled").await;
    let later = receive(YEARS, r#"{"n":2}"#).await;
    let processor = office.core.app.start_processing();
    assert_eq!(settled(earlier).await, "processed");
    assert_eq!(settled(later).await, "skipped_source_disabled");
    // While it is disabled, a replay brings it back to where it was.
    replay([later]).await;
    assert_eq!(settled(later).await, "skipped_source_disabled");
    set_status("active").await;
    replay([later]).await;
    assert_eq!(settled(later).await, "processed");
    processor.stop().await;
}

#[tokio::test]
async fn bodies_of_changes_are_read_strictly() {
    let office = Office::open().await;
    let connection = "/pancake/connections/conn-VN";
    for (path, body, blames) in [
        (
            connection,
            json!({"status": "off", "reason": ""}),
            vec!["status", "reason"],
        ),
        (
            connection,
            json!({"status": "active", "country_code": "SG"}),
            vec!["reason", "country_code"],
        ),
        (
            connection,
            json!({"status": 1, "reason": "a\u{0}b"}),
            vec!["status", "reason"],
        ),
        (
            connection,
            json!({"workspace": "", "reason": "moved"}),
            vec!["status", "workspace"],
        ),
        (
            connection,
            json!({"workspace": "x".repeat(257), "status": "active"}),
            vec!["reason", "workspace"],
        ),
        (
            "/pancake/switches",
            json!({"kill_switch": "true"}),
            vec!["kill_switch"],
        ),
        (
            "/pancake/switches",
            json!({"kill_switch": null, "replay": true}),
            vec!["kill_switch", "replay"],
        ),
        (
            "/pancake/sources/conn-VN/(none)",
            json!({"name": "x".repeat(1025), "is_active": 1}),
            vec!["is_active", "name"],
        ),
    ] {
        let answer = office.patch(ADMIN, path, "\"1\"", &body).await;
        assert_eq!(blamed(&answer), blames, "{path} {body}");
        assert_eq!(
            problem(&office.patch(ADMIN, path, "\"1\"", &json!({})).await, 400)["field"],
            "body"
        );
        assert_eq!(
            problem(&office.patch(ADMIN, path, "\"1\"", &json!([])).await, 400)["field"],
            "body"
        );
        assert_eq!(
            problem(&office.patch(ADMIN, path, "1", &body).await, 400)["field"],
            "if-match"
        );
        let plain = office
            .send(ADMIN, Method::PATCH, path, &[], body.to_string())
            .await;
        problem(&plain, 428);
    }
    assert_eq!(office.audit().await, json!([]));
}

#[tokio::test]
async fn sources_are_listed_by_connection_and_switched() {
    let office = Office::open().await;
    let ids = async |query: &str| {
        column(
            &office
                .found(ADMIN, &format!("/pancake/sources{query}"))
                .await,
            "source_id",
        )
    };
    assert_eq!(ids("").await, ["(none)", "a/b %", "z"]);
    assert_eq!(ids("?connection=conn-VN").await, ["(none)", "a/b %"]);
    assert_eq!(ids("?active=true").await, ["(none)"]);
    assert_eq!(ids("?connection=conn-SG").await, Vec::<String>::new());

    // Page by page, one at a time.
    let mut walked = Vec::new();
    let mut next = String::new();
    loop {
        let page = office
            .found(ADMIN, &format!("/pancake/sources?limit=1{next}"))
            .await;
        walked.extend(column(&page, "source_id"));
        let Some(cursor) = page["next"].as_str() else {
            break;
        };
        next = format!("&cursor={cursor}");
    }
    assert_eq!(walked, ["(none)", "a/b %", "z"]);

    let version = office.found(ADMIN, "/pancake/sources").await["items"][1]["version"].clone();
    let path = "/pancake/sources/conn-VN/a%2Fb%20%25";
    let change = json!({"is_active": true, "name": null});
    let changed = office
        .patch(ADMIN, path, &format!("\"{version}\""), &change)
        .await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let source = changed.json();
    assert_eq!(
        (&source["is_active"], &source["name"], &source["updated_by"]),
        (&json!(true), &json!(null), &json!("root"))
    );
    problem(
        &office
            .patch(ADMIN, path, &format!("\"{version}\""), &change)
            .await,
        412,
    );
    problem(
        &office
            .patch(ADMIN, "/pancake/sources/conn-VN/none", "\"1\"", &change)
            .await,
        404,
    );
    problem(
        &office
            .patch(ADMIN, "/pancake/sources/conn-SG/(none)", "\"1\"", &change)
            .await,
        404,
    );
}

#[tokio::test]
async fn switches_are_thrown_by_version_and_a_country_without_any_is_off() {
    let office = Office::open().await;
    let path = "/pancake/switches";
    let there = office.get(ADMIN, path).await;
    assert_eq!(there.json()["kill_switch"], false);
    let thrown = office
        .patch(ADMIN, path, &etag(&there), &json!({"kill_switch": true}))
        .await;
    assert_eq!(
        (
            thrown.json()["kill_switch"].clone(),
            thrown.json()["version"].clone()
        ),
        (json!(true), json!(2))
    );
    problem(
        &office
            .patch(ADMIN, path, &etag(&there), &json!({"kill_switch": false}))
            .await,
        412,
    );
    let settings = office
        .json_of("select app_settings from app_setting where country_code = 'VN'")
        .await;
    let expected = json!({"other": 1, "pancake_integration": {"kill_switch": true, "processing_paused": false, "more": 2}});
    assert_eq!(
        settings[0]["app_settings"], expected,
        "what else is there stays"
    );
    assert_eq!(
        office
            .json_of("select version from app_setting where country_code = 'SG'")
            .await,
        json!([{"version": 1}])
    );

    office.run("delete from app_setting").await;
    let unset = office.get(ADMIN, path).await;
    assert_eq!(
        unset.json(),
        json!({"country_code": "VN", "kill_switch": true, "processing_paused": false, "updated_at": null,
               "updated_by": null, "version": 0})
    );
    assert_eq!(etag(&unset), "\"0\"");
    // Two at once who both saw none.
    let change = json!({"kill_switch": false});
    let (one, other) = tokio::join!(
        office.patch(ADMIN, path, "\"0\"", &change),
        office.patch(ADMIN, path, "\"0\"", &change)
    );
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
    let now = office.found(ADMIN, path).await;
    assert_eq!(
        (now["kill_switch"].clone(), now["version"].clone()),
        (json!(false), json!(1))
    );
}

#[tokio::test]
async fn rejected_requests_are_shown_without_their_bodies() {
    let office = Office::open().await;
    let first = office
        .found(ADMIN, "/pancake/rejected-requests?limit=1")
        .await;
    assert_eq!(column(&first, "cause"), ["not_utf8"]);
    let next = first["next"].as_str().unwrap();
    let second = office
        .found(
            ADMIN,
            &format!("/pancake/rejected-requests?limit=1&cursor={next}"),
        )
        .await;
    assert_eq!(
        (column(&second, "cause"), &second["next"]),
        (vec!["not_json".to_owned()], &json!(null))
    );
    let one = office
        .get(ADMIN, &format!("/pancake/rejected-requests/{}", vn("0f4")))
        .await;
    assert_eq!(one.json()["body_sha256"], "03".repeat(32));
    assert!(!one.text().contains("Secret"));
    problem(
        &office
            .get(ADMIN, &format!("/pancake/rejected-requests/{}", sg("0f4")))
            .await,
        404,
    );
    // What polling kept came by no edge.
    office
        .run(
            "insert into pancake_rejected_request (rejected_id, country_code, region_id, connection_id, cause, \
                 body_sha256, body, received_at, layer) \
             values ('01890000-0000-7000-8000-0000000010f6', 'VN', 'smp-asia', 'conn-VN', 'id_not_a_uuid', \
                 decode(repeat('05', 32), 'hex'), 'Secret', '2026-03-03', 'poll')",
        )
        .await;
    let page = office.found(ADMIN, "/pancake/rejected-requests").await;
    assert_eq!(column(&page, "layer"), ["poll", "webhook", "webhook"]);
    let polled = office
        .found(ADMIN, &format!("/pancake/rejected-requests/{}", vn("0f6")))
        .await;
    assert_eq!(
        (&polled["verdict"], &polled["route_version"]),
        (&json!(null), &json!(null))
    );
    // A cursor is for its own list.
    let other = office
        .get(ADMIN, &format!("/pancake/events?cursor={next}"))
        .await;
    assert_eq!(problem(&other, 400)["field"], "cursor");
}

#[tokio::test]
async fn the_report_counts_one_country() {
    let office = Office::open().await;
    let report = office.found(ADMIN, "/reports/pancake").await;
    let day = &report["last_day"];
    assert_eq!(day["events"], 4);
    assert_eq!(
        day["by_state"],
        json!({"processed": 1, "received": 1, "failed": 1, "dead_letter": 1})
    );
    assert_eq!(day["success_rate"], 1.0 / 3.0);
    assert_eq!(day["by_source"].as_array().unwrap().len(), 3);
    assert_eq!(report["not_processed"]["received"]["events"], 1);
    assert_eq!(report["not_processed"]["skipped_kill_switch"]["events"], 0);
    assert_eq!(
        report["oldest_waiting_received_at"],
        report["not_processed"]["received"]["oldest_received_at"]
    );
    office.run("delete from pancake_webhook_event").await;
    let empty = office.found(ADMIN, "/reports/pancake").await;
    assert_eq!(
        (
            &empty["last_day"]["success_rate"],
            &empty["oldest_waiting_received_at"]
        ),
        (&json!(null), &json!(null))
    );
    let of_sg = Who {
        countries: &["SG"],
        ..ADMIN
    };
    assert_eq!(
        office.found(of_sg, "/reports/pancake").await["last_day"]["events"],
        0
    );
}

/// Whoever sends records names their sources: as many, and as long ones, as they like.
#[tokio::test]
async fn the_report_is_no_larger_than_its_limits_say() {
    let office = Office::open().await;
    office
        .run(
            "delete from pancake_webhook_event; \
             insert into pancake_webhook_event (event_id, country_code, region_id, connection_id, layer, status, \
                 payload_hash, payload, source_ids) \
             select gen_random_uuid(), 'VN', 'smp-asia', 'conn-VN', 'poll', \
                 case when n % 2 = 0 then 'processed' else 'skipped_source_disabled' end, \
                 sha256(n::text::bytea), '{}', \
                 array[case when n <= 6 then repeat('s', 1000000) else 'source ' || n / 3 end] \
             from generate_series(1, 3000) as n",
        )
        .await;
    let answer = office.get(ADMIN, "/reports/pancake").await;
    assert!(answer.body.len() < 100_000, "{}", answer.body.len());
    let day = &answer.json()["last_day"];
    assert_eq!(day["events"], 3000);
    assert_eq!(
        day["by_state"],
        json!({"processed": 1500, "skipped_source_disabled": 1500})
    );
    let sources = day["by_source"].as_array().unwrap();
    assert_eq!(sources.len(), 200);
    assert_eq!(
        sources[0],
        json!({"connection_id": "conn-VN", "source_id": "s".repeat(256), "events": 6,
               "by_state": {"processed": 3, "skipped_source_disabled": 3}})
    );
    assert_eq!(sources[199]["events"], 3);
}
