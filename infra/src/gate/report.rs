//! Findings as people and programs read them.

use serde_json::{Value, json};

use crate::gate::criteria::{Criterion, Source, Target, Unit};
use crate::gate::records::Records;
use crate::gate::{Finding, Verdict, Wave, is_passed};

/// How a criterion's figure was asked for, with everything filled in: where from, and the very question.
#[derive(Debug, Clone)]
pub struct Query {
    /// `database`, `prometheus`, `tests`, `record` or `gate`.
    pub source: &'static str,
    /// SQL, `PromQL`, or what else was looked at.
    pub text: String,
}

/// The query behind a criterion. `promql` makes one of a question to Prometheus.
#[must_use]
pub fn query_of(criterion: &Criterion, promql: impl Fn(&Criterion) -> String) -> Query {
    let (source, text) = match criterion.source {
        Source::Database { sql, .. } | Source::Plan(sql) | Source::Usage(sql) => {
            ("database", sql.to_owned())
        }
        Source::Metrics(_) => ("prometheus", promql(criterion)),
        Source::Cases(cases) => ("tests", format!("docs/test-cases.md: {}", cases.join(" "))),
        Source::Record(item) => ("record", item.to_owned()),
        Source::Earlier(wave) => ("gate", format!("smpctl gate {wave}")),
    };
    Query { source, text }
}

/// The findings as a table with a line that sums them up; with `explain` each is followed by its query.
#[must_use]
pub fn table(
    wave: Wave,
    country: &str,
    findings: &[Finding],
    explain: Option<&dyn Fn(&Criterion) -> Query>,
) -> String {
    let mut lines = vec![format!(
        "{:<9}  {:<24} {:>12} {:>12}  WHAT",
        "VERDICT", "CRITERION", "FIGURE", "TARGET"
    )];
    for finding in findings {
        let Criterion {
            id,
            title,
            target,
            unit,
            ..
        } = finding.criterion;
        let figure = finding
            .figure
            .map_or_else(|| "-".to_owned(), |it| show(*unit, it));
        let verdict = finding.verdict.as_str();
        let detail = if finding.detail.is_empty() {
            String::new()
        } else {
            format!(" ({})", finding.detail)
        };
        lines.push(format!(
            "{verdict:<9}  {id:<24} {figure:>12} {:>12}  {title}{detail}",
            show_target(*target, *unit)
        ));
        if let Some(query) = explain.map(|query_of| query_of(finding.criterion)) {
            lines.push(format!("    {}:", query.source));
            lines.extend(query.text.lines().map(|line| format!("      {line}")));
        }
    }
    lines.push(summary(wave, country, findings));
    lines.join("\n") + "\n"
}

fn count(findings: &[Finding], verdict: Verdict) -> usize {
    findings
        .iter()
        .filter(|finding| finding.verdict == verdict)
        .count()
}

fn summary(wave: Wave, country: &str, findings: &[Finding]) -> String {
    let [passed, failed, unknown] =
        [Verdict::Pass, Verdict::Fail, Verdict::NotKnown].map(|verdict| count(findings, verdict));
    let state = if is_passed(findings) {
        "passed"
    } else {
        "NOT passed"
    };
    format!("{wave} of {country} is {state}: {passed} pass, {failed} fail, {unknown} are not known")
}

/// The findings for programs.
#[must_use]
pub fn to_json(
    wave: Wave,
    country: &str,
    findings: &[Finding],
    query_of: &dyn Fn(&Criterion) -> Query,
) -> Value {
    let criteria: Vec<_> = findings
        .iter()
        .map(|finding| {
            let criterion = finding.criterion;
            let query = query_of(criterion);
            json!({
                "id": criterion.id,
                "title": criterion.title,
                "verdict": match finding.verdict {
                    Verdict::Pass => "pass",
                    Verdict::Fail => "fail",
                    Verdict::NotKnown => "not_known",
                },
                "figure": finding.figure,
                "target": show_target(criterion.target, criterion.unit),
                "detail": finding.detail,
                "source": query.source,
                "query": query.text,
            })
        })
        .collect();
    json!({
        "wave": wave.to_string(),
        "country": country,
        "passed": is_passed(findings),
        "criteria": criteria,
    })
}

