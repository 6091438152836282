//! Polling: what Pancake's lists have that was changed since the watermark, and a while before it.

use std::time::Duration;

use protocol::Country;
use tracing::warn;

use super::asking::{Asking, Work, for_each};
use super::{Context, JobError, Progress};
use crate::completeness::store::{self, Polled};
use crate::completeness::walk::{Found, WalkError};
use crate::completeness::watermark::{Watermark, slices};
use crate::ingest::event::Layer;
use crate::pancake::Table;
use crate::pancake::client::Span;
use crate::pancake::retry::RetryBudget;

/// What is read in one go, and then counts as read.
const SLICE: Duration = Duration::from_hours(1);
/// Gaps that one poll tries again.
const GAPS: usize = 4;

pub(super) async fn run(
    context: &Context,
    country: Country,
    progress: &Progress,
) -> Result<(), JobError> {
    let polled = store::polled(&context.pool, country).await?;
    progress.set("connections", polled.len());
    let unusable = store::unusable(&context.pool, country).await?;
    progress.set("without_api_key", unusable.without_api_key);
    progress.set("without_workspace", unusable.without_workspace);
    let work = polled.iter().map(|one| {
        let work: Work<'_> = Box::pin(poll(context, country, one, progress));
        (&one.connection, work)
    });
    for_each(work.collect()).await
}

async fn poll(
    context: &Context,
    country: Country,
    polled: &Polled,
    progress: &Progress,
) -> Result<(), JobError> {
    let asking = Asking::new(context, country, Layer::Poll, polled)?;
    let (mut found, mut budget) = (Found::default(), RetryBudget::default());
    let mut outcome = Ok(());
    for table in Table::ALL {
        let polled = poll_table(&asking, table, &mut budget, &mut found).await;
        let goes_on = polled.as_ref().err().is_none_or(WalkError::is_of_span);
        outcome = outcome.and(polled);
        if !goes_on {
            break;
        }
    }
    let figures = serde_json::json!({"checked": found.checked, "brought": found.missing, "pages": found.pages});
    progress.set(polled.connection.as_str(), figures);
    asking.conclude(&found, outcome).await
}

async fn poll_table(
    asking: &Asking<'_>,
    table: Table,
    budget: &mut RetryBudget,
    found: &mut Found,
) -> Result<(), WalkError> {
    let (pool, limits) = (&asking.context.pool, &asking.context.limits);
    let now = asking.now();
    let mut mark = store::watermark(pool, &asking.origin, table).await?;
    if mark.is_ahead(now) {
        // Nobody knows how far that clock was ahead, so it begins as if it were new.
        let until = now.checked_sub(limits.first_poll).unwrap_or(now);
        mark = asking
            .change_watermark(table, |mark| mark.put_back(now, until))
            .await?;
        warn!(
            country = %asking.origin.country,
            connection = asking.origin.connection.as_str(),
            table = table.as_str(),
            "the watermark was ahead of the clock, and is put back: one of the cores' clocks is or was wrong"
        );
    }
    let from = match mark.complete_until {
        Some(until) => until.checked_sub(limits.poll_overlap),
        None => now.checked_sub(limits.first_poll),
    };
    let span = Span {
        from: from.unwrap_or(now),
        to: now,
    };
    // What is new first.
    let mut outcome = Ok(());
    for slice in slices(span, SLICE) {
        let read = read(asking, table, slice, budget, found, &mut mark).await?;
        let is_left = mark.complete_until.is_some_and(|until| until >= slice.to);
        let goes_on = read.is_ok() || is_left;
        outcome = outcome.and(read);
        if !goes_on {
            return outcome;
        }
    }
    for gap in mark.left_behind().into_iter().take(GAPS) {
        let read = read(asking, table, gap, budget, found, &mut mark).await?;
        outcome = outcome.and(read);
    }
    outcome
}

/// Reads a span, and moves the watermark by what came of it. The inner error is the span's own.
async fn read(
    asking: &Asking<'_>,
    table: Table,
    span: Span,
    budget: &mut RetryBudget,
    found: &mut Found,
    mark: &mut Watermark,
) -> Result<Result<(), WalkError>, WalkError> {
    // What is changed while it is read may be on a page that was read before.
    let asked = asking.now();
    let outcome = asking.walk().read(table, span, budget, found).await;
    match outcome {
        Ok(()) => {
            let settled = asking.settled(asked, found);
            *mark = asking
                .change_watermark(table, |mark| mark.seen(span, settled, true))
                .await?;
            Ok(Ok(()))
        }
        Err(failure) if failure.is_of_span() => {
            let cause = failure.to_string();
            let change = |mark: &mut Watermark| {
                mark.unread(span, &cause, true);
            };
            *mark = asking.change_watermark(table, change).await?;
            Ok(Err(failure))
        }
        Err(failure) => Err(failure),
    }
}
