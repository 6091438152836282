//! The files that list a country: as they are, and as they should be.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use infra::files::{Readers, replace};
use infra::registry::{self, Registry, edit};
use infra::render::{self, Comparison};
use infra::route::edit::diff;
use protocol::{Country, RegionId};

/// What would be written.
pub(super) struct Files {
    path: PathBuf,
    text: String,
    wanted: String,
    rendered: BTreeMap<String, String>,
    comparisons: Vec<Comparison>,
    into: PathBuf,
}

impl Files {
    /// Reads the registry and holds what would be rendered against what there is.
    pub(super) fn plan(
        folder: &Path,
        into: &Path,
        country: Country,
        region: &RegionId,
    ) -> Result<Self, String> {
        let mut registry = registry::survey(folder);
        list(&mut registry, country, region)?;
        let path = folder.join(format!("{region}.toml"));
        let in_file = |why: String| format!("{}: {why}", path.display());
        let text = fs::read_to_string(&path).map_err(|error| in_file(error.to_string()))?;
        let wanted = edit::add_country(&text, country).map_err(in_file)?;
        let rendered = render::all(&registry).map_err(|mistakes| mistakes.join("\n"))?;
        let comparisons = render::compare(&rendered, into)
            .map_err(|error| format!("{}: {error}", into.display()))?;
        Ok(Self {
            path,
            text,
            wanted,
            rendered,
            comparisons,
            into: into.to_owned(),
        })
    }

    /// The lines of the region's file that would differ, below its name; none if it lists the country.
    pub(super) fn listed(&self) -> Vec<String> {
        if self.text == self.wanted {
            return Vec::new();
        }
        let mut lines = vec![self.path.display().to_string()];
        lines.extend(diff(&self.text, &self.wanted));
        lines
    }

    /// The rendered files that would differ, with their lines.
    pub(super) fn rendered(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for file in &self.comparisons {
            if file.state != render::State::Same {
                let path = self.into.join(&file.file);
                lines.push(format!("{} {}", path.display(), file.state.as_str()));
                lines.extend(file.lines.iter().cloned());
            }
        }
        lines
    }

    /// Writes the region's file.
    pub(super) fn write_listed(&self) -> Result<(), String> {
        replace(&self.path, &self.wanted, Readers::AsBefore)
            .map_err(|error| format!("{}: {error}", self.path.display()))
    }

    /// Writes what is rendered.
    pub(super) fn write_rendered(&self) -> Result<(), String> {
        render::write(&self.rendered, &self.comparisons, &self.into)
            .map_err(|error| format!("{}: {error}", self.into.display()))
    }
}

/// The registry with the country in the region's list.
fn list(registry: &mut Registry, country: Country, region: &RegionId) -> Result<(), String> {
    if !registry.mistakes.is_empty() {
        return Err(registry.mistakes.join("\n"));
    }
    let mut others = registry.regions.iter();
    let other = others.find(|other| other.id != *region && other.countries.contains(&country));
    if let Some(other) = other {
        return Err(format!(
            "infra/regions/{}.toml lists {country}, and one region holds a country: --region {} is right, or it has to \
             move (docs/operations.md, \"Flip a route\")",
            other.id, other.id
        ));
    }
    let known: Vec<_> = registry
        .regions
        .iter()
        .map(|region| region.id.to_string())
        .collect();
    let mut regions = registry.regions.iter_mut();
    let found = regions.find(|known| known.id == *region);
    let found = found.ok_or_else(|| {
        format!(
            "--region {region}: infra/regions has no such file, only those of {}",
            known.join(", ")
        )
    })?;
    if !found.countries.contains(&country) {
        found.countries.push(country);
    }
    Ok(())
}
