//! `smpctl gate`: what a wave of the pilot has to show before the next one begins.

mod ask;
mod database;
mod record_file;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use infra::check::region_of;
use infra::gate::cases::Results;
use infra::gate::criteria::{Criterion, Question, Source, needed_by};
use infra::gate::items::{self, INDEX_SNAPSHOT, Item, PILOT_START};
use infra::gate::metrics::{self, Load};
use infra::gate::records::{Record, Records};
use infra::gate::report::{Query, query_of, records_table, table, to_json};
use infra::gate::{Facts, Reading, Wave, evaluate, is_passed};
use infra::registry;
use jiff::Timestamp;
use protocol::{Country, RegionId};
use serde_json::json;

use crate::edge_command::{from_environment, read_secret};
use crate::print_or_fail;
use database::{Asked, Database};
use record_file::RecordFile;

/// Whose pilot, and where it is written down.
#[derive(Args)]
pub(crate) struct Pilot {
    /// Whose pilot.
    #[arg(long, global = true)]
    country: Option<Country>,
    /// The file of what people wrote down, in a folder that is there; else infra/gates/ with the country's code and
    /// .toml.
    #[arg(long, global = true, value_name = "FILE")]
    records: Option<PathBuf>,
    /// The folder of the region registry, which says what countries there are.
    #[arg(
        long,
        global = true,
        default_value = "infra/regions",
        value_name = "FOLDER"
    )]
    regions: PathBuf,
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
    region: Option<RegionId>,
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
#[command(after_help = "Examples:\n  \
    smpctl gate ask w1 --country VN --by Anna\n  \
    smpctl gate w1 --country VN --prometheus http://prometheus:9090 --test-report test-report.txt")]
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
    #[command(after_help = "Example:\n  smpctl gate items --json | jq -r '.[].item'")]
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
    ///
    /// Each answer is kept at once. An empty line passes a question over; Ctrl-D ends it. Without a terminal it only lists
    /// the questions. Exits with 1 while one is left.
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
    let country = pilot.country()?;
    let file = RecordFile::of(pilot.records.as_deref(), country)?;
    match action {
        Action::W1(sources) => check(Wave::W1, country, &file, (&sources, pilot)),
        Action::W2(sources) => check(Wave::W2, country, &file, (&sources, pilot)),
        Action::W3(sources) => check(Wave::W3, country, &file, (&sources, pilot)),
        Action::W4(sources) => check(Wave::W4, country, &file, (&sources, pilot)),
        Action::Record {
            item,
            value,
            by,
            note,
            waiver,
        } => {
            let said = (item.as_str(), value.as_str());
            let record = Record::new(said, &by, Timestamp::now(), note.as_deref(), waiver)?;
            file.append(&record)?;
            let text = format!("{item} is in {}\n", file.path().display());
            Ok((written(&file, &record, text, pilot.json), true))
        }
        Action::Records => {
            let records = file.read()?;
            let text = if pilot.json {
                format!("{:#}\n", json!(records.all()))
            } else {
                records_table(&records)
            };
            Ok((text, true))
        }
        Action::Snapshot { database, by } => {
            let records = file.read()?;
            let asked = Asked {
                country: country.as_str(),
                since: None,
                now: Timestamp::now(),
                records: &records,
            };
            let url = database.url()?.ok_or_else(no_database)?;
            let usage = Database::connect(&url)?.usage(&asked)?;
            let record = Record::new((INDEX_SNAPSHOT, &usage), &by, asked.now, None, false)?;
            file.append(&record)?;
            let text = format!("{usage}: in {}\n", file.path().display());
            Ok((written(&file, &record, text, pilot.json), true))
        }
        Action::Ask { wave, by } => ask::run((wave, country), &by, &file, pilot.json),
        Action::Items => Err("nothing to do".to_owned()),
    }
}

impl Pilot {
    /// Whose it is. One that no region has is a slip of the pen: of it, no figure would ever be found.
    fn country(&self) -> Result<Country, String> {
        let country = self.country.ok_or("whose pilot? --country says it")?;
        region_of(&registry::survey(&self.regions), country).map(|_| country)
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

/// What was written down, for whoever reads it.
fn written(file: &RecordFile, record: &Record, text: String, as_json: bool) -> String {
    if as_json {
        format!(
            "{:#}\n",
            json!({"file": file.path().display().to_string(), "record": record})
        )
    } else {
        text
    }
}

fn check(
    wave: Wave,
    country: Country,
    file: &RecordFile,
    (sources, pilot): (&Sources, &Pilot),
) -> Result<(String, bool), String> {
    let records = file.read()?;
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
    let region = match &sources.region {
        Some(region) => region.clone(),
        None => region_of(&registry::survey(&pilot.regions), country)?
            .id
            .clone(),
    };
    readings.extend(from_metrics(wave, &region, sources));
    let facts = Facts {
        readings,
        tests,
        records,
    };
    let findings = evaluate(wave, &facts);
    let query = |criterion: &Criterion| query_of(criterion, |it| sources.promql(it, &region));
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
    region: &RegionId,
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
            let reading = match sources.fill(question, region) {
                Ok(filled) => metrics::ask(prometheus, &filled),
                Err(why) => Reading::Unknown(why),
            };
            (id, reading)
        })
        .collect()
}

impl Sources {
    fn fill(&self, question: Question, region: &RegionId) -> Result<metrics::Filled, String> {
        let load = self.load_from.zip(self.load_to);
        question.fill(region.as_str(), load.map(|(from, to)| Load { from, to }))
    }

    /// With what is lacking left as it stands in the table.
    fn promql(&self, criterion: &Criterion, region: &RegionId) -> String {
        let Source::Metrics(question) = criterion.source else {
            return String::new();
        };
        match self.fill(question, region) {
            Ok(metrics::Filled {
                promql,
                at: Some(at),
            }) => format!("{promql} @ {at}"),
            Ok(filled) => filled.promql,
            Err(_) => question.promql.to_owned(),
        }
    }
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
