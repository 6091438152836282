//! A region is taken from the platform.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use infra::route::local::{self, CORES_FILE};
use protocol::RegionId;

use super::{Platform, write_whole};
use crate::secrets::write_private;
use crate::{kafka, platform_env, postgres};

impl Platform<'_> {
    /// Stops a region's processes and forgets them. Its databases stay, unless they are to be purged. The hub stays.
    pub fn stop_region(&mut self, id: &RegionId, purge: bool) -> Result<()> {
        let site = self.sites.regions.get(id.as_str());
        ensure!(
            site.is_none_or(|site| !site.is_hub),
            "{id} is the hub, and the other regions need it: 'make down' stops the whole platform"
        );
        // First nobody is led there any more.
        self.forget_core(id)?;
        self.forget_addresses(id)?;
        let mut was_there = false;
        for what in ["mirror", "replicator", "core", "kafka", "postgres"] {
            if self.stop(id, what)? {
                self.say(id, &format!("{what} is stopped"));
                was_there = true;
            }
        }
        if purge {
            postgres::remove_data(&self.data_name(id))?;
            kafka::remove_data(id, &self.name)?;
            self.sites.regions.remove(id.as_str());
            self.sites.write(&self.run)?;
            self.say(id, "its databases are removed");
        } else if self.sites.regions.contains_key(id.as_str()) {
            self.say(id, "its databases stay, until --purge");
        }
        self.say(
            id,
            if was_there {
                "down"
            } else {
                "nothing of it ran"
            },
        );
        Ok(())
    }

    fn forget_core(&self, id: &RegionId) -> Result<()> {
        let path = self.run.join(CORES_FILE);
        let Ok(text) = fs::read_to_string(&path) else {
            return Ok(());
        };
        let mut cores: BTreeMap<String, local::Core> =
            serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        if cores.remove(id.as_str()).is_some() {
            write_whole(&path, &serde_json::to_string_pretty(&cores)?)?;
        }
        Ok(())
    }

    fn forget_addresses(&self, id: &RegionId) -> Result<()> {
        let path = self.run.join(platform_env::FILE);
        let Ok(text) = fs::read_to_string(&path) else {
            return Ok(());
        };
        let without = platform_env::without(&text, id);
        if without != text {
            write_private(&path, &without)?;
        }
        Ok(())
    }
}
