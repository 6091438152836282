//! The first stage: a region's PostgreSQL and Kafka.

use anyhow::{Result, bail};
use protocol::RegionId;

use super::{Platform, Registry};
use crate::kafka::Kafka;
use crate::postgres::{self, Postgres};
use crate::sites::Site;

impl Platform<'_> {
    /// Starts a region's PostgreSQL and Kafka, where they do not run. Data that are there stay.
    pub async fn start_stores(&mut self, id: &RegionId, registry: &Registry) -> Result<()> {
        let part = registry.part(registry.find(id)?)?;
        self.ensure_up()?;
        self.find_place(id, part.is_hub())?;
        let site = self.site(id)?.clone();
        if self.runs(id, "postgres")? {
            self.say(id, "PostgreSQL runs");
        } else {
            self.say(id, "starting PostgreSQL");
            self.stop(id, "postgres")?;
            let (name, log) = (self.data_name(id), self.log(id, "postgres"));
            let server = Postgres::open(&name, site.server, &log);
            self.keep(id, "postgres", server.await?.process())?;
        }
        if self.runs(id, "kafka")? {
            self.say(id, "Kafka runs");
        } else {
            self.say(id, "starting Kafka");
            self.stop(id, "kafka")?;
            let log = self.log(id, "kafka");
            let broker = Kafka::open(id, part, &self.name, site.kafka, &log);
            self.keep(id, "kafka", broker.await?.process())?;
        }
        self.say(id, "its stores are up");
        Ok(())
    }

    /// Says where the region is, before anything is started there.
    fn find_place(&mut self, id: &RegionId, is_hub: bool) -> Result<()> {
        let (ports, index) = (self.sites.ports(), self.sites.index_for(id)?);
        let known = self.sites.regions.get(id.as_str()).cloned();
        let site = match known {
            Some(mut site) => {
                // What is not written down holds ports as well. The hub's are never looked for anew.
                for what in ["postgres", "kafka", "core", "replicator"] {
                    if !is_hub && !self.runs(id, what)? {
                        self.stop(id, what)?;
                    }
                }
                site.take_again(id, (ports, index), |what| self.runs(id, what))?;
                site
            }
            None if postgres::has_data(&self.data_name(id))? => bail!(
                "a database of {id} is here, and its password is lost: 'platform region down {id} --purge' removes it"
            ),
            None => Site::take(id, is_hub, ports, index)?,
        };
        self.sites.regions.insert(id.to_string(), site);
        self.sites.write(&self.run)
    }
}
