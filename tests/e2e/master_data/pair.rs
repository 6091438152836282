//! A hub and one region, each with its own PostgreSQL and broker, and MirrorMaker 2 between them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use platform::kafka::Part;
use platform::link::Link;
use platform::master_data::Node;
use platform::mirror::Mirror;
use platform::ports::{Listener, Ports};
use platform::postgres::Postgres;
use protocol::RegionId;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep};

use super::replicator::Replicator;
use crate::support::lifetime;

/// Longer than anything here takes on a busy machine; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(90);

/// Every row of every table, as text.
const ROWS: &str = "select 'currencies ' || to_jsonb(r)::text from smp_global.currencies r \
     union all select 'countries ' || to_jsonb(r)::text from smp_global.countries r \
     union all select 'currency_rates ' || to_jsonb(r)::text from smp_global.currency_rates r \
     union all select 'tax_configs ' || to_jsonb(r)::text from smp_global.tax_configs r \
     union all select 'i18n_translations ' || to_jsonb(r)::text from smp_global.i18n_translations r";

/// A region's part in master data, its replicator supervised.
pub(super) struct Site {
    pub(super) replicator: Replicator,
    pub(super) node: Node,
    pub(super) database: PgPool,
    // Dropped last: the others end with it.
    pub(super) postgres: Postgres,
}

impl Site {
    /// The schema and, in the hub, the first rows are there; the replicator is not started yet.
    async fn start(id: &str, link: Option<&Link>, index: u16, name: &str) -> Self {
        let id = RegionId::parse(id).unwrap();
        let logs = logs_of(name);
        let port = Ports::Free.take(Listener::Postgres(index), "PostgreSQL");
        let log = logs.join(format!("{id}-postgres.log"));
        let postgres = Postgres::start(&format!("{name}-{id}"), port.unwrap(), &log)
            .await
            .unwrap();
        let admin = PgPool::connect(&postgres.admin_url("postgres")).await;
        execute(&admin.unwrap(), "create database core").await;
        let at = (Ports::Free, index);
        // The hub is who others come to.
        let hub = RegionId::parse("smp-asia").unwrap();
        let role = match link {
            Some(_) => Part::Hub,
            None => Part::SpokeOf(&hub),
        };
        let node = Box::pin(Node::start(
            &id,
            role,
            (&postgres, "core"),
            at,
            link,
            &logs,
            name,
        ))
        .await
        .unwrap();
        Self {
            replicator: supervised(&node, &logs),
            database: node.database().await.unwrap(),
            node,
            postgres,
        }
    }

    /// Tells the hub's relay of a region, before it starts.
    fn introduce(&mut self, region: &mut Self, name: &str) {
        self.node.introduce([&mut region.node]).unwrap();
        for site in [self, region] {
            site.replicator = supervised(&site.node, &logs_of(name));
        }
    }

    /// A second replicator beside the first, not started yet.
    pub(super) fn second_replicator(&self, role: &'static str) -> Replicator {
        let mut environment = self.node.environment().unwrap();
        let port = Ports::Free.take(Listener::Replicator(0), "replicator");
        let listen = format!("127.0.0.1:{}", port.unwrap());
        environment.insert("REPLICATOR_LISTEN".to_owned(), listen);
        let log = logs_of("md-second-replicator").join("replicator.log");
        Replicator::new(role, environment, log)
    }

    /// Runs a command of the replicator to its end, whatever that is.
    pub(super) fn try_run(&self, arguments: &[&str]) -> Output {
        block_in_place(|| self.node.try_run(arguments).unwrap())
    }

    /// Runs a command of the replicator that must succeed.
    pub(super) fn run(&self, arguments: &[&str]) -> Output {
        let output = self.try_run(arguments);
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(
            output.status.success(),
            "replicator {arguments:?} failed: {stdout}{stderr}"
        );
        output
    }

    /// Runs statements.
    pub(super) async fn execute(&self, sql: &str) {
        execute(&self.database, sql).await;
    }

    /// A number from the database.
    pub(super) async fn number(&self, sql: &str) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
            .fetch_one(&self.database)
            .await
    }

    /// Waits until the database gives a number.
    pub(super) async fn wait_for(&self, expected: i64, sql: &str) {
        eventually(sql, async || match self.number(sql).await {
            Ok(found) if found == expected => Ok(()),
            found => Err(format!("{found:?}, not {expected}")),
        })
        .await;
    }

    /// A metric of the running replicator, by its name.
    pub(super) async fn metric(&self, name: &str) -> Option<f64> {
        let response = reqwest::get(format!("{}/metrics", self.node.replicator_url())).await;
        let metrics = response.ok()?.text().await.ok()?;
        let line = metrics
            .lines()
            .find(|line| line.starts_with(&format!("{name}{{")))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    async fn rows(&self, sql: &'static str) -> Result<BTreeSet<String>, sqlx::Error> {
        let rows: Vec<String> = sqlx::query_scalar(sql).fetch_all(&self.database).await?;
        Ok(rows.into_iter().collect())
    }

    /// Every row, and where on the disk it is: one that is written again, even as it was, is elsewhere.
    pub(super) async fn rows_and_places(&self) -> BTreeSet<String> {
        let sql = "select 'currencies ' || r.ctid || to_jsonb(r)::text from smp_global.currencies r \
             union all select 'countries ' || r.ctid || to_jsonb(r)::text from smp_global.countries r \
             union all select 'currency_rates ' || r.ctid || to_jsonb(r)::text from smp_global.currency_rates r \
             union all select 'tax_configs ' || r.ctid || to_jsonb(r)::text from smp_global.tax_configs r \
             union all select 'i18n_translations ' || r.ctid || to_jsonb(r)::text from smp_global.i18n_translations r";
        self.rows(sql).await.unwrap()
    }
}

