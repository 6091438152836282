//! The edge on workerd itself, raced against JavaScript that does as much or less, and against nginx
//! with Lua: one worker thread each, 32 connections, signed posts of some 800 bytes, one trivially fast
//! upstream for all.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use platform::ports::{Listener, Ports};
use platform::process::Process;
use platform::secrets::hex;
use platform::{checkout, pancake};
use protocol::sealed::{OpeningKey, RANDOMNESS_BYTES};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::machine::cpu_time_us;
use super::{Effort, median};
use crate::up::say;

const CONNECTIONS: u32 = 32;
/// As the given contenders have them.
const TOKEN: &str = "tok";
const SECRET: &str = "secret";
/// From where all webhooks come.
const ADDRESS: &str = "192.0.2.7";

/// One of those who race.
struct Contender {
    name: &'static str,
    what: &'static str,
    process: Process,
    port: u16,
    turns: Vec<Turn>,
    /// Each turn against the bound's turns before and after it: of the bound's rate, and the bound's
    /// CPU time of this one's.
    of_bound: Vec<Turn>,
}

/// What came of a turn.
#[derive(Clone, Copy)]
struct Turn {
    /// Requests a second.
    rate: f64,
    /// CPU time of a request in µs.
    cpu: f64,
}

/// The contenders that were given, and what each does.
const JAVASCRIPT: [(&str, &str); 4] = [
    (
        "buf",
        "JS: reads the body, forwards it with all headers; no crypto: the bound",
    ),
    ("jsfull", "JS + WebCrypto: all that ours does"),
    ("jshmac", "JS + WebCrypto: verifies the HMAC only"),
    ("pass", "JS: passes the request on, unread"),
];

pub(super) fn run(effort: Effort) -> Result<Value> {
    let tools = Tools::find()?;
    let directory = checkout::run_dir("bench/edge")?;
    let upstream_port = free_port()?;
    let upstream = start_upstream(&directory, upstream_port)?;
    let wasm_gzip_bytes = bundle_ours(&directory, upstream_port)?;
    let mut contenders = Vec::new();
    for (name, what) in JAVASCRIPT {
        let source = checkout::root().join("tests/benches/edge-race").join(name);
        contenders.push(start_worker(
            name,
            what,
            &source,
            &directory,
            upstream_port,
        )?);
    }
    let ours = "ours: verifies, digests, signs the hop, judges the answer, counts, limits";
    contenders.push(start_worker(
        "ours",
        ours,
        &directory.join("ours"),
        &directory,
        upstream_port,
    )?);
    if tools.nginx_has_lua {
        contenders.push(start_nginx_lua(&directory, upstream_port)?);
    }
    for contender in &contenders {
        wait_until_it_answers(contender, &directory)?;
    }
    race(&mut contenders, effort, &directory)?;
    drop(upstream);
    Ok(report(&contenders, tools.nginx_has_lua, wasm_gzip_bytes))
}

/// Every turn stands between two of the bound's, and is measured against them: the machine is not as
/// fast from one second to the next.
fn race(contenders: &mut [Contender], effort: Effort, directory: &Path) -> Result<()> {
    let Some((bound, others)) = contenders.split_first_mut() else {
        return Ok(());
    };
    for contender in [&*bound].into_iter().chain(&*others) {
        take_turn(contender, directory, effort.seconds)?; // warms it up
    }
    let mut before = take_turn(bound, directory, effort.seconds)?;
    for round in 1..=effort.rounds {
        for contender in &mut *others {
            let turn = take_turn(contender, directory, effort.seconds)?;
            let after = take_turn(bound, directory, effort.seconds)?;
            contender.turns.push(turn);
            contender.of_bound.push(Turn {
                rate: turn.rate / f64::midpoint(before.rate, after.rate),
                cpu: f64::midpoint(before.cpu, after.cpu) / turn.cpu,
            });
            bound.turns.push(after);
            before = after;
        }
        say(&format!("edge: round {round} of {} done", effort.rounds));
    }
    Ok(())
}

