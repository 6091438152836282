//! One migrator at a time.

use std::time::Duration;

use sqlx::migrate::Migrate as _;
use sqlx::{Connection as _, PgConnection};
use tokio::time::sleep;

use super::{MigrationError, connect};
use crate::config::secrets::DatabaseUrl;
use crate::db::DatabaseError;

/// The advisory lock of this crate's migrators: "coremigr" in ASCII.
const GATE: i64 = 0x636f_7265_6d69_6772;
const PAUSE: Duration = Duration::from_millis(100);

/// A connection that holds two locks until it is closed: the gate, and that of sqlx's migrators.
///
/// sqlx's alone keeps out older binaries and the replicator's migrations. But whoever waits for it waits
/// inside of a statement, and a concurrent index build waits for all statements that are older: with
/// the lock held by the builder, each would wait for the other. So [`super::steps`] gives sqlx's lock
/// back while it builds, and the gate, for which nobody waits inside of a statement, stays shut.
pub(super) struct Session {
    pub(super) connection: PgConnection,
}

impl Session {
    pub(super) async fn open(owner: &DatabaseUrl) -> Result<Self, MigrationError> {
        let mut connection = connect(owner).await?;
        while !try_gate(&mut connection).await? {
            sleep(PAUSE).await;
        }
        connection.lock().await?;
        Ok(Self { connection })
    }

    /// Both locks end with the connection.
    pub(super) async fn close(self) -> Result<(), DatabaseError> {
        Ok(self.connection.close().await?)
    }
}

async fn try_gate(connection: &mut PgConnection) -> Result<bool, DatabaseError> {
    Ok(sqlx::query_scalar("select pg_try_advisory_lock($1)")
        .bind(GATE)
        .fetch_one(connection)
        .await?)
}
