//! The one Durable Object that changes the connections: it keeps their document, sealed, and writes it to KV.
//! Nobody but the Worker can call it: it has no address outside.
//!
//! `GET /snapshot` gives the sealed document, 404 if there never was one; `GET /list` what may be shown of it;
//! `POST /change/{by}` makes a [`Change`] for somebody of ops, and answers once that is on disk; 400 with all that
//! is wrong with it. An alarm writes it to KV right after.

use std::time::Duration;

use futures_util::future::{Either, select};
use protocol::at_rest::NONCE_BYTES;
use protocol::connection::document::{Change, Document};
use protocol::connection::snapshot::{open, seal};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};
use worker::js_sys::{Promise, Reflect, Uint8Array};
use worker::wasm_bindgen_futures::JsFuture;
use worker::{Delay, DurableObject, Env, Request, Response, SqlStorage, State, durable_object};

use super::{CONNECTIONS_BINDING, KEY};
use crate::{now, proxy, with_edge};

/// What this deployment's secrets cannot open is not overwritten.
const SCHEMA: &str = "create table if not exists document (
    only integer primary key check (only = 1),
    version integer not null,
    sealed blob not null,
    published_version integer not null default 0
);";

/// How long after KV did not take the document it is tried again, in milliseconds. KV takes a key once a second.
const PUBLISH_AGAIN_MS: i64 = 2_000;

/// How long KV may take to take it.
const PUT_TIMEOUT: Duration = Duration::from_secs(5);

#[wasm_bindgen]
extern "C" {
    type KvNamespace;

    #[wasm_bindgen(method, catch)]
    fn put(this: &KvNamespace, key: &str, value: &Uint8Array) -> Result<Promise, JsValue>;

    #[wasm_bindgen(js_namespace = crypto, js_name = getRandomValues)]
    fn fill_with_randomness(bytes: &mut [u8]);
}

/// The object that keeps them.
#[durable_object(alarm)]
pub struct ConnectionRegistry {
    state: State,
    sql: SqlStorage,
    env: Env,
}

impl DurableObject for ConnectionRegistry {
    fn new(state: State, env: Env) -> Self {
        with_edge(env.as_ref(), |_| ());
        let sql = state.storage().sql();
        if let Err(error) = sql.exec_raw(SCHEMA, None) {
            worker::console_error!("{{\"event\":\"connections_not_read\",\"error\":\"{error}\"}}");
        }
        Self { state, sql, env }
    }

    async fn fetch(&self, mut request: Request) -> worker::Result<Response> {
        let url = request.inner().url();
        let path = proxy::target_of(&url).path;
        match path {
            "/snapshot" => match self.kept()? {
                Some(kept) => Response::from_bytes(kept.sealed),
                None => Response::error("", 404),
            },
            "/list" => match self.document() {
                Ok((document, is_published)) => Response::ok(listed(&document, is_published)?),
                Err(error) => refuse(503, &[error]),
            },
            path => match path.strip_prefix("/change/") {
                Some(by) => self.change(&request.text().await?, by).await,
                None => Response::error("", 404),
            },
        }
    }

    async fn alarm(&self) -> worker::Result<Response> {
        // An alarm that fails is called again a few times and then never: the next one is set here. There is one
        // at a time, so of two documents the older one never comes last.
        if let Err(error) = self.publish().await {
            worker::console_error!(
                "{{\"event\":\"connections_not_published\",\"error\":\"{error}\"}}"
            );
            self.publish_in(PUBLISH_AGAIN_MS).await?;
        }
        Response::empty()
    }
}

/// What is on disk.
struct Kept {
    version: u64,
    sealed: Vec<u8>,
    published_version: u64,
}

impl ConnectionRegistry {
    fn kept(&self) -> worker::Result<Option<Kept>> {
        let select = "select version, sealed, published_version from document";
        let mut rows = self.sql.exec_raw(select, None)?;
        let Some(row) = Iterator::next(&mut rows).transpose()? else {
            return Ok(None);
        };
        let value = |name: &str| Reflect::get(&row, &JsValue::from_str(name));
        Ok(Some(Kept {
            version: whole(&value("version")?),
            sealed: Uint8Array::new(&value("sealed")?).to_vec(),
            published_version: whole(&value("published_version")?),
        }))
    }

