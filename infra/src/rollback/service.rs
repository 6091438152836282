//! Whether a service was seen to change: another process answers than before, or it was away in between.

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use ureq::http::Uri;
use ureq::http::uri::PathAndQuery;

/// The metric by which processes are told apart, in seconds since 1970.
const STARTED_AT: &str = "process_start_time_seconds";

/// The program that answered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Process {
    /// When it started, by its own clock, in seconds since 1970.
    pub started_at: f64,
    /// When it answered, by the same clock.
    pub answered_at: f64,
}

/// What one look found.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// Why it is not ready, if it is not.
    pub not_ready: Option<String>,
    /// Which process answered, where it says so.
    pub process: Option<Process>,
}

/// What is known of a service since the first look.
#[derive(Debug)]
pub struct Watch {
    before: Option<Process>,
    was_away: bool,
    is_new: bool,
}

/// How a service stands after a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Ready, and seen to have changed.
    Changed,
    /// Ready, and nothing says that it is not what it was.
    Unchanged,
    /// Not ready.
    NotReady(String),
}

impl Watch {
    /// From the look before anything was done.
    #[must_use]
    pub fn new(before: &Look) -> Self {
        Self {
            before: before.process,
            was_away: before.not_ready.is_some(),
            is_new: false,
        }
    }

    /// Takes a look in. Where processes can be told apart nothing else counts: one that was not ready for a moment is
    /// the same program still. A process counts as new if it started after the first look: of two that share an
    /// address, the other one is as old.
    pub fn see(&mut self, look: &Look) -> State {
        if let Some(why) = &look.not_ready {
            self.was_away = true;
            return State::NotReady(why.clone());
        }
        self.is_new = match (self.before, look.process) {
            (Some(before), Some(now)) => {
                now.started_at > before.started_at && now.started_at >= before.answered_at
            }
            _ => self.was_away,
        };
        if self.is_new {
            State::Changed
        } else {
            State::Unchanged
        }
    }

    /// Why it is not seen to have changed.
    #[must_use]
    pub fn why_unchanged(&self) -> String {
        let at = |seconds: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "whole seconds are precise enough to be recognised"
            )]
            let at = Timestamp::from_second(seconds as i64);
            at.map_or_else(|_| format!("{seconds}"), |at| at.to_string())
        };
        match self.before {
            Some(before) => format!(
                "no process answers that started after this began; before, one of {} did",
                at(before.started_at)
            ),
            None => format!(
                "it was never seen not ready, and there is no {STARTED_AT} by which to tell one process from another"
            ),
        }
    }
}

/// The address of the metrics beside an address of readiness: its last part is `metrics`.
#[must_use]
pub fn metrics_url(ready: &Uri) -> Option<String> {
    let (folder, _) = ready.path().rsplit_once('/').unwrap_or_default();
    let mut parts = ready.clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(format!("{folder}/metrics")).ok();
    Uri::from_parts(parts).ok().map(|url| url.to_string())
}

/// An address of readiness, or what is expected.
pub fn ready_url(text: &str) -> Result<Uri, String> {
    let url: Option<Uri> = text.parse().ok();
    url.filter(|url| {
        let is_http = matches!(url.scheme_str(), Some("http" | "https"));
        is_http && url.host().is_some_and(|host| !host.is_empty())
    })
    .ok_or_else(|| "http://HOST/readyz or https://HOST/readyz is expected".to_owned())
}

/// The process that a page of metrics is of; `date` is the header of that name.
#[must_use]
pub fn process(metrics: &str, date: &str) -> Option<Process> {
    let started_at = metrics
        .lines()
        .find_map(|line| line.strip_prefix(STARTED_AT))?;
    // Labels, if there are any, come between.
    let started_at = started_at.rsplit('}').next()?.split_whitespace().next()?;
    let answered_at = rfc2822::parse(date).ok()?.timestamp();
    #[expect(
        clippy::cast_precision_loss,
        reason = "seconds since 1970 are far below 2^52"
    )]
    Some(Process {
        started_at: started_at.parse().ok().filter(|at: &f64| at.is_finite())?,
        answered_at: answered_at.as_second() as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(process: Option<(f64, f64)>) -> Look {
        let process = process.map(|(started_at, answered_at)| Process {
            started_at,
            answered_at,
        });
        Look {
            not_ready: None,
            process,
        }
    }

    fn away() -> Look {
        Look {
            not_ready: Some("refused".to_owned()),
            process: None,
        }
    }

    #[test]
    fn the_process_of_before_is_no_change_even_if_it_was_not_ready_meanwhile() {
        let before = look(Some((100.0, 200.0)));
        let mut watch = Watch::new(&before);
        assert_eq!(watch.see(&before), State::Unchanged);
        assert!(matches!(watch.see(&away()), State::NotReady(_)));
        assert_eq!(watch.see(&look(Some((100.0, 210.0)))), State::Unchanged);
        assert!(watch.why_unchanged().contains("1970-01-01T00:01:40Z"));
        assert_eq!(watch.see(&look(Some((205.0, 210.0)))), State::Changed);
    }

    #[test]
    fn another_process_that_is_as_old_is_no_change() {
        let mut watch = Watch::new(&look(Some((100.0, 200.0))));
        assert_eq!(watch.see(&look(Some((150.0, 210.0)))), State::Unchanged);
        assert_eq!(watch.see(&look(Some((200.0, 210.0)))), State::Changed);
    }

    #[test]
    fn without_metrics_it_has_to_be_seen_away() {
        let mut watch = Watch::new(&look(None));
        assert_eq!(watch.see(&look(None)), State::Unchanged);
        assert!(watch.why_unchanged().contains("never seen not ready"));
        watch.see(&away());
        assert_eq!(watch.see(&look(None)), State::Changed);
        let mut watch = Watch::new(&away());
        assert_eq!(watch.see(&look(Some((100.0, 200.0)))), State::Changed);
    }

    #[test]
    fn a_page_of_metrics_says_which_process_it_is() {
        let date = "Mon, 23 Nov 2026 05:00:00 GMT";
        let page = |line: &str| format!("# TYPE {STARTED_AT} gauge\n{line}\nup 1\n# EOF\n");
        let expected = Some(Process {
            started_at: 1_795_000_000.0,
            answered_at: 1_795_410_000.0,
        });
        for line in [
            "process_start_time_seconds 1795000000",
            "process_start_time_seconds{pod=\"a b\"} 1795000000.0",
        ] {
            assert_eq!(process(&page(line), date), expected, "{line}");
        }
        assert_eq!(process(&page("process_start_time_seconds NaN"), date), None);
        assert_eq!(process("up 1\n", date), None);
        assert_eq!(process(&page("process_start_time_seconds 1"), "now"), None);
    }

    #[test]
    fn metrics_are_beside_readiness() {
        let beside = |ready: &str| metrics_url(&ready_url(ready).unwrap()).unwrap();
        assert_eq!(beside("http://a:8/readyz?x=1"), "http://a:8/metrics");
        assert_eq!(beside("https://a/core/readyz"), "https://a/core/metrics");
        assert_eq!(beside("https://a"), "https://a/metrics");
        for text in [
            "nonsense",
            "ftp://a/readyz",
            "/readyz",
            "http://",
            "file:///x",
            "",
        ] {
            assert!(ready_url(text).is_err(), "{text}");
        }
    }
}
