//! What ops ask the edge, over HTTPS (`/_edge/` of its address), and how that is shown.

mod probe;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use ureq::tls::{RootCerts, TlsConfig};

pub use probe::ProbeAnswer;

/// The edge answers within milliseconds; a list of parked records asks each shard.
const PATIENCE: Duration = Duration::from_secs(30);

/// An edge, and the token by which ops may ask it.
pub struct Client {
    origin: String,
    token: String,
    agent: ureq::Agent,
}

/// How the edge is.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {
    /// The version of the route table in force.
    pub routes_version: u32,
    /// Each region of the route table.
    pub regions: Vec<Region>,
    /// Each connection of which something came.
    pub connections: Vec<Connection>,
    /// Each country of which something came.
    #[serde(default)]
    pub countries: Vec<OfCountry>,
    /// All counters, as Prometheus sees them.
    pub counters: serde_json::Map<String, serde_json::Value>,
}

/// A region, as the edge sees it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Region {
    /// Its id.
    pub region: String,
    /// `open` or `paused`.
    pub state: String,
    /// `sealed` or `off`.
    pub spool: String,
    /// Records that wait for it.
    pub waiting: u64,
    /// Records that it refused again and again.
    pub parked: u64,
    /// What both take, sealed.
    pub bytes: u64,
    /// How long the oldest that waits has waited.
    pub oldest_seconds: f64,
    /// How much of what its fullest shard can hold that holds.
    pub used_ratio: f64,
}

/// A connection's last 30 minutes.
#[derive(Debug, Serialize, Deserialize)]
pub struct Connection {
    /// Its id.
    pub connection: String,
    /// Webhooks.
    pub requests: u64,
    /// Of these, failed to Pancake.
    pub failures: u64,
    /// How much of what Pancake tolerates is used up; it suspends the webhook at 1.
    pub suspension_budget_used: f64,
    /// Its webhooks of the last 24 hours.
    pub verdicts_24h: Verdicts,
}

/// A country's requests, webhooks and others.
#[derive(Debug, Serialize, Deserialize)]
pub struct OfCountry {
    /// Which.
    pub country: String,
    /// Of the last hour.
    pub requests_1h: u64,
}

/// Webhooks, by what was found out about their timestamp and signature.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdicts {
    /// Fresh and rightly signed.
    pub verified: u64,
    /// Not judged, in mode `off`.
    pub unsigned: u64,
    /// Timestamp missing, malformed or out of the window.
    pub stale: u64,
    /// Signature missing or wrong.
    pub invalid: u64,
}

/// A record that its region refused again and again.
#[derive(Debug, Serialize, Deserialize)]
pub struct Parked {
    /// Where it is: the shard,
    pub shard: u32,
    /// and its number there.
    pub seq: u64,
    /// Whose it is.
    pub connection: String,
    /// Why it had to wait at first.
    pub cause: String,
    /// When it came, in milliseconds since 1970.
    pub received_at_ms: f64,
    /// When it was parked, in milliseconds since 1970.
    pub parked_at_ms: f64,
    /// How often it was refused.
    pub attempts: u32,
    /// Its size, sealed.
    pub bytes: u64,
}

impl Client {
    /// Of the edge at an origin, for example `https://edge.example.com`.
    #[must_use]
    pub fn new(origin: &str, token: String) -> Self {
        Self {
            origin: origin.trim_end_matches('/').to_owned(),
            token,
            agent: agent(PATIENCE),
        }
    }

