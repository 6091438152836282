#!/usr/bin/env node
// Posts webhooks of all kinds to the edge as fast as it takes them, for as long as asked, and compares every answer
// with the one that was found before it was sent, with Node's crypto (webhooks.mjs). Meanwhile it looks at how much
// memory the edge has. No code of the project, no packages.
//
//   node tests/independent/soak.mjs --edge URL --core-port PORT --connections FILE --group PGID \
//     [--warm-up 250000] [--seconds 600] [--seed N] [--result FILE]
//
// The seconds begin when so many answers have come, and so does the judgement of the memory; without a warm-up
// (0) there is none.
//
// It plays the core: the edge's routes must lead to PORT. FILE is as readConnections reads it, the edge must take
// nothing from BLOCKED, and PGID is the process group of which the memory is looked at, by /proc.
// tests/e2e/soak.rs starts all of it.
//
// Ends with 1 if any answer differs, or if the memory grew.

import { createHash, randomInt } from "node:crypto";
import { once } from "node:events";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { connect } from "node:net";
import { cpus } from "node:os";
import { parseArgs } from "node:util";

import { describe, makeCase, NAMES, parseAnswer, readConnections, verdictAt, WELL_FORMED } from "./webhooks.mjs";

const { values: options } = parseArgs({
  options: {
    edge: { type: "string" }, "core-port": { type: "string" }, connections: { type: "string" },
    group: { type: "string" }, "warm-up": { type: "string", default: "250000" },
    seconds: { type: "string", default: "600" }, seed: { type: "string" }, result: { type: "string" },
  },
});
for (const name of ["edge", "core-port", "connections", "group"]) {
  if (options[name] === undefined) {
    console.error(`--${name} is missing`);
    process.exit(2);
  }
}
const warmUp = Number(options["warm-up"]);
const duration = Number(options.seconds);
const seed = options.seed ?? randomInt(2 ** 32);

const AT_ONCE = 32;
// Longer than any answer takes.
const PATIENCE_MS = 30_000;
// By how much a server's clock may lag behind ours: coarse clocks tick every few milliseconds.
const LAG_MS = 50;
const SAMPLE_MS = 1_000;
const PROGRESS_MS = 5_000;
// So many differences say what there is to say.
const DIFFERENCES_MAX = 100;

// --- the webhooks ---

// A network from which the edge takes nothing, and addresses of others.
const BLOCKED = "198.51.100.";
const OTHERS = ["192.0.2.", "203.0.113.", "2001:db8::"];

const refusal = (http, status) => `${http} {"status":"${status}"}`;

// What is not judged by its headers: the answer is the same in any mode.
const REFUSED = {
  "unknown token": [25, (c, r) => {
    c.token = r.pick([r.bytes(32).toString("hex"), c.token.slice(1), `${c.token}0`, "nobody"]);
    c.refusal = refusal(404, "unknown_token");
  }],
  "blocked address": [15, (c) => {
    c.address = BLOCKED;
    c.refusal = refusal(403, "ip_not_allowed");
  }],
  "not POST": [10, (c, r) => {
    c.method = r.pick(["PUT", "PATCH", "DELETE"]);
    // It is answered unread, and behind more than some 64 KiB of what was not read workerd hangs up.
    c.body = c.body.subarray(0, 4_096);
    c.refusal = refusal(405, "method_not_allowed");
  }],
};

// Six of ten are right, for those take the longest way.
const [, makeRight] = WELL_FORMED.right;
const changes = Object.entries({ ...WELL_FORMED, right: [400, makeRight], ...REFUSED });
const kinds = Object.fromEntries(changes.map(([name, [weight, change]]) => [name, [weight, (c, r) => {
  change(c, r);
  c.extra.push(`CF-Connecting-IP: ${c.address ?? r.pick(OTHERS)}${r.between(1, 250)}`);
}]]));

const lead = (r, noteBytes) => Buffer.from(JSON.stringify({
  id: r.bytes(16).toString("hex").replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12})$/, "$1-$2-4$3-8$4-$5"),
  name: "Nguyễn Thị Hồng", phone_number: "0901234567", email: "hong@example.com", source: ["-11"],
  modified_on: "2026-11-22T08:00:00Z", note: r.bytes(Math.ceil(noteBytes / 2)).toString("hex"),
}));

