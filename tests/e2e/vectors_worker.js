// Asks the edge's own wasm, as entry.js does, but at times that the questions bring with them. Test
// only: `vectors.rs` serves it on workerd.

import * as glue from "./build/index_bg.js";
import wasmModule from "./build/index_bg.wasm";

let wasm, constants;

async function instantiate(env) {
  wasm = new WebAssembly.Instance(wasmModule, { "./index_bg.js": glue }).exports;
  glue.__wbg_set_wasm(wasm);
  wasm.__wbindgen_start?.();
  glue.configure(env);
  constants = JSON.parse(glue.constants());
  const sealed = await env.CONNECTIONS.get(constants.source.key, "arrayBuffer");
  if (glue.take_connections(new Uint8Array(sealed)) !== 1) throw new Error("the connections were not taken");
}

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function judge({ token, timestamp, signature, body_base64, now }) {
  const start = wasm.buffer();
  const encode = (text) => (text === null ? null : new TextEncoder().encode(text));
  const parts = [encode(token), encode(timestamp), encode(signature), bytesOf(body_base64)];
  const lengths = [];
  let at = start;
  for (const part of parts) {
    if (part === null) {
      lengths.push(-1);
      continue;
    }
    new Uint8Array(wasm.memory.buffer).set(part, at);
    at += part.length;
    lengths.push(part.length);
  }
  const code = wasm.judge(-1, ...lengths, now);
  if (code < 0) {
    return { answer: JSON.parse(constants.answers[-1 - code].body).status, hop: null };
  }
  // Before anything else, for whatever calls into wasm may write there.
  const { digest, signature: signatureBytes } = constants.limits;
  const values = String.fromCharCode(
    ...new Uint8Array(wasm.memory.buffer, start, digest + signatureBytes),
  );
  const { url, headers, signature_input } = JSON.parse(glue.plan(code));
  return {
    answer: null,
    hop: {
      url,
      headers: [
        ...headers,
        ["content-digest", values.slice(0, digest)],
        ["signature", values.slice(digest)],
        ["signature-input", signature_input[0] + now + signature_input[1]],
      ],
    },
  };
}

export default {
  async fetch(request, env) {
    if (wasm === undefined) await instantiate(env);
    if (request.method === "GET") return new Response("ok");
    return Response.json((await request.json()).map(judge));
  },
};
