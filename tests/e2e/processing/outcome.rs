//! What stands in the database at the end, beside what must.

use std::collections::{HashMap, HashSet};

use sqlx::Row as _;
use uuid::Uuid;

use super::cores::Cores;
use super::leads::{Delivery, Expected, State};

/// The event's id of each record that was acknowledged. The same bytes have the same id, whenever and
/// through whichever core they came.
pub(super) fn ids_of(
    deliveries: &[Delivery],
    acknowledged: &[(usize, Option<Uuid>)],
) -> HashSet<Uuid> {
    let mut by_body: HashMap<&[u8], Uuid> = HashMap::new();
    for (number, event) in acknowledged {
        if let Some(event) = event {
            let known = by_body.entry(&deliveries[*number].body).or_insert(*event);
            assert_eq!(known, event, "the same bytes became two events");
        }
    }
    let records: HashSet<&[u8]> = deliveries
        .iter()
        .filter(|delivery| delivery.is_record)
        .map(|delivery| &*delivery.body)
        .collect();
    assert_eq!(by_body.len(), records.len());
    by_body.into_values().collect()
}

struct Ticket {
    record_id: Option<Uuid>,
    account_id: Option<Uuid>,
    state: State,
    assignee: Uuid,
}

pub(super) async fn compare(cores: &Cores, acknowledged: &HashSet<Uuid>, expected: &Expected) {
    let tickets = read_tickets(cores).await;
    compare_events(cores, acknowledged, &tickets).await;
    compare_tickets(cores, &tickets, expected).await;
    compare_people(cores, expected).await;
    compare_turns(cores, &tickets).await;
    compare_clocks(cores).await;
    compare_counters(cores, acknowledged.len(), expected).await;
}

async fn read_tickets(cores: &Cores) -> HashMap<Uuid, Ticket> {
    let rows = sqlx::query(
        "select t.ticket_id, t.record_id, t.account_id, t.assignee_id, t.subject, t.phone_state, t.status, \
                extract(epoch from t.record_modified_on)::bigint as modified_on, a.normalized_phone, \
                c.primary_phone, c.account_id as of_contact \
         from ticket as t left join account as a using (account_id) left join contact_book as c using (contact_id)",
    )
    .fetch_all(cores.database())
    .await
    .unwrap();
    rows.iter()
        .map(|row| {
            let account_id: Option<Uuid> = row.get("account_id");
            let number: Option<String> = row.get("normalized_phone");
            assert_eq!(row.get::<Option<Uuid>, _>("of_contact"), account_id);
            assert_eq!(row.get::<Option<String>, _>("primary_phone"), number);
            assert_eq!(row.get::<String, _>("status"), "open");
            let phone = match row.get("phone_state") {
                "usable" => Ok(number.expect("usable, but of no customer")),
                "missing" => Err("missing"),
                "unreadable" => Err("unreadable"),
                "too_long" => Err("too_long"),
                "invalid" => Err("invalid"),
                state => panic!("{state}"),
            };
            let ticket = Ticket {
                record_id: row.get("record_id"),
                account_id,
                state: State {
                    modified_on: row.get("modified_on"),
                    name: row.get("subject"),
                    phone,
                },
                assignee: row
                    .get::<Option<Uuid>, _>("assignee_id")
                    .expect("unassigned"),
            };
            (row.get("ticket_id"), ticket)
        })
        .collect()
}

/// What was acknowledged is there, nothing else is, and all of it came to a ticket of its record.
async fn compare_events(
    cores: &Cores,
    acknowledged: &HashSet<Uuid>,
    tickets: &HashMap<Uuid, Ticket>,
) {
    let rows = sqlx::query(
        "select event_id, record_id, ticket_id, status, normalized_phone from pancake_webhook_event",
    )
    .fetch_all(cores.database())
    .await
    .unwrap();
    let events: HashSet<Uuid> = rows.iter().map(|row| row.get("event_id")).collect();
    let lost = acknowledged.difference(&events).count();
    assert_eq!(lost, 0, "{lost} acknowledged events are lost");
    assert_eq!(
        events.len(),
        acknowledged.len(),
        "there are events that nobody sent"
    );
    for row in &rows {
        assert_eq!(row.get::<String, _>("status"), "processed");
        let ticket = row
            .get::<Option<Uuid>, _>("ticket_id")
            .expect("processed, without a ticket");
        let ticket = tickets.get(&ticket).expect("its ticket is not there");
        assert_eq!(ticket.record_id, row.get("record_id"));
    }
}

async fn compare_tickets(cores: &Cores, tickets: &HashMap<Uuid, Ticket>, expected: &Expected) {
    let mut records: HashMap<Uuid, &State> = HashMap::new();
    let mut persons: HashMap<String, &State> = HashMap::new();
    let mut nobody = 0;
    for ticket in tickets.values() {
        match (ticket.record_id, &ticket.state.phone, ticket.account_id) {
            (Some(record), ..) => {
                let before = records.insert(record, &ticket.state);
                assert_eq!(before, None, "a record has two tickets");
            }
            (None, Ok(number), _) => {
                let before = persons.insert(number.clone(), &ticket.state);
                assert_eq!(before, None, "a person has two tickets without a record");
            }
            (None, Err(_), None) => nobody += 1,
            (None, Err(fault), Some(_)) => panic!("of a customer, though the number is {fault}"),
        }
    }
    for (record, newest) in &expected.records {
        assert_eq!(
            records.get(record),
            Some(&newest),
            "not as the record was last"
        );
    }
    for (number, newest) in &expected.persons {
        assert_eq!(
            persons.get(number),
            Some(&newest),
            "not as the person was last"
        );
    }
    assert_eq!(nobody, expected.nobody);
    assert_eq!(tickets.len(), expected.tickets());
    let without_event = "select count(*) from ticket as t where not exists ( \
         select from pancake_webhook_event as e where e.ticket_id = t.ticket_id)";
    assert_eq!(cores.number(without_event).await, 0);
}

