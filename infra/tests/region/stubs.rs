//! Who answers: the edge, and each region's core and replicator.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use infra::registry;
use infra::route::local::Core;
use infra::secrets;
use protocol::RegionId;
use protocol::routes::{RouteTable, Spool};
use serde_json::{Value, json};

use crate::http::{self, Answer, Request, serve};

/// To what the platform's core of smp-us has its records sealed.
const SEALING_KEY: &str = "local-1:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

/// By what they answer.
pub(crate) struct Stubs {
    folder: PathBuf,
    /// What a test has broken.
    faults: Mutex<BTreeSet<&'static str>>,
    /// The records that were sent to smp-us.
    probes: Mutex<Vec<String>>,
    /// Requests that the edge answered with 503, as it does while a route has no key.
    outages: AtomicU32,
}

pub(crate) struct Urls {
    pub(crate) edge: String,
    pub(crate) replicator_asia: String,
    pub(crate) replicator_china: String,
    pub(crate) replicator_us: String,
    core_asia: String,
    core_china: String,
    core_us: String,
}

impl Urls {
    /// Those of the regions that are there at first.
    pub(crate) fn cores(&self) -> BTreeMap<String, Core> {
        let core = |origin: &String| Core {
            origin: origin.clone(),
            sealing_key: None,
        };
        BTreeMap::from([
            ("smp-asia".to_owned(), core(&self.core_asia)),
            ("smp-china".to_owned(), core(&self.core_china)),
        ])
    }

    pub(crate) fn core_us(&self) -> Core {
        Core {
            origin: self.core_us.clone(),
            sealing_key: Some(SEALING_KEY.to_owned()),
        }
    }
}

pub(crate) fn start(stubs: &Arc<Stubs>) -> Urls {
    let serve = |answer: fn(&Stubs, &Request) -> (u16, String)| {
        let stubs = Arc::clone(stubs);
        serve(move |request| {
            let (status, body) = answer(&stubs, request);
            Answer {
                status,
                version: None,
                body,
            }
        })
    };
    let edge = {
        let stubs = Arc::clone(stubs);
        http::serve(move |request| stubs.edge(request))
    };
    Urls {
        edge,
        core_asia: serve(|_, _| ready("smp-asia", &["VN", "SG", "TH", "ID", "MY", "PH"])),
        core_china: serve(|_, _| ready("smp-china", &["CN"])),
        core_us: serve(|stubs, _| stubs.core()),
        replicator_asia: serve(|_, _| (200, String::new())),
        replicator_china: serve(|_, _| (200, metrics("smp-china", false, true))),
        replicator_us: serve(|stubs, _| stubs.replicator()),
    }
}

