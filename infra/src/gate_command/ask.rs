//! Asks on a terminal for what people have not written down yet.

use std::io::{BufRead, IsTerminal as _, Write};

use infra::gate::Wave;
use infra::gate::criteria::{Source, needed_by};
use infra::gate::items::{self, INDEX_SNAPSHOT, Item, PILOT_START};
use infra::gate::records::{Record, Records};
use jiff::Timestamp;
use protocol::Country;
use serde_json::json;

use super::record_file::RecordFile;

/// What to print in the end, and whether nothing is left. Questions go to standard error.
pub(super) fn run(
    (wave, country): (Wave, Country),
    by: &str,
    file: &RecordFile,
    as_json: bool,
) -> Result<(String, bool), String> {
    let mut lacking = missing(wave, &file.read()?);
    let stdin = std::io::stdin();
    let is_terminal = stdin.is_terminal();
    if is_terminal {
        let mut stderr = std::io::stderr();
        ask(&lacking, by, &mut stdin.lock(), &mut stderr, |record| {
            file.append(record)
        })?;
        lacking = missing(wave, &file.read()?);
    }
    let text = match lacking.as_slice() {
        _ if as_json => {
            let missing: Vec<_> = lacking.iter().map(|item| entry(item, country)).collect();
            format!(
                "{:#}\n",
                json!({"wave": wave.to_string(), "missing": missing})
            )
        }
        [] => format!("{wave} lacks nothing that people have to write down\n"),
        left if is_terminal => format!("{} are left\n", left.len()),
        left => missing_text(left, country),
    };
    Ok((text, lacking.is_empty()))
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

fn command(item: &Item, country: Country) -> String {
    format!(
        "smpctl gate record {} --country {country} --by NAME --value …",
        item.name
    )
}

fn entry(item: &Item, country: Country) -> serde_json::Value {
    json!({
        "item": item.name,
        "question": item.question,
        "form": item.kind.form(),
        "command": command(item, country),
    })
}

fn missing_text(missing: &[&Item], country: Country) -> String {
    let line = |item: &&Item| {
        format!(
            "{}\n  {}    # {}\n",
            item.question,
            command(item, country),
            item.kind.form()
        )
    };
    let lines: String = missing.iter().map(line).collect();
    lines + "no terminal: nobody can be asked\n"
}

/// Asks one by one, again where an answer cannot be read, until the last one or the end of the input. Each answer is
/// kept before the next question.
fn ask(
    missing: &[&Item],
    by: &str,
    answers: &mut impl BufRead,
    questions: &mut impl Write,
    mut keep: impl FnMut(&Record) -> Result<(), String>,
) -> Result<(), String> {
    let closed = |error: std::io::Error| error.to_string();
    if !missing.is_empty() {
        writeln!(
            questions,
            "{} questions. Each answer is kept at once. Nothing: later. Ctrl-D: no more for now.\n",
            missing.len()
        )
        .map_err(closed)?;
    }
    for item in missing {
        loop {
            let form = item.kind.form();
            write!(questions, "{} ({form})\n> ", item.question).map_err(closed)?;
            questions.flush().map_err(closed)?;
            let mut line = String::new();
            if answers.read_line(&mut line).map_err(closed)? == 0 {
                return writeln!(questions).map_err(closed);
            }
            if line.trim().is_empty() {
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
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept of some answers, and what was said.
    fn answered(names: &[&str], answers: &str) -> (Vec<(String, String)>, String) {
        let missing: Vec<_> = names
            .iter()
            .map(|name| items::find(name).unwrap())
            .collect();
        let (mut told, mut kept) = (Vec::new(), Vec::new());
        // A slice of bytes is read to its end, as a terminal until Ctrl-D.
        let mut input = answers.as_bytes();
        ask(&missing, "Anna", &mut input, &mut told, |record| {
            kept.push((record.item.clone(), record.value.clone()));
            Ok(())
        })
        .unwrap();
        (kept, String::from_utf8(told).unwrap())
    }

    fn pair(item: &str, value: &str) -> (String, String) {
        (item.to_owned(), value.to_owned())
    }

    #[test]
    fn questions_are_asked_again_until_they_are_answered_or_passed_over() {
        let names = ["g1-requirements", "g2-design", "rollback-drill"];
        let (kept, told) = answered(&names, "maybe\nyes\n\n12.5\n");
        assert_eq!(
            kept,
            [
                pair("g1-requirements", "yes"),
                pair("rollback-drill", "12.5")
            ]
        );
        assert!(told.contains("yes or no is expected"));
    }

    #[test]
    fn an_end_of_the_input_ends_it_and_what_was_answered_is_kept() {
        let names = ["g1-requirements", "g2-design", "rollback-drill"];
        let (kept, told) = answered(&names, "yes\n");
        assert_eq!(kept, [pair("g1-requirements", "yes")]);
        assert!(told.contains("Ctrl-D"), "{told}");
        assert!(told.contains("(G-2)"), "{told}");
        assert!(!told.contains("drill"), "nobody is there to be asked");
    }

    #[test]
    fn what_is_missing_is_listed_with_the_command_that_writes_it_down() {
        let missing = missing(Wave::W1, &Records::default());
        assert!(missing.iter().any(|item| item.name == PILOT_START));
        let text = missing_text(&missing, "VN".parse().unwrap());
        assert!(text.contains("gate record g1-requirements --country VN"));
    }
}