/// All records as a table, the file's order kept; `*` marks those that count.
#[must_use]
pub fn records_table(records: &Records) -> String {
    let mut lines = vec![format!(
        "  {:<22} {:<24} {:<16} {:<20} NOTE",
        "ITEM", "VALUE", "BY", "AT"
    )];
    for record in records.all() {
        let counts = records
            .latest(&record.item)
            .is_some_and(|latest| std::ptr::eq(latest, record));
        let waiver = if record.waiver { "waiver: " } else { "" };
        let line = format!(
            "{} {:<22} {:<24} {:<16} {:<20} {waiver}{}",
            if counts { '*' } else { ' ' },
            record.item,
            record.value,
            record.by,
            record.at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            record.note.as_deref().unwrap_or_default(),
        );
        lines.push(line.trim_end().to_owned());
    }
    lines.join("\n") + "\n"
}

fn show_target(target: Target, unit: Unit) -> String {
    match (target, unit) {
        (Target::AtLeast(_), Unit::YesNo) => "yes".to_owned(),
        (Target::AtLeast(bound), _) => format!(">= {}", show(unit, bound)),
        (Target::AtMost(0.0), Unit::Count) => "0".to_owned(),
        (Target::AtMost(bound), _) => format!("<= {}", show(unit, bound)),
        (Target::Below(bound), _) => format!("< {}", show(unit, bound)),
        (Target::Any, _) => "known".to_owned(),
    }
}

/// With as many digits as tell it from its target.
fn show(unit: Unit, figure: f64) -> String {
    match unit {
        Unit::Share => format!("{} %", plain(figure * 100.0)),
        Unit::Seconds if figure >= 120.0 => format!("{} min", plain(figure / 60.0)),
        Unit::Seconds => format!("{} s", plain(figure)),
        Unit::Bytes => format!("{} MB", plain(figure / 1e6)),
        Unit::Count | Unit::Score => plain(figure),
        Unit::PerSecond => format!("{}/s", plain(figure)),
        Unit::Minutes => format!("{} min", plain(figure)),
        Unit::Days => format!("{} d", plain(figure)),
        Unit::YesNo if figure > 0.0 => "yes".to_owned(),
        Unit::YesNo => "no".to_owned(),
    }
}

/// Three decimals at most, and none that say nothing.
fn plain(figure: f64) -> String {
    let text = format!("{figure:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{Facts, Reading, evaluate};

    #[test]
    fn figures_are_shown_so_that_they_can_be_told_from_their_targets() {
        assert_eq!(show(Unit::Share, 0.994_99), "99.499 %");
        assert_eq!(
            show_target(Target::AtLeast(0.995), Unit::Share),
            ">= 99.5 %"
        );
        assert_eq!(
            show_target(Target::AtLeast(13.0 / 15.0), Unit::Share),
            ">= 86.667 %"
        );
        assert_eq!(show(Unit::Seconds, 0.0421), "0.042 s");
        assert_eq!(
            show_target(Target::AtMost(1800.0), Unit::Seconds),
            "<= 30 min"
        );
        assert_eq!(show_target(Target::Below(256e6), Unit::Bytes), "< 256 MB");
        assert_eq!(show_target(Target::AtMost(0.0), Unit::Count), "0");
        assert_eq!(show_target(Target::AtLeast(1.0), Unit::YesNo), "yes");
        assert_eq!(show(Unit::Count, 100.0), "100");
        assert_eq!(show(Unit::Count, 0.0), "0");
    }

    #[test]
    fn the_table_has_a_line_a_criterion_its_query_where_asked_and_a_sum() {
        let mut facts = Facts::default();
        let reading = Reading::known(0.99, "99 of 100 events");
        facts.readings.insert("w1-success-rate", reading);
        let findings = evaluate(Wave::W1, &facts);
        let short = table(Wave::W1, "VN", &findings, None);
        let line = short
            .lines()
            .find(|line| line.contains("w1-success-rate"))
            .unwrap();
        assert!(line.starts_with("FAIL "), "{line}");
        assert!(line.contains("99 %") && line.contains(">= 99.5 %"));
        assert!(line.ends_with("(99 of 100 events)"));
        assert!(!short.contains("select count(*)"));
        assert!(short.ends_with("w1 of VN is NOT passed: 0 pass, 1 fail, 20 are not known\n"));
        let query = |criterion: &Criterion| query_of(criterion, |_| "up".to_owned());
        let long = table(Wave::W1, "VN", &findings, Some(&query));
        assert!(long.contains("select count(*)"));
        let json = to_json(Wave::W1, "VN", &findings, &query);
        assert_eq!(json["passed"], false);
        let criteria = json["criteria"].as_array().unwrap();
        assert_eq!(criteria.len(), findings.len());
        assert!(criteria.iter().all(|it| it["query"] != ""));
    }
}
