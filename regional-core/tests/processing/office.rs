//! A core that processes, with telesales to give leads to.

use std::time::Duration;

use regional_core::config::Config;
use regional_core::jobs::Jobs;
use regional_core::processing::Processor;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::support::database::TestDatabase;
use crate::support::{TestCore, eventually};

pub(super) const PHONE: &str = "0912 345 678";
pub(super) const E164: &str = "+84912345678";

/// A core, its country VN switched on, and who works there.
pub(super) struct Office {
    pub(super) core: TestCore,
    processor: Option<Processor>,
    jobs: Option<Jobs>,
}

impl Office {
    /// One with `telesales` who take every lead. Records without a source are taken.
    pub(super) async fn open(telesales: usize) -> Self {
        Self::open_with(telesales, |_| {}).await
    }

    pub(super) async fn open_with(telesales: usize, change: impl FnOnce(&mut Config)) -> Self {
        let mut office = Self::closed_with(telesales, change).await;
        office.start();
        office
    }

    /// One that does not process yet.
    pub(super) async fn closed(telesales: usize) -> Self {
        Self::closed_with(telesales, |_| {}).await
    }

    pub(super) async fn closed_with(telesales: usize, change: impl FnOnce(&mut Config)) -> Self {
        let database = TestDatabase::create().await;
        let url = database.app_url();
        Self::closed_on(database, &url, telesales, change).await
    }

    /// One that finds its database at `url`, which may be a proxy's.
    pub(super) async fn closed_on(
        database: TestDatabase,
        url: &str,
        telesales: usize,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let core = TestCore::start_on(database, url, |config| {
            config.processing.sweep = Duration::from_millis(50);
            change(config);
        });
        let office = Self {
            core,
            processor: None,
            jobs: None,
        };
        office.set_switches(false, false).await;
        office
            .run("insert into pancake_connection (connection_id, country_code) values ('vn-main', 'VN')")
            .await;
        office.activate("(none)").await;
        for number in 0..telesales {
            office.hire(&format!("telesale-{number}")).await;
        }
        office
    }

    /// From now on it processes.
    pub(super) fn start(&mut self) {
        self.processor = Some(self.core.app.start_processing());
    }

    /// From now on it does what is done on a schedule.
    pub(super) fn start_jobs(&mut self) {
        self.jobs = Some(self.core.app.start_jobs());
    }

    /// Finishes the batch under way, and processes no more.
    pub(super) async fn stop(&mut self) {
        if let Some(jobs) = self.jobs.take() {
            jobs.stop();
        }
        if let Some(processor) = self.processor.take() {
            processor.stop().await;
        }
    }

    /// Another process on the same database.
    pub(super) fn second_processor(&self) -> Processor {
        self.core.app.start_processing()
    }

    pub(super) async fn run(&self, statement: &str) {
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .execute(self.core.database.owner_pool())
            .await
            .unwrap();
    }

    pub(super) async fn number(&self, query: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
            .fetch_one(self.core.database.owner_pool())
            .await
            .unwrap()
    }

    pub(super) async fn texts(&self, query: &str) -> Vec<Option<String>> {
        sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
            .fetch_all(self.core.database.owner_pool())
            .await
            .unwrap()
    }

    pub(super) async fn row(&self, query: &str) -> PgRow {
        sqlx::query(AssertSqlSafe(query.to_owned()))
            .fetch_one(self.core.database.owner_pool())
            .await
            .unwrap()
    }

    /// Waits until a query gives a number.
    pub(super) async fn wait_for(&self, number: i64, query: &str) {
        eventually(&format!("{number} from {query}"), async || {
            self.number(query).await == number
        })
        .await;
    }

    pub(super) async fn set_switches(&self, kill_switch: bool, processing_paused: bool) {
        self.run(&format!(
            "insert into app_setting (country_code) values ('VN') on conflict do nothing; \
             update app_setting set app_settings = jsonb_set(app_settings, '{{pancake_integration}}', \
             '{{\"kill_switch\": {kill_switch}, \"processing_paused\": {processing_paused}}}')"
        ))
        .await;
    }

    /// Takes a source's leads.
    pub(super) async fn activate(&self, source: &str) {
        self.run(&format!(
            "insert into pancake_source (country_code, connection_id, source_id, is_active) \
             values ('VN', 'vn-main', '{source}', true) \
             on conflict (connection_id, source_id, country_code) do update set is_active = true"
        ))
        .await;
    }

    pub(super) async fn hire(&self, name: &str) -> Uuid {
        let id = Uuid::now_v7();
        self.run(&format!(
            "insert into staff (staff_id, country_code, subject, display_name, role) \
             values ('{id}', 'VN', '{name}', '{name}', 'telesale')"
        ))
        .await;
        id
    }

    /// Posts a record, and gives its event's id.
    pub(super) async fn post(&self, record: Value) -> Uuid {
        self.core
            .post(record.to_string())
            .await
            .event_id("accepted")
    }

    /// Waits until no event waits, and gives this one's status.
    pub(super) async fn settled(&self, event: Uuid) -> String {
        let query = format!("select status from pancake_webhook_event where event_id = '{event}'");
        let mut status = String::new();
        eventually("the event is settled", async || {
            status = self.texts(&query).await.remove(0).unwrap();
            status != "received"
        })
        .await;
        status
    }

    /// Posts a record, and waits until it is processed.
    pub(super) async fn process(&self, record: Value) -> Uuid {
        let event = self.post(record).await;
        assert_eq!(self.settled(event).await, "processed");
        event
    }

    /// The ticket of an event.
    pub(super) async fn ticket_of(&self, event: Uuid) -> Uuid {
        let query =
            format!("select ticket_id::text from pancake_webhook_event where event_id = '{event}'");
        let ticket = self.texts(&query).await.remove(0);
        ticket.expect("an event without a ticket").parse().unwrap()
    }

    pub(super) async fn wait_until_none_waits(&self) {
        self.wait_for(
            0,
            "select count(*) from pancake_webhook_event where status = 'received'",
        )
        .await;
    }
}

/// A record of a person, changed at a minute of an hour.
pub(super) fn record(id: Uuid, minute: u8, name: &str) -> Value {
    json!({
        "id": id, "name": name, "phone_number": PHONE,
        "modified_on": format!("2026-03-01T10:{minute:02}:00Z"),
    })
}
