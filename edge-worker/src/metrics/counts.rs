//! What one isolate counts: plain numbers by place, for each webhook passes here. Pure.

use std::collections::BTreeMap;
use std::mem;

use protocol::Country;
use protocol::record_status::RecordStatus;
use protocol::signature::Verdict;

use super::window::Requests;
use super::{Report, series};
use crate::answer::Answer;

/// The upper bounds of the durations' buckets, in milliseconds, and as their label. The last is what Pancake waits.
const DURATION_BOUNDS: [(u32, &str); 9] = [
    (10, "0.01"),
    (25, "0.025"),
    (50, "0.05"),
    (100, "0.1"),
    (250, "0.25"),
    (500, "0.5"),
    (1_000, "1"),
    (3_000, "3"),
    (SENDER_TIMEOUT_MS, "5"),
];

/// In milliseconds, as counters are whole numbers; shown in seconds.
pub(super) const DURATION_SUM: &str = "edge_webhook_duration_seconds_sum";

/// All requests of a country, webhooks and others.
pub(super) const OF_COUNTRY: &str = "edge_requests_total";

fn of_country(country: Country) -> String {
    series(OF_COUNTRY, &[("country", country.as_str())])
}

/// How long Pancake waits for an answer, in milliseconds: whatever took longer has failed to it.
const SENDER_TIMEOUT_MS: u32 = 5_000;

/// What became of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its core kept it, and said so.
    Kept(RecordStatus),
    /// It waits for its core, which could not be asked or did not take it for this reason.
    Queued(Answer),
    /// The edge answered of its own.
    Answered(Answer),
}

const OUTCOMES: usize = RecordStatus::ALL.len() + 2 * Answer::ALL.len();

impl Outcome {
    fn index(self) -> usize {
        match self {
            Self::Kept(status) => place(&RecordStatus::ALL, &status),
            Self::Answered(answer) => RecordStatus::ALL.len() + place(&Answer::ALL, &answer),
            Self::Queued(reason) => {
                RecordStatus::ALL.len() + Answer::ALL.len() + place(&Answer::ALL, &reason)
            }
        }
    }

    fn all() -> impl Iterator<Item = Self> {
        let kept = RecordStatus::ALL.into_iter().map(Self::Kept);
        let answered = Answer::ALL.into_iter().map(Self::Answered);
        let queued = Answer::ALL.into_iter().map(Self::Queued);
        kept.chain(answered).chain(queued)
    }

    fn is_failure(self) -> bool {
        matches!(self, Self::Answered(answer) if answer.http_status() / 100 != 2)
    }

    /// The `status` of the answer's body, and the cause in our logs; empty if it needs none.
    fn status_and_cause(self) -> (&'static str, &'static str) {
        let (status, cause) = match self {
            Self::Kept(status) => (status.as_str(), None),
            Self::Queued(reason) => (Answer::Queued.status(), reason.cause()),
            Self::Answered(answer) => (answer.status(), answer.cause()),
        };
        (status, cause.unwrap_or_default())
    }
}

fn place<T: PartialEq>(all: &[T], one: &T) -> usize {
    all.iter()
        .position(|known| known == one)
        .unwrap_or_default()
}

/// What was counted of one connection.
#[derive(Debug, Clone)]
struct Slot {
    outcomes: [u32; OUTCOMES],
    verdicts: [u32; Verdict::ALL.len()],
    failed: u32,
    durations: [u32; DURATION_BOUNDS.len() + 1],
    duration_ms: u64,
}

impl Slot {
    const EMPTY: Self = Self {
        outcomes: [0; OUTCOMES],
        verdicts: [0; Verdict::ALL.len()],
        failed: 0,
        durations: [0; DURATION_BOUNDS.len() + 1],
        duration_ms: 0,
    };

    fn total(&self) -> u64 {
        self.outcomes.iter().copied().map(u64::from).sum()
    }

    /// Adds what was counted to counters.
    fn tell(&self, (connection, region): (&str, &str), counters: &mut BTreeMap<String, u64>) {
        let mut add = |name, labels: &[(&str, &str)], count: u64| {
            if count > 0 {
                *counters.entry(series(name, labels)).or_default() += count;
            }
        };
        let place = [("connection", connection), ("region", region)];
        let [of_connection, of_region] = place;
        for (outcome, count) in Outcome::all().zip(self.outcomes) {
            // Two of the edge's answers may look alike.
            let (status, cause) = outcome.status_and_cause();
            let labels = [
                of_connection,
                of_region,
                ("status", status),
                ("cause", cause),
            ];
            add("edge_webhooks_total", &labels, count.into());
        }
        for (verdict, count) in Verdict::ALL.into_iter().zip(self.verdicts) {
            let labels = [of_connection, of_region, ("verdict", verdict.as_str())];
            add("edge_webhook_verdicts_total", &labels, count.into());
        }
        add("edge_webhook_failures_total", &place, self.failed.into());
        let mut sum = 0;
        let bounds = DURATION_BOUNDS.iter().map(|(_, label)| *label);
        for (bound, count) in bounds.chain(["+Inf"]).zip(self.durations) {
            sum += u64::from(count);
            add(
                "edge_webhook_duration_seconds_bucket",
                &[of_region, ("le", bound)],
                sum,
            );
        }
        add("edge_webhook_duration_seconds_count", &[of_region], sum);
        add(DURATION_SUM, &[of_region], self.duration_ms);
    }
}

