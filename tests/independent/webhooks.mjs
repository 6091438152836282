// The rule of docs/webhooks.md ("Signature", "Modes", "Verdicts") with Node's crypto, and webhooks to try it on,
// right ones and wrong ones of every kind. No code of the project, no packages.

import { createHash, createHmac } from "node:crypto";
import { readFileSync } from "node:fs";

// --- the rule ---

const WINDOW_SECONDS = 300n;

// Header values are strings of which each character is a byte, so that nothing re-encodes them.
const bytesOf = (text) => Buffer.from(text, "latin1");

// RFC 9110, 5.5: spaces and tabs around a value are not part of it.
export const trimmed = (line) => line.replace(/^[ \t]+|[ \t]+$/g, "");

const sign = (secret, timestamp, body, joint = ".") =>
  createHmac("sha256", secret).update(bytesOf(timestamp + joint)).update(body).digest("hex");

// A header that is absent or sent twice has no value.
const valueOf = (lines, read) => (lines.length === 1 ? read(lines[0]) : null);

// What does not depend on the time: when it was sent, nothing if that cannot be read, and whether it is signed.
export function judge({ secrets }, { timestamps, signatures }, body, read = trimmed) {
  const timestamp = valueOf(timestamps, read);
  if (timestamp === null || !/^[0-9]{1,19}$/.test(timestamp)) return { sentAt: null, isSigned: false };
  const signature = valueOf(signatures, read);
  const isHex = signature !== null && /^[0-9a-fA-F]{64}$/.test(signature);
  const isSigned = isHex && secrets.some((secret) => sign(secret, timestamp, body) === signature.toLowerCase());
  return { sentAt: BigInt(timestamp), isSigned };
}

export const NAMES = {
  enforce: { fresh: "accepted", stale: "timestamp_out_of_window", invalid: "hmac_invalid" },
  observe: { fresh: "verified", stale: "stale", invalid: "invalid" },
  off: { fresh: "unsigned", stale: "unsigned", invalid: "unsigned" },
};

// The answer's status in `enforce`, else the verdict that reaches the core.
export function verdictAt(second, { mode }, { sentAt, isSigned }) {
  const distance = sentAt === null ? null : sentAt - BigInt(second);
  const isFresh = distance !== null && distance <= WINDOW_SECONDS && distance >= -WINDOW_SECONDS;
  return NAMES[mode][!isFresh ? "stale" : isSigned ? "fresh" : "invalid"];
}

// --- chance ---

// mulberry32; each case has its own, so that none depends on which was sent before it.
function chance(seed, index) {
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

const SMALL_BODIES = [
  [10, () => Buffer.alloc(0)],
  [10, (r) => Buffer.from([r.below(256)])],
  [30, (r) => Buffer.from(JSON.stringify(lead(r)))],
  [5, () => Buffer.from("[]")],
  [10, (r) => Buffer.from(r.pick(["\r\n\r\n", "0\r\n\r\n", "\0", ".", "1.", " ", "\ufeff{}", '{"id":"\\ud800"}']))],
  [25, (r) => r.bytes(r.between(2, 3_000))],
];

const BODIES = [
  ...SMALL_BODIES,
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
export const MALFORMED = {
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

// What is wrong with it, if anything is, in a request that is well-formed.
export const WELL_FORMED = {
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
};

// All that is made: kinds and bodies with their weights, and the shares of bodies that go in chunks and of
// requests that go in two pieces.
export const EVERYTHING = { kinds: { ...WELL_FORMED, ...MALFORMED }, bodies: BODIES, chunked: 0.2, split: 0.15 };

// A line is a token, a mode, and the secrets in hex, all with a space between.
export function readConnections(file) {
  return readFileSync(file, "utf8").trim().split("\n").map((line) => {
    const [token, mode, ...secrets] = line.split(" ");
    return { token, mode, secrets: secrets.map((secret) => Buffer.from(secret, "hex")) };
  });
}

// Of the connections of each mode there must be one at least.

export function makeCase(seed, index, connections, { kinds, bodies, chunked, split }) {
  const r = chance(seed, index);
  const now = Math.floor(Date.now() / 1000);
  const kind = r.weighted(Object.entries(kinds).map(([name, [weight]]) => [weight, name]));
  const mode = r.weighted([[65, "enforce"], [28, "observe"], [7, "off"]]);
  const connection = r.pick(connections.filter((one) => one.mode === mode));
  const foreign = connections.filter((one) => one !== connection).flatMap(({ secrets }) => secrets);
  const c = {
    index, kind, now, connection, foreign, method: "POST", token: connection.token, extra: [], lineEnd: "\r\n",
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
  c.body = r.weighted(kind in MALFORMED ? SMALL_BODIES : bodies)(r);
  c.secret = c.live[0];
  c.stamp(now);
  kinds[kind][1](c, r);
  c.judged = judge(connection, c, c.body);
  c.expected = verdictAt(now, connection, c.judged);
  c.pieces = spell(c, r, chunked, split);
  return c;
}

function spell(c, r, chunked, split) {
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
  c.isChunked = r.is(chunked);
  const length = c.isChunked ? "Transfer-Encoding: chunked" : `Content-Length: ${c.body.length}`;
  const first = `${c.method} /api/pancake/record/${c.token} HTTP/1.1`;
  const head = [first, "Host: differential", ...c.lines, length, "", ""].join(c.lineEnd);
  const request = Buffer.concat([bytesOf(head), ...(c.isChunked ? chunks(c.body, r) : [c.body])]);
  if (c.kind in MALFORMED || !r.is(split)) return [request];
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

export function describe(c) {
  const short = c.lines.map((line) => JSON.stringify(line.length > 200 ? `${line.slice(0, 200)}…` : line));
  const body = `${c.body.length} bytes${c.isChunked ? " in chunks" : ""}`;
  const what = `case ${c.index} (${c.kind}), ${c.connection.mode}, body of ${body}, at ${c.now}:`;
  return [what, ...short].join("\n    ");
}

// --- the answer ---

// Nothing until all of it has come.
export function parseAnswer(bytes) {
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

