//! Connections to Pancake, as ops see and change them: at the edge, which knows tokens and secrets, and at the
//! country's core, which knows that there is one.

use std::fmt::Write as _;
use std::time::Duration;

use protocol::Country;
use protocol::connection::document::{Change, Listed};
use protocol::signature::Mode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::edge::{Client, Connection, Verdicts};

/// How long after a change it holds everywhere, in seconds, at the latest.
pub const IN_FORCE_SECS: u64 = 120;

/// The connections at one version, without their secrets.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {
    /// It rises with every change.
    pub version: u64,
    /// When they were changed, in seconds since 1970.
    pub changed_at: u64,
    /// Whether this version is where the isolates read it.
    pub is_published: bool,
    /// The connections.
    pub connections: Vec<Listed>,
}

/// What became of a change.
#[derive(Debug, Serialize)]
pub struct Changed {
    /// The version that it made.
    pub version: u64,
    /// Whether it is where the isolates read it. If not, the edge tries again by itself.
    pub is_published: bool,
}

#[derive(Deserialize)]
struct Made {
    version: u64,
}

/// How often, and how long apart, it is asked whether a change is where the isolates read it.
const PUBLISHED_ASKED: (u32, Duration) = (50, Duration::from_millis(100));

/// A country's core, asked through the edge, or at its own address, by somebody of its staff.
pub struct Staff<'c> {
    client: &'c Client,
    /// Below what the core's paths are.
    prefix: &'static str,
    token: &'c str,
    country: Country,
}

impl Client {
    /// All connections.
    pub fn connections(&self) -> Result<List, String> {
        self.get("connections")
    }

    /// Makes a change. It may be asked for again: what is so already stays so.
    pub fn change_connections(&self, change: &Change) -> Result<Changed, String> {
        let Made { version } = self.post("connections", &change.to_json())?;
        let (times, pause) = PUBLISHED_ASKED;
        for _ in 0..times {
            let list = self.connections()?;
            if list.is_published && list.version >= version {
                return Ok(Changed {
                    version,
                    is_published: true,
                });
            }
            std::thread::sleep(pause);
        }
        Ok(Changed {
            version,
            is_published: false,
        })
    }

    /// A country's core, by the bearer token of somebody of its staff.
    #[must_use]
    pub fn staff<'c>(&'c self, token: &'c str, country: Country) -> Staff<'c> {
        Staff {
            client: self,
            prefix: "/api/v1/",
            token,
            country,
        }
    }

    /// The same, if this client is of the core's own origin: to a country whose route is paused the edge lets nobody.
    #[must_use]
    pub fn staff_of_core<'c>(&'c self, token: &'c str, country: Country) -> Staff<'c> {
        Staff {
            prefix: "/v1/",
            ..self.staff(token, country)
        }
    }
}

