//! One shard of a region's spool: a Durable Object. What it answers to the Worker, and its SQL.
//!
//! A record goes in with `POST /{region}/{shard}/{connection}/{cause}`, its body sealed: 204 once it is on disk,
//! 507 if the shard is full. `GET /parked/{shard}` lists records that their region refused again and again, `POST
//! /parked` lets them be tried again, `DELETE /parked/{seq}` removes one. Nobody else can call it: it has no
//! address outside of the Worker. What it holds it tells [`crate::metrics`].

use std::cell::{Cell, RefCell};

use protocol::RegionId;
use protocol::hop::{SEALED_RECORDS_PATH, sign_sealed};
use protocol::record_status::RECORD_STATUS;
use protocol::routes::RouteState;
use wasm_bindgen::{JsCast, JsValue};
use worker::js_sys::{self, ArrayBuffer, Uint8Array};
use worker::wasm_bindgen_futures::JsFuture;
use worker::{DurableObject, Env, Request, Response, SqlStorage, State, durable_object, web_sys};

use super::{
    Alarm, Change, DELIVERY_TIMEOUT_MS, Delivery, Held, RECORD_PAUSE_MS, Round, ShardStatus,
    record_pause_ms, region_pause_ms,
};
use crate::metrics::{METRICS_BINDING, METRICS_NAME};
use crate::{now, with_edge};

/// How often a shard looks whether its paused region is open again. A deployment that opens it makes a new
/// object in any case.
const PAUSED_MS: f64 = 5_000.0;

/// A shard sends for so long at a time, then lets the platform call it again.
const ROUND_MS: f64 = 30_000.0;

const SCHEMA: &str = "create table if not exists record (
    seq integer primary key autoincrement,
    region text not null,
    connection text not null,
    cause text not null,
    received_at_ms integer not null,
    sealed blob not null,
    attempts integer not null default 0,
    due_at_ms integer not null default 0,
    parked_at_ms integer
);
create index if not exists record_waiting on record (seq) where parked_at_ms is null;
create index if not exists record_parked on record (seq) where parked_at_ms is not null;
create table if not exists self (region text not null, shard integer not null);";

/// How often a shard that takes in records tells what it holds, in milliseconds.
const TELL_EVERY_MS: f64 = 2_000.0;

/// So many records that their core has are removed at once.
const REMOVED_AT_ONCE: usize = 64;

/// So many parked records are listed at a time.
const LISTED: u32 = 100;

/// A shard.
#[durable_object(alarm)]
pub struct SpoolShard {
    state: State,
    sql: SqlStorage,
    /// What is on disk; nothing if that could not be read.
    held: Cell<Option<Held>>,
    /// Rounds since a record got through.
    failed_rounds: Cell<u32>,
    /// Where the next round looks for records besides the oldest.
    probe_after: Cell<i64>,
    /// An alarm is set.
    alarm: Cell<Alarm>,
    /// Which shard of which region; nothing until the first record came.
    place: RefCell<Option<(String, u32)>>,
    /// When it last told what it holds.
    told_at_ms: Cell<f64>,
    /// How long a record waits that was refused for the first time.
    record_pause_ms: f64,
    env: Env,
}

/// A record that waits.
struct Waiting {
    seq: i64,
    region: String,
    sealed: Vec<u8>,
}

impl DurableObject for SpoolShard {
    fn new(state: State, env: Env) -> Self {
        // The same configuration as the Worker's: the object starts anew with each deployment.
        with_edge(env.as_ref(), |_| ());
        let sql = state.storage().sql();
        let held = read_held(&sql);
        let place = read_place(&sql);
        if let Err(error) = &held {
            worker::console_error!("{{\"event\":\"spool_not_read\",\"error\":\"{error}\"}}");
        }
        Self {
            state,
            sql,
            held: Cell::new(held.ok()),
            failed_rounds: Cell::new(0),
            probe_after: Cell::new(0),
            alarm: Cell::default(),
            place: RefCell::new(place.unwrap_or_default()),
            told_at_ms: Cell::new(0.0),
            record_pause_ms: js_sys::Reflect::get(env.as_ref(), &"SPOOL_RECORD_PAUSE_MS".into())
                .ok()
                .and_then(|pause| pause.as_string()?.parse::<u32>().ok())
                .map_or(RECORD_PAUSE_MS, f64::from),
            env,
        }
    }

