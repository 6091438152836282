//! What the gates ask the region's database: each statement in a transaction of its own, which may only read.

use std::collections::BTreeMap;
use std::time::Duration;

use infra::gate::Reading;
use infra::gate::criteria::{Criterion, INDEX_USAGE, Source};
use infra::gate::items::{INDEX_SNAPSHOT, usage};
use infra::gate::records::Records;
use jiff::Timestamp;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection as _, Executor as _};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// Until a connection stands.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// A server gives a statement up before we give the server up.
const READ_ONLY: &str =
    "set transaction read only; set local statement_timeout = '60s'; set local lock_timeout = '3s'";
const PATIENCE: Duration = Duration::from_secs(65);

/// A sequential scan of fewer rows than that is what a planner should choose.
const ROWS_THAT_TELL: f64 = 1000.0;

/// -1 as long as nobody has analysed the table.
const EVENTS_ESTIMATED: &str = "select greatest(reltuples, 0)::float8, null::text from pg_class \
    where oid = 'pancake_webhook_event'::regclass";

/// Whose figures, and of when.
pub(super) struct Asked<'a> {
    pub(super) country: &'a str,
    /// None = nobody has said when the pilot began.
    pub(super) since: Option<Timestamp>,
    pub(super) now: Timestamp,
    pub(super) records: &'a Records,
}

/// A connection, and what drives it.
pub(super) struct Database {
    runtime: Runtime,
    connection: PgConnection,
}

type Row = (Option<f64>, Option<String>);

impl Database {
    /// Connects by a URL, which no error shows.
    pub(super) fn connect(url: &str) -> Result<Self, String> {
        let options: PgConnectOptions = url.parse().map_err(
            |_| "the database's URL: postgres://USER:PASSWORD@HOST/DATABASE is expected",
        )?;
        let options = options.application_name("smpctl gate");
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        let connection = runtime
            .block_on(async {
                timeout(CONNECT_PATIENCE, PgConnection::connect_with(&options)).await
            })
            .map_err(|_| "the database does not answer".to_owned())?
            .map_err(|error| format!("the database cannot be reached: {error}"))?;
        Ok(Self {
            runtime,
            connection,
        })
    }

    /// What it says of each criterion that asks it. One that fails costs no other.
    pub(super) fn read(
        &mut self,
        criteria: impl Iterator<Item = &'static Criterion>,
        asked: &Asked<'_>,
    ) -> BTreeMap<&'static str, Reading> {
        criteria
            .filter_map(|criterion| Some((criterion.id, self.reading(criterion, asked)?)))
            .collect()
    }

    fn reading(&mut self, criterion: &Criterion, asked: &Asked<'_>) -> Option<Reading> {
        let reading = match criterion.source {
            Source::Database { since_start, .. } if since_start && asked.since.is_none() => {
                return Some(since_lacks());
            }
            Source::Database { sql, .. } => self.row(sql, asked).map(figure),
            Source::Plan(sql) => self.plan(sql, asked),
            Source::Usage(sql) => {
                let before = asked.records.latest(INDEX_SNAPSHOT);
                let before = before.map(|record| record.value.as_str());
                self.row(sql, asked).map(|now| of_usage(before, &now))
            }
            _ => return None,
        };
        Some(reading.unwrap_or_else(Reading::Unknown))
    }

    /// A snapshot of the index's use, as a record has it.
    pub(super) fn usage(&mut self, asked: &Asked<'_>) -> Result<String, String> {
        match self.row(INDEX_USAGE, asked)? {
            (Some(index), Some(table)) => Ok(format!("idx_scan={index} seq_scan={table}")),
            _ => Err("the index of phone numbers is not there: is the schema current?".to_owned()),
        }
    }

    fn row(&mut self, sql: &'static str, asked: &Asked<'_>) -> Result<Row, String> {
        let query = sqlx::query_as(sql)
            .bind(asked.country.to_owned())
            .bind(asked.since.unwrap_or(asked.now).to_string())
            .bind(asked.now.to_string());
        let work = async {
            let mut transaction = self.connection.begin().await?;
            transaction.execute(READ_ONLY).await?;
            let row: Option<Row> = query.fetch_optional(&mut *transaction).await?;
            transaction.rollback().await?;
            Ok::<_, sqlx::Error>(row.unwrap_or_default())
        };
        told(
            self.runtime
                .block_on(async { timeout(PATIENCE, work).await }),
        )
    }

    fn plan(&mut self, sql: &'static str, asked: &Asked<'_>) -> Result<Reading, String> {
        let query = sqlx::query_scalar(sql).bind(asked.country.to_owned());
        let work = async {
            let mut transaction = self.connection.begin().await?;
            transaction.execute(READ_ONLY).await?;
            let lines = query.fetch_all(&mut *transaction).await?;
            transaction.rollback().await?;
            Ok::<_, sqlx::Error>(lines)
        };
        let outcome = self
            .runtime
            .block_on(async { timeout(PATIENCE, work).await });
        let plan: Vec<String> = told(outcome)?;
        let (rows, _) = self.row(EVENTS_ESTIMATED, asked)?;
        Ok(of_plan(&plan, rows.unwrap_or_default()))
    }
}

/// Nobody has said when the pilot began.
pub(super) fn since_lacks() -> Reading {
    Reading::unknown(
        "when did the pilot begin? --since, or 'smpctl gate record pilot-start', says it",
    )
}

