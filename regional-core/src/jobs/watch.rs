//! How connections, watermarks and jobs stand, for the metrics: read from the database every few seconds, so that every
//! core tells the same, whichever of them did the work.

use std::sync::Arc;
use std::time::Duration;

use protocol::Country;
use serde_json::Value;
use sqlx::{PgConnection, PgPool};
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::{Context, Job};
use crate::db;
use crate::metrics::{ConnectionLabels, INDICATORS, JobLabels, Metrics, TableLabels};

const EVERY: Duration = Duration::from_secs(5);

/// Does so until it is aborted.
pub(super) async fn watch(context: Arc<Context>) {
    let mut is_well = true;
    loop {
        let looked = timeout(context.patience * 4, look(&context)).await;
        let failure = match looked {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(db::describe(&failure)),
            Err(_) => Some("it does not answer".to_owned()),
        };
        if let Some(error) = &failure
            && is_well
        {
            warn!(error, "connections, watermarks and jobs are not counted");
        }
        is_well = failure.is_none();
        sleep(EVERY).await;
    }
}

async fn look(context: &Context) -> Result<(), sqlx::Error> {
    let (pool, metrics): (&PgPool, &Metrics) = (&context.pool, &context.metrics);
    let codes: Vec<&str> = context.countries.iter().map(Country::as_str).collect();
    let mut connection = pool.acquire().await?;
    connections(&mut connection, &codes, metrics).await?;
    watermarks(&mut connection, &codes, metrics).await?;
    jobs(&mut connection, &codes, metrics).await?;
    reconciliation(&mut connection, &codes, metrics).await?;
    indicators(&mut connection, &codes, metrics).await?;
    switches(&mut connection, &codes, metrics).await
}

async fn connections(
    connection: &mut PgConnection,
    codes: &[&str],
    metrics: &Metrics,
) -> Result<(), sqlx::Error> {
    let rows: Vec<(String, String, String, bool, Option<f64>)> = sqlx::query_as(
        "select country_code, connection_id, status, api_key_refused_at is not null, \
                extract(epoch from clock_timestamp() - api_key_set_at)::float8 \
         from pancake_connection where country_code = any ($1) order by 1, 2 limit 1024",
    )
    .bind(codes)
    .fetch_all(connection)
    .await?;
    for (country, connection_id, status, is_refused, age) in rows {
        let of = ConnectionLabels::new(&country, &connection_id);
        metrics.set_connection(&of, &status, (is_refused, age));
    }
    Ok(())
}

async fn watermarks(
    connection: &mut PgConnection,
    codes: &[&str],
    metrics: &Metrics,
) -> Result<(), sqlx::Error> {
    let rows: Vec<(String, String, String, Option<f64>, i32)> = sqlx::query_as(
        "select country_code, connection_id, table_name, \
                extract(epoch from clock_timestamp() - complete_until)::float8, jsonb_array_length(gaps) \
         from pancake_watermark where country_code = any ($1) order by 1, 2, 3 limit 3072",
    )
    .bind(codes)
    .fetch_all(connection)
    .await?;
    for (country, connection, table, age, gaps) in rows {
        let of = TableLabels {
            country,
            connection,
            table,
        };
        metrics.set_watermark(&of, age, gaps.into());
    }
    Ok(())
}

async fn jobs(
    connection: &mut PgConnection,
    codes: &[&str],
    metrics: &Metrics,
) -> Result<(), sqlx::Error> {
    type Row = (String, String, bool, Option<f64>, Option<f64>);
    let rows: Vec<Row> = sqlx::query_as(
        "select country, j.job, \
                exists (select from job_run as r \
                        where r.country_code = country and r.job = j.job and r.state = 'running'), \
                extract(epoch from last.started_at)::float8, \
                extract(epoch from last.finished_at - last.started_at)::float8 \
         from unnest($1::text[]) as country cross join unnest($2::text[]) as j (job) \
         left join lateral ( \
             select started_at, finished_at from job_run as r \
             where r.country_code = country and r.job = j.job and r.state = 'ok' \
             order by number desc limit 1) as last on true",
    )
    .bind(codes)
    .bind(Job::ALL.map(Job::as_str))
    .fetch_all(connection)
    .await?;
    for (country, job, is_running, began, took) in rows {
        let Some(job) = Job::parse(&job) else {
            continue;
        };
        let of = JobLabels {
            country,
            task: job.as_str(),
        };
        metrics.set_job(&of, is_running, began.zip(took));
    }
    Ok(())
}

async fn reconciliation(
    connection: &mut PgConnection,
    codes: &[&str],
    metrics: &Metrics,
) -> Result<(), sqlx::Error> {
    let rows: Vec<(String, i64, Option<f64>)> = sqlx::query_as(
        "select country, \
                (select coalesce(sum(missing), 0)::bigint from pancake_reconciliation_run as r \
                 where r.country_code = country and r.started_at > clock_timestamp() - interval '24 hours'), \
                extract(epoch from clock_timestamp() - \
                    (select max(window_to) from pancake_reconciliation_run as r \
                     where r.country_code = country and r.finished_at is not null and r.error is null \
                       and r.started_at > clock_timestamp() - interval '7 days'))::float8 \
         from unnest($1::text[]) as country",
    )
    .bind(codes)
    .fetch_all(connection)
    .await?;
    for (country, missing, age) in rows {
        metrics.set_reconciliation(&country, missing, age);
    }
    Ok(())
}

/// As the last roll-up has them.
async fn indicators(
    connection: &mut PgConnection,
    codes: &[&str],
    metrics: &Metrics,
) -> Result<(), sqlx::Error> {
    let rows: Vec<(String, Option<Value>)> = sqlx::query_as(
        "select country, (select progress from job_run as r \
                          where r.country_code = country and r.job = 'rollup' and r.state = 'ok' \
                            and r.started_at > clock_timestamp() - interval '1 day' \
                          order by number desc limit 1) \
         from unnest($1::text[]) as country",
    )
    .bind(codes)
    .fetch_all(connection)
    .await?;
    for (country, figures) in rows {
        let figures = figures.unwrap_or_default();
        for (place, (name, ..)) in INDICATORS.iter().enumerate() {
            let value = figures.get(*name).and_then(Value::as_f64);
            metrics.set_indicator(&country, place, value);
        }
    }
    Ok(())
}

/// As processing reads them: where nobody has set any, the kill switch is on.
async fn switches(
    connection: &mut PgConnection,
    codes: &[&str],
    metrics: &Metrics,
) -> Result<(), sqlx::Error> {
    let rows: Vec<(String, bool, bool)> = sqlx::query_as(
        "select country, \
                coalesce((s.app_settings #> '{pancake_integration,kill_switch}')::text, 'true') <> 'false', \
                coalesce((s.app_settings #> '{pancake_integration,processing_paused}')::text, 'false') <> 'false' \
         from unnest($1::text[]) as country left join app_setting as s on s.country_code = country",
    )
    .bind(codes)
    .fetch_all(connection)
    .await?;
    for (country, kill_switch, paused) in rows {
        metrics.set_switches(&country, kill_switch, paused);
    }
    Ok(())
}
