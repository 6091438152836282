//! `smpctl rotate` under traffic: nobody is refused, no lead is lost, and in the end the old key is worth nothing.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use infra::edge::Client;
use platform::checkout;
use platform::pancake::{self, DemoConnection};
use platform::ports::Ports;
use platform::region::Region;
use platform::secrets::random_hex;
use protocol::hop::{Destination, HopKey, Target, sign_proxied};
use protocol::sealed::OpeningKey;
use protocol::{RegionId, UnixSeconds};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::sync::RwLock;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::spool::{READ_TOKEN, is_on_disk, ops_tokens};
use crate::support::workerd::{Binding, OBJECTS_DIRECTORY, Workerd};
use crate::support::{Signed, client, lead, lifetime, post, record_url};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// Between two looks.
const POLL: Duration = Duration::from_millis(20);

/// Requests that come all the while.
const SENDERS: usize = 4;

/// A region and its edge, with the files from which an operator gives both their secrets.
struct Rotating {
    region: Region,
    edge: Workerd,
    connection: DemoConnection,
    folder: PathBuf,
    /// Whoever sends has it, and whoever deploys has it alone: Cloudflare lets a request end on the version to which
    /// it came, and here one workerd ends before the next begins.
    gate: Arc<RwLock<()>>,
}

impl Rotating {
    async fn start(name: &str) -> Self {
        let run = lifetime::run_directory();
        let id = RegionId::parse("smp-asia").unwrap();
        let countries = vec!["VN".parse().unwrap()];
        let logs = run.join("logs");
        let region = Region::start(id, countries, 7, Ports::Free, &logs, name);
        let region = region.await.unwrap();
        let folder = run.join(format!("{name}-files"));
        fs::create_dir_all(&folder).unwrap();
        write_files(&folder, &region);
        let connection = DemoConnection {
            country: "VN",
            mode: "enforce",
            token: random_hex().unwrap(),
            secret: random_hex().unwrap(),
            previous_secret: None,
        };
        let edge = Workerd::start(name, &entry(), &bindings(&folder, &connection)).await;
        let mut rotating = Self {
            region,
            edge,
            connection,
            folder,
            gate: Arc::default(),
        };
        rotating.apply_core().await;
        rotating
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap()
    }

    fn core_file(&self) -> BTreeMap<String, String> {
        read_env(&self.text("core.env"))
    }

    /// Restarts the core with what its file says.
    async fn apply_core(&mut self) {
        self.stop_core();
        self.region.environment = self.core_file();
        self.region.start_core().await.unwrap();
    }

    fn stop_core(&mut self) {
        self.region.core().unwrap().stop(PATIENCE).unwrap();
    }

    /// Deploys the edge with what its files say.
    async fn apply_edge(&mut self) {
        let bindings = bindings(&self.folder, &self.connection);
        let _alone = self.gate.write().await;
        self.edge.deploy(&entry(), &bindings).await;
    }

    /// Begins `smpctl rotate`. Its commands ask for what they are called, and wait until that was done.
    fn smpctl(&self, kind: &str) -> Child {
        let log = fs::File::create(self.folder.join("smpctl.log")).unwrap();
        let apply = |what: &str| {
            format!(
                "touch {what}.$$.asked; while [ ! -e {what}.$$.done ]; do sleep 0.05; done; rm {what}.$$.done"
            )
        };
        let mut command = Command::new(checkout::built_program("smpctl").unwrap());
        command
            .current_dir(&self.folder)
            .kill_on_drop(true)
            .env("EDGE_OPS_TOKEN", READ_TOKEN)
            .args(["rotate", kind, "--region", "smp-asia"])
            .args(["--to", "smp-asia-2", "--edge", &self.edge.url])
            .args(["--core-file", "core.env"])
            .args(["--apply-core", &apply("core")])
            .args(["--apply-edge", &apply("edge")])
            // A minute in production.
            .args(["--settle-secs", "3", "--patience-secs", "180"])
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        if kind == "hop" {
            command.args(["--edge-file", "edge.json"]);
        }
        command.spawn().unwrap()
    }

