//! The edge on real workerd, started by `wrangler dev` from the repository's own `wrangler.toml`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::checkout;
use crate::pancake::DemoConnection;
use crate::ports::{Listener, Ports};
use crate::process::Process;
use crate::region::Region;

/// A running edge.
#[derive(Debug)]
pub struct Edge {
    /// The process of wrangler, with workerd in its group.
    pub process: Process,
    /// Where it listens.
    pub url: String,
}

/// Where a region's core is, and the secret of the hop to it.
#[derive(Debug, Clone)]
pub struct CoreAddress {
    /// The region's id.
    pub region: String,
    /// The core's origin.
    pub origin: String,
    /// The name of the hop's key.
    pub keyid: String,
    /// The hop's secret.
    pub secret: String,
}

/// What becomes of the regions' states in the route table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum States {
    /// As in the repository's `wrangler.toml`, so that a flip can be tried before it is deployed.
    AsTheyAre,
    /// Tests need every region, whatever is paused in production today.
    AllOpen,
}

impl From<&Region> for CoreAddress {
    fn from(region: &Region) -> Self {
        Self {
            region: region.id.to_string(),
            origin: region.core_url(),
            keyid: region.hop_keyid.clone(),
            secret: region.hop_secret.clone(),
        }
    }
}

impl Edge {
    /// Starts the edge with the routes of `wrangler.toml`, whose origins are those of `cores`.
    /// Everything that it needs or leaves is in `directory`.
    pub async fn start(
        (cores, states): (&[CoreAddress], States),
        connections: &[DemoConnection],
        ports: Ports,
        directory: &Path,
        log: &Path,
    ) -> Result<Self> {
        let port = ports.take(Listener::Edge, "edge")?;
        let inspector_port = ports.take(Listener::Inspector, "workerd's inspector")?;
        let config = directory.join("wrangler.toml");
        let source = checkout::root().join("wrangler.toml");
        let text = std::fs::read_to_string(&source)
            .with_context(|| format!("cannot read {}", source.display()))?;
        std::fs::write(&config, render_wrangler_toml(&text, cores, states)?)?;
        crate::secrets::write_private(
            &directory.join(".dev.vars"),
            &render_dev_vars(cores, connections),
        )?;
        // A second log, of all that the debugger hears: whole URLs, those of people's data too. It
        // cannot be turned off.
        let debug_log = directory.join("wrangler-debug.log");
        let _ = std::fs::remove_file(&debug_log);
        std::os::unix::fs::symlink("/dev/null", &debug_log)?;
        let mut command = Command::new("node");
        command
            .arg(checkout::node_module("wrangler/bin/wrangler.js")?)
            .args([
                "dev",
                "--local",
                "--ip",
                "127.0.0.1",
                "--show-interactive-dev-session=false",
                // At "info" it writes a line for each request, with the token that is in the path.
                "--log-level=warn",
            ])
            .arg("--config")
            .arg(&config)
            .args([
                "--port",
                &port.to_string(),
                "--inspector-port",
                &inspector_port.to_string(),
            ])
            .arg("--persist-to")
            .arg(directory.join("state"))
            .current_dir(directory)
            // Nothing of this is for the network: no metrics, no updates, no country by address.
            .env("WRANGLER_SEND_METRICS", "false")
            .env("CLOUDFLARE_CF_FETCH_ENABLED", "false")
            .env("WRANGLER_LOG_PATH", debug_log)
            .env("XDG_CONFIG_HOME", directory.join("wrangler-config"))
            .env("CI", "1");
        let mut process = Process::start("the edge", command, log)?;
        let url = format!("http://127.0.0.1:{port}");
        let healthz = format!("{url}/healthz");
        process
            .wait_until("healthy", || async {
                let response = reqwest::get(&healthz).await.ok()?;
                response.status().is_success().then_some(())
            })
            .await?;
        Ok(Self { process, url })
    }
}

/// The repository's `wrangler.toml` with other origins, and with paths that hold from its new place.
/// Version and countries stay.
fn render_wrangler_toml(text: &str, cores: &[CoreAddress], states: States) -> Result<String> {
    let mut document: toml::Table = text.parse()?;
    // It is built by `make`; wrangler would build it again at each start.
    document.remove("build");
    document.remove("env");
    let entry = checkout::root().join("edge-worker/entry.js");
    document.insert("main".to_owned(), entry.display().to_string().into());
    let routes = document
        .get_mut("vars")
        .and_then(|vars| vars.get_mut("ROUTES"))
        .and_then(|routes| routes.get_mut("regions"))
        .and_then(toml::Value::as_table_mut)
        .context("wrangler.toml has no [vars.ROUTES.regions]")?;
    for core in cores {
        let route = routes
            .get_mut(&core.region)
            .and_then(toml::Value::as_table_mut)
            .with_context(|| format!("wrangler.toml has no route for {}", core.region))?;
        route.insert("origin".to_owned(), core.origin.clone().into());
        if states == States::AllOpen {
            route.insert("state".to_owned(), "open".into());
        }
    }
    Ok(format!(
        "# Rendered from the repository's wrangler.toml at each start.\n{document}"
    ))
}

fn render_dev_vars(cores: &[CoreAddress], connections: &[DemoConnection]) -> String {
    let secrets: serde_json::Map<_, _> = cores
        .iter()
        .map(|core| {
            (
                core.region.clone(),
                json!({"keyid": core.keyid, "secret": core.secret}),
            )
        })
        .collect();
    format!(
        "HOP_SECRETS='{}'\nPANCAKE_CONNECTIONS='{}'\n",
        serde_json::Value::Object(secrets),
        DemoConnection::to_binding(connections)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_origins_are_replaced_in_the_route_table() {
        let routes = |asia: &str, china: &str| {
            format!(
                "[vars.ROUTES]\nversion = 7\n\
                 [vars.ROUTES.countries]\nVN = \"smp-asia\"\nCN = \"smp-china\"\n\
                 [vars.ROUTES.regions.smp-asia]\norigin = \"{asia}\"\nstate = \"open\"\n\
                 [vars.ROUTES.regions.smp-china]\norigin = \"{china}\"\nstate = \"paused\"\n"
            )
        };
        let source = format!(
            "name = \"smp-edge\"\nmain = \"edge-worker/entry.js\"\n[build]\ncommand = \"make\"\n{}\
             [env.staging]\nname = \"other\"\n",
            routes("https://asia.example.com", "https://china.example.com")
        );
        let core = |region: &str, origin: &str| CoreAddress {
            region: region.to_owned(),
            origin: origin.to_owned(),
            keyid: String::new(),
            secret: String::new(),
        };
        let cores = [
            core("smp-asia", "http://127.0.0.1:1"),
            core("smp-china", "http://127.0.0.1:2"),
        ];
        let rendered: toml::Table = render_wrangler_toml(&source, &cores, States::AsTheyAre)
            .unwrap()
            .parse()
            .unwrap();
        let entry = checkout::root().join("edge-worker/entry.js");
        let expected: toml::Table = format!(
            "name = \"smp-edge\"\nmain = {:?}\n{}",
            entry.display().to_string(),
            routes("http://127.0.0.1:1", "http://127.0.0.1:2")
        )
        .parse()
        .unwrap();
        assert_eq!(rendered, expected);
    }
}
