#!/usr/bin/env bash
# Builds the Worker: edge-worker/build/index_bg.{js,wasm}, which edge-worker/entry.js imports.
#
# wrangler calls this before it bundles; so do the Makefile's targets. The steps are worker-build's,
# without its shim: that wraps the Worker in two proxies and a class, through which each request would
# have to pass (ARCHITECTURE.md, "The edge's hot path").
set -euo pipefail
cd "$(dirname "$0")/.."
[ -f .toolchain/env.sh ] || { echo "the wasm toolchain is missing: run 'make setup'" >&2; exit 1; }
# shellcheck source=/dev/null
. .toolchain/env.sh

target=wasm32-unknown-unknown
# SHA-256 has a simd128 implementation; every Worker runtime has had simd128 since 2021.
# A directory of its own: another compiler may build this than the one that builds the rest.
# All is built as small as can be but the hashes, which each webhook passes through: most of the code reads and shows.
# Where this machine keeps its files is nobody's business.
flags="-Ctarget-feature=+simd128 --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}/registry/src= --remap-path-prefix=$PWD="
RUSTFLAGS="$flags" CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_OPT_LEVEL=z \
  cargo build --quiet --locked --release --target $target --package edge-worker --target-dir target/edge \
  --config 'profile.release.package.sha2.opt-level=3' \
  --config 'profile.release.package.hmac.opt-level=3'

out=edge-worker/build
built=target/edge/$target/release/edge_worker.wasm
# Nothing changed since the last time.
[ ! "$built" -nt "$out/index_bg.wasm" ] && [ ! "$0" -nt "$out/index_bg.wasm" ] && exit 0

rm -rf "$out.new"
"$WASM_BINDGEN_BIN" "$built" \
  --out-dir "$out.new" --out-name index --target bundler --no-typescript
"$WASM_OPT_BIN" -O3 --converge "$out.new/index_bg.wasm" -o "$out.new/index_bg.wasm"
# An instance that trapped is replaced (edge-worker/entry.js). What JS holds of it refuses to meet the next one by this
# number, which the glue raises for other targets only.
grep -q '^let __wbg_instance_id = 0;$' "$out.new/index_bg.js" ||
  { echo "wasm-bindgen's glue counts its instances in another way: see tools/build-edge.sh" >&2; exit 1; }
echo 'export function next_instance() { __wbg_instance_id += 1; }' >> "$out.new/index_bg.js"
rm -f "$out.new/index.js" "$out.new/package.json"
rm -rf "$out"
mv "$out.new" "$out"
