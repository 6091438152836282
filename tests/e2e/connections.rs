//! Connections, changed while the edge runs: what each isolate reads, who keeps it, and `smpctl connection`.

use std::fs;
use std::future::poll_fn;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use platform::checkout;
use platform::secrets::{random_bytes, random_hex};
use protocol::at_rest::AtRestKeys;
use protocol::ops::{OpsToken, Scope};
use protocol::token_sha256;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::fake_core::FakeCore;
use crate::support::workerd::{Binding, KV_DIRECTORY, Workerd};
use crate::support::{
    Answer, Signed, client, database, lead, lifetime, post, send, system, tables_that_hold,
    wait_for_log,
};

/// An edge before a scripted core, whose connections are changed.
struct Changed {
    edge: Workerd,
    core: &'static FakeCore,
    key: String,
}

fn key(name: &str) -> String {
    AtRestKeys::expose_key(name, &random_bytes().unwrap())
}

fn entry(id: &str, token: &str) -> Value {
    json!({"id": id, "token_sha256": token_sha256(token), "country": "VN", "mode": "off"})
}

impl Changed {
    async fn start(name: &str) -> Self {
        lifetime::run_directory();
        let (core, key) = (FakeCore::start(), key("k1"));
        let bindings = Self::bindings(core, Binding::Registry(json!([key]).to_string()));
        let edge = Workerd::start(name, &Self::entry_js(), &bindings).await;
        Self { edge, core, key }
    }

    fn entry_js() -> PathBuf {
        checkout::root().join("edge-worker/entry.js")
    }

