//! What people wrote down: a file of TOML to which is only added.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::gate::Reading;
use crate::gate::items::{self, Item, Kind};

/// An answer, who wrote it down, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Of which item.
    pub item: String,
    /// In the form of its kind.
    pub value: String,
    /// Who wrote it down.
    pub by: String,
    /// When, RFC 3339.
    pub at: Timestamp,
    /// Whatever else is to be known. No personal data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Whether it is done without.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waiver: bool,
}

/// All of a country, in the file's order.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Records {
    /// Them.
    #[serde(default)]
    record: Vec<Record>,
}

impl Record {
    /// Made of what somebody says now; a mistake says what is expected.
    pub fn new(
        (item, value): (&str, &str),
        by: &str,
        at: Timestamp,
        note: Option<&str>,
        waiver: bool,
    ) -> Result<Self, String> {
        let record = Self {
            item: item.to_owned(),
            value: value.trim().to_owned(),
            by: by.trim().to_owned(),
            at,
            note: note.map(|note| note.trim().to_owned()),
            waiver,
        };
        record.check()?;
        Ok(record)
    }

    fn check(&self) -> Result<&'static Item, String> {
        let item = items::find(&self.item).ok_or_else(|| {
            let names: Vec<_> = items::ITEMS.iter().map(|item| item.name).collect();
            format!("no item '{}': there are {}", self.item, names.join(", "))
        })?;
        item.kind
            .read(&self.value)
            .map_err(|mistake| format!("{}: {mistake}", item.name))?;
        let moment = Some(&self.value).filter(|_| item.kind == Kind::Moment);
        if moment.is_some_and(|it| it.parse().is_ok_and(|it: Timestamp| it > self.at)) {
            return Err(format!(
                "{}: '{}' is in the future: write it down once it was",
                item.name, self.value
            ));
        }
        one_line("--by", &self.by, 64)?;
        if let Some(note) = &self.note {
            one_line("--note", note, 500)?;
        }
        if self.waiver {
            if item.waived_by.is_none() {
                return Err(format!("{}: nobody may waive it", item.name));
            }
            if self.note.is_none() {
                return Err("a waiver needs a --note that says who waives and why".to_owned());
            }
        }
        Ok(item)
    }

    /// As it is added to the file.
    pub fn to_toml(&self) -> Result<String, String> {
        let body = toml::to_string(self).map_err(|error| error.to_string())?;
        Ok(format!("\n[[record]]\n{body}"))
    }
}

/// A line for people, without what might be a customer's address or number.
fn one_line(name: &str, text: &str, longest: usize) -> Result<(), String> {
    if text.is_empty() || text.chars().count() > longest || text.chars().any(char::is_control) {
        return Err(format!(
            "{name}: one line of 1 to {longest} characters is expected"
        ));
    }
    let mut digits = 0;
    for char in text.chars() {
        if char.is_ascii_digit() {
            digits += 1;
        } else if !matches!(char, ' ' | '.' | '-' | '(' | ')') {
            digits = 0;
        }
        // As long as the shortest phone number; a date has eight digits.
        if digits > 8 || char == '@' {
            return Err(format!(
                "{name}: no e-mail address and no phone number belongs here: write who it was by role"
            ));
        }
    }
    Ok(())
}

impl Records {
    /// Reads a file. A record that its item does not understand is a mistake: what nobody can read decides nothing. So
    /// is one that was written after `now`: it would count before whatever is written until then.
    pub fn parse(text: &str, now: Timestamp) -> Result<Self, String> {
        let records: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        for record in &records.record {
            if record.at > now {
                return Err(format!(
                    "record of {}: {}: its 'at' is in the future; if this machine's clock is right, write there when \
                     it was written down",
                    record.at, record.item
                ));
            }
            record
                .check()
                .map_err(|mistake| format!("record of {}: {mistake}", record.at))?;
        }
        Ok(records)
    }

    /// All of them, in the file's order.
    #[must_use]
    pub fn all(&self) -> &[Record] {
        &self.record
    }

    /// The one that counts: the latest by its time; of the same time the last of the file.
    #[must_use]
    pub fn latest(&self, item: &str) -> Option<&Record> {
        self.record
            .iter()
            .filter(|record| record.item == item)
            .max_by_key(|record| record.at)
    }

    /// What the one that counts says.
    #[must_use]
    pub fn reading(&self, name: &str) -> Reading {
        let Some(record) = self.latest(name) else {
            return Reading::unknown(format!(
                "nobody wrote it down: smpctl gate record {name} --value … --by NAME"
            ));
        };
        let said = |detail: &str| {
            let day = record.at.strftime("%Y-%m-%d");
            let note = record.note.as_deref().unwrap_or_default();
            let parts = [detail, &format!("{} on {day}", record.by), note];
            let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            parts.join("; ")
        };
        if record.waiver {
            return Reading::Waived(said(&format!("waived ({})", record.value)));
        }
        let kind = items::find(name).map(|item| item.kind.read(&record.value));
        match kind {
            Some(Ok(Reading::Known { figure, detail })) => Reading::known(figure, said(&detail)),
            Some(Ok(Reading::Unknown(why) | Reading::Waived(why))) => Reading::Unknown(said(&why)),
            Some(Err(why)) => Reading::Unknown(why),
            None => Reading::unknown(format!("no item '{name}'")),
        }
    }
}

