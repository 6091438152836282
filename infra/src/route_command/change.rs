//! How the routes are changed: what is looked at, what is written down, and what the edge confirms.

use std::fs;
use std::path::Path;

use infra::files::{Readers, lock, replace};
use infra::registry;
use infra::route::edit::{self, Edited};
use infra::route::history::{self, Entry, Past, Withdrawal};
use infra::route::{Goal, State, moved};
use jiff::Timestamp;
use protocol::RegionId;

use super::checks::{self, Check};
use super::confirm::confirm;
use super::deploy::Deployment;
use super::past::{read_history, write_down};
use super::report::Report;
use super::{Act, Place};
use crate::random;

/// Looks and, with `--yes`, changes the routes, and waits until the edge itself says so.
pub(crate) fn try_change(place: &Place, act: &Act, goal: Option<Goal>) -> Result<Report, String> {
    let file = place.wrangler.canonicalize();
    let file = file.map_err(|error| format!("{}: {error}", place.wrangler.display()))?;
    // Whoever has it is the only one: of two flips at once one would be lost.
    let _alone = lock(file.parent().unwrap_or(&file))?;
    let deployment = Deployment::of(place)?;
    let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let past = read_history(&place.history_file())?;
    let (goal, taken_back) = match goal {
        Some(goal) => (goal, TakenBack::Nothing),
        None => last_change(&past, &text, &place.environment)?,
    };
    let at_edge = checks::at_edge(&deployment, &place.access, &text, &place.environment);
    let above = at_edge.as_ref().copied().unwrap_or_default();
    let edited = edit::reach_above(&text, &place.environment, &goal, above)
        .map_err(|mistake| format!("{}: {mistake}", file.display()))?;
    let has_served =
        |region: &RegionId| history::has_served(&past, &place.environment, region.as_str());
    let mut report = look(place, &deployment, &goal, (&text, &edited), has_served);
    report.checks.push(checks::edge(at_edge, &edited.before));
    if let TakenBack::Change(Past { entry, confirmed }) = &taken_back {
        if confirmed.is_some() {
            let back = checks::comes_back(&edited.before, &edited.after);
            report.checks.extend(back);
        }
        report.reverts = Some(format!(
            "'{}' of {:.0} by {} ({})",
            entry.action, entry.at, entry.by, entry.why
        ));
    }
    if !act.yes {
        report.said = match &taken_back {
            TakenBack::NeverMade(entry) if act.force || report.is_well() => {
                format!("{}; --yes strikes it out", never_made(entry))
            }
            TakenBack::Nothing if edited.changes.is_empty() && goal != Goal::Deploy => {
                "it is so already".to_owned()
            }
            _ if act.force || report.is_well() => "nothing was changed: --yes does it".to_owned(),
            _ => "nothing was changed, nor would be with --yes: mend what is WRONG above, or say --force"
                .to_owned(),
        };
        return Ok(report);
    }
    // Where nobody can confirm it, nothing is changed.
    deployment.edge_origin(&place.access)?;
    if !act.force && !report.is_well() {
        let said = "nothing was changed: mend what is WRONG above, or say --force".to_owned();
        return Ok(Report { said, ..report });
    }
    let entry = if edited.changes.is_empty() {
        // It was cut off: what was begun is brought to its end.
        let cut_off = history::cut_off(&past, &place.environment, &edited.after);
        cut_off.map(|past| past.entry.clone())
    } else {
        let to_make = Entry {
            id: uuid_v7()?,
            at: Timestamp::now(),
            by: act.who()?,
            why: act.why.clone(),
            environment: place.environment.clone(),
            action: goal.to_string(),
            version: edited.after.version(),
            changes: edited.changes.clone(),
            reverts: match &taken_back {
                TakenBack::Change(past) => Some(past.entry.id.clone()),
                TakenBack::Nothing | TakenBack::NeverMade(_) => None,
            },
        };
        Some(write(place, &file, (&text, &edited.text), &past, to_make)?)
    };
    confirm(place, &deployment, act, (&edited, entry), &mut report)?;
    if let (TakenBack::NeverMade(entry), true) = (&taken_back, report.is_done) {
        withdraw(place, entry)?;
        report.said = format!("{}, and is struck out; {}", never_made(entry), report.said);
    }
    Ok(report)
}

