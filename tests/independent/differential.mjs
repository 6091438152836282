#!/usr/bin/env node
// Posts thousands of webhooks, right ones and wrong ones of every kind, and compares what the edge finds with
// what Node's crypto finds by the rule of docs/webhooks.md ("Signature", "Modes", "Verdicts"); with
// --nginx, what nginx and Lua find too. No code of the project, no packages.
//
//   node tests/independent/differential.mjs --edge URL --core-port PORT --connections FILE \
//     [--nginx URL] [--cases 5000] [--seed N] [--only CASE]
//
// It plays the core: the edge's routes must lead to PORT. A line of FILE is a token, a mode, and the secrets
// in hex, all with a space between. tests/e2e/differential.rs starts all of it.
//
// Ends with 1 if any verdict differs and the difference is not one of EXPLAINED.

import { createHash, createHmac, randomInt, randomUUID } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { connect } from "node:net";
import { parseArgs } from "node:util";

const { values: options } = parseArgs({
  options: {
    edge: { type: "string" }, "core-port": { type: "string" }, connections: { type: "string" },
    nginx: { type: "string" }, cases: { type: "string", default: "5000" }, seed: { type: "string" },
    only: { type: "string" },
  },
});
for (const name of ["edge", "core-port", "connections"]) {
  if (options[name] === undefined) {
    console.error(`--${name} is missing`);
    process.exit(2);
  }
}
const count = Number(options.cases);
const seed = options.seed ?? randomInt(2 ** 32);

const AT_ONCE = 6;
// Longer than any answer takes.
const PATIENCE_MS = 30_000;
// By how much a server's clock may lag behind ours: coarse clocks tick every few milliseconds.
const LAG_MS = 50;

// --- the rule ---

const WINDOW_SECONDS = 300n;

// Header values are strings of which each character is a byte, so that nothing re-encodes them.
const bytesOf = (text) => Buffer.from(text, "latin1");

// RFC 9110, 5.5: spaces and tabs around a value are not part of it.
const trimmed = (line) => line.replace(/^[ \t]+|[ \t]+$/g, "");

const sign = (secret, timestamp, body, joint = ".") =>
  createHmac("sha256", secret).update(bytesOf(timestamp + joint)).update(body).digest("hex");

// A header that is absent or sent twice has no value.
const valueOf = (lines, read) => (lines.length === 1 ? read(lines[0]) : null);

// What does not depend on the time: when it was sent, nothing if that cannot be read, and whether it is signed.
function judge({ secrets }, { timestamps, signatures }, body, read = trimmed) {
  const timestamp = valueOf(timestamps, read);
  if (timestamp === null || !/^[0-9]{1,19}$/.test(timestamp)) return { sentAt: null, isSigned: false };
  const signature = valueOf(signatures, read);
  const isHex = signature !== null && /^[0-9a-fA-F]{64}$/.test(signature);
  const isSigned = isHex && secrets.some((secret) => sign(secret, timestamp, body) === signature.toLowerCase());
  return { sentAt: BigInt(timestamp), isSigned };
}

const NAMES = {
  enforce: { fresh: "accepted", stale: "timestamp_out_of_window", invalid: "hmac_invalid" },
  observe: { fresh: "verified", stale: "stale", invalid: "invalid" },
  off: { fresh: "unsigned", stale: "unsigned", invalid: "unsigned" },
};

// The answer's status in `enforce`, else the verdict that reaches the core.
function verdictAt(second, { mode }, { sentAt, isSigned }) {
  const distance = sentAt === null ? null : sentAt - BigInt(second);
  const isFresh = distance !== null && distance <= WINDOW_SECONDS && distance >= -WINDOW_SECONDS;
  return NAMES[mode][!isFresh ? "stale" : isSigned ? "fresh" : "invalid"];
}

// --- chance ---

// mulberry32; each case has its own, so that none depends on which was sent before it.
function chance(index) {
  let state = createHash("sha256").update(`${seed}/${index}`).digest().readUInt32LE();
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (limit) => Math.floor(next() * limit);
  const between = (low, high) => low + below(high - low + 1);
  const pick = (list) => list[below(list.length)];
  const weighted = (list) => {
    let left = next() * list.reduce((sum, [weight]) => sum + weight, 0);
    return list.find(([weight]) => (left -= weight) < 0)[1];
  };
  const text = (length, characters) => Array.from({ length }, () => pick(characters)).join("");
  const bytes = (outputLength) => createHash("shake256", { outputLength }).update(`${seed}/${index}/body`).digest();
  return { below, between, pick, weighted, text, bytes, is: (share) => next() < share };
}

