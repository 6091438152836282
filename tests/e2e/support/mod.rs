//! What the stories share.

pub(crate) mod fake_core;
pub(crate) mod lifetime;
pub(crate) mod wire;
pub(crate) mod workerd;

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use fake_core::FakeCore;
use platform::pancake::{self, DemoConnection};
use platform::ports::{Listener, Ports};
use platform::region::Region;
use platform::secrets::random_hex;
use platform::system::System;
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::sync::OnceCell;
use uuid::Uuid;
use workerd::Workerd;

/// The whole platform, as `make up` starts it: two regions, and the edge by wrangler.
pub(crate) async fn system() -> &'static System {
    static SYSTEM: OnceCell<System> = OnceCell::const_new();
    SYSTEM
        .get_or_init(|| async {
            lifetime::run_directory();
            System::start(lifetime::NAME, Ports::Free, |_| ())
                .await
                .unwrap()
        })
        .await
}

/// An edge before a core that does as it is told: the same `entry.js` and wasm, on workerd alone.
pub(crate) struct Scripted {
    pub(crate) url: String,
    pub(crate) core: &'static FakeCore,
    pub(crate) connections: Vec<DemoConnection>,
    _workerd: Workerd,
}

impl Scripted {
    pub(crate) fn connection(&self, country: &str) -> &DemoConnection {
        let mut connections = self.connections.iter();
        connections
            .find(|connection| connection.country == country)
            .unwrap()
    }

    pub(crate) fn record_url(&self, country: &str) -> String {
        record_url(&self.url, self.connection(country))
    }
}

/// The version of [`scripted`]'s route table.
pub(crate) const SCRIPTED_ROUTE_VERSION: u32 = 4_000_000_001;

/// The edge before the scripted core. It signs with the secrets of the real regions, so what the core
/// captures can be sent on to a real one. Its routes:
///
/// - VN, TH: smp-asia, whose origin is the scripted core;
/// - CN: smp-asia as well, as after a mistaken flip;
/// - ID: a region whose core refuses connections;
/// - MY: a region that is paused, whose origin is the scripted core.
pub(crate) async fn scripted() -> &'static Scripted {
    static SCRIPTED: OnceCell<Scripted> = OnceCell::const_new();
    SCRIPTED.get_or_init(start_scripted).await
}

async fn start_scripted() -> Scripted {
    let asia = system().await.region("smp-asia").unwrap();
    let core = FakeCore::start();
    // Taken and given back: nobody listens there.
    let nobody = Ports::Free.take(Listener::Core(9), "nobody").unwrap();
    let connections: Vec<_> = [
        ("VN", "off"),
        ("TH", "observe"),
        ("CN", "off"),
        ("ID", "off"),
        ("MY", "off"),
    ]
    .into_iter()
    .map(|(country, mode)| DemoConnection {
        country,
        mode,
        token: random_hex().unwrap(),
        secret: random_hex().unwrap(),
        previous_secret: None,
    })
    .collect();
    let routes = json!({
        "version": SCRIPTED_ROUTE_VERSION,
        "countries": {
            "VN": "smp-asia", "TH": "smp-asia", "CN": "smp-asia",
            "ID": "smp-refusing", "MY": "smp-paused",
        },
        "regions": {
            "smp-asia": {"origin": core.origin(), "state": "open"},
            "smp-refusing": {"origin": format!("http://127.0.0.1:{nobody}"), "state": "open"},
            "smp-paused": {"origin": core.origin(), "state": "paused"},
        },
    });
    let key = |keyid: &str, secret: &str| json!({"keyid": keyid, "secret": secret});
    let hop_secrets = json!({
        "smp-asia": key(&asia.hop_keyid, &asia.hop_secret),
        "smp-refusing": key("smp-refusing-1", &random_hex().unwrap()),
        "smp-paused": key("smp-paused-1", &random_hex().unwrap()),
    });
    let bindings = [
        ("ROUTES", workerd::Binding::Json(routes.to_string())),
        (
            "HOP_SECRETS",
            workerd::Binding::Text(hop_secrets.to_string()),
        ),
        (
            "CONNECTIONS",
            workerd::Binding::Connections(DemoConnection::to_entries(&connections)),
        ),
    ];
    let entry = platform::checkout::root().join("edge-worker/entry.js");
    let workerd = Workerd::start("scripted-edge", &entry, &bindings).await;
    Scripted {
        url: workerd.url.clone(),
        core,
        connections,
        _workerd: workerd,
    }
}

