//! What is wrong in a region, or worth knowing, and what mends it. The limits are those of the alerts in
//! `infra/monitoring/rules/`, which wait for a while besides: here it is said at once.

use protocol::routes::RouteState;
use serde::Serialize;

use super::row::{CoreState, Row, Tables};
use super::{Answer, Answers, Facts, RegionAnswers};
use crate::edge::{duration, percent};
use crate::registry::sign_off;
use crate::route::catch_up;

pub(super) const LAG_MAX_SECS: f64 = 60.0;
/// The hub asks every ten seconds or so.
const ASKED_MAX_SECS: f64 = 300.0;
pub(super) const SPOOL_OLDEST_MAX_SECS: f64 = 600.0;
pub(super) const SPOOL_USED_MAX: f64 = 0.5;
const STUCK_MAX_SECS: f64 = 300.0;
pub(super) const WATERMARK_MAX_SECS: f64 = 1_800.0;

/// Something to be known, and what mends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub grade: Grade,
    /// Where; absent if it is the edge, or the files.
    pub region: Option<String>,
    /// What it is.
    pub what: String,
    /// The command, or the page, that mends it.
    pub mend: Option<String>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// Somebody has to do something.
    Wrong,
    /// Somebody meant it so, or it could not be seen.
    Note,
}

/// What is found, in its place.
struct Found {
    region: Option<String>,
    findings: Vec<Finding>,
}

impl Found {
    fn add(&mut self, grade: Grade, what: impl Into<String>, mend: Option<String>) {
        self.findings.push(Finding {
            grade,
            region: self.region.clone(),
            what: what.into(),
            mend,
        });
    }

    fn wrong(&mut self, what: impl Into<String>, mend: &str) {
        self.add(Grade::Wrong, what, Some(mend.to_owned()));
    }

    fn note(&mut self, what: impl Into<String>, mend: Option<String>) {
        self.add(Grade::Note, what, mend);
    }
}

/// Files and edge.
pub(super) fn of_edge(facts: &Facts<'_>, answers: &Answers) -> Vec<Finding> {
    let mut found = Found {
        region: None,
        findings: Vec::new(),
    };
    for mistake in &facts.registry.mistakes {
        found.wrong(mistake, "smpctl check");
    }
    let version = facts.routes.version();
    match &answers.version {
        Answer::Given(at_edge) if *at_edge != version => found.wrong(
            format!("the edge has routes {at_edge}, wrangler.toml has {version}"),
            &catch_up(*at_edge, version, facts.flag),
        ),
        Answer::Given(_) => {}
        Answer::Silent(why) => found.wrong(
            format!("the edge does not answer: {why}"),
            "docs/runbook/edge-metrics-gone.md",
        ),
        Answer::Unasked(why) => found.note(format!("the edge was not asked: {why}"), None),
    }
    match (&answers.edge, &answers.version) {
        // That was said already.
        (_, Answer::Silent(_) | Answer::Unasked(_)) | (Answer::Given(_), _) => {}
        (Answer::Silent(why) | Answer::Unasked(why), Answer::Given(_)) => {
            found.note(format!("spool and requests are not known: {why}"), None);
        }
    }
    found.findings
}

/// One region.
pub(super) fn of_region(facts: &Facts<'_>, row: &Row, answers: &RegionAnswers) -> Vec<Finding> {
    let mut found = Found {
        region: Some(row.region.to_string()),
        findings: Vec::new(),
    };
    if facts.registry.lacks(&row.region) {
        found.wrong("no file of the registry describes it", "smpctl check");
    }
    of_route(&mut found, facts, row);
    of_core(&mut found, row, answers);
    of_master_data(&mut found, facts, row, answers);
    of_spool(&mut found, row);
    of_events(&mut found, facts, row, answers);
    found.findings
}

