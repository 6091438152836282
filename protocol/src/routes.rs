//! The route table: which region serves which country, and where its core is.
//!
//! The table is the `[vars.ROUTES]` of `wrangler.toml`. It is validated as a whole: whoever edits
//! it hears of every mistake at once, and a table that holds one never reaches an isolate.

use std::fmt;

use serde_json::{Map, Value};

use crate::sealed::SealingKey;
use crate::{Country, RegionId};

/// The largest table, in bytes of compact JSON: a Worker variable holds 5 KB
/// (Cloudflare Workers, platform limits: "Variable size 5 KB").
pub const ROUTES_LIMIT_BYTES: usize = 5_120;

/// A validated route table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteTable {
    version: u32,
    /// In their order, as all that follows.
    countries: Vec<(Country, RegionId, RouteState)>,
    regions: Vec<Route>,
}

/// Where a region's core is, and whether traffic may go there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The region.
    pub region: RegionId,
    /// The core's origin.
    pub origin: Origin,
    /// Open or paused.
    pub state: RouteState,
    /// What becomes of records that the core cannot take now.
    pub spool: Spool,
}

/// What becomes of a record that its region cannot take now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spool {
    /// Nothing is kept: the sender is told to come again.
    Off,
    /// It waits at the edge, sealed to the region's key.
    Sealed(SealingKey),
}

/// Whether a region, or a country of it, takes traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteState {
    /// Requests are sent on.
    Open,
    /// Ops have stopped the traffic: nothing is sent.
    Paused,
}

/// An origin (RFC 6454): scheme, host and, if given, port, without a path.
///
/// `https`, or `http` to this machine only: the hop is signed but its body is personal data.
#[derive(Clone, PartialEq, Eq)]
pub struct Origin(Box<str>);

/// Every mistake of a route table, each with the path of the key that it is about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the route table has {} mistake(s): {}", .0.len(), .0.join("; "))]
pub struct InvalidRoutes(pub Vec<String>);

impl RouteTable {
    /// Reads a table from JSON (what a Worker gets of the variable).
    pub fn from_json(json: &str) -> Result<Self, InvalidRoutes> {
        let value = serde_json::from_str(json)
            .map_err(|error| InvalidRoutes(vec![format!("ROUTES is not JSON: {error}")]))?;
        Self::from_value(&value)
    }

    /// Reads a table from a parsed document (what `smpctl` gets from `wrangler.toml`).
    pub fn from_value(value: &Value) -> Result<Self, InvalidRoutes> {
        let mut mistakes = Vec::new();
        let bytes = value.to_string().len();
        if bytes > ROUTES_LIMIT_BYTES {
            mistakes.push(format!(
                "ROUTES is {bytes} bytes of JSON: a Worker variable holds {ROUTES_LIMIT_BYTES}"
            ));
        }
        let Some(table) = value.as_object() else {
            return Err(InvalidRoutes(vec!["ROUTES is not a table".to_owned()]));
        };
        refuse_unknown_keys(
            "ROUTES",
            table,
            &["version", "countries", "regions"],
            &mut mistakes,
        );
        let version = read_version(table, &mut mistakes);
        let regions = read_regions(table, &mut mistakes);
        let countries = read_countries(table, &mut mistakes);
        if mistakes.is_empty() {
            // Only a table whose every region could be read can say that one is missing.
            for (country, region, _) in &countries {
                if regions.iter().all(|route| route.region != *region) {
                    mistakes.push(format!(
                        "countries.{country}: region \"{region}\" is not in [vars.ROUTES.regions]"
                    ));
                }
            }
        }
        if mistakes.is_empty() {
            Ok(Self {
                version,
                countries,
                regions,
            })
        } else {
            Err(InvalidRoutes(mistakes))
        }
    }

    /// The version, which each flip raises and each event records.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The route of a country; `None` if it has no region. There is no default region.
    #[must_use]
    pub fn find(&self, country: Country) -> Option<&Route> {
        let mut countries = self.countries.iter();
        let (_, region, _) = countries.find(|(known, ..)| *known == country)?;
        self.regions.iter().find(|route| route.region == *region)
    }

    /// Whether a country's requests are sent on: only if both it and its region are open. One without a region is
    /// paused.
    #[must_use]
    pub fn state(&self, country: Country) -> RouteState {
        match (self.own_state(country), self.find(country)) {
            (Some(RouteState::Open), Some(route)) => route.state,
            _ => RouteState::Paused,
        }
    }

    /// A country's own state, whatever its region's is; `None` if it has no region.
    #[must_use]
    pub fn own_state(&self, country: Country) -> Option<RouteState> {
        let mut countries = self.countries.iter();
        let (_, _, state) = countries.find(|(known, ..)| *known == country)?;
        Some(*state)
    }