impl Staff<'_> {
    /// Adds a connection's row. One that is there already is left as it is, if it is as it should be.
    pub fn add(&self, id: &str, workspace: Option<&str>) -> Result<(), String> {
        let row = match workspace {
            Some(workspace) => json!({"connection_id": id, "workspace": workspace}),
            None => json!({"connection_id": id}),
        };
        match self.ask("POST", "crm/pancake/connections", None, &row)? {
            (201, _) => return Ok(()),
            (409, _) => {}
            (status, problem) => return Err(self.refusal(status, &problem)),
        }
        let path = format!("crm/pancake/connections/{id}");
        let (200, there) = self.ask("GET", &path, None, &Value::Null)? else {
            return Ok(());
        };
        let text = |name| there.get(name).and_then(Value::as_str);
        let country = self.country;
        if text("status") == Some("disabled") {
            return Err(format!(
                "{id}: its row in {country}'s core is disabled, and what comes by it would not be processed: make it \
                 active first (docs/staff-api.md, \"Changing\")"
            ));
        }
        match workspace {
            Some(workspace) if text("workspace") != Some(workspace) => Err(format!(
                "{id}: its row in {country}'s core is there already, with another workspace: change it there"
            )),
            _ => Ok(()),
        }
    }

    /// Disables a connection: what is received by it from now on is kept, and not processed.
    pub fn disable(&self, id: &str, reason: &str) -> Result<(), String> {
        let path = format!("crm/pancake/connections/{id}");
        let (status, row) = self.ask("GET", &path, None, &Value::Null)?;
        let version = row.get("version").and_then(Value::as_i64);
        let (200, Some(version)) = (status, version) else {
            return Err(self.refusal(status, &row));
        };
        let change = json!({"status": "disabled", "reason": reason});
        match self.ask("PATCH", &path, Some(version), &change)? {
            (200, _) => Ok(()),
            (status, problem) => Err(self.refusal(status, &problem)),
        }
    }

    /// Gives a connection its key of Pancake's REST interface.
    pub fn set_api_key(&self, id: &str, api_key: &str) -> Result<(), String> {
        let path = format!("crm/pancake/connections/{id}/api-key");
        match self.ask("PUT", &path, None, &json!({"api_key": api_key}))? {
            (200, _) => Ok(()),
            (status, problem) => Err(self.refusal(status, &problem)),
        }
    }

    /// A row, as JSON; its path is below `/v1`.
    pub fn row(&self, path: &str) -> Result<Value, String> {
        self.fetch("GET", path, &Value::Null)
    }

    /// The first row of a list that is the one; `list` has a query already.
    pub fn find(
        &self,
        list: &str,
        is_it: impl Fn(&Value) -> bool,
    ) -> Result<Option<Value>, String> {
        let mut path = list.to_owned();
        loop {
            let page = self.row(&path)?;
            let items = page.get("items").and_then(Value::as_array);
            if let Some(found) = items.into_iter().flatten().find(|row| is_it(row)) {
                return Ok(Some(found.clone()));
            }
            match page.get("next").and_then(Value::as_str) {
                Some(next) => path = format!("{list}&cursor={next}"),
                None => return Ok(None),
            }
        }
    }

    /// Changes a row that is at that version.
    pub fn change(&self, path: &str, version: Option<i64>, change: &Value) -> Result<(), String> {
        match self.ask("PATCH", path, version, change)? {
            (200..300, _) => Ok(()),
            (status, problem) => Err(self.refusal(status, &problem)),
        }
    }

    /// What a core answers with any 2xx.
    pub(crate) fn fetch<T: serde::de::DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Result<T, String> {
        match self.ask(method, path, None, body)? {
            (200..300, answer) => serde_json::from_value(answer).map_err(|_| {
                format!(
                    "{}'s core answers in another way: is it of this version?",
                    self.country
                )
            }),
            (status, problem) => Err(self.refusal(status, &problem)),
        }
    }

    fn ask(
        &self,
        method: &str,
        path: &str,
        version: Option<i64>,
        body: &Value,
    ) -> Result<(u16, Value), String> {
        let mut headers = vec![
            ("authorization", format!("Bearer {}", self.token)),
            ("x-country-code", self.country.to_string()),
        ];
        headers.extend(version.map(|version| ("if-match", format!("\"{version}\""))));
        let path = format!("{}{path}", self.prefix);
        let answer = self.client.send(method, &path, &headers, body);
        answer.map_err(|error| format!("{}'s core: {error}", self.country))
    }

    fn refusal(&self, status: u16, problem: &Value) -> String {
        let text = |name| problem.get(name).and_then(Value::as_str);
        if text("status") == Some("no_region") {
            return format!(
                "the edge takes {country} to no region: is --country right? 'smpctl check' lists the countries of the \
                 route table",
                country = self.country
            );
        }
        let said = text("detail").or(text("title")).or(text("status"));
        let said = said.unwrap_or("it says no more");
        format!("{}'s core answered {status}: {said}", self.country)
    }
}

/// A list as a table. `now` is in seconds since 1970.
#[must_use]
pub fn list_table(list: &List, now: u64) -> String {
    let published = if list.is_published {
        ""
    } else {
        ", not yet where isolates read it"
    };
    let mut rows = vec![
        format!("connections, version {}{published}", list.version),
        format!(
            "{:<32} {:<7} {:<8} {:>7} {:<9} {:<22} ALLOW",
            "CONNECTION", "COUNTRY", "MODE", "SECRETS", "TOKEN", "OLD TOKEN"
        ),
    ];
    rows.extend(list.connections.iter().map(|connection| {
        let old = connection.old_token.as_ref();
        let old = old.map_or_else(String::new, |old| {
            let left = connection.old_token_good_until.unwrap_or_default();
            format!("{old}, {} min", left.saturating_sub(now).div_ceil(60))
        });
        let allow = if connection.allow.is_empty() {
            "anywhere".to_owned()
        } else {
            connection.allow.join(" ")
        };
        format!(
            "{:<32} {:<7} {:<8} {:>7} {:<9} {old:<22} {allow}",
            connection.id,
            connection.country,
            connection.mode.as_str(),
            connection.secrets,
            connection.token,
        )
    }));
    rows.join("\n") + "\n"
}

/// What a connection's requests of the last day would have got in another mode.
#[derive(Debug, Serialize)]
pub struct ModeTrial {
    /// Which connection.
    pub connection: String,
    /// Its mode now.
    pub from: Mode,
    /// The other one.
    pub to: Mode,
    /// Its requests of the last 24 hours, by what was found out about their signature.
    pub verdicts_24h: Verdicts,
    /// How many of these would have been refused.
    pub refused: u64,
    /// Of how many that cannot be said: their headers were not read.
    pub unknown: u64,
}

