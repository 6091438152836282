//! A record of ops' own goes the whole way to a country's core, whatever is paused, and nothing comes of it.

use std::time::{Duration, Instant};

use platform::checkout;
use platform::office;
use platform::pancake::DemoConnection;
use platform::ports::Ports;
use platform::region::Region;
use platform::secrets::random_hex;
use protocol::RegionId;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::spool::{ADMIN_TOKEN, READ_TOKEN, ops_tokens};
use crate::support::workerd::{Binding, Workerd};
use crate::support::{Answer, Signed, client, lead, lifetime, post, record_url, send};

const VERSION: u32 = 7;

/// A region that serves VN and TH, where TH is paused, and the edge before it.
struct Probed {
    region: Region,
    database: PgPool,
    edge: Workerd,
    vietnam: DemoConnection,
}

impl Probed {
    async fn start(name: &str) -> Self {
        let logs = lifetime::run_directory().join("logs");
        let id = RegionId::parse("smp-asia").unwrap();
        let countries = ["VN", "TH"].map(|code| code.parse().unwrap()).to_vec();
        let region = Region::start(id, countries, 6, Ports::Free, &logs, name);
        let region = region.await.unwrap();
        let vietnam = DemoConnection {
            country: "VN",
            mode: "enforce",
            token: random_hex().unwrap(),
            secret: random_hex().unwrap(),
            previous_secret: None,
        };
        let bindings = bindings(&region, &vietnam, "open");
        let edge = Workerd::start(name, &entry(), &bindings).await;
        Self {
            database: region.database().await.unwrap(),
            region,
            edge,
            vietnam,
        }
    }

    /// Whoever has a token, or none, sends a probe.
    async fn probe(&self, country: &str, token: Option<&str>, body: &str) -> Answer {
        let url = format!("{}/_edge/probe/{country}", self.edge.url);
        let mut request = client().post(url).body(body.to_owned());
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        send(request).await
    }

    /// A probe that is kept, and then known.
    async fn goes_through(&self, country: &str) -> Uuid {
        let body = record();
        let probe = || self.probe(country, Some(ADMIN_TOKEN), &body);
        let event = probe().await.is_kept("accepted");
        assert_eq!(probe().await.is_kept("duplicate"), event);
        event
    }

    async fn post_lead(&self) -> Answer {
        let (_, body) = lead();
        let url = record_url(&self.edge.url, &self.vietnam);
        post(&url, &Signed::now(&self.vietnam, body.as_bytes()), body).await
    }

