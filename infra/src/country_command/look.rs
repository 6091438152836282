//! What registry, core and edge say of a country.

use std::fs;
use std::time::Duration;

use infra::country::{Asked, Item, master_data, office, phone, way};
use infra::edge::{self, agent, read_json};
use infra::registry::Registry;
use infra::route;
use protocol::routes::RouteTable;
use protocol::{Country, RegionId};
use serde_json::Value;

use crate::route_command::Place;
use crate::route_command::deploy::Deployment;

/// Longer than a core takes to look at its database.
const PATIENCE: Duration = Duration::from_secs(8);

/// Whom to ask.
pub(super) struct Look<'p> {
    pub(super) place: &'p Place,
    pub(super) deployment: Deployment,
    pub(super) registry: Registry,
    pub(super) routes: RouteTable,
    /// Of an admin of the country.
    pub(super) staff_token: Option<String>,
}

/// The routes, as the file has them.
pub(super) fn routes(place: &Place) -> Result<RouteTable, String> {
    let in_file = |why: String| format!("{}: {why}", place.wrangler.display());
    let text = fs::read_to_string(&place.wrangler).map_err(|error| in_file(error.to_string()))?;
    route::edit::routes(&text, &place.environment).map_err(in_file)
}

/// The region whose file lists a country, or else to which its route leads.
pub(super) fn region_of(
    registry: &Registry,
    routes: &RouteTable,
    country: Country,
) -> Result<RegionId, String> {
    let mut regions = registry.regions.iter();
    let listed = regions.find(|region| region.countries.contains(&country));
    let by_route = || Some(routes.find(country)?.region.clone());
    let region = listed.map(|region| region.id.clone()).or_else(by_route);
    region.ok_or_else(|| {
        format!(
            "{country}: no region's file lists it, and it has no route: --region says for which region it is checked; \
             smpctl country add {country} --region REGION adds it"
        )
    })
}

impl Look<'_> {
    /// The whole list.
    pub(super) fn items(&self, country: Country, region: &RegionId) -> Vec<Item> {
        let ready = self.ready(region);
        let flag = self.place.flag();
        let mut items = vec![
            way::registry(&self.registry, country, region, &flag),
            way::route(&self.routes, country, region, &flag),
            way::core(&ready, country, region, self.deployment.is_local()),
            way::sign_off(&self.registry, region, self.deployment.is_local()),
        ];
        let origin = self.core_origin(region);
        let ask = |path: &str| ask_core(origin.as_deref(), &format!("/v1/master-data/{path}"));
        let (master_data, row) = master_data::items(country, ask);
        items.extend(master_data);
        let code = row.map(|row| row.calling_code);
        items.push(phone::item(country, code.as_deref()));
        let serves = way::served(&ready).is_ok_and(|served| served.contains(&country));
        items.extend(self.office(country, origin.as_deref(), serves));
        items
    }

    /// What a region's core says of itself.
    pub(super) fn ready(&self, region: &RegionId) -> Asked {
        ask_core(self.core_origin(region).as_deref(), "/readyz")
    }

    fn core_origin(&self, region: &RegionId) -> Option<String> {
        self.deployment.core_origin(region, &self.routes)
    }

    fn office(&self, country: Country, origin: Option<&str>, serves: bool) -> Vec<Item> {
        let core = origin.map(|origin| edge::Client::new(origin, String::new()));
        let staff = match (&core, &self.staff_token) {
            (Some(core), Some(token)) if serves => Ok(core.staff_of_core(token, country)),
            (_, None) => Err("nobody's token was given"),
            _ => Err("no core serves the country yet"),
        };
        let mut items = match &staff {
            Ok(staff) => office::items(country, |path| staff.row(&format!("crm/{path}"))),
            Err(why) => office::unseen(why),
        };
        let in_core = staff.map_err(ToOwned::to_owned).and_then(|staff| {
            let page = staff.row("crm/pancake/connections?limit=200")?;
            let rows = page.get("items").and_then(Value::as_array);
            let text = |row: &Value, name: &str| Some(row.get(name)?.as_str()?.to_owned());
            Ok(rows
                .into_iter()
                .flatten()
                .filter_map(|row| Some((text(row, "connection_id")?, text(row, "status")?)))
                .collect())
        });
        let list = self
            .deployment
            .edge_client(&self.place.access)
            .and_then(|client| client.connections());
        let at_edge = list.map(|list| {
            let own = list.connections.into_iter();
            own.filter(|known| known.country == country.as_str())
                .map(|known| known.id)
                .collect()
        });
        items.push(office::connections(country, at_edge, in_core, origin));
        items
    }
}

fn ask_core(origin: Option<&str>, path: &str) -> Asked {
    let origin = origin.ok_or("nobody says where the core is: the region has no route")?;
    read_json(&agent(PATIENCE), &format!("{origin}{path}"))
}
