//! Tier 2: the program before, put back by a command of the operator's own.

use std::time::{Duration, Instant};

use infra::rollback::service::{Look, Process, State, Watch, metrics_url, process};
use infra::rollback::{Report, Tier};
use ureq::http::Uri;

use super::Steps;
use crate::shell::{finish, shell};

/// Between two looks.
const POLL: Duration = Duration::from_millis(500);
/// How long one look may take.
const LOOK: Duration = Duration::from_secs(5);
/// Of a page of metrics. More is not one of ours.
const METRICS_BYTES_MAX: u64 = 4 << 20;

pub(super) fn service(
    command: &str,
    ready: &Uri,
    within: Duration,
    yes: bool,
) -> Result<Report, String> {
    let mut steps = Steps::default();
    let before = steps.take("before", || {
        let found = look(ready);
        let told = match &found.not_ready {
            None => "ready".to_owned(),
            Some(why) => format!("not ready: {why}"),
        };
        Ok((told, found))
    })?;
    if !yes {
        return Ok(Report::new(Tier::Service, steps.0, false));
    }
    steps.take("run", || {
        finish(&mut shell(command))
            .map(|()| (command.to_owned(), ()))
            .map_err(|why| format!("'{command}' {why}; nothing is known of the service"))
    })?;
    let mut watch = Watch::new(&before);
    steps.take("until it is another", || {
        let began = Instant::now();
        loop {
            let state = watch.see(&look(ready));
            let is_late = began.elapsed() >= within;
            match state {
                State::Changed => return Ok((format!("{ready} answers 200, and is new"), ())),
                State::NotReady(why) if is_late => {
                    return Err(format!(
                        "{ready} does not answer 200 after {} s: {why}. Leads are kept by the edge meanwhile; look at \
                         the service's log",
                        within.as_secs()
                    ));
                }
                State::Unchanged if is_late => {
                    return Err(format!(
                        "{ready} answers 200, but was not seen to change within {} s: {}. Does '{command}' do what \
                         it should?",
                        within.as_secs(),
                        watch.why_unchanged()
                    ));
                }
                State::NotReady(_) | State::Unchanged => std::thread::sleep(POLL),
            }
        }
    })?;
    Ok(Report::new(Tier::Service, steps.0, true))
}

fn look(ready: &Uri) -> Look {
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(LOOK))
        .http_status_as_error(false)
        .build()
        .new_agent();
    let not_ready = match agent.get(ready).call() {
        Ok(answer) if answer.status() == 200 => None,
        Ok(answer) => Some(format!("it answers {}", answer.status().as_u16())),
        Err(error) => Some(error.to_string()),
    };
    Look {
        not_ready,
        process: metrics(&agent, ready),
    }
}

/// Which process answers. Who has no metrics beside its readiness is not asked twice.
fn metrics(agent: &ureq::Agent, ready: &Uri) -> Option<Process> {
    let mut answer = agent.get(metrics_url(ready)?).call().ok()?;
    let date = answer.headers().get("date")?.to_str().ok()?.to_owned();
    let body = answer.body_mut().with_config().limit(METRICS_BYTES_MAX);
    process(&body.read_to_string().ok()?, &date)
}