    fn bindings(core: &FakeCore, registry: Binding) -> [(&'static str, Binding); 5] {
        let routes = json!({
            "version": 1,
            "countries": {"VN": "smp-asia"},
            "regions": {"smp-asia": {"origin": core.origin(), "state": "open"}},
        });
        let hop = json!({"smp-asia": {"keyid": "smp-asia-1", "secret": "0123456789abcdef0123456789abcdef"}});
        let ops = [
            OpsToken::new("reader", "see", Scope::Read),
            OpsToken::new("anna", "do", Scope::Admin),
        ];
        let text = |value: Value| Binding::Text(value.to_string());
        [
            ("ROUTES", Binding::Json(routes.to_string())),
            ("HOP_SECRETS", text(hop)),
            ("OPS_TOKENS", text(json!(ops))),
            ("CONNECTIONS", registry),
            ("CONNECTIONS_REFRESH_MS", Binding::Text("100".to_owned())),
        ]
    }

    /// Deploys it anew with these keys.
    async fn deploy(&mut self, keys: &[String]) {
        self.deploy_registry(Binding::Registry(json!(keys).to_string()))
            .await;
    }

    async fn deploy_registry(&mut self, registry: Binding) {
        let bindings = Self::bindings(self.core, registry);
        self.edge.deploy(&Self::entry_js(), &bindings).await;
    }

    async fn ask(&self, token: &str, method: Method, body: &Value) -> Answer {
        let url = format!("{}/_edge/connections", self.edge.url);
        let mut request = client().request(method, url).bearer_auth(token);
        if !body.is_null() {
            request = request.body(body.to_string());
        }
        send(request).await
    }

    async fn change(&self, change: Value) {
        let answer = self.ask("do", Method::POST, &change).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    async fn wait_until_published(&self) {
        wait_until("published", || async {
            self.list().await["is_published"] == true
        })
        .await;
    }

    async fn add(&self, id: &str) -> String {
        let token = random_hex().unwrap();
        let connections = [entry(id, &token)];
        self.change(json!({"change": "add", "connections": connections}))
            .await;
        token
    }

    async fn list(&self) -> Value {
        let answer = self.ask("see", Method::GET, &Value::Null).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    async fn post(&self, token: &str) -> Answer {
        let url = format!("{}/api/pancake/record/{token}", self.edge.url);
        post(&url, &Signed::default(), r#"{"fake": "accepted"}"#).await
    }

    /// Posts until it is answered so.
    async fn wait_for(&self, token: &str, expected: &str) {
        wait_until(expected, || async {
            self.post(token).await.body["status"] == expected
        })
        .await;
    }
}

async fn wait_until<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so().await {
        assert!(Instant::now() < deadline, "not {what} within 30 s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn nobody_is_unknown_before_somebody_has_said_who_is_known() {
    let edge = Changed::start("connections-none").await;
    edge.post("anybody").await.is_unavailable("unavailable");
    wait_for_log("connections-none.log", "\"cause\":\"connections_unknown\"").await;
    let token = edge.add("vn-main").await;
    edge.post(&token).await.is_kept("accepted");
    edge.post("anybody").await.is(404, "unknown_token");
}

#[tokio::test]
async fn connections_are_added_rotated_and_revoked_while_the_edge_runs() {
    let edge = Changed::start("connections-changed").await;
    let first = edge.add("vn-main").await;
    edge.post(&first).await.is_kept("accepted");
    let second = edge.add("vn-second").await;
    edge.wait_for(&second, "accepted").await;

    let next = random_hex().unwrap();
    let rotate = |old_good_secs: u64| {
        json!({
            "change": "rotate_token", "id": "vn-main", "token_sha256": token_sha256(&next),
            "old_good_secs": old_good_secs,
        })
    };
    edge.change(rotate(86_400)).await;
    edge.wait_for(&next, "accepted").await;
    edge.post(&first).await.is_kept("accepted");
    edge.change(rotate(0)).await;
    edge.wait_for(&first, "unknown_token").await;
    edge.post(&next).await.is_kept("accepted");

    edge.change(json!({"change": "revoke", "id": "vn-main"}))
        .await;
    edge.wait_for(&next, "unknown_token").await;
    edge.post(&second).await.is_kept("accepted");
    let list = edge.list().await;
    assert_eq!(list["version"], 5);
    assert_eq!(list["connections"].as_array().unwrap().len(), 1, "{list}");
    wait_for_log(
        "connections-changed.log",
        "\"change\":\"revoke\",\"connection\":\"vn-main\",\"by\":\"anna\",\"version\":5",
    )
    .await;
}

#[tokio::test]
async fn an_old_token_ends_by_itself() {
    let edge = Changed::start("connections-expire").await;
    let first = edge.add("vn-main").await;
    let next = random_hex().unwrap();
    edge.change(json!({
        "change": "rotate_token", "id": "vn-main", "token_sha256": token_sha256(&next), "old_good_secs": 2,
    }))
    .await;
    edge.wait_for(&next, "accepted").await;
    edge.wait_for(&first, "unknown_token").await;
    assert_eq!(
        edge.list().await["connections"][0]["old_token"],
        Value::Null
    );
}

#[tokio::test]
async fn only_ops_may_see_connections_and_only_some_change_them_and_nobody_sees_a_secret() {
    let edge = Changed::start("connections-ops").await;
    let secret = "whsec-QL-current";
    let mut with_secret = entry("vn-main", "token");
    with_secret["mode"] = json!("enforce");
    with_secret["secrets"] = json!([secret]);
    let add = json!({"change": "add", "connections": [with_secret]});
    for (token, method, status) in [
        ("nobody", Method::GET, 401),
        ("nobody", Method::POST, 401),
        ("see", Method::POST, 403),
    ] {
        assert_eq!(
            edge.ask(token, method, &add).await.status,
            status,
            "{token}"
        );
    }
    edge.change(add).await;
    let list = edge.list().await.to_string();
    assert!(list.contains("vn-main") && !list.contains(secret), "{list}");
    assert!(!list.contains(&token_sha256("token")), "{list}");
    // What lies in KV others can read.
    edge.wait_until_published().await;
    let kept = edge.edge.directory.join(KV_DIRECTORY).join("snapshot");
    let kept = String::from_utf8_lossy(&fs::read(kept).unwrap()).into_owned();
    for hidden in [secret, "vn-main", &token_sha256("token")] {
        assert!(!kept.contains(hidden), "{hidden} lies open in KV");
    }
    for (change, expected) in [
        (
            json!({"change": "revoke", "id": "vn-mian"}),
            "vn-mian: there is no connection of this id",
        ),
        (
            json!({"change": "set_mode", "id": "vn-main"}),
            "mode: it is missing",
        ),
        (
            json!({"change": "add", "connections": [{"id": secret}]}),
            "not a change of connections",
        ),
        (
            json!({"change": "rotate_secret", "id": "vn-main", "secret": ""}),
            "vn-main: secrets: a secret is empty",
        ),
    ] {
        let answer = edge.ask("do", Method::POST, &change).await;
        let mistake = answer.body["mistakes"][0].as_str().unwrap_or_default();
        assert!(
            answer.status == 400 && mistake.starts_with(expected),
            "{answer:?}"
        );
    }
    let huge = json!({"change": "rotate_secret", "id": "vn-main", "secret": "s".repeat(1_048_576)});
    edge.ask("do", Method::POST, &huge)
        .await
        .is(413, "body_too_large");
    assert_eq!(
        edge.list().await["version"],
        1,
        "what is refused changes nothing"
    );
}

#[tokio::test]
async fn a_change_that_was_answered_survives_a_kill_and_where_kv_has_nothing_the_registry_is_asked()
{
    let mut edge = Changed::start("connections-killed").await;
    let first = edge.add("vn-main").await;
    for round in 0..5 {
        let token = edge.add(&format!("vn-{round}")).await;
        if round % 2 == 0 {
            edge.wait_until_published().await;
        }
        edge.edge.kill();
        let kept = edge.edge.directory.join(KV_DIRECTORY).join("snapshot");
        let _ = fs::remove_file(kept);
        edge.edge.start_again().await;
        edge.post(&token).await.is_kept("accepted");
        edge.post(&first).await.is_kept("accepted");
    }
    assert_eq!(edge.list().await["version"], 6);
}

#[tokio::test]
async fn what_kv_does_not_take_is_kept_and_comes_to_it_later() {
    let mut edge = Changed::start("connections-kv-away").await;
    let first = edge.add("vn-main").await;
    edge.wait_until_published().await;
    let keys = json!([edge.key]).to_string();
    fs::remove_file(edge.edge.directory.join(KV_DIRECTORY).join("snapshot")).unwrap();
    edge.deploy_registry(Binding::RegistryWithoutKv(keys.clone()))
        .await;
    let token = random_hex().unwrap();
    let change = json!({"change": "add", "connections": [entry("vn-second", &token)]});
    edge.change(change).await;
    assert_eq!(edge.list().await["is_published"], false);
    // Whoever knows of the change had it from the registry.
    edge.wait_for(&token, "accepted").await;
    edge.post(&first).await.is_kept("accepted");
    wait_for_log("connections-kv-away.log", "connections_not_published").await;
    edge.deploy_registry(Binding::Registry(keys)).await;
    edge.wait_until_published().await;
}

#[tokio::test]
async fn the_key_of_the_connections_is_rotated_and_without_one_nothing_is_overwritten() {
    let mut edge = Changed::start("connections-keys").await;
    let token = edge.add("vn-main").await;
    edge.wait_until_published().await;
    let (old, new) = (edge.key.clone(), key("k2"));
    edge.deploy(&[new.clone(), old]).await;
    edge.post(&token).await.is_kept("accepted");
    edge.change(json!({"change": "reseal"})).await;
    edge.wait_until_published().await;
    edge.deploy(std::slice::from_ref(&new)).await;
    edge.post(&token).await.is_kept("accepted");

    edge.deploy(&[key("k3")]).await;
    edge.post(&token).await.is_unavailable("unavailable");
    let change = json!({"change": "add", "connections": [entry("vn-second", "token")]});
    let answer = edge.ask("do", Method::POST, &change).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    let mistake = answer.body["mistakes"][0].as_str().unwrap();
    assert!(
        mistake.contains("CONNECTIONS_KEYS (unknown_key)"),
        "{mistake}"
    );
    edge.deploy(&[new]).await;
    edge.post(&token).await.is_kept("accepted");
}

/// KV that takes its time: what was put there last, for each key the same.
fn serve_slow_kv() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let kept: &'static Mutex<Vec<u8>> = Box::leak(Box::default());
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || stream.and_then(|stream| answer_as_kv(stream, kept)));
        }
    });
    port
}

