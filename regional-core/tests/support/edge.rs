//! An edge that signs, rightly or as a test wants it.

use axum::body::Body;
use axum::http::Request;
use protocol::connection::ConnectionId;
use protocol::hop::{
    Destination, HopKey, HopKeys, RecordSigner, Target, record_path, sign_proxied,
};
use protocol::signature::{Policy, SignedHeaders, admit};
use protocol::{Country, RegionId, UnixSeconds};

use super::NOW;

pub(crate) const KEYID: &str = "smp-asia-1";
pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";
pub(crate) const RETIRED_KEYID: &str = "smp-asia-0";
pub(crate) const RETIRED_SECRET: &str = "fedcba9876543210fedcba9876543210";

/// The keys that a test's core believes.
pub(crate) fn live_keys() -> HopKeys {
    HopKeys::new(vec![HopKey::new(KEYID, SECRET.as_bytes()).unwrap()]).unwrap()
}

/// What an edge puts into a hop.
#[derive(Clone)]
pub(crate) struct Edge {
    pub(crate) keyid: &'static str,
    pub(crate) secret: &'static str,
    pub(crate) country: &'static str,
    pub(crate) region: &'static str,
    pub(crate) connection: &'static str,
    pub(crate) route_version: u32,
    pub(crate) created: i64,
}

impl Default for Edge {
    fn default() -> Self {
        Self {
            keyid: KEYID,
            secret: SECRET,
            country: "VN",
            region: "smp-asia",
            connection: "vn-main",
            route_version: 7,
            created: NOW,
        }
    }
}

impl Edge {
    /// The path and headers of a record's hop.
    pub(crate) fn signed(&self, body: &[u8]) -> (String, Vec<(String, String)>) {
        let connection = ConnectionId::parse(self.connection).unwrap();
        let signer = RecordSigner::new(
            &HopKey::new(self.keyid, self.secret.as_bytes()).unwrap(),
            Destination {
                country: Country::parse(self.country).unwrap(),
                region: &RegionId::parse(self.region).unwrap(),
                route_version: self.route_version,
            },
            &connection,
        );
        let created = UnixSeconds(self.created.try_into().unwrap());
        let admitted = admit(&Policy::Off, SignedHeaders::default(), body, created).unwrap();
        let signature = signer.sign(&admitted, created);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let (before, after) = signer.signature_input_around_created();
        let mut headers: Vec<(String, String)> = signer
            .constant_headers(admitted.verdict())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        headers.extend([
            (
                "content-digest".to_owned(),
                format!("sha-256=:{}:", text(&signature.body_sha256)),
            ),
            (
                "signature-input".to_owned(),
                format!("{before}{}{after}", self.created),
            ),
            (
                "signature".to_owned(),
                format!("smp=:{}:", text(&signature.signature)),
            ),
        ]);
        (record_path(&connection), headers)
    }

    /// A record's request.
    pub(crate) fn record(&self, body: impl Into<Vec<u8>>) -> Request<Body> {
        let body = body.into();
        let (path, headers) = self.signed(&body);
        request("POST", &path, &headers, body)
    }

    /// A proxied request.
    pub(crate) fn proxied(&self, method: &str, path_and_query: &str) -> Request<Body> {
        let (path, query) = path_and_query
            .split_once('?')
            .map_or((path_and_query, None), |(path, query)| (path, Some(query)));
        let headers: Vec<(String, String)> = sign_proxied(
            &HopKey::new(self.keyid, self.secret.as_bytes()).unwrap(),
            Destination {
                country: Country::parse(self.country).unwrap(),
                region: &RegionId::parse(self.region).unwrap(),
                route_version: self.route_version,
            },
            Target {
                method,
                path,
                query,
            },
            UnixSeconds(self.created.try_into().unwrap()),
        )
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        request(method, path_and_query, &headers, Vec::new())
    }
}

pub(crate) fn request(
    method: &str,
    path: &str,
    headers: &[(String, String)],
    body: Vec<u8>,
) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.body(Body::from(body)).unwrap()
}
