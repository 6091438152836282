//! What was done, or would be.

use infra::country::Item;
use serde::Serialize;

use super::add::Wish;
use crate::route_command::Act;

/// Whether a step is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// It was done before.
    SoAlready,
    /// It was done now.
    Done,
    /// It would be done.
    ToDo,
    /// It was not.
    Failed,
}

/// A step.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    pub(super) what: &'static str,
    pub(super) state: State,
    /// What changed, or what is wrong.
    pub(super) lines: Vec<String>,
}

/// All of it.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) country: String,
    pub(super) region: String,
    pub(super) environment: String,
    pub(super) steps: Vec<Step>,
    pub(super) checklist: Vec<Item>,
    /// Whether the country is there, and its core took the probe.
    pub(super) is_added: bool,
    /// Whether it was opened, or was open.
    pub(super) is_open: bool,
    pub(super) said: String,
}

impl Report {
    /// Whether all that was asked for is so.
    pub(super) fn is_well(&self, act: &Act, wish: &Wish) -> bool {
        !act.yes || (self.is_added && (self.is_open || !wish.open))
    }

    pub(super) fn lines(&self) -> String {
        let mut lines = vec![format!(
            "add {} to {} ({})",
            self.country, self.region, self.environment
        )];
        for step in &self.steps {
            let state = match step.state {
                State::SoAlready => "so already",
                State::Done => "done",
                State::ToDo => "to do",
                State::Failed => "FAILED",
            };
            lines.push(format!("{state:<11} {}", step.what));
            lines.extend(step.lines.iter().map(|line| format!("  {line}")));
        }
        lines.extend(self.checklist.iter().map(ToString::to_string));
        lines.push(self.said.clone());
        lines.join("\n") + "\n"
    }
}
