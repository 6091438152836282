//! `smpctl rotate`, before a core and an edge that have in force what was copied to them. With real ones it is tested
//! in `tests/e2e/rotation.rs`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected should end there; clippy.toml spares test functions only, \
              and these have helpers"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use protocol::hop::{
    Destination, HopKey, HopKeys, ReceivedHeaders, Target, sign_proxied, verify_proxied,
};
use protocol::sealed::OpeningKey;
use protocol::{Country, RegionId, UnixSeconds};
use serde_json::{Value, json};

const OLD_SECRET: &str = "0123456789abcdef0123456789abcdef";
const OLDEST_SECRET: &str = "fedcba9876543210fedcba9876543210";

/// What an operator has, and what is in force: the copies in `applied/`.
struct World {
    folder: PathBuf,
    url: String,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Requests through the edge that its core refused.
    refused: AtomicU64,
    /// Requests straight to the core that it refused.
    refused_probes: AtomicU64,
    waiting: AtomicU64,
    parked: AtomicU64,
    asked_for_status: AtomicU64,
}

/// Puts a file in force, unless the count of calls says to die first, or to die then. It is read by the shell that
/// smpctl started, so its parent is smpctl.
const APPLY: &str = r#"
n=$(cat calls); echo $((n + 1)) > calls
if [ "$n" = "$DIE_BEFORE" ]; then kill -KILL $PPID; exit; fi
cp "$file" "applied/$file.new" && mv "applied/$file.new" "applied/$file"
if [ "$n" = "$DIE_AFTER" ]; then kill -KILL $PPID; fi
"#;

impl World {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("rotate-{name}"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("applied")).unwrap();
        let folder = folder.canonicalize().unwrap();
        let opening_key = opening_key();
        let core = format!(
            "# smp-asia's core\nCORE_REGION=smp-asia\nCORE_HOP_SECRETS='{{\"smp-asia-1\": \"{OLD_SECRET}\"}}'\n\
             CORE_HOP_RETIRED_SECRETS='{{\"smp-asia-0\":\"{OLDEST_SECRET}\"}}'\nCORE_OPENING_KEYS='{}'\n\
             CORE_DATABASE_URL='postgres://app:p@db/core'",
            opening_key.expose()
        );
        let hop = json!({
            "smp-asia": {"keyid": "smp-asia-1", "secret": OLD_SECRET},
            "smp-china": {"keyid": "smp-china-1", "secret": OLDEST_SECRET},
        });
        let edge = json!({"HOP_SECRETS": hop.to_string(), "OPS_TOKENS": "[]"});
        let wrangler = format!(
            "# routes\n[vars.ROUTES]\nversion = 7 # raised by every flip\n[vars.ROUTES.countries]\nVN = \"smp-asia\"\n\
             SG = \"smp-asia\"\n[vars.ROUTES.regions.smp-asia]\norigin = \"https://core.example.com\"\nstate = \
             \"open\"\nspool = \"sealed\"\nsealing_key = \"{}\" # public\n",
            opening_key.sealing_key()
        );
        let files = [
            ("core.env", core),
            ("edge.json", format!("{edge:#}\n")),
            ("wrangler.toml", wrangler),
            ("apply.sh", APPLY.to_owned()),
            ("calls", "0".to_owned()),
        ];
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
        let counts = Arc::new(Counts::default());
        let url = serve(&folder, &counts);
        let world = Self {
            folder,
            url,
            counts,
        };
        for name in ["core.env", "edge.json", "wrangler.toml"] {
            world.apply(name);
        }
        world
    }

    fn apply(&self, name: &str) {
        fs::copy(
            self.folder.join(name),
            self.folder.join("applied").join(name),
        )
        .unwrap();
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap()
    }

    fn calls(&self) -> u64 {
        self.text("calls").trim().parse().unwrap()
    }

    fn command(&self, kind: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smpctl"));
        command
            .current_dir(&self.folder)
            .env_remove("EDGE_URL")
            .env("EDGE_OPS_TOKEN", "token")
            .args(["rotate", kind, "--region", "smp-asia"])
            .args(["--edge", &self.url, "--core-url", &self.url])
            .args(["--core-file", "core.env"]);
        if kind == "hop" {
            command.args(["--edge-file", "edge.json"]);
        }
        if !more.contains(&"--patience-secs") {
            command.args(["--patience-secs", "20"]);
        }
        command.args(["--settle-secs", "1"]).args(more);
        command
    }

    /// With commands that put each file in force.
    fn applying(&self, kind: &str, more: &[&str]) -> Command {
        let edge_file = if kind == "hop" {
            "edge.json"
        } else {
            "wrangler.toml"
        };
        let apply = |file| format!("file={file}; . ./apply.sh");
        let (core, edge) = (apply("core.env"), apply(edge_file));
        let apply = [
            "--to",
            "smp-asia-2",
            "--apply-core",
            &core,
            "--apply-edge",
            &edge,
        ];
        self.command(kind, &[&apply, more].concat())
    }

    /// That the rotation of the hop's secret came to its end, everything in force, and nobody was refused.
    fn is_at_the_hops_end(&self) {
        let core = read_env(&self.text("core.env"));
        let live: BTreeMap<String, String> = from_json(&core["CORE_HOP_SECRETS"]);
        let retired: BTreeMap<String, String> = from_json(&core["CORE_HOP_RETIRED_SECRETS"]);
        assert_eq!(live.len(), 1);
        let new = &live["smp-asia-2"];
        assert_eq!(new.len(), 64);
        assert_eq!(retired["smp-asia-0"], OLDEST_SECRET);
        assert_eq!(retired["smp-asia-1"], OLD_SECRET);
        let edge: BTreeMap<String, String> = from_json(&self.text("edge.json"));
        let hop: Value = from_json(&edge["HOP_SECRETS"]);
        let expected = json!({
            "smp-asia": {"keyid": "smp-asia-2", "secret": new},
            "smp-china": {"keyid": "smp-china-1", "secret": OLDEST_SECRET},
        });
        assert_eq!(hop, expected);
        for file in ["core.env", "edge.json"] {
            assert_eq!(self.text(file), self.text(&format!("applied/{file}")));
            let mode = self.folder.join(file).metadata().unwrap().permissions();
            assert_eq!(mode.mode() & 0o777, 0o600, "{file}");
        }
        assert_eq!(self.counts.refused.load(Ordering::SeqCst), 0);
    }
}

