//! Bodies of proxied requests pass through the edge piece by piece. Each side sends the second half
//! only once the other side has the first: an edge that buffers would wait for ever.

use std::thread;

use uuid::Uuid;

use crate::support::scripted;
use crate::support::wire::Wire;

#[tokio::test]
async fn a_client_has_the_first_half_of_an_answer_before_the_second_is_sent() {
    let edge = scripted().await;
    let key = Uuid::new_v4().simple().to_string();
    let mut wire = Wire::connect(&edge.url);
    wire.write(format!(
        "GET /api/fake/download/{key} HTTP/1.1\r\nHost: vn.example.com\r\n\r\n"
    ));
    let head = wire.read_head();
    assert_eq!(head.status, 200);
    assert_eq!(wire.read_chunk(), b"first");
    edge.core.open(&key);
    assert_eq!(wire.read_body(&head), b"second");
}

#[tokio::test]
async fn a_core_has_the_first_half_of_a_request_before_the_second_is_sent() {
    let edge = scripted().await;
    let key = Uuid::new_v4().simple().to_string();
    let mut wire = Wire::connect(&edge.url);
    wire.write(format!(
        "POST /api/fake/upload/{key} HTTP/1.1\r\nHost: vn.example.com\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    ));
    wire.write_chunk(b"first");
    let core = edge.core;
    let waiting = thread::spawn({
        let key = key.clone();
        move || core.wait_for_piece(&key)
    });
    assert_eq!(
        waiting.join().unwrap().as_deref(),
        Some(b"first".as_slice())
    );
    wire.write_chunk(b"second");
    wire.write_chunk(b"");
    let head = wire.read_head();
    assert_eq!(head.status, 200);
    assert_eq!(core.the_one_with(&key).body, b"firstsecond");
}
