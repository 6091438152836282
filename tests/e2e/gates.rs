//! `smpctl gate` on a real database, before a Prometheus that says what it is told: each criterion passes on what a
//! good pilot leaves behind, and fails on what it is there to find.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use infra::gate::cases;
use infra::gate::items::{self, Kind};
use platform::checkout;
use platform::ports::Ports;
use platform::region::Region;
use protocol::RegionId;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use tokio::net::TcpListener;

use crate::support::lifetime;

/// Only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Two days of a good pilot, of a country that no core serves, so that nobody works on it meanwhile.
const GOOD: &str = "
insert into pancake_connection (connection_id, country_code, created_at, status_changed_at)
    values ('main', '$c', now() - interval '3 days', now() - interval '3 days');
insert into staff (staff_id, country_code, subject, display_name, role)
    values (gen_random_uuid(), '$c', 'telesale', 'Telesale', 'telesale');
insert into pancake_webhook_event (event_id, country_code, region_id, connection_id, layer, status, payload_hash,
                                   payload, received_at, settled_at, normalized_phone)
    select gen_random_uuid(), '$c', 'smp-asia', 'main', 'poll', 'processed', sha256(convert_to(n::text, 'UTF8')),
           '{}', now() - interval '1 hour', now() - interval '1 hour' + interval '2 seconds', '+8490000' || 1000 + n
    from generate_series(1, 1000) as n;
insert into ticket (ticket_id, country_code, source_id, connection_id, record_digest, phone_state, status,
                    created_at, first_response_at)
    select gen_random_uuid(), '$c', 'ticket_source_1', 'main', sha256(convert_to(n::text, 'UTF8')), 'usable',
           'in_progress', now() - interval '2 hours', now() - interval '2 hours' + interval '10 minutes'
    from generate_series(1, 20) as n;
insert into ticket_assignment (assignment_id, country_code, ticket_id, staff_id, method)
    select gen_random_uuid(), '$c', ticket_id, staff_id, 'automatic'
    from ticket join staff using (country_code) where country_code = '$c';
insert into pancake_reconciliation_run (run_id, country_code, connection_id, window_from, window_to, started_at,
                                        finished_at)
    select gen_random_uuid(), '$c', 'main', at - interval '2 days', at, at, at + interval '1 minute'
    from unnest(array[now() - interval '1 hour',
                      (date_trunc('day', now() at time zone 'UTC') - interval '22 hours') at time zone 'UTC']) as at;
insert into job_run (run_id, country_code, job, state, started_at, finished_at)
    values (gen_random_uuid(), '$c', 'reconciliation', 'ok', now() - interval '1 hour', now() - interval '55 minutes');
insert into pancake_replay (replay_id, country_code, filter, state, total, done, created_by, finished_at)
    values (gen_random_uuid(), '$c', '{\"states\": [\"dead_letter\"]}', 'done', 1, 1, 'admin', now());
";

/// What is wrong in the database, the wave whose gate is asked, and the criteria that fail by it.
const WRONG: &[(&str, &str, &[&str])] = &[
    (
        "update pancake_webhook_event set status = 'dead_letter'
         where event_id in (select event_id from pancake_webhook_event where country_code = '$c' limit 6)",
        "w4",
        &["w4-kpi-success-rate"],
    ),
    (
        "update pancake_webhook_event set status = 'dead_letter'
         where event_id in (select event_id from pancake_webhook_event where country_code = '$c' limit 6)",
        "w1",
        &["w1-success-rate"],
    ),
    (
        "update pancake_webhook_event set settled_at = received_at + interval '30 seconds' where country_code = '$c'",
        "w1",
        &["w1-process-p95"],
    ),
    (
        "update pancake_webhook_event set settled_at = received_at + interval '31 seconds' where country_code = '$c'",
        "w4",
        &["w4-kpi-latency"],
    ),
    (
        "update pancake_webhook_event set status = 'received', settled_at = null where country_code = '$c'",
        "w1",
        &["w1-success-rate", "w1-process-p95"],
    ),
    (
        "update pancake_reconciliation_run set missing = 1, healed = 1
         where country_code = '$c' and started_at < now() - interval '1 hour 1 minute'",
        "w1",
        &["w1-zero-miss"],
    ),
    (
        "update pancake_reconciliation_run set missing = 5, healed = 5 where country_code = '$c'",
        "w4",
        &["w4-kpi-zero-miss", "w4-missing-per-day"],
    ),
    (
        "insert into pancake_connection_status (change_id, country_code, connection_id, status)
         values (gen_random_uuid(), '$c', 'main', 'suspended')",
        "w4",
        &["w4-no-suspension"],
    ),
    (
        "update pancake_connection set status = 'suspended' where country_code = '$c'",
        "w1",
        &["w1-no-suspension"],
    ),
    (
        "insert into ticket_assignment (assignment_id, country_code, ticket_id, staff_id, method, assigned_by)
         select gen_random_uuid(), country_code, ticket_id, staff_id, 'manual', 'manager'
         from ticket_assignment where country_code = '$c' limit 4",
        "w2",
        &["w2-intervention", "w2-auto-assign"],
    ),
    (
        "delete from ticket_assignment where assignment_id in (
             select assignment_id from ticket_assignment where country_code = '$c' limit 3)",
        "w4",
        &["w4-kpi-auto-assign", "w4-auto-assign-right"],
    ),
    (
        "update ticket set first_response_at = null, status = 'open' where country_code = '$c'",
        "w4",
        &["w4-kpi-first-response"],
    ),
    (
        "delete from pancake_replay where country_code = '$c'",
        "w2",
        &["w2-dead-letter-replay"],
    ),
    (
        "update job_run set finished_at = started_at + interval '30 minutes' where country_code = '$c'",
        "w3",
        &["w3-reconciliation-time"],
    ),
];

