//! A folder with a registry, secrets, and what stands for a platform: an edge, cores and replicators that answer by
//! what was put in force, as files in `applied/`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use infra::route::local::{self, Core};
use serde_json::Value;

use crate::http;
use crate::stubs::{self, Stubs};
use crate::tree::{Tree, copy};

/// What puts a stage in force. It dies where KILL says, and takes smpctl with it, once.
const APPLY: &str = r#"
set -e
put() { mkdir -p "${2%/*}"; cp "$1" "$2.new"; mv "$2.new" "$2"; }
dies() { if [ "$KILL" = "$1" ] && [ ! -e stage/killed ]; then touch stage/killed; kill -KILL $PPID; exit 9; fi; }
at="$SMP_REGION $SMP_STAGE"
echo "$at" >>stage/log
dies "before $at"
case "$at" in
*stores) put "$SMP_MANIFESTS/kafka-users.yaml" "applied/$SMP_REGION/kafka-users.yaml" ;;
"smp-us services")
  [ -e applied/smp-us/kafka-users.yaml ] && [ -e "$SMP_MANIFESTS/core.yaml" ]
  for name in core core-setup replicator replicator-setup; do put "$SMP_SECRETS/$name.env" "applied/smp-us/$name.env"; done
  put stage/with/cores.json run/cores.json
  put stage/with/platform.env run/platform.env ;;
"smp-asia services")
  put infra/rendered/relay-smp-asia.env applied/smp-asia/relay.env
  put "$SMP_SECRETS/replicator.env" applied/smp-asia/replicator.env ;;
"smp-us gone")
  [ -e "${SMP_MANIFESTS%/gone}/services/kustomization.yaml" ]
  rm -rf applied/smp-us
  put stage/without/cores.json run/cores.json
  put stage/without/platform.env run/platform.env ;;
*) echo "$at: nobody knows it" >&2; exit 2 ;;
esac
dies "after $at"
"#;

const APPLY_EDGE: &str = r#"
set -e
dies() { if [ "$KILL" = "$1" ] && [ ! -e stage/killed ]; then touch stage/killed; kill -KILL $PPID; exit 9; fi; }
echo edge >>stage/log
dies "before edge"
cp secrets/edge.json applied/edge.json.new
mv applied/edge.json.new applied/edge.json
dies "after edge"
"#;

/// What is in a world before anybody does anything.
const PARTS: [&str; 5] = ["wrangler.toml", "infra", "run", "secrets", "applied"];

/// By which a region is added.
pub(crate) const ADD: &[&str] = &[
    "add",
    "smp-us",
    "--name",
    "United States",
    "--countries",
    "US",
    "--provider",
    "AWS",
    "--place",
    "us-west-2 (Oregon)",
    "--spool",
    "sealed",
    "--domain",
    "smp-us.example.com",
    "--storage-class",
    "gp3",
    "--leaves-from",
    "198.51.100.30/32",
    "--patience-secs",
    "5",
];

pub(crate) struct World {
    pub(crate) folder: PathBuf,
    pub(crate) stubs: Arc<Stubs>,
}