impl ModeTrial {
    /// Of a connection, by what the edge has counted of it; nothing if nothing came.
    #[must_use]
    pub fn new(listed: &Listed, counted: Option<&Connection>, to: Mode) -> Self {
        let verdicts_24h = counted.map_or_else(Verdicts::default, |counted| counted.verdicts_24h);
        let enforces = to == Mode::Enforce;
        let of = |count| if enforces { count } else { 0 };
        Self {
            connection: listed.id.clone(),
            from: listed.mode,
            to,
            verdicts_24h,
            refused: of(verdicts_24h.stale + verdicts_24h.invalid),
            unknown: of(verdicts_24h.unsigned),
        }
    }

    /// Whether requests would be refused of which nobody knows that they are rightly signed.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        self.to == Mode::Enforce && self.verdicts_24h.verified == 0
    }

    /// As a table.
    #[must_use]
    pub fn table(&self) -> String {
        let verdicts = self.verdicts_24h;
        let mut text = format!(
            "{}: {} to {}; its requests of the last 24 hours\n{:<10} {:>9}  {:<28} THEN\n",
            self.connection,
            self.from.as_str(),
            self.to.as_str(),
            "VERDICT",
            "REQUESTS",
            "NOW"
        );
        for (verdict, count, refused) in [
            ("verified", verdicts.verified, None),
            ("unsigned", verdicts.unsigned, None),
            ("stale", verdicts.stale, Some("timestamp_out_of_window")),
            ("invalid", verdicts.invalid, Some("hmac_invalid")),
        ] {
            let got = |mode| match refused {
                Some(refused) if mode == Mode::Enforce => refused,
                None if verdict == "unsigned" && mode == Mode::Enforce => "not known: not judged",
                _ => "goes on",
            };
            // Writing to a `String` cannot fail.
            let _ = writeln!(
                text,
                "{verdict:<10} {count:>9}  {:<28} {}",
                got(self.from),
                got(self.to)
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(mode: Mode) -> Listed {
        Listed {
            id: "vn-main".to_owned(),
            country: "VN".to_owned(),
            mode,
            secrets: 1,
            token: "0123abcd".to_owned(),
            old_token: Some("fedc9876".to_owned()),
            old_token_good_until: Some(10_060),
            allow: vec!["203.0.113.0/24".to_owned()],
        }
    }

    fn counted(verdicts_24h: Verdicts) -> Connection {
        Connection {
            connection: "vn-main".to_owned(),
            requests: 0,
            failures: 0,
            suspension_budget_used: 0.0,
            verdicts_24h,
        }
    }

    #[test]
    fn connections_are_a_table_that_a_person_can_read() {
        let list = List {
            version: 7,
            changed_at: 0,
            is_published: false,
            connections: vec![listed(Mode::Enforce)],
        };
        let table = list_table(&list, 10_000);
        let lines: Vec<_> = table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            lines,
            [
                "connections, version 7, not yet where isolates read it",
                "CONNECTION COUNTRY MODE SECRETS TOKEN OLD TOKEN ALLOW",
                "vn-main VN enforce 1 0123abcd fedc9876, 1 min 203.0.113.0/24",
            ]
        );
    }

    #[test]
    fn a_trial_says_what_another_mode_would_have_refused() {
        let verdicts = Verdicts {
            verified: 90,
            unsigned: 3,
            stale: 5,
            invalid: 2,
        };
        let observed = listed(Mode::Observe);
        let trial = ModeTrial::new(&observed, Some(&counted(verdicts)), Mode::Enforce);
        assert_eq!(
            (trial.refused, trial.unknown, trial.is_blind()),
            (7, 3, false)
        );
        let table = trial.table();
        let row = |verdict: &str| {
            let mut lines = table.lines();
            let line = lines.find(|line| line.starts_with(verdict)).unwrap();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(row("verified"), "verified 90 goes on goes on");
        assert_eq!(row("unsigned"), "unsigned 3 goes on not known: not judged");
        assert_eq!(row("stale"), "stale 5 goes on timestamp_out_of_window");
        assert_eq!(row("invalid"), "invalid 2 goes on hmac_invalid");
        let back = ModeTrial::new(&listed(Mode::Enforce), Some(&counted(verdicts)), Mode::Off);
        assert_eq!((back.refused, back.unknown), (0, 0));
    }

    #[test]
    fn to_enforce_what_nobody_saw_signed_is_blind() {
        let off = listed(Mode::Off);
        assert!(ModeTrial::new(&off, None, Mode::Enforce).is_blind());
        assert!(!ModeTrial::new(&off, None, Mode::Observe).is_blind());
        let unsigned = Verdicts {
            unsigned: 100,
            ..Verdicts::default()
        };
        assert!(ModeTrial::new(&off, Some(&counted(unsigned)), Mode::Enforce).is_blind());
    }
}
