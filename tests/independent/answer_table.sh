#!/usr/bin/env bash
# Goes through the table "What the edge answers" with curl and openssl only: no code of the project.
#
#   make up && tests/independent/answer_table.sh [.run/platform.env] && make down
#
# One line a row: `ok` or `FAIL`, what was sent, what was expected, what came. Ends with 1 if any row
# failed. What only a failing core or a paused region shows cannot be reached from outside of a platform
# that is up; tests/e2e/core_failures.rs has it.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
environment=${1:-$root/.run/platform.env}
for tool in curl openssl; do
  command -v "$tool" >/dev/null || { echo "$tool is missing: install it" >&2; exit 2; }
done
[ -r "$environment" ] || { echo "$environment is missing: run 'make up'" >&2; exit 2; }
# shellcheck source=/dev/null
. "$environment"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
records=$EDGE_URL/api/pancake/record
failed=0

# sign SECRET TIMESTAMP FILE: hex of HMAC-SHA256 over timestamp, dot and the file's bytes.
sign() {
  { printf '%s.' "$2"; cat "$3"; } | openssl dgst -sha256 -mac HMAC -macopt "key:$1" -r | cut -d' ' -f1
}

# lead: writes a record with an id of its own to $work/body.
lead() {
  local hex
  hex=$(openssl rand -hex 16)
  printf '{"id":"%s-%s-4%s-8%s-%s","name":"Nguyễn Thị Hồng","phone_number":"0901234567"}' \
    "${hex:0:8}" "${hex:8:4}" "${hex:12:3}" "${hex:15:3}" "${hex:18:12}" >"$work/body"
}

# request CURL-ARGUMENTS…: sends; leaves status in $status, the body in $work/answer, headers in $work/headers.
request() {
  local try
  for try in 1 2 3 4 5; do
    : >"$work/answer"
    status=$(curl --silent --show-error --noproxy '*' --path-as-is --max-time 20 --header 'Expect:' \
      --output "$work/answer" --dump-header "$work/headers" --write-out '%{http_code}' "$@") || status="curl $?"
    # Not an answer of the edge's: of wrangler's proxy, which stands before it locally.
    grep -q '^Your worker restarted mid-request' "$work/answer" || break
  done
}

# post TOKEN CURL-ARGUMENTS…: posts $work/body.
post() {
  local token=$1
  shift
  request --request POST --header 'Content-Type: application/json' --data-binary "@$work/body" "$@" \
    "$records/$token"
}

# signed TOKEN SECRET TIMESTAMP [CURL-ARGUMENTS…]: posts $work/body with both headers.
signed() {
  local token=$1 secret=$2 timestamp=$3
  shift 3
  post "$token" --header "X-Pancake-Timestamp: $timestamp" \
    --header "X-Pancake-Signature: $(sign "$secret" "$timestamp" "$work/body")" "$@"
}

# expect ROW STATUS TEXT [HEADER]: judges what came. TEXT is the answer's status, `accepted` and
# `duplicate` stand before an event's id. HEADER is a line that must be among the headers.
expect() {
  local row=$1 expected_status=$2 text=$3 header=${4:-} answer verdict=ok wanted
  answer=$(head -c 200 "$work/answer")
  wanted="{\"status\":\"$text\"}"
  case $text in
    accepted | duplicate)
      wanted="{\"status\":\"$text\",\"event_id\":…}"
      grep -Eq "^\{\"status\":\"$text\",\"event_id\":\"[0-9a-f-]{36}\"\}$" "$work/answer" || verdict=FAIL ;;
    '') wanted=… ;;
    *) [ "$answer" = "$wanted" ] || verdict=FAIL ;;
  esac
  [ "$status" = "$expected_status" ] || verdict=FAIL
  if [ -n "$header" ] && ! grep -iq "^$header" "$work/headers"; then
    verdict=FAIL
    answer="$answer, without $header"
  fi
  [ "$verdict" = ok ] || failed=$((failed + 1))
  printf '%-4s %-58s expected %s %s, got %s %s\n' "$verdict" "$row" "$expected_status" "$wanted" "$status" "${answer%%[[:cntrl:]]*}"
}