impl World {
    pub(crate) fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("region-{name}"));
        let _ = fs::remove_dir_all(&folder);
        let stubs = Arc::new(Stubs::new(&folder));
        let urls = stubs::start(&stubs);
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let first = folder.join("first");
        for part in ["wrangler.toml", "infra/regions", "infra/rendered"] {
            copy(&checkout.join(part), &first.join(part));
        }
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            // As smpctl and the platform write them.
            let is_secret = ["edge.json", "core.env", "replicator.env"];
            if is_secret.iter().any(|end| name.ends_with(end)) {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            }
        };
        let edge_json = serde_json::json!({
            "HOP_SECRETS": r#"{"smp-asia":{"keyid":"smp-asia-1","secret":"a"},"smp-china":{"keyid":"smp-china-1","secret":"c"}}"#,
            "OPS_TOKENS": "[]",
        });
        let edge_json = format!("{edge_json:#}\n");
        write("first/secrets/edge.json", &edge_json);
        write("first/applied/edge.json", &edge_json);
        let core_env = "CORE_DATABASE_URL='postgres://core_app:p@127.0.0.1/smp'\nCORE_JWT_ISSUER='smpctl'\n\
             CORE_HOP_SECRETS='{\"smp-asia-1\":\"a\"}'\n";
        write("first/secrets/smp-asia/core.env", core_env);
        for file in ["core-setup.env", "replicator-setup.env"] {
            let path = format!("first/secrets/smp-asia/{file}");
            write(&path, "OWNER='postgres://owner:p@127.0.0.1/smp'\n");
        }
        let replicator_env = "REPLICATOR_RELAY_DATABASE_URL='postgres://relay:p@127.0.0.1/smp'\n\
             REPLICATOR_REGION_SECRETS='{\"smp-china\":{\"keyid\":\"smp-china-1\",\"secret\":\"d\"}}'\n";
        for place in ["secrets", "applied"] {
            let file = format!("first/{place}/smp-asia/replicator.env");
            write(&file, replicator_env);
        }
        let there = |from: &str| fs::read_to_string(first.join(from)).unwrap();
        let users = "infra/rendered/kubernetes/smp-asia/stores/kafka-users.yaml";
        write("first/applied/smp-asia/kafka-users.yaml", &there(users));
        let relay = "infra/rendered/relay-smp-asia.env";
        write("first/applied/smp-asia/relay.env", &there(relay));
        let mut cores = urls.cores();
        let environment = format!(
            "EDGE_URL={}\nEDGE_OPS_TOKEN=t\nSMP_ASIA_REPLICATOR_URL={}\nSMP_CHINA_REPLICATOR_URL={}\n",
            urls.edge, urls.replicator_asia, urls.replicator_china
        );
        write("stage/without/platform.env", &environment);
        write("stage/without/cores.json", &to_json(&cores));
        write("first/run/platform.env", &environment);
        write("first/run/cores.json", &to_json(&cores));
        let running = local::render(&there("wrangler.toml"), "name = \"edge\"\n[vars]\n", &cores);
        write("first/run/wrangler.toml", &running.unwrap());
        let with = format!(
            "{environment}SMP_US_REPLICATOR_URL={}\n",
            urls.replicator_us
        );
        write("stage/with/platform.env", &with);
        cores.insert("smp-us".to_owned(), urls.core_us());
        write("stage/with/cores.json", &to_json(&cores));
        write("stage/apply.sh", APPLY);
        write("stage/apply-edge.sh", APPLY_EDGE);
        let world = Self { folder, stubs };
        world.reset();
        world
    }

    /// All is as it was at first.
    pub(crate) fn reset(&self) {
        self.restore("first");
    }

    /// Keeps how all is now, under a name.
    pub(crate) fn save(&self, name: &str) {
        for part in PARTS {
            copy(
                &self.folder.join(part),
                &self.folder.join("stage").join(name).join(part),
            );
        }
    }

    /// What was kept in a folder.
    pub(crate) fn saved(&self, folder: &str) -> Tree {
        Tree::of(&self.folder.join(folder), &PARTS)
    }

    /// All is as it is in a folder.
    pub(crate) fn restore(&self, folder: &str) {
        for part in PARTS {
            let path = self.folder.join(part);
            let _ = fs::remove_dir_all(&path);
            let _ = fs::remove_file(&path);
            copy(&self.folder.join(folder).join(part), &path);
        }
        for file in ["stage/killed", "stage/log"] {
            let _ = fs::remove_file(self.folder.join(file));
        }
        self.stubs.reset();
    }

    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).unwrap();
    }

    /// Replaces what must be there.
    #[track_caller]
    pub(crate) fn edit(&self, name: &str, from: &str, to: &str) {
        let text = self.text(name);
        assert!(text.contains(from), "{name} has no {from}: {text}");
        self.write(name, &text.replace(from, to));
    }

    pub(crate) fn tree(&self) -> Tree {
        Tree::of(&self.folder, &PARTS)
    }

    pub(crate) fn smpctl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smpctl"));
        command
            .current_dir(&self.folder)
            .env("USER", "Anna")
            .env("KILL", "nowhere")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for variable in [
            "EDGE_URL",
            "EDGE_OPS_TOKEN",
            "SMP_SECRETS",
            "CORE_ADMIN_DATABASE_URL",
        ] {
            command.env_remove(variable);
        }
        command
    }

    /// `smpctl region …` on the platform of this world.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.smpctl(&["region"]);
        command.args(arguments);
        command.args(["--local=run", "--secrets", "secrets"]);
        command.args([
            "--apply",
            ". stage/apply.sh",
            "--apply-edge",
            ". stage/apply-edge.sh",
        ]);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    #[track_caller]
    pub(crate) fn does(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments);
        assert!(done.status.success(), "{arguments:?}: {}", said(&done));
        said(&done)
    }

    /// That it does not do it; gives what it says.
    #[track_caller]
    pub(crate) fn refuses(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments);
        assert_eq!(
            done.status.code(),
            Some(1),
            "{arguments:?}: {}",
            said(&done)
        );
        said(&done)
    }

    #[track_caller]
    pub(crate) fn routes(&self, arguments: &[&str]) -> Output {
        let mut command = self.smpctl(&["route", "--local=run"]);
        command.args(arguments).output().unwrap()
    }

    /// Killed by what it calls, before or after that has done its work.
    pub(crate) fn killed_at(&self, arguments: &[&str], place: &str) -> Output {
        self.command(arguments).env("KILL", place).output().unwrap()
    }

    pub(crate) fn killed_after(&self, arguments: &[&str], time: Duration) -> Output {
        http::killed_after(self.command(arguments), time)
    }

    /// smp-us is added.
    #[track_caller]
    pub(crate) fn add(&self) {
        self.does(&[ADD, &["--yes"]].concat());
    }

    /// Counsel agrees.
    #[track_caller]
    pub(crate) fn sign_off(&self) {
        let mut command = self.smpctl(&["region", "sign-off", "smp-us", "--by", "Jane Roe, DPO"]);
        let signed = command
            .args(["--reference", "LEGAL-42", "--yes"])
            .output()
            .unwrap();
        assert!(signed.status.success(), "{}", said(&signed));
    }

    /// What was applied, in order.
    pub(crate) fn applied(&self) -> Vec<String> {
        self.text("stage/log")
            .lines()
            .map(ToOwned::to_owned)
            .collect()
    }

    /// That no request was refused because the edge had a route without its key.
    #[track_caller]
    pub(crate) fn edge_was_never_down(&self) {
        assert!(self.stubs.edge_is_up(), "the edge answers nobody");
        assert_eq!(self.stubs.outages(), 0, "the edge answered nobody");
    }
}

pub(crate) fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

pub(crate) fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", said(output)))
}

fn to_json(cores: &BTreeMap<String, Core>) -> String {
    serde_json::to_string(cores).unwrap()
}
