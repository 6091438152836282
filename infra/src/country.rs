//! What a country needs before it is opened, as a list that people and programs read: what is there, what is missing,
//! and what mends it.
//!
//! Pure: who asks is given, and what was answered is judged.
//!
//! - [`way`]: the region's file, the route, the core;
//! - [`master_data`]: the country's row, its currency, rates, taxes and texts;
//! - [`phone`]: whether its numbers are known;
//! - [`office`]: its staff, switches, sources and connections.

pub mod master_data;
pub mod office;
pub mod phone;
pub mod way;

use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// An HTTP status and a body, null if that is not JSON; or why there is none.
pub type Asked = Result<(u16, Value), String>;

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It has to be mended before the country is opened.
    Missing,
    /// It could not be seen.
    Unknown,
}

/// A line of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// What was looked at.
    pub what: &'static str,
    /// How it stands.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What mends it, or what to do next: a command or a page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Item {
    fn ok(what: &'static str, found: impl Into<String>) -> Self {
        Self::new(what, Verdict::Ok, found)
    }

    fn missing(what: &'static str, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(what, Verdict::Missing, found).then(next)
    }

    /// What could not be seen, and how it can be.
    pub fn unknown(what: &'static str, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(what, Verdict::Unknown, found).then(next)
    }

    fn new(what: &'static str, verdict: Verdict, found: impl Into<String>) -> Self {
        Self {
            what,
            verdict,
            found: found.into(),
            next: None,
        }
    }

    fn then(self, next: impl Into<String>) -> Self {
        Self {
            next: Some(next.into()),
            ..self
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Missing => "MISSING",
            Verdict::Unknown => "unknown",
        };
        write!(formatter, "{verdict:<8} {}: {}", self.what, self.found)?;
        match &self.next {
            Some(next) => write!(formatter, "\n         {next}"),
            None => Ok(()),
        }
    }
}

/// The names of what is missing.
#[must_use]
pub fn missing(items: &[Item]) -> Vec<&'static str> {
    let missing = items.iter().filter(|item| item.verdict == Verdict::Missing);
    missing.map(|item| item.what).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_it_stands_and_what_mends_it() {
        let item = Item::missing("route", "none", "smpctl country add LA --region smp-asia");
        assert_eq!(
            item.to_string(),
            "MISSING  route: none\n         smpctl country add LA --region smp-asia"
        );
        assert_eq!(
            Item::ok("route", "open").to_string(),
            "ok       route: open"
        );
        assert_eq!(
            missing(&[item, Item::ok("core", "it serves LA")]),
            ["route"]
        );
    }
}