fn of_route(found: &mut Found, facts: &Facts<'_>, row: &Row) {
    let (id, flag) = (&row.region, facts.flag);
    let mut regions = facts.routes.regions();
    match regions.find(|route| route.region == *id) {
        None => found.note(
            "no route leads there",
            Some(format!("smpctl region doctor {id}{flag}")),
        ),
        Some(route) if route.state == RouteState::Paused => {
            let is_signed = facts
                .registry
                .find(id)
                .is_none_or(|region| region.sign_off.is_some());
            let open = if is_signed {
                format!("smpctl route{flag} open {id} --why WHY --yes")
            } else {
                // It has never served, and something is left to do before.
                format!("smpctl region doctor {id}{flag}")
            };
            found.note("its route is paused", Some(open));
        }
        Some(_) => {
            let region = facts.registry.find(id);
            let signed = region.map(|region| sign_off::judge(region, facts.is_local));
            if let Some(Err(mistake)) = signed {
                // It serves on: nobody's leads are to be lost for a paper. Counsel is to know all the same.
                found.note(
                    format!("it serves without a leave: {mistake}"),
                    Some(format!(
                        "smpctl region sign-off {id} --by NAME --reference WHERE --yes"
                    )),
                );
            }
        }
    }
    for country in &row.route.paused_countries {
        found.note(
            format!("{country} is paused by itself"),
            Some(format!("smpctl route{flag} open {country} --why WHY --yes")),
        );
    }
}

fn of_core(found: &mut Found, row: &Row, answers: &RegionAnswers) {
    let why = row.core.why.as_deref().unwrap_or_default();
    match row.core.state {
        CoreState::Ready => {}
        CoreState::Unknown => found.note(format!("its core was not asked: {why}"), None),
        CoreState::NoAnswer => found.wrong(
            format!("its core does not answer: {why}"),
            "docs/runbook/core-target-down.md",
        ),
        CoreState::NotReady => {
            let mend = if why.starts_with("schema") {
                "regional-core migrate (docs/migrations.md)"
            } else if why.starts_with("it is") {
                "the origin in wrangler.toml, and smpctl check"
            } else {
                "docs/runbook/ingest-records-not-kept.md"
            };
            found.wrong(format!("its core is not ready: {why}"), mend);
        }
    }
    let master_data = answers
        .ready
        .given()
        .and_then(|(_, ready)| ready.pointer("/checks/master_data")?.as_str());
    if row.core.state == CoreState::Ready && master_data == Some("absent") {
        found.wrong("its core has no master data yet", "docs/master-data.md");
    }
    if !row.series.unserved.is_empty() {
        found.wrong(
            format!(
                "its core does not serve {} (its CORE_COUNTRIES)",
                row.series.unserved.join(", ")
            ),
            "docs/operations.md, \"Flip a route\"",
        );
    }
}

fn of_master_data(found: &mut Found, facts: &Facts<'_>, row: &Row, answers: &RegionAnswers) {
    let data = &row.master_data;
    match &answers.replicator {
        Answer::Given(_) => {}
        // On this machine everybody can be reached. Elsewhere whoever asks may stand outside.
        Answer::Silent(why) => found.add(
            if facts.is_local {
                Grade::Wrong
            } else {
                Grade::Note
            },
            format!("its replicator gives no metrics: {why}"),
            Some("docs/runbook/replicator-target-down.md".to_owned()),
        ),
        // Of a hub nobody but its Prometheus has to know where the replicator is.
        Answer::Unasked(_) if data.is_hub => {}
        Answer::Unasked(why) => found.note(format!("its replicator was not asked: {why}"), None),
    }
    if let Some(lag) = data.lag_seconds.filter(|lag| *lag > LAG_MAX_SECS) {
        if data.is_hub {
            found.wrong(
                format!("changes of master data wait to be sent, {}", duration(lag)),
                "docs/runbook/master-data-relay-backlog.md",
            );
        } else {
            found.wrong(
                format!("master data is {} behind the hub's", duration(lag)),
                "docs/runbook/master-data-lag-high.md",
            );
        }
    }
    match &data.tables {
        Some(Tables::Differ(tables)) => found.wrong(
            format!("not the hub's: {}", tables.join(", ")),
            "docs/runbook/master-data-table-differs.md",
        ),
        None if !data.is_hub && answers.replicator.given().is_some() => {
            found.note("no table was compared with the hub's yet", None);
        }
        Some(Tables::Equal) | None => {}
    }
    if let Some(parked @ 1..) = data.parked {
        found.wrong(
            format!("{} of master data could not be applied", records(parked)),
            "docs/runbook/master-data-records-parked.md",
        );
    }
    let asked = row.series.asked_seconds;
    if let Some(asked) = asked.filter(|asked| *asked > ASKED_MAX_SECS) {
        found.wrong(
            format!("the hub has not asked for {}", duration(asked)),
            "docs/runbook/master-data-region-silent.md",
        );
    }
}

