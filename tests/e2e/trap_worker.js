// The edge, whose wasm traps when a request asks for it: its next call into `judge` throws what a trap throws. Test only:
// `connections.rs` serves it on workerd.

import edge from "./entry.js";
export { ConnectionRegistry, EdgeMetrics, SpoolShard } from "./entry.js";

let trap = false;
const { Instance } = WebAssembly;
WebAssembly.Instance = class {
  constructor(module, imports) {
    const exports = { ...new Instance(module, imports).exports };
    const { judge } = exports;
    exports.judge = (...args) => {
      if (!trap) return judge(...args);
      trap = false;
      throw new WebAssembly.RuntimeError("unreachable");
    };
    this.exports = exports;
  }
};

export default {
  fetch(request, env, context) {
    if (request.headers.has("x-test-trap")) trap = true;
    return edge.fetch(request, env, context);
  },
};