const DIGITS = "0123456789";
const HIGH = Array.from({ length: 128 }, (_, index) => String.fromCharCode(128 + index));
const CONTROLS = [..."\x01\x02\x08\x0b\x0c\x0e\x1b\x1c\x1f\x7f"];
const utf8 = (text) => Buffer.from(text).toString("latin1");

// With something put in somewhere, at either end too.
const inserted = (r, text, what) => {
  const at = r.between(0, text.length);
  return text.slice(0, at) + what + text.slice(at);
};

const replaced = (text, at, what) => text.slice(0, at) + what + text.slice(at + 1);

// --- the cases ---

const lead = (r) => ({
  id: `${r.text(8, DIGITS)}-0000-4000-8000-000000000000`,
  name: "Nguyễn Thị Hồng",
  note: r.text(r.below(600), DIGITS),
});

const BODIES = [
  [10, () => Buffer.alloc(0)],
  [10, (r) => Buffer.from([r.below(256)])],
  [30, (r) => Buffer.from(JSON.stringify(lead(r)))],
  [5, () => Buffer.from("[]")],
  [10, (r) => Buffer.from(r.pick(["\r\n\r\n", "0\r\n\r\n", "\0", ".", "1.", " ", "\ufeff{}", '{"id":"\\ud800"}']))],
  [25, (r) => r.bytes(r.between(2, 3_000))],
  [4, (r) => r.bytes(65_536)],
  [1, (r) => r.bytes(1_048_576)],
];