# at_offset SECONDS ROW STATUS TEXT: posts what was signed so many seconds from now. If the clock has
# moved on in between, nobody knows by which second the edge has judged: it is done again.
at_offset() {
  local offset=$1 now tries
  for tries in {1..30}; do
    lead
    now=$(date +%s)
    signed "$PANCAKE_VN_TOKEN" "$PANCAKE_VN_SECRET" $((now + offset))
    [ "$(date +%s)" != "$now" ] || break
    [ "$tries" -lt 30 ] || status="no exchange within one second"
  done
  expect "$2" "$3" "$4"
}

now() { date +%s; }

# --- the core's own answers ---
lead
signed "$PANCAKE_VN_TOKEN" "$PANCAKE_VN_SECRET" "$(now)"; expect "VN, signed" 200 accepted "content-type: application/json"
signed "$PANCAKE_VN_TOKEN" "$PANCAKE_VN_SECRET" "$(now)"; expect "the same again" 200 duplicate
lead
signed "$PANCAKE_CN_TOKEN" "$PANCAKE_CN_SECRET" "$(now)"; expect "CN, signed" 200 accepted
lead
signed "$PANCAKE_CN_TOKEN" "$PANCAKE_CN_PREVIOUS_SECRET" "$(now)"; expect "CN, signed with the previous secret" 200 accepted
printf 'no record %s' "$(openssl rand -hex 8)" >"$work/body"
signed "$PANCAKE_VN_TOKEN" "$PANCAKE_VN_SECRET" "$(now)"; expect "a body that is no JSON" 200 invalid_payload
: >"$work/body"
signed "$PANCAKE_VN_TOKEN" "$PANCAKE_VN_SECRET" "$(now)"; expect "an empty body" 200 invalid_payload

# --- the timestamp ---
lead
post "$PANCAKE_VN_TOKEN" --header "X-Pancake-Signature: $(sign "$PANCAKE_VN_SECRET" "$(now)" "$work/body")"
expect "no timestamp" 200 timestamp_out_of_window
for timestamp in "+$(now)" "-$(now)" "$(now).0" "$(now)000" "now" "0" "0000000000$(now)" 99999999999999999999; do
  signed "$PANCAKE_VN_TOKEN" "$PANCAKE_VN_SECRET" "$timestamp"; expect "timestamp $timestamp" 200 timestamp_out_of_window
done
signed "$PANCAKE_VN_TOKEN" "$PANCAKE_VN_SECRET" "000000000$(now)"; expect "timestamp of 19 digits, zeros before it" 200 accepted
at_offset -301 "301 s ago" 200 timestamp_out_of_window
at_offset -300 "300 s ago" 200 accepted
at_offset 300 "300 s ahead" 200 accepted
at_offset 301 "301 s ahead" 200 timestamp_out_of_window
lead
signed "$PANCAKE_VN_TOKEN" wrong $(($(now) - 400)); expect "stale and wrongly signed" 200 timestamp_out_of_window

# --- the signature ---
lead
timestamp=$(now)
signature=$(sign "$PANCAKE_VN_SECRET" "$timestamp" "$work/body")
given() { post "$PANCAKE_VN_TOKEN" --header "X-Pancake-Timestamp: $timestamp" "$@"; }
given; expect "no signature" 200 hmac_invalid
given --header "X-Pancake-Signature;"; expect "an empty signature" 200 hmac_invalid
given --header "X-Pancake-Signature: ${signature%?}"; expect "a signature of 63 digits" 200 hmac_invalid
given --header "X-Pancake-Signature: ${signature}0"; expect "a signature of 65 digits" 200 hmac_invalid
given --header "X-Pancake-Signature: sha256=$signature"; expect "a signature with its algorithm" 200 hmac_invalid
signed "$PANCAKE_VN_TOKEN" "$PANCAKE_CN_SECRET" "$timestamp"; expect "another connection's secret" 200 hmac_invalid
given --header "X-Pancake-Signature: $signature" --header "X-Pancake-Signature: $signature"
expect "the right signature twice" 200 hmac_invalid
given --header "X-Pancake-Timestamp: $timestamp" --header "X-Pancake-Signature: $signature"
expect "the right timestamp twice" 200 timestamp_out_of_window
cp "$work/body" "$work/kept"
printf ' ' >>"$work/body"
given --header "X-Pancake-Signature: $signature"; expect "a byte more than was signed" 200 hmac_invalid
mv "$work/kept" "$work/body"
given --header "X-Pancake-Signature: ${signature^^}"; expect "the right signature in capitals" 200 accepted

