//! Files that are made from the registry: the settings of MirrorMaker 2, one file a spoke region, whom the hub's
//! relay asks, and how each region runs on Kubernetes.
//!
//! They are checked in, so that a change of a region shows what becomes of it, and held true by
//! `smpctl render --check`.

mod kubernetes;
mod mirror;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{fs, io};

use serde::Serialize;

use crate::check;
use crate::diff::diff;
use crate::files::{self, Readers};
use crate::registry::{Region, Registry, Role};

/// Every rendered file, by its name. Fails with what is wrong in the registry.
pub fn all(registry: &Registry) -> Result<BTreeMap<String, String>, Vec<String>> {
    let mut mistakes = registry.mistakes.clone();
    mistakes.extend(check::registry_mistakes(registry));
    let regions = &registry.regions;
    let hub = match regions.iter().find(|region| region.role == Role::Hub) {
        Some(hub) if mistakes.is_empty() => hub,
        _ => return Err(mistakes),
    };
    let spokes: Vec<_> = regions
        .iter()
        .filter(|region| region.role == Role::Spoke)
        .collect();
    let mut rendered = BTreeMap::new();
    for spoke in &spokes {
        let name = format!("mm2-{}.properties", spoke.id);
        rendered.insert(name, mirror::properties(hub, spoke));
    }
    let relay = relay(hub, spokes.iter().copied());
    rendered.insert(format!("relay-{}.env", hub.id), relay);
    for region in regions {
        let manifests = kubernetes::files(region, hub, &spokes).map_err(|error| vec![error])?;
        rendered.extend(manifests);
    }
    Ok(rendered)
}

/// What the hub's relay is told of the regions, as lines of an environment file.
fn relay<'r>(hub: &Region, spokes: impl Iterator<Item = &'r Region>) -> String {
    format!(
        "\
# rendered by smpctl render from infra/regions; change the region's file instead
#
# Whom `replicator relay` of {} asks how far they are. The keys come from REPLICATOR_REGION_SECRETS.
REPLICATOR_REGIONS=\"{}\"
",
        hub.id,
        replicators(spokes)
    )
}

/// Where each spoke's replicator answers, as `REPLICATOR_REGIONS` wants it.
fn replicators<'r>(spokes: impl Iterator<Item = &'r Region>) -> String {
    let regions: Vec<_> = spokes
        .filter_map(|spoke| Some(format!("{}={}", spoke.id, spoke.replicator.as_ref()?)))
        .collect();
    regions.join(" ")
}

/// A rendered file, held against the one that is there.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// The file's name.
    pub file: String,
    /// How the two compare.
    pub state: State,
    /// The lines that differ: `-` is there, `+` should be.
    pub lines: Vec<String>,
}

/// How a file compares to what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should be.
    Same,
    /// Has other contents.
    Changed,
    /// Is not there.
    Missing,
    /// Is there for a region that is not, or is the hub.
    LeftOver,
}

impl State {
    /// In words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Same => "is as rendered",
            Self::Changed => "differs",
            Self::Missing => "is missing",
            Self::LeftOver => "is left over",
        }
    }
}

/// How each file begins that was rendered.
const RENDERED: &str = "# rendered by smpctl render";

/// Holds what is in a folder against what should be. A file that was not rendered is nobody's concern.
pub fn compare(rendered: &BTreeMap<String, String>, folder: &Path) -> io::Result<Vec<Comparison>> {
    let mut names: BTreeSet<_> = rendered.keys().cloned().collect();
    if folder.exists() {
        collect_names(folder, "", &mut names)?;
    }
    let read = |file: &str| match fs::read(folder.join(file)) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let there = names.into_iter().map(|file| Ok((read(&file)?, file)));
    let is_ours = |(there, file): &(Option<String>, String)| {
        let is_rendered = there
            .as_ref()
            .is_some_and(|text| text.starts_with(RENDERED));
        // What was cut off while it was written is one, too.
        rendered.contains_key(file) || is_rendered || file.ends_with(".smpctl")
    };
    there
        .filter(|file| file.as_ref().map_or(true, is_ours))
        .map(|file: io::Result<_>| {
            let (there, file) = file?;
            let wanted = rendered.get(&file).map(String::as_str);
            let state = match (there.as_deref(), wanted) {
                (there, wanted) if there == wanted => State::Same,
                (None, _) => State::Missing,
                (_, None) => State::LeftOver,
                _ => State::Changed,
            };
            let lines = match state {
                State::Changed => diff(
                    there.as_deref().unwrap_or_default(),
                    wanted.unwrap_or_default(),
                ),
                _ => Vec::new(),
            };
            Ok(Comparison { file, state, lines })
        })
        .collect()
}

/// All files below a folder, by their paths from there, with `/` between.
fn collect_names(folder: &Path, prefix: &str, names: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        // A link is a file that should not be there.
        if entry.file_type()?.is_dir() {
            collect_names(&entry.path(), &format!("{name}/"), names)?;
        } else {
            names.insert(name);
        }
    }
    Ok(())
}

/// Makes the folder's files what they should be; what is left over is removed, and folders that are empty then.
pub fn write(
    rendered: &BTreeMap<String, String>,
    comparisons: &[Comparison],
    folder: &Path,
) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for Comparison { file, state, .. } in comparisons {
        let path = folder.join(file);
        match (state, rendered.get(file)) {
            (State::Changed | State::Missing, Some(text)) => {
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent)?;
                }
                files::replace(&path, text, Readers::AsBefore)?;
            }
            (State::LeftOver, _) => {
                fs::remove_file(&path)?;
                let parents = path.ancestors().skip(1);
                for parent in parents.take_while(|parent| *parent != folder) {
                    // One that holds something stays.
                    if fs::remove_dir(parent).is_err() {
                        break;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}
