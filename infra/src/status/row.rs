//! A region's row: its answers as figures. What is not known is absent, never zero.

use protocol::RegionId;
use protocol::routes::RouteState;
use serde::Serialize;
use serde_json::Value;

use super::series::{Series, count};
use super::{Answer, Facts, RegionAnswers};
use crate::edge;
use crate::exposition::Page;
use crate::registry::{Role, Spool as Allowed};

/// A region, as one row shows it.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Which.
    pub region: RegionId,
    /// `hub` or `spoke`; absent if the registry does not have it.
    pub role: Option<&'static str>,
    /// Whether requests are sent there.
    pub route: Route,
    /// Whether it takes them.
    pub core: Core,
    /// `ok`, `behind`, `dirty` or `missing`.
    pub schema: Option<String>,
    /// Whether master data is the hub's.
    pub master_data: MasterData,
    /// What waits at the edge.
    pub spool: Option<Spool>,
    /// Events that failed too often and wait for somebody.
    pub dead_letters: Option<u64>,
    /// Events that wait for their first or next try.
    pub events_waiting: Option<u64>,
    /// How long ago the moment is up to which all records are here, where that is longest.
    pub watermark: Option<Watermark>,
    /// Requests of the last hour, webhooks and others, of its countries.
    pub requests_1h: Option<u64>,
    /// What findings are made of, and rows have no place for.
    #[serde(skip)]
    pub(super) series: Series,
}

/// A region's route.
#[derive(Debug, Serialize)]
pub struct Route {
    /// In short.
    pub state: RouteIs,
    /// The countries that are paused by themselves.
    pub paused_countries: Vec<String>,
}

/// A region's route, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteIs {
    /// Each of its countries is let through.
    Open,
    /// None is.
    Paused,
    /// Some are.
    Mixed,
    /// There is none.
    None,
}

/// A region's core.
#[derive(Debug, Serialize)]
pub struct Core {
    /// Whether it takes requests.
    pub state: CoreState,
    /// Why not, in few words.
    pub why: Option<String>,
}

/// Whether a core takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CoreState {
    /// It does.
    Ready,
    /// It says that it does not, or is another one than it should be.
    NotReady,
    /// It says nothing.
    NoAnswer,
    /// Nobody says where it is.
    Unknown,
}

/// A region's master data.
#[derive(Debug, Default, Serialize)]
pub struct MasterData {
    /// Whether it is written there.
    pub is_hub: bool,
    /// A spoke's lag behind the hub; a hub's oldest change that is not sent yet.
    pub lag_seconds: Option<f64>,
    /// A spoke's tables against the hub's.
    pub tables: Option<Tables>,
    /// A spoke's records that could not be applied.
    pub parked: Option<u64>,
}

/// Tables of master data against the hub's.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tables {
    /// Each is the same.
    Equal,
    /// These are not.
    Differ(Vec<String>),
}

/// What waits at the edge for a region.
#[derive(Debug, Serialize)]
pub struct Spool {
    /// Whether records may wait there at all.
    pub may_wait: bool,
    /// Records.
    pub waiting: u64,
    /// How long the oldest has waited.
    pub oldest_seconds: f64,
    /// Records that the region refused again and again.
    pub parked: u64,
    /// How much of what its fullest shard can hold that holds.
    pub used_ratio: f64,
}

/// Up to when all records of a connection are here.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Watermark {
    /// How long ago that is.
    pub age_seconds: f64,
    /// Whose it is.
    pub country: String,
    /// Which of its connections.
    pub connection: String,
    /// Which of Pancake's tables.
    pub table: String,
}

impl Row {
    pub(super) fn read(
        facts: &Facts<'_>,
        answers: &RegionAnswers,
        edge: Option<&edge::Status>,
    ) -> Self {
        let id = &answers.region;
        let known = facts.registry.find(id);
        let ready = answers.ready.given().map(|(_, ready)| ready);
        let core = Core::read(&answers.ready, id);
        let schema = ready.and_then(|ready| ready.pointer("/checks/schema")?.as_str());
        let core_page = answers.core.given().map(|text| Page::read(text));
        let replicator = answers.replicator.given().map(|text| Page::read(text));
        let mut series = core_page.as_ref().map(Series::read).unwrap_or_default();
        series.asked_seconds = replicator
            .as_ref()
            .and_then(|page| page.value("replication_asked_seconds"));
        if core.state == CoreState::Ready {
            series.unserved = unserved(facts, id, ready);
        }
        let unfinished = |statuses: &[&str]| {
            let page = core_page.as_ref()?;
            let mut samples = page
                .of("pancake_events_unfinished")
                .filter(|sample| statuses.contains(&sample.label("status")))
                .peekable();
            samples.peek()?;
            Some(samples.map(|sample| count(sample.value)).sum())
        };
        Self {
            region: id.clone(),
            role: known.map(|region| match region.role {
                Role::Hub => "hub",
                Role::Spoke => "spoke",
            }),
            route: Route::read(facts, id),
            core,
            schema: schema
                .filter(|schema| *schema != "unknown")
                .map(str::to_owned),
            master_data: MasterData::read(
                known.is_some_and(|region| region.role == Role::Hub),
                replicator.as_ref(),
            ),
            spool: edge.and_then(|edge| Spool::read(edge, id)),
            dead_letters: unfinished(&["dead_letter"]),
            events_waiting: unfinished(&["received", "failed"]),
            watermark: series.watermarks.first().cloned(),
            requests_1h: edge.map(|edge| requests(facts, id, edge)),
            series,
        }
    }
}