fn of_spool(found: &mut Found, row: &Row) {
    let Some(spool) = &row.spool else { return };
    if spool.oldest_seconds > SPOOL_OLDEST_MAX_SECS {
        found.wrong(
            format!(
                "{} at the edge, the oldest for {}",
                waiting(spool.waiting),
                duration(spool.oldest_seconds)
            ),
            "docs/runbook/edge-spool-waits.md",
        );
    }
    if spool.used_ratio > SPOOL_USED_MAX {
        found.wrong(
            format!("a shard of its spool is {} full", percent(spool.used_ratio)),
            "docs/runbook/edge-spool-filling.md",
        );
    }
    if spool.parked > 0 {
        found.wrong(
            format!("{} parked at the edge", records(spool.parked)),
            "docs/runbook/edge-records-parked.md",
        );
    }
}

fn of_events(found: &mut Found, facts: &Facts<'_>, row: &Row, answers: &RegionAnswers) {
    if let (Answer::Silent(why), true) = (&answers.core, answers.ready.given().is_some()) {
        let grade = if facts.is_local {
            Grade::Wrong
        } else {
            Grade::Note
        };
        let page = "docs/runbook/ingest-metrics-gone.md";
        found.add(
            grade,
            format!("its core gives no metrics: {why}"),
            Some(page.to_owned()),
        );
    }
    for (country, letters) in &row.series.dead_letters {
        found.wrong(
            format!("dead letters of {country}: {letters}"),
            "docs/runbook/pancake-dead-letters.md",
        );
    }
    for (country, oldest) in &row.series.stuck {
        if *oldest > STUCK_MAX_SECS {
            found.wrong(
                format!("events of {country} wait for {}", duration(*oldest)),
                "docs/runbook/pancake-events-stuck.md",
            );
        }
    }
    let still: Vec<_> = row
        .series
        .watermarks
        .iter()
        .filter(|mark| mark.age_seconds > WATERMARK_MAX_SECS)
        .collect();
    if let [oldest, others @ ..] = still.as_slice() {
        let others = match others.len() {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        found.wrong(
            format!(
                "polling is {} behind: {} ({}){others}",
                duration(oldest.age_seconds),
                oldest.connection,
                oldest.table
            ),
            "docs/runbook/pancake-watermark-stands-still.md",
        );
    }
    if !row.series.paused.is_empty() {
        let countries = row.series.paused.join(", ");
        found.note(format!("processing is paused: {countries}"), None);
    }
    if !row.series.killed.is_empty() {
        let countries = row.series.killed.join(", ");
        found.note(format!("the kill switch is on: {countries}"), None);
    }
}

fn records(number: u64) -> String {
    match number {
        1 => "1 record".to_owned(),
        number => format!("{number} records"),
    }
}

fn waiting(number: u64) -> String {
    match number {
        1 => "1 record waits".to_owned(),
        number => format!("{number} records wait"),
    }
}
