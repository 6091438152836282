//! Requests that are proxied to their country's core: everything under `/api/` but webhooks.
//!
//! Bodies stream both ways, so nothing here reads one.

use std::borrow::Cow;

use futures_util::future::{Either, select};
use percent_encoding::percent_decode_str;
use protocol::Country;
use protocol::hop::{Destination, Target, is_hop_header, sign_proxied};
use protocol::routes::{RouteState, choose_country};
use wasm_bindgen::{JsCast, JsValue};
use worker::wasm_bindgen_futures::JsFuture;
use worker::{Delay, Env, js_sys, web_sys};

use crate::answer::Answer;
use crate::decision::read_address;
use crate::hot_path::count_proxied;
use crate::{now, respond, with_edge};

/// How long a core may take until its answer begins, in milliseconds. Reports may take a while; a
/// person waits no longer than this for a page.
const FIRST_BYTE_TIMEOUT_MS: u64 = 10_000;

/// Whose a proxied request is, as far as it is known.
#[derive(Default)]
struct Way {
    country: Option<Country>,
    region: String,
}

/// Where a proxied request goes, and the headers that say so.
struct Route {
    way: Way,
    url: String,
    hop_headers: Vec<(&'static str, String)>,
}

/// What stands behind the `://` of an absolute URL.
fn after_scheme(url: &str) -> Option<&str> {
    url.split_once(':')?.1.strip_prefix("//")
}

/// Path and query of an absolute URL, as they stand there. The method is filled in later.
pub(crate) fn target_of(url: &str) -> Target<'_> {
    let authority = after_scheme(url).unwrap_or(url);
    let path_start = authority.find(['/', '?', '#']).unwrap_or(authority.len());
    let (_, rest) = authority.split_at(path_start);
    let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    Target {
        method: "",
        path: if path.is_empty() { "/" } else { path },
        query,
    }
}

/// Nobody encodes a path more often than this.
const ENCODINGS_MAX: u32 = 4;

/// Whether requests to a path are proxied: all under `/api/`, but for the webhooks' own. A webhook's path
/// that is spelt another way holds a token all the same, and a token never leaves the edge.
pub(crate) fn is_proxied(path: &str) -> bool {
    // Whoever writes `%2570` may mean `%70`, and a proxy behind us may read it so.
    let mut decoded = path.to_ascii_lowercase();
    let mut encodings = 0;
    while let Cow::Owned(further) = percent_decode_str(&decoded.clone()).decode_utf8_lossy() {
        encodings += 1;
        if encodings > ENCODINGS_MAX {
            return false;
        }
        decoded = further.to_ascii_lowercase();
    }
    let mut segments = decoded.split('/').filter(|segment| !segment.is_empty());
    let word = segments.nth(1).unwrap_or_default();
    let word = word.trim_matches(|letter: char| !letter.is_ascii_alphanumeric());
    let end = word.find(|letter: char| !letter.is_ascii_alphanumeric());
    let word = word.get(..end.unwrap_or(word.len())).unwrap_or_default();
    path.starts_with("/api/") && word != "pancake"
}

/// The host of an absolute URL, without its port.
fn host_of(url: &str) -> Option<&str> {
    after_scheme(url)?.split(['/', '?', '#', ':']).next()
}

/// Signs a request for its country's core, sends it there and gives the answer as it comes.
pub(crate) async fn proxy(
    request: &web_sys::Request,
    url: &str,
    target: Target<'_>,
    env: &Env,
) -> worker::Result<web_sys::Response> {
    let method = request.method();
    let target = Target {
        method: &method,
        ..target
    };
    let route = match find_route(request, url, target, env) {
        Ok(route) => route,
        Err((way, answer)) => return refuse(&way, answer),
    };
    let headers = web_sys::Headers::new_with_headers(&request.headers())?;
    for name in header_names(&headers) {
        if is_hop_header(&name) {
            headers.delete(&name)?;
        }
    }
    for (name, value) in &route.hop_headers {
        headers.set(name, value)?;
    }
    let abort = web_sys::AbortController::new()?;
    let init = web_sys::RequestInit::new();
    init.set_method(&method);
    init.set_headers(headers.unchecked_ref());
    init.set_signal(Some(&abort.signal()));
    // A redirect is the client's to follow: followed here, it would take a signed hop elsewhere.
    init.set_redirect(web_sys::RequestRedirect::Manual);
    // Whatever a GET or HEAD carries has no meaning (RFC 9110 §9.3.1), and `fetch` refuses it.
    if let Some(body) = request
        .body()
        .filter(|_| !matches!(method.as_str(), "GET" | "HEAD"))
    {
        init.set_body(&body);
    }
    let forwarded = web_sys::Request::new_with_str_and_init(&route.url, &init)?;
    let global: web_sys::WorkerGlobalScope = js_sys::global().unchecked_into();
    let answer = JsFuture::from(global.fetch_with_request(&forwarded));
    let timeout = Delay::from(std::time::Duration::from_millis(FIRST_BYTE_TIMEOUT_MS));
    match select(answer, timeout).await {
        Either::Left((Ok(response), _)) => {
            let response: web_sys::Response = response.unchecked_into();
            route.way.count(&response.status().to_string());
            Ok(response)
        }
        Either::Left((Err(_), _)) => refuse(&route.way, Answer::BadGateway),
        Either::Right(_) => {
            abort.abort();
            refuse(&route.way, Answer::GatewayTimeout)
        }
    }
}

impl Way {
    fn count(&self, outcome: &str) {
        count_proxied(self.country, &self.region, outcome);
    }
}

