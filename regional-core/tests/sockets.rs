//! What only shows on a socket: slow and broken clients, limits, and a graceful end.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use regional_core::config::HttpLimits;
use regional_core::server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::support::edge::Edge;
use crate::support::{TestCore, config, record};

/// Longer than any limit here; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

struct Served {
    address: SocketAddr,
    shutdown: oneshot::Sender<()>,
    server: JoinHandle<bool>,
}

async fn serve(router: Router, change: impl FnOnce(&mut HttpLimits)) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    serve_on(listener, router, change)
}

fn serve_on(listener: TcpListener, router: Router, change: impl FnOnce(&mut HttpLimits)) -> Served {
    let address = listener.local_addr().unwrap();
    let (shutdown, told) = oneshot::channel::<()>();
    let mut limits = config().http;
    change(&mut limits);
    let server = tokio::spawn(async move {
        let told = async { told.await.unwrap_or_default() };
        server::serve(listener, router, &limits, told, PATIENCE).await
    });
    Served {
        address,
        shutdown,
        server,
    }
}

/// The head of a record's request, with these headers in place of a length.
fn head(edge: &Edge, body: &[u8], more: &str) -> String {
    let (path, headers) = edge.signed(body);
    let mut head = format!("POST {path} HTTP/1.1\r\nhost: core\r\n");
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    format!("{head}{more}\r\n\r\n")
}

fn length(body: &[u8]) -> String {
    format!("content-length: {}", body.len())
}

/// All that comes until the other end closes.
async fn read_all(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut text))
        .await
        .expect("the connection is closed in time")
        .unwrap_or_default();
    String::from_utf8(text).unwrap()
}

