//! The history's file.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use infra::route::history::{self, Past};
use serde::Serialize;

pub(super) fn read_history(file: &Path) -> Result<Vec<Past>, String> {
    match fs::read(file) {
        Ok(bytes) => {
            // A line may be cut off within a character.
            let text = String::from_utf8_lossy(&bytes);
            history::read(&text).map_err(|mistake| {
                format!(
                    "{}: {mistake}: mend that line, or take it out (it is one JSON object a line)",
                    file.display()
                )
            })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(format!("{}: {error}", file.display())),
    }
}

/// Adds a line, and has it on disk.
pub(super) fn write_down(file: &Path, what: &impl Serialize) -> Result<(), String> {
    let in_file = |error: std::io::Error| format!("{}: {error}", file.display());
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(in_file)?;
    }
    let line = serde_json::to_string(what).map_err(|error| error.to_string())?;
    let found = match fs::read(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        found => found,
    };
    let found = found.map_err(in_file)?;
    let kept = history::without_cut_off(&found);
    let is_ended = kept.is_empty() || kept.ends_with(b"\n");
    let line = format!("{}{line}\n", if is_ended { "" } else { "\n" });
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)
        .map_err(in_file)?;
    if kept.len() < found.len() {
        // What is added must not become a part of a line that was cut off, nor leave one in the middle.
        file.set_len(kept.len() as u64).map_err(in_file)?;
    }
    file.write_all(line.as_bytes()).map_err(in_file)?;
    file.sync_all().map_err(in_file)
}
