//! A core that does as it is told, by the request itself: so all tests share one, at once.
//!
//! A record says it in its body (`{"fake": "<what>"}`), a proxied request in its path
//! (`/api/fake/<what>`). It is a plain HTTP/1.1 server of threads, because half of what it does is
//! what no server library consents to.

use std::collections::{HashMap, HashSet};
use std::io::{BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// How long a test may wait for something of a request.
const PATIENCE: Duration = Duration::from_secs(20);

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// Names in lower case, in the order of the wire.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Received {
    /// All values of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let headers = self.headers.iter();
        headers
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The headers of the hop, and of what it covers.
    pub(crate) fn hop_headers(&self) -> impl Iterator<Item = &(String, String)> {
        self.headers.iter().filter(|(name, _)| {
            name.starts_with("x-smp-")
                || ["signature", "signature-input", "content-digest"].contains(&name.as_str())
        })
    }
}

#[derive(Default)]
struct State {
    received: Vec<Received>,
    /// Pieces of bodies that were seen before their end, by key.
    pieces: HashMap<String, Vec<u8>>,
    /// Which answers may go on, by key.
    open: HashSet<String>,
}

/// The scripted core.
pub(crate) struct FakeCore {
    port: u16,
    state: Mutex<State>,
    changed: Condvar,
}

impl FakeCore {
    /// Starts it; it serves for as long as the process lives.
    pub(crate) fn start() -> &'static Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let core: &'static Self = Box::leak(Box::new(Self {
            port: listener.local_addr().unwrap().port(),
            state: Mutex::default(),
            changed: Condvar::new(),
        }));
        thread::spawn(move || {
            for stream in listener.incoming() {
                // Whoever hung up, before or while it was answered, has not failed a test by it.
                thread::spawn(move || stream.and_then(|stream| core.serve(stream)));
            }
        });
        core
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// All requests that fit.
    pub(crate) fn received(&self, fits: impl Fn(&Received) -> bool) -> Vec<Received> {
        let state = self.state.lock().unwrap();
        state
            .received
            .iter()
            .filter(|one| fits(one))
            .cloned()
            .collect()
    }

    /// The only request whose body or target holds a text.
    #[track_caller]
    pub(crate) fn the_one_with(&self, text: &str) -> Received {
        let mut found = self.received(|one| {
            one.target.contains(text) || String::from_utf8_lossy(&one.body).contains(text)
        });
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    /// Lets the answer with this key go on.
    pub(crate) fn open(&self, key: &str) {
        self.state.lock().unwrap().open.insert(key.to_owned());
        self.changed.notify_all();
    }

    /// Waits until a piece of the body with this key has come; gives it.
    pub(crate) fn wait_for_piece(&self, key: &str) -> Option<Vec<u8>> {
        let state = self.state.lock().unwrap();
        let missing = |state: &mut State| !state.pieces.contains_key(key);
        let (state, _) = self
            .changed
            .wait_timeout_while(state, PATIENCE, missing)
            .unwrap();
        state.pieces.get(key).cloned()
    }

    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        let Some(mut request) = read_head(&mut stream)? else {
            return Ok(());
        };
        let path = request.target.split('?').next().unwrap_or_default();
        let path = path.to_owned();
        if let Some(key) = path.strip_prefix("/api/fake/upload/") {
            let first = read_chunk(&mut stream)?;
            self.state
                .lock()
                .unwrap()
                .pieces
                .insert(key.to_owned(), first.clone());
            self.changed.notify_all();
            request.body = first;
        }
        read_body(&mut stream, &mut request)?;
        self.state.lock().unwrap().received.push(request.clone());
        let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let what = path
            .strip_prefix("/api/fake/")
            .or_else(|| asked["fake"].as_str())
            .unwrap_or_default();
        self.answer(what, &request, stream)
    }