/// A day without a report, or none at all: nobody knows.
const UNKNOWN: &[(&str, &str, &str)] = &[
    (
        "update pancake_reconciliation_run set error = 'Pancake cannot be reached'
         where country_code = '$c' and started_at < now() - interval '1 hour 1 minute'",
        "w1",
        "w1-zero-miss",
    ),
    (
        "delete from ticket_assignment where country_code = '$c'; delete from ticket where country_code = '$c'",
        "w2",
        "w2-auto-assign",
    ),
];

/// Among the answers: all of them come with a warning.
const WARNED: &str = "warned";

type Answers = Arc<Mutex<Vec<(&'static str, &'static str)>>>;

struct Pilot {
    region: Region,
    database: PgPool,
    folder: PathBuf,
    prometheus: String,
    /// A piece of a question, and the value it gets; the first that fits.
    answers: Answers,
}

impl Pilot {
    async fn start(name: &str) -> Self {
        let run = lifetime::run_directory();
        let id = RegionId::parse("smp-asia").unwrap();
        let countries = vec!["VN".parse().unwrap()];
        let logs = run.join("logs");
        let region = Region::start(id, countries, 8, Ports::Free, &logs, name);
        let region = region.await.unwrap();
        let database = region.database().await.unwrap();
        let folder = run.join(format!("{name}-files"));
        fs::create_dir_all(&folder).unwrap();
        let answers = Answers::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let prometheus = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .route("/api/v1/query", get(answer))
            .with_state(Arc::clone(&answers));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let mut report = String::new();
        for test in cases::shipped().unwrap().values().flatten() {
            writeln!(report, "test {} ... ok", test.name).unwrap();
        }
        fs::write(folder.join("report"), report).unwrap();
        everywhere(&folder.join("regions"));
        let pilot = Self {
            region,
            database,
            folder,
            prometheus,
            answers,
        };
        pilot.all_is_well();
        pilot
    }

    fn all_is_well(&self) {
        *self.answers.lock().unwrap() = vec![
            ("edge_webhook_duration", "0.4"),
            ("edge_webhooks_total", "100.2"),
            ("pancake_event_process", "3.5"),
            ("process_resident_memory", "24000000"),
            ("pancake_circuit_breaker", "0"),
        ];
    }

