//! The whole system: all regions of the registry that the platform runs, and the edge before them.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow, ensure};
use infra::registry::Role;

use crate::checkout;
use crate::edge::{CoreAddress, Edge, States};
use crate::kafka::Part;
use crate::master_data::Node;
use crate::pancake::DemoConnection;
use crate::pancake_rest::PancakeRest;
use crate::platform_env::{CoreLines, core_lines, master_data_lines};
use crate::ports::{Listener, Ports};
use crate::region::{Access, Region};
use crate::secrets::Issuer;

/// The name of the platform that `make up` and `make demo` start.
pub const LOCAL: &str = "local";

/// Everything, running.
#[derive(Debug)]
pub struct System {
    /// Master data's part of each region, in the order of `regions`; none before
    /// [`System::start_master_data`].
    pub master_data: Vec<Node>,
    /// The edge.
    pub edge: Edge,
    /// The regions, in the order of their ids.
    pub regions: Vec<Region>,
    /// The Pancake connections that the edge knows.
    pub connections: Vec<DemoConnection>,
    /// Their workspaces, as Pancake's REST interface has them.
    pub pancake: PancakeRest,
    directory: PathBuf,
    ports: Ports,
}

impl System {
    /// Starts all regions of the registry and the edge. `name` keeps platforms of one checkout apart:
    /// its files are in `.run/<name>/`, those of [`LOCAL`] in `.run/` itself. `progress` hears of each step.
    pub async fn start(name: &str, ports: Ports, progress: impl Fn(&str)) -> Result<Self> {
        let directory = checkout::run_dir(if name == LOCAL { "" } else { name })?;
        let log_dir = directory.join("logs");
        std::fs::create_dir_all(&log_dir)?;
        let registry = registry()?;
        let issuer = Issuer::create(&directory)?;
        let port = ports.take(Listener::Pancake, "Pancake's REST interface")?;
        let pancake = PancakeRest::start(port).await?;
        let pancake_url = pancake.url();
        let (mut regions, mut cores) = (Vec::new(), Vec::new());
        for (index, entry) in (0..).zip(registry) {
            progress(&format!("region {}: PostgreSQL, schema, core", entry.id));
            let access = Some(Access {
                issuer: &issuer,
                is_hub: entry.role == Role::Hub,
                pancake_url: &pancake_url,
            });
            let (id, countries) = (entry.id, entry.countries);
            let region =
                Region::start_for(id, countries, index, ports, &log_dir, name, access).await?;
            cores.push(CoreAddress::of(&region, entry.spool));
            regions.push(region);
        }
        progress("edge: workerd");
        let connections = DemoConnection::all()?;
        let states = if name == LOCAL {
            States::AsTheyAre
        } else {
            States::AllOpen
        };
        let edge = Edge::start(
            (&cores, states),
            &connections,
            ports,
            &directory,
            &log_dir.join("edge.log"),
        )
        .await?;
        Ok(Self {
            master_data: Vec::new(),
            edge,
            regions,
            connections,
            pancake,
            directory,
            ports,
        })
    }

    /// Starts master data in every region: Kafka, the replicators, and MirrorMaker 2 from the hub to all
    /// others. The hub is told from the registry.
    pub async fn start_master_data(
        &mut self,
        name: &str,
        ports: Ports,
        progress: impl Fn(&str),
    ) -> Result<()> {
        let log_dir = self.directory.join("logs");
        let registry = registry()?;
        let hub = registry.iter().find(|entry| entry.role == Role::Hub);
        let hub_id = hub.context("no hub")?.id.clone();
        for ((index, region), entry) in (0..).zip(&self.regions).zip(registry) {
            ensure!(region.id == entry.id, "the registry has changed meanwhile");
            let part = match entry.role {
                Role::Hub => Part::Hub,
                Role::Spoke => Part::SpokeOf(&hub_id),
            };
            progress(&format!("region {}: Kafka, master data", region.id));
            let node = Node::start(
                &region.id,
                part,
                (&region.postgres, "core"),
                (ports, index),
                None,
                &log_dir,
                name,
            )
            .await?;
            self.master_data.push(node);
        }
        let (hubs, others): (Vec<_>, Vec<_>) =
            self.master_data.iter_mut().partition(|node| node.is_hub);
        let [hub] = hubs.try_into().map_err(|_| anyhow!("no hub"))?;
        let mut others = others;
        hub.introduce(others.iter_mut().map(|node| &mut **node))?;
        hub.start_replicator().await?;
        for node in others {
            progress(&format!("region {}: MirrorMaker 2", node.id));
            node.start_mirror(&hub.kafka).await?;
            node.start_replicator().await?;
        }
        Ok(())
    }

