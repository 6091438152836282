//! The edge on real workerd, started by `wrangler dev` from the repository's own `wrangler.toml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, ensure};
use infra::registry::Spool;
use infra::route::local::{self, RENDERED};
use infra::route::running::{self, WATCHER_PATIENCE};
use protocol::UnixSeconds;
use protocol::at_rest::AtRestKeys;
use protocol::connection::document::{Change, Document, entries_from_json};
use protocol::connection::snapshot::seal;
use protocol::hop::ROUTE_VERSION;
use protocol::ops::{OpsToken, Scope};
use protocol::routes::RouteState;
use protocol::sealed::SealingKey;
use serde_json::{Value, json};

use crate::checkout;
use crate::pancake::DemoConnection;
use crate::ports::{Listener, Ports};
use crate::process::Process;
use crate::region::Region;
use crate::secrets::{random_bytes, write_private};
use crate::variables::Variables;

/// A running edge.
#[derive(Debug)]
pub struct Edge {
    /// The process of wrangler, with workerd in its group.
    pub process: Process,
    /// Where it listens.
    pub url: String,
    /// With which ops may see and change what the edge holds.
    pub ops_token: String,
    /// The Worker's secrets, by their names.
    pub secrets: Variables,
    /// The rendered `wrangler.toml`, which wrangler watches.
    config: PathBuf,
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
    /// To what the edge seals its records that have to wait; none if none may.
    pub sealing_key: Option<SealingKey>,
}

/// What becomes of the regions' states in the route table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum States {
    /// As in the repository's `wrangler.toml`, so that a flip can be tried before it is deployed.
    AsTheyAre,
    /// Tests need every region, whatever is paused in production today.
    AllOpen,
}

