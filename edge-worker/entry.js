// The Worker's entry: carries bytes between the platform and wasm. Every decision is made in Rust;
// what stands here is what would cost a crossing each if it were there (ARCHITECTURE.md, "The edge's
// hot path"). A webhook is one call into wasm (`judge`) and one for the core's answer.

import * as glue from "./build/index_bg.js";
import wasmModule from "./build/index_bg.wasm";

const RECORD_PATH = "/api/pancake/record/";

let wasm; // exports of the live instance
let bytes; // all of its memory
let start; // where the buffer is in it
let signed; // the buffer's first bytes: both header values of a hop that `judge` has signed
let limits;
let kept; // the header by which a core says that it has kept a record, and its values
let plans; // what does not change from webhook to webhook, by code
let answers; // likewise
const troubled = new Set(); // regions whose core failed since it was last known to be well
let generation = 0; // counts instances

function instantiate(env) {
  wasm = new WebAssembly.Instance(wasmModule, { "./index_bg.js": glue }).exports;
  glue.__wbg_set_wasm(wasm);
  wasm.__wbindgen_start?.();
  generation += 1;
  glue.configure(env);
  limits = {
    text: wasm.text_max_bytes(), body: wasm.body_limit_bytes(), coreMs: wasm.core_timeout_ms(),
    digest: wasm.content_digest_bytes(), signature: wasm.signature_bytes(),
    spoolMs: wasm.spool_timeout_ms(), randomness: wasm.randomness_bytes(), heldBack: wasm.held_back(),
  };
  const [header, values] = JSON.parse(glue.kept_by_header());
  kept = { header, values: new Set(values) };
  start = wasm.buffer();
  view();
  plans = [];
  answers = [];
}

function view() {
  bytes = new Uint8Array(wasm.memory.buffer);
  signed = new Uint8Array(wasm.memory.buffer, start, limits.digest + limits.signature);
}

function memory() {
  // Growing the memory detaches every view of it.
  if (bytes.length === 0) view();
  return bytes;
}

// Writes a header or the token at `at`; gives its length, -1 for an absent header. Each character of
// a header is a byte; a character beyond is none that any of the three may hold, and stays so.
function write(text, at) {
  if (text === null) return -1;
  const length = Math.min(text.length, limits.text);
  for (let i = 0; i < length; i++) {
    const code = text.charCodeAt(i);
    bytes[at + i] = code > 255 ? 255 : code;
  }
  return length;
}

function planOf(code) {
  const { url, headers, signature_input, connection, region, is_paused, spool_shards } =
    JSON.parse(glue.plan(code));
  return (plans[code] = {
    code, connection, region, isPaused: is_paused, shards: spool_shards,
    // A redirect is no answer of a core, and followed it would take the record elsewhere.
    request: new Request(url, { method: "POST", redirect: "manual" }),
    headers: new Headers(headers),
    before: signature_input[0], after: signature_input[1],
    created: -1,
  });
}

function answerOf(code) {
  return (answers[code] ??= JSON.parse(glue.answer(code)));
}

function entryOf(event, cause, plan) {
  return JSON.stringify({ event, cause, connection: plan?.connection, region: plan?.region });
}

function respond(code, plan) {
  const answer = answerOf(code);
  if (answer.cause !== null) console.error(entryOf("record_not_taken", answer.cause, plan));
  return new Response(answer.body, { status: answer.status, headers: answer.headers });
}

// A body without a length is counted while it is read, so that no more than the limit is held.
async function readCounted(stream) {
  const chunks = [];
  let length = 0;
  for await (const chunk of stream ?? []) {
    length += chunk.byteLength;
    if (length > limits.body) return null;
    chunks.push(chunk);
  }
  const body = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    body.set(chunk, at);
    at += chunk.byteLength;
  }
  return body.buffer;
}

// From here on promises are chained by hand: each async function in the way costs a promise and a turn
// of its own, some two per cent of all a webhook costs.
function record(request, token, env) {
  if (request.method !== "POST") return respond(wasm.method_not_allowed());
  const headers = request.headers;
  const declared = headers.get("content-length");
  if (declared !== null && Number(declared) > limits.body) return respond(wasm.body_too_large());
  const read = declared === null ? readCounted(request.body) : request.arrayBuffer();
  return read.then((body) => judge(headers, token, body, env)).catch(fail);
}

// Synchronous up to `send`: the buffer is this request's alone.
function judge(headers, token, body, env) {
  if (body === null || body.byteLength > limits.body) return respond(wasm.body_too_large());
  memory();
  let at = start;
  const tokenBytes = write(token, at);
  at += tokenBytes;
  const timestampBytes = write(headers.get("x-pancake-timestamp"), at);
  at += Math.max(timestampBytes, 0);
  const signatureBytes = write(headers.get("x-pancake-signature"), at);
  at += Math.max(signatureBytes, 0);
  bytes.set(new Uint8Array(body), at);
  const now = Math.floor(Date.now() / 1000);
  const verdict = wasm.judge(tokenBytes, timestampBytes, signatureBytes, body.byteLength, now);
  if (verdict < 0) return respond(verdict);

  const code = verdict & ~limits.heldBack;
  const plan = plans[code] ?? planOf(code);
  memory();
  const hop = plan.headers;
  const values = String.fromCharCode.apply(null, signed);
  hop.set("content-digest", values.slice(0, limits.digest));
  hop.set("signature", values.slice(limits.digest));
  if (plan.created !== now) {
    hop.set("signature-input", plan.before + now + plan.after);
    plan.created = now;
  }
  const webhook = { plan, body, values, now, env };
  if (plan.isPaused) return spool(webhook, wasm.region_paused());
  return code === verdict ? send(webhook) : spool(webhook, wasm.core_failing());
}

