//! What all isolates and all shards have told, added up, and how it is shown. Pure.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use protocol::UnixSeconds;
use protocol::routes::{RouteState, RouteTable, Spool};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::counts::{DURATION_SUM, OF_COUNTRY};
use super::window::{DAY, HALF_AN_HOUR, HOUR, Requests, Window};
use super::{Report, series};
use crate::spool::ShardStatus;

/// An isolate of which nothing was heard for so long, in seconds, is gone.
const ISOLATE_GONE_SECS: u64 = 3_600;

/// The counters, and what they are: name, type, help. In the order of their names.
const COUNTERS: [[&str; 3]; 8] = [
    [
        "edge_connections_reads_total",
        "counter",
        "How often isolates read the connections, by where from and whether they could.",
    ],
    [
        "edge_failures_total",
        "counter",
        "Requests that ended in what nobody foresaw.",
    ],
    [
        "edge_proxied_requests_total",
        "counter",
        "Requests of apps and browsers, by region and outcome: the core's status, or the edge's own answer.",
    ],
    [
        OF_COUNTRY,
        "counter",
        "Requests that a region could be found for, by country: webhooks and others.",
    ],
    [
        "edge_webhook_duration_seconds",
        "histogram",
        "From a webhook's arrival to its answer.",
    ],
    [
        "edge_webhook_failures_total",
        "counter",
        "Webhooks that failed to Pancake: no 2xx, or none within 5 s.",
    ],
    [
        "edge_webhook_verdicts_total",
        "counter",
        "Webhooks, by what was found out about their timestamp and signature.",
    ],
    [
        "edge_webhooks_total",
        "counter",
        "Webhooks, by what was answered and, where somebody of ours must look, why.",
    ],
];

/// The requests of a connection, or of a country.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Past {
    #[serde(alias = "half_an_hour")]
    hour: Window,
    day: Window,
}

impl Past {
    fn count(&mut self, requests: Requests, now: UnixSeconds) {
        self.hour.count(requests, HOUR, now);
        self.day.count(requests, DAY, now);
    }

    fn last_half_hour(&self, now: UnixSeconds) -> Requests {
        self.hour.sum(HALF_AN_HOUR, now)
    }
}

/// All that was told. It is stored as a whole.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Totals {
    counters: BTreeMap<String, u64>,
    /// By connection.
    requests: Vec<(String, Past)>,
    /// By country, as its counter is named.
    #[serde(default)]
    countries: Vec<(String, Past)>,
    /// By region and shard: `smp-asia/0`.
    shards: Vec<(String, ShardStatus)>,
    /// The last report of each isolate, and when it came.
    #[serde(skip)]
    heard: HashMap<String, (u64, UnixSeconds)>,
}

impl Totals {
    /// Takes in what an isolate tells. A report that came before is not counted again.
    pub fn take_in(&mut self, report: Report, now: UnixSeconds) {
        self.heard
            .retain(|_, (_, at)| at.0 + ISOLATE_GONE_SECS > now.0);
        if let Some((number, _)) = self.heard.get(&report.isolate)
            && *number >= report.number
        {
            return;
        }
        self.heard.insert(report.isolate, (report.number, now));
        for (series, total) in report.counters {
            if series.starts_with(OF_COUNTRY) {
                let requests = Requests {
                    total,
                    ..Requests::default()
                };
                entry(&mut self.countries, series.clone()).count(requests, now);
            }
            *self.counters.entry(series).or_default() += total;
        }
        for (connection, requests) in report.requests {
            entry(&mut self.requests, connection).count(requests, now);
        }
    }

    /// Takes in what a shard of a region's spool says of itself.
    pub fn take_in_shard(&mut self, region: &str, shard: u32, status: ShardStatus) {
        *entry(&mut self.shards, format!("{region}/{shard}")) = status;
    }

    /// A region's spool, all shards together.
    fn spool(&self, region: &str) -> ShardStatus {
        let mut sum = ShardStatus::default();
        for (shard, status) in &self.shards {
            if shard.split('/').next() == Some(region) {
                sum = sum.and(status);
            }
        }
        sum
    }

