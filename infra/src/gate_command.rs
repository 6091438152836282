//! `smpctl gate`: what a wave of the pilot has to show before the next one begins.

mod database;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use infra::gate::cases::Results;
use infra::gate::criteria::{Criterion, Question, Source, needed_by};
use infra::gate::items::{self, INDEX_SNAPSHOT, Item, PILOT_START};
use infra::gate::metrics::{self, Load};
use infra::gate::records::{Record, Records, heading};
use infra::gate::report::{Query, query_of, records_table, table, to_json};
use infra::gate::{Facts, Reading, Wave, evaluate, is_passed};
use infra::registry;
use jiff::Timestamp;
use protocol::Country;
use serde_json::json;

use crate::edge_command::{from_environment, read_secret};
use crate::print_or_fail;
use database::{Asked, Database};

/// Whose pilot, and where it is written down.
#[derive(Args)]
pub(crate) struct Pilot {
    /// Whose pilot.
    #[arg(long, global = true)]
    country: Option<Country>,
    /// The file of what people wrote down; else infra/gates/ with the country's code and .toml.
    #[arg(long, global = true, value_name = "FILE")]
    records: Option<PathBuf>,
    /// Print JSON in place of the table.
    #[arg(long, global = true)]
    json: bool,
}

/// Which database.
#[derive(Args)]
#[expect(
    clippy::doc_markdown,
    reason = "the text of --help, which shows backticks as they are"
)]
pub(crate) struct DatabaseUrl {
    /// The file that holds the URL of the region's database, of a role that sees all of the country (core_app does);
    /// else the environment's SMP_DATABASE_URL. Nothing is written there.
    #[arg(long, value_name = "FILE")]
    database_url_file: Option<PathBuf>,
}

/// Where figures come from. What is not given is not known, and that counts as not met.
#[derive(Args)]
pub(crate) struct Sources {
    #[command(flatten)]
    database: DatabaseUrl,
    /// When the pilot began, RFC 3339 with an offset; else what was recorded as pilot-start.
    #[arg(long, value_name = "MOMENT")]
    since: Option<Timestamp>,
    /// Prometheus's address, below which /api/v1/query is.
    #[arg(long, value_name = "URL")]
    prometheus: Option<String>,
    /// The region whose metrics; else the one of the registry that has the country.
    #[arg(long)]
    region: Option<protocol::RegionId>,
    /// The folder of the region registry.
    #[arg(long, default_value = "infra/regions")]
    regions: PathBuf,
    /// When the load test began, RFC 3339 with an offset.
    #[arg(long, value_name = "MOMENT", requires = "load_to")]
    load_from: Option<Timestamp>,
    /// When it ended.
    #[arg(long, value_name = "MOMENT", requires = "load_from")]
    load_to: Option<Timestamp>,
    /// The output of 'make test 2>&1'.
    #[arg(long, value_name = "FILE")]
    test_report: Option<PathBuf>,
    /// Show the query behind each figure.
    #[arg(long)]
    explain: bool,
}

#[derive(Subcommand)]
pub(crate) enum Action {
    /// After one source: may the second wave begin?
    #[command(after_help = "Example:\n  \
        smpctl gate w1 --country VN --prometheus http://prometheus:9090 --test-report test-report.txt")]
    W1(Sources),
    /// After five sources: may the third wave begin?
    #[command(after_help = "Example:\n  \
        smpctl gate w2 --country VN --since 2026-05-28T00:00:00+07:00 --explain")]
    W2(Sources),
    /// After fifteen sources and a load test: may the fourth wave begin?
    #[command(after_help = "Example:\n  \
        smpctl gate w3 --country VN --prometheus http://prometheus:9090 \\\n    \
        --load-from 2026-06-15T22:00:00+07:00 --load-to 2026-06-15T22:10:00+07:00")]
    W3(Sources),
    /// After all sources: is the pilot over?
    #[command(
        after_help = "Example:\n  smpctl gate w4 --country VN --json | jq '.criteria[] | select(.verdict != \"pass\")'"
    )]
    W4(Sources),
    /// Write down what people found out or decided. Nothing is overwritten: the latest counts.
    #[command(after_help = "Examples:\n  \
        smpctl gate record telesale-survey-w1 --country VN --value '4.3 from 5' --by Anna\n  \
        smpctl gate record pd1-signatures --country VN --value no-answer --waiver --by Sam \\\n    \
        --note 'the security lead accepts the risk until Pancake answers'\n  \
        smpctl gate items")]
    Record {
        /// What: 'smpctl gate items' lists them.
        item: String,
        /// What was found, in the item's form.
        #[arg(long, allow_hyphen_values = true)]
        value: String,
        /// Who writes it down: a name, nothing more.
        #[arg(long)]
        by: String,
        /// What else is to be known, in a line without personal data.
        #[arg(long)]
        note: Option<String>,
        /// It is done without; the note says who decided that and why.
        #[arg(long, requires = "note")]
        waiver: bool,
    },
    /// What was written down so far.
    #[command(after_help = "Example:\n  smpctl gate records --country VN")]
    Records,
    /// What can be written down, and in which form.
    Items,
    /// Write down how often the index of phone numbers was used until now. The third wave's gate counts from there.
    #[command(after_help = "Example:\n  smpctl gate snapshot --country VN --by Anna")]
    Snapshot {
        #[command(flatten)]
        database: DatabaseUrl,
        /// Who writes it down.
        #[arg(long)]
        by: String,
    },
    /// Ask on a terminal for what a gate needs to have written down and has not.
    #[command(after_help = "Example:\n  smpctl gate ask w1 --country VN --by Anna")]
    Ask {
        /// w1, w2, w3 or w4.
        #[arg(value_parser = wave)]
        wave: Wave,
        /// Who answers.
        #[arg(long)]
        by: String,
    },
}

