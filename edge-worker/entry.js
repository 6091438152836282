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

function instantiate(env) {
  wasm = new WebAssembly.Instance(wasmModule, { "./index_bg.js": glue }).exports;
  glue.__wbg_set_wasm(wasm);
  wasm.__wbindgen_start?.();
  glue.configure(env);
  limits = {
    text: wasm.text_max_bytes(), body: wasm.body_limit_bytes(), coreMs: wasm.core_timeout_ms(),
    digest: wasm.content_digest_bytes(), signature: wasm.signature_bytes(),
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
  const { url, headers, signature_input, connection, region } = JSON.parse(glue.plan(code));
  return (plans[code] = {
    connection, region,
    // A redirect is no answer of a core, and followed it would take the record elsewhere.
    request: new Request(url, { method: "POST", redirect: "manual" }),
    headers: new Headers(headers),
    before: signature_input[0], after: signature_input[1],
    created: -1,
  });
}

function respond(code, plan) {
  const answer = (answers[code] ??= JSON.parse(glue.answer(code)));
  if (answer.cause !== null) {
    console.error(JSON.stringify({
      event: "record_not_taken", cause: answer.cause, connection: plan?.connection, region: plan?.region,
    }));
  }
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
function record(request, token) {
  if (request.method !== "POST") return respond(wasm.method_not_allowed());
  const headers = request.headers;
  const declared = headers.get("content-length");
  if (declared !== null && Number(declared) > limits.body) return respond(wasm.body_too_large());
  const read = declared === null ? readCounted(request.body) : request.arrayBuffer();
  return read.then((body) => judge(headers, token, body)).catch(fail);
}

// Synchronous up to `send`: the buffer is this request's alone.
function judge(headers, token, body) {
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
  const code = wasm.judge(tokenBytes, timestampBytes, signatureBytes, body.byteLength, now);
  if (code < 0) return respond(code);

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
  return send(plan, body);
}

// The time-out is a timer of our own: a signal given to `fetch` costs a tenth of all a webhook costs.
// What is still under way when it fires ends with the request's context.
function send(plan, body) {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(respond(wasm.core_timed_out(), plan)), limits.coreMs);
    const settle = (response) => {
      clearTimeout(timer);
      resolve(response);
    };
    fetch(plan.request, { headers: plan.headers, body }).then(
      (response) =>
        response.status === 200 && kept.values.has(response.headers.get(kept.header))
          ? settle(response)
          : judgeCoreAnswer(response, plan).catch(fail).then(settle),
      () => settle(respond(wasm.core_unreachable(), plan)),
    );
  });
}

// An answer without the header is read: what stands before a core may answer 200 in its place.
async function judgeCoreAnswer(response, plan) {
  let answer;
  try {
    answer = await readCounted(response.body);
  } catch {
    return respond(wasm.core_unreachable(), plan);
  }
  if (answer === null) return respond(wasm.core_unreachable(), plan);
  memory().set(new Uint8Array(answer), start);
  const code = wasm.judge_core_answer(response.status, answer.byteLength);
  return code === 0 ? new Response(answer, { headers: { "content-type": "application/json" } }) : respond(code, plan);
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
      if (token !== null) return record(request, token);
      return glue.fetch(request, env, context).catch(fail);
    } catch (error) {
      return fail(error);
    }
  },
};
