//! A record of ops' own, sent to a country's core whether its route is open or not: it shows that the whole way is there
//! before anybody else takes it. Pure.
//!
//! The core keeps it as an event of the connection `probe-` and the country. That one's source was never switched on,
//! so no ticket comes of it.

use protocol::connection::ConnectionId;
use protocol::hop::{
    CONTENT_DIGEST, Destination, RecordSigner, SIGNATURE, SIGNATURE_INPUT, record_path,
};
use protocol::signature::{self, Body, Policy, SignedHeaders, Verdict};
use protocol::{Country, UnixSeconds};

use crate::config::Config;

/// A request to a core.
#[derive(Debug)]
pub struct Probe {
    /// The core's endpoint.
    pub url: String,
    /// All headers.
    pub headers: Vec<(&'static str, String)>,
}

/// The request that takes a body to a country's core, signed as each webhook's is; none if the country has no region.
#[must_use]
pub fn sign(config: &Config, country: Country, body: &[u8], now: UnixSeconds) -> Option<Probe> {
    let (route, key) = config.find_route(country)?;
    let connection = format!("probe-{}", country.as_str().to_ascii_lowercase());
    let connection = ConnectionId::parse(&connection).ok()?;
    let destination = Destination {
        country,
        region: &route.region,
        route_version: config.routes.version(),
    };
    let signer = RecordSigner::new(key, destination, &connection);
    let unsigned = SignedHeaders::default();
    let admitted = signature::admit(&Policy::Off, unsigned, Body::Bytes(body), now).ok()?;
    let hop = signer.sign(&admitted, now);
    let text = |base64: &[u8]| String::from_utf8_lossy(base64).into_owned();
    let (until_created, after_created) = signer.signature_input_around_created();
    let constant = signer.constant_headers(Verdict::Unsigned);
    let mut headers: Vec<_> = constant
        .map(|(name, value)| (name, value.to_owned()))
        .collect();
    headers.extend([
        ("content-type", "application/json".to_owned()),
        (
            CONTENT_DIGEST,
            format!("sha-256=:{}:", text(&hop.body_sha256)),
        ),
        (
            SIGNATURE_INPUT,
            format!("{until_created}{}{after_created}", now.0),
        ),
        (SIGNATURE, format!("smp=:{}:", text(&hop.signature))),
    ]);
    Some(Probe {
        url: format!("{}{}", route.origin, record_path(&connection)),
        headers,
    })
}

#[cfg(test)]
mod tests {
    use protocol::hop::{self, HopKeys, ReceivedHeaders, Target};

    use super::*;
    use crate::config::Bindings;

    const NOW: UnixSeconds = UnixSeconds(1_780_000_000);

    fn config() -> Config {
        let key = protocol::at_rest::AtRestKeys::expose_key("k", &[7; 32]);
        Config::from_bindings(Bindings {
            routes: r#"{"version":7,"countries":{"US":{"region":"smp-us","state":"paused"}},"regions":{
                "smp-us":{"origin":"https://core.smp-us.example.com","state":"paused"}}}"#,
            hop_secrets: r#"{"smp-us":{"keyid":"smp-us-1","secret":"0123456789abcdef0123456789abcdef"}}"#,
            connections_keys: &format!("[\"{key}\"]"),
            ops_tokens: "[]",
            blocked: "[]",
        })
        .unwrap()
    }

    #[test]
    fn a_core_believes_it_though_its_route_is_paused() {
        let (config, us) = (config(), Country::parse("US").unwrap());
        let probe = sign(&config, us, b"{}", NOW).unwrap();
        assert_eq!(
            probe.url,
            "https://core.smp-us.example.com/v1/pancake/probe-us/records"
        );
        let header = |name| {
            let mut headers = probe.headers.iter();
            headers
                .find(|(known, _)| *known == name)
                .map(|(_, value)| &**value)
        };
        let headers = ReceivedHeaders {
            country: header(hop::COUNTRY),
            region: header(hop::REGION),
            connection: header(hop::CONNECTION),
            verdict: header(hop::VERDICT),
            route_version: header(hop::ROUTE_VERSION),
            content_digest: header(CONTENT_DIGEST),
            signature_input: header(SIGNATURE_INPUT),
            signature: header(SIGNATURE),
        };
        let target = Target {
            method: "POST",
            path: "/v1/pancake/probe-us/records",
            query: None,
        };
        let keys = HopKeys::new(vec![
            config.hop_key(&"smp-us".parse().unwrap()).unwrap().clone(),
        ])
        .unwrap();
        hop::verify_record(&keys, target, headers, b"{}", NOW).unwrap();
    }

    #[test]
    fn a_country_without_a_region_has_no_way() {
        assert!(sign(&config(), Country::parse("VN").unwrap(), b"{}", NOW).is_none());
    }
}
