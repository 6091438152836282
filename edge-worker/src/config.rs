//! From a deployment's bindings to a typed configuration, once per isolate.

use protocol::address::AddressRanges;
use protocol::at_rest::AtRestKeys;
use protocol::hop::HopKey;
use protocol::ops::OpsTokens;
use protocol::routes::RouteTable;
use protocol::{Country, RegionId};
use serde_json::Value;

/// The bindings as they come: secrets, and one variable.
#[derive(Clone, Copy)]
pub struct Bindings<'a> {
    /// `ROUTES` of `wrangler.toml`, as JSON.
    pub routes: &'a str,
    /// The secret `HOP_SECRETS`: `{"smp-asia": {"keyid": "…", "secret": "…"}}`.
    pub hop_secrets: &'a str,
    /// The secret `CONNECTIONS_KEYS`: see [`AtRestKeys::from_json`].
    pub connections_keys: &'a str,
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
    pub hop_keys: Vec<(RegionId, HopKey)>,
    /// With which the connections are sealed, where they lie.
    pub connections_keys: AtRestKeys,
    /// Who may ask how the edge is.
    pub ops: OpsTokens,
    /// From where nothing is taken.
    pub blocked: AddressRanges,
}

impl Config {
    /// Reads the bindings. Every mistake is named, one a line; no secret is quoted.
    pub fn from_bindings(bindings: Bindings<'_>) -> Result<Self, String> {
        let mut mistakes = Vec::new();
        let routes = RouteTable::from_json(bindings.routes)
            .map_err(|error| mistakes.push(error.to_string()))
            .ok();
        let hop_keys = read_hop_keys(bindings.hop_secrets, &mut mistakes);
        let connections_keys = AtRestKeys::from_json(bindings.connections_keys)
            .map_err(|error| mistakes.push(format!("CONNECTIONS_KEYS: {error}")))
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
                .filter(|route| hop_keys.iter().all(|(region, _)| *region != route.region))
            {
                mistakes.push(format!("HOP_SECRETS: no key for region {}", route.region));
            }
        }
        match (routes, connections_keys) {
            (Some(routes), Some(connections_keys)) if mistakes.is_empty() => Ok(Self {
                routes,
                hop_keys,
                connections_keys,
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
        Some((route, self.hop_key(&route.region)?))
    }

    /// The key of the hop to a region.
    #[must_use]
    pub fn hop_key(&self, region: &RegionId) -> Option<&HopKey> {
        let mut keys = self.hop_keys.iter();
        Some(&keys.find(|(known, _)| known == region)?.1)
    }
}

fn read_ranges(document: &str) -> Result<AddressRanges, String> {
    let ranges: Vec<String> = serde_json::from_str(document).map_err(|_| {
        "BLOCKED_ADDRESSES: a JSON array of ranges of addresses is expected".to_owned()
    })?;
    AddressRanges::parse(&ranges).map_err(|error| format!("BLOCKED_ADDRESSES: {error}"))
}

fn read_hop_keys(document: &str, mistakes: &mut Vec<String>) -> Vec<(RegionId, HopKey)> {
    let mut keys = Vec::new();
    let secrets = serde_json::from_str(document);
    // serde's own text may quote a value, and a value here is a secret.
    let Ok(Value::Object(secrets)) = secrets else {
        let form = "{\"region\": {\"keyid\", \"secret\"}} is expected";
        let place = secrets.err().map_or(String::new(), |error| {
            format!(" (line {}, column {})", error.line(), error.column())
        });
        mistakes.push(format!("HOP_SECRETS: {form}{place}"));
        return keys;
    };
    for (region, entry) in &secrets {
        let text = |name| entry.get(name).and_then(Value::as_str);
        let key = match (text("keyid"), text("secret"), entry.as_object()) {
            (Some(keyid), Some(secret), Some(members)) if members.len() == 2 => {
                HopKey::new(keyid, secret.as_bytes()).map_err(|error| error.to_string())
            }
            _ => Err("each region has keyid and secret, two texts".to_owned()),
        };
        match (
            RegionId::parse(region).map_err(|error| error.to_string()),
            key,
        ) {
            (Ok(region), Ok(key)) => keys.push((region, key)),
            (Err(error), _) | (_, Err(error)) => mistakes.push(format!("HOP_SECRETS: {error}")),
        }
    }
    keys
}
