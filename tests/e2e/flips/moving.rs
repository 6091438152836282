//! Two regions, the edge before them, and `smpctl route` for them.

use std::fs;
use std::path::PathBuf;

use infra::registry::{self, SignOff, Spool, sign_off};
use platform::checkout;
use platform::edge::{CoreAddress, Edge, States};
use platform::pancake::DemoConnection;
use platform::ports::Ports;
use platform::region::Region;
use platform::secrets::random_hex;
use protocol::RegionId;
use serde_json::Value;
use tokio::process::Command;
use uuid::Uuid;

use super::PATIENCE;
use crate::support::lifetime;

/// Two regions that both take TH, as while it moves, and the edge before them.
pub(super) struct Moving {
    pub(super) asia: Region,
    pub(super) china: Region,
    _edge: Edge,
    pub(super) url: String,
    pub(super) thailand: DemoConnection,
    pub(super) folder: PathBuf,
}

impl Moving {
    pub(super) async fn start(name: &str) -> Self {
        let folder = lifetime::run_directory().join(name);
        let logs = folder.join("logs");
        fs::create_dir_all(&logs).unwrap();
        let region = async |id: &str, countries: &[&str], index| {
            let countries = countries.iter().map(|code| code.parse().unwrap()).collect();
            let id = RegionId::parse(id).unwrap();
            let region = Region::start(id, countries, index, Ports::Free, &logs, name);
            region.await.unwrap()
        };
        let asia = region("smp-asia", &["VN", "SG", "TH", "ID", "MY", "PH"], 8).await;
        let china = region("smp-china", &["CN", "TH"], 9).await;
        let thailand = DemoConnection {
            country: "TH",
            mode: "enforce",
            token: random_hex().unwrap(),
            secret: random_hex().unwrap(),
            previous_secret: None,
        };
        let cores = [&asia, &china].map(|region| CoreAddress::of(region, Spool::Sealed));
        let log = logs.join("edge.log");
        let edge = Edge::start(
            (&cores, States::AllOpen),
            std::slice::from_ref(&thailand),
            Ports::Free,
            &folder,
            &log,
        );
        let edge = edge.await.unwrap();
        let root = checkout::root();
        let wrangler = fs::read_to_string(root.join("wrangler.toml")).unwrap();
        fs::write(folder.join("routes.toml"), wrangler).unwrap();
        let regions = folder.join("regions");
        fs::create_dir_all(&regions).unwrap();
        for (id, from, to) in [
            ("smp-asia", "\"TH\", ", ""),
            ("smp-china", "[\"CN\"]", "[\"CN\", \"TH\"]"),
        ] {
            let text = fs::read_to_string(root.join(format!("infra/regions/{id}.toml"))).unwrap();
            assert!(text.contains(from));
            let text = signed(&text.replace(from, to));
            fs::write(regions.join(format!("{id}.toml")), text).unwrap();
        }
        let environment = format!("EDGE_URL={}\nEDGE_OPS_TOKEN={}\n", edge.url, edge.ops_token);
        fs::write(folder.join("platform.env"), environment).unwrap();
        Self {
            asia,
            china,
            url: edge.url.clone(),
            _edge: edge,
            thailand,
            folder,
        }
    }

    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(checkout::built_program("smpctl").unwrap());
        command
            .current_dir(&self.folder)
            .kill_on_drop(true)
            .args(["route", "--local=.", "--wrangler", "routes.toml"])
            .args(["--regions", "regions"])
            .args(arguments);
        command
    }

    pub(super) async fn smpctl(&self, arguments: &[&str]) -> (bool, String) {
        let output = tokio::time::timeout(PATIENCE, self.command(arguments).output());
        let output = output.await.unwrap().unwrap();
        let said =
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    }

    pub(super) async fn does(&self, change: &[&str]) -> Value {
        let (is_done, said) = self.smpctl(&in_full(change)).await;
        assert!(is_done, "{change:?}: {said}");
        serde_json::from_str(&said).unwrap()
    }

    pub(super) async fn history(&self) -> Vec<Value> {
        let (is_shown, said) = self.smpctl(&["history", "--json"]).await;
        assert!(is_shown, "{said}");
        serde_json::from_str(&said).unwrap()
    }

    pub(super) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap()
    }

    /// Each event that a region has: its record, and the version of the routes that led it there.
    pub(super) async fn events(&self, region: &Region) -> Vec<(Uuid, u32)> {
        let database = region.database().await.unwrap();
        let rows: Vec<(Uuid, i64)> =
            sqlx::query_as("select record_id, route_version from pancake_webhook_event")
                .fetch_all(&database)
                .await
                .unwrap();
        database.close().await;
        let rows = rows.into_iter();
        rows.map(|(record, version)| (record, version.try_into().unwrap()))
            .collect()
    }
}

/// Counsel agrees to a region as it is now.
fn signed(text: &str) -> String {
    let region = registry::parse(text).unwrap();
    let sign_off = SignOff {
        terms: sign_off::terms(&region),
        ..region.sign_off.unwrap()
    };
    sign_off::record(text, &sign_off).unwrap()
}

/// A change with all that each needs.
pub(super) fn in_full<'a>(change: &[&'a str]) -> Vec<&'a str> {
    let more = ["--why", "a test", "--by", "Anna", "--yes", "--json"];
    [change, &more].concat()
}
