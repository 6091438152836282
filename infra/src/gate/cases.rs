//! Test cases as the pilot names them, the tests behind each (`docs/test-cases.md`), and what a run of them said.

use std::collections::BTreeMap;

use crate::gate::Reading;

/// The document, as it was when this was built.
const DOCUMENT: &str = include_str!("../../../docs/test-cases.md");

/// A test: where its target's sources are, and its full name there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Test {
    /// A folder, from the root of the sources.
    pub sources: String,
    /// As `cargo test` prints it.
    pub name: String,
}

/// What a run said of each test, by name. A test that ran twice passed if it passed each time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Results(BTreeMap<String, Outcome>);

/// What a run said of a test; the worst is the largest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Ok,
    Ignored,
    Failed,
}

/// The document that is compiled in: each case's tests.
pub fn shipped() -> Result<BTreeMap<String, Vec<Test>>, String> {
    parse(DOCUMENT)
}

/// Reads a document: of each table the rows whose first cell is a name in backticks, and of their last cell each
/// `sources: name`.
pub fn parse(document: &str) -> Result<BTreeMap<String, Vec<Test>>, String> {
    let mut cases = BTreeMap::new();
    for line in document.lines() {
        let Some(row) = line.trim().strip_prefix('|') else {
            continue;
        };
        let cells: Vec<_> = row
            .trim_end_matches('|')
            .split('|')
            .map(str::trim)
            .collect();
        let Some((first, rest)) = cells.split_first() else {
            continue;
        };
        let Some(case) = first
            .strip_prefix('`')
            .and_then(|case| case.strip_suffix('`'))
        else {
            continue;
        };
        let tests = quoted(rest.last().unwrap_or(&""))
            .map(|test| {
                let (sources, name) = test
                    .split_once(": ")
                    .ok_or_else(|| format!("{case}: `{test}` is no `sources: name`"))?;
                Ok(Test {
                    sources: sources.to_owned(),
                    name: name.to_owned(),
                })
            })
            .collect::<Result<Vec<_>, String>>()?;
        if tests.is_empty() {
            return Err(format!("{case}: no test"));
        }
        if cases.insert(case.to_owned(), tests).is_some() {
            return Err(format!("{case}: it is there twice"));
        }
    }
    Ok(cases)
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

impl Results {
    /// Reads the output of `cargo test`, whatever else stands in it. Fails if there is no test in it.
    pub fn parse(output: &str) -> Result<Self, String> {
        let mut results: BTreeMap<String, Outcome> = BTreeMap::new();
        for line in output.lines() {
            let line = without_colours(line);
            let Some((name, said)) = line
                .trim()
                .strip_prefix("test ")
                .and_then(|rest| rest.split_once(" ... "))
            else {
                continue;
            };
            let name = name.split(" - ").next().unwrap_or(name);
            // `ignored, minutes: for make soak`
            let outcome = match said.split([',', ' ']).next() {
                Some("ok") => Outcome::Ok,
                Some("ignored") => Outcome::Ignored,
                _ => Outcome::Failed,
            };
            results
                .entry(name.to_owned())
                .and_modify(|before| *before = (*before).max(outcome))
                .or_insert(outcome);
        }
        if results.is_empty() {
            return Err(
                "no 'test NAME ... ok' in it: keep the output of 'make test 2>&1'".to_owned(),
            );
        }
        Ok(Self(results))
    }
}

/// A line without the terminal's colours.
fn without_colours(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let rest = part.split_once('m').map_or("", |(_, rest)| rest);
        text + rest
    })
}

/// The share of cases that passed. Not known while of one nobody knows and none failed.
#[must_use]
pub fn reading_of_cases(cases: &[&str], results: &Results) -> Reading {
    match shipped() {
        Ok(known) => share(cases, &known, results),
        Err(mistake) => Reading::unknown(format!("docs/test-cases.md: {mistake}")),
    }
}

