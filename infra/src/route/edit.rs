//! `wrangler.toml` as text: one environment's routes are changed and their version raised. Comments and order stay.

use protocol::routes::RouteTable;
use toml_edit::{DocumentMut, InlineTable, Item, TableLike, Value};

use super::{Change, Goal, State, Way, changes};
use crate::check::read_environments;

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
    let before = routes(text, environment)?;
    let changes = changes(&before, goal)?;
    if changes.is_empty() {
        return Ok(Edited {
            text: text.to_owned(),
            changes,
            after: before.clone(),
            before,
        });
    }
    let version = before.version().checked_add(1);
    let version = version.ok_or("version: it cannot be raised any more")?;
    let mut document: DocumentMut = text.parse().map_err(|error| format!("{error}"))?;
    let table = find_routes(&mut document, environment)
        .ok_or("[vars.ROUTES] cannot be changed in this form: write it as a table")?;
    set(table, "version", i64::from(version).into());
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
            let countries = routes.get_mut("countries")?.as_table_like_mut()?;
            match to {
                None => {
                    countries.remove(country);
                }
                Some(way) => set(countries, country, value_of(way)),
            }
        }
    }
    Some(())
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

/// The lines that differ, as `diff` shows them: `-` went, `+` came. Both are close to each other.
#[must_use]
pub fn diff(before: &str, after: &str) -> Vec<String> {
    let (before, after): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    // A change of routes changes, adds or removes few lines, so whatever is not found again has gone.
    let mut lines = Vec::new();
    let (mut old, mut new) = (before.as_slice(), after.as_slice());
    loop {
        match (old, new) {
            ([], []) => return lines,
            ([one, rest @ ..], [other, others @ ..]) if one == other => (old, new) = (rest, others),
            ([one, rest @ ..], [_, others @ ..]) if rest.first() == others.first() => {
                lines.push(format!("-{one}"));
                lines.push(format!("+{}", new.first().copied().unwrap_or_default()));
                (old, new) = (rest, others);
            }
            ([one, rest @ ..], _) if !new.contains(one) => {
                lines.push(format!("-{one}"));
                old = rest;
            }
            (_, [other, others @ ..]) => {
                lines.push(format!("+{other}"));
                new = others;
            }
            ([one, rest @ ..], []) => {
                lines.push(format!("-{one}"));
                old = rest;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::{Country, RegionId};

    use super::*;

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

    #[test]
    fn a_country_that_is_new_stands_behind_the_others() {
        assert_eq!(
            diff_of("production", &flip("LA", "smp-asia"))[2..],
            ["+LA = \"smp-asia\""]
        );
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
        let edited = reach(TEXT, "production", &flip("VN", "smp-asia")).unwrap();
        assert_eq!((edited.text.as_str(), edited.changes.len()), (TEXT, 0));
    }

    #[test]
    fn an_environment_that_is_not_there_is_named() {
        let mistake = reach(TEXT, "prod", &flip("VN", "smp-asia")).unwrap_err();
        assert_eq!(mistake, "no environment prod: there is production, staging");
    }
}
