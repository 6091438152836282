//! The edge's wasm on real workerd judges as `protocol` does natively: the same vectors, made with
//! openssl, go through both.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use protocol::UnixSeconds;
use protocol::hop::{HopKey, HopKeys, ReceivedHeaders, Target, verify_record};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::support::client;
use crate::support::workerd::{Binding, Workerd};

#[derive(Deserialize)]
struct Vector {
    name: String,
    secrets: Vec<String>,
    mode: String,
    timestamp: Option<String>,
    signature: Option<String>,
    body_base64: String,
    now: u64,
    expected: String,
}

/// What `vectors_worker.js` says.
#[derive(Debug, Deserialize)]
struct Judged {
    /// The answer's status, if the record is not forwarded.
    answer: Option<String>,
    hop: Option<Hop>,
}

#[derive(Debug, Deserialize)]
struct Hop {
    url: String,
    headers: Vec<(String, String)>,
}

impl Hop {
    fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

const HOP_SECRET: &str = "0123456789abcdef0123456789abcdef";

fn vectors() -> Vec<Vector> {
    let file = platform::checkout::root().join("protocol/tests/vectors/signature.json");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// A Worker with a connection for each set of secrets and each mode; the connection's token is its
/// number.
async fn start_worker(policies: &[(&str, &[String])]) -> Workerd {
    let connections: Vec<_> = policies
        .iter()
        .enumerate()
        .map(|(number, (mode, secrets))| {
            let token_sha256 = Sha256::digest(number.to_string());
            json!({
                "id": format!("connection-{number}"),
                "token_sha256": platform::secrets::hex(&token_sha256),
                "country": "VN",
                "mode": mode,
                "secrets": secrets,
            })
        })
        .collect();
    let routes = json!({
        "version": 7,
        "countries": {"VN": "smp-asia"},
        "regions": {"smp-asia": {"origin": "https://core.example.com", "state": "open"}},
    });
    let hop_secrets = json!({"smp-asia": {"keyid": "smp-asia-1", "secret": HOP_SECRET}});
    let bindings = [
        ("ROUTES", Binding::Json(routes.to_string())),
        ("HOP_SECRETS", Binding::Text(hop_secrets.to_string())),
        ("CONNECTIONS", Binding::Connections(json!(connections))),
    ];
    let main = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/vectors_worker.js");
    Workerd::start("vectors", &main, &bindings).await
}

#[tokio::test]
async fn wasm_on_workerd_judges_every_vector_as_native_code_does_and_signs_what_it_verifies() {
    let vectors = vectors();
    assert!(vectors.len() >= 100, "only {} vectors", vectors.len());
    let mut policies: Vec<(&str, &[String])> = Vec::new();
    for vector in &vectors {
        let policy = (vector.mode.as_str(), vector.secrets.as_slice());
        if !policies.contains(&policy) {
            policies.push(policy);
        }
    }
    let worker = start_worker(&policies).await;
    let questions: Vec<_> = vectors
        .iter()
        .map(|vector| {
            let policy = (vector.mode.as_str(), vector.secrets.as_slice());
            let token = policies.iter().position(|known| *known == policy).unwrap();
            json!({
                "token": token.to_string(),
                "timestamp": vector.timestamp,
                "signature": vector.signature,
                "body_base64": vector.body_base64,
                "now": vector.now,
            })
        })
        .collect();
    let response = client()
        .post(&worker.url)
        .json(&questions)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
    let answers: Vec<Judged> = response.json().await.unwrap();
    assert_eq!(answers.len(), vectors.len());

    let mut wrong = Vec::new();
    let mut hops = 0;
    for (vector, judged) in vectors.iter().zip(&answers) {
        let verdict = judged.hop.as_ref().map(|hop| {
            hops += 1;
            verify_natively(vector, hop)
        });
        let found = verdict.or_else(|| judged.answer.clone());
        if found.as_deref() != Some(vector.expected.as_str()) {
            wrong.push(format!(
                "{}: {found:?}, not {}",
                vector.name, vector.expected
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!((30..vectors.len()).contains(&hops), "{hops} hops");
}

/// Verifies the hop that wasm put out with the code that a core runs; gives the verdict.
fn verify_natively(vector: &Vector, hop: &Hop) -> String {
    let body = BASE64.decode(&vector.body_base64).unwrap();
    let key = HopKey::new("smp-asia-1", HOP_SECRET.as_bytes()).unwrap();
    let path = hop.url.strip_prefix("https://core.example.com").unwrap();
    let target = Target {
        method: "POST",
        path,
        query: None,
    };
    let headers = ReceivedHeaders {
        country: hop.header("x-smp-country"),
        region: hop.header("x-smp-region"),
        connection: hop.header("x-smp-connection"),
        verdict: hop.header("x-smp-verdict"),
        route_version: hop.header("x-smp-route-version"),
        content_digest: hop.header("content-digest"),
        signature_input: hop.header("signature-input"),
        signature: hop.header("signature"),
    };
    let keys = HopKeys::new(vec![key]).unwrap();
    let verified = verify_record(&keys, target, headers, &body, UnixSeconds(vector.now));
    let verified = verified.unwrap_or_else(|error| panic!("{}: {error}: {hop:?}", vector.name));
    assert_eq!(
        verified.body_sha256,
        <[u8; 32]>::from(Sha256::digest(&body)),
        "{}",
        vector.name
    );
    assert_eq!(verified.country.as_str(), "VN");
    assert_eq!(verified.route_version, 7);
    verified.verdict.as_str().to_owned()
}