    /// Each country with its region, in the countries' order.
    pub fn countries(&self) -> impl Iterator<Item = (Country, &RegionId)> {
        self.countries
            .iter()
            .map(|(country, region, _)| (*country, region))
    }

    /// Each region's route, in the regions' order.
    pub fn regions(&self) -> impl Iterator<Item = &Route> {
        self.regions.iter()
    }
}

fn refuse_unknown_keys(
    path: &str,
    table: &Map<String, Value>,
    known: &[&str],
    mistakes: &mut Vec<String>,
) {
    for key in table.keys().filter(|key| !known.contains(&key.as_str())) {
        mistakes.push(format!(
            "{path}.{key}: not a known key (known: {})",
            known.join(", ")
        ));
    }
}

fn read_version(table: &Map<String, Value>, mistakes: &mut Vec<String>) -> u32 {
    let version = table.get("version").and_then(Value::as_u64);
    match version.and_then(|version| u32::try_from(version).ok()) {
        Some(version) if version > 0 => version,
        _ => {
            mistakes.push(format!(
                "version: a whole number from 1 to {} is expected",
                u32::MAX
            ));
            0
        }
    }
}

fn read_regions(table: &Map<String, Value>, mistakes: &mut Vec<String>) -> Vec<Route> {
    let mut regions = Vec::new();
    let Some(entries) = table.get("regions").and_then(Value::as_object) else {
        mistakes.push("regions: a table of regions is expected".to_owned());
        return regions;
    };
    for (key, entry) in entries {
        let path = format!("regions.{key}");
        let region = RegionId::parse(key)
            .map_err(|error| mistakes.push(format!("{path}: {error}")))
            .ok();
        let Some(entry) = entry.as_object() else {
            mistakes.push(format!("{path}: a table with origin and state is expected"));
            continue;
        };
        let known = ["origin", "state", "spool", "sealing_key"];
        refuse_unknown_keys(&path, entry, &known, mistakes);
        let origin = match entry
            .get("origin")
            .and_then(Value::as_str)
            .map(Origin::parse)
        {
            Some(Ok(origin)) => Some(origin),
            Some(Err(error)) => {
                mistakes.push(format!("{path}.origin: {error}"));
                None
            }
            None => {
                mistakes.push(format!("{path}.origin: a text is expected"));
                None
            }
        };
        let state = read_state(&path, entry.get("state"), mistakes);
        let spool = read_spool(&path, entry, mistakes);
        if let (Some(region), Some(origin), Some(state), Some(spool)) =
            (region, origin, state, spool)
        {
            regions.push(Route {
                region,
                origin,
                state,
                spool,
            });
        }
    }
    regions
}

/// `spool` and `sealing_key`. Without `spool` nothing is kept: a law may forbid it, so somebody must have
/// said that it may be.
fn read_spool(path: &str, entry: &Map<String, Value>, mistakes: &mut Vec<String>) -> Option<Spool> {
    let key = entry.get("sealing_key").map(|key| {
        let key = key.as_str().unwrap_or_default();
        SealingKey::parse(key).map_err(|error| format!("{path}.sealing_key: {error}"))
    });
    match (entry.get("spool").map(Value::as_str), key) {
        (_, Some(Err(mistake))) => {
            mistakes.push(mistake);
            None
        }
        (None | Some(Some("off")), _) => Some(Spool::Off),
        (Some(Some("sealed")), Some(Ok(key))) => Some(Spool::Sealed(key)),
        (Some(Some("sealed")), None) => {
            mistakes.push(format!(
                "{path}.sealing_key: spool = \"sealed\" needs the region's public key"
            ));
            None
        }
        (Some(_), _) => {
            mistakes.push(format!("{path}.spool: \"sealed\" or \"off\" is expected"));
            None
        }
    }
}

fn read_state(path: &str, state: Option<&Value>, mistakes: &mut Vec<String>) -> Option<RouteState> {
    match state.and_then(Value::as_str) {
        Some("open") => Some(RouteState::Open),
        Some("paused") => Some(RouteState::Paused),
        _ => {
            mistakes.push(format!("{path}.state: \"open\" or \"paused\" is expected"));
            None
        }
    }
}

