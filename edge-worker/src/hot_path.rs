//! What `entry.js` calls: integers and bytes only, nothing that allocates on the JS side.
//!
//! JS writes address, token, timestamp, signature and body one behind the other at [`buffer`], calls
//! [`judge`], and finds what it needs for the hop's headers at the same place. All texts that do not
//! change from request to request are fetched once ([`plan`], [`crate::constants`]) and kept in JS.

use std::cell::RefCell;
use std::collections::HashMap;

use protocol::hop::BASE64_SHA256_BYTES;
use protocol::record_status::RecordStatus;
use protocol::signature::{BLOCK_BYTES, Body, HashedBody, SignedHeaders, Verdict};
use protocol::{Country, RegionId, UnixSeconds};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::answer::Answer;
use crate::breaker::Breaker;
use crate::decision::{Decision, Edge, SignedHop, Webhook, kept_as};
use crate::metrics::counts::{Counts, Outcome};
use crate::{now, with_edge};

/// Room for a body at its limit and for the longest head that `entry.js` copies: four texts of at
/// most [`TEXT_MAX_BYTES`].
const BUFFER_BYTES: usize = protocol::BODY_LIMIT_BYTES + 4 * TEXT_MAX_BYTES;

/// `entry.js` cuts address, token, timestamp and signature off here. Anything that long is refused, so
/// nothing is lost; it only has to be longer than anything that is taken.
pub(crate) const TEXT_MAX_BYTES: usize = 512;

/// The length that stands for a header that is absent.
const ABSENT: i32 = -1;

/// What stands around the digest in `content-digest` (RFC 9530 §2).
const CONTENT_DIGEST_AROUND: [&str; 2] = ["sha-256=:", ":"];
/// What stands around the signature in `signature` (RFC 9421 §4.2).
const SIGNATURE_AROUND: [&str; 2] = ["smp=:", ":"];

pub(crate) const CONTENT_DIGEST_BYTES: usize =
    CONTENT_DIGEST_AROUND[0].len() + BASE64_SHA256_BYTES + CONTENT_DIGEST_AROUND[1].len();
pub(crate) const SIGNATURE_BYTES: usize =
    SIGNATURE_AROUND[0].len() + BASE64_SHA256_BYTES + SIGNATURE_AROUND[1].len();

/// Set in what [`judge`] gives: it goes to the spool at once, not to its core (see [`crate::breaker`]).
pub(crate) const HELD_BACK: i32 = 1 << 30;

thread_local! {
    /// Of the regions whose core failed since it was last known to be well.
    static BREAKERS: RefCell<HashMap<RegionId, Breaker>> = RefCell::default();
    static COUNTS: RefCell<Counts> = RefCell::default();
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER_BYTES].into_boxed_slice());
}

/// Reads the bindings, if that has not been done. Called with each isolate's first webhook.
#[wasm_bindgen]
pub fn configure(env: &JsValue) {
    with_edge(env, |_| ());
}

/// Where the buffer is in wasm's memory. It never moves.
#[wasm_bindgen]
#[must_use]
pub fn buffer() -> *const u8 {
    BUFFER.with_borrow(|buffer| buffer.as_ptr())
}

/// Whether [`judge`] looks at the address.
#[wasm_bindgen]
#[must_use]
pub fn looks_at_addresses() -> bool {
    with_edge(&JsValue::NULL, |edge| {
        edge.is_some_and(Edge::looks_at_addresses)
    })
}

/// Writes to the buffer's start what is hashed before the timestamp of a webhook whose token stands there, a block for
/// each secret of its connection; gives how many, −1 if nobody has the token.
#[wasm_bindgen]
#[must_use]
pub fn inner_blocks(token_bytes: usize, now: f64) -> i32 {
    BUFFER.with_borrow_mut(|buffer| {
        let token = buffer.get(..token_bytes).unwrap_or_default();
        let blocks = with_edge(&JsValue::NULL, |edge| {
            let blocks = edge?.inner_blocks(token, unix_seconds(now))?;
            Some(blocks.collect::<Vec<_>>())
        });
        let Some(blocks) = blocks else {
            return -1;
        };
        let (places, _) = buffer.as_chunks_mut::<BLOCK_BYTES>();
        let mut count = 0;
        for (place, block) in places.iter_mut().zip(blocks) {
            *place = block;
            count += 1;
        }
        count
    })
}

