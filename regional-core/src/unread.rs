//! A request that is answered before its body was read: what is left of the body is read as well.
//!
//! Left in the connection, it would break the next request there, which may be somebody else's: the edge sends
//! many senders' requests over one connection (RFC 9112 §9.3). What is too long or too slow to be read ends the
//! connection, and the answer says so.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::header::{CONNECTION, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// What is read at most of a body that nobody wants, and for how long. What says of itself that it is longer is
/// not waited for.
const READ_LIMIT_BYTES: u64 = 256 * 1024;
const READ_LIMIT: Duration = Duration::from_secs(2);

/// Answers, and leaves nothing of the request in the connection.
pub(crate) async fn leave_nothing(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (sender, mut left) = oneshot::channel();
    let request = request.map(|body| {
        Body::new(Lent {
            body: Some(body),
            back: Some(sender),
        })
    });
    let mut response = next.run(request).await;
    // Whoever had the body has dropped it by now; a body that was read to its end does not come back.
    if let Ok(body) = left.try_recv()
        && !read_away(body).await
    {
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Reads to the end; whether that was reached.
async fn read_away(mut body: Body) -> bool {
    if body.size_hint().lower() > READ_LIMIT_BYTES {
        return false;
    }
    let mut read = 0;
    let reading = async {
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else {
                return false;
            };
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            read += u64::try_from(bytes).unwrap_or(u64::MAX);
            if read > READ_LIMIT_BYTES {
                return false;
            }
        }
        true
    };
    timeout(READ_LIMIT, reading).await.unwrap_or(false)
}

/// A body that is given back when its reader drops it before its end.
struct Lent {
    body: Option<Body>,
    back: Option<oneshot::Sender<Body>>,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = self.body.as_mut() else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(body).poll_frame(context));
        if frame.is_none() || self.is_end_stream() {
            self.back = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let none = SizeHint::with_exact(0);
        self.body.as_ref().map_or(none, Body::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(back), Some(body)) = (self.back.take(), self.body.take()) {
            // Nobody waits for it any more: the connection has ended.
            let _ = back.send(body);
        }
    }
}
