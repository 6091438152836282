//! One event after the other: what it makes, and what it leaves as it is.

use serde_json::json;
use sqlx::Row as _;
use uuid::Uuid;

use super::office::{E164, Office, PHONE, record};

#[tokio::test]
async fn a_lead_becomes_a_customer_a_contact_and_a_ticket_with_its_telesale() {
    let office = Office::open(1).await;
    let event = office
        .process(json!({
            "id": Uuid::new_v4(), "name": "Nguyễn Thị Hương", "phone_number": PHONE, "email": "huong@example.com",
            "modified_on": "2026-03-01T10:00:00Z",
        }))
        .await;
    let row = office
        .row(
            "select e.normalized_phone, e.settled_at is not null as is_settled, e.account_id = a.account_id, \
                    a.name, a.phone_number, a.email, a.normalized_phone, c.primary_phone, \
                    t.subject, t.status, t.phone_state, t.source_id, s.subject as telesale, \
                    g.method, n.template_code, n.staff_id = s.staff_id as is_told, s.last_assigned_at = g.assigned_at \
             from pancake_webhook_event e \
             join ticket t using (ticket_id) join account a on a.account_id = t.account_id \
             join contact_book c on c.contact_id = t.contact_id and c.account_id = a.account_id \
             join staff s on s.staff_id = t.assignee_id \
             join ticket_assignment g on g.ticket_id = t.ticket_id and g.staff_id = s.staff_id \
             join notification n on n.ticket_id = t.ticket_id",
        )
        .await;
    let text = |column: usize| row.get::<String, _>(column);
    assert_eq!(text(0), E164);
    assert!(
        [1, 2, 15, 16]
            .into_iter()
            .all(|column| row.get::<bool, _>(column))
    );
    assert_eq!(
        (3..15).map(text).collect::<Vec<_>>(),
        [
            "Nguyễn Thị Hương",
            PHONE,
            "huong@example.com",
            E164,
            E164,
            "Nguyễn Thị Hương",
            "open",
            "usable",
            "ticket_source_pancake",
            "telesale-0",
            "automatic",
            "noti_pancake_new_lead",
        ]
    );
    let ids = [office.ticket_of(event).await, event];
    assert!(ids.iter().all(|id| id.get_version_num() == 7));
    let processed = r#"pancake_events_total{country="VN",outcome="processed"}"#;
    assert!((office.core.metric(processed).await - 1.0).abs() < 0.5);
    assert!(
        (office
            .core
            .metric("pancake_event_process_duration_seconds_count")
            .await
            - 1.0)
            .abs()
            < 0.5
    );
}

#[tokio::test]
async fn a_record_that_changes_keeps_its_ticket_and_an_older_change_changes_nothing() {
    let office = Office::open(1).await;
    let id = Uuid::new_v4();
    let first = office.process(record(id, 10, "first")).await;
    let ticket = office.ticket_of(first).await;
    for (minute, name, subject) in [
        (20, "newer", "newer"),
        (15, "older", "newer"),
        (20, "the same time, written differently", "newer"),
        (30, "newest", "newest"),
    ] {
        let event = office.process(record(id, minute, name)).await;
        assert_eq!(office.ticket_of(event).await, ticket, "{name}");
        let subjects = office.texts("select subject from ticket").await;
        assert_eq!(subjects, [Some(subject.to_owned())], "{name}");
    }
    assert_eq!(office.number("select count(*) from account").await, 1);
    assert_eq!(office.number("select count(*) from contact_book").await, 1);
    assert_eq!(
        office
            .number("select count(*) from ticket_assignment")
            .await,
        1
    );
    assert_eq!(office.number("select count(*) from notification").await, 1);
    // What was there first, staff may have written.
    assert_eq!(
        office.texts("select name from account").await,
        [Some("first".to_owned())]
    );
}

