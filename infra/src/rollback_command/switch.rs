//! Tier 1: a switch of a country, or one of its sources.

use infra::rollback::{Report, Tier};
use protocol::Country;
use serde_json::{Value, json};

use super::{OnOff, Processing, StaffAccess, Steps, Switched};

pub(super) fn switch(
    (access, country): (&StaffAccess, Country),
    what: &Switched,
    yes: bool,
) -> Result<Report, String> {
    let (client, token) = access.open()?;
    let staff = client.staff(&token, country);
    let Target {
        path,
        listed,
        field,
        wanted,
    } = target(what)?;
    let read = || -> Result<(String, Value), String> {
        let row = match &listed {
            None => staff.row(&path)?,
            Some((list, source)) => staff
                .find(list, |row| row.get("source_id") == Some(&json!(source)))?
                .ok_or_else(|| format!("{source}: no record has named that source yet"))?,
        };
        let is_on = row.get(field).and_then(Value::as_bool);
        let is_on = is_on.ok_or_else(|| format!("{path}: it says nothing of {field}"))?;
        Ok((format!("{field} is {}", on_off(is_on)), row))
    };
    let mut steps = Steps::default();
    let before = steps.take("before", read)?;
    steps.take("leads that wait", || {
        let report = staff.row("crm/reports/pancake")?;
        let of = |state: &str| {
            let pointer = format!("/not_processed/{state}/events");
            report
                .pointer(&pointer)
                .and_then(Value::as_i64)
                .unwrap_or(0)
        };
        let told = format!(
            "{} received, {} failed, {} dead letters, {} skipped by the kill switch",
            of("received"),
            of("failed"),
            of("dead_letter"),
            of("skipped_kill_switch")
        );
        Ok((told, ()))
    })?;
    if !yes {
        return Ok(Report::new(Tier::Switch, steps.0, false));
    }
    steps.take("change", || {
        let version = before.get("version").and_then(Value::as_i64);
        staff.change(&path, version, &json!({ field: wanted }))?;
        Ok((format!("{field} becomes {}", on_off(wanted)), ()))
    })?;
    let after = steps.take("after", read)?;
    if after.get(field) != Some(&json!(wanted)) {
        return Err(format!(
            "{path}: {field} is not {} though it was set: somebody else changed it; look again",
            on_off(wanted)
        ));
    }
    Ok(Report::new(Tier::Switch, steps.0, true))
}

/// What is thrown.
struct Target {
    /// Where it is changed, and read unless it is in a list.
    path: String,
    /// The list that it is in, and its id there.
    listed: Option<(String, String)>,
    field: &'static str,
    wanted: bool,
}

fn target(what: &Switched) -> Result<Target, String> {
    let switch = |field, wanted| Target {
        path: "crm/pancake/switches".to_owned(),
        listed: None,
        field,
        wanted,
    };
    if let Some(wanted) = what.kill_switch {
        return Ok(switch("kill_switch", wanted == OnOff::On));
    }
    if let Some(wanted) = what.processing {
        return Ok(switch("processing_paused", wanted == Processing::Paused));
    }
    let expected =
        "--source: CONNECTION/SOURCE and on or off are expected, such as vn-main/-11 off";
    let [source, wanted] = what.source.as_deref().unwrap_or_default() else {
        return Err(expected.to_owned());
    };
    let wanted = match wanted.as_str() {
        "on" => true,
        "off" => false,
        _ => return Err(expected.to_owned()),
    };
    let (connection, source) = source.split_once('/').ok_or(expected)?;
    let path: String = source.bytes().fold(String::new(), |path, byte| {
        let is_plain = byte.is_ascii_alphanumeric() || b"-._~()".contains(&byte);
        if is_plain {
            path + &char::from(byte).to_string()
        } else {
            path + &format!("%{byte:02X}")
        }
    });
    Ok(Target {
        path: format!("crm/pancake/sources/{connection}/{path}"),
        listed: Some((
            format!("crm/pancake/sources?limit=200&connection={connection}"),
            source.to_owned(),
        )),
        field: "is_active",
        wanted,
    })
}

fn on_off(is_on: bool) -> &'static str {
    if is_on { "on" } else { "off" }
}