// Some 800 bytes, as leads are; one of 25 is longer, from 2 to 256 KiB.
const BODIES = [
  [76, (r) => lead(r, r.between(500, 700))],
  [8, (r) => lead(r, r.below(3_000))],
  [8, (r) => r.bytes(r.between(1, 3_000))],
  [4, (r) => Buffer.from(r.pick(["", "[]", "null", "{", "\0", '{"id":"\\ud800"}', '{"id":7}']))],
  [4, (r) => {
    const length = Math.round(2 ** (11 + r.below(701) / 100));
    return r.is(0.5) ? lead(r, length - 250) : r.bytes(length);
  }],
];

const MIX = { kinds, bodies: BODIES, chunked: 0.1, split: 0.02 };

// Each webhook is sent a few times before another takes its place, so that making them costs little beside
// sending them, and the times of what is sent are of now.
const PLACES = 4_096;
const TIMES = 8;
const AGE_MAX_SECONDS = 60;

const connections = readConnections(options.connections);
const places = new Array(PLACES);
let made = 0;
let taken = 0;

function take() {
  const at = taken % PLACES;
  taken += 1;
  const c = places[at];
  if (c !== undefined && c.left > 0 && c.now > Date.now() / 1000 - AGE_MAX_SECONDS) {
    c.left -= 1;
    return c;
  }
  const fresh = makeCase(seed, made, connections, MIX);
  // The first ones leave one after the other, not all at once.
  fresh.left = made < PLACES ? made % TIMES : TIMES - 1;
  fresh.digest = `sha-256=:${createHash("sha256").update(fresh.body).digest("base64")}:`;
  made += 1;
  places[at] = fresh;
  return fresh;
}

// What must come of it if it is judged in that second.
function expected(c, second) {
  if (c.refusal !== undefined) return c.refusal;
  const word = verdictAt(second, c.connection, c.judged);
  if (c.connection.mode !== "enforce") return `kept as ${word}`;
  return word === "accepted" ? "kept as verified" : refusal(200, word);
}

// All that may come of one.
const OUTCOMES = [
  ...Object.values(NAMES.observe).map((word) => `kept as ${word}`), `kept as ${NAMES.off.fresh}`,
  refusal(200, NAMES.enforce.stale), refusal(200, NAMES.enforce.invalid),
  refusal(404, "unknown_token"), refusal(403, "ip_not_allowed"), refusal(405, "method_not_allowed"),
];

// --- the core ---

// By what it answered, which goes to the sender as it is and is never the same.
const kept = new Map();
let keptEver = 0;
// Under which path the webhooks of a token come.
const paths = new Map();

function answerTo(body) {
  keptEver += 1;
  const status = body[0] !== 0x7b ? "invalid_payload" : keptEver % 8 === 0 ? "duplicate" : "accepted";
  return { status, text: `{"status":"${status}","event_id":"${String(keptEver).padStart(36, "0")}"}` };
}

function startCore() {
  const core = createServer((request, response) => {
    const pieces = [];
    request.on("data", (piece) => pieces.push(piece));
    request.on("end", () => {
      const body = pieces.length === 1 ? pieces[0] : Buffer.concat(pieces);
      const { status, text } = answerTo(body);
      kept.set(text, { path: request.url, headers: request.headers, body });
      const headers = { "content-type": "application/json", "content-length": text.length };
      // Without this header, as of something before a core, the edge reads the answer itself.
      if (keptEver % 16 !== 1) headers["x-smp-record-status"] = status;
      response.writeHead(200, headers).end(text);
    });
  });
  // No connection is closed just as the edge uses it again.
  core.keepAliveTimeout = 0;
  core.listen(Number(options["core-port"]), "127.0.0.1");
  return once(core, "listening").then(() => core);
}

function found(c, { problem, status, body }) {
  if (problem !== undefined) return problem;
  const record = kept.get(body);
  if (record === undefined) return `${status} ${body}`;
  kept.delete(body);
  if (status !== 200) return `kept, but answered ${status}`;
  if (!record.body.equals(c.body)) return "kept with another body";
  if (record.headers["content-digest"] !== c.digest) return "kept with another body's digest";
  if (!paths.has(c.token)) paths.set(c.token, record.path);
  if (paths.get(c.token) !== record.path) return `kept as of another connection, ${record.path}`;
  return `kept as ${record.headers["x-smp-verdict"]}`;
}

// --- sending ---

// A connection on which one request follows the other.
class Wire {
  constructor(url) {
    const { hostname, port } = new URL(url);
    this.address = { host: hostname, port: Number(port), noDelay: true };
  }