/// Writes a change down, unless it was begun before, and then into the file.
fn write(
    place: &Place,
    file: &Path,
    (before, after): (&str, &str),
    past: &[Past],
    to_make: Entry,
) -> Result<Entry, String> {
    let entry = if let Some(begun) = history::begun(past, &to_make) {
        begun.entry.clone()
    } else {
        write_down(&place.history_file(), &to_make)
            .map_err(|mistake| format!("{mistake}; nothing was changed"))?;
        to_make
    };
    if let Err(error) = replace(file, after, Readers::AsBefore) {
        let is_unchanged = fs::read_to_string(file).is_ok_and(|now| now == before);
        // Else the next revert would be taken for this one's.
        let is_struck_out = is_unchanged && withdraw(place, &entry).is_ok();
        let said = match (is_unchanged, is_struck_out) {
            (_, true) => "nothing was changed, and it is struck out of the history",
            (true, false) => {
                "nothing was changed; smpctl route revert strikes it out of the history"
            }
            (false, _) => "run the same command again, or smpctl route revert",
        };
        return Err(format!("{}: {error}; {said}", file.display()));
    }
    Ok(entry)
}

/// What a revert is of.
enum TakenBack {
    /// It is none, or one that was begun goes on.
    Nothing,
    /// This change.
    Change(Past),
    /// One that was cut off before it was made.
    NeverMade(Entry),
}

fn never_made(entry: &Entry) -> String {
    format!(
        "'{}' of {:.0} was begun and never made",
        entry.action, entry.at
    )
}

/// Whoever reads the history passes it over from then on.
fn withdraw(place: &Place, entry: &Entry) -> Result<(), String> {
    let withdrawal = Withdrawal {
        id: entry.id.clone(),
        withdrawn_at: Timestamp::now(),
    };
    write_down(&place.history_file(), &withdrawal)
}

/// All that can be known before anything is changed.
fn look(
    place: &Place,
    deployment: &Deployment,
    goal: &Goal,
    (text, edited): (&str, &Edited),
    has_served: impl Fn(&RegionId) -> bool,
) -> Report {
    let mut moved = moved(&edited.before, &edited.after);
    let registry = registry::survey(&place.regions);
    let mut checks = checks::files(&edited.text, &registry, &place.environment);
    if matches!(goal, Goal::State(_, State::Paused)) {
        // A pause does no harm, and must not wait until a file is mended.
        checks.iter_mut().for_each(Check::excuse);
    }
    checks.extend(checks::paused_region(goal, &edited.after, &place.flag()));
    checks.extend(checks::targets(
        goal,
        &edited.after,
        deployment,
        &registry,
        has_served,
    ));
    if !moved.is_empty() {
        checks.push(checks::last_hour(&mut moved, deployment, &place.access));
    }
    Report {
        action: goal.to_string(),
        reverts: None,
        environment: place.name(),
        version: (edited.before.version(), edited.after.version()),
        changes: edited.changes.iter().map(ToString::to_string).collect(),
        diff: edit::diff(text, &edited.text),
        moved,
        checks,
        is_done: false,
        confirmed: Vec::new(),
        confirmed_ms: None,
        said: String::new(),
    }
}

/// The last change, and what takes it back.
fn last_change(past: &[Past], text: &str, environment: &str) -> Result<(Goal, TakenBack), String> {
    let routes = edit::routes(text, environment)?;
    let cut_off = history::cut_off(past, environment, &routes);
    if cut_off.is_some_and(|past| past.entry.reverts.is_some()) {
        // This one is brought to its end; the change before it stays.
        return Ok((Goal::Revert(Vec::new()), TakenBack::Nothing));
    }
    if let Some(begun) = history::never_made(past, environment, &routes) {
        // Whoever takes it back must not take back the change before it.
        let never_made = TakenBack::NeverMade(begun.entry.clone());
        return Ok((Goal::Revert(Vec::new()), never_made));
    }
    let last = history::last_to_revert(past, environment, &routes);
    let last = last.ok_or_else(|| {
        format!("no change of {environment} is written down that could be taken back: smpctl route history")
    })?;
    Ok((
        Goal::Revert(last.entry.changes.clone()),
        TakenBack::Change(last.clone()),
    ))
}

/// In the order of time.
fn uuid_v7() -> Result<String, String> {
    let now = Timestamp::now().as_millisecond();
    let now = u64::try_from(now).map_err(|_| "the clock is before 1970")?;
    Ok(uuid::Builder::from_unix_timestamp_millis(now, &random()?)
        .into_uuid()
        .to_string())
}
