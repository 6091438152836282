//! A core with a connection whose workspace is at a Pancake of ours.

use std::time::Duration;

use regional_core::config::Config;
use regional_core::jobs::Jobs;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::support::edge::at_rest_keys;
use crate::support::pancake_rest::PancakeRest;
use crate::support::{NOW, TestCore, eventually};

pub(super) const WORKSPACE: u64 = 123;
const KEY: &str = "key/with?signs&=";

/// The core, Pancake, and the jobs once they are started.
pub(super) struct Shop {
    pub(super) core: TestCore,
    pub(super) pancake: PancakeRest,
    jobs: Option<Jobs>,
}

impl Shop {
    /// Jobs run, but only when somebody asks for them.
    pub(super) async fn open() -> Self {
        Self::open_with(|_| {}).await
    }

    pub(super) async fn open_with(change: impl FnOnce(&mut Config)) -> Self {
        let pancake = PancakeRest::start(0).await.unwrap();
        pancake.add_workspace(WORKSPACE, KEY);
        let url = pancake.url();
        let core = TestCore::start_with(|config| {
            config.pancake.url = url.parse().unwrap();
            config.pancake.requests_per_second = 1000.try_into().unwrap();
            config.jobs.look = Duration::from_millis(10);
            change(config);
        })
        .await;
        let mut shop = Self {
            core,
            pancake,
            jobs: None,
        };
        shop.add_connection("vn-main", "active").await;
        shop.run(
            "insert into job_run (run_id, country_code, job, state, started_at, finished_at) \
             select gen_random_uuid(), country, job, 'ok', clock_timestamp(), clock_timestamp() \
             from unnest(array['VN', 'SG']) as country, unnest(array[ \
                'poll', 'reconciliation', 'source_sync', 'expiry', 'retention', 'stuck_events', 'rollup']) as job",
        )
        .await;
        shop.start();
        shop
    }

    pub(super) async fn add_connection(&self, connection: &str, status: &str) {
        let sealed =
            regional_core::api_keys::seal(&at_rest_keys(), ("VN", connection), KEY).unwrap();
        sqlx::query(
            "insert into pancake_connection \
                 (connection_id, country_code, workspace, api_key_encrypted, api_key_set_at, status, status_changed_at) \
             values ($1, 'VN', $2, $3, now(), $4, to_timestamp($5::bigint) - interval '30 days')",
        )
        .bind(connection)
        .bind(WORKSPACE.to_string())
        .bind(sealed)
        .bind(status)
        .bind(NOW)
        .execute(self.core.database.owner_pool())
        .await
        .unwrap();
    }

    /// Lets time pass, at the edge too.
    pub(super) fn advance(&mut self, seconds: i64) {
        self.core.clock.advance(seconds);
        self.core.edge.created += seconds;
    }

    pub(super) fn start(&mut self) {
        self.jobs = Some(self.core.app.start_jobs());
    }

    /// As if the core were killed.
    pub(super) fn stop(&mut self) {
        if let Some(jobs) = self.jobs.take() {
            jobs.stop();
        }
    }

    /// Asks for a run of a job of VN, and does not wait for it.
    pub(super) async fn request(&self, job: &str, parameters: &Value) -> Uuid {
        let run_id = Uuid::now_v7();
        sqlx::query(
            "insert into job_run (run_id, country_code, job, state, requested_by, parameters) \
             values ($1, 'VN', $2, 'requested', 'anna', $3)",
        )
        .bind(run_id)
        .bind(job)
        .bind(parameters)
        .execute(self.core.database.owner_pool())
        .await
        .unwrap();
        run_id
    }

    /// Waits until a run ends: its state, error and progress.
    pub(super) async fn ended(&self, run_id: Uuid) -> (String, Option<String>, Value) {
        let ending = async || -> (String, Option<String>, Value) {
            sqlx::query_as("select state, error, progress from job_run where run_id = $1")
                .bind(run_id)
                .fetch_one(self.core.database.owner_pool())
                .await
                .unwrap()
        };
        eventually("the run ends", async || {
            !["requested", "running"].contains(&ending().await.0.as_str())
        })
        .await;
        ending().await
    }

    /// Runs a job of VN, which must end well.
    pub(super) async fn done(&self, job: &str) -> Value {
        let (state, error, progress) = self.ended(self.request(job, &json!({})).await).await;
        assert_eq!((state.as_str(), error), ("ok", None));
        progress
    }

    /// Runs a job of VN, which must fail: why it did.
    pub(super) async fn failed(&self, job: &str) -> String {
        let (state, error, _) = self.ended(self.request(job, &json!({})).await).await;
        assert_eq!(state, "failed");
        error.unwrap()
    }

    pub(super) async fn run(&self, statement: &str) {
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .execute(self.core.database.owner_pool())
            .await
            .unwrap();
    }

    pub(super) async fn count(&self, query: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
            .fetch_one(self.core.database.owner_pool())
            .await
            .unwrap()
    }

    pub(super) async fn text(&self, query: &str) -> Option<String> {
        sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
            .fetch_one(self.core.database.owner_pool())
            .await
            .unwrap()
    }

    /// Events by layer, such as `poll 3, webhook 1`.
    pub(super) async fn layers(&self) -> String {
        self.text(
            "select coalesce(string_agg(layer || ' ' || events, ', ' order by layer), '') from ( \
                 select layer, count(*) as events from pancake_webhook_event group by layer) as by_layer",
        )
        .await
        .unwrap()
    }

    /// Puts leads into Pancake's list, changed so many seconds before now.
    pub(super) fn put_leads(&self, numbers: std::ops::Range<u32>, seconds_ago: i64) {
        for number in numbers {
            self.pancake
                .put(WORKSPACE, "lead", lead(number, seconds_ago));
        }
    }

    /// Posts a lead's webhook, as the edge does.
    pub(super) async fn post_lead(&self, number: u32, seconds_ago: i64) {
        let lead = lead(number, seconds_ago).to_string();
        self.core.post(lead).await.event_id("accepted");
    }
}

/// A lead of its own number.
pub(super) fn lead(number: u32, seconds_ago: i64) -> Value {
    let changed = jiff::Timestamp::from_second(NOW - seconds_ago).unwrap();
    json!({
        "id": Uuid::from_u128(u128::from(number)).to_string(),
        "name": format!("Nguyễn Văn {number}"),
        "phone_number": format!("09{number:08}"),
        "source": ["-11"],
        "modified_on": changed.to_string(),
    })
}