    async fn fetch(&self, request: Request) -> worker::Result<Response> {
        let request = request.inner();
        let (url, method) = (request.url(), request.method());
        let path: Vec<_> = crate::proxy::target_of(&url)
            .path
            .split('/')
            .skip(1)
            .collect();
        match (method.as_str(), path.as_slice()) {
            ("GET", ["parked", shard]) => Response::ok(self.parked(shard)?),
            ("POST", ["parked"]) => self.try_parked_again().await,
            ("DELETE", ["parked", seq]) => self.remove_parked(seq).await,
            ("POST", [region, shard, connection, cause]) => {
                let sealed = JsFuture::from(request.array_buffer()?).await?;
                let sealed: ArrayBuffer = sealed.unchecked_into();
                self.put([region, shard, connection, cause], &sealed).await
            }
            _ => Response::error("", 404),
        }
    }

    async fn alarm(&self) -> worker::Result<Response> {
        self.change_alarm(Alarm::clear);
        // An alarm that fails is called again a few times and then never: whatever goes wrong, the next
        // one is set.
        let pause = self.send_what_waits().await.unwrap_or_else(|error| {
            worker::console_error!("{{\"event\":\"spool_failed\",\"error\":\"{error}\"}}");
            Some(self.rest(self.region_pause()))
        });
        if let Some(pause) = pause {
            self.arm(pause).await?;
        }
        self.tell_now().await;
        Response::empty()
    }
}

impl SpoolShard {
    /// Keeps a record. When this answers 204, it is on disk: the platform holds the answer back until then.
    async fn put(
        &self,
        [region, shard, connection, cause]: [&str; 4],
        sealed: &ArrayBuffer,
    ) -> worker::Result<Response> {
        self.learn_place(region, shard)?;
        let held = self.held.get().ok_or("the shard was not read")?;
        let Some(held) = held.with(u64::from(sealed.byte_length())) else {
            return Response::error("", 507);
        };
        self.sql.exec_raw(
            "insert into record (region, connection, cause, received_at_ms, sealed) values (?, ?, ?, ?, ?)",
            vec![
                region.into(),
                connection.into(),
                cause.into(),
                js_sys::Date::now().into(),
                sealed.into(),
            ],
        )?;
        self.held.set(Some(held));
        // Nothing was awaited since the insert, so both are on disk or neither is.
        // The alarm may be set for a record that waits much longer than this one has to.
        let pause = self.alarm.get().first_pause_ms(js_sys::Date::now());
        self.arm(pause).await?;
        if js_sys::Date::now() - self.told_at_ms.get() > TELL_EVERY_MS
            && let Ok(told) = self.tell()
        {
            self.state.wait_until(told);
        }
        Ok(Response::empty()?.with_status(204))
    }

    /// Remembers where it stands, once.
    fn learn_place(&self, region: &str, shard: &str) -> worker::Result<()> {
        if self.place.borrow().is_some() {
            return Ok(());
        }
        let number = shard
            .parse::<u32>()
            .map_err(|_| "the shard has no number")?;
        self.sql.exec_raw(
            "insert into self (region, shard) values (?, ?)",
            vec![region.into(), number.into()],
        )?;
        *self.place.borrow_mut() = Some((region.to_owned(), number));
        Ok(())
    }

    /// Tells what it holds. It is told again soon, so whatever fails here is left.
    fn tell(&self) -> worker::Result<impl Future<Output = ()> + use<>> {
        let place = self.place.borrow();
        let (region, shard) = place.as_ref().ok_or("nothing was ever held")?;
        let init = web_sys::RequestInit::new();
        init.set_method("POST");
        init.set_body(&serde_json::to_string(&self.status()?)?.into());
        let url = format!("https://metrics/shard/{region}/{shard}");
        let request = web_sys::Request::new_with_str_and_init(&url, &init)?;
        let metrics = self
            .env
            .durable_object(METRICS_BINDING)?
            .get_by_name(METRICS_NAME)?;
        self.told_at_ms.set(js_sys::Date::now());
        Ok(async move {
            let _ = metrics.fetch_with_request(request.into()).await;
        })
    }

    async fn tell_now(&self) {
        // One that has never held anything has nothing to tell.
        if let Ok(told) = self.tell() {
            told.await;
        }
    }