    /// Master data's part of the hub.
    pub fn hub(&self) -> Result<&Node> {
        let mut nodes = self.master_data.iter();
        nodes.find(|node| node.is_hub).context("no hub is running")
    }

    /// The connection of a country.
    pub fn connection(&self, country: &str) -> Result<&DemoConnection> {
        self.connections
            .iter()
            .find(|connection| connection.country == country)
            .with_context(|| format!("no connection for {country}"))
    }

    /// The region that holds a country's data.
    pub fn region_of(&self, country: &str) -> Result<&Region> {
        self.regions
            .iter()
            .find(|region| {
                region
                    .countries
                    .iter()
                    .any(|known| known.as_str() == country)
            })
            .with_context(|| format!("no region for {country}"))
    }

    /// The region with an id.
    pub fn region(&self, id: &str) -> Result<&Region> {
        self.regions
            .iter()
            .find(|region| region.id.as_str() == id)
            .with_context(|| format!("no region {id}"))
    }

    /// The same, to stop or start its core.
    pub fn region_mut(&mut self, id: &str) -> Result<&mut Region> {
        self.regions
            .iter_mut()
            .find(|region| region.id.as_str() == id)
            .with_context(|| format!("no region {id}"))
    }

    /// All that a shell needs to know of the platform, as `platform.env` holds it.
    #[must_use]
    pub fn env_file(&self) -> String {
        let mut text = format!(
            "# The platform that is up. Load it with: . .run/platform.env\nEDGE_URL={}\nEDGE_OPS_TOKEN={}\n",
            self.edge.url, self.edge.ops_token
        );
        for region in &self.regions {
            text += &core_lines(&CoreLines {
                id: &region.id,
                url: &region.core_url(),
                owner_url: &region.owner_url(),
                app_url: &region.app_url(),
                keyid: &region.hop_keyid,
                secret: &region.hop_secret,
                admin_token: region.admin_token.as_deref(),
            });
        }
        for node in &self.master_data {
            let setup = &node.secrets().setup;
            let owner = setup.get("REPLICATOR_OWNER_DATABASE_URL");
            text += &master_data_lines(
                &node.id,
                &node.kafka.bootstrap(),
                &node.replicator_url(),
                owner.map_or("", String::as_str),
            );
        }
        for connection in &self.connections {
            let country = connection.country;
            // Writing to a `String` cannot fail.
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

    /// Leaves everything running when this value is dropped.
    pub fn detach(&mut self) -> Result<()> {
        self.edge.process.detach();
        for region in &mut self.regions {
            region.core()?.detach();
            region.postgres.process().detach();
        }
        for node in &mut self.master_data {
            node.processes().for_each(|(_, process)| process.detach());
        }
        Ok(())
    }

    /// Which ports it takes.
    #[must_use]
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// Where the platform's files are.
    #[must_use]
    pub fn directory(&self) -> &std::path::Path {
        &self.directory
    }
}

fn registry() -> Result<Vec<infra::registry::Region>> {
    infra::registry::read(&checkout::root().join("infra/regions"))
        .map_err(|mistakes| anyhow!(mistakes.join("\n")))
}