// The time-out is a timer of our own: a signal given to `fetch` costs a tenth of all a webhook costs.
// What is still under way when it fires ends with the request's context.
function send(webhook) {
  const { plan, body } = webhook;
  return new Promise((resolve) => {
    let timer = setTimeout(() => {
      timer = undefined;
      resolve(attempt(() => spoolAfterFailure(webhook, wasm.core_timed_out())));
    }, limits.coreMs);
    // Whoever comes after the time-out finds the record in the spool.
    const settle = (answer) => {
      if (timer === undefined) return;
      clearTimeout(timer);
      resolve(attempt(answer));
    };
    fetch(plan.request, { headers: plan.headers, body }).then(
      (response) => {
        if (response.status === 200 && kept.values.has(response.headers.get(kept.header))) {
          if (troubled.size > 0) noteSuccess(plan);
          settle(() => response);
        } else {
          readCounted(response.body).then(
            (answer) => settle(() => judgeCoreAnswer(response.status, answer, webhook)),
            () => settle(() => spoolAfterFailure(webhook, wasm.core_unreachable())),
          );
        }
      },
      () => settle(() => spoolAfterFailure(webhook, wasm.core_unreachable())),
    );
  });
}

function noteSuccess(plan) {
  if (troubled.delete(plan.region)) wasm.core_succeeded(plan.code);
}

function spoolAfterFailure(webhook, code) {
  troubled.add(webhook.plan.region);
  wasm.core_failed(webhook.plan.code, Math.floor(Date.now() / 1000));
  return spool(webhook, code);
}

// An answer without the header is read: what stands before a core may answer 200 in its place.
function judgeCoreAnswer(status, answer, webhook) {
  if (answer === null) return spoolAfterFailure(webhook, wasm.core_unreachable());
  memory().set(new Uint8Array(answer), start);
  const code = wasm.judge_core_answer(status, answer.byteLength);
  if (code !== 0) return spoolAfterFailure(webhook, code);
  noteSuccess(webhook.plan);
  return new Response(answer, { headers: { "content-type": "application/json" } });
}

// A record that its region does not take now waits, sealed, if it may; `code` is the answer if not.
function spool(webhook, code) {
  const { plan, env } = webhook;
  const cause = answerOf(code).cause;
  const sealed = plan.shards > 0 && env.SPOOL !== undefined ? seal(webhook) : undefined;
  if (sealed === undefined) return respond(code, plan);
  const shard = Math.floor(Math.random() * plan.shards);
  const stub = env.SPOOL.get(env.SPOOL.idFromName(`${plan.region}/${shard}`));
  const put = stub.fetch(`https://spool/${plan.region}/${plan.connection}/${cause}`, { method: "POST", body: sealed });
  let timer;
  const late = new Promise((resolve) => {
    timer = setTimeout(() => resolve(undefined), limits.spoolMs);
  });
  return Promise.race([put, late]).then((answer) => answer?.status === 204, () => false).then((isKept) => {
    clearTimeout(timer);
    if (!isKept) {
      console.error(entryOf("record_not_spooled", cause, plan));
      return respond(code, plan);
    }
    console.warn(entryOf("record_queued", cause, plan));
    return respond(wasm.queued(), plan);
  });
}

function seal({ plan, body, values, now }) {
  const randomness = crypto.getRandomValues(new Uint8Array(limits.randomness));
  memory();
  const at = start + write(values, start);
  bytes.set(new Uint8Array(body), at);
  return glue.seal(plan.code, now, body.byteLength, randomness);
}

// What nobody foresaw. A trap (a panic that should not be reachable) leaves the instance in an unknown
// state: the next request gets a new one.
function fail(error) {
  if (error instanceof WebAssembly.RuntimeError) wasm = undefined;
  // The name of an error says nothing about the request; its text might.
  console.error(JSON.stringify({ event: "failed", error: error?.name }));
  return new Response('{"status":"unavailable"}', {
    status: 503, headers: { "content-type": "application/json", "retry-after": "30" },
  });
}

// One shard of a region's spool (`spool/shard.rs`): a Durable Object.
export class SpoolShard {
  #state;
  #env;
  #shard;
  #generation;

  constructor(state, env) {
    this.#state = state;
    this.#env = env;
  }

  // An instance that trapped is replaced, and what lived in its memory with it.
  #live() {
    if (wasm === undefined) instantiate(this.#env);
    if (this.#generation !== generation) {
      this.#shard = new glue.SpoolShard(this.#state, this.#env);
      this.#generation = generation;
    }
    return this.#shard;
  }

  async #run(act) {
    try {
      return await act(this.#live());
    } catch (error) {
      if (error instanceof WebAssembly.RuntimeError) wasm = undefined;
      throw error;
    }
  }

  fetch(request) {
    return this.#run((shard) => shard.fetch(request));
  }

  alarm() {
    return this.#run((shard) => shard.alarm());
  }
}

function attempt(act) {
  try {
    return act();
  } catch (error) {
    return fail(error);
  }
}

// The token in a webhook's URL; null for any other URL.
function tokenIn(url) {
  const path = url.indexOf("/", url.indexOf("://") + 3);
  if (!url.startsWith(RECORD_PATH, path)) return null;
  const token = url.slice(path + RECORD_PATH.length);
  const end = token.search(/[?#]/);
  return end < 0 ? token : token.slice(0, end);
}

export default {
  fetch(request, env, context) {
    try {
      if (wasm === undefined) instantiate(env);
      const token = tokenIn(request.url);
      if (token !== null) return record(request, token, env);
      return glue.fetch(request, env, context).catch(fail);
    } catch (error) {
      return fail(error);
    }
  },
};