fn share(cases: &[&str], known: &BTreeMap<String, Vec<Test>>, results: &Results) -> Reading {
    let (mut passed, mut failed, mut unknown) = (0_u32, Vec::new(), Vec::new());
    for case in cases {
        let tests = known.get(*case).map(Vec::as_slice).unwrap_or_default();
        let mut outcomes = tests
            .iter()
            .map(|test| (test, results.0.get(&test.name).copied()));
        if let Some((test, _)) = outcomes.clone().find(|it| it.1 == Some(Outcome::Failed)) {
            failed.push(format!("{case} failed: {}", test.name));
        } else if let Some((test, outcome)) = outcomes.find(|it| it.1 != Some(Outcome::Ok)) {
            let why = outcome.map_or("was not run", |_| "was ignored");
            unknown.push(format!("{case}: {} {why}", test.name));
        } else if tests.is_empty() {
            unknown.push(format!("{case}: no test"));
        } else {
            passed += 1;
        }
    }
    if !unknown.is_empty() && failed.is_empty() {
        return Reading::Unknown(unknown.join("; "));
    }
    let all = u32::try_from(cases.len()).unwrap_or(u32::MAX);
    failed.extend(unknown);
    let detail = if failed.is_empty() {
        format!("{passed} of {all} cases")
    } else {
        format!("{passed} of {all} cases; {}", failed.join("; "))
    };
    Reading::known(f64::from(passed) / f64::from(all), detail)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    const TABLE: &str = "| case | what | tests |\n|---|---|---|\n\
        | `A` | a | `x/tests: m::one`, `x/tests: m::two` |\n| `B` | b | `x/src: three` |\n";

    fn reading(output: &str) -> Reading {
        let results = Results::parse(output).unwrap();
        share(&["A", "B"], &parse(TABLE).unwrap(), &results)
    }

    #[test]
    fn a_case_passes_if_all_its_tests_are_ok() {
        let ok = "test m::one ... ok\ntest m::two ... \u{1b}[32mok\u{1b}[m\ntest three ... ok\n";
        assert_eq!(reading(ok), Reading::known(1.0, "2 of 2 cases"));
        let Reading::Known { figure, detail } =
            reading(&ok.replace("three ... ok", "three ... FAILED"))
        else {
            panic!("it is known")
        };
        assert!((figure - 0.5).abs() < 1e-9);
        assert!(detail.contains("B failed: three"));
    }

    #[test]
    fn what_was_not_run_is_not_known() {
        let ran = "   Running tests/main.rs\ntest m::one ... ok\ntest m::two ... ignored, minutes\ntest three ... ok";
        assert_eq!(reading(ran), Reading::unknown("A: m::two was ignored"));
        assert_eq!(
            reading("test m::one ... ok\ntest m::two ... ok"),
            Reading::unknown("B: three was not run")
        );
        // What failed is told, whatever else is not known.
        let failed = reading("test m::one ... FAILED");
        assert!(matches!(failed, Reading::Known { figure, .. } if figure == 0.0));
    }

    #[test]
    fn of_two_runs_the_worse_counts() {
        let twice = "test m::one ... ok\ntest m::one ... FAILED\ntest m::one ... ok\ntest m::two ... ok\ntest three ... ok";
        assert!(matches!(reading(twice), Reading::Known { figure, .. } if figure < 1.0));
    }

    #[test]
    fn a_report_without_tests_and_a_broken_table_are_mistakes() {
        assert!(Results::parse("error: could not compile").is_err());
        assert!(parse("| `A` | a | |").unwrap_err().contains("no test"));
        assert!(parse("| `A` | a | `one` |").is_err());
        let twice = "| `A` | a | `x: y` |\n| `A` | a | `x: y` |";
        assert!(parse(twice).unwrap_err().contains("twice"));
    }

    #[test]
    fn each_test_that_the_document_names_is_in_the_sources() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut lacking = Vec::new();
        for (case, tests) in shipped().unwrap() {
            for test in tests {
                let mut path: Vec<_> = test.name.split("::").collect();
                let function = path.pop().unwrap();
                if path.last() == Some(&"tests") {
                    path.pop();
                }
                let folder = root.join(&test.sources);
                let module = folder.join(path.join("/"));
                let files = [module.with_extension("rs"), module.join("mod.rs")];
                let is_there = files.iter().any(|file| {
                    let text = fs::read_to_string(file).unwrap_or_default();
                    text.contains(&format!("fn {function}("))
                });
                if !is_there {
                    lacking.push(format!("{case}: {}: {}", test.sources, test.name));
                }
            }
        }
        assert!(lacking.is_empty(), "{lacking:#?}");
    }
}