/// What an isolate counts.
#[derive(Debug, Default)]
pub struct Counts {
    /// By index of connection, one behind; the first is of no connection.
    slots: Vec<Slot>,
    counters: BTreeMap<String, u64>,
    is_dirty: bool,
    /// Was told, and nobody has said that it was heard.
    unheard: Option<Report>,
    reports: u64,
}

impl Counts {
    /// A webhook was answered after so many milliseconds.
    pub fn webhook(&mut self, connection: Option<usize>, outcome: Outcome, duration_ms: u32) {
        self.is_dirty = true;
        let Some(slot) = self.slot(connection) else {
            return;
        };
        if let Some(count) = slot.outcomes.get_mut(outcome.index()) {
            *count = count.saturating_add(1);
        }
        if outcome.is_failure() || duration_ms > SENDER_TIMEOUT_MS {
            slot.failed = slot.failed.saturating_add(1);
        }
        let bucket = DURATION_BOUNDS
            .iter()
            .position(|(bound, _)| duration_ms <= *bound)
            .unwrap_or(DURATION_BOUNDS.len());
        if let Some(count) = slot.durations.get_mut(bucket) {
            *count = count.saturating_add(1);
        }
        slot.duration_ms += u64::from(duration_ms);
    }

    /// A webhook's timestamp and signature were judged.
    pub fn verdict(&mut self, connection: usize, verdict: Verdict) {
        let place = place(&Verdict::ALL, &verdict);
        if let Some(count) = self
            .slot(Some(connection))
            .and_then(|slot| slot.verdicts.get_mut(place))
        {
            *count = count.saturating_add(1);
        }
    }

    /// A request was proxied to a country's region, or was not.
    pub fn proxied(&mut self, country: Option<Country>, region: &str, outcome: &str) {
        if let Some(country) = country {
            self.raise(of_country(country), 1);
        }
        let labels = [("region", region), ("outcome", outcome)];
        self.raise(series("edge_proxied_requests_total", &labels), 1);
    }

    /// The connections were read, or were not.
    pub fn connections_read(&mut self, from: &str, outcome: &str) {
        let labels = [("from", from), ("outcome", outcome)];
        self.raise(series("edge_connections_reads_total", &labels), 1);
    }

    /// Requests ended in what nobody foresaw.
    pub fn failures(&mut self, count: u32) {
        if count > 0 {
            self.raise(series("edge_failures_total", &[]), count.into());
        }
    }

    fn raise(&mut self, series: String, by: u64) {
        *self.counters.entry(series).or_default() += by;
        self.is_dirty = true;
    }

    fn slot(&mut self, connection: Option<usize>) -> Option<&mut Slot> {
        let index = connection.map_or(0, |connection| connection + 1);
        if self.slots.len() <= index {
            self.slots.resize(index + 1, Slot::EMPTY);
        }
        self.slots.get_mut(index)
    }

    /// What is to be told: what was told before, as long as nobody has said that it was heard, else what was
    /// counted since; nothing if nothing was. `name_of` gives id, country and region of a connection.
    pub fn take_report(
        &mut self,
        isolate: &str,
        name_of: impl Fn(usize) -> Option<(String, Country, String)>,
    ) -> Option<&Report> {
        if self.unheard.is_none() {
            if !mem::take(&mut self.is_dirty) {
                return None;
            }
            let mut report = Report {
                isolate: isolate.to_owned(),
                number: self.reports,
                counters: mem::take(&mut self.counters),
                requests: Vec::new(),
            };
            self.reports += 1;
            for (index, slot) in self.slots.iter_mut().enumerate() {
                let slot = mem::replace(slot, Slot::EMPTY);
                let name = index.checked_sub(1).and_then(&name_of);
                let place = name.as_ref().map_or(("", ""), |(name, _, of)| (name, of));
                slot.tell(place, &mut report.counters);
                if let Some((connection, country, _)) = name
                    && slot.total() > 0
                {
                    *report.counters.entry(of_country(country)).or_default() += slot.total();
                    let requests = Requests {
                        total: slot.total(),
                        failed: slot.failed.into(),
                        verdicts: slot.verdicts.map(u64::from),
                    };
                    report.requests.push((connection, requests));
                }
            }
            self.unheard = Some(report);
        }
        self.unheard.as_ref()
    }

