//! `smpctl country`: a country is added to a region by one command, which goes on wherever it was left, and is opened
//! once nothing is missing.

use std::fs;
use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};

use infra::country::master_data::NAMESPACES;
use infra::registry::Spool;
use platform::checkout;
use platform::edge::{CoreAddress, Edge, States};
use platform::pancake::DemoConnection;
use platform::ports::Ports;
use platform::region::{Access, Region};
use platform::secrets::{Issuer, random_hex, write_private};
use platform::service;
use protocol::{Country, RegionId};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{client, lifetime};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);

/// Which files, and by whose right.
const PLACE: [&str; 4] = [
    "--local=.",
    "--wrangler=routes.toml",
    "--regions=regions",
    "--staff-token-file=admin.token",
];

/// The hub with its master data, the edge before it, and copies of the files that say what they are.
struct Hub {
    region: Region,
    edge: Edge,
    folder: PathBuf,
    token: String,
}

impl Hub {
    async fn start() -> Self {
        let folder = lifetime::run_directory().join("countries");
        let logs = folder.join("logs");
        fs::create_dir_all(&logs).unwrap();
        let issuer = Issuer::create(&folder).unwrap();
        let id = RegionId::parse("smp-asia").unwrap();
        let countries: Vec<Country> = ["VN", "SG", "TH", "ID", "MY", "PH"]
            .map(|code| code.parse().unwrap())
            .to_vec();
        let access = Access {
            issuer: &issuer,
            is_hub: true,
            pancake_url: "http://127.0.0.1:9",
        };
        let region = Region::start_for(
            id.clone(),
            countries,
            7,
            Ports::Free,
            &logs,
            "countries",
            Some(access),
        );
        let region = region.await.unwrap();
        seed(&region);
        // Nobody is there: its route is only in the table.
        let china = CoreAddress {
            region: "smp-china".to_owned(),
            origin: "http://127.0.0.1:9".to_owned(),
            keyid: "smp-china-1".to_owned(),
            secret: random_hex().unwrap(),
            sealing_key: None,
        };
        let cores = [CoreAddress::of(&region, Spool::Sealed), china];
        let thailand = DemoConnection {
            country: "TH",
            mode: "off",
            token: random_hex().unwrap(),
            secret: random_hex().unwrap(),
            previous_secret: None,
        };
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
        fs::copy(root.join("wrangler.toml"), folder.join("routes.toml")).unwrap();
        fs::create_dir_all(folder.join("regions")).unwrap();
        for file in ["regions/smp-asia.toml", "regions/smp-china.toml"] {
            fs::copy(root.join("infra").join(file), folder.join(file)).unwrap();
        }
        let environment = format!("EDGE_URL={}\nEDGE_OPS_TOKEN={}\n", edge.url, edge.ops_token);
        fs::write(folder.join("platform.env"), environment).unwrap();
        let laos = ["LA".parse().unwrap()];
        let token = issuer.admin_token(&id, &laos).unwrap();
        write_private(&folder.join("admin.token"), &token).unwrap();
        write_private(&folder.join("ops.token"), &edge.ops_token).unwrap();
        let hub = Self {
            region,
            edge,
            folder,
            token,
        };
        let rendered = ["render", "--regions", "regions", "--into", "rendered"];
        let (is_done, said) = hub.smpctl(&rendered).await;
        assert!(is_done, "{said}");
        hub
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(checkout::built_program("smpctl").unwrap());
        command
            .current_dir(&self.folder)
            .env("EDGE_URL", &self.edge.url)
            .env_remove("SMP_STAFF_TOKEN")
            .kill_on_drop(true)
            .args(arguments);
        command
    }

    async fn output(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output();
        let output = tokio::time::timeout(PATIENCE, output).await;
        output.unwrap().unwrap()
    }

    async fn smpctl(&self, arguments: &[&str]) -> (bool, String) {
        let output = self.output(arguments).await;
        let said =
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    }

