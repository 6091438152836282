//! A route table: never a panic, and what is read is whole.

#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::Country;
use protocol::connection::Connections;
use protocol::routes::{InvalidRoutes, Origin, ROUTES_LIMIT_BYTES, RouteTable, choose_country};
use serde_json::Value;

fuzz_target!(|json: &str| {
    match RouteTable::from_json(json) {
        Ok(routes) => {
            let value: Value = serde_json::from_str(json).unwrap();
            assert!(value.to_string().len() <= ROUTES_LIMIT_BYTES);
            assert_eq!(RouteTable::from_value(&value).as_ref(), Ok(&routes));
            assert_eq!(value["version"].as_u64(), Some(routes.version().into()));
            assert_eq!(
                routes.countries().count(),
                value["countries"].as_object().unwrap().len()
            );
            for (country, region) in routes.countries() {
                let route = routes.find(country).unwrap();
                assert_eq!(&route.region, region);
                assert_eq!(
                    Origin::parse(route.origin.as_str()).as_ref(),
                    Ok(&route.origin)
                );
            }
        }
        Err(InvalidRoutes(mistakes)) => {
            assert!(!mistakes.is_empty() && mistakes.iter().all(|mistake| !mistake.is_empty()));
        }
    }
    // The other document of the edge, and the texts that a table is made of.
    let _ = Connections::from_json(json);
    if let Ok(origin) = Origin::parse(json) {
        assert_eq!(origin.as_str(), json);
    }
    assert_eq!(
        choose_country(Some(json), None, None),
        Country::parse(json).ok()
    );
    let _ = choose_country(None, Some(json), Some(json));
});