    /// What smpctl's command asks for, if one does: the name of its file without `asked`.
    fn asked(&self) -> Option<String> {
        let mut entries = fs::read_dir(&self.folder).unwrap();
        entries.find_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            Some(name.strip_suffix("asked")?.to_owned())
        })
    }

    /// Lets the command that asked go on.
    fn answer(&self, asked: &str) {
        fs::remove_file(self.folder.join(format!("{asked}asked"))).unwrap();
        fs::write(self.folder.join(format!("{asked}done")), "").unwrap();
    }

    /// Waits for what smpctl does next.
    async fn next(&self, smpctl: &mut Child) -> Next {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(asked) = self.asked() {
                return Next::Asks(asked);
            }
            if let Some(status) = smpctl.try_wait().unwrap() {
                assert!(status.success(), "{status}: {}", self.text("smpctl.log"));
                return Next::Ends;
            }
            if self.text("smpctl.log").contains("records wait") {
                return Next::WaitsForRecords;
            }
            assert!(Instant::now() < deadline, "{}", self.text("smpctl.log"));
            tokio::time::sleep(POLL).await;
        }
    }

    /// Runs it to its end, and does what it asks for.
    async fn rotate(&mut self, kind: &str) {
        let mut smpctl = self.smpctl(kind);
        while let Next::Asks(asked) = self.next(&mut smpctl).await {
            self.serve(&asked).await;
        }
    }

    async fn serve(&mut self, asked: &str) {
        if asked.starts_with("core") {
            self.apply_core().await;
        } else {
            self.apply_edge().await;
        }
        self.answer(asked);
    }

    /// Runs it, and kills it there.
    async fn rotate_until(&mut self, death: Death) {
        let mut smpctl = self.smpctl("hop");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let asked = self.asked();
            let is_time = match death {
                Death::Asking(what) => asked.as_ref().is_some_and(|asked| asked.starts_with(what)),
                Death::Saying(what) => self.text("smpctl.log").contains(what),
            };
            if is_time {
                smpctl.kill().await.unwrap();
                // Its command is still there, and nothing of it is done.
                if let Some(asked) = asked {
                    self.answer(&asked);
                }
                return;
            }
            if let Some(asked) = asked {
                self.serve(&asked).await;
            }
            let log = self.text("smpctl.log");
            assert_eq!(smpctl.try_wait().unwrap(), None, "{log}");
            assert!(Instant::now() < deadline, "{log}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// What the core answers to whoever signs with a key.
    async fn core_answers(&self, keyid: &str, secret: &str) -> u16 {
        let key = HopKey::new(keyid, secret.as_bytes()).unwrap();
        let destination = Destination {
            country: "VN".parse().unwrap(),
            region: &self.region.id,
            route_version: 7,
        };
        let target = Target {
            method: "GET",
            path: "/api/region",
            query: None,
        };
        let mut request = client().get(format!("{}/api/region", self.region.core_url()));
        for (name, value) in sign_proxied(&key, destination, target, UnixSeconds(pancake::now())) {
            request = request.header(name, value);
        }
        request.send().await.unwrap().status().as_u16()
    }

    /// That only the new key of the hop is taken; gives its secret.
    async fn has_new_hop_key_alone(&self) -> String {
        let core = self.core_file();
        let live: BTreeMap<String, String> =
            serde_json::from_str(&core["CORE_HOP_SECRETS"]).unwrap();
        let (old, new) = (&self.region.hop_secret, &live["smp-asia-2"]);
        assert_eq!(live.len(), 1);
        let retired = json!({"smp-asia-1": old}).to_string();
        assert_eq!(core["CORE_HOP_RETIRED_SECRETS"], retired);
        assert_eq!(self.core_answers("smp-asia-2", new).await, 200);
        assert_eq!(self.core_answers("smp-asia-1", old).await, 401);
        new.clone()
    }

    /// That all of these arrived, each once, and keep a receipt.
    async fn has(&self, leads: &[Uuid]) {
        let database = self.region.database().await.unwrap();
        let deadline = Instant::now() + PATIENCE;
        let rows = loop {
            let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(
                "select record_id, event_id from pancake_webhook_event order by event_id",
            )
            .fetch_all(&database)
            .await
            .unwrap();
            if rows.len() >= leads.len() {
                break rows;
            }
            assert!(
                Instant::now() < deadline,
                "{} of {}",
                rows.len(),
                leads.len()
            );
            tokio::time::sleep(POLL).await;
        };
        let arrived: HashSet<_> = rows.iter().map(|(record, _)| record).collect();
        assert_eq!((rows.len(), arrived), (leads.len(), leads.iter().collect()));
        for (_, event) in [rows[0], rows[rows.len() - 1]] {
            let report = self.region.run_core(&format!("verify-receipt {event}"));
            assert!(report.is_ok(), "{report:?}");
        }
    }
}

/// When `smpctl rotate` is killed.
enum Death {
    /// When one of its commands asks to be done.
    Asking(&'static str),
    /// When it has said something.
    Saying(&'static str),
}

/// What `smpctl rotate` does.
enum Next {
    Asks(String),
    WaitsForRecords,
    Ends,
}

fn entry() -> PathBuf {
    checkout::root().join("edge-worker/entry.js")
}

fn write_files(folder: &Path, region: &Region) {
    let core = format!(
        "# the core of smp-asia\nCORE_HOP_SECRETS={}\nCORE_OPENING_KEYS={}\n",
        json!({ &*region.hop_keyid: region.hop_secret }),
        region.opening_key().expose()
    );
    let hop = json!({"smp-asia": {"keyid": region.hop_keyid, "secret": region.hop_secret}});
    let edge = json!({"HOP_SECRETS": hop.to_string(), "OPS_TOKENS": ops_tokens()});
    let wrangler = format!(
        "[vars.ROUTES]\nversion = 7 # raised by every flip\n[vars.ROUTES.countries]\nVN = \"smp-asia\"\n\
         [vars.ROUTES.regions.smp-asia]\norigin = \"{}\"\nstate = \"open\"\nspool = \"sealed\"\n\
         sealing_key = \"{}\" # public\n",
        region.core_url(),
        region.sealing_key()
    );
    fs::write(folder.join("core.env"), core).unwrap();
    fs::write(folder.join("edge.json"), edge.to_string()).unwrap();
    fs::write(folder.join("wrangler.toml"), wrangler).unwrap();
}

fn read_env(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    lines
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// What the edge is given, by its files.
fn bindings(folder: &Path, connection: &DemoConnection) -> Vec<(&'static str, Binding)> {
    let read = |name| fs::read_to_string(folder.join(name)).unwrap();
    let wrangler: toml::Table = read("wrangler.toml").parse().unwrap();
    let routes = serde_json::to_string(&wrangler["vars"]["ROUTES"]).unwrap();
    let secrets: Value = serde_json::from_str(&read("edge.json")).unwrap();
    let secret = |name: &str| Binding::Text(secrets[name].as_str().unwrap().to_owned());
    let connections = DemoConnection::to_entries(std::slice::from_ref(connection));
    vec![
        ("ROUTES", Binding::Json(routes)),
        ("HOP_SECRETS", secret("HOP_SECRETS")),
        ("OPS_TOKENS", secret("OPS_TOKENS")),
        ("CONNECTIONS", Binding::Connections(connections)),
        ("SPOOL", Binding::DurableObjects("SpoolShard")),
        ("METRICS", Binding::DurableObjects("EdgeMetrics")),
    ]
}

/// Leads that come without an end. Any answer but 200 ends the test.
struct Traffic {
    senders: JoinSet<Vec<Uuid>>,
    is_over: Arc<AtomicBool>,
    accepted: Arc<AtomicUsize>,
    queued: Arc<AtomicUsize>,
}

impl Traffic {
    fn start(rotating: &Rotating) -> Self {
        let mut traffic = Self {
            senders: JoinSet::new(),
            is_over: Arc::default(),
            accepted: Arc::default(),
            queued: Arc::default(),
        };
        for _ in 0..SENDERS {
            let url = record_url(&rotating.edge.url, &rotating.connection);
            let (connection, gate) = (rotating.connection.clone(), Arc::clone(&rotating.gate));
            let is_over = Arc::clone(&traffic.is_over);
            let counts = [&traffic.accepted, &traffic.queued].map(Arc::clone);
            traffic.senders.spawn(async move {
                let mut sent = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    let (id, body) = lead();
                    let signed = Signed::now(&connection, body.as_bytes());
                    let through = gate.read().await;
                    let answer = post(&url, &signed, body).await;
                    drop(through);
                    let [accepted, queued] = &counts;
                    match (answer.status, answer.body["status"].as_str()) {
                        (200, Some("accepted")) => accepted.fetch_add(1, Ordering::Relaxed),
                        (200, Some("queued")) => queued.fetch_add(1, Ordering::Relaxed),
                        _ => panic!("{answer:?}"),
                    };
                    sent.push(id);
                    // Not a wait for anything: a moment for the others on this machine.
                    tokio::time::sleep(POLL / 2).await;
                }
                sent
            });
        }
        traffic
    }

    /// Waits until so many more were accepted, or queued.
    async fn wait_for(count: &AtomicUsize, more: usize) {
        let (before, deadline) = (count.load(Ordering::Relaxed), Instant::now() + PATIENCE);
        while count.load(Ordering::Relaxed) < before + more {
            assert!(Instant::now() < deadline, "nothing comes any more");
            tokio::time::sleep(POLL).await;
        }
    }

    async fn stop(self) -> Vec<Uuid> {
        self.is_over.store(true, Ordering::Relaxed);
        self.senders.join_all().await.concat()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_keys_are_changed_under_traffic_and_nobody_is_refused_and_no_lead_is_lost() {
    let mut rotating = Rotating::start("rotation").await;
    let traffic = Traffic::start(&rotating);
    Traffic::wait_for(&traffic.accepted, 20).await;
    rotating.rotate("hop").await;
    rotating.has_new_hop_key_alone().await;
    Traffic::wait_for(&traffic.accepted, 20).await;

    let mut smpctl = rotating.smpctl("sealing");
    let old = rotating.region.opening_key().expose();
    loop {
        match rotating.next(&mut smpctl).await {
            Next::Asks(asked) if asked.starts_with("edge") => {
                // The core is away, so leads wait that are sealed to the old key, and then others to the new one.
                rotating.stop_core();
                Traffic::wait_for(&traffic.queued, 20).await;
                wait_until_told(&rotating).await;
                rotating.apply_edge().await;
                Traffic::wait_for(&traffic.queued, 20).await;
                rotating.answer(&asked);
            }
            Next::Asks(asked) => rotating.serve(&asked).await,
            Next::WaitsForRecords => {
                let disk = rotating.edge.directory.join(OBJECTS_DIRECTORY);
                for key in ["smp-asia-1", "smp-asia-2"] {
                    assert!(is_on_disk(&disk, key), "nothing waits sealed to {key}");
                }
                assert!(rotating.core_file()["CORE_OPENING_KEYS"].contains(&old));
                rotating.region.start_core().await.unwrap();
                break;
            }
            Next::Ends => panic!("it did not wait: {}", rotating.text("smpctl.log")),
        }
    }
    let asked = loop {
        match rotating.next(&mut smpctl).await {
            Next::Asks(asked) => break asked,
            // It said so before.
            Next::WaitsForRecords => tokio::time::sleep(POLL).await,
            Next::Ends => panic!("it did not restart the core"),
        }
    };
    rotating.serve(&asked).await;
    let ended = tokio::time::timeout(PATIENCE, smpctl.wait()).await;
    assert!(
        ended.unwrap().unwrap().success(),
        "{}",
        rotating.text("smpctl.log")
    );
    let keys = &rotating.core_file()["CORE_OPENING_KEYS"];
    let key = OpeningKey::parse(keys).unwrap();
    assert_eq!(key.keyid(), "smp-asia-2");

    let queued = traffic.queued.load(Ordering::Relaxed);
    let leads = traffic.stop().await;
    eprintln!("{} leads, {queued} of them waited", leads.len());
    rotating.has(&leads).await;
}

/// Waits until the edge tells that records wait.
async fn wait_until_told(rotating: &Rotating) {
    let url = rotating.edge.url.clone();
    let told = tokio::task::spawn_blocking(move || {
        let client = Client::new(&url, READ_TOKEN.to_owned());
        let deadline = Instant::now() + PATIENCE;
        while client.status().unwrap().regions[0].waiting == 0 {
            assert!(Instant::now() < deadline, "nothing waits");
            std::thread::sleep(POLL);
        }
    });
    told.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_each_stage_it_goes_on_where_it_was() {
    let mut rotating = Rotating::start("rotation-killed").await;
    let traffic = Traffic::start(&rotating);
    Traffic::wait_for(&traffic.accepted, 20).await;
    rotating.rotate_until(Death::Asking("core")).await;
    let made = rotating.core_file()["CORE_HOP_SECRETS"].clone();
    for death in [
        Death::Asking("edge"),
        Death::Saying("it has to last"),
        Death::Asking("core"),
    ] {
        rotating.rotate_until(death).await;
    }
    rotating.rotate("hop").await;
    let new = rotating.has_new_hop_key_alone().await;
    assert!(made.contains(&new), "another secret was made");
    Traffic::wait_for(&traffic.accepted, 20).await;
    rotating.has(&traffic.stop().await).await;
}