    /// A JSON array.
    fn parked(&self, shard: &str) -> worker::Result<String> {
        let row = first_row(
            &self.sql,
            "select json_group_array(json_object( \
                 'shard', cast(? as integer), 'seq', seq, 'connection', connection, 'cause', cause, \
                 'received_at_ms', received_at_ms, 'parked_at_ms', parked_at_ms, 'attempts', attempts, \
                 'bytes', length(sealed))) as value \
             from (select * from record where parked_at_ms is not null order by seq limit ?)",
            vec![shard.into(), LISTED.into()],
        )?;
        let value = js_sys::Reflect::get(&row.ok_or("no row")?, &JsValue::from_str("value"))?;
        Ok(value.as_string().unwrap_or_default())
    }

    /// Lets parked records be tried again, as if they had just come.
    async fn try_parked_again(&self) -> worker::Result<Response> {
        let count = self.number(
            "select count(*) as value from record where parked_at_ms is not null",
            Vec::new(),
        )?;
        self.sql.exec_raw(
            "update record set parked_at_ms = null, attempts = 0, due_at_ms = 0 \
             where parked_at_ms is not null",
            None,
        )?;
        let count = whole(count.unwrap_or_default());
        if count > 0 {
            self.arm(0.0).await?;
            self.tell_now().await;
        }
        Response::ok(count.to_string())
    }

    async fn remove_parked(&self, seq: &str) -> worker::Result<Response> {
        let Ok(seq) = seq.parse::<u32>() else {
            return Response::error("", 404);
        };
        let bytes = self.number(
            "delete from record where seq = ? and parked_at_ms is not null \
             returning length(sealed) as value",
            vec![seq.into()],
        )?;
        let Some(bytes) = bytes else {
            return Response::error("", 404);
        };
        if let Some(held) = self.held.get() {
            self.held.set(Some(held.without(whole(bytes))));
        }
        self.tell_now().await;
        Ok(Response::empty()?.with_status(204))
    }