fn refuse(way: &Way, answer: Answer) -> worker::Result<web_sys::Response> {
    way.count(answer.status());
    if let Some(cause) = answer.cause() {
        worker::console_error!("{{\"event\":\"not_proxied\",\"cause\":\"{cause}\"}}");
    }
    respond(answer)
}

fn find_route(
    request: &web_sys::Request,
    url: &str,
    target: Target<'_>,
    env: &Env,
) -> Result<Route, (Way, Answer)> {
    let nowhere = |answer| (Way::default(), answer);
    if has_dot_segment(target.path) {
        return Err(nowhere(Answer::NotFound));
    }
    let address = request.headers().get("cf-connecting-ip").ok().flatten();
    let address = address.and_then(|address| read_address(address.as_bytes()));
    if with_edge(env, |edge| {
        edge.is_some_and(|edge| edge.is_blocked(address))
    }) {
        return Err(nowhere(Answer::AddressNotAllowed));
    }
    let header = request.headers().get("x-country-code").ok().flatten();
    let cf_country = cf_country(request);
    let country = choose_country(header.as_deref(), host_of(url), cf_country.as_deref())
        .ok_or(nowhere(Answer::NoRegion))?;
    with_edge(env, |edge| {
        let config = &edge.ok_or(nowhere(Answer::Misconfigured))?.config;
        let (route, key) = config
            .find_route(country)
            .ok_or(nowhere(Answer::NoRegion))?;
        let way = Way {
            country: Some(country),
            region: route.region.to_string(),
        };
        if config.routes.state(country) == RouteState::Paused {
            return Err((way, Answer::RegionPaused));
        }
        let destination = Destination {
            country,
            region: &route.region,
            route_version: config.routes.version(),
        };
        let query = target
            .query
            .map(|query| format!("?{query}"))
            .unwrap_or_default();
        Ok(Route {
            way,
            url: format!("{}{}{query}", route.origin, target.path),
            hop_headers: sign_proxied(key, destination, target, now()),
        })
    })
}

/// Whether a path holds `.` or `..` as a segment, encoded or not. `fetch` would resolve it, and the
/// core would see another path than the one that was routed and signed.
fn has_dot_segment(path: &str) -> bool {
    path.split(['/', '\\']).any(|segment| {
        let segment = segment.to_ascii_lowercase();
        matches!(&*segment, "." | ".." | "%2e" | ".%2e" | "%2e." | "%2e%2e")
    })
}

fn header_names(headers: &web_sys::Headers) -> Vec<String> {
    headers
        .keys()
        .into_iter()
        .filter_map(|name| name.ok().and_then(|name| name.as_string()))
        .collect()
}

/// Cloudflare's guess of the client's country by its address.
fn cf_country(request: &web_sys::Request) -> Option<String> {
    let get = |object: &JsValue, name: &str| {
        js_sys::Reflect::get(object, &JsValue::from_str(name))
            .ok()
            .filter(|value| !value.is_null() && !value.is_undefined())
    };
    get(&get(request.unchecked_ref(), "cf")?, "country")?.as_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_and_query_are_taken_as_they_stand() {
        let parts = |url| {
            let target = target_of(url);
            (target.path, target.query)
        };
        assert_eq!(
            parts("https://edge.example/api/x?a=1&b=%20?"),
            ("/api/x", Some("a=1&b=%20?"))
        );
        assert_eq!(parts("https://edge.example"), ("/", None));
        assert_eq!(parts("https://edge.example?a"), ("/", Some("a")));
        assert_eq!(
            parts("http://127.0.0.1:8700/api/%2F#top?x"),
            ("/api/%2F", None)
        );
        assert_eq!(parts("/api/x"), ("/api/x", None));
    }

    #[test]
    fn a_webhook_is_not_proxied_however_its_path_is_spelt() {
        for path in [
            "/api/pancake/record/t",
            "/api/%70ancake/record/t",
            "/api/PANCAKE/record/t",
            "/api//pancake/x",
            "/api/pancake",
            "/api/%2570ancake/record/t",
            "/api/%25252570ancake/record/t",
            "/api/%2525252525252570ancake/record/t",
            "/api/pancake%20/record/t",
            "/api/%20pancake/record/t",
            "/api/pancake;x/record/t",
            "/api/pancake%00/record/t",
            "/other",
        ] {
            assert!(!is_proxied(path), "{path}");
        }
        for path in [
            "/api/region",
            "/api/",
            "/api/v1/pancake-sources",
            "/api/v1/pancake",
            "/api/v1/crm/tickets/%C4%90%E1%BA%B7ng",
            "/api/pancakes",
            "/api/%ff%ff/x/%ff",
        ] {
            assert!(is_proxied(path), "{path}");
        }
    }

    #[test]
    fn the_host_has_no_port() {
        assert_eq!(
            host_of("https://vn.example.com:8443/api"),
            Some("vn.example.com")
        );
        assert_eq!(host_of("https://vn.example.com"), Some("vn.example.com"));
    }

    #[test]
    fn paths_that_fetch_would_rewrite_are_recognised() {
        for path in [
            "/api/../v1/x",
            "/api/%2e%2E/v1",
            "/api/.%2e/v1",
            "/api/./x",
            "/api/..\\v1",
        ] {
            assert!(has_dot_segment(path), "{path}");
        }
        for path in ["/api/x", "/api/.well-known", "/api/a..b", "/api/..."] {
            assert!(!has_dot_segment(path), "{path}");
        }
    }
}