/// Judges the webhook in the buffer. A header's length is −1 if the header is absent; an address is one.
///
/// Not negative: forward it by [`plan`] of this number without `HELD_BACK`; the values of `content-digest` and
/// `signature` stand at the buffer's start, one behind the other. Negative: the code of its answer; it is counted.
#[wasm_bindgen]
#[must_use]
pub fn judge(
    address_bytes: i32,
    token_bytes: i32,
    timestamp_bytes: i32,
    signature_bytes: i32,
    body_bytes: i32,
    now: f64,
) -> i32 {
    let lengths = [address_bytes, token_bytes, timestamp_bytes, signature_bytes];
    BUFFER.with_borrow_mut(|buffer| {
        let body = usize::try_from(body_bytes).ok();
        let judged = take_texts(buffer, lengths)
            .and_then(|(texts, rest)| Some((texts, rest.get(..body?)?)))
            .map(|(texts, body)| decide(texts, Body::Bytes(body), now));
        conclude(judged, buffer, now)
    })
}

/// The same for a long body, in whose place three hashes stand: its own, and those of [`inner_blocks`], timestamp, a dot
/// and it.
#[wasm_bindgen]
#[must_use]
pub fn judge_hashed(
    address_bytes: i32,
    token_bytes: i32,
    timestamp_bytes: i32,
    signature_bytes: i32,
    now: f64,
) -> i32 {
    let lengths = [address_bytes, token_bytes, timestamp_bytes, signature_bytes];
    BUFFER.with_borrow_mut(|buffer| {
        let judged = take_texts(buffer, lengths).and_then(|(texts, rest)| {
            let (sha256, rest) = rest.split_first_chunk()?;
            let (current, rest) = rest.split_first_chunk()?;
            let (previous, _) = rest.split_first_chunk()?;
            let hashed = HashedBody {
                sha256: *sha256,
                inner: [*current, *previous],
            };
            Some(decide(texts, Body::Hashed(&hashed), now))
        });
        conclude(judged, buffer, now)
    })
}

/// Address, token, timestamp and signature, as far as they are there.
type Texts<'b> = [Option<&'b [u8]>; 4];

/// The texts of these lengths that stand one behind the other, and what is behind them.
fn take_texts(buffer: &[u8], lengths: [i32; 4]) -> Option<(Texts<'_>, &[u8])> {
    let mut rest = buffer;
    let mut texts = [None; 4];
    for (text, bytes) in texts.iter_mut().zip(lengths) {
        if bytes != ABSENT {
            let (taken, behind) = rest.split_at_checked(usize::try_from(bytes).ok()?)?;
            *text = Some(taken);
            rest = behind;
        }
    }
    Some((texts, rest))
}

fn decide([address, token, timestamp, signature]: Texts<'_>, body: Body<'_>, now: f64) -> Decision {
    let webhook = Webhook {
        address,
        token: token.unwrap_or_default(),
        headers: SignedHeaders {
            timestamp,
            signature,
        },
        body,
    };
    existing_edge(|edge| edge.decide(webhook, unix_seconds(now)))
}

/// Counts what was decided, and writes what the hop needs; gives the code.
fn conclude(judged: Option<Decision>, buffer: &mut [u8], now: f64) -> i32 {
    let now = unix_seconds(now);
    // Only lengths that do not fit the buffer give none, and those are of a body too large.
    let Some(decision) = judged else {
        return code_of(Answer::BodyTooLarge);
    };
    match decision {
        Decision::Answer { connection, answer } => {
            COUNTS.with_borrow_mut(|counts| {
                if let Some((connection, Some(verdict))) = connection {
                    counts.verdict(connection, verdict);
                }
                let connection = connection.map(|(connection, _)| connection);
                counts.webhook(connection, Outcome::Answered(answer), 0);
            });
            code_of(answer)
        }
        Decision::Forward {
            connection,
            verdict,
            signature,
        } => {
            COUNTS.with_borrow_mut(|counts| counts.verdict(connection, verdict));
            let [digest_start, digest_end] = CONTENT_DIGEST_AROUND;
            let [signature_start, signature_end] = SIGNATURE_AROUND;
            let mut at = 0;
            for part in [
                digest_start.as_bytes(),
                &signature.body_sha256,
                digest_end.as_bytes(),
                signature_start.as_bytes(),
                &signature.signature,
                signature_end.as_bytes(),
            ] {
                let end = at + part.len();
                // It fits: see the assertion below.
                if let Some(place) = buffer.get_mut(at..end) {
                    place.copy_from_slice(part);
                }
                at = end;
            }
            let code = code_of_plan(connection, verdict);
            if code >= 0 && is_held_back(code, now) {
                code | HELD_BACK
            } else {
                code
            }
        }
    }
}