  // Gives status and body, or what went wrong.
  async exchange([first, second]) {
    if (this.socket === undefined) this.open();
    const { socket } = this;
    this.bytes = undefined;
    this.sentAt = performance.now();
    const answered = new Promise((resolve) => { this.resolve = resolve; });
    socket.write(first);
    if (second !== undefined) {
      // The answer may be there before it, if what is in it is not read.
      await new Promise((resolve) => setTimeout(resolve, 1));
      socket.write(second);
    }
    return answered;
  }

  open() {
    const socket = connect(this.address);
    this.socket = socket;
    socket.on("data", (piece) => {
      this.bytes = this.bytes === undefined ? piece : Buffer.concat([this.bytes, piece]);
      const answer = parseAnswer(this.bytes);
      if (answer === undefined) return;
      if (answer.isClosing) this.close();
      this.finish(answer);
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      if (socket === this.socket) this.fail("closed without an answer");
    });
  }

  fail(problem) {
    this.close();
    this.finish({ problem });
  }

  finish(answer) {
    const { resolve } = this;
    this.resolve = undefined;
    resolve?.(answer);
  }

  close() {
    this.socket?.destroy();
    this.socket = undefined;
  }
}

// In tenths of a millisecond.
const latencies = new Uint32Array(10_000);
const outcomes = new Map();
const differences = [];
let done = 0;
let ticks = 0;

function compare(c, answer, before, from, until) {
  const outcome = found(c, answer);
  done += 1;
  outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  if (outcome === before) return;
  // If the clock has moved on in between, nobody knows by which second it was judged.
  const first = Math.floor((from - LAG_MS) / 1000);
  const seconds = Array.from({ length: Math.floor(until / 1000) - first + 1 }, (_, passed) => first + passed);
  if (seconds.some((second) => expected(c, second) === outcome)) ticks += 1;
  else differences.push(`${outcome}, not ${before}: ${describe(c)}`);
}

const started = performance.now();
const elapsedSeconds = () => (performance.now() - started) / 1000;
// When the warm-up was done.
let warmAt = warmUp === 0 ? 0 : undefined;
const isOver = () => differences.length >= DIFFERENCES_MAX ||
  (warmAt !== undefined && elapsedSeconds() - warmAt >= duration);

async function work(wire) {
  while (!isOver()) {
    const c = take();
    const from = Date.now();
    const before = expected(c, Math.floor(from / 1000));
    const answer = await wire.exchange(c.pieces);
    const tenths = Math.floor((performance.now() - wire.sentAt) * 10);
    latencies[Math.min(tenths, latencies.length - 1)] += 1;
    compare(c, answer, before, from, Date.now());
    if (done === warmUp) warmAt = elapsedSeconds();
  }
  wire.close();
}

function percentileMs(share) {
  let left = done * share;
  return latencies.findIndex((times) => (left -= times) <= 0) / 10;
}

// --- the memory ---

const MB = 1_000_000;
// By how much the median of the last quarter of the time may be above that of the first. What V8 holds is nearly all
// garbage (1 MB is live), and it collects when it pleases: it takes more, step by step, until some 200,000 webhooks
// have gone through, and from then on some per cent more or less, as the rate goes up or down. A tenth of some 270 MB
// is what a million webhooks leave behind if each leaves 30 bytes.
const GROWTH_MAX = 0.1;

// Linux counts processor time in hundredths of a second for user space, on every architecture.
const TICKS_A_SECOND = 100;

// What the processes of the group have in memory, in bytes, and what processor time they have taken, in seconds.
function lookAtEdge() {
  const edge = { bytes: 0, processorSeconds: 0 };
  for (const pid of readdirSync("/proc").filter((name) => /^[0-9]+$/.test(name))) {
    try {
      // Behind the name in brackets: state, parent, group; user and system time are fields 14 and 15 (proc(5)).
      const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      if (fields[2] !== options.group) continue;
      const [, kilobytes] = /^VmRSS:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"));
      edge.bytes += Number(kilobytes) * 1024;
      edge.processorSeconds += (Number(fields[11]) + Number(fields[12])) / TICKS_A_SECOND;
    } catch {
      // It has ended meanwhile.
    }
  }
  if (edge.bytes === 0) throw new Error(`no process of group ${options.group} in /proc`);
  return edge;
}

const samples = [];

function sample() {
  samples.push({ second: elapsedSeconds(), ...lookAtEdge() });
  for (const wire of wires) {
    if (wire.resolve !== undefined && performance.now() - wire.sentAt > PATIENCE_MS) wire.fail("no answer");
  }
}

