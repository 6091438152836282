//! Who takes a country's leads, by which switches, sources and connections.

use protocol::Country;
use serde_json::Value;

use super::Item;

const CHANGING: &str = "docs/staff-api.md, \"Changing\"";

/// Staff, switches and sources, as the core's staff API shows them. `ask` reads a path below `/v1/crm/`.
pub fn items(country: Country, ask: impl Fn(&str) -> Result<Value, String>) -> Vec<Item> {
    vec![
        staff(country, &ask("staff?role=telesale&active=true&limit=200")),
        switches(&ask("pancake/switches")),
        sources(&ask("pancake/sources?limit=200")),
    ]
}

/// The same lines where nobody's token says that they may be seen.
#[must_use]
pub fn unseen(why: &str) -> Vec<Item> {
    let next =
        "an admin's token shows it: --staff-token-file, or SMP_STAFF_TOKEN (docs/staff-api.md)";
    ["staff", "kill switch", "sources"]
        .map(|what| Item::unknown(what, why, next))
        .to_vec()
}

fn rows(page: &Value) -> &[Value] {
    let items = page.get("items").and_then(Value::as_array);
    items.map(Vec::as_slice).unwrap_or_default()
}

/// A number of rows; of a page that is not the last, at least so many.
fn count(page: &Value) -> String {
    let more = page.get("next").is_some_and(|next| !next.is_null());
    format!("{}{}", rows(page).len(), if more { " or more" } else { "" })
}

fn not_seen(what: &'static str, why: &str) -> Item {
    Item::unknown(what, why, "docs/staff-api.md, \"Who may what\"")
}

fn staff(country: Country, page: &Result<Value, String>) -> Item {
    const WHAT: &str = "staff";
    match page {
        Err(why) => not_seen(WHAT, why),
        Ok(page) if rows(page).is_empty() => Item::missing(
            WHAT,
            "no telesale is active: its leads would be nobody's",
            format!("POST /v1/crm/staff, as an admin with a token for {country}: {CHANGING}"),
        ),
        Ok(page) => Item::ok(WHAT, format!("active telesales: {}", count(page))),
    }
}

/// Either way is well: a country begins with the switch on, and whoever opens it says when it is lifted.
fn switches(switches: &Result<Value, String>) -> Item {
    const WHAT: &str = "kill switch";
    let switches = match switches {
        Ok(switches) => switches,
        Err(why) => return not_seen(WHAT, why),
    };
    let is_on = |name| switches.get(name).and_then(Value::as_bool);
    let version = switches.get("version").and_then(Value::as_i64);
    let version = version.unwrap_or_default();
    match (is_on("kill_switch"), is_on("processing_paused")) {
        (Some(true), _) => Item::ok(
            WHAT,
            "on, as in each country that is new: leads are kept, and no ticket is made",
        )
        .then(format!(
            "PATCH /v1/crm/pancake/switches, If-Match: \"{version}\", {{\"kill_switch\": false}} lifts it: {CHANGING}"
        )),
        (Some(false), Some(true)) => Item::ok(WHAT, "off, and processing is paused: leads wait"),
        (Some(false), _) => Item::ok(WHAT, "off: leads become tickets"),
        (None, _) => not_seen(WHAT, "the core's answer names none: is it of this version?"),
    }
}

/// None yet is well too: a source is there once a record named it, switched off.
fn sources(page: &Result<Value, String>) -> Item {
    const WHAT: &str = "sources";
    let page = match page {
        Ok(page) => page,
        Err(why) => return not_seen(WHAT, why),
    };
    let on: Vec<_> = rows(page)
        .iter()
        .filter(|row| row.get("is_active") == Some(&Value::Bool(true)))
        .filter_map(|row| {
            let text = |name| row.get(name).and_then(Value::as_str);
            Some(format!("{}/{}", text("connection_id")?, text("source_id")?))
        })
        .collect();
    let take = format!(
        "PATCH /v1/crm/pancake/sources/CONNECTION/SOURCE {{\"is_active\": true}} takes one: {CHANGING}"
    );
    match (rows(page).is_empty(), on.is_empty()) {
        (true, _) => Item::ok(
            WHAT,
            "none yet: each comes, switched off, with the first record that names it",
        )
        .then(take),
        (false, true) => Item::ok(WHAT, format!("{}, all off", count(page))).then(take),
        (false, false) => Item::ok(WHAT, format!("{}, on: {}", count(page), on.join(", "))),
    }
}