impl CoreAddress {
    /// The core of a running region, whose records may wait at the edge as its file says.
    #[must_use]
    pub fn of(region: &Region, spool: Spool) -> Self {
        Self {
            region: region.id.to_string(),
            origin: region.core_url(),
            keyid: region.hop_keyid.clone(),
            secret: region.hop_secret.clone(),
            sealing_key: (spool == Spool::Sealed).then(|| region.sealing_key()),
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
        let ops_token = crate::secrets::random_hex()?;
        let secrets = worker_secrets(cores, &ops_token)?;
        // Before the settings: whoever writes it later sees by that whether wrangler knows of it.
        write_private(&directory.join(DEV_VARS), &render_dev_vars(&secrets))?;
        let config = directory.join("wrangler.toml");
        let source = checkout::root().join("wrangler.toml");
        let text = std::fs::read_to_string(&source)
            .with_context(|| format!("cannot read {}", source.display()))?;
        running::write(&config, &render_wrangler_toml(&text, cores, states)?)?;
        let listed = serde_json::to_string_pretty(&local_cores(cores))?;
        std::fs::write(directory.join(local::CORES_FILE), listed)?;
        // What waited for the regions of before is sealed to keys that are no more.
        let state = directory.join("state");
        if state.exists() {
            std::fs::remove_dir_all(&state)
                .with_context(|| format!("cannot remove {}", state.display()))?;
        }
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
            .arg(state)
            .current_dir(directory)
            // Nothing of this is for the network: no metrics, no updates, no country by address.
            .env("WRANGLER_SEND_METRICS", "false")
            .env("CLOUDFLARE_CF_FETCH_ENABLED", "false")
            // As in a debugger's terminal: wrangler's own debugger, which hears of each request, stays away. It took
            // half a core at 300 requests a second.
            .env("VSCODE_INSPECTOR_OPTIONS", "{}")
            .env("WRANGLER_LOG_PATH", debug_log)
            .env("XDG_CONFIG_HOME", directory.join("wrangler-config"))
            .env("CI", "1");
        let process = Process::start("the edge", command, log)?;
        let mut edge = Self {
            process,
            url: format!("http://127.0.0.1:{port}"),
            ops_token,
            secrets,
            config,
        };
        edge.wait_for_routes(|_| true).await?;
        let entries = DemoConnection::to_entries(connections).to_string();
        edge.change_connections(&Change::Add(entries_from_json(&entries)?))
            .await?;
        Ok(edge)
    }

    /// Changes the connections, as ops do.
    pub async fn change_connections(&self, change: &Change) -> Result<()> {
        let request = reqwest::Client::new()
            .post(format!("{}/_edge/connections", self.url))
            .bearer_auth(&self.ops_token)
            .body(change.to_json());
        let answer = request.send().await?;
        let (status, body) = (answer.status(), answer.text().await?);
        ensure!(status == 200, "the edge answered {status}: {body}");
        Ok(())
    }

    /// Pauses or opens a region, as a deployment of another route table does, and waits until that is in
    /// force. The file at the checkout's root stays as it is.
    pub async fn flip(&mut self, region: &str, state: RouteState) -> Result<u32> {
        let mut document: toml::Table = running::read(&self.config)?.parse()?;
        let routes = document
            .get_mut("vars")
            .and_then(|vars| vars.get_mut("ROUTES"))
            .context("no [vars.ROUTES]")?;
        let version = routes.get("version").and_then(toml::Value::as_integer);
        let version = version.context("no version")? + 1;
        let table = routes.as_table_mut().context("ROUTES is no table")?;
        table.insert("version".to_owned(), version.into());
        let route = table
            .get_mut("regions")
            .and_then(|regions| regions.get_mut(region))
            .and_then(toml::Value::as_table_mut)
            .with_context(|| format!("no route for {region}"))?;
        let state = match state {
            RouteState::Open => "open",
            RouteState::Paused => "paused",
        };
        route.insert("state".to_owned(), state.into());
        let (file, text) = (self.config.clone(), format!("{RENDERED}{document}"));
        running::write(&file, &text)?;
        let again = async {
            loop {
                tokio::time::sleep(WATCHER_PATIENCE).await;
                if let Err(error) = running::write(&file, &text) {
                    return error;
                }
            }
        };
        let version = u32::try_from(version)?;
        tokio::select! {
            in_force = self.wait_for_routes(|found| found == version) => in_force?,
            error = again => return Err(error.into()),
        }
        Ok(version)
    }

    /// Waits until the edge answers with a version of the route table.
    async fn wait_for_routes(&mut self, is_it: impl Fn(u32) -> bool) -> Result<()> {
        let healthz = format!("{}/healthz", self.url);
        self.process
            .wait_until("healthy, with its routes", || async {
                let response = reqwest::get(&healthz).await.ok()?;
                let version = response.headers().get(ROUTE_VERSION)?.to_str().ok()?;
                is_it(version.parse().ok()?).then_some(())
            })
            .await
    }
}

/// How often the connections are read again here, in milliseconds, so that whoever tries a change sees it soon.
const LOCAL_REFRESH_MS: u32 = 1_000;

/// Connections as they lie in KV, and the secret `CONNECTIONS_KEYS` that opens them.
pub fn seal_connections(entries: &Value) -> Result<(String, Vec<u8>)> {
    let key = random_bytes()?;
    let keys = json!([AtRestKeys::expose_key("local-1", &key)]).to_string();
    let add = Change::Add(entries_from_json(&entries.to_string())?);
    let document = Document::default().apply(add, UnixSeconds(crate::pancake::now()))?;
    let randomness = random_bytes()?;
    let nonce = randomness.first_chunk().context("too little randomness")?;
    let snapshot = seal(&AtRestKeys::from_json(&keys)?, &document, *nonce)?;
    Ok((keys, snapshot))
}

/// The repository's `wrangler.toml` with other origins and sealing keys, and with paths that hold from its
/// new place. Version and countries stay.
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
        .and_then(toml::Value::as_table_mut)
        .context("wrangler.toml has no [vars.ROUTES]")?;
    local::localize(routes, &local_cores(cores)).map_err(|mistake| anyhow!(mistake))?;
    if states == States::AllOpen {
        let regions = routes
            .get_mut("regions")
            .and_then(toml::Value::as_table_mut);
        for (_, route) in regions.into_iter().flatten() {
            let route = route.as_table_mut().context("a route is no table")?;
            route.insert("state".to_owned(), "open".into());
        }
    }
    Ok(format!("{RENDERED}{document}"))
}

