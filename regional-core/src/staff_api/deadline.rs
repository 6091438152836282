//! Until when a request is answered, once it has asked the database. A server that vanishes says nothing: whoever
//! waits for it waits for ever.

use std::future::pending;
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::error;

use crate::error::StaffApiError;

/// A request's deadline, which its handler sets when it begins to ask.
#[derive(Clone, Default)]
pub(super) struct Deadline(watch::Sender<Option<Instant>>);

impl Deadline {
    pub(super) fn set(&self, patience: Duration) {
        self.0.send_replace(Some(Instant::now() + patience));
    }

    /// Ready when it has passed; never if none is set.
    async fn passed(&self) {
        let mut deadline = self.0.subscribe();
        let at = deadline.wait_for(Option::is_some).await;
        match at.ok().and_then(|at| *at) {
            Some(at) => sleep_until(at).await,
            None => pending().await,
        }
    }
}

/// Answers a request at its deadline, and lets go of what it was doing: the pool gets its connection, and closes it
/// if it stays silent.
pub(super) async fn hold(mut request: Request, next: Next) -> Response {
    let deadline = Deadline::default();
    request.extensions_mut().insert(deadline.clone());
    tokio::select! {
        response = next.run(request) => response,
        () = deadline.passed() => {
            error!("database does not answer staff");
            StaffApiError::Unavailable.into_response()
        }
    }
}
