//! The jobs of a country's core, as its staff see them and ask for them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::connections::Staff;

/// A job, and how it stands.
#[derive(Debug, Serialize, Deserialize)]
pub struct Standing {
    /// Its name.
    pub job: String,
    /// If it is due so long after it began last.
    pub every_seconds: Option<u64>,
    /// If it is due at a time of day, …
    pub daily_at: Option<String>,
    /// … by this clock.
    pub time_zone: Option<String>,
    /// When it is due next, RFC 3339.
    pub due_at: String,
    /// The last run, or the one that waits or is under way.
    pub last_run: Option<Run>,
}

/// A run of a job.
#[derive(Debug, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub run_id: String,
    /// Of which job.
    pub job: String,
    /// `requested`, `running`, `ok`, `failed` or `interrupted`.
    pub state: String,
    /// Who asked for it; nobody if it was due.
    pub requested_by: Option<String>,
    /// What was asked for.
    pub parameters: Map<String, Value>,
    /// How far it is, in figures.
    pub progress: Map<String, Value>,
    /// Why it failed.
    pub error: Option<String>,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub started_at: Option<String>,
    /// RFC 3339.
    pub finished_at: Option<String>,
}

#[derive(Deserialize)]
struct Items<T> {
    items: Vec<T>,
}

impl Run {
    /// Whether it is over.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        !["requested", "running"].contains(&self.state.as_str())
    }

    /// Its figures as one line: `connections 2, vn-main: checked 72 brought 67`.
    #[must_use]
    pub fn figures(&self) -> String {
        let plain = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let figures = self.progress.iter().map(|(name, value)| match value {
            Value::Object(of) if of.is_empty() => name.clone(),
            Value::Object(of) => {
                let of: Vec<_> = of
                    .iter()
                    .map(|(name, value)| format!("{name} {}", plain(value)))
                    .collect();
                format!("{name}: {}", of.join(" "))
            }
            value => format!("{name} {}", plain(value)),
        });
        figures.collect::<Vec<_>>().join(", ")
    }

    /// How far it is: `poll running: connections 2`, or `poll requested` while there is no figure.
    #[must_use]
    pub fn progress_line(&self) -> String {
        let (job, state, figures) = (&self.job, &self.state, self.figures());
        if figures.is_empty() {
            format!("{job} {state}")
        } else {
            format!("{job} {state}: {figures}")
        }
    }
}

impl Staff<'_> {
    /// All jobs.
    pub fn jobs(&self) -> Result<Vec<Standing>, String> {
        let Items { items } = self.fetch("GET", "jobs", &Value::Null)?;
        Ok(items)
    }

    /// The last runs of a job, the latest first.
    pub fn runs(&self, job: &str) -> Result<Vec<Run>, String> {
        let Items { items } = self.fetch("GET", &format!("jobs/{job}/runs"), &Value::Null)?;
        Ok(items)
    }

    /// Asks for a run; the one that waits already, if one does. `parameters` are `from` and `to`, where given.
    pub fn request_run(&self, job: &str, parameters: &[(&str, String)]) -> Result<Run, String> {
        let body: Map<String, Value> = parameters
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        self.fetch("POST", &format!("jobs/{job}/runs"), &Value::Object(body))
    }

    /// A run as it is now.
    pub fn run(&self, job: &str, run_id: &str) -> Result<Run, String> {
        self.fetch("GET", &format!("jobs/{job}/runs/{run_id}"), &Value::Null)
    }
}

/// The jobs as a table.
#[must_use]
pub fn jobs_table(jobs: &[Standing]) -> String {
    let mut rows = vec![format!(
        "{:<15} {:<28} {:<11} {:<20} {:<20} LAST",
        "JOB", "SCHEDULE", "STATE", "LAST BEGAN", "DUE"
    )];
    rows.extend(jobs.iter().map(|standing| {
        let schedule = match (&standing.every_seconds, &standing.daily_at) {
            (Some(seconds), _) => format!("every {}", span(*seconds)),
            (None, Some(at)) => {
                let zone = standing.time_zone.as_deref().unwrap_or("UTC");
                format!("daily {at} {zone}")
            }
            (None, None) => String::new(),
        };
        let last = standing.last_run.as_ref();
        let began = last.and_then(|run| run.started_at.as_deref());
        let told = last.map_or_else(String::new, |run| {
            run.error.clone().unwrap_or_else(|| run.figures())
        });
        format!(
            "{:<15} {schedule:<28} {:<11} {:<20} {:<20} {told}",
            standing.job,
            last.map_or("never ran", |run| run.state.as_str()),
            to_second(began.unwrap_or("-")),
            to_second(&standing.due_at),
        )
    }));
    rows.join("\n") + "\n"
}