/// The webhook of this code was sent in vain.
#[wasm_bindgen]
pub fn core_failed(code: i32, now: f64) {
    if let Some(region) = spooling_region(code) {
        BREAKERS.with_borrow_mut(|breakers| {
            breakers
                .entry(region)
                .or_default()
                .failed(unix_seconds(now));
        });
    }
}

/// The core took the webhook of this code. Need not be called unless [`core_failed`] was since.
#[wasm_bindgen]
pub fn core_succeeded(code: i32) {
    if let Some(region) = spooling_region(code) {
        BREAKERS.with_borrow_mut(|breakers| breakers.remove(&region));
    }
}

fn is_held_back(code: i32, now: UnixSeconds) -> bool {
    BREAKERS.with_borrow_mut(|breakers| {
        // While all cores are well nothing is looked up.
        if breakers.is_empty() {
            return false;
        }
        let breaker = spooling_region(code).and_then(|region| breakers.get_mut(&region));
        breaker.is_some_and(|breaker| !breaker.lets_through(now))
    })
}

/// The region of a code, if its records may wait. Where none may, each is sent: its sender would hear 503
/// without a try.
fn spooling_region(code: i32) -> Option<RegionId> {
    let (connection, _) = record_of(code)?;
    with_edge(&JsValue::NULL, |edge| {
        edge?.spooling_region(connection).cloned()
    })
}

/// Judges a core's answer without that header, whose body is in the buffer. Not negative: it goes to the sender
/// as it is, and this is the index of what it says in [`RecordStatus::ALL`]. Else the code of the answer that is given in
/// its place.
#[wasm_bindgen]
#[must_use]
pub fn judge_core_answer(http_status: u16, body_bytes: usize) -> i32 {
    BUFFER.with_borrow(|buffer| {
        let body = buffer.get(..body_bytes).unwrap_or_default();
        kept_as(http_status, body)
            .and_then(|status| RecordStatus::ALL.iter().position(|known| *known == status))
            .and_then(|index| i32::try_from(index).ok())
            .unwrap_or_else(|| code_of(Answer::CoreRefused))
    })
}

/// Counts a webhook that its core kept, `duration_ms` after it came. `status` is an index of [`RecordStatus::ALL`].
#[wasm_bindgen]
pub fn count_kept(code: i32, status: usize, duration_ms: f64) {
    if let (Some((connection, _)), Some(status)) = (record_of(code), RecordStatus::ALL.get(status))
    {
        count(Some(connection), Outcome::Kept(*status), duration_ms);
    }
}

/// Counts a webhook that its core did not keep: it was answered by `answer_code`, for what `reason_code` says.
#[wasm_bindgen]
pub fn count_not_kept(code: i32, answer_code: i32, reason_code: i32, duration_ms: f64) {
    let connection = record_of(code).map(|(connection, _)| connection);
    let outcome = match answer_of(answer_code) {
        Answer::Queued => Outcome::Queued(answer_of(reason_code)),
        answer => Outcome::Answered(answer),
    };
    count(connection, outcome, duration_ms);
}

/// Counts a webhook that was refused before it was judged. Its token is in the buffer.
#[wasm_bindgen]
pub fn count_refused(token_bytes: usize, answer_code: i32) {
    let connection = BUFFER.with_borrow(|buffer| {
        let token = buffer.get(..token_bytes)?;
        with_edge(&JsValue::NULL, |edge| edge?.find(token, now()))
    });
    count(connection, Outcome::Answered(answer_of(answer_code)), 0.0);
}

/// Counts a request that is no webhook, of an address that sends too much.
#[wasm_bindgen]
pub fn count_limited() {
    count_proxied(None, "", Answer::TooManyRequests.status());
}

/// Counts a proxied request.
pub(crate) fn count_proxied(country: Option<Country>, region: &str, outcome: &str) {
    COUNTS.with_borrow_mut(|counts| counts.proxied(country, region, outcome));
}

/// Counts that the connections were read, or were not.
pub(crate) fn count_connections_read(from: &str, outcome: &str) {
    COUNTS.with_borrow_mut(|counts| counts.connections_read(from, outcome));
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "casts saturate"
)]
fn count(connection: Option<usize>, outcome: Outcome, duration_ms: f64) {
    COUNTS.with_borrow_mut(|counts| counts.webhook(connection, outcome, duration_ms as u32));
}

