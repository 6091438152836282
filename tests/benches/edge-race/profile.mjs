#!/usr/bin/env node
// Where a contender of `platform bench edge` spends its processor time: V8's sampling profiler, asked over
// workerd's inspector while wrk sends signed webhooks. Native code that JavaScript calls counts for the
// JavaScript that calls it; all that is outside of it (HTTP, sockets, the event loop) is "(program)".

import { spawn, spawnSync } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

const HELP = `Usage: node tests/benches/edge-race/profile.mjs [options] [contender…]

Prints which functions of a contender take how much of its processor time, by their own time.
Contenders are those that 'platform bench edge' has started once in this checkout: it bundles them and writes
their configurations to .run/bench/edge/. Without a name: ours, jsfull and buf.

Options:
  --seconds <n>  how long each is watched, after as long a warm-up (5)
  --top <n>      how many functions are shown of each (25)
  --bytes <n>    length of the body, of 155 at least (800)
  --lines        by line of source, not by function
  --save         also writes <contender>.cpuprofile there, which Chrome's DevTools open
  --help         this text`;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: "string", default: "5" }, top: { type: "string", default: "25" },
    bytes: { type: "string", default: "800" }, lines: { type: "boolean" }, save: { type: "boolean" },
    help: { type: "boolean" },
  },
});
const root = join(import.meta.dirname ?? new URL(".", import.meta.url).pathname, "../../..");
const directory = join(root, ".run/bench/edge");
const require = createRequire(join(root, "package.json"));
// Node has a WebSocket of its own from version 22 on; below, the one that wrangler brings is taken.
const WebSocket = globalThis.WebSocket ?? require("ws");

const running = [];

function start(program, args) {
  const child = spawn(program, args, { stdio: ["ignore", "ignore", "pipe"] });
  child.log = "";
  child.stderr.on("data", (data) => { child.log += data; });
  child.on("error", (error) => { child.log += error; });
  running.push(child);
  return child;
}

async function stop(child) {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  child.kill();
  await once(child, "exit");
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  return port;
}

// As tests/src/bench/edge/webhook.rs makes it.
function webhook() {
  const lead = {
    id: "6f0c6d3e-5a0f-4a8e-9d31-0a5b7b4a6c11", name: "Nguyễn Thị Hồng", phone_number: "0901234567",
    modified_on: "2026-11-22T08:00:00Z", note: "",
  };
  lead.note = "x".repeat(Math.max(0, Number(options.bytes) - Buffer.byteLength(JSON.stringify(lead))));
  const body = JSON.stringify(lead);
  const timestamp = String(Math.floor(Date.now() / 1000));
  const signature = createHmac("sha256", "secret").update(`${timestamp}.${body}`).digest("hex");
  const headers = {
    "content-type": "application/json", "cf-connecting-ip": "192.0.2.7",
    "x-pancake-timestamp": timestamp, "x-pancake-signature": signature,
  };
  return { method: "POST", body, headers };
}

async function waitUntilItAnswers(url, worker) {
  for (let attempt = 0; attempt < 100; attempt++) {
    const answer = await fetch(url, webhook()).then((response) => response.text(), () => "");
    if (answer === '{"status":"accepted"}') return;
    await sleep(100);
  }
  throw new Error(`it does not answer: ${worker.log}`);
}

function load(url) {
  const { body, headers } = webhook();
  writeFileSync(join(directory, "profile-body"), body);
  const script = join(directory, "profile.lua");
  const lines = Object.entries(headers).map(([name, value]) => `wrk.headers["${name}"] = "${value}"\n`);
  const file = JSON.stringify(join(directory, "profile-body"));
  writeFileSync(script, `wrk.method = "POST"\nwrk.body = io.open(${file}):read("a")\n${lines.join("")}`);
  return start("wrk", ["-t1", "-c32", `-d${2 * Number(options.seconds) + 2}s`, "-s", script, url]);
}

