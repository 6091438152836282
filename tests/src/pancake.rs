//! Pancake's side: connections for the platform, and a sender that signs as Pancake does.
//!
//! The signature is computed here from its description, not with `protocol`: a mistake there must
//! not be able to agree with itself.

use anyhow::Result;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::secrets::{hex, random_hex};

/// A connection of the platform, with the secrets that only its two ends know.
#[derive(Debug, Clone)]
pub struct DemoConnection {
    /// Its country's code.
    pub country: &'static str,
    /// `off`, `observe` or `enforce`.
    pub mode: &'static str,
    /// The token in the webhook's path.
    pub token: String,
    /// The webhook secret.
    pub secret: String,
    /// The secret before it, still good: only a connection in rotation has one.
    pub previous_secret: Option<String>,
}

impl DemoConnection {
    /// Country and mode of each connection that the platform starts with. VN and CN are as in
    /// production; the others show the other modes, and a country that has no region yet.
    const ALL: [(&'static str, &'static str); 5] = [
        ("VN", "enforce"),
        ("CN", "enforce"),
        ("TH", "observe"),
        ("SG", "off"),
        ("JP", "off"),
    ];

    /// The platform's connections, with fresh secrets. CN's secret is being rotated.
    pub fn all() -> Result<Vec<Self>> {
        let connection = |(country, mode)| {
            Ok(Self {
                country,
                mode,
                token: random_hex()?,
                secret: random_hex()?,
                previous_secret: (country == "CN").then(random_hex).transpose()?,
            })
        };
        Self::ALL.into_iter().map(connection).collect()
    }

    /// The connection's id.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}-main", self.country.to_ascii_lowercase())
    }

    /// The connections as the edge's registry takes them, as JSON.
    #[must_use]
    pub fn to_entries(connections: &[Self]) -> serde_json::Value {
        let entries = connections.iter().map(|connection| {
            let secrets: Vec<_> = [
                Some(&connection.secret),
                connection.previous_secret.as_ref(),
            ]
            .into_iter()
            .flatten()
            .filter(|_| connection.mode != "off")
            .collect();
            json!({
                "id": connection.id(),
                "token_sha256": hex(&Sha256::digest(&connection.token)),
                "country": connection.country,
                "mode": connection.mode,
                "secrets": secrets,
            })
        });
        entries.collect()
    }
}

/// The signature that Pancake's header carries: hex of HMAC-SHA256 of timestamp, dot and body.
#[must_use]
pub fn sign(secret: &str, timestamp: &str, body: &[u8]) -> String {
    // HMAC takes keys of any length, so there is always a MAC.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return String::new();
    };
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    hex(&mac.finalize().into_bytes())
}

/// This machine's time, in seconds.
#[must_use]
pub fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs())
}

/// Posts a webhook, signed for now with the connection's secret.
pub async fn post(
    client: &reqwest::Client,
    edge_url: &str,
    connection: &DemoConnection,
    body: impl Into<Vec<u8>>,
) -> reqwest::Result<(u16, serde_json::Value)> {
    let body = body.into();
    let timestamp = now().to_string();
    let signature = sign(&connection.secret, &timestamp, &body);
    let request = client
        .post(format!(
            "{edge_url}/api/pancake/record/{}",
            connection.token
        ))
        .header("x-pancake-timestamp", timestamp)
        .header("x-pancake-signature", signature)
        .header("content-type", "application/json")
        .body(body);
    answer_of(request).await
}

/// Sends a request; gives status and body, the latter null if it is not JSON.
pub async fn answer_of(
    request: reqwest::RequestBuilder,
) -> reqwest::Result<(u16, serde_json::Value)> {
    let response = request.send().await?;
    let status = response.status().as_u16();
    let body = response.bytes().await?;
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}