#[tokio::test]
async fn a_closed_ticket_stays_closed_and_news_open_another() {
    let office = Office::open(1).await;
    let id = Uuid::new_v4();
    let first = office.process(record(id, 10, "first")).await;
    let closed = office.ticket_of(first).await;
    office
        .run("update ticket set status = 'closed', closed_at = now()")
        .await;
    let old = office.process(record(id, 9, "older")).await;
    assert_eq!(office.ticket_of(old).await, closed);
    let news = office.process(record(id, 11, "news")).await;
    assert_ne!(office.ticket_of(news).await, closed);
    // The same news by another layer.
    let again = office
        .process(record(id, 11, "news, otherwise written"))
        .await;
    assert_eq!(office.ticket_of(again).await, office.ticket_of(news).await);
    let states = office
        .texts("select status from ticket order by created_at")
        .await;
    assert_eq!(
        states,
        ["closed", "open"].map(|state| Some(state.to_owned()))
    );
}

#[tokio::test]
async fn a_record_without_a_usable_phone_is_a_ticket_that_says_so_and_finds_its_person_later() {
    let office = Office::open(1).await;
    let id = Uuid::new_v4();
    for (minute, phone, state) in [
        (10, json!(null), "missing"),
        (11, json!(["0912345678"]), "missing"),
        (12, json!("9".repeat(40)), "unreadable"),
        (13, json!("0912345678".repeat(10)), "too_long"),
        (14, json!("+84 000 000 000"), "invalid"),
    ] {
        let mut record = record(id, minute, "no phone");
        record["phone_number"] = phone;
        office.process(record).await;
        let states = office.texts("select phone_state from ticket").await;
        assert_eq!(states, [Some(state.to_owned())]);
    }
    assert_eq!(office.number("select count(*) from account").await, 0);
    office.process(record(id, 20, "a phone")).await;
    let found = "select count(*) from ticket join account using (account_id) join contact_book using (contact_id) \
         where phone_state = 'usable'";
    assert_eq!(office.number(found).await, 1);
    assert_eq!(office.number("select count(*) from ticket").await, 1);
}

#[tokio::test]
async fn records_without_an_id_share_the_open_ticket_of_their_person() {
    let office = Office::open(1).await;
    let lead = |name: &str, note: u32| json!({"name": name, "phone_number": PHONE, "note": note});
    let first = office.process(lead("one", 1)).await;
    // Other bytes, but nothing that matters has changed; then something has.
    for (name, note) in [("one", 2), ("two", 3)] {
        let event = office.process(lead(name, note)).await;
        assert_eq!(office.ticket_of(event).await, office.ticket_of(first).await);
        let subjects = office.texts("select subject from ticket").await;
        assert_eq!(subjects, [Some(name.to_owned())]);
    }
    // Nobody is known by nothing: each is a ticket.
    for note in 4..6 {
        office
            .process(json!({"name": "nobody", "note": note}))
            .await;
    }
    assert_eq!(office.number("select count(*) from ticket").await, 3);
}

#[tokio::test]
async fn a_customer_who_is_there_is_found_and_only_what_is_missing_is_filled_in() {
    let office = Office::closed(1).await;
    // Two with one number: the older one it is.
    office
        .run(&format!(
            "insert into account (account_id, country_code, name, normalized_phone, created_at) values \
             ('01890000-0000-7000-8000-000000000002', 'VN', 'younger', '{E164}', '2025-01-02'), \
             ('01890000-0000-7000-8000-000000000001', 'VN', 'older', '{E164}', '2025-01-01'), \
             ('01890000-0000-7000-8000-000000000003', 'SG', 'of another country', '{E164}', '2024-01-01')"
        ))
        .await;
    let mut office = office;
    office.start();
    office
        .process(json!({"id": Uuid::new_v4(), "name": "Pancake", "phone_number": PHONE, "email": "a@example.com"}))
        .await;
    let accounts = office
        .texts("select concat_ws(' ', name, email, pancake_metadata ->> 'connection_id') from account order by account_id")
        .await;
    assert_eq!(
        accounts,
        [
            "older a@example.com vn-main",
            "younger",
            "of another country"
        ]
        .map(|text| Some(text.to_owned()))
    );
    let is_of =
        "select count(*) from ticket where account_id = '01890000-0000-7000-8000-000000000001'";
    assert_eq!(office.number(is_of).await, 1);
}

