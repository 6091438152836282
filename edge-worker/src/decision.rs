//! What is done with a webhook. Pure: request, configuration and `now` in, decision out.

use std::net::IpAddr;

use protocol::at_rest::AtRestError;
use protocol::connection::{Connection, Connections, snapshot};
use protocol::hop::{self, Destination, RecordSignature, RecordSigner, record_path};
use protocol::record_status::RecordStatus;
use protocol::routes::{RouteState, Spool};
use protocol::sealed::{self, RANDOMNESS_BYTES, SealedHop};
use protocol::signature::{
    self, BLOCK_BYTES, Body, RejectReason, SecretSet, SignedHeaders, Verdict,
};
use protocol::{Country, RegionId, UnixSeconds};
use serde::{Deserialize, Serialize};

use crate::answer::Answer;
use crate::config::Config;
use crate::spool::SHARDS;

/// Longer tokens are unknown without being looked up: ours have some forty characters.
pub const TOKEN_MAX_BYTES: usize = 256;

/// A webhook that was posted, all of its body at hand.
#[derive(Clone, Copy)]
pub struct Webhook<'r> {
    /// Where it comes from, as the platform says; nothing if it does not.
    pub address: Option<&'r [u8]>,
    /// The path's last segment, as it stands there.
    pub token: &'r [u8],
    /// Pancake's two headers.
    pub headers: SignedHeaders<'r>,
    /// The body, at most [`protocol::BODY_LIMIT_BYTES`] of what was hashed.
    pub body: Body<'r>,
}

/// What is done with a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It goes to its core.
    Forward {
        /// Which connection, by the index that [`Edge::plan`] takes.
        connection: usize,
        /// What is known of the signature.
        verdict: Verdict,
        /// What is written into the hop's headers.
        signature: RecordSignature,
    },
    /// It does not.
    Answer {
        /// Whose it is, and what was found out about its signature, as far as it was judged.
        connection: Option<(usize, Option<Verdict>)>,
        /// What its sender is told.
        answer: Answer,
    },
}

impl Decision {
    /// The answer to somebody we do not know.
    fn to_nobody(answer: Answer) -> Self {
        Self::Answer {
            connection: None,
            answer,
        }
    }
}

/// The edge of one isolate: its configuration, the connections as it read them last, and what follows from both.
#[derive(Debug)]
pub struct Edge {
    /// The configuration.
    pub config: Config,
    /// Of version 0, and none, until they were read for the first time.
    connections: Connections,
    /// By index of connection.
    record_routes: Vec<RecordRoute>,
}

/// Where the records of a connection go.
#[derive(Debug)]
enum RecordRoute {
    To {
        url: String,
        signer: Box<RecordSigner>,
        /// Nothing is sent now: what the region's spool takes waits, whatever it does not is refused.
        is_paused: bool,
        spool: Spool,
    },
    Nowhere(Answer),
}

/// All of a forwarded webhook's request that does not change from one to the next.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The core's endpoint.
    pub url: String,
    /// The headers, but for `content-digest`, `signature-input` and `signature`.
    pub headers: Vec<(&'static str, String)>,
    /// `signature-input` up to the time of signing, and from there on.
    pub signature_input: (String, String),
    /// For our logs, and for the spool's.
    pub connection: String,
    /// For our logs, and a part of the names of the spool's shards.
    pub region: String,
    /// Nothing is sent to the core now.
    pub is_paused: bool,
    /// How many shards the region's spool has; none if nothing may wait.
    pub spool_shards: u32,
}

/// What a forwarded webhook's hop said that is not in its [`Plan`].
#[derive(Debug, Clone, Copy)]
pub struct SignedHop<'h> {
    /// The value of `content-digest`.
    pub content_digest: &'h str,
    /// The value of `signature`.
    pub signature: &'h str,
    /// When it was signed, and the milliseconds of that second.
    pub created: (UnixSeconds, u16),
}

