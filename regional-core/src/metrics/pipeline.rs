//! What polling, reconciliation and the jobs tell.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use protocol::Country;

use super::Metrics;
use crate::completeness::entry::Origin;
use crate::completeness::suspension::Status;
use crate::jobs::Job;
use crate::pancake::Operation;
use crate::pancake::breaker::State;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NameLabels {
    name: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RestLabels {
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FoundLabels {
    country: String,
    connection: String,
    layer: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ConnectionLabels {
    pub(crate) country: String,
    pub(crate) connection: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabels {
    country: String,
    connection: String,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct TableLabels {
    pub(crate) country: String,
    pub(crate) connection: String,
    pub(crate) table: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct JobLabels {
    pub(crate) country: String,
    /// Not `job`: Prometheus gives each target a label of that name.
    pub(crate) task: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RunLabels {
    country: String,
    task: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CountryLabels {
    country: String,
}

type Seconds = Gauge<f64, AtomicU64>;

#[derive(Default)]
pub(super) struct PipelineMetrics {
    breaker: Family<NameLabels, Gauge>,
    rest: Family<RestLabels, Counter>,
    found: Family<FoundLabels, Counter>,
    status: Family<StatusLabels, Gauge>,
    key_refused: Family<ConnectionLabels, Gauge>,
    key_age: Family<ConnectionLabels, Seconds>,
    watermark_age: Family<TableLabels, Seconds>,
    watermark_gaps: Family<TableLabels, Gauge>,
    runs: Family<RunLabels, Counter>,
    job_succeeded_at: Family<JobLabels, Seconds>,
    job_duration: Family<JobLabels, Seconds>,
    job_running: Family<JobLabels, Gauge>,
    reconciliation_missing: Family<CountryLabels, Gauge>,
    reconciliation_age: Family<CountryLabels, Seconds>,
    indicators: [Family<CountryLabels, Seconds>; INDICATORS.len()],
    kill_switch: Family<CountryLabels, Gauge>,
    paused: Family<CountryLabels, Gauge>,
}

/// The five indicators: how a roll-up's figures name them, the metric, and what it says.
pub(crate) const INDICATORS: [(&str, &str, &str); 5] = [
    (
        "success_ratio",
        "pancake_kpi_success_ratio",
        "Events of the last 24 h that are processed, as a share of those that are processed, failed or dead letters",
    ),
    (
        "process_p95_seconds",
        "pancake_kpi_process_p95_seconds",
        "From receipt to the ticket's commit in the last 24 h, of 95 of 100 at most",
    ),
    (
        "first_response_p95_seconds",
        "pancake_kpi_first_response_p95_seconds",
        "Until somebody took up a ticket of the last 24 h, of 95 of 100 at most",
    ),
    (
        "auto_assign_ratio",
        "pancake_kpi_auto_assign_ratio",
        "Tickets of the last 24 h that the distribution gave to somebody, as a share of all",
    ),
    (
        "missed_records",
        "pancake_kpi_missed_records",
        "Records that the reconciliations of the last 24 h found missing",
    ),
];

impl PipelineMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "pancake_circuit_breaker_state",
            "Whether Pancake is asked: 0 = closed, 1 = half-open, 2 = open",
            metrics.breaker.clone(),
        );
        registry.register(
            "pancake_rest_requests",
            "Requests to Pancake's REST interface, by what came of them",
            metrics.rest.clone(),
        );
        registry.register(
            "pancake_records_found",
            "Records that a layer beside the webhook found missing and brought in",
            metrics.found.clone(),
        );
        registry.register(
            "pancake_connection_status",
            "1 for the status that a connection has, 0 for the others",
            metrics.status.clone(),
        );
        registry.register(
            "pancake_api_key_refused",
            "1 while Pancake refuses a connection's API key",
            metrics.key_refused.clone(),
        );
        registry.register(
            "pancake_api_key_set_age_seconds",
            "How long ago a connection was given its API key",
            metrics.key_age.clone(),
        );
        registry.register(
            "pancake_watermark_age_seconds",
            "How long ago the moment is up to which all records are here",
            metrics.watermark_age.clone(),
        );
        registry.register(
            "pancake_watermark_gaps",
            "Spans before it that are still to be asked for",
            metrics.watermark_gaps.clone(),
        );
        registry.register(
            "pancake_job_runs",
            "Runs of jobs that ended in this process",
            metrics.runs.clone(),
        );
        registry.register(
            "pancake_job_last_success_timestamp_seconds",
            "When the last run began that ended well",
            metrics.job_succeeded_at.clone(),
        );
        registry.register(
            "pancake_job_last_duration_seconds",
            "How long that run took",
            metrics.job_duration.clone(),
        );
        registry.register(
            "pancake_job_running",
            "1 while a run is under way, in whatever core",
            metrics.job_running.clone(),
        );
        registry.register(
            "pancake_reconciliation_missing",
            "Records that the reconciliations begun within the last 24 h found missing",
            metrics.reconciliation_missing.clone(),
        );
        registry.register(
            "pancake_reconciliation_window_end_age_seconds",
            "How long ago the end of the last span is that was reconciled to its end",
            metrics.reconciliation_age.clone(),
        );
        registry.register(
            "pancake_kill_switch",
            "1 while a country's kill switch is on: what comes is kept and skipped",
            metrics.kill_switch.clone(),
        );
        registry.register(
            "pancake_processing_paused",
            "1 while a country's processing is paused: what comes is kept and waits",
            metrics.paused.clone(),
        );
        for ((_, name, help), family) in INDICATORS.iter().zip(&metrics.indicators) {
            registry.register(*name, *help, family.clone());
        }
        metrics
    }
}

impl ConnectionLabels {
    pub(crate) fn new(country: &str, connection: &str) -> Self {
        Self {
            country: country.to_owned(),
            connection: connection.to_owned(),
        }
    }
}

impl Metrics {
    pub(crate) fn set_breaker(&self, state: State) {
        let labels = NameLabels {
            name: "pancake_rest",
        };
        self.pipeline
            .breaker
            .get_or_create(&labels)
            .set(state as i64);
    }

    pub(crate) fn count_rest_request(&self, operation: Operation, outcome: &'static str) {
        let operation = operation.as_str();
        let labels = RestLabels { operation, outcome };
        self.pipeline.rest.get_or_create(&labels).inc();
    }

    pub(crate) fn count_found(&self, origin: &Origin, records: u64) {
        let labels = FoundLabels {
            country: origin.country.as_str().to_owned(),
            connection: origin.connection.as_str().to_owned(),
            layer: origin.layer.as_str(),
        };
        self.pipeline.found.get_or_create(&labels).inc_by(records);
    }

    pub(crate) fn count_run(&self, (country, job): (Country, Job), is_ok: bool) {
        let labels = RunLabels {
            country: country.as_str().to_owned(),
            task: job.as_str(),
            outcome: if is_ok { "ok" } else { "failed" },
        };
        self.pipeline.runs.get_or_create(&labels).inc();
    }

    /// How a connection stands.
    pub(crate) fn set_connection(
        &self,
        of: &ConnectionLabels,
        status: &str,
        (is_refused, key_age): (bool, Option<f64>),
    ) {
        for one in Status::ALL {
            let labels = StatusLabels {
                country: of.country.clone(),
                connection: of.connection.clone(),
                status: one.as_str(),
            };
            let is_it = one.as_str() == status;
            self.pipeline
                .status
                .get_or_create(&labels)
                .set(i64::from(is_it));
        }
        self.pipeline
            .key_refused
            .get_or_create(of)
            .set(i64::from(is_refused));
        match key_age {
            Some(age) => {
                self.pipeline.key_age.get_or_create(of).set(age);
            }
            None => {
                self.pipeline.key_age.remove(of);
            }
        }
    }

    /// How complete a table of a connection is.
    pub(crate) fn set_watermark(&self, of: &TableLabels, age: Option<f64>, gaps: i64) {
        if let Some(age) = age {
            self.pipeline.watermark_age.get_or_create(of).set(age);
        }
        self.pipeline.watermark_gaps.get_or_create(of).set(gaps);
    }

    /// How a job stands: whether it runs, and when its last good run began and how long it took.
    pub(crate) fn set_job(&self, of: &JobLabels, is_running: bool, last: Option<(f64, f64)>) {
        self.pipeline
            .job_running
            .get_or_create(of)
            .set(i64::from(is_running));
        if let Some((began, took)) = last {
            self.pipeline.job_succeeded_at.get_or_create(of).set(began);
            self.pipeline.job_duration.get_or_create(of).set(took);
        }
    }

    /// What reconciliation found.
    pub(crate) fn set_reconciliation(&self, country: &str, missing: i64, age: Option<f64>) {
        let labels = CountryLabels {
            country: country.to_owned(),
        };
        self.pipeline
            .reconciliation_missing
            .get_or_create(&labels)
            .set(missing);
        if let Some(age) = age {
            self.pipeline
                .reconciliation_age
                .get_or_create(&labels)
                .set(age);
        }
    }

    /// How a country's switches stand.
    pub(crate) fn set_switches(&self, country: &str, kill_switch: bool, paused: bool) {
        let labels = CountryLabels {
            country: country.to_owned(),
        };
        let (killed, waits) = (&self.pipeline.kill_switch, &self.pipeline.paused);
        killed.get_or_create(&labels).set(i64::from(kill_switch));
        waits.get_or_create(&labels).set(i64::from(paused));
    }

    /// One of [`INDICATORS`], by its place; none where there was nothing to compute it from.
    pub(crate) fn set_indicator(&self, country: &str, place: usize, value: Option<f64>) {
        let labels = CountryLabels {
            country: country.to_owned(),
        };
        let Some(family) = self.pipeline.indicators.get(place) else {
            return;
        };
        match value {
            Some(value) => {
                family.get_or_create(&labels).set(value);
            }
            None => {
                family.remove(&labels);
            }
        }
    }
}
