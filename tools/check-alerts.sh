#!/usr/bin/env bash
# What promtool does not see: each alert has its runbook page and a test where it fires, each page has its
# alert, and the metrics that the rules ask for are ones that a program has.
#
# Written for bash 3.2, the one macOS has.
set -euo pipefail
cd "$(dirname "$0")/.."
rules=infra/monitoring/rules tests=infra/monitoring/tests runbook=docs/runbook
sources='replication/src/serve.rs regional-core/src/metrics.rs
  edge-worker/src/metrics/totals.rs edge-worker/src/metrics/counts.rs'
problems=0

problem() { echo "$1" >&2; problems=$((problems + 1)); }

# MasterDataLagHigh → master-data-lag-high
kebab() { printf '%s' "$1" | sed 's/\([a-z0-9]\)\([A-Z]\)/\1-\2/g' | tr '[:upper:]' '[:lower:]'; }

pages=' '
alerts=$(sed -n 's/^ *- alert: *//p' $rules/*.yml | sort -u)
[ -n "$alerts" ] || problem "$rules: no alert is there"
for alert in $alerts; do
  page=$runbook/$(kebab "$alert").md
  pages="$pages$page "
  [ -s "$page" ] || problem "$alert: its page $page is not there"
  grep -q "^ *runbook_url: $page\$" $rules/*.yml || problem "$alert: no runbook_url is $page"
  # A test where it fires has the word `exp_alerts` in the line after its name.
  grep -h -A 1 "alertname: $alert\$" $tests/*.yml | grep -q exp_alerts || problem "$alert: no test where it fires"
done

for page in "$runbook"/*; do
  case $pages in *" $page "*) ;; *) problem "$page: no alert has this page" ;; esac
done

# A source has a metric's name as the rules do, or without what the encoder, a counter, a histogram or the unit adds.
metrics=$(sed 's/^ *#.*//' $rules/*.yml | grep -owE '(replication|pancake_webhook|edge)_[a-z_]+' | sort -u)
for metric in $metrics; do
  name=$metric
  # shellcheck disable=SC2086 # several files
  until grep -q "\"$name\"" $sources; do
    shorter=$(printf '%s' "$name" | sed -E 's/_(total|bucket|seconds)$//')
    [ "$shorter" != "$name" ] || { problem "$metric: the rules ask for it, and no source has it"; break; }
    name=$shorter
  done
done

[ $problems = 0 ] || exit 1
echo "$(echo "$alerts" | wc -l | tr -d ' ') alerts, each with a runbook page and a test; $(echo "$metrics" | wc -l | tr -d ' ') metrics"