/// One answer with a body, on a connection that stays open.
async fn read_answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut piece = [0; 4096];
    while !text.ends_with(b"}") {
        let read = timeout(PATIENCE, stream.read(&mut piece))
            .await
            .unwrap()
            .unwrap();
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&piece[..read]);
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_record() {
    let core = TestCore::start().await;
    let served = serve(core.router.clone(), |_| {}).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    for number in 0..3 {
        let body = record(&format!(r#","n":{number}"#)).into_bytes();
        let head = head(&core.edge, &body, &length(&body));
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        let answer = read_answer(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains(r#"{"status":"accepted""#), "{answer}");
    }
}

#[tokio::test]
async fn a_body_in_many_pieces_is_put_together() {
    let core = TestCore::start().await;
    let served = serve(core.router.clone(), |_| {}).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let body = record(&format!(r#","n":"{}""#, "x".repeat(30_000))).into_bytes();
    let head = head(&core.edge, &body, "transfer-encoding: chunked");
    stream.write_all(head.as_bytes()).await.unwrap();
    for chunk in body.chunks(7001) {
        let size = format!("{:x}\r\n", chunk.len());
        stream.write_all(size.as_bytes()).await.unwrap();
        stream.write_all(chunk).await.unwrap();
        stream.write_all(b"\r\n").await.unwrap();
        stream.flush().await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let answer = read_answer(&mut stream).await;
    assert!(answer.contains(r#"{"status":"accepted""#), "{answer}");
    let kept: Vec<u8> = sqlx::query_scalar("select payload from pancake_webhook_event")
        .fetch_one(&core.pool)
        .await
        .unwrap();
    assert!(kept == body);
}

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_not_waited_for() {
    let core = TestCore::start().await;
    let served = serve(core.router.clone(), |_| {}).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let head = head(&core.edge, b"{}", "content-length: 1048577");
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_answer(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_body_that_becomes_too_large_is_cut_off() {
    let core = TestCore::start().await;
    let served = serve(core.router.clone(), |_| {}).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let head = head(&core.edge, b"{}", "transfer-encoding: chunked");
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut answers, mut requests) = stream.into_split();
    // Far more than the limit: the core must not take it all.
    let sender = tokio::spawn(async move {
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        for _ in 0..10_000 {
            if requests.write_all(chunk.as_bytes()).await.is_err() {
                return true;
            }
        }
        false
    });
    let mut status = [0; 13];
    timeout(PATIENCE, answers.read_exact(&mut status))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&status, b"HTTP/1.1 413 ");
    drop(answers);
    assert!(
        timeout(PATIENCE, sender).await.unwrap().unwrap(),
        "all of it was taken"
    );
}

/// The edge sends many senders' requests over one connection.
#[tokio::test]
async fn a_request_that_is_refused_before_its_body_came_leaves_nothing_to_the_next() {
    let core = TestCore::start().await;
    let served = serve(core.router.clone(), |_| {}).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let refused = [
        ("POST /v1/crm/pancake/replays", "503"),
        ("POST /api/v1/crm/pancake/replays", "401"),
        ("POST /api/nothing", "401"),
        ("POST /v1/pancake/vn-main/records", "401"),
        ("POST /nothing", "404"),
        ("POST /metrics", "405"),
    ];
    for (line, status) in refused {
        for bytes in [300, 60_000] {
            let head = format!("{line} HTTP/1.1\r\nhost: core\r\ncontent-length: {bytes}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            tokio::task::yield_now().await;
            stream.write_all(&vec![b'x'; bytes]).await.unwrap();
            let answer = read_answer(&mut stream).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{line}: {answer}"
            );
        }
        let body = record(&format!(r#","line":"{line}""#)).into_bytes();
        let head = head(&core.edge, &body, &length(&body));
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        let answer = read_answer(&mut stream).await;
        assert!(
            answer.contains(r#"{"status":"accepted""#),
            "after {line}: {answer}"
        );
    }
}

#[tokio::test]
async fn a_connection_that_holds_too_much_that_nobody_wants_is_closed_and_that_is_said() {
    let core = TestCore::start().await;
    let served = serve(core.router.clone(), |_| {}).await;
    for more in ["content-length: 10000000", "transfer-encoding: chunked"] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        let head = format!("POST /nothing HTTP/1.1\r\nhost: core\r\n{more}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // Of the second nobody knows how much will come: it is waited for, for a while.
        let answer = read_all(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
}

/// Only the edge can make a core buffer a large body: anybody else is refused by the head alone.
#[tokio::test]
async fn a_large_body_without_a_right_signature_is_not_waited_for() {
    let core = TestCore::start().await;
    let served = serve(core.router.clone(), |_| {}).await;
    let unbelieved = Edge {
        keyid: "another",
        ..Edge::default()
    };
    for more in ["content-length: 1000000", "transfer-encoding: chunked"] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        let head = head(&unbelieved, b"{}", more);
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = read_answer(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408_and_one_that_breaks_off_hangs_nobody() {
    let core = TestCore::start_with(|config| {
        config.http.body_timeout = Duration::from_millis(200);
    })
    .await;
    let served = serve(core.router.clone(), |_| {}).await;
    let body = record("").into_bytes();
    let head = head(&core.edge, &body, &length(&body));

    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body[..5]).await.unwrap();
    let answer = read_answer(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");

    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body[..5]).await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = read_all(&mut stream).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 400 "),
        "{answer}"
    );
    assert_eq!(core.count_events().await, 0);
}

#[tokio::test]
async fn a_head_that_does_not_come_is_given_up() {
    let core = TestCore::start().await;
    let served = serve(core.router.clone(), |limits| {
        limits.header_timeout = Duration::from_millis(200);
    })
    .await;
    for text in ["", "POST /v1/pancake/vn-main/records HTTP/1.1\r\nx-slow: "] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let answer = read_all(&mut stream).await;
        assert!(!answer.contains(" 200 "), "{answer}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_431() {
    let core = TestCore::start().await;
    let served = serve(core.router.clone(), |limits| {
        limits.max_headers = 10.try_into().unwrap();
    })
    .await;
    for head in [
        format!("GET /healthz HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(20_000)),
        format!("GET /healthz HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(11)),
    ] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut status = [0; 13];
        timeout(PATIENCE, stream.read_exact(&mut status))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&status, b"HTTP/1.1 431 ");
    }
}

#[tokio::test]
async fn one_connection_too_many_waits_for_another_to_close() {
    let core = TestCore::start().await;
    let served = serve(core.router.clone(), |limits| {
        limits.max_connections = 1.try_into().unwrap();
    })
    .await;
    let request = b"GET /healthz HTTP/1.1\r\nhost: core\r\n\r\n";
    let mut first = TcpStream::connect(served.address).await.unwrap();
    first.write_all(request).await.unwrap();
    read_answer(&mut first).await;

    let mut second = TcpStream::connect(served.address).await.unwrap();
    second.write_all(request).await.unwrap();
    let mut byte = [0];
    let early = timeout(Duration::from_millis(100), second.peek(&mut byte)).await;
    assert!(early.is_err(), "a second connection is served");
    drop(first);
    assert!(read_answer(&mut second).await.starts_with("HTTP/1.1 200 "));
}

/// It would hold its slot for ever: nothing else ends a connection that always has a next request.
#[tokio::test]
async fn a_peer_that_reads_no_answer_is_cut_off_and_hinders_nobody() {
    const WRITE_TIMEOUT: Duration = Duration::from_millis(200);
    const SMALL_BUFFER: u32 = 4096;
    let core = TestCore::start().await;
    // The core's ends of connections inherit this, so that a few answers fill them.
    let listening = TcpSocket::new_v4().unwrap();
    listening.set_send_buffer_size(SMALL_BUFFER).unwrap();
    listening.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let served = serve_on(
        listening.listen(16).unwrap(),
        core.router.clone(),
        |limits| {
            limits.max_connections = 2.try_into().unwrap();
            limits.write_timeout = WRITE_TIMEOUT;
            limits.header_timeout = 10 * PATIENCE;
        },
    );
    let request = b"GET /healthz HTTP/1.1\r\nhost: core\r\n\r\n";

    // Connections are accepted in this order, so the third waits for the slot of one of the others.
    let deaf = TcpSocket::new_v4().unwrap();
    deaf.set_recv_buffer_size(SMALL_BUFFER).unwrap();
    let mut deaf = deaf.connect(served.address).await.unwrap();
    let mut live = TcpStream::connect(served.address).await.unwrap();
    let mut waiting = TcpStream::connect(served.address).await.unwrap();
    waiting.write_all(request).await.unwrap();

    let started = Instant::now();
    let deaf = tokio::spawn(async move {
        let requests = b"GET /metrics HTTP/1.1\r\nhost: core\r\n\r\n".repeat(100);
        while deaf.write_all(&requests).await.is_ok() {}
        started.elapsed()
    });
    let waiting = tokio::spawn(async move { read_answer(&mut waiting).await });
    while !waiting.is_finished() {
        live.write_all(request).await.unwrap();
        let answer = read_answer(&mut live).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let answer = waiting.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let cut_off_after = timeout(PATIENCE, deaf).await.unwrap().unwrap();
    assert!(cut_off_after >= WRITE_TIMEOUT, "{cut_off_after:?}");
}

#[tokio::test]
async fn a_shutdown_takes_no_new_connection_and_finishes_the_requests_under_way() {
    let core = TestCore::start().await;
    let served = serve(core.router.clone(), |_| {}).await;
    let mut idle = TcpStream::connect(served.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: core\r\n\r\n")
        .await
        .unwrap();
    read_answer(&mut idle).await;

    let held_up = core.hold_up_events().await;
    let body = record("").into_bytes();
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let head = head(&core.edge, &body, &length(&body));
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
    core.wait_until_held_up().await;
    served.shutdown.send(()).unwrap();
    // The idle connection is closed; that shows that the shutdown has begun.
    assert_eq!(read_all(&mut idle).await, "");
    assert!(!served.server.is_finished());
    held_up.rollback().await.unwrap();

    let answer = read_all(&mut stream).await;
    assert!(answer.contains(r#"{"status":"accepted""#), "{answer}");
    assert!(timeout(PATIENCE, served.server).await.unwrap().unwrap());
    TcpStream::connect(served.address).await.unwrap_err();
}
