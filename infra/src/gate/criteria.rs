//! The criteria of each wave, with their targets and what is asked for each.
//!
//! SQL gets `$1` the country, `$2` the pilot's start and `$3` the moment of the question, both as text, and gives a row
//! of `figure` and `detail`. A figure of null is not known: no event is no success.

use crate::gate::Wave;

/// What has to be shown.
#[derive(Debug, PartialEq)]
pub struct Criterion {
    /// How it is named: lower-case words, the wave's first.
    pub id: &'static str,
    /// What it is.
    pub title: &'static str,
    /// What the figure is held against.
    pub target: Target,
    /// What the figure counts.
    pub unit: Unit,
    /// Where the figure comes from.
    pub source: Source,
}

/// What a figure is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// So much or more.
    AtLeast(f64),
    /// So much or less.
    AtMost(f64),
    /// Less.
    Below(f64),
    /// Whatever it is, as long as it is known.
    Any,
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Of one.
    Share,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// Things.
    Count,
    /// Things a second.
    PerSecond,
    /// Points of five.
    Score,
    /// Minutes.
    Minutes,
    /// Days.
    Days,
    /// 1 for yes, 0 for no.
    YesNo,
}

/// Where a figure comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Source {
    /// A statement that gives it.
    Database {
        /// The statement.
        sql: &'static str,
        /// Whether it looks at the pilot from its start.
        since_start: bool,
    },
    /// A look-up whose plan must not read the whole table.
    Plan(&'static str),
    /// How often an index and its table were read, against the last snapshot of it.
    Usage(&'static str),
    /// A question to Prometheus.
    Metrics(Question),
    /// Cases of `docs/test-cases.md`: the share of them that passed.
    Cases(&'static [&'static str]),
    /// What somebody wrote down.
    Record(&'static str),
    /// An earlier wave: how many of its criteria are not met.
    Earlier(Wave),
}

/// A question to Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// `PromQL`, in which `$region` stands for the region's id, `$load` for the length of the load test, and `$steady`
    /// for what of it comes after its first minute: in that one a rate still counts what was before.
    pub promql: &'static str,
    /// Whether it is about a load test.
    pub under_load: bool,
}

/// A wave's criteria.
pub fn of_wave(wave: Wave) -> impl Iterator<Item = &'static Criterion> {
    let criteria = match wave {
        Wave::W1 => W1,
        Wave::W2 => W2,
        Wave::W3 => W3,
        Wave::W4 => W4,
    };
    criteria.iter()
}

/// Every wave's.
pub fn all() -> impl Iterator<Item = &'static Criterion> {
    Wave::ALL.into_iter().flat_map(of_wave)
}

/// Those of a wave and of all before it.
pub fn needed_by(wave: Wave) -> impl Iterator<Item = &'static Criterion> {
    Wave::ALL
        .into_iter()
        .filter(move |other| *other <= wave)
        .flat_map(of_wave)
}

macro_rules! success_rate {
    ($from:literal) => {
        concat!(
            "select count(*) filter (where status = 'processed')::float8 / nullif(count(*), 0) as figure,
       format('%s of %s events; %s failed, %s dead letters, %s wait',
              count(*) filter (where status = 'processed'), count(*),
              count(*) filter (where status = 'failed'), count(*) filter (where status = 'dead_letter'),
              count(*) filter (where status in ('received', 'ingested'))) as detail
from pancake_webhook_event
where country_code = $1 and received_at >= ",
            $from,
            " and received_at < $3::text::timestamptz
  and status not like 'skipped%'
  and not (status = 'received' and received_at > $3::text::timestamptz - interval '30 seconds')"
        )
    };
}

macro_rules! process_p95 {
    ($from:literal) => {
        concat!(
            "select percentile_disc(0.95) within group (order by took) as figure, format('%s events', count(*)) as detail
from (select extract(epoch from case when status = 'processed' then settled_at
                                     else $3::text::timestamptz end - received_at)::float8 as took
      from pancake_webhook_event
      where country_code = $1 and received_at >= ",
            $from,
            " and received_at < $3::text::timestamptz
        and (status = 'processed'
             or status = 'received' and received_at <= $3::text::timestamptz - interval '30 seconds')) as event"
        )
    };
}