    /// What `smpctl country` says, and whether it ended well.
    async fn country(&self, arguments: &[&str]) -> (bool, Value) {
        let arguments = of_country(arguments);
        let output = self.output(&arguments).await;
        let said = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{arguments:?}: {output:?}"));
        (output.status.success(), said)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap()
    }

    /// All files that adding a country may change.
    fn files(&self) -> [String; 4] {
        [
            "routes.toml",
            "wrangler.toml",
            "regions/smp-asia.toml",
            "rendered/kubernetes/smp-asia/services/core.yaml",
        ]
        .map(|name| self.text(name))
    }

    /// Starts the core anew, as what is applied to a cluster does.
    async fn serve(&mut self, country: &str) {
        self.region.countries.push(country.parse().unwrap());
        self.region.core().unwrap().stop(PATIENCE).unwrap();
        self.region.start_core().await.unwrap();
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let mut request = client()
            .request(method, format!("{}/v1/{path}", self.region.core_url()))
            .bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.header("if-none-match", "*").json(&body);
        }
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn put(&self, path: &str, body: Value) {
        let path = format!("master-data/{path}");
        self.ask(Method::PUT, &path, Some(body)).await;
    }

    /// All that master data has of a country.
    async fn put_laos(&self) {
        let lak = json!({"numeric_code": "418", "name": "Lao Kip", "minor_units": 2, "cash_increment": null,
            "symbol": "₭", "is_active": true});
        self.put("currencies/LAK", lak).await;
        for (pair, rate) in [("USD/LAK", "21500"), ("LAK/USD", "0.0000465")] {
            let rate = json!({"rate": rate, "source": "test"});
            self.put(&format!("rates/{pair}/2026-01-01"), rate).await;
        }
        let laos = json!({"alpha3": "LAO", "numeric_code": "418", "name": "Laos", "default_currency": "LAK",
            "default_locale": "lo-LA", "time_zones": ["Asia/Vientiane"], "calling_code": "856", "is_active": true});
        self.put("countries/LA", laos).await;
        let vat = json!({"rate": "0.10", "note": null});
        self.put("taxes/LA/vat/standard/2024-01-01", vat).await;
        for namespace in NAMESPACES {
            let path = format!("master-data/translations/en/{namespace}");
            let texts = self.ask(Method::GET, &path, None).await;
            for key in texts["texts"].as_object().unwrap().keys() {
                let path = format!("translations/lo/{namespace}/{key}");
                self.put(&path, json!({"text": "ລາວ"})).await;
            }
        }
    }
}

/// Roles, schema and first rows of master data, without what carries them elsewhere.
fn seed(region: &Region) {
    let url = |role: &str| region.postgres.url(role, &random_hex().unwrap(), "core");
    let variables = [
        ("REPLICATOR_REGION", region.id.to_string()),
        (
            "REPLICATOR_ADMIN_DATABASE_URL",
            region.postgres.admin_url("core"),
        ),
        ("REPLICATOR_OWNER_DATABASE_URL", url("master_data_owner")),
        ("REPLICATOR_RELAY_DATABASE_URL", url("master_data_relay")),
        (
            "REPLICATOR_APPLIER_DATABASE_URL",
            url("master_data_applier"),
        ),
    ];
    let variables = variables
        .map(|(name, value)| (name.to_owned(), value))
        .into();
    for arguments in [&["provision"][..], &["migrate", "--part", "hub"], &["seed"]] {
        let output = service::replicator(&variables)
            .unwrap()
            .args(arguments)
            .output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
    }
}

fn of_country<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["country"], &PLACE[..], arguments, &["--json"]].concat()
}

fn states(said: &Value) -> Vec<&str> {
    let steps = said["steps"].as_array().unwrap();
    steps
        .iter()
        .map(|step| step["state"].as_str().unwrap())
        .collect()
}

fn of_verdict<'v>(said: &'v Value, verdict: &str) -> Vec<&'v str> {
    let items = said["checklist"].as_array().unwrap().iter();
    items
        .filter(|item| item["verdict"] == verdict)
        .map(|item| item["what"].as_str().unwrap())
        .collect()
}

