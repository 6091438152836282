//! The Cloudflare Worker: adapt, decide, act.
//!
//! Two ways lead in. The hot one, a Pancake webhook, comes through `entry.js` as one call into wasm
//! and one answer back ([`hot_path`]), because each header, string and promise that crosses between
//! JS and wasm costs more than all of the cryptography (ARCHITECTURE.md has the figures). All the
//! rest comes through `fetch`. Whatever is decided is decided in [`decision`], [`answer`] and
//! `protocol`, which know nothing of the platform.

pub mod answer;
pub mod breaker;
pub mod config;
pub mod connections;
pub mod constants;
pub mod decision;
pub mod hot_path;
pub mod metrics;
pub mod ops;
pub mod probe;
mod proxy;
pub mod spool;

use std::cell::{OnceCell, RefCell};

use protocol::UnixSeconds;
use protocol::hop::ROUTE_VERSION;
use wasm_bindgen::{JsCast, JsValue};
use worker::{Context, Env, event, web_sys};

use crate::answer::Answer;
use crate::config::{Bindings, Config};
use crate::decision::Edge;

thread_local! {
    /// This isolate's edge: read from the bindings by the first request, the same for all others but for the
    /// connections.
    static EDGE: OnceCell<Option<RefCell<Edge>>> = const { OnceCell::new() };
}

/// Runs `act` with this isolate's edge. A deployment whose bindings are invalid has none; what is
/// wrong is logged once an isolate.
fn with_edge<T>(env: &JsValue, act: impl FnOnce(Option<&Edge>) -> T) -> T {
    EDGE.with(|edge| {
        let edge = edge.get_or_init(|| match read_config(env) {
            Ok(config) => Some(RefCell::new(Edge::new(config))),
            Err(mistakes) => {
                worker::console_error!("the deployment's configuration is invalid:\n{mistakes}");
                None
            }
        });
        match edge {
            Some(edge) => act(Some(&edge.borrow())),
            None => act(None),
        }
    })
}

/// Changes this isolate's edge, if it has one.
fn with_edge_mut<T>(change: impl FnOnce(&mut Edge) -> T) -> Option<T> {
    EDGE.with(|edge| Some(change(&mut edge.get()?.as_ref()?.borrow_mut())))
}

fn read_config(env: &JsValue) -> Result<Config, String> {
    let binding = |name: &str| js_sys::Reflect::get(env, &JsValue::from_str(name)).ok();
    let text = |name: &str| binding(name).and_then(|value| value.as_string());
    // A table of wrangler.toml arrives as an object; `serde_json` is to read it, with our messages.
    let routes = binding("ROUTES")
        .filter(JsValue::is_object)
        .and_then(|routes| js_sys::JSON::stringify(&routes).ok())
        .and_then(|routes| routes.as_string());
    let missing = |name: &str| format!("{name} is not bound");
    Config::from_bindings(Bindings {
        routes: &routes.ok_or_else(|| missing("ROUTES"))?,
        hop_secrets: &text("HOP_SECRETS").ok_or_else(|| missing("HOP_SECRETS"))?,
        connections_keys: &text("CONNECTIONS_KEYS").ok_or_else(|| missing("CONNECTIONS_KEYS"))?,
        // Without tokens nobody is let in to `/_edge/`; webhooks do not need them.
        ops_tokens: text("OPS_TOKENS").as_deref().unwrap_or("[]"),
        blocked: text("BLOCKED_ADDRESSES").as_deref().unwrap_or("[]"),
    })
}

/// Everything but webhooks: health, what ops ask, and what is proxied to a country's core.
#[event(fetch)]
async fn fetch(
    request: web_sys::Request,
    env: Env,
    _context: Context,
) -> worker::Result<web_sys::Response> {
    let url = request.url();
    let target = proxy::target_of(&url);
    match target.path {
        // An edge that can take nothing is not well, though it answers.
        "/healthz" => {
            let version = with_edge(env.as_ref(), |edge| {
                Some(edge?.config.routes.version().to_string())
            });
            let Some(version) = version else {
                return respond(Answer::Misconfigured);
            };
            let response = respond(Answer::Healthy)?;
            // Whoever has flipped a route sees here that it is in force.
            response.headers().set(ROUTE_VERSION, &version)?;
            Ok(response)
        }
        path if path.starts_with(ops::PREFIX) => ops::answer(&request, path, &env).await,
        path if proxy::is_proxied(path) => proxy::proxy(&request, &url, target, &env).await,
        _ => respond(Answer::NotFound),
    }
}

/// The platform's clock.
fn now() -> UnixSeconds {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "time is positive"
    )]
    UnixSeconds((js_sys::Date::now() / 1_000.0) as u64)
}

/// Makes the platform's response of an answer.
fn respond(answer: Answer) -> worker::Result<web_sys::Response> {
    let init = web_sys::ResponseInit::new();
    init.set_status(answer.http_status());
    let headers = web_sys::Headers::new()?;
    for (name, value) in answer.headers() {
        headers.set(name, &value)?;
    }
    init.set_headers(headers.unchecked_ref());
    Ok(web_sys::Response::new_with_opt_str_and_init(
        Some(&answer.body()),
        &init,
    )?)
}
