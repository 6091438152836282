//! What all contenders are sent: a signed lead of any size, and a client that sends it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use platform::pancake;
use serde_json::json;

/// As the given contenders have them.
pub(super) const TOKEN: &str = "tok";
pub(super) const SECRET: &str = "secret";
/// From where all webhooks come.
const ADDRESS: &str = "192.0.2.7";

/// Where webhooks go.
pub(super) fn path() -> String {
    format!("/api/pancake/record/{TOKEN}")
}

/// A lead of that many bytes, of 155 at least.
pub(super) fn body(bytes: usize) -> String {
    let with_note = |note: &str| {
        json!({
            "id": "6f0c6d3e-5a0f-4a8e-9d31-0a5b7b4a6c11",
            "name": "Nguyễn Thị Hồng",
            "phone_number": "0901234567",
            "modified_on": "2026-11-22T08:00:00Z",
            "note": note,
        })
        .to_string()
    };
    with_note(&"x".repeat(bytes.saturating_sub(with_note("").len())))
}

/// A body with the headers that it is sent with.
pub(super) struct Webhook<'a> {
    pub(super) headers: [(&'static str, String); 4],
    body: &'a str,
}

impl<'a> Webhook<'a> {
    /// Signed now, so good for 300 s.
    pub(super) fn signed_now(body: &'a str) -> Self {
        let timestamp = pancake::now().to_string();
        let signature = pancake::sign(SECRET, &timestamp, body.as_bytes());
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("cf-connecting-ip", ADDRESS.to_owned()),
            ("x-pancake-timestamp", timestamp),
            ("x-pancake-signature", signature),
        ];
        Self { headers, body }
    }

    /// As it goes over the wire.
    pub(super) fn request(&self) -> Vec<u8> {
        let mut head = format!("POST {} HTTP/1.1\r\nhost: edge\r\n", path());
        for (name, value) in &self.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        format!(
            "{head}content-length: {}\r\n\r\n{}",
            self.body.len(),
            self.body
        )
        .into_bytes()
    }
}

/// A connection to a contender.
pub(super) struct Client(TcpStream);

impl Client {
    pub(super) fn connect(port: u16) -> Result<Self> {
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self(socket))
    }

    /// One request and its answer, which must be that the record was accepted.
    pub(super) fn send(&mut self, request: &[u8]) -> Result<()> {
        self.0.write_all(request)?;
        let mut answer = Vec::with_capacity(1_024);
        let mut part = [0; 1_024];
        // Each answer ends with the only brace of its body, the upstream's or a refusal.
        while !answer.ends_with(b"}") {
            let bytes = self.0.read(&mut part)?;
            ensure!(bytes > 0, "it closed the connection");
            answer.extend(part.iter().take(bytes));
        }
        let text = String::from_utf8_lossy(&answer);
        if !text.starts_with("HTTP/1.1 200") || !text.ends_with(r#"{"status":"accepted"}"#) {
            bail!("it answered {text}");
        }
        Ok(())
    }
}
