//! What ops ask the edge: `/_edge/metrics` for Prometheus, `/_edge/status` and the parked records for people
//! (`smpctl edge`), `/_edge/connections` for whoever changes connections (`smpctl connection`), `/_edge/probe` for whoever
//! opens a country (`smpctl country`). Whoever asks shows one of [`protocol::ops::OpsTokens`].

use protocol::connection::snapshot::SNAPSHOT_LIMIT_BYTES;
use protocol::ops::Scope;
use protocol::{Country, RegionId};
use wasm_bindgen::{JsCast as _, JsValue};
use worker::wasm_bindgen_futures::JsFuture;
use worker::{Env, Stub, js_sys, web_sys};

use crate::answer::Answer;
use crate::connections::{REGISTRY_BINDING, REGISTRY_NAME};
use crate::metrics::{METRICS_BINDING, METRICS_NAME};
use crate::probe::{self, Probe};
use crate::spool::{SHARDS, SPOOL_BINDING};
use crate::{now, respond, with_edge};

/// All paths under this are for ops.
pub const PREFIX: &str = "/_edge/";

/// What is asked.
#[derive(Debug, PartialEq, Eq)]
enum Page {
    Metrics,
    Status,
    Parked(RegionId),
    TryParkedAgain(RegionId),
    RemoveParked(RegionId, u32, u32),
    Connections,
    ChangeConnections,
    Probe(Country),
}

impl Page {
    fn find(method: &str, path: &str) -> Option<Self> {
        let path: Vec<_> = path.strip_prefix(PREFIX)?.split('/').collect();
        Some(match (method, path.as_slice()) {
            ("GET", ["metrics"]) => Self::Metrics,
            ("GET", ["status"]) => Self::Status,
            ("GET", ["connections"]) => Self::Connections,
            ("POST", ["connections"]) => Self::ChangeConnections,
            ("POST", ["probe", country]) => Self::Probe(Country::parse(country).ok()?),
            (method, ["spool", region, "parked", rest @ ..]) => {
                let region = RegionId::parse(region).ok()?;
                match (method, rest) {
                    ("GET", []) => Self::Parked(region),
                    ("POST", []) => Self::TryParkedAgain(region),
                    ("DELETE", [shard, seq]) => {
                        let shard = shard.parse().ok().filter(|shard| *shard < SHARDS)?;
                        Self::RemoveParked(region, shard, seq.parse().ok()?)
                    }
                    _ => return None,
                }
            }
            _ => return None,
        })
    }

    fn needs(&self) -> Scope {
        match self {
            Self::Metrics | Self::Status | Self::Parked(_) | Self::Connections => Scope::Read,
            Self::TryParkedAgain(_)
            | Self::RemoveParked(..)
            | Self::ChangeConnections
            | Self::Probe(_) => Scope::Admin,
        }
    }
}

/// Answers a request under [`PREFIX`].
pub(crate) async fn answer(
    request: &web_sys::Request,
    path: &str,
    env: &Env,
) -> worker::Result<web_sys::Response> {
    let authorization = request.headers().get("authorization")?;
    let allowed = with_edge(env.as_ref(), |edge| {
        let edge = edge.ok_or(Answer::Misconfigured)?;
        let holder = edge.config.ops.holder_of(authorization.as_deref());
        let (name, scope) = holder.ok_or(Answer::Unauthorized)?;
        Ok((name.to_owned(), scope))
    });
    let (name, scope) = match allowed {
        Ok(holder) => holder,
        Err(answer) => return respond(answer),
    };
    let Some(page) = Page::find(&request.method(), path) else {
        return respond(Answer::NotFound);
    };
    if scope < page.needs() {
        return respond(Answer::Forbidden);
    }
    match page {
        Page::Metrics => {
            let text = ask(&metrics(env)?, "GET", "metrics", None).await?;
            pass_on(&text, "text/plain; version=0.0.4; charset=utf-8")
        }
        Page::Status => pass_on(&ask(&metrics(env)?, "GET", "status", None).await?, JSON),
        Page::Connections => pass_on(&ask(&registry(env)?, "GET", "list", None).await?, JSON),
        Page::ChangeConnections => {
            let Some(change) = body_of(request, SNAPSHOT_LIMIT_BYTES).await? else {
                return respond(Answer::BodyTooLarge);
            };
            let path = format!("change/{name}");
            let changed = ask(&registry(env)?, "POST", &path, Some(&change)).await?;
            pass_on(&changed, JSON)
        }
        Page::Probe(country) => {
            let Some(body) = body_of(request, PROBE_LIMIT_BYTES).await? else {
                return respond(Answer::BodyTooLarge);
            };
            let bytes = js_sys::Uint8Array::new(&body).to_vec();
            let probe = with_edge(env.as_ref(), |edge| {
                probe::sign(&edge?.config, country, &bytes, now())
            });
            match probe {
                Some(probe) => pass_on(&send(&probe, &body).await?, JSON),
                None => respond(Answer::NoRegion),
            }
        }
        Page::Parked(region) => {
            let mut lists = Vec::new();
            for shard in 0..SHARDS {
                let stub = shard_of(env, &region, shard)?;
                let list = ask(&stub, "GET", &format!("parked/{shard}"), None).await?;
                // An array of JSON; an empty one adds nothing.
                lists.push(text_of(&list).await?.trim_matches(['[', ']']).to_owned());
            }
            lists.retain(|list| !list.is_empty());
            respond_json(&format!("[{}]", lists.join(",")))
        }
        Page::TryParkedAgain(region) => {
            let mut records = 0;
            for shard in 0..SHARDS {
                let stub = shard_of(env, &region, shard)?;
                let tried = ask(&stub, "POST", "parked", None).await?;
                records += text_of(&tried).await?.parse::<u64>().unwrap_or_default();
            }
            respond_json(&format!("{{\"records\":{records}}}"))
        }
        Page::RemoveParked(region, shard, seq) => {
            let stub = shard_of(env, &region, shard)?;
            let removed = ask(&stub, "DELETE", &format!("parked/{seq}"), None).await?;
            match removed.status() {
                204 => Ok(removed),
                _ => respond(Answer::NotFound),
            }
        }
    }
}