    /// In Prometheus's text format (version 0.0.4).
    #[must_use]
    pub fn to_prometheus(&self, routes: &RouteTable, now: UnixSeconds) -> String {
        let mut text = String::new();
        self.write_counters(&mut text);
        let by_connection = |value: &dyn Fn(Requests) -> f64| {
            let connections = self.requests.iter();
            connections
                .map(|(name, past)| (name.clone(), value(past.last_half_hour(now))))
                .collect::<Vec<_>>()
        };
        let mut gauge = |name, help, label, samples: Vec<(String, f64)>| {
            describe(&mut text, name, "gauge", help);
            for (of, value) in samples {
                let labels = [(label, of.as_str())];
                let labels = if of.is_empty() { &[][..] } else { &labels };
                let _ = writeln!(text, "{} {}", series(name, labels), json!(value));
            }
        };
        gauge(
            "edge_suspension_window_requests",
            "Webhooks of the last 30 minutes.",
            "connection",
            by_connection(&|requests| number(requests.total)),
        );
        gauge(
            "edge_suspension_window_failures",
            "Of these, failed to Pancake: no 2xx, or none within 5 s.",
            "connection",
            by_connection(&|requests| number(requests.failed)),
        );
        gauge(
            "edge_suspension_budget_used_ratio",
            "How much of what Pancake tolerates is used up; it suspends the webhook at 1.",
            "connection",
            by_connection(&Requests::budget_used),
        );
        let by_region = |value: &dyn Fn(&ShardStatus) -> f64| {
            // Where records wait for a region that has no route any more, somebody must know.
            let mut regions: Vec<_> = routes
                .regions()
                .map(|route| route.region.to_string())
                .collect();
            let held = self.shards.iter().filter(|(_, status)| status.bytes > 0);
            for region in held.filter_map(|(shard, _)| shard.split('/').next()) {
                if !regions.iter().any(|known| known == region) {
                    regions.push(region.to_owned());
                }
            }
            regions
                .into_iter()
                .map(|region| {
                    let value = value(&self.spool(&region));
                    (region, value)
                })
                .collect::<Vec<_>>()
        };
        gauge(
            "edge_spool_records",
            "Records that wait, sealed, for their region.",
            "region",
            by_region(&|spool| number(spool.waiting)),
        );
        gauge(
            "edge_spool_parked_records",
            "Records that their region refused again and again: somebody must look at them.",
            "region",
            by_region(&|spool| number(spool.parked)),
        );
        gauge(
            "edge_spool_bytes",
            "What both take, sealed.",
            "region",
            by_region(&|spool| number(spool.bytes)),
        );
        gauge(
            "edge_spool_oldest_seconds",
            "How long the oldest that waits has waited.",
            "region",
            by_region(&|spool| spool.oldest_seconds(now)),
        );
        gauge(
            "edge_spool_used_ratio",
            "Of the fullest shard: how much of what it can hold it holds. At 1 its records are answered 503.",
            "region",
            by_region(&|spool| spool.used_ratio),
        );
        let open = routes.regions().map(|route| {
            let is_open = route.state == RouteState::Open;
            (route.region.to_string(), f64::from(u8::from(is_open)))
        });
        gauge(
            "edge_region_open",
            "Whether the route table lets requests through to the region (1) or not (0).",
            "region",
            open.collect(),
        );
        gauge(
            "edge_routes_version",
            "The version of the route table in force.",
            "",
            vec![(String::new(), f64::from(routes.version()))],
        );
        text
    }

    fn write_counters(&self, text: &mut String) {
        for [name, kind, help] in COUNTERS {
            describe(text, name, kind, help);
            for (series, count) in self.counters.range(name.to_owned()..) {
                // What a histogram's name is followed by begins with an underscore.
                let rest = series.strip_prefix(name);
                let is_of_it = rest.is_some_and(|rest| {
                    rest.is_empty()
                        || rest.starts_with('{')
                        || (kind == "histogram" && rest.starts_with('_'))
                });
                if is_of_it && series.starts_with(DURATION_SUM) {
                    let (seconds, ms) = (count / 1_000, count % 1_000);
                    let _ = writeln!(text, "{series} {seconds}.{ms:03}");
                } else if is_of_it {
                    let _ = writeln!(text, "{series} {count}");
                }
            }
        }
    }