// Everything else of a case is right, as far as its mode and its secrets go: so whoever overlooks what is
// wrong with it finds another verdict.
const TIMESTAMPS = {
  "timestamp 299, 300, 301 s away": [12, (c, r) => c.stamp(c.now + r.pick([-301, -300, -299, 299, 300, 301]))],
  "timestamp far away": [3, (c, r) =>
    c.stamp(Math.max(0, c.now + r.pick([-1, 1]) * r.between(302, 10 ** r.between(3, 9))))],
  "timestamp absent": [3, (c, r) => { c.stamp(r.pick(["", c.now])); c.timestamps = []; }],
  "timestamp empty or blank": [3, (c, r) => c.stamp(r.pick(["", " ", "\t", " \t  "]))],
  "timestamp twice": [6, (c, r) => {
    const right = String(c.now);
    c.timestamps = r.pick([[right, right], [right, ""], ["", right], [right, String(c.now - 1)], ["0", right],
      [right, right, right], [" ", "\t"], ["", ""]]);
    c.signed = r.pick([right, `${right}, ${right}`, `${right},${right}`, c.timestamps.join(", ")]);
    c.signWith(c.secret);
  }],
  "timestamp twice in one line": [2, (c, r) => c.stamp(c.now + r.pick([",", ", ", ";", " "]) + c.now)],
  "timestamp between spaces and tabs": [5, (c, r) =>
    c.stamp(r.text(r.below(9), " \t") + c.now + r.text(r.below(9), " \t"))],
  "timestamp signed with its spaces": [2, (c, r) => {
    c.stamp(r.pick([` ${c.now}`, `${c.now} `, `\t${c.now}`]));
    c.signed = c.timestamps[0];
    c.signWith(c.secret);
  }],
  "timestamp with something in it": [3, (c, r) =>
    c.stamp(inserted(r, String(c.now), r.pick([" ", "\t", "  ", "_", ",", ":", "'", "\""])))],
  "timestamp with a sign": [4, (c, r) => c.stamp(r.pick(["+", "-", "--", "+-", "- "]) + c.now)],
  "timestamp with zeros before it": [8, (c, r) =>
    c.stamp(String(c.now + r.between(-250, 250)).padStart(r.between(11, 25), "0"))],
  "timestamp of 1 to 25 digits": [6, (c, r) => c.stamp(r.text(r.between(1, 25), DIGITS))],
  "timestamp huge": [5, (c, r) => {
    const now = BigInt(c.now);
    c.stamp(r.pick([2n ** 31n - 1n, 2n ** 32n + now, 2n ** 53n, 2n ** 53n + now, 2n ** 63n - 1n, 2n ** 63n,
      2n ** 63n + now, 2n ** 64n - 1n, 2n ** 64n + now, 2n ** 64n - now, 10n ** 19n - 1n, 10n ** 19n, 10n ** 24n,
      now * 1000n, now * 10n, "9".repeat(r.between(200, 5_000)), "0".repeat(r.between(500, 520)) + now]));
  }],
  "timestamp no whole number": [8, (c, r) => c.stamp(r.pick([`${c.now}.0`, `${c.now}.`, `.${c.now}`, `${c.now}e0`,
    `${c.now / 10}e1`, "1e9", `0x${c.now.toString(16)}`, `0X${c.now.toString(16)}`, c.now.toString(16),
    `0o${c.now.toString(8)}`, `0b${c.now.toString(2)}`, `${c.now}n`, `${c.now}L`, `${c.now}s`, "NaN", "Infinity",
    "-0", "now", "null", "true", "[]", new Date(c.now * 1000).toISOString(),
    new Date(c.now * 1000).toUTCString()]))],
  "timestamp not ASCII": [8, (c, r) => {
    const right = String(c.now);
    const at = r.below(right.length);
    const digit = Number(right[at]);
    c.stamp(r.pick([
      () => inserted(r, right, r.text(r.between(1, 3), HIGH)),
      // What has the digit's lower bits: as a byte, and as a character of UTF-8.
      () => replaced(right, at, String.fromCharCode(0x80 + right.charCodeAt(at))),
      () => replaced(right, at, utf8(String.fromCharCode(r.pick([0x80, 0x100]) + right.charCodeAt(at)))),
      () => replaced(right, at, r.pick(["\xb9", "\xb2", "\xb3", "\xbc"])),
      // Full-width and Arabic digits, and the digit in two bytes, which is no UTF-8.
      () => utf8(right.replace(/./g, (one) => String.fromCharCode(0xff10 + Number(one)))),
      () => utf8(right.replace(/./g, (one) => String.fromCharCode(0x0660 + Number(one)))),
      () => replaced(right, at, `\xc0${String.fromCharCode(0xb0 + digit)}`),
      () => `\xa0${right}`, () => `${right}\xa0`, () => `\x85${right}`, () => utf8(`\ufeff${right}`),
      () => utf8(`${right}\u2028`), () => utf8(`\u2212${right}`), () => inserted(r, right, utf8("\u200b")),
    ])());
  }],
  "timestamp with a control character": [4, (c, r) => c.stamp(inserted(r, String(c.now), r.pick(CONTROLS)))],
};

