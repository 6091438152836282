#!/usr/bin/env bash
# What promtool does not see: each alert has its runbook page and a test where it fires, each page has its alert, each
# rule says how urgent it is and which roll-back its page begins with, and the metrics that rules, dashboards and their
# samples name are ones that a program has.
#
# Written for bash 3.2, the one macOS has.
set -euo pipefail
cd "$(dirname "$0")/.."
rules=infra/monitoring/rules tests=infra/monitoring/tests runbook=docs/runbook
grafana=infra/monitoring/grafana
sources="replication/src/serve.rs edge-worker/src/metrics/totals.rs edge-worker/src/metrics/counts.rs
  $(find regional-core/src/metrics* -name '*.rs')"
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

# Alert, severity and tier of each rule; docs/incidents.md says what they mean.
while read -r alert severity tier; do
  case $severity in page | ticket) ;; *) problem "$alert: its severity is '$severity', not page or ticket" ;; esac
  case $tier in
    none) ;;
    1 | 2 | 3 | 4)
      grep -qis "tier $tier" "$runbook/$(kebab "$alert").md" ||
        problem "$alert: its tier is $tier, and its page does not say so" ;;
    *) problem "$alert: its tier is '$tier', not \"1\" to \"4\" or none" ;;
  esac
done < <(awk '
  function tell() { if (alert != "") print alert, severity == "" ? "-" : severity, tier == "" ? "-" : tier }
  /^ *- alert:/ { tell(); alert = $3; severity = tier = "" }
  /^ *severity:/ { severity = $2 }
  /^ *tier:/ { tier = $2; gsub(/"/, "", tier) }
  END { tell() }
' $rules/*.yml | sort -u)

# What is named there, but for the name of a breaker, which is a label's value.
metrics=$(sed -e 's/^ *#.*//' -e 's/name=\\*"[^"]*"//g' $rules/*.yml $grafana/*.json $tests/*.prom |
  grep -owE '(replication|pancake|edge|database_pool)_[a-z0-9_]+' | sort -u)
# A source has a metric's name as it is asked for, or without what the encoder, a counter, a histogram or the unit adds.
for metric in $metrics; do
  name=$metric
  # shellcheck disable=SC2086 # several files
  until grep -q "\"$name\"" $sources; do
    shorter=$(printf '%s' "$name" | sed -E 's/_(total|bucket|sum|count|seconds)$//')
    [ "$shorter" != "$name" ] || { problem "$metric: it is asked for, and no source has it"; break; }
    name=$shorter
  done
done

[ $problems = 0 ] || exit 1
echo "$(echo "$alerts" | wc -l | tr -d ' ') alerts, each with a runbook page and a test; $(echo "$metrics" | wc -l | tr -d ' ') metrics"
