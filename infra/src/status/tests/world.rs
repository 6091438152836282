//! Two regions in which nothing is wrong, to be changed in one place.

use std::path::Path;

use serde_json::json;

use super::super::*;
use crate::registry;

pub(super) const CORE: &str = "\
pancake_events_unfinished{country=\"CN\",status=\"received\"} 3
pancake_events_unfinished{country=\"CN\",status=\"failed\"} 2
pancake_events_unfinished{country=\"CN\",status=\"dead_letter\"} 0
pancake_events_unfinished_oldest_seconds{country=\"CN\",status=\"received\"} 1.5
pancake_processing_paused{country=\"CN\"} 0
pancake_kill_switch{country=\"CN\"} 0
pancake_connection_status{country=\"CN\",connection=\"cn-main\",status=\"disabled\"} 0
pancake_watermark_age_seconds{country=\"CN\",connection=\"cn-main\",table=\"lead\"} 90
pancake_watermark_age_seconds{country=\"CN\",connection=\"cn-main\",table=\"account\"} 200
";

const REPLICATOR: &str = "\
replication_lag_seconds{region=\"smp-china\"} 1.2
replication_asked_seconds{region=\"smp-china\"} 4
replication_parked_records{region=\"smp-china\"} 0
replication_table_differs{region=\"smp-china\",table=\"countries\"} 0
replication_table_differs{region=\"smp-china\",table=\"tax_configs\"} 0
";

pub(super) struct World {
    pub(super) routes: RouteTable,
    pub(super) registry: Registry,
    pub(super) answers: Answers,
    pub(super) is_local: bool,
}

/// The two regions of the registry, in which nothing is wrong.
pub(super) fn world() -> World {
    let regions = Path::new(env!("CARGO_MANIFEST_DIR")).join("regions");
    let routes = json!({
        "version": 7,
        "countries": {"VN": "smp-asia", "TH": "smp-asia", "CN": "smp-china"},
        "regions": {
            "smp-asia": {"origin": "https://core.asia.example.com", "state": "open"},
            "smp-china": {"origin": "https://core.china.example.com", "state": "open"},
        },
    });
    let of_region = |region: &str, countries: &[&str]| RegionAnswers {
        region: RegionId::parse(region).unwrap(),
        ready: Answer::Given((200, ready(region, countries, "ok"))),
        core: Answer::Given(
            CORE.replace("CN", countries[0])
                .replace("cn-", &format!("{}-", countries[0].to_lowercase())),
        ),
        replicator: Answer::Given(REPLICATOR.to_owned()),
    };
    let mut asia = of_region("smp-asia", &["VN", "TH"]);
    asia.replicator = Answer::Unasked("nobody says where it is".to_owned());
    let mut registry = registry::survey(&regions);
    for region in &mut registry.regions {
        // Counsel has seen them.
        region.sign_off.as_mut().unwrap().reference = "LEGAL-1".to_owned();
    }
    World {
        routes: RouteTable::from_value(&routes).unwrap(),
        registry,
        answers: Answers {
            version: Answer::Given(7),
            edge: Answer::Given(edge()),
            regions: vec![asia, of_region("smp-china", &["CN"])],
        },
        is_local: false,
    }
}

pub(super) fn ready(region: &str, countries: &[&str], schema: &str) -> Value {
    json!({
        "region": region,
        "countries": countries,
        "checks": {"process": "ok", "database": "ok", "schema": schema, "master_data": "loaded"},
    })
}

fn edge() -> edge::Status {
    let region = |id: &str| json!({"region": id, "state": "open", "spool": "sealed", "waiting": 0, "parked": 0, "bytes": 0, "oldest_seconds": 0.0, "used_ratio": 0.0});
    serde_json::from_value(json!({
        "routes_version": 7,
        "regions": [region("smp-asia"), region("smp-china")],
        "connections": [],
        "countries": [{"country": "VN", "requests_1h": 1200}, {"country": "TH", "requests_1h": 34}],
        "counters": {},
    }))
    .unwrap()
}

impl World {
    pub(super) fn facts(&self) -> Facts<'_> {
        Facts {
            environment: "production",
            routes: &self.routes,
            registry: &self.registry,
            is_local: self.is_local,
            flag: if self.is_local { " --local" } else { "" },
        }
    }

    pub(super) fn judge(&self) -> Status {
        judge(
            &self.facts(),
            &self.answers,
            "2026-11-23T08:00:00Z".parse().unwrap(),
        )
    }

    pub(super) fn china(&mut self) -> &mut RegionAnswers {
        &mut self.answers.regions[1]
    }

    pub(super) fn edge(&mut self) -> &mut edge::Status {
        match &mut self.answers.edge {
            Answer::Given(edge) => edge,
            other => panic!("{other:?}"),
        }
    }

    /// What is found, as it is shown, without what mends it.
    pub(super) fn found(&self) -> Vec<String> {
        let findings = self.judge().findings;
        let line = |finding: &Finding| format!("{:?} {}", finding.grade, finding.what);
        findings.iter().map(line).collect()
    }

    pub(super) fn screen(&self) -> String {
        screen(&self.judge(), &self.facts(), false, None)
    }
}

/// The only thing that is found once one answer is another one.
#[track_caller]
pub(super) fn finds(change: impl FnOnce(&mut World), expected: &str, page: &str) {
    let mut world = world();
    change(&mut world);
    assert_eq!(world.found(), [expected]);
    let status = world.judge();
    let mend = status.findings[0].mend.clone().unwrap_or_default();
    assert!(mend.contains(page), "{mend}");
    if mend.starts_with("docs/runbook/") {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(mend);
        assert!(page.exists(), "{}", page.display());
    }
    assert_eq!(status.is_well, !expected.starts_with("Wrong"));
}

/// As one series of the core's, or the replicator's, has another value.
pub(super) fn with(text: &mut Answer<String>, series: &str, value: &str) {
    let Answer::Given(page) = text else {
        panic!("it did not answer")
    };
    assert!(page.contains(series), "{series}");
    let lines = page.lines().map(|line| {
        if line.starts_with(series) {
            format!("{} {value}\n", line.rsplit_once(' ').unwrap().0)
        } else {
            format!("{line}\n")
        }
    });
    *page = lines.collect();
}
