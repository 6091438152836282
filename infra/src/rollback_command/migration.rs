//! Tier 3: the schema before. What makes it safe is looked at first.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::SystemTime;

use infra::registry;
use infra::rollback::backup;
use infra::rollback::{Report, Tier, sharing};
use protocol::Country;
use serde_json::json;

use super::{StaffAccess, Steps};

/// What the schema is to become, and by what.
pub(super) struct Wanted<'a> {
    /// Whose core; the first says which region.
    pub(super) countries: &'a [Country],
    /// The folder of the region registry.
    pub(super) regions: &'a Path,
    /// The version that stays.
    pub(super) to: u32,
    /// A dump of the database.
    pub(super) backup: &'a Path,
    /// The program that knows the migrations.
    pub(super) core: &'a Path,
}

pub(super) fn migration(
    access: &StaffAccess,
    wanted: &Wanted<'_>,
    yes: bool,
) -> Result<Report, String> {
    let mut steps = Steps::default();
    let countries = sharing(&registry::survey(wanted.regions), wanted.countries)?;
    let to = wanted.to.to_string();
    steps.take("what would be lost", || {
        let output = migrate(wanted.core, &["down", "--to", &to])?;
        match output.status.code() {
            // Nobody agreed, so nothing else ends with 0.
            Some(0) => Err(format!(
                "nothing is above {}: {}; --to takes a version below",
                wanted.to,
                present(wanted.core)?.0
            )),
            // It was shown, and nobody agreed.
            Some(2) => {
                let plan = String::from_utf8_lossy(&output.stdout);
                Ok((plan.trim().replace('\n', "; "), ()))
            }
            _ => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    })?;
    steps.take("kill switches", || kill_switches(access, &countries))?;
    steps.take("backup", || {
        let now = SystemTime::now();
        let found = backup::read(wanted.backup)?;
        let age = found.age(now);
        let age = age.map_err(|why| format!("{}: {why}", wanted.backup.display()))?;
        let whose = found
            .region
            .map_or_else(String::new, |region| format!(" of {region}"));
        Ok((
            format!("{}{whose}, {} s old", found.form, age.as_secs()),
            (),
        ))
    })?;
    if !yes {
        return Ok(Report::new(Tier::Migration, steps.0, false));
    }
    steps.take("take back", || {
        let output = migrate(wanted.core, &["down", "--to", &to, "--yes"])?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if output.status.success() {
            Ok((said.replace('\n', "; "), ()))
        } else {
            Err(format!("{said}; what came before it stays taken back"))
        }
    })?;
    steps.take("after", || {
        let (told, version) = present(wanted.core)?;
        if version > wanted.to {
            return Err(format!("{told}, not at {to} or below: look again"));
        }
        Ok((told, ()))
    })?;
    Ok(Report::new(Tier::Migration, steps.0, true))
}

/// All of the countries whose rows are in the database: each has a switch of its own.
fn kill_switches(access: &StaffAccess, countries: &[Country]) -> Result<(String, ()), String> {
    let (client, token) = access.open()?;
    let mut off = Vec::new();
    for country in countries {
        let staff = client.staff(&token, *country);
        let row = staff.row("crm/pancake/switches").map_err(|why| {
            format!(
                "{why}; the region's countries share one database, so each switch has to be seen on"
            )
        })?;
        if row.get("kill_switch") != Some(&json!(true)) {
            off.push(*country);
        }
    }
    let names = |countries: &[Country]| {
        let names: Vec<_> = countries.iter().map(Country::as_str).collect();
        names.join(", ")
    };
    if off.is_empty() {
        return Ok((format!("on in {}", names(countries)), ()));
    }
    let commands: Vec<_> = off
        .iter()
        .map(|country| {
            format!("\n  smpctl rollback switch --country {country} --kill-switch on --yes")
        })
        .collect();
    Err(format!(
        "off in {}, so processing would meet a schema that is not its own:{}",
        names(&off),
        commands.concat()
    ))
}

fn migrate(core: &Path, arguments: &[&str]) -> Result<Output, String> {
    Command::new(core)
        .arg("migrate")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}; --core says where it is", core.display()))
}

/// Where the schema stands; 0 is before the first migration.
fn present(core: &Path) -> Result<(String, u32), String> {
    let output = migrate(core, &["status"])?;
    let status = String::from_utf8_lossy(&output.stdout);
    // It names each migration, applied or not: without any it could not look.
    if status.trim().is_empty() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    let applied = status
        .lines()
        .filter_map(|line| line.strip_prefix("applied "))
        .filter_map(|line| line.split(' ').next()?.parse::<u32>().ok())
        .max();
    Ok(match applied {
        Some(version) => (format!("the schema is at {version:04}"), version),
        None => ("no migration is applied".to_owned(), 0),
    })
}