// Changes a signature that is right.
const SIGNATURES = {
  "signature absent": [3, (c) => { c.signatures = []; }],
  "signature empty or blank": [2, (c, r) => { c.signatures = [r.pick(["", " ", "\t"])]; }],
  "signature twice": [5, (c, r) => {
    const right = c.signatures[0];
    const wrong = "0".repeat(64);
    c.signatures = r.pick([[right, right], [right, ""], ["", right], [right, wrong], [wrong, right],
      [right.slice(0, 32), right.slice(32)], [right, right, right]]);
  }],
  "signature in capitals": [4, (c) => c.alter((right) => right.toUpperCase())],
  "signature in mixed case": [5, (c, r) =>
    c.alter((right) => right.replace(/./g, (one) => (r.is(0.5) ? one.toUpperCase() : one)))],
  "signature between spaces and tabs": [4, (c, r) =>
    c.alter((right) => r.text(r.below(9), " \t") + right + r.text(r.below(9), " \t"))],
  "signature with one bit flipped": [8, (c, r) => c.alter((right) => {
    const mac = Buffer.from(right, "hex");
    mac[r.below(32)] ^= 1 << r.below(8);
    return mac.toString("hex");
  })],
  "signature cut": [4, (c, r) => c.alter((right) => r.pick([right.slice(0, r.between(1, 63)),
    right.slice(r.between(1, 63)), right.slice(0, 63), right.slice(1)]))],
  "signature too long": [4, (c, r) => c.alter((right) => r.pick([`${right}0`, `0${right}`, right + right,
    `00${right}`, right + r.text(r.between(1, 5_000), "0123456789abcdef")]))],
  "signature with a prefix": [4, (c, r) =>
    c.alter((right) => r.pick(["sha256=", "SHA256=", "sha256:", "0x", "v1="]) + right)],
  "signature in other signs": [3, (c, r) => c.alter((right) => {
    const mac = Buffer.from(right, "hex");
    return r.pick([`"${right}"`, `<${right}>`, right.match(/../g).join(":"), mac.toString("base64"),
      mac.toString("latin1").replace(/[\0\r\n]/g, "x")]);
  })],
  "signature with a digit that is none": [5, (c, r) =>
    c.alter((right) => replaced(right, r.below(64), r.pick([..."gGzZ/:@`_ ,+-.xX"])))],
  "signature not ASCII": [5, (c, r) => c.alter((right) => {
    const at = r.below(64);
    const code = right.charCodeAt(at);
    return r.pick([
      () => inserted(r, right, r.pick(HIGH)),
      () => replaced(right, at, String.fromCharCode(0x80 + code)),
      () => replaced(right, at, utf8(String.fromCharCode(r.pick([0x80, 0x100]) + code))),
      () => replaced(right, at, utf8(String.fromCharCode(0xff00 + code - 0x20))),
      () => replaced(right, at, String.fromCharCode(0xc0 | (code >> 6), 0x80 | (code & 0x3f))),
      () => `\xa0${right}`, () => `${right}\xa0`, () => utf8(`\ufeff${right}`),
    ])();
  })],
  "signature with a control character": [3, (c, r) => c.alter((right) => inserted(r, right, r.pick(CONTROLS)))],
  "signature all zeros or ones": [1, (c, r) => { c.signatures = [r.pick(["0", "f"]).repeat(64)]; }],
  "signature of another secret": [5, (c, r) => c.signWith(r.pick([...c.foreign,
    Buffer.concat([c.secret, Buffer.from("x")]), c.secret.subarray(1), Buffer.from(c.secret.toString("hex"))]))],
  "signature of either live secret": [8, (c, r) => c.signWith(r.pick(c.live))],
  "signature over something else": [10, (c, r) => {
    const flipped = Buffer.from(c.body);
    if (flipped.length > 0) flipped[r.below(flipped.length)] ^= 1 << r.below(8);
    const dotted = Buffer.concat([bytesOf(`${c.signed}.`), c.body]);
    c.signatures = [r.pick([
      () => sign(c.secret, "", c.body, ""),
      () => sign(c.secret, "", c.body),
      () => sign(c.secret, c.signed, c.body, ""),
      () => sign(c.secret, c.signed, c.body, ":"),
      () => sign(c.secret, c.signed, Buffer.concat([c.body, Buffer.from("\n")])),
      () => sign(c.secret, c.signed, flipped),
      () => sign(c.secret, c.signed, c.body.subarray(1)),
      () => sign(c.secret, String(c.now - 1), c.body),
      () => sign(c.secret, c.now * 1000, c.body),
      () => createHash("sha256").update(c.secret).update(dotted).digest("hex"),
      () => createHmac("sha1", c.secret).update(dotted).digest("hex"),
      () => createHmac("sha512", c.secret).update(dotted).digest("hex").slice(0, 64),
      // Key and text changed places.
      () => createHmac("sha256", dotted).update(c.secret).digest("hex"),
    ])()];
  }],
  "signature over a timestamp without its zeros": [4, (c, r) => {
    const now = String(c.now + r.between(-250, 250));
    c.stamp(now.padStart(r.between(11, 19), "0"));
    c.signed = now;
    c.signWith(c.secret);
  }],
};

const either = (r, kinds) => r.weighted(Object.values(kinds));

// Headers of other names.
const LOOKALIKES = ["Pancake-Timestamp", "X-Pancake-Timestamp2", "X-Pancake-Timestam", "X_Pancake_Timestamp",
  "X-Pancake_Timestamp", "XX-Pancake-Timestamp", "X-Pancake-Timestamps", "X.Pancake.Timestamp",
  "X-Pancake-Signature-256"];