function median(numbers) {
  const sorted = numbers.toSorted((one, other) => one - other);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}

// --- the whole ---

function progress() {
  const seconds = elapsedSeconds();
  const parts = [
    `${seconds.toFixed(0).padStart(4)} s`, `${done} answers`, `${(done / seconds).toFixed(0)}/s`,
    `${differences.length} different`, `${(samples.at(-1).bytes / MB).toFixed(1)} MB`,
  ];
  if (warmAt === undefined) parts.push("warming up");
  console.log(parts.join(", "));
}

// The median of each quarter of the time after the warm-up, in MB; none if there was no such time.
function quarters() {
  const judged = samples.filter(({ second }) => second >= warmAt);
  const length = (elapsedSeconds() - warmAt) / 4;
  return [0, 1, 2, 3].map((quarter) => {
    const within = judged.filter(({ second }) => Math.min(Math.floor((second - warmAt) / length), 3) === quarter);
    return median(within.map(({ bytes }) => bytes)) / MB;
  });
}

function judgeMemory([first, , , last]) {
  if (warmUp === 0 || last <= first * (1 + GROWTH_MAX)) return;
  differences.push(`the memory grew from ${first.toFixed(1)} to ${last.toFixed(1)} MB`);
}

console.log(`seed ${seed} (--seed ${seed} makes the same webhooks, but for the time)`);
const core = await startCore();
const wires = Array.from({ length: AT_ONCE }, () => new Wire(options.edge));
sample();
const timers = [setInterval(sample, SAMPLE_MS), setInterval(progress, PROGRESS_MS)];
const cpuBefore = process.cpuUsage();
await Promise.all(wires.map(work));
const seconds = elapsedSeconds();
const cpu = process.cpuUsage(cpuBefore);
timers.forEach(clearInterval);
core.closeAllConnections();
core.close();
sample();
progress();

// What was refused must not have reached a core.
for (const { headers } of kept.values()) {
  differences.push(`the core got a record, ${headers["x-smp-verdict"]}, that was refused`);
}
if (new Set(paths.values()).size < paths.size) differences.push("two connections have one path to the core");
for (const outcome of OUTCOMES) {
  const times = outcomes.get(outcome) ?? 0;
  if (times < done / 500) differences.push(`only ${times} came to ${outcome}: this would find nothing`);
}
const resident = quarters();
judgeMemory(resident);
const processors = {
  edge: (samples.at(-1).processorSeconds - samples[0].processorSeconds) / seconds,
  sender: (cpu.user + cpu.system) / 1e6 / seconds,
};
const perSecond = done / seconds;
const [p50, p99] = [percentileMs(0.5), percentileMs(0.99)];
const inOrder = [...outcomes].toSorted((one, other) => other[1] - one[1]);

if (options.result !== undefined) {
  const result = {
    machine: { processor: cpus()[0]?.model, processors: cpus().length, node: process.version },
    seed: String(seed), seconds, warm_up_seconds: warmAt, connections: AT_ONCE, webhooks: made, answers: done,
    answers_per_second: perSecond, different: differences.length, outcomes: Object.fromEntries(inOrder), p50_ms: p50, p99_ms: p99, processors,
    resident_mb_by_quarter: resident, resident_mb: samples.map(({ second, bytes }) => [second, bytes / MB]),
  };
  const round = (_, value) => (typeof value === "number" ? Math.round(value * 100) / 100 : value);
  writeFileSync(options.result, `${JSON.stringify(result, round)}\n`);
}
for (const [outcome, times] of inOrder.slice(0, 30)) console.log(`${String(times).padStart(9)} ${outcome}`);
console.log(`either verdict taken, as the second passed meanwhile: ${ticks}`);
console.log(`${made} webhooks, each sent some ${TIMES} times; ${AT_ONCE} at once: p50 ${p50} ms, p99 ${p99} ms`);
console.log(`processors: ${processors.edge.toFixed(2)} by the edge, ${processors.sender.toFixed(2)} by sender and core`);
console.log(`resident, the median of each quarter: ${resident.map((mb) => mb.toFixed(1)).join(", ")} MB`);
for (const difference of differences.slice(0, 20)) console.log(`DIFFERENT: ${difference}`);
console.log(`${done} answers in ${seconds.toFixed(1)} s, ${perSecond.toFixed(0)}/s: ${differences.length} different`);
process.exitCode = differences.length === 0 ? 0 : 1;
