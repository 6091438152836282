//! What an operator sees of a rotation: which step is under way, and how long it waits.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use infra::rotate::STEPS;
use serde::Serialize;
use serde_json::json;

/// How often it is said that something is still waited for.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// How a run ends that did not fail.
pub(super) enum End {
    /// The new key is the only one.
    Done(String),
    /// Somebody has to put a file in force.
    ToDo(String),
    /// The steps were shown.
    Shown,
}

/// Says what is done, and remembers it.
pub(super) struct Progress {
    is_json: bool,
    steps: Vec<Step>,
    began: Instant,
    said: Option<(String, Instant)>,
}

#[derive(Serialize)]
struct Step {
    #[serde(rename = "step")]
    number: usize,
    what: String,
    /// None if it did not end.
    seconds: Option<f64>,
}

impl Progress {
    pub(super) fn new(is_json: bool) -> Self {
        Self {
            is_json,
            steps: Vec::new(),
            began: Instant::now(),
            said: None,
        }
    }

    /// Begins a step.
    pub(super) fn step(&mut self, number: usize, what: &str) {
        self.say(&format!("[{number}/{STEPS}] {what}"));
        self.began = Instant::now();
        self.said = None;
        self.steps.push(Step {
            number,
            what: what.to_owned(),
            seconds: None,
        });
    }

    pub(super) fn end_step(&mut self) {
        let seconds = self.began.elapsed().as_secs_f64();
        if seconds >= 1.0 {
            self.note(&format!("done after {seconds:.0} s"));
        }
        if let Some(step) = self.steps.last_mut() {
            step.seconds = Some(seconds);
        }
    }

    pub(super) fn note(&self, text: &str) {
        self.say(&format!("      {text}"));
    }

    /// Something is waited for. It is said when it is new, and every ten seconds.
    pub(super) fn waits(&mut self, why: &str, so_far: Duration, at_most: Duration) {
        let without_numbers = |text: &str| text.replace(char::is_numeric, "");
        let is_said = self.said.as_ref().is_some_and(|(said, at)| {
            without_numbers(said) == without_numbers(why) && at.elapsed() < SAID_EVERY
        });
        if !is_said {
            let (so_far, at_most) = (so_far.as_secs(), at_most.as_secs());
            self.note(&format!("{why} ({so_far} s of {at_most} s)"));
            self.said = Some((why.to_owned(), Instant::now()));
        }
    }

    fn say(&self, line: &str) {
        // Whoever closed the pipe does not read on.
        let _ = if self.is_json {
            writeln!(std::io::stderr(), "{line}")
        } else {
            writeln!(std::io::stdout(), "{line}")
        };
    }

    /// Says how it ended. Only an end that needs nobody any more is a success.
    pub(super) fn show(&self, outcome: &Result<End, String>) -> ExitCode {
        let (is_done, to_do, code) = match outcome {
            Ok(End::Done(_)) => (true, None, ExitCode::SUCCESS),
            Ok(End::Shown) => (false, None, ExitCode::SUCCESS),
            Ok(End::ToDo(to_do)) => (false, Some(to_do), ExitCode::FAILURE),
            Err(mistake) => {
                let _ = writeln!(std::io::stderr(), "smpctl: {mistake}");
                return ExitCode::FAILURE;
            }
        };
        if self.is_json {
            let report = json!({"is_done": is_done, "to_do": to_do, "steps": self.steps});
            let _ = writeln!(std::io::stdout(), "{report:#}");
            return code;
        }
        match outcome {
            Ok(End::Done(text)) => self.say(&format!("done: {text}")),
            Ok(End::ToDo(text)) => self.say(&format!("not done yet: {text}")),
            _ => self.say("nothing was changed (--dry-run)"),
        }
        code
    }
}
