//! What a change did, or would do.

use infra::route::Moved;
use infra::smoke;
use serde::Serialize;

use super::checks::Check;

/// What was done, or would be.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) action: String,
    pub(super) environment: String,
    /// The table's version before and after.
    pub(super) version: (u32, u32),
    pub(super) changes: Vec<String>,
    pub(super) diff: Vec<String>,
    pub(super) moved: Vec<Moved>,
    pub(super) checks: Vec<Check>,
    pub(super) is_done: bool,
    /// What the edge itself answered.
    pub(super) confirmed: Vec<smoke::Step>,
    /// From the end of the deployment until it was confirmed.
    pub(super) confirmed_ms: Option<u64>,
    pub(super) said: String,
}

impl Report {
    pub(super) fn lines(&self) -> String {
        let mut lines = vec![format!(
            "{} ({}, version {} → {})",
            self.action, self.environment, self.version.0, self.version.1
        )];
        lines.extend(self.diff.iter().map(|line| format!("  {line}")));
        lines.extend(self.moved.iter().map(|moved| {
            let place =
                |region: &Option<String>| region.clone().unwrap_or_else(|| "nowhere".to_owned());
            let requests = match moved.requests_1h {
                Some(requests) => format!("{requests} requests of the last hour would have gone"),
                None => "its requests go".to_owned(),
            };
            format!(
                "{}: {requests} to {}, not to {}",
                moved.country,
                place(&moved.to),
                place(&moved.from)
            )
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
