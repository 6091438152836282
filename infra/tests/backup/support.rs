//! A region's database of its own for each test, on the server of `SMP_TEST_POSTGRES_URL`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::sync::{Mutex, MutexGuard};

/// Only a failure waits for it.
const PATIENCE: Duration = Duration::from_mins(1);

/// Roles belong to the server, and each restore makes them: one test after the other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A region, a folder, and databases.
pub(crate) struct World {
    pub(crate) region: &'static str,
    pub(crate) folder: PathBuf,
    databases: Vec<String>,
    _turn: MutexGuard<'static, ()>,
}

impl World {
    pub(crate) async fn new(region: &'static str) -> Self {
        let turn = ONE_AT_A_TIME.lock().await;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("backup_{}_{number}", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        fs::create_dir(&folder).unwrap();
        let this = Self {
            region,
            folder,
            databases: vec![name.clone(), format!("{name}_restored")],
            _turn: turn,
        };
        run_well(
            this.smpctl(&["at-rest-key", "--name", "b1", "--key"])
                .arg(this.key()),
        );
        this
    }

    /// The database that is backed up.
    pub(crate) fn source(&self) -> &str {
        &self.databases[0]
    }

    /// The one that it is restored into.
    pub(crate) fn target(&self) -> &str {
        &self.databases[1]
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.join("backup.key")
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.join("it.smpbackup")
    }

    /// A database with roles and schema; `core_version` as the core's migrations go.
    pub(crate) fn prepare(&self, database: &str, core_version: Option<i64>) {
        let member = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(built(program));
            command.args(arguments).envs(self.variables(database));
            run_well(&mut command);
        };
        member("regional-core", &["bootstrap"]);
        match core_version {
            Some(version) => {
                member(
                    "regional-core",
                    &["migrate", "up", "--to", &version.to_string()],
                );
            }
            None => member("regional-core", &["migrate"]),
        }
        member("replicator", &["provision"]);
        let part = if self.is_hub() { "hub" } else { "region" };
        member("replicator", &["migrate", "--part", part]);
        if self.is_hub() && database == self.source() {
            member("replicator", &["seed"]);
        }
    }

    pub(crate) fn is_hub(&self) -> bool {
        self.region == "smp-asia"
    }

    /// The members' variables for a database.
    pub(crate) fn variables(&self, database: &str) -> BTreeMap<&'static str, String> {
        let (server, password) = server();
        let url = |role| format!("postgres://{role}:only-for-tests@{server}/{database}");
        let admin = |database| format!("postgres://postgres:{password}@{server}/{database}");
        BTreeMap::from([
            ("CORE_ADMIN_DATABASE_URL", admin("postgres")),
            ("CORE_OWNER_DATABASE_URL", url("core_owner")),
            ("CORE_DATABASE_URL", url("core_app")),
            ("CORE_EDITOR_DATABASE_URL", url("core_editor")),
            ("REPLICATOR_REGION", self.region.to_owned()),
            ("REPLICATOR_ADMIN_DATABASE_URL", admin(database)),
            ("REPLICATOR_OWNER_DATABASE_URL", url("master_data_owner")),
            ("REPLICATOR_RELAY_DATABASE_URL", url("master_data_relay")),
            (
                "REPLICATOR_APPLIER_DATABASE_URL",
                url("master_data_applier"),
            ),
        ])
    }

    /// `smpctl` with nothing of ours in its environment.
    pub(crate) fn smpctl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smpctl"));
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        command.args(arguments).current_dir(root);
        for variable in self.variables("").keys() {
            command.env_remove(variable);
        }
        command.env_remove("SMP_BACKUP_KEYS");
        command
    }

    pub(crate) fn backup_command(&self) -> Command {
        let mut command = self.smpctl(&["region", "backup", self.region, "--json", "--into"]);
        command
            .arg(self.file())
            .arg("--keys-file")
            .arg(self.key())
            .envs(self.variables(self.source()));
        command
    }

    /// Takes a backup that must succeed.
    pub(crate) fn backup(&self) -> Value {
        json(&run_well(&mut self.backup_command()))
    }

    pub(crate) fn restore_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.smpctl(&["region", "restore", self.region, "--json", "--from"]);
        command
            .arg(self.file())
            .arg("--keys-file")
            .arg(self.key())
            .arg("--core")
            .arg(built("regional-core"))
            .arg("--replicator")
            .arg(built("replicator"))
            .args(arguments)
            .envs(self.variables(self.target()));
        command
    }

    /// Restores, which must succeed.
    pub(crate) fn restore(&self) -> Value {
        json(&run_well(&mut self.restore_command(&["--yes"])))
    }

    /// As the server's administrator.
    pub(crate) async fn admin(&self, database: &str) -> PgConnection {
        let (server, password) = server();
        let url = format!("postgres://postgres:{password}@{server}/{database}");
        PgConnection::connect(&url).await.unwrap()
    }

    /// As somebody else.
    pub(crate) async fn as_role(&self, role: &str, database: &str) -> PgConnection {
        let (server, _) = server();
        let url = format!("postgres://{role}:only-for-tests@{server}/{database}");
        PgConnection::connect(&url).await.unwrap()
    }

    pub(crate) async fn end(self) {
        let mut admin = self.admin("postgres").await;
        for database in &self.databases {
            run(
                &mut admin,
                &format!("drop database if exists {database} with (force)"),
            )
            .await;
        }
        fs::remove_dir_all(&self.folder).unwrap();
    }
}