/// `$figure` is computed from `t`, a ticket of Pancake's with `automatically` and `by_hand`.
macro_rules! of_tickets {
    ($figure:literal) => {
        concat!(
            "select count(*) filter (where ",
            $figure,
            ")::float8 / nullif(count(*), 0) as figure,
       format('%s of %s tickets', count(*) filter (where ",
            $figure,
            "), count(*)) as detail
from (select exists (select from ticket_assignment as a
                     where a.ticket_id = ticket.ticket_id and a.method = 'automatic') as automatically,
             exists (select from ticket_assignment as a
                     where a.ticket_id = ticket.ticket_id and a.method = 'manual') as by_hand
      from ticket
      where country_code = $1 and connection_id is not null
        and created_at >= $2::text::timestamptz and created_at < $3::text::timestamptz) as t"
        )
    };
}

/// A day without a report of each connection is a day of which nobody knows. The pilot's first day and today may
/// have none yet.
const MISSING_PER_DAY: &str = "with clock as (
    select name, ($2::text::timestamptz at time zone name)::date as first, ($3::text::timestamptz at time zone name)::date as today
    from (select coalesce((select time_zone from pancake_daily where country_code = $1 order by day desc limit 1),
                          'UTC') as name) as zone),
run as (
    select connection_id, (started_at at time zone clock.name)::date as day, missing,
           finished_at is not null and error is null as ended_well
    from pancake_reconciliation_run, clock
    where country_code = $1 and started_at >= $2::text::timestamptz and started_at < $3::text::timestamptz),
lacking as (
    select c.connection_id, wanted.day::date
    from pancake_connection as c, clock, generate_series(
        (greatest(clock.first, (c.created_at at time zone clock.name)::date) + 1)::timestamp,
        (clock.today - 1)::timestamp, interval '1 day') as wanted (day)
    where c.country_code = $1 and c.status <> 'disabled' and not exists (
        select from run where run.connection_id = c.connection_id and run.day = wanted.day::date and run.ended_well)),
daily as (select day, sum(missing) as missing from run group by day)
select case when exists (select from run where ended_well) and not exists (select from lacking)
            then (select max(missing) from daily)::float8 end as figure,
       case when exists (select from lacking)
            then (select format('%s reconciliations are lacking, the first of %s on %s: see smpctl job runs reconciliation',
                                count(*), min(connection_id), min(day)) from lacking)
            when not exists (select from run where ended_well)
            then 'no reconciliation ended well: see smpctl job runs reconciliation'
            else (select format('%s days, %s records in all', count(*), sum(missing)) from daily) end as detail";

const MISSING_IN_A_DAY: &str =
    "select case when count(*) filter (where finished_at is not null and error is null) > 0
            then sum(missing)::float8 end as figure,
       format('%s reconciliations', count(*)) as detail
from pancake_reconciliation_run
where country_code = $1 and started_at >= $3::text::timestamptz - interval '24 hours'
  and started_at < $3::text::timestamptz";

/// A connection that was suspended before the pilot and still is counts too.
const SUSPENSIONS: &str = "select case when exists (select from pancake_connection where country_code = $1)
            then count(*)::float8 end as figure,
       coalesce(string_agg(distinct connection_id, ', '), 'none') as detail
from (select connection_id from pancake_connection_status
      where country_code = $1 and status = 'suspended'
        and changed_at >= $2::text::timestamptz and changed_at < $3::text::timestamptz
      union all
      select connection_id from pancake_connection
      where country_code = $1 and status = 'suspended' and status_changed_at < $2::text::timestamptz) as suspended";

/// One that nobody took up yet counts with its age, unless it may still be in time.
const FIRST_RESPONSE_P95: &str = "select percentile_disc(0.95) within group (order by waited) as figure,
       format('%s tickets', count(*)) as detail
from (select extract(epoch from coalesce(first_response_at, closed_at, $3::text::timestamptz) - created_at)::float8 as waited
      from ticket
      where country_code = $1 and connection_id is not null
        and created_at >= $2::text::timestamptz and created_at < $3::text::timestamptz
        and not (first_response_at is null and closed_at is null
                 and created_at > $3::text::timestamptz - interval '30 minutes')) as t";

const DEAD_LETTER_REPLAYS: &str = "select count(*)::float8 as figure,
       format('%s events moved', coalesce(sum(done), 0)) as detail
from pancake_replay
where country_code = $1 and state = 'done' and done >= 1 and finished_at >= $2::text::timestamptz
  and finished_at < $3::text::timestamptz
  and (filter -> 'states' is null or filter -> 'states' = 'null' or filter -> 'states' ? 'dead_letter')";

const RECONCILIATION_SECONDS: &str = "select case when count(*) filter (where state = 'ok') > 0
            then max(extract(epoch from coalesce(finished_at, $3::text::timestamptz) - started_at))::float8 end as figure,
       format('the longest of %s runs', count(*)) as detail
from job_run
where country_code = $1 and job = 'reconciliation' and state in ('ok', 'failed', 'running')
  and started_at >= $2::text::timestamptz and started_at < $3::text::timestamptz";

const SERVER_VERSION: &str =
    "select (current_setting('server_version_num')::int / 10000)::float8 as figure,
       current_setting('server_version') as detail";

/// Of a number that nobody has. It is planned only: carried out, it would itself be a use of the index.
const LOOK_UP_BY_PHONE: &str = "explain (costs off)
select event_id from pancake_webhook_event where country_code = $1 and normalized_phone = '+840000000000'";

/// `detail` is the table's own count.
pub const INDEX_USAGE: &str = "select i.idx_scan::float8 as figure, t.seq_scan::text as detail
from pg_stat_user_indexes as i join pg_stat_user_tables as t using (relid)
where i.indexrelname = 'pancake_webhook_event_normalized_phone_idx' and $1::text is not null";

const WEBHOOK_P95: Question = Question {
    promql: "histogram_quantile(0.95, sum by (le) (rate(edge_webhook_duration_seconds_bucket{region=\"$region\"}[24h])))",
    under_load: false,
};

const WEBHOOK_P95_UNDER_LOAD: Question = Question {
    promql: "max_over_time(histogram_quantile(0.95, sum by (le) (rate(edge_webhook_duration_seconds_bucket{region=\"$region\"}[1m])))[$steady:15s])",
    under_load: true,
};

const LOAD: Question = Question {
    promql: "avg_over_time(sum(rate(edge_webhooks_total{region=\"$region\"}[1m]))[$steady:15s])",
    under_load: true,
};

const PROCESS_P95_UNDER_LOAD: Question = Question {
    promql: "histogram_quantile(0.95, sum by (le) (increase(pancake_event_process_duration_seconds_bucket{region=\"$region\"}[$load])))",
    under_load: true,
};

const MEMORY: Question = Question {
    promql: "max(max_over_time(process_resident_memory_bytes{job=\"regional-core\",region=\"$region\"}[7d]))",
    under_load: false,
};

const BREAKER: Question = Question {
    promql: "max(pancake_circuit_breaker_state{region=\"$region\"})",
    under_load: false,
};

const fn yes(id: &'static str, title: &'static str, item: &'static str) -> Criterion {
    Criterion {
        id,
        title,
        target: Target::AtLeast(1.0),
        unit: Unit::YesNo,
        source: Source::Record(item),
    }
}

const fn cases(
    id: &'static str,
    title: &'static str,
    at_least: f64,
    cases: &'static [&'static str],
) -> Criterion {
    Criterion {
        id,
        title,
        target: Target::AtLeast(at_least),
        unit: Unit::Share,
        source: Source::Cases(cases),
    }
}

