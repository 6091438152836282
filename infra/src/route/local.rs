//! The route table by which the platform on this machine runs: that of `wrangler.toml`, with the origins, sealing keys
//! and spools of the cores that run here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

/// The file of a platform that lists its cores, as JSON.
pub const CORES_FILE: &str = "cores.json";

/// The first line of what is rendered here.
pub const RENDERED: &str = "# Rendered from the repository's wrangler.toml at each start.\n";

/// A core that runs here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Core {
    /// Where.
    pub origin: String,
    /// To what its records are sealed while they wait; none if none may wait.
    pub sealing_key: Option<String>,
}

/// Replaces in a table's regions what is this machine's own. Version, countries and states stay. A core without a route
/// is one that is being added: it runs before anything is led to it.
pub fn localize(routes: &mut Table, cores: &BTreeMap<String, Core>) -> Result<(), String> {
    let regions = routes.get_mut("regions").and_then(Value::as_table_mut);
    let regions = regions.ok_or("wrangler.toml has no [vars.ROUTES.regions]")?;
    for (region, route) in regions {
        let core = cores.get(region);
        let core =
            core.ok_or_else(|| format!("no core of {region} runs here, and it has a route"))?;
        let route = route.as_table_mut();
        let route = route.ok_or_else(|| format!("regions.{region}: a table is expected"))?;
        route.insert("origin".to_owned(), core.origin.clone().into());
        let spool = if let Some(key) = &core.sealing_key {
            route.insert("sealing_key".to_owned(), key.clone().into());
            "sealed"
        } else {
            "off"
        };
        route.insert("spool".to_owned(), spool.into());
    }
    Ok(())
}

/// What runs here, with the routes of another `wrangler.toml`.
pub fn render(
    wrangler: &str,
    running: &str,
    cores: &BTreeMap<String, Core>,
) -> Result<String, String> {
    let parse = |text: &str| text.parse::<Table>().map_err(|error| error.to_string());
    let (wrangler, mut running) = (parse(wrangler)?, parse(running)?);
    let routes = wrangler.get("vars").and_then(|vars| vars.get("ROUTES"));
    let routes = routes.and_then(Value::as_table);
    let mut routes = routes.ok_or("wrangler.toml has no [vars.ROUTES]")?.clone();
    localize(&mut routes, cores)?;
    let vars = running.get_mut("vars").and_then(Value::as_table_mut);
    let vars = vars.ok_or("the platform's wrangler.toml has no [vars]")?;
    vars.insert("ROUTES".to_owned(), routes.into());
    Ok(format!("{RENDERED}{running}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cores() -> BTreeMap<String, Core> {
        let core = |origin: &str, sealing_key: Option<&str>| Core {
            origin: origin.to_owned(),
            sealing_key: sealing_key.map(ToOwned::to_owned),
        };
        BTreeMap::from([
            (
                "smp-asia".to_owned(),
                core("http://127.0.0.1:1", Some("local-1:key")),
            ),
            ("smp-china".to_owned(), core("http://127.0.0.1:2", None)),
        ])
    }

    const WRANGLER: &str = "name = \"smp-edge\"\n[vars.ROUTES]\nversion = 8\n[vars.ROUTES.countries]\nVN = \"smp-china\"\n\
         [vars.ROUTES.regions.smp-asia]\norigin = \"https://a.example\"\nstate = \"paused\"\nspool = \"off\"\n\
         [vars.ROUTES.regions.smp-china]\norigin = \"https://c.example\"\nstate = \"open\"\nspool = \"off\"\n";

    #[test]
    fn version_countries_and_states_are_the_files_and_the_rest_is_this_machines() {
        let running = "main = \"/here/entry.js\"\n[vars.ROUTES]\nversion = 7\n";
        let rendered: Table = render(WRANGLER, running, &cores())
            .unwrap()
            .parse()
            .unwrap();
        let expected: Table = "main = \"/here/entry.js\"\n[vars.ROUTES]\nversion = 8\n[vars.ROUTES.countries]\n\
             VN = \"smp-china\"\n[vars.ROUTES.regions.smp-asia]\norigin = \"http://127.0.0.1:1\"\nstate = \"paused\"\n\
             spool = \"sealed\"\nsealing_key = \"local-1:key\"\n[vars.ROUTES.regions.smp-china]\n\
             origin = \"http://127.0.0.1:2\"\nstate = \"open\"\nspool = \"off\"\n"
            .parse()
            .unwrap();
        assert_eq!(rendered, expected);
    }

    #[test]
    fn a_route_without_a_core_here_is_a_mistake() {
        let mut few = cores();
        few.remove("smp-china");
        let mistake = render(WRANGLER, "[vars]", &few).unwrap_err();
        assert_eq!(
            mistake,
            "no core of smp-china runs here, and it has a route"
        );
    }

    #[test]
    fn a_core_without_a_route_changes_nothing() {
        let mut many = cores();
        many.insert("smp-us".to_owned(), many["smp-china"].clone());
        assert_eq!(
            render(WRANGLER, "[vars]", &many),
            render(WRANGLER, "[vars]", &cores())
        );
    }
}
