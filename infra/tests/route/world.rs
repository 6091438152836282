//! A folder with routes, and an edge that has in force what was copied to `applied/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::http::{self, Answer, Request, routes};

/// The routes at first. Their origins are nobody's: no core is asked for anything.
pub(crate) const BEFORE: &str = "\
# The Worker and its routes.
[vars.ROUTES]
version = 1 # raised by every flip
[vars.ROUTES.countries]
VN = \"smp-asia\" # the first one
CN = \"smp-china\"
[vars.ROUTES.regions.smp-asia]
origin = \"http://127.0.0.1:1\"
state = \"open\"
[vars.ROUTES.regions.smp-china]
origin = \"http://127.0.0.1:1\"
state = \"open\" # china
";

/// Deploys as wrangler does: all or nothing.
pub(crate) const DEPLOY: &str =
    "cp wrangler.toml applied/new.$$ && mv applied/new.$$ applied/wrangler.toml";

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

pub(crate) struct World {
    pub(crate) folder: PathBuf,
    pub(crate) edge: Edge,
    deploy: String,
}

impl World {
    /// Whose changes are deployed by a command.
    pub(crate) fn new(name: &str, deploy: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("route-{name}"));
        let _ = fs::remove_dir_all(&folder);
        for part in ["applied", "regions"] {
            fs::create_dir_all(folder.join(part)).unwrap();
        }
        for file in ["wrangler.toml", "applied/wrangler.toml"] {
            fs::write(folder.join(file), BEFORE).unwrap();
        }
        let edge = Edge::start(&folder);
        Self {
            folder,
            edge,
            deploy: deploy.to_owned(),
        }
    }

    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap()
    }

    fn smpctl(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smpctl"));
        command
            .current_dir(&self.folder)
            .env_remove("EDGE_OPS_TOKEN")
            .args([
                "route",
                "--regions",
                "regions",
                "--history",
                "history.jsonl",
            ])
            .args(["--edge", &self.edge.url, "--deploy", &self.deploy])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// A change, whatever the checks say: there is no core to be seen.
    pub(crate) fn command(&self, change: &[&str]) -> Command {
        let mut command = self.smpctl();
        command.args(change);
        command.args(["--why", "để thử", "--by", "Anna", "--yes", "--force"]);
        command
    }

    pub(crate) fn unforced(&self, change: &[&str]) -> Output {
        let mut command = self.smpctl();
        command.args(change);
        command.args(["--why", "để thử", "--by", "Anna", "--yes"]);
        command.output().unwrap()
    }

    pub(crate) fn run(&self, change: &[&str]) -> Output {
        self.command(change).output().unwrap()
    }

    #[track_caller]
    pub(crate) fn does(&self, change: &[&str]) {
        let done = self.run(change);
        assert!(done.status.success(), "{change:?}: {done:?}");
    }

    pub(crate) fn killed_after(&self, change: &[&str], time: Duration) -> Output {
        http::killed_after(self.command(change), time)
    }

    /// What was asked for, and whether the edge has confirmed it.
    pub(crate) fn confirmed(&self) -> Vec<(String, bool)> {
        let output = self.smpctl().args(["history", "--json"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let history: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        let entries = history.iter().map(|past| {
            let action = past["action"].as_str().unwrap().to_owned();
            (action, past["confirmed"].is_object())
        });
        entries.collect()
    }

    /// That this table is in force, and that exactly these changes led to it, each confirmed.
    #[track_caller]
    pub(crate) fn is_at(&self, table: &str, changes: &[&str], number: usize) {
        assert_eq!(self.text("wrangler.toml"), table, "{number}");
        assert_eq!(self.text("applied/wrangler.toml"), table, "{number}");
        let confirmed: Vec<_> = changes
            .iter()
            .map(|change| ((*change).to_owned(), true))
            .collect();
        assert_eq!(
            self.confirmed(),
            confirmed,
            "{number}: {}",
            self.text("history.jsonl")
        );
    }
}

/// An edge that answers by the routes in `applied/`.
pub(crate) struct Edge {
    url: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// It answers as if nothing had been deployed.
    is_held_back: AtomicBool,
    asked_in_vain: AtomicU64,
    /// It has the version, and leads where it led at first.
    is_misleading: AtomicBool,
}

impl Edge {
    fn start(folder: &Path) -> Self {
        let state = Arc::new(State::default());
        let (applied, shared) = (folder.join("applied/wrangler.toml"), Arc::clone(&state));
        let url = http::serve(move |request| answer(&applied, &shared, request));
        Self { url, state }
    }

    pub(crate) fn is_held_back(&self, is_it: bool) {
        self.state.is_held_back.store(is_it, Ordering::SeqCst);
        self.state.asked_in_vain.store(0, Ordering::SeqCst);
    }

    pub(crate) fn is_misleading(&self, is_it: bool) {
        self.state.is_misleading.store(is_it, Ordering::SeqCst);
    }

    /// Once before the deployment, and then again and again.
    pub(crate) fn wait_until_asked_in_vain(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.state.asked_in_vain.load(Ordering::SeqCst) < 3 {
            assert!(Instant::now() < deadline, "nobody asks");
            thread::yield_now();
        }
    }
}

fn answer(applied: &Path, state: &State, request: &Request) -> Answer {
    let applied = fs::read_to_string(applied).unwrap();
    let text = if state.is_held_back.load(Ordering::SeqCst) {
        state.asked_in_vain.fetch_add(1, Ordering::SeqCst);
        BEFORE
    } else {
        &applied
    };
    let version = routes(text).version();
    let is_misleading = state.is_misleading.load(Ordering::SeqCst);
    let routes = routes(if is_misleading { BEFORE } else { text });
    let (status, body) = if request.what == "GET /api/region" {
        http::way(&routes, request)
    } else {
        (200, Value::Null)
    };
    Answer {
        status,
        version: Some(version),
        body: body.to_string(),
    }
}
