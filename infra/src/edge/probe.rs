//! A record of ops' own, by which it is seen that a country's way leads to its core.

use protocol::Country;
use protocol::record_status::RecordStatus;
use serde::Serialize;
use serde_json::Value;

use super::{Client, refusal};

/// What a country's core said of a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProbeAnswer {
    /// Its HTTP status.
    pub status: u16,
    /// Its body; null if that is not JSON.
    pub answer: Value,
}

impl Client {
    /// Sends a record, of at most 1 KiB and without anybody's data, to a country's core, though its route be paused. An
    /// error is the edge's own; what the core refuses is an answer.
    pub fn probe(&self, country: Country, record: &Value) -> Result<ProbeAnswer, String> {
        let path = format!("/_edge/probe/{country}");
        let headers = [("authorization", format!("Bearer {}", self.token))];
        let (status, answer) = self.send("POST", &path, &headers, record)?;
        let answer = ProbeAnswer { status, answer };
        match (status, answer.said_by_the_edge()) {
            (200, _) | (_, None) => Ok(answer),
            (_, Some("no_region")) => Err(format!(
                "the edge has no route for {country}: is the version that has one in force (smpctl route show)?"
            )),
            (413, Some(_)) => Err("the edge takes no probe of over 1 KiB".to_owned()),
            (status, Some(_)) => Err(refusal(status)),
        }
    }
}

impl ProbeAnswer {
    /// What became of the record in the core; none if the core did not take it.
    #[must_use]
    pub fn record_status(&self) -> Option<RecordStatus> {
        if self.status != 200 {
            return None;
        }
        RecordStatus::parse(self.answer.get("status")?.as_str()?)
    }

    /// The event that the record is.
    #[must_use]
    pub fn event_id(&self) -> Option<&str> {
        self.answer.get("event_id")?.as_str()
    }

    /// Whether the core has it: it does if the same came before, too.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        matches!(
            self.record_status(),
            Some(RecordStatus::Accepted | RecordStatus::Duplicate)
        )
    }

    /// For people: `accepted, event 0190…`, or why not.
    #[must_use]
    pub fn summary(&self) -> String {
        match (self.record_status(), self.event_id()) {
            (Some(status), Some(id)) => format!("{}, event {id}", status.as_str()),
            (Some(status), None) => status.as_str().to_owned(),
            (None, _) => match self.answer.get("title").and_then(Value::as_str) {
                Some(title) => format!("the core answered {}: {title}", self.status),
                // A core gives a reason with whatever it refuses.
                None => format!(
                    "the edge answers {}, and no core does: is it up, and is its origin in the routes the right one?",
                    self.status
                ),
            },
        }
    }

    /// Whether the core has it, for people.
    pub fn judge(&self) -> Result<String, String> {
        if self.is_kept() {
            Ok(self.summary())
        } else {
            Err(self.summary())
        }
    }

    /// A problem of the core's has its status as a number, the edge's own answer has a word.
    fn said_by_the_edge(&self) -> Option<&str> {
        self.answer.get("status")?.as_str()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: u16, answer: Value) -> ProbeAnswer {
        ProbeAnswer { status, answer }
    }

    #[test]
    fn a_probe_is_kept_if_the_core_has_it_now_or_had_it_before() {
        for status in ["accepted", "duplicate"] {
            let kept = answer(200, json!({"status": status, "event_id": "e-1"}));
            assert!(kept.is_kept());
            assert_eq!(kept.event_id(), Some("e-1"));
            assert_eq!(kept.summary(), format!("{status}, event e-1"));
        }
        let invalid = answer(200, json!({"status": "invalid_payload"}));
        assert!(!invalid.is_kept());
        assert_eq!(invalid.summary(), "invalid_payload");
    }

    #[test]
    fn what_a_core_refuses_is_told_with_its_reason() {
        let title = "This core does not serve that region or country.";
        let refused = answer(421, json!({"title": title, "status": 421}));
        assert!(!refused.is_kept() && refused.said_by_the_edge().is_none());
        assert_eq!(refused.summary(), format!("the core answered 421: {title}"));
        let unread = answer(502, Value::Null);
        assert!(!unread.is_kept());
        assert!(
            unread
                .summary()
                .starts_with("the edge answers 502, and no core does: ")
        );
        let own = answer(401, json!({"status": "unauthorized"}));
        assert_eq!(own.said_by_the_edge(), Some("unauthorized"));
    }
}