const fn database(
    id: &'static str,
    title: &'static str,
    (target, unit): (Target, Unit),
    sql: &'static str,
) -> Criterion {
    Criterion {
        id,
        title,
        target,
        unit,
        source: Source::Database {
            sql,
            since_start: true,
        },
    }
}

/// Of the last day, or of the server itself: the pilot's start does not matter.
const fn database_now(
    id: &'static str,
    title: &'static str,
    (target, unit): (Target, Unit),
    sql: &'static str,
) -> Criterion {
    Criterion {
        id,
        title,
        target,
        unit,
        source: Source::Database {
            sql,
            since_start: false,
        },
    }
}

const fn metrics(
    id: &'static str,
    title: &'static str,
    (target, unit): (Target, Unit),
    question: Question,
) -> Criterion {
    Criterion {
        id,
        title,
        target,
        unit,
        source: Source::Metrics(question),
    }
}

const fn record(
    id: &'static str,
    title: &'static str,
    (target, unit): (Target, Unit),
    item: &'static str,
) -> Criterion {
    Criterion {
        id,
        title,
        target,
        unit,
        source: Source::Record(item),
    }
}

const fn earlier(id: &'static str, title: &'static str, wave: Wave) -> Criterion {
    Criterion {
        id,
        title,
        target: Target::AtMost(0.0),
        unit: Unit::Count,
        source: Source::Earlier(wave),
    }
}

const SUCCESS: (Target, Unit) = (Target::AtLeast(0.995), Unit::Share);
const NONE: (Target, Unit) = (Target::AtMost(0.0), Unit::Count);
const BELOW_A_SECOND: (Target, Unit) = (Target::Below(1.0), Unit::Seconds);
const FOUR_OF_FIVE: (Target, Unit) = (Target::AtLeast(4.0), Unit::Score);

