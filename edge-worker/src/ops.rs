//! What ops ask the edge: `/_edge/metrics` for Prometheus, `/_edge/status` and the parked records for people
//! (`smpctl edge`). Whoever asks shows one of [`protocol::ops::OpsTokens`].

use protocol::RegionId;
use protocol::ops::Scope;
use worker::{Env, Stub, web_sys};

use crate::answer::Answer;
use crate::metrics::{METRICS_BINDING, METRICS_NAME};
use crate::spool::{SHARDS, SPOOL_BINDING};
use crate::{respond, with_edge};

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
}

impl Page {
    fn find(method: &str, path: &str) -> Option<Self> {
        let path: Vec<_> = path.strip_prefix(PREFIX)?.split('/').collect();
        Some(match (method, path.as_slice()) {
            ("GET", ["metrics"]) => Self::Metrics,
            ("GET", ["status"]) => Self::Status,
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
            Self::Metrics | Self::Status | Self::Parked(_) => Scope::Read,
            Self::TryParkedAgain(_) | Self::RemoveParked(..) => Scope::Admin,
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
        let scope = edge.config.ops.scope_of(authorization.as_deref());
        scope.ok_or(Answer::Unauthorized)
    });
    let scope = match allowed {
        Ok(scope) => scope,
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
            let response = metrics(env)?
                .fetch_with_str("https://metrics/metrics")
                .await?;
            let response: web_sys::Response = response.into();
            // What a Durable Object answered has headers of its own, which cannot be changed.
            let shown = web_sys::Response::new_with_opt_readable_stream(response.body().as_ref())?;
            shown
                .headers()
                .set("content-type", "text/plain; version=0.0.4; charset=utf-8")?;
            Ok(shown)
        }
        Page::Status => Ok(metrics(env)?
            .fetch_with_str("https://metrics/status")
            .await?
            .into()),
        Page::Parked(region) => {
            let mut lists = Vec::new();
            for shard in 0..SHARDS {
                let stub = shard_of(env, &region, shard)?;
                let mut answer = ask(&stub, "GET", &format!("parked/{shard}")).await?;
                // An array of JSON; an empty one adds nothing.
                let list = answer.text().await?;
                lists.push(list.trim_matches(['[', ']']).to_owned());
            }
            lists.retain(|list| !list.is_empty());
            respond_json(&format!("[{}]", lists.join(",")))
        }
        Page::TryParkedAgain(region) => {
            let mut records = 0;
            for shard in 0..SHARDS {
                let mut answer = ask(&shard_of(env, &region, shard)?, "POST", "parked").await?;
                records += answer.text().await?.parse::<u64>().unwrap_or_default();
            }
            respond_json(&format!("{{\"records\":{records}}}"))
        }
        Page::RemoveParked(region, shard, seq) => {
            let stub = shard_of(env, &region, shard)?;
            let answer = ask(&stub, "DELETE", &format!("parked/{seq}")).await?;
            match answer.status_code() {
                204 => Ok(worker::Response::empty()?.with_status(204).into()),
                _ => respond(Answer::NotFound),
            }
        }
    }
}

fn respond_json(text: &str) -> worker::Result<web_sys::Response> {
    let response = web_sys::Response::new_with_opt_str(Some(text))?;
    response.headers().set("content-type", "application/json")?;
    Ok(response)
}

fn metrics(env: &Env) -> worker::Result<Stub> {
    env.durable_object(METRICS_BINDING)?
        .get_by_name(METRICS_NAME)
}

fn shard_of(env: &Env, region: &RegionId, shard: u32) -> worker::Result<Stub> {
    env.durable_object(SPOOL_BINDING)?
        .get_by_name(&format!("{region}/{shard}"))
}

async fn ask(stub: &Stub, method: &str, path: &str) -> worker::Result<worker::Response> {
    let init = web_sys::RequestInit::new();
    init.set_method(method);
    let url = format!("https://spool/{path}");
    let request = web_sys::Request::new_with_str_and_init(&url, &init)?;
    stub.fetch_with_request(request.into()).await
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
        for (method, path) in [
            ("POST", "metrics"),
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