/// Runs one of them.
pub(crate) fn run(action: Action, pilot: &Pilot) -> ExitCode {
    match act(action, pilot) {
        Ok((text, is_well)) => {
            let printed = print_or_fail(Ok(text));
            if is_well { printed } else { ExitCode::FAILURE }
        }
        Err(mistake) => print_or_fail(Err(mistake)),
    }
}

fn wave(name: &str) -> Result<Wave, String> {
    Wave::ALL
        .into_iter()
        .find(|wave| wave.to_string() == name)
        .ok_or_else(|| "w1, w2, w3 or w4 is expected".to_owned())
}

/// What to print, and whether all is well.
fn act(action: Action, pilot: &Pilot) -> Result<(String, bool), String> {
    if matches!(action, Action::Items) {
        return Ok((items_text(pilot.json), true));
    }
    let country = pilot.country.ok_or("whose pilot? --country says it")?;
    let file = pilot.file(country);
    match action {
        Action::W1(sources) => check(Wave::W1, country, &sources, pilot),
        Action::W2(sources) => check(Wave::W2, country, &sources, pilot),
        Action::W3(sources) => check(Wave::W3, country, &sources, pilot),
        Action::W4(sources) => check(Wave::W4, country, &sources, pilot),
        Action::Record {
            item,
            value,
            by,
            note,
            waiver,
        } => {
            let said = (item.as_str(), value.as_str());
            let record = Record::new(said, &by, Timestamp::now(), note.as_deref(), waiver)?;
            append(&file, country, &record)?;
            Ok((format!("{item} is in {}\n", file.display()), true))
        }
        Action::Records => {
            let records = read_records(&file)?;
            let text = if pilot.json {
                format!("{:#}\n", json!(records.all()))
            } else {
                records_table(&records)
            };
            Ok((text, true))
        }
        Action::Snapshot { database, by } => {
            let records = read_records(&file)?;
            let asked = Asked {
                country: country.as_str(),
                since: None,
                now: Timestamp::now(),
                records: &records,
            };
            let url = database.url()?.ok_or_else(no_database)?;
            let usage = Database::connect(&url)?.usage(&asked)?;
            let record = Record::new((INDEX_SNAPSHOT, &usage), &by, asked.now, None, false)?;
            append(&file, country, &record)?;
            Ok((format!("{usage}: in {}\n", file.display()), true))
        }
        Action::Ask { wave, by } => {
            let missing = missing(wave, &read_records(&file)?);
            let stdin = std::io::stdin();
            if !stdin.is_terminal() {
                return Ok((missing_text(&missing, country), missing.is_empty()));
            }
            let mut stdout = std::io::stdout();
            let left = ask(&missing, &by, &mut stdin.lock(), &mut stdout, |record| {
                append(&file, country, record)
            })?;
            let text = match left {
                0 => format!("{wave} lacks nothing that people have to write down\n"),
                left => format!("{left} are left\n"),
            };
            Ok((text, left == 0))
        }
        Action::Items => Err("nothing to do".to_owned()),
    }
}

impl Pilot {
    fn file(&self, country: Country) -> PathBuf {
        let default = || Path::new("infra/gates").join(format!("{country}.toml"));
        self.records.clone().unwrap_or_else(default)
    }
}

impl DatabaseUrl {
    fn url(&self) -> Result<Option<String>, String> {
        match &self.database_url_file {
            Some(path) => read_secret(path).map(Some),
            None => Ok(from_environment("SMP_DATABASE_URL")),
        }
    }
}

fn no_database() -> String {
    "which database? --database-url-file or SMP_DATABASE_URL says it".to_owned()
}

