//! The route table.

use proptest::prelude::*;
use protocol::routes::{InvalidRoutes, Origin, ROUTES_LIMIT_BYTES, RouteTable, choose_country};
use protocol::{Country, RegionId};
use serde_json::{Map, Value, json};

fn table() -> Value {
    json!({
        "version": 1,
        "countries": {"VN": "smp-asia", "CN": "smp-china"},
        "regions": {
            "smp-asia": {"origin": "https://core.smp-asia.example.com", "state": "open"},
            "smp-china": {"origin": "http://localhost:8702", "state": "paused"},
        },
    })
}

#[test]
fn a_table_of_exactly_the_limit_is_read_and_one_byte_more_is_refused() {
    let mut value = table();
    let mut number = 0;
    let mut bytes = value.to_string().len();
    while bytes + 300 < ROUTES_LIMIT_BYTES {
        value["regions"][format!("smp-r{number}")] =
            json!({"origin": "https://core.example.com", "state": "open"});
        number += 1;
        bytes = value.to_string().len();
    }
    let fill = |missing: usize| {
        let mut value = value.clone();
        let empty = json!({"origin": "https://", "state": "open"});
        value["regions"]["filler"] = empty;
        let missing = missing - value.to_string().len();
        // Labels of 49 characters, the last one of at least one.
        let host: String = (1..=missing)
            .map(|at| {
                if at % 50 == 0 && at != missing {
                    '.'
                } else {
                    'b'
                }
            })
            .collect();
        value["regions"]["filler"]["origin"] = json!(format!("https://{host}"));
        value.to_string()
    };
    let exact = fill(ROUTES_LIMIT_BYTES);
    assert_eq!(exact.len(), ROUTES_LIMIT_BYTES);
    RouteTable::from_json(&exact).unwrap();
    let InvalidRoutes(mistakes) = RouteTable::from_json(&fill(ROUTES_LIMIT_BYTES + 1)).unwrap_err();
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert!(mistakes[0].contains("5121 bytes"), "{mistakes:?}");
}

#[test]
fn a_version_is_a_whole_number_from_1_to_the_largest_u32() {
    for (version, is_read) in [
        (json!(1), true),
        (json!(4_294_967_295_u32), true),
        (json!(0), false),
        (json!(-1), false),
        (json!(4_294_967_296_u64), false),
        (json!(1.0), false),
        (json!("1"), false),
        (Value::Null, false),
    ] {
        let mut value = table();
        value["version"] = version.clone();
        assert_eq!(RouteTable::from_value(&value).is_ok(), is_read, "{version}");
    }
}

#[test]
fn a_document_that_is_no_table_is_refused() {
    for json in [
        "",
        "null",
        "[]",
        "7",
        "\"x\"",
        "{",
        "{}",
        "{\"version\":1}",
        "{} {}",
        "\u{feff}{}",
        "{\"version\":1e999}",
        &"[".repeat(100_000),
    ] {
        assert!(RouteTable::from_json(json).is_err(), "{json:.40}");
    }
}

#[test]
fn the_first_sign_of_a_country_decides_even_if_it_has_no_region() {
    let country = |code: &str| Country::parse(code).ok();
    for (header, host, cf, expected) in [
        (
            Some("us"),
            Some("vn.example.com"),
            Some("SG"),
            country("US"),
        ),
        (Some(""), Some("vn.example.com"), Some("SG"), None),
        (Some(" VN"), Some("vn.example.com"), Some("SG"), None),
        (Some("VN, CN"), None, None, None),
        (None, Some("VN.example.com:8787"), Some("SG"), country("VN")),
        (None, Some("us.example.com"), Some("SG"), country("US")),
        (None, Some("vn"), Some("SG"), country("SG")),
        (None, Some("127.0.0.1:8787"), Some("SG"), country("SG")),
        (None, Some("[::1]:8787"), Some("SG"), country("SG")),
        (None, Some(""), None, None),
        (None, Some("."), None, None),
        (None, Some("việt.example.com"), None, None),
        (None, None, None, None),
    ] {
        assert_eq!(
            choose_country(header, host, cf),
            expected,
            "{header:?} {host:?} {cf:?}"
        );
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        key().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Words that a table is made of, and others.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "version",
            "countries",
            "regions",
            "origin",
            "state",
            "open",
            "paused",
            "smp-asia",
            "smp-china",
            "VN",
            "CN",
            "vn",
            "https://core.example.com",
            "http://localhost:1",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,8}",
    ]
}

/// A right table with one of its members replaced, at any depth.
fn nearly_a_table() -> impl Strategy<Value = Value> {
    let pointers = vec![
        "",
        "/version",
        "/countries",
        "/countries/VN",
        "/regions",
        "/regions/smp-asia",
        "/regions/smp-asia/origin",
        "/regions/smp-asia/state",
    ];
    (prop::sample::select(pointers), any_json()).prop_map(|(pointer, replacement)| {
        let mut value = table();
        *value.pointer_mut(pointer).unwrap() = replacement;
        value
    })
}

