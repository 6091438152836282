#!/usr/bin/env bash
# Alertmanager takes infra/monitoring/alertmanager.yml, sends each alert to whom it is for, and holds back what
# follows from another.
#
# Written for bash 3.2, the one macOS has.
set -euo pipefail
cd "$(dirname "$0")/.."
config=infra/monitoring/alertmanager.yml rules=infra/monitoring/rules
problems=0 routes=0

problem() { echo "$1" >&2; problems=$((problems + 1)); }

if ! output=$(amtool check-config $config 2>&1); then
  printf '%s\n' "$output" >&2
  exit 1
fi
inhibit_rules=$(printf '%s\n' "$output" | sed -n 's/^ - \([0-9]*\) inhibit rules.*/\1/p')

# Labels, and the receivers that they lead to.
while IFS='|' read -r labels expected; do
  [ -n "$labels" ] || continue
  routes=$((routes + 1))
  # shellcheck disable=SC2086 # several labels
  found=$(amtool config routes test --config.file=$config $labels 2>/dev/null)
  [ "$found" = "$expected" ] || problem "$config: an alert with $labels goes to $found, not to $expected"
done <<'TABLE'
severity=ticket tier=none|team
severity=ticket tier=1|team
severity=ticket tier=2|team
severity=ticket tier=3|team
severity=ticket tier=4|team
severity=page tier=none|on-call
severity=page tier=1|on-call-tier-1
severity=page tier=2|on-call-tier-2
severity=page tier=3|on-call-tier-3
severity=page tier=4|on-call-tier-4
severity=page|on-call
severity=ticket|team
alertname=WithoutLabels|on-call
severity=urgent tier=none|on-call
alertname=IngestMetricsGone severity=page tier=2 region=smp-asia|on-call-tier-2
alertname=PancakeDeadLetters severity=ticket tier=1 region=smp-asia country=VN|team
alertname=PancakeDeadLettersExplode severity=page tier=1 region=smp-asia country=VN|on-call-tier-1
alertname=PancakeConnectionSuspended severity=page tier=4 region=smp-asia country=VN connection=vn-main|on-call-tier-4
alertname=MasterDataTableDiffers severity=page tier=none region=smp-asia table=currency|on-call
TABLE

