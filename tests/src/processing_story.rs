//! The second story: a lead becomes a ticket; a switch is thrown and lifted; a dead letter is sent again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use platform::pancake;
use platform::system::System;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::up::say;

/// Longer than it takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Plays it, with the leads of the first one.
pub(crate) async fn tell(system: &System, vietnamese: Uuid, chinese: Uuid) -> Result<()> {
    let asia = system.region("smp-asia")?.database().await?;
    let china = system.region("smp-china")?.database().await?;
    say(
        "\nBehind the answer each core makes its lead a ticket: the phone number is made one number, the",
    );
    say("customer found or made, and a telesale of the country gets it.");
    show_ticket(&asia, "the first lead, VN", vietnamese).await?;
    show_ticket(&china, "the second lead, CN", chinese).await?;

    say(
        "\nAn admin of Viet Nam throws the kill switch, through the edge. Leads are still taken, and wait.",
    );
    let office = Office { system };
    office.throw_kill_switch(true).await?;
    let held_back = office.post_lead("Hoàng Thị Yến", "0903 111 222").await?;
    wait_for_status(&asia, "a lead meanwhile", held_back, "skipped_kill_switch").await?;
    say("The admin lifts it, counts what was held back, and sends it through again.");
    office.throw_kill_switch(false).await?;
    office
        .replay(&json!({"states": ["skipped_kill_switch"]}))
        .await?;
    show_ticket(&asia, "the lead that was held back", held_back).await?;

    say(
        "\nSomebody adds a careless constraint. The lead that it refuses blocks no other, is tried again (the",
    );
    say(
        "story shortens the pauses, which are minutes), and is a dead letter in the end, kept with its cause.",
    );
    sqlx::query(
        "alter table ticket add constraint careless check (subject <> 'Đỗ Văn Tám') not valid",
    )
    .execute(&asia)
    .await?;
    let refused = office.post_lead("Đỗ Văn Tám", "0905 333 444").await?;
    let fine = office.post_lead("Vũ Thị Hoa", "0906 555 666").await?;
    show_ticket(&asia, "a lead behind it", fine).await?;
    wait_for_dead_letter(&asia, refused).await?;
    say("The constraint is mended, and the admin replays the dead letter.");
    sqlx::query("alter table ticket drop constraint careless")
        .execute(&asia)
        .await?;
    office.replay(&json!({"states": ["dead_letter"]})).await?;
    show_ticket(&asia, "the dead letter", refused).await?;
    asia.close().await;
    china.close().await;
    Ok(())
}

/// What staff of Viet Nam and Pancake do, each through the edge.
struct Office<'s> {
    system: &'s System,
}

