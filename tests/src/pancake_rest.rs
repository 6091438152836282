//! Pancake's REST interface as its specification has it, with records that tests and the demo put in, at a pace that
//! they set, and with the faults that they ask for.
//!
//! Pages hold 30 records, the latest change first, as the cursor in the specification's own example says (it reads: 30,
//! a time, a record's id). Written from the specification, not from the client.

#![expect(
    clippy::indexing_slicing,
    reason = "what is not in a JSON value is null there"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{Response, StatusCode};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Records on a page.
pub const PAGE: usize = 30;

/// What it does wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Answers with this status, and a page of HTML.
    Status(u16),
    /// Wants fewer requests: 429 with this `Retry-After`, so many times.
    RateLimit {
        /// In seconds.
        retry_after: u64,
        /// How many requests more it refuses.
        times: u32,
    },
    /// Takes so long for each answer.
    Slow(Duration),
    /// Answers 200 with this.
    Nonsense(String),
    /// Gives the same cursor on each page, so that paging never ends.
    RepeatCursor,
    /// Gives a new cursor and the same page each time.
    Endless,
    /// Heeds no filter: lists all it has.
    IgnoreFilter,
    /// Answers each request for leads with the body of that cursor, `""` at first, whatever was asked for.
    Pages(Arc<BTreeMap<String, Vec<u8>>>),
    /// Refuses every key.
    RefuseKey,
    /// Changes the last record of the list each time somebody asks for a page.
    ChangeWhilePaged,
}

/// One workspace.
#[derive(Debug, Default)]
struct Workspace {
    key: String,
    tables: BTreeMap<String, Table>,
    sources: Vec<Value>,
    tags: Vec<Value>,
}

#[derive(Debug, Default)]
struct Table {
    /// By their ids.
    records: BTreeMap<String, Value>,
    /// When each was changed, in microseconds; 0 for those that do not say it.
    changes: BTreeSet<(i64, String)>,
}

impl Table {
    fn put(&mut self, record: Value) {
        let id = record["id"].as_str().unwrap_or_default().to_owned();
        if let Some(before) = self.records.get(&id) {
            self.changes.remove(&(changed_at(before), id.clone()));
        }
        self.changes.insert((changed_at(&record), id.clone()));
        self.records.insert(id, record);
    }
}

#[derive(Debug, Default)]
struct Stock {
    workspaces: BTreeMap<u64, Workspace>,
    fault: Fault,
    /// For each answer.
    latency: Duration,
    requests: Vec<String>,
}

type Shared = Arc<Mutex<Stock>>;

/// A running one. It ends with its value.
#[derive(Debug)]
pub struct PancakeRest {
    stock: Shared,
    address: std::net::SocketAddr,
    server: JoinHandle<()>,
}

impl Drop for PancakeRest {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl PancakeRest {
    /// Starts one, on a free port, or on this one.
    pub async fn start(port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))
            .await
            .with_context(|| format!("Pancake's interface: port {port}"))?;
        let (stock, address) = (Shared::default(), listener.local_addr()?);
        let router = Router::new()
            .route("/api/workspaces/{workspace}/{table}/records", get(records))
            .route("/api/workspaces/{workspace}/record/{record}", get(record))
            .route("/api/workspaces/{workspace}/sources", get(sources))
            .route("/api/workspaces/{workspace}/pages/pancake_tags", get(tags))
            .with_state(Arc::clone(&stock));
        let server = tokio::spawn(async move {
            let _ended = axum::serve(listener, router).await;
        });
        Ok(Self {
            stock,
            address,
            server,
        })
    }

    /// For `CORE_PANCAKE__URL`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/api", self.address)
    }

    /// Adds a workspace with its key.
    pub fn add_workspace(&self, workspace: u64, key: &str) {
        let mut stock = lock(&self.stock);
        key.clone_into(&mut stock.workspaces.entry(workspace).or_default().key);
    }

    /// Puts a record in, or in place of the one with its id.
    pub fn put(&self, workspace: u64, table: &str, record: Value) {
        let mut stock = lock(&self.stock);
        let workspace = stock.workspaces.entry(workspace).or_default();
        let table = workspace.tables.entry(table.to_owned()).or_default();
        table.put(record);
    }

    /// Takes all records out.
    pub fn clear(&self) {
        for workspace in lock(&self.stock).workspaces.values_mut() {
            workspace.tables.clear();
        }
    }

    /// What the workspace's sources are.
    pub fn set_sources(&self, workspace: u64, sources: Vec<Value>) {
        let mut stock = lock(&self.stock);
        stock.workspaces.entry(workspace).or_default().sources = sources;
    }

    /// What the workspace's tags are.
    pub fn set_tags(&self, workspace: u64, tags: Vec<Value>) {
        let mut stock = lock(&self.stock);
        stock.workspaces.entry(workspace).or_default().tags = tags;
    }

    /// What it does wrong from now on.
    pub fn set_fault(&self, fault: Fault) {
        lock(&self.stock).fault = fault;
    }

    /// How long each answer takes from now on.
    pub fn set_latency(&self, latency: Duration) {
        lock(&self.stock).latency = latency;
    }

    /// The requests until now: path and query, without the key.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        lock(&self.stock).requests.clone()
    }

    /// Forgets them.
    pub fn forget_requests(&self) {
        lock(&self.stock).requests.clear();
    }
}