fn opening_key() -> OpeningKey {
    OpeningKey::derive("smp-asia-1", &[5; 32]).unwrap()
}

fn from_json<T: for<'de> serde::Deserialize<'de>>(text: &str) -> T {
    serde_json::from_str(text).unwrap()
}

fn read_env(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    lines
        .map(|(key, value)| (key.to_owned(), value.trim_matches('\'').to_owned()))
        .collect()
}

/// A core and an edge at one address.
fn serve(folder: &Path, counts: &Arc<Counts>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (folder, counts) = (folder.join("applied"), Arc::clone(counts));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            answer(&folder, &counts, stream.unwrap());
        }
    });
    url
}

fn answer(folder: &Path, counts: &Counts, mut stream: TcpStream) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let Some(Ok(request)) = lines.next() else {
        return;
    };
    let path = request.split(' ').nth(1).unwrap().to_owned();
    let headers: BTreeMap<String, String> = lines
        .map_while(|line| {
            let line = line.ok()?;
            let (name, value) = line.split_once(": ")?;
            Some((name.to_ascii_lowercase(), value.to_owned()))
        })
        .collect();
    let (status, body) = match &*path {
        "/v1/keys" => core(folder, "/v1/keys", &headers).inspect_err(|()| {
            counts.refused_probes.fetch_add(1, Ordering::SeqCst);
        }),
        "/api/region" => through_edge(folder, &headers).inspect_err(|()| {
            counts.refused.fetch_add(1, Ordering::SeqCst);
        }),
        "/_edge/status" => Ok(status(counts)),
        _ => Ok(Value::Null),
    }
    .map_or((401, Value::Null), |body| (200, body));
    let wrangler = fs::read_to_string(folder.join("wrangler.toml")).unwrap();
    let wrangler: toml::Table = wrangler.parse().unwrap();
    let version = &wrangler["vars"]["ROUTES"]["version"];
    let body = body.to_string();
    let _ = write!(
        stream,
        "HTTP/1.1 {status} x\r\nx-smp-route-version: {version}\r\ncontent-length: {}\r\nconnection: \
         close\r\n\r\n{body}",
        body.len()
    );
}