fn told<T>(
    outcome: Result<Result<T, sqlx::Error>, tokio::time::error::Elapsed>,
) -> Result<T, String> {
    match outcome {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(match error.as_database_error() {
            Some(said) => refusal(said.code().as_deref(), said.message()),
            None => format!("the database says: {error}"),
        }),
        Err(_) => Err("the database does not answer".to_owned()),
    }
}

/// What an error's code and text mean. A schema that lacks something is older than this program.
fn refusal(code: Option<&str>, message: &str) -> String {
    let lacks = match code {
        Some("42P01") => "table",
        Some("42703") => "column",
        Some("42883") => "function",
        _ => return format!("the database says: {message}"),
    };
    // Whatever the language of the server, names are in quotes where it quotes at all.
    match message.split('"').nth(1) {
        Some(name) => format!("the schema has no {lacks} {name}: regional-core migrate makes it"),
        None => format!("the schema lacks a {lacks} ({message}): regional-core migrate makes it"),
    }
}

fn figure((figure, detail): Row) -> Reading {
    let detail = detail.unwrap_or_default();
    match figure {
        Some(figure) => Reading::known(figure, detail),
        None if detail.is_empty() => Reading::unknown("there is nothing to count"),
        None => Reading::unknown(format!("nothing to go by: {detail}")),
    }
}

/// How many nodes of a plan read the whole table of events, of which there are about `rows`.
fn of_plan(plan: &[String], rows: f64) -> Reading {
    let scans = plan
        .iter()
        .filter(|line| line.contains("Seq Scan on pancake_webhook_event"))
        .count();
    if scans > 0 && rows < ROWS_THAT_TELL {
        return Reading::unknown(format!(
            "about {rows} events are too few to tell: PostgreSQL rightly reads them all; ask again with \
             {ROWS_THAT_TELL} or more, after 'analyze pancake_webhook_event'"
        ));
    }
    let first = plan.iter().find(|line| line.contains("Scan"));
    let first = first.map_or("no scan", |line| line.trim());
    #[expect(clippy::cast_precision_loss, reason = "a few")]
    Reading::known(scans as f64, first)
}

/// How often the index was used since the snapshot.
fn of_usage(before: Option<&str>, now: &Row) -> Reading {
    let Some((index_before, table_before)) = before.and_then(usage) else {
        return Reading::unknown("take a snapshot first: smpctl gate snapshot --by NAME");
    };
    let (Some(index), Some(Ok(table))) = (now.0, now.1.as_deref().map(str::parse::<f64>)) else {
        return Reading::unknown("the index of phone numbers is not there: is the schema current?");
    };
    if index < index_before || table < table_before {
        return Reading::unknown(
            "the server counts anew since the snapshot: take another, smpctl gate snapshot --by NAME",
        );
    }
    Reading::known(
        index - index_before,
        format!(
            "meanwhile the table was read from end to end {} times, for whatever reason",
            table - table_before
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_that_reads_the_whole_table_is_seen_where_there_is_something_to_read() {
        let plan = |line: &str, rows| of_plan(&[line.to_owned()], rows);
        let index =
            "Index Scan using pancake_webhook_event_normalized_phone_idx on pancake_webhook_event";
        assert_eq!(plan(index, 0.0), Reading::known(0.0, index));
        let scan = "Seq Scan on pancake_webhook_event";
        assert_eq!(plan(scan, 1000.0), Reading::known(1.0, scan));
        let parallel = "  ->  Parallel Seq Scan on pancake_webhook_event";
        assert_eq!(plan(parallel, 1000.0), Reading::known(1.0, parallel.trim()));
        assert!(matches!(plan(scan, 999.0), Reading::Unknown(_)));
    }

    #[test]
    fn use_is_counted_from_the_snapshot() {
        let now = || (Some(12.0), Some("5".to_owned()));
        let since = |before| of_usage(before, &now());
        assert!(
            matches!(since(Some("idx_scan=10 seq_scan=5")), Reading::Known { figure, .. } if (figure - 2.0).abs() < 1e-9)
        );
        for before in [
            None,
            Some("12"),
            Some("idx_scan=13 seq_scan=5"),
            Some("idx_scan=0 seq_scan=6"),
        ] {
            assert!(matches!(since(before), Reading::Unknown(_)), "{before:?}");
        }
        let lacks = of_usage(Some("idx_scan=0 seq_scan=0"), &(None, None));
        assert!(matches!(lacks, Reading::Unknown(_)));
    }

    #[test]
    fn a_schema_that_lacks_something_is_told_from_other_errors() {
        let lacks = refusal(Some("42P01"), "relation \"pancake_daily\" does not exist");
        assert_eq!(
            lacks,
            "the schema has no table pancake_daily: regional-core migrate makes it"
        );
        let lacks = refusal(Some("42703"), "column missing does not exist");
        assert!(lacks.contains("lacks a column (column missing"), "{lacks}");
        let denied = refusal(Some("42501"), "permission denied for table ticket");
        assert_eq!(
            denied,
            "the database says: permission denied for table ticket"
        );
    }

    #[test]
    fn no_figure_is_not_nought() {
        assert_eq!(figure((Some(0.0), None)), Reading::known(0.0, ""));
        assert!(matches!(
            figure((None, Some("0 of 0".to_owned()))),
            Reading::Unknown(_)
        ));
        assert!(matches!(figure((None, None)), Reading::Unknown(_)));
    }
}
