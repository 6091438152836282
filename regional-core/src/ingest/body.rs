//! A request's body, within a length and a time.

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use crate::error::AppError;

/// Whether the body says of itself that it is too long.
pub(super) fn is_declared_too_large(body: &Body, limit: usize) -> bool {
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    HttpBody::size_hint(body).lower() > limit
}

/// The longest that a body may become, as far as it says so.
pub(super) fn declared_bytes(body: &Body) -> u64 {
    HttpBody::size_hint(body).upper().unwrap_or(u64::MAX)
}

/// Reads a body to its end, and stops at the first byte over the limit.
pub(super) async fn read(
    mut body: Body,
    limit: usize,
    deadline: Instant,
) -> Result<Bytes, AppError> {
    timeout_at(deadline, async {
        let Some(first) = next_data(&mut body).await? else {
            return Ok(Bytes::new());
        };
        // Nearly every record arrives in one piece, which needs no copy.
        let Some(second) = next_data(&mut body).await? else {
            return within_limit(first.len(), limit).map(|()| first);
        };
        let expected = usize::try_from(HttpBody::size_hint(&body).lower()).unwrap_or_default();
        let capacity = first.len() + second.len() + expected;
        let mut whole = BytesMut::with_capacity(capacity.min(limit));
        for piece in [first, second] {
            within_limit(whole.len() + piece.len(), limit)?;
            whole.extend_from_slice(&piece);
        }
        while let Some(piece) = next_data(&mut body).await? {
            within_limit(whole.len() + piece.len(), limit)?;
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    })
    .await
    .map_err(|_| AppError::BodyTimeout)?
}

fn within_limit(bytes: usize, limit: usize) -> Result<(), AppError> {
    if bytes > limit {
        Err(AppError::TooLarge)
    } else {
        Ok(())
    }
}

/// The next piece with something in it; trailers count for nothing.
async fn next_data(body: &mut Body) -> Result<Option<Bytes>, AppError> {
    while let Some(frame) = body.frame().await {
        match frame.map_err(|_| AppError::BodyBroken)?.into_data() {
            Ok(data) if !data.is_empty() => return Ok(Some(data)),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(None)
}
