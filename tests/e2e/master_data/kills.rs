//! Whoever is killed, and whenever the network is cut, under a stream of writes: no row is lost and none
//! differs.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::pair::{Pair, eventually};
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
    let started = Instant::now();
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

/// Between the regions nothing goes through for a while, and nobody is told. The lag says so meanwhile.
async fn cut_the_network(name: &str, cuts: usize, lasting: Duration) {
    let mut random = Random::announced();
    let pair = Pair::start(name).await;
    let writers = Writers::start(&pair.hub.database.connect_options(), &mut random);
    for cut in 1..=cuts {
        pair.wait_until_caught_up().await;
        sleep(random.up_to_ms(700)).await;
        eprintln!("cut {cut}");
        pair.link.cut();
        let began = Instant::now();
        // What had come through is applied within a second or two; from then on the lag is as old as the cut.
        while began.elapsed() < lasting {
            sleep(Duration::from_millis(250)).await;
            let cut_for = began.elapsed().as_secs_f64();
            let lag = pair.region.metric("replication_lag_seconds").await.unwrap();
            assert!(
                lag > cut_for - 3.0,
                "cut for {cut_for:.1} s, and the lag is said to be {lag:.1} s"
            );
        }
        pair.link.mend();
    }
    pair.wait_until_caught_up().await;
    let written = writers.stop().await;
    assert!(written.changes > 0, "{written:?}");
    pair.wait_until_proven_equal().await;
    eventually("the lag falls", async || {
        match pair.region.metric("replication_lag_seconds").await {
            Some(lag) if lag < 2.0 => Ok(()),
            lag => Err(format!("{lag:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_is_cut_under_writes_costs_time_and_nothing_else() {
    Box::pin(cut_the_network("md-cut", 1, Duration::from_secs(8))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: for `make soak`"]
async fn a_network_that_is_cut_for_a_minute_five_times_costs_time_and_nothing_else() {
    Box::pin(cut_the_network("md-cut-soak", 5, Duration::from_mins(1))).await;
}
