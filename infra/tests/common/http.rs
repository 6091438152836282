//! A small HTTP server for tests that stand in for the edge, and what tests that kill smpctl share.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use protocol::Country;
use protocol::routes::{RouteState, RouteTable};
use serde_json::{Value, json};

/// What somebody asks.
pub(crate) struct Request {
    /// For example `GET /healthz`.
    pub(crate) what: String,
    /// In lower case.
    headers: Vec<String>,
    pub(crate) body: String,
}

/// What they hear.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The version of the routes by which an edge answers.
    pub(crate) version: Option<u32>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter().filter_map(|line| line.split_once(": "));
        headers
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }
}

/// Answers until the test ends; gives the address.
pub(crate) fn serve(answer: impl Fn(&Request) -> Answer + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            // Who was killed asks nothing, and hears nothing.
            let _ = converse(stream.unwrap(), &answer);
        }
    });
    url
}

fn converse(mut stream: TcpStream, answer: impl Fn(&Request) -> Answer) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        Ok::<_, std::io::Error>(line.trim_end().to_owned())
    };
    let first = line()?;
    let Some((what, _)) = first.rsplit_once(' ') else {
        return Ok(());
    };
    let mut request = Request {
        what: what.to_owned(),
        headers: Vec::new(),
        body: String::new(),
    };
    loop {
        let header = line()?.to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        request.headers.push(header);
    }
    let length = request.header("content-length");
    let length = length.map_or(0, |length| length.parse().unwrap());
    reader.take(length).read_to_string(&mut request.body)?;
    let Answer {
        status,
        version,
        body,
    } = answer(&request);
    let version = version.map(|version| format!("x-smp-route-version: {version}\r\n"));
    write!(
        stream,
        "HTTP/1.1 {status} x\r\n{}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        version.unwrap_or_default(),
        body.len()
    )
}

/// The routes of a `wrangler.toml`.
pub(crate) fn routes(wrangler: &str) -> RouteTable {
    let wrangler: toml::Table = wrangler.parse().unwrap();
    let routes = serde_json::to_string(&wrangler["vars"]["ROUTES"]).unwrap();
    RouteTable::from_json(&routes).unwrap()
}

/// What an edge answers to `GET /api/region`.
pub(crate) fn way(routes: &RouteTable, request: &Request) -> (u16, Value) {
    let country = request.header("x-country-code").unwrap();
    let country = Country::parse(&country.to_ascii_uppercase()).unwrap();
    match routes.state(country) {
        RouteState::Open => (
            200,
            json!({"region": routes.find(country).unwrap().region.as_str()}),
        ),
        RouteState::Paused => (503, json!({"status": "unavailable"})),
    }
}

/// Killed some time after it began, with what works for it: nobody is at work any more.
pub(crate) fn killed_after(mut command: Command, time: Duration) -> Output {
    let began = Instant::now();
    let mut killed = command.spawn().unwrap();
    thread::sleep(time.saturating_sub(began.elapsed()));
    let _ = killed.kill();
    // Its output ends when the last one who has it is gone.
    killed.wait_with_output().unwrap()
}