    /// What became of an event, once the core has looked at it.
    async fn outcome(&self, event: Uuid) -> String {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let status: String =
                sqlx::query_scalar("select status from pancake_webhook_event where event_id = $1")
                    .bind(event)
                    .fetch_one(&self.database)
                    .await
                    .unwrap();
            if status != "received" {
                return status;
            }
            assert!(Instant::now() < deadline, "nobody looks at {event}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn count(&self, what: &'static str) -> i64 {
        let count = sqlx::query_scalar(what).fetch_one(&self.database);
        count.await.unwrap()
    }
}

fn entry() -> std::path::PathBuf {
    checkout::root().join("edge-worker/entry.js")
}

fn bindings(
    region: &Region,
    vietnam: &DemoConnection,
    state: &str,
) -> [(&'static str, Binding); 5] {
    let routes = json!({
        "version": VERSION,
        "countries": {"VN": "smp-asia", "TH": {"region": "smp-asia", "state": "paused"}},
        "regions": {"smp-asia": {"origin": region.core_url(), "state": state}},
    });
    let hop = json!({"smp-asia": {"keyid": region.hop_keyid, "secret": region.hop_secret}});
    let connections = DemoConnection::to_entries(std::slice::from_ref(vietnam));
    [
        ("ROUTES", Binding::Json(routes.to_string())),
        ("HOP_SECRETS", Binding::Text(hop.to_string())),
        ("CONNECTIONS", Binding::Connections(connections)),
        ("METRICS", Binding::DurableObjects("EdgeMetrics")),
        ("OPS_TOKENS", Binding::Text(ops_tokens())),
    ]
}

/// As little as a record can be: it is nobody's.
fn record() -> String {
    json!({"id": Uuid::new_v4().to_string()}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_goes_the_whole_way_whatever_is_paused_and_no_ticket_comes_of_it() {
    let mut probed = Probed::start("probe").await;
    // Leads of the country become tickets: it is not for a switch of the country that a probe becomes none.
    office::open(&probed.region, &probed.vietnam, &["Trần Thu Hà"])
        .await
        .unwrap();
    let processed = probed.post_lead().await.is_kept("accepted");
    assert_eq!(probed.outcome(processed).await, "processed");

    let open = probed.goes_through("VN").await;
    // TH is paused by itself.
    let country_paused = probed.goes_through("TH").await;
    let bindings = bindings(&probed.region, &probed.vietnam, "paused");
    probed.edge.deploy(&entry(), &bindings).await;
    probed.post_lead().await.is_unavailable("unavailable");
    let region_paused = probed.goes_through("VN").await;

    for (event, country) in [(open, "VN"), (country_paused, "TH"), (region_paused, "VN")] {
        let row: (String, String, String, String, i64) = sqlx::query_as(
            "select connection_id, country_code, layer, verdict, route_version \
             from pancake_webhook_event where event_id = $1",
        )
        .bind(event)
        .fetch_one(&probed.database)
        .await
        .unwrap();
        let connection = format!("probe-{}", country.to_ascii_lowercase());
        let expected = (
            connection,
            country.to_owned(),
            "webhook".to_owned(),
            "unsigned".to_owned(),
            i64::from(VERSION),
        );
        assert_eq!(row, expected);
        let report = probed.region.run_core(&format!("verify-receipt {event}"));
        assert!(report.is_ok(), "{report:?}");
    }
    for event in [open, region_paused] {
        assert_eq!(probed.outcome(event).await, "skipped_source_disabled");
    }
    let sources =
        "select count(*) from pancake_source where connection_id like 'probe-%' and is_active";
    assert_eq!(probed.count(sources).await, 0);
    assert_eq!(probed.count("select count(*) from ticket").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_may_not_be_sent_or_has_no_way_is_refused_and_reaches_no_core() {
    let probed = Probed::start("probe-refused").await;
    let record = record();
    for token in [None, Some("nobody's")] {
        let refused = probed.probe("VN", token, &record).await;
        refused.is(401, "unauthorized");
    }
    let refused = probed.probe("VN", Some(READ_TOKEN), &record).await;
    refused.is(403, "forbidden");
    let refused = probed.probe("US", Some(ADMIN_TOKEN), &record).await;
    refused.is(404, "no_region");
    let refused = probed.probe("VNM", Some(ADMIN_TOKEN), &record).await;
    refused.is(404, "not_found");
    // As long as may be, and a byte more.
    let of_length = |length: usize| {
        let id = Uuid::new_v4().to_string();
        let short = json!({"id": id, "name": ""}).to_string().len();
        json!({"id": id, "name": "x".repeat(length - short)}).to_string()
    };
    let too_long = of_length(1_025);
    let refused = probed.probe("VN", Some(ADMIN_TOKEN), &too_long).await;
    refused.is(413, "body_too_large");
    let events = "select count(*) from pancake_webhook_event";
    assert_eq!(probed.count(events).await, 0);

    let longest = of_length(1_024);
    let kept = probed.probe("VN", Some(ADMIN_TOKEN), &longest).await;
    kept.is_kept("accepted");
    // The core's own word: an array is no record.
    let no_record: Value = probed.probe("VN", Some(ADMIN_TOKEN), "[]").await.body;
    assert_eq!(no_record["status"], "invalid_payload");
    assert_eq!(probed.count(events).await, 1);
}