/// What a core says of its keys, to whoever signs with one of them.
fn core(folder: &Path, path: &str, headers: &BTreeMap<String, String>) -> Result<Value, ()> {
    let file = read_env(&fs::read_to_string(folder.join("core.env")).unwrap());
    let live: BTreeMap<String, String> = from_json(&file["CORE_HOP_SECRETS"]);
    let keys = live
        .iter()
        .map(|(keyid, secret)| HopKey::new(keyid, secret.as_bytes()).unwrap());
    let keys = HopKeys::new(keys.collect()).unwrap();
    let header = |name: &str| headers.get(name).map(String::as_str);
    let received = ReceivedHeaders {
        country: header("x-smp-country"),
        region: header("x-smp-region"),
        route_version: header("x-smp-route-version"),
        signature_input: header("signature-input"),
        signature: header("signature"),
        ..ReceivedHeaders::default()
    };
    let hop = verify_proxied(&keys, target(path), received, now()).map_err(drop)?;
    let opening = file["CORE_OPENING_KEYS"].split(' ');
    let sealing: Vec<_> = opening
        .map(|key| OpeningKey::parse(key).unwrap().sealing_key().to_string())
        .collect();
    let hop_keys: Vec<_> = live.keys().collect();
    Ok(json!({
        "region": "smp-asia", "hop_key": hop.keyid, "hop_keys": hop_keys, "sealing_keys": sealing,
    }))
}

fn through_edge(folder: &Path, headers: &BTreeMap<String, String>) -> Result<Value, ()> {
    let edge: BTreeMap<String, String> =
        from_json(&fs::read_to_string(folder.join("edge.json")).unwrap());
    let hop: Value = from_json(&edge["HOP_SECRETS"]);
    let text = |name| hop["smp-asia"][name].as_str().unwrap();
    let key = HopKey::new(text("keyid"), text("secret").as_bytes()).unwrap();
    let destination = Destination {
        country: Country::parse(&headers["x-country-code"]).unwrap(),
        region: &RegionId::parse("smp-asia").unwrap(),
        route_version: 7,
    };
    let signed = sign_proxied(&key, destination, target("/api/region"), now());
    let signed = signed
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    core(folder, "/api/region", &signed.collect())
}

fn status(counts: &Counts) -> Value {
    counts.asked_for_status.fetch_add(1, Ordering::SeqCst);
    json!({
        "routes_version": 7, "connections": [], "counters": {},
        "regions": [{
            "region": "smp-asia", "state": "open", "spool": "sealed", "bytes": 0, "used_ratio": 0.0,
            "waiting": counts.waiting.load(Ordering::SeqCst), "oldest_seconds": 1_000.0,
            "parked": counts.parked.load(Ordering::SeqCst),
        }],
    })
}

fn target(path: &str) -> Target<'_> {
    Target {
        method: "GET",
        path,
        query: None,
    }
}

fn now() -> UnixSeconds {
    UnixSeconds(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs(),
    )
}