/// A country is open, and says its region alone; or it says its state too: `{ region = "…", state = "paused" }`.
fn read_countries(
    table: &Map<String, Value>,
    mistakes: &mut Vec<String>,
) -> Vec<(Country, RegionId, RouteState)> {
    let mut countries = Vec::new();
    let Some(entries) = table.get("countries").and_then(Value::as_object) else {
        mistakes.push("countries: a table of country = \"region\" is expected".to_owned());
        return countries;
    };
    for (key, entry) in entries {
        let path = format!("countries.{key}");
        let country = match Country::parse(key) {
            Ok(country) if country.as_str() == key => country,
            Ok(country) => {
                mistakes.push(format!("{path}: write it in capitals, {country}"));
                continue;
            }
            Err(error) => {
                mistakes.push(format!("{path}: {error}"));
                continue;
            }
        };
        let (region, state) = match entry.as_object() {
            None => (Some(entry), Some(RouteState::Open)),
            Some(way) => {
                refuse_unknown_keys(&path, way, &["region", "state"], mistakes);
                (
                    way.get("region"),
                    read_state(&path, way.get("state"), mistakes),
                )
            }
        };
        match (region.and_then(Value::as_str).map(RegionId::parse), state) {
            (Some(Ok(region)), Some(state)) => countries.push((country, region, state)),
            (Some(Ok(_)), None) => {}
            (Some(Err(error)), _) => mistakes.push(format!("{path}: {error}")),
            (None, _) => mistakes.push(format!("{path}: a region's id is expected")),
        }
    }
    countries
}

/// A text that is not an [`Origin`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidOrigin(&'static str);

impl Origin {
    /// Reads `https://host[:port]`, or `http://` with host `localhost` or `127.0.0.1`.
    pub fn parse(origin: &str) -> Result<Self, InvalidOrigin> {
        let (is_https, authority) = if let Some(authority) = origin.strip_prefix("https://") {
            (true, authority)
        } else if let Some(authority) = origin.strip_prefix("http://") {
            (false, authority)
        } else {
            return Err(InvalidOrigin("an origin starts with https://"));
        };
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        let labels_are_clean = host.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        });
        // What ends in a number is an IPv4 address or nothing (WHATWG URL, host parsing).
        let ends_in_number = host
            .rsplit('.')
            .next()
            .is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
        let is_address = host.parse::<std::net::Ipv4Addr>().is_ok();
        if !labels_are_clean || host.len() > 253 || (ends_in_number && !is_address) {
            return Err(InvalidOrigin(
                "an origin is https://host or https://host:port, with a host name in lower case \
                 and nothing after it",
            ));
        }
        let is_port = |port: &str| {
            port.bytes().all(|byte| byte.is_ascii_digit())
                && !port.starts_with('0')
                && port.parse::<u16>().is_ok()
        };
        if !port.is_none_or(is_port) {
            return Err(InvalidOrigin("a port is a number from 1 to 65535"));
        }
        if !is_https && !matches!(host, "127.0.0.1" | "localhost") {
            return Err(InvalidOrigin(
                "http:// is for this machine only (127.0.0.1, localhost): elsewhere use https://",
            ));
        }
        Ok(Self(origin.into()))
    }

    /// The origin as text, without a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Which country a request that is not a webhook belongs to, in this order: what the client says