const ADD: [&str; 8] = [
    "add",
    "LA",
    "--region",
    "smp-asia",
    "--into",
    "rendered",
    "--why",
    "Laos opens",
];

/// [`ADD`], done.
fn yes<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&ADD[..], &["--yes", "--by", "Anna"], more].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_country_is_added_step_by_step_and_opened_once_nothing_is_missing() {
    let mut hub = Hub::start().await;
    wait_until_loaded(&hub.region).await;
    let before = hub.files();
    it_is_only_looked(&hub, &before).await;
    it_ends_at_a_core_that_does_not_serve_it(&hub, &before).await;
    it_goes_on_and_waits_for_what_applies(&mut hub).await;
    all_is_so_already_and_something_is_missing(&hub).await;
    it_is_opened_once_nothing_is_missing(&hub).await;
    both_changes_of_the_routes_are_taken_back(&hub, &before[0]).await;
}

async fn it_is_only_looked(hub: &Hub, before: &[String; 4]) {
    let check = ["check", "LA", "--region", "smp-asia"];
    let (is_well, said) = hub.country(&check).await;
    assert!(!is_well);
    let missing = of_verdict(&said, "missing");
    assert_eq!(
        missing,
        ["registry", "route", "core", "country row", "connections"]
    );

    let (is_well, said) = hub.country(&ADD).await;
    assert!(is_well, "{said:#}");
    assert_eq!(states(&said), ["to_do"; 5]);
    let shown = said["steps"].to_string();
    for line in [
        r#"+countries = [\"VN\", \"SG\", \"TH\", \"ID\", \"MY\", \"PH\", \"LA\"]"#,
        r#"+LA = { region = \"smp-asia\", state = \"paused\" }"#,
        "VN,SG,TH,ID,MY,PH,LA",
    ] {
        assert!(shown.contains(line), "{line}: {said:#}");
    }
    assert_eq!(hub.files(), *before, "without --yes nothing is changed");
}

async fn it_ends_at_a_core_that_does_not_serve_it(hub: &Hub, before: &[String; 4]) {
    let (is_well, said) = hub.country(&yes(&[])).await;
    assert!(!is_well);
    assert_eq!(states(&said), ["done", "done", "failed"], "{said:#}");
    // This region is not one of a platform that 'make up' left.
    let why = said["steps"][2].to_string();
    assert!(
        why.contains("'platform region up smp-asia --stage services' ended with"),
        "{said:#}"
    );
    let half = hub.files();
    assert_eq!(half[..2], before[..2]);
    assert!(half[2].contains("\"LA\"") && half[3].contains("VN,SG,TH,ID,MY,PH,LA"));
}

