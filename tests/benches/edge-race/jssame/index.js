// What the edge does for a webhook, in JavaScript with WebCrypto as one would write it: the limit of an address, the
// block list and the connection's list, the token's connection, the timestamp, the HMAC, the digest, the signed hop, the
// core's time-out, what the core says that it has kept, and the counts, told once a second.
const encoder = new TextEncoder();
const LIMIT_BYTES = 1_048_576;
const CORE_MS = 3_000;
const blocked = ["198.51.100."];
const connection = {
  id: "c1", country: "VN", region: "smp-asia", allow: ["192.0.2."], secrets: ["secret"], hop: "0123456789abcdef0123456789abcdef",
};
const kept = new Set(["accepted", "duplicate", "invalid_payload"]);

let byToken, keys, hopKey;
let counts = new Map();
let isTelling = false;

const base64 = (bytes) => btoa(String.fromCharCode(...bytes));
const hexOf = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const hmacKey = (secret, use) =>
  crypto.subtle.importKey("raw", encoder.encode(secret), { name: "HMAC", hash: "SHA-256" }, false, [use]);
const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));

async function prepare() {
  keys = await Promise.all(connection.secrets.map((secret) => hmacKey(secret, "verify")));
  hopKey = await hmacKey(connection.hop, "sign");
  byToken = new Map([[hexOf(await sha256(encoder.encode("tok"))), connection]]);
}

function answer(status, code, env, context) {
  count(`answered ${status}`, env, context);
  return new Response(`{"status":"${status}"}`, { status: code, headers: { "content-type": "application/json" } });
}

function count(what, env, context) {
  counts.set(what, (counts.get(what) ?? 0) + 1);
  if (isTelling) return;
  isTelling = true;
  context.waitUntil((async () => {
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    const report = JSON.stringify([...counts]);
    counts = new Map();
    isTelling = false;
    await env.METRICS.get(env.METRICS.idFromName("edge")).fetch("https://metrics/", { method: "POST", body: report });
  })());
}

async function toCore(hop, body) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error("late")), CORE_MS); });
  const url = "http://upstream/v1/pancake/c1/records";
  try {
    return await Promise.race([fetch(url, { method: "POST", headers: hop, body, redirect: "manual" }), late]);
  } finally {
    clearTimeout(timer);
  }
}

export default {
  async fetch(request, env, context) {
    const { headers } = request;
    const arrived = Date.now();
    const address = headers.get("cf-connecting-ip") ?? "";
    if (Number(headers.get("content-length") ?? 0) > LIMIT_BYTES) return answer("body_too_large", 413, env, context);
    const limited = env.RATE_LIMIT.limit({ key: address });
    const body = await request.arrayBuffer();
    if (!(await limited).success) return answer("too_many_requests", 429, env, context);
    if (byToken === undefined) await prepare();
    if (blocked.some((range) => address.startsWith(range))) return answer("ip_not_allowed", 403, env, context);
    const token = request.url.slice(request.url.lastIndexOf("/") + 1);
    const found = byToken.get(hexOf(await sha256(encoder.encode(token))));
    if (found === undefined) return answer("unknown_token", 404, env, context);
    if (!found.allow.some((range) => address.startsWith(range))) return answer("ip_not_allowed", 403, env, context);
    const timestamp = headers.get("x-pancake-timestamp") ?? "";
    if (!/^\d{1,19}$/.test(timestamp) || Math.abs(Math.floor(arrived / 1000) - Number(timestamp)) > 300) {
      return answer("timestamp_out_of_window", 200, env, context);
    }
    const hex = headers.get("x-pancake-signature") ?? "";
    if (!/^[0-9a-fA-F]{64}$/.test(hex)) return answer("hmac_invalid", 200, env, context);
    const signature = new Uint8Array(32);
    for (let i = 0; i < 32; i++) signature[i] = parseInt(hex.slice(2 * i, 2 * i + 2), 16);
    const head = encoder.encode(`${timestamp}.`);
    const message = new Uint8Array(head.length + body.byteLength);
    message.set(head);
    message.set(new Uint8Array(body), head.length);
    const verified = await Promise.all(keys.map((key) => crypto.subtle.verify("HMAC", key, signature, message)));
    if (!verified.includes(true)) return answer("hmac_invalid", 200, env, context);

    const digest = `sha-256=:${base64(await sha256(body))}:`;
    const created = Math.floor(Date.now() / 1000);
    const params = '("@method" "@path" "content-digest" "x-smp-country" "x-smp-region" "x-smp-connection" ' +
      `"x-smp-verdict" "x-smp-route-version");created=${created};keyid="smp-asia-1";alg="hmac-sha256"`;
    const base = `"@method": POST\n"@path": /v1/pancake/${found.id}/records\n"content-digest": ${digest}\n` +
      `"x-smp-country": ${found.country}\n"x-smp-region": ${found.region}\n"x-smp-connection": ${found.id}\n` +
      `"x-smp-verdict": verified\n"x-smp-route-version": 1\n"@signature-params": ${params}`;
    const signed = base64(new Uint8Array(await crypto.subtle.sign("HMAC", hopKey, encoder.encode(base))));
    const hop = {
      "content-type": "application/json", "content-digest": digest, "x-smp-country": found.country,
      "x-smp-region": found.region, "x-smp-connection": found.id, "x-smp-verdict": "verified",
      "x-smp-route-version": "1", "signature-input": `smp=${params}`, "signature": `smp=:${signed}:`,
    };
    const trace = headers.get("traceparent");
    if (trace !== null) hop.traceparent = trace;
    const response = await toCore(hop, body);
    const status = response.headers.get("x-smp-record-status");
    if (response.status !== 200 || !kept.has(status)) return answer("unavailable", 503, env, context);
    count(`kept ${status} ${Math.ceil(Math.log2(Date.now() - arrived + 1))}`, env, context);
    return response;
  },
};

// Adds up what isolates tell.
export class Counts {
  #counts = new Map();

  async fetch(request) {
    for (const [what, by] of await request.json()) this.#counts.set(what, (this.#counts.get(what) ?? 0) + by);
    return new Response(null, { status: 204 });
  }
}