    async fn execute(&self, sql: &str, country: &str) {
        let sql = sql.replace("$c", country);
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&self.database)
            .await
            .unwrap();
    }

    /// `smpctl gate`, off the runtime, which has to answer it.
    async fn smpctl(&self, country: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(checkout::built_program("smpctl").unwrap());
        command
            .arg("gate")
            .args(arguments)
            .args(["--country", country, "--records"])
            .arg(self.folder.join(format!("{country}.toml")))
            .arg("--regions")
            .arg(self.folder.join("regions"))
            .env("SMP_DATABASE_URL", self.region.app_url())
            .current_dir(checkout::root());
        tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap()
    }

    /// Everything that people have to say, as they should.
    async fn everybody_agrees(&self, country: &str) {
        for item in items::ITEMS {
            let since = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(48);
            let value = match item.kind {
                Kind::YesNo => "yes".to_owned(),
                Kind::Survey { answers_min } => format!("4 from {answers_min}"),
                Kind::Part { .. } => "13/15".to_owned(),
                Kind::Minutes => "15".to_owned(),
                Kind::Days => "7".to_owned(),
                Kind::Enforcement => "enforced".to_owned(),
                Kind::Moment => since.to_string(),
                // Before anything was counted.
                Kind::Usage => "idx_scan=0 seq_scan=0".to_owned(),
            };
            let arguments = ["record", item.name, "--value", &value, "--by", "Anna"];
            let said = self.smpctl(country, &arguments).await;
            assert!(said.status.success(), "{said:?}");
        }
    }

    /// A country whose pilot went well.
    async fn good(&self, country: &str, template: Option<&str>) {
        self.execute(GOOD, country).await;
        match template {
            Some(other) => {
                let file = |country| self.folder.join(format!("{country}.toml"));
                fs::copy(file(other), file(country)).unwrap();
            }
            None => self.everybody_agrees(country).await,
        }
    }

    /// The verdict of each criterion, and whether the gate is passed.
    async fn gate(&self, wave: &str, country: &str) -> (BTreeMap<String, String>, bool) {
        let report = self.folder.join("report");
        let from = "2026-06-15T22:00:00+07:00";
        let to = "2026-06-15T22:10:00+07:00";
        let arguments = [
            wave,
            "--json",
            "--region",
            "smp-asia",
            "--prometheus",
            &self.prometheus,
            "--load-from",
            from,
            "--load-to",
            to,
            "--test-report",
            report.to_str().unwrap(),
        ];
        let said = self.smpctl(country, &arguments).await;
        let told: Value = serde_json::from_slice(&said.stdout)
            .unwrap_or_else(|error| panic!("{error}: {said:?}"));
        let is_passed = told["passed"] == true;
        assert_eq!(said.status.success(), is_passed);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let criteria = told["criteria"].as_array().unwrap();
        for criterion in criteria {
            assert_ne!(criterion["query"], "", "{criterion}");
        }
        let verdicts = criteria
            .iter()
            .map(|it| {
                let verdict = format!("{}: {}", text(&it["verdict"]), text(&it["detail"]));
                (text(&it["id"]), verdict)
            })
            .collect();
        (verdicts, is_passed)
    }

    /// The criteria of the wave's own that do not pass.
    async fn lacking(&self, wave: &str, country: &str) -> Vec<(String, String)> {
        let (verdicts, _) = self.gate(wave, country).await;
        verdicts
            .into_iter()
            .filter(|(id, verdict)| !verdict.starts_with("pass") && !id.contains("-after-"))
            .collect()
    }
}

async fn answer(
    State(answers): State<Answers>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Json<Value> {
    let question = &query["query"];
    assert!(question.contains("smp-asia"), "{question}");
    let under_load = question.contains("540s") || question.contains("600s");
    assert_eq!(query.contains_key("time"), under_load, "{question}");
    let answers = answers.lock().unwrap();
    let fits = answers.iter().find(|(piece, _)| question.contains(piece));
    let result = match fits {
        Some((_, value)) => json!([{"metric": {}, "value": [1_780_000_000, value]}]),
        None => json!([]),
    };
    let mut said = json!({"status": "success", "data": {"resultType": "vector", "result": result}});
    if answers.iter().any(|(piece, _)| *piece == WARNED) {
        said["warnings"] = json!(["a store is away"]);
    }
    Json(said)
}

/// A registry whose one region has every country that there may be.
fn everywhere(folder: &Path) {
    let file = "smp-asia.toml";
    let text = fs::read_to_string(checkout::root().join("infra/regions").join(file)).unwrap();
    let all: Vec<_> = (0..26 * 26).map(country).collect();
    let lines = text.lines().map(|line| match line.split_once(" = ") {
        Some(("countries", _)) => format!("countries = {all:?}\n"),
        _ => format!("{line}\n"),
    });
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join(file), lines.collect::<String>()).unwrap();
}

