//! Jobs on a schedule: each for one country, by one core at a time, and every run in `job_run`.
//!
//! - `schedule`: when one is due. Pure;
//! - `runner`: the task that looks, and runs what is due;
//! - `store`: the SQL;
//! - the other files are the jobs. Each may be killed at any moment and run again: it goes on, or begins anew, and
//!   does nothing twice.

mod asking;
mod expiry;
mod poll;
mod reconcile;
mod retention;
mod rollup;
mod runner;
pub mod schedule;
mod source_sync;
pub(crate) mod store;
mod stuck_events;
mod watch;

pub use runner::Jobs;
pub(crate) use runner::RUNS_AT_ONCE;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use protocol::at_rest::AtRestKeys;
use protocol::{Country, RegionId};
use serde_json::{Map, Value};
use sqlx::PgPool;

use self::schedule::Schedule;
use crate::clock::Clock;
use crate::completeness::walk::WalkError;
use crate::config::JobLimits;
use crate::master_data::Zones;
use crate::metrics::Metrics;
use crate::pancake::PancakeError;
use crate::pancake::client::PancakeClient;
use crate::processing::Wake;

/// The jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Job {
    /// Asks Pancake for what changed of late.
    Poll,
    /// Compares with Pancake what changed in the last days.
    Reconciliation,
    /// Reads the sources of each workspace.
    SourceSync,
    /// Tries each API key, and tells which are old.
    Expiry,
    /// Blanks personal data that is old enough.
    Retention,
    /// Looks for events that wait for too long.
    StuckEvents,
    /// Counts the last 24 hours, and the day.
    Rollup,
}

impl Job {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Poll,
        Self::Reconciliation,
        Self::SourceSync,
        Self::Expiry,
        Self::Retention,
        Self::StuckEvents,
        Self::Rollup,
    ];

    /// As `job_run.job` has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Reconciliation => "reconciliation",
            Self::SourceSync => "source_sync",
            Self::Expiry => "expiry",
            Self::Retention => "retention",
            Self::StuckEvents => "stuck_events",
            Self::Rollup => "rollup",
        }
    }

    /// Whether it takes long and works the database hard: of a core, one of these runs at a time, so that at 02:00
    /// nothing is in reconciliation's way.
    pub(crate) const fn is_heavy(self) -> bool {
        matches!(self, Self::Reconciliation | Self::Retention | Self::Rollup)
    }

    /// Whether it asks Pancake again and again, for as long as Pancake lets it wait: some of these runs at a time, so that
    /// the others find room. (`expiry` asks for one answer of each connection.)
    pub(crate) const fn asks_pancake(self) -> bool {
        matches!(self, Self::Poll | Self::Reconciliation | Self::SourceSync)
    }

    /// By its name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|job| job.as_str() == name)
    }
}

impl fmt::Display for Job {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// How far a run is, in figures: written into its row every few seconds. No personal data.
#[derive(Debug, Default)]
pub(crate) struct Progress(Mutex<Map<String, Value>>);

impl Progress {
    pub(crate) fn set(&self, name: &str, value: impl Into<Value>) {
        let mut figures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        figures.insert(name.to_owned(), value.into());
    }

    fn figures(&self) -> Value {
        let figures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Value::Object(figures.clone())
    }
}

/// What jobs work with.
pub(crate) struct Context {
    pub(crate) pool: PgPool,
    pub(crate) region: RegionId,
    pub(crate) countries: Vec<Country>,
    pub(crate) client: PancakeClient,
    pub(crate) at_rest: Option<Arc<AtRestKeys>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) wake: Wake,
    pub(crate) limits: JobLimits,
    pub(crate) zones: Zones,
    /// For how long personal data stays, where a country has set nothing else.
    pub(crate) retention_days: u16,
    /// How long the database may say nothing.
    pub(crate) patience: Duration,
}

/// When a job is due; `is_suspended`: in a country with a connection whose webhooks stay away.
pub(crate) fn schedule_of(job: Job, limits: &JobLimits, is_suspended: bool) -> Schedule {
    match job {
        Job::Poll if is_suspended => Schedule::Every(limits.poll_suspended.min(limits.poll)),
        Job::Poll => Schedule::Every(limits.poll),
        Job::Reconciliation => Schedule::Daily(limits.reconciliation_at),
        Job::SourceSync => Schedule::Every(limits.source_sync),
        Job::Expiry => Schedule::Daily(limits.expiry_at),
        Job::Retention => Schedule::Every(limits.retention),
        Job::StuckEvents => Schedule::Every(limits.stuck_events),
        Job::Rollup => Schedule::Every(limits.rollup),
    }
}

/// Why a run failed. What `job_run.error` says: nothing received, and nothing of a person.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    #[error("the database: {}", crate::db::describe(.0))]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Pancake(#[from] PancakeError),
    #[error("this core has no key to open API keys with (CORE_AT_REST_KEYS)")]
    NoAtRestKeys,
    #[error("its API key does not open with CORE_AT_REST_KEYS")]
    KeyDoesNotOpen,
    #[error("its workspace was changed meanwhile: the next run asks for the new one")]
    Moved,
    #[error(
        "its workspace is not the number that Pancake's interface takes: set it by PATCH \
         /v1/crm/pancake/connections/… {{\"workspace\": \"NUMBER\"}}, it stands in Pancake's address"
    )]
    NoWorkspace,
    #[error(
        "parameters: {{\"from\": …, \"to\": …}} are expected, RFC 3339 with an offset, from before to"
    )]
    Parameters,
    /// One line for each connection that failed.
    #[error("{0}")]
    Connections(String),
}

impl From<WalkError> for JobError {
    fn from(failure: WalkError) -> Self {
        match failure {
            WalkError::Pancake(failure) => Self::Pancake(failure),
            WalkError::Database(failure) => Self::Database(failure),
            WalkError::Moved => Self::Moved,
        }
    }
}
