//! A sender of signed records, as light as can be: bytes made before the clock starts, one socket a
//! connection, the next request as soon as the answer is there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use platform::pancake;
use platform::region::Region;
use protocol::connection::ConnectionId;
use protocol::hop::{Destination, HopKey, RecordSigner, record_path};
use protocol::signature::{Policy, SignedHeaders, Verdict, admit};
use protocol::{Country, UnixSeconds};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use uuid::Uuid;

/// What a turn came to.
pub(super) struct Load {
    /// Acknowledged requests a second.
    pub(super) per_second: f64,
    /// Each request's time, in milliseconds, sorted.
    pub(super) latencies_ms: Vec<f64>,
}

/// Signs a number of records for a region, each with an id of its own, as the edge would.
pub(super) fn sign_records(region: &Region, number: usize) -> Result<Vec<Vec<u8>>> {
    let key = HopKey::new(&region.hop_keyid, region.hop_secret.as_bytes())?;
    let connection = ConnectionId::parse("vn-main")?;
    let country = Country::parse("VN")?;
    let destination = Destination {
        country,
        region: &region.id,
        route_version: 1,
    };
    let signer = RecordSigner::new(&key, destination, &connection);
    let now = UnixSeconds(pancake::now());
    let (before_created, after_created) = signer.signature_input_around_created();
    let mut head = format!(
        "POST {} HTTP/1.1\r\nhost: core\r\ncontent-type: application/json\r\n\
         signature-input: {before_created}{}{after_created}\r\n",
        record_path(&connection),
        now.0
    );
    for (name, value) in signer.constant_headers(Verdict::Unsigned) {
        head.extend([name, ": ", value, "\r\n"]);
    }
    let filler = "x".repeat(620);
    (0..number)
        .map(|_| {
            let body = format!(
                "{{\"id\":\"{}\",\"name\":\"Nguyễn Thị Hồng\",\"phone_number\":\"0901234567\",\
                 \"email\":\"hong@example.com\",\"source\":[\"-11\"],\
                 \"modified_on\":\"2026-11-22T08:00:00Z\",\"note\":\"{filler}\"}}",
                Uuid::new_v4()
            );
            let admitted = admit(&Policy::Off, SignedHeaders::default(), body.as_bytes(), now)
                .map_err(|reason| anyhow::anyhow!("not admitted: {reason}"))?;
            let texts = signer.sign(&admitted, now);
            let request = format!(
                "{head}content-digest: sha-256=:{}:\r\nsignature: smp=:{}:\r\ncontent-length: {}\r\n\r\n{body}",
                std::str::from_utf8(&texts.body_sha256)?,
                std::str::from_utf8(&texts.signature)?,
                body.len()
            );
            Ok(request.into_bytes())
        })
        .collect()
}

/// Sends the records over a number of connections until the time is up.
pub(super) async fn send(
    address: &str,
    requests: Vec<Vec<u8>>,
    connections: usize,
    duration: Duration,
) -> Result<Load> {
    let requests = Arc::new(requests);
    let started = Instant::now();
    let senders: Vec<_> = (0..connections)
        .map(|first| {
            let (requests, address) = (Arc::clone(&requests), address.to_owned());
            tokio::spawn(async move {
                let mut socket = TcpStream::connect(address).await?;
                socket.set_nodelay(true)?;
                let mut latencies = Vec::new();
                let mut own = requests.iter().skip(first).step_by(connections);
                while started.elapsed() < duration {
                    let request = own.next().context("too few records were signed")?;
                    let sent = Instant::now();
                    exchange(&mut socket, request).await?;
                    latencies.push(sent.elapsed().as_secs_f64() * 1_000.0);
                }
                anyhow::Ok(latencies)
            })
        })
        .collect();
    let mut latencies_ms = Vec::new();
    for sender in senders {
        latencies_ms.extend(sender.await??);
    }
    let elapsed = started.elapsed().as_secs_f64();
    latencies_ms.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "some hundred thousands")]
    let per_second = latencies_ms.len() as f64 / elapsed;
    Ok(Load {
        per_second,
        latencies_ms,
    })
}

/// One request and its answer, which must be that the record was accepted.
async fn exchange(socket: &mut TcpStream, request: &[u8]) -> Result<()> {
    socket.write_all(request).await?;
    let mut answer = Vec::with_capacity(512);
    loop {
        ensure!(
            socket.read_buf(&mut answer).await? > 0,
            "the core closed the connection"
        );
        // An answer is some 200 bytes and ends with the only brace of its body.
        if answer.ends_with(b"}") {
            break;
        }
    }
    let text = String::from_utf8_lossy(&answer);
    if !text.starts_with("HTTP/1.1 200") || !text.contains("\"accepted\"") {
        bail!("the core answered {text}");
    }
    Ok(())
}