    /// The document, and whether KV has it; or why there is none.
    fn document(&self) -> Result<(Document, bool), String> {
        let Some(kept) = self.kept().map_err(|error| error.to_string())? else {
            return Ok((Document::default(), true));
        };
        let opened = with_edge(&JsValue::NULL, |edge| {
            edge.map(|edge| open(&edge.config.connections_keys, &kept.sealed))
        });
        match opened {
            Some(Ok(document)) => Ok((document, kept.published_version == kept.version)),
            Some(Err(error)) => Err(format!(
                "the connections cannot be opened with this deployment's CONNECTIONS_KEYS ({error})"
            )),
            None => Err("this deployment's configuration is invalid".to_owned()),
        }
    }

    async fn change(&self, change: &str, by: &str) -> worker::Result<Response> {
        let change = match Change::from_json(change) {
            Ok(change) => change,
            Err(error) => return refuse(400, &error.0),
        };
        let document = match self.document() {
            Ok((document, _)) => document,
            Err(error) => return refuse(503, &[error]),
        };
        let made = format!(
            "\"change\":\"{}\",\"connection\":\"{}\",\"by\":\"{by}\"",
            change.name(),
            change.connection().unwrap_or_default()
        );
        let next = match document.apply(change, now()) {
            Ok(next) => next,
            Err(error) => return refuse(400, &error.0),
        };
        let mut nonce = [0; NONCE_BYTES];
        fill_with_randomness(&mut nonce);
        let sealed = with_edge(&JsValue::NULL, |edge| {
            Some(seal(&edge?.config.connections_keys, &next, nonce))
        });
        let sealed = match sealed {
            Some(Ok(sealed)) => sealed,
            Some(Err(error)) => return refuse(400, &[error.to_string()]),
            None => return Response::error("", 503),
        };
        // Nothing was awaited since the document was read, so no other change is lost.
        self.sql.exec_raw(
            "insert into document (only, version, sealed) values (1, ?, ?) \
             on conflict do update set version = excluded.version, sealed = excluded.sealed",
            vec![
                number(next.version),
                Uint8Array::from(&*sealed).buffer().into(),
            ],
        )?;
        let version = next.version;
        worker::console_log!("{{\"event\":\"connections_changed\",{made},\"version\":{version}}}");
        self.publish_in(0).await?;
        Response::ok(format!("{{\"version\":{version}}}"))
    }

    async fn publish_in(&self, milliseconds: i64) -> worker::Result<()> {
        self.state.storage().set_alarm(milliseconds).await
    }

    /// Writes the document to KV, if that has not been done.
    async fn publish(&self) -> worker::Result<()> {
        while let Some(kept) = self
            .kept()?
            .filter(|kept| kept.published_version < kept.version)
        {
            let namespace = Reflect::get(self.env.as_ref(), &CONNECTIONS_BINDING.into())?;
            let namespace: KvNamespace = namespace.unchecked_into();
            let put = JsFuture::from(namespace.put(KEY, &Uint8Array::from(&*kept.sealed))?);
            match select(put, Delay::from(PUT_TIMEOUT)).await {
                Either::Left((put, _)) => put.map(drop)?,
                Either::Right(_) => return Err("KV does not answer".into()),
            }
            self.sql.exec_raw(
                "update document set published_version = ?",
                vec![number(kept.version)],
            )?;
        }
        Ok(())
    }
}

/// What may be shown of it, as JSON.
fn listed(document: &Document, is_published: bool) -> worker::Result<String> {
    let connections = document.connections.iter();
    let connections: Vec<_> = connections.map(|entry| entry.listed(now())).collect();
    let connections = serde_json::to_string(&connections)?;
    let (version, changed_at) = (document.version, document.changed_at);
    Ok(format!(
        "{{\"version\":{version},\"changed_at\":{changed_at},\"is_published\":{is_published},\
         \"connections\":{connections}}}"
    ))
}

fn refuse(status: u16, mistakes: &[String]) -> worker::Result<Response> {
    let mistakes = serde_json::to_string(mistakes)?;
    let refusal = format!("{{\"status\":\"refused\",\"mistakes\":{mistakes}}}");
    Ok(Response::ok(refusal)?.with_status(status))
}

#[expect(clippy::cast_precision_loss, reason = "changes are made by people")]
fn number(version: u64) -> JsValue {
    JsValue::from_f64(version as f64)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "versions are small and positive"
)]
fn whole(value: &JsValue) -> u64 {
    value.as_f64().unwrap_or_default() as u64
}