const JSON: &str = "application/json";

/// A probe names nobody: an id is all it needs.
const PROBE_LIMIT_BYTES: usize = 1_024;

/// A request's body, unless it is too large or does not say how large it is.
async fn body_of(request: &web_sys::Request, limit: usize) -> worker::Result<Option<JsValue>> {
    let length = request.headers().get("content-length")?;
    let length = length.and_then(|length| length.parse::<usize>().ok());
    if length.is_none_or(|length| length > limit) {
        return Ok(None);
    }
    Ok(Some(JsFuture::from(request.array_buffer()?).await?))
}

/// Sends a probe to its core.
async fn send(probe: &Probe, body: &JsValue) -> worker::Result<web_sys::Response> {
    let init = web_sys::RequestInit::new();
    init.set_method("POST");
    init.set_body(body);
    let headers = web_sys::Headers::new()?;
    for (name, value) in &probe.headers {
        headers.set(name, value)?;
    }
    init.set_headers(headers.unchecked_ref());
    let global: web_sys::WorkerGlobalScope = js_sys::global().unchecked_into();
    let answer = global.fetch_with_str_and_init(&probe.url, &init);
    Ok(JsFuture::from(answer).await?.unchecked_into())
}

fn respond_json(text: &str) -> worker::Result<web_sys::Response> {
    let response = web_sys::Response::new_with_opt_str(Some(text))?;
    response.headers().set("content-type", JSON)?;
    Ok(response)
}

/// What a Durable Object answered, with headers of its own: those that it came with cannot be changed.
fn pass_on(answer: &web_sys::Response, content_type: &str) -> worker::Result<web_sys::Response> {
    let init = web_sys::ResponseInit::new();
    init.set_status(answer.status());
    let body = answer.body();
    let shown = web_sys::Response::new_with_opt_readable_stream_and_init(body.as_ref(), &init)?;
    shown.headers().set("content-type", content_type)?;
    Ok(shown)
}

async fn text_of(answer: &web_sys::Response) -> worker::Result<String> {
    let text = JsFuture::from(answer.text()?).await?;
    Ok(text.as_string().unwrap_or_default())
}

fn metrics(env: &Env) -> worker::Result<Stub> {
    env.durable_object(METRICS_BINDING)?
        .get_by_name(METRICS_NAME)
}

fn registry(env: &Env) -> worker::Result<Stub> {
    env.durable_object(REGISTRY_BINDING)?
        .get_by_name(REGISTRY_NAME)
}

fn shard_of(env: &Env, region: &RegionId, shard: u32) -> worker::Result<Stub> {
    env.durable_object(SPOOL_BINDING)?
        .get_by_name(&format!("{region}/{shard}"))
}

/// Asks a Durable Object.
async fn ask(
    stub: &Stub,
    method: &str,
    path: &str,
    body: Option<&JsValue>,
) -> worker::Result<web_sys::Response> {
    let init = web_sys::RequestInit::new();
    init.set_method(method);
    if let Some(body) = body {
        init.set_body(body);
    }
    let url = format!("https://object/{path}");
    let request = web_sys::Request::new_with_str_and_init(&url, &init)?;
    Ok(stub.fetch_with_request(request.into()).await?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_found_by_method_and_path_and_needs_its_scope() {
        let find = |method, path: &str| Page::find(method, &format!("/_edge/{path}"));
        let asia = || RegionId::parse("smp-asia").unwrap();
        assert_eq!(find("GET", "metrics"), Some(Page::Metrics));
        assert_eq!(find("GET", "status"), Some(Page::Status));
        let parked = find("GET", "spool/smp-asia/parked").unwrap();
        assert_eq!(
            (&parked, parked.needs()),
            (&Page::Parked(asia()), Scope::Read)
        );
        let again = find("POST", "spool/smp-asia/parked").unwrap();
        assert_eq!(
            (&again, again.needs()),
            (&Page::TryParkedAgain(asia()), Scope::Admin)
        );
        let remove = find("DELETE", "spool/smp-asia/parked/7/12").unwrap();
        assert_eq!(
            (&remove, remove.needs()),
            (&Page::RemoveParked(asia(), 7, 12), Scope::Admin)
        );
        let list = find("GET", "connections").unwrap();
        assert_eq!((&list, list.needs()), (&Page::Connections, Scope::Read));
        let change = find("POST", "connections").unwrap();
        assert_eq!(
            (&change, change.needs()),
            (&Page::ChangeConnections, Scope::Admin)
        );
        let probe = find("POST", "probe/US").unwrap();
        assert_eq!(
            (&probe, probe.needs()),
            (&Page::Probe(Country::parse("US").unwrap()), Scope::Admin)
        );
        for (method, path) in [
            ("POST", "metrics"),
            ("DELETE", "connections"),
            ("GET", "connections/vn-main"),
            ("GET", "probe/VN"),
            ("POST", "probe/VNM"),
            ("POST", "probe"),
            ("GET", "metrics/"),
            ("GET", ""),
            ("GET", "spool/SMP/parked"),
            ("DELETE", "spool/smp-asia/parked"),
            ("DELETE", "spool/smp-asia/parked/8/12"),
            ("DELETE", "spool/smp-asia/parked/7/-1"),
        ] {
            assert_eq!(find(method, path), None, "{method} {path}");
        }
    }
}
