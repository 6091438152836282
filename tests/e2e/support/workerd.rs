//! A Worker on workerd alone, without wrangler before it: starts in a quarter of a second, and takes
//! any bindings.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use platform::checkout;
use platform::edge::seal_connections;
use platform::ports::{Listener, Ports};
use platform::process::Process;
use serde_json::Value;

use super::lifetime;

/// The header in which [`Workerd`] takes `request.cf`, as JSON.
pub(crate) const CF_HEADER: &str = "x-test-cf";

/// A value of the Worker's environment.
pub(crate) enum Binding {
    /// A text, as a Worker's secret is.
    Text(String),
    /// An object, as a table of `wrangler.toml` is.
    Json(String),
    /// Connections, as a JSON array: sealed in KV, with the key that opens them, and their registry.
    Connections(Value),
    /// Where connections are kept, and the secret `CONNECTIONS_KEYS`.
    Registry(String),
    /// Likewise, but KV takes nothing.
    RegistryWithoutKv(String),
    /// Likewise, but KV is served at this port.
    RegistryWithKvAt(String, u16),
    /// A class of Durable Objects, on disk beside the Worker's modules.
    DurableObjects(&'static str),
    /// A limit of so many requests in ten seconds, as `wrangler dev` counts them.
    RateLimit(u32),
}

/// A running Worker.
pub(crate) struct Workerd {
    pub(crate) url: String,
    /// Where its modules, its configuration and what it keeps on disk are.
    pub(crate) directory: PathBuf,
    name: String,
    process: Process,
}

impl Workerd {
    /// Serves the module `main`, beside which lies what `make build` has made of the edge. Waits until
    /// `/healthz` is answered, whatever it says.
    pub(crate) async fn start(name: &str, main: &Path, bindings: &[(&str, Binding)]) -> Self {
        let directory = lifetime::run_directory().join(name);
        fs::create_dir_all(&directory).unwrap();
        let port = Ports::Free.take(Listener::Edge, name).unwrap();
        for kept in [OBJECTS_DIRECTORY, KV_DIRECTORY] {
            let kept = directory.join(kept);
            let _ = fs::remove_dir_all(&kept);
            fs::create_dir_all(kept).unwrap();
        }
        render(&directory, main, bindings, port);
        let url = format!("http://127.0.0.1:{port}");
        let process = serve(name, &directory, &url).await;
        Self {
            url,
            directory,
            name: name.to_owned(),
            process,
        }
    }

    /// The process group that it runs in.
    pub(crate) fn group(&self) -> u32 {
        self.process.pid()
    }

    /// Kills it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
    }

    /// Starts it anew with other bindings, on what it left on disk.
    pub(crate) async fn deploy(&mut self, main: &Path, bindings: &[(&str, Binding)]) {
        self.kill();
        let port = self.url.rsplit_once(':').unwrap().1.parse().unwrap();
        render(&self.directory, main, bindings, port);
        self.start_again().await;
    }

    /// Starts it again after [`Workerd::kill`], on what it left on disk.
    pub(crate) async fn start_again(&mut self) {
        self.process = serve(&self.name, &self.directory, &self.url).await;
    }
}

const CONFIG: &str = "workerd.capnp";

/// The module that counts requests.
const RATE_LIMIT: &str = "tests:ratelimit";

/// Where KV is kept: a file for each key.
pub(crate) const KV_DIRECTORY: &str = "kv";

/// Where the Durable Objects are kept.
pub(crate) const OBJECTS_DIRECTORY: &str = "objects";

async fn serve(name: &str, directory: &Path, url: &str) -> Process {
    let mut command = Command::new(checkout::node_module("workerd/bin/workerd").unwrap());
    command.args(["serve", CONFIG]).current_dir(directory);
    let log = lifetime::run_directory().join(format!("logs/{name}.log"));
    let mut process = Process::start(name, command, &log).unwrap();
    let healthz = format!("{url}/healthz");
    let is_up = || async { reqwest::get(&healthz).await.ok().map(drop) };
    process.wait_until("healthy", is_up).await.unwrap();
    process
}