    /// Sets the alarm, unless it is set for an earlier time.
    async fn arm(&self, pause_ms: f64) -> worker::Result<()> {
        if !self.change_alarm(|alarm| alarm.set(js_sys::Date::now(), pause_ms)) {
            return Ok(());
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a pause is minutes at most"
        )]
        let pause_ms = pause_ms.ceil() as i64;
        let armed = self.state.storage().set_alarm(pause_ms).await;
        if armed.is_err() {
            // The next record tries again.
            self.change_alarm(Alarm::clear);
        }
        armed
    }

    /// Leaves the region alone for so long.
    fn rest(&self, pause_ms: f64) -> f64 {
        self.change_alarm(|alarm| alarm.rest(js_sys::Date::now(), pause_ms));
        pause_ms
    }

    fn change_alarm<T>(&self, change: impl FnOnce(&mut Alarm) -> T) -> T {
        let mut alarm = self.alarm.get();
        let changed = change(&mut alarm);
        self.alarm.set(alarm);
        changed
    }

    fn region_pause(&self) -> f64 {
        let rounds = self.failed_rounds.get().saturating_add(1);
        self.failed_rounds.set(rounds);
        region_pause_ms(rounds, js_sys::Math::random())
    }

    /// Sends what waits, until nothing is left, the region fails, or it is time to let others work. Gives
    /// the pause until the next time; nothing if nothing waits.
    async fn send_what_waits(&self) -> worker::Result<Option<f64>> {
        let mut round = Round::new(self.probe_after.get());
        let mut kept = Vec::new();
        let started_at = js_sys::Date::now();
        while let Some(waiting) = self.next_due(round.after())? {
            let Some(way) = Way::find(&waiting.region) else {
                return Ok(Some(self.rest(PAUSED_MS)));
            };
            let delivery = way.send(&waiting.sealed).await;
            match round.settle(waiting.seq, delivery) {
                Some(Change::Remove(seq)) => kept.push(seq),
                Some(Change::Blame(seq)) => self.blame(seq)?,
                None => {}
            }
            // Behind a write the platform holds back whatever is sent until it is on disk. What is sent twice
            // for being removed late is a duplicate to the core.
            if kept.len() >= REMOVED_AT_ONCE || round.after() < waiting.seq {
                self.remove(&mut kept)?;
            }
            if round.is_over() || js_sys::Date::now() - started_at > ROUND_MS {
                break;
            }
        }
        self.remove(&mut kept)?;
        self.probe_after.set(round.probe_after());
        if round.has_failed() {
            return Ok(Some(self.rest(self.region_pause())));
        }
        self.failed_rounds.set(0);
        self.rest(0.0);
        self.next_due_in()
    }

    fn next_due(&self, after: i64) -> worker::Result<Option<Waiting>> {
        #[expect(clippy::cast_precision_loss, reason = "a shard never counts that far")]
        let bindings = vec![(after as f64).into(), js_sys::Date::now().into()];
        let row = first_row(
            &self.sql,
            "select seq, region, sealed from record \
             where parked_at_ms is null and seq > ? and due_at_ms <= ? order by seq limit 1",
            bindings,
        )?;
        let Some(row) = row else {
            return Ok(None);
        };
        let column = |name: &str| js_sys::Reflect::get(&row, &JsValue::from_str(name));
        Ok(Some(Waiting {
            seq: integer(&column("seq")?),
            region: column("region")?.as_string().unwrap_or_default(),
            sealed: Uint8Array::new(&column("sealed")?).to_vec(),
        }))
    }

    /// How long until something is due; nothing if nothing waits.
    fn next_due_in(&self) -> worker::Result<Option<f64>> {
        let due_at = self.number(
            "select min(due_at_ms) as value from record where parked_at_ms is null",
            Vec::new(),
        )?;
        Ok(due_at.map(|due_at| (due_at - js_sys::Date::now()).max(0.0)))
    }

    /// Removes records that their core has.
    fn remove(&self, kept: &mut Vec<i64>) -> worker::Result<()> {
        if kept.is_empty() {
            return Ok(());
        }
        let mut rows = self.sql.exec_raw(
            "delete from record where seq in (select value from json_each(?)) \
             returning length(sealed) as value",
            vec![serde_json::to_string(kept)?.into()],
        )?;
        for row in Iterator::by_ref(&mut rows) {
            let bytes = js_sys::Reflect::get(&row?, &JsValue::from_str("value"))?.as_f64();
            if let (Some(held), Some(bytes)) = (self.held.get(), bytes) {
                self.held.set(Some(held.without(whole(bytes))));
            }
        }
        kept.clear();
        Ok(())
    }

    /// Counts an attempt against a record: it waits longer, or is parked.
    fn blame(&self, seq: i64) -> worker::Result<()> {
        #[expect(clippy::cast_precision_loss, reason = "a shard never counts that far")]
        let seq = JsValue::from_f64(seq as f64);
        let attempts = self.number(
            "update record set attempts = attempts + 1 where seq = ? \
             returning attempts as value",
            vec![seq.clone()],
        )?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "casts saturate"
        )]
        let attempts = attempts.unwrap_or_default() as u32;
        let now = js_sys::Date::now();
        let random = js_sys::Math::random();
        if let Some(pause) = record_pause_ms(self.record_pause_ms, attempts, random) {
            let bindings = vec![(now + pause).ceil().into(), seq];
            self.sql
                .exec_raw("update record set due_at_ms = ? where seq = ?", bindings)?;
        } else {
            worker::console_error!("{{\"event\":\"record_parked\"}}");
            self.sql.exec_raw(
                "update record set parked_at_ms = ? where seq = ?",
                vec![now.into(), seq],
            )?;
        }
        Ok(())
    }

    fn status(&self) -> worker::Result<ShardStatus> {
        let held = self.held.get().ok_or("the shard was not read")?;
        let parked = self.number(
            "select count(*) as value from record where parked_at_ms is not null",
            Vec::new(),
        )?;
        let oldest_received_at_ms = self.number(
            "select received_at_ms as value from record where parked_at_ms is null \
             order by seq limit 1",
            Vec::new(),
        )?;
        let parked = whole(parked.unwrap_or_default());
        Ok(ShardStatus {
            waiting: held.records.saturating_sub(parked),
            parked,
            bytes: held.bytes,
            oldest_received_at_ms,
            used_ratio: held.used_ratio(),
        })
    }

    fn number(&self, statement: &str, bindings: Vec<JsValue>) -> worker::Result<Option<f64>> {
        number(&self.sql, statement, bindings)
    }
}