/// (`X-Country-Code`), the host name's first label (`vn.example.com`), Cloudflare's guess by address.
///
/// The first that is present decides, even if it is malformed or has no region: a request that names
/// a country we do not serve is never taken elsewhere.
#[must_use]
pub fn choose_country(
    header: Option<&str>,
    host: Option<&str>,
    cf_country: Option<&str>,
) -> Option<Country> {
    if let Some(code) = header {
        return Country::parse(code).ok();
    }
    let label = host
        .and_then(|host| host.split_once('.'))
        .map(|(label, _)| label);
    if let Some(country) = label.and_then(|label| Country::parse(label).ok()) {
        return Some(country);
    }
    cf_country.and_then(|code| Country::parse(code).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn table() -> Value {
        json!({
            "version": 3,
            "countries": {"VN": "smp-asia", "SG": "smp-asia", "CN": "smp-china"},
            "regions": {
                "smp-asia": {"origin": "https://core.smp-asia.example.com", "state": "open"},
                "smp-china": {"origin": "http://127.0.0.1:8702", "state": "paused"},
            },
        })
    }

    #[test]
    fn a_country_is_found_in_its_region() {
        let routes = RouteTable::from_value(&table()).unwrap();
        let route = routes.find(Country::parse("SG").unwrap()).unwrap();
        assert_eq!(route.region.as_str(), "smp-asia");
        assert_eq!(route.state, RouteState::Open);
        assert_eq!(routes.version(), 3);
    }

    #[test]
    fn a_country_without_a_region_has_no_default() {
        let routes = RouteTable::from_value(&table()).unwrap();
        let us = Country::parse("US").unwrap();
        assert_eq!(routes.find(us), None);
        assert_eq!(routes.state(us), RouteState::Paused);
    }

    #[test]
    fn a_country_is_open_if_it_and_its_region_are() {
        let mut value = table();
        let way = |state: &str| json!({"region": "smp-asia", "state": state});
        value["countries"]["MM"] = way("paused");
        value["countries"]["LA"] = way("open");
        value["countries"]["MO"] = json!({"region": "smp-china", "state": "open"});
        let routes = RouteTable::from_value(&value).unwrap();
        for (country, state) in [
            ("VN", RouteState::Open),
            ("LA", RouteState::Open),
            ("MM", RouteState::Paused),
            ("CN", RouteState::Paused),
            ("MO", RouteState::Paused),
        ] {
            let country = Country::parse(country).unwrap();
            assert_eq!(routes.state(country), state, "{country}");
            assert!(routes.find(country).is_some(), "{country}");
        }
    }

    #[test]
    fn every_mistake_is_named_at_once() {
        let InvalidRoutes(mistakes) = RouteTable::from_value(&json!({
            "version": 0,
            "contries": {},
            "countries": {"vn": "smp-asia", "XYZ": "smp-asia", "TH": 3, "ID": "Bad Region",
                "LA": {"region": "smp-asia", "state": "shut"}, "MM": {"state": "open"},
                "MO": {"region": "smp-asia", "state": "open", "since": 1}},
            "regions": {
                "smp-asia": {"origin": "http://core.example.com", "state": "closed", "zone": "a"},
                "SMP": 1,
            },
        }))
        .unwrap_err();
        let all = mistakes.join("\n");
        for expected in [
            "ROUTES.contries: not a known key",
            "version: a whole number",
            "countries.vn: write it in capitals, VN",
            "countries.XYZ: a country is two letters",
            "countries.TH: a region's id is expected",
            "countries.ID: a region's id is 2 to 32",
            "countries.LA.state: \"open\" or \"paused\"",
            "countries.MM: a region's id is expected",
            "countries.MO.since: not a known key",
            "regions.smp-asia.origin: http:// is for this machine only",
            "regions.smp-asia.state: \"open\" or \"paused\"",
            "regions.smp-asia.zone: not a known key",
            "regions.SMP: a region's id is",
            "regions.SMP: a table with origin and state",
        ] {
            assert!(all.contains(expected), "missing {expected:?} in:\n{all}");
        }
    }

    #[test]
    fn a_country_whose_region_is_not_defined_is_a_mistake() {
        let mut value = table();
        value["countries"]["US"] = json!("smp-us");
        let InvalidRoutes(mistakes) = RouteTable::from_value(&value).unwrap_err();
        assert_eq!(
            mistakes,
            ["countries.US: region \"smp-us\" is not in [vars.ROUTES.regions]"]
        );
    }

    #[test]
    fn a_table_that_no_worker_variable_holds_is_refused() {
        let mut value = table();
        for number in 0..100 {
            value["regions"][format!("smp-r{number}")] =
                json!({"origin": "https://core.example.com", "state": "open"});
        }
        let InvalidRoutes(mistakes) = RouteTable::from_value(&value).unwrap_err();
        assert!(
            mistakes[0].contains("a Worker variable holds 5120"),
            "{mistakes:?}"
        );
    }

    #[test]
    fn origins_with_anything_but_host_and_port_are_refused() {
        for origin in [
            "",
            "core.example.com",
            "https://",
            "https://core.example.com/",
            "https://a b",
            "https://user@core.example.com",
            "https://core.example.com:0",
            "https://core:99999",
            "https://core.example.com?x",
            "https://CORE.example.com",
            "https://-core.example.com",
            "https://core..example.com",
            "http://core.example.com",
            "ftp://core.example.com",
            "https://core.example.com:+80",
            "https://core.example.com:",
        ] {
            assert!(Origin::parse(origin).is_err(), "{origin:?}");
        }
        for origin in [
            "https://core.example.com",
            "https://core:8443",
            "http://localhost:1",
        ] {
            assert_eq!(Origin::parse(origin).unwrap().as_str(), origin);
        }
    }

    #[test]
    fn the_first_sign_of_a_country_decides() {
        let country = |code: &str| Country::parse(code).ok();
        assert_eq!(
            choose_country(Some("cn"), Some("vn.example.com"), Some("SG")),
            country("CN")
        );
        assert_eq!(
            choose_country(None, Some("vn.example.com"), Some("SG")),
            country("VN")
        );
        assert_eq!(
            choose_country(None, Some("api.example.com"), Some("SG")),
            country("SG")
        );
        assert_eq!(choose_country(None, Some("vn"), None), None);
        assert_eq!(choose_country(None, None, Some("T1")), None);
    }

    #[test]
    fn a_malformed_country_header_is_not_replaced_by_a_guess() {
        assert_eq!(
            choose_country(Some("Vietnam"), Some("vn.example.com"), Some("VN")),
            None
        );
    }
}
