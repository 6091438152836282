//! What is printed of backups and restores.

use std::fmt::Write as _;
use std::path::Path;

use infra::backup::archive::{Header, Manifest};
use infra::backup::progress::thousands;
use infra::backup::reader::Verified;
use serde_json::{Value, json};

use super::backup::Done;
use super::load::not_empty;
use super::restore::{Outcome, Target};

pub(super) fn of_backup(done: &Done, as_json: bool) -> String {
    if as_json {
        let document = json!({
            "file": done.file,
            "bytes": done.bytes,
            "sha256": done.sha256,
            "took_ms": millis(done.took),
            "header": done.header,
            "manifest": done.manifest,
            "notes": done.notes,
        });
        return format!("{document:#}\n");
    }
    let mut text = head(&done.header);
    text += &contents(&done.manifest);
    for note in &done.notes {
        let _ = writeln!(text, "note: {note}");
    }
    let _ = writeln!(
        text,
        "{}: whole, {} bytes, SHA-256 {}, in {:.1} s",
        done.file.display(),
        thousands(done.bytes),
        done.sha256,
        done.took.as_secs_f64()
    );
    text
}

pub(super) fn of_file(file: &Path, verified: &Verified, as_json: bool) -> String {
    if as_json {
        return format!("{:#}\n", file_document(file, verified));
    }
    file_text(file, verified)
}

pub(super) fn of_restore(file: &Path, outcome: &Outcome, as_json: bool) -> String {
    let (state, mut advice) = said(outcome);
    if as_json {
        let (tables, differences) = match &outcome.target {
            Target::Used {
                tables,
                differences,
            } => (tables.as_slice(), differences.as_slice()),
            _ => Default::default(),
        };
        let tables: Vec<_> = tables
            .iter()
            .map(|(table, rows)| json!({"table": table.to_string(), "rows": rows}))
            .collect();
        let document = json!({
            "backup": file_document(file, &outcome.backup),
            "database": outcome.database,
            "found": state,
            "found_tables": tables,
            "differences": differences,
            "steps": outcome.steps,
            "restored": outcome.is_restored,
            "took_ms": millis(outcome.took),
        });
        return format!("{document:#}\n");
    }
    let mut text = file_text(file, &outcome.backup);
    let _ = writeln!(text, "database {}: {state}", outcome.database);
    for step in &outcome.steps {
        let _ = writeln!(text, "done: {step}");
    }
    advice.push('\n');
    text + &advice
}

/// How the database was found, and what that means.
fn said(outcome: &Outcome) -> (&'static str, String) {
    let state = match &outcome.target {
        Target::Absent => "absent",
        Target::Bare => "without tables",
        Target::Empty => "empty",
        Target::Used { .. } => "used",
    };
    let advice = match &outcome.target {
        Target::Used { differences, .. } if differences.is_empty() => {
            "it has all of the backup already: every table has the same rows".to_owned()
        }
        Target::Used {
            tables,
            differences,
        } => {
            let lines: Vec<_> = differences
                .iter()
                .map(|difference| format!("differs: {difference}"))
                .collect();
            format!("{}\n{}", lines.join("\n"), not_empty(tables))
        }
        _ if outcome.is_restored => {
            let tables = outcome.backup.manifest.as_ref();
            format!(
                "restored and compared in {:.1} s: all {} tables have the backup's rows. Next: 'regional-core migrate \
                 status', then docs/backup.md, \"After it\"",
                outcome.took.as_secs_f64(),
                tables.map_or(0, |manifest| manifest.tables.len())
            )
        }
        _ => "nothing was changed: --yes restores it there".to_owned(),
    };
    (state, advice)
}

fn file_text(file: &Path, verified: &Verified) -> String {
    let mut text = head(&verified.header);
    match &verified.manifest {
        Some(manifest) => text += &contents(manifest),
        None => text.push_str(
            "it is sealed: that it is as it was written was seen, what is in it was not (--keys-file)\n",
        ),
    }
    let _ = writeln!(
        text,
        "{}: whole, {} bytes, SHA-256 {}",
        file.display(),
        thousands(verified.bytes),
        verified.sha256
    );
    text
}

fn file_document(file: &Path, verified: &Verified) -> Value {
    json!({
        "file": file,
        "bytes": verified.bytes,
        "sha256": verified.sha256,
        "header": verified.header,
        "manifest": verified.manifest,
    })
}

fn head(header: &Header) -> String {
    format!(
        "backup {} of {} ({}), as of {}\ndatabase {} of PostgreSQL {}, smpctl {}, {}\n",
        header.backup_id,
        header.region,
        header.countries.join(" "),
        header.taken_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        header.database,
        header.server,
        header.smpctl,
        if header.is_sealed {
            "sealed"
        } else {
            "NOT sealed: it holds personal data for anybody who reads it"
        }
    )
}

fn contents(manifest: &Manifest) -> String {
    let mut text = String::new();
    for migrations in &manifest.migrations {
        let _ = writeln!(text, "{} at {:04}", migrations.table, migrations.version());
    }
    let widths = manifest.tables.iter();
    let width = widths
        .map(|kept| kept.table.name.to_string().len())
        .max()
        .unwrap_or_default()
        .max("TABLE".len());
    let _ = writeln!(text, "{:<width$} {:>14}  DIGEST", "TABLE", "ROWS");
    for kept in &manifest.tables {
        let name = kept.table.name.to_string();
        let _ = writeln!(
            text,
            "{name:<width$} {:>14}  {}",
            thousands(kept.rows),
            kept.hash
        );
    }
    let _ = writeln!(text, "{:<width$} {:>14}", "all", thousands(manifest.rows()));
    text
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
