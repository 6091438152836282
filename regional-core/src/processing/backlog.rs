//! What is not done with, for whoever watches: what waits, what is tried again, what is dead, and for how long.
//! In a task of its own: it is most wanted when processing stands still.

use std::sync::Arc;
use std::time::Duration;

use protocol::Country;
use sqlx::PgPool;
use tokio::time::{Instant, sleep};

use super::silence::{heard, unless_silent};
use super::store::{self, Backlog};
use crate::metrics::Metrics;

/// How often it is counted.
const COUNT_EVERY: Duration = Duration::from_secs(5);

/// Counts for ever. While it cannot be counted, what was there last is still there, and grows older.
pub(super) async fn watch(
    pool: PgPool,
    countries: Vec<Country>,
    patience: Duration,
    metrics: Arc<Metrics>,
) {
    let mut counted: Option<(Vec<Backlog>, Instant)> = None;
    loop {
        // Processing tells of a database that is away.
        if let Ok(backlog) = count(&pool, &countries, patience).await {
            counted = Some((backlog, Instant::now()));
        }
        if let Some((backlog, at)) = &counted {
            show(backlog, at.elapsed(), &countries, &metrics);
        }
        sleep(COUNT_EVERY).await;
    }
}

async fn count(
    pool: &PgPool,
    countries: &[Country],
    patience: Duration,
) -> Result<Vec<Backlog>, sqlx::Error> {
    let countries: Vec<&str> = countries.iter().map(Country::as_str).collect();
    let mut connection = pool.acquire().await?;
    let counted = unless_silent(patience, store::backlog(&mut connection, &countries)).await;
    heard(connection, counted)
}

fn show(backlog: &[Backlog], age: Duration, countries: &[Country], metrics: &Metrics) {
    for country in countries {
        for status in store::UNFINISHED {
            let found = backlog.iter().find(|unfinished| {
                unfinished.country_code == country.as_str() && unfinished.status == status
            });
            let (events, oldest) = found.map_or((0, 0.0), |found| {
                (found.events, found.oldest + age.as_secs_f64())
            });
            metrics.set_unfinished(*country, status, events, oldest);
        }
    }
}
