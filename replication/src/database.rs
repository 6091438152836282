//! Schema `smp_global`: its roles, its migrations, and which part a database plays.

use postgres_protocol::password::scram_sha_256;
use protocol::RegionId;
use secrecy::ExposeSecret as _;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool};

use crate::config::{DatabaseRole, DatabaseUrl};

/// Migrations of this crate in a table of their own: the core migrates the same database.
const MIGRATIONS_TABLE: &str = "smp_global._replication_migrations";

/// The advisory lock of whoever provisions: "smpg" in ASCII.
const PROVISION_LOCK: i64 = 0x736d_7067;

/// A database's part in master data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Master data is written here.
    Hub,
    /// Master data comes from the hub.
    Region,
}

impl Part {
    /// As the database names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hub => "hub",
            Self::Region => "region",
        }
    }

    fn script(self) -> &'static str {
        match self {
            Self::Hub => include_str!("../sql/hub.sql"),
            Self::Region => include_str!("../sql/region.sql"),
        }
    }
}

/// Why a database is not as it must be.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Not reachable, or it refused.
    #[error(transparent)]
    Query(#[from] sqlx::Error),
    /// Not as this binary left it.
    #[error("migrations: {0}")]
    Migrate(#[from] MigrateError),
    /// It is the hub's and should be a region's, or the other way.
    #[error(
        "this database is {found} of {region}: `replicator migrate` was run with another --part or region"
    )]
    OtherPart {
        /// What it is.
        found: String,
        /// Whose it is.
        region: String,
    },
}

/// A small pool: a relay or an applier does one thing at a time.
pub async fn connect(url: &DatabaseUrl) -> Result<PgPool, DatabaseError> {
    Ok(PgPoolOptions::new()
        .max_connections(3)
        .connect_with(url.options().clone().application_name("replicator"))
        .await?)
}

/// Makes the roles and the schema in an existing database. Idempotent: a changed password is set.
pub async fn provision(
    admin: &DatabaseUrl,
    roles: &[(DatabaseRole, DatabaseUrl)],
) -> Result<(), DatabaseError> {
    let mut connection = PgConnection::connect_with(admin.options()).await?;
    sqlx::query("select pg_advisory_lock($1)")
        .bind(PROVISION_LOCK)
        .execute(&mut connection)
        .await?;
    for (name, verifier) in roles
        .iter()
        .filter_map(|(role, url)| Some((role.name()?, Some(url))))
        .chain([("master_data_reader", None), ("master_data_editor", None)])
        .map(|(name, url)| {
            // The verifier (SCRAM-SHA-256, RFC 7677), so that no password is in a statement.
            let verifier = url.map(|url| scram_sha_256(url.password().expose_secret().as_bytes()));
            (name, verifier)
        })
    {
        let exists: bool =
            sqlx::query_scalar("select exists (select from pg_roles where rolname = $1)")
                .bind(name)
                .fetch_one(&mut connection)
                .await?;
        if !exists {
            execute(&mut connection, format!("create role {name}")).await?;
        }
        if let Some(verifier) = verifier {
            // Base64, dollar, colon: nothing that would end the literal.
            execute(
                &mut connection,
                format!("alter role {name} login password '{verifier}'"),
            )
            .await?;
        }
    }
    let database: String = sqlx::query_scalar("select quote_ident(current_database())")
        .fetch_one(&mut connection)
        .await?;
    let superuser: bool =
        sqlx::query_scalar("select rolsuper from pg_roles where rolname = current_user")
            .fetch_one(&mut connection)
            .await?;
    if !superuser {
        execute(
            &mut connection,
            "grant master_data_owner to current_user".to_owned(),
        )
        .await?;
    }
    for statement in [
        format!(
            "grant connect on database {database} to master_data_owner, master_data_relay, master_data_applier"
        ),
        "create schema if not exists smp_global authorization master_data_owner".to_owned(),
        "do $$ begin if exists (select from pg_roles where rolname = 'core_app') then \
         grant master_data_reader to core_app; end if; end $$"
            .to_owned(),
    ] {
        execute(&mut connection, statement).await?;
    }
    connection.close().await?;
    Ok(())
}

/// The migrations of this binary.
#[must_use]
pub fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!();
    migrator.dangerous_set_table_name(MIGRATIONS_TABLE);
    // A newer version may have migrated already; that is no reason for an older one to fail.
    migrator.set_ignore_missing(true);
    migrator
}

/// Applies what is missing, and makes the database the hub's or a region's.
pub async fn migrate(
    owner: &DatabaseUrl,
    region: &RegionId,
    part: Part,
) -> Result<(), DatabaseError> {
    migrate_to(owner, region, part, None).await
}

/// The same up to a version, which this binary must know: a backup is restored at its own.
pub async fn migrate_to(
    owner: &DatabaseUrl,
    region: &RegionId,
    part: Part,
    to: Option<i64>,
) -> Result<(), DatabaseError> {
    let mut connection = PgConnection::connect_with(owner.options()).await?;
    let migrator = migrator();
    match to {
        Some(to) if !migrator.version_exists(to) => {
            return Err(MigrateError::VersionNotPresent(to).into());
        }
        Some(to) => migrator.run_to(to, &mut connection).await?,
        None => migrator.run(&mut connection).await?,
    }
    let mut transaction = connection.begin().await?;
    transaction
        .execute(sqlx::raw_sql(AssertSqlSafe(part.script().to_owned())))
        .await?;
    sqlx::query(
        "insert into smp_global.node (region_id, role) values ($1, $2) \
         on conflict (only_one) do update set region_id = excluded.region_id, role = excluded.role",
    )
    .bind(region.as_str())
    .bind(part.as_str())
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    connection.close().await?;
    Ok(())
}

/// The first master data, referred-to tables first.
const SEEDS: [&str; 5] = [
    include_str!("../seeds/01_currencies.sql"),
    include_str!("../seeds/02_countries.sql"),
    include_str!("../seeds/03_currency_rates.sql"),
    include_str!("../seeds/04_tax_configs.sql"),
    include_str!("../seeds/05_i18n_translations.sql"),
];

/// Writes the first master data into the hub. What is there already stays as it is.
pub async fn seed(owner: &DatabaseUrl, region: &RegionId) -> Result<(), DatabaseError> {
    let pool = connect(owner).await?;
    check_part(&pool, region, Part::Hub).await?;
    let mut transaction = pool.begin().await?;
    for sql in SEEDS {
        transaction.execute(sqlx::raw_sql(sql)).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Sees that a database is what a process takes it for.
pub async fn check_part(pool: &PgPool, region: &RegionId, part: Part) -> Result<(), DatabaseError> {
    let (found_region, found): (String, String) =
        sqlx::query_as("select region_id, role from smp_global.node")
            .fetch_one(pool)
            .await?;
    if found == part.as_str() && found_region == region.as_str() {
        Ok(())
    } else {
        Err(DatabaseError::OtherPart {
            found,
            region: found_region,
        })
    }
}

/// Runs a statement that PostgreSQL does not prepare, made of fixed and quoted parts only.
async fn execute(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(connection)
        .await?;
    Ok(())
}