# --- the modes ---
lead
post "$PANCAKE_TH_TOKEN"; expect "observe, neither header" 200 accepted
lead
signed "$PANCAKE_TH_TOKEN" wrong "$(now)"; expect "observe, wrongly signed" 200 accepted
lead
post "$PANCAKE_SG_TOKEN" --header "X-Pancake-Timestamp: x" --header "X-Pancake-Signature: x"; expect "off, garbage headers" 200 accepted
lead
post "$PANCAKE_JP_TOKEN"; expect "a country without a region" 503 no_region "retry-after: [0-9]"

# --- the token ---
lead
for token in "" unknown "$PANCAKE_VN_TOKEN/" "${PANCAKE_VN_TOKEN}a" "${PANCAKE_VN_TOKEN%?}" \
  "%$(printf '%x' "'${PANCAKE_VN_TOKEN:0:1}")${PANCAKE_VN_TOKEN:1}" "$(printf 'a%.0s' {1..4000})"; do
  post "$token"; expect "token ${token:0:3}… of ${#token} characters" 404 unknown_token
done
signed "$PANCAKE_VN_TOKEN?from=pancake" "$PANCAKE_VN_SECRET" "$(now)"; expect "a query behind the token" 200 accepted

# --- the body ---
for bytes in 1048576 1048577; do
  for framing in "Content-Type: application/json" "Transfer-Encoding: chunked"; do
    lead
    size=$(wc -c <"$work/body")
    # The record without its last brace, and a note that fills what is left.
    {
      head -c $((size - 1)) "$work/body"
      printf ',"note":"'
      head -c $((bytes - size - 10)) /dev/zero | tr '\0' x
      printf '"}'
    } >"$work/long"
    mv "$work/long" "$work/body"
    [ "$(wc -c <"$work/body")" -eq "$bytes" ] || { echo "the body has not $bytes bytes" >&2; exit 2; }
    signed "$PANCAKE_VN_TOKEN" "$PANCAKE_VN_SECRET" "$(now)" --header "$framing"
    if [ "$bytes" = 1048576 ]; then
      expect "$bytes bytes (${framing#*: })" 200 accepted
    else
      expect "$bytes bytes (${framing#*: })" 413 body_too_large
    fi
  done
done

# --- the method ---
for method in GET PUT DELETE OPTIONS; do
  request --request "$method" "$records/$PANCAKE_VN_TOKEN"; expect "$method" 405 method_not_allowed "allow: POST"
done
request --head "$records/$PANCAKE_VN_TOKEN"; expect HEAD 405 "" "allow: POST"

# --- everything else under /api/ ---
country() { request --header "X-Country-Code: $1" "$EDGE_URL/api/region"; }
country XX; expect "country XX" 404 no_region
country Vietnam; expect "country Vietnam" 404 no_region
request "$EDGE_URL/api/region"; expect "no country" 404 no_region
request "$EDGE_URL/healthz"; expect "the edge's health" 200 ok
for pair in VN:smp-asia vn:smp-asia CN:smp-china; do
  country "${pair%:*}"
  expect "country ${pair%:*}" 200 "" "content-type: application/json"
  if ! grep -q "\"region\":\"${pair#*:}\"" "$work/answer"; then
    failed=$((failed + 1))
    echo "FAIL country ${pair%:*} was answered by another region than ${pair#*:}: $(cat "$work/answer")"
  fi
done
lead
request --request POST --data-binary "@$work/body" "$SMP_ASIA_CORE_URL/v1/pancake/vn-main/records"
expect "unsigned, straight to a core" 401 ""

echo "$failed failed"
[ "$failed" = 0 ]
