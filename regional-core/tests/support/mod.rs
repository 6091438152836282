//! What the tests share: a core on a database of its own, and an edge that signs.

pub(crate) mod auth;
pub(crate) mod database;
pub(crate) mod edge;
pub(crate) mod master_data;
// The platform's; a crate of its own would be built for nothing else.
#[allow(dead_code, unreachable_pub, reason = "the platform uses all of it")]
#[path = "../../../tests/src/pancake_rest.rs"]
pub(crate) mod pancake_rest;
pub(crate) mod proxy;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use regional_core::app::{App, SharedApp, router};
use regional_core::auth::Authenticator;
use regional_core::clock::Clock;
use regional_core::config::{Config, Environment};
use regional_core::hop::HopGuard;
use regional_core::ingest::batch::Batcher;
use sqlx::PgPool;
use time::OffsetDateTime;
use tokio::time::{Instant, sleep};
use tower::ServiceExt;
use uuid::Uuid;

use self::database::TestDatabase;
use self::edge::Edge;

/// The moment at which each test's clock stands: 2026-03-01T00:00:00Z.
pub(crate) const NOW: i64 = 1_772_323_200;

/// Longer than anything here takes on a busy machine; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A clock that stands until it is set.
pub(crate) struct TestClock {
    seconds: AtomicI64,
    broken: AtomicBool,
}

impl TestClock {
    pub(crate) fn advance(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    /// From now on the handler that asks for the time panics.
    pub(crate) fn set_broken(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> OffsetDateTime {
        assert!(!self.broken.load(Ordering::SeqCst), "the clock is broken");
        OffsetDateTime::from_unix_timestamp(self.seconds.load(Ordering::SeqCst)).unwrap()
    }
}

/// A core of region smp-asia for VN and SG.
pub(crate) struct TestCore {
    pub(crate) app: SharedApp,
    pub(crate) batcher: Option<Batcher>,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) router: Router,
    /// The core's own pool, as `core_app`.
    pub(crate) pool: PgPool,
    pub(crate) database: TestDatabase,
    pub(crate) edge: Edge,
}

impl TestCore {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let database = TestDatabase::create().await;
        let url = database.app_url();
        Self::start_on(database, &url, change)
    }

    /// A core that finds its database at `url`, which may be a proxy's.
    pub(crate) fn start_on(
        database: TestDatabase,
        url: &str,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let mut config = config();
        change(&mut config);
        let url = database::parse(url);
        let authenticator = Authenticator::new(&config).unwrap();
        // Who takes tokens may write.
        let editors = authenticator.as_ref().map(|_| {
            let url = database::parse(&database.editor_url());
            regional_core::db::connect_editors(&url, &config.database)
        });
        let pool = regional_core::db::connect_lazy(&url, &config.database);
        let clock = Arc::new(TestClock {
            seconds: AtomicI64::new(NOW),
            broken: AtomicBool::new(false),
        });
        let guard = HopGuard::new(
            edge::live_keys(),
            edge::waited_keys(),
            config.region.clone(),
            config.countries.clone(),
        );
        let (app, batcher) = App::start(
            config,
            guard,
            pool.clone(),
            editors,
            authenticator,
            Some(edge::at_rest_keys()),
            Arc::clone(&clock) as Arc<dyn Clock>,
        );
        Self {
            router: router(&app),
            app,
            batcher: Some(batcher),
            clock,
            pool,
            database,
            edge: Edge::default(),
        }
    }

