//! Events: found by what is known of them, page by page, by an index.

use serde_json::{Value, json};

use super::office::{ADMIN, Office, blamed, column, problem, sg, vn};
use crate::support::eventually;

async fn ids(office: &Office, query: &str) -> Vec<String> {
    let page = office
        .found(ADMIN, &format!("/pancake/events{query}"))
        .await;
    column(&page, "event_id")
        .iter()
        .map(|id| id[33..].to_owned())
        .collect()
}

#[tokio::test]
async fn events_are_found_by_each_filter() {
    let office = Office::open().await;
    for (query, expected) in [
        ("", vec!["104", "103", "102", "101"]),
        ("?state=processed", vec!["101"]),
        ("?state=failed", vec!["103"]),
        ("?state=ingested", vec![]),
        ("?connection=other-VN", vec!["102"]),
        ("?connection=conn-SG", vec![]),
        ("?source=b", vec!["103", "101"]),
        ("?source=a&state=dead_letter", vec!["104"]),
        (
            "?record_id=01890000-0000-7000-8000-0000000000f1",
            vec!["101"],
        ),
        ("?from=2100-01-01T00:00:00Z", vec![]),
        (
            "?to=2100-01-01T00:00:00%2B07:00&state=received",
            vec!["102"],
        ),
        ("?from=1970-01-01T00:00:00Z&limit=2", vec!["104", "103"]),
    ] {
        assert_eq!(ids(&office, query).await, expected, "{query}");
    }
    let dead = office.found(ADMIN, "/pancake/dead-letters").await;
    assert_eq!(column(&dead, "cause"), ["refused 23514 x"]);
    let one = office
        .found(ADMIN, &format!("/pancake/events/{}", vn("103")))
        .await;
    assert_eq!(
        (&one["attempts"], &one["state"]),
        (&json!(1), &json!("failed"))
    );
    assert!(one.get("payload").is_none());
    for path in [
        format!("/pancake/events/{}", sg("103")),
        format!("/pancake/events/{}/payload", sg("103")),
    ] {
        problem(&office.get(ADMIN, &path).await, 404);
    }
}

/// A record may be 1 MiB, all of it one of these.
#[tokio::test]
async fn a_list_shows_no_more_of_a_record_than_the_crm_would_keep() {
    let office = Office::open().await;
    office
        .run(&format!(
            "update pancake_webhook_event set name = repeat('ậ', 300000), phone_number = repeat('0', 1000000), \
                 email = repeat('e', 1000000), source_ids = array[repeat('s', 1000000)] \
                     || array(select n::text from generate_series(1, 10000) as n) where event_id = '{}'",
            vn("104")
        ))
        .await;
    for path in ["/pancake/events?limit=1", "/pancake/dead-letters"] {
        let page = office.found(ADMIN, path).await;
        let event = &page["items"][0];
        assert_eq!(event["event_id"], vn("104"));
        let length = |field: &str| event[field].as_str().unwrap().chars().count();
        assert_eq!(
            (length("name"), length("phone_number"), length("email")),
            (1024, 256, 320)
        );
        let sources = event["source_ids"].as_array().unwrap();
        assert_eq!(sources.len(), 64);
        assert_eq!(sources[0], "s".repeat(256));
        assert_eq!(sources[63], "63");
    }
    // One of them is shown whole, and so is each that fits.
    let one = format!("/pancake/events/{}", vn("104"));
    let one = office.found(ADMIN, &one).await;
    assert_eq!(one["name"].as_str().unwrap().chars().count(), 300_000);
    let fits = office.found(ADMIN, "/pancake/events?state=processed").await;
    assert_eq!(fits["items"][0]["name"], "Nguyễn");
    assert_eq!(fits["items"][0]["source_ids"], json!(["a", "b"]));
    assert_eq!(fits["items"][0]["email"], json!(null));
}