type Parameters = Query<BTreeMap<String, String>>;

async fn records(
    State(stock): State<Shared>,
    Path((workspace, table)): Path<(u64, String)>,
    Query(parameters): Parameters,
) -> Response<Body> {
    let path = format!("{workspace}/{table}/records");
    answer(&stock, workspace, &path, &parameters, |stock| {
        list(stock, workspace, &table, &parameters)
    })
    .await
}

async fn record(
    State(stock): State<Shared>,
    Path((workspace, record)): Path<(u64, String)>,
    Query(parameters): Parameters,
) -> Response<Body> {
    let path = format!("{workspace}/record/{record}");
    answer(&stock, workspace, &path, &parameters, |stock| {
        let table = parameters.get("table_name").map(String::as_str);
        let table = stock.workspaces.get(&workspace)?.tables.get(table?)?;
        Some(json!({"success": true, "data": table.records.get(&record)?}))
    })
    .await
}

async fn sources(
    State(stock): State<Shared>,
    Path(workspace): Path<u64>,
    Query(parameters): Parameters,
) -> Response<Body> {
    let path = format!("{workspace}/sources");
    answer(&stock, workspace, &path, &parameters, |stock| {
        Some(json!({"success": true, "data": stock.workspaces.get(&workspace)?.sources}))
    })
    .await
}

async fn tags(
    State(stock): State<Shared>,
    Path(workspace): Path<u64>,
    Query(parameters): Parameters,
) -> Response<Body> {
    let path = format!("{workspace}/pages/pancake_tags");
    answer(&stock, workspace, &path, &parameters, |stock| {
        Some(json!({"success": true, "data": stock.workspaces.get(&workspace)?.tags}))
    })
    .await
}

