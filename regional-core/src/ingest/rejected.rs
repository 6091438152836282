//! SQL of `pancake_rejected_request`.

use protocol::RegionId;
use sqlx::PgExecutor;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tracing::error;

use super::event::Delivery;
use super::store::{Failure, classify};
use crate::db;
use crate::error::{AppError, Unavailability};

/// The cause of a record that the database itself would not take.
pub const REFUSED_BY_DATABASE: &str = "refused_by_database";

/// Keeps a body that is no record.
///
/// The same body for the same cause only raises a count, so that a sender that repeats itself cannot
/// fill the disk. The first receipt is the one that is kept.
pub async fn insert_rejected(
    executor: impl PgExecutor<'_>,
    region: &RegionId,
    delivery: &Delivery,
    cause: &str,
) -> Result<(), sqlx::Error> {
    let receipt = delivery.receipt.as_ref();
    sqlx::query(
        "insert into pancake_rejected_request as kept \
             (rejected_id, country_code, region_id, connection_id, cause, body_sha256, body, \
              verdict, route_version, hop_signature_input, hop_signature, \
              received_at, last_received_at, layer) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12, $13) \
         on conflict on constraint pancake_rejected_request_body_key do update \
             set times_received = kept.times_received + 1, \
                 last_received_at = greatest(kept.last_received_at, excluded.last_received_at)",
    )
    .bind(delivery.id)
    .bind(delivery.country.as_str())
    .bind(region.as_str())
    .bind(delivery.connection.as_str())
    .bind(cause)
    .bind(delivery.body_sha256.as_slice())
    .bind(&delivery.body[..])
    .bind(receipt.map(|receipt| receipt.verdict.as_str()))
    .bind(receipt.map(|receipt| i64::from(receipt.route_version)))
    .bind(receipt.map(|receipt| &*receipt.hop_signature_input))
    .bind(receipt.map(|receipt| &*receipt.hop_signature))
    .bind(delivery.received_at)
    .bind(delivery.layer.as_str())
    .execute(executor)
    .await?;
    Ok(())
}

/// [`insert_rejected`], logged and in a handler's terms.
pub(super) async fn keep(
    executor: impl PgExecutor<'_>,
    region: &RegionId,
    delivery: &Delivery,
    cause: &str,
) -> Result<(), AppError> {
    insert_rejected(executor, region, delivery, cause)
        .await
        .map_err(|failure| {
            error!(
                error = %db::describe(&failure),
                rejected.id = %delivery.id,
                rejected.cause = cause,
                "rejected request is not kept"
            );
            match classify(&failure) {
                Failure::Connection | Failure::Unavailable => {
                    AppError::Unavailable(Unavailability::Database)
                }
                Failure::Data | Failure::Bug => AppError::Internal,
            }
        })
}

/// Waits for [`keep`] in its task.
pub(super) async fn finished_by(
    deadline: Instant,
    task: JoinHandle<Result<(), AppError>>,
) -> Result<(), AppError> {
    match timeout_at(deadline, task).await {
        Ok(Ok(kept)) => kept,
        // It panicked; the panic's hook has logged where.
        Ok(Err(_)) => Err(AppError::Internal),
        Err(_) => Err(AppError::Unavailable(Unavailability::Timeout)),
    }
}