/// The country's connections, at the edge and in the core.
#[must_use]
pub fn connections(
    country: Country,
    at_edge: Result<Vec<String>, String>,
    in_core: Result<Vec<(String, String)>, String>,
    core_origin: Option<&str>,
) -> Item {
    const WHAT: &str = "connections";
    let id = format!("{}-main", country.as_str().to_ascii_lowercase());
    let core = core_origin.map_or_else(String::new, |origin| format!(" --core {origin}"));
    let add = format!(
        "smpctl connection add {id} --country {country} --token {id}.token --secret {id}.secret{core}"
    );
    let at_edge = match at_edge {
        Ok(ids) if ids.is_empty() => {
            return Item::missing(WHAT, "the edge has none: nobody's webhooks are taken", add);
        }
        Ok(ids) => ids,
        Err(why) => {
            return Item::unknown(WHAT, why, "smpctl connection list, with a token of ops");
        }
    };
    let rows = match in_core {
        Ok(rows) => rows,
        Err(why) => {
            let found = format!("at the edge: {}; in the core: {why}", at_edge.join(", "));
            return Item::unknown(
                WHAT,
                found,
                "an admin's token shows it: --staff-token-file, or SMP_STAFF_TOKEN",
            );
        }
    };
    let of = |id: &String| rows.iter().find(|(known, _)| known == id);
    let known: Vec<_> = at_edge.iter().filter(|id| of(id).is_some()).collect();
    if known.is_empty() {
        let found = format!(
            "the edge has {}, and the core has no row of it",
            at_edge.join(", ")
        );
        return Item::missing(WHAT, found, add);
    }
    if known
        .iter()
        .all(|id| of(id).is_some_and(|(_, status)| status == "disabled"))
    {
        return Item::missing(
            WHAT,
            "each is disabled in the core: what comes by it is not processed",
            format!(
                "PATCH /v1/crm/pancake/connections/CONNECTION {{\"status\": \"active\"}}: {CHANGING}"
            ),
        );
    }
    let known: Vec<_> = known.into_iter().cloned().collect();
    Item::ok(
        WHAT,
        format!("at the edge and in the core: {}", known.join(", ")),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Verdict;
    use super::*;

    fn laos() -> Country {
        Country::parse("LA").unwrap()
    }

    fn lines(staff: &Value, switches: &Value, sources: &Value) -> Vec<String> {
        let items = items(laos(), |path| {
            Ok(match path.split('?').next() {
                Some("staff") => staff.clone(),
                Some("pancake/switches") => switches.clone(),
                _ => sources.clone(),
            })
        });
        items.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_new_country_is_well_with_its_switch_on_and_its_sources_off_but_not_without_staff() {
        let none = json!({"items": [], "next": null});
        let on = json!({"kill_switch": true, "processing_paused": false, "version": 0});
        let lines = lines(&none, &on, &none);
        assert!(lines[0].starts_with("MISSING  staff: no telesale is active"));
        assert!(lines[1].starts_with("ok       kill switch: on, as in each country"));
        assert!(lines[1].contains("If-Match: \"0\""));
        assert!(lines[2].starts_with("ok       sources: none yet"));
    }

    #[test]
    fn what_is_on_is_named() {
        let staff = json!({"items": [{}, {}], "next": "more"});
        let off = json!({"kill_switch": false, "processing_paused": false, "version": 3});
        let source = |id, is_active| json!({"connection_id": "la-main", "source_id": id, "is_active": is_active});
        let sources = json!({"items": [source("(none)", true), source("fb", false)], "next": null});
        assert_eq!(
            lines(&staff, &off, &sources),
            [
                "ok       staff: active telesales: 2 or more",
                "ok       kill switch: off: leads become tickets",
                "ok       sources: 2, on: la-main/(none)",
            ]
        );
    }

    #[test]
    fn what_may_not_be_seen_is_unknown() {
        let items = items(laos(), |_| Err("LA's core answered 403".to_owned()));
        assert!(items.iter().all(|item| item.verdict == Verdict::Unknown));
        assert_eq!(items.len(), unseen("no token").len());
    }

    #[test]
    fn a_connection_must_be_at_the_edge_and_active_in_the_core() {
        let judge = |at_edge: &[&str], in_core: &[(&str, &str)]| {
            let at_edge = at_edge.iter().map(|id| (*id).to_owned()).collect();
            let in_core = in_core
                .iter()
                .map(|(id, status)| ((*id).to_owned(), (*status).to_owned()))
                .collect();
            connections(laos(), Ok(at_edge), Ok(in_core), Some("https://a.example"))
        };
        let none = judge(&[], &[]);
        assert_eq!(none.verdict, Verdict::Missing);
        let next = none.next.unwrap();
        assert!(next.starts_with("smpctl connection add la-main --country LA"));
        assert!(next.ends_with("--core https://a.example"));
        let only_probe = judge(&["la-main"], &[("probe-la", "active")]);
        assert_eq!(only_probe.verdict, Verdict::Missing);
        let disabled = judge(&["la-main"], &[("la-main", "disabled")]);
        assert_eq!(disabled.verdict, Verdict::Missing);
        let both = judge(&["la-main", "la-two"], &[("la-main", "active")]);
        assert_eq!(both.verdict, Verdict::Ok);
        let unseen = connections(
            laos(),
            Ok(vec!["la-main".to_owned()]),
            Err("?".to_owned()),
            None,
        );
        assert_eq!(unseen.verdict, Verdict::Unknown);
    }
}