// Lines that RFC 9112 tells a server to refuse or to repair; what it may make of each is in EXPLAINED.
const MALFORMED = {
  "a space before the colon": [2, (c) => { c.spaceBeforeColon = true; c.timestamps = []; }],
  "a value in two lines": [2, (c) => c.stamp(`\r\n ${c.now}`)],
  "NUL in a value": [2, (c, r) => c.stamp(inserted(r, String(c.now), "\0"))],
  "CR in a value": [2, (c, r) => c.stamp(inserted(r, String(c.now), "\r"))],
  "a header behind a CR": [1, (c) => {
    c.extra.push(`X-Other: 1\rX-Pancake-Timestamp: ${c.now}`);
    c.timestamps = [];
  }],
  "a line without a colon": [1, (c) => { c.extra.push("X-Pancake-Timestamp"); }],
  "a line without a name": [1, (c) => { c.extra.push(`: ${c.now}`); }],
  "lines that end in LF alone": [2, (c) => { c.lineEnd = "\n"; }],
};

const KINDS = {
  right: [12, (c, r) => { if (r.is(0.5)) c.stamp(c.now + r.between(-290, 290)); }],
  ...TIMESTAMPS,
  ...SIGNATURES,
  "both at once": [15, (c, r) => {
    either(r, TIMESTAMPS)(c, r);
    either(r, SIGNATURES)(c, r);
  }],
  "another header beside them": [5, (c, r) =>
    c.extra.push(`${r.pick(LOOKALIKES)}: ${r.pick([c.now, c.now - 900, "x"])}`)],
  "another header in place of one": [4, (c, r) => {
    c.extra.push(`${r.pick(LOOKALIKES)}: ${c.now}`);
    if (r.is(0.5)) c.timestamps = [];
    else c.signatures = [];
  }],
  ...MALFORMED,
};

// Where a server makes of a request, before a Worker or Lua sees it, something else than the rule: `finds` is
// what it answers itself, or what the rule finds in what it hands on. Anything else is a difference.
const REFUSED = ["NUL in a value", "CR in a value", "a line without a name"];
const EXPLAINED = [
  {
    who: "edge",
    when: (c) => c.kind === "a space before the colon",
    finds: (c) => judge(c.connection, { ...c, timestamps: [String(c.now)] }, c.body),
    reason: "workerd reads a name with a space behind it as that name (RFC 9112, 5.1, asks for 400)",
  },
  {
    who: "edge",
    when: (c) => c.kind === "a header behind a CR",
    finds: (c) => judge(c.connection, { ...c, timestamps: [String(c.now)] }, c.body),
    reason: "workerd takes CR alone for the end of a line (RFC 9112, 2.2, asks for 400 or a space in its place)",
  },
  {
    who: "edge",
    when: (c) => [...REFUSED, "a line without a colon"].includes(c.kind),
    finds: () => "400",
    reason: "workerd answers 400 to a header line that is none",
  },
  {
    who: "nginx",
    when: (c) => c.kind === "CR in a value" && c.timestamps[0].endsWith("\r"),
    finds: (c) => judge(c.connection, c, c.body, (value) => trimmed(value).replace(/\r$/, "")),
    reason: "nginx takes two CR and LF for the end of a line",
  },
  {
    who: "nginx",
    when: (c) => [...REFUSED, "a space before the colon", "a value in two lines",
      "a header behind a CR"].includes(c.kind),
    finds: () => "400",
    reason: "nginx answers 400 to a header line that is none, and to one that goes on in the next",
  },
  {
    who: "nginx",
    when: (c) => c.kind === "a line without a colon",
    finds: (c) => judge(c.connection, linesBefore(c, "X-Pancake-Timestamp"), c.body),
    reason: "ngx.req.raw_header() gives no colons behind a line without one: what follows is not read",
  },
];

function explain(who, c, word, seconds) {
  const explanation = EXPLAINED.find((one) => one.who === who && one.when(c));
  const finds = explanation?.finds(c);
  const isFound = typeof finds === "object"
    ? seconds.some((second) => verdictAt(second, c.connection, finds) === word)
    : finds === word;
  return isFound ? explanation.reason : undefined;
}

// The values of both headers that stand before a line.
function linesBefore(c, end) {
  const lines = c.lines.slice(0, c.lines.indexOf(end)).map((line) => line.split(/:(.*)/s, 2));
  const named = (name) => lines.filter(([found]) => found.toLowerCase() === name).map(([, value]) => value);
  return { timestamps: named("x-pancake-timestamp"), signatures: named("x-pancake-signature") };
}

