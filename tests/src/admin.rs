//! An admin of Viet Nam, as the API for staff knows them: gives the connection its key, and runs jobs.

#![expect(
    clippy::indexing_slicing,
    reason = "what is not in a JSON value is null there"
)]

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::region::Region;

/// Between two looks at a run.
const POLL: Duration = Duration::from_millis(100);

/// Somebody who may do everything in Viet Nam.
#[derive(Debug)]
pub struct Admin {
    client: Client,
    /// Up to and with `/v1`.
    base: String,
    token: String,
}

impl Admin {
    /// Of a region that takes tokens. `base` is where its API is: a core's `/v1`, or the edge's `/api/v1`.
    pub fn new(region: &Region, base: String) -> Result<Self> {
        let token = region.admin_token.clone();
        Ok(Self {
            client: Client::new(),
            base,
            token: token.with_context(|| format!("{} takes no tokens", region.id))?,
        })
    }

    /// Asks, and expects a 2xx.
    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
        self.ask_if(method, path, None, body).await
    }

    async fn ask_if(
        &self,
        method: Method,
        path: &str,
        version: Option<i64>,
        body: Option<Value>,
    ) -> Result<Value> {
        let mut request = self
            .client
            .request(method, format!("{}/{path}", self.base))
            .header("x-country-code", "VN")
            .bearer_auth(&self.token);
        if let Some(version) = version {
            request = request.header("if-match", format!("\"{version}\""));
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        ensure!(status.is_success(), "{path}: {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// Gives a connection the number of its workspace, and its key.
    pub async fn connect(&self, connection: &str, (workspace, key): (u64, &str)) -> Result<()> {
        let path = format!("crm/pancake/connections/{connection}");
        let version = self.ask(Method::GET, &path, None).await?["version"].as_i64();
        let workspace = json!({"workspace": workspace.to_string()});
        self.ask_if(Method::PATCH, &path, version, Some(workspace))
            .await?;
        let (path, key) = (format!("{path}/api-key"), json!({"api_key": key}));
        self.ask(Method::PUT, &path, Some(key)).await?;
        Ok(())
    }

    /// Runs a job to its end, whichever that is.
    pub async fn run(&self, job: &str) -> Result<Value> {
        let path = format!("jobs/{job}/runs");
        let run = self.ask(Method::POST, &path, Some(json!({}))).await?;
        let run_id = run["run_id"].as_str().context("a run has an id")?;
        let path = format!("{path}/{run_id}");
        loop {
            let run = self.ask(Method::GET, &path, None).await?;
            if !matches!(run["state"].as_str(), Some("requested" | "running")) {
                return Ok(run);
            }
            sleep(POLL).await;
        }
    }
}
