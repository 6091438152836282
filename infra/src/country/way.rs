//! The way to a country's core: the region's file, the route, and the core that says it serves the country.

use protocol::routes::{RouteState, RouteTable};
use protocol::{Country, RegionId};
use serde_json::Value;

use super::{Asked, Item};
use crate::registry::Registry;
use crate::registry::sign_off::judge;
use crate::route::way;

/// Whether the region's file lists the country.
#[must_use]
pub fn registry(registry: &Registry, country: Country, region: &RegionId, flag: &str) -> Item {
    const WHAT: &str = "registry";
    let file = format!("infra/regions/{region}.toml");
    let add = add(country, region, flag);
    match registry.find(region) {
        Some(found) if found.countries.contains(&country) => {
            Item::ok(WHAT, format!("{file} lists it"))
        }
        Some(_) => Item::missing(WHAT, format!("{file} does not list it"), add),
        None => Item::missing(
            WHAT,
            format!("there is no {file} that can be read"),
            "smpctl check says what is wrong with it; docs/open-a-region.md how one is made",
        ),
    }
}

fn add(country: Country, region: &RegionId, flag: &str) -> String {
    format!("smpctl country add {country} --region {region}{flag} --why WHY --yes")
}

/// Whether counsel has agreed to the region as it is with this country.
#[must_use]
pub fn sign_off(registry: &Registry, region: &RegionId, is_local: bool) -> Item {
    const WHAT: &str = "sign-off";
    let sign = format!("smpctl region sign-off {region} --by NAME --reference WHERE --yes");
    match registry.find(region).map(|found| judge(found, is_local)) {
        Some(Ok(found)) => Item::ok(WHAT, found),
        Some(Err(mistake)) => Item::missing(WHAT, mistake, sign),
        None => Item::missing(WHAT, format!("{region} has no file"), sign),
    }
}

/// Whether the table leads the country to the region. That it is paused is as it should be until it is opened.
#[must_use]
pub fn route(routes: &RouteTable, country: Country, region: &RegionId, flag: &str) -> Item {
    const WHAT: &str = "route";
    match way(routes, country) {
        None => Item::missing(
            WHAT,
            "there is none: its webhooks are answered no_region",
            add(country, region, flag),
        ),
        Some(there) if there.region != region.as_str() => Item::missing(
            WHAT,
            format!("it leads to {}, not to {region}", there.region),
            format!("smpctl route flip {country} --to {region}{flag} --why WHY --yes"),
        ),
        Some(_) if routes.state(country) == RouteState::Open => {
            Item::ok(WHAT, format!("to {region}, open"))
        }
        Some(_) => {
            let is_regions = routes.own_state(country) == Some(RouteState::Open);
            let (paused, target) = if is_regions {
                (format!("to {region}, which is paused"), region.to_string())
            } else {
                (format!("to {region}, paused"), country.to_string())
            };
            let open = format!(
                "smpctl route open {target}{flag} --why WHY --yes opens it, once nothing is missing"
            );
            Item::ok(WHAT, paused).then(open)
        }
    }
}

/// The countries that a core serves, by its `/readyz`.
pub fn served(ready: &Asked) -> Result<Vec<Country>, String> {
    let (status, ready) = ready.as_ref().map_err(Clone::clone)?;
    let countries = ready.get("countries").and_then(Value::as_array);
    let countries = countries.ok_or_else(|| {
        format!("its /readyz answers {status} and names no countries: is it of this version?")
    })?;
    let codes = countries.iter().filter_map(Value::as_str);
    Ok(codes.filter_map(|code| Country::parse(code).ok()).collect())
}

/// Whether a core that was started anew has all that a route to it asks for: it is ready, serves the country, and has
/// read its master data.
#[must_use]
pub fn is_settled(ready: &Asked, country: Country) -> bool {
    let serves = served(ready).is_ok_and(|served| served.contains(&country));
    let is_whole = ready.as_ref().is_ok_and(|(status, ready)| {
        let master_data = ready.pointer("/checks/master_data");
        *status == 200 && master_data.and_then(Value::as_str) == Some("loaded")
    });
    serves && is_whole
}

