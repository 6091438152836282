//! An edge that signs, rightly or as a test wants it.

use axum::body::Body;
use axum::http::Request;
use protocol::at_rest::AtRestKeys;
use protocol::connection::ConnectionId;
use protocol::hop::{
    self, Destination, HopKey, HopKeys, RecordSigner, SEALED_RECORDS_PATH, Target, record_path,
    sign_proxied, sign_sealed,
};
use protocol::sealed::{OpeningKey, RANDOMNESS_BYTES, SealedHop, seal};
use protocol::signature::{Policy, SignedHeaders, admit};
use protocol::{Country, RegionId, UnixSeconds};

use regional_core::hop::WaitedKeys;

use super::NOW;

pub(crate) const KEYID: &str = "smp-asia-1";
pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";
pub(crate) const RETIRED_KEYID: &str = "smp-asia-0";
pub(crate) const RETIRED_SECRET: &str = "fedcba9876543210fedcba9876543210";

/// The keys that a test's core believes.
pub(crate) fn live_keys() -> HopKeys {
    HopKeys::new(vec![HopKey::new(KEYID, SECRET.as_bytes()).unwrap()]).unwrap()
}

/// The key that opens what waited.
pub(crate) fn opening_key() -> OpeningKey {
    OpeningKey::derive("smp-asia-1", &[5; RANDOMNESS_BYTES]).unwrap()
}

/// By which a test's core keeps secrets: the first is the newest.
pub(crate) fn at_rest_keys() -> AtRestKeys {
    let keys = [("2", 2), ("1", 1)].map(|(name, byte)| AtRestKeys::expose_key(name, &[byte; 32]));
    AtRestKeys::from_json(&serde_json::json!(keys).to_string()).unwrap()
}

/// What it takes to believe a record that waited; the hop's retired secret is still good for that.
pub(crate) fn waited_keys() -> WaitedKeys {
    let key = |keyid, secret: &str| HopKey::new(keyid, secret.as_bytes()).unwrap();
    WaitedKeys {
        opening: vec![opening_key()],
        signing: vec![key(KEYID, SECRET), key(RETIRED_KEYID, RETIRED_SECRET)],
    }
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

    /// A record, sealed together with its hop.
    pub(crate) fn sealed(&self, body: &[u8]) -> Vec<u8> {
        let (_, headers) = self.signed(body);
        let header = |name: &str| {
            let (_, value) = headers.iter().find(|(known, _)| known == name).unwrap();
            value.clone()
        };
        let hop = SealedHop {
            country: header(hop::COUNTRY),
            region: header(hop::REGION),
            connection: header(hop::CONNECTION),
            verdict: header(hop::VERDICT),
            route_version: header(hop::ROUTE_VERSION),
            content_digest: header(hop::CONTENT_DIGEST),
            signature_input: header(hop::SIGNATURE_INPUT),
            signature: header(hop::SIGNATURE),
            created_ms: 250,
        };
        let randomness = [7; RANDOMNESS_BYTES];
        seal(&opening_key().sealing_key(), &hop, body, &randomness).unwrap()
    }

    /// The request that brings what waited, now.
    pub(crate) fn delivery(&self, sealed: impl Into<Vec<u8>>) -> Request<Body> {
        let sealed = sealed.into();
        let headers: Vec<_> = sign_sealed(
            &HopKey::new(self.keyid, self.secret.as_bytes()).unwrap(),
            &RegionId::parse(self.region).unwrap(),
            &sealed,
            UnixSeconds(self.created.try_into().unwrap()),
        )
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        request("POST", SEALED_RECORDS_PATH, &headers, sealed)
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
