//! What there is and what there was: nothing is changed.

use std::fs;

use infra::check::{self, Environment};
use infra::route::history::Past;
use infra::route::{catch_up, edit};
use infra::smoke;
use serde_json::json;

use super::Place;
use super::deploy::Deployment;
use super::past::read_history;

pub(super) fn show(place: &Place, as_json: bool) -> Result<String, String> {
    let text = fs::read_to_string(&place.wrangler)
        .map_err(|error| format!("{}: {error}", place.wrangler.display()))?;
    let routes = edit::routes(&text, &place.environment)?;
    let deployment = Deployment::of(place)?;
    let at_edge = deployment
        .edge_origin(&place.access)
        .ok()
        .and_then(|origin| smoke::Smoke::new(&origin, &routes).routes_version());
    let environment = Environment {
        name: place.environment.clone(),
        routes,
    };
    let version = environment.routes.version();
    let lines = check::route_lines(std::slice::from_ref(&environment));
    if as_json {
        let shown = json!({"version": version, "version_at_edge": at_edge, "routes": lines});
        return Ok(format!("{shown:#}\n"));
    }
    let mut rows = vec![format!(
        "{:<8} {:<14} {:<7} {}",
        "COUNTRY", "REGION", "STATE", "ORIGIN"
    )];
    rows.extend(lines.iter().map(|line| {
        format!(
            "{:<8} {:<14} {:<7} {}",
            line.country, line.region, line.state, line.origin
        )
    }));
    rows.push(match at_edge {
        Some(found) if found == version => format!("version {version}, in force"),
        Some(found) => {
            format!(
                "version {version}; the edge has {found}: {}",
                catch_up(found, version, &place.flag())
            )
        }
        None => format!("version {version}; the edge was not asked, or does not answer"),
    });
    Ok(rows.join("\n") + "\n")
}

pub(super) fn show_history(place: &Place, as_json: bool) -> Result<String, String> {
    let past = read_history(&place.history_file())?;
    if as_json {
        return Ok(format!("{:#}\n", json!(past)));
    }
    if past.is_empty() {
        return Ok(format!(
            "{}: no change yet\n",
            place.history_file().display()
        ));
    }
    let lines = past.iter().map(|Past { entry, confirmed }| {
        let changes: Vec<_> = entry.changes.iter().map(ToString::to_string).collect();
        let outcome = match confirmed {
            Some(confirmation) => format!("confirmed after {} ms", confirmation.took_ms),
            None => "NOT CONFIRMED".to_owned(),
        };
        format!(
            "{:.0}  {:<12} v{:<5} {:<28} {} ({}; {outcome})",
            entry.at,
            entry.by,
            entry.version,
            entry.action,
            changes.join("; "),
            entry.why
        )
    });
    Ok(lines.collect::<Vec<_>>().join("\n") + "\n")
}