/// The command is told what to apply; the core that is started by it is waited for.
async fn it_goes_on_and_waits_for_what_applies(hub: &mut Hub) {
    let apply =
        "printf '%s %s' \"$SMP_REGION\" \"$SMP_STAGE\" > applied.new && mv applied.new applied";
    let with_apply = yes(&["--apply", apply, "--patience-secs", "150"]);
    let going = hub.command(&of_country(&with_apply)).output();
    let going = tokio::spawn(going);
    let applied = hub.folder.join("applied");
    wait_until(|| applied.exists()).await;
    assert_eq!(hub.text("applied"), "smp-asia services");
    hub.serve("LA").await;
    let output = going.await.unwrap().unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{said:#}");
    assert_eq!(
        states(&said),
        ["so_already", "so_already", "done", "done", "done"]
    );
    assert_eq!(
        (&said["is_added"], &said["is_open"]),
        (&json!(true), &json!(false))
    );
    assert!(
        said["steps"][4]["lines"][0]
            .as_str()
            .unwrap()
            .starts_with("accepted, event ")
    );
    let missing = of_verdict(&said, "missing");
    assert_eq!(
        missing,
        ["sign-off", "country row", "staff", "connections"],
        "{said:#}"
    );
    let line = "PH = \"smp-asia\"\nLA = { region = \"smp-asia\", state = \"paused\" }\nCN = ";
    assert!(hub.text("routes.toml").contains(line));
    let probes: (i64,) = sqlx::query_as(
        "select count(*) from pancake_webhook_event where country_code = 'LA' and connection_id = 'probe-la'",
    )
    .fetch_one(&hub.region.database().await.unwrap())
    .await
    .unwrap();
    assert_eq!(probes.0, 1);
}

/// The core knows the probe, and says so.
async fn all_is_so_already_and_something_is_missing(hub: &Hub) {
    let added = hub.files();
    let (is_well, said) = hub.country(&yes(&["--open"])).await;
    assert!(!is_well, "it is not opened while something is missing");
    assert_eq!(
        states(&said),
        [
            "so_already",
            "so_already",
            "so_already",
            "so_already",
            "done"
        ]
    );
    assert!(
        said["steps"][4]["lines"][0]
            .as_str()
            .unwrap()
            .starts_with("duplicate, event ")
    );
    assert_eq!(hub.files(), added);
}

async fn it_is_opened_once_nothing_is_missing(hub: &Hub) {
    hub.put_laos().await;
    let lan = json!({"subject": "lan", "display_name": "Lan", "role": "telesale", "capacity": 20});
    hub.ask(Method::POST, "crm/staff", Some(lan)).await;
    let core = hub.region.core_url();
    let connect = [
        "connection",
        "add",
        "la-main",
        "--country",
        "LA",
        "--token",
        "la-main.token",
        "--core",
        &core,
        "--staff-token-file",
        "admin.token",
        "--token-file",
        "ops.token",
    ];
    let (is_done, said) = hub.smpctl(&connect).await;
    assert!(is_done, "{said}");
    let (is_well, said) = hub.country(&["check", "LA"]).await;
    assert!(!is_well, "counsel has not seen the region with Laos");
    assert_eq!(of_verdict(&said, "missing"), ["sign-off"]);
    let sign = "region sign-off smp-asia --by Jane --reference LEGAL-43 --regions=regions --yes";
    let (is_done, said) = hub.smpctl(&sign.split(' ').collect::<Vec<_>>()).await;
    assert!(is_done, "{said}");
    let (is_well, said) = hub.country(&["check", "LA"]).await;
    assert!(is_well, "{said:#}");
    assert_eq!(
        of_verdict(&said, "ok").len(),
        said["checklist"].as_array().unwrap().len()
    );

    let (is_well, said) = hub.country(&yes(&["--open"])).await;
    assert!(is_well, "{said:#}");
    assert_eq!(said["is_open"], true);
    let answer = client()
        .get(format!("{}/api/region", hub.edge.url))
        .header("x-country-code", "LA")
        .send()
        .await
        .unwrap();
    let (status, shown) = (answer.status(), answer.text().await.unwrap());
    assert!(
        status == 200 && shown.contains("smp-asia"),
        "{status} {shown}"
    );
}

async fn both_changes_of_the_routes_are_taken_back(hub: &Hub, before: &str) {
    for _ in 0..2 {
        let revert = [
            "route", PLACE[0], PLACE[1], PLACE[2], "revert", "--why", "a test", "--by", "Anna",
            "--yes",
        ];
        let (is_done, said) = hub.smpctl(&revert).await;
        assert!(is_done, "{said}");
    }
    assert_eq!(
        hub.text("routes.toml"),
        before.replacen("version = 1 ", "version = 5 ", 1)
    );
}

/// A core looks for master data every few seconds while there is none.
async fn wait_until_loaded(region: &Region) {
    let url = format!("{}/readyz", region.core_url());
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ready: Value = reqwest::get(&url).await.unwrap().json().await.unwrap();
        if ready["checks"]["master_data"] == "loaded" {
            return;
        }
        assert!(Instant::now() < deadline, "{ready}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn wait_until(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