    /// The same, which waits for each answer so long at most.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self {
            agent: agent(patience),
            ..self
        }
    }

    /// Where the edge is.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// How the edge is.
    pub fn status(&self) -> Result<Status, String> {
        self.get("status")
    }

    /// A region's parked records, the first hundred of each shard.
    pub fn parked(&self, region: &str) -> Result<Vec<Parked>, String> {
        self.get(&format!("spool/{region}/parked"))
    }

    /// Lets a region's parked records be tried again; gives how many.
    pub fn try_parked_again(&self, region: &str) -> Result<u64, String> {
        #[derive(Deserialize)]
        struct Tried {
            records: u64,
        }
        let url = self.url(&format!("spool/{region}/parked"));
        let request = self.authorized(self.agent.post(url));
        let tried: Tried = read_answer(request.send_empty())?;
        Ok(tried.records)
    }

    /// Removes a parked record for good.
    pub fn discard(&self, region: &str, shard: u32, seq: u64) -> Result<(), String> {
        let url = self.url(&format!("spool/{region}/parked/{shard}/{seq}"));
        let answer = self.authorized(self.agent.delete(url)).call();
        let answer = answer.map_err(|error| error.to_string())?;
        match answer.status().as_u16() {
            204 => Ok(()),
            404 => Err(format!(
                "shard {shard} of {region} has no parked record {seq}"
            )),
            status => Err(refusal(status)),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/_edge/{path}", self.origin)
    }

    fn authorized<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        request.header("authorization", format!("Bearer {}", self.token))
    }

    pub(crate) fn get<T: for<'de> Deserialize<'de>>(&self, path: &str) -> Result<T, String> {
        read_answer(self.authorized(self.agent.get(self.url(path))).call())
    }

    pub(crate) fn post<T: for<'de> Deserialize<'de>>(
        &self,
        path: &str,
        body: &str,
    ) -> Result<T, String> {
        read_answer(self.authorized(self.agent.post(self.url(path))).send(body))
    }

    /// Sends a request to another path of the edge's; gives status and body, the latter null if it is not JSON.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        body: &Value,
    ) -> Result<(u16, Value), String> {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.origin));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let answer = if body.is_null() {
            let request = request.body(()).map_err(|error| error.to_string())?;
            self.agent.run(request)
        } else {
            let request = request.header("content-type", "application/json");
            let request = request.body(body.to_string());
            self.agent.run(request.map_err(|error| error.to_string())?)
        };
        let mut answer = answer.map_err(|error| error.to_string())?;
        let body = answer.body_mut().read_to_vec();
        let body = body.map_err(|error| error.to_string())?;
        let body = serde_json::from_slice(&body).unwrap_or_default();
        Ok((answer.status().as_u16(), body))
    }
}

/// Reads a page that answers 200.
pub fn read_text(agent: &ureq::Agent, url: &str) -> Result<String, String> {
    let mut answer = agent
        .get(url)
        .call()
        .map_err(|error| format!("{url}: {error}"))?;
    match answer.status().as_u16() {
        200 => answer
            .body_mut()
            .read_to_string()
            .map_err(|error| format!("{url}: {error}")),
        status => Err(format!("{url} answers {status}")),
    }
}

/// Reads a page with its status; null if it is not JSON.
pub fn read_json(agent: &ureq::Agent, url: &str) -> Result<(u16, Value), String> {
    let mut answer = agent
        .get(url)
        .call()
        .map_err(|error| format!("{url}: {error}"))?;
    let body = answer
        .body_mut()
        .read_to_vec()
        .map_err(|error| format!("{url}: {error}"))?;
    Ok((
        answer.status().as_u16(),
        serde_json::from_slice(&body).unwrap_or_default(),
    ))
}

/// Asks over HTTP, and gives every status as an answer.
#[must_use]
pub fn agent(patience: Duration) -> ureq::Agent {
    // The machine's own authorities: a company may have one of its own.
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::PlatformVerifier)
        .build();
    ureq::Agent::config_builder()
        .timeout_global(Some(patience))
        .max_redirects(0)
        .http_status_as_error(false)
        .tls_config(tls)
        .build()
        .new_agent()
}

/// Why there was no answer, without the URL: a webhook's has its token in it.
#[must_use]
pub fn in_few_words(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        ureq::Error::HostNotFound => "no such host".to_owned(),
        ureq::Error::Io(error) if error.raw_os_error().is_some() => {
            format!("no connection: {}", error.kind())
        }
        // A name that nobody could resolve.
        ureq::Error::Io(error) => format!("no connection: {error}"),
        _ => "no answer".to_owned(),
    }
}

