//! The whole system: all regions of the registry that the platform runs, and the edge before them.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow};

use crate::checkout;
use crate::edge::{CoreAddress, Edge};
use crate::pancake::DemoConnection;
use crate::ports::Ports;
use crate::region::Region;

/// The name of the platform that `make up` and `make demo` start.
pub const LOCAL: &str = "local";

/// Everything, running.
#[derive(Debug)]
pub struct System {
    /// The edge.
    pub edge: Edge,
    /// The regions, in the order of their ids.
    pub regions: Vec<Region>,
    /// The Pancake connections that the edge knows.
    pub connections: Vec<DemoConnection>,
    directory: PathBuf,
}

impl System {
    /// Starts all regions of the registry and the edge. `name` keeps platforms of one checkout apart:
    /// its files are in `.run/<name>/`, those of [`LOCAL`] in `.run/` itself. `progress` hears of each step.
    pub async fn start(name: &str, ports: Ports, progress: impl Fn(&str)) -> Result<Self> {
        let directory = checkout::run_dir(if name == LOCAL { "" } else { name })?;
        let log_dir = directory.join("logs");
        std::fs::create_dir_all(&log_dir)?;
        let registry = infra::registry::read(&checkout::root().join("infra/regions"))
            .map_err(|mistakes| anyhow!(mistakes.join("\n")))?;
        let mut regions = Vec::new();
        for (index, entry) in (0..).zip(registry) {
            progress(&format!("region {}: PostgreSQL, schema, core", entry.id));
            let region =
                Region::start(entry.id, entry.countries, index, ports, &log_dir, name).await?;
            regions.push(region);
        }
        progress("edge: workerd");
        let connections = DemoConnection::all()?;
        let cores: Vec<_> = regions.iter().map(CoreAddress::from).collect();
        let edge = Edge::start(
            &cores,
            &connections,
            ports,
            &directory,
            &log_dir.join("edge.log"),
        )
        .await?;
        Ok(Self {
            edge,
            regions,
            connections,
            directory,
        })
    }

    /// The connection of a country.
    pub fn connection(&self, country: &str) -> Result<&DemoConnection> {
        self.connections
            .iter()
            .find(|connection| connection.country == country)
            .with_context(|| format!("no connection for {country}"))
    }

    /// The region with an id.
    pub fn region(&self, id: &str) -> Result<&Region> {
        self.regions
            .iter()
            .find(|region| region.id.as_str() == id)
            .with_context(|| format!("no region {id}"))
    }

    /// All that a shell needs to know of the platform, as `platform.env` holds it.
    #[must_use]
    pub fn env_file(&self) -> String {
        let mut text = format!(
            "# The platform that is up. Load it with: . .run/platform.env\nEDGE_URL={}\n",
            self.edge.url
        );
        // Writing to a `String` cannot fail.
        for region in &self.regions {
            let prefix = region.id.env_prefix();
            let _ = write!(
                text,
                "{prefix}_CORE_URL={}\n{prefix}_DATABASE_URL={}\n{prefix}_HOP_KEYID={}\n\
                 {prefix}_HOP_SECRET={}\n",
                region.core_url(),
                region.owner_url(),
                region.hop_keyid,
                region.hop_secret
            );
        }
        for connection in &self.connections {
            let country = connection.country;
            let _ = write!(
                text,
                "# {country}: mode {}\nPANCAKE_{country}_TOKEN={}\nPANCAKE_{country}_SECRET={}\n",
                connection.mode, connection.token, connection.secret
            );
            if let Some(secret) = &connection.previous_secret {
                let _ = writeln!(text, "PANCAKE_{country}_PREVIOUS_SECRET={secret}");
            }
        }
        text
    }

    /// The ids of all process groups, for whoever stops the platform later.
    pub fn pids(&mut self) -> Result<Vec<u32>> {
        let mut pids = vec![self.edge.process.pid()];
        for region in &mut self.regions {
            pids.push(region.core()?.pid());
            pids.push(region.postgres.process().pid());
        }
        Ok(pids)
    }

    /// Leaves everything running when this value is dropped.
    pub fn detach(&mut self) -> Result<()> {
        self.edge.process.detach();
        for region in &mut self.regions {
            region.core()?.detach();
            region.postgres.process().detach();
        }
        Ok(())
    }

    /// Where the platform's files are.
    #[must_use]
    pub fn directory(&self) -> &std::path::Path {
        &self.directory
    }
}
