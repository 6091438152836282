//! An operator's evening: webhooks that are dropped, jobs run by hand, and each tier of a roll-back, all by `smpctl`.

use std::time::Duration;

use platform::admin::Admin;
use platform::pancake::now;
use platform::pancake_rest::Fault;
use platform::ports::Ports;
use platform::region::Region;
use platform::system::System;
use platform::{checkout, office};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tokio::process::Command;
use uuid::Uuid;

use crate::support::{Signed, lifetime, post, record_url};

const WORKSPACE: u64 = 104;
const KEY: &str = "recovery-api-key";

const SWITCH: [&str; 6] = [
    "rollback",
    "switch",
    "--country",
    "VN",
    "--kill-switch",
    "on",
];

/// What `smpctl` says, and whether it ended with 0.
struct Said {
    is_ok: bool,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("{}{}", self.out, self.err))
    }
}

async fn smpctl(system: &System, arguments: &[&str]) -> Said {
    let region = system.region("smp-asia").unwrap();
    let output = Command::new(checkout::built_program("smpctl").unwrap())
        .args(arguments)
        .env("EDGE_URL", &system.edge.url)
        .env("SMP_STAFF_TOKEN", region.admin_token.as_ref().unwrap())
        .env("CORE_OWNER_DATABASE_URL", region.owner_url())
        .current_dir(checkout::root())
        .output()
        .await
        .unwrap();
    Said {
        is_ok: output.status.success(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

async fn count(region: &Region, what: &str) -> i64 {
    let database = region.database().await.unwrap();
    let query = format!("select count(*) from {what}");
    let found = sqlx::query_scalar(AssertSqlSafe(query))
        .fetch_one(&database)
        .await
        .unwrap();
    database.close().await;
    found
}

fn asia(system: &System) -> &Region {
    system.region("smp-asia").unwrap()
}

async fn wait_for(region: &Region, rows: i64, what: &str) {
    for _ in 0..600 {
        if count(region, what).await == rows {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not in time: {rows} {what}");
}

fn lead() -> Value {
    let changed = jiff::Timestamp::from_second(i64::try_from(now()).unwrap() - 30).unwrap();
    json!({
        "id": Uuid::new_v4().to_string(),
        "name": "Trần Thị Bích",
        "phone_number": "0912345678",
        "source": ["-11"],
        "modified_on": changed.to_string(),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_run_and_each_tier_is_rolled_back_by_smpctl() {
    lifetime::run_directory();
    let name = format!("{}/recovery", lifetime::NAME);
    let mut system = System::start(&name, Ports::Free, |_| ()).await.unwrap();
    let vietnam = system.connection("VN").unwrap().clone();
    let (_, telesales) = office::OPEN[0];
    office::open(asia(&system), &vietnam, &telesales)
        .await
        .unwrap();

    run_jobs(&system).await;
    throw_switches(&system).await;
    put_the_program_before_back(&mut system).await;
    take_a_migration_back(&system).await;
}

async fn run_jobs(system: &System) {
    let jobs = smpctl(system, &["job", "list", "--country", "VN", "--json"]).await;
    let names: Vec<_> = jobs
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["job"].clone())
        .collect();
    assert_eq!(
        json!(names),
        json!([
            "poll",
            "reconciliation",
            "source_sync",
            "expiry",
            "retention",
            "stuck_events",
            "rollup"
        ])
    );
    system.pancake.add_workspace(WORKSPACE, KEY);
    connect(system).await;
    for _ in 0..40 {
        system.pancake.put(WORKSPACE, "lead", lead());
    }
    system.pancake.set_fault(Fault::RefuseKey);
    let refused = smpctl(system, &["job", "run", "poll", "--country", "VN"]).await;
    assert!(
        !refused.is_ok && refused.out.contains("refuses the API key"),
        "{}",
        refused.out
    );
    system.pancake.set_fault(Fault::None);
    let found = smpctl(system, &["job", "run", "poll", "--country", "VN", "--json"]).await;
    assert!(found.is_ok, "{}", found.err);
    assert_eq!(
        found.json()["progress"]["vn-main"]["brought"],
        40,
        "{}",
        found.out
    );
    wait_for(
        asia(system),
        40,
        "pancake_webhook_event where layer = 'poll' and status = 'processed'",
    )
    .await;
    let unknown = smpctl(system, &["job", "run", "sleep", "--country", "VN"]).await;
    assert!(
        !unknown.is_ok && unknown.err.contains("404"),
        "{}",
        unknown.err
    );
    let log = std::fs::read_to_string(system.directory().join("logs/smp-asia-core.log")).unwrap();
    assert!(!log.contains(KEY), "the key is in the log");
}

/// Tier 1, for all and for a source.
async fn throw_switches(system: &System) {
    let shown = smpctl(system, &SWITCH).await;
    assert!(
        shown.is_ok && shown.out.contains("nothing was changed"),
        "{}",
        shown.err
    );
    let thrown = smpctl(system, &[&SWITCH[..], &["--yes", "--json"]].concat()).await;
    assert_eq!(thrown.json()["is_done"], true, "{}", thrown.err);
    let held = send(system).await;
    wait_for(
        asia(system),
        1,
        &format!(
            "pancake_webhook_event where event_id = '{held}' and status = 'skipped_kill_switch'"
        ),
    )
    .await;
    let off = [
        "rollback",
        "switch",
        "--country",
        "VN",
        "--kill-switch",
        "off",
        "--yes",
    ];
    assert!(smpctl(system, &off).await.is_ok);
    let source = [
        "rollback",
        "switch",
        "--country",
        "VN",
        "--source",
        "vn-main/-11",
        "off",
        "--yes",
    ];
    let without = smpctl(system, &source).await;
    assert!(
        without.is_ok && without.out.contains("is_active is off"),
        "{}",
        without.err
    );
    let held = send(system).await;
    wait_for(
        asia(system),
        1,
        &format!(
            "pancake_webhook_event where event_id = '{held}' and status = 'skipped_source_disabled'"
        ),
    )
    .await;
}

/// Tier 2: the core is away until its program is there again. A command that changes nothing is told from one that does.
async fn put_the_program_before_back(system: &mut System) {
    let ready = format!("{}/readyz", asia(system).core_url());
    let nothing = smpctl(
        system,
        &[
            "rollback",
            "service",
            "--ready",
            &ready,
            "--run",
            "true",
            "--within-secs",
            "1",
            "--yes",
        ],
    )
    .await;
    assert!(
        !nothing.is_ok
            && nothing
                .err
                .contains("not seen to change within 1 s: no process answers"),
        "{}{}",
        nothing.out,
        nothing.err
    );
    let stop = format!(
        "kill -KILL {}",
        system.region_mut("smp-asia").unwrap().core().unwrap().pid()
    );
    let service = [
        "rollback", "service", "--ready", &ready, "--run", &stop, "--yes", "--json",
    ];
    let given_up = smpctl(system, &[&service[..], &["--within-secs", "1"]].concat()).await;
    assert!(
        !given_up.is_ok && given_up.err.contains("does not answer 200 after 1 s"),
        "{}",
        given_up.err
    );
    // It has to have been looked at before it is there again.
    let began = system.directory().join("began");
    let run = format!("touch {}", began.display());
    let again = [
        "rollback", "service", "--ready", &ready, "--run", &run, "--yes", "--json",
    ];
    let program = checkout::built_program("smpctl").unwrap();
    let waiting = tokio::spawn(Command::new(program).args(again).output());
    while !began.exists() {
        assert!(
            !waiting.is_finished(),
            "smpctl ended before it ran anything"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    system
        .region_mut("smp-asia")
        .unwrap()
        .start_core()
        .await
        .unwrap();
    let back = waiting.await.unwrap().unwrap();
    assert!(
        back.status.success(),
        "{}",
        String::from_utf8_lossy(&back.stderr)
    );
}

/// Tier 3, which asks for what makes it safe.
async fn take_a_migration_back(system: &System) {
    let dump = system.directory().join("before.dump");
    let core = checkout::built_program("regional-core").unwrap();
    let (dump_path, core) = (dump.to_str().unwrap(), core.to_str().unwrap());
    let migration = [
        "rollback",
        "migration",
        "--country",
        "VN",
        "--to",
        "23",
        "--backup",
        dump_path,
        "--core",
        core,
    ];
    let high = [&migration[..4], &["--to", "9999"], &migration[6..]].concat();
    let high = smpctl(system, &high).await;
    assert!(
        !high.is_ok && high.err.contains("nothing is above 9999: the schema is at"),
        "{}",
        high.err
    );
    let careless = smpctl(system, &migration).await;
    assert!(
        careless.err.contains("--country VN --kill-switch on"),
        "{}",
        careless.err
    );
    assert!(
        smpctl(system, &[&SWITCH[..], &["--yes"]].concat())
            .await
            .is_ok
    );
    // The other countries of the region have their rows in the same database.
    let other = |state| {
        [
            "rollback",
            "switch",
            "--country",
            "TH",
            "--kill-switch",
            state,
            "--yes",
        ]
    };
    assert!(smpctl(system, &other("off")).await.is_ok);
    let careless = smpctl(system, &migration).await;
    assert!(
        careless.err.contains("off in TH,")
            && careless.err.contains("--country TH --kill-switch on"),
        "{}",
        careless.err
    );
    assert!(smpctl(system, &other("on")).await.is_ok);
    let careless = smpctl(system, &migration).await;
    assert!(careless.err.contains("before.dump"), "{}", careless.err);
    std::fs::write(&dump, "a dump").unwrap();
    let careless = smpctl(system, &[&migration[..], &["--yes"]].concat()).await;
    assert!(careless.err.contains("no dump"), "{}", careless.err);
    // As a dump begins; what a restore would find further on is for pg_restore to say.
    std::fs::write(&dump, b"PGDMP\x01\x10\x00\x04\x08\x01").unwrap();
    let shown = smpctl(system, &migration).await;
    assert!(
        shown.is_ok && shown.out.contains("drops pancake_daily"),
        "{}{}",
        shown.out,
        shown.err
    );
    assert_eq!(
        count(asia(system), "pg_class where relname = 'pancake_daily'").await,
        1
    );
    let taken = smpctl(system, &[&migration[..], &["--yes"]].concat()).await;
    assert!(
        taken.is_ok && taken.out.contains("the schema is at 0023"),
        "{}{}",
        taken.out,
        taken.err
    );
    assert_eq!(
        count(asia(system), "pg_class where relname = 'pancake_daily'").await,
        0
    );
    asia(system).run_core("migrate").unwrap();
}

/// Gives Viet Nam's connection its workspace and key, as an admin does.
async fn connect(system: &System) {
    let region = asia(system);
    let admin = Admin::new(region, format!("{}/v1", region.core_url())).unwrap();
    admin.connect("vn-main", (WORKSPACE, KEY)).await.unwrap();
}

/// Sends a lead's webhook: its event.
async fn send(system: &System) -> Uuid {
    let vietnam = system.connection("VN").unwrap();
    let body = lead().to_string().into_bytes();
    let signed = Signed::now(vietnam, &body);
    let url = record_url(&system.edge.url, vietnam);
    post(&url, &signed, body).await.is_kept("accepted")
}
