//! Who changed the routes, what, when and why: lines of JSON, to which is only added.
//!
//! A change is written down before it is made, and once more when the edge has confirmed it, so that a change that
//! was cut off is known to be one.

use jiff::Timestamp;
use protocol::routes::RouteTable;
use serde::{Deserialize, Serialize};

use super::{Change, Goal, State, changes};

/// A change, as it was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// A UUID of version 7.
    pub id: String,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// Why.
    pub why: String,
    /// Of `wrangler.toml`.
    pub environment: String,
    /// What was asked for.
    pub action: String,
    /// The table's version from then on.
    pub version: u32,
    /// What was changed.
    pub changes: Vec<Change>,
    /// The change that it takes back, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverts: Option<String>,
}

/// That the edge has a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// Which change.
    pub id: String,
    /// When it was seen.
    pub confirmed_at: Timestamp,
    /// How long it took from the end of the deployment.
    pub took_ms: u64,
}

/// That a change came to nothing: it was begun, and never made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawal {
    /// Which change.
    pub id: String,
    /// When that was seen.
    pub withdrawn_at: Timestamp,
}

/// A change, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Past {
    /// What was begun.
    #[serde(flatten)]
    pub entry: Entry,
    /// None if nobody has seen it in force.
    pub confirmed: Option<Confirmation>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Begun(Entry),
    Confirmed(Confirmation),
    Withdrawn(Withdrawal),
}

/// Reads a history, the oldest first. A last line that was cut off is passed over, and so is what was withdrawn.
pub fn read(text: &str) -> Result<Vec<Past>, String> {
    let mut past: Vec<Past> = Vec::new();
    for (number, line) in text.split_inclusive('\n').enumerate() {
        match serde_json::from_str(line) {
            Ok(Line::Begun(entry)) => past.push(Past {
                entry,
                confirmed: None,
            }),
            Ok(Line::Confirmed(confirmation)) => {
                let mut begun = past.iter_mut();
                if let Some(begun) = begun.find(|begun| begun.entry.id == confirmation.id) {
                    begun.confirmed = Some(confirmation);
                }
            }
            Ok(Line::Withdrawn(withdrawal)) => {
                past.retain(|begun| begun.entry.id != withdrawal.id);
            }
            Err(_) if !line.ends_with('\n') => {}
            Err(error) => return Err(format!("line {}: {error}", number + 1)),
        }
    }
    Ok(past)
}

/// What of a history's file is worth keeping: all but a last line that was cut off. Of one that only lacks its end
/// nothing is lost.
#[must_use]
pub fn without_cut_off(bytes: &[u8]) -> &[u8] {
    let whole = bytes.iter().rposition(|byte| *byte == b'\n');
    let (lines, last) = bytes.split_at(whole.map_or(0, |end| end + 1));
    if serde_json::from_slice::<Line>(last).is_ok() {
        bytes
    } else {
        lines
    }
}

/// The last change of an environment that was made and not taken back: one that was cut off before it was made is
/// none, nor did it take anything back.
#[must_use]
pub fn last_to_revert<'p>(
    past: &'p [Past],
    environment: &str,
    routes: &RouteTable,
) -> Option<&'p Past> {
    let of_it = past
        .iter()
        .filter(|past| past.entry.environment == environment);
    let of_it: Vec<&Past> = of_it.collect();
    let mut standing: Vec<&Past> = Vec::new();
    for (index, past) in of_it.iter().enumerate() {
        let later = of_it.iter().skip(index + 1);
        let mut began_later = later.map(|later| later.entry.version);
        // Each change that is made raises the version.
        let is_reached = past.entry.version <= routes.version()
            && began_later.all(|version| version > past.entry.version);
        if past.confirmed.is_none() && !is_reached {
            continue;
        }
        match &past.entry.reverts {
            Some(reverted) => standing.retain(|other| other.entry.id != *reverted),
            None => standing.push(past),
        }
    }
    let mut latest = standing.into_iter().rev();
    latest.find(|past| past.confirmed.is_some() || is_in_table(past, routes))
}