/// Whether the core is ready and serves the country.
#[must_use]
pub fn core(ready: &Asked, country: Country, region: &RegionId, is_local: bool) -> Item {
    const WHAT: &str = "core";
    match (served(ready), ready) {
        (Err(why), _) => Item::unknown(
            WHAT,
            why,
            "its origin in wrangler.toml must lead to it from here, too",
        ),
        (Ok(served), _) if !served.contains(&country) => Item::missing(
            WHAT,
            format!("it does not serve {country} (its CORE_COUNTRIES)"),
            apply(region, is_local),
        ),
        (Ok(_), Ok((200, _))) => Item::ok(WHAT, format!("it is ready, and serves {country}")),
        (Ok(_), _) => Item::missing(
            WHAT,
            format!("it serves {country}, and is not ready"),
            "docs/operations.md, \"A core\"; its /readyz says why",
        ),
    }
}

/// How a region's services are given what was rendered.
#[must_use]
pub fn apply(region: &RegionId, is_local: bool) -> String {
    if is_local {
        return format!("platform region up {region} --stage services");
    }
    format!(
        "smpctl country add with --apply tools/apply-region.sh, or by hand what is in \
         infra/rendered/kubernetes/{region}/services (docs/kubernetes.md)"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Verdict;
    use super::*;

    fn country(code: &str) -> Country {
        Country::parse(code).unwrap()
    }

    fn asia() -> RegionId {
        RegionId::parse("smp-asia").unwrap()
    }

    #[test]
    fn a_route_is_well_open_or_paused_and_missing_if_it_is_none_or_leads_elsewhere() {
        let routes = RouteTable::from_json(
            r#"{"version":3,"countries":{"VN":"smp-asia","CN":"smp-china","LA":{"region":"smp-asia","state":"paused"}},
                "regions":{"smp-asia":{"origin":"https://a.example","state":"open"},
                           "smp-china":{"origin":"https://c.example","state":"paused"}}}"#,
        )
        .unwrap();
        let item = |code: &str, region: &str| {
            route(
                &routes,
                country(code),
                &RegionId::parse(region).unwrap(),
                " --local",
            )
        };
        assert_eq!(
            item("VN", "smp-asia"),
            Item::ok("route", "to smp-asia, open")
        );
        let paused = item("LA", "smp-asia");
        assert_eq!(paused.verdict, Verdict::Ok);
        assert!(paused.next.unwrap().contains("route open LA"));
        assert!(
            item("CN", "smp-china")
                .next
                .unwrap()
                .contains("open smp-china")
        );
        assert_eq!(item("US", "smp-asia").verdict, Verdict::Missing);
        let elsewhere = item("CN", "smp-asia");
        assert_eq!(elsewhere.verdict, Verdict::Missing);
        assert_eq!(
            elsewhere.next.as_deref(),
            Some("smpctl route flip CN --to smp-asia --local --why WHY --yes")
        );
    }

    #[test]
    fn a_core_serves_what_it_names_if_it_is_ready() {
        let judge = |ready: Asked| core(&ready, country("LA"), &asia(), false).verdict;
        let ready = |status, countries: &[&str]| Ok((status, json!({"countries": countries})));
        assert_eq!(judge(ready(200, &["VN", "LA"])), Verdict::Ok);
        assert_eq!(judge(ready(503, &["VN", "LA"])), Verdict::Missing);
        assert_eq!(judge(ready(200, &["VN"])), Verdict::Missing);
        assert_eq!(judge(Ok((200, json!({})))), Verdict::Unknown);
        assert_eq!(judge(Err("no answer".to_owned())), Verdict::Unknown);
    }

    #[test]
    fn a_core_is_settled_once_it_has_all() {
        let judge = |status, countries: &[&str], master_data: &str| {
            let ready = json!({"countries": countries, "checks": {"master_data": master_data}});
            is_settled(&Ok((status, ready)), country("LA"))
        };
        assert!(judge(200, &["VN", "LA"], "loaded"));
        assert!(!judge(503, &["VN", "LA"], "loaded"));
        assert!(!judge(200, &["VN"], "loaded"));
        assert!(!judge(200, &["VN", "LA"], "absent"));
        assert!(!is_settled(&Err("no answer".to_owned()), country("LA")));
    }

    #[test]
    fn the_registry_is_asked_for_the_country_in_its_region_only() {
        let regions = registry_of_this_repository();
        let judge = |code: &str| registry(&regions, country(code), &asia(), "").verdict;
        assert_eq!(judge("VN"), Verdict::Ok);
        assert_eq!(judge("CN"), Verdict::Missing);
        let nowhere = registry(
            &regions,
            country("VN"),
            &RegionId::parse("smp-mars").unwrap(),
            "",
        );
        assert!(nowhere.found.contains("there is no"));
    }

    fn registry_of_this_repository() -> Registry {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/regions");
        crate::registry::survey(std::path::Path::new(folder))
    }
}