    /// Sends a request through the router.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        send(self.router.clone(), request).await
    }

    /// Posts a record as the edge does.
    pub(crate) async fn post(&self, body: impl Into<Vec<u8>>) -> Answer {
        self.send(self.edge.record(body)).await
    }

    /// Posts a record in a task of its own.
    pub(crate) fn spawn_post(&self, body: impl Into<Vec<u8>>) -> tokio::task::JoinHandle<Answer> {
        tokio::spawn(send(self.router.clone(), self.edge.record(body)))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap())
            .await
    }

    /// The value of one line of `/metrics`.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let text = self.get("/metrics").await.text();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value
            .unwrap_or_else(|| panic!("no series {series} in\n{text}"))
            .parse()
            .unwrap()
    }

    /// How many events there are.
    pub(crate) async fn count_events(&self) -> i64 {
        sqlx::query_scalar("select count(*) from pancake_webhook_event")
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    /// Holds up whatever writes events, until the returned transaction ends.
    pub(crate) async fn hold_up_events(&self) -> sqlx::PgTransaction<'static> {
        let mut transaction = self.database.owner_pool().begin().await.unwrap();
        sqlx::query("lock table pancake_webhook_event in share row exclusive mode")
            .execute(&mut *transaction)
            .await
            .unwrap();
        transaction
    }

    /// Waits until a statement of the core waits for a lock.
    pub(crate) async fn wait_until_held_up(&self) {
        eventually("a statement waits for a lock", async || {
            sqlx::query_scalar::<_, bool>(
                "select exists (select from pg_locks join pg_stat_activity using (pid) \
                 where not granted and datname = current_database())",
            )
            .fetch_one(self.database.owner_pool())
            .await
            .unwrap()
        })
        .await;
    }

    /// Waits until this many records wait for the batcher.
    pub(crate) async fn wait_until_queued(&self, records: f64) {
        eventually("records wait", async || {
            (self.metric("pancake_webhook_queue_depth").await - records).abs() < 0.5
        })
        .await;
    }
}

/// The settings of a test's core: the defaults, but with time to spare for a busy machine.
pub(crate) fn config() -> Config {
    let variables = [
        ("CORE_REGION", "smp-asia"),
        ("CORE_COUNTRIES", "VN,SG"),
        ("CORE_LISTEN", "127.0.0.1:0"),
        ("CORE_INGEST__DEADLINE_MS", "25000"),
        ("CORE_DATABASE__STATEMENT_TIMEOUT_MS", "20000"),
        ("CORE_HTTP__BODY_TIMEOUT_MS", "20000"),
        ("CORE_DATABASE__ACQUIRE_TIMEOUT_MS", "10000"),
        ("CORE_DATABASE__MAX_CONNECTIONS", "4"),
    ];
    environment(&variables).unwrap().config().unwrap()
}

pub(crate) fn environment(
    variables: &[(&str, &str)],
) -> Result<Environment, regional_core::config::ConfigError> {
    Environment::from_variables(
        variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    )
}

pub(crate) async fn send(router: Router, request: Request<Body>) -> Answer {
    let response = router.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let header = |name| {
        parts
            .headers
            .get(name)
            .map(|value: &axum::http::HeaderValue| value.to_str().unwrap().to_owned())
    };
    Answer {
        status: parts.status,
        content_type: header("content-type"),
        retry_after: header("retry-after"),
        cache_control: header("cache-control"),
        headers: parts.headers,
        body: body.collect().await.unwrap().to_bytes().to_vec(),
    }
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: Option<String>,
    pub(crate) retry_after: Option<String>,
    pub(crate) cache_control: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Asserts `{"status": status, "event_id": …}` and gives the id.
    #[track_caller]
    pub(crate) fn event_id(&self, status: &str) -> Uuid {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text());
        assert_eq!(self.content_type.as_deref(), Some("application/json"));
        let answer = self.json();
        let id = answer["event_id"].as_str().unwrap_or_default();
        assert_eq!(
            answer,
            serde_json::json!({"status": status, "event_id": id})
        );
        let id = Uuid::try_parse(id).unwrap();
        assert_eq!(id.get_version_num(), 7);
        id
    }

    #[track_caller]
    pub(crate) fn assert_invalid_payload(&self) {
        assert_eq!(
            (self.status, self.text().as_str()),
            (StatusCode::OK, r#"{"status":"invalid_payload"}"#)
        );
        assert_eq!(self.content_type.as_deref(), Some("application/json"));
    }

    /// Asserts a problem document of this status that says nothing more.
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16) {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        assert_eq!(
            self.content_type.as_deref(),
            Some("application/problem+json")
        );
        let problem = self.json();
        let title = &problem["title"];
        assert!(title.is_string());
        assert_eq!(
            problem,
            serde_json::json!({"type": "about:blank", "title": title, "status": status})
        );
        assert_eq!(self.retry_after.is_some(), status == 503);
    }
}

/// Waits until `holds` does, and fails if it never does.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let give_up_at = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < give_up_at, "not in time: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// A record with these members beside a name.
pub(crate) fn record(members: &str) -> String {
    format!(r#"{{"name":"Nguyễn Văn A"{members}}}"#)
}
