//! The requests: one after the other as fast as Pancake is to be asked, each within its time, again where that may
//! help, and none while the breaker is open.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use ureq::http::HeaderMap;
use ureq::tls::{RootCerts, TlsConfig};
use url::Url;
use uuid::Uuid;

use super::answer::{self, Page, Source, Tag};
use super::breaker::{Breaker, State};
use super::retry::RetryBudget;
use super::{Operation, PancakeError, Table};
use crate::config::PancakeLimits;
use crate::metrics::Metrics;

/// A page has some tens of records of some KiB.
const ANSWER_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// How long a connection may take to be made, of the time that a request has.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A `Retry-After` is not believed beyond that.
const RETRY_AFTER_MAX_SECS: u64 = 3600;

/// Whose records, and by which key.
#[derive(Clone)]
pub struct Workspace {
    /// Its number in Pancake.
    pub id: u64,
    /// The key of somebody who may read it.
    pub key: SecretString,
}

/// Records that were changed from then, inclusive, to then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first moment.
    pub from: Timestamp,
    /// The first moment after it.
    pub to: Timestamp,
}

/// Asks Pancake. One for a core: its pace and its breaker are for all that ask.
pub struct PancakeClient {
    agent: ureq::Agent,
    url: Url,
    started: Instant,
    /// Between two requests.
    pause: Duration,
    /// No request begins before.
    next: Mutex<Instant>,
    breaker: Mutex<Breaker>,
    metrics: Arc<Metrics>,
}

/// What came back of one request.
struct Answer {
    status: u16,
    retry_after: Option<Duration>,
    date: Option<Timestamp>,
    body: Vec<u8>,
}

/// What was asked for, and when it was by Pancake's own clock, if that said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dated<T> {
    /// The answer.
    pub answer: T,
    /// The answer's `Date`.
    pub date: Option<Timestamp>,
}

impl PancakeClient {
    /// By the settings.
    #[must_use]
    pub fn new(limits: &PancakeLimits, metrics: Arc<Metrics>) -> Self {
        // The machine's own authorities: a company may have one of its own.
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::PlatformVerifier)
            .build();
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(limits.timeout))
            .timeout_connect(Some(CONNECT_TIMEOUT.min(limits.timeout)))
            // Whoever it leads to would be given the key.
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent(concat!("smp-global/", env!("CARGO_PKG_VERSION")))
            .accept("application/json")
            .tls_config(tls)
            .build()
            .new_agent();
        metrics.set_breaker(State::Closed);
        Self {
            agent,
            url: limits.url.clone(),
            started: Instant::now(),
            pause: Duration::from_secs(1) / limits.requests_per_second.get(),
            next: Mutex::new(Instant::now()),
            breaker: Mutex::default(),
            metrics,
        }
    }

    /// A page of the records of a table that were changed within a span, in an order that Pancake does not promise.
    /// The filter is sent as specified; whether it is heeded is seen by what comes back.
    pub async fn records(
        &self,
        workspace: &Workspace,
        (table, span): (Table, Span),
        cursor: Option<&str>,
        budget: &mut RetryBudget,
    ) -> Result<Dated<Page>, PancakeError> {
        let filter = serde_json::json!({"fields": [{
            "field_name": "modified_on",
            "type": "$date_time",
            "value": [span.from.to_string(), span.to.to_string()],
        }]});
        let filter = filter.to_string();
        let mut query = vec![("filter", filter.as_str()), ("view_id", "all")];
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let path = [table.as_str(), "records"];
        self.ask(
            Operation::Records,
            workspace,
            &path,
            &query,
            budget,
            answer::page,
        )
        .await
    }

    /// A record as it is now, byte for byte.
    pub async fn record(
        &self,
        workspace: &Workspace,
        (table, record_id): (Table, Uuid),
        budget: &mut RetryBudget,
    ) -> Result<Dated<Bytes>, PancakeError> {
        let record_id = record_id.to_string();
        let path = ["record", record_id.as_str()];
        let query = [("table_name", table.as_str())];
        self.ask(
            Operation::Record,
            workspace,
            &path,
            &query,
            budget,
            answer::record,
        )
        .await
    }

    /// All sources of the workspace.
    pub async fn sources(
        &self,
        workspace: &Workspace,
        budget: &mut RetryBudget,
    ) -> Result<Dated<Vec<Source>>, PancakeError> {
        self.ask(
            Operation::Sources,
            workspace,
            &["sources"],
            &[],
            budget,
            answer::sources,
        )
        .await
    }

    /// All tags of the workspace.
    pub async fn tags(
        &self,
        workspace: &Workspace,
        budget: &mut RetryBudget,
    ) -> Result<Dated<Vec<Tag>>, PancakeError> {
        let path = ["pages", "pancake_tags"];
        self.ask(Operation::Tags, workspace, &path, &[], budget, answer::tags)
            .await
    }

    async fn ask<T: Send + 'static>(
        &self,
        operation: Operation,
        workspace: &Workspace,
        path: &[&str],
        query: &[(&str, &str)],
        budget: &mut RetryBudget,
        read: fn(&[u8]) -> Result<T, PancakeError>,
    ) -> Result<Dated<T>, PancakeError> {
        let url = self.url_of(workspace, path, query);
        let mut tries = 0;
        loop {
            let asked = self.ask_once(&url, read).await;
            let outcome = asked
                .as_ref()
                .map_or_else(|error| error.outcome(), |_| "ok");
            self.metrics.count_rest_request(operation, outcome);
            let error = match asked {
                Ok(answer) => {
                    budget.succeeded();
                    return Ok(answer);
                }
                Err(error) => error,
            };
            if error != PancakeError::BreakerOpen {
                tries += 1;
            }
            let pause = budget.retry(error, tries, chance()).ok_or(error)?;
            if matches!(error, PancakeError::RateLimited { .. }) {
                self.hold(pause);
            }
            sleep(pause).await;
        }
    }

    async fn ask_once<T: Send + 'static>(
        &self,
        url: &Arc<SecretString>,
        read: fn(&[u8]) -> Result<T, PancakeError>,
    ) -> Result<Dated<T>, PancakeError> {
        self.keep_pace().await;
        let permit = lock(&self.breaker).permit(self.started.elapsed());
        let permit = permit.ok_or(PancakeError::BreakerOpen)?;
        self.show_breaker();
        let (agent, url) = (self.agent.clone(), Arc::clone(url));
        // To read megabytes of JSON blocks too.
        let asking = spawn_blocking(move || judge(&get(&agent, url.expose_secret())?, read));
        // Else the task panicked, or the process ends.
        let judged = asking.await.unwrap_or(Err(PancakeError::Unreachable));
        match &judged {
            Err(error) if error.is_failure() => {
                lock(&self.breaker).failed(permit, self.started.elapsed());
            }
            _ => lock(&self.breaker).succeeded(permit),
        }
        self.show_breaker();
        judged
    }

    /// How the breaker stands.
    #[must_use]
    pub fn breaker_state(&self) -> State {
        lock(&self.breaker).state(self.started.elapsed())
    }

    fn show_breaker(&self) {
        self.metrics.set_breaker(self.breaker_state());
    }

    /// The key is in it.
    fn url_of(
        &self,
        workspace: &Workspace,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Arc<SecretString> {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty();
            segments.extend(["workspaces", &workspace.id.to_string()]);
            segments.extend(path);
        }
        let key = ("api_key", workspace.key.expose_secret());
        url.query_pairs_mut()
            .extend_pairs(query.iter().copied().chain([key]));
        Arc::new(SecretString::from(String::from(url)))
    }

    /// Waits for this request's turn.
    async fn keep_pace(&self) {
        let turn = {
            let mut next = lock(&self.next);
            let turn = (*next).max(Instant::now());
            *next = turn + self.pause;
            turn
        };
        tokio::time::sleep_until(turn.into()).await;
    }

    /// Nobody asks before.
    fn hold(&self, pause: Duration) {
        let mut next = lock(&self.next);
        *next = (*next).max(Instant::now() + pause);
    }
}