/// Runs as a table.
#[must_use]
pub fn runs_table(runs: &[Run]) -> String {
    let mut rows = vec![format!(
        "{:<36} {:<11} {:<20} {:<20} {:<16} WHAT",
        "RUN", "STATE", "BEGAN", "ENDED", "ASKED FOR BY"
    )];
    rows.extend(runs.iter().map(|run| {
        format!(
            "{:<36} {:<11} {:<20} {:<20} {:<16} {}",
            run.run_id,
            run.state,
            to_second(run.started_at.as_deref().unwrap_or("-")),
            to_second(run.finished_at.as_deref().unwrap_or("-")),
            run.requested_by.as_deref().unwrap_or("-"),
            run.error.clone().unwrap_or_else(|| run.figures()),
        )
    }));
    rows.join("\n") + "\n"
}

fn span(seconds: u64) -> String {
    match seconds {
        _ if seconds > 0 && seconds.is_multiple_of(3600) => format!("{} h", seconds / 3600),
        _ if seconds > 0 && seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

/// `2026-11-22T10:00:00.123456Z` without what follows the second.
fn to_second(moment: &str) -> String {
    match moment.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => moment.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(state: &str, progress: &Value, error: Option<&str>) -> Run {
        Run {
            run_id: "01890a5d-ac96-774b-bcce-b302099a8057".to_owned(),
            job: "poll".to_owned(),
            state: state.to_owned(),
            requested_by: None,
            parameters: Map::new(),
            progress: progress.as_object().cloned().unwrap_or_default(),
            error: error.map(str::to_owned),
            created_at: "2026-11-22T10:00:00Z".to_owned(),
            started_at: Some("2026-11-22T10:00:00.123456Z".to_owned()),
            finished_at: None,
        }
    }

    #[test]
    fn jobs_are_a_table_that_a_person_can_read() {
        let jobs = [
            Standing {
                job: "poll".to_owned(),
                every_seconds: Some(300),
                daily_at: None,
                time_zone: None,
                due_at: "2026-11-22T10:05:00.123456Z".to_owned(),
                last_run: Some(run(
                    "ok",
                    &json!({"connections": 1, "vn-main": {"checked": 72, "brought": 67}}),
                    None,
                )),
            },
            Standing {
                job: "reconciliation".to_owned(),
                every_seconds: None,
                daily_at: Some("02:00".to_owned()),
                time_zone: Some("Asia/Ho_Chi_Minh".to_owned()),
                due_at: "2026-11-22T19:00:00Z".to_owned(),
                last_run: None,
            },
        ];
        let table = jobs_table(&jobs);
        let lines: Vec<_> = table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            lines,
            [
                "JOB SCHEDULE STATE LAST BEGAN DUE LAST",
                "poll every 5 min ok 2026-11-22T10:00:00Z 2026-11-22T10:05:00Z connections 1, vn-main: brought 67 checked 72",
                "reconciliation daily 02:00 Asia/Ho_Chi_Minh never ran - 2026-11-22T19:00:00Z",
            ]
        );
    }

    #[test]
    fn a_run_without_figures_says_only_how_it_stands() {
        let line = |progress| run("running", &progress, None).progress_line();
        assert_eq!(line(json!({})), "poll running");
        assert_eq!(line(json!({"vn-main": {}})), "poll running: vn-main");
        let counted = json!({"vn-main": {"checked": 72}});
        assert_eq!(line(counted), "poll running: vn-main: checked 72");
    }

    #[test]
    fn a_run_that_failed_says_why() {
        let failed = run(
            "failed",
            &json!({}),
            Some("vn-main: Pancake cannot be reached"),
        );
        assert!(failed.has_ended());
        assert!(runs_table(&[failed]).contains("vn-main: Pancake cannot be reached"));
        assert!(!run("requested", &json!({}), None).has_ended());
    }
}
