//! A database for each test, cloned from one that was bootstrapped and migrated once a process.

use std::env;
use std::path::Path;
use std::process;
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use regional_core::config::secrets::DatabaseUrl;
use regional_core::db::{bootstrap, migrate};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use tokio::runtime::Builder;
use url::Url;
use uuid::Uuid;

const OWNER_PASSWORD: &str = "owner's \"password\" with % and @";
const EDITOR_PASSWORD: &str = "editor password";
const APP_PASSWORD: &str = "app:password/with?signs#";

/// Databases of processes that are gone carry this and their process's id.
const PREFIX: &str = "core_test_";

/// A database that is dropped after its value.
pub(crate) struct TestDatabase {
    name: String,
    owner_pool: PgPool,
}

impl TestDatabase {
    /// A migrated one.
    pub(crate) async fn create() -> Self {
        let name = new_name();
        let template = template();
        let mut admin = admin_connection().await;
        for statement in [
            format!("create database {name} template {template} owner core_owner"),
            format!("revoke all on database {name} from public"),
            format!("grant connect on database {name} to core_app, core_editor"),
        ] {
            execute(&mut admin, statement).await;
        }
        admin.close().await.unwrap();
        Self::named(name)
    }

    /// One with nothing in it, made by `bootstrap`.
    pub(crate) async fn create_empty() -> Self {
        let database = Self::named(new_name());
        bootstrap_database(&database.name).await;
        database
    }

    fn named(name: String) -> Self {
        let owner_pool = PgPoolOptions::new()
            .max_connections(3)
            .connect_lazy_with(parse(&owner_url(&name)).options().clone());
        Self { name, owner_pool }
    }

    pub(crate) fn app_url(&self) -> String {
        app_url(&self.name)
    }

    pub(crate) fn editor_url(&self) -> String {
        editor_url(&self.name)
    }

    pub(crate) fn owner_url(&self) -> String {
        owner_url(&self.name)
    }

    pub(crate) fn admin_url(&self) -> String {
        with_role("postgres", None, &self.name)
    }

    pub(crate) fn owner_pool(&self) -> &PgPool {
        &self.owner_pool
    }

    /// Runs what only the owner may.
    pub(crate) async fn as_owner(&self, statements: &'static str) {
        sqlx::raw_sql(statements)
            .execute(&self.owner_pool)
            .await
            .unwrap();
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        // Not waited for: a core that has just started may have connections under way that only get on, or
        // break off, with this thread's runtime, and the server drops no database meanwhile.
        let _process_is_ending = dropper().send(self.name.clone());
    }
}

/// Drops databases one after the other. What is left at the process's end, the next process drops.
fn dropper() -> Sender<String> {
    static DROPPER: OnceLock<Sender<String>> = OnceLock::new();
    let start = || {
        let (sender, names) = channel();
        thread::spawn(move || {
            for name in names {
                block_on(|| async move {
                    let mut admin = admin_connection().await;
                    let statement = format!("drop database if exists {name} with (force)");
                    execute(&mut admin, statement).await;
                });
            }
        });
        sender
    };
    DROPPER.get_or_init(start).clone()
}

/// A URL that is not the process's environment's.
pub(crate) fn parse(url: &str) -> DatabaseUrl {
    DatabaseUrl::parse("CORE_DATABASE_URL", url).unwrap()
}

fn new_name() -> String {
    format!("{PREFIX}{}_{}", process::id(), Uuid::new_v4().simple())
}

fn server_url() -> Url {
    let url = env::var("SMP_TEST_POSTGRES_URL").unwrap_or_default();
    assert!(
        !url.is_empty(),
        "SMP_TEST_POSTGRES_URL is not set: run `make test`, which starts a throw-away PostgreSQL"
    );
    Url::parse(&url).unwrap()
}

/// The test server's address.
pub(crate) fn server_address() -> String {
    let url = server_url();
    format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432))
}

pub(crate) fn owner_url(database: &str) -> String {
    with_role("core_owner", Some(OWNER_PASSWORD), database)
}

pub(crate) fn app_url(database: &str) -> String {
    with_role("core_app", Some(APP_PASSWORD), database)
}

pub(crate) fn editor_url(database: &str) -> String {
    with_role("core_editor", Some(EDITOR_PASSWORD), database)
}

/// Without a password, the server's own administrator.
fn with_role(role: &str, password: Option<&str>, database: &str) -> String {
    let mut url = server_url();
    url.set_path(database);
    if password.is_some() {
        url.set_username(role).unwrap();
        url.set_password(password).unwrap();
    }
    url.into()
}

/// Makes roles and database as an operator does.
pub(crate) async fn bootstrap_database(database: &str) -> Vec<String> {
    let admin = DatabaseUrl::parse("CORE_ADMIN_DATABASE_URL", server_url().as_str()).unwrap();
    let owner = DatabaseUrl::parse("CORE_OWNER_DATABASE_URL", &owner_url(database)).unwrap();
    let editor = parse(&editor_url(database));
    bootstrap::bootstrap(&admin, &owner, &parse(&app_url(database)), Some(&editor))
        .await
        .unwrap()
}

async fn admin_connection() -> PgConnection {
    PgConnection::connect(server_url().as_str()).await.unwrap()
}

async fn execute(connection: &mut PgConnection, statement: String) {
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(connection)
        .await
        .unwrap();
}

/// The name of this process's migrated database, to which nobody is connected.
fn template() -> &'static str {
    static TEMPLATE: OnceLock<String> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let name = format!("{PREFIX}{}_template", process::id());
        let made = block_on({
            let name = name.clone();
            || async move {
                drop_leftovers().await;
                bootstrap_database(&name).await;
                migrate::up(&parse(&owner_url(&name))).await.unwrap();
            }
        });
        assert!(made, "the template is not there");
        name
    })
}

/// Drops what processes left that are gone: a template has nobody to drop it.
async fn drop_leftovers() {
    let mut admin = admin_connection().await;
    let names: Vec<String> =
        sqlx::query_scalar("select datname from pg_database where starts_with(datname, $1)")
            .bind(PREFIX)
            .fetch_all(&mut admin)
            .await
            .unwrap();
    for name in names {
        let process = name.trim_start_matches(PREFIX).split('_').next().unwrap();
        if !Path::new("/proc").join(process).exists() {
            let statement = format!("drop database if exists {name} with (force)");
            execute(&mut admin, statement).await;
        }
    }
}

/// Runs on a runtime of its own: each test has one, and this may outlive it. Says whether it went well.
fn block_on<F: Future<Output = ()>>(work: impl FnOnce() -> F + Send + 'static) -> bool {
    thread::spawn(move || {
        Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(work());
    })
    .join()
    .is_ok()
}