/// Blocks.
fn get(agent: &ureq::Agent, url: &str) -> Result<Answer, PancakeError> {
    let mut response = agent.get(url).call().map_err(|error| failure(&error))?;
    let headers = response.headers();
    let (status, retry_after, date) = (
        response.status().as_u16(),
        retry_after(headers),
        date(headers),
    );
    let body = response.body_mut().with_config().limit(ANSWER_MAX_BYTES);
    let body = body.read_to_vec().map_err(|error| failure(&error))?;
    Ok(Answer {
        status,
        retry_after,
        date,
        body,
    })
}

/// The error's own text may have the URL in it.
fn failure(error: &ureq::Error) -> PancakeError {
    match error {
        ureq::Error::Timeout(_) => PancakeError::Timeout,
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            PancakeError::Timeout
        }
        ureq::Error::BodyExceedsLimit(_) => PancakeError::Unreadable("it is longer than 16 MiB"),
        ureq::Error::Protocol(_) | ureq::Error::Http(_) | ureq::Error::LargeResponseHeader(..) => {
            PancakeError::Unreadable("it is not HTTP as it should be")
        }
        _ => PancakeError::Unreachable,
    }
}

fn judge<T>(
    answer: &Answer,
    read: fn(&[u8]) -> Result<T, PancakeError>,
) -> Result<Dated<T>, PancakeError> {
    match answer.status {
        200 => Ok(Dated {
            answer: read(&answer.body)?,
            date: answer.date,
        }),
        401 | 403 => Err(PancakeError::KeyRefused),
        429 => Err(PancakeError::RateLimited {
            retry_after: answer.retry_after,
        }),
        status @ 500..600 => Err(PancakeError::ServerError(status)),
        status => Err(PancakeError::Refused(status)),
    }
}

/// In seconds (RFC 9110 §10.2.3); as a date it is not heeded.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers
        .get("retry-after")?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds.min(RETRY_AFTER_MAX_SECS)))
}

/// RFC 9110 §5.6.7, whose preferred form is one of RFC 2822.
fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get("date")?.to_str().ok()?;
    Some(rfc2822::parse(text).ok()?.timestamp())
}

/// Between 0 and 1, as a version 7 UUID has it.
fn chance() -> f64 {
    let bytes = Uuid::now_v7().into_bytes();
    f64::from(u16::from_be_bytes([bytes[14], bytes[15]])) / f64::from(u16::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