/// `AA`, `AB` and so on.
fn country(number: usize) -> String {
    let letter = |number: usize| char::from(b'A' + u8::try_from(number % 26).unwrap());
    [letter(number / 26), letter(number)].iter().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_criterion_passes_on_a_good_pilot_and_fails_on_what_it_is_there_to_find() {
    let pilot = Pilot::start("gates").await;

    // Nothing was done yet.
    for wave in ["w1", "w2", "w3", "w4"] {
        let (verdicts, is_passed) = pilot.gate(wave, "ZZ").await;
        assert!(!is_passed);
        let unknown = verdicts
            .values()
            .filter(|it| it.starts_with("not_known"))
            .count();
        assert!(unknown > 3, "{wave}: {verdicts:#?}");
    }

    // A look-up as the core makes it, over a connection that ends: only then does the server count it for sure.
    pilot.good("GG", None).await;
    pilot.execute("analyze", "GG").await;
    let mut looking = PgConnection::connect(&pilot.region.owner_url())
        .await
        .unwrap();
    sqlx::query("select from pancake_webhook_event where country_code = 'GG' and normalized_phone = '+84900001001'")
        .execute(&mut looking)
        .await
        .unwrap();
    looking.close().await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (verdicts, is_passed) = pilot.gate("w4", "GG").await;
        if is_passed {
            break;
        }
        assert!(Instant::now() < deadline, "{verdicts:#?}");
    }
    for wave in ["w1", "w2", "w3"] {
        assert_eq!(pilot.lacking(wave, "GG").await, [], "{wave}");
    }

    // From now on nobody has used the index.
    let taken = pilot
        .smpctl("GG", &["snapshot", "--by", "Anna", "--json"])
        .await;
    assert!(taken.status.success(), "{taken:?}");
    let taken: Value = serde_json::from_slice(&taken.stdout).unwrap();
    assert_eq!(taken["record"]["item"], "index-snapshot", "{taken}");

    each_wrong_is_found(&pilot).await;
    prometheus_is_believed(&pilot).await;
    plans_cases_and_records_are_believed(&pilot).await;
}

async fn each_wrong_is_found(pilot: &Pilot) {
    for (number, (wrong, wave, expected)) in WRONG.iter().enumerate() {
        let country = country(number);
        pilot.good(&country, Some("GG")).await;
        pilot.execute(wrong, &country).await;
        let lacking = pilot.lacking(wave, &country).await;
        for id in *expected {
            let verdict = lacking.iter().find(|(it, _)| it == id);
            let verdict = verdict.unwrap_or_else(|| panic!("{id} passes: {wrong}"));
            assert!(verdict.1.starts_with("fail"), "{verdict:?}");
        }
        let others: Vec<_> = lacking
            .iter()
            .filter(|(id, _)| !expected.contains(&id.as_str()) && id != "w3-index-used")
            .collect();
        assert!(others.is_empty(), "{wrong}: {others:?}");
    }
    for (number, (wrong, wave, id)) in UNKNOWN.iter().enumerate() {
        let country = country(100 + number);
        pilot.good(&country, Some("GG")).await;
        pilot.execute(wrong, &country).await;
        let lacking = pilot.lacking(wave, &country).await;
        let verdict = lacking.iter().find(|(it, _)| it == id);
        let verdict = verdict.unwrap_or_else(|| panic!("{id} passes: {wrong}"));
        assert!(verdict.1.starts_with("not_known"), "{verdict:?}");
    }
}

async fn prometheus_is_believed(pilot: &Pilot) {
    let of = async |id: &str, wave| pilot.gate(wave, "GG").await.0[id].clone();
    for (piece, value, wave, id) in [
        ("edge_webhook_duration", "1", "w1", "w1-webhook-p95"),
        ("edge_webhook_duration", "1", "w3", "w3-webhook-p95-load"),
        ("edge_webhooks_total", "98.9", "w3", "w3-load"),
        ("pancake_event_process", "30", "w3", "w3-process-p95-load"),
        ("process_resident_memory", "256000000", "w3", "w3-memory"),
        ("pancake_circuit_breaker", "2", "w3", "w3-breaker"),
    ] {
        pilot.answers.lock().unwrap().insert(0, (piece, value));
        let verdict = of(id, wave).await;
        assert!(verdict.starts_with("fail"), "{id}: {verdict}");
        pilot.all_is_well();
        let verdict = of(id, wave).await;
        assert!(verdict.starts_with("pass"), "{id}: {verdict}");
        pilot.answers.lock().unwrap().retain(|it| it.0 != piece);
        let verdict = of(id, wave).await;
        assert!(verdict.starts_with("not_known"), "{id}: {verdict}");
        pilot.all_is_well();
        // Good enough for any limit from above, and no such thing.
        pilot.answers.lock().unwrap().insert(0, (piece, "-1"));
        let verdict = of(id, wave).await;
        assert!(
            verdict.starts_with("not_known: -1 cannot be"),
            "{id}: {verdict}"
        );
        pilot.all_is_well();
        pilot.answers.lock().unwrap().push((WARNED, ""));
        let verdict = of(id, wave).await;
        assert!(
            verdict.contains("Prometheus warns: a store is away"),
            "{id}: {verdict}"
        );
        pilot.all_is_well();
    }
}

