//! Whoever is killed, at whatever instant, under a stream of writes: no row is lost and none differs.

use tokio::time::sleep;

use super::pair::Pair;
use super::writers::{Random, Writers};

/// Who is killed with SIGKILL.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Relay,
    Applier,
    Mirror,
    HubBroker,
    RegionBroker,
    HubDatabase,
    RegionDatabase,
}

impl Victim {
    const ALL: [Self; 7] = [
        Self::Relay,
        Self::Applier,
        Self::Mirror,
        Self::HubBroker,
        Self::RegionBroker,
        Self::HubDatabase,
        Self::RegionDatabase,
    ];

    /// Kills, and after a moment starts again.
    async fn kill(self, pair: &mut Pair, random: &mut Random) {
        let down = random.up_to_ms(500);
        match self {
            // Their supervisors start them.
            Self::Relay => pair.hub.replicator.kill(),
            Self::Applier => pair.region.replicator.kill(),
            Self::Mirror => {
                pair.mirror.kill().unwrap();
                sleep(down).await;
                pair.mirror.start_again().await.unwrap();
            }
            Self::HubBroker | Self::RegionBroker => {
                let kafka = match self {
                    Self::HubBroker => &mut pair.hub.node.kafka,
                    _ => &mut pair.region.node.kafka,
                };
                kafka.kill().unwrap();
                sleep(down).await;
                kafka.start_again().await.unwrap();
            }
            Self::HubDatabase | Self::RegionDatabase => {
                let postgres = match self {
                    Self::HubDatabase => &mut pair.hub.postgres,
                    _ => &mut pair.region.postgres,
                };
                postgres.crash().unwrap();
                sleep(down).await;
                postgres.start_again().await.unwrap();
            }
        }
    }
}

async fn kill_each(name: &str, rounds: usize) {
    let mut random = Random::announced();
    let mut pair = Pair::start(name).await;
    let hub = pair.hub.database.connect_options();
    let writers = Writers::start(&hub, &mut random);
    let started = tokio::time::Instant::now();
    for round in 1..=rounds {
        let mut victims = Victim::ALL;
        random.shuffle(&mut victims);
        for victim in victims {
            // Otherwise it would be killed while nothing comes through it.
            pair.wait_until_caught_up().await;
            sleep(random.up_to_ms(700)).await;
            eprintln!(
                "{:>6.1} s, round {round}: {victim:?}",
                started.elapsed().as_secs_f64()
            );
            victim.kill(&mut pair, &mut random).await;
        }
    }
    pair.wait_until_caught_up().await;
    let seconds = started.elapsed().as_secs();
    let written = writers.stop().await;
    eprintln!(
        "{seconds} s: {written:?}; the relay ended by itself: {:?}, the applier: {:?}",
        pair.hub.replicator.endings(),
        pair.region.replicator.endings()
    );
    assert!(
        written.changes > 20 * seconds && written.rollbacks > 0,
        "hardly anything was written: {written:?}"
    );
    // Three writers lost the hub's database in each round.
    let rounds = u64::try_from(rounds).unwrap();
    assert!(written.reconnects >= rounds, "{written:?}");

    pair.wait_until_proven_equal().await;
    let parked = "select count(*) from smp_global.parked_record";
    pair.region.wait_for(0, parked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_killed_under_writes_no_row_is_lost_and_none_differs() {
    Box::pin(kill_each("md-kills", 1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: for `make soak`"]
async fn whoever_is_killed_many_times_under_writes_no_row_is_lost_and_none_differs() {
    Box::pin(kill_each("md-kills-soak", 5)).await;
}
