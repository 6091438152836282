#!/usr/bin/env node
// Posts thousands of webhooks, right ones and wrong ones of every kind, and compares what the edge finds with
// what Node's crypto finds (webhooks.mjs); with --nginx, what nginx and Lua find too. No code of the project,
// no packages.
//
//   node tests/independent/differential.mjs --edge URL --core-port PORT --connections FILE \
//     [--nginx URL] [--cases 5000] [--seed N] [--only CASE]
//
// It plays the core: the edge's routes must lead to PORT. FILE is as readConnections reads it.
// tests/e2e/differential.rs starts all of it.
//
// Ends with 1 if any verdict differs and the difference is not one of EXPLAINED.

import { createHash, randomInt, randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { connect } from "node:net";
import { parseArgs } from "node:util";

import {
  describe, EVERYTHING, judge, makeCase, MALFORMED, NAMES, parseAnswer, readConnections, trimmed, verdictAt,
} from "./webhooks.mjs";

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

const connections = readConnections(options.connections);

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
const table = Object.fromEntries(Object.keys(EVERYTHING.kinds).map((kind) => [kind, row()]));
const expectedWords = new Map();
const explained = new Map();
const differences = [];
let ticks = 0;

async function run(index, wires) {
  const c = makeCase(seed, index, connections, EVERYTHING);
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
  const width = Math.max(...Object.keys(EVERYTHING.kinds).map((kind) => kind.length));
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