async fn plans_cases_and_records_are_believed(pilot: &Pilot) {
    let of = async |id: &str, wave| pilot.gate(wave, "GG").await.0[id].clone();
    assert!(of("w3-index-used", "w3").await.starts_with("fail"));

    // A schema of before says what it lacks.
    pilot
        .execute("alter table pancake_replay rename to replayed", "GG")
        .await;
    let verdict = of("w2-dead-letter-replay", "w2").await;
    assert_eq!(
        verdict,
        "not_known: the schema has no table pancake_replay: regional-core migrate makes it"
    );
    pilot
        .execute("alter table replayed rename to pancake_replay", "GG")
        .await;

    // Without the index the plan reads all of them.
    let index = "drop index pancake_webhook_event_normalized_phone_idx";
    pilot.execute(index, "GG").await;
    let verdict = of("w3-plan-by-phone", "w3").await;
    assert!(verdict.starts_with("fail"), "{verdict}");

    // Cases and records.
    let report = pilot.folder.join("report");
    let text = fs::read_to_string(&report).unwrap();
    let round = "processing::assigning::leads_go_round ... ";
    fs::write(
        &report,
        text.replace(&format!("{round}ok"), &format!("{round}FAILED")),
    )
    .unwrap();
    assert!(of("w2-round-robin", "w2").await.starts_with("fail"));
    assert!(of("w1-first-cases", "w1").await.starts_with("fail"));
    // 17 of 18 are 94.4 %.
    assert!(of("w1-all-cases", "w1").await.starts_with("fail"));
    fs::write(&report, text).unwrap();
    for (item, value, wave, id) in [
        (
            "telesale-survey-w1",
            "3.9 from 9",
            "w1",
            "w1-telesale-survey",
        ),
        ("manager-survey", "12/15", "w4", "w4-manager-survey"),
        ("rollback-drill", "15.1", "w3", "w3-rollback-drill"),
        ("pd1-signatures", "no-answer", "w4", "w4-signatures"),
        ("dashboards-stable", "6", "w4", "w4-dashboards"),
        ("sign-off-director", "no", "w4", "w4-sign-off-director"),
    ] {
        let arguments = ["record", item, "--value", value, "--by", "Anna"];
        assert!(pilot.smpctl("GG", &arguments).await.status.success());
        let verdict = of(id, wave).await;
        assert!(verdict.starts_with("fail"), "{id}: {verdict}");
    }
    let waiver = [
        "record",
        "pd1-signatures",
        "--value",
        "no-answer",
        "--waiver",
        "--by",
        "Sam",
        "--note",
        "the security lead accepts it until Pancake answers",
    ];
    assert!(pilot.smpctl("GG", &waiver).await.status.success());
    let verdict = of("w4-signatures", "w4").await;
    assert!(verdict.starts_with("pass: waived"), "{verdict}");
    let records = pilot.smpctl("GG", &["records"]).await;
    let records = String::from_utf8(records.stdout).unwrap();
    let of_it = records.lines().filter(|it| it.contains("pd1-signatures"));
    assert_eq!(of_it.count(), 3, "{records}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_is_why_nothing_is_known_and_no_url_is_shown() {
    let folder = lifetime::run_directory().join("gates-away");
    fs::create_dir_all(&folder).unwrap();
    let mut command = Command::new(checkout::built_program("smpctl").unwrap());
    command
        .args(["gate", "w1", "--country", "VN", "--explain", "--records"])
        .arg(folder.join("VN.toml"))
        .args(["--since", "2026-05-28T00:00:00+07:00"])
        .args(["--prometheus", "http://127.0.0.1:1"])
        .env(
            "SMP_DATABASE_URL",
            "postgres://core_app:hush@127.0.0.1:1/core",
        )
        .current_dir(checkout::root());
    let said = tokio::task::spawn_blocking(move || command.output().unwrap());
    let said = said.await.unwrap();
    let text = String::from_utf8(said.stdout).unwrap() + &String::from_utf8(said.stderr).unwrap();
    assert_eq!(said.status.code(), Some(1), "{text}");
    assert!(text.contains("the database cannot be reached"), "{text}");
    assert!(text.contains("Prometheus cannot be asked"), "{text}");
    assert!(text.contains("select count(*) filter"), "{text}");
    assert!(text.contains("w1 of VN is NOT passed"), "{text}");
    assert!(!text.contains("hush"), "{text}");
}
