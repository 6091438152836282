//! What a change did, or would do.

use infra::route::Moved;
use infra::smoke;
use serde::Serialize;

use super::checks::Check;

/// What was done, or would be.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) action: String,
    /// What it takes back, if it is a revert.
    pub(crate) reverts: Option<String>,
    pub(crate) environment: String,
    /// The table's version before and after.
    pub(crate) version: (u32, u32),
    pub(crate) changes: Vec<String>,
    pub(crate) diff: Vec<String>,
    pub(crate) moved: Vec<Moved>,
    pub(crate) checks: Vec<Check>,
    pub(crate) is_done: bool,
    /// What the edge itself answered.
    pub(crate) confirmed: Vec<smoke::Step>,
    /// From the end of the deployment until it was confirmed.
    pub(crate) confirmed_ms: Option<u64>,
    pub(crate) said: String,
}

impl Report {
    /// Whether nothing that was looked at speaks against it.
    pub(crate) fn is_well(&self) -> bool {
        self.checks.iter().all(|check| !check.is_refusal())
    }

    pub(crate) fn lines(&self) -> String {
        let mut lines = vec![format!(
            "{} ({}, version {} → {})",
            self.action, self.environment, self.version.0, self.version.1
        )];
        lines.extend(
            self.reverts
                .iter()
                .map(|entry| format!("takes back {entry}")),
        );
        lines.extend(self.diff.iter().map(|line| format!("  {line}")));
        lines.extend(self.moved.iter().map(|moved| {
            let no_region = if moved.waits {
                "the edge's spool, where records wait"
            } else {
                "nowhere (they hear 503)"
            };
            let requests = match moved.requests_1h {
                Some(requests) => format!("{requests} requests of the last hour would have gone"),
                None => "its requests go".to_owned(),
            };
            let instead = match &moved.from {
                Some(from) => format!(", not to {from}"),
                None => String::new(),
            };
            let to = moved.to.as_deref().unwrap_or(no_region);
            format!("{}: {requests} to {to}{instead}", moved.country)
        }));
        lines.extend(self.checks.iter().map(ToString::to_string));
        let wrong = self.confirmed.iter().filter(|step| !step.is_right);
        lines.extend(wrong.map(|step| {
            format!(
                "WRONG    {}: expected {}, found {}",
                step.asked, step.expected, step.found
            )
        }));
        lines.push(self.said.clone());
        lines.join("\n") + "\n"
    }
}