function readConnections() {
  return readFileSync(options.connections, "utf8").trim().split("\n").map((line) => {
    const [token, mode, ...secrets] = line.split(" ");
    return { token, mode, secrets: secrets.map((secret) => Buffer.from(secret, "hex")) };
  });
}

const connections = readConnections();

function makeCase(index) {
  const r = chance(index);
  const now = Math.floor(Date.now() / 1000);
  const kind = r.weighted(Object.entries(KINDS).map(([name, [weight]]) => [weight, name]));
  const mode = r.weighted([[65, "enforce"], [28, "observe"], [7, "off"]]);
  const connection = r.pick(connections.filter((one) => one.mode === mode));
  const foreign = connections.filter((one) => one !== connection).flatMap(({ secrets }) => secrets);
  const c = {
    index, kind, now, connection, foreign, extra: [], lineEnd: "\r\n",
    // A connection that reads no signature has none of its own.
    live: connection.secrets.length > 0 ? connection.secrets : foreign,
    stamp(timestamp) {
      c.timestamps = [String(timestamp)];
      c.signed = trimmed(c.timestamps[0]);
      c.signWith(c.secret);
    },
    signWith(secret) { c.signatures = [sign(secret, c.signed, c.body)]; },
    alter(change) { c.signatures = [change(c.signatures[0])]; },
  };
  // Who answers 400 hangs up on whoever is still sending.
  c.body = r.weighted(kind in MALFORMED ? BODIES.slice(0, 6) : BODIES)(r);
  c.secret = c.live[0];
  c.stamp(now);
  KINDS[kind][1](c, r);
  c.judged = judge(connection, c, c.body);
  c.expected = verdictAt(now, connection, c.judged);
  c.pieces = spell(c, r);
  return c;
}

function spell(c, r) {
  const named = (name) => r.weighted([
    [3, name], [1, name.toLowerCase()], [1, name.toUpperCase()],
    [2, name.replace(/./g, (one) => (r.is(0.5) ? one.toUpperCase() : one.toLowerCase()))],
  ]);
  const colon = () => r.pick([": ", ": ", ":"]);
  const lines = [
    ...c.timestamps.map((value) => named("X-Pancake-Timestamp") + colon() + value),
    ...c.signatures.map((value) => named("X-Pancake-Signature") + colon() + value),
    ...c.extra, "Content-Type: application/json",
  ];
  if (c.spaceBeforeColon) lines.push(`X-Pancake-Timestamp : ${c.now}`);
  const shuffled = lines.map((line) => [r.below(1_000), line]).sort(([one], [other]) => one - other);
  c.lines = shuffled.map(([, line]) => line);
  c.isChunked = r.is(0.2);
  const length = c.isChunked ? "Transfer-Encoding: chunked" : `Content-Length: ${c.body.length}`;
  const first = `POST /api/pancake/record/${c.connection.token} HTTP/1.1`;
  const head = [first, "Host: differential", ...c.lines, length, "", ""].join(c.lineEnd);
  const request = Buffer.concat([bytesOf(head), ...(c.isChunked ? chunks(c.body, r) : [c.body])]);
  if (c.kind in MALFORMED || !r.is(0.15)) return [request];
  const at = r.below(Math.min(request.length, 600));
  return [request.subarray(0, at), request.subarray(at)];
}

function chunks(body, r) {
  const pieces = [];
  for (let at = 0; at < body.length;) {
    const piece = body.subarray(at, at + r.between(1, Math.max(1, body.length)));
    pieces.push(bytesOf(`${piece.length.toString(16)}\r\n`), piece, bytesOf("\r\n"));
    at += piece.length;
  }
  return [...pieces, bytesOf("0\r\n\r\n")];
}

function describe(c) {
  const short = c.lines.map((line) => JSON.stringify(line.length > 200 ? `${line.slice(0, 200)}…` : line));
  const body = `${c.body.length} bytes${c.isChunked ? " in chunks" : ""}`;
  const what = `case ${c.index} (${c.kind}), ${c.connection.mode}, body of ${body}, at ${c.now}:`;
  return [what, ...short].join("\n    ");
}

// --- sending ---

// A connection on which requests are spelt out, one after the other.
class Wire {
  constructor(url) {
    const { hostname, port } = new URL(url);
    this.address = { host: hostname, port: Number(port), noDelay: true };
  }

