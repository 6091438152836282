//! HTTP/1.1 by hand: for what no client library would send, and for what must be seen byte by byte.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// Longer than anything that is waited for here.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection on which one request is spelt out.
pub(crate) struct Wire {
    stream: BufReader<TcpStream>,
}

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(known, _)| known == name)?;
        Some(value)
    }
}

impl Wire {
    pub(crate) fn connect(origin: &str) -> Self {
        let address = origin.strip_prefix("http://").unwrap();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream: BufReader::new(stream),
        }
    }

    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Writes one piece of a chunked body; an empty one ends the body.
    pub(crate) fn write_chunk(&mut self, piece: &[u8]) {
        let head = format!("{:x}\r\n", piece.len());
        self.write([head.as_bytes(), piece, b"\r\n"].concat());
    }

    pub(crate) fn read_head(&mut self) -> Head {
        let status_line = self.read_line();
        let status = status_line
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok());
        let Some(status) = status else {
            panic!("not the start of an answer: {status_line:?}");
        };
        let mut headers = Vec::new();
        loop {
            let line = self.read_line();
            let Some((name, value)) = line.split_once(':') else {
                return Head { status, headers };
            };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// Reads the next piece of a chunked body; an empty one is its end.
    pub(crate) fn read_chunk(&mut self) -> Vec<u8> {
        let line = self.read_line();
        let length = usize::from_str_radix(&line, 16).unwrap();
        let mut piece = vec![0; length + 2];
        self.stream.read_exact(&mut piece).unwrap();
        piece.truncate(length);
        piece
    }

    pub(crate) fn read_body(&mut self, head: &Head) -> Vec<u8> {
        let mut body = Vec::new();
        if head.header("transfer-encoding") == Some("chunked") {
            loop {
                let piece = self.read_chunk();
                if piece.is_empty() {
                    return body;
                }
                body.extend(piece);
            }
        }
        let length = head.header("content-length").unwrap().parse().unwrap();
        body.resize(length, 0);
        self.stream.read_exact(&mut body).unwrap();
        body
    }

    fn read_line(&mut self) -> String {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).unwrap();
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }
}

/// Sends a request whose head is given line by line, without `Host` and `Content-Length`; gives
/// status and body.
pub(crate) fn exchange(
    origin: &str,
    request_line: &str,
    headers: &[&str],
    body: &[u8],
) -> (u16, String) {
    let mut wire = Wire::connect(origin);
    let mut head = format!("{request_line} HTTP/1.1\r\nHost: 127.0.0.1\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    write!(head, "Content-Length: {}\r\n\r\n", body.len()).unwrap();
    wire.write([head.as_bytes(), body].concat());
    let head = wire.read_head();
    let body = wire.read_body(&head);
    (head.status, String::from_utf8(body).unwrap())
}