impl Edge {
    /// An edge that has not read its connections.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            connections: Connections::default(),
            record_routes: Vec::new(),
        }
    }

    /// Takes a snapshot of the connections that was read, if it is newer than what it has; gives whether it is.
    pub fn take_snapshot(&mut self, sealed: &[u8]) -> Result<bool, AtRestError> {
        // What it has already need not be opened.
        if snapshot::version_of(sealed).is_some_and(|version| version <= self.connections.version())
        {
            return Ok(false);
        }
        let read = snapshot::open_connections(&self.config.connections_keys, sealed)?;
        Ok(self.take_connections(read))
    }

    fn take_connections(&mut self, read: Connections) -> bool {
        if read.version() <= self.connections.version() {
            return false;
        }
        self.connections = self.connections.followed_by(read);
        let routes = self.connections.iter();
        self.record_routes = routes
            .map(|connection| self.lay_route(connection))
            .collect();
        true
    }

    fn lay_route(&self, connection: &Connection) -> RecordRoute {
        let Some((route, key)) = self.config.find_route(connection.country) else {
            return RecordRoute::Nowhere(Answer::NoRegionForConnection);
        };
        let is_paused = route.state == RouteState::Paused;
        // A spool is the region's: while that is open, nothing could wait there for one of its countries.
        let may_wait = is_paused && route.spool != Spool::Off;
        if self.config.routes.state(connection.country) == RouteState::Paused && !may_wait {
            return RecordRoute::Nowhere(Answer::RegionPaused);
        }
        let destination = Destination {
            country: connection.country,
            region: &route.region,
            route_version: self.config.routes.version(),
        };
        RecordRoute::To {
            url: format!("{}{}", route.origin, record_path(&connection.id)),
            signer: Box::new(RecordSigner::new(key, destination, &connection.id)),
            is_paused,
            spool: route.spool.clone(),
        }
    }

    /// Decides on a webhook: whose it is, whether its signature lets it on, where it goes.
    #[must_use]
    pub fn decide(&self, webhook: Webhook<'_>, now: UnixSeconds) -> Decision {
        if matches!(webhook.body, Body::Bytes(body) if body.len() > protocol::BODY_LIMIT_BYTES) {
            return Decision::Answer {
                connection: self.find(webhook.token, now).map(|index| (index, None)),
                answer: Answer::BodyTooLarge,
            };
        }
        let address = webhook.address.and_then(read_address);
        if self.is_blocked(address) {
            return Decision::Answer {
                connection: self.find(webhook.token, now).map(|index| (index, None)),
                answer: Answer::AddressNotAllowed,
            };
        }
        let Some((index, connection)) = self
            .find(webhook.token, now)
            .and_then(|index| Some((index, self.connections.get(index)?)))
        else {
            let were_read = self.connections.version() > 0;
            return Decision::to_nobody(if were_read {
                Answer::UnknownToken
            } else {
                Answer::ConnectionsUnknown
            });
        };
        let is_allowed = connection.allow.is_empty()
            || address.is_some_and(|address| connection.allow.contain(address));
        if !is_allowed {
            return Decision::Answer {
                connection: Some((index, None)),
                answer: Answer::AddressNotAllowed,
            };
        }
        let (verdict, admitted) =
            match signature::admit(&connection.policy, webhook.headers, webhook.body, now) {
                Ok(admitted) => (admitted.verdict(), Ok(admitted)),
                Err(RejectReason::TimestampOutOfWindow) => {
                    (Verdict::Stale, Err(Answer::TimestampOutOfWindow))
                }
                Err(RejectReason::HmacInvalid) => (Verdict::Invalid, Err(Answer::HmacInvalid)),
            };
        let signed = admitted.and_then(|admitted| match self.record_routes.get(index) {
            Some(RecordRoute::To { signer, .. }) => Ok(signer.sign(&admitted, now)),
            Some(RecordRoute::Nowhere(answer)) => Err(*answer),
            None => Err(Answer::Misconfigured),
        });
        match signed {
            Ok(signature) => Decision::Forward {
                connection: index,
                verdict,
                signature,
            },
            Err(answer) => Decision::Answer {
                connection: Some((index, Some(verdict))),
                answer,
            },
        }
    }

    /// What the body of a webhook with this token is hashed behind, once for each secret of its connection; nothing if
    /// nobody has it.
    #[must_use]
    pub fn inner_blocks(
        &self,
        token: &[u8],
        now: UnixSeconds,
    ) -> Option<impl Iterator<Item = [u8; BLOCK_BYTES]>> {
        let connection = self.connections.get(self.find(token, now)?)?;
        let secrets = connection.policy.secrets().into_iter();
        Some(secrets.flat_map(SecretSet::inner_blocks))
    }

    /// Whether nothing is taken from an address. One that the platform does not tell is not blocked: on
    /// Cloudflare there is none.
    #[must_use]
    pub fn is_blocked(&self, address: Option<IpAddr>) -> bool {
        address.is_some_and(|address| self.config.blocked.contain(address))
    }

    /// Whether it matters where a webhook comes from.
    #[must_use]
    pub fn looks_at_addresses(&self) -> bool {
        let mut connections = self.connections.iter();
        !self.config.blocked.is_empty()
            || connections.any(|connection| !connection.allow.is_empty())
    }

    /// The index of the connection that a token belongs to now.
    #[must_use]
    pub fn find(&self, token: &[u8], now: UnixSeconds) -> Option<usize> {
        if token.len() > TOKEN_MAX_BYTES {
            return None;
        }
        let (index, _) = self.connections.find_by_token(token, now)?;
        Some(index)
    }

    /// The id of a connection, its country, and the region of its records; empty if they go nowhere.
    #[must_use]
    pub fn name_of(&self, connection: usize) -> Option<(String, Country, String)> {
        let connection = self.connections.get(connection)?;
        let route = self.config.routes.find(connection.country);
        let region = route.map_or(String::new(), |route| route.region.to_string());
        Some((connection.id.to_string(), connection.country, region))
    }

    /// What does not change about the webhooks of a connection with a verdict.
    #[must_use]
    pub fn plan(&self, connection: usize, verdict: Verdict) -> Option<Plan> {
        let Some(RecordRoute::To {
            url,
            signer,
            is_paused,
            spool,
        }) = self.record_routes.get(connection)
        else {
            return None;
        };
        let connection = self.connections.get(connection)?;
        let (route, _) = self.config.find_route(connection.country)?;
        let (until_created, after_created) = signer.signature_input_around_created();
        let headers = [("content-type", "application/json")]
            .into_iter()
            .chain(signer.constant_headers(verdict))
            .map(|(name, value)| (name, value.to_owned()))
            .collect();
        Some(Plan {
            url: url.clone(),
            headers,
            signature_input: (until_created, after_created.to_owned()),
            connection: connection.id.to_string(),
            region: route.region.to_string(),
            is_paused: *is_paused,
            spool_shards: match spool {
                Spool::Off => 0,
                Spool::Sealed(_) => SHARDS,
            },
        })
    }

    /// The region of a connection's records, if they may wait.
    #[must_use]
    pub fn spooling_region(&self, connection: usize) -> Option<&RegionId> {
        let RecordRoute::To {
            spool: Spool::Sealed(_),
            ..
        } = self.record_routes.get(connection)?
        else {
            return None;
        };
        let connection = self.connections.get(connection)?;
        let (route, _) = self.config.find_route(connection.country)?;
        Some(&route.region)
    }

    /// Seals a webhook that was forwarded in vain, together with its hop; nothing if it may not wait.
    #[must_use]
    pub fn seal(
        &self,
        (connection, verdict): (usize, Verdict),
        hop: SignedHop<'_>,
        body: &[u8],
        randomness: &[u8; RANDOMNESS_BYTES],
    ) -> Option<Vec<u8>> {
        let Some(RecordRoute::To {
            signer,
            spool: Spool::Sealed(key),
            ..
        }) = self.record_routes.get(connection)
        else {
            return None;
        };
        let header = |name: &str| {
            let mut headers = signer.constant_headers(verdict);
            headers.find_map(|(known, value)| (known == name).then(|| value.to_owned()))
        };
        let (until_created, after_created) = signer.signature_input_around_created();
        let (created, created_ms) = hop.created;
        let sealed_hop = SealedHop {
            country: header(hop::COUNTRY)?,
            region: header(hop::REGION)?,
            connection: header(hop::CONNECTION)?,
            verdict: header(hop::VERDICT)?,
            route_version: header(hop::ROUTE_VERSION)?,
            content_digest: hop.content_digest.to_owned(),
            signature_input: format!("{until_created}{}{after_created}", created.0),
            signature: hop.signature.to_owned(),
            created_ms,
        };
        sealed::seal(key, &sealed_hop, body, randomness).ok()
    }
}

