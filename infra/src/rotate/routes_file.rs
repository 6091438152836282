//! The route table as text: one region's sealing key is changed and the version raised. Comments stay.

use std::collections::BTreeMap;
use std::ops::Range;

use protocol::RegionId;
use protocol::routes::RouteTable;
use protocol::sealed::SealingKey;
use serde::Deserialize;
use toml::Spanned;

use super::Mistake;
use crate::check::read_environments;

#[derive(Deserialize)]
struct Document {
    vars: Option<Variables>,
    #[serde(default)]
    env: BTreeMap<String, Environment>,
}

#[derive(Deserialize)]
struct Environment {
    vars: Option<Variables>,
}

#[derive(Deserialize)]
struct Variables {
    #[serde(rename = "ROUTES")]
    routes: Option<Routes>,
}

#[derive(Deserialize)]
struct Routes {
    version: Spanned<u32>,
    regions: BTreeMap<String, Region>,
}

#[derive(Deserialize)]
struct Region {
    sealing_key: Option<Spanned<String>>,
}

/// The routes of an environment; `production` is the top level.
pub fn routes(text: &str, environment: &str) -> Result<RouteTable, Mistake> {
    let (environments, mistakes) = read_environments(text);
    environments
        .into_iter()
        .find(|known| known.name == environment)
        .map(|found| found.routes)
        .ok_or_else(|| {
            let mistakes = mistakes.join("; ");
            Mistake::edge(format!("no environment {environment} {mistakes}"))
        })
}

/// The text with another sealing key of a region, and a higher version. It is read again, so that nothing else was
/// changed by mistake.
pub(super) fn with_sealing_key(
    text: &str,
    environment: &str,
    region: &RegionId,
    key: &SealingKey,
) -> Result<String, Mistake> {
    let before = routes(text, environment)?;
    let by_hand = || {
        Mistake::edge(format!(
            "regions.{region}.sealing_key: it cannot be changed in this form; write \"{key}\" there, and raise version"
        ))
    };
    let version = before.version().checked_add(1).ok_or_else(by_hand)?;
    let (old_version, old_key) = places(text, environment, region).ok_or_else(by_hand)?;
    let mut places = [
        (old_version, version.to_string()),
        (old_key, format!("\"{key}\"")),
    ];
    // From the end, so that the other place stays where it is.
    places.sort_by_key(|(place, _)| std::cmp::Reverse(place.start));
    let mut changed = text.to_owned();
    for (place, new) in places {
        changed.replace_range(place, &new);
    }
    let after = routes(&changed, environment)?;
    let is_so = after.version() == version
        && super::sealing::key_of(&after, region).is_some_and(|found| found == key);
    if is_so { Ok(changed) } else { Err(by_hand()) }
}

/// Where an environment's version and a region's sealing key stand.
fn places(
    text: &str,
    environment: &str,
    region: &RegionId,
) -> Option<(Range<usize>, Range<usize>)> {
    let mut document: Document = toml::from_str(text).ok()?;
    let variables = match environment {
        "production" => document.vars,
        name => document.env.remove(name)?.vars,
    };
    let routes = variables?.routes?;
    let key = routes.regions.get(region.as_str())?.sealing_key.as_ref()?;
    Some((routes.version.span(), key.span()))
}

#[cfg(test)]
mod tests {
    use protocol::sealed::OpeningKey;

    use super::*;

    fn key(name: &str) -> SealingKey {
        OpeningKey::derive(name, &[7; 32]).unwrap().sealing_key()
    }

    #[test]
    fn key_and_version_are_changed_in_any_form_and_in_one_environment() {
        let region = RegionId::parse("smp-asia").unwrap();
        let routes = |version: &str, key: &SealingKey| {
            format!(
                "version = {version} # raised by every flip\n[vars.ROUTES.countries]\nVN = \"smp-asia\"\n\
                 [vars.ROUTES.regions.smp-asia]\norigin = \"https://core.example.com\"\nstate = \"open\"\n\
                 sealing_key = \"{key}\" # made in March\nspool = 'sealed'\n"
            )
        };
        let inline = |version: &str, key: &SealingKey| {
            format!(
                "[env.staging]\nvars.ROUTES = {{ regions.smp-asia = {{ sealing_key = \"{key}\", spool = \"sealed\", \
                 origin = \"https://core.staging.example.com\", state = \"open\" }}, countries = {{ VN = \
                 \"smp-asia\" }}, version = {version} }}\n"
            )
        };
        let (old, new) = (key("smp-asia-1"), key("smp-asia-2"));
        let text = |production, staging| {
            let (version, key) = production;
            let (staging_version, staging_key) = staging;
            format!(
                "# The Worker\n[vars.ROUTES]\n{}{}",
                routes(version, key),
                inline(staging_version, staging_key)
            )
        };
        let before = text(("9", &old), ("0x1F", &old));
        for (environment, expected) in [
            ("production", text(("10", &new), ("0x1F", &old))),
            ("staging", text(("9", &old), ("32", &new))),
        ] {
            let changed = with_sealing_key(&before, environment, &region, &new).unwrap();
            assert_eq!(changed, expected, "{environment}");
        }
        let mistake = with_sealing_key(&before, "other", &region, &new).unwrap_err();
        assert!(mistake.text.contains("no environment other"));
    }
}
