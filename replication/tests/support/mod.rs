//! Databases of their own for each test, on the server of `SMP_TEST_POSTGRES_URL`.

use protocol::RegionId;
use replication::config::{DatabaseRole, DatabaseUrl};
use replication::database::{self, Part};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use tokio::sync::Mutex;

const PASSWORD: &str = "only-for-tests";

/// Roles belong to the server, so tests make them one after the other.
static PROVISIONING: Mutex<()> = Mutex::const_new(());

/// A fresh database with the migrations applied.
pub(crate) struct Database {
    name: String,
    /// As `master_data_owner`.
    pub(crate) owner: PgPool,
}

impl Database {
    pub(crate) async fn new() -> Self {
        let name = format!("replication_{}", uuid::Uuid::new_v4().simple());
        let mut admin = PgConnection::connect(&server_url()).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(format!("create database {name}")))
            .execute(&mut admin)
            .await
            .unwrap();
        admin.close().await.unwrap();
        let roles = [
            DatabaseRole::Owner,
            DatabaseRole::Relay,
            DatabaseRole::Applier,
        ]
        .map(|role| (role, url_of(role, &name)));
        let admin = url_of(DatabaseRole::Admin, &name);
        {
            let _one_at_a_time = PROVISIONING.lock().await;
            database::provision(&admin, &roles).await.unwrap();
        }
        let owner = database::connect(&roles[0].1).await.unwrap();
        database::migrator().run(&owner).await.unwrap();
        Self { name, owner }
    }

    /// A database that plays a part.
    pub(crate) async fn of(region: &str, part: Part) -> Self {
        let this = Self::new().await;
        let region = RegionId::parse(region).unwrap();
        database::migrate(&this.owner_url(), &region, part)
            .await
            .unwrap();
        this
    }

    pub(crate) async fn hub() -> Self {
        Self::of("smp-asia", Part::Hub).await
    }

    pub(crate) async fn region() -> Self {
        Self::of("smp-china", Part::Region).await
    }

    /// The URL of the owner.
    pub(crate) fn owner_url(&self) -> DatabaseUrl {
        url_of(DatabaseRole::Owner, &self.name)
    }

    /// As another role.
    pub(crate) async fn as_role(&self, role: DatabaseRole) -> PgPool {
        database::connect(&url_of(role, &self.name)).await.unwrap()
    }

    /// As the server's administrator.
    pub(crate) async fn admin(&self) -> PgPool {
        self.as_role(DatabaseRole::Admin).await
    }
}

fn server_url() -> String {
    std::env::var("SMP_TEST_POSTGRES_URL")
        .expect("SMP_TEST_POSTGRES_URL is not set: run the tests by `make test`")
}

fn url_of(role: DatabaseRole, database: &str) -> DatabaseUrl {
    let mut url = url::Url::parse(&server_url()).unwrap();
    url.set_path(database);
    if let Some(name) = role.name() {
        url.set_username(name).unwrap();
        url.set_password(Some(PASSWORD)).unwrap();
    }
    DatabaseUrl::parse(role, url.as_str()).unwrap()
}

/// Runs SQL that must succeed.
pub(crate) async fn run(pool: &PgPool, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(pool)
        .await
        .unwrap_or_else(|error| panic!("{error}\n{sql}"));
}

/// The SQLSTATE by which SQL is refused.
pub(crate) async fn refusal(pool: &PgPool, sql: &str) -> String {
    let result = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(pool)
        .await;
    match result {
        Ok(_) => panic!("not refused: {sql}"),
        Err(error) => error
            .as_database_error()
            .and_then(|error| Some(error.code()?.into_owned()))
            .unwrap_or_else(|| panic!("{error}")),
    }
}