/// Copies the modules into `directory`, for workerd embeds only what lies beside its configuration.
fn render(directory: &Path, main: &Path, bindings: &[(&str, Binding)], port: u16) {
    let build = checkout::root().join("edge-worker/build");
    assert!(
        build.join("index_bg.wasm").exists(),
        "edge-worker/build is missing: run 'make build'"
    );
    let mut files = vec![
        (main.to_owned(), "main.js".to_owned()),
        (
            checkout::root().join("edge-worker/entry.js"),
            "entry.js".to_owned(),
        ),
        (build.join("index_bg.js"), "build/index_bg.js".to_owned()),
        (
            build.join("index_bg.wasm"),
            "build/index_bg.wasm".to_owned(),
        ),
    ];
    for snippet in fs::read_dir(build.join("snippets")).unwrap() {
        for file in fs::read_dir(snippet.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let name = path.strip_prefix(&build).unwrap().display().to_string();
            files.push((path, format!("build/{name}")));
        }
    }
    let limiter = "miniflare/dist/src/workers/ratelimit/ratelimit.worker.js";
    let limiter = checkout::node_module(limiter).unwrap();
    fs::copy(limiter, directory.join("ratelimit.js")).unwrap();
    let mut modules = String::new();
    for (source, name) in files {
        let target = directory.join(&name);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&source, target).unwrap();
        let is_wasm = source
            .extension()
            .is_some_and(|extension| extension == "wasm");
        let kind = if is_wasm { "wasm" } else { "esModule" };
        write!(modules, "(name = \"{name}\", {kind} = embed \"{name}\"), ").unwrap();
    }
    let (environment, objects) = render_bindings(directory, bindings);
    let mut kinds = bindings.iter().map(|(_, binding)| binding);
    let takes = !kinds.any(|binding| matches!(binding, Binding::RegistryWithoutKv(_)));
    let served = bindings.iter().find_map(|(_, binding)| match binding {
        Binding::RegistryWithKvAt(_, port) => Some(port),
        _ => None,
    });
    let kv = match served {
        Some(port) => format!("external = (address = \"127.0.0.1:{port}\", http = ())"),
        None => format!("disk = (path = \"{KV_DIRECTORY}\", writable = {takes})"),
    };
    let wrangler = fs::read_to_string(checkout::root().join("wrangler.toml")).unwrap();
    let wrangler: toml::Table = wrangler.parse().unwrap();
    let date = wrangler["compatibility_date"].as_str().unwrap();
    let config = format!(
        r#"using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .w),
    (name = "network", network = (allow = ["public", "private"])),
    (name = "disk", disk = (path = "{OBJECTS_DIRECTORY}", writable = true)),
    (name = "kv", {kv}),
  ],
  extensions = [(
    modules = [ (name = "{RATE_LIMIT}", internal = true, esModule = embed "ratelimit.js") ],
  )],
  sockets = [(
    name = "http", address = "127.0.0.1:{port}",
    http = (cfBlobHeader = "{CF_HEADER}"), service = "main",
  )],
);
const w :Workerd.Worker = (
  modules = [ {modules} ],
  bindings = [ {environment} ],
  compatibilityDate = "{date}",
  globalOutbound = "network",
  durableObjectNamespaces = [ {objects} ],
  durableObjectStorage = (localDisk = "disk"),
);
"#
    );
    fs::write(directory.join(CONFIG), config).unwrap();
}

const REGISTRY: &str = "ConnectionRegistry";

fn render_registry(name: &str, keys: &str) -> String {
    format!(
        "(name = \"{name}\", kvNamespace = \"kv\"), (name = \"CONNECTIONS_KEYS\", text = {keys}), \
         (name = \"CONNECTION_REGISTRY\", durableObjectNamespace = \"{REGISTRY}\")"
    )
}

/// The bindings, and the classes of Durable Objects that they name.
fn render_bindings(directory: &Path, bindings: &[(&str, Binding)]) -> (String, String) {
    let (mut environment, mut objects) = (String::new(), String::new());
    let mut add_object = |class| {
        write!(
            objects,
            "(className = \"{class}\", uniqueKey = \"{class}\", enableSql = true), "
        )
        .unwrap();
    };
    // A string of Cap'n Proto is one of C, and for printable text JSON's is too.
    let quoted = |value: &String| serde_json::to_string(value).unwrap();
    for (name, binding) in bindings {
        let rendered = match binding {
            Binding::Text(value) => format!("(name = \"{name}\", text = {})", quoted(value)),
            Binding::Json(value) => format!("(name = \"{name}\", json = {})", quoted(value)),
            Binding::DurableObjects(class) => {
                add_object(*class);
                format!("(name = \"{name}\", durableObjectNamespace = \"{class}\")")
            }
            Binding::Connections(entries) => {
                let (keys, sealed) = seal_connections(entries).unwrap();
                fs::write(directory.join(KV_DIRECTORY).join("snapshot"), sealed).unwrap();
                add_object(REGISTRY);
                render_registry(name, &quoted(&keys))
            }
            Binding::Registry(keys)
            | Binding::RegistryWithoutKv(keys)
            | Binding::RegistryWithKvAt(keys, _) => {
                add_object(REGISTRY);
                render_registry(name, &quoted(keys))
            }
            Binding::RateLimit(limit) => format!(
                "(name = \"{name}\", wrapped = (moduleName = \"{RATE_LIMIT}\", innerBindings = [\
                 (name = \"limit\", json = \"{limit}\"), (name = \"period\", json = \"10\")]))"
            ),
        };
        write!(environment, "{rendered}, ").unwrap();
    }
    (environment, objects)
}
