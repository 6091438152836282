//! `wrangler.toml` as text: one environment's routes are changed and their version raised. Comments and order stay.

mod entries;

use protocol::routes::RouteTable;
use toml_edit::{DocumentMut, InlineTable, Item, TableLike, Value};

use super::{Change, Goal, RegionRoute, State, Way, changes};
use crate::check::read_environments;

pub use crate::diff::diff;

/// `wrangler.toml` with other routes.
#[derive(Debug)]
pub struct Edited {
    /// The text; the same if nothing had to be changed.
    pub text: String,
    /// What was changed.
    pub changes: Vec<Change>,
    /// The routes before.
    pub before: RouteTable,
    /// The routes after.
    pub after: RouteTable,
}

/// The routes of an environment; `production` is the top level.
pub fn routes(text: &str, environment: &str) -> Result<RouteTable, String> {
    let (environments, mistakes) = read_environments(text);
    let mut names = Vec::new();
    for found in environments {
        if found.name == environment {
            return Ok(found.routes);
        }
        names.push(found.name);
    }
    Err(if mistakes.is_empty() {
        format!(
            "no environment {environment}: there is {}",
            names.join(", ")
        )
    } else {
        mistakes.join("; ")
    })
}

/// The text in which a goal is reached. What was written is read again, so that nothing else was changed by mistake.
pub fn reach(text: &str, environment: &str, goal: &Goal) -> Result<Edited, String> {
    reach_above(text, environment, goal, 0)
}

/// The same, with a version above one that the edge has already: two tables of one version cannot be told apart.
pub fn reach_above(
    text: &str,
    environment: &str,
    goal: &Goal,
    at_edge: u32,
) -> Result<Edited, String> {
    let before = routes(text, environment)?;
    let mut changes = changes(&before, goal)?;
    if changes.is_empty() {
        return Ok(Edited {
            text: text.to_owned(),
            changes,
            after: before.clone(),
            before,
        });
    }
    let version = before.version().max(at_edge).checked_add(1);
    let version = version.ok_or("version: it cannot be raised any more")?;
    let mut document: DocumentMut = text.parse().map_err(|error| format!("{error}"))?;
    let table = find_routes(&mut document, environment)
        .ok_or("[vars.ROUTES] cannot be changed in this form: write it as a table")?;
    set(table, "version", i64::from(version).into());
    for change in &mut changes {
        keep_idle_key(table, change);
    }
    for change in &changes {
        write(table, change).ok_or_else(|| {
            format!("\"{change}\" cannot be written in this form: do it by hand, and raise version")
        })?;
    }
    let text = document.to_string();
    let after = routes(&text, environment)?;
    let is_reached = after.version() == version
        && super::changes(&after, goal).is_ok_and(|left| left.is_empty());
    // What is taken back twice is not there a second time.
    let is_reverted = matches!(goal, Goal::Revert(_)) && after.version() == version;
    if !is_reached && !is_reverted {
        return Err("the text that was written does not say what it should: do it by hand, and raise version".to_owned());
    }
    Ok(Edited {
        text,
        changes,
        before,
        after,
    })
}

fn find_routes<'d>(
    document: &'d mut DocumentMut,
    environment: &str,
) -> Option<&'d mut dyn TableLike> {
    let mut table: &mut dyn TableLike = document.as_table_mut();
    if environment != "production" {
        table = table.get_mut("env")?.as_table_like_mut()?;
        table = table.get_mut(environment)?.as_table_like_mut()?;
    }
    table = table.get_mut("vars")?.as_table_like_mut()?;
    table.get_mut("ROUTES")?.as_table_like_mut()
}

/// A key that seals nothing now is in the text only. A region that comes back must have it again.
fn keep_idle_key(routes: &dyn TableLike, change: &mut Change) {
    if let Change::Route {
        region,
        from: Some(from),
        ..
    } = change
    {
        let route = routes
            .get("regions")
            .and_then(|regions| regions.get(region.as_str()));
        let key = route.and_then(|route| route.get("sealing_key")?.as_str());
        from.sealing_key = key.map(ToOwned::to_owned);
    }
}

fn write(routes: &mut dyn TableLike, change: &Change) -> Option<()> {
    match change {
        Change::Region { region, to, .. } => {
            let region = routes
                .get_mut("regions")?
                .as_table_like_mut()?
                .get_mut(region)?;
            set(region.as_table_like_mut()?, "state", to.as_str().into());
        }
        Change::Country { country, to, .. } => {
            let countries = routes.get_mut("countries")?;
            match to {
                None => entries::remove(countries, country)?,
                Some(way) if countries.get(country).is_some() => {
                    set(countries.as_table_like_mut()?, country, value_of(way));
                }
                Some(way) => {
                    let is_of_it = |other: &Item| region_of(other) == Some(&way.region);
                    entries::insert_behind(countries, country, value_of(way), is_of_it)?;
                }
            }
        }
        Change::Route { region, to, .. } => {
            let regions = routes.get_mut("regions")?;
            match to {
                None => entries::remove(regions, region)?,
                Some(route) => entries::insert_table(regions, region, table_of(route))?,
            }
        }
    }
    Some(())
}

