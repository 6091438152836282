//! From event to ticket while all of it is killed: two cores on one database, PostgreSQL crashed in the
//! middle of a batch, a database whose clock is an hour ahead of the cores' and then an hour behind.
//! What stands at the end is compared with what must come of the events that were acknowledged.

mod cores;
mod leads;
mod outcome;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use uuid::Uuid;

use cores::{Cores, Skew};
use leads::{Delivery, Expected, Leads, Random};

/// At once on both cores: enough that batches form and requests wait when a kill comes.
const SENDERS: usize = 24;

struct Story {
    name: &'static str,
    /// Records that are kept, each once however often it is sent.
    events: usize,
    core_kills: usize,
    postgres_crashes: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_cores_and_databases_lose_no_lead_and_double_no_ticket() {
    let story = Story {
        name: "processing",
        events: 5_400,
        core_kills: 6,
        postgres_crashes: 2,
    };
    Box::pin(play(story)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: for `make soak`"]
async fn over_fifty_thousand_events_and_thirty_kills_too() {
    let story = Story {
        name: "processing-soak",
        events: 52_000,
        core_kills: 26,
        postgres_crashes: 4,
    };
    Box::pin(play(story)).await;
}

async fn play(story: Story) {
    let seed = match std::env::var("SMP_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => Uuid::new_v4().as_u64_pair().0,
    };
    eprintln!("seed {seed} (SMP_TEST_SEED={seed} plays the same events in the same order)");
    let mut random = Random(seed);
    let Leads {
        deliveries,
        expected,
    } = leads::make(story.events, &mut random);
    let mut cores = Cores::start(story.name).await;
    cores.open_office().await;
    cores.skew(Skew::Ahead).await;

    let deliveries = Arc::new(deliveries);
    let next = Arc::new(AtomicUsize::new(0));
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let sender = cores.sender();
            let (deliveries, next) = (Arc::clone(&deliveries), Arc::clone(&next));
            let mut random = Random(random.next());
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(delivery) = deliveries.get(number) else {
                        return acknowledged;
                    };
                    acknowledged.push((
                        number,
                        until_acknowledged(&sender, delivery, &mut random).await,
                    ));
                }
            })
        })
        .collect();

    faults(&mut cores, &story, &mut random).await;

    let mut events: Vec<(usize, Option<Uuid>)> = Vec::new();
    for sender in senders {
        events.extend(sender.await.unwrap());
    }
    assert_eq!(events.len(), deliveries.len());
    let acknowledged = outcome::ids_of(&deliveries, &events);
    assert!(acknowledged.len() >= story.events);
    finish(&cores, &expected).await;
    outcome::compare(&cores, &acknowledged, &expected).await;
    cores.remove();
}

/// As Pancake and the edge do: the same again, to whichever core, until it is acknowledged. Gives the
/// event's id if it is a record.
async fn until_acknowledged(
    sender: &cores::Sender,
    delivery: &Delivery,
    random: &mut Random,
) -> Option<Uuid> {
    loop {
        // The edge's clock is off by up to a minute either way, which the hop allows.
        let clock_is_off_by = i64::try_from(random.below(111)).unwrap() - 55;
        let core = random.chance(50);
        let answer = sender
            .post(usize::from(core), &delivery.body, clock_is_off_by)
            .await;
        if let Some((200, answer)) = &answer {
            let status = answer["status"].as_str().unwrap_or_default();
            if delivery.is_record {
                assert!(
                    matches!(status, "accepted" | "duplicate"),
                    "a record was answered 200 {answer}"
                );
                return Some(answer["event_id"].as_str().unwrap().parse().unwrap());
            }
            assert_eq!(status, "invalid_payload", "what is no record was kept");
            return None;
        }
        if let Some((status, answer)) = answer {
            assert_eq!(status, 503, "a core answered {status} {answer}");
        }
        // Not a wait for anything: a sender that is turned away does not come back at once.
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// Kills cores, one after the other, and crashes PostgreSQL, spread over the run by what is settled and
/// not by time. Half way through, the database's clock goes back by two hours.
async fn faults(cores: &mut Cores, story: &Story, random: &mut Random) {
    let all = story.core_kills + story.postgres_crashes;
    // In the middle of what is left between two of them.
    let crash_every = all / story.postgres_crashes;
    let mut core = 0;
    for number in 0..all {
        let due = (number + 1) * story.events / (all + 2);
        cores.wait_until_settled(due).await;
        tokio::time::sleep(Duration::from_millis(random.below(80))).await;
        if number % crash_every == crash_every / 2 && number / crash_every < story.postgres_crashes
        {
            cores.crash_postgres_in_mid_batch(random).await;
        } else {
            cores.kill(core % 2).await;
            core += 1;
        }
        if number == all / 2 {
            cores.skew(Skew::Behind).await;
        }
    }
    assert_eq!(core, story.core_kills);
}

/// Waits until all but the poison is processed; then heals that, and waits for it as well.
async fn finish(cores: &Cores, expected: &Expected) {
    let poison = i64::try_from(expected.poison).unwrap();
    cores
        .wait_for(
            "all but the poison is processed",
            "select count(*) from pancake_webhook_event \
             where status <> 'processed' and coalesce(name, '') <> 'poison'",
            0,
        )
        .await;
    cores
        .wait_for(
            "the poison has failed",
            "select count(*) from pancake_webhook_event where name = 'poison' and status = 'failed' \
             and cause = 'refused_by_database P0001'",
            poison,
        )
        .await;
    // By the database's clock, which an hour parts from the cores' in either direction.
    let by_another_clock = "select count(*) from pancake_webhook_event where status = 'failed' \
         and not (due_at - settled_at between interval '1 second' and interval '15 minutes' \
                  and abs(extract(epoch from settled_at - received_at)) between 2700 and 4500)";
    assert_eq!(cores.number(by_another_clock).await, 0);
    cores.heal_poison().await;
    cores
        .wait_for(
            "the poison is processed",
            "select count(*) from pancake_webhook_event where status <> 'processed'",
            0,
        )
        .await;
}