  // Gives status and body, or what went wrong.
  async exchange(pieces, isLast) {
    const isReused = this.socket !== undefined;
    const answer = await this.tryOnce(pieces);
    // It was closed while nobody was looking.
    const again = answer.problem !== undefined && isReused && answer.isSilent ? await this.tryOnce(pieces) : answer;
    if (isLast || again.problem !== undefined || again.isClosing) this.close();
    return again;
  }

  async tryOnce(pieces) {
    // What happens to it between two answers is of no interest, and must not end the process.
    this.socket ??= connect(this.address).on("error", () => {});
    const socket = this.socket;
    const read = readAnswer(socket);
    for (const piece of pieces) {
      socket.write(piece);
      if (piece !== pieces.at(-1)) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    const answer = await read;
    if (answer.problem !== undefined) this.close();
    return answer;
  }

  close() {
    this.socket?.destroy();
    this.socket = undefined;
  }
}

function readAnswer(socket) {
  return new Promise((resolve) => {
    let bytes = Buffer.alloc(0);
    const finish = (answer) => {
      clearTimeout(timer);
      for (const [event, listener] of Object.entries(listeners)) socket.off(event, listener);
      resolve(answer);
    };
    const fail = (problem) => finish({ problem, isSilent: bytes.length === 0 });
    const timer = setTimeout(() => fail("no answer"), PATIENCE_MS);
    const listeners = {
      data: (piece) => {
        bytes = Buffer.concat([bytes, piece]);
        const answer = parseAnswer(bytes);
        if (answer !== undefined) finish(answer);
      },
      error: () => fail("closed"),
      close: () => fail("closed"),
    };
    for (const [event, listener] of Object.entries(listeners)) socket.on(event, listener);
  });
}

// Nothing until all of it has come.
function parseAnswer(bytes) {
  const text = bytes.toString("latin1");
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return undefined;
  const head = text.slice(0, end);
  const rest = text.slice(end + 4);
  const status = Number(head.split(" ", 2)[1]);
  const isClosing = /^connection: *close/im.test(head);
  if (/^transfer-encoding: *chunked/im.test(head)) {
    let body = "";
    for (let at = 0; ;) {
      const line = rest.indexOf("\r\n", at);
      if (line < 0) return undefined;
      const length = Number.parseInt(rest.slice(at, line), 16);
      if (rest.length < line + 2 + length + 2) return undefined;
      if (length === 0) return { status, body, isClosing };
      body += rest.slice(line + 2, line + 2 + length);
      at = line + 2 + length + 2;
    }
  }
  const length = Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? 0);
  return rest.length < length ? undefined : { status, body: rest.slice(0, length), isClosing };
}

// --- the core ---

// By the id that it gave to the event: the answer goes to the sender as it is, whatever the body.
const kept = new Map();

function startCore() {
  const core = createServer(async (request, response) => {
    const hash = createHash("sha256");
    for await (const piece of request) hash.update(piece);
    const event = randomUUID();
    kept.set(event, { verdict: request.headers["x-smp-verdict"], digest: hash.digest("hex") });
    const answer = JSON.stringify({ status: "accepted", event_id: event });
    response.writeHead(200, { "content-type": "application/json", "x-smp-record-status": "accepted" }).end(answer);
  });
  // No connection is closed just as the edge uses it again.
  core.keepAliveTimeout = 0;
  core.listen(Number(options["core-port"]), "127.0.0.1");
  return once(core, "listening").then(() => core);
}

function found({ problem, status, body }) {
  if (problem !== undefined) return { word: problem };
  if (status !== 200) return { word: String(status) };
  try {
    const answer = JSON.parse(body);
    return { word: String(answer.status), event: answer.event_id };
  } catch {
    return { word: "not JSON" };
  }
}

function foundByEdge(c, answer) {
  const { word, event } = found(answer);
  if (word !== "accepted") return word;
  const record = kept.get(event);
  kept.delete(event);
  if (record === undefined) return "accepted, but by no core";
  if (record.digest !== createHash("sha256").update(c.body).digest("hex")) return "accepted, with another body";
  if (c.connection.mode !== "enforce") return record.verdict;
  return record.verdict === "verified" ? word : `accepted as ${record.verdict}`;
}

// --- comparing ---