fn report(contenders: &[Contender], with_nginx: bool, wasm_gzip_bytes: usize) -> Value {
    say(&format!(
        "\n{:<10} {:>7} {:>9} {:>13} {:>9} {:>13}  what it does",
        "edge", "req/s", "of bound", "middle half", "CPU µs", "of bound's"
    ));
    let mut rows = Vec::new();
    for contender in contenders {
        let rate = median(&values(&contender.turns, |turn| turn.rate));
        let cpu = median(&values(&contender.turns, |turn| turn.cpu));
        let mut ratios = values(&contender.of_bound, |turn| turn.rate);
        let cpu_ratios = values(&contender.of_bound, |turn| turn.cpu);
        if ratios.is_empty() {
            say(&format!(
                "{:<10} {rate:>7.0} {:>9.2} {:>13} {cpu:>9.0} {:>13.2}  {}",
                contender.name, 1.0, "", 1.0, contender.what
            ));
        } else {
            ratios.sort_by(f64::total_cmp);
            let quartile = |quarters: usize| ratios.get(ratios.len() * quarters / 4);
            let middle_half = format!(
                "{:.2} to {:.2}",
                quartile(1).copied().unwrap_or_default(),
                quartile(3).copied().unwrap_or_default()
            );
            say(&format!(
                "{:<10} {rate:>7.0} {:>9.2} {middle_half:>13} {cpu:>9.0} {:>13.2}  {}",
                contender.name,
                median(&ratios),
                median(&cpu_ratios),
                contender.what
            ));
        }
        rows.push(json!({
            "name": contender.name, "requests_per_second": rate, "cpu_us_per_request": cpu,
            "of_bound": if ratios.is_empty() { 1.0 } else { median(&ratios) },
            "of_bound_by_cpu": if ratios.is_empty() { 1.0 } else { median(&cpu_ratios) },
            "ratios": ratios,
        }));
    }
    if !with_nginx {
        say(
            "nginx-lua          -         -            -  not raced: its module is packaged by Debian only",
        );
    }
    say(&format!(
        "the Worker's wasm is {} KiB gzipped",
        wasm_gzip_bytes.div_ceil(1_024)
    ));
    json!({"contenders": rows, "wasm_gzip_bytes": wasm_gzip_bytes})
}

fn values(turns: &[Turn], of: impl Fn(&Turn) -> f64) -> Vec<f64> {
    turns.iter().map(of).collect()
}

/// What the race needs from the system.
struct Tools {
    nginx_has_lua: bool,
}