#[tokio::test]
async fn news_of_a_ticket_that_is_just_being_closed_open_another() {
    let office = Office::open(1).await;
    let id = Uuid::new_v4();
    let first = office.process(record(id, 10, "first")).await;
    let mut staff = office.core.database.owner_pool().begin().await.unwrap();
    sqlx::query("update ticket set status = 'closed', closed_at = now()")
        .execute(&mut *staff)
        .await
        .unwrap();
    let news = office.post(record(id, 11, "news")).await;
    office.core.wait_until_held_up().await;
    staff.commit().await.unwrap();
    assert_eq!(office.settled(news).await, "processed");
    assert_ne!(office.ticket_of(news).await, office.ticket_of(first).await);
    let open = "select count(*) from ticket where status = 'open' and subject = 'news'";
    assert_eq!(office.number(open).await, 1);
}

#[tokio::test]
async fn an_older_state_without_a_time_that_is_tried_again_changes_nothing() {
    let mut office = Office::closed(1).await;
    office
        .run(
            "create function refuse() returns trigger language plpgsql as $$ begin \
             if new.subject = 'old' then raise exception 'no'; end if; return new; end $$; \
             create trigger refuse before insert on ticket for each row execute function refuse()",
        )
        .await;
    office.start();
    let id = Uuid::new_v4();
    let state = |name: &str| json!({"id": id, "name": name, "phone_number": PHONE});
    let old = office.post(state("old")).await;
    assert_eq!(office.settled(old).await, "failed");
    office.core.clock.advance(60);
    let new = office.process(state("new")).await;
    office
        .run(
            "drop trigger refuse on ticket; \
             update pancake_webhook_event set due_at = now() where status = 'failed'",
        )
        .await;
    let tried_again = format!(
        "select count(*) from pancake_webhook_event where event_id = '{old}' and status = 'processed'"
    );
    office.wait_for(1, &tried_again).await;
    assert_eq!(office.ticket_of(old).await, office.ticket_of(new).await);
    let subjects = office.texts("select subject from ticket").await;
    assert_eq!(subjects, [Some("new".to_owned())]);
    // A later one is news, also to a ticket of which it is not known when it was told.
    office
        .run("update ticket set record_received_at = null")
        .await;
    office.process(state("newest")).await;
    let subjects = office.texts("select subject from ticket").await;
    assert_eq!(subjects, [Some("newest".to_owned())]);
}

/// A hotline's number stands in very many records.
#[tokio::test]
async fn the_tickets_of_a_number_that_many_records_have_are_not_all_read() {
    let office = Office::closed(1).await;
    office
        .run(
            "insert into account (account_id, country_code) \
             values ('01890000-0000-7000-8000-0000000000a1', 'VN'); \
             insert into ticket (ticket_id, country_code, source_id, connection_id, record_id, record_digest, \
                    account_id, phone_state) \
             select gen_random_uuid(), 'VN', 'ticket_source_pancake', 'vn-main', \
                    case when n > 1 then gen_random_uuid() end, sha256('x'), \
                    '01890000-0000-7000-8000-0000000000a1', 'usable' from generate_series(1, 3000) as n; \
             analyze ticket",
        )
        .await;
    let plan: Vec<String> = sqlx::query_scalar(
        "explain (costs off) select from ticket \
         where account_id = any (array['01890000-0000-7000-8000-0000000000a1'::uuid]) \
           and record_id is null and connection_id is not null and status <> 'closed'",
    )
    .fetch_all(&office.core.pool)
    .await
    .unwrap();
    let plan = plan.join("\n");
    assert!(
        plan.contains("ticket_open_person_key") && !plan.contains("Filter"),
        "{plan}"
    );
}
