//! `regional-core backfill normalized-phone`, the binary on a database with accounts of before.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

use crate::support::database::{TestDatabase, parse};
use crate::support::eventually;

type Entered = (
    &'static str,
    Option<&'static str>,
    Option<&'static str>,
    Result<&'static str, &'static str>,
);

/// Country, code and number as they were entered, and what is made of them.
const ENTERED: [Entered; 24] = [
    ("VN", None, Some("0912345678"), Ok("+84912345678")),
    ("VN", Some("+84"), Some("912345678"), Ok("+84912345678")),
    ("VN", Some("84"), Some("0912 345 678"), Ok("+84912345678")),
    ("VN", Some("0084"), Some("84912345678"), Ok("+84912345678")),
    ("VN", Some("+84"), Some("01234567890"), Ok("+84834567890")),
    // Another country's code: that country's number, and none of its own.
    ("VN", Some("+65"), Some("91234567"), Ok("+6591234567")),
    ("VN", Some("65"), Some("6591234567"), Ok("+6591234567")),
    (
        "VN",
        Some("+65"),
        Some("+84 912 345 678"),
        Ok("+84912345678"),
    ),
    ("VN", Some("+65"), Some("0912345678"), Err("invalid")),
    // No code.
    ("VN", Some("VN"), Some("0912345678"), Ok("+84912345678")),
    ("VN", Some("+999"), Some("0912345678"), Ok("+84912345678")),
    ("SG", None, Some("9123 4567"), Ok("+6591234567")),
    ("TH", Some("66"), Some("0812345678"), Ok("+66812345678")),
    (
        "ID",
        Some("+62"),
        Some("0812-3456-789"),
        Ok("+628123456789"),
    ),
    ("US", Some("1"), Some("(650) 253-0000"), Ok("+16502530000")),
    ("CA", Some("+1"), Some("6135550123"), Ok("+16135550123")),
    ("CN", None, Some("138 0013 8000"), Ok("+8613800138000")),
    ("GB", Some("44"), Some("07400 123456"), Ok("+447400123456")),
    ("VN", None, None, Err("missing")),
    ("VN", Some("+84"), Some(""), Err("missing")),
    ("VN", Some("+84"), Some("call his wife"), Err("missing")),
    ("VN", None, Some("1"), Err("unreadable")),
    (
        "VN",
        None,
        Some("09123456789012345678901234567890123456789012345678901234567890123"),
        Err("too_long"),
    ),
    ("VN", None, Some("0000000000"), Err("invalid")),
];

fn command(database: &TestDatabase, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_regional-core"));
    command
        .args(["backfill", "normalized-phone"])
        .args(arguments)
        .env_clear()
        .env("CORE_DATABASE_URL", database.app_url())
        .stdin(Stdio::null());
    command
}

fn output(database: &TestDatabase, arguments: &[&str]) -> Output {
    command(database, arguments).output().unwrap()
}