/// All cases but the chaos tests' own numbers.
const ALL_CASES: &[&str] = &[
    "TC-001", "TC-002", "TC-003", "TC-004", "TC-005", "TC-006", "TC-007", "TC-008", "TC-009",
    "TC-010", "TC-011", "TC-012", "TC-013", "TC-014", "TC-015", "TC-016", "TC-017", "TC-018",
];

const FIRST_CASES: &[&str] = &[
    "TC-001", "TC-002", "TC-003", "TC-004", "TC-005", "TC-006", "TC-007", "TC-008", "TC-009",
    "TC-010",
];

const CHAOS_CASES: &[&str] = &[
    "TC-014-001",
    "TC-014-002",
    "TC-014-003",
    "TC-014-004",
    "TC-014-005",
    "TC-014-006",
    "TC-014-007",
    "TC-014-008",
    "TC-014-009",
    "TC-014-010",
    "TC-014-011",
    "TC-014-012",
    "TC-014-013",
    "TC-014-014",
    "TC-014-015",
];

const BREAKER_CASES: &[&str] = &["TC-013-003", "TC-013-004", "TC-013-005"];

const W1: &[Criterion] = &[
    yes(
        "w1-requirements",
        "G-1: the requirements are signed off",
        "g1-requirements",
    ),
    yes(
        "w1-design",
        "G-2: the design is signed off, the schema reviewed",
        "g2-design",
    ),
    cases(
        "w1-all-cases",
        "G-3: TC-001 to TC-018 pass",
        0.95,
        ALL_CASES,
    ),
    cases("w1-load-cases", "G-4: tests under load pass", 1.0, &["G-4"]),
    cases(
        "w1-chaos",
        "G-5: all four layers recover from an outage",
        1.0,
        CHAOS_CASES,
    ),
    yes(
        "w1-smoke-test",
        "G-6: smoke test on staging",
        "g6-smoke-test",
    ),
    yes(
        "w1-alerts",
        "G-7: alerts are deployed and reach somebody",
        "g7-alerts",
    ),
    yes(
        "w1-rollback-tested",
        "G-8: rollback is written down and tested",
        "g8-rollback",
    ),
    record(
        "w1-baseline",
        "G-9: response time before the pilot was measured",
        (Target::Any, Unit::Minutes),
        "g9-baseline",
    ),
    yes(
        "w1-webhook-url",
        "G-12: the webhook's address is set at Pancake",
        "g12-webhook-url",
    ),
    yes(
        "w1-on-call",
        "the on-call rota is set for four weeks",
        "on-call",
    ),
    yes(
        "w1-alert-workflow",
        "who does what on an alert is written down",
        "alert-workflow",
    ),
    yes(
        "w1-night-jobs",
        "no other nightly job is in the way at 02:00",
        "night-jobs",
    ),
    database_now(
        "w1-postgresql",
        "PostgreSQL's version",
        (Target::AtLeast(15.0), Unit::Count),
        SERVER_VERSION,
    ),
    database_now(
        "w1-success-rate",
        "events that were processed, last 24 h",
        SUCCESS,
        success_rate!("$3::text::timestamptz - interval '24 hours'"),
    ),
    metrics(
        "w1-webhook-p95",
        "webhook answered at the edge, p95 of 24 h",
        BELOW_A_SECOND,
        WEBHOOK_P95,
    ),
    database_now(
        "w1-process-p95",
        "receipt to ticket, p95 of 24 h",
        (Target::Below(30.0), Unit::Seconds),
        process_p95!("$3::text::timestamptz - interval '24 hours'"),
    ),
    database(
        "w1-zero-miss",
        "records found missing, worst day",
        NONE,
        MISSING_PER_DAY,
    ),
    database(
        "w1-no-suspension",
        "suspensions by Pancake",
        NONE,
        SUSPENSIONS,
    ),
    record(
        "w1-telesale-survey",
        "telesales' survey, 3 answers or more",
        FOUR_OF_FIVE,
        "telesale-survey-w1",
    ),
    cases("w1-first-cases", "TC-001 to TC-010 pass", 1.0, FIRST_CASES),
];