/// Reads an address as the platform writes it.
#[must_use]
pub fn read_address(text: &[u8]) -> Option<IpAddr> {
    str::from_utf8(text).ok()?.parse().ok()
}

/// What a core answers once it has kept a record.
#[derive(Deserialize)]
struct CoreAnswer<'a> {
    #[serde(borrow)]
    status: &'a str,
}

/// What a core's answer says that the record is kept as, if it is; only then may the sender see it. This is
/// for an answer without the header [`protocol::record_status::RECORD_STATUS`], which says the same.
#[must_use]
pub fn kept_as(http_status: u16, body: &[u8]) -> Option<RecordStatus> {
    if http_status != 200 {
        return None;
    }
    let answer: CoreAnswer<'_> = serde_json::from_str(str::from_utf8(body).ok()?).ok()?;
    RecordStatus::parse(answer.status)
}

#[cfg(test)]
mod tests {
    use protocol::at_rest::AtRestKeys;
    use protocol::connection::document::{Change, Document, entries_from_json};
    use protocol::token_sha256;

    use super::*;
    use crate::config::Bindings;

    const NOW: UnixSeconds = UnixSeconds(1_780_000_000);

    /// Connections by token: `vn` (enforce), `th` (observe), `cn` (off, paused), `us` (no region).
    fn edge() -> Edge {
        let sha256 = token_sha256;
        let connections = serde_json::json!([
            {"id": "vn-main", "token_sha256": sha256("vn"), "country": "VN", "mode": "enforce", "secrets": ["secret"]},
            {"id": "th-main", "token_sha256": sha256("th"), "country": "TH", "mode": "observe", "secrets": ["secret"]},
            {"id": "cn-main", "token_sha256": sha256("cn"), "country": "CN", "mode": "off"},
            {"id": "us-main", "token_sha256": sha256("us"), "country": "US", "mode": "off"},
            {"id": "ph-main", "token_sha256": sha256("ph"), "country": "VN", "mode": "off",
             "allow": ["203.0.113.0/24", "2001:db8::/32"]},
        ]);
        let routes = serde_json::json!({
            "version": 7,
            "countries": {"VN": "smp-asia", "TH": "smp-asia", "CN": "smp-china"},
            "regions": {
                "smp-asia": {"origin": "https://core.smp-asia.example.com", "state": "open"},
                "smp-china": {"origin": "https://core.smp-china.example.com", "state": "paused"},
            },
        });
        let hop_secrets = serde_json::json!({
            "smp-asia": {"keyid": "smp-asia-1", "secret": "0123456789abcdef0123456789abcdef"},
            "smp-china": {"keyid": "smp-china-1", "secret": "fedcba9876543210fedcba9876543210"},
        });
        let config = Config::from_bindings(Bindings {
            routes: &routes.to_string(),
            hop_secrets: &hop_secrets.to_string(),
            connections_keys: &keys(),
            ops_tokens: "[]",
            blocked: r#"["198.51.100.0/24"]"#,
        });
        let mut edge = Edge::new(config.unwrap());
        let entries = entries_from_json(&connections.to_string()).unwrap();
        let document = Document::default().apply(Change::Add(entries), NOW);
        let read = Connections::from_document(&document.unwrap()).unwrap();
        assert!(edge.take_connections(read));
        edge
    }

