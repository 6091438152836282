//! The rule of a webhook's verdict once more: the edge against Node's crypto, and against nginx with Lua.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use platform::pancake::DemoConnection;
use platform::ports::{Listener, Ports};
use platform::process::Process;
use platform::secrets::{hex, random_hex};
use serde_json::json;

use crate::support::lifetime;
use crate::support::workerd::{Binding, Workerd};

/// How many webhooks are sent, if `SMP_DIFFERENTIAL_CASES` does not say otherwise.
const CASES: &str = "3000";

/// One secret and two, in each of the modes that read them. One is longer than a block of SHA-256, one is a
/// single byte, one is not all ASCII.
pub(crate) fn connections() -> Vec<DemoConnection> {
    let connection = |country, mode, secret, previous_secret| DemoConnection {
        country,
        mode,
        token: random_hex().unwrap(),
        secret,
        previous_secret,
    };
    let random = || random_hex().unwrap();
    let long = random().repeat(3);
    vec![
        connection("VN", "enforce", random(), None),
        connection("CN", "enforce", random(), Some(long)),
        connection("TH", "observe", format!("bí mật {}", random()), None),
        connection("ID", "observe", random(), Some("k".to_owned())),
        connection("SG", "off", random(), None),
    ]
}

/// As the scripts and nginx read them: a line is a token, a mode, and the secrets in hex.
pub(crate) fn to_lines(connections: &[DemoConnection]) -> String {
    let line = |connection: &DemoConnection| {
        let mut line = format!("{} {}", connection.token, connection.mode);
        let secrets = [
            Some(&connection.secret),
            connection.previous_secret.as_ref(),
        ];
        for secret in secrets.into_iter().flatten() {
            if connection.mode != "off" {
                line = format!("{line} {}", hex(secret.as_bytes()));
            }
        }
        line + "\n"
    };
    connections.iter().map(line).collect()
}

async fn start_edge(connections: &[DemoConnection], core_port: u16) -> Workerd {
    let countries: serde_json::Map<_, _> = connections
        .iter()
        .map(|connection| (connection.country.to_owned(), json!("smp-asia")))
        .collect();
    let origin = format!("http://127.0.0.1:{core_port}");
    let routes = json!({
        "version": 1,
        "countries": countries,
        "regions": {"smp-asia": {"origin": origin, "state": "open"}},
    });
    let hop = json!({"smp-asia": {"keyid": "smp-asia-1", "secret": random_hex().unwrap()}});
    let bindings = [
        ("ROUTES", Binding::Json(routes.to_string())),
        ("HOP_SECRETS", Binding::Text(hop.to_string())),
        (
            "CONNECTIONS",
            Binding::Connections(DemoConnection::to_entries(connections)),
        ),
    ];
    let entry = platform::checkout::root().join("edge-worker/entry.js");
    Workerd::start("differential", &entry, &bindings).await
}

pub(crate) fn independent() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("independent")
}

/// Nothing where it is not installed: its Lua module is packaged by Debian only.
async fn start_nginx(directory: &Path, connections: &Path) -> Option<(Process, String)> {
    let is_there = |program: &str| {
        let output = Command::new("sh")
            .args(["-c", &format!("command -v {program}")])
            .output();
        output.is_ok_and(|output| output.status.success())
    };
    let lua = Path::new("/usr/lib/nginx/modules/ngx_http_lua_module.so");
    if !is_there("nginx") || !lua.exists() {
        return None;
    }
    let port = Ports::Free.take(Listener::Edge, "nginx").unwrap();
    let rule = independent().join("nginx-lua");
    let text = fs::read_to_string(rule.join("nginx.conf"))
        .unwrap()
        .replace("@DIR@", &directory.display().to_string())
        .replace("@PORT@", &port.to_string())
        .replace("@RULE@", &rule.display().to_string())
        .replace("@CONNECTIONS@", &connections.display().to_string());
    let config = directory.join("nginx.conf");
    fs::write(&config, text).unwrap();
    let mut command = Command::new("nginx");
    command
        .arg("-c")
        .arg(&config)
        .arg("-e")
        .arg(directory.join("nginx.err"));
    let log = lifetime::run_directory().join("logs/differential-nginx.log");
    let mut process = Process::start("nginx", command, &log).unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let healthz = format!("{url}/healthz");
    let is_up = || async { reqwest::get(&healthz).await.ok().map(drop) };
    process.wait_until("healthy", is_up).await.unwrap();
    Some((process, url))
}

#[tokio::test]
async fn the_edge_nodes_crypto_and_nginx_with_lua_come_to_the_same_verdict() {
    lifetime::run_directory();
    let connections = connections();
    let core_port = Ports::Free.take(Listener::Core(0), "a core").unwrap();
    let edge = start_edge(&connections, core_port).await;
    let file = edge.directory.join("connections");
    fs::write(&file, to_lines(&connections)).unwrap();
    let nginx = start_nginx(&edge.directory, &file).await;

    let cases = std::env::var("SMP_DIFFERENTIAL_CASES").unwrap_or_else(|_| CASES.to_owned());
    let mut command = Command::new("node");
    command
        .arg(independent().join("differential.mjs"))
        .args(["--edge", &edge.url, "--cases", &cases])
        .args(["--core-port", &core_port.to_string()])
        .arg("--connections")
        .arg(&file);
    if let Some((_, url)) = &nginx {
        command.args(["--nginx", url]);
    } else {
        println!("nginx is not asked: it or its Lua module is not installed");
    }
    if let Ok(seed) = std::env::var("SMP_TEST_SEED") {
        command.args(["--seed", &seed]);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let counted = text.lines().any(|line| {
        line.starts_with(&format!("{cases} cases in ")) && line.ends_with(": 0 different")
    });
    assert!(counted, "{text}");
    println!("{text}");
}
