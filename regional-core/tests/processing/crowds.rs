//! Many at once, in every order and shape, with more than one process: compared with what must come of it.

use std::collections::HashMap;

use serde_json::{Value, json};
use uuid::Uuid;

use super::office::{Office, record};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_events_about_one_person_make_one_customer() {
    let mut office = Office::closed(3).await;
    let others = [office.second_processor(), office.second_processor()];
    office.start();
    let records: Vec<Uuid> = (0..20).map(|_| Uuid::new_v4()).collect();
    for round in 0..50_u8 {
        let posts: Vec<_> = records
            .iter()
            .map(|id| {
                office
                    .core
                    .spawn_post(record(*id, round, &format!("round {round}")).to_string())
            })
            .collect();
        for post in posts {
            post.await.unwrap().event_id("accepted");
        }
    }
    office.wait_until_none_waits().await;
    for other in others {
        other.stop().await;
    }
    assert_eq!(
        office
            .number("select count(*) from pancake_webhook_event where status = 'processed'")
            .await,
        1_000
    );
    assert_eq!(office.number("select count(*) from account").await, 1);
    assert_eq!(office.number("select count(*) from contact_book").await, 1);
    assert_eq!(
        office
            .number("select count(*) from ticket where subject = 'round 49'")
            .await,
        20
    );
    assert_eq!(office.number("select count(*) from ticket").await, 20);
    assert_eq!(
        office
            .number("select count(*) from ticket_assignment")
            .await,
        20
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_whatever_order_events_come_the_newest_is_what_stands() {
    let mut office = Office::closed(4).await;
    let mut expected: HashMap<Uuid, (u8, String)> = HashMap::new();
    let records: Vec<Uuid> = (0..40).map(|_| Uuid::new_v4()).collect();
    let mut state = u64::from_le_bytes(Uuid::new_v4().as_bytes()[..8].try_into().unwrap());
    eprintln!("seed {state}");
    let mut random = |below: u64| {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    };
    let mut posts = Vec::new();
    let processors = [office.second_processor(), office.second_processor()];
    for _ in 0..600 {
        let id = records[usize::try_from(random(40)).unwrap()];
        let minute = u8::try_from(random(60)).unwrap();
        // The same time is the same state of the record.
        let name = format!("{id} {minute}");
        let phone = format!("+8491{:07}", 1_000_000 + random(15));
        let mut lead = record(id, minute, &name);
        lead["phone_number"] = Value::String(phone);
        lead["n"] = json!(random(1_000_000));
        posts.push(office.core.spawn_post(lead.to_string()));
        let newest = expected.entry(id).or_insert((minute, name.clone()));
        if newest.0 < minute {
            *newest = (minute, name);
        }
    }
    for post in posts {
        post.await.unwrap().event_id("accepted");
    }
    office.start();
    office.wait_until_none_waits().await;
    for processor in processors {
        processor.stop().await;
    }
    office.stop().await;
    let subjects: Vec<String> = office
        .texts("select subject from ticket order by subject")
        .await
        .into_iter()
        .flatten()
        .collect();
    let mut names: Vec<String> = expected.into_values().map(|(_, name)| name).collect();
    names.sort();
    assert_eq!(subjects, names, "one ticket a record, as it was last");
    let doubled = "select count(*) from (select from account group by normalized_phone having count(*) > 1) d";
    assert_eq!(office.number(doubled).await, 0);
    let lost = "select count(*) from pancake_webhook_event e left join ticket t using (ticket_id) \
         where e.status <> 'processed' or t.ticket_id is null or t.record_id <> e.record_id";
    assert_eq!(office.number(lost).await, 0);
    let uneven =
        "select max(n) - min(n) from (select count(*) as n from ticket group by assignee_id) c";
    assert!(office.number(uneven).await <= 1);
}

#[tokio::test]
async fn a_record_of_any_shape_becomes_a_ticket() {
    let office = Office::open(1).await;
    let long = "ạ".repeat(300_000);
    let mut shapes = vec![json!({})];
    let values = [
        json!(null),
        json!(7),
        json!(-1.5e300),
        json!(true),
        json!([]),
        json!({}),
        json!([[[]]]),
        json!(""),
        json!(" "),
        json!("\u{0}"),
        json!("\u{202e}\u{feff}"),
        json!("👩‍👩‍👧‍👦".repeat(400)),
        json!("ผู้ติดต่อ"),
        json!("联系人 𠮷"),
        json!("محمد 0912345678"),
        json!(["a", 1, null, "a"]),
        json!([""]),
        json!("2026-13-45T99:99:99Z"),
        json!("9999-12-31T23:59:59Z"),
        json!("0000-01-01"),
        json!(long),
    ];
    for field in [
        "name",
        "phone_number",
        "email",
        "source",
        "modified_on",
        "created_on",
        "custom",
    ] {
        for value in &values {
            shapes.push(json!({ field: value }));
        }
    }
    office.run("insert into pancake_source select 'VN', 'vn-main', s, null, true from unnest(array['a', '1', 'x']) s").await;
    for shape in &shapes {
        // Two shapes may be the same bytes.
        let answer = office.core.post(shape.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    office.wait_until_none_waits().await;
    let states = office
        .texts("select distinct status || ' ' || coalesce(cause, '') from pancake_webhook_event order by 1")
        .await;
    assert_eq!(states, [Some("processed ".to_owned())]);
}