    /// For people, and for `smpctl edge status`.
    #[must_use]
    pub fn to_status(&self, routes: &RouteTable, now: UnixSeconds) -> Value {
        let regions = routes.regions().map(|route| {
            let spool = self.spool(route.region.as_str());
            json!({
                "region": route.region.as_str(),
                "state": if route.state == RouteState::Open { "open" } else { "paused" },
                "spool": if route.spool == Spool::Off { "off" } else { "sealed" },
                "waiting": spool.waiting,
                "parked": spool.parked,
                "bytes": spool.bytes,
                "oldest_seconds": spool.oldest_seconds(now),
                "used_ratio": spool.used_ratio,
            })
        });
        let connections = self.requests.iter().map(|(connection, past)| {
            let requests = past.last_half_hour(now);
            let [verified, unsigned, stale, invalid] = past.day.sum(DAY, now).verdicts;
            json!({
                "connection": connection,
                "requests": requests.total,
                "failures": requests.failed,
                "suspension_budget_used": requests.budget_used(),
                "verdicts_24h": {
                    "verified": verified, "unsigned": unsigned, "stale": stale, "invalid": invalid,
                },
            })
        });
        // A series is `edge_requests_total{country="VN"}`.
        let countries = self.countries.iter().map(|(series, past)| {
            let country = series.split('"').nth(1);
            json!({"country": country, "requests_1h": past.hour.sum(HOUR, now).total})
        });
        json!({
            "routes_version": routes.version(),
            "regions": regions.collect::<Vec<_>>(),
            "connections": connections.collect::<Vec<_>>(),
            "countries": countries.collect::<Vec<_>>(),
            "counters": self.counters,
        })
    }
}

/// What stands under a name in a list by name, which is small; it is made if it is not there.
#[expect(clippy::indexing_slicing, reason = "something stands at the place")]
fn entry<T: Default>(list: &mut Vec<(String, T)>, name: String) -> &mut T {
    let place = match list.binary_search_by(|(known, _)| known.cmp(&name)) {
        Ok(place) => place,
        Err(place) => {
            list.insert(place, (name, T::default()));
            place
        }
    };
    &mut list[place].1
}

