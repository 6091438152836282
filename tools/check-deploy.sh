#!/usr/bin/env bash
# What `wrangler deploy` would send, for each environment: it is bundled, and not sent. A warning is a mistake.
#
# Written for bash 3.2, the one macOS has.
set -euo pipefail
cd "$(dirname "$0")/.."
export WRANGLER_SEND_METRICS=false CI=1
for environment in "" staging; do
  name=${environment:-production}
  # What an earlier run left has other names.
  rm -rf "target/deploy/$name"
  if ! output=$(node node_modules/wrangler/bin/wrangler.js deploy --dry-run --env="$environment" \
    --outdir "target/deploy/$name" 2>&1) || printf '%s' "$output" | grep -qE 'WARNING|ERROR'; then
    printf '%s\n' "$output" >&2
    echo "$name: wrangler would not deploy this" >&2
    exit 1
  fi
  # The wasm, as the platform weighs it.
  bytes=$(cat target/deploy/"$name"/*.wasm | gzip -9c | wc -c | tr -d ' ')
  [ "$bytes" -le 204800 ] || { echo "$name: the wasm has $bytes bytes gzipped; 204800 are the limit" >&2; exit 1; }
  echo "$name: wrangler would deploy this; the wasm has $bytes bytes gzipped"
done
