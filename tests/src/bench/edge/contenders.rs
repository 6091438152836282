//! Those who race, each a process of its own, and the upstream that is behind all of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use platform::checkout;
use platform::edge::seal_connections;
use platform::ports::{Listener, Ports};
use platform::process::Process;
use platform::secrets::hex;
use protocol::sealed::{OpeningKey, RANDOMNESS_BYTES};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::webhook::{Client, SECRET, TOKEN, Webhook};

/// One of those who race.
pub(super) struct Contender {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) process: Process,
    pub(super) port: u16,
}

/// What a contender does, as the tables say it.
const WHAT: [(&str, &str); 7] = [
    (
        "buf",
        "JS: reads the body, forwards it with all headers; no crypto: the bound",
    ),
    (
        "ours",
        "ours: verifies, digests, signs the hop, judges the answer, counts, limits",
    ),
    (
        "jssame",
        "JS + WebCrypto: all that ours does, but for the spool",
    ),
    (
        "jsfull",
        "JS + WebCrypto: verifies, digests, signs the hop; knows one token, counts and limits nothing",
    ),
    ("jshmac", "JS + WebCrypto: verifies the HMAC only"),
    ("pass", "JS: passes the request on, unread"),
    (
        "nginx-lua",
        "nginx + Lua, the user's sketch: verifies timestamp and HMAC, signs no hop",
    ),
];