# A renamed alert would leave its inhibition behind, and nothing else would notice.
for alert in $(grep -owE '(CoreTargetDown|(Pancake|Ingest|Edge|Hop|MasterData|Replicator)[A-Za-z]+)' $config | sort -u); do
  grep -q "^ *- alert: $alert\$" $rules/*.yml || problem "$config: it names $alert, and no rule does"
done

# Alertmanager has no command that tells what is inhibited, so its rule is written down here once more: an alert that
# matches `target_matchers` is held back by one that matches `source_matchers` if both have the same values, or none,
# of the labels in `equal`. Each row: whether the first holds back the second. With each 'yes' stand those 'no' that
# somebody must hear.
inhibitions() {
  cat <<'TABLE'
yes|alertname=EdgeSpoolWaits, severity=page, region=a|alertname=EdgeSpoolWaits, severity=ticket, region=a
no|alertname=EdgeSpoolWaits, severity=page, region=a|alertname=EdgeSpoolWaits, severity=ticket, region=b
no|alertname=EdgeSpoolWaits, severity=ticket, region=a|alertname=EdgeSpoolWaits, severity=page, region=a
yes|alertname=PancakeDeadLetters, severity=page, region=a, country=VN|alertname=PancakeDeadLetters, severity=ticket, region=a, country=VN
no|alertname=PancakeDeadLetters, severity=page, region=a, country=VN|alertname=PancakeDeadLetters, severity=ticket, region=a, country=TH
no|alertname=HopClockSkew, severity=page, region=a, instance=1|alertname=HopClockSkew, severity=ticket, region=a, instance=2
no|alertname=EdgeConnectionsNotRead, severity=page, from=registry|alertname=EdgeConnectionsNotRead, severity=ticket, from=kv
no|alertname=PancakeMetricsGone, severity=page, region=a, metric=x|alertname=PancakeMetricsGone, severity=ticket, region=a, metric=y
no|alertname=PancakeWatermarkStandsStill, severity=page, region=a, country=VN, connection=1, table=lead|alertname=PancakeWatermarkStandsStill, severity=ticket, region=a, country=VN, connection=1, table=contact
yes|alertname=PancakeSuspensionNear, severity=page, used=75 %, connection=1|alertname=PancakeSuspensionNear, severity=page, used=50 %, connection=1
yes|alertname=PancakeSuspensionNear, severity=page, used=50 %, connection=1|alertname=PancakeSuspensionNear, severity=ticket, used=25 %, connection=1
no|alertname=PancakeSuspensionNear, severity=page, used=50 %, connection=1|alertname=PancakeSuspensionNear, severity=page, used=75 %, connection=1
yes|alertname=IngestMetricsGone, severity=page, region=a|alertname=CoreTargetDown, severity=ticket, region=a, instance=1
yes|alertname=IngestMetricsGone, severity=page|alertname=CoreTargetDown, severity=ticket, region=a, instance=1
no|alertname=IngestMetricsGone, severity=page, region=a|alertname=CoreTargetDown, severity=ticket, region=b, instance=1
no|alertname=CoreTargetDown, severity=ticket, region=a, instance=1|alertname=IngestMetricsGone, severity=page, region=a
no|alertname=IngestMetricsGone, severity=page|alertname=IngestMetricsGone, severity=page, region=a
yes|alertname=IngestMetricsGone, severity=page, region=a|alertname=PancakeMetricsGone, severity=page, region=a, metric=x
yes|alertname=IngestMetricsGone, severity=page, region=a|alertname=PancakeJobOverdue, severity=ticket, region=a, country=VN, task=poll
no|alertname=IngestMetricsGone, severity=page, region=a|alertname=PancakeJobOverdue, severity=ticket, region=b, country=CN, task=poll
yes|alertname=IngestMetricsGone, severity=page, region=a|alertname=EdgeSpoolWaits, severity=ticket, region=a
no|alertname=IngestMetricsGone, severity=page, region=a|alertname=EdgeSpoolWaits, severity=page, region=a
yes|alertname=MasterDataRegionMetricsGone, severity=page, region=a|alertname=ReplicatorTargetDown, severity=ticket, region=a, instance=1
no|alertname=MasterDataRegionMetricsGone, severity=page, region=a|alertname=ReplicatorTargetDown, severity=ticket, region=b, instance=1
yes|alertname=PancakeConnectionSuspended, severity=page, region=a, country=VN, connection=1|alertname=PancakeSuspensionNear, severity=page, used=75 %, connection=1
yes|alertname=PancakeConnectionSuspended, severity=page, region=a, country=VN, connection=1|alertname=PancakeOutage, severity=page, closed=webhooks, region=a, country=VN, connection=1
no|alertname=PancakeConnectionSuspended, severity=page, region=a, country=VN, connection=1|alertname=PancakeOutage, severity=page, closed=both ways, region=a, country=VN, connection=1
no|alertname=PancakeConnectionSuspended, severity=page, region=a, country=VN, connection=1|alertname=PancakeOutage, severity=page, closed=webhooks, region=a, country=TH, connection=1
yes|alertname=PancakeConnectionSuspended, severity=page, region=a, country=VN, connection=1|alertname=PancakeWatermarkStandsStill, severity=ticket, region=a, country=VN, connection=1, table=lead
no|alertname=PancakeConnectionSuspended, severity=page, region=a, country=VN, connection=1|alertname=PancakeWatermarkStandsStill, severity=page, region=a, country=VN, connection=1, table=lead
no|alertname=PancakeConnectionSuspended, severity=page, region=a, country=VN, connection=1|alertname=PancakeWatermarkStandsStill, severity=ticket, region=a, country=VN, connection=2, table=lead
yes|alertname=PancakeApiKeyRefused, severity=ticket, region=a, country=VN, connection=1|alertname=PancakeWatermarkStandsStill, severity=ticket, region=a, country=VN, connection=1, table=lead
no|alertname=PancakeApiKeyRefused, severity=ticket, region=a, country=VN, connection=1|alertname=PancakeWatermarkStandsStill, severity=page, region=a, country=VN, connection=1, table=lead
no|alertname=PancakeApiKeyRefused, severity=ticket, region=a, country=VN, connection=1|alertname=PancakeWatermarkStandsStill, severity=ticket, region=a, country=VN, connection=2, table=lead
yes|alertname=PancakeApiKeyRefused, severity=ticket, region=a, country=VN, connection=1|alertname=PancakeJobOverdue, severity=ticket, region=a, country=VN, task=poll
no|alertname=PancakeApiKeyRefused, severity=ticket, region=a, country=VN, connection=1|alertname=PancakeJobOverdue, severity=ticket, region=a, country=TH, task=poll
no|alertname=PancakeApiKeyRefused, severity=ticket, region=a, country=VN, connection=1|alertname=PancakeJobOverdue, severity=ticket, region=a, country=VN, task=stuck_events
yes|alertname=PancakeRestBreakerOpen, severity=page, region=a|alertname=PancakeWatermarkStandsStill, severity=page, region=a, country=VN, connection=1, table=lead
no|alertname=PancakeRestBreakerOpen, severity=page, region=a|alertname=PancakeWatermarkStandsStill, severity=page, region=b, country=CN, connection=1, table=lead
yes|alertname=PancakeRestBreakerOpen, severity=page, region=a|alertname=PancakeJobOverdue, severity=ticket, region=a, country=VN, task=expiry
no|alertname=PancakeRestBreakerOpen, severity=page, region=a|alertname=PancakeJobOverdue, severity=ticket, region=a, country=VN, task=rollup
no|alertname=PancakeRestBreakerOpen, severity=page, region=a|alertname=PancakeOutage, severity=page, closed=both ways, region=a, country=VN, connection=1
yes|alertname=PancakeDeadLettersExplode, severity=page, region=a, country=VN|alertname=PancakeDeadLetters, severity=page, region=a, country=VN
yes|alertname=PancakeDeadLettersExplode, severity=page, region=a, country=VN|alertname=PancakeSuccessRateLow, severity=page, over=1d, region=a, country=VN
no|alertname=PancakeDeadLettersExplode, severity=page, region=a, country=VN|alertname=PancakeDeadLetters, severity=page, region=a, country=TH
no|alertname=PancakeDeadLettersExplode, severity=page, region=a, country=VN|alertname=PancakeEventsStuck, severity=page, region=a, country=VN
TABLE
}

pairs=$(inhibitions | wc -l | tr -d ' ')
found=$(inhibitions | awk -F '|' -v config=$config -v rules_of_amtool="$inhibit_rules" '
  function trim(text) { gsub(/^[ "]+|[ "]+$/, "", text); return text }
  function in_brackets(line) { sub(/^[^[]*\[/, "", line); sub(/\].*$/, "", line); return line }
  function read_labels(text, labels,    parts, count, i, at) {
    split("", labels)
    count = split(text, parts, ",")
    for (i = 1; i <= count; i++) {
      at = index(parts[i], "=")
      labels[trim(substr(parts[i], 1, at - 1))] = trim(substr(parts[i], at + 1))
    }
  }
  function matches(matchers, labels,    parts, count, i, operator, name, value, is) {
    count = split(matchers, parts, ",")
    for (i = 1; i <= count; i++) {
      match(parts[i], /[!=][=~]?/)
      operator = substr(parts[i], RSTART, RLENGTH)
      name = trim(substr(parts[i], 1, RSTART - 1))
      value = trim(substr(parts[i], RSTART + RLENGTH))
      is = operator ~ /~/ ? labels[name] ~ ("^(" value ")$") : labels[name] == value
      if (is == (operator ~ /!/)) return 0
    }
    return 1
  }
  function have_equal(names, one, other,    parts, count, i) {
    count = split(names, parts, ",")
    for (i = 1; i <= count; i++) if (one[trim(parts[i])] != other[trim(parts[i])]) return 0
    return 1
  }
  BEGIN {
    while ((getline line < config) > 0) {
      if (line ~ /^ *#/) continue
      if (line ~ /source_matchers:/) { sources[++rules] = in_brackets(line); equal[rules] = "" }
      if (line ~ /target_matchers:/) targets[rules] = in_brackets(line)
      if (line ~ /equal:/) equal[rules] = in_brackets(line)
    }
    if (rules != rules_of_amtool) print config ": amtool reads " rules_of_amtool " inhibitions, and this script " rules + 0
  }
  {
    read_labels($2, source)
    read_labels($3, target)
    is = "no"
    for (i = 1; i <= rules; i++)
      if (matches(sources[i], source) && matches(targets[i], target) && have_equal(equal[i], source, target)) is = "yes"
    if (is != $1) print config ": {" $2 "} " (is == "yes" ? "holds back" : "does not hold back") " {" $3 "}"
  }')
[ -z "$found" ] || problem "$found"

[ $problems = 0 ] || exit 1
echo "alertmanager takes its configuration; $routes alerts go where they should, $pairs hold back others or do not"