/// By the id under which processing registers it.
#[tokio::test]
async fn a_source_finds_the_same_events_in_the_list_and_in_a_replay() {
    let office = Office::open().await;
    let processor = office.core.app.start_processing();
    let long = "x".repeat(300);
    let many: Vec<String> = (0..100_000).map(|number| format!("n{number}")).collect();
    for source in [
        json!([]),
        json!([""]),
        json!("a"),
        json!([long]),
        json!(many),
    ] {
        let record = json!({"phone_number": "0912 345 678", "source": source});
        let posted = office.core.post(record.to_string()).await;
        posted.event_id("accepted");
    }
    let waiting =
        "select from pancake_webhook_event where status = 'received' and connection_id = 'vn-main'";
    eventually("the events are settled", async || {
        office.json_of(waiting).await == json!([])
    })
    .await;
    processor.stop().await;
    let cut = "x".repeat(256);
    for (source, events) in [("(none)", 3), (&cut, 1), ("n0", 1), ("n63", 1), ("n64", 0)] {
        let path = "/pancake/sources?connection=vn-main&limit=200";
        let registered = column(&office.found(ADMIN, path).await, "source_id");
        assert_eq!(
            registered.iter().any(|id| id == source),
            events > 0,
            "{source}"
        );
        let path = format!("/pancake/events?connection=vn-main&source={source}");
        let listed = office.found(ADMIN, &path).await;
        assert_eq!(column(&listed, "event_id").len(), events, "{source}");
        let selection = json!({"connection_id": "vn-main", "source_id": source});
        let counted = office.post(ADMIN, "/pancake/replays", &selection).await;
        assert_eq!(counted.json()["total"], events, "{source}");
    }
}

#[tokio::test]
async fn a_phone_number_is_found_in_any_spelling_and_stands_in_no_url() {
    let office = Office::open().await;
    let search = async |body: Value| office.post(ADMIN, "/pancake/events/search", &body).await;
    for phone in [
        "0912 345 678",
        "+84 912 345 678",
        "84912345678",
        "(091) 234-5678",
        "๐๙๑๒๓๔๕๖๗๘",
    ] {
        let found = search(json!({"phone": phone})).await;
        assert_eq!(column(&found.json(), "event_id"), [vn("101")], "{phone}");
    }
    let none = search(json!({"phone": "0912 345 678", "state": "failed"})).await;
    assert_eq!(none.json()["items"], json!([]));
    for (body, blames) in [
        (json!({}), vec!["phone"]),
        (json!({"phone": "abc"}), vec!["phone"]),
        (json!({"phone": "12"}), vec!["phone"]),
        (
            json!({"phone": "0912 345 678", "limit": 0, "state": "x", "from": "x", "page": 1}),
            vec!["state", "from", "limit", "page"],
        ),
    ] {
        let refused = search(body.clone()).await;
        assert_eq!(blamed(&refused), blames, "{body}");
        assert!(!refused.text().contains("345"));
    }
    let refused = search(json!({"phone": "0912 345 678", "cursor": "x"})).await;
    assert_eq!(problem(&refused, 400)["field"], "cursor");
}

#[tokio::test]
async fn a_payload_is_given_byte_for_byte_and_that_is_kept() {
    let office = Office::open().await;
    let path = format!("/pancake/events/{}/payload", vn("101"));
    let payload = office.get(ADMIN, &path).await;
    assert_eq!(
        (payload.status.as_u16(), payload.text().as_str()),
        (200, "{\"name\": \"Secret\"}")
    );
    assert_eq!(payload.headers["x-content-type-options"], "nosniff");
    let audit = office.audit().await;
    assert_eq!(audit[0]["action"], "read_payload");
    assert_eq!(audit[0]["entity_id"], vn("101"));
    assert!(!audit.to_string().contains("Secret"));
}

const FILL: &str = "insert into pancake_webhook_event (event_id, country_code, region_id, connection_id, layer, status, \
         payload_hash, payload, normalized_phone, source_ids, received_at, record_id) \
     select gen_random_uuid(), case when n % 10 = 0 then 'SG' else 'VN' end, 'smp-asia', 'conn-' || n % 3, 'poll', \
         case when n % 1000 = 0 then 'dead_letter' when n % 777 = 1 then 'received' else 'processed' end, sha256(n::text::bytea), '{}', \
         '+849' || lpad((n / 3)::text, 8, '0'), array[case when n = 777 then 'rare' else 'common' end], \
         '2026-02-01'::timestamptz + (n / 7) * interval '1 second', gen_random_uuid() \
     from generate_series(1, ";

