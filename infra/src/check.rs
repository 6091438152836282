//! Route table and registry, held against each other.

use std::collections::BTreeMap;

use protocol::RegionId;
use protocol::routes::{InvalidRoutes, Route, RouteState, RouteTable};
use serde_json::Value;

use crate::registry::{Region, Role};

/// The route table of one environment of `wrangler.toml`.
#[derive(Debug)]
pub struct Environment {
    /// `production` for the top level, else the name behind `env.`.
    pub name: String,
    /// Its routes.
    pub routes: RouteTable,
}

/// Reads `wrangler.toml`: the routes of production and of each `[env.…]`.
pub fn read_environments(wrangler_toml: &str) -> Result<Vec<Environment>, Vec<String>> {
    let document: Value = toml::from_str(wrangler_toml)
        .map_err(|error| vec![format!("wrangler.toml is not TOML: {error}")])?;
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
    if mistakes.is_empty() {
        Ok(read)
    } else {
        Err(mistakes)
    }
}

/// What is wrong between the environments' routes and the registry; nothing if they agree.
#[must_use]
pub fn disagreements(environments: &[Environment], regions: &[Region]) -> Vec<String> {
    let mut mistakes = registry_mistakes(regions);
    mistakes.extend(shared_origins(environments));
    for Environment { name, routes } in environments {
        for route in routes.regions() {
            if !regions.iter().any(|region| region.id == route.region) {
                mistakes.push(format!(
                    "{name}: region {region} has a route but no infra/regions/{region}.toml",
                    region = route.region
                ));
            }
            if route.origin.as_str().starts_with("http://") {
                mistakes.push(format!(
                    "{name}: regions.{}.origin: a deployed edge reaches a core by https:// only",
                    route.region
                ));
            }
        }
        for (country, region_id) in routes.countries() {
            let region = regions.iter().find(|region| region.id == *region_id);
            if region.is_some_and(|region| !region.countries.contains(&country)) {
                mistakes.push(format!(
                    "{name}: countries.{country}: infra/regions/{region_id}.toml does not list {country}"
                ));
            }
        }
    }
    mistakes
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

fn registry_mistakes(regions: &[Region]) -> Vec<String> {
    let mut mistakes = Vec::new();
    let hubs = regions
        .iter()
        .filter(|region| region.role == Role::Hub)
        .count();
    if hubs != 1 {
        mistakes.push(format!(
            "infra/regions: exactly one region is the hub, {hubs} are"
        ));
    }
    let mut owners: BTreeMap<_, Vec<&RegionId>> = BTreeMap::new();
    for region in regions {
        for country in &region.countries {
            owners.entry(*country).or_default().push(&region.id);
        }
    }
    for (country, owners) in owners.into_iter().filter(|(_, owners)| owners.len() > 1) {
        mistakes.push(format!(
            "infra/regions: {country} is listed by {owners:?}; one region holds it"
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
        state: match route.state {
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
