//! Two cores on one database, as processes, and those who kill them.

use std::process::Command;
use std::time::{Duration, Instant};

use platform::checkout;
use platform::pancake::{self, answer_of};
use platform::ports::{Listener, Ports};
use platform::process::Process;
use platform::region::Region;
use protocol::connection::ConnectionId;
use protocol::hop::{Destination, HopKey, RecordSigner, record_path};
use protocol::signature::{Policy, SignedHeaders, admit};
use protocol::{Country, RegionId, UnixSeconds};
use serde_json::Value;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};

use super::leads::Random;
use crate::support::{self, lifetime};

/// Only a failure waits for it.
const PATIENCE: Duration = Duration::from_mins(3);

/// A name for `ticket.subject` that the database refuses: found by halving the batch, again after each kill.
const POISON: &str = "create function refuse_poison() returns trigger language plpgsql as $$ begin \
     if new.subject = 'poison' then raise exception 'refused'; end if; return new; end $$; \
     create trigger refuse_poison before insert on ticket for each row execute function refuse_poison()";

/// In this country everything is switched on, and seven telesales take every lead.
const OFFICE: &str = "insert into app_setting (country_code) values ('VN') on conflict do nothing; \
     update app_setting set app_settings = jsonb_set(app_settings, '{pancake_integration}', \
         '{\"kill_switch\": false, \"processing_paused\": false}'); \
     insert into pancake_connection (connection_id, country_code) values ('vn-main', 'VN'); \
     insert into pancake_source (country_code, connection_id, source_id, is_active) \
         select 'VN', 'vn-main', source, true from unnest(array['(none)', 'fb', '7']) as s (source); \
     insert into staff (staff_id, country_code, subject, display_name, role, capacity) \
         select gen_random_uuid(), 'VN', 'telesale-' || n, 'Telesale', 'telesale', 1000000 \
         from generate_series(1, 7) as n";

/// The database's clock, as it is told to the cores and to nobody else: theirs is this machine's.
const CLOCK: &str = "create schema skewed; \
     create table skewed.skew (by interval not null); \
     insert into skewed.skew values ('0'); \
     create function skewed.clock_timestamp() returns timestamptz language sql volatile \
         as 'select pg_catalog.clock_timestamp() + by from skewed.skew'; \
     create function skewed.now() returns timestamptz language sql stable \
         as 'select pg_catalog.now() + by from skewed.skew'; \
     grant usage on schema skewed to core_app; \
     grant select on skewed.skew to core_app; \
     alter role core_app in database core set search_path = skewed, pg_catalog, public";

/// Where the database's clock stands beside the cores'.
#[derive(Debug, Clone, Copy)]
pub(super) enum Skew {
    Ahead,
    Behind,
}

pub(super) struct Cores {
    region: Region,
    second: Option<Process>,
    second_port: u16,
    database: PgPool,
}

impl Cores {
    pub(super) async fn start(name: &str) -> Self {
        let logs = lifetime::run_directory().join(name).join("logs");
        std::fs::create_dir_all(&logs).unwrap();
        let region = Region::start(
            RegionId::parse("smp-asia").unwrap(),
            vec![Country::parse("VN").unwrap()],
            0,
            Ports::Free,
            &logs,
            &format!("e2e-{name}"),
        )
        .await
        .unwrap();
        let second_port = Ports::Free
            .take(Listener::Core(1), "the second core")
            .unwrap();
        let database = PgPoolOptions::new()
            .max_connections(3)
            .connect(&region.owner_url())
            .await
            .unwrap();
        let mut cores = Self {
            region,
            second: None,
            second_port,
            database,
        };
        cores.start_second().await;
        cores
    }

    /// Switches everything on, and has the database refuse poison.
    pub(super) async fn open_office(&self) {
        for statements in [OFFICE, POISON] {
            sqlx::raw_sql(statements)
                .execute(&self.database)
                .await
                .unwrap();
        }
        let mut admin = self.admin().await;
        sqlx::raw_sql(CLOCK).execute(&mut admin).await.unwrap();
        // What a role is told holds from its next session on.
        sqlx::query(
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'core_app'",
        )
        .execute(&mut admin)
        .await
        .unwrap();
    }

    /// Sets the database's clock.
    pub(super) async fn skew(&self, skew: Skew) {
        let statement = match skew {
            Skew::Ahead => "update skewed.skew set by = '1 hour'",
            Skew::Behind => "update skewed.skew set by = '-1 hour'",
        };
        let mut admin = self.admin().await;
        sqlx::query(statement).execute(&mut admin).await.unwrap();
    }

    pub(super) async fn heal_poison(&self) {
        // Not in one transaction: a batch holds events while it waits for the table.
        for statement in [
            "drop trigger refuse_poison on ticket",
            "update pancake_webhook_event set due_at = '2000-01-01' where status = 'failed'",
        ] {
            sqlx::query(statement)
                .execute(&self.database)
                .await
                .unwrap();
        }
    }

    /// Kills one of the two with SIGKILL, and starts it again.
    pub(super) async fn kill(&mut self, core: usize) {
        if core == 0 {
            self.region.core().unwrap().kill().unwrap();
            self.region.start_core().await.unwrap();
        } else {
            self.second.as_mut().unwrap().kill().unwrap();
            self.start_second().await;
        }
    }

