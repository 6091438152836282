//! A region is added to the platform that is up, whatever is killed meanwhile, and taken from it; the others notice
//! nothing.

mod added;

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use platform::ports::Ports;
use platform::system::System;
use serde_json::Value;
use sqlx::PgPool;

use crate::support::{Signed, lead, lifetime, post, record_url};
use added::{Added, PROCESSES, read_json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_is_added_to_the_platform_that_is_up_and_taken_from_it() {
    lifetime::run_directory();
    let name = format!("{}/regions-added", lifetime::NAME);
    let mut system = System::start(&name, Ports::Free, |_| ()).await.unwrap();
    let starting = system.start_master_data(&name, Ports::Free, |_| ());
    Box::pin(starting).await.unwrap();
    system.hand_over().unwrap();
    let added = Added::prepare(&system).await;
    // A run before this one may have failed, and its database is elsewhere.
    added.run("down smp-us --purge").await;
    let others = ["smp-asia", "smp-china"].map(|region| added.pids(region));

    eprintln!("what stands is what was handed over");
    for region in ["smp-asia", "smp-china"] {
        // The hub is told of smp-us once that is here.
        for stage in ["stores", "services"] {
            added.run(&format!("up {region} --stage {stage}")).await;
        }
    }
    assert_eq!(
        others,
        ["smp-asia", "smp-china"].map(|region| added.pids(region))
    );
    added.introduce();
    eprintln!("refusals");
    let (is_done, said) = added.try_run("up smp-us --stage services").await;
    assert!(
        !is_done && said.contains("'platform region up smp-us --stage stores'"),
        "{said}"
    );
    let (is_done, said) = added.try_run("up smp-mars --stage stores").await;
    assert!(
        !is_done && said.contains("infra/regions/smp-mars.toml is not there"),
        "{said}"
    );
    let (is_done, said) = added.try_run("down smp-asia").await;
    assert!(!is_done && said.contains("smp-asia is the hub"), "{said}");

    eprintln!("the stages, each killed in its midst");
    added_though_killed(&added).await;
    eprintln!("its core, master data, addresses");
    is_ready(&added).await;
    has_master_data(&added).await;
    is_listed(&added).await;
    eprintln!("the edge");
    edge_has_its_key(&system, &added).await;
    eprintln!("again, and with another setting");
    only_what_differs_is_started_again(&added).await;
    eprintln!("its database outlives everything but a purge");
    database_is_kept(&added).await;

    eprintln!("down for good");
    added.run("down smp-us --purge").await;
    is_gone(&added);
    assert_eq!(
        read_json(&added.run.join("sites.json"))["regions"]["smp-us"],
        Value::Null
    );
    added.run("down smp-us --purge").await;
    // The hub's relay asks it no more; nothing else has changed for the others.
    added.run("up smp-asia --stage services").await;
    let [mut asia, china] = others;
    let mut asia_now = added.pids("smp-asia");
    assert_ne!(asia.remove("replicator"), asia_now.remove("replicator"));
    assert_eq!((asia, china), (asia_now, added.pids("smp-china")));
    lead_is_taken(&system).await;
}

async fn added_though_killed(added: &Added) {
    for (line, log) in [
        ("starting PostgreSQL", None),
        ("starting PostgreSQL", Some("postgres")),
        ("starting Kafka", None),
        ("starting Kafka", Some("kafka")),
    ] {
        added.kill_at("up smp-us --stage stores", line, log).await;
    }
    added.run("up smp-us --stage stores").await;
    // Before the region itself, so that the hub knows it when it comes.
    let hub = "up smp-asia --stage services";
    added.kill_at(hub, "starting it again", None).await;
    added.run(hub).await;
    for (line, log) in [
        ("roles, database, schemas", None),
        ("starting core", Some("core")),
        ("starting replicator", Some("replicator")),
        ("starting mirror", Some("mirror")),
    ] {
        added.kill_at("up smp-us --stage services", line, log).await;
    }
    added.run("up smp-us --stage services").await;
    let pids = added.pids("smp-us");
    for what in PROCESSES {
        assert!(pids.contains_key(what), "{what}: {pids:?}");
        // PostgreSQL's server has processes of its own.
        if what != "postgres" {
            assert_eq!(added.writers(what), 1, "{what} of smp-us");
        }
    }
}

async fn is_ready(added: &Added) {
    let url = added.variable("SMP_US_CORE_URL").unwrap();
    let answer = reqwest::get(format!("{url}/readyz")).await.unwrap();
    assert_eq!(answer.status(), 200);
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(
        (&answer["region"], &answer["countries"]),
        (&"smp-us".into(), &vec!["US"].into())
    );
}

async fn has_master_data(added: &Added) {
    let replicator = added.variable("SMP_US_REPLICATOR_URL").unwrap();
    wait_for_metric(&replicator, "replication_table_differs{", 5, 0.0).await;
    let hub = added.variable("SMP_ASIA_REPLICATOR_URL").unwrap();
    let asked = "replication_region_differs{region=\"smp-asia\",asked=\"smp-us\"}";
    wait_for_metric(&hub, asked, 1, 0.0).await;
}

/// Waits until there are so many lines that begin so, with this value each.
async fn wait_for_metric(replicator: &str, prefix: &str, lines: usize, value: f64) {
    let mut found = Vec::new();
    for _ in 0..900 {
        let metrics = reqwest::get(format!("{replicator}/metrics")).await.unwrap();
        let metrics = metrics.text().await.unwrap();
        let values = metrics.lines().filter(|line| line.starts_with(prefix));
        found = values
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .collect();
        if found == vec![value; lines] {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{prefix}: {found:?} at {replicator}");
}

async fn is_listed(added: &Added) {
    let core = &added.cores()["smp-us"];
    let url = added.variable("SMP_US_CORE_URL").unwrap();
    assert_eq!(core["origin"], *url);
    assert_eq!(core["sealing_key"], *added.sealing_key);
    // Its core takes the token that was minted for it.
    let tickets = format!("{url}/v1/crm/tickets?limit=1");
    let token = added.variable("SMP_US_ADMIN_TOKEN").unwrap();
    let request = reqwest::Client::new()
        .get(tickets)
        .header("x-country-code", "US");
    let answer = request.bearer_auth(token).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

async fn edge_has_its_key(system: &System, added: &Added) {
    added.run("edge").await;
    let secrets = fs::read_to_string(added.run.join(".dev.vars")).unwrap();
    let key = added.variable("SMP_US_HOP_SECRET").unwrap();
    assert!(secrets.contains(&key) && secrets.contains("CONNECTIONS_REFRESH_MS"));
    let again = added.run("edge").await;
    assert!(again.contains("has these secrets"), "{again}");
    lead_is_taken(system).await;
}

async fn lead_is_taken(system: &System) {
    let connection = system.connection("VN").unwrap();
    let (_, body) = lead();
    let signed = Signed::now(connection, body.as_bytes());
    let answer = post(&record_url(&system.edge.url, connection), &signed, body).await;
    answer.is_kept("accepted");
}

async fn only_what_differs_is_started_again(added: &Added) {
    let before = added.pids("smp-us");
    let environment = fs::read(added.run.join("platform.env")).unwrap();
    added.run("up smp-us --stage stores").await;
    added.run("up smp-us --stage services").await;
    assert_eq!(added.pids("smp-us"), before);
    assert_eq!(
        fs::read(added.run.join("platform.env")).unwrap(),
        environment
    );

    let file = added.secrets().join("smp-us/core.env");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}CORE_WORKERS=1\n")).unwrap();
    added.run("up smp-us --stage services").await;
    let (mut before, mut after) = (before, added.pids("smp-us"));
    assert_ne!(before.remove("core"), after.remove("core"));
    assert_eq!(before, after);
}

async fn database_is_kept(added: &Added) {
    let url = || added.variable("SMP_US_DATABASE_URL").unwrap();
    let database = PgPool::connect(&url()).await.unwrap();
    sqlx::raw_sql("create table kept as select 7 as number")
        .execute(&database)
        .await
        .unwrap();
    database.close().await;
    let pids = added.pids("smp-us");
    for what in ["postgres", "kafka", "core"] {
        kill(Pid::from_raw(pids[what]), Signal::SIGKILL).unwrap();
    }
    comes_up(added).await;
    assert_eq!(kept(&url()).await, 7);

    added.run("down smp-us").await;
    is_gone(added);
    comes_up(added).await;
    assert_eq!(kept(&url()).await, 7);
    has_master_data(added).await;
}

async fn comes_up(added: &Added) {
    for stage in ["stores", "services"] {
        added.run(&format!("up smp-us --stage {stage}")).await;
    }
    is_ready(added).await;
}

async fn kept(url: &str) -> i32 {
    let database = PgPool::connect(url).await.unwrap();
    let number = sqlx::query_scalar("select number from kept");
    number.fetch_one(&database).await.unwrap()
}

fn is_gone(added: &Added) {
    assert!(added.pids("smp-us").is_empty());
    for what in PROCESSES {
        assert_eq!(added.writers(what), 0, "{what} of smp-us");
    }
    assert_eq!(added.cores()["smp-us"], Value::Null);
    assert_eq!(added.variable("SMP_US_CORE_URL"), None);
    assert!(added.variable("SMP_CHINA_CORE_URL").is_some());
}
