//! Master data: countries, currencies, rates, taxes and texts, the same in every region.
//!
//! The rows are schema `smp_global`'s, which belongs to the replicator and may be absent: a core takes
//! records in without it, and answers 503 below `/v1/master-data` until it is there. All of them are held
//! in memory as one [`snapshot::Snapshot`], which is replaced as a whole when the database says that
//! something was committed; requests go on with the one that they have.
//!
//! - [`snapshot`]: what is held, and the lookups. Pure;
//! - [`money`], `parse`: exact conversion, and what a request may say. Pure;
//! - `store`: the SQL that reads;
//! - `handlers`, `row`: the endpoints that read; `ask`, `openapi`: what they share, and how it is described;
//! - `editing`: the endpoints that write, in the hub.

mod ask;
mod editing;
mod handlers;
pub mod money;
mod openapi;
mod parse;
mod row;
pub mod snapshot;
mod store;

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use self::snapshot::Snapshot;
use self::store::Found;
use crate::config::{Config, MasterDataLimits};
use crate::db::{connect_aside, describe};
use crate::error::MasterDataError;
use crate::metrics::Metrics;
use jiff::tz::TimeZone;
use protocol::Country;

pub use self::editing::is_known_constraint;
pub use self::handlers::{description, router};

/// How long to wait before listening again where that failed.
const LISTEN_PAUSE: Duration = Duration::from_secs(1);

/// Master data, kept up to date as long as this lives.
pub struct MasterData {
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    patience: Duration,
    tasks: [AbortHandle; 2],
}

impl Drop for MasterData {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl MasterData {
    /// Begins to load it, over two connections beside `pool`.
    pub(crate) fn start(config: &Config, pool: &PgPool, metrics: Arc<Metrics>) -> Self {
        let limits = config.master_data.clone();
        let pool = connect_aside(pool, &config.database, limits.load_timeout);
        let (sender, snapshots) = watch::channel(None);
        // It holds one permit: however many changes come while a look is under way, one more follows.
        let changed = Arc::new(Notify::new());
        let listening = tokio::spawn(listen(pool.clone(), Arc::clone(&changed)));
        let patience = limits.wait;
        let refreshing = tokio::spawn(refresh(pool, limits, changed, sender, metrics));
        Self {
            snapshots,
            patience,
            tasks: [listening.abort_handle(), refreshing.abort_handle()],
        }
    }

    /// Whether there is any.
    pub(crate) fn is_loaded(&self) -> bool {
        self.snapshots.borrow().is_some()
    }

    /// The countries' time zones, as they are whenever they are asked for.
    pub(crate) fn zones(&self) -> Zones {
        Zones(self.snapshots.clone())
    }

    /// The newest there is, once it is at `min_seq` or above. Waits for that as long as a request may.
    pub(crate) async fn at_least(
        &self,
        min_seq: Option<i64>,
    ) -> Result<Arc<Snapshot>, MasterDataError> {
        let newest = || self.snapshots.borrow().clone();
        let snapshot = newest().ok_or(MasterDataError::Absent)?;
        let Some(min_seq) = min_seq.filter(|min_seq| snapshot.seq < *min_seq) else {
            return Ok(snapshot);
        };
        let mut snapshots = self.snapshots.clone();
        let is_there = |snapshot: &Option<Arc<Snapshot>>| {
            snapshot
                .as_ref()
                .is_none_or(|snapshot| snapshot.seq >= min_seq)
        };
        // Whether in time or not is seen by what there is then.
        let _in_time = timeout(self.patience, snapshots.wait_for(is_there)).await;
        let snapshot = newest().ok_or(MasterDataError::Absent)?;
        if snapshot.seq < min_seq {
            return Err(MasterDataError::Behind {
                seq: snapshot.seq,
                min_seq,
            });
        }
        Ok(snapshot)
    }
}

/// The countries' time zones.
#[derive(Clone)]
pub(crate) struct Zones(watch::Receiver<Option<Arc<Snapshot>>>);

impl Zones {
    /// A country's first one; UTC where master data has none.
    pub(crate) fn of(&self, country: Country) -> TimeZone {
        let snapshot = self.0.borrow();
        let name = snapshot.as_ref().and_then(|snapshot| {
            snapshot
                .countries
                .rows
                .get(country.as_str())?
                .time_zones
                .first()
        });
        name.and_then(|name| TimeZone::get(name).ok())
            .unwrap_or(TimeZone::UTC)
    }
}

/// Passes on that something has changed.
async fn listen(pool: PgPool, changed: Arc<Notify>) {
    loop {
        if let Ok(mut listener) = store::listen(&pool).await {
            // What came before it listened is looked for once; so is what a lost connection missed.
            changed.notify_one();
            while let Ok(_change_or_new_connection) = listener.try_recv().await {
                changed.notify_one();
            }
        }
        sleep(LISTEN_PAUSE).await;
    }
}

/// Looks at the database whenever something has changed, and now and then without.
async fn refresh(
    pool: PgPool,
    limits: MasterDataLimits,
    changed: Arc<Notify>,
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    metrics: Arc<Metrics>,
) {
    let mut failing = false;
    let mut absent = false;
    loop {
        let known = snapshots.borrow().clone();
        let look = store::look(&pool, known.as_deref());
        let found = timeout(limits.load_timeout, look).await;
        match found {
            Ok(Ok(Found::Same)) => failing = false,
            Ok(Ok(Found::Newer {
                snapshot,
                tables_read,
            })) => {
                metrics.set_master_data(snapshot.seq, tables_read);
                if known.is_none() {
                    info!(master_data.seq = snapshot.seq, "master data is loaded");
                }
                snapshots.send_replace(Some(Arc::from(snapshot)));
                (failing, absent) = (false, false);
            }
            Ok(Ok(Found::Absent(why))) => {
                metrics.set_master_data(0, 0);
                if !absent {
                    warn!(why, "there is no master data");
                }
                snapshots.send_replace(None);
                (failing, absent) = (false, true);
            }
            failed => {
                metrics.count_master_data_failure();
                if !failing {
                    let why = match failed {
                        Ok(Err(error)) => describe(&error),
                        _ => "not in time".to_owned(),
                    };
                    warn!(error = why, "master data may be out of date");
                }
                failing = true;
            }
        }
        drop(known);
        tokio::select! {
            () = changed.notified() => {}
            () = sleep(limits.poll) => {}
        }
    }
}