fn answer_as_kv(stream: TcpStream, kept: &Mutex<Vec<u8>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut head, mut length) = (Vec::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(bytes) = line.strip_prefix("content-length: ") {
                length = bytes.parse().unwrap();
            }
            head.push(line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        thread::sleep(Duration::from_millis(60));
        let found = if head[0].starts_with("put") {
            *kept.lock().unwrap() = body;
            Vec::new()
        } else {
            kept.lock().unwrap().clone()
        };
        let stream = reader.get_mut();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
            found.len()
        )?;
        stream.write_all(&found)?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn none_of_many_that_come_at_once_to_an_idle_isolate_goes_by_old_connections() {
    lifetime::run_directory();
    let (core, keys) = (FakeCore::start(), json!([key("k1")]).to_string());
    let registry = Binding::RegistryWithKvAt(keys, serve_slow_kv());
    let bindings = Changed::bindings(core, registry);
    let edge = Workerd::start("connections-idle", &Changed::entry_js(), &bindings).await;
    let edge = Changed {
        edge,
        core,
        key: String::new(),
    };
    let first = edge.add("vn-main").await;
    edge.wait_until_published().await;
    edge.post(&first).await.is_kept("accepted");
    for round in 0..3 {
        let token = edge.add(&format!("vn-{round}")).await;
        edge.wait_until_published().await;
        // Nobody calls for longer than connections may be old.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let posts = (0..16).map(|_| edge.post(&token));
        for answer in futures(posts).await {
            answer.is_kept("accepted");
        }
    }
}

/// All of them at once.
async fn futures<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = all.map(Box::pin).collect();
    let mut done = Vec::new();
    poll_fn(|context| {
        waiting.retain_mut(|one| match one.as_mut().poll(context) {
            Poll::Ready(output) => {
                done.push(output);
                false
            }
            Poll::Pending => true,
        });
        if waiting.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    done
}

#[tokio::test]
async fn an_isolate_whose_wasm_traps_takes_the_next_webhook_and_logs_nothing_of_its_memory() {
    lifetime::run_directory();
    let (core, key) = (FakeCore::start(), key("k1"));
    let bindings = Changed::bindings(core, Binding::Registry(json!([key]).to_string()));
    let main = checkout::root().join("tests/e2e/trap_worker.js");
    let edge = Workerd::start("connections-trap", &main, &bindings).await;
    let edge = Changed { edge, core, key };
    let token = edge.add("vn-main").await;
    edge.wait_until_published().await;
    for _ in 0..3 {
        edge.post(&token).await.is_kept("accepted");
        let trapped = client()
            .post(format!("{}/api/pancake/record/{token}", edge.edge.url))
            .header("x-test-trap", "1")
            .body(r#"{"fake": "accepted"}"#);
        send(trapped).await.is_unavailable("unavailable");
        edge.post(&token).await.is_kept("accepted");
        // Objects that lived in the instance before go on in the next one.
        edge.add(&format!("vn-{}", &random_hex().unwrap()[..8]))
            .await;
    }
    let log = wait_for_log("connections-trap.log", "RuntimeError").await;
    for hidden in ["SyntaxError", "smp-asia-1", "0123456789abcdef", "TypeError"] {
        assert!(!log.contains(hidden), "{log}");
    }
}

/// `smpctl connection` on the platform of the tests.
struct Smpctl {
    folder: PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl Smpctl {
    async fn new(folder: &str) -> Self {
        let system = system().await;
        let folder = lifetime::run_directory().join(folder);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let asia = system.region("smp-asia").unwrap();
        Self {
            folder,
            environment: vec![
                ("EDGE_URL", system.edge.url.clone()),
                ("EDGE_OPS_TOKEN", system.edge.ops_token.clone()),
                ("SMP_STAFF_TOKEN", asia.admin_token.clone().unwrap()),
            ],
        }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(checkout::built_program("smpctl").unwrap())
            .arg("connection")
            .args(arguments)
            .current_dir(&self.folder)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .output()
            .unwrap()
    }

    #[track_caller]
    fn does(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn refuses(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.folder.join(file))
            .unwrap()
            .trim()
            .to_owned()
    }
}

async fn post_at(edge: &str, token: &str, secret: Option<&str>) -> Answer {
    let body = lead().1;
    let signed = secret.map_or_else(Signed::default, |secret| {
        Signed::at(platform::pancake::now(), secret, body.as_bytes())
    });
    post(&format!("{edge}/api/pancake/record/{token}"), &signed, body).await
}

async fn status_in_core(id: &str) -> Option<String> {
    let status = "select status from pancake_connection where connection_id = $1";
    let database = database("smp-asia").await;
    let status = sqlx::query_scalar(status).bind(id);
    status.fetch_optional(&database).await.unwrap()
}

async fn has_api_key(id: &str) -> bool {
    let has = "select has_api_key from pancake_connection where connection_id = $1";
    let database = database("smp-asia").await;
    sqlx::query_scalar(has)
        .bind(id)
        .fetch_one(&database)
        .await
        .unwrap()
}

#[tokio::test]
async fn ops_look_after_a_connection_from_its_first_webhook_to_its_last() {
    let (smpctl, edge) = (Smpctl::new("smpctl-life").await, &system().await.edge.url);
    let answered = |token: String, secret: Option<String>, expected: &'static str| async move {
        wait_until(expected, || async {
            post_at(edge, &token, secret.as_deref()).await.body["status"] == expected
        })
        .await;
    };
    let add = [
        "add",
        "vn-smpctl",
        "--country",
        "VN",
        "--workspace",
        "Shop",
        "--token",
        "token",
        "--secret",
        "secret",
    ];
    let said = smpctl.does(&add);
    let (token, secret) = (smpctl.read("token"), smpctl.read("secret"));
    assert!(
        said.contains("within 120 s") && !said.contains(&token),
        "{said}"
    );
    assert_eq!(status_in_core("vn-smpctl").await.as_deref(), Some("active"));
    answered(token.clone(), None, "accepted").await;
    // Whoever heard no answer asks again.
    smpctl.does(&add);
    assert_eq!(smpctl.read("token"), token);
    let refused = smpctl.refuses(&["add", "vn-smpctl", "--country", "VN", "--token", "other"]);
    assert!(
        refused.contains("there is one of this id already"),
        "{refused}"
    );

    // What nobody has seen signed is not enforced by mistake.
    let trial = smpctl.does(&["mode", "vn-smpctl", "enforce"]);
    assert!(
        trial.contains("--yes changes it; it is as it was"),
        "{trial}"
    );
    let blind = smpctl.refuses(&["mode", "vn-smpctl", "enforce", "--yes"]);
    assert!(blind.contains("observe first, or --unseen"), "{blind}");
    smpctl.does(&["mode", "vn-smpctl", "observe", "--yes"]);
    post_at(edge, &token, Some(&secret))
        .await
        .is_kept("accepted");
    smpctl.does(&["mode", "vn-smpctl", "enforce", "--yes", "--unseen"]);
    answered(token.clone(), None, "timestamp_out_of_window").await;
    wait_until("counted", || async {
        let trial = smpctl.does(&["mode", "vn-smpctl", "off", "--json"]);
        let trial: Value = serde_json::from_str(&trial).unwrap();
        trial["trial"]["verdicts_24h"]["stale"] != 0
    })
    .await;

    smpctl.does(&["rotate", "vn-smpctl", "--secret", "secret-2"]);
    answered(token.clone(), Some(smpctl.read("secret-2")), "accepted").await;
    post_at(edge, &token, Some(&secret))
        .await
        .is_kept("accepted");
    let shown = smpctl.does(&["rotate", "vn-smpctl", "--retire-secret"]);
    assert!(shown.contains("--yes keeps the newest"), "{shown}");
    smpctl.does(&["rotate", "vn-smpctl", "--retire-secret", "--yes"]);
    answered(token.clone(), Some(secret), "hmac_invalid").await;
    let secret = smpctl.read("secret-2");
    smpctl.does(&["rotate", "vn-smpctl", "--token", "token-2"]);
    let next = smpctl.read("token-2");
    answered(next.clone(), Some(secret.clone()), "accepted").await;
    post_at(edge, &token, Some(&secret))
        .await
        .is_kept("accepted");
    fs::write(smpctl.folder.join("api-key"), "pk-QL-of-pancake\n").unwrap();
    let said = smpctl.does(&["api-key", "vn-smpctl", "--key", "api-key"]);
    assert!(!said.contains("pk-QL"), "{said}");
    assert_eq!(
        tables_that_hold("smp-asia", "pk-QL").await,
        Vec::<String>::new()
    );
    assert!(has_api_key("vn-smpctl").await);
    let list = smpctl.does(&["list"]);
    assert!(
        list.contains("vn-smpctl") && !list.contains(&next) && !list.contains(&secret),
        "{list}"
    );

    let shown = smpctl.does(&["allow", "vn-smpctl", "192.0.2.0/24"]);
    assert!(
        shown.contains("from anywhere; then 192.0.2.0/24"),
        "{shown}"
    );
    smpctl.does(&["allow", "vn-smpctl", "192.0.2.0/24", "--yes"]);
    answered(next.clone(), Some(secret.clone()), "ip_not_allowed").await;
    smpctl.does(&["allow", "vn-smpctl", "--yes"]);
    answered(next.clone(), Some(secret.clone()), "accepted").await;

    revoke(&smpctl, edge, (next, secret)).await;
}

async fn revoke(smpctl: &Smpctl, edge: &str, (token, secret): (String, String)) {
    let shown = smpctl.does(&["revoke", "vn-smpctl", "--reason", "test"]);
    assert!(shown.contains("--yes revokes it"), "{shown}");
    assert_eq!(status_in_core("vn-smpctl").await.as_deref(), Some("active"));
    smpctl.does(&["revoke", "vn-smpctl", "--reason", "test", "--yes"]);
    assert_eq!(
        status_in_core("vn-smpctl").await.as_deref(),
        Some("disabled")
    );
    wait_until("unknown_token", || async {
        post_at(edge, &token, Some(&secret)).await.body["status"] == "unknown_token"
    })
    .await;

    // Whoever heard no answer asks again; and what is disabled is not added as if it were not.
    let unknown = smpctl.refuses(&["revoke", "vn-smpctl", "--reason", "test", "--yes"]);
    assert!(unknown.contains("with --country"), "{unknown}");
    let revoke = [
        "revoke",
        "vn-smpctl",
        "--reason",
        "test",
        "--country",
        "VN",
        "--yes",
    ];
    let said = smpctl.does(&revoke);
    assert!(said.contains("gone at the edge already"), "{said}");
    let disabled = smpctl.refuses(&["add", "vn-smpctl", "--country", "VN", "--token", "token-3"]);
    assert!(disabled.contains("VN's core is disabled"), "{disabled}");
}

#[tokio::test]
async fn connections_of_a_file_are_added_all_at_once_or_not_at_all() {
    let (smpctl, edge) = (Smpctl::new("smpctl-import").await, &system().await.edge.url);
    let token = random_hex().unwrap();
    let mut second = entry("vn-import-2", "another");
    let file = |second: &Value| {
        let entries = json!([entry("vn-import-1", &token), second]);
        fs::write(smpctl.folder.join("connections.json"), entries.to_string()).unwrap();
    };
    second["mode"] = json!("enforce");
    file(&second);
    let refused = smpctl.refuses(&["import", "connections.json", "--yes"]);
    assert!(
        refused.contains("vn-import-2: secrets: modes observe and enforce need at least one"),
        "{refused}"
    );
    second["mode"] = json!("off");
    file(&second);
    let shown = smpctl.does(&["import", "connections.json"]);
    assert!(
        shown.contains("--yes adds these 2; nothing was changed"),
        "{shown}"
    );
    post_at(edge, &token, None).await.is(404, "unknown_token");
    smpctl.does(&["import", "connections.json", "--yes"]);
    wait_until("accepted", || async {
        post_at(edge, &token, None).await.body["status"] == "accepted"
    })
    .await;
    assert_eq!(
        status_in_core("vn-import-2").await.as_deref(),
        Some("active")
    );
}