impl Office<'_> {
    async fn ask(
        &self,
        method: Method,
        path: &str,
        version: Option<&str>,
        body: Option<&Value>,
    ) -> Result<(Option<String>, Value)> {
        let region = self.system.region("smp-asia")?;
        let token = region.admin_token.as_deref().context("no token")?;
        let mut request = reqwest::Client::new()
            .request(
                method.clone(),
                format!("{}/api/v1/crm{path}", self.system.edge.url),
            )
            .header("x-country-code", "VN")
            .bearer_auth(token);
        if let Some(version) = version {
            request = request.header("if-match", version);
        }
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let response = request.send().await?;
        let status = response.status();
        let etag = response.headers().get("etag");
        let etag = etag.and_then(|etag| etag.to_str().ok()).map(str::to_owned);
        let text = response.text().await?;
        ensure!(
            status.is_success(),
            "{method} {path}: {status} {text}; the logs are in .run/logs/"
        );
        Ok((etag, serde_json::from_str(&text)?))
    }

    async fn throw_kill_switch(&self, on: bool) -> Result<()> {
        let path = "/pancake/switches";
        let (version, _) = self.ask(Method::GET, path, None, None).await?;
        let change = json!({"kill_switch": on});
        let (_, switches) = self
            .ask(Method::PATCH, path, version.as_deref(), Some(&change))
            .await?;
        say(&format!(
            "  {:<30} kill_switch {}",
            "PATCH /pancake/switches",
            field(&switches, "kill_switch")
        ));
        Ok(())
    }

    /// Pancake posts a lead; gives its record's id.
    async fn post_lead(&self, name: &str, phone_number: &str) -> Result<Uuid> {
        let connection = self.system.connection("VN")?;
        let id = Uuid::new_v4();
        let body = json!({"id": id.to_string(), "name": name, "phone_number": phone_number, "source": ["-11"]})
            .to_string();
        let timestamp = pancake::now().to_string();
        let signature = pancake::sign(&connection.secret, &timestamp, body.as_bytes());
        let url = format!(
            "{}/api/pancake/record/{}",
            self.system.edge.url, connection.token
        );
        reqwest::Client::new()
            .post(url)
            .header("x-pancake-timestamp", timestamp)
            .header("x-pancake-signature", signature)
            .body(body)
            .send()
            .await?
            .error_for_status()?;
        Ok(id)
    }

    async fn replay(&self, selection: &Value) -> Result<()> {
        let (_, counted) = self
            .ask(Method::POST, "/pancake/replays", None, Some(selection))
            .await?;
        say(&format!(
            "  {:<30} {} counted",
            "POST /pancake/replays",
            field(&counted, "total")
        ));
        let id = field(&counted, "replay_id")
            .as_str()
            .context("no replay_id")?;
        let run = format!("/pancake/replays/{id}/run");
        self.ask(Method::POST, &run, None, None).await?;
        let one = format!("/pancake/replays/{id}");
        let began = Instant::now();
        loop {
            let (_, replay) = self.ask(Method::GET, &one, None, None).await?;
            if field(&replay, "state") == "done" {
                say(&format!(
                    "  {:<30} {} sent again",
                    "POST …/run",
                    field(&replay, "done")
                ));
                return Ok(());
            }
            ensure!(
                began.elapsed() < PATIENCE,
                "the replay does not end: {replay}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn field<'v>(value: &'v Value, name: &str) -> &'v Value {
    value.get(name).unwrap_or(&Value::Null)
}

/// Waits for a record's ticket, and shows whose it is.
async fn show_ticket(database: &PgPool, what: &str, record: Uuid) -> Result<()> {
    let began = Instant::now();
    loop {
        let ticket: Option<(String, Option<String>, i64)> = sqlx::query_as(
            "select t.status, s.display_name, \
                    (extract(epoch from e.settled_at - e.received_at) * 1000)::bigint \
             from pancake_webhook_event as e join ticket as t using (ticket_id) \
             left join staff as s on s.staff_id = t.assignee_id \
             where e.record_id = $1 and e.status = 'processed'",
        )
        .bind(record)
        .fetch_optional(database)
        .await?;
        if let Some((status, telesale, milliseconds)) = ticket {
            let telesale = telesale.as_deref().unwrap_or("nobody");
            say(&format!(
                "  {what:<30} ticket {status}, for {telesale}, {milliseconds} ms after it came"
            ));
            ensure!(telesale != "nobody", "{what} has no telesale");
            return Ok(());
        }
        ensure!(
            began.elapsed() < PATIENCE,
            "{what} has no ticket; the logs are in .run/logs/"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn status_of(database: &PgPool, record: Uuid) -> Result<(String, i16, Option<String>)> {
    Ok(sqlx::query_as(
        "select status, attempts, cause from pancake_webhook_event where record_id = $1",
    )
    .bind(record)
    .fetch_one(database)
    .await?)
}

async fn wait_for_status(
    database: &PgPool,
    what: &str,
    record: Uuid,
    expected: &str,
) -> Result<()> {
    let began = Instant::now();
    loop {
        let (status, ..) = status_of(database, record).await?;
        if status == expected {
            say(&format!("  {what:<30} {status}"));
            return Ok(());
        }
        ensure!(
            began.elapsed() < PATIENCE,
            "{what} is {status}, not {expected}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn wait_for_dead_letter(database: &PgPool, record: Uuid) -> Result<()> {
    let began = Instant::now();
    let mut shown = 0;
    loop {
        let (status, attempts, cause) = status_of(database, record).await?;
        if attempts > shown {
            let cause = cause.unwrap_or_default();
            say(&format!(
                "  {:<30} {status}: {cause}",
                format!("attempt {attempts}")
            ));
            shown = attempts;
        }
        if status == "dead_letter" {
            return Ok(());
        }
        sqlx::query("update pancake_webhook_event set due_at = now() where record_id = $1 and status = 'failed'")
            .bind(record)
            .execute(database)
            .await?;
        ensure!(
            began.elapsed() < PATIENCE,
            "the lead is {status}, and no dead letter"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
