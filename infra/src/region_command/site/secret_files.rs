//! A region's secrets in the operator's folder.

use std::path::{Path, PathBuf};
use std::{fmt, fs};

use infra::files::{Readers, lock, read, replace};
use infra::registry::{Region, Role};
use infra::secrets::{self, Database, File};
use protocol::RegionId;

use super::Site;
use crate::edge_command::from_environment;
use crate::random;

/// A secret that is not there.
pub(in crate::region_command) enum Lacking {
    /// `smpctl region add` makes it.
    NotMade(String),
    /// It was there before, and must come back.
    Lost(String),
}

impl Lacking {
    pub(in crate::region_command) const fn can_be_made(&self) -> bool {
        matches!(self, Self::NotMade(_))
    }
}

impl fmt::Display for Lacking {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::NotMade(name) | Self::Lost(name)) = self;
        formatter.write_str(name)
    }
}

impl Site<'_> {
    /// The folder of the secrets.
    pub(in crate::region_command) fn secrets(&self) -> Result<&Path, String> {
        self.secrets.as_deref().ok_or_else(|| {
            "where are the secrets? --secrets FOLDER or SMP_SECRETS says it (docs/deploy.md, \"Make the secrets\")".to_owned()
        })
    }

    /// Nobody else changes what edge and hub know meanwhile, as `smpctl rotate` does.
    pub(in crate::region_command) fn lock_secrets(&self) -> Result<[fs::File; 2], String> {
        let folder = self.secrets()?;
        Ok([lock(folder)?, lock(&folder.join(self.hub()?.as_str()))?])
    }

    /// The text of one of a region's files of secrets; none if it is not there.
    fn secret(&self, region: &RegionId, file: File) -> Result<Option<String>, String> {
        let path = self.secrets()?.join(region.as_str()).join(file.name());
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }

    /// The region's core.env.
    pub(in crate::region_command) fn core_env(&self) -> Result<String, String> {
        let text = self.secret(&self.id, File::Core)?;
        text.ok_or_else(|| format!("{} has no {} yet", self.id, File::Core.name()))
    }

    /// What the secrets lack; nothing if all of them are there.
    pub(in crate::region_command) fn lacking_secrets(&self) -> Result<Vec<Lacking>, String> {
        let region = self.region()?;
        let mut lacking = Vec::new();
        let is_hub = region.role == Role::Hub;
        for file in File::ALL {
            let name = format!("{}/{}", self.id, file.name());
            match self.secret(&self.id, file)? {
                // What was sealed to it would be lost with another one; the hub's are made by hand.
                None if is_hub || self.route_state()?.is_some() => {
                    lacking.push(Lacking::Lost(name));
                }
                None => lacking.push(Lacking::NotMade(name)),
                Some(text) => {
                    let missing = secrets::lacks(file, &text);
                    let mut missing = missing.map_err(|mistake| format!("{name}: {mistake}"))?;
                    if is_hub {
                        // What must be in them is another matter there.
                        missing.clear();
                    }
                    let missing = missing.into_iter().map(|of| format!("{name}: {of}"));
                    lacking.extend(missing.map(Lacking::Lost));
                }
            }
        }
        if lacking.is_empty() {
            for edit in self.shared_secrets(&region)? {
                let key = format!("{}: the key of {}", edit.path.display(), self.id);
                lacking.push(Lacking::NotMade(key));
            }
        }
        Ok(lacking)
    }

    /// Makes what the secrets lack; gives the files that it wrote.
    pub(in crate::region_command) fn make_secrets(&self) -> Result<Vec<String>, String> {
        let region = self.region()?;
        let folder = self.secrets()?.join(self.id.as_str());
        private_folder(&folder)?;
        let hub_core = self.secret(&self.hub()?, File::Core)?;
        let mut written = Vec::new();
        for file in File::ALL {
            let path = folder.join(file.name());
            let Some(text) = self.secret(&self.id, file)? else {
                // What waits at the edge is sealed to the old keys, and so is what lies in the database.
                if self.route_state()?.is_some() {
                    return Err(format!(
                        "{} is gone, and {} has a route: bring the file back from where your secrets are backed up; another \
                         key would open nothing of what was sealed to the old one (smpctl rotate changes keys)",
                        path.display(),
                        self.id
                    ));
                }
                let admin = from_environment("CORE_ADMIN_DATABASE_URL");
                let database = Database::of(&region, admin.as_deref())?;
                let text = secrets::make(file, &region, &database, hub_core.as_deref(), random)?;
                write(&path, &text)?;
                written.push(path.display().to_string());
                continue;
            };
            let missing = secrets::lacks(file, &text)
                .map_err(|mistake| format!("{}: {mistake}", path.display()))?;
            if !missing.is_empty() {
                return Err(format!(
                    "{} lacks {}: bring it back from where your secrets are backed up",
                    path.display(),
                    missing.join(", ")
                ));
            }
        }
        written.extend(share(self.shared_secrets(&region)?)?);
        Ok(written)
    }

    /// The edge and the hub forget the region's keys; gives the files that were changed.
    pub(in crate::region_command) fn forget_secrets(&self) -> Result<Vec<String>, String> {
        let region = self.region()?;
        let edge = self.secrets()?.join(secrets::EDGE);
        let text = read(&edge)?;
        let without = secrets::without_hop_key(&text, &region)
            .map_err(|mistake| format!("{}: {mistake}", edge.display()))?;
        let mut edits = Vec::new();
        if without != text {
            edits.push(Edit {
                path: edge,
                text: without,
            });
        }
        let (path, text) = self.hub_replicator()?;
        let without = secrets::without_region_key(&text, &region)
            .map_err(|mistake| format!("{}: {mistake}", path.display()))?;
        if without != text {
            edits.push(Edit {
                path,
                text: without,
            });
        }
        share(edits)
    }

    /// What the edge and the hub have yet to learn of the region's keys.
    fn shared_secrets(&self, region: &Region) -> Result<Vec<Edit>, String> {
        let Some(core) = self.secret(&self.id, File::Core)? else {
            return Ok(Vec::new());
        };
        let edge = self.secrets()?.join(secrets::EDGE);
        let text = read(&edge).map_err(|mistake| {
            format!("{mistake}; docs/deploy.md, \"Make the secrets\", says what is in it")
        })?;
        let in_file = |path: &Path, mistake: String| format!("{}: {mistake}", path.display());
        let with = secrets::with_hop_key(&text, region, &core);
        let with = with.map_err(|mistake| in_file(&edge, mistake))?;
        let mut edits = Vec::new();
        if with != text {
            edits.push(Edit {
                path: edge,
                text: with,
            });
        }
        if region.role == Role::Spoke {
            let (path, text) = self.hub_replicator()?;
            let own = self.secret(&self.id, File::Replicator)?.unwrap_or_default();
            let with = secrets::with_region_key(&text, region, &own);
            let with = with.map_err(|mistake| in_file(&path, mistake))?;
            if with != text {
                edits.push(Edit { path, text: with });
            }
        }
        Ok(edits)
    }

    fn hub_replicator(&self) -> Result<(PathBuf, String), String> {
        let hub = self.hub()?;
        let folder = self.secrets()?.join(hub.as_str());
        let path = folder.join(File::Replicator.name());
        let text = read(&path)?;
        Ok((path, text))
    }
}

/// Writes them; gives their names.
fn share(edits: Vec<Edit>) -> Result<Vec<String>, String> {
    let mut written = Vec::new();
    for edit in edits {
        write(&edit.path, &edit.text)?;
        written.push(edit.path.display().to_string());
    }
    Ok(written)
}

/// A file that is to hold something else.
struct Edit {
    path: PathBuf,
    text: String,
}

/// Replaces a file of secrets.
fn write(path: &Path, text: &str) -> Result<(), String> {
    replace(path, text, Readers::Owner).map_err(|error| format!("{}: {error}", path.display()))
}

/// A folder that only its owner can look into.
fn private_folder(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| format!("{}: {error}", path.display()))
}