/// A client that follows no redirect and knows no proxy.
pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        // workerd closes a connection that was idle for 5 s; a request sent in that moment is lost.
        .pool_idle_timeout(Duration::from_secs(2))
        .timeout(Duration::from_secs(30))
        .build()
        .unwrap()
}

pub(crate) fn record_url(edge: &str, connection: &DemoConnection) -> String {
    format!("{edge}/api/pancake/record/{}", connection.token)
}

/// Names and numbers of people, none of which may stand in any log.
pub(crate) const PEOPLE: [(&str, &str); 2] =
    [("Nguyễn Thị Hồng", "0901234567"), ("王小明", "13800138000")];

/// A record as Pancake sends it, with an id of its own.
pub(crate) fn lead() -> (Uuid, String) {
    let id = Uuid::new_v4();
    let (name, phone_number) = PEOPLE[usize::from(id.as_bytes()[0] % 2)];
    let record = json!({
        "id": id.to_string(),
        "name": name,
        "phone_number": phone_number,
        "source": ["-11"],
        "modified_on": "2026-11-22T08:00:00",
    });
    (id, record.to_string())
}

/// The two headers that Pancake signs with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signed {
    pub(crate) timestamp: Option<String>,
    pub(crate) signature: Option<String>,
}

impl Signed {
    /// Signed at a time with a secret.
    pub(crate) fn at(timestamp: impl Display, secret: &str, body: &[u8]) -> Self {
        let timestamp = timestamp.to_string();
        Self {
            signature: Some(pancake::sign(secret, &timestamp, body)),
            timestamp: Some(timestamp),
        }
    }

    /// Signed now with a connection's secret.
    pub(crate) fn now(connection: &DemoConnection, body: &[u8]) -> Self {
        Self::at(pancake::now(), &connection.secret, body)
    }
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Asserts status and the whole body, which is the answer's `status` alone.
    #[track_caller]
    pub(crate) fn is(&self, status: u16, text: &str) {
        assert_eq!(
            (self.status, &self.body),
            (status, &json!({"status": text})),
            "{self:?}"
        );
        assert_eq!(self.header("content-type"), Some("application/json"));
    }

    /// Asserts that it is our fault, and says when to come back.
    #[track_caller]
    pub(crate) fn is_unavailable(&self, text: &str) {
        self.is(503, text);
        assert_eq!(self.header("retry-after"), Some("30"), "{self:?}");
        assert_eq!(self.header("location"), None, "{self:?}");
    }

    /// Asserts that a core has kept it; gives the event's id.
    #[track_caller]
    pub(crate) fn is_kept(&self, text: &str) -> Uuid {
        assert_eq!(self.status, 200, "{self:?}");
        assert_eq!(self.body["status"], text, "{self:?}");
        self.body["event_id"].as_str().unwrap().parse().unwrap()
    }
}

/// What wrangler's own proxy, which stands before workerd locally, answers when it lost its connection
/// to workerd: among others when that has just refused a body unread. No answer of the edge's has it.
pub(crate) const WRANGLERS_OWN: &[u8] = b"Your worker restarted mid-request";

pub(crate) async fn send(mut request: reqwest::RequestBuilder) -> Answer {
    for _ in 0..5 {
        // A body that streams cannot be sent twice.
        let Some(again) = request.try_clone() else {
            break;
        };
        match send_once(request).await {
            Err(WranglersOwn) => request = again,
            Ok(answer) => return answer,
        }
    }
    let answer = send_once(request).await.ok();
    answer.expect("wrangler lost workerd again and again: see .run/e2e/logs/edge.log")
}

