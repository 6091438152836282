//! Two regions and an edge, each a server that answers as it is told to, and a terminal to look at them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc::pid_t;
use nix::pty::{OpenptyResult, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

const TOKEN: &str = "a-token-of-ops";

const CORE: &str = "\
# TYPE pancake_events_unfinished gauge
pancake_events_unfinished{country=\"VN\",status=\"received\"} 4
pancake_events_unfinished{country=\"VN\",status=\"failed\"} 0
pancake_events_unfinished{country=\"VN\",status=\"dead_letter\"} 0
pancake_events_unfinished_oldest_seconds{country=\"VN\",status=\"received\"} 0.3
pancake_processing_paused{country=\"VN\"} 0
pancake_kill_switch{country=\"VN\"} 0
pancake_connection_status{country=\"VN\",connection=\"vn-main\",status=\"disabled\"} 0
pancake_watermark_age_seconds{country=\"VN\",connection=\"vn-main\",table=\"lead\"} 140
";

const REPLICATOR: &str = "\
# TYPE replication_lag_seconds gauge
replication_lag_seconds{region=\"smp-china\"} 0.8
replication_asked_seconds{region=\"smp-china\"} 4.5
replication_parked_records{region=\"smp-china\"} 0
replication_table_differs{region=\"smp-china\",table=\"countries\"} 0
replication_table_differs{region=\"smp-china\",table=\"tax_configs\"} 0
# EOF
";

/// What a server does with a question.
#[derive(Clone)]
pub(crate) enum Answer {
    Text(u16, String),
    /// It ends the connection.
    Closed,
    /// It keeps the connection, and says nothing.
    Hangs,
}

type Answers = BTreeMap<(&'static str, &'static str), Answer>;

#[derive(Default)]
struct Shared {
    answers: Mutex<Answers>,
    asked: Mutex<Vec<(&'static str, String)>>,
    hanging: Mutex<Vec<TcpStream>>,
}

pub(crate) struct World {
    folder: PathBuf,
    shared: Arc<Shared>,
    origins: BTreeMap<&'static str, String>,
}

impl World {
    /// In which nothing is wrong.
    pub(crate) fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("status-{name}"));
        let _ = fs::remove_dir_all(&folder);
        for part in ["run", "regions"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        for region in ["smp-asia.toml", "smp-china.toml"] {
            let registry = Path::new(env!("CARGO_MANIFEST_DIR")).join("regions");
            fs::copy(registry.join(region), folder.join("regions").join(region)).unwrap();
        }
        let shared = Arc::new(Shared::default());
        let servers = ["edge", "asia", "china", "replicator"];
        let origins: BTreeMap<_, _> = servers.map(|who| (who, serve(who, &shared))).into();
        let world = Self {
            folder,
            shared,
            origins,
        };
        world.write_files();
        let ready = |region: &str, country: &str| {
            let ready = json!({
                "status": "ready",
                "region": region,
                "countries": [country],
                "checks": {"process": "ok", "database": "ok", "schema": "ok", "master_data": "loaded"},
            });
            Answer::Text(200, ready.to_string())
        };
        world.says("asia", "/readyz", ready("smp-asia", "VN"));
        world.says("china", "/readyz", ready("smp-china", "CN"));
        let china = CORE.replace("VN", "CN").replace("vn-", "cn-");
        world.says("asia", "/metrics", Answer::Text(200, CORE.to_owned()));
        world.says("china", "/metrics", Answer::Text(200, china));
        world.says(
            "replicator",
            "/metrics",
            Answer::Text(200, REPLICATOR.to_owned()),
        );
        world.says("edge", "/healthz", Answer::Text(200, String::new()));
        world.spool("smp-china", (0, 0.0, 0));
        world
    }

    fn write_files(&self) {
        let write = |file: &str, text: String| fs::write(self.folder.join(file), text).unwrap();
        let (asia, china) = (self.origin("asia"), self.origin("china"));
        write(
            "wrangler.toml",
            format!(
                "[vars.ROUTES]\nversion = 7\n[vars.ROUTES.countries]\nVN = \"smp-asia\"\nCN = \"smp-china\"\n\
                 [vars.ROUTES.regions.smp-asia]\norigin = \"{asia}\"\nstate = \"open\"\n\
                 [vars.ROUTES.regions.smp-china]\norigin = \"{china}\"\nstate = \"open\"\n"
            ),
        );
        let core = |origin: &str| json!({"origin": origin, "sealing_key": null});
        let cores = json!({"smp-asia": core(asia), "smp-china": core(china)});
        write("run/cores.json", cores.to_string());
        let replicator = self.origin("replicator");
        let relay = "replication_relay_waiting_seconds{region=\"smp-asia\"} 0\n";
        self.says(
            "edge",
            "/relay/metrics",
            Answer::Text(200, relay.to_owned()),
        );
        write(
            "run/platform.env",
            format!(
                "EDGE_URL={edge}\nEDGE_OPS_TOKEN={TOKEN}\nSMP_ASIA_REPLICATOR_URL={edge}/relay\n\
                 SMP_CHINA_REPLICATOR_URL={replicator}\n",
                edge = self.origin("edge")
            ),
        );
    }

    pub(crate) fn origin(&self, who: &str) -> &str {
        &self.origins[who]
    }

    pub(crate) fn says(&self, who: &'static str, path: &'static str, answer: Answer) {
        self.shared
            .answers
            .lock()
            .unwrap()
            .insert((who, path), answer);
    }

    /// As a server said it, with another text in one place.
    pub(crate) fn replaces(&self, who: &'static str, path: &'static str, text: &str, by: &str) {
        let mut answers = self.shared.answers.lock().unwrap();
        let Some(Answer::Text(_, said)) = answers.get_mut(&(who, path)) else {
            panic!("{who} says nothing at {path}")
        };
        assert!(said.contains(text), "{said}");
        *said = said.replace(text, by);
    }

    /// What waits at the edge for a region: how many, for how long, and how many are parked.
    pub(crate) fn spool(&self, region: &str, (waiting, oldest, parked): (u64, f64, u64)) {
        let of = |id: &str| {
            let (waiting, oldest, parked) = if id == region {
                (waiting, oldest, parked)
            } else {
                (0, 0.0, 0)
            };
            json!({"region": id, "state": "open", "spool": "sealed", "waiting": waiting, "parked": parked,
                   "bytes": 0, "oldest_seconds": oldest, "used_ratio": 0.0})
        };
        let status = json!({
            "routes_version": 7,
            "regions": [of("smp-asia"), of("smp-china")],
            "connections": [],
            "countries": [{"country": "CN", "requests_1h": 96}, {"country": "VN", "requests_1h": 1234}],
            "counters": {},
        });
        self.says(
            "edge",
            "/_edge/status",
            Answer::Text(200, status.to_string()),
        );
    }

    /// How often a server was asked for a page.
    pub(crate) fn asked(&self, who: &str, path: &str) -> usize {
        let asked = self.shared.asked.lock().unwrap();
        asked
            .iter()
            .filter(|(name, page)| *name == who && page == path)
            .count()
    }

    pub(crate) fn wait_until_asked(&self, who: &str, path: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.asked(who, path) == 0 {
            assert!(Instant::now() < deadline, "nobody asks {who} for {path}");
            thread::yield_now();
        }
    }

    fn smpctl(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smpctl"));
        command
            .current_dir(&self.folder)
            .env_remove("EDGE_URL")
            .env_remove("EDGE_OPS_TOKEN")
            .env_remove("NO_COLOR")
            .env("TERM", "xterm")
            .args(["status", "--regions", "regions"])
            .stdin(Stdio::null());
        command
    }

    /// As if all of it ran on this machine.
    pub(crate) fn local(&self) -> Command {
        let mut command = self.smpctl();
        command.arg("--local=run");
        command
    }

    pub(crate) fn production(&self) -> Command {
        self.smpctl()
    }

    /// With which code it exits, and what it prints.
    pub(crate) fn screen(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.local().args(arguments).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.stderr.is_empty(), "{:?}", output.stderr);
        assert!(!text.contains(TOKEN), "{text}");
        (output.status.code().unwrap(), text)
    }

    pub(crate) fn json(&self) -> (i32, Value) {
        let (code, text) = self.screen(&["--json"]);
        (code, serde_json::from_str(&text).unwrap())
    }
}

/// Where it listens.
fn serve(who: &'static str, shared: &Arc<Shared>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let shared = Arc::clone(&shared);
            thread::spawn(move || answer(who, &shared, stream.unwrap()));
        }
    });
    origin
}

fn answer(who: &'static str, shared: &Shared, mut stream: TcpStream) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let Some(Ok(request)) = lines.next() else {
        return;
    };
    let headers = lines.map_while(Result::ok);
    let headers: Vec<_> = headers.take_while(|line| !line.is_empty()).collect();
    let path = request.split(' ').nth(1).unwrap().to_owned();
    let answers = shared.answers.lock().unwrap();
    let mut known = answers.iter();
    let found = known.find(|((name, page), _)| *name == who && *page == path);
    let found = found.map_or(Answer::Text(404, String::new()), |(_, answer)| {
        answer.clone()
    });
    drop(answers);
    shared.asked.lock().unwrap().push((who, path.clone()));
    let (status, text) = match found {
        Answer::Text(status, text) => (status, text),
        Answer::Closed => return,
        Answer::Hangs => {
            shared.hanging.lock().unwrap().push(stream);
            return;
        }
    };
    let bearer = format!("authorization: Bearer {TOKEN}");
    let is_known = headers
        .iter()
        .any(|line| line.eq_ignore_ascii_case(&bearer));
    let status = if path.starts_with("/_edge/") && !is_known {
        401
    } else {
        status
    };
    // Who was ended hears nothing.
    let _ = write!(
        stream,
        "HTTP/1.1 {status} x\r\nx-smp-route-version: 7\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    );
}

/// A terminal, and whoever sits at it.
pub(crate) struct Terminal {
    pair: OpenptyResult,
    before: Termios,
    written: Receiver<Vec<u8>>,
    /// All that was written to it.
    pub(crate) seen: String,
}

impl Terminal {
    pub(crate) fn open() -> Self {
        let pair = openpty(None, None).unwrap();
        let before = tcgetattr(&pair.slave).unwrap();
        let (sender, written) = mpsc::channel();
        let mut master = File::from(pair.master.try_clone().unwrap());
        thread::spawn(move || {
            let mut bytes = [0; 4_096];
            while let Ok(length @ 1..) = master.read(&mut bytes) {
                if sender.send(bytes[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            pair,
            before,
            written,
            seen: String::new(),
        }
    }

    pub(crate) fn run(&self, command: &mut Command) -> Child {
        let end = || Stdio::from(self.pair.slave.try_clone().unwrap());
        let command = command.stdin(end()).stdout(end()).stderr(end());
        command.spawn().unwrap()
    }

    /// Reads on until this was written behind what was read before.
    pub(crate) fn read_until(&mut self, text: &str) {
        let mut fresh = Vec::new();
        loop {
            let read = String::from_utf8_lossy(&fresh).into_owned();
            if read.contains(text) {
                self.seen += &read;
                return;
            }
            let Ok(written) = self.written.recv_timeout(PATIENCE) else {
                panic!("{text:?} is not written, but {read:?}")
            };
            fresh.extend(written);
        }
    }

    pub(crate) fn press(&self, key: u8) {
        let mut master = File::from(self.pair.master.try_clone().unwrap());
        master.write_all(&[key]).unwrap();
    }

    /// Whether keys are taken as they were at first.
    pub(crate) fn is_as_before(&self) -> bool {
        tcgetattr(&self.pair.slave).unwrap().local_flags == self.before.local_flags
    }

    pub(crate) fn terminate(child: &Child) {
        let pid = pid_t::try_from(child.id()).unwrap();
        kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    }
}
