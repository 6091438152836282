//! Where each region of a platform is: what a later command needs to know to start something again where it was.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use protocol::RegionId;
use serde::{Deserialize, Serialize};

use crate::kafka;
use crate::ports::{Listener, Ports, is_free};
use crate::secrets::{random_hex, write_private};
use crate::service::Server;

const FILE: &str = "sites.json";

/// The listeners of one kind lie nine apart.
const MAX_REGIONS: u16 = 9;

/// The regions of one platform.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sites {
    /// From where its ports count; none where they are whatever is free.
    pub base: Option<u16>,
    /// By the regions' ids. One that does not run is kept as long as its databases are.
    pub regions: BTreeMap<String, Site>,
}

/// Where one region is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Site {
    /// Its number in the platform.
    pub index: u16,
    /// Whether master data is written there.
    pub is_hub: bool,
    /// Its database server.
    pub server: Server,
    /// Its broker.
    pub kafka: kafka::Place,
    /// Where its core listens.
    pub core_port: u16,
    /// Where its replicator listens.
    pub replicator_port: u16,
}

impl Sites {
    /// Those of the platform whose files are in `run`, if it was handed over.
    pub fn read(run: &Path) -> Result<Option<Self>> {
        let path = run.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        // serde's own text may quote a value, and there are passwords.
        let sites = serde_json::from_str(&text).ok();
        let sites = sites.with_context(|| {
            format!(
                "{} cannot be read: 'make down', then 'make up' makes it anew",
                path.display()
            )
        })?;
        Ok(Some(sites))
    }

    /// Keeps them.
    pub fn write(&self, run: &Path) -> Result<()> {
        write_private(&run.join(FILE), &serde_json::to_string_pretty(self)?)
    }

    /// Which ports the platform takes.
    #[must_use]
    pub fn ports(&self) -> Ports {
        self.base.map_or(Ports::Free, Ports::From)
    }

    /// The number of a region: its own, as long as no other has it, else the next.
    pub fn index_for(&self, id: &RegionId) -> Result<u16> {
        let taken = |index: u16| {
            let mut others = self
                .regions
                .iter()
                .filter(|(other, _)| *other != id.as_str());
            others.any(|(_, site)| site.index == index)
        };
        let own = self.regions.get(id.as_str()).map(|site| site.index);
        if let Some(own) = own.filter(|own| !taken(*own)) {
            return Ok(own);
        }
        let index = (0..MAX_REGIONS).find(|index| !taken(*index));
        index.with_context(|| {
            format!(
                "{MAX_REGIONS} regions are here, and there is no port for another: 'platform region down' with \
                 --purge removes one"
            )
        })
    }
}

impl Site {
    /// A place for a region of the platform.
    pub fn take(id: &RegionId, is_hub: bool, ports: Ports, index: u16) -> Result<Self> {
        Ok(Self {
            index,
            is_hub,
            server: Server {
                port: ports.take(Listener::Postgres(index), &format!("PostgreSQL of {id}"))?,
                password: random_hex()?,
            },
            kafka: kafka::Place::take(id, ports, index)?,
            core_port: ports.take(Listener::Core(index), &format!("core of {id}"))?,
            replicator_port: ports
                .take(Listener::Replicator(index), &format!("replicator of {id}"))?,
        })
    }

    /// The same at other ports, where something does not run and somebody else listens.
    pub fn take_again(
        &mut self,
        id: &RegionId,
        (ports, index): (Ports, u16),
        runs: impl Fn(&str) -> Result<bool>,
    ) -> Result<()> {
        self.index = index;
        for (what, port, listener) in [
            ("postgres", &mut self.server.port, Listener::Postgres(index)),
            ("core", &mut self.core_port, Listener::Core(index)),
            (
                "replicator",
                &mut self.replicator_port,
                Listener::Replicator(index),
            ),
        ] {
            if !runs(what)? && !is_free(*port) {
                *port = ports.take(listener, &format!("{what} of {id}"))?;
            }
        }
        if !runs("kafka")? {
            self.kafka.take_again(id, ports, index)?;
        }
        Ok(())
    }
}

/// The port of something that is about to be started.
pub fn ensure_free(port: u16, id: &RegionId, what: &str) -> Result<()> {
    ensure!(
        is_free(port),
        "port {port} ({what} of {id}) is taken by somebody else: stop what listens there, or \
         'platform region up {id} --stage stores' finds another"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_keeps_its_number_unless_another_has_it() {
        let site = |index| {
            let id = RegionId::parse("smp-x").unwrap();
            Site {
                index,
                ..Site::take(&id, false, Ports::Free, 0).unwrap()
            }
        };
        let mut sites = Sites {
            base: None,
            regions: BTreeMap::from([
                ("smp-asia".to_owned(), site(0)),
                ("smp-china".to_owned(), site(1)),
            ]),
        };
        let us = RegionId::parse("smp-us").unwrap();
        assert_eq!(sites.index_for(&us).unwrap(), 2);
        sites.regions.insert("smp-us".to_owned(), site(5));
        assert_eq!(sites.index_for(&us).unwrap(), 5);
        sites.regions.insert("smp-us".to_owned(), site(1));
        assert_eq!(sites.index_for(&us).unwrap(), 2);
        for index in 2..MAX_REGIONS {
            sites.regions.insert(format!("smp-{index}"), site(index));
        }
        assert!(sites.index_for(&us).is_err());
    }
}