/// What all answers have in common: the key, the pace, the faults.
async fn answer(
    stock: &Shared,
    workspace: u64,
    path: &str,
    parameters: &BTreeMap<String, String>,
    make: impl FnOnce(&mut Stock) -> Option<Value>,
) -> Response<Body> {
    let (fault, latency, key) = {
        let mut stock = lock(stock);
        let mut request = path.to_owned();
        for (name, value) in parameters.iter().filter(|(name, _)| *name != "api_key") {
            let _never_fails = write!(request, " {name}={value}");
        }
        stock.requests.push(request);
        let key = stock.workspaces.get(&workspace).map(|one| one.key.clone());
        (stock.fault.clone(), stock.latency, key)
    };
    sleep(latency).await;
    let is_known = key.is_some() && parameters.get("api_key") == key.as_ref();
    match &fault {
        Fault::Slow(time) => sleep(*time).await,
        Fault::Status(status) => return say(*status, "<html>oh no</html>", &[]),
        Fault::Nonsense(text) => return say(200, text.clone(), &[]),
        Fault::RateLimit { retry_after, times } => {
            lock(stock).fault = match times {
                0 | 1 => Fault::None,
                times => Fault::RateLimit {
                    retry_after: *retry_after,
                    times: times - 1,
                },
            };
            let retry_after = retry_after.to_string();
            return say(429, "{}", &[("retry-after", &retry_after)]);
        }
        Fault::Pages(pages) if path.ends_with("/lead/records") => {
            let cursor = parameters.get("cursor").map_or("", String::as_str);
            let page = pages.get(cursor);
            return say(
                if page.is_some() { 200 } else { 404 },
                page.cloned().unwrap_or_default(),
                &[],
            );
        }
        Fault::RefuseKey => return say(401, r#"{"success":false}"#, &[]),
        _ => {}
    }
    if !is_known {
        return say(401, r#"{"success":false,"message":"invalid api_key"}"#, &[]);
    }
    match make(&mut lock(stock)) {
        Some(answer) => say(200, answer.to_string(), &[]),
        None => say(404, r#"{"success":false}"#, &[]),
    }
}

fn list(
    stock: &mut Stock,
    workspace: u64,
    table: &str,
    parameters: &BTreeMap<String, String>,
) -> Option<Value> {
    let fault = stock.fault.clone();
    let requests = stock.requests.len();
    let workspace = stock.workspaces.get_mut(&workspace)?;
    let table = workspace.tables.entry(table.to_owned()).or_default();
    let span = parameters
        .get("filter")
        .filter(|_| fault != Fault::IgnoreFilter)
        .and_then(|filter| span_of(filter));
    let after = parameters
        .get("cursor")
        .filter(|_| fault != Fault::Endless)
        .and_then(|cursor| place_of(cursor));
    // The latest change first; a record that does not say when it was changed comes last, whatever is asked for.
    let (from, to) = span.unwrap_or((i64::MIN, i64::MAX));
    let dated = table
        .changes
        .range((from.max(1), String::new())..(to, String::new()));
    let undated = table.changes.range(..(1, String::new()));
    let mut rows = dated
        .rev()
        .chain(undated.rev())
        .skip_while(|row| after.as_ref().is_some_and(|after| *row >= after));
    let page: Vec<(i64, String)> = rows.by_ref().take(PAGE).cloned().collect();
    let goes_on = rows.next().is_some();
    let cursor = match fault {
        Fault::RepeatCursor => json!("g2wAAAAD"),
        Fault::Endless => json!(format!("page-{requests}")),
        _ => match page.last() {
            Some((at, id)) if goes_on => json!(format!("{at}|{id}")),
            _ => Value::Null,
        },
    };
    let entries: Vec<Value> = page
        .iter()
        .map(|(_, id)| table.records[id].clone())
        .collect();
    if fault == Fault::ChangeWhilePaged {
        change_the_last(table, (from, to));
    }
    Some(json!({"cursor": cursor, "entries": entries}))
}

/// What is last in the list is changed, and is first.
fn change_the_last(table: &mut Table, (from, to): (i64, i64)) {
    let listed = (from.max(1), String::new())..(to, String::new());
    let mut listed = table.changes.range(listed);
    if let Some((_, id)) = listed.next()
        && let Some((latest, _)) = listed.next_back()
        && let Ok(moment) = jiff::Timestamp::from_microsecond(latest + 1)
    {
        let mut record = table.records[id].clone();
        record["modified_on"] = json!(moment.to_string());
        table.put(record);
    }
}

/// In microseconds.
fn changed_at(record: &Value) -> i64 {
    let text = record["modified_on"].as_str().unwrap_or_default();
    let moment: Option<jiff::Timestamp> = text.parse().ok();
    let moment = moment.or_else(|| format!("{text}Z").parse().ok());
    moment.map_or(0, jiff::Timestamp::as_microsecond)
}

/// The span of a filter `{"fields":[{"field_name":"modified_on","type":"$date_time","value":[from,to]}]}`.
fn span_of(filter: &str) -> Option<(i64, i64)> {
    let filter: Value = serde_json::from_str(filter).ok()?;
    let field = filter["fields"]
        .as_array()?
        .iter()
        .find(|field| field["field_name"] == "modified_on" && field["type"] == "$date_time")?;
    let moment = |value: &Value| {
        let moment: jiff::Timestamp = value.as_str()?.parse().ok()?;
        Some(moment.as_microsecond())
    };
    Some((moment(&field["value"][0])?, moment(&field["value"][1])?))
}

fn place_of(cursor: &str) -> Option<(i64, String)> {
    let (at, id) = cursor.split_once('|')?;
    Some((at.parse().ok()?, id.to_owned()))
}

fn say(status: u16, body: impl Into<Body>, headers: &[(&str, &str)]) -> Response<Body> {
    let mut response = Response::builder()
        .status(StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT))
        .header("content-type", "application/json");
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body.into()).unwrap_or_default()
}

fn lock(stock: &Shared) -> std::sync::MutexGuard<'_, Stock> {
    stock.lock().unwrap_or_else(PoisonError::into_inner)
}