/// The cores as `smpctl route --local` knows them.
fn local_cores(cores: &[CoreAddress]) -> BTreeMap<String, local::Core> {
    let core = |core: &CoreAddress| local::Core {
        origin: core.origin.clone(),
        // The key is this platform's: nobody else has the private half.
        sealing_key: core.sealing_key.as_ref().map(ToString::to_string),
    };
    cores
        .iter()
        .map(|address| (address.region.clone(), core(address)))
        .collect()
}

fn worker_secrets(cores: &[CoreAddress], ops_token: &str) -> Result<Variables> {
    let secrets: serde_json::Map<_, _> = cores
        .iter()
        .map(|core| {
            (
                core.region.clone(),
                json!({"keyid": core.keyid, "secret": core.secret}),
            )
        })
        .collect();
    let ops_tokens = [OpsToken::new("platform", ops_token, Scope::Admin)];
    let keys = [AtRestKeys::expose_key("local-1", &random_bytes()?)];
    Ok(Variables::from([
        (HOP_SECRETS.to_owned(), Value::Object(secrets).to_string()),
        ("CONNECTIONS_KEYS".to_owned(), json!(keys).to_string()),
        ("OPS_TOKENS".to_owned(), serde_json::to_string(&ops_tokens)?),
    ]))
}

/// The Worker's secret that has a key for each region.
pub const HOP_SECRETS: &str = "HOP_SECRETS";

/// The file from which wrangler takes the Worker's secrets, in its own form.
pub const DEV_VARS: &str = ".dev.vars";

/// [`DEV_VARS`] with these secrets.
#[must_use]
pub fn render_dev_vars(secrets: &Variables) -> String {
    let mut all = secrets.clone();
    all.entry("CONNECTIONS_REFRESH_MS".to_owned())
        .or_insert_with(|| LOCAL_REFRESH_MS.to_string());
    all.iter()
        .flat_map(|(name, value)| [name, "='", value, "'\n"])
        .collect()
}

#[cfg(test)]
mod tests {
    use protocol::sealed::OpeningKey;

    use super::*;

    #[test]
    fn only_origins_and_keys_are_replaced_in_the_route_table() {
        let routes = |asia: &str, china: &str, spool: &str| {
            format!(
                "[vars.ROUTES]\nversion = 7\n\
                 [vars.ROUTES.countries]\nVN = \"smp-asia\"\nCN = \"smp-china\"\n\
                 [vars.ROUTES.regions.smp-asia]\norigin = \"{asia}\"\nstate = \"open\"\n{spool}\n\
                 [vars.ROUTES.regions.smp-china]\norigin = \"{china}\"\nstate = \"paused\"\nspool = \"off\"\n"
            )
        };
        let key = OpeningKey::derive("local-1", &[7; 32])
            .unwrap()
            .sealing_key();
        let source = format!(
            "name = \"smp-edge\"\nmain = \"edge-worker/entry.js\"\n[build]\ncommand = \"make\"\n{}\
             [env.staging]\nname = \"other\"\n",
            routes(
                "https://asia.example.com",
                "https://china.example.com",
                "spool = \"off\""
            )
        );
        let core = |region: &str, origin: &str, sealing_key| CoreAddress {
            region: region.to_owned(),
            origin: origin.to_owned(),
            keyid: String::new(),
            secret: String::new(),
            sealing_key,
        };
        let cores = [
            core("smp-asia", "http://127.0.0.1:1", Some(key.clone())),
            core("smp-china", "http://127.0.0.1:2", None),
        ];
        let rendered: toml::Table = render_wrangler_toml(&source, &cores, States::AsTheyAre)
            .unwrap()
            .parse()
            .unwrap();
        let entry = checkout::root().join("edge-worker/entry.js");
        let expected: toml::Table = format!(
            "name = \"smp-edge\"\nmain = {:?}\n{}",
            entry.display().to_string(),
            routes(
                "http://127.0.0.1:1",
                "http://127.0.0.1:2",
                &format!("sealing_key = \"{key}\"\nspool = \"sealed\"")
            )
        )
        .parse()
        .unwrap();
        assert_eq!(rendered, expected);
    }
}
