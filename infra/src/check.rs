//! Route table and registry, held against each other.

mod kubernetes;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use protocol::routes::{self, InvalidRoutes, Origin, Route, RouteState, RouteTable};
use protocol::{Country, RegionId};
use serde_json::Value;

use crate::registry::{self, Region, Registry, Role};

/// The route table of one environment of `wrangler.toml`.
#[derive(Debug)]
pub struct Environment {
    /// `production` for the top level, else the name behind `env.`.
    pub name: String,
    /// Its routes.
    pub routes: RouteTable,
}

/// The region that has a country. A file of the registry that cannot be read may be the one, so its mistake is told too.
pub fn region_of(registry: &Registry, country: Country) -> Result<&Region, String> {
    let mut regions = registry.regions.iter();
    let found = regions.find(|region| region.countries.contains(&country));
    found.ok_or_else(|| {
        let known = registry.regions.iter().flat_map(|region| &region.countries);
        let known: Vec<_> = known.map(Country::as_str).collect();
        let known = if known.is_empty() {
            "it has none at all".to_owned()
        } else {
            format!("there are {}", known.join(", "))
        };
        let lacks = format!(
            "--country {country}: no region of the registry has it, {known}; --regions says where the registry is"
        );
        let mistakes = registry.mistakes.iter().cloned();
        let said: Vec<_> = std::iter::once(lacks).chain(mistakes).collect();
        said.join("\n")
    })
}

/// Reads `wrangler.toml`: the routes of production and of each `[env.…]`. Gives the environments that
/// could be read, and the mistakes of the others.
#[must_use]
pub fn read_environments(wrangler_toml: &str) -> (Vec<Environment>, Vec<String>) {
    let document: Value = match toml::from_str(wrangler_toml) {
        Ok(document) => document,
        Err(error) => {
            let mistake = format!("wrangler.toml is not TOML: {error}");
            return (Vec::new(), vec![mistake.trim_end().to_owned()]);
        }
    };
    let environments = document.get("env").and_then(Value::as_object);
    let tables = [("production".to_owned(), &document)].into_iter().chain(
        environments
            .into_iter()
            .flatten()
            .map(|(name, table)| (name.clone(), table)),
    );
    let mut read = Vec::new();
    let mut mistakes = Vec::new();
    for (name, table) in tables {
        let Some(routes) = table.pointer("/vars/ROUTES") else {
            mistakes.push(format!(
                "{name}: [vars.ROUTES] is missing; nothing is inherited"
            ));
            continue;
        };
        match RouteTable::from_value(routes) {
            Ok(routes) => read.push(Environment { name, routes }),
            Err(InvalidRoutes(found)) => {
                mistakes.extend(
                    found
                        .into_iter()
                        .map(|mistake| format!("{name}: {mistake}")),
                );
            }
        }
    }
    (read, mistakes)
}

/// What is wrong between the environments' routes and the registry; nothing if they agree. Says only
/// what stays true when the rest of either can be read too.
#[must_use]
pub fn disagreements(environments: &[Environment], registry: &Registry) -> Vec<String> {
    let mut mistakes = registry_mistakes(registry);
    mistakes.extend(shared_origins(environments));
    for Environment { name, routes } in environments {
        for route in routes.regions() {
            if registry.lacks(&route.region) {
                mistakes.push(format!(
                    "{name}: region {region} has a route but no infra/regions/{region}.toml",
                    region = route.region
                ));
            }
            let region = registry.find(&route.region);
            if route.spool != routes::Spool::Off
                && region.is_some_and(|region| region.spool == registry::Spool::Off)
            {
                mistakes.push(format!(
                    "{name}: regions.{id}.spool: infra/regions/{id}.toml says \"off\": nothing of that region \
                     may wait at the edge",
                    id = route.region
                ));
            }
            if !route.origin.as_str().starts_with("https://") || is_this_machine(&route.origin) {
                mistakes.push(format!(
                    "{name}: regions.{}.origin: {}: a deployed edge reaches a core by https:// only, and \
                     never on this machine",
                    route.region, route.origin
                ));
            }
        }
        for (country, region_id) in routes.countries() {
            let region = registry.find(region_id);
            if region.is_some_and(|region| !region.countries.contains(&country)) {
                mistakes.push(format!(
                    "{name}: countries.{country}: infra/regions/{region_id}.toml does not list {country}"
                ));
            }
        }
    }
    mistakes
}

