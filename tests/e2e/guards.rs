//! Who is turned away by where it comes from, and by how much it sends.

use platform::secrets::{hex, random_hex};
use protocol::ops::{OpsToken, Scope};
use reqwest::StatusCode;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::support::fake_core::FakeCore;
use crate::support::workerd::{Binding, Workerd};
use crate::support::{Answer, client, lifetime, send};

/// An edge before a scripted core, with a connection that is taken from anywhere, one that is not, a network
/// from which nothing is taken, and a limit.
struct Guarded {
    edge: Workerd,
    anywhere: String,
    somewhere: String,
}

impl Guarded {
    async fn start(name: &str, limit: u32) -> Self {
        lifetime::run_directory();
        let core = FakeCore::start();
        let (anywhere, somewhere) = (random_hex().unwrap(), random_hex().unwrap());
        let token_sha256 = |token: &str| hex(&Sha256::digest(token));
        let connections = json!([
            {"id": "vn-main", "token_sha256": token_sha256(&anywhere), "country": "VN", "mode": "off"},
            {"id": "vn-office", "token_sha256": token_sha256(&somewhere), "country": "VN", "mode": "off",
             "allow": ["203.0.113.0/24", "2001:db8::/32"]},
        ]);
        let routes = json!({
            "version": 1,
            "countries": {"VN": "smp-asia"},
            "regions": {"smp-asia": {"origin": core.origin(), "state": "open"}},
        });
        let hop = json!({"smp-asia": {"keyid": "smp-asia-1", "secret": random_hex().unwrap()}});
        let ops = [OpsToken::new("reader", "see", Scope::Read)];
        let bindings = [
            ("ROUTES", Binding::Json(routes.to_string())),
            ("HOP_SECRETS", Binding::Text(hop.to_string())),
            ("CONNECTIONS", Binding::Connections(connections)),
            (
                "BLOCKED_ADDRESSES",
                Binding::Text(r#"["198.51.100.0/24"]"#.to_owned()),
            ),
            (
                "OPS_TOKENS",
                Binding::Text(serde_json::to_string(&ops).unwrap()),
            ),
            ("METRICS", Binding::DurableObjects("EdgeMetrics")),
            ("RATE_LIMIT", Binding::RateLimit(limit)),
        ];
        let entry = platform::checkout::root().join("edge-worker/entry.js");
        let edge = Workerd::start(name, &entry, &bindings).await;
        Self {
            edge,
            anywhere,
            somewhere,
        }
    }

    /// A webhook by a token, from an address.
    async fn post(&self, token: &str, address: &str) -> Answer {
        let url = format!("{}/api/pancake/record/{token}", self.edge.url);
        let request = client()
            .post(url)
            .header("cf-connecting-ip", address)
            // What a client can set is not looked at.
            .header("x-forwarded-for", "203.0.113.9")
            .header("x-real-ip", "203.0.113.9")
            .header("forwarded", "for=203.0.113.9")
            .body(r#"{"fake": "accepted"}"#);
        send(request).await
    }

    async fn get(&self, path: &str, address: &str) -> StatusCode {
        let request = client()
            .get(format!("{}{path}", self.edge.url))
            .bearer_auth("see")
            .header("x-country-code", "VN")
            .header("cf-connecting-ip", address);
        request.send().await.unwrap().status()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_from_an_address_that_is_blocked_or_not_listed_is_turned_away() {
    let guarded = Guarded::start("guarded", 1_000_000).await;
    for (token, address, is_taken) in [
        (&guarded.anywhere, "192.0.2.1", true),
        (&guarded.anywhere, "2001:db9::1", true),
        (&guarded.anywhere, "198.51.100.7", false),
        (&guarded.anywhere, "::ffff:198.51.100.7", false),
        (&guarded.somewhere, "203.0.113.77", true),
        (&guarded.somewhere, "2001:db8:1::1", true),
        (&guarded.somewhere, "192.0.2.1", false),
        (&guarded.somewhere, "2001:db9::1", false),
        (&guarded.somewhere, "203.0.113.9, 192.0.2.1", false),
        (&guarded.somewhere, "", false),
    ] {
        let answer = guarded.post(token, address).await;
        if is_taken {
            answer.is_kept("accepted");
        } else {
            answer.is(403, "ip_not_allowed");
        }
    }
    guarded
        .post("nobody", "198.51.100.7")
        .await
        .is(403, "ip_not_allowed");
    guarded
        .post("nobody", "192.0.2.1")
        .await
        .is(404, "unknown_token");
    let proxied = "/api/fake/ok";
    assert_eq!(
        guarded.get(proxied, "198.51.100.7").await,
        StatusCode::FORBIDDEN
    );
    assert_ne!(
        guarded.get(proxied, "192.0.2.1").await,
        StatusCode::FORBIDDEN
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_sends_too_much_is_told_when_to_come_again_and_hinders_no_other() {
    const LIMIT: u32 = 20;
    let guarded = Guarded::start("limited", LIMIT).await;
    let (mut taken, mut refused) = (0, 0);
    // Twice the limit and more: wherever a new count begins in between, some are too many.
    for _ in 0..3 * LIMIT {
        let answer = guarded.post(&guarded.anywhere, "192.0.2.1").await;
        if answer.status == 429 {
            assert_eq!(answer.header("retry-after"), Some("10"));
            answer.is(429, "too_many_requests");
            refused += 1;
        } else {
            answer.is_kept("accepted");
            taken += 1;
        }
    }
    assert!(
        taken >= LIMIT && refused >= LIMIT,
        "{taken} taken, {refused} refused"
    );
    guarded
        .post(&guarded.anywhere, "192.0.2.2")
        .await
        .is_kept("accepted");

    let mut statuses = Vec::new();
    for _ in 0..3 * LIMIT {
        statuses.push(guarded.get("/api/fake/ok", "192.0.2.3").await);
    }
    assert!(
        statuses.contains(&StatusCode::TOO_MANY_REQUESTS),
        "{statuses:?}"
    );
}
