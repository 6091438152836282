//! The sources of each workspace, so that staff see them, by name, before their first lead comes. A source that is new is
//! off; what staff call one stays.

use protocol::Country;
use sqlx::PgExecutor;

use super::asking::{Asking, Work, for_each};
use super::{Context, JobError, Progress};
use crate::completeness::store::{self, Polled};
use crate::ingest::event::Layer;
use crate::pancake::answer::Source;
use crate::pancake::retry::RetryBudget;

/// More sources than these no workspace has; what is beyond is made known by its leads.
const SOURCES_MAX: usize = 5_000;

pub(super) async fn run(
    context: &Context,
    country: Country,
    progress: &Progress,
) -> Result<(), JobError> {
    let polled = store::polled(&context.pool, country).await?;
    progress.set("connections", polled.len());
    let work = polled.iter().map(|one| {
        let work: Work<'_> = Box::pin(sync(context, country, one, progress));
        (&one.connection, work)
    });
    for_each(work.collect()).await
}

async fn sync(
    context: &Context,
    country: Country,
    polled: &Polled,
    progress: &Progress,
) -> Result<(), JobError> {
    let asking = Asking::new(context, country, Layer::Poll, polled)?;
    let mut budget = RetryBudget::default();
    let sources = context.client.sources(&asking.workspace, &mut budget).await;
    asking
        .note_key(sources.as_ref().map(|_| ()).map_err(|error| *error))
        .await?;
    let mut sources = sources?.answer;
    sources.retain(|source| !source.is_removed);
    sources.truncate(SOURCES_MAX);
    let added = upsert(&context.pool, &asking, &sources).await?;
    let figures = serde_json::json!({"sources": sources.len(), "added": added});
    progress.set(polled.connection.as_str(), figures);
    Ok(())
}

async fn upsert(
    executor: impl PgExecutor<'_>,
    asking: &Asking<'_>,
    sources: &[Source],
) -> Result<i64, sqlx::Error> {
    let column = |value: fn(&Source) -> &str| sources.iter().map(value).collect::<Vec<&str>>();
    sqlx::query_scalar(
        "with named as ( \
             insert into pancake_source as known (country_code, connection_id, source_id, name) \
             select distinct on (id) $1, $2, id, name from unnest($3::text[], $4::text[]) as s (id, name) \
             on conflict (connection_id, source_id, country_code) \
             do update set name = excluded.name, updated_at = clock_timestamp() where known.name is null \
             returning xmax = 0 as is_new) \
         select count(*) from named where is_new",
    )
    .bind(asking.origin.country.as_str())
    .bind(asking.origin.connection.as_str())
    .bind(column(|source| &source.id))
    .bind(column(|source| &source.name))
    .fetch_one(executor)
    .await
}