const servers = [
  { who: "edge", url: options.edge, read: foundByEdge },
  { who: "nginx", url: options.nginx, read: (_, answer) => found(answer).word },
].filter(({ url }) => url !== undefined);
// How many were the same, explained, different.
const row = () => ({ cases: 0, edge: [0, 0, 0], nginx: [0, 0, 0] });
const table = Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, row()]));
const expectedWords = new Map();
const explained = new Map();
const differences = [];
let ticks = 0;

async function run(index, wires) {
  const c = makeCase(index);
  const from = Date.now();
  const results = await Promise.all(servers.map(async ({ who, read }) => {
    const answer = await wires[who].exchange(c.pieces, c.kind in MALFORMED);
    return { who, word: read(c, answer), until: Date.now() };
  }));
  table[c.kind].cases += 1;
  expectedWords.set(c.expected, (expectedWords.get(c.expected) ?? 0) + 1);
  for (const { who, word, until } of results) {
    // If the clock has moved on in between, nobody knows by which second it was judged.
    const first = Math.floor((from - LAG_MS) / 1000);
    const seconds = Array.from({ length: Math.floor(until / 1000) - first + 1 }, (_, passed) => first + passed);
    const right = new Set(seconds.map((second) => verdictAt(second, c.connection, c.judged)));
    if (right.size > 1) ticks += 1;
    const reason = right.has(word) ? undefined : explain(who, c, word, seconds);
    table[c.kind][who][right.has(word) ? 0 : reason === undefined ? 2 : 1] += 1;
    if (reason !== undefined) explained.set(reason, (explained.get(reason) ?? 0) + 1);
    else if (!right.has(word)) {
      differences.push(`${who} found ${word}, not ${[...right].join(" or ")}: ${describe(c)}`);
    }
  }
}

async function work(indices) {
  const wires = Object.fromEntries(servers.map(({ who, url }) => [who, new Wire(url)]));
  for (const index of indices) await run(index, wires);
  for (const wire of Object.values(wires)) wire.close();
}

function report(seconds) {
  const width = Math.max(...Object.keys(KINDS).map((kind) => kind.length));
  const line = (kind, cases, columns) => {
    const all = [cases, ...columns].map((text) => String(text).padStart(10)).join("");
    console.log(kind.padEnd(width) + all);
  };
  line("", "", servers.flatMap(({ who }) => ["", who, ""]));
  line("kind", "cases", servers.flatMap(() => ["same", "explained", "different"]));
  for (const [kind, row] of Object.entries(table)) {
    if (row.cases > 0) line(kind, row.cases, servers.flatMap(({ who }) => row[who]));
  }
  console.log(`expected: ${[...expectedWords].map(([word, times]) => `${times} ${word}`).join(", ")}`);
  console.log(`either verdict taken, as the second passed meanwhile: ${ticks}`);
  for (const { reason } of EXPLAINED.filter(({ who }) => servers.some((server) => server.who === who))) {
    console.log(`explained, ${explained.get(reason) ?? 0} times: ${reason}`);
  }
  for (const difference of differences.slice(0, 20)) console.log(`DIFFERENT: ${difference}`);
  if (differences.length > 20) console.log(`and ${differences.length - 20} more`);
  console.log(`${all.length} cases in ${seconds.toFixed(1)} s: ${differences.length} different`);
}

const only = options.only === undefined ? undefined : Number(options.only);
console.log(`seed ${seed} (--seed ${seed} makes the same cases; with --only CASE, that one alone)`);
const core = await startCore();
const started = Date.now();
const all = only === undefined ? Array.from({ length: count }, (_, index) => index) : [only];
const shares = Array.from({ length: AT_ONCE }, (_, worker) => all.filter((_, at) => at % AT_ONCE === worker));
await Promise.all(shares.map(work));
core.closeAllConnections();
core.close();
// What was refused must not have reached a core.
for (const { verdict } of kept.values()) differences.push(`the core got a record, ${verdict}, that was refused`);
if (only === undefined && count >= 1_000) {
  for (const word of Object.values(NAMES).flatMap(Object.values)) {
    const times = expectedWords.get(word) ?? 0;
    if (times < count / 200) differences.push(`only ${times} cases are ${word}: this would find nothing`);
  }
}
report((Date.now() - started) / 1000);
process.exitCode = differences.length === 0 ? 0 : 1;