#[tokio::test]
async fn a_walk_meets_each_event_once_while_others_come() {
    let office = Office::open().await;
    office
        .run(&format!("delete from pancake_webhook_event; {FILL} 500) n"))
        .await;
    for filter in [
        "",
        "&connection=conn-1",
        "&state=processed",
        "&source=common",
    ] {
        let expected = office
            .json_of(&format!(
                "select event_id from pancake_webhook_event where country_code = 'VN' {} order by received_at desc, event_id desc",
                match filter {
                    "&connection=conn-1" => "and connection_id = 'conn-1'",
                    "&state=processed" => "and status = 'processed'",
                    "&source=common" => "and 'common' = any (source_ids)",
                    _ => "",
                }
            ))
            .await;
        let mut walked = Vec::new();
        let mut next = String::new();
        loop {
            let page = office
                .found(ADMIN, &format!("/pancake/events?limit=17{filter}{next}"))
                .await;
            walked.extend(column(&page, "event_id"));
            // Another comes, newer than all.
            office
                .run(
                    "insert into pancake_webhook_event (event_id, country_code, region_id, connection_id, layer, status, payload_hash, \
                     payload, source_ids) values (gen_random_uuid(), 'VN', 'smp-asia', 'conn-1', 'poll', 'processed', \
                     sha256(gen_random_uuid()::text::bytea), '{}', '{common}')",
                )
                .await;
            let Some(cursor) = page["next"].as_str() else {
                break;
            };
            next = format!("&cursor={cursor}");
        }
        let expected: Vec<&str> = expected
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["event_id"].as_str().unwrap())
            .collect();
        assert_eq!(walked, expected, "{filter}");
        office
            .run("delete from pancake_webhook_event where received_at > '2026-02-02'")
            .await;
    }
}

/// By PostgreSQL's own count of scans, on a core with a single connection for staff.
#[tokio::test]
async fn a_hundred_thousand_events_are_never_read_from_end_to_end() {
    let office =
        Office::open_with(|config| config.database.staff_connections = 1.try_into().unwrap()).await;
    office
        .run(&format!("{FILL} 100000) n; analyze pancake_webhook_event"))
        .await;
    let record = office.json_of("select record_id from pancake_webhook_event where country_code = 'VN' and normalized_phone = '+84900001000' limit 1").await;
    let record = record[0]["record_id"].as_str().unwrap().to_owned();
    let scans = async || {
        sqlx::raw_sql("select pg_stat_force_next_flush()")
            .execute(office.core.app.staff_pool())
            .await
            .unwrap();
        let counts = "select seq_scan, idx_scan from pg_stat_user_tables where relname = 'pancake_webhook_event'";
        let counts = office.json_of(counts).await;
        (
            counts[0]["seq_scan"].as_i64().unwrap(),
            counts[0]["idx_scan"].as_i64().unwrap(),
        )
    };
    let paths = [
        "/pancake/events".to_owned(),
        "/pancake/events?state=dead_letter".to_owned(),
        "/pancake/events?state=received".to_owned(),
        "/pancake/events?state=ingested".to_owned(),
        "/pancake/events?state=processed&connection=conn-1".to_owned(),
        "/pancake/events?connection=nowhere".to_owned(),
        "/pancake/events?source=rare".to_owned(),
        format!("/pancake/events?record_id={record}"),
        "/pancake/events?from=2026-02-01T01:00:00Z&to=2026-02-01T01:00:01Z".to_owned(),
        "/pancake/dead-letters?limit=200".to_owned(),
        format!("/pancake/events/{}", vn("101")),
        "/reports/pancake".to_owned(),
    ];
    let (seq_before, idx_before) = scans().await;
    // Often enough for PostgreSQL to think about a plan for all values.
    for _ in 0..7 {
        for path in &paths {
            office.found(ADMIN, path).await;
            let (seq_scans, _) = scans().await;
            assert_eq!(seq_scans, seq_before, "{path}");
        }
        let search = office
            .post(
                ADMIN,
                "/pancake/events/search",
                &json!({"phone": "0900001000"}),
            )
            .await;
        assert!(
            search.status == 200 || search.status == 422,
            "{}",
            search.text()
        );
        let (seq_scans, _) = scans().await;
        assert_eq!(seq_scans, seq_before, "search");
    }
    let (_, idx_after) = scans().await;
    assert!(idx_after > idx_before, "nothing was counted");

    // A page that found nothing among those it looked at says where to go on.
    let mut pages = 0;
    let mut found = Vec::new();
    let mut next = String::new();
    loop {
        let page = office
            .found(ADMIN, &format!("/pancake/events?source=rare{next}"))
            .await;
        found.extend(column(&page, "event_id"));
        pages += 1;
        let Some(cursor) = page["next"].as_str() else {
            break;
        };
        next = format!("&cursor={cursor}");
    }
    assert_eq!((found.len(), pages), (1, 10));
}
