//! From a deployment's bindings to a typed configuration, once per isolate.

use std::collections::BTreeMap;

use protocol::address::AddressRanges;
use protocol::connection::Connections;
use protocol::hop::HopKey;
use protocol::ops::OpsTokens;
use protocol::routes::RouteTable;
use protocol::{Country, RegionId};
use serde::Deserialize;

/// The bindings as they come: secrets, and one variable.
#[derive(Clone, Copy)]
pub struct Bindings<'a> {
    /// `ROUTES` of `wrangler.toml`, as JSON.
    pub routes: &'a str,
    /// The secret `HOP_SECRETS`: `{"smp-asia": {"keyid": "…", "secret": "…"}}`.
    pub hop_secrets: &'a str,
    /// The secret `PANCAKE_CONNECTIONS`: see [`Connections::from_json`].
    pub connections: &'a str,
    /// The secret `OPS_TOKENS`: see [`OpsTokens::from_json`].
    pub ops_tokens: &'a str,
    /// The secret `BLOCKED_ADDRESSES`: a JSON array of ranges of addresses.
    pub blocked: &'a str,
}

/// A validated configuration.
#[derive(Debug)]
pub struct Config {
    /// Which region serves which country.
    pub routes: RouteTable,
    /// One key per region of the table.
    pub hop_keys: BTreeMap<RegionId, HopKey>,
    /// Whom the webhook tokens belong to.
    pub connections: Connections,
    /// Who may ask how the edge is.
    pub ops: OpsTokens,
    /// From where nothing is taken.
    pub blocked: AddressRanges,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HopSecret {
    keyid: String,
    secret: String,
}

impl Config {
    /// Reads the bindings. Every mistake is named, one a line; no secret is quoted.
    pub fn from_bindings(bindings: Bindings<'_>) -> Result<Self, String> {
        let mut mistakes = Vec::new();
        let routes = RouteTable::from_json(bindings.routes)
            .map_err(|error| mistakes.push(error.to_string()))
            .ok();
        let hop_keys = read_hop_keys(bindings.hop_secrets, &mut mistakes);
        let connections = Connections::from_json(bindings.connections)
            .map_err(|error| mistakes.push(error.to_string()))
            .ok();
        let ops = OpsTokens::from_json(bindings.ops_tokens)
            .map_err(|found| mistakes.extend(found))
            .unwrap_or_default();
        let blocked = read_ranges(bindings.blocked)
            .map_err(|mistake| mistakes.push(mistake))
            .unwrap_or_default();
        if let Some(routes) = &routes {
            for route in routes
                .regions()
                .filter(|route| !hop_keys.contains_key(&route.region))
            {
                mistakes.push(format!("HOP_SECRETS: no key for region {}", route.region));
            }
        }
        match (routes, connections) {
            (Some(routes), Some(connections)) if mistakes.is_empty() => Ok(Self {
                routes,
                hop_keys,
                connections,
                ops,
                blocked,
            }),
            _ => Err(mistakes.join("\n")),
        }
    }

    /// The open or paused route of a country, with the key of its hop.
    #[must_use]
    pub fn find_route(&self, country: Country) -> Option<(&protocol::routes::Route, &HopKey)> {
        let route = self.routes.find(country)?;
        Some((route, self.hop_keys.get(&route.region)?))
    }
}

fn read_ranges(document: &str) -> Result<AddressRanges, String> {
    let ranges: Vec<String> = serde_json::from_str(document).map_err(|_| {
        "BLOCKED_ADDRESSES: a JSON array of ranges of addresses is expected".to_owned()
    })?;
    AddressRanges::parse(&ranges).map_err(|error| format!("BLOCKED_ADDRESSES: {error}"))
}

fn read_hop_keys(document: &str, mistakes: &mut Vec<String>) -> BTreeMap<RegionId, HopKey> {
    let secrets: BTreeMap<String, HopSecret> = match serde_json::from_str(document) {
        Ok(secrets) => secrets,
        Err(error) => {
            // serde's own text may quote a value, and a value here is a secret.
            mistakes.push(format!(
                "HOP_SECRETS: {{\"region\": {{\"keyid\", \"secret\"}}}} is expected (line {}, column {})",
                error.line(),
                error.column()
            ));
            return BTreeMap::new();
        }
    };
    let mut keys = BTreeMap::new();
    for (region, HopSecret { keyid, secret }) in secrets {
        let region = RegionId::parse(&region).map_err(|error| error.to_string());
        let key = HopKey::new(&keyid, secret.as_bytes()).map_err(|error| error.to_string());
        match (region, key) {
            (Ok(region), Ok(key)) => {
                keys.insert(region, key);
            }
            (Err(error), _) | (_, Err(error)) => mistakes.push(format!("HOP_SECRETS: {error}")),
        }
    }
    keys
}
