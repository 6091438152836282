//! The binary as ops run it.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::database::TestDatabase;
use crate::support::edge::{Edge, KEYID, SECRET};
use crate::support::record;

/// The binary, with no variable but these.
fn command(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_regional-core"));
    command
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied());
    command
}

fn output(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    command(arguments, variables).output().unwrap()
}

#[track_caller]
fn assert_success(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn each_command_helps_with_an_example() {
    for command in ["serve", "migrate", "bootstrap", "verify-receipt"] {
        let help = assert_success(&output(&[command, "--help"], &[]));
        assert!(help.contains("Example"), "{help}");
        assert!(help.contains("regional-core"), "{help}");
    }
}

#[test]
fn a_start_that_cannot_be_names_the_variable_and_ends_with_1() {
    let hop_secrets = format!(r#"{{"{KEYID}":"{SECRET}"}}"#);
    let whole = [
        ("CORE_REGION", "smp-asia"),
        ("CORE_COUNTRIES", "VN"),
        ("CORE_HOP_SECRETS", &hop_secrets),
        ("CORE_DATABASE_URL", "postgres://core_app:x@127.0.0.1:1/x"),
    ];
    for (variable, _) in whole {
        let mut variables = whole.to_vec();
        variables.retain(|(name, _)| *name != variable);
        let output = output(&["serve"], &variables);
        assert_eq!(output.status.code(), Some(1));
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(errors, format!("regional-core: {variable} is not set\n"));
    }
    for (arguments, variable) in [
        (["migrate"].as_slice(), "CORE_OWNER_DATABASE_URL"),
        (&["bootstrap"], "CORE_ADMIN_DATABASE_URL"),
        (
            &["verify-receipt", "01890a5d-ac96-774b-bcce-b302099a8057"],
            "CORE_HOP_SECRETS",
        ),
    ] {
        let output = output(arguments, &[]);
        assert_eq!(output.status.code(), Some(1));
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(errors, format!("regional-core: {variable} is not set\n"));
    }
    let output = output(&["migrate"], &[("CORE_OWNER_DATABASE", "x")]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        errors.contains("CORE_OWNER_DATABASE is not a setting"),
        "{errors}"
    );
}

/// A core that listens, and what it says.
struct Serving {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
    address: String,
    /// What it warned of before it listened.
    warnings: Vec<serde_json::Value>,
}

/// Less than a head may take.
const PATIENCE: Duration = Duration::from_secs(25);

/// Where no database is.
const NO_DATABASE: &str = "postgres://core_app:x@127.0.0.1:1/nothing";

impl Serving {
    fn start(database_url: &str) -> Self {
        Self::spawn(command(&["serve"], &[]), database_url)
    }

    /// One for 100 connections, which a shell starts that has set limits of its own.
    fn start_within(limits: &str) -> Self {
        let mut shell = Command::new("/bin/sh");
        let script = format!("ulimit {limits} && exec \"$0\" serve");
        shell
            .args(["-c", &script, env!("CARGO_BIN_EXE_regional-core")])
            .env_clear()
            .env("CORE_HTTP__MAX_CONNECTIONS", "100");
        Self::spawn(shell, NO_DATABASE)
    }

    fn spawn(mut command: Command, database_url: &str) -> Self {
        let mut child = command
            .env("CORE_REGION", "smp-asia")
            .env("CORE_COUNTRIES", "VN")
            .env("CORE_HOP_SECRETS", format!(r#"{{"{KEYID}":"{SECRET}"}}"#))
            .env("CORE_DATABASE_URL", database_url)
            .env("CORE_LISTEN", "127.0.0.1:0")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut warnings = Vec::new();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        // The log is JSON where it is no terminal's, and says which port port 0 became.
        let address = loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended");
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            if line["message"] == "serving" {
                assert_eq!(line["region.id"], "smp-asia");
                assert_eq!(line["version"], env!("CARGO_PKG_VERSION"));
                break line["listen"].as_str().unwrap().to_owned();
            }
            if line["level"] == "WARN" {
                warnings.push(line);
            }
        };
        Self {
            child,
            log,
            address,
            warnings,
        }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits for the end; gives the exit code and the rest of the log.
    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

async fn post_and_close(address: &str, body: &[u8]) -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let edge = Edge {
        created: now.as_secs().try_into().unwrap(),
        ..Edge::default()
    };
    let (path, headers) = edge.signed(body);
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nhost: core\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        write!(request, "{name}: {value}\r\n").unwrap();
    }
    request.push_str("\r\n");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn from_an_empty_server_to_an_event_and_its_receipt() {
    let database = TestDatabase::create_empty().await;
    let owner = database.owner_url();
    let owner = [("CORE_OWNER_DATABASE_URL", owner.as_str())];
    let missing = output(&["migrate", "status"], &owner);
    assert_eq!(missing.status.code(), Some(1));
    assert!(
        String::from_utf8(missing.stdout)
            .unwrap()
            .starts_with("missing 0001 ")
    );
    let applied = assert_success(&output(&["migrate"], &owner));
    assert!(applied.starts_with("applied 0001 "), "{applied}");
    assert_eq!(
        assert_success(&output(&["migrate", "up"], &owner)),
        "nothing to apply\n"
    );
    assert_success(&output(&["migrate", "status"], &owner));

    for signal in ["TERM", "INT"] {
        let serving = Serving::start(&database.app_url());
        let body = record(&format!(r#","signal":"{signal}""#));
        let answer = post_and_close(&serving.address, body.as_bytes()).await;
        let (_, answer) = answer.split_once("\r\n\r\n").unwrap();
        let answer: serde_json::Value = serde_json::from_str(answer).unwrap();
        assert_eq!(answer["status"], "accepted");
        serving.signal(signal);
        let (code, log) = serving.end();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains(r#""message":"stopped""#), "{log}");
        assert!(!log.contains("Nguyễn"), "{log}");

        let hop_secrets = format!(r#"{{"{KEYID}":"{SECRET}"}}"#);
        let app = database.app_url();
        let variables = [
            ("CORE_DATABASE_URL", app.as_str()),
            ("CORE_HOP_SECRETS", &hop_secrets),
        ];
        let id = answer["event_id"].as_str().unwrap();
        let text = assert_success(&output(&["verify-receipt", id], &variables));
        assert!(text.contains("signature   right"), "{text}");
        let json = assert_success(&output(&["verify-receipt", "--json", id], &variables));
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["signature"], "right");
        assert_eq!(json["event_id"], id);
    }
}

#[tokio::test]
async fn a_core_does_not_serve_as_a_superuser_or_owner() {
    let database = TestDatabase::create_empty().await;
    for (url, why) in [
        (database.admin_url(), "is a superuser"),
        (database.owner_url(), "owns the database or its tables"),
    ] {
        let (code, log) = Serving::start(&url).end();
        assert_eq!(code, Some(1), "{log}");
        assert!(
            log.contains(why) && log.contains("CORE_DATABASE_URL"),
            "{log}"
        );
    }
}

#[tokio::test]
async fn a_core_serves_without_its_database_and_ends_in_good_order() {
    let serving = Serving::start(NO_DATABASE);
    let answer = post_and_close(&serving.address, record("").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("retry-after: 2"), "{answer}");
    serving.signal("TERM");
    let (code, log) = serving.end();
    assert_eq!(code, Some(0), "{log}");
}

#[tokio::test]
async fn as_many_connections_as_are_set_are_taken_whatever_the_soft_limit_of_files() {
    let serving = Serving::start_within("-Sn 64");
    assert_eq!(serving.warnings, Vec::<serde_json::Value>::new());
    let mut half_heads = Vec::new();
    for _ in 0..99 {
        let mut stream = TcpStream::connect(&serving.address).await.unwrap();
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\n")
            .await
            .unwrap();
        half_heads.push(stream);
    }
    // In time, and not once a half head was given up.
    let posted = record("");
    let answer = timeout(
        PATIENCE,
        post_and_close(&serving.address, posted.as_bytes()),
    )
    .await;
    let answer = answer.expect("the last connection is not taken");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    drop(half_heads);
    serving.signal("TERM");
    let (code, log) = serving.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("no connection can be accepted"), "{log}");
}

#[tokio::test]
async fn a_hard_limit_of_files_that_is_too_low_is_told_and_the_core_serves() {
    let serving = Serving::start_within("-n 64");
    let [warning] = serving.warnings.as_slice() else {
        panic!("{:?}", serving.warnings);
    };
    assert_eq!(warning["setting"], "http.max_connections");
    assert_eq!(warning["limit"], 64);
    let answer = post_and_close(&serving.address, record("").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    serving.signal("TERM");
    let (code, log) = serving.end();
    assert_eq!(code, Some(0), "{log}");
}
