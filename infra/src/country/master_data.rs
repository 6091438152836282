//! Whether master data is complete for a country, by what its core serves of it.

use std::collections::BTreeSet;

use protocol::Country;
use serde_json::Value;

use super::{Asked, Item};

/// The currency against which each other one has its rates.
pub const BASE_CURRENCY: &str = "USD";

/// The parts of the interface, as `replication/seeds/05_i18n_translations.sql` has them.
pub const NAMESPACES: [&str; 4] = ["common", "errors", "pancake", "ticket"];

const CHANGE: &str = "docs/master-data.md, \"Change it through the API\"";

/// The row of a country: what the other lines go by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// ISO 4217.
    pub currency: String,
    /// BCP 47.
    pub locale: String,
    /// Of ITU-T E.164, without a plus.
    pub calling_code: String,
}

/// Each line; and the country's row, if it has one. `ask` reads a path below `/v1/master-data/`.
pub fn items(country: Country, ask: impl Fn(&str) -> Asked) -> (Vec<Item>, Option<Row>) {
    let there = ask(&format!("countries/{country}"));
    let text = |row: &Value, name: &str| {
        let value = row.get(name).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let put = format!("PUT /v1/master-data/countries/{country} at the hub's core: {CHANGE}");
    let (row, item) = match there {
        Ok((200, row)) if row.get("is_active") == Some(&Value::Bool(true)) => {
            let found = format!("{}, active", text(&row, "name"));
            (row, Item::ok("country row", found))
        }
        Ok((200, row)) => {
            let item = Item::missing("country row", "it is not active", put);
            (row, item)
        }
        other => return (vec![judge("country row", &other, put)], None),
    };
    let found = Row {
        currency: text(&row, "default_currency"),
        locale: text(&row, "default_locale"),
        calling_code: text(&row, "calling_code"),
    };
    let mut items = vec![item, time_zone(country, &row)];
    items.extend(money(&found.currency, &ask));
    items.push(texts(&found.locale, &ask));
    items.push(taxes(country, &ask));
    (items, Some(found))
}

/// What no answer of 200 means.
fn judge(what: &'static str, asked: &Asked, put: String) -> Item {
    match asked {
        Ok((404, _)) => Item::missing(what, "there is none", put),
        Ok((409 | 503, _)) => Item::unknown(
            what,
            "the core has no master data yet",
            "docs/master-data.md, \"Mend\"",
        ),
        Ok((status, _)) => Item::unknown(
            what,
            format!("the core answered {status}"),
            "docs/master-data.md, \"Read\"",
        ),
        Err(why) => Item::unknown(what, why.clone(), "docs/master-data.md, \"Read\""),
    }
}

fn time_zone(country: Country, row: &Value) -> Item {
    let zones = row.get("time_zones").and_then(Value::as_array);
    match zones.and_then(|zones| zones.first()?.as_str()) {
        Some(zone) => Item::ok("time zone", format!("{zone}: its jobs go by this clock")),
        None => Item::missing(
            "time zone",
            "there is none",
            format!("time_zones of /v1/master-data/countries/{country}: {CHANGE}"),
        ),
    }
}

/// The currency, and its rates of today, one in each direction: none is computed from the other.
fn money(currency: &str, ask: &impl Fn(&str) -> Asked) -> Vec<Item> {
    let put = |path: &str| format!("PUT /v1/master-data/{path} at the hub's core: {CHANGE}");
    let own = match ask(&format!("currencies/{currency}")) {
        Ok((200, row)) if row.get("is_active") == Some(&Value::Bool(true)) => {
            Item::ok("currency", currency)
        }
        Ok((200, _)) => Item::missing(
            "currency",
            format!("{currency} is not active"),
            put(&format!("currencies/{currency}")),
        ),
        other => judge("currency", &other, put(&format!("currencies/{currency}"))),
    };
    if currency == BASE_CURRENCY {
        return vec![own, Item::ok("rates", format!("{currency} is the base"))];
    }
    let mut found = Vec::new();
    for (base, quote) in [(BASE_CURRENCY, currency), (currency, BASE_CURRENCY)] {
        match ask(&format!("rates?base={base}&quote={quote}")) {
            Ok((200, row)) => {
                let rate = row.get("rate").and_then(Value::as_str).unwrap_or_default();
                found.push(format!("1 {base} = {rate} {quote}"));
            }
            other => {
                let path = format!("rates/{base}/{quote}/VALID_FROM");
                let mut item = judge("rates", &other, put(&path));
                item.found = format!("{base} to {quote}: {}", item.found);
                return vec![own, item];
            }
        }
    }
    vec![own, Item::ok("rates", found.join(", "))]
}

/// Texts of the locale's language. Each that there is none of is shown in English.
fn texts(locale: &str, ask: &impl Fn(&str) -> Asked) -> Item {
    const WHAT: &str = "translations";
    let language = |locale: &str| locale.split('-').next().unwrap_or_default().to_lowercase();
    let (mut own, mut all) = (0_usize, 0_usize);
    let mut lacking = BTreeSet::new();
    let put = format!(
        "PUT /v1/master-data/translations/{locale}/NAMESPACE/KEY at the hub's core: {CHANGE}"
    );
    for namespace in NAMESPACES {
        let path = format!("translations/{locale}/{namespace}?sources=true");
        let answer = match ask(&path) {
            Ok((200, answer)) => answer,
            other => {
                let mut item = judge(WHAT, &other, put);
                item.found = format!("{namespace}: {}", item.found);
                return item;
            }
        };
        let sources = answer.get("sources").and_then(Value::as_object);
        for source in sources.into_iter().flat_map(|sources| sources.values()) {
            all += 1;
            if source.as_str().map(language) == Some(language(locale)) {
                own += 1;
            } else {
                lacking.insert(namespace);
            }
        }
    }
    if own == all {
        return Item::ok(WHAT, format!("{locale}: {own} texts"));
    }
    let lacking: Vec<_> = lacking.into_iter().collect();
    let found = format!(
        "{locale}: {own} of {all} texts; the others, in {}, are shown in English",
        lacking.join(", ")
    );
    Item::missing(WHAT, found, put)
}

fn taxes(country: Country, ask: &impl Fn(&str) -> Asked) -> Item {
    let put = format!(
        "PUT /v1/master-data/taxes/{country}/vat/standard/VALID_FROM at the hub's core: {CHANGE}"
    );
    let answer = match ask(&format!("taxes?country={country}")) {
        Ok((200, answer)) => answer,
        other => return judge("taxes", &other, put),
    };
    let taxes = answer.get("taxes").and_then(Value::as_array);
    let text = |tax: &Value, name| {
        tax.get(name)
            .and_then(Value::as_str)
            .unwrap_or("?")
            .to_owned()
    };
    let taxes: Vec<_> = taxes
        .into_iter()
        .flatten()
        .map(|tax| {
            let (kind, category) = (text(tax, "kind"), text(tax, "category"));
            format!("{kind} {category} {}", text(tax, "rate"))
        })
        .collect();
    if taxes.is_empty() {
        Item::missing("taxes", "none is in force today", put)
    } else {
        Item::ok("taxes", taxes.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Verdict;
    use super::*;

    /// A core that has all of Laos.
    fn whole(path: &str) -> (u16, Value) {
        let answer = match path {
            "countries/LA" => json!({"name": "Laos", "is_active": true, "default_currency": "LAK",
                "default_locale": "lo-LA", "calling_code": "856", "time_zones": ["Asia/Vientiane"]}),
            "currencies/LAK" => json!({"is_active": true}),
            "rates?base=USD&quote=LAK" => json!({"rate": "21500"}),
            "rates?base=LAK&quote=USD" => json!({"rate": "0.0000465"}),
            "taxes?country=LA" => {
                json!({"taxes": [{"kind": "vat", "category": "standard", "rate": "0.10"}]})
            }
            path if path.starts_with("translations/lo-LA/") => {
                json!({"sources": {"save": "lo", "close": "lo-LA"}})
            }
            _ => return (404, json!({})),
        };
        (200, answer)
    }

    fn verdicts(ask: impl Fn(&str) -> Asked) -> Vec<(&'static str, Verdict)> {
        let (items, _) = items(Country::parse("LA").unwrap(), ask);
        items.iter().map(|item| (item.what, item.verdict)).collect()
    }

    #[test]
    fn a_country_that_has_all_has_nothing_missing() {
        let (items, row) = items(Country::parse("LA").unwrap(), |path| Ok(whole(path)));
        let lines: Vec<_> = items.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "ok       country row: Laos, active",
                "ok       time zone: Asia/Vientiane: its jobs go by this clock",
                "ok       currency: LAK",
                "ok       rates: 1 USD = 21500 LAK, 1 LAK = 0.0000465 USD",
                "ok       translations: lo-LA: 8 texts",
                "ok       taxes: vat standard 0.10",
            ]
        );
        assert_eq!(row.unwrap().calling_code, "856");
    }

    #[test]
    fn each_thing_that_is_not_there_is_missing_by_its_name() {
        for (lacks, what) in [
            ("currencies/LAK", "currency"),
            ("rates?base=USD&quote=LAK", "rates"),
            ("rates?base=LAK&quote=USD", "rates"),
            ("translations/lo-LA/ticket?sources=true", "translations"),
        ] {
            let ask = |path: &str| {
                Ok(if path == lacks {
                    (404, json!({}))
                } else {
                    whole(path)
                })
            };
            let found = verdicts(ask);
            assert_eq!(found.len(), 6, "{lacks}");
            for (name, verdict) in found {
                let expected = if name == what {
                    Verdict::Missing
                } else {
                    Verdict::Ok
                };
                assert_eq!(verdict, expected, "{lacks}: {name}");
            }
        }
        let none = verdicts(|_| Ok((404, Value::Null)));
        assert_eq!(none, [("country row", Verdict::Missing)]);
    }

    #[test]
    fn what_is_there_and_not_usable_is_missing_too() {
        let with = |changed: &'static str, answer: Value| {
            move |path: &str| {
                Ok(if path == changed {
                    (200, answer.clone())
                } else {
                    whole(path)
                })
            }
        };
        let inactive = with("currencies/LAK", json!({"is_active": false}));
        assert!(verdicts(inactive).contains(&("currency", Verdict::Missing)));
        let untaxed = with("taxes?country=LA", json!({"taxes": []}));
        assert!(verdicts(untaxed).contains(&("taxes", Verdict::Missing)));
        let english = with(
            "translations/lo-LA/common?sources=true",
            json!({"sources": {"save": "en"}}),
        );
        assert!(verdicts(english).contains(&("translations", Verdict::Missing)));
        let (_, mut row) = whole("countries/LA");
        row["is_active"] = json!(false);
        row["time_zones"] = json!([]);
        let found = verdicts(with("countries/LA", row));
        assert!(found.contains(&("country row", Verdict::Missing)));
        assert!(found.contains(&("time zone", Verdict::Missing)));
    }

    #[test]
    fn the_base_needs_no_rate_and_a_core_that_cannot_be_asked_says_nothing() {
        let (_, mut row) = whole("countries/LA");
        row["default_currency"] = json!(BASE_CURRENCY);
        let dollars = move |path: &str| {
            Ok(match path {
                "countries/LA" => (200, row.clone()),
                "currencies/USD" => (200, json!({"is_active": true})),
                path if path.starts_with("rates") => (500, Value::Null),
                path => whole(path),
            })
        };
        assert!(verdicts(dollars).contains(&("rates", Verdict::Ok)));
        let silent = verdicts(|_| Err("no answer".to_owned()));
        assert_eq!(silent, [("country row", Verdict::Unknown)]);
        let empty = verdicts(|_| Ok((503, Value::Null)));
        assert_eq!(empty, [("country row", Verdict::Unknown)]);
    }
}