/// Makes the tables that are missing, and reads what is held.
fn read_held(sql: &SqlStorage) -> worker::Result<Held> {
    sql.exec_raw(SCHEMA, None)?;
    let count = |what: &str| {
        let statement = format!("select {what} as value from record");
        number(sql, &statement, Vec::new()).map(Option::unwrap_or_default)
    };
    Ok(Held {
        records: whole(count("count(*)")?),
        bytes: whole(count("sum(length(sealed))")?),
    })
}

fn read_place(sql: &SqlStorage) -> worker::Result<Option<(String, u32)>> {
    let Some(row) = first_row(sql, "select region, shard from self", Vec::new())? else {
        return Ok(None);
    };
    let column = |name: &str| js_sys::Reflect::get(&row, &JsValue::from_str(name));
    let region = column("region")?.as_string();
    let shard = u32::try_from(integer(&column("shard")?)).ok();
    Ok(region.zip(shard))
}

/// The column `value` of a statement's only row; nothing if it is null or there is no row.
fn number(
    sql: &SqlStorage,
    statement: &str,
    bindings: Vec<JsValue>,
) -> worker::Result<Option<f64>> {
    let Some(row) = first_row(sql, statement, bindings)? else {
        return Ok(None);
    };
    Ok(js_sys::Reflect::get(&row, &JsValue::from_str("value"))?.as_f64())
}

fn first_row(
    sql: &SqlStorage,
    statement: &str,
    bindings: Vec<JsValue>,
) -> worker::Result<Option<JsValue>> {
    let mut rows = sql.exec_raw(statement, bindings)?;
    // The cursor has a `next` of its own that deserialises.
    Iterator::next(&mut rows).transpose()
}

#[expect(clippy::cast_possible_truncation, reason = "casts saturate")]
fn integer(value: &JsValue) -> i64 {
    value.as_f64().unwrap_or_default() as i64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "casts saturate"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

/// The way to an open region's core.
struct Way {
    url: String,
    region: RegionId,
}

impl Way {
    /// Nothing if the region is paused, or has no route any more.
    fn find(region: &str) -> Option<Self> {
        let region = RegionId::parse(region).ok()?;
        with_edge(&JsValue::NULL, |edge| {
            let route = edge?
                .config
                .routes
                .regions()
                .find(|route| route.region == region)?;
            (route.state == RouteState::Open).then(|| Self {
                url: format!("{}{SEALED_RECORDS_PATH}", route.origin),
                region: route.region.clone(),
            })
        })
    }

    async fn send(&self, sealed: &[u8]) -> Delivery {
        self.try_send(sealed).await.unwrap_or(Delivery::Failed)
    }

    async fn try_send(&self, sealed: &[u8]) -> Result<Delivery, JsValue> {
        let headers = web_sys::Headers::new()?;
        headers.set("content-type", "application/octet-stream")?;
        let now = now();
        let signed = with_edge(&JsValue::NULL, |edge| {
            let key = edge?.config.hop_key(&self.region)?;
            Some(sign_sealed(key, &self.region, sealed, now))
        });
        for (name, value) in signed.ok_or(JsValue::NULL)? {
            headers.set(name, &value)?;
        }
        let init = web_sys::RequestInit::new();
        init.set_method("POST");
        init.set_headers(headers.unchecked_ref());
        init.set_body(&Uint8Array::from(sealed));
        init.set_redirect(web_sys::RequestRedirect::Manual);
        init.set_signal(Some(&web_sys::AbortSignal::timeout_with_u32(
            DELIVERY_TIMEOUT_MS,
        )));
        let request = web_sys::Request::new_with_str_and_init(&self.url, &init)?;
        let global: web_sys::WorkerGlobalScope = js_sys::global().unchecked_into();
        let response = JsFuture::from(global.fetch_with_request(&request)).await?;
        let response: web_sys::Response = response.unchecked_into();
        let record_status = response.headers().get(RECORD_STATUS)?;
        let delivery = Delivery::of_answer(response.status(), record_status.as_deref());
        // What is not read keeps its connection, and an object may have six.
        if let Some(body) = response.body() {
            JsFuture::from(body.cancel()).await?;
        }
        Ok(delivery)
    }
}