/// The request got no answer of the edge's.
struct WranglersOwn;

async fn send_once(request: reqwest::RequestBuilder) -> Result<Answer, WranglersOwn> {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let body = response.bytes().await.unwrap();
    if body.starts_with(WRANGLERS_OWN) {
        return Err(WranglersOwn);
    }
    Ok(Answer {
        status,
        headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    })
}

/// Posts a webhook with these headers.
pub(crate) async fn post(url: &str, signed: &Signed, body: impl Into<Vec<u8>>) -> Answer {
    let mut request = client()
        .post(url)
        .header("content-type", "application/json")
        .body(body.into());
    if let Some(timestamp) = &signed.timestamp {
        request = request.header("x-pancake-timestamp", timestamp);
    }
    if let Some(signature) = &signed.signature {
        request = request.header("x-pancake-signature", signature);
    }
    send(request).await
}

/// A pool on a region's database, as its owner.
pub(crate) async fn database(region: &str) -> PgPool {
    let region: &Region = system().await.region(region).unwrap();
    region.database().await.unwrap()
}

/// How many events of a record stand in a region.
pub(crate) async fn count_events(region: &str, record: Uuid) -> i64 {
    let database = database(region).await;
    sqlx::query_scalar("select count(*) from pancake_webhook_event where record_id = $1")
        .bind(record)
        .fetch_one(&database)
        .await
        .unwrap()
}

/// Asserts that none of these records stands in any region.
pub(crate) async fn assert_nowhere(records: &[Uuid]) {
    for region in ["smp-asia", "smp-china"] {
        let found: Vec<Uuid> = sqlx::query_scalar(
            "select record_id from pancake_webhook_event where record_id = any($1)",
        )
        .bind(records)
        .fetch_all(&database(region).await)
        .await
        .unwrap();
        assert!(
            found.is_empty(),
            "{region} holds what was turned away: {found:?}"
        );
    }
}

/// All tables of a region's database that hold a text anywhere, in a text or in bytes. Asked of the
/// superuser, from whom no table and no row is hidden.
pub(crate) async fn tables_that_hold(region: &str, text: &str) -> Vec<String> {
    let region = system().await.region(region).unwrap();
    let database = PgPoolOptions::new()
        .max_connections(1)
        .connect(&region.postgres.admin_url("core"))
        .await
        .unwrap();
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', schemaname, tablename) from pg_tables \
         where schemaname not in ('pg_catalog', 'information_schema') order by 1",
    )
    .fetch_all(&database)
    .await
    .unwrap();
    assert!(
        tables.len() >= 3,
        "only {tables:?}: this would find nothing"
    );
    let mut holding = Vec::new();
    for table in tables {
        let holds: bool = sqlx::query_scalar(AssertSqlSafe(format!(
            "select exists (select from {table} t where strpos(t::text, $1) > 0 \
             or strpos(t::text, encode(convert_to($1, 'UTF8'), 'hex')) > 0)"
        )))
        .bind(text)
        .fetch_one(&database)
        .await
        .unwrap();
        if holds {
            holding.push(table);
        }
    }
    holding
}

/// All files in which anything of the shared platform and of the scripted edge has logged.
pub(crate) fn log_files() -> Vec<PathBuf> {
    let logs = lifetime::run_directory().join("logs");
    let entries = std::fs::read_dir(logs).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Waits until a log holds a text: it is written by another process, a little after that answers.
pub(crate) async fn wait_for_log(name: &str, text: &str) -> String {
    let path = lifetime::run_directory().join("logs").join(name);
    let holds = async {
        loop {
            let log = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            if log.contains(text) {
                return log;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(10), holds).await;
    in_time.unwrap_or_else(|_| panic!("{} does not hold {text:?}", path.display()))
}
