//! How a connection is changed: at the edge, and in its country's core.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use infra::connections::{ModeTrial, Staff};
use infra::edge;
use protocol::Country;
use protocol::connection::Connections;
use protocol::connection::document::{Change, Entry, Listed, entries_from_json};
use protocol::signature::Mode;
use protocol::token_sha256;
use serde_json::json;

use super::outcome::{Outcome, in_force};
use super::{Rights, Rotation};
use crate::edge_command::{now_ms, random_token, read_secret};
use crate::write_secret;

pub(super) fn add(
    client: &edge::Client,
    rights: &Rights,
    mut entry: Entry,
    workspace: Option<&str>,
    (token_file, secret_file): (&Path, Option<&Path>),
) -> Result<Outcome, String> {
    if secret_file == Some(token_file) {
        return Err(
            "--token and --secret are one file: the secret would stand in the address".to_owned(),
        );
    }
    let there = client.connections()?.connections;
    if !token_file.exists() && there.iter().any(|known| known.id == entry.id) {
        return Err(format!("{}: there is one of this id already", entry.id));
    }
    let country = read_country(&entry.country)?;
    // The same mistakes as the edge would find, before there are files.
    let placeholder = "-".to_owned();
    entry.token_sha256 = token_sha256(&placeholder);
    entry.secrets.extend(secret_file.map(|_| placeholder));
    check(&entry)?;
    entry.token_sha256 = token_sha256(&made_once(token_file)?);
    entry.secrets = secret_file
        .map(made_once)
        .transpose()?
        .into_iter()
        .collect();
    if let Some(staff) = rights.staff()? {
        let core = rights.core_client();
        staff_of(core.as_ref(), client, &staff, country).add(&entry.id, workspace)?;
    }
    let id = entry.id.clone();
    let changed = client.change_connections(&Change::Add(vec![entry]))?;
    let said = format!(
        "{id}: added; its address is {}/api/pancake/record/ with the token of {} behind it\n",
        client.origin(),
        token_file.display()
    );
    Ok(Outcome::changed(&said, changed))
}

/// Says what is wrong with a connection before anything is done.
fn check(entry: &Entry) -> Result<(), String> {
    let document = protocol::connection::document::Document {
        connections: vec![entry.clone()],
        ..Default::default()
    };
    let read = Connections::from_document(&document);
    read.map(drop).map_err(|mistakes| mistakes.to_string())
}

pub(super) fn import(
    client: &edge::Client,
    rights: &Rights,
    file: &Path,
    yes: bool,
) -> Result<Outcome, String> {
    let in_file = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let text = fs::read_to_string(file).map_err(|error| in_file(&error))?;
    let entries = entries_from_json(&text).map_err(|mistakes| in_file(&mistakes))?;
    let there = client.connections()?.connections;
    let mut shown = String::new();
    let mut mistakes = Vec::new();
    for entry in &entries {
        let is_there = there.iter().any(|known| known.id == entry.id);
        let state = if is_there { "there already" } else { "new" };
        mistakes.extend(check(entry).err());
        let (id, country, mode) = (&entry.id, &entry.country, entry.mode.as_str());
        // Writing to a `String` cannot fail.
        let _ = std::fmt::Write::write_fmt(
            &mut shown,
            format_args!("{id:<32} {country:<7} {mode:<8} {state}\n"),
        );
    }
    if !mistakes.is_empty() {
        return Err(in_file(&mistakes.join("\n")));
    }
    if !yes {
        let count = entries.len();
        return Ok(Outcome::shown(format!(
            "{shown}--yes adds these {count}; nothing was changed\n"
        )));
    }
    if let Some(staff) = rights.staff()? {
        let core = rights.core_client();
        for (index, entry) in (1..).zip(&entries) {
            let country = read_country(&entry.country)?;
            staff_of(core.as_ref(), client, &staff, country).add(&entry.id, None)?;
            let progress = format!("{index} of {} in their cores: {}", entries.len(), entry.id);
            let _ = writeln!(std::io::stderr(), "{progress}");
        }
    }
    let changed = client.change_connections(&Change::Add(entries))?;
    Ok(Outcome::changed(&shown, changed))
}

pub(super) fn rotate(
    client: &edge::Client,
    id: String,
    what: &Rotation,
    (old_good_secs, yes): (u64, bool),
) -> Result<Outcome, String> {
    let before = find(client, &id)?;
    if let Some(file) = &what.token {
        let token = made_once(file)?;
        let changed = client.change_connections(&Change::RotateToken {
            id: id.clone(),
            token_sha256: token_sha256(&token),
            old_good_secs,
        })?;
        let after = find(client, &id)?;
        let old = match after.old_token_good_until {
            Some(until) => format!(
                "the one before for another {} s",
                until.saturating_sub(now_secs())
            ),
            None => "no other one is".to_owned(),
        };
        let again = if before.token == after.token {
            " as it was before"
        } else {
            ": change the address at Pancake"
        };
        let said = format!("the token of {} is good, {old}{again}\n", file.display());
        return Ok(Outcome::changed(&said, changed));
    }
    if let Some(file) = &what.secret {
        let secret = made_once(file)?;
        let changed = client.change_connections(&Change::RotateSecret { id, secret })?;
        let said = format!(
            "the secret of {} is good, and so is the one before: change it at Pancake once it is in force, then \
             --retire-secret --yes\n",
            file.display()
        );
        return Ok(Outcome::changed(&said, changed));
    }
    if before.secrets < 2 {
        return Ok(Outcome::done(format!(
            "{id}: {} secrets are good: there is no old one\n",
            before.secrets
        )));
    }
    if !yes {
        return Ok(Outcome::shown(format!(
            "{id}: two secrets are good; --yes keeps the newest: whatever Pancake signs with the old one is refused then \
             (mode {})\n",
            before.mode.as_str()
        )));
    }
    let changed = client.change_connections(&Change::RetireSecret { id })?;
    Ok(Outcome::changed(
        "only the newest secret is good\n",
        changed,
    ))
}