fn describe(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a `String` cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge need not be exact beyond 2^53"
)]
fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use protocol::Country;
    use protocol::record_status::RecordStatus;

    use super::*;
    use crate::answer::Answer;
    use crate::metrics::counts::{Counts, Outcome};

    const NOW: UnixSeconds = UnixSeconds(1_780_000_000);

    fn routes() -> RouteTable {
        RouteTable::from_json(
            r#"{"version":7,"countries":{"VN":"smp-asia","CN":"smp-china"},"regions":{
                "smp-asia":{"origin":"https://a.example","state":"open"},
                "smp-china":{"origin":"https://c.example","state":"paused"}}}"#,
        )
        .unwrap()
    }

    fn report(number: u64, act: impl Fn(&mut Counts)) -> Report {
        let mut counts = Counts::default();
        act(&mut counts);
        let name_of = |_| Some(("vn-main".to_owned(), vn(), "smp-asia".to_owned()));
        let report = counts.take_report("one", name_of).unwrap();
        Report {
            isolate: report.isolate.clone(),
            number,
            counters: report.counters.clone(),
            requests: report.requests.clone(),
        }
    }

    fn vn() -> Country {
        Country::parse("VN").unwrap()
    }

    fn accepted(counts: &mut Counts) {
        counts.webhook(Some(0), Outcome::Kept(RecordStatus::Accepted), 30);
    }

    fn timed_out(counts: &mut Counts) {
        counts.webhook(Some(0), Outcome::Answered(Answer::CoreTimedOut), 3_001);
    }

    const ACCEPTED: &str =
        r#"edge_webhooks_total{connection="vn-main",region="smp-asia",status="accepted",cause=""}"#;

    #[track_caller]
    fn assert_lines(text: &str, lines: &[&str]) {
        for line in lines {
            assert!(
                text.lines().any(|found| found == *line),
                "{line:?} is not in:\n{text}"
            );
        }
    }

    #[test]
    fn a_report_that_comes_twice_is_counted_once() {
        let mut totals = Totals::default();
        totals.take_in(report(0, accepted), NOW);
        totals.take_in(report(0, accepted), NOW);
        let text = totals.to_prometheus(&routes(), NOW);
        assert_lines(&text, &[&format!("{ACCEPTED} 1")]);
        totals.take_in(report(1, accepted), NOW);
        let text = totals.to_prometheus(&routes(), NOW);
        assert_lines(&text, &[&format!("{ACCEPTED} 2")]);
    }

    #[test]
    fn the_last_hour_of_a_country_counts_webhooks_and_others() {
        let mut totals = Totals::default();
        totals.take_in(report(0, accepted), UnixSeconds(NOW.0 - 3_600));
        totals.take_in(report(1, accepted), UnixSeconds(NOW.0 - 3_000));
        totals.take_in(
            report(2, |counts| counts.proxied(Some(vn()), "smp-asia", "200")),
            NOW,
        );
        let status = totals.to_status(&routes(), NOW);
        assert_eq!(
            status["countries"],
            json!([{"country": "VN", "requests_1h": 2}])
        );
        let text = totals.to_prometheus(&routes(), NOW);
        assert_lines(&text, &[r#"edge_requests_total{country="VN"} 3"#]);
    }

    #[test]
    fn what_was_stored_goes_on_where_it_stood() {
        let mut totals = Totals::default();
        totals.take_in(report(0, accepted), NOW);
        totals.take_in(report(1, timed_out), NOW);
        totals.take_in(
            report(2, |counts| counts.proxied(Some(vn()), "smp-asia", "200")),
            NOW,
        );
        let status = ShardStatus {
            waiting: 2,
            ..ShardStatus::default()
        };
        totals.take_in_shard("smp-asia", 3, status);
        let stored = serde_json::to_string(&totals).unwrap();
        let again: Totals = serde_json::from_str(&stored).unwrap();
        assert_eq!(
            again.to_prometheus(&routes(), NOW),
            totals.to_prometheus(&routes(), NOW)
        );
        assert_eq!(
            again.to_status(&routes(), NOW),
            totals.to_status(&routes(), NOW)
        );
    }

    #[test]
    fn each_counter_stands_under_its_description() {
        let mut totals = Totals::default();
        totals.take_in(report(0, accepted), NOW);
        totals.take_in(report(1, timed_out), NOW);
        totals.take_in(
            report(2, |counts| counts.proxied(Some(vn()), "smp-asia", "200")),
            NOW,
        );
        totals.take_in(report(3, |counts| counts.failures(1)), NOW);
        let text = totals.to_prometheus(&routes(), NOW);
        let mut family = "";
        let mut samples = 0;
        for line in text.lines() {
            if let Some(described) = line.strip_prefix("# TYPE ") {
                family = described.split(' ').next().unwrap();
            } else if !line.starts_with('#') {
                assert!(line.starts_with(family), "{line} under {family}");
                samples += usize::from(
                    totals
                        .counters
                        .contains_key(line.rsplit_once(' ').unwrap().0),
                );
            }
        }
        assert_eq!(
            samples,
            totals.counters.len(),
            "a counter is not shown:\n{text}"
        );
        let sum = r#"edge_webhook_duration_seconds_sum{region="smp-asia"} 3.031"#;
        assert_lines(&text, &[sum]);
    }

    #[test]
    fn the_budget_is_that_of_the_last_half_an_hour() {
        let mut totals = Totals::default();
        for number in 0..150 {
            totals.take_in(report(number, timed_out), NOW);
        }
        let used = r#"edge_suspension_budget_used_ratio{connection="vn-main"}"#;
        let text = totals.to_prometheus(&routes(), NOW);
        assert_lines(&text, &[&format!("{used} 0.5")]);
        let later = UnixSeconds(NOW.0 + 1_800);
        let text = totals.to_prometheus(&routes(), later);
        assert_lines(&text, &[&format!("{used} 0.0")]);
    }

    #[test]
    fn a_regions_spool_is_that_of_all_its_shards() {
        let shard = |waiting, oldest_received_at_ms, used_ratio| ShardStatus {
            waiting,
            parked: 1,
            bytes: 100,
            oldest_received_at_ms,
            used_ratio,
        };
        let at = |seconds_ago: u64| Some(number(NOW.0 - seconds_ago) * 1_000.0);
        let mut totals = Totals::default();
        totals.take_in_shard("smp-asia", 0, shard(5, at(10), 0.125));
        totals.take_in_shard("smp-asia", 1, shard(6, at(90), 0.75));
        totals.take_in_shard("smp-asia", 2, shard(0, None, 0.0));
        totals.take_in_shard("smp-asia", 1, shard(7, at(60), 0.5));
        totals.take_in_shard("smp-gone", 0, shard(1, at(5), 0.25));
        // A region of which nothing was told has its samples too, so that an alert sees the rest vanish.
        assert_lines(
            &totals.to_prometheus(&routes(), NOW),
            &[
                r#"edge_spool_records{region="smp-asia"} 12.0"#,
                r#"edge_spool_parked_records{region="smp-asia"} 3.0"#,
                r#"edge_spool_bytes{region="smp-asia"} 300.0"#,
                r#"edge_spool_oldest_seconds{region="smp-asia"} 60.0"#,
                r#"edge_spool_used_ratio{region="smp-asia"} 0.5"#,
                r#"edge_spool_records{region="smp-china"} 0.0"#,
                r#"edge_spool_records{region="smp-gone"} 1.0"#,
                r#"edge_region_open{region="smp-china"} 0.0"#,
                r#"edge_region_open{region="smp-asia"} 1.0"#,
                "edge_routes_version 7.0",
            ],
        );
    }
}
