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
pub(super) struct Deadline(watch::Sender<Progress>);

/// How far a request is.
#[derive(Default)]
struct Progress {
    deadline: Option<Instant>,
    /// From here on a change may be there, whatever is heard of it.
    is_committing: bool,
}

impl Deadline {
    pub(super) fn set(&self, patience: Duration) {
        let deadline = Some(Instant::now() + patience);
        self.0.send_modify(|progress| progress.deadline = deadline);
    }

    /// Notes that a change is about to be committed.
    pub(super) fn note_commit(&self) {
        self.0.send_modify(|progress| progress.is_committing = true);
    }

    /// What to say where the database is not heard of.
    pub(super) fn unheard(&self) -> StaffApiError {
        if self.0.borrow().is_committing {
            StaffApiError::Uncertain
        } else {
            StaffApiError::Unavailable
        }
    }

    /// Ready when it has passed; never if none is set.
    async fn passed(&self) {
        let mut progress = self.0.subscribe();
        let set = progress.wait_for(|progress| progress.deadline.is_some());
        let at = set.await.ok().and_then(|progress| progress.deadline);
        match at {
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
            deadline.unheard().into_response()
        }
    }
}