pub(super) fn set_mode(
    client: &edge::Client,
    (id, mode): (String, Mode),
    (yes, unseen): (bool, bool),
    as_json: bool,
) -> Result<String, String> {
    let listed = find(client, &id)?;
    let status = client.status()?;
    let counted = status
        .connections
        .iter()
        .find(|known| known.connection == id);
    let trial = ModeTrial::new(&listed, counted, mode);
    if yes && trial.is_blind() && !unseen {
        return Err(format!(
            "{}{id}: nobody has seen one of its requests rightly signed in the last 24 hours, and enforce would refuse \
             what is not: observe first, or --unseen",
            trial.table()
        ));
    }
    let changed = if yes {
        Some(client.change_connections(&Change::SetMode { id, mode })?)
    } else {
        None
    };
    if as_json {
        return Ok(format!(
            "{:#}\n",
            json!({"trial": trial, "changed": changed})
        ));
    }
    let outcome = changed.map_or_else(
        || "--yes changes it; it is as it was\n".to_owned(),
        |changed| in_force(&changed),
    );
    Ok(trial.table() + &outcome)
}

pub(super) fn revoke(
    client: &edge::Client,
    rights: &Rights,
    (id, country): (&str, Option<Country>),
    reason: &str,
    yes: bool,
) -> Result<Outcome, String> {
    let mut there = client.connections()?.connections.into_iter();
    let listed = there.find(|known| known.id == id);
    let country = match (&listed, country) {
        (Some(listed), _) => read_country(&listed.country)?,
        (None, Some(country)) => country,
        (None, None) => {
            return Err(format!(
                "{id}: the edge has no connection of this id; with --country its row in that country's core is \
                 disabled all the same"
            ));
        }
    };
    if !yes {
        let mode = listed.map_or("gone at the edge already", |listed| listed.mode.as_str());
        return Ok(Outcome::shown(format!(
            "{id}, of {country}, {mode}: --yes revokes it; it is as it was\n"
        )));
    }
    // A core that cannot be asked now must not keep the edge from turning them away.
    let core = rights.core_client();
    let in_core = match rights.staff() {
        Ok(Some(staff)) => staff_of(core.as_ref(), client, &staff, country).disable(id, reason),
        Ok(None) => Ok(()),
        Err(mistake) => Err(mistake),
    };
    let at_edge = if listed.is_some() {
        let changed = client.change_connections(&Change::Revoke { id: id.to_owned() })?;
        Outcome::changed(&format!("{id}: revoked at the edge; "), changed)
    } else {
        Outcome::done(format!("{id}: gone at the edge already\n"))
    };
    match in_core {
        Ok(()) if rights.edge_only => Ok(at_edge),
        Ok(()) => Ok(at_edge.after(&format!("{id}: disabled in {country}'s core\n"))),
        Err(mistake) => Err(format!(
            "{}NOT disabled in {country}'s core, which processes what still comes by it; run this again with \
             --country {country}: {mistake}",
            at_edge.said()
        )),
    }
}

/// The token or secret in a file; a new one, written there, if there is no file. So it is on disk before anybody
/// takes it, and whoever got no answer may ask again.
fn made_once(file: &Path) -> Result<String, String> {
    if !file.exists() {
        write_secret(file, &format!("{}\n", random_token()?))?;
    }
    let text = read_secret(file)?;
    if text.len() < MADE_BYTES {
        return Err(format!(
            "{}: what is in it was not made here: {MADE_BYTES} characters at least are expected",
            file.display()
        ));
    }
    Ok(text)
}

/// As long as what [`random_token`] makes.
const MADE_BYTES: usize = 43;

pub(super) fn find(client: &edge::Client, id: &str) -> Result<Listed, String> {
    let mut connections = client.connections()?.connections.into_iter();
    let listed = connections.find(|known| known.id == id);
    listed
        .ok_or_else(|| format!("{id}: there is no connection of this id (smpctl connection list)"))
}

pub(super) fn read_country(code: &str) -> Result<Country, String> {
    code.parse().map_err(|error| format!("{code}: {error}"))
}

/// A country's core, at its own address if that was said.
pub(super) fn staff_of<'c>(
    core: Option<&'c edge::Client>,
    edge: &'c edge::Client,
    token: &'c str,
    country: Country,
) -> Staff<'c> {
    match core {
        Some(core) => core.staff_of_core(token, country),
        None => edge.staff(token, country),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "time is positive"
)]
pub(super) fn now_secs() -> u64 {
    (now_ms() / 1_000.0) as u64
}
