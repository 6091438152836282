//! Keys of Pancake's interface: each is used once a day at least, since Pancake disables keys that are idle, and one that
//! is refused or old is told in office hours. (Tokens and webhook secrets are the edge's: `smpctl connection list`.)

use protocol::Country;
use tracing::warn;

use super::asking::{Asking, Work, for_each};
use super::{Context, JobError, Progress};
use crate::completeness::store::{self, Polled};
use crate::ingest::event::Layer;
use crate::pancake::retry::RetryBudget;

pub(super) async fn run(
    context: &Context,
    country: Country,
    progress: &Progress,
) -> Result<(), JobError> {
    let polled = store::polled(&context.pool, country).await?;
    progress.set("connections", polled.len());
    let days = i32::from(context.limits.api_key_days.get());
    let old: Vec<String> = sqlx::query_scalar(
        "select connection_id from pancake_connection \
         where country_code = $1 and api_key_set_at < clock_timestamp() - make_interval(days => $2) \
         order by connection_id limit 100",
    )
    .bind(country.as_str())
    .bind(days)
    .fetch_all(&context.pool)
    .await?;
    if !old.is_empty() {
        warn!(%country, connections = ?old, days, "API keys of Pancake are older than they should be: make new ones");
    }
    progress.set("old_keys", old);
    let work = polled.iter().map(|one| {
        let work: Work<'_> = Box::pin(probe(context, country, one));
        (&one.connection, work)
    });
    for_each(work.collect()).await
}

async fn probe(context: &Context, country: Country, polled: &Polled) -> Result<(), JobError> {
    let asking = Asking::new(context, country, Layer::Poll, polled)?;
    let mut budget = RetryBudget::default();
    let answer = context.client.tags(&asking.workspace, &mut budget).await;
    asking
        .note_key(answer.as_ref().map(|_| ()).map_err(|error| *error))
        .await?;
    answer?;
    Ok(())
}