impl Contender {
    /// Sees that it does what it is raced for: a signed webhook comes back accepted.
    pub(super) fn wait_until_it_answers(&self, body: &str, directory: &Path) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let request = Webhook::signed_now(body).request();
            let answered = Client::connect(self.port).and_then(|mut client| client.send(&request));
            if answered.is_ok() || Instant::now() > deadline {
                return answered.with_context(|| {
                    format!("{}: its log is in {}", self.name, directory.display())
                });
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The process that does the work: of nginx, a child of the one that was started.
    pub(super) fn working_pid(&self) -> u32 {
        child_of(self.process.pid()).unwrap_or(self.process.pid())
    }
}

/// The first child of a process, if it has one.
fn child_of(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

fn what_it_does(name: &str) -> &'static str {
    let known = WHAT.into_iter().find(|(known, _)| *known == name);
    known.map_or("", |(_, what)| what)
}

pub(super) fn free_port() -> Result<u16> {
    Ports::Free.take(Listener::Edge, "a contender")
}

/// Where the Worker of a name is: ours where it was bundled, the others as they were given.
fn source_of(name: &str, directory: &Path) -> PathBuf {
    if name == "ours" {
        directory.join(name)
    } else {
        checkout::root().join("tests/benches/edge-race").join(name)
    }
}

/// nginx that answers at once, as a core does that has kept the record. It throws bodies away, so that none
/// lands on a disk, however large.
pub(super) fn start_upstream(directory: &Path, port: u16) -> Result<Process> {
    let config = directory.join("upstream.conf");
    let text = format!(
        "worker_processes 1; daemon off; pid {0}/upstream.pid; error_log {0}/upstream.err;\n\
         events {{}}\nhttp {{ access_log off; keepalive_requests 100000000;\n\
         client_body_temp_path {0}/up-body; proxy_temp_path {0}/up-proxy; fastcgi_temp_path {0}/up-fastcgi;\n\
         uwsgi_temp_path {0}/up-uwsgi; scgi_temp_path {0}/up-scgi;\n\
         server {{ listen 127.0.0.1:{port}; default_type application/json;\n\
         add_header x-smp-record-status accepted;\n\
         location / {{ return 200 '{{\"status\":\"accepted\"}}'; }} }} }}\n",
        directory.display()
    );
    fs::write(&config, text)?;
    start_nginx("upstream", directory)
}

/// nginx with the configuration of this name.
fn start_nginx(name: &str, directory: &Path) -> Result<Process> {
    let file = |ending: &str| directory.join(format!("{name}.{ending}"));
    let mut command = Command::new("nginx");
    command.arg("-c").arg(file("conf"));
    command.arg("-e").arg(file("err"));
    Process::start(name, command, &file("log"))
}

/// The Worker as it would be deployed, by wrangler's own bundler. Gives the wasm's gzipped size.
pub(super) fn bundle_ours(directory: &Path, upstream_port: u16) -> Result<usize> {
    let ours = directory.join("ours");
    let _ = fs::remove_dir_all(&ours);
    let config = directory.join("wrangler.toml");
    let entry = checkout::root().join("edge-worker/entry.js");
    fs::write(
        &config,
        format!(
            "name = \"bench\"\nmain = \"{}\"\ncompatibility_date = \"2026-04-01\"\nkeep_names = false\n",
            entry.display()
        ),
    )?;
    let output = Command::new("node")
        .arg(checkout::node_module("wrangler/bin/wrangler.js")?)
        .args(["deploy", "--dry-run", "--config"])
        .arg(&config)
        .arg("--outdir")
        .arg(&ours)
        .env("WRANGLER_SEND_METRICS", "false")
        .env("WRANGLER_LOG_PATH", directory.join("wrangler-logs"))
        .env("XDG_CONFIG_HOME", directory.join("wrangler-config"))
        .output()?;
    ensure!(
        output.status.success(),
        "wrangler: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    fs::rename(ours.join("entry.js"), ours.join("index.js"))?;
    let sealing_key = OpeningKey::derive("bench-1", &[7; RANDOMNESS_BYTES])?.sealing_key();
    let routes = json!({
        "version": 1,
        "countries": {"VN": "smp-asia"},
        "regions": {"smp-asia": {
            "origin": format!("http://localhost:{upstream_port}"), "state": "open",
            "spool": "sealed", "sealing_key": sealing_key.to_string(),
        }},
    });
    let hop_secrets =
        json!({"smp-asia": {"keyid": "smp-asia-1", "secret": "0123456789abcdef0123456789abcdef"}});
    let connections = json!([{
        "id": "c1", "token_sha256": hex(&Sha256::digest(TOKEN)), "country": "VN",
        "mode": "enforce", "secrets": [SECRET], "allow": ["192.0.2.0/24", "2001:db8::/32"],
    }]);
    let (keys, snapshot) = seal_connections(&connections)?;
    let kv = ours.join("kv");
    fs::create_dir_all(&kv)?;
    fs::write(kv.join("snapshot"), snapshot)?;
    let objects = ours.join("objects");
    fs::create_dir_all(&objects)?;
    fs::write(
        ours.join("services.capnp"),
        format!(
            ", (name = \"kv\", disk = (path = \"{}\")), \
             (name = \"objects\", disk = (path = \"{}\", writable = true))",
            kv.display(),
            objects.display()
        ),
    )?;
    let quoted = |value: &Value| Value::String(value.to_string()).to_string();
    fs::write(
        ours.join("bindings.capnp"),
        format!(
            "(name = \"ROUTES\", json = {}), (name = \"HOP_SECRETS\", text = {}), \
             (name = \"CONNECTIONS_KEYS\", text = {}), (name = \"CONNECTIONS\", kvNamespace = \"kv\"), \
             (name = \"CONNECTION_REGISTRY\", durableObjectNamespace = \"ConnectionRegistry\"), \
             (name = \"BLOCKED_ADDRESSES\", text = \"[\\\"198.51.100.0/24\\\"]\"), \
             (name = \"SPOOL\", durableObjectNamespace = \"SpoolShard\"), \
             (name = \"METRICS\", durableObjectNamespace = \"EdgeMetrics\"), \
             (name = \"RATE_LIMIT\", wrapped = (moduleName = \"bench:ratelimit\", innerBindings = [\
             (name = \"limit\", json = \"1000000000\"), (name = \"period\", json = \"10\")]))",
            quoted(&routes),
            quoted(&hop_secrets),
            Value::String(keys)
        ),
    )?;
    // As deployed: spool, counters and limits are there. The limit is counted as `wrangler dev` does it.
    let limiter = "miniflare/dist/src/workers/ratelimit/ratelimit.worker.js";
    fs::copy(
        checkout::node_module(limiter)?,
        directory.join("ratelimit.js"),
    )?;
    fs::write(
        ours.join("worker.capnp"),
        "durableObjectNamespaces = [\
         (className = \"SpoolShard\", uniqueKey = \"spool\", enableSql = true), \
         (className = \"EdgeMetrics\", uniqueKey = \"metrics\", enableSql = true), \
         (className = \"ConnectionRegistry\", uniqueKey = \"registry\", enableSql = true) ],\n\
         durableObjectStorage = (localDisk = \"objects\"),\n",
    )?;
    fs::write(
        ours.join("config.capnp"),
        "extensions = [( modules = [ (name = \"bench:ratelimit\", internal = true, \
         esModule = embed \"ratelimit.js\") ] )],\n",
    )?;
    let wasm = wasm_in(&ours)?.context("wrangler made no wasm")?;
    let gzip = Command::new("gzip")
        .args(["-9", "-c"])
        .arg(&wasm)
        .output()?;
    Ok(gzip.stdout.len())
}

fn wasm_in(directory: &Path) -> Result<Option<PathBuf>> {
    let mut files = fs::read_dir(directory)?.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(files.find(|path| {
        path.extension()
            .is_some_and(|extension| extension == "wasm")
    }))
}

/// Starts a Worker on a workerd of its own, all of whose requests go to the upstream.
pub(super) fn start_worker(
    name: &'static str,
    directory: &Path,
    upstream_port: u16,
) -> Result<Contender> {
    let port = free_port()?;
    let source = source_of(name, directory);
    // Cap'n Proto embeds files by relative paths only.
    let folder = directory.join(name);
    if folder != source {
        fs::create_dir_all(&folder)?;
        fs::copy(source.join("index.js"), folder.join("index.js"))?;
    }
    let mut modules = format!("(name = \"index.js\", esModule = embed \"{name}/index.js\")");
    if let Some(wasm) = wasm_in(&folder)? {
        let file = wasm
            .file_name()
            .map(|name| name.display().to_string())
            .unwrap_or_default();
        modules.extend([
            ", (name = \"./",
            &file,
            "\", wasm = embed \"",
            name,
            "/",
            &file,
            "\")",
        ]);
    }
    let read = |name: &str| fs::read_to_string(source.join(name)).unwrap_or_default();
    let (bindings, worker, more) = (
        read("bindings.capnp"),
        read("worker.capnp"),
        read("config.capnp"),
    );
    let services = read("services.capnp");
    let config = directory.join(format!("{name}.capnp"));
    fs::write(
        &config,
        format!(
            "using Workerd = import \"/workerd/workerd.capnp\";\n\
             const config :Workerd.Config = (\n{more}\
             services = [ (name = \"main\", worker = .w),\n\
             (name = \"up\", external = (address = \"127.0.0.1:{upstream_port}\", http = ())){services} ],\n\
             sockets = [ (name = \"http\", address = \"127.0.0.1:{port}\", http = (), service = \"main\") ] );\n\
             const w :Workerd.Worker = ( modules = [ {modules} ], bindings = [ {bindings} ],\n\
             {worker}compatibilityDate = \"2026-04-01\", globalOutbound = \"up\" );\n"
        ),
    )?;
    let mut command = workerd()?;
    command.args(["serve"]).arg(&config);
    let process = Process::start(name, command, &directory.join(format!("{name}.log")))?;
    Ok(Contender {
        name,
        what: what_it_does(name),
        process,
        port,
    })
}

fn workerd() -> Result<Command> {
    // The binary itself: the wrapper of npm would be a process of its own.
    let binary = Command::new("node")
        .args(["-p", "require('workerd').default"])
        .current_dir(checkout::root())
        .output()?;
    let binary = String::from_utf8(binary.stdout)?.trim().to_owned();
    if !binary.is_empty() {
        return Ok(Command::new(binary));
    }
    let mut command = Command::new("node");
    command.arg(checkout::node_module("workerd/bin/workerd")?);
    Ok(command)
}

pub(super) fn start_nginx_lua(directory: &Path, upstream_port: u16) -> Result<Contender> {
    let port = free_port()?;
    let template = checkout::root().join("tests/benches/edge-race/nginx-lua.conf");
    let config = directory.join("nginx-lua.conf");
    let text = fs::read_to_string(&template)?
        .replace("@DIR@", &directory.display().to_string())
        .replace("@PORT@", &port.to_string())
        .replace("@UPSTREAM@", &upstream_port.to_string());
    fs::write(&config, text)?;
    let process = start_nginx("nginx-lua", directory)?;
    Ok(Contender {
        name: "nginx-lua",
        what: what_it_does("nginx-lua"),
        process,
        port,
    })
}
