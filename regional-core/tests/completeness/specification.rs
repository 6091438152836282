//! The client against a Pancake that nobody here wrote: Prism (`@stoplight/prism-cli`) serves the provider's own
//! specification, tests/pancake/openapi.yaml, and refuses what that does not allow.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use regional_core::metrics::Metrics;
use regional_core::pancake::client::{PancakeClient, Span, Workspace};
use regional_core::pancake::retry::RetryBudget;
use regional_core::pancake::{PancakeError, Table};
use secrecy::SecretString;
use uuid::Uuid;

use super::shop::Shop;
use crate::support::config;

/// A running one.
struct Prism {
    child: Child,
    url: String,
}

impl Drop for Prism {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Prism {
    /// Starts it on a port of its choice, which it tells once it listens.
    fn start() -> Self {
        let root: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let program = root.join("node_modules/@stoplight/prism-cli/dist/index.js");
        assert!(
            program.exists(),
            "Prism is not there: `tools/setup.sh native` fetches it"
        );
        let mut child = Command::new("node")
            .arg(program)
            .args(["mock", "--host", "127.0.0.1", "--port", "0"])
            .arg(root.join("tests/pancake/openapi.yaml"))
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("node starts");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                Some(
                    line.split_once("Prism is listening on ")?
                        .1
                        .trim()
                        .to_owned(),
                )
            })
            .expect("Prism ended before it listened");
        // What it says of each request has to go somewhere.
        std::thread::spawn(move || lines.for_each(drop));
        // As served by Prism, its paths are not below /api.
        Self { child, url }
    }

    fn client(&self) -> PancakeClient {
        let mut limits = config().pancake;
        limits.url = self.url.parse().unwrap();
        PancakeClient::new(&limits, Arc::new(Metrics::new()))
    }
}

fn workspace(key: &str) -> Workspace {
    Workspace {
        id: 104,
        key: SecretString::from(key),
    }
}

#[tokio::test]
async fn every_request_is_as_the_specification_has_it_and_every_answer_is_read() {
    let prism = Prism::start();
    let (client, workspace) = (prism.client(), workspace("key"));
    let mut budget = RetryBudget::default();
    let span = Span {
        from: "2026-03-01T00:00:00Z".parse().unwrap(),
        to: "2026-03-02T00:00:00Z".parse().unwrap(),
    };
    for table in Table::ALL {
        let page = client
            .records(&workspace, (table, span), Some("g2wAAAAD"), &mut budget)
            .await
            .unwrap();
        assert_eq!(page.answer.entries.len(), 1, "{table}");
        assert!(page.answer.cursor.is_some(), "{table}");
        assert!(page.date.is_some(), "{table}");
        let record = client
            .record(&workspace, (table, Uuid::from_u128(7)), &mut budget)
            .await
            .unwrap();
        assert!(record.answer.starts_with(b"{"), "{table}");
    }
    let sources = client
        .sources(&workspace, &mut budget)
        .await
        .unwrap()
        .answer;
    assert_eq!(sources[0].name, "Facebook");
    let tags = client.tags(&workspace, &mut budget).await.unwrap().answer;
    assert_eq!(tags[0].text, "Quality Check");
}

#[tokio::test]
async fn what_the_specification_does_not_allow_is_refused_there() {
    // Else the test above would not say much.
    let prism = Prism::start();
    for (path, status) in [
        ("/workspaces/104/lead/records", 401),
        ("/workspaces/104/deal/records?api_key=key", 422),
        ("/workspaces/x/lead/records?api_key=key", 422),
        ("/workspaces/104/record/7?api_key=key", 422),
        ("/workspaces/104/source?api_key=key", 404),
    ] {
        let url = format!("{}{path}", prism.url);
        let answered = tokio::task::spawn_blocking(move || {
            let agent = ureq::Agent::config_builder()
                .http_status_as_error(false)
                .build()
                .new_agent();
            agent.get(&url).call().unwrap().status().as_u16()
        });
        assert_eq!(answered.await.unwrap(), status, "{path}");
    }
}

#[tokio::test]
async fn jobs_run_unchanged_against_it() {
    let prism = Prism::start();
    let url = prism.url.clone();
    let shop = Shop::open_with(|config| config.pancake.url = url.parse().unwrap()).await;
    shop.done("expiry").await;
    shop.done("source_sync").await;
    let name = "select name from pancake_source where connection_id = 'vn-main'";
    assert_eq!(shop.text(name).await.as_deref(), Some("Facebook"));
    // It answers with the same page and the same cursor again and again, which is seen for what it is.
    assert_eq!(
        shop.failed("poll").await,
        format!("vn-main: {}", PancakeError::CursorRepeats)
    );
    assert_eq!(shop.core.count_events().await, 0, "its record is of 2019");
}