/// How the file begins.
#[must_use]
pub fn heading(country: &str) -> String {
    format!(
        "# What people found out and decided for the gates of {country} (docs/gates.md). 'smpctl gate record' adds to\n\
         # it; nothing is changed or taken away: of an item the latest record counts, the others are its history.\n\
         # No personal data beyond the name of who wrote a record.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(value: &str, at: &str) -> Record {
        let at = at.parse().unwrap();
        Record::new(("telesale-survey-w1", value), "Anna", at, None, false).unwrap()
    }

    #[test]
    fn what_is_added_is_read_again_and_the_latest_counts() {
        let mut text = heading("VN");
        for record in [
            record("3.1 from 4", "2026-06-01T08:00:00Z"),
            record("4.5 from 3", "2026-06-03T08:00:00Z"),
            record("3.9 from 3", "2026-06-02T08:00:00Z"),
        ] {
            text += &record.to_toml().unwrap();
        }
        let now = "2026-06-03T08:00:00Z".parse().unwrap();
        let early = Records::parse(&text, "2026-06-03T07:59:59Z".parse().unwrap()).unwrap_err();
        assert!(early.contains("in the future"), "{early}");
        let records = Records::parse(&text, now).unwrap();
        assert_eq!(records.all().len(), 3);
        let reading = records.reading("telesale-survey-w1");
        assert_eq!(
            reading,
            Reading::known(4.5, "3 answers; Anna on 2026-06-03")
        );
        assert!(matches!(
            records.reading("g1-requirements"),
            Reading::Unknown(_)
        ));
    }

    #[test]
    fn a_pilot_began_before_it_is_written_down() {
        let at = "2026-06-01T08:00:00Z".parse().unwrap();
        let began = |value| Record::new(("pilot-start", value), "Anna", at, None, false);
        assert!(began("2026-06-01T15:00:00+07:00").is_ok());
        let mistake = began("2026-06-01T15:00:01+07:00").unwrap_err();
        assert!(mistake.contains("in the future"), "{mistake}");
    }

    #[test]
    fn of_the_same_moment_the_last_counts() {
        let at = "2026-06-01T08:00:00Z";
        let text =
            record("3 from 4", at).to_toml().unwrap() + &record("5 from 4", at).to_toml().unwrap();
        let records = Records::parse(&text, at.parse().unwrap()).unwrap();
        assert_eq!(
            records.latest("telesale-survey-w1").unwrap().value,
            "5 from 4"
        );
    }

    #[test]
    fn quotes_and_comments_survive() {
        let at = Timestamp::UNIX_EPOCH;
        let note = "he said \"yes\" # really";
        let record =
            Record::new(("g1-requirements", "yes"), "Anna", at, Some(note), false).unwrap();
        let text = format!("# by hand\n{}", record.to_toml().unwrap());
        assert_eq!(Records::parse(&text, at).unwrap().all(), [record]);
    }

    #[test]
    fn a_waiver_is_for_what_may_be_waived_and_says_why() {
        let at = Timestamp::UNIX_EPOCH;
        let waive = |item, note| Record::new((item, "no-answer"), "Sam", at, note, true);
        assert!(
            waive("pd1-signatures", None)
                .unwrap_err()
                .contains("--note")
        );
        let waived = waive("pd1-signatures", Some("until Pancake answers")).unwrap();
        let records = Records {
            record: vec![waived],
        };
        assert!(matches!(
            records.reading("pd1-signatures"),
            Reading::Waived(_)
        ));
        let other = Record::new(("pd3-consent-key", "no"), "Sam", at, Some("x"), true);
        assert!(other.unwrap_err().contains("nobody may waive"));
    }

    #[test]
    fn what_cannot_be_right_is_refused() {
        let at = Timestamp::UNIX_EPOCH;
        let mistake =
            |item, value, by, note| Record::new((item, value), by, at, note, false).unwrap_err();
        assert!(mistake("g0", "yes", "Anna", None).contains("g1-requirements"));
        assert!(mistake("g1-requirements", "maybe", "Anna", None).contains("yes or no"));
        assert!(mistake("g1-requirements", "yes", " ", None).contains("--by"));
        assert!(mistake("g1-requirements", "yes", "a\nb", None).contains("--by"));
        let personal = "phone number";
        assert!(mistake("g1-requirements", "yes", "anna@example.com", None).contains(personal));
        let note = Some("call 090 123 45 67");
        assert!(mistake("g1-requirements", "yes", "Anna", note).contains(personal));
        let dated = Some("meeting of 2026-05-28, 3 of 5");
        assert!(Record::new(("g1-requirements", "yes"), "Anna", at, dated, false).is_ok());
        assert!(Records::parse("[[record]]\nitem = 1", at).is_err());
        let unknown =
            "[[record]]\nitem = 'g9'\nvalue = 'yes'\nby = 'A'\nat = '2026-06-01T08:00:00Z'";
        let now = "2026-06-02T08:00:00Z".parse().unwrap();
        let mistake = Records::parse(unknown, now).unwrap_err();
        assert!(mistake.contains("g1-requirements"), "{mistake}");
    }
}