    /// What was told was heard.
    pub fn heard(&mut self) {
        self.unheard = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCEPTED: Outcome = Outcome::Kept(RecordStatus::Accepted);

    fn name_of(connection: usize) -> Option<(String, Country, String)> {
        (connection == 0).then(|| ("vn-main".to_owned(), vn(), "smp-asia".to_owned()))
    }

    fn vn() -> Country {
        Country::parse("VN").unwrap()
    }

    fn report(counts: &mut Counts) -> Report {
        let report = counts.take_report("isolate", name_of).unwrap();
        let text = serde_json::to_string(report).unwrap();
        let back = serde_json::from_str(&text).unwrap();
        assert_eq!(*report, back, "a report is JSON and back");
        back
    }

    #[test]
    fn each_outcome_has_a_place_of_its_own() {
        for (index, outcome) in Outcome::all().enumerate() {
            assert_eq!(outcome.index(), index, "{outcome:?}");
        }
        assert_eq!(Outcome::all().count(), OUTCOMES);
    }

    #[test]
    fn webhooks_are_told_by_connection_answer_cause_and_verdict() {
        let mut counts = Counts::default();
        counts.verdict(0, Verdict::Verified);
        counts.webhook(Some(0), ACCEPTED, 12);
        counts.webhook(Some(0), Outcome::Queued(Answer::CoreTimedOut), 3_020);
        counts.webhook(Some(0), Outcome::Answered(Answer::CoreTimedOut), 3_020);
        counts.webhook(None, Outcome::Answered(Answer::UnknownToken), 0);
        counts.proxied(Some(vn()), "smp-asia", "200");
        counts.failures(2);
        let report = report(&mut counts);
        let vn = r#"connection="vn-main",region="smp-asia""#;
        let nobody = r#"connection="",region="""#;
        let expected = [
            (r#"edge_requests_total{country="VN"}"#.to_owned(), 4),
            (
                format!(r#"edge_webhooks_total{{{vn},status="accepted",cause=""}}"#),
                1,
            ),
            (
                format!(r#"edge_webhooks_total{{{vn},status="queued",cause="core_timed_out"}}"#),
                1,
            ),
            (
                format!(
                    r#"edge_webhooks_total{{{vn},status="unavailable",cause="core_timed_out"}}"#
                ),
                1,
            ),
            (
                format!(r#"edge_webhook_verdicts_total{{{vn},verdict="verified"}}"#),
                1,
            ),
            (format!("edge_webhook_failures_total{{{vn}}}"), 1),
            (
                format!(r#"edge_webhooks_total{{{nobody},status="unknown_token",cause=""}}"#),
                1,
            ),
            (format!("edge_webhook_failures_total{{{nobody}}}"), 1),
            (
                r#"edge_proxied_requests_total{region="smp-asia",outcome="200"}"#.to_owned(),
                1,
            ),
            ("edge_failures_total".to_owned(), 2),
        ];
        let found = report
            .counters
            .iter()
            .filter(|(name, _)| !name.contains("duration"));
        let found: BTreeMap<_, _> = found.map(|(name, count)| (name.clone(), *count)).collect();
        assert_eq!(found, BTreeMap::from(expected));
        let requests = Requests {
            total: 3,
            failed: 1,
            verdicts: [1, 0, 0, 0],
        };
        assert_eq!(report.requests, [("vn-main".to_owned(), requests)]);
    }

    #[test]
    fn durations_are_a_histogram_by_region() {
        let mut counts = Counts::default();
        counts.webhook(Some(0), ACCEPTED, 12);
        counts.webhook(Some(0), ACCEPTED, 3_020);
        counts.webhook(Some(0), ACCEPTED, 60_000);
        let report = report(&mut counts);
        let count = |name: &str| report.counters.get(name).copied();
        let bucket = |bound| {
            count(&format!(
                r#"edge_webhook_duration_seconds_bucket{{region="smp-asia",le="{bound}"}}"#
            ))
        };
        assert_eq!(bucket("0.01"), None);
        assert_eq!(bucket("0.025"), Some(1));
        assert_eq!(bucket("3"), Some(1));
        assert_eq!(bucket("5"), Some(2));
        assert_eq!(bucket("+Inf"), Some(3));
        assert_eq!(
            count(r#"edge_webhook_duration_seconds_count{region="smp-asia"}"#),
            Some(3)
        );
        assert_eq!(
            count(r#"edge_webhook_duration_seconds_sum{region="smp-asia"}"#),
            Some(63_032)
        );
    }

    #[test]
    fn an_answer_that_came_too_late_is_a_failure_though_it_was_a_good_one() {
        let mut counts = Counts::default();
        counts.webhook(Some(0), ACCEPTED, SENDER_TIMEOUT_MS);
        counts.webhook(Some(0), ACCEPTED, SENDER_TIMEOUT_MS + 1);
        assert_eq!(report(&mut counts).requests[0].1.failed, 1);
    }

    #[test]
    fn what_was_not_heard_is_told_again_and_what_was_is_not() {
        let mut counts = Counts::default();
        assert!(counts.take_report("isolate", name_of).is_none());
        counts.webhook(Some(0), ACCEPTED, 1);
        assert_eq!(report(&mut counts).number, 0);
        counts.webhook(Some(0), ACCEPTED, 1);
        counts.webhook(Some(0), ACCEPTED, 1);
        let again = report(&mut counts);
        assert_eq!((again.number, again.requests[0].1.total), (0, 1));
        counts.heard();
        let next = report(&mut counts);
        assert_eq!((next.number, next.requests[0].1.total), (1, 2));
        counts.heard();
        assert!(counts.take_report("isolate", name_of).is_none());
    }
}
