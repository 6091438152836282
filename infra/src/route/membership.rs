//! Which regions the table has, and which countries they have: what is new begins paused.

use protocol::routes::{self, RouteTable};
use protocol::{Country, RegionId};

use super::{Change, RegionRoute, State, Way, way};
use crate::registry::Spool;

/// All that the table says of a region; none if it has no such region. A key that seals nothing is not known here.
pub(super) fn region_route(routes: &RouteTable, region: &RegionId) -> Option<RegionRoute> {
    let route = routes.regions().find(|route| route.region == *region)?;
    let (spool, sealing_key) = match &route.spool {
        routes::Spool::Off => (Spool::Off, None),
        routes::Spool::Sealed(key) => (Spool::Sealed, Some(key.to_string())),
    };
    Some(RegionRoute {
        origin: route.origin.to_string(),
        state: route.state.into(),
        spool,
        sealing_key,
    })
}

/// A region that is there already keeps its state, and must else be as it is asked for.
pub(super) fn add_region(
    routes: &RouteTable,
    region: &RegionId,
    wanted: RegionRoute,
    countries: &[Country],
) -> Result<Vec<Change>, String> {
    if wanted.spool == Spool::Sealed && wanted.sealing_key.is_none() {
        return Err(format!(
            "{region}: spool = \"sealed\" needs the region's sealing key: smpctl sealing-key makes one"
        ));
    }
    let there = region_route(routes, region);
    // A country of a region that is paused is paused with it, and opened with it. It must not be open at once because
    // somebody has opened the region since.
    let state = match &there {
        Some(there) if there.state == State::Open => State::Paused,
        _ => State::Open,
    };
    let mut changes = Vec::new();
    match there {
        Some(there) => {
            let wanted = RegionRoute {
                state: there.state,
                ..wanted
            };
            if !there.is_like(&wanted) {
                return Err(format!(
                    "{region} has a route already, and another one: {} is there, with {}. Change it by hand and raise \
                     version, or take it away first",
                    there.origin,
                    there.key_in_force().unwrap_or("spool off")
                ));
            }
        }
        None => changes.push(Change::Route {
            region: region.to_string(),
            from: None,
            to: Some(wanted),
        }),
    }
    let mut seen: Vec<Country> = Vec::new();
    for country in countries {
        if !seen.contains(country) {
            seen.push(*country);
            changes.extend(add_country(routes, *country, region, state)?);
        }
    }
    Ok(changes)
}

/// Nothing if the country has that region already, whatever its state is.
pub(super) fn add_country(
    routes: &RouteTable,
    country: Country,
    region: &RegionId,
    state: State,
) -> Result<Vec<Change>, String> {
    match way(routes, country) {
        Some(there) if there.region == region.as_str() => Ok(Vec::new()),
        Some(there) => Err(format!(
            "{country} has a route to {}: smpctl route flip moves it",
            there.region
        )),
        None => Ok(vec![Change::Country {
            country: country.to_string(),
            from: None,
            to: Some(Way {
                region: region.to_string(),
                state,
            }),
        }]),
    }
}

