//! All regions at a glance: what edge, cores and replicators answered, as one row a region and a list of what is wrong.
//!
//! Nothing is asked here, and nothing is remembered: the same answers give the same [`Status`].

mod findings;
mod row;
mod series;
mod table;

use jiff::Timestamp;
use protocol::RegionId;
use protocol::routes::RouteTable;
use serde::Serialize;
use serde_json::Value;

use crate::edge;
use crate::registry::Registry;

pub use findings::{Finding, Grade};
pub use row::{Core, CoreState, MasterData, Route, RouteIs, Row, Spool, Tables, Watermark};
pub use table::{WIDTH, screen};

/// What came of a question.
#[derive(Debug)]
pub enum Answer<T> {
    /// What was answered.
    Given(T),
    /// It was asked, and why that was in vain.
    Silent(String),
    /// It could not be asked, and why.
    Unasked(String),
}

impl<T> Answer<T> {
    /// What was answered, if anything was.
    pub fn given(&self) -> Option<&T> {
        match self {
            Self::Given(answer) => Some(answer),
            Self::Silent(_) | Self::Unasked(_) => None,
        }
    }
}

impl<T> From<Result<T, String>> for Answer<T> {
    fn from(asked: Result<T, String>) -> Self {
        match asked {
            Ok(answer) => Self::Given(answer),
            Err(why) => Self::Silent(why),
        }
    }
}

/// What the files say.
#[derive(Debug)]
pub struct Facts<'f> {
    /// Of which environment the routes are.
    pub environment: &'f str,
    /// The route table of `wrangler.toml`.
    pub routes: &'f RouteTable,
    /// The regions.
    pub registry: &'f Registry,
    /// Whether all of it runs on this machine, where everybody can be reached.
    pub is_local: bool,
    /// How a command says that the same deployment is meant: ` --local`, ` --environment staging`, or nothing.
    pub flag: &'f str,
}

impl Facts<'_> {
    /// The regions of the registry and of the route table, sorted by id.
    #[must_use]
    pub fn regions(&self) -> Vec<RegionId> {
        let known = self.registry.regions.iter().map(|region| &region.id);
        let routed = self.routes.regions().map(|route| &route.region);
        let mut regions: Vec<_> = known.chain(routed).cloned().collect();
        regions.sort();
        regions.dedup();
        regions
    }
}

/// What everybody answered.
#[derive(Debug)]
pub struct Answers {
    /// The version of the route table by which the edge answers.
    pub version: Answer<u32>,
    /// What the edge tells ops.
    pub edge: Answer<edge::Status>,
    /// Each region.
    pub regions: Vec<RegionAnswers>,
}

/// What a region's services answered.
#[derive(Debug)]
pub struct RegionAnswers {
    /// Whose they are.
    pub region: RegionId,
    /// `/readyz` of the core, with its status.
    pub ready: Answer<(u16, Value)>,
    /// `/metrics` of the core.
    pub core: Answer<String>,
    /// `/metrics` of the replicator.
    pub replicator: Answer<String>,
}

/// How everything is.
#[derive(Debug, Serialize)]
pub struct Status {
    /// When it was asked.
    pub at: Timestamp,
    /// Of which environment.
    pub environment: String,
    /// The version of the route table in `wrangler.toml`.
    pub version: u32,
    /// The version by which the edge answers.
    pub version_at_edge: Option<u32>,
    /// Whether nothing is wrong. What is not known is not wrong.
    pub is_well: bool,
    /// Each region.
    pub regions: Vec<Row>,
    /// What is wrong, and then what else is to be known.
    pub findings: Vec<Finding>,
}

/// Rows and findings from what files say and services answered.
#[must_use]
pub fn judge(facts: &Facts<'_>, answers: &Answers, now: Timestamp) -> Status {
    let edge = answers.edge.given();
    let rows: Vec<_> = answers
        .regions
        .iter()
        .map(|region| Row::read(facts, region, edge))
        .collect();
    let mut findings = findings::of_edge(facts, answers);
    for (row, answers) in rows.iter().zip(&answers.regions) {
        findings.extend(findings::of_region(facts, row, answers));
    }
    // What is wrong first; within that, in the order of the regions.
    findings.sort_by_key(|finding| finding.grade);
    Status {
        at: now,
        environment: facts.environment.to_owned(),
        version: facts.routes.version(),
        version_at_edge: answers.version.given().copied(),
        is_well: findings.iter().all(|finding| finding.grade != Grade::Wrong),
        regions: rows,
        findings,
    }
}

#[cfg(test)]
mod tests;