/// Runs it to its end; gives its report.
#[track_caller]
fn report(database: &TestDatabase, arguments: &[&str]) -> Value {
    let output = output(database, &[arguments, &["--json"]].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// One that runs beside the test.
struct Running {
    child: Child,
    lines: BufReader<ChildStderr>,
}

impl Running {
    fn start(database: &TestDatabase, arguments: &[&str]) -> Self {
        let mut child = command(database, arguments)
            .arg("--json")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        Self { child, lines }
    }

    /// Reads until it says this.
    fn until_said(&mut self, text: &str) {
        let mut said = String::new();
        while !said.lines().last().unwrap_or_default().contains(text) {
            let read = self.lines.read_line(&mut said).unwrap();
            assert_ne!(read, 0, "it ended without a word of {text:?}: {said}");
        }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Its exit code and its report, if it gave one.
    fn end(mut self) -> (Option<i32>, Value) {
        let mut said = String::new();
        self.lines.read_to_string(&mut said).unwrap();
        let mut report = String::new();
        let mut out = self.child.stdout.take().unwrap();
        out.read_to_string(&mut report).unwrap();
        let code = self.child.wait().unwrap().code();
        (code, serde_json::from_str(&report).unwrap_or_default())
    }
}

async fn run(database: &TestDatabase, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(database.owner_pool())
        .await
        .unwrap();
}

async fn count(database: &TestDatabase, what: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(format!("select count(*) from {what}")))
        .fetch_one(database.owner_pool())
        .await
        .unwrap()
}

/// So many Vietnamese customers, every tenth without a usable number.
async fn fill(database: &TestDatabase, accounts: u32) {
    let statement = format!(
        "insert into account (account_id, country_code, name, phone_number) \
         select ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'VN', 'Nguyễn Thị Hồng', \
                case when n % 10 = 0 then '12' else '09' || (10000000 + n) end \
         from generate_series(0, {accounts} - 1) as n"
    );
    run(database, &statement).await;
}

/// All accounts, and how the job stands but for its times.
async fn outcome(
    database: &TestDatabase,
) -> (Vec<(Uuid, Option<String>)>, (Option<Uuid>, i64, i64)) {
    let accounts =
        sqlx::query_as("select account_id, normalized_phone from account order by account_id")
            .fetch_all(database.owner_pool())
            .await
            .unwrap();
    let standing =
        sqlx::query_as("select last_account_id, rows_done, rows_changed from backfill_run")
            .fetch_one(database.owner_pool())
            .await
            .unwrap();
    (accounts, standing)
}

async fn rows_done(database: &TestDatabase) -> i64 {
    sqlx::query_scalar("select rows_done from backfill_run")
        .fetch_one(database.owner_pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn each_account_gets_the_number_of_its_country_or_none() {
    let database = TestDatabase::create().await;
    for (country, code, number, _) in ENTERED {
        // Who must not be called is recognised all the same.
        sqlx::query(
            "insert into account (account_id, country_code, phone_code, phone_number, phone_enabled, updated_at) \
             values (gen_random_uuid(), $1, $2, $3, false, '2020-01-01')",
        )
        .bind(country)
        .bind(code)
        .bind(number)
        .execute(database.owner_pool())
        .await
        .unwrap();
    }
    run(
        &database,
        "insert into account (account_id, country_code, phone_number, normalized_phone) \
         values (gen_random_uuid(), 'VN', '0912345678', '+84987654321')",
    )
    .await;
    let report = report(&database, &[]);
    for (country, code, number, expected) in ENTERED {
        let (found, updated_at): (Option<String>, String) = sqlx::query_as(
            "select normalized_phone, updated_at::date::text from account where country_code = $1 \
             and phone_code is not distinct from $2 and phone_number is not distinct from $3 and not phone_enabled",
        )
        .bind(country)
        .bind(code)
        .bind(number)
        .fetch_one(database.owner_pool())
        .await
        .unwrap();
        assert_eq!(
            found.as_deref(),
            expected.ok(),
            "{country} {code:?} {number:?}"
        );
        assert_eq!(updated_at, "2020-01-01");
    }
    let of = |state: &str| ENTERED.iter().filter(|one| one.3 == Err(state)).count();
    let usable = ENTERED.iter().filter(|one| one.3.is_ok()).count();
    assert_eq!(
        report["states"],
        json!({
            "usable": usable, "missing": of("missing"), "too_long": of("too_long"),
            "unreadable": of("unreadable"), "invalid": of("invalid"), "already": 1,
        })
    );
    assert_eq!(report["changed"], usable);
    assert_eq!(report["finished"], true);
    let kept = "account where normalized_phone = '+84987654321'";
    assert_eq!(count(&database, kept).await, 1, "left alone");
    let finished = "backfill_run where finished_at >= started_at and rows_done = 25";
    assert_eq!(count(&database, finished).await, 1);
}

#[tokio::test]
async fn a_dry_run_counts_and_writes_nothing() {
    let database = TestDatabase::create().await;
    fill(&database, 300).await;
    let before = outcome(&database).await;
    let report = report(&database, &["--dry-run"]);
    assert_eq!(outcome(&database).await, before);
    assert_eq!(
        count(&database, "backfill_run where started_at is null").await,
        1
    );
    assert_eq!(report["dry_run"], true);
    assert_eq!(report["rows"], 300);
    assert_eq!(report["states"]["usable"], 270);
    assert_eq!(report["states"]["invalid"], 30);
    assert!(report["estimated_seconds"].as_f64().unwrap() > 0.0);
}

#[tokio::test]
async fn killed_in_the_middle_it_goes_on_and_ends_as_if_it_had_not_been() {
    let killed = TestDatabase::create().await;
    let whole = TestDatabase::create().await;
    for database in [&killed, &whole] {
        fill(database, 4_000).await;
    }
    let mut kills = 0;
    while rows_done(&killed).await < 1_000 {
        let before = rows_done(&killed).await;
        let running = Running::start(&killed, &["--batch", "50", "--pause-ms", "100"]);
        eventually("some batches are done", async || {
            rows_done(&killed).await > before + 200
        })
        .await;
        running.signal("KILL");
        assert_eq!(running.end().0, None);
        kills += 1;
        // In one statement: the server may yet be about to commit what it was told last.
        let together = "backfill_run where rows_changed = \
                        (select count(*) from account where normalized_phone is not null)";
        assert_eq!(
            count(&killed, together).await,
            1,
            "a batch and where it stands are one"
        );
    }
    assert!(kills >= 2, "{kills}");
    let rest = report(&killed, &[]);
    assert!(rest["rows"].as_i64().unwrap() <= 3_000, "it goes on");
    assert_eq!(rest["rows_done"], 4_000);
    assert_eq!(rest["rows_changed"], 3_600);
    report(&whole, &[]);
    assert_eq!(outcome(&killed).await, outcome(&whole).await);

    let again = report(&killed, &[]);
    assert_eq!(again["finished_before"], true);
    assert_eq!(again["rows"], 0);
}

#[tokio::test]
async fn told_to_stop_it_finishes_its_batch_and_says_that_it_is_not_at_its_end() {
    let database = TestDatabase::create().await;
    fill(&database, 2_000).await;
    let running = Running::start(&database, &["--batch", "50", "--pause-ms", "1000"]);
    eventually("a batch is done", async || rows_done(&database).await > 0).await;
    running.signal("TERM");
    let (code, report) = running.end();
    assert_eq!(code, Some(1));
    assert_eq!(report["finished"], false);
    assert_eq!(report["rows_done"], rows_done(&database).await);
}

#[tokio::test]
async fn an_account_that_is_changed_meanwhile_keeps_what_it_was_given() {
    let database = TestDatabase::create().await;
    fill(&database, 40).await;
    let id = |n: u32| format!("'00000000-0000-7000-8000-{n:012x}'");
    // Three customers are somebody's, and are read as they were before: numbers entered anew, one that the other
    // makes normal itself, and one that is no number any more.
    let mut other = database.owner_pool().begin().await.unwrap();
    for statement in [
        format!(
            "update account set phone_number = '0987654321' where account_id = {}",
            id(11)
        ),
        format!(
            "update account set normalized_phone = '+84987654322' where account_id = {}",
            id(12)
        ),
        format!(
            "update account set phone_number = 'none' where account_id = {}",
            id(13)
        ),
    ] {
        sqlx::raw_sql(AssertSqlSafe(statement))
            .execute(&mut *other)
            .await
            .unwrap();
    }
    let mut running = Running::start(&database, &[]);
    running.until_said("locked by another transaction");
    assert_eq!(rows_done(&database).await, 11, "all before it are done");
    other.commit().await.unwrap();
    let (code, report) = running.end();
    assert_eq!(code, Some(0));
    let of = async |n: u32| -> Option<String> {
        let query = format!(
            "select normalized_phone from account where account_id = {}",
            id(n)
        );
        sqlx::query_scalar(AssertSqlSafe(query))
            .fetch_one(database.owner_pool())
            .await
            .unwrap()
    };
    assert_eq!(
        of(11).await.as_deref(),
        Some("+84987654321"),
        "the new one's"
    );
    assert_eq!(of(12).await.as_deref(), Some("+84987654322"), "the other's");
    assert_eq!(of(13).await, None);
    assert_eq!(of(14).await.as_deref(), Some("+84910000014"));
    assert_eq!(
        report["states"],
        json!({"usable": 34, "missing": 1, "too_long": 0, "unreadable": 0, "invalid": 4, "already": 1})
    );
    assert_eq!(report["rows_changed"], 34);
    assert!(report["given_up"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn many_accounts_that_are_changed_at_once_are_read_again() {
    let database = TestDatabase::create().await;
    fill(&database, 400).await;
    let mut other = database.owner_pool().begin().await.unwrap();
    sqlx::query("update account set phone_number = '098' || right(phone_number, 7) where phone_number <> '12'")
        .execute(&mut *other)
        .await
        .unwrap();
    // All of them are read as they were before, and none can be written.
    let mut running = Running::start(&database, &[]);
    running.until_said("locked by another transaction");
    other.commit().await.unwrap();
    assert_eq!(running.end().0, Some(0));
    let new = "account where normalized_phone = '+8498' || right(phone_number, 7)";
    assert_eq!(count(&database, new).await, 360);
    assert_eq!(outcome(&database).await.1.2, 360);
}

#[tokio::test]
async fn there_is_one_at_a_time_and_it_waits_while_a_reconciliation_runs() {
    let database = TestDatabase::create().await;
    fill(&database, 400).await;
    let reconciliation = "insert into job_run (run_id, country_code, job, state, started_at) \
                          values (gen_random_uuid(), 'SG', 'reconciliation', 'running', now())";
    let end = "update job_run set state = 'ok', finished_at = now() where state = 'running'";
    run(&database, reconciliation).await;
    let mut running = Running::start(&database, &["--batch", "20", "--pause-ms", "250"]);
    running.until_said("the reconciliation of SG runs since");
    assert_eq!(rows_done(&database).await, 0);

    let second = output(&database, &[]);
    assert_eq!(second.status.code(), Some(1));
    let errors = String::from_utf8(second.stderr).unwrap();
    assert!(errors.contains("another backfill"), "{errors}");
    assert_eq!(rows_done(&database).await, 0);

    run(&database, end).await;
    eventually("it goes on", async || rows_done(&database).await > 0).await;
    // Another one begins in the middle of it.
    run(&database, reconciliation).await;
    running.until_said("the reconciliation of SG runs since");
    let stands = rows_done(&database).await;
    assert!(stands < 400);
    // Other jobs are not waited for.
    run(
        &database,
        "update job_run set job = 'rollup' where state = 'running'",
    )
    .await;
    eventually("it goes on", async || rows_done(&database).await > stands).await;
    running.signal("TERM");
    let (_, report) = running.end();
    assert!(report["waited_seconds"].as_f64().unwrap() > 0.0);
}

#[tokio::test]
async fn a_database_that_is_away_for_a_moment_is_waited_for() {
    let database = TestDatabase::create().await;
    fill(&database, 400).await;
    let mut running = Running::start(&database, &["--batch", "20", "--pause-ms", "100"]);
    eventually("a batch is done", async || rows_done(&database).await > 0).await;
    let mut admin = PgConnection::connect(&database.admin_url()).await.unwrap();
    sqlx::query(
        "select pg_terminate_backend(pid) from pg_stat_activity \
         where datname = current_database() and usename = 'core_app'",
    )
    .execute(&mut admin)
    .await
    .unwrap();
    running.until_said("the database does not answer");
    let (code, report) = running.end();
    assert_eq!(code, Some(0));
    assert_eq!(report["rows_done"], 400);
    assert_eq!(report["rows_changed"], 360);
}

#[tokio::test]
async fn outside_of_its_window_it_waits() {
    let database = TestDatabase::create().await;
    fill(&database, 100).await;
    // An hour that is six hours off, whatever time it is.
    let hour: i32 =
        sqlx::query_scalar("select extract(hour from now() at time zone 'Asia/Ho_Chi_Minh')::int")
            .fetch_one(database.owner_pool())
            .await
            .unwrap();
    let hours = |from: i32, to: i32| format!("{:02}:00-{:02}:00", from % 24, to % 24);
    let (closed, open) = (hours(hour + 6, hour + 7), hours(hour + 22, hour + 3));
    let zone = ["--time-zone", "Asia/Ho_Chi_Minh"];
    let mut running = Running::start(&database, &["--window", &closed, zone[0], zone[1]]);
    running.until_said("its window opens at");
    running.signal("INT");
    let (code, report_of_closed) = running.end();
    assert_eq!(code, Some(1));
    assert_eq!(report_of_closed["rows"], 0);
    assert_eq!(rows_done(&database).await, 0);
    let report = report(&database, &["--window", &open, zone[0], zone[1]]);
    assert_eq!(report["rows"], 100);
}

#[tokio::test]
async fn a_restart_asks_first_and_keeps_the_numbers_that_are_there() {
    let database = TestDatabase::create().await;
    fill(&database, 100).await;
    report(&database, &["--restart"]);
    run(
        &database,
        "update account set normalized_phone = null where account_id = '00000000-0000-7000-8000-000000000001'",
    )
    .await;
    let refused = output(&database, &["--restart"]);
    assert_eq!(refused.status.code(), Some(2));
    let errors = String::from_utf8(refused.stderr).unwrap();
    assert!(errors.contains("--yes begins anew"), "{errors}");
    assert_eq!(rows_done(&database).await, 100);
    let again = report(&database, &["--restart", "--yes"]);
    assert_eq!(again["changed"], 1);
    assert_eq!(again["states"]["already"], 89);
    assert_eq!(again["rows_done"], 100);
}

#[tokio::test]
async fn who_writes_to_accounts_waits_for_no_lock_longer_than_a_second() {
    let database = TestDatabase::create().await;
    fill(&database, 20_000).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for first in 0..3_u32 {
        let url = parse(&database.app_url());
        let is_over = Arc::clone(&is_over);
        writers.push(tokio::spawn(async move {
            let mut connection = PgConnection::connect_with(url.options()).await.unwrap();
            // The server itself measures the wait: a busy machine makes nothing longer.
            sqlx::raw_sql("set lock_timeout = '1s'")
                .execute(&mut connection)
                .await
                .unwrap();
            let (mut step, mut written) = (0, 0_u32);
            while !is_over.load(Ordering::Relaxed) {
                step = (step * 31 + 7) % 3_333;
                // Two rows in one transaction, that of the higher id first: a deadlock with the job must be the
                // job's to solve. Writers have rows of their own.
                let low = step * 3 + first;
                let mut transaction = connection.begin().await.unwrap();
                for n in [low + 9_999, low] {
                    sqlx::query("update account set name = 'Lan' where account_id = $1::uuid")
                        .bind(format!("00000000-0000-7000-8000-{n:012x}"))
                        .execute(&mut *transaction)
                        .await
                        .unwrap();
                }
                transaction.commit().await.unwrap();
                written += 1;
            }
            written
        }));
    }
    let url = database.app_url();
    let report = tokio::task::spawn_blocking(move || {
        let output = Command::new(env!("CARGO_BIN_EXE_regional-core"))
            .args(["backfill", "normalized-phone", "--pause-ms", "0", "--json"])
            .env_clear()
            .env("CORE_DATABASE_URL", url)
            .output()
            .unwrap();
        assert!(output.status.success());
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    })
    .await
    .unwrap();
    is_over.store(true, Ordering::Relaxed);
    for writer in writers {
        assert!(writer.await.unwrap() > 0, "it wrote");
    }
    assert_eq!(report["rows_changed"], 18_000);
    let left = "account where normalized_phone is null and phone_number <> '12'";
    assert_eq!(count(&database, left).await, 0);
}

#[test]
fn its_help_has_an_example() {
    let output = Command::new(env!("CARGO_BIN_EXE_regional-core"))
        .args(["backfill", "normalized-phone", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(help.contains("regional-core backfill normalized-phone --dry-run"));
}

#[tokio::test]
async fn a_database_without_the_job_is_told_what_it_lacks() {
    let database = TestDatabase::create_empty().await;
    let output = output(&database, &[]);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("regional-core migrate"), "{errors}");
}