    fn keys() -> String {
        format!("[{:?}]", AtRestKeys::expose_key("k1", &[1; 32]))
    }

    fn unsigned(token: &str) -> Webhook<'_> {
        Webhook {
            address: None,
            token: token.as_bytes(),
            headers: SignedHeaders::default(),
            body: Body::Bytes(b"{}"),
        }
    }

    fn answer(token: &str) -> Answer {
        match edge().decide(unsigned(token), NOW) {
            Decision::Answer { answer, .. } => answer,
            Decision::Forward { .. } => panic!("{token} was forwarded"),
        }
    }

    #[test]
    fn an_unknown_token_is_told_so() {
        assert_eq!(answer("nobody"), Answer::UnknownToken);
        assert_eq!(answer(""), Answer::UnknownToken);
        assert_eq!(
            answer(&"v".repeat(TOKEN_MAX_BYTES + 1)),
            Answer::UnknownToken
        );
    }

    #[test]
    fn nobody_is_unknown_before_the_connections_were_read() {
        let mut edge = edge();
        let before = Edge::new(edge.config);
        assert_eq!(
            before.decide(unsigned("th"), NOW),
            Decision::to_nobody(Answer::ConnectionsUnknown)
        );
        edge = before;
        // Somebody may have revoked all of them.
        let none = Document::default().apply(Change::Reseal, NOW).unwrap();
        assert!(edge.take_connections(Connections::from_document(&none).unwrap()));
        assert_eq!(
            edge.decide(unsigned("th"), NOW),
            Decision::to_nobody(Answer::UnknownToken)
        );
    }

    #[test]
    fn an_older_version_never_takes_the_place_of_a_newer_one() {
        let mut edge = edge();
        let none = Document::default().apply(Change::Reseal, NOW).unwrap();
        assert!(!edge.take_connections(Connections::from_document(&none).unwrap()));
        let newer = none.apply(Change::Reseal, NOW).unwrap();
        assert!(edge.take_connections(Connections::from_document(&newer).unwrap()));
        assert_eq!(edge.find(b"th", NOW), None);
        // What was under way when its connection was revoked still has its way.
        assert!(edge.plan(1, Verdict::Stale).is_some());
    }

    #[test]
    fn what_comes_from_elsewhere_is_turned_away() {
        let decide = |token, address: Option<&'static str>| {
            let webhook = Webhook {
                address: address.map(str::as_bytes),
                ..unsigned(token)
            };
            match edge().decide(webhook, NOW) {
                Decision::Answer { answer, .. } => Some(answer),
                Decision::Forward { .. } => None,
            }
        };
        // A connection without a list is taken from anywhere but where nothing is.
        for (token, address, expected) in [
            ("th", Some("192.0.2.1"), None),
            ("th", None, None),
            ("th", Some("198.51.100.9"), Some(Answer::AddressNotAllowed)),
            (
                "nobody",
                Some("198.51.100.9"),
                Some(Answer::AddressNotAllowed),
            ),
            ("nobody", Some("192.0.2.1"), Some(Answer::UnknownToken)),
            ("ph", Some("203.0.113.9"), None),
            ("ph", Some("::ffff:203.0.113.9"), None),
            ("ph", Some("2001:db8::1"), None),
            ("ph", Some("192.0.2.1"), Some(Answer::AddressNotAllowed)),
            (
                "ph",
                Some("not an address"),
                Some(Answer::AddressNotAllowed),
            ),
            ("ph", None, Some(Answer::AddressNotAllowed)),
        ] {
            assert_eq!(decide(token, address), expected, "{token} from {address:?}");
        }
        assert!(edge().looks_at_addresses());
    }

    #[test]
    fn an_enforced_connection_needs_a_timestamp_first() {
        assert_eq!(answer("vn"), Answer::TimestampOutOfWindow);
    }

    #[test]
    fn an_enforced_connection_needs_a_signature_then() {
        let timestamp = NOW.0.to_string();
        let webhook = Webhook {
            headers: SignedHeaders {
                timestamp: Some(timestamp.as_bytes()),
                signature: None,
            },
            ..unsigned("vn")
        };
        assert_eq!(
            edge().decide(webhook, NOW),
            Decision::Answer {
                connection: Some((0, Some(Verdict::Invalid))),
                answer: Answer::HmacInvalid
            }
        );
    }

    #[test]
    fn an_observed_connection_goes_on_with_the_verdict() {
        let Decision::Forward {
            connection,
            verdict,
            ..
        } = edge().decide(unsigned("th"), NOW)
        else {
            panic!("an observed connection was refused");
        };
        assert_eq!((connection, verdict), (1, Verdict::Stale));
        let plan = edge().plan(connection, verdict).unwrap();
        assert_eq!(
            plan.url,
            "https://core.smp-asia.example.com/v1/pancake/th-main/records"
        );
        assert!(
            plan.headers
                .contains(&("x-smp-verdict", "stale".to_owned()))
        );
        assert!(
            plan.headers
                .contains(&("x-smp-route-version", "7".to_owned()))
        );
    }

    #[test]
    fn a_country_that_is_paused_or_has_no_region_goes_nowhere() {
        assert_eq!(answer("cn"), Answer::RegionPaused);
        assert_eq!(answer("us"), Answer::NoRegionForConnection);
    }

    #[test]
    fn a_body_over_the_limit_is_refused_and_one_at_the_limit_is_not() {
        let body = vec![b' '; protocol::BODY_LIMIT_BYTES + 1];
        let over = Webhook {
            body: Body::Bytes(&body),
            ..unsigned("th")
        };
        assert_eq!(
            edge().decide(over, NOW),
            Decision::Answer {
                connection: Some((1, None)),
                answer: Answer::BodyTooLarge
            }
        );
        let at = Webhook {
            body: Body::Bytes(&body[1..]),
            ..unsigned("th")
        };
        assert!(matches!(edge().decide(at, NOW), Decision::Forward { .. }));
    }

    #[test]
    fn only_a_core_that_kept_the_record_is_believed() {
        for status in RecordStatus::ALL {
            let body = format!("{{\"status\":\"{}\",\"event_id\":\"x\"}}", status.as_str());
            assert_eq!(kept_as(200, body.as_bytes()), Some(status));
            assert_eq!(kept_as(202, body.as_bytes()), None, "{status:?}");
            assert_eq!(kept_as(503, body.as_bytes()), None, "{status:?}");
        }
        for body in [
            "",
            "ok",
            "{}",
            "[]",
            "{\"status\":\"queued\"}",
            "{\"status\":1}",
            "\u{0}",
        ] {
            assert_eq!(kept_as(200, body.as_bytes()), None, "{body:?}");
        }
    }

    #[test]
    fn a_region_without_a_key_is_a_mistake_that_quotes_no_secret() {
        let error = Config::from_bindings(Bindings {
            routes: r#"{"version":1,"countries":{},"regions":{"smp-asia":{"origin":"https://a.example","state":"open"}}}"#,
            hop_secrets: r#"{"smp-us":{"keyid":"smp-us-1","secret":"too short"}}"#,
            connections_keys: "[\"hush-hush\"]",
            ops_tokens: "{}",
            blocked: r#"["198.51.100.0/99"]"#,
        })
        .unwrap_err();
        assert!(
            error.contains("HOP_SECRETS: no key for region smp-asia"),
            "{error}"
        );
        assert!(
            error.contains("secret of \"smp-us-1\": at least 32 bytes"),
            "{error}"
        );
        assert!(
            error.contains("CONNECTIONS_KEYS: [\"name:32 bytes"),
            "{error}"
        );
        assert!(error.contains("OPS_TOKENS: [{"), "{error}");
        assert!(
            error.contains("BLOCKED_ADDRESSES: \"198.51.100.0/99\" is no range"),
            "{error}"
        );
        assert!(
            !error.contains("too short") && !error.contains("hush-hush"),
            "{error}"
        );
    }
}