impl Route {
    fn read(facts: &Facts<'_>, id: &RegionId) -> Self {
        let mut regions = facts.routes.regions();
        let Some(route) = regions.find(|route| route.region == *id) else {
            return Self {
                state: RouteIs::None,
                paused_countries: Vec::new(),
            };
        };
        let countries = facts.routes.countries();
        let countries: Vec<_> = countries
            .filter(|(_, region)| *region == id)
            .map(|(country, _)| country)
            .collect();
        let paused: Vec<_> = countries
            .iter()
            .filter(|country| facts.routes.own_state(**country) == Some(RouteState::Paused))
            .map(ToString::to_string)
            .collect();
        let all_paused = !countries.is_empty() && paused.len() == countries.len();
        Self {
            state: match route.state {
                RouteState::Paused => RouteIs::Paused,
                RouteState::Open if all_paused => RouteIs::Paused,
                RouteState::Open if paused.is_empty() => RouteIs::Open,
                RouteState::Open => RouteIs::Mixed,
            },
            paused_countries: paused,
        }
    }
}

impl Core {
    fn read(ready: &Answer<(u16, Value)>, id: &RegionId) -> Self {
        let (state, why) = match ready {
            Answer::Given((status, ready)) => match not_ready(*status, ready, id) {
                None => (CoreState::Ready, None),
                Some(why) => (CoreState::NotReady, Some(why)),
            },
            Answer::Silent(why) => (CoreState::NoAnswer, Some(why.clone())),
            Answer::Unasked(why) => (CoreState::Unknown, Some(why.clone())),
        };
        Self { state, why }
    }
}

/// Why a core that answers is not ready; none if it is.
fn not_ready(status: u16, ready: &Value, id: &RegionId) -> Option<String> {
    let said = |pointer: &str| ready.pointer(pointer).and_then(Value::as_str);
    if let Some(other) = said("/region").filter(|other| *other != id.as_str()) {
        return Some(format!("it is {other}'s"));
    }
    match (
        said("/checks/process"),
        said("/checks/database"),
        said("/checks/schema"),
    ) {
        (Some("ok"), Some("ok"), Some("ok")) if status == 200 => None,
        (Some("shutting_down"), ..) => Some("stopping".to_owned()),
        (_, Some("unreachable"), _) => Some("no database".to_owned()),
        (_, Some("ok"), Some(schema)) if schema != "ok" => Some(format!("schema {schema}")),
        _ => Some(format!("answers {status}")),
    }
}

/// Countries that are sent to a core which does not list them.
fn unserved(facts: &Facts<'_>, id: &RegionId, ready: Option<&Value>) -> Vec<String> {
    let listed = ready.and_then(|ready| ready.get("countries")?.as_array());
    let Some(listed) = listed else {
        return Vec::new();
    };
    let routed = facts.routes.countries().filter(|(_, region)| *region == id);
    routed
        .filter(|(country, _)| !listed.iter().any(|known| known == country.as_str()))
        .map(|(country, _)| country.to_string())
        .collect()
}

impl MasterData {
    fn read(is_hub: bool, replicator: Option<&Page>) -> Self {
        let Some(page) = replicator else {
            return Self {
                is_hub,
                ..Self::default()
            };
        };
        if is_hub {
            return Self {
                is_hub,
                lag_seconds: page.value("replication_relay_waiting_seconds"),
                ..Self::default()
            };
        }
        let mut tables = page.of("replication_table_differs").peekable();
        let tables = tables.peek().is_some().then(|| {
            let differ: Vec<_> = tables
                .filter(|sample| sample.value > 0.0)
                .map(|sample| sample.label("table").to_owned())
                .collect();
            if differ.is_empty() {
                Tables::Equal
            } else {
                Tables::Differ(differ)
            }
        });
        Self {
            is_hub,
            lag_seconds: page.value("replication_lag_seconds"),
            tables,
            parked: page.value("replication_parked_records").map(count),
        }
    }
}

impl Spool {
    fn read(edge: &edge::Status, id: &RegionId) -> Option<Self> {
        let mut regions = edge.regions.iter();
        let found = regions.find(|region| region.region == id.as_str())?;
        Some(Self {
            may_wait: found.spool != Allowed::Off.as_str(),
            waiting: found.waiting,
            oldest_seconds: found.oldest_seconds,
            parked: found.parked,
            used_ratio: found.used_ratio,
        })
    }
}

fn requests(facts: &Facts<'_>, id: &RegionId, edge: &edge::Status) -> u64 {
    let countries = facts.routes.countries().filter(|(_, region)| *region == id);
    countries
        .filter_map(|(country, _)| {
            let mut known = edge.countries.iter();
            known.find(|known| known.country == country.as_str())
        })
        .map(|known| known.requests_1h)
        .sum()
}