const W2: &[Criterion] = &[
    earlier("w2-after-w1", "criteria of w1 that are not met", Wave::W1),
    database(
        "w2-success-rate",
        "events that were processed, since the start",
        SUCCESS,
        success_rate!("$2::text::timestamptz"),
    ),
    database(
        "w2-intervention",
        "tickets that a person assigned",
        (Target::Below(0.2), Unit::Share),
        of_tickets!("by_hand"),
    ),
    record(
        "w2-telesale-survey",
        "telesales' survey, 5 answers or more",
        FOUR_OF_FIVE,
        "telesale-survey-w2",
    ),
    database(
        "w2-auto-assign",
        "tickets assigned automatically and left there",
        (Target::AtLeast(0.85), Unit::Share),
        of_tickets!("automatically and not by_hand"),
    ),
    cases("w2-round-robin", "TC-008: leads go round", 1.0, &["TC-008"]),
    database(
        "w2-dead-letter-replay",
        "replays of dead letters that ended well",
        (Target::AtLeast(1.0), Unit::Count),
        DEAD_LETTER_REPLAYS,
    ),
];

const W3: &[Criterion] = &[
    earlier("w3-after-w1", "criteria of w1 that are not met", Wave::W1),
    earlier("w3-after-w2", "criteria of w2 that are not met", Wave::W2),
    database(
        "w3-success-rate",
        "events that were processed, since the start",
        SUCCESS,
        success_rate!("$2::text::timestamptz"),
    ),
    metrics(
        "w3-load",
        "webhooks a second over 10 minutes (100, less 1 % that scrapes cut off)",
        (Target::AtLeast(99.0), Unit::PerSecond),
        LOAD,
    ),
    metrics(
        "w3-webhook-p95-load",
        "webhook answered at the edge under load, worst p95 of a minute",
        BELOW_A_SECOND,
        WEBHOOK_P95_UNDER_LOAD,
    ),
    metrics(
        "w3-process-p95-load",
        "receipt to ticket under load, p95",
        (Target::Below(30.0), Unit::Seconds),
        PROCESS_P95_UNDER_LOAD,
    ),
    Criterion {
        id: "w3-plan-by-phone",
        title: "sequential scans in the plan of a look-up by phone number",
        target: Target::AtMost(0.0),
        unit: Unit::Count,
        source: Source::Plan(LOOK_UP_BY_PHONE),
    },
    Criterion {
        id: "w3-index-used",
        title: "uses of that index since the snapshot",
        target: Target::AtLeast(1.0),
        unit: Unit::Count,
        source: Source::Usage(INDEX_USAGE),
    },
    database(
        "w3-reconciliation-time",
        "reconciliation, the longest run",
        (Target::Below(1800.0), Unit::Seconds),
        RECONCILIATION_SECONDS,
    ),
    metrics(
        "w3-memory",
        "memory of a core, most in 7 days",
        (Target::Below(256e6), Unit::Bytes),
        MEMORY,
    ),
    metrics(
        "w3-breaker",
        "circuit breaker now (0 closed, 1 half-open, 2 open)",
        NONE,
        BREAKER,
    ),
    cases(
        "w3-chaos",
        "TC-014-001 to -015: four layers recover",
        1.0,
        CHAOS_CASES,
    ),
    cases(
        "w3-breaker-cases",
        "TC-013-003 to -005: the breaker opens and closes",
        1.0,
        BREAKER_CASES,
    ),
    cases(
        "w3-rollback-cases",
        "each migration goes down and up again",
        1.0,
        &["ROLLBACK"],
    ),
    record(
        "w3-rollback-drill",
        "rollback drill of a service, until it was well again",
        (Target::AtMost(15.0), Unit::Minutes),
        "rollback-drill",
    ),
    yes(
        "w3-metrics-retention",
        "Prometheus keeps metrics for long enough",
        "metrics-retention",
    ),
];

