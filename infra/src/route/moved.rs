//! The countries that a change is about, and where their requests go.

use protocol::routes::{RouteState, RouteTable, Spool};
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
            waits: waits(after, country),
            requests_1h: None,
        })
        .filter(|moved| moved.from != moved.to)
        .collect()
}

/// Whether a country's records wait at the edge for its region, which is paused. One that is paused by itself is told to
/// come again.
fn waits(routes: &RouteTable, country: Country) -> bool {
    let is_open = routes.own_state(country) == Some(RouteState::Open);
    let route = routes.find(country).filter(|_| is_open);
    route.is_some_and(|route| {
        route.state == RouteState::Paused && matches!(route.spool, Spool::Sealed(_))
    })
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
    /// Whether its records wait at the edge from then on.
    pub waits: bool,
    /// Its requests of the last hour, as the edge counted them; none if it was not asked.
    pub requests_1h: Option<u64>,
}

#[cfg(test)]
mod tests {
    use protocol::sealed::OpeningKey;
    use serde_json::json;

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
            .inspect(|moved| assert!(!moved.waits, "{moved:?}"))
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

    #[test]
    fn records_wait_for_a_region_that_is_paused_and_has_a_spool_and_not_for_a_country() {
        let key = OpeningKey::derive("a-1", &[7; 32]).unwrap();
        let key = key.sealing_key().to_string();
        let table = |asia: &str, country: &str, spool: &str| {
            let spool = match spool {
                "sealed" => {
                    json!({"origin": "https://a.example", "state": asia, "spool": "sealed", "sealing_key": key})
                }
                _ => json!({"origin": "https://a.example", "state": asia}),
            };
            let country = json!({"region": "smp-asia", "state": country});
            let table =
                json!({"version": 1, "countries": {"VN": country}, "regions": {"smp-asia": spool}});
            RouteTable::from_value(&table).unwrap()
        };
        for (asia, country, spool, expected) in [
            ("paused", "open", "sealed", true),
            ("paused", "open", "off", false),
            ("paused", "paused", "sealed", false),
            ("open", "paused", "sealed", false),
        ] {
            let before = table("open", "open", spool);
            let moved = moved(&before, &table(asia, country, spool));
            let waits: Vec<_> = moved.iter().map(|moved| moved.waits).collect();
            assert_eq!(waits, [expected], "{asia} {country} {spool}");
        }
    }
}