/// Nothing if there is no such region.
pub(super) fn remove_region(routes: &RouteTable, region: &RegionId) -> Result<Vec<Change>, String> {
    let Some(there) = region_route(routes, region) else {
        return Ok(Vec::new());
    };
    if there.state == State::Open {
        return Err(format!(
            "{region} is open, and would be taken away from under its traffic: smpctl route pause comes first"
        ));
    }
    let countries = routes
        .countries()
        .filter(|(_, of)| *of == region)
        .map(|(country, _)| Change::Country {
            country: country.to_string(),
            from: way(routes, country),
            to: None,
        });
    let mut changes: Vec<_> = countries.collect();
    changes.push(Change::Route {
        region: region.to_string(),
        from: Some(there),
        to: None,
    });
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::super::tests::table;
    use super::super::{Goal, changes};
    use super::*;

    const KEY: &str = "smp-us-1:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

    fn country(code: &str) -> Country {
        Country::parse(code).unwrap()
    }

    fn region(id: &str) -> RegionId {
        RegionId::parse(id).unwrap()
    }

    fn add(id: &str, origin: &str, spool: Spool, countries: &[&str]) -> Goal {
        Goal::AddRegion {
            region: region(id),
            origin: protocol::routes::Origin::parse(origin).unwrap(),
            spool,
            sealing_key: None,
            countries: countries.iter().map(|code| country(code)).collect(),
        }
    }

    fn said(goal: &Goal) -> Vec<String> {
        let changes = changes(&table(), goal).unwrap();
        changes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_region_that_is_new_is_paused_and_its_countries_are_so_by_it() {
        assert_eq!(
            said(&add(
                "smp-us",
                "https://u.example",
                Spool::Off,
                &["US", "CA", "US"]
            )),
            [
                "smp-us: no route → https://u.example, paused, spool off",
                "US: no region → smp-us",
                "CA: no region → smp-us"
            ]
        );
    }

    #[test]
    fn a_region_that_is_there_stays_and_a_country_that_it_lacks_is_added_paused_if_the_region_is_open()
     {
        assert!(
            said(&add(
                "smp-asia",
                "https://a.example",
                Spool::Off,
                &["VN", "MM"]
            ))
            .is_empty()
        );
        assert_eq!(
            said(&add(
                "smp-asia",
                "https://a.example",
                Spool::Off,
                &["VN", "LA"]
            )),
            ["LA: no region → smp-asia, paused"]
        );
    }

    #[test]
    fn a_region_that_is_there_in_another_way_is_not_taken_for_the_one_asked_for() {
        let other = add("smp-asia", "https://b.example", Spool::Off, &[]);
        let mistake = changes(&table(), &other).unwrap_err();
        assert!(
            mistake.contains("https://a.example is there, with spool off"),
            "{mistake}"
        );
        let mut sealed = add("smp-asia", "https://a.example", Spool::Sealed, &[]);
        assert!(
            changes(&table(), &sealed)
                .unwrap_err()
                .contains("needs the region's sealing key")
        );
        if let Goal::AddRegion { sealing_key, .. } = &mut sealed {
            *sealing_key = Some(protocol::sealed::SealingKey::parse(KEY).unwrap());
        }
        assert!(
            changes(&table(), &sealed)
                .unwrap_err()
                .contains("another one")
        );
    }

    #[test]
    fn a_country_that_is_new_is_paused_and_one_of_another_region_is_moved_by_a_flip() {
        let add = |code, id| Goal::AddCountry {
            country: country(code),
            region: region(id),
        };
        assert_eq!(
            said(&add("LA", "smp-asia")),
            ["LA: no region → smp-asia, paused"]
        );
        assert!(said(&add("VN", "smp-asia")).is_empty());
        assert!(said(&add("MM", "smp-asia")).is_empty());
        let mistake = changes(&table(), &add("VN", "smp-china")).unwrap_err();
        assert_eq!(
            mistake,
            "VN has a route to smp-asia: smpctl route flip moves it"
        );
        let mistake = changes(&table(), &add("US", "smp-us")).unwrap_err();
        assert!(mistake.contains("has no smp-us"), "{mistake}");
    }

    #[test]
    fn only_a_region_that_is_paused_is_taken_away_and_its_countries_with_it() {
        assert_eq!(
            said(&Goal::RemoveRegion(region("smp-china"))),
            [
                "CN: smp-china → no region",
                "smp-china: https://c.example, paused, spool off → no route"
            ]
        );
        assert!(said(&Goal::RemoveRegion(region("smp-us"))).is_empty());
        let mistake = changes(&table(), &Goal::RemoveRegion(region("smp-asia"))).unwrap_err();
        assert!(mistake.contains("smpctl route pause"), "{mistake}");
    }

    #[test]
    fn what_was_added_is_taken_back_unless_it_was_changed_since() {
        let route = |state| RegionRoute {
            origin: "https://c.example".to_owned(),
            state,
            spool: Spool::Off,
            sealing_key: Some("held back".to_owned()),
        };
        let added = |state| Change::Route {
            region: "smp-china".to_owned(),
            from: None,
            to: Some(route(state)),
        };
        assert_eq!(
            said(&Goal::Revert(vec![added(State::Paused)])),
            ["smp-china: https://c.example, paused, spool off → no route"]
        );
        let opened = Goal::Revert(vec![added(State::Open)]);
        let mistake = changes(&table(), &opened).unwrap_err();
        assert!(mistake.contains("changed again since"), "{mistake}");
        let removed = Goal::Revert(vec![added(State::Paused).inverse()]);
        assert!(changes(&table(), &removed).is_err());
    }
}
