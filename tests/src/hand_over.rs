//! A platform that is to go on without the process that started it: what whoever comes later needs to know.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::platform_env;
use crate::ports::Ports;
use crate::process::record::Records;
use crate::secrets::write_private;
use crate::service::Secrets;
use crate::sites::{Site, Sites};
use crate::system::System;
use crate::variables;

/// The folder of the secrets, in that of the platform.
pub const SECRETS: &str = "secrets";
/// The Worker's secrets, as `wrangler secret bulk` takes them.
pub const EDGE_FILE: &str = "edge.json";

impl System {
    /// Writes down what this platform is: its secrets, in the files that Kubernetes' Secrets are made of
    /// (`secrets/<region>/`), its processes (`processes/`), where its regions are, and `platform.env`. Master data must
    /// be started. The processes still end with this value, unless it is detached.
    pub fn hand_over(&mut self) -> Result<()> {
        ensure!(
            self.master_data.len() == self.regions.len(),
            "master data is not started"
        );
        let run = self.directory().to_owned();
        self.write_secrets(&run.join(SECRETS))?;
        self.write_sites(&run)?;
        self.write_records(&run)?;
        write_private(&run.join(platform_env::FILE), &self.env_file())
    }

    fn write_secrets(&self, folder: &Path) -> Result<()> {
        private_folder(folder)?;
        let edge = serde_json::to_string_pretty(&self.edge.secrets)?;
        write_private(&folder.join(EDGE_FILE), &edge)?;
        for (region, node) in self.regions.iter().zip(&self.master_data) {
            let folder = folder.join(region.id.as_str());
            private_folder(&folder)?;
            write(&folder, "core", &region.secrets())?;
            write(&folder, "replicator", node.secrets())?;
        }
        Ok(())
    }

    /// Of regions that were added to an earlier platform, and whose databases are still there, is kept where they are.
    fn write_sites(&self, run: &Path) -> Result<()> {
        let known = Sites::read(run).ok().flatten();
        let mut regions = known.map_or_else(BTreeMap::new, |sites| sites.regions);
        // Two hubs there cannot be.
        regions.retain(|_, site| !site.is_hub);
        for ((index, region), node) in (0..).zip(&self.regions).zip(&self.master_data) {
            let site = Site {
                index,
                is_hub: node.is_hub,
                server: region.postgres.server().clone(),
                kafka: node.kafka.place().clone(),
                core_port: region.core_port(),
                replicator_port: node.port(),
            };
            regions.insert(region.id.to_string(), site);
        }
        let base = match self.ports() {
            Ports::From(base) => Some(base),
            Ports::Free => None,
        };
        Sites { base, regions }.write(run)
    }

    fn write_records(&mut self, run: &Path) -> Result<()> {
        let records = Records::of(run);
        for name in records.all()?.keys() {
            records.remove(name)?;
        }
        records.write("edge", &self.edge.process.record())?;
        for region in &mut self.regions {
            let id = region.id.clone();
            records.write(&name(&id, "core"), &region.core()?.record())?;
            let postgres = region.postgres.process().record();
            records.write(&name(&id, "postgres"), &postgres)?;
        }
        for node in &mut self.master_data {
            let id = node.id.clone();
            for (what, process) in node.processes() {
                records.write(&name(&id, what), &process.record())?;
            }
        }
        Ok(())
    }
}

/// The name of a region's process.
#[must_use]
pub fn name(id: &protocol::RegionId, what: &str) -> String {
    format!("{id}-{what}")
}

/// A folder for its owner only.
fn private_folder(folder: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => fs::set_permissions(folder, fs::Permissions::from_mode(0o700)),
    }
    .with_context(|| format!("cannot make {}", folder.display()))
}

fn write(folder: &Path, program: &str, secrets: &Secrets) -> Result<()> {
    variables::write(&folder.join(format!("{program}.env")), &secrets.serving)?;
    let setup = folder.join(format!("{program}-setup.env"));
    variables::write(&setup, &secrets.setup)
}