impl Tools {
    /// Looks for wrk and nginx; installs them where we may.
    fn find() -> Result<Self> {
        let there = |program: &str| {
            Command::new("sh")
                .args(["-c", &format!("command -v {program}")])
                .output()
                .is_ok_and(|output| output.status.success())
        };
        let lua = Path::new("/usr/lib/nginx/modules/ngx_http_lua_module.so");
        let complete = || there("wrk") && there("nginx") && lua.exists();
        if !complete() && there("apt-get") && nix::unistd::geteuid().is_root() {
            say("edge: installing wrk and nginx with Lua from Debian");
            let script = "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
                          --no-install-recommends wrk nginx libnginx-mod-http-lua";
            let output = Command::new("sh").args(["-c", script]).output()?;
            ensure!(
                output.status.success(),
                "apt-get: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        for program in ["wrk", "nginx"] {
            ensure!(
                there(program),
                "the edge's benchmark needs {program}: install it and run again"
            );
        }
        Ok(Self {
            nginx_has_lua: lua.exists(),
        })
    }
}

fn free_port() -> Result<u16> {
    Ports::Free.take(Listener::Edge, "a contender")
}

/// nginx that answers at once, as a core does that has kept the record.
fn start_upstream(directory: &Path, port: u16) -> Result<Process> {
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
    let mut command = Command::new("nginx");
    command
        .arg("-c")
        .arg(&config)
        .arg("-e")
        .arg(directory.join("upstream.err"));
    Process::start("the upstream", command, &directory.join("upstream.log"))
}

/// The Worker as it would be deployed, by wrangler's own bundler. Gives the wasm's gzipped size.
fn bundle_ours(directory: &Path, upstream_port: u16) -> Result<usize> {
    let ours = directory.join("ours");
    let _ = fs::remove_dir_all(&ours);
    let config = directory.join("wrangler.toml");
    let entry = checkout::root().join("edge-worker/entry.js");
    fs::write(
        &config,
        format!(
            "name = \"bench\"\nmain = \"{}\"\ncompatibility_date = \"2026-04-01\"\n",
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
    let quoted = |value: &Value| Value::String(value.to_string()).to_string();
    fs::write(
        ours.join("bindings.capnp"),
        format!(
            "(name = \"ROUTES\", json = {}), (name = \"HOP_SECRETS\", text = {}), \
             (name = \"PANCAKE_CONNECTIONS\", text = {}), \
             (name = \"BLOCKED_ADDRESSES\", text = \"[\\\"198.51.100.0/24\\\"]\"), \
             (name = \"SPOOL\", durableObjectNamespace = \"SpoolShard\"), \
             (name = \"METRICS\", durableObjectNamespace = \"EdgeMetrics\"), \
             (name = \"RATE_LIMIT\", wrapped = (moduleName = \"bench:ratelimit\", innerBindings = [\
             (name = \"limit\", json = \"1000000000\"), (name = \"period\", json = \"10\")]))",
            quoted(&routes),
            quoted(&hop_secrets),
            quoted(&connections)
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
         (className = \"EdgeMetrics\", uniqueKey = \"metrics\", enableSql = true) ],\n\
         durableObjectStorage = (inMemory = void),\n",
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
fn start_worker(
    name: &'static str,
    what: &'static str,
    source: &Path,
    directory: &Path,
    upstream_port: u16,
) -> Result<Contender> {
    let port = free_port()?;
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
    let config = directory.join(format!("{name}.capnp"));
    fs::write(
        &config,
        format!(
            "using Workerd = import \"/workerd/workerd.capnp\";\n\
             const config :Workerd.Config = (\n{more}\
             services = [ (name = \"main\", worker = .w),\n\
             (name = \"up\", external = (address = \"127.0.0.1:{upstream_port}\", http = ())) ],\n\
             sockets = [ (name = \"http\", address = \"127.0.0.1:{port}\", http = (), service = \"main\") ] );\n\
             const w :Workerd.Worker = ( modules = [ {modules} ], bindings = [ {bindings} ],\n\
             {worker}compatibilityDate = \"2026-04-01\", globalOutbound = \"up\" );\n"
        ),
    )?;
    let mut command = Command::new("node");
    command.arg(checkout::node_module("workerd/bin/workerd")?);
    // The binary itself: the wrapper of npm would be a process of its own.
    let binary = Command::new("node")
        .args(["-p", "require('workerd').default"])
        .current_dir(checkout::root())
        .output()?;
    let binary = String::from_utf8(binary.stdout)?.trim().to_owned();
    if !binary.is_empty() {
        command = Command::new(binary);
    }
    command.args(["serve"]).arg(&config);
    let process = Process::start(name, command, &directory.join(format!("{name}.log")))?;
    Ok(Contender {
        name,
        what,
        process,
        port,
        turns: Vec::new(),
        of_bound: Vec::new(),
    })
}

fn start_nginx_lua(directory: &Path, upstream_port: u16) -> Result<Contender> {
    let port = free_port()?;
    let template = checkout::root().join("tests/benches/edge-race/nginx-lua.conf");
    let config = directory.join("nginx-lua.conf");
    let text = fs::read_to_string(&template)?
        .replace("@DIR@", &directory.display().to_string())
        .replace("@PORT@", &port.to_string())
        .replace("@UPSTREAM@", &upstream_port.to_string());
    fs::write(&config, text)?;
    let mut command = Command::new("nginx");
    command
        .arg("-c")
        .arg(&config)
        .arg("-e")
        .arg(directory.join("nginx-lua.err"));
    let process = Process::start("nginx-lua", command, &directory.join("nginx-lua.log"))?;
    Ok(Contender {
        name: "nginx-lua",
        what: "nginx + Lua, the user's sketch: verifies timestamp and HMAC, signs no hop",
        process,
        port,
        turns: Vec::new(),
        of_bound: Vec::new(),
    })
}

/// The body that all are sent: a lead of some 800 bytes.
fn body() -> String {
    json!({
        "id": "6f0c6d3e-5a0f-4a8e-9d31-0a5b7b4a6c11",
        "name": "Nguyễn Thị Hồng",
        "phone_number": "0901234567",
        "modified_on": "2026-11-22T08:00:00Z",
        "note": "x".repeat(650),
    })
    .to_string()
}

fn url(contender: &Contender) -> String {
    format!(
        "http://127.0.0.1:{}/api/pancake/record/{TOKEN}",
        contender.port
    )
}

/// Sees that a contender does what it is raced for: a signed post comes back accepted.
fn wait_until_it_answers(contender: &Contender, directory: &Path) -> Result<()> {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        let timestamp = pancake::now().to_string();
        let signature = pancake::sign(SECRET, &timestamp, body().as_bytes());
        let output = Command::new("curl")
            .args([
                "-s",
                "-m",
                "5",
                "-H",
                &format!("x-pancake-timestamp: {timestamp}"),
                "-H",
                &format!("cf-connecting-ip: {ADDRESS}"),
            ])
            .args(["-H", &format!("x-pancake-signature: {signature}")])
            .args(["--data-binary", &body(), &url(contender)])
            .output()?;
        if output.stdout == br#"{"status":"accepted"}"# {
            return Ok(());
        }
        if std::time::Instant::now() > deadline {
            bail!(
                "{} answered {:?}; its log is in {}",
                contender.name,
                String::from_utf8_lossy(&output.stdout),
                directory.display()
            );
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn take_turn(contender: &Contender, directory: &Path, seconds: u64) -> Result<Turn> {
    let timestamp = pancake::now().to_string();
    let signature = pancake::sign(SECRET, &timestamp, body().as_bytes());
    let script = directory.join("post.lua");
    let body_file = directory.join("body");
    fs::write(&body_file, body())?;
    fs::write(
        &script,
        format!(
            "local file = io.open(\"{}\")\nwrk.method = \"POST\"\nwrk.body = file:read(\"a\")\n\
             wrk.headers[\"content-type\"] = \"application/json\"\n\
             wrk.headers[\"cf-connecting-ip\"] = \"{ADDRESS}\"\n\
             wrk.headers[\"x-pancake-timestamp\"] = \"{timestamp}\"\n\
             wrk.headers[\"x-pancake-signature\"] = \"{signature}\"\n",
            body_file.display()
        ),
    )?;
    // nginx works in a child of the process that was started.
    let pid = child_of(contender.process.pid()).unwrap_or(contender.process.pid());
    let before = cpu_time_us(pid);
    let output = Command::new("wrk")
        .args([
            "-t1",
            &format!("-c{CONNECTIONS}"),
            &format!("-d{seconds}s"),
            "-s",
        ])
        .arg(&script)
        .arg(url(contender))
        .output()?;
    let used = cpu_time_us(pid)
        .zip(before)
        .map(|(after, before)| after - before);
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && !text.contains("Non-2xx") && !text.contains("Socket errors"),
        "{}: {text}",
        contender.name
    );
    let number_before = |marker: &str| -> Option<f64> {
        text.lines()
            .find(|line| line.contains(marker))?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    };
    let rate = text
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:"))
        .and_then(|rate| rate.trim().parse::<f64>().ok())
        .context("wrk printed no rate")?;
    let requests = number_before("requests in").context("wrk printed no count")?;
    // Not a number, and null in JSON, where the system tells no CPU time.
    let used = used.unwrap_or(f64::NAN);
    Ok(Turn {
        rate,
        cpu: used / requests,
    })
}

/// The first child of a process, if it has one.
fn child_of(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}