const W4: &[Criterion] = &[
    earlier("w4-after-w1", "criteria of w1 that are not met", Wave::W1),
    earlier("w4-after-w2", "criteria of w2 that are not met", Wave::W2),
    earlier("w4-after-w3", "criteria of w3 that are not met", Wave::W3),
    database(
        "w4-kpi-latency",
        "KPI: receipt to ticket, p95 since the start",
        (Target::AtMost(30.0), Unit::Seconds),
        process_p95!("$2::text::timestamptz"),
    ),
    database(
        "w4-kpi-first-response",
        "KPI: until somebody takes a ticket up, p95",
        (Target::AtMost(1800.0), Unit::Seconds),
        FIRST_RESPONSE_P95,
    ),
    database(
        "w4-kpi-auto-assign",
        "KPI: tickets assigned automatically",
        (Target::AtLeast(0.9), Unit::Share),
        of_tickets!("automatically"),
    ),
    database(
        "w4-auto-assign-right",
        "tickets assigned automatically and left there",
        (Target::AtLeast(0.9), Unit::Share),
        of_tickets!("automatically and not by_hand"),
    ),
    database(
        "w4-kpi-success-rate",
        "KPI: events that were processed, since the start",
        SUCCESS,
        success_rate!("$2::text::timestamptz"),
    ),
    database_now(
        "w4-kpi-zero-miss",
        "KPI: records found missing, last 24 h",
        NONE,
        MISSING_IN_A_DAY,
    ),
    database(
        "w4-missing-per-day",
        "records found missing, worst day",
        (Target::Below(5.0), Unit::Count),
        MISSING_PER_DAY,
    ),
    database(
        "w4-no-suspension",
        "suspensions by Pancake",
        NONE,
        SUSPENSIONS,
    ),
    record(
        "w4-manager-survey",
        "managers who copy no leads by hand any more (13 of 15)",
        (Target::AtLeast(13.0 / 15.0), Unit::Share),
        "manager-survey",
    ),
    record(
        "w4-telesale-survey",
        "telesales' survey, 5 answers or more",
        FOUR_OF_FIVE,
        "telesale-survey-w4",
    ),
    yes(
        "w4-signatures",
        "PD-001: signatures are enforced, or waived",
        "pd1-signatures",
    ),
    yes(
        "w4-addresses",
        "PD-002: addresses are enforced, or waived",
        "pd2-addresses",
    ),
    yes(
        "w4-consent-key",
        "PD-003: the key of marketing consent is confirmed",
        "pd3-consent-key",
    ),
    record(
        "w4-dashboards",
        "dashboards were stable for so many days",
        (Target::AtLeast(7.0), Unit::Days),
        "dashboards-stable",
    ),
    yes(
        "w4-documentation",
        "the documentation is published",
        "documentation",
    ),
    yes(
        "w4-sign-off-business",
        "sign-off: product owner",
        "sign-off-business",
    ),
    yes(
        "w4-sign-off-engineering",
        "sign-off: tech lead",
        "sign-off-engineering",
    ),
    yes("w4-sign-off-qa", "sign-off: QA lead", "sign-off-qa"),
    yes(
        "w4-sign-off-operations",
        "sign-off: DevOps lead",
        "sign-off-operations",
    ),
    yes(
        "w4-sign-off-security",
        "sign-off: security lead",
        "sign-off-security",
    ),
    yes(
        "w4-sign-off-compliance",
        "sign-off: compliance",
        "sign-off-compliance",
    ),
    yes(
        "w4-sign-off-director",
        "sign-off: director",
        "sign-off-director",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::gate::{cases, items};

    #[test]
    fn each_criterion_has_its_own_id_which_names_its_wave() {
        let mut seen = BTreeSet::new();
        for wave in Wave::ALL {
            for criterion in of_wave(wave) {
                assert!(seen.insert(criterion.id), "{}", criterion.id);
                assert!(criterion.id.starts_with(&format!("{wave}-")));
                assert!(!criterion.title.is_empty());
            }
        }
        assert_eq!(seen.len(), all().count());
    }

    #[test]
    fn each_item_and_case_that_is_named_is_there() {
        let known = cases::shipped().unwrap();
        for criterion in all() {
            match criterion.source {
                Source::Record(item) => assert!(items::find(item).is_some(), "{item}"),
                Source::Cases(cases) => {
                    for case in cases {
                        assert!(known.contains_key(*case), "docs/test-cases.md lacks {case}");
                    }
                }
                _ => {}
            }
        }
    }

    #[test]
    fn each_wave_needs_all_before_it() {
        for wave in Wave::ALL {
            let earlier: Vec<_> = of_wave(wave)
                .filter_map(|criterion| match criterion.source {
                    Source::Earlier(wave) => Some(wave),
                    _ => None,
                })
                .collect();
            assert_eq!(earlier, wave.earlier().collect::<Vec<_>>());
        }
    }

    #[test]
    fn statements_only_read() {
        for criterion in all() {
            if let Source::Database { sql, .. } | Source::Plan(sql) | Source::Usage(sql) =
                criterion.source
            {
                let first = sql.split_whitespace().next().unwrap();
                assert!(["select", "with", "explain"].contains(&first), "{sql}");
                assert!(sql.contains("$1") || sql == SERVER_VERSION, "{sql}");
            }
        }
    }
}