/// One customer a number and one contact a customer; and no number that nobody sent.
async fn compare_people(cores: &Cores, expected: &Expected) {
    let accounts: Vec<String> = sqlx::query_scalar("select normalized_phone from account")
        .fetch_all(cores.database())
        .await
        .unwrap();
    let numbers: HashSet<String> = accounts.iter().cloned().collect();
    assert_eq!(numbers.len(), accounts.len(), "a number has two customers");
    assert!(numbers.is_subset(&expected.phones));
    let newest = expected.records.values().chain(expected.persons.values());
    for number in newest.filter_map(|state| state.phone.as_ref().ok()) {
        assert!(numbers.contains(number), "somebody is no customer");
    }
    let contacts: Vec<(String, String)> = sqlx::query_as(
        "select normalized_phone, primary_phone from contact_book join account using (account_id)",
    )
    .fetch_all(cores.database())
    .await
    .unwrap();
    assert!(contacts.iter().all(|(account, contact)| account == contact));
    let numbers: HashSet<_> = contacts.iter().map(|(number, _)| number).collect();
    assert_eq!(
        (numbers.len(), contacts.len()),
        (accounts.len(), accounts.len()),
        "not one contact a customer"
    );
}

/// Each ticket was given once, to whoever has it, who was told of it once; in turns.
async fn compare_turns(cores: &Cores, tickets: &HashMap<Uuid, Ticket>) {
    let assigned: Vec<(Uuid, Uuid, String)> =
        sqlx::query_as("select ticket_id, staff_id, method from ticket_assignment")
            .fetch_all(cores.database())
            .await
            .unwrap();
    let told: Vec<(Uuid, Uuid, String)> =
        sqlx::query_as("select ticket_id, staff_id, template_code from notification")
            .fetch_all(cores.database())
            .await
            .unwrap();
    for (rows, kind) in [(&assigned, "automatic"), (&told, "noti_pancake_new_lead")] {
        assert_eq!(rows.len(), tickets.len(), "{kind}");
        let distinct: HashSet<Uuid> = rows.iter().map(|(ticket, ..)| *ticket).collect();
        assert_eq!(distinct.len(), tickets.len(), "{kind}: a ticket has two");
        for (ticket, staff, found) in rows {
            assert_eq!((tickets[ticket].assignee, kind), (*staff, &**found));
        }
    }
    let mut shares: HashMap<Uuid, usize> = HashMap::new();
    for (_, staff, _) in &assigned {
        *shares.entry(*staff).or_default() += 1;
    }
    let (least, most) = (
        shares.values().min().unwrap(),
        shares.values().max().unwrap(),
    );
    assert_eq!(shares.len(), 7);
    assert!(most - least <= 1, "{least} to {most} tickets a telesale");
    let at_once = "select count(*) - count(distinct assigned_at) from ticket_assignment";
    assert_eq!(cores.number(at_once).await, 0, "two turns at one moment");
    let forgotten = "select count(*) from staff where last_assigned_at is distinct from \
         (select max(assigned_at) from ticket_assignment as a where a.staff_id = staff.staff_id)";
    assert_eq!(cores.number(forgotten).await, 0);
}

/// An hour parts the database's clock from the cores', ahead at first and behind later: what tells when an
/// event was settled is the database's, and when it came the core's.
async fn compare_clocks(cores: &Cores) {
    for (offset, what) in [("", "ahead"), ("-", "behind")] {
        let settled = format!(
            "select count(*) from pancake_webhook_event where settled_at - received_at \
             between interval '{offset}1 hour' - interval '15 minutes' and interval '{offset}1 hour' + interval '15 minutes'"
        );
        assert!(
            cores.number(&settled).await > 0,
            "no event was settled while it was {what}"
        );
    }
    let by_another = "select count(*) from pancake_webhook_event \
         where abs(extract(epoch from settled_at - received_at)) not between 2700 and 4500 \
            or abs(extract(epoch from received_at - now())) > 1800";
    assert_eq!(cores.number(by_another).await, 0);
    let made = "select count(*) from ticket where abs(extract(epoch from created_at - now())) not between 2700 and 4500";
    assert_eq!(cores.number(made).await, 0);
}

/// A core counts from its start, and what it counts is committed: never more than there is.
async fn compare_counters(cores: &Cores, events: usize, expected: &Expected) {
    let rejected = i64::try_from(expected.rejected).unwrap();
    let kept = "select count(*) from pancake_rejected_request";
    assert_eq!(cores.number(kept).await, rejected);
    let mut processed = 0.0;
    for core in [0, 1] {
        for (outcome, is_possible) in [
            ("processed", true),
            ("failed", true),
            ("dead_letter", false),
            ("skipped_kill_switch", false),
            ("skipped_source_disabled", false),
        ] {
            let series = format!("pancake_events_total{{country=\"VN\",outcome=\"{outcome}\"}}");
            let count = cores.metric(core, &series).await;
            assert!(is_possible || count < 0.5, "{count} events are {outcome}");
            if outcome == "processed" {
                processed += count;
                let observed = "pancake_event_process_duration_seconds_count";
                let observed = cores.metric(core, observed).await;
                assert!((observed - count).abs() < 0.5);
            }
        }
    }
    let events = f64::from(u32::try_from(events).unwrap());
    assert!(
        processed >= 1.0 && processed <= events,
        "{processed} of {events}"
    );
}
