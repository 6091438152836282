//! A span of a table of Pancake's, page by page, into the database: while one page is written, the next one is asked for.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher as _};

use bytes::Bytes;
use jiff::Timestamp;
use protocol::RegionId;
use sqlx::PgPool;
use tokio::join;

use super::entry::{self, Entry, Origin};
use super::store::{self, to_jiff};
use super::suspension::Observation;
use crate::clock::Clock;
use crate::ingest::event::NewEvent;
use crate::ingest::rejected::insert_rejected;
use crate::pancake::answer::Page;
use crate::pancake::client::{Dated, PancakeClient, Span, Workspace};
use crate::pancake::retry::RetryBudget;
use crate::pancake::{PancakeError, Table};

/// A span has no more pages. With 30 records a page that is a million changes.
const PAGES_MAX: u32 = 40_000;
/// So many pages without an entry may follow one another: a list that is filtered late has some.
const EMPTY_MAX: u32 = 100;
/// Entries that are written in one transaction: more of them may take longer than a statement may.
const CHUNK: usize = 1_000;

/// Why a span was not read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WalkError {
    #[error(transparent)]
    Pancake(#[from] PancakeError),
    #[error("the database: {}", crate::db::describe(.0))]
    Database(#[from] sqlx::Error),
    /// What was read is of another workspace than the connection is of now.
    #[error("its workspace was changed meanwhile: the next run asks for the new one")]
    Moved,
}

impl WalkError {
    /// Whether the span itself is to blame, so that another one may well be read.
    pub(crate) fn is_of_span(&self) -> bool {
        matches!(
            self,
            Self::Pancake(
                PancakeError::CursorRepeats
                    | PancakeError::TooManyPages(_)
                    | PancakeError::Unreadable(_)
                    | PancakeError::Refused(_)
            )
        )
    }
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) pages: u32,
    /// Records that were compared.
    pub(crate) checked: u64,
    /// Those that were not here, and are now.
    pub(crate) missing: u64,
    /// Entries that are no record: kept as such.
    pub(crate) rejected: u64,
    /// Entries older than what was asked for.
    pub(crate) older: u64,
    pub(crate) observation: Observation,
    /// How far Pancake's clock is behind ours, in seconds; negative if it is ahead.
    pub(crate) clock_behind: Option<i64>,
}

impl Found {
    pub(crate) fn add(&mut self, other: Self) {
        self.pages += other.pages;
        self.checked += other.checked;
        self.missing += other.missing;
        self.rejected += other.rejected;
        self.older += other.older;
        self.observation.add(other.observation);
        self.clock_behind = other.clock_behind.or(self.clock_behind);
    }
}

/// By what a connection's records are brought in.
pub(crate) struct Walk<'w> {
    pub(crate) client: &'w PancakeClient,
    pub(crate) pool: &'w PgPool,
    pub(crate) clock: &'w dyn Clock,
    pub(crate) region: &'w RegionId,
    pub(crate) origin: &'w Origin,
    pub(crate) workspace: &'w Workspace,
}

impl Walk<'_> {
    /// Reads a span to its end. `found` has what was read, also if that fails.
    pub(crate) async fn read(
        &self,
        table: Table,
        span: Span,
        budget: &mut RetryBudget,
        found: &mut Found,
    ) -> Result<(), WalkError> {
        // Kept as hashes: a walk of any length remembers little.
        let (mut cursors, mut contents) = (HashSet::new(), HashSet::new());
        let (mut pages, mut empty) = (0, 0);
        let mut page = self.ask(table, span, None, budget).await?;
        loop {
            found.pages += 1;
            pages += 1;
            if let Some(date) = page.date {
                let behind = self.clock.now().unix_timestamp() - date.as_second();
                found.clock_behind = Some(behind);
            }
            let Page { entries, cursor } = page.answer;
            empty = if entries.is_empty() { empty + 1 } else { 0 };
            let write = self.write(span.from, &entries);
            let Some(cursor) = cursor else {
                found.add(write.await?);
                return Ok(());
            };
            if empty > EMPTY_MAX {
                return Err(
                    PancakeError::Unreadable("more than 100 pages in a row are empty").into(),
                );
            }
            if pages >= PAGES_MAX {
                found.add(write.await?);
                return Err(PancakeError::TooManyPages(pages).into());
            }
            // With the same cursor, or with the same entries: either way it leads nowhere.
            let is_new = entries.is_empty() || contents.insert(digest(&entries));
            if !cursors.insert(digest(&cursor)) || !is_new {
                found.add(write.await?);
                return Err(PancakeError::CursorRepeats.into());
            }
            let (written, next) = join!(write, self.ask(table, span, Some(&cursor), budget));
            found.add(written?);
            page = next?;
        }
    }

    async fn ask(
        &self,
        table: Table,
        span: Span,
        cursor: Option<&str>,
        budget: &mut RetryBudget,
    ) -> Result<Dated<Page>, PancakeError> {
        self.client
            .records(self.workspace, (table, span), cursor, budget)
            .await
    }

    /// Writes what is not here of a page, some at a time.
    async fn write(&self, from: Timestamp, entries: &[Bytes]) -> Result<Found, sqlx::Error> {
        let mut found = Found::default();
        for chunk in entries.chunks(CHUNK) {
            found.add(self.write_chunk(from, chunk).await?);
        }
        Ok(found)
    }

    async fn write_chunk(&self, from: Timestamp, entries: &[Bytes]) -> Result<Found, sqlx::Error> {
        let now = self.clock.now();
        let (mut found, mut events) = (Found::default(), Vec::new());
        let mut connection = self.pool.acquire().await?;
        for entry in entries {
            match entry::read(self.origin, from, entry, now) {
                Entry::Record(event) => events.push(event),
                Entry::Older => found.older += 1,
                Entry::Rejected(delivery, cause) => {
                    insert_rejected(&mut *connection, self.region, &delivery, &cause).await?;
                    found.rejected += 1;
                }
            }
        }
        found.checked = u64::try_from(events.len()).unwrap_or(u64::MAX);
        if events.is_empty() {
            return Ok(found);
        }
        let all: Vec<&NewEvent> = events.iter().collect();
        let known = store::known(&mut connection, self.origin, &all).await?;
        let changed_on = |event: &NewEvent| event.fields.modified_on.and_then(to_jiff);
        let by_webhook = known
            .iter()
            .filter(|(_, by_webhook)| **by_webhook)
            .filter_map(|(place, _)| changed_on(events.get(*place)?))
            // A time that is still to come says nothing of when the webhook came.
            .filter(|on| on.as_second() <= now.unix_timestamp());
        found.observation.by_webhook = by_webhook.max();
        let missing: Vec<&NewEvent> = events
            .iter()
            .enumerate()
            .filter(|(place, _)| !known.contains_key(place))
            .map(|(_, event)| event)
            .collect();
        if missing.is_empty() {
            return Ok(found);
        }
        let brought: HashSet<_> = store::bring(&mut connection, self.region, missing.clone())
            .await?
            .into_iter()
            .collect();
        for event in missing {
            if brought.contains(&event.delivery.id) {
                found.missing += 1;
                found.observation.missed.extend(changed_on(event));
            }
        }
        Ok(found)
    }
}

/// Tells pages or cursors of one walk apart.
fn digest(one: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    one.hash(&mut hasher);
    hasher.finish()
}