/// Whether an origin leads to the very machine that asks. An [`Origin`] holds no IPv6 address.
fn is_this_machine(origin: &Origin) -> bool {
    let authority = origin.as_str().split_once("://");
    let authority = authority.map_or(origin.as_str(), |(_scheme, authority)| authority);
    let host = authority
        .split_once(':')
        .map_or(authority, |(host, _port)| host);
    // RFC 6761, 6.3: names below localhost are this machine too.
    host.rsplit('.').next() == Some("localhost")
        || host
            .parse::<Ipv4Addr>()
            .is_ok_and(|address| address.is_loopback() || address.is_unspecified())
}

/// Origins that stand for more than one core: traffic of one region would reach another's.
fn shared_origins(environments: &[Environment]) -> Vec<String> {
    let mut users: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for Environment { name, routes } in environments {
        for route in routes.regions() {
            users
                .entry(route.origin.as_str())
                .or_default()
                .push(format!("{name}/{}", route.region));
        }
    }
    users
        .into_iter()
        .filter(|(_, users)| users.len() > 1)
        .map(|(origin, users)| {
            format!(
                "origin {origin} is that of {}: each region has a core of its own",
                users.join(" and ")
            )
        })
        .collect()
}

/// What is wrong between the regions themselves.
pub(crate) fn registry_mistakes(registry: &Registry) -> Vec<String> {
    let mut mistakes = Vec::new();
    let hubs = registry
        .regions
        .iter()
        .filter(|region| region.role == Role::Hub)
        .count();
    // What could not be read may be the hub's file.
    let may_be_unread = hubs == 0 && !registry.mistakes.is_empty();
    if hubs != 1 && !may_be_unread {
        mistakes.push(format!(
            "infra/regions: exactly one region is the hub, {hubs} are"
        ));
    }
    let mut owners: BTreeMap<_, Vec<&RegionId>> = BTreeMap::new();
    for region in &registry.regions {
        for country in &region.countries {
            owners.entry(*country).or_default().push(&region.id);
        }
    }
    for (country, owners) in owners.into_iter().filter(|(_, owners)| owners.len() > 1) {
        mistakes.push(format!(
            "infra/regions: {country} is listed by {owners:?}; one region holds it"
        ));
    }
    for region in &registry.regions {
        let id = &region.id;
        match (region.role, &region.replicator) {
            (Role::Spoke, None) => mistakes.push(format!(
                "infra/regions: {id}: replicator = \"https://…\" is missing: the hub could not ask how far it is"
            )),
            (Role::Hub, Some(_)) => mistakes.push(format!(
                "infra/regions: {id}: replicator: nobody asks the hub how far it is"
            )),
            (Role::Spoke, Some(origin))
                if !origin.as_str().starts_with("https://") || is_this_machine(origin) =>
            {
                mistakes.push(format!(
                    "infra/regions: {id}: replicator: {origin}: https:// is expected, and not this machine"
                ));
            }
            _ => {}
        }
    }
    mistakes.extend(kubernetes::mistakes(&registry.regions));
    let mut clusters: BTreeMap<_, Vec<&RegionId>> = BTreeMap::new();
    for region in &registry.regions {
        for server in &region.kafka.bootstrap_servers {
            clusters.entry(server).or_default().push(&region.id);
        }
    }
    // Between regions the topic keeps its name: mirrored into itself it would never stop growing.
    for (server, owners) in clusters.into_iter().filter(|(_, owners)| owners.len() > 1) {
        mistakes.push(format!(
            "infra/regions: kafka.bootstrap_servers: {server} is listed by {owners:?}; each region has \
             a cluster of its own"
        ));
    }
    mistakes
}

/// One line of the table that `smpctl check` prints.
#[derive(Debug, serde::Serialize)]
pub struct RouteLine {
    /// The environment.
    pub environment: String,
    /// The version of its route table.
    pub version: u32,
    /// The country.
    pub country: String,
    /// Its region.
    pub region: String,
    /// `open` or `paused`.
    pub state: &'static str,
    /// The core's origin.
    pub origin: String,
}

/// Every country's route, by environment.
#[must_use]
pub fn route_lines(environments: &[Environment]) -> Vec<RouteLine> {
    let line = |environment: &Environment, country: protocol::Country, route: &Route| RouteLine {
        environment: environment.name.clone(),
        version: environment.routes.version(),
        country: country.to_string(),
        region: route.region.to_string(),
        state: match environment.routes.state(country) {
            RouteState::Open => "open",
            RouteState::Paused => "paused",
        },
        origin: route.origin.to_string(),
    };
    environments
        .iter()
        .flat_map(|environment| {
            environment
                .routes
                .countries()
                .filter_map(move |(country, _)| {
                    environment
                        .routes
                        .find(country)
                        .map(|route| line(environment, country, route))
                })
        })
        .collect()
}