/// Host and port, and the administrator's password.
fn server() -> (String, String) {
    let url = std::env::var("SMP_TEST_POSTGRES_URL")
        .expect("SMP_TEST_POSTGRES_URL is not set: run the tests by `make test`");
    let (login, place) = url
        .strip_prefix("postgres://")
        .unwrap()
        .split_once('@')
        .unwrap();
    let (server, _) = place.split_once('/').unwrap();
    let (_, password) = login.split_once(':').unwrap();
    (server.to_owned(), password.to_owned())
}

fn built(program: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_smpctl")).with_file_name(program);
    assert!(
        path.is_file(),
        "{program} is not built: run 'cargo build --workspace'"
    );
    path
}

pub(crate) fn run_well(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{:?}: {}{}",
        command.get_args(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// What a command that must not succeed says.
pub(crate) fn run_badly(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(1), "{text}");
    text
}

pub(crate) fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

pub(crate) async fn run(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{error}\n{sql}"));
}

pub(crate) async fn number(connection: &mut PgConnection, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
        .fetch_one(connection)
        .await
        .unwrap_or_else(|error| panic!("{error}\n{sql}"))
}

pub(crate) async fn texts(connection: &mut PgConnection, sql: &str) -> Vec<String> {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
        .fetch_all(connection)
        .await
        .unwrap_or_else(|error| panic!("{error}\n{sql}"))
}

/// Everything that can be seen of a database, by other means than smpctl's: each table's rows, sequences, triggers,
/// constraints and indexes.
pub(crate) async fn picture(connection: &mut PgConnection) -> Vec<String> {
    run(
        connection,
        "set timezone = 'UTC'; set datestyle = 'ISO, YMD'; set search_path = ''",
    )
    .await;
    let mut picture = texts(
        connection,
        "select concat_ws(' ', 'trigger', tgrelid::regclass, tgname, tgenabled) from pg_trigger where not tgisinternal \
         union all select concat_ws(' ', 'constraint', conrelid::regclass, conname, pg_get_constraintdef(oid)) \
         from pg_constraint where connamespace::regnamespace::text in ('public', 'smp_global') \
         union all select concat_ws(' ', 'index', indexdef) from pg_indexes where schemaname in ('public', 'smp_global') \
         union all select concat_ws(' ', 'sequence', schemaname, sequencename, last_value) from pg_sequences \
         order by 1",
    )
    .await;
    let tables = texts(
        connection,
        "select format('%I.%I', schemaname, tablename) from pg_tables \
         where schemaname in ('public', 'smp_global') and tablename not like '%\\_migrations' order by 1",
    )
    .await;
    assert!(tables.len() >= 40, "{tables:?}");
    for table in tables {
        let rows = texts(
            connection,
            &format!(
                "select format('%s %s', count(*), md5(coalesce(string_agg(t::text, E'\\n' order by t::text collate \"C\"), ''))) \
                 from {table} t"
            ),
        )
        .await;
        picture.push(format!("{table} {}", rows.join(" ")));
    }
    picture
}

/// Waits for something to be so while a program runs.
pub(crate) async fn wait_for(
    what: &str,
    child: &mut Child,
    mut condition: impl AsyncFnMut() -> bool,
) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "{what} never was");
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended before {what}"
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) fn start(command: &mut Command) -> Child {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Customers, each with a contact.
pub(crate) async fn add_customers(connection: &mut PgConnection, from: u32, count: u32) {
    run(
        connection,
        &format!(
            "with added as (insert into public.account (account_id, country_code, name, phone_number) \
                 select gen_random_uuid(), 'VN', 'Nguyễn ' || n, '09' || n \
                 from generate_series({from}, {from} + {count} - 1) n returning account_id) \
             insert into public.contact_book (contact_id, country_code, account_id, name) \
                 select gen_random_uuid(), 'VN', account_id, repeat('x', 200) from added"
        ),
    )
    .await;
}