/// The replicator of a node, not started yet.
fn supervised(node: &Node, logs: &Path) -> Replicator {
    let role = if node.is_hub { "relay" } else { "apply" };
    let log = logs.join(format!("{}-replicator.log", node.id));
    Replicator::new(role, node.environment().unwrap(), log)
}

/// The two, and what is between them.
pub(super) struct Pair {
    pub(super) mirror: Mirror,
    /// The way that MirrorMaker 2 comes to the hub.
    pub(super) link: Link,
    pub(super) hub: Site,
    pub(super) region: Site,
}

impl Pair {
    /// All of it, with the first rows on their way.
    pub(super) async fn start(name: &str) -> Self {
        let pair = Self::start_without_applier(name, "select").await;
        pair.region.replicator.start();
        pair
    }

    /// As [`Pair::start`], and the hub asks the region how far it is. It does not otherwise, for then it heals
    /// what a test has done before the test has seen it.
    pub(super) async fn start_introduced(name: &str) -> Self {
        let (link, mut hub, mut region) = Self::start_sites(name).await;
        hub.introduce(&mut region, name);
        let pair = Self::connect(link, hub, region, name).await;
        pair.region.replicator.start();
        pair
    }

    /// As [`Pair::start`], but that nobody applies. The hub is filled by `sql`, too, before its relay starts.
    pub(super) async fn start_without_applier(name: &str, sql: &str) -> Self {
        let (link, hub, region) = Self::start_sites(name).await;
        hub.execute(sql).await;
        Self::connect(link, hub, region, name).await
    }

    async fn start_sites(name: &str) -> (Link, Site, Site) {
        let link = Link::start().await.unwrap();
        let (hub, region) = tokio::join!(
            Box::pin(Site::start("smp-asia", Some(&link), 0, name)),
            Box::pin(Site::start("smp-china", None, 1, name))
        );
        (link, hub, region)
    }

    async fn connect(link: Link, hub: Site, region: Site, name: &str) -> Self {
        hub.replicator.start();
        // MirrorMaker 2 looks for a topic that is not there only every five seconds.
        let published = "select (published_seq > 0)::int::bigint from smp_global.relay_state";
        hub.wait_for(1, published).await;
        let log = logs_of(name).join("mirror.log");
        let mirror = Mirror::start(&hub.node.kafka, &region.node.kafka, &log);
        Self {
            mirror: mirror.await.unwrap(),
            link,
            hub,
            region,
        }
    }

    /// What differs, in words; nothing if every row of every table is the same.
    pub(super) async fn difference(&self) -> Result<Option<String>, sqlx::Error> {
        let (hub, region) = (self.hub.rows(ROWS).await?, self.region.rows(ROWS).await?);
        if hub == region {
            return Ok(None);
        }
        let missing: Vec<_> = hub.difference(&region).collect();
        let ghosts: Vec<_> = region.difference(&hub).collect();
        Ok(Some(format!(
            "{} of {} rows are missing or older, {} are too many, such as {:?} {:?}",
            missing.len(),
            hub.len(),
            ghosts.len(),
            missing.first(),
            ghosts.first()
        )))
    }

    /// Waits until the region has all that the hub has, and compares every row of every table.
    pub(super) async fn wait_until_equal(&self) {
        eventually("hub and region are equal", async || {
            match self.difference().await {
                Ok(None) => Ok(()),
                Ok(Some(difference)) => Err(difference),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
    }

    /// Waits until the region has compared each table with the hub since now; gives how many of the five
    /// it found the same.
    pub(super) async fn wait_for_digests(&self) -> i64 {
        let seq = self.hub_seq().await;
        let since = format!("from smp_global.digest_check where seq > {seq}");
        let region = &self.region;
        region
            .wait_for(5, &format!("select count(*) {since}"))
            .await;
        let same = format!("select count(*) filter (where is_same) {since}");
        region.number(&same).await.unwrap()
    }

    /// Waits until hub and region are equal, in each row and by the region's own judgement.
    pub(super) async fn wait_until_proven_equal(&self) {
        self.wait_until_equal().await;
        eventually("digests agree since now", async || {
            match self.wait_for_digests().await {
                5 => Ok(()),
                same => Err(format!("{same} of 5: see smp_global.digest_check")),
            }
        })
        .await;
        self.region.run(&["verify"]);
    }

    /// Waits until the region has applied all that is committed in the hub now.
    pub(super) async fn wait_until_caught_up(&self) {
        let seq = self.hub_seq().await;
        eventually("the region has applied what is in the hub", async || {
            let applied = "select applied_seq from smp_global.applied_position";
            match self.region.number(applied).await {
                Ok(applied) if applied >= seq => Ok(()),
                applied => Err(format!("{applied:?} of {seq}")),
            }
        })
        .await;
    }

    /// The last change of the hub. The log, not the sequence: that jumps after a crash.
    pub(super) async fn hub_seq(&self) -> i64 {
        let seq = "select coalesce(max(seq), 0) from smp_global.change_log";
        eventually(seq, async || {
            self.hub
                .number(seq)
                .await
                .map_err(|error| error.to_string())
        })
        .await
    }
}

/// Where a pair's logs are.
fn logs_of(name: &str) -> PathBuf {
    let logs = lifetime::run_directory().join(name);
    std::fs::create_dir_all(&logs).unwrap();
    logs
}

async fn execute(database: &PgPool, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(database)
        .await
        .unwrap_or_else(|error| panic!("{error}: {sql}"));
}

/// Waits until a condition holds; says what it still is if it does not in time.
pub(super) async fn eventually<T>(
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(found) if Instant::now() > deadline => {
                panic!("not in {PATIENCE:?}: {what}: {found}; logs in .run/e2e/md-*")
            }
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Output for people.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
