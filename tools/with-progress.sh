#!/usr/bin/env bash
# with-progress.sh WHAT COMMAND...: runs a command and says how long it has been running. Nothing is
# said of a command that is done within a second; all of its output is shown if it fails.
set -euo pipefail
what=$1; shift
log=$(mktemp)
trap 'rm -f "$log"' EXIT
started=$SECONDS
"$@" >"$log" 2>&1 &
job=$!
trap 'kill $job 2>/dev/null || :' INT TERM
elapsed=0
while kill -0 $job 2>/dev/null; do
  sleep 1
  elapsed=$((SECONDS - started))
  kill -0 $job 2>/dev/null || break
  if [ -t 1 ]; then
    printf '\r%s … %d s ' "$what" $elapsed
  elif [ $((elapsed % 30)) = 1 ]; then
    echo "$what … $elapsed s"
  fi
done
if wait $job; then
  [ $elapsed -le 1 ] && exit 0
  if [ -t 1 ]; then printf '\r'; fi
  echo "$what: done ($elapsed s)"
else
  code=$?
  if [ -t 1 ]; then echo; fi
  cat "$log" >&2
  echo "$what: failed after $elapsed s" >&2
  exit $code
fi
