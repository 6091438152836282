//! Who changed the routes, what, when and why: lines of JSON, to which is only added.
//!
//! A change is written down before it is made, and once more when the edge has confirmed it, so that a change that
//! was cut off is known to be one.

use jiff::Timestamp;
use protocol::routes::RouteTable;
use serde::{Deserialize, Serialize};

use super::{Change, Goal, changes};

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
}

/// Reads a history, the oldest first. A last line that was cut off is passed over.
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
            Err(_) if !line.ends_with('\n') => {}
            Err(error) => return Err(format!("line {}: {error}", number + 1)),
        }
    }
    Ok(past)
}

/// The last change of an environment that was not taken back and, unless the edge confirmed it, is in the table: one
/// that was cut off before it was made is none.
#[must_use]
pub fn last_to_revert<'p>(
    past: &'p [Past],
    environment: &str,
    routes: &RouteTable,
) -> Option<&'p Past> {
    let mut standing: Vec<&Past> = Vec::new();
    for past in past
        .iter()
        .filter(|past| past.entry.environment == environment)
    {
        match &past.entry.reverts {
            Some(reverted) => standing.retain(|other| other.entry.id != *reverted),
            None => standing.push(past),
        }
    }
    let was_made = |past: &&&Past| {
        past.confirmed.is_some()
            || changes(routes, &Goal::Revert(past.entry.changes.clone())).is_ok()
    };
    standing.iter().rev().find(was_made).copied()
}

/// The last change of an environment, if it is in the table and the edge has not confirmed it.
#[must_use]
pub fn cut_off<'p>(past: &'p [Past], environment: &str, routes: &RouteTable) -> Option<&'p Past> {
    let mut of_it = past.iter().rev();
    let last = of_it.find(|past| past.entry.environment == environment)?;
    (last.confirmed.is_none() && last.entry.version == routes.version()).then_some(last)
}

#[cfg(test)]
mod tests {
    use super::super::tests::table;
    use super::super::{State, Way};
    use super::*;

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
        // The table has smp-asia open.
        for (cut_off, expected) in [(PAUSED, "1"), (OPENED, "2")] {
            let text = lines(&[
                &entry("1", OPENED, None),
                &confirmation("1"),
                &entry("2", cut_off, None),
            ]);
            let past = read(&text).unwrap();
            let last = last_to_revert(&past, "production", &table()).unwrap();
            assert_eq!(last.entry.id, expected);
            assert!(last_to_revert(&past, "staging", &table()).is_none());
        }
    }

    #[test]
    fn a_change_was_cut_off_if_the_table_has_it_and_nobody_has_confirmed_it() {
        // The table is of version 3, an entry of 4.
        let mut made = entry("1", PAUSED, None);
        made.version = 3;
        let id = |lines: String, environment| {
            let past = read(&lines).unwrap();
            cut_off(&past, environment, &table()).map(|past| past.entry.id.clone())
        };
        assert_eq!(id(lines(&[&made]), "production").as_deref(), Some("1"));
        assert_eq!(id(lines(&[&made]), "staging"), None);
        assert_eq!(id(lines(&[&made, &confirmation("1")]), "production"), None);
        assert_eq!(id(lines(&[&entry("1", PAUSED, None)]), "production"), None);
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
