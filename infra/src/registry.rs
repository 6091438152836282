//! The region registry: one file a region, named after it.

use std::fs;
use std::path::Path;

use protocol::{Country, RegionId};
use serde::Deserialize;

/// A region as its file describes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// The id, which is also the file's name.
    pub id: RegionId,
    /// What people call it.
    pub name: String,
    /// Whether master data is written here.
    pub role: Role,
    /// The countries whose data this region may hold. A country moves here only when it is listed.
    pub countries: Vec<Country>,
    /// Where it runs.
    pub location: Location,
    /// Whose law applies.
    pub jurisdiction: Jurisdiction,
}

/// A region's part in master data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Master data is written here. There is one hub.
    Hub,
    /// Master data is only read here.
    Spoke,
}

/// Where a region runs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Location {
    /// Who runs the machines.
    pub provider: String,
    /// The provider's name of the place.
    pub place: String,
}

/// Whose law applies to a region's data.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jurisdiction {
    /// Data-protection laws.
    pub laws: Vec<String>,
    /// What must be granted before the region may serve.
    #[serde(default)]
    pub licences: Vec<String>,
}

/// Reads the registry, sorted by id. Every file that cannot be read is a mistake of its own.
pub fn read(directory: &Path) -> Result<Vec<Region>, Vec<String>> {
    let entries = fs::read_dir(directory)
        .map_err(|error| vec![format!("{}: {error}", directory.display())])?;
    let mut paths: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    paths.sort();
    let mut regions = Vec::new();
    let mut mistakes = Vec::new();
    for path in paths {
        match read_file(&path) {
            Ok(region) => regions.push(region),
            Err(mistake) => mistakes.push(format!("{}: {mistake}", path.display())),
        }
    }
    if mistakes.is_empty() {
        Ok(regions)
    } else {
        Err(mistakes)
    }
}

fn read_file(path: &Path) -> Result<Region, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let region: Region = toml::from_str(&text).map_err(|error| error.to_string())?;
    if path
        .file_stem()
        .is_some_and(|stem| stem == region.id.as_str())
    {
        Ok(region)
    } else {
        Err(format!(
            "id: \"{}\" is expected in a file of that name",
            region.id
        ))
    }
}