/// The region that a country's entry names.
fn region_of(entry: &Item) -> Option<&str> {
    let region = entry.get("region").unwrap_or(entry);
    region.as_str()
}

fn table_of(route: &RegionRoute) -> InlineTable {
    let mut table = InlineTable::new();
    table.insert("origin", route.origin.as_str().into());
    table.insert("state", route.state.as_str().into());
    table.insert("spool", route.spool.as_str().into());
    if let Some(key) = &route.sealing_key {
        table.insert("sealing_key", key.as_str().into());
    }
    table
}

fn value_of(way: &Way) -> Value {
    if way.state == State::Open {
        return way.region.as_str().into();
    }
    let mut value = InlineTable::new();
    value.insert("region", way.region.as_str().into());
    value.insert("state", way.state.as_str().into());
    value.into()
}

/// Sets a value; the comment behind the one before stays.
fn set(table: &mut dyn TableLike, key: &str, mut value: Value) {
    match table.get_mut(key) {
        Some(item) => {
            if let Some(old) = item.as_value() {
                *value.decor_mut() = old.decor().clone();
            }
            *item = Item::Value(value);
        }
        None => {
            table.insert(key, Item::Value(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::routes::Origin;
    use protocol::sealed::SealingKey;
    use protocol::{Country, RegionId};

    use super::*;
    use crate::registry::Spool;

    const TEXT: &str = "\
# The Worker
name = \"smp-edge\"
[vars.ROUTES]
version = 9 # raised by every flip

# Country = region.
[vars.ROUTES.countries]
VN = \"smp-asia\" # since March
CN = \"smp-china\"

[vars.ROUTES.regions.smp-asia]
origin = \"https://core.smp-asia.example.com\"
state = \"open\" # open | paused

[vars.ROUTES.regions.smp-china]
origin = \"https://core.smp-china.example.com\"
state = 'open'

[env.staging]
vars.ROUTES = { version = 0x1F, countries = { VN = \"smp-asia\" }, regions = { smp-asia = { origin = \"https://s.example\", state = \"open\" }, smp-china = { origin = \"https://t.example\", state = \"open\" } } }
";

    fn flip(country: &str, region: &str) -> Goal {
        Goal::Flip(
            Country::parse(country).unwrap(),
            RegionId::parse(region).unwrap(),
        )
    }

    fn state(target: &str, state: State) -> Goal {
        Goal::State(target.parse().unwrap(), state)
    }

    #[track_caller]
    fn diff_of(environment: &str, goal: &Goal) -> Vec<String> {
        diff(TEXT, &reach(TEXT, environment, goal).unwrap().text)
    }

    #[test]
    fn a_flip_changes_its_line_and_the_version_and_leaves_comments() {
        assert_eq!(
            diff_of("production", &flip("VN", "smp-china")),
            [
                "-version = 9 # raised by every flip",
                "+version = 10 # raised by every flip",
                "-VN = \"smp-asia\" # since March",
                "+VN = \"smp-china\" # since March",
            ]
        );
    }

    #[test]
    fn a_region_is_paused_whatever_quotes_its_state_has() {
        assert_eq!(
            diff_of("production", &state("smp-china", State::Paused)),
            [
                "-version = 9 # raised by every flip",
                "+version = 10 # raised by every flip",
                "-state = 'open'",
                "+state = \"paused\"",
            ]
        );
    }

    #[test]
    fn a_country_is_paused_by_itself_and_opened_again_as_it_was() {
        let paused = reach(TEXT, "production", &state("VN", State::Paused)).unwrap();
        assert!(
            paused
                .text
                .contains("VN = { region = \"smp-asia\", state = \"paused\" } # since March\n")
        );
        let opened = reach(&paused.text, "production", &state("VN", State::Open)).unwrap();
        assert_eq!(opened.text, TEXT.replace("version = 9 ", "version = 11 "));
    }

    fn add_country(country: &str, region: &str) -> Goal {
        Goal::AddCountry {
            country: Country::parse(country).unwrap(),
            region: RegionId::parse(region).unwrap(),
        }
    }

    const KEY: &str = "smp-us-1:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

    fn add_region(spool: Spool, sealing_key: Option<&str>) -> Goal {
        Goal::AddRegion {
            region: RegionId::parse("smp-us").unwrap(),
            origin: Origin::parse("https://u.example").unwrap(),
            spool,
            sealing_key: sealing_key.map(|key| SealingKey::parse(key).unwrap()),
            countries: vec![Country::parse("US").unwrap()],
        }
    }

    #[test]
    fn a_country_that_is_new_stands_behind_the_others_of_its_region() {
        let flipped = reach(TEXT, "production", &flip("LA", "smp-asia")).unwrap();
        assert!(
            flipped
                .text
                .contains("# since March\nLA = \"smp-asia\"\nCN = ")
        );
        let added = reach(TEXT, "production", &add_country("LA", "smp-asia")).unwrap();
        let line = "LA = { region = \"smp-asia\", state = \"paused\" }\n";
        assert_eq!(
            added.text,
            TEXT.replace("version = 9 ", "version = 10 ")
                .replace("CN = ", &format!("{line}CN = "))
        );
        // Behind one that is paused itself, too.
        let another = reach(&added.text, "production", &add_country("MM", "smp-asia")).unwrap();
        assert!(another.text.contains(&format!("{line}MM = {{ region")));
        assert_eq!(diff_of("staging", &add_country("CN", "smp-china")).len(), 2);
        let staging = reach(TEXT, "staging", &add_country("CN", "smp-china")).unwrap();
        assert!(staging.text.contains(
            "countries = { VN = \"smp-asia\", CN = { region = \"smp-china\", state = \"paused\" } }, regions"
        ));
    }

    #[test]
    fn a_region_that_is_new_stands_behind_the_others_paused_with_its_countries() {
        assert_eq!(
            diff_of("production", &add_region(Spool::Sealed, Some(KEY)))[2..],
            [
                "+US = \"smp-us\"",
                "+",
                "+[vars.ROUTES.regions.smp-us]",
                "+origin = \"https://u.example\"",
                "+state = \"paused\"",
                "+spool = \"sealed\"",
                &format!("+sealing_key = \"{KEY}\"")
            ]
        );
        let staging = reach(TEXT, "staging", &add_region(Spool::Off, None)).unwrap();
        assert!(staging.text.contains(
            ", smp-us = { origin = \"https://u.example\", state = \"paused\", spool = \"off\" } }"
        ));
        assert!(
            staging
                .text
                .starts_with(TEXT.split_once("[env.").unwrap().0)
        );
    }

    #[test]
    fn a_region_that_is_taken_away_comes_back_as_it_was_with_the_key_that_seals_nothing_now() {
        for (environment, goal) in [
            ("production", add_region(Spool::Sealed, Some(KEY))),
            ("production", add_region(Spool::Off, Some(KEY))),
            ("staging", add_region(Spool::Off, Some(KEY))),
        ] {
            let added = reach(TEXT, environment, &goal).unwrap();
            let remove = Goal::RemoveRegion(RegionId::parse("smp-us").unwrap());
            let removed = reach(&added.text, environment, &remove).unwrap();
            assert!(!removed.text.contains("smp-us"), "{}", removed.text);
            // As the history has it.
            let written = serde_json::to_string(&removed.changes).unwrap();
            let read: Vec<Change> = serde_json::from_str(&written).unwrap();
            let back = reach(&removed.text, environment, &Goal::Revert(read)).unwrap();
            let of_version = |text: &str, version: u32| {
                let (before, after) = match environment {
                    "production" => ("version = 10 ", format!("version = {version} ")),
                    _ => ("version = 32", format!("version = {}", version + 22)),
                };
                text.replace(before, &after)
            };
            assert_eq!(back.text, of_version(&added.text, 12));
        }
    }

    #[test]
    fn inline_tables_are_changed_in_their_line_and_in_their_environment() {
        let edited = reach(TEXT, "staging", &flip("VN", "smp-china")).unwrap();
        let (before, after) = TEXT.split_once("[env.staging]").unwrap();
        assert!(edited.text.starts_with(before));
        let after = after
            .replace("0x1F", "32")
            .replace("VN = \"smp-asia\"", "VN = \"smp-china\"");
        assert_eq!(edited.text, format!("{before}[env.staging]{after}"));
    }

    #[test]
    fn what_was_changed_is_taken_back_and_only_the_version_tells() {
        for goal in [
            flip("VN", "smp-china"),
            flip("LA", "smp-asia"),
            state("smp-asia", State::Paused),
            add_country("LA", "smp-asia"),
            add_region(Spool::Sealed, Some(KEY)),
        ] {
            let edited = reach(TEXT, "production", &goal).unwrap();
            let reverted =
                reach(&edited.text, "production", &Goal::Revert(edited.changes)).unwrap();
            assert_eq!(
                reverted.text,
                TEXT.replace("version = 9 ", "version = 11 "),
                "{goal}"
            );
        }
    }

    #[test]
    fn what_is_so_already_changes_nothing() {
        let remove = Goal::RemoveRegion(RegionId::parse("smp-us").unwrap());
        for goal in [
            flip("VN", "smp-asia"),
            add_country("VN", "smp-asia"),
            remove,
        ] {
            let edited = reach(TEXT, "production", &goal).unwrap();
            assert_eq!((edited.text.as_str(), edited.changes.len()), (TEXT, 0));
        }
        let goal = add_region(Spool::Off, None);
        let added = reach(TEXT, "production", &goal).unwrap();
        let again = reach(&added.text, "production", &goal).unwrap();
        assert_eq!((again.text, again.changes.len()), (added.text, 0));
    }

    #[test]
    fn an_environment_that_is_not_there_is_named() {
        let mistake = reach(TEXT, "prod", &flip("VN", "smp-asia")).unwrap_err();
        assert_eq!(mistake, "no environment prod: there is production, staging");
    }
}