/// The last change of an environment, if it is in the table and the edge has not confirmed it.
#[must_use]
pub fn cut_off<'p>(past: &'p [Past], environment: &str, routes: &RouteTable) -> Option<&'p Past> {
    let last = last_unconfirmed(past, environment)?;
    (last.entry.version == routes.version() && is_in_table(last, routes)).then_some(last)
}

/// The last change of an environment, if it was cut off before it was made. One that takes another back is to be made
/// still.
#[must_use]
pub fn never_made<'p>(
    past: &'p [Past],
    environment: &str,
    routes: &RouteTable,
) -> Option<&'p Past> {
    let last = last_unconfirmed(past, environment)?;
    let is_made = last.entry.version <= routes.version() && is_in_table(last, routes);
    (!is_made && last.entry.reverts.is_none()).then_some(last)
}

/// The last change of an environment, if it is the very one that is to be made, and was cut off before that: it need
/// not be written down once more.
#[must_use]
pub fn begun<'p>(past: &'p [Past], to_make: &Entry) -> Option<&'p Past> {
    let last = last_unconfirmed(past, &to_make.environment)?;
    let same = Entry {
        id: last.entry.id.clone(),
        at: last.entry.at,
        ..to_make.clone()
    };
    (last.entry == same).then_some(last)
}

/// Whether a region has been open since it was added. One of which no addition is written down was there before.
#[must_use]
pub fn has_served(past: &[Past], environment: &str, region: &str) -> bool {
    let confirmed = past
        .iter()
        .filter(|past| past.entry.environment == environment && past.confirmed.is_some());
    let mut has_served = true;
    for change in confirmed.flat_map(|past| &past.entry.changes) {
        match change {
            Change::Route { region: id, to, .. } if id == region => {
                has_served = to.as_ref().is_some_and(|route| route.state == State::Open);
            }
            Change::Region { region: id, to, .. } if id == region => {
                has_served |= *to == State::Open;
            }
            _ => {}
        }
    }
    has_served
}

fn last_unconfirmed<'p>(past: &'p [Past], environment: &str) -> Option<&'p Past> {
    let mut latest = past.iter().rev();
    let last = latest.find(|past| past.entry.environment == environment)?;
    last.confirmed.is_none().then_some(last)
}

