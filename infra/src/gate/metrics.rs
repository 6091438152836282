//! Questions to Prometheus and what its answers say.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::edge::agent;
use crate::gate::Reading;
use crate::gate::criteria::Question;

/// As long as Prometheus takes for a question by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// A load test is no shorter.
const LOAD_MIN: SignedDuration = SignedDuration::from_mins(10);

/// When a load test ran.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Its first moment.
    pub from: Timestamp,
    /// Its last.
    pub to: Timestamp,
}

/// A question with everything filled in, and the moment about which it is asked.
#[derive(Debug, PartialEq, Eq)]
pub struct Filled {
    /// `PromQL`.
    pub promql: String,
    /// None = now.
    pub at: Option<Timestamp>,
}

impl Question {
    /// Fills it in, or says what is lacking.
    pub fn fill(self, region: &str, load: Option<Load>) -> Result<Filled, String> {
        let promql = self.promql.replace("$region", region);
        if !self.under_load {
            return Ok(Filled { promql, at: None });
        }
        let load = load.ok_or("give --load-from and --load-to, when the load test ran")?;
        let took = load.to.duration_since(load.from);
        if took < LOAD_MIN {
            return Err(format!(
                "the load test has to run for {} s, it ran for {} s",
                LOAD_MIN.as_secs(),
                took.as_secs()
            ));
        }
        let promql = promql
            .replace("$load", &format!("{}s", took.as_secs()))
            .replace("$steady", &format!("{}s", took.as_secs() - 60));
        Ok(Filled {
            promql,
            at: Some(load.to),
        })
    }
}

/// Asks `prometheus`, an origin with or without a path. Whatever goes wrong is why nothing is known.
#[must_use]
pub fn ask(prometheus: &str, question: &Filled) -> Reading {
    let url = format!("{}/api/v1/query", prometheus.trim_end_matches('/'));
    let mut request = agent(PATIENCE).get(&url).query("query", &question.promql);
    if let Some(at) = question.at {
        request = request.query("time", at.to_string());
    }
    let mut answer = match request.call() {
        Ok(answer) => answer,
        Err(error) => return Reading::unknown(format!("Prometheus cannot be asked: {error}")),
    };
    let status = answer.status().as_u16();
    let body = answer.body_mut().read_to_vec().unwrap_or_default();
    match serde_json::from_slice::<Value>(&body) {
        Ok(body) => read(status, &body),
        Err(_) => Reading::unknown(format!("Prometheus answered {status}, and no JSON")),
    }
}

/// What an answer says.
fn read(status: u16, body: &Value) -> Reading {
    if body.pointer("/status").and_then(Value::as_str) != Some("success") {
        let error = body.pointer("/error").and_then(Value::as_str);
        let error = error.unwrap_or("it does not say why");
        return Reading::unknown(format!("Prometheus answered {status}: {error}"));
    }
    // What it warns of may have left samples out.
    let warnings = body.pointer("/warnings").and_then(Value::as_array);
    let warnings: Vec<_> = warnings
        .into_iter()
        .flatten()
        .map(|it| it.as_str().map_or_else(|| it.to_string(), str::to_owned))
        .collect();
    if !warnings.is_empty() {
        return Reading::unknown(format!("Prometheus warns: {}", warnings.join("; ")));
    }
    let samples = body.pointer("/data/result").and_then(Value::as_array);
    let Some([sample]) = samples.map(Vec::as_slice) else {
        let samples = samples.map_or(0, Vec::len);
        return Reading::unknown(format!(
            "Prometheus has {samples} series of it, not one: is the job scraped, and with the label 'region'?"
        ));
    };
    let value = sample.pointer("/value/1").and_then(Value::as_str);
    match value.map(str::parse::<f64>) {
        Some(Ok(figure)) if figure.is_finite() => Reading::known(figure, ""),
        // Of a histogram's last bucket, or of nothing at all.
        Some(Ok(figure)) => Reading::unknown(format!(
            "Prometheus says {figure}: there was nothing to measure, or it was beyond measure"
        )),
        _ => Reading::unknown("Prometheus's answer has no value"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn vector(values: &[&str]) -> Value {
        let result: Vec<_> = values
            .iter()
            .map(|value| json!({"metric": {}, "value": [1_780_000_000, value]}))
            .collect();
        json!({"status": "success", "data": {"resultType": "vector", "result": result}})
    }

    #[test]
    fn one_number_is_known_and_nothing_else() {
        assert_eq!(read(200, &vector(&["0.25"])), Reading::known(0.25, ""));
        for body in [
            vector(&[]),
            vector(&["1", "2"]),
            vector(&["NaN"]),
            vector(&["+Inf"]),
            vector(&["x"]),
            json!({"status": "error", "error": "bad_data"}),
            json!({}),
        ] {
            assert!(matches!(read(400, &body), Reading::Unknown(_)), "{body}");
        }
    }

    #[test]
    fn an_answer_with_a_warning_is_no_answer() {
        let mut body = vector(&["0.25"]);
        body["warnings"] = json!(["one of two stores did not answer"]);
        let Reading::Unknown(why) = read(200, &body) else {
            panic!("it is believed")
        };
        assert!(why.contains("one of two stores"), "{why}");
        body["warnings"] = json!([]);
        assert_eq!(read(200, &body), Reading::known(0.25, ""));
    }

    #[test]
    fn a_load_test_of_less_than_ten_minutes_says_nothing() {
        let question = Question {
            promql: "x{region=\"$region\"}[$load] y[$steady:15s]",
            under_load: true,
        };
        let load = |secs| {
            let from = Timestamp::UNIX_EPOCH;
            let to = from + SignedDuration::from_secs(secs);
            Some(Load { from, to })
        };
        let filled = question.fill("smp-asia", load(600)).unwrap();
        assert_eq!(filled.promql, "x{region=\"smp-asia\"}[600s] y[540s:15s]");
        assert_eq!(filled.at, Some(load(600).unwrap().to));
        assert!(
            question
                .fill("smp-asia", load(599))
                .unwrap_err()
                .contains("599")
        );
        assert!(question.fill("smp-asia", load(-5)).is_err());
        assert!(
            question
                .fill("smp-asia", None)
                .unwrap_err()
                .contains("--load-from")
        );
    }

    #[test]
    fn a_prometheus_that_is_not_there_is_why_nothing_is_known() {
        let question = Filled {
            promql: "up".to_owned(),
            at: None,
        };
        // Port 1 of this machine: nobody listens there.
        let Reading::Unknown(why) = ask("http://127.0.0.1:1", &question) else {
            panic!("nobody answered")
        };
        assert!(why.contains("cannot be asked"), "{why}");
    }
}