fn read_answer<T: for<'de> Deserialize<'de>>(
    answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<T, String> {
    let mut answer = answer.map_err(|error| error.to_string())?;
    let body = answer.body_mut().read_to_vec();
    let body = body.map_err(|error| error.to_string())?;
    if answer.status() != 200 {
        // What it refuses it says why.
        let said: Option<Refused> = serde_json::from_slice(&body).ok();
        let status = answer.status().as_u16();
        return Err(said.map_or_else(|| refusal(status), |said| said.mistakes.join("\n")));
    }
    serde_json::from_slice(&body).map_err(|error| format!("the edge's answer: {error}"))
}

/// What the edge says of a change that it does not make.
#[derive(Deserialize)]
struct Refused {
    mistakes: Vec<String>,
}

/// What a status means here.
fn refusal(status: u16) -> String {
    match status {
        401 => "the edge does not know this token (its secret OPS_TOKENS)".to_owned(),
        403 => "this token may see, not change: take one of scope admin".to_owned(),
        404 => "nothing is there: is it the edge's address, and a region of its route table?"
            .to_owned(),
        status => format!("the edge answered {status}"),
    }
}

/// A status as two tables.
#[must_use]
pub fn status_table(status: &Status) -> String {
    let mut rows = vec![
        format!("route table {}", status.routes_version),
        format!(
            "{:<14} {:<7} {:<7} {:>9} {:>7} {:>10} {:>9} {:>7}",
            "REGION", "STATE", "SPOOL", "WAITING", "PARKED", "BYTES", "OLDEST", "FULL"
        ),
    ];
    rows.extend(status.regions.iter().map(|region| {
        format!(
            "{:<14} {:<7} {:<7} {:>9} {:>7} {:>10} {:>9} {:>7}",
            region.region,
            region.state,
            region.spool,
            region.waiting,
            region.parked,
            size(region.bytes),
            duration(region.oldest_seconds),
            percent(region.used_ratio)
        )
    }));
    rows.push(format!(
        "{:<40} {:>9} {:>9} {:>18}",
        "CONNECTION, LAST 30 MINUTES", "REQUESTS", "FAILURES", "SUSPENSION BUDGET"
    ));
    rows.extend(status.connections.iter().map(|connection| {
        format!(
            "{:<40} {:>9} {:>9} {:>13} used",
            connection.connection,
            connection.requests,
            connection.failures,
            percent(connection.suspension_budget_used)
        )
    }));
    rows.join("\n") + "\n"
}

/// Parked records as a table. `now_ms` is milliseconds since 1970.
#[must_use]
pub fn parked_table(parked: &[Parked], now_ms: f64) -> String {
    let mut rows = vec![format!(
        "{:>5} {:>8} {:<40} {:<18} {:>9} {:>9} {:>8} {:>9}",
        "SHARD", "SEQ", "CONNECTION", "CAUSE", "CAME", "PARKED", "ATTEMPTS", "BYTES"
    )];
    rows.extend(parked.iter().map(|record| {
        let ago = |at_ms: f64| duration((now_ms - at_ms) / 1_000.0);
        format!(
            "{:>5} {:>8} {:<40} {:<18} {:>9} {:>9} {:>8} {:>9}",
            record.shard,
            record.seq,
            record.connection,
            record.cause,
            ago(record.received_at_ms),
            ago(record.parked_at_ms),
            record.attempts,
            size(record.bytes)
        )
    }));
    rows.join("\n") + "\n"
}

pub(crate) fn percent(ratio: f64) -> String {
    format!("{:.1} %", ratio * 100.0)
}

/// In the largest unit of which there is more than one.
pub(crate) fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3_600.0),
        s => format!("{:.0} d", s / 86_400.0),
    }
}

fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let bytes = bytes as f64;
    match bytes {
        b if b < 10_000.0 => format!("{b:.0} B"),
        b if b < 10_000_000.0 => format!("{:.0} kB", b / 1e3),
        b if b < 10_000_000_000.0 => format!("{:.0} MB", b / 1e6),
        b => format!("{:.0} GB", b / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_table_that_a_person_can_read() {
        let status = Status {
            routes_version: 7,
            regions: vec![Region {
                region: "smp-asia".to_owned(),
                state: "paused".to_owned(),
                spool: "sealed".to_owned(),
                waiting: 1_234,
                parked: 2,
                bytes: 1_500_000,
                oldest_seconds: 3_700.0,
                used_ratio: 0.0123,
            }],
            connections: vec![Connection {
                connection: "vn-main".to_owned(),
                requests: 18_000,
                failures: 150,
                suspension_budget_used: 0.0104,
                verdicts_24h: Verdicts::default(),
            }],
            countries: Vec::new(),
            counters: serde_json::Map::new(),
        };
        assert_eq!(
            status_table(&status),
            "route table 7\n\
             REGION         STATE   SPOOL     WAITING  PARKED      BYTES    OLDEST    FULL\n\
             smp-asia       paused  sealed       1234       2    1500 kB    62 min   1.2 %\n\
             CONNECTION, LAST 30 MINUTES               REQUESTS  FAILURES  SUSPENSION BUDGET\n\
             vn-main                                      18000       150         1.0 % used\n"
        );
    }

    #[test]
    fn parked_records_are_shown_with_their_place_and_age() {
        let record = Parked {
            shard: 3,
            seq: 12,
            connection: "vn-main".to_owned(),
            cause: "core_timed_out".to_owned(),
            received_at_ms: 0.0,
            parked_at_ms: 3_600_000.0,
            attempts: 10,
            bytes: 512,
        };
        let table = parked_table(&[record], 200_000_000.0);
        let line = table.lines().nth(1).unwrap();
        let cells: Vec<_> = line.split_whitespace().collect();
        assert_eq!(
            cells.join(" "),
            "3 12 vn-main core_timed_out 2 d 2 d 10 512 B"
        );
    }
}