/// What is true of every table that is read at all.
fn check(value: &Value) -> Result<(), TestCaseError> {
    let read = RouteTable::from_value(value);
    let json = value.to_string();
    prop_assert_eq!(&RouteTable::from_json(&json), &read);
    match read {
        Ok(routes) => {
            prop_assert!(routes.version() > 0 && json.len() <= ROUTES_LIMIT_BYTES);
            for (country, region) in routes.countries() {
                let route = routes.find(country).unwrap();
                prop_assert_eq!(&route.region, region);
                prop_assert_eq!(
                    value["countries"][country.as_str()].as_str(),
                    Some(region.as_str())
                );
                let origin = value["regions"][region.as_str()]["origin"].as_str();
                prop_assert_eq!(origin, Some(route.origin.as_str()));
            }
            prop_assert_eq!(
                routes.countries().count(),
                value["countries"].as_object().unwrap().len()
            );
            prop_assert_eq!(
                routes.regions().count(),
                value["regions"].as_object().unwrap().len()
            );
        }
        Err(InvalidRoutes(mistakes)) => prop_assert!(!mistakes.is_empty()),
    }
    Ok(())
}

proptest! {
    #[test]
    fn an_arbitrary_document_never_panics(value in any_json(), text in "\\PC{0,100}") {
        check(&value)?;
        let _ = RouteTable::from_json(&text);
    }

    #[test]
    fn a_table_with_one_member_replaced_is_read_in_full_or_refused(value in nearly_a_table()) {
        check(&value)?;
    }

    #[test]
    fn an_origin_is_read_back_from_its_text(
        host in "[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?){0,3}\\.example",
        port in prop::option::of(1..=u16::MAX),
        local: bool,
    ) {
        let port = port.map_or_else(String::new, |port| format!(":{port}"));
        let text = if local { format!("http://localhost{port}") } else { format!("https://{host}{port}") };
        let origin = Origin::parse(&text).unwrap();
        prop_assert_eq!(origin.as_str(), &text);
        prop_assert_eq!(origin.to_string(), text.clone());
        prop_assert_eq!(Origin::parse(origin.as_str()).unwrap(), origin);
        // Nothing may stand behind it.
        for tail in ["/", "/x", "?x", "#x", "@x", " ", ".", ":1:2"] {
            prop_assert!(Origin::parse(&format!("{text}{tail}")).is_err(), "{}", tail);
        }
        if port.is_empty() {
            for tail in [":", ":0", ":65536", ":x", ":+1"] {
                prop_assert!(Origin::parse(&format!("{text}{tail}")).is_err(), "{}", tail);
            }
        }
    }

    #[test]
    fn an_arbitrary_text_is_an_origin_only_without_user_path_query_and_space(
        text in prop_oneof!["\\PC{0,30}", "https?://[a-zA-Z0-9.:/@?# -]{0,20}"],
    ) {
        if let Ok(origin) = Origin::parse(&text) {
            prop_assert_eq!(origin.as_str(), &text);
            let authority = text.split_once("://").unwrap().1;
            let clean = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b':');
            prop_assert!(authority.bytes().all(clean));
        }
    }

    #[test]
    fn an_id_of_a_region_is_read_back_from_its_text(
        id in "[a-z][a-z0-9]{1,8}(-[a-z0-9]{1,7}){0,2}",
    ) {
        let region = RegionId::parse(&id).unwrap();
        prop_assert_eq!(region.as_str(), &id);
        prop_assert_eq!(region.to_string().parse(), Ok(region.clone()));
        let json = serde_json::to_string(&region).unwrap();
        prop_assert_eq!(serde_json::from_str::<RegionId>(&json).unwrap(), region.clone());
        let prefix = region.env_prefix();
        prop_assert_eq!(prefix.to_ascii_lowercase().replace('_', "-"), id);
    }

    #[test]
    fn an_arbitrary_text_is_a_region_only_if_it_may_be_a_host_label(text in "\\PC{0,6}|[a-z0-9-]{0,36}") {
        let clean = text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        let expected = clean
            && (2..=32).contains(&text.len())
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && !text.ends_with('-')
            && !text.contains("--");
        prop_assert_eq!(RegionId::parse(&text).is_ok(), expected);
    }

    #[test]
    fn choosing_a_country_never_panics(
        header in prop::option::of("\\PC{0,4}"),
        host in prop::option::of("\\PC{0,8}"),
        cf in prop::option::of("\\PC{0,4}"),
    ) {
        let chosen = choose_country(header.as_deref(), host.as_deref(), cf.as_deref());
        if let Some(header) = header {
            prop_assert_eq!(chosen, Country::parse(&header).ok());
        }
    }
}
