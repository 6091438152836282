//! The one Durable Object that adds up what isolates and shards tell. Nobody but the Worker can call it: it has
//! no address outside.
//!
//! `POST /report` takes a [`Report`], `POST /shard/{region}/{shard}` a [`ShardStatus`]; `GET /metrics` and
//! `GET /status` show what became of them. It stores what it has before it shows it to Prometheus: a counter that
//! was seen never goes back.

use std::cell::{Cell, RefCell};

use wasm_bindgen::JsValue;
use worker::{DurableObject, Env, Request, Response, SqlStorage, State, durable_object, js_sys};

use super::Report;
use super::totals::Totals;
use crate::spool::ShardStatus;
use crate::{now, proxy, with_edge};

/// How long what was told may be in memory alone, in milliseconds.
const SAVE_AFTER_MS: i64 = 5_000;

/// One row: it is small, some hundred bytes a series, and what changes between two writes is most of it.
const SCHEMA: &str = "create table if not exists totals (value text not null);";

/// The object that adds up.
#[durable_object(alarm)]
pub struct EdgeMetrics {
    state: State,
    sql: SqlStorage,
    totals: RefCell<Totals>,
    is_saved: Cell<bool>,
    is_armed: Cell<bool>,
}

impl DurableObject for EdgeMetrics {
    fn new(state: State, env: Env) -> Self {
        with_edge(env.as_ref(), |_| ());
        let sql = state.storage().sql();
        let totals = load(&sql).unwrap_or_else(|error| {
            worker::console_error!("{{\"event\":\"metrics_not_read\",\"error\":\"{error}\"}}");
            Totals::default()
        });
        Self {
            state,
            sql,
            totals: RefCell::new(totals),
            is_saved: Cell::new(true),
            is_armed: Cell::new(false),
        }
    }

    async fn fetch(&self, mut request: Request) -> worker::Result<Response> {
        let url = request.inner().url();
        let mut path = proxy::target_of(&url).path.split('/').skip(1);
        match (path.next(), path.next(), path.next()) {
            (Some("report"), None, None) => {
                let Ok(report) = serde_json::from_str::<Report>(&request.text().await?) else {
                    return Response::error("", 400);
                };
                self.totals.borrow_mut().take_in(report, now());
                self.save_soon().await?;
                Ok(Response::empty()?.with_status(204))
            }
            (Some("shard"), Some(region), Some(shard)) => {
                let status = serde_json::from_str::<ShardStatus>(&request.text().await?);
                let (Ok(status), Ok(shard)) = (status, shard.parse()) else {
                    return Response::error("", 400);
                };
                self.totals
                    .borrow_mut()
                    .take_in_shard(region, shard, status);
                self.save_soon().await?;
                Ok(Response::empty()?.with_status(204))
            }
            (Some(page @ ("metrics" | "status")), None, None) => {
                self.save()?;
                let totals = self.totals.borrow();
                let shown = with_edge(&JsValue::NULL, |edge| {
                    let routes = &edge?.config.routes;
                    Some(if page == "metrics" {
                        Ok(totals.to_prometheus(routes, now()))
                    } else {
                        Err(totals.to_status(routes, now()))
                    })
                });
                match shown {
                    Some(Ok(text)) => Response::ok(text),
                    Some(Err(json)) => Response::from_json(&json),
                    None => Response::error("", 503),
                }
            }
            _ => Response::error("", 404),
        }
    }

    async fn alarm(&self) -> worker::Result<Response> {
        self.is_armed.set(false);
        self.save()?;
        Response::empty()
    }
}

impl EdgeMetrics {
    async fn save_soon(&self) -> worker::Result<()> {
        self.is_saved.set(false);
        if !self.is_armed.replace(true) {
            let armed = self.state.storage().set_alarm(SAVE_AFTER_MS).await;
            if armed.is_err() {
                self.is_armed.set(false);
            }
            armed?;
        }
        Ok(())
    }

    fn save(&self) -> worker::Result<()> {
        if self.is_saved.get() {
            return Ok(());
        }
        let value = serde_json::to_string(&*self.totals.borrow())?;
        // Nothing is awaited between the two, so both are on disk or neither is.
        self.sql.exec_raw("delete from totals", None)?;
        self.sql
            .exec_raw("insert into totals (value) values (?)", vec![value.into()])?;
        self.is_saved.set(true);
        Ok(())
    }
}

fn load(sql: &SqlStorage) -> worker::Result<Totals> {
    sql.exec_raw(SCHEMA, None)?;
    let mut rows = sql.exec_raw("select value from totals", None)?;
    let Some(row) = Iterator::next(&mut rows).transpose()? else {
        return Ok(Totals::default());
    };
    let value = js_sys::Reflect::get(&row, &JsValue::from_str("value"))?;
    Ok(serde_json::from_str(
        &value.as_string().unwrap_or_default(),
    )?)
}
