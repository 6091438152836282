//! The countries that a change is about, and where their requests go.

use protocol::routes::{RouteState, RouteTable};
use protocol::{Country, RegionId};
use serde::Serialize;

use super::Change;

/// The countries that a table has and that changes are about, by themselves or with their region.
#[must_use]
pub fn touched(routes: &RouteTable, changes: &[Change]) -> Vec<Country> {
    let is_touched = |(country, region): &(Country, &RegionId)| {
        changes.iter().any(|change| match change {
            Change::Country { country: code, .. } => country.as_str() == code,
            Change::Region { region: id, .. } | Change::Route { region: id, .. } => {
                region.as_str() == id
            }
        })
    };
    let countries = routes.countries().filter(is_touched);
    countries.map(|(country, _)| country).collect()
}

/// The countries whose requests go elsewhere, or nowhere any more, or somewhere again.
#[must_use]
pub fn moved(before: &RouteTable, after: &RouteTable) -> Vec<Moved> {
    let leads_to = |routes: &RouteTable, country| match routes.state(country) {
        RouteState::Open => routes.find(country).map(|route| route.region.to_string()),
        RouteState::Paused => None,
    };
    let mut countries: Vec<_> = before
        .countries()
        .chain(after.countries())
        .map(|(country, _)| country)
        .collect();
    countries.sort_unstable();
    countries.dedup();
    countries
        .into_iter()
        .map(|country| Moved {
            country: country.to_string(),
            from: leads_to(before, country),
            to: leads_to(after, country),
            requests_1h: None,
        })
        .filter(|moved| moved.from != moved.to)
        .collect()
}

/// A country whose requests another table takes elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// Which.
    pub country: String,
    /// Its region before; none if it was paused or had none.
    pub from: Option<String>,
    /// Its region after.
    pub to: Option<String>,
    /// Its requests of the last hour, as the edge counted them; none if it was not asked.
    pub requests_1h: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::super::tests::{table, target};
    use super::super::{Goal, State, changes};
    use super::*;

    #[test]
    fn a_change_is_about_the_country_that_it_names_or_those_of_its_region() {
        let of = |goal: &Goal| {
            let table = table();
            let countries = touched(&table, &changes(&table, goal).unwrap());
            let codes = countries.iter().map(ToString::to_string);
            codes.collect::<Vec<_>>()
        };
        assert_eq!(of(&Goal::State(target("VN"), State::Paused)), ["VN"]);
        let mut of_region = of(&Goal::State(target("smp-asia"), State::Paused));
        of_region.sort();
        assert_eq!(of_region, ["MM", "VN"]);
        assert!(of(&Goal::State(target("VN"), State::Open)).is_empty());
    }

    #[test]
    fn countries_of_a_region_that_is_paused_go_nowhere() {
        let after = RouteTable::from_json(
            r#"{"version":4,"countries":{"VN":"smp-asia","CN":"smp-asia","MM":"smp-asia"},"regions":{
                "smp-asia":{"origin":"https://a.example","state":"open"}}}"#,
        )
        .unwrap();
        let moved: Vec<_> = moved(&table(), &after)
            .into_iter()
            .map(|moved| (moved.country, moved.from, moved.to))
            .collect();
        let asia = || Some("smp-asia".to_owned());
        assert_eq!(
            moved,
            [
                ("CN".to_owned(), None, asia()),
                ("MM".to_owned(), None, asia())
            ]
        );
    }
}