    fn answer(
        &self,
        what: &str,
        request: &Received,
        mut stream: BufReader<TcpStream>,
    ) -> std::io::Result<()> {
        const KEPT: &str =
            r#"{"status":"accepted","event_id":"01900000-0000-7000-8000-000000000000"}"#;
        const SAYS_KEPT: &str = "X-Smp-Record-Status: accepted\r\n";
        let (what, key) = what.split_once('/').unwrap_or((what, ""));
        let answer = match what {
            "echo" | "upload" => respond("200 OK", "", &echo(request)),
            "hello" => respond("200 OK", "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n", "hello"),
            "accepted" => respond("200 OK", "", KEPT),
            "accepted-by-header" => respond("200 OK", SAYS_KEPT, KEPT),
            "header-and-500" => respond("500 Oops", SAYS_KEPT, KEPT),
            "header-and-202" => respond("202 Accepted", SAYS_KEPT, KEPT),
            "other-header" => respond(
                "200 OK",
                "X-Smp-Record-Status: queued\r\n",
                r#"{"status":"queued"}"#,
            ),
            "other-status" => respond("200 OK", "", r#"{"status":"queued"}"#),
            "no-status" => respond("200 OK", "", "{}"),
            "not-json" => respond("200 OK", "", "<html>accepted</html>"),
            "empty" => respond("200 OK", "", ""),
            "created" => respond("201 Created", "", KEPT),
            "no-content" => "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n".to_owned(),
            "redirect" => {
                let location = format!("Location: {}/elsewhere/{key}\r\n", self.origin());
                respond("302 Found", &location, KEPT)
            }
            "truncated" => {
                let whole = respond("200 OK", "", KEPT);
                whole[..whole.len() - 10].to_owned()
            }
            "huge" => {
                let padding = "x".repeat(2 * 1024 * 1024);
                respond(
                    "200 OK",
                    "",
                    &format!(r#"{{"status":"accepted","padding":"{padding}"}}"#),
                )
            }
            "not-http" => "SSH-2.0-OpenSSH_9.2p1\r\n".to_owned(),
            "close" => String::new(),
            "silent" => return wait_for_the_end(&mut stream),
            "head-only" => {
                let head = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"status\":\"accepted\"";
                stream.get_mut().write_all(head.as_bytes())?;
                return wait_for_the_end(&mut stream);
            }
            "half-a-body" => {
                let whole = respond("200 OK", "", KEPT);
                let half = &whole.as_bytes()[..whole.len() - 10];
                stream.get_mut().write_all(half)?;
                return wait_for_the_end(&mut stream);
            }
            "download" => return self.answer_in_halves(key, stream.get_mut()),
            status if status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit()) => {
                respond(&format!("{status} Whatever"), "", KEPT)
            }
            _ => respond(
                "404 Not Found",
                "",
                r#"{"title":"the fake knows no such thing"}"#,
            ),
        };
        stream.get_mut().write_all(answer.as_bytes())
    }

    /// Sends the second half of an answer only when a test says so.
    fn answer_in_halves(&self, key: &str, stream: &mut TcpStream) -> std::io::Result<()> {
        stream.write_all(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nfirst\r\n",
        )?;
        let state = self.state.lock().unwrap();
        let closed = |state: &mut State| !state.open.contains(key);
        let (state, time) = self
            .changed
            .wait_timeout_while(state, PATIENCE, closed)
            .unwrap();
        drop(state);
        if time.timed_out() {
            return Ok(());
        }
        stream.write_all(b"6\r\nsecond\r\n0\r\n\r\n")
    }
}

/// Says nothing until the other side hangs up.
fn wait_for_the_end(stream: &mut BufReader<TcpStream>) -> std::io::Result<()> {
    stream.read_to_end(&mut Vec::new()).map(|_| ())
}

fn respond(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}

fn echo(request: &Received) -> String {
    json!({
        "method": request.method,
        "target": request.target,
        "headers": request.headers,
        "body": String::from_utf8_lossy(&request.body),
    })
    .to_string()
}

fn read_line(stream: &mut impl std::io::BufRead) -> std::io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

fn read_head(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<Received>> {
    let request_line = read_line(stream)?;
    let mut words = request_line.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    let mut headers = Vec::new();
    loop {
        let line = read_line(stream)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(Some(Received {
        method: method.to_owned(),
        target: target.to_owned(),
        headers,
        body: Vec::new(),
    }))
}

fn read_chunk(stream: &mut impl std::io::BufRead) -> std::io::Result<Vec<u8>> {
    let length = usize::from_str_radix(&read_line(stream)?, 16).unwrap_or_default();
    let mut piece = vec![0; length];
    stream.read_exact(&mut piece)?;
    read_line(stream)?;
    Ok(piece)
}

fn read_body(stream: &mut BufReader<TcpStream>, request: &mut Received) -> std::io::Result<()> {
    if request.all("transfer-encoding") == ["chunked"] {
        loop {
            let piece = read_chunk(stream)?;
            if piece.is_empty() {
                return Ok(());
            }
            request.body.extend(piece);
        }
    }
    let length = request
        .all("content-length")
        .first()
        .and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body)?;
    request.body.extend(body);
    Ok(())
}