fn check(
    wave: Wave,
    country: Country,
    sources: &Sources,
    pilot: &Pilot,
) -> Result<(String, bool), String> {
    let records = read_records(&pilot.file(country))?;
    let tests = match &sources.test_report {
        Some(path) => {
            let in_file = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
            // What a test printed may be anything.
            let output = fs::read(path).map_err(|error| in_file(&error))?;
            let results = Results::parse(&String::from_utf8_lossy(&output));
            Some(results.map_err(|error| in_file(&error))?)
        }
        None => None,
    };
    let mut readings = from_database(wave, country, sources, &records)?;
    readings.extend(from_metrics(wave, country, sources));
    let facts = Facts {
        readings,
        tests,
        records,
    };
    let findings = evaluate(wave, &facts);
    let query = |criterion: &Criterion| query_of(criterion, |it| sources.promql(it, country));
    let text = if pilot.json {
        format!("{:#}\n", to_json(wave, country.as_str(), &findings, &query))
    } else {
        let explain: Option<&dyn Fn(&Criterion) -> Query> =
            if sources.explain { Some(&query) } else { None };
        table(wave, country.as_str(), &findings, explain)
    };
    Ok((text, is_passed(&findings)))
}

fn from_database(
    wave: Wave,
    country: Country,
    sources: &Sources,
    records: &Records,
) -> Result<BTreeMap<&'static str, Reading>, String> {
    let asks_it = |criterion: &&Criterion| {
        matches!(
            criterion.source,
            Source::Database { .. } | Source::Plan(_) | Source::Usage(_)
        )
    };
    let criteria = needed_by(wave).filter(asks_it);
    let recorded = || records.latest(PILOT_START)?.value.parse().ok();
    let asked = Asked {
        country: country.as_str(),
        since: sources.since.or_else(recorded),
        now: Timestamp::now(),
        records,
    };
    if asked.since.is_some_and(|since| since >= asked.now) {
        return Err("the pilot began in the future: --since or pilot-start says so".to_owned());
    }
    let Some(url) = sources.database.url()? else {
        let why = || Reading::Unknown(no_database());
        return Ok(criteria.map(|criterion| (criterion.id, why())).collect());
    };
    Ok(match Database::connect(&url) {
        Ok(mut database) => database.read(criteria, &asked),
        Err(why) => criteria
            .map(|criterion| (criterion.id, Reading::unknown(why.as_str())))
            .collect(),
    })
}

fn from_metrics(
    wave: Wave,
    country: Country,
    sources: &Sources,
) -> BTreeMap<&'static str, Reading> {
    let questions = needed_by(wave).filter_map(|criterion| match criterion.source {
        Source::Metrics(question) => Some((criterion.id, question)),
        _ => None,
    });
    let Some(prometheus) = &sources.prometheus else {
        let why = || Reading::unknown("give --prometheus URL");
        return questions.map(|(id, _)| (id, why())).collect();
    };
    questions
        .map(|(id, question)| {
            let reading = match sources.fill(question, country) {
                Ok(filled) => metrics::ask(prometheus, &filled),
                Err(why) => Reading::Unknown(why),
            };
            (id, reading)
        })
        .collect()
}

impl Sources {
    fn fill(&self, question: Question, country: Country) -> Result<metrics::Filled, String> {
        let region = match &self.region {
            Some(region) => region.to_string(),
            None => registry::survey(&self.regions)
                .regions
                .into_iter()
                .find(|region| region.countries.contains(&country))
                .map(|region| region.id.to_string())
                .ok_or_else(|| format!("no region has {country}: give --region or --regions"))?,
        };
        let load = self.load_from.zip(self.load_to);
        question.fill(&region, load.map(|(from, to)| Load { from, to }))
    }

    /// With what is lacking left as it stands in the table.
    fn promql(&self, criterion: &Criterion, country: Country) -> String {
        let Source::Metrics(question) = criterion.source else {
            return String::new();
        };
        match self.fill(question, country) {
            Ok(metrics::Filled {
                promql,
                at: Some(at),
            }) => format!("{promql} @ {at}"),
            Ok(filled) => filled.promql,
            Err(_) => question.promql.to_owned(),
        }
    }
}

/// What is not there yet is empty.
fn read_records(file: &Path) -> Result<Records, String> {
    match fs::read_to_string(file) {
        Ok(text) => Records::parse(&text)
            .map_err(|mistake| format!("{}: {mistake}: mend it by hand", file.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Records::default()),
        Err(error) => Err(format!("{}: {error}", file.display())),
    }
}

/// Adds a record to a file that can be read, with one write; makes the file where there is none.
fn append(file: &Path, country: Country, record: &Record) -> Result<(), String> {
    read_records(file)?;
    let in_file = |error: std::io::Error| format!("{}: {error}", file.display());
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(in_file)?;
    }
    let mut opened = OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)
        .map_err(in_file)?;
    // Two who write at once take turns.
    opened.lock().map_err(in_file)?;
    let mut text = record.to_toml()?;
    if opened.metadata().map_err(in_file)?.len() == 0 {
        text.insert_str(0, &heading(country.as_str()));
    }
    opened.write_all(text.as_bytes()).map_err(in_file)?;
    opened.sync_all().map_err(in_file)
}