/// What this isolate, of this name, has counted and nobody has heard, as the JSON of a
/// [`crate::metrics::Report`]; nothing if that is nothing. `failures` are those that `entry.js` counted since.
#[wasm_bindgen]
#[must_use]
pub fn take_report(isolate: &str, failures: u32) -> Option<String> {
    COUNTS.with_borrow_mut(|counts| {
        counts.failures(failures);
        let report = counts.take_report(isolate, |connection| {
            with_edge(&JsValue::NULL, |edge| edge?.name_of(connection))
        });
        serde_json::to_string(report?).ok()
    })
}

/// The report that [`take_report`] gave was heard.
#[wasm_bindgen]
pub fn report_heard() {
    COUNTS.with_borrow_mut(Counts::heard);
}

/// Seals the webhook that [`judge`] gave `code` for, at `created_ms` since 1970. In the buffer stand what it signed (the
/// values of `content-digest` and `signature`) and the body, one behind the other. `randomness` has
/// `protocol::sealed::RANDOMNESS_BYTES`, never seen before. Nothing if the record may not wait.
#[wasm_bindgen]
#[must_use]
pub fn seal(code: i32, created_ms: f64, body_bytes: usize, randomness: &[u8]) -> Option<Vec<u8>> {
    BUFFER.with_borrow(|buffer| {
        let (content_digest, rest) = buffer.split_at_checked(CONTENT_DIGEST_BYTES)?;
        let (signature, rest) = rest.split_at_checked(SIGNATURE_BYTES)?;
        let hop = SignedHop {
            content_digest: str::from_utf8(content_digest).ok()?,
            signature: str::from_utf8(signature).ok()?,
            created: (
                unix_seconds((created_ms / 1_000.0).floor()),
                milliseconds(created_ms),
            ),
        };
        let body = rest.get(..body_bytes)?;
        with_edge(&JsValue::NULL, |edge| {
            edge?.seal(record_of(code)?, hop, body, randomness.try_into().ok()?)
        })
    })
}

fn answer_of(code: i32) -> Answer {
    let index = usize::try_from(-(code + 1)).unwrap_or(usize::MAX);
    Answer::ALL
        .get(index)
        .copied()
        .unwrap_or(Answer::Misconfigured)
}

/// What does not change about the webhooks that [`judge`] gave this number for, as the JSON of a
/// [`crate::decision::Plan`].
#[wasm_bindgen]
#[must_use]
pub fn plan(code: i32) -> Option<String> {
    let (connection, verdict) = record_of(code)?;
    with_edge(&JsValue::NULL, |edge| {
        serde_json::to_string(&edge?.plan(connection, verdict)?).ok()
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "casts saturate"
)]
fn unix_seconds(now: f64) -> UnixSeconds {
    UnixSeconds(now as u64)
}

/// Those of the second.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "they are below 1000"
)]
fn milliseconds(since_1970_ms: f64) -> u16 {
    since_1970_ms.rem_euclid(1_000.0) as u16
}

/// Decides with the edge that [`configure`] made; a deployment whose bindings are invalid decides
/// nothing.
fn existing_edge(decide: impl FnOnce(&Edge) -> Decision) -> Decision {
    with_edge(&JsValue::NULL, |edge| {
        let misconfigured = Decision::Answer {
            connection: None,
            answer: Answer::Misconfigured,
        };
        edge.map_or(misconfigured, decide)
    })
}

/// The number that stands for an answer: negative, and −1 minus its index.
pub(crate) fn code_of(answer: Answer) -> i32 {
    let index = Answer::ALL
        .iter()
        .position(|known| *known == answer)
        .unwrap_or_default();
    -1 - i32::try_from(index).unwrap_or_default()
}

fn code_of_plan(connection: usize, verdict: Verdict) -> i32 {
    let verdict_index = Verdict::ALL
        .iter()
        .position(|known| *known == verdict)
        .unwrap_or_default();
    i32::try_from(connection * Verdict::ALL.len() + verdict_index)
        .unwrap_or_else(|_| code_of(Answer::Misconfigured))
}

/// Connection and verdict of a code that [`code_of_plan`] made.
fn record_of(code: i32) -> Option<(usize, Verdict)> {
    let code = usize::try_from(code).ok()?;
    let verdict = *Verdict::ALL.get(code % Verdict::ALL.len())?;
    Some((code / Verdict::ALL.len(), verdict))
}

// Both values stand in the buffer at once.
const _: () = assert!(CONTENT_DIGEST_BYTES + SIGNATURE_BYTES <= BUFFER_BYTES);