fn is_in_table(past: &Past, routes: &RouteTable) -> bool {
    changes(routes, &Goal::Revert(past.entry.changes.clone())).is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::tests::table;
    use super::super::{RegionRoute, Way};
    use super::*;
    use crate::registry::Spool;

    fn entry(id: &str, region: (State, State), reverts: Option<&str>) -> Entry {
        Entry {
            id: id.to_owned(),
            at: "2026-11-22T08:00:00Z".parse().unwrap(),
            by: "Anna".to_owned(),
            why: "maintenance".to_owned(),
            environment: "production".to_owned(),
            action: "pause smp-asia".to_owned(),
            version: 4,
            changes: vec![Change::Region {
                region: "smp-asia".to_owned(),
                from: region.0,
                to: region.1,
            }],
            reverts: reverts.map(ToOwned::to_owned),
        }
    }

    fn confirmation(id: &str) -> Confirmation {
        Confirmation {
            id: id.to_owned(),
            confirmed_at: "2026-11-22T08:00:02Z".parse().unwrap(),
            took_ms: 1_400,
        }
    }

    fn lines(lines: &[&dyn erased::Line]) -> String {
        lines.iter().map(|line| line.to_line()).collect()
    }

    /// Both kinds of line.
    mod erased {
        pub(super) trait Line {
            fn to_line(&self) -> String;
        }

        impl<T: serde::Serialize> Line for T {
            fn to_line(&self) -> String {
                serde_json::to_string(self).unwrap() + "\n"
            }
        }
    }

    const PAUSED: (State, State) = (State::Open, State::Paused);
    const OPENED: (State, State) = (State::Paused, State::Open);

    #[test]
    fn a_change_is_known_with_its_confirmation_and_a_line_that_was_cut_off_is_none() {
        let text = lines(&[
            &entry("1", PAUSED, None),
            &confirmation("1"),
            &entry("2", OPENED, None),
        ]);
        let past = read(&format!("{text}{{\"id\":\"3\",\"at\"")).unwrap();
        let seen: Vec<_> = past
            .iter()
            .map(|past| (past.entry.id.as_str(), past.confirmed.is_some()))
            .collect();
        assert_eq!(seen, [("1", true), ("2", false)]);
        let mistake = read(&format!("{text}nonsense\n{text}")).unwrap_err();
        assert!(mistake.starts_with("line 4: "), "{mistake}");
    }

    #[test]
    fn a_region_that_was_added_has_served_once_it_was_open() {
        let added = |id: &str| Entry {
            changes: vec![Change::Route {
                region: "smp-asia".to_owned(),
                from: None,
                to: Some(RegionRoute {
                    origin: "https://a.example".to_owned(),
                    state: State::Paused,
                    spool: Spool::Off,
                    sealing_key: None,
                }),
            }],
            ..entry(id, PAUSED, None)
        };
        let has = |text: &str, environment: &str| {
            has_served(&read(text).unwrap(), environment, "smp-asia")
        };
        assert!(has("", "production"), "it was there before");
        let mut text = lines(&[&added("1"), &confirmation("1"), &entry("2", OPENED, None)]);
        assert!(!has(&text, "production"), "nobody has seen it open");
        assert!(has(&text, "staging"), "another environment's");
        text += &lines(&[
            &confirmation("2"),
            &entry("3", PAUSED, None),
            &confirmation("3"),
        ]);
        assert!(has(&text, "production"), "it was open, and paused again");
        text += &lines(&[&added("4"), &confirmation("4")]);
        assert!(!has(&text, "production"), "it was taken away meanwhile");
    }

    #[test]
    fn each_revert_goes_one_change_further_back() {
        let mut text = lines(&[
            &entry("1", PAUSED, None),
            &confirmation("1"),
            &entry("2", OPENED, None),
            &confirmation("2"),
        ]);
        let id = |text: &str| {
            let past = read(text).unwrap();
            last_to_revert(&past, "production", &table()).map(|past| past.entry.id.clone())
        };
        assert_eq!(id(&text).as_deref(), Some("2"));
        text += &lines(&[&entry("3", PAUSED, Some("2")), &confirmation("3")]);
        assert_eq!(id(&text).as_deref(), Some("1"));
        text += &lines(&[&entry("4", OPENED, Some("1")), &confirmation("4")]);
        assert_eq!(id(&text), None);
    }

    #[test]
    fn what_was_cut_off_before_it_was_made_is_passed_over_and_what_was_made_is_not() {
        // The table has smp-asia open, and version 3.
        for (cut_off, version, expected) in [(PAUSED, 3, "1"), (OPENED, 3, "2"), (OPENED, 4, "1")] {
            let mut second = entry("2", cut_off, None);
            second.version = version;
            let text = lines(&[&entry("1", OPENED, None), &confirmation("1"), &second]);
            let past = read(&text).unwrap();
            let last = last_to_revert(&past, "production", &table()).unwrap();
            assert_eq!(last.entry.id, expected);
            assert!(last_to_revert(&past, "staging", &table()).is_none());
        }
    }

    #[test]
    fn a_revert_that_was_not_made_took_nothing_back() {
        let id = |revert_of: u32, later: Option<u32>| {
            let mut revert = entry("3", PAUSED, Some("2"));
            revert.version = revert_of;
            let mut text = lines(&[
                &entry("1", OPENED, None),
                &confirmation("1"),
                &entry("2", OPENED, None),
                &confirmation("2"),
                &revert,
            ]);
            if let Some(version) = later {
                let mut later = entry("4", OPENED, None);
                later.version = version;
                text += &lines(&[&later]);
            }
            let past = read(&text).unwrap();
            last_to_revert(&past, "production", &table()).map(|past| past.entry.id.clone())
        };
        // The table is of version 3.
        assert_eq!(id(3, None).as_deref(), Some("1"), "it was made");
        assert_eq!(id(4, None).as_deref(), Some("2"), "it was not");
        assert_eq!(
            id(3, Some(3)).as_deref(),
            Some("4"),
            "another was made instead"
        );
    }

    #[test]
    fn what_was_begun_in_the_same_words_need_not_be_begun_again() {
        let past = read(&lines(&[&entry("1", PAUSED, None)])).unwrap();
        let mut again = entry("2", PAUSED, None);
        again.at = "2026-11-22T09:00:00Z".parse().unwrap();
        assert_eq!(begun(&past, &again).unwrap().entry.id, "1");
        let other = |change: fn(&mut Entry)| {
            let mut entry = again.clone();
            change(&mut entry);
            begun(&past, &entry).is_none()
        };
        assert!(other(|entry| entry.by = "Bao".to_owned()));
        assert!(other(|entry| entry.why = "else".to_owned()));
        assert!(other(|entry| entry.version += 1));
        assert!(other(|entry| entry.environment = "staging".to_owned()));
        assert!(other(|entry| entry.reverts = Some("0".to_owned())));
        assert!(other(|entry| entry.changes.clear()));
        let past = read(&lines(&[&entry("1", PAUSED, None), &confirmation("1")])).unwrap();
        assert!(begun(&past, &again).is_none(), "it is over");
    }

    #[test]
    fn a_last_line_is_kept_if_it_is_whole_but_for_its_end() {
        let text = lines(&[&entry("1", PAUSED, None), &confirmation("1")]);
        assert_eq!(without_cut_off(text.as_bytes()), text.as_bytes());
        let (whole, first) = (text.len() - 1, text.find('\n').unwrap() + 1);
        assert_eq!(without_cut_off(&text.as_bytes()[..whole]).len(), whole);
        for cut in first..whole {
            assert_eq!(without_cut_off(&text.as_bytes()[..cut]).len(), first);
        }
        assert_eq!(without_cut_off(&text.as_bytes()[..9]), b"");
        assert_eq!(without_cut_off(b""), b"");
    }

    #[test]
    fn a_change_was_cut_off_if_the_table_has_it_and_nobody_has_confirmed_it() {
        // The table is of version 3, an entry of 4.
        let mut made = entry("1", OPENED, None);
        made.version = 3;
        let mut other = entry("1", PAUSED, None);
        other.version = 3;
        let id = |lines: String, environment| {
            let past = read(&lines).unwrap();
            cut_off(&past, environment, &table()).map(|past| past.entry.id.clone())
        };
        assert_eq!(id(lines(&[&made]), "production").as_deref(), Some("1"));
        assert_eq!(id(lines(&[&made]), "staging"), None);
        assert_eq!(id(lines(&[&made, &confirmation("1")]), "production"), None);
        assert_eq!(id(lines(&[&entry("1", OPENED, None)]), "production"), None);
        assert_eq!(id(lines(&[&other]), "production"), None);
    }

    #[test]
    fn changes_are_read_as_they_were_written() {
        let way = |state| {
            Some(Way {
                region: "smp-asia".to_owned(),
                state,
            })
        };
        let mut written = entry("1", PAUSED, None);
        written.changes.push(Change::Country {
            country: "VN".to_owned(),
            from: None,
            to: way(State::Paused),
        });
        let past = read(&lines(&[&written])).unwrap();
        assert_eq!(past[0].entry, written);
    }
}