// The profile of what happens meanwhile, as the Chrome DevTools Protocol has it.
async function profile(inspectorPort) {
  const targets = await (await fetch(`http://127.0.0.1:${inspectorPort}/json`)).json();
  const socket = new WebSocket(targets[0].webSocketDebuggerUrl);
  await new Promise((resolve, reject) => { socket.onopen = resolve; socket.onerror = reject; });
  const waiting = new Map();
  socket.onmessage = ({ data }) => {
    const { id, result, error } = JSON.parse(data);
    const answer = waiting.get(id);
    if (error === undefined) answer?.resolve(result);
    else answer?.reject(new Error(error.message));
  };
  let last = 0;
  const call = (method, params) => new Promise((resolve, reject) => {
    waiting.set(++last, { resolve, reject });
    socket.send(JSON.stringify({ id: last, method, params }));
  });
  await call("Profiler.enable");
  await call("Profiler.setSamplingInterval", { interval: 200 });
  await call("Profiler.start");
  await sleep(Number(options.seconds) * 1000);
  const { profile } = await call("Profiler.stop");
  socket.close();
  return profile;
}

function nameOf({ functionName, url, lineNumber }) {
  const file = url.split("/").at(-1);
  return `${functionName || "(anonymous)"}${file === "" ? "" : `  ${file}:${lineNumber + 1}`}`;
}

// Samples by what the processor was in itself, not in what that called.
function samplesByName({ nodes }) {
  const samples = new Map();
  const add = (name, number) => samples.set(name, (samples.get(name) ?? 0) + number);
  for (const { callFrame, hitCount, positionTicks } of nodes) {
    const lines = options.lines && callFrame.url !== "" ? positionTicks : undefined;
    for (const { line, ticks } of lines ?? []) add(nameOf({ ...callFrame, lineNumber: line - 1 }), ticks);
    if (lines === undefined) add(nameOf(callFrame), hitCount);
  }
  samples.delete("(idle)");
  return [...samples].filter(([, number]) => number > 0).sort(([, a], [, b]) => b - a);
}

function print(name, samples) {
  const all = samples.reduce((sum, [, number]) => sum + number, 0);
  console.log(`\n${name}: ${all} samples, without idle time`);
  for (const [where, number] of samples.slice(0, Number(options.top))) {
    console.log(`${(100 * number / all).toFixed(1).padStart(6)} %  ${where}`);
  }
}

async function run(name) {
  const config = join(directory, `${name}.capnp`);
  if (!existsSync(config)) throw new Error(`${config} is missing: run 'platform bench edge' once`);
  const [port, inspectorPort] = [await freePort(), await freePort()];
  const worker = start(require("workerd").default, [
    "serve", config, `--socket-addr=http=127.0.0.1:${port}`, `--inspector-addr=127.0.0.1:${inspectorPort}`,
  ]);
  const url = `http://127.0.0.1:${port}/api/pancake/record/tok`;
  await waitUntilItAnswers(url, worker);
  const sender = load(url);
  await sleep(Number(options.seconds) * 1000); // V8 compiles what is hot
  const found = await profile(inspectorPort);
  if (sender.exitCode !== null) throw new Error(`wrk ended early: ${sender.log}`);
  await stop(sender);
  await stop(worker);
  if (options.save) writeFileSync(join(directory, `${name}.cpuprofile`), JSON.stringify(found));
  print(name, samplesByName(found));
}

async function main() {
  if (options.help) return console.log(HELP);
  if (spawnSync("wrk", ["-v"]).error) throw new Error("wrk is missing: install it, or run 'platform bench edge' once");
  start("nginx", ["-c", join(directory, "upstream.conf"), "-e", join(directory, "upstream.err")]);
  for (const name of positionals.length > 0 ? positionals : ["ours", "jsfull", "buf"]) await run(name);
}

main()
  .catch((error) => {
    console.error(`profile: ${error.message}`);
    process.exitCode = 1;
  })
  .finally(() => Promise.all(running.map(stop)));
