//! Sockets: limits on what a peer may take up, and a shutdown that finishes what was accepted.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt;
use tracing::{debug, warn};

use crate::config::HttpLimits;

/// How long to wait when the system has no more file descriptors. Some will be closed by then.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `shutdown` is ready, then takes no more connections and finishes the requests under
/// way, for at most `patience`. Says whether all of them were finished.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: &HttpLimits,
    shutdown: impl Future<Output = ()>,
    patience: Duration,
) -> bool {
    let max_connections = usize::try_from(limits.max_connections.get()).unwrap_or(1);
    let slots = Arc::new(Semaphore::new(max_connections));
    let connection_builder = connection_builder(limits);
    let graceful = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            (stream, slot) = accept(&listener, &slots) => {
                let router = router.clone();
                let service = TowerToHyperService::new(
                    router.map_request(|request: Request<Incoming>| request.map(Body::new)),
                );
                // A peer that reads nothing would hold its slot, and a shutdown, for ever.
                let mut stream = TimeoutStream::new(stream);
                stream.set_write_timeout(Some(limits.write_timeout));
                let connection = connection_builder
                    .serve_connection(TokioIo::new(Box::pin(stream)), service);
                let connection = graceful.watch(connection);
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        // A peer's doing: it hung up, was too slow, or spoke no HTTP.
                        debug!(error = %error, "connection ended");
                    }
                    drop(slot);
                });
            }
        }
    }
    drop(listener);
    let unfinished = graceful.count();
    let finished = timeout(patience, graceful.shutdown()).await.is_ok();
    if !finished {
        warn!(connections = unfinished, "requests are cut off");
    }
    finished
}

fn connection_builder(limits: &HttpLimits) -> http1::Builder {
    let bytes = |number: std::num::NonZeroU32| usize::try_from(number.get()).unwrap_or(usize::MAX);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(bytes(limits.max_headers))
        .max_header_size(bytes(limits.max_header_bytes))
        // What is read ahead of the handler, and so the most that an unread body can take up.
        .max_buf_size(bytes(limits.max_header_bytes).max(MIN_BUFFER_BYTES));
    builder
}

/// The least that hyper takes for `max_buf_size`.
const MIN_BUFFER_BYTES: usize = 8192;

/// The next connection, once there is a slot for it.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // Never closed, so there always is one to come.
    let slot = Arc::clone(slots).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _peer)) => {
                // Answers are small and one write each: waiting to fill a packet only delays them.
                if let Err(error) = stream.set_nodelay(true) {
                    debug!(error = %error, "TCP_NODELAY is not set");
                }
                return (stream, slot);
            }
            Err(error) if is_peers_doing(&error) => {}
            Err(error) => {
                warn!(error = %error, "no connection can be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_peers_doing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}