    /// Holds up a batch that has written all but the telesales' turns, kills PostgreSQL, and starts it
    /// again after a while.
    pub(super) async fn crash_postgres_in_mid_batch(&mut self, random: &mut Random) {
        let mut holder = self.database.begin().await.unwrap();
        sqlx::query("select from staff for no key update")
            .execute(&mut *holder)
            .await
            .unwrap();
        let mut admin = self.admin().await;
        let began = Instant::now();
        loop {
            let is_held_up: bool = sqlx::query_scalar(
                "select exists (select from pg_stat_activity where usename = 'core_app' \
                     and wait_event_type = 'Lock' and query like '%update staff as s%')",
            )
            .fetch_one(&mut admin)
            .await
            .unwrap();
            if is_held_up {
                break;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "no batch came to the telesales' turns"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.region.postgres.crash().unwrap();
        tokio::time::sleep(Duration::from_millis(random.below(500))).await;
        self.region.postgres.start_again().await.unwrap();
    }

    /// Waits until this many events have another status than `received`.
    pub(super) async fn wait_until_settled(&self, events: usize) {
        let query = "select count(*) from pancake_webhook_event where status <> 'received'";
        let events = i64::try_from(events).unwrap();
        self.wait(&format!("{events} events are settled"), query, |number| {
            number >= events
        })
        .await;
    }

    /// Waits until a query gives a number.
    pub(super) async fn wait_for(&self, what: &str, query: &str, wanted: i64) {
        self.wait(what, query, |number| number == wanted).await;
    }

    /// Gives up once nothing has changed for [`PATIENCE`].
    async fn wait(&self, what: &str, query: &str, is_enough: impl Fn(i64) -> bool) {
        let mut last = None;
        let mut changed = Instant::now();
        loop {
            let number = self.try_number(query).await;
            if number.as_ref().is_ok_and(|number| is_enough(*number)) {
                return;
            }
            let number = number.ok();
            if number != last {
                (last, changed) = (number, Instant::now());
            }
            assert!(
                changed.elapsed() < PATIENCE,
                "not in time: {what}; it stands at {last:?}; see .run/e2e/"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(super) async fn number(&self, query: &str) -> i64 {
        self.try_number(query).await.unwrap()
    }

    async fn try_number(&self, query: &str) -> sqlx::Result<i64> {
        sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
            .fetch_one(&self.database)
            .await
    }

    pub(super) fn database(&self) -> &PgPool {
        &self.database
    }

    /// One line of a core's metrics; 0 if it is not there.
    pub(super) async fn metric(&self, core: usize, series: &str) -> f64 {
        let url = format!("{}/metrics", self.urls()[core]);
        let text = support::client()
            .get(url)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        text.lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
            .map_or(0.0, |value| value.parse().unwrap())
    }

    pub(super) fn sender(&self) -> Sender {
        Sender {
            client: support::client(),
            urls: self.urls(),
            key: HopKey::new(&self.region.hop_keyid, self.region.hop_secret.as_bytes()).unwrap(),
            region: self.region.id.clone(),
        }
    }

    /// Stops everything and removes the data.
    pub(super) fn remove(self) {
        let Self { region, second, .. } = self;
        drop(second);
        region.postgres.remove().unwrap();
    }

    fn urls(&self) -> [String; 2] {
        [
            self.region.core_url(),
            format!("http://127.0.0.1:{}", self.second_port),
        ]
    }

    async fn admin(&self) -> PgConnection {
        PgConnection::connect(&self.region.postgres.admin_url("core"))
            .await
            .unwrap()
    }

    /// As [`Region`] starts the first.
    async fn start_second(&mut self) {
        let mut command = Command::new(checkout::built_program("regional-core").unwrap());
        command
            .arg("serve")
            .env("CORE_REGION", self.region.id.as_str())
            .env("CORE_COUNTRIES", "VN")
            .env("CORE_LISTEN", format!("127.0.0.1:{}", self.second_port))
            .env("CORE_DATABASE_URL", self.region.app_url())
            .env(
                "CORE_HOP_SECRETS",
                serde_json::json!({ self.region.hop_keyid.as_str(): self.region.hop_secret })
                    .to_string(),
            );
        let log = lifetime::run_directory().join("logs/processing-second-core.log");
        let mut core = Process::start("the second core", command, &log).unwrap();
        let url = format!("{}/readyz", self.urls()[1]);
        core.wait_until("ready", || async {
            let answer = reqwest::get(&url).await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await
        .unwrap();
        self.second = Some(core);
    }
}

/// Signs hops as the edge does, and sends them straight to a core.
pub(super) struct Sender {
    client: reqwest::Client,
    urls: [String; 2],
    key: HopKey,
    region: RegionId,
}

impl Sender {
    /// Status and body; none if there was no answer. `off_by`: seconds that the edge's clock is off.
    pub(super) async fn post(&self, core: usize, body: &[u8], off_by: i64) -> Option<(u16, Value)> {
        let connection = ConnectionId::parse("vn-main").unwrap();
        let destination = Destination {
            country: Country::parse("VN").unwrap(),
            region: &self.region,
            route_version: 1,
        };
        let signer = RecordSigner::new(&self.key, destination, &connection);
        let created = UnixSeconds(pancake::now().checked_add_signed(off_by).unwrap());
        let admitted = admit(&Policy::Off, SignedHeaders::default(), body, created).unwrap();
        let signature = signer.sign(&admitted, created);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let (before, after) = signer.signature_input_around_created();
        let mut request = self
            .client
            .post(format!("{}{}", self.urls[core], record_path(&connection)))
            .header("content-type", "application/json")
            .header(
                "content-digest",
                format!("sha-256=:{}:", text(&signature.body_sha256)),
            )
            .header("signature-input", format!("{before}{}{after}", created.0))
            .header("signature", format!("smp=:{}:", text(&signature.signature)))
            .body(body.to_vec());
        for (name, value) in signer.constant_headers(admitted.verdict()) {
            request = request.header(name, value);
        }
        answer_of(request).await.ok()
    }
}
