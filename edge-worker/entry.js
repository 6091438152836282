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
let limits, kept, source, metrics, answers, codes; // what Rust decides once and for all (`constants.rs`)
let looksAtAddresses; // whether `judge` does
let plans; // what does not change from webhook to webhook, by code
const troubled = new Set(); // regions whose core failed since it was last known to be well
let generation = 0; // counts instances, and their ends
let counter; // the name under which this instance tells what it counts
let failures = 0; // requests that ended in what nobody foresaw, since that was told
let refreshAt = 0; // from then on whoever comes reads them again, behind its answer, in ms since 1970
let staleAt = 0; // from then on whoever comes waits until it has read them
let toldUntil = 0; // until then somebody has taken it upon him to tell what is counted, in ms since 1970

function instantiate(env) {
  wasm = new WebAssembly.Instance(wasmModule, { "./index_bg.js": glue }).exports;
  glue.__wbg_set_wasm(wasm);
  wasm.__wbindgen_start?.();
  generation += 1;
  counter = crypto.randomUUID();
  glue.configure(env);
  ({ limits, kept, source, metrics, answers, codes } = JSON.parse(glue.constants()));
  kept.values = new Map(kept.values.map((value, index) => [value, index]));
  looksAtAddresses = wasm.looks_at_addresses() !== 0;
  if (env.CONNECTIONS_REFRESH_MS !== undefined) source.refreshMs = Number(env.CONNECTIONS_REFRESH_MS);
  refreshAt = 0;
  staleAt = 0;
  start = wasm.buffer();
  view();
  plans = [];
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
// a header is a byte; a character beyond is none that any of them may hold, and stays so.
function write(text, at) {
  if (text === null) return -1;
  let length = text.length;
  // A header's value ends before the spaces and tabs behind it (RFC 9110, 5.5); the platform leaves them there.
  while (length > 0 && (text.charCodeAt(length - 1) === 32 || text.charCodeAt(length - 1) === 9)) length -= 1;
  length = Math.min(length, limits.text);
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
  return answers[-1 - code];
}

function entryOf(event, cause, plan) {
  return JSON.stringify({ event, cause, connection: plan?.connection, region: plan?.region });
}

function respond(code) {
  const answer = answerOf(code);
  return new Response(answer.body, { status: answer.status, headers: answer.headers });
}

function log(event, code, plan) {
  const cause = answerOf(code).cause;
  if (cause !== null) console.error(entryOf(event, cause, plan));
}

// Whoever counts something first takes it upon him to tell it, a second later: nobody waits for it. The platform
// ends what goes on for 30 s behind an answer without a word; then it is the next one's turn.
function tell({ env, context }) {
  const now = Date.now();
  if (now < toldUntil || env.METRICS === undefined) return;
  toldUntil = now + 35_000;
  context.waitUntil(tellAll(env).catch(() => {}).finally(() => { toldUntil = 0; }));
}

async function tellAll(env) {
  await new Promise((resolve) => setTimeout(resolve, limits.tellMs));
  // An instance that trapped took what it had counted with it.
  const instance = wasm;
  for (;;) {
    const report = instance && instance === wasm ? glue.take_report(counter, failures) : undefined;
    if (report === undefined) return;
    failures = 0;
    const stub = env.METRICS.get(env.METRICS.idFromName(metrics));
    const told = await stub.fetch("https://metrics/report", { method: "POST", body: report });
    if (!told.ok || instance !== wasm) return;
    wasm.report_heard();
  }
}

// Reads the connections: from KV, and where that fails or has none, from their registry. Whoever needs them reads
// them itself: a promise of one request cannot be awaited by another.
async function readConnections(env) {
  const isRead = await readFrom(false, readKv, env) || await readFrom(true, readRegistry, env);
  if (isRead) {
    refreshAt = Date.now() + source.refreshMs;
    staleAt = Date.now() + 2 * source.refreshMs;
  } else if (staleAt > 0) {
    // Nobody waits for what just failed: all go by what there is.
    refreshAt = Date.now() + source.retryMs;
    staleAt = Math.max(staleAt, refreshAt);
  }
}

async function readFrom(isRegistry, read, env) {
  const instance = wasm;
  let timer;
  const late = new Promise((resolve) => { timer = setTimeout(() => resolve(undefined), source.timeoutMs); });
  const sealed = await Promise.race([read(env), late]).catch(() => undefined);
  clearTimeout(timer);
  // An instance that trapped is replaced, and the next one reads for itself.
  if (instance !== wasm) return false;
  const taken = sealed ? glue.take_connections(new Uint8Array(sealed)) : -1;
  wasm.count_connections_read(isRegistry, taken >= 0);
  if (taken > 0) {
    plans = [];
    looksAtAddresses = wasm.looks_at_addresses() !== 0;
  }
  return taken >= 0;
}

async function readKv(env) {
  return env.CONNECTIONS.get(source.key, { type: "arrayBuffer", cacheTtl: source.cacheTtl });
}

async function readRegistry(env) {
  const stub = env.CONNECTION_REGISTRY.get(env.CONNECTION_REGISTRY.idFromName(source.registry));
  const answer = await stub.fetch("https://registry/snapshot");
  return answer.ok ? answer.arrayBuffer() : undefined;
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

// Refused before it was judged.
function refuse(code, token, invocation) {
  memory();
  wasm.count_refused(write(token, start), code);
  tell(invocation);
  return respond(code);
}

// From here on promises are chained by hand: each async function in the way costs a promise and a turn
// of its own, some two per cent of all a webhook costs.
function record(request, token, invocation) {
  if (request.method !== "POST") return refuse(codes.methodNotAllowed, token, invocation);
  const headers = request.headers;
  const declared = headers.get("content-length");
  if (declared !== null && Number(declared) > limits.body) return refuse(codes.bodyTooLarge, token, invocation);
  const read = declared === null ? readCounted(request.body) : request.arrayBuffer();
  const address = headers.get("cf-connecting-ip");
  const limited = limit(address, invocation.env);
  const stale = haveConnections(invocation);
  const decide = (body) => body === null || body.byteLength < limits.hashedFrom
    ? judge(headers, address, token, body, invocation)
    : hashLong(headers, token, body).then((hashes) => judge(headers, address, token, body, invocation, hashes));
  const begunIn = generation;
  const go = (body) => {
    if (stale === undefined && begunIn === generation) return decide(body);
    return Promise.resolve(stale).then(() => begunIn === generation ? undefined : renew(invocation)).then(() => decide(body));
  };
  if (limited === undefined) return read.then(go, hungUp).catch(fail);
  const goIf = (body) => limited.then(
    ({ success }) => success ? go(body) : refuse(codes.tooManyRequests, token, invocation),
    () => go(body), // who cannot count lets in
  );
  return read.then(goIf, hungUp).catch(fail);
}

// The instance trapped while this request's body was read.
function renew(invocation) {
  if (wasm === undefined) instantiate(invocation.env);
  return haveConnections(invocation);
}

// A promise if the connections have to be read first.
function haveConnections({ env, context }) {
  const now = Date.now();
  if (now < refreshAt) return undefined;
  const isStale = now >= staleAt;
  // While one reads behind its answer, the others go by what there is; who finds that too old reads for itself.
  if (!isStale) refreshAt = now + source.retryMs;
  const read = readConnections(env);
  if (isStale) return read;
  context.waitUntil(read);
  return undefined;
}

// Counts a request of an address (RATE_LIMIT in wrangler.toml): a promise of whether it has not sent too much;
// nothing where nobody counts. Cloudflare sets the address itself, whatever a client sends.
function limit(address, env) {
  if (env.RATE_LIMIT === undefined || address === null) return undefined;
  return env.RATE_LIMIT.limit({ key: address });
}

// Whoever sent half a body and left hears nothing of this.
function hungUp() {
  return new Response(null, { status: 400 });
}

// The hashes of a long body that `judge_hashed` takes: the platform has the processor's own instructions for them. What
// is made of them is decided in Rust as ever. A promise of nothing if `judge` is to read the body after all.
function hashLong(headers, token, body) {
  if (body.byteLength > limits.body) return Promise.resolve(undefined);
  memory();
  const count = wasm.inner_blocks(write(token, start), Math.floor(Date.now() / 1000));
  memory();
  if (count < 0) return Promise.resolve(undefined);
  const { block, hash } = limits;
  const blocks = count > 0 ? bytes.slice(start, start + count * block) : undefined;
  const digests = [crypto.subtle.digest("SHA-256", body)];
  if (count > 0) {
    // In wasm's memory stands the timestamp as it is judged.
    const timestampBytes = Math.max(write(headers.get("x-pancake-timestamp"), start), 0);
    const head = block + timestampBytes + 1;
    const message = new Uint8Array(head + body.byteLength);
    message.set(bytes.subarray(start, start + timestampBytes), block);
    message[head - 1] = 46; // a dot
    message.set(new Uint8Array(body), head);
    // A digest reads its message when it is called: one copy of the body does for all secrets.
    for (let i = 0; i < count; i++) {
      message.set(blocks.subarray(i * block, (i + 1) * block));
      digests.push(crypto.subtle.digest("SHA-256", message));
    }
  }
  const judgedBy = plans;
  return Promise.all(digests).then((made) => {
    // If the connections were read anew meanwhile, their secrets may be others.
    if (judgedBy !== plans) return undefined;
    const hashes = new Uint8Array(3 * hash);
    for (let i = 0; i < made.length; i++) hashes.set(new Uint8Array(made[i]), i * hash);
    return hashes;
  });
}

// Synchronous up to `send`: the buffer is this request's alone. `hashes` are those of a long body.
function judge(headers, address, token, body, invocation, hashes) {
  if (body === null || body.byteLength > limits.body) return refuse(codes.bodyTooLarge, token, invocation);
  memory();
  let at = start;
  const addressBytes = looksAtAddresses ? write(address, at) : -1;
  at += Math.max(addressBytes, 0);
  const tokenBytes = write(token, at);
  at += tokenBytes;
  const timestampBytes = write(headers.get("x-pancake-timestamp"), at);
  at += Math.max(timestampBytes, 0);
  const signatureBytes = write(headers.get("x-pancake-signature"), at);
  at += Math.max(signatureBytes, 0);
  bytes.set(hashes ?? new Uint8Array(body), at);
  const nowMs = Date.now();
  const now = Math.floor(nowMs / 1000);
  const verdict = hashes === undefined
    ? wasm.judge(addressBytes, tokenBytes, timestampBytes, signatureBytes, body.byteLength, now)
    : wasm.judge_hashed(addressBytes, tokenBytes, timestampBytes, signatureBytes, now);
  tell(invocation);
  if (verdict < 0) {
    log("record_not_taken", verdict);
    return respond(verdict);
  }

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
  const trace = headers.get("traceparent");
  const webhook = { plan, body, values, nowMs, invocation, generation, headers: trace === null ? hop : traced(hop, trace) };
  if (plan.isPaused) return spool(webhook, codes.regionPaused);
  return code === verdict ? send(webhook) : spool(webhook, codes.coreFailing);
}

// A trace that somebody follows through us (W3C Trace Context) goes on to the core.
function traced(hop, trace) {
  const headers = new Headers(hop);
  headers.set("traceparent", trace);
  return headers;
}

// The time-out is a timer of our own: a signal given to `fetch` costs a tenth of all a webhook costs.
// What is still under way when it fires ends with the request's context.
function send(webhook) {
  const { plan, body } = webhook;
  return new Promise((resolve) => {
    let timer = setTimeout(() => {
      timer = undefined;
      resolve(attempt(() => spoolAfterFailure(webhook, codes.coreTimedOut)));
    }, limits.coreMs);
    // Whoever comes after the time-out finds the record in the spool.
    const settle = (answer) => {
      if (timer === undefined) return;
      clearTimeout(timer);
      resolve(attempt(answer));
    };
    fetch(plan.request, { headers: webhook.headers, body }).then(
      (response) => {
        const status = response.status === 200 ? kept.values.get(response.headers.get(kept.header)) : undefined;
        if (status !== undefined) {
          if (troubled.size > 0) noteSuccess(webhook);
          settle(() => takeAnswer(webhook, status, response));
        } else {
          readCounted(response.body).then(
            (answer) => settle(() => judgeCoreAnswer(response.status, answer, webhook)),
            () => settle(() => spoolAfterFailure(webhook, codes.coreUnreachable)),
          );
        }
      },
      () => settle(() => spoolAfterFailure(webhook, codes.coreUnreachable)),
    );
  });
}

// The core has kept it; what it answered goes to the sender.
function takeAnswer(webhook, status, response) {
  if (isLive(webhook)) {
    wasm.count_kept(webhook.plan.code, status, Date.now() - webhook.nowMs);
    tell(webhook.invocation);
  }
  return response;
}

// A code means something to the instance only that gave it.
function isLive(webhook) {
  return webhook.generation === generation;
}

// The core has not.
function answerInstead(webhook, code, reason) {
  if (isLive(webhook)) {
    wasm.count_not_kept(webhook.plan.code, code, reason, Date.now() - webhook.nowMs);
    tell(webhook.invocation);
  }
  return respond(code);
}

function noteSuccess(webhook) {
  if (troubled.delete(webhook.plan.region) && isLive(webhook)) wasm.core_succeeded(webhook.plan.code);
}

function spoolAfterFailure(webhook, code) {
  troubled.add(webhook.plan.region);
  if (isLive(webhook)) wasm.core_failed(webhook.plan.code, Math.floor(Date.now() / 1000));
  return spool(webhook, code);
}

// An answer without the header is read: what stands before a core may answer 200 in its place.
function judgeCoreAnswer(status, answer, webhook) {
  if (answer === null) return spoolAfterFailure(webhook, codes.coreUnreachable);
  memory().set(new Uint8Array(answer), start);
  const code = wasm.judge_core_answer(status, answer.byteLength);
  if (code < 0) return spoolAfterFailure(webhook, code);
  noteSuccess(webhook);
  return takeAnswer(webhook, code, new Response(answer, { headers: { "content-type": "application/json" } }));
}

// A record that its region does not take now waits, sealed, if it may; `code` is the answer if not.
function spool(webhook, code) {
  const { plan, invocation: { env } } = webhook;
  const sealed = plan.shards > 0 && env.SPOOL !== undefined && isLive(webhook) ? seal(webhook) : undefined;
  if (sealed === undefined) {
    log("record_not_taken", code, plan);
    return answerInstead(webhook, code, code);
  }
  const cause = answerOf(code).cause;
  const shard = Math.floor(Math.random() * plan.shards);
  const stub = env.SPOOL.get(env.SPOOL.idFromName(`${plan.region}/${shard}`));
  const url = `https://spool/${plan.region}/${shard}/${plan.connection}/${cause}`;
  const put = stub.fetch(url, { method: "POST", body: sealed });
  let timer;
  const late = new Promise((resolve) => {
    timer = setTimeout(() => resolve(undefined), limits.spoolMs);
  });
  return Promise.race([put, late]).then((answer) => answer?.status === 204, () => false).then((isKept) => {
    clearTimeout(timer);
    if (!isKept) {
      log("record_not_spooled", code, plan);
      return answerInstead(webhook, code, code);
    }
    console.warn(entryOf("record_queued", cause, plan));
    return answerInstead(webhook, codes.queued, code);
  });
}

function seal({ plan, body, values, nowMs }) {
  const randomness = crypto.getRandomValues(new Uint8Array(limits.randomness));
  memory();
  const at = start + write(values, start);
  bytes.set(new Uint8Array(body), at);
  return glue.seal(plan.code, nowMs, body.byteLength, randomness);
}

// A trap (a panic that should not be reachable) leaves the instance in an unknown state: the next request gets a new
// one. The glue keeps views of the memory; growing it, by nothing, detaches them, so that it sees that it needs others.
// What else JS holds of the instance, objects and callbacks, says then that it is of another one.
function discardIfTrapped(error) {
  if (!(error instanceof WebAssembly.RuntimeError) || wasm === undefined) return;
  wasm.memory.grow(0);
  glue.next_instance();
  wasm = undefined;
  generation += 1;
}

// What nobody foresaw.
function fail(error) {
  discardIfTrapped(error);
  failures += 1;
  // The name of an error says nothing about the request; its text might.
  console.error(JSON.stringify({ event: "failed", error: error?.name }));
  return new Response('{"status":"unavailable"}', {
    status: 503, headers: { "content-type": "application/json", "retry-after": "30" },
  });
}

// A Durable Object whose class is in Rust. An instance of wasm that trapped is replaced, and what lived in its
// memory with it.
class DurableObject {
  #state;
  #env;
  #make;
  #object;
  #generation;

  constructor(state, env, make) {
    this.#state = state;
    this.#env = env;
    this.#make = make;
  }

  #live() {
    if (wasm === undefined) instantiate(this.#env);
    if (this.#generation !== generation) {
      this.#object = this.#make(this.#state, this.#env);
      this.#generation = generation;
    }
    return this.#object;
  }

  async #run(act) {
    try {
      return await act(this.#live());
    } catch (error) {
      discardIfTrapped(error);
      throw error;
    }
  }

  fetch(request) {
    return this.#run((object) => object.fetch(request));
  }

  alarm() {
    return this.#run((object) => object.alarm());
  }
}

// One shard of a region's spool (`spool/shard.rs`).
export class SpoolShard extends DurableObject {
  constructor(state, env) {
    super(state, env, (...arguments_) => new glue.SpoolShard(...arguments_));
  }
}

// Keeps the connections (`connections/registry.rs`).
export class ConnectionRegistry extends DurableObject {
  constructor(state, env) {
    super(state, env, (...arguments_) => new glue.ConnectionRegistry(...arguments_));
  }
}

// Adds up what isolates and shards tell (`metrics/object.rs`).
export class EdgeMetrics extends DurableObject {
  constructor(state, env) {
    super(state, env, (...arguments_) => new glue.EdgeMetrics(...arguments_));
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

async function other(request, { env, context }) {
  const limited = limit(request.headers.get("cf-connecting-ip"), env);
  const { success } = limited === undefined ? { success: true } : await limited.catch(() => ({ success: true }));
  if (success) return glue.fetch(request, env, context);
  wasm.count_limited();
  return respond(codes.tooManyRequests);
}

export default {
  fetch(request, env, context) {
    try {
      if (wasm === undefined) instantiate(env);
      const token = tokenIn(request.url);
      const invocation = { env, context };
      if (token !== null) return record(request, token, invocation);
      return other(request, invocation).catch(fail).finally(() => tell(invocation));
    } catch (error) {
      return fail(error);
    }
  },
};