/// What was printed, without any secret in it.
#[track_caller]
fn printed(world: &World, output: &Output) -> String {
    let text = [&*output.stdout, &*output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    let files = ["core.env", "applied/core.env"].map(|file| read_env(&world.text(file)));
    for file in files {
        for variable in ["CORE_HOP_SECRETS", "CORE_HOP_RETIRED_SECRETS"] {
            let secrets: BTreeMap<String, String> = from_json(&file[variable]);
            for secret in secrets.values() {
                assert!(!text.contains(secret), "{text}");
            }
        }
        for key in file["CORE_OPENING_KEYS"].split(' ') {
            let (_, private) = key.split_once(':').unwrap();
            assert!(!text.contains(private), "{text}");
        }
    }
    text
}

#[test]
fn killed_before_or_after_any_command_it_goes_on_and_does_nothing_twice() {
    let deaths = ["DIE_BEFORE", "DIE_AFTER"]
        .into_iter()
        .flat_map(|when| (0..3).map(move |call| (when, call)));
    let runs: Vec<_> = deaths
        .map(|(when, call)| {
            std::thread::spawn(move || {
                let world = World::new(&format!("{when}-{call}"));
                let killed = world
                    .applying("hop", &[])
                    .env(when, call.to_string())
                    .output()
                    .unwrap();
                assert_eq!(
                    killed.status.signal(),
                    Some(9),
                    "{}",
                    printed(&world, &killed)
                );
                let core = world.text("core.env");
                let ended = world.applying("hop", &[]).output().unwrap();
                let text = printed(&world, &ended);
                assert!(ended.status.success(), "{when} {call}: {text}");
                world.is_at_the_hops_end();
                // What was in force was not put in force again.
                let expected = if when == "DIE_AFTER" { 3 } else { 4 };
                assert_eq!(world.calls(), expected, "{when} {call}: {text}");
                // Nor was another secret made in place of the first.
                let made: BTreeMap<String, String> =
                    from_json(&read_env(&core)["CORE_HOP_SECRETS"]);
                let live = &read_env(&world.text("core.env"))["CORE_HOP_SECRETS"];
                assert!(live.contains(&made["smp-asia-2"]));

                let again = world.applying("hop", &[]).output().unwrap();
                assert!(again.status.success(), "{}", printed(&world, &again));
                assert_eq!(world.calls(), expected);
                // Each run asks with the old key once, at its end: refusals are alerted on.
                assert_eq!(world.counts.refused_probes.load(Ordering::SeqCst), 2);
            })
        })
        .collect();
    for run in runs {
        run.join().unwrap();
    }
}

#[test]
fn without_commands_it_stops_after_each_edit_and_goes_on_when_run_again() {
    let world = World::new("by-hand");
    // A link stays one, and what it leads to is replaced.
    let secrets = world.folder.join("secrets");
    fs::create_dir(&secrets).unwrap();
    fs::rename(world.folder.join("core.env"), secrets.join("core.env")).unwrap();
    symlink(secrets.join("core.env"), world.folder.join("core.env")).unwrap();
    for (file, expected) in [
        ("core.env", "restart it, then run this again"),
        ("edge.json", "npx wrangler secret bulk"),
        ("core.env", "the core still takes smp-asia-1"),
    ] {
        for _ in 0..2 {
            let stopped = world
                .command("hop", &["--to", "smp-asia-2"])
                .output()
                .unwrap();
            let text = printed(&world, &stopped);
            assert_eq!(stopped.status.code(), Some(1), "{text}");
            assert!(
                text.contains("not done yet") && text.contains(expected),
                "{text}"
            );
        }
        assert_ne!(world.text(file), world.text(&format!("applied/{file}")));
        world.apply(file);
    }
    for _ in 0..2 {
        let ended = world
            .command("hop", &["--to", "smp-asia-2", "--json"])
            .output()
            .unwrap();
        assert!(ended.status.success(), "{}", printed(&world, &ended));
        let report: Value = serde_json::from_slice(&ended.stdout).unwrap();
        assert_eq!(
            (&report["is_done"], &report["to_do"]),
            (&json!(true), &json!(null))
        );
    }
    world.is_at_the_hops_end();
    assert!(world.folder.join("core.env").is_symlink());
}

#[test]
fn an_edge_that_did_not_change_over_keeps_the_old_key_at_the_core() {
    let world = World::new("edge-stays");
    let arguments = [
        "--to",
        "smp-asia-2",
        "--apply-core",
        "file=core.env; . ./apply.sh",
        "--apply-edge",
        "true",
        "--patience-secs",
        "1",
    ];
    let failed = world.command("hop", &arguments).output();
    let failed = failed.unwrap();
    let text = printed(&world, &failed);
    assert!(
        !failed.status.success() && text.contains("the edge signs with smp-asia-1"),
        "{text}"
    );
    let core = read_env(&world.text("applied/core.env"));
    assert!(core["CORE_HOP_SECRETS"].contains(OLD_SECRET));
    assert_eq!(world.counts.refused.load(Ordering::SeqCst), 0);
}

#[test]
fn a_dry_run_shows_every_step_and_neither_changes_nor_asks_anything() {
    let world = World::new("dry-run");
    let before = ["core.env", "edge.json", "wrangler.toml"].map(|file| world.text(file));
    for (kind, expected) in [
        (
            "hop",
            "smp-asia-1 goes from CORE_HOP_SECRETS to CORE_HOP_RETIRED_SECRETS",
        ),
        (
            "sealing",
            "wrangler.toml: sealing_key of smp-asia becomes smp-asia-2",
        ),
    ] {
        let nobody = [
            "--dry-run",
            "--edge",
            "http://127.0.0.1:1",
            "--core-url",
            "http://127.0.0.1:1",
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_smpctl"));
        command
            .current_dir(&world.folder)
            .env("EDGE_OPS_TOKEN", "token");
        command.args(["rotate", kind, "--region", "smp-asia", "--to", "smp-asia-2"]);
        command.args(["--core-file", "core.env"]).args(nobody);
        if kind == "hop" {
            command.args(["--edge-file", "edge.json"]);
        }
        let shown = command.output().unwrap();
        let text = printed(&world, &shown);
        assert!(shown.status.success() && text.contains(expected), "{text}");
        for step in 1..=6 {
            assert!(text.contains(&format!("[{step}/6] ")), "{text}");
        }
    }
    let after = ["core.env", "edge.json", "wrangler.toml"].map(|file| world.text(file));
    assert_eq!(before, after);
}

#[test]
fn what_stands_in_the_way_is_named_and_nothing_is_changed() {
    let world = World::new("in-the-way");
    let before = world.text("core.env");
    let fails = |more: &[&str], expected: &str| {
        let failed = world.command("hop", more).output().unwrap();
        let text = printed(&world, &failed);
        assert!(
            !failed.status.success() && text.contains(expected),
            "{more:?}: {text}"
        );
    };
    fails(&[], "--to smp-asia-2 is free");
    fails(
        &["--to", "smp-asia-0"],
        "core.env: CORE_HOP_RETIRED_SECRETS: smp-asia-0 was used before",
    );
    fails(&["--to", "Asia 2"], "lower-case letters");
    fails(
        &["--to", "smp-asia-2", "--environment", "staging"],
        "no environment staging",
    );
    // The edge has something else in force than the file says.
    let edge = world
        .text("applied/edge.json")
        .replace(OLD_SECRET, OLDEST_SECRET);
    fs::write(world.folder.join("applied/edge.json"), edge).unwrap();
    fails(
        &["--to", "smp-asia-2"],
        "nothing is begun: SG through the edge: 401",
    );
    world.apply("edge.json");
    // Somebody else is at work.
    let folder = fs::File::open(&world.folder).unwrap();
    folder.lock().unwrap();
    fails(
        &["--to", "smp-asia-2"],
        "another smpctl is at work in this folder",
    );
    drop(folder);
    assert_eq!(world.text("core.env"), before);

    let failing = ["--to", "smp-asia-2", "--apply-core", "exit 3"];
    fails(&failing, "--apply-core ended with exit status: 3");
}

#[test]
fn a_sealing_key_goes_when_nothing_waits_or_lies_parked_that_it_may_open() {
    let world = World::new("sealing");
    let routes_mode = world.folder.join("wrangler.toml");
    fs::set_permissions(&routes_mode, fs::Permissions::from_mode(0o644)).unwrap();
    let old = opening_key().expose();
    world.counts.parked.store(1, Ordering::SeqCst);
    let parked = world
        .applying("sealing", &["--patience-secs", "2"])
        .output()
        .unwrap();
    let text = printed(&world, &parked);
    assert!(
        !parked.status.success() && text.contains("1 records lie parked"),
        "{text}"
    );
    world.counts.parked.store(0, Ordering::SeqCst);
    world.counts.waiting.store(3, Ordering::SeqCst);
    let (counts, url) = (Arc::clone(&world.counts), world.text("applied/core.env"));
    assert!(url.contains(&old));
    let asked = counts.asked_for_status.load(Ordering::SeqCst);
    std::thread::scope(|scope| {
        let going_on = scope.spawn(|| world.applying("sealing", &[]).output().unwrap());
        // It has looked more than once, and goes on to wait.
        while counts.asked_for_status.load(Ordering::SeqCst) < asked + 4 {
            assert!(!going_on.is_finished());
            std::thread::yield_now();
        }
        assert!(read_env(&world.text("core.env"))["CORE_OPENING_KEYS"].contains(&old));
        counts.waiting.store(0, Ordering::SeqCst);
        let ended = going_on.join().unwrap();
        let text = printed(&world, &ended);
        assert!(
            ended.status.success() && text.contains("3 records wait"),
            "{text}"
        );
    });
    let keys = &read_env(&world.text("core.env"))["CORE_OPENING_KEYS"];
    let key = OpeningKey::parse(keys).unwrap();
    assert_eq!(key.keyid(), "smp-asia-2");
    let expected = format!(
        "# routes\n[vars.ROUTES]\nversion = 8 # raised by every flip\n[vars.ROUTES.countries]\nVN = \"smp-asia\"\n\
         SG = \"smp-asia\"\n[vars.ROUTES.regions.smp-asia]\norigin = \"https://core.example.com\"\nstate = \"open\"\n\
         spool = \"sealed\"\nsealing_key = \"{}\" # public\n",
        key.sealing_key()
    );
    assert_eq!(world.text("wrangler.toml"), expected);
    assert_eq!(world.text("applied/wrangler.toml"), expected);
    assert_eq!(world.text("applied/core.env"), world.text("core.env"));
    // Who might read the routes still may.
    let mode = routes_mode.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    assert_eq!(world.calls(), 3);
}