impl Stubs {
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            faults: Mutex::default(),
            probes: Mutex::default(),
            outages: AtomicU32::new(0),
        }
    }

    pub(crate) fn reset(&self) {
        self.faults.lock().unwrap().clear();
        self.probes.lock().unwrap().clear();
        self.outages.store(0, Ordering::SeqCst);
    }

    /// Breaks something: `core`, `hub`, `differs`, `waiting`, `connections`.
    pub(crate) fn break_it(&self, what: &'static str) {
        self.faults.lock().unwrap().insert(what);
    }

    pub(crate) fn mend(&self) {
        self.faults.lock().unwrap().clear();
    }

    fn is_broken(&self, what: &str) -> bool {
        self.faults.lock().unwrap().contains(what)
    }

    /// The records that smp-us was sent, each once.
    pub(crate) fn probes(&self) -> Vec<String> {
        self.probes.lock().unwrap().clone()
    }

    pub(crate) fn outages(&self) -> u32 {
        self.outages.load(Ordering::SeqCst)
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.folder.join(name)).ok()
    }

    /// The routes in force, if each has its key.
    fn routes(&self) -> Option<RouteTable> {
        let routes = http::routes(&self.read("run/wrangler.toml")?);
        let keys: Value = serde_json::from_str(&self.read("applied/edge.json")?).unwrap();
        let keys: Value = serde_json::from_str(keys["HOP_SECRETS"].as_str().unwrap()).unwrap();
        let all = routes
            .regions()
            .all(|route| keys.get(route.region.as_str()).is_some());
        all.then_some(routes)
    }

    pub(crate) fn edge_is_up(&self) -> bool {
        self.routes().is_some()
    }

    fn edge(&self, request: &Request) -> Answer {
        let Some(routes) = self.routes() else {
            self.outages.fetch_add(1, Ordering::SeqCst);
            return Answer {
                status: 503,
                version: None,
                body: String::new(),
            };
        };
        let (status, body) = match request.what.as_str() {
            "GET /healthz" => (200, Value::Null),
            "GET /api/region" => http::way(&routes, request),
            "GET /_edge/status" => (200, self.status(&routes)),
            "GET /_edge/connections" => (200, self.connections()),
            "POST /_edge/probe/US" => self.probe(&routes, request),
            what => match what.strip_prefix("POST /_edge/probe/") {
                Some(_) => (200, json!({"status": "duplicate", "event_id": "e"})),
                None => (404, json!({"status": "not_found"})),
            },
        };
        Answer {
            status,
            version: Some(routes.version()),
            body: body.to_string(),
        }
    }

    fn status(&self, routes: &RouteTable) -> Value {
        let waiting = u32::from(self.is_broken("waiting")) * 3;
        let regions = routes.regions().map(|route| {
            let spool = if route.spool == Spool::Off { "off" } else { "sealed" };
            let waiting = if route.region.as_str() == "smp-us" { waiting } else { 0 };
            json!({"region": route.region.as_str(), "state": "paused", "spool": spool, "waiting": waiting,
                "parked": 0, "bytes": 0, "oldest_seconds": 0.0, "used_ratio": 0.0})
        });
        json!({"routes_version": routes.version(), "regions": regions.collect::<Vec<_>>(), "connections": [],
            "counters": {}})
    }

    fn connections(&self) -> Value {
        let countries = ["US", "VN", "SG", "TH", "ID", "MY", "PH", "CN"];
        let known = if self.is_broken("connections") {
            &countries[1..]
        } else {
            &countries[..]
        };
        let known = known.iter().map(|country| {
            json!({"id": "main", "country": country, "mode": "enforce", "secrets": 1, "token": "00000000",
                "old_token": null, "old_token_good_until": null, "allow": []})
        });
        json!({"version": 1, "changed_at": 0, "is_published": true, "connections": known.collect::<Vec<_>>()})
    }

    /// Kept if the core can verify what the edge signs.
    fn probe(&self, routes: &RouteTable, request: &Request) -> (u16, Value) {
        let us = protocol::Country::parse("US").unwrap();
        if routes.find(us).is_none() {
            return (404, json!({"status": "no_region"}));
        }
        let core = self
            .read("applied/smp-us/core.env")
            .filter(|_| !self.is_broken("core"));
        let edge = self.read("applied/edge.json").unwrap();
        match core.map(|core| secrets::with_hop_key(&edge, &region(), &core)) {
            // Of a core that cannot be reached the edge knows nothing to say.
            None => (500, Value::Null),
            Some(known) if known.as_ref() != Ok(&edge) => {
                (401, json!({"title": "Nobody signed that.", "status": 401}))
            }
            Some(_) => {
                let mut probes = self.probes.lock().unwrap();
                let is_there = probes.contains(&request.body);
                if !is_there {
                    probes.push(request.body.clone());
                }
                let status = if is_there { "duplicate" } else { "accepted" };
                (200, json!({"status": status, "event_id": "e-1"}))
            }
        }
    }

    fn core(&self) -> (u16, String) {
        let is_there = self.read("applied/smp-us/core.env").is_some();
        if is_there && !self.is_broken("core") {
            ready("smp-us", &["US"])
        } else {
            (503, String::new())
        }
    }

    fn replicator(&self) -> (u16, String) {
        let Some(own) = self.read("applied/smp-us/replicator.env") else {
            return (503, String::new());
        };
        let relay = self.read("applied/smp-asia/relay.env").unwrap();
        let hub = self.read("applied/smp-asia/replicator.env").unwrap();
        let is_asked = relay.contains("smp-us=")
            && secrets::with_region_key(&hub, &region(), &own).as_ref() == Ok(&hub)
            && !self.is_broken("hub");
        (200, metrics("smp-us", self.is_broken("differs"), is_asked))
    }
}

/// smp-us, as far as it is needed here: its id.
fn region() -> registry::Region {
    let text = include_str!("../../regions/smp-china.toml");
    let mut region = registry::parse(text).unwrap();
    region.id = RegionId::parse("smp-us").unwrap();
    region
}

fn ready(region: &str, countries: &[&str]) -> (u16, String) {
    let checks = json!({"database": "ok", "schema": "ok", "master_data": "loaded"});
    let ready =
        json!({"status": "ready", "region": region, "countries": countries, "checks": checks});
    (200, ready.to_string())
}

fn metrics(region: &str, differs: bool, is_asked: bool) -> String {
    let table = |name: &str, differs: bool| {
        let differs = u8::from(differs);
        format!("replication_table_differs{{region=\"{region}\",table=\"{name}\"}} {differs}\n")
    };
    let asked = format!("replication_asked_seconds{{region=\"{region}\"}} 0.4\n");
    let asked = if is_asked { asked } else { String::new() };
    table("countries", false) + &table("tax_configs", differs) + &asked
}
