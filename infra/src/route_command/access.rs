//! What a platform on this machine says of itself, in `platform.env`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Reads `KEY=value` lines.
pub(super) fn read(folder: &Path) -> Result<BTreeMap<String, String>, String> {
    let file = folder.join("platform.env");
    let text = fs::read_to_string(&file)
        .map_err(|error| format!("{}: {error}; is the platform up (make up)?", file.display()))?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once('='));
    Ok(pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect())
}