/// What a wave, or one before it, needs to have written down and has not.
fn missing(wave: Wave, records: &Records) -> Vec<&'static Item> {
    let of_criteria = needed_by(wave).filter_map(|criterion| match criterion.source {
        Source::Record(item) => Some(item),
        Source::Usage(_) => Some(INDEX_SNAPSHOT),
        _ => None,
    });
    [PILOT_START]
        .into_iter()
        .chain(of_criteria)
        .filter(|name| records.latest(name).is_none())
        .filter_map(items::find)
        .collect()
}

fn missing_text(missing: &[&Item], country: Country) -> String {
    if missing.is_empty() {
        return "nothing is missing\n".to_owned();
    }
    let line = |item: &&Item| {
        format!(
            "{}\n  smpctl gate record {} --country {country} --by NAME --value …    # {}\n",
            item.question,
            item.name,
            item.kind.form()
        )
    };
    let lines: String = missing.iter().map(line).collect();
    lines + "no terminal: nobody can be asked\n"
}

/// Asks one by one, again where an answer cannot be read. Says how many were passed over.
fn ask(
    missing: &[&Item],
    by: &str,
    answers: &mut impl BufRead,
    questions: &mut impl Write,
    mut keep: impl FnMut(&Record) -> Result<(), String>,
) -> Result<usize, String> {
    let closed = |error: std::io::Error| error.to_string();
    let mut left = 0;
    for item in missing {
        loop {
            let form = item.kind.form();
            write!(questions, "{} ({form}; nothing = later)\n> ", item.question).map_err(closed)?;
            questions.flush().map_err(closed)?;
            let mut line = String::new();
            answers.read_line(&mut line).map_err(closed)?;
            if line.trim().is_empty() {
                left += 1;
                break;
            }
            match Record::new((item.name, &line), by, Timestamp::now(), None, false) {
                Ok(record) => {
                    keep(&record)?;
                    break;
                }
                Err(mistake) => writeln!(questions, "{mistake}").map_err(closed)?,
            }
        }
    }
    Ok(left)
}

fn items_text(as_json: bool) -> String {
    if as_json {
        let items: Vec<_> = items::ITEMS
            .iter()
            .map(|item| {
                json!({
                    "item": item.name,
                    "question": item.question,
                    "form": item.kind.form(),
                    "waived_by": item.waived_by,
                })
            })
            .collect();
        return format!("{:#}\n", json!(items));
    }
    let line = |item: &Item| {
        let waived = item
            .waived_by
            .map_or_else(String::new, |who| format!("; {who} may waive it"));
        let form = item.kind.form();
        format!("{:<22} {} ({form}{waived})\n", item.name, item.question)
    };
    items::ITEMS.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_asked_again_until_they_are_answered_or_passed_over() {
        let missing: Vec<_> = ["g1-requirements", "g2-design", "rollback-drill"]
            .into_iter()
            .map(|name| items::find(name).unwrap())
            .collect();
        let (mut told, mut kept) = (Vec::new(), Vec::new());
        let mut answers = "maybe\nyes\n\n12.5\n".as_bytes();
        let left = ask(&missing, "Anna", &mut answers, &mut told, |record| {
            kept.push((record.item.clone(), record.value.clone()));
            Ok(())
        });
        assert_eq!(left, Ok(1));
        let kept: Vec<_> = kept
            .iter()
            .map(|(item, value)| (&**item, &**value))
            .collect();
        assert_eq!(
            kept,
            [("g1-requirements", "yes"), ("rollback-drill", "12.5")]
        );
        assert!(
            String::from_utf8(told)
                .unwrap()
                .contains("yes or no is expected")
        );
    }

    #[test]
    fn an_end_of_the_input_passes_all_over() {
        let missing = missing(Wave::W1, &Records::default());
        let all = missing.len();
        let left = ask(
            &missing,
            "Anna",
            &mut "".as_bytes(),
            &mut Vec::new(),
            |_| Ok(()),
        );
        assert_eq!(left, Ok(all));
        assert!(missing.iter().any(|item| item.name == PILOT_START));
        assert!(
            missing_text(&missing, "VN".parse().unwrap())
                .contains("gate record g1-requirements --country VN")
        );
    }
}
