//! Where a change goes: to Cloudflare by wrangler, or to the platform on this machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use infra::edge;
use infra::registry::Region;
use infra::route::local::{self, CORES_FILE, Core};
use infra::route::running;
use protocol::RegionId;
use protocol::routes::RouteTable;

use super::{Place, access};
use crate::edge_command::Access;
use crate::shell::{finish, shell};

/// A deployment of the edge.
pub(crate) enum Deployment {
    /// By a command.
    Command(String),
    /// By a file that wrangler watches.
    Local {
        folder: PathBuf,
        environment: BTreeMap<String, String>,
        cores: BTreeMap<String, Core>,
    },
}

impl Deployment {
    pub(crate) fn of(place: &Place) -> Result<Self, String> {
        if let Some(folder) = &place.local {
            if place.environment != "production" {
                return Err(format!(
                    "--local --environment {}: the platform of this machine runs by production's routes",
                    place.environment
                ));
            }
            return Ok(Self::Local {
                folder: folder.clone(),
                environment: access::read(folder)?,
                cores: read_cores(folder)?,
            });
        }
        let environment = match place.environment.as_str() {
            "production" => "",
            name => name,
        };
        let command = place.deploy.clone();
        Ok(Self::Command(command.unwrap_or_else(|| {
            format!(
                "npx wrangler deploy --config '{}' --env='{environment}'",
                place.wrangler.display()
            )
        })))
    }

    /// Puts what the file says in force.
    pub(crate) fn deploy(&self, place: &Place) -> Result<(), String> {
        match self {
            Self::Command(command) => {
                finish(&mut shell(command)).map_err(|why| {
                    format!(
                        "'{command}' {why}, and {} has the new version: run the same command again once that is mended, or \
                         smpctl route revert{} --why WHY --yes",
                        place.wrangler.display(),
                        place.flag()
                    )
                })
            }
            Self::Local { folder, cores, .. } => {
                let in_file =
                    |file: &Path, error: std::io::Error| format!("{}: {error}", file.display());
                let file = folder.join("wrangler.toml");
                let text = fs::read_to_string(&place.wrangler)
                    .map_err(|error| in_file(&place.wrangler, error))?;
                let was = running::read(&file).map_err(|error| in_file(&file, error))?;
                let rendered = local::render(&text, &was, cores)?;
                running::write(&file, &rendered).map_err(|error| {
                    format!(
                        "{}; {} has the new version: once that is mended, run the same command again",
                        in_file(&file, error),
                        place.wrangler.display()
                    )
                })
            }
        }
    }

    /// Whether it is the platform on this machine, where somebody has to notice that a file was changed.
    pub(crate) const fn is_local(&self) -> bool {
        matches!(self, Self::Local { .. })
    }

    pub(crate) fn edge_origin(&self, access: &Access) -> Result<String, String> {
        match self {
            Self::Local { environment, .. } => {
                let origin = environment.get("EDGE_URL").cloned();
                origin.ok_or_else(|| "platform.env has no EDGE_URL".to_owned())
            }
            Self::Command(_) => access.origin(),
        }
    }

    pub(crate) fn edge_client(&self, access: &Access) -> Result<edge::Client, String> {
        match self {
            Self::Local { environment, .. } => {
                let token = environment.get("EDGE_OPS_TOKEN").cloned();
                let token = token.ok_or("platform.env has no EDGE_OPS_TOKEN")?;
                Ok(edge::Client::new(&self.edge_origin(access)?, token))
            }
            Self::Command(_) => access.client(),
        }
    }

    /// Where a region's core is.
    pub(crate) fn core_origin(&self, region: &RegionId, routes: &RouteTable) -> Option<String> {
        if let Self::Local { cores, .. } = self {
            return Some(cores.get(region.as_str())?.origin.clone());
        }
        let mut regions = routes.regions();
        let route = regions.find(|route| route.region == *region)?;
        Some(route.origin.to_string())
    }

    /// Where a region's replicator is. That of the registry is not on this machine.
    pub(crate) fn replicator_origin(&self, region: &Region) -> Result<String, String> {
        let id = &region.id;
        match self {
            Self::Local { environment, .. } => {
                let name = format!("{}_REPLICATOR_URL", id.env_prefix());
                let origin = environment.get(&name).cloned();
                origin.ok_or_else(|| format!("no replicator of {id} runs here"))
            }
            Self::Command(_) => {
                let origin = region.replicator.as_ref().map(ToString::to_string);
                origin.ok_or_else(|| format!("{id} has no replicator in the registry"))
            }
        }
    }
}

fn read_cores(folder: &Path) -> Result<BTreeMap<String, Core>, String> {
    let file = folder.join(CORES_FILE);
    let text = fs::read_to_string(&file)
        .map_err(|error| format!("{}: {error}; is the platform up (make up)?", file.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))
}
