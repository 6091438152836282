#!/usr/bin/env bash
# Makes signature.json, hop.json, records.json and records/ beside this file.
#
# Nothing of the project takes part: the signatures are openssl's, the signature bases are written
# out here after RFC 9421, the moments are GNU date's. Run it by hand after a change; its output is
# checked in.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")"

# -- tools ---------------------------------------------------------------------------------------

# Hex of standard input.
hex() { od -An -v -tx1 | tr -d ' \n'; }
# Base64 of a text whose escapes (\0, \x80) printf expands.
b64() { printf '%b' "$1" | base64 -w0; }
# A text as JSON, in quotes; "-" is null.
json() {
  if [ "$1" = - ]; then
    printf null
  else
    local text=${1//\\/\\\\}
    printf '"%s"' "${text//\"/\\\"}"
  fi
}
# Hex HMAC-SHA256 of standard input under a text.
hmac_hex() { openssl dgst -sha256 -mac HMAC -macopt "hexkey:$(printf %s "$1" | hex)" -r | cut -d' ' -f1; }
# Base64 HMAC-SHA256 of standard input under a text.
hmac_b64() {
  openssl dgst -sha256 -mac HMAC -macopt "hexkey:$(printf %s "$1" | hex)" -binary | base64 -w0
}
# Base64 SHA-256 of standard input.
sha256_b64() { openssl dgst -sha256 -binary | base64 -w0; }
# Microseconds since 1970 of a moment with an offset.
micros() {
  local seconds fraction
  read -r seconds fraction < <(date -u -d "$1" "+%s %6N")
  echo $((seconds * 1000000 + 10#$fraction))
}

# The tools themselves are held against published values first.
test "$(printf 'what do ya want for nothing?' | hmac_hex Jefe)" = \
  5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843 # RFC 4231 §4.3
rfc9421_key=$(printf %s 'uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==' | base64 -d | hex)
test "$(printf '%s\n%s\n%s\n%s' \
  '"date": Tue, 20 Apr 2021 02:07:55 GMT' \
  '"@authority": example.com' \
  '"content-type": application/json' \
  '"@signature-params": ("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"' |
  openssl dgst -sha256 -mac HMAC -macopt "hexkey:$rfc9421_key" -binary | base64 -w0)" = \
  'pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=' # RFC 9421 §B.2.5

# -- signature.json: Pancake's signature ---------------------------------------------------------

now=1767225600 # 2026-01-01T00:00:00Z
key='pancake-test-secret-current'
old='pancake-test-secret-previous'
other='pancake-test-secret-of-someone-else'
lead=$(b64 '{"id":"5f0c2f6e-9f0b-4f5e-8f64-3f0a1b2c3d4e","name":"Lan","modified_on":"2025-12-31T23:59:00"}')

# signed SECRET TIMESTAMP BODY_BASE64: hex(HMAC-SHA256(secret, timestamp + "." + body)).
signed() { { printf '%s.' "$2"; printf %s "$3" | base64 -d; } | hmac_hex "$1"; }
good() { signed "$key" "$1" "${2-$lead}"; }

separator=
# vector NAME MODE TIMESTAMP SIGNATURE BODY_BASE64 EXPECTED [SECRET [SECRET]]
vector() {
  local secrets="[$(json "${7-$key}")${8+, $(json "$8")}]"
  printf '%s  {"name": %s, "secrets": %s, "mode": "%s", "timestamp": %s, "signature": %s, "body_base64": "%s", "now": %s, "expected": "%s"}' \
    "$separator" "$(json "$1")" "$secrets" "$2" "$(json "$3")" "$(json "$4")" "$5" "$now" "$6"
  separator=$',\n'
}
enforce() { vector "$1" enforce "$2" "$3" "${5-$lead}" "$4"; }

signature_vectors() {
  local sig ts alternating body index

  sig=$(good $now)
  enforce "a fresh request rightly signed" $now "$sig" verified
  enforce "the signature in capitals" $now "${sig^^}" verified
  alternating=
  for ((index = 0; index < 64; index++)); do
    if ((index % 2)); then alternating+=${sig:index:1}; else alternating+=$(printf %s "${sig:index:1}" | tr a-f A-F); fi
  done
  enforce "the signature in mixed case" $now "$alternating" verified

  for delta in -300 300 -299 299 -1 1; do
    ts=$((now + delta))
    enforce "sent $delta s from now" $ts "$(good $ts)" verified
  done
  for delta in -301 301 -86400 86400; do
    ts=$((now + delta))
    enforce "sent $delta s from now" $ts "$(good $ts)" timestamp_out_of_window
  done
  enforce "the timestamp in milliseconds" ${now}000 "$(good ${now}000)" timestamp_out_of_window
  enforce "the timestamp 0" 0 "$(good 0)" timestamp_out_of_window

  enforce "no timestamp" - "$(good $now)" timestamp_out_of_window
  enforce "neither header" - - timestamp_out_of_window
  # Each of these is signed with these very bytes: only their form is wrong.
  while IFS='|' read -r name ts; do
    enforce "$name" "$ts" "$(good "$ts")" timestamp_out_of_window
  done <<FORMS
an empty timestamp|
a timestamp with a plus sign|+$now
a timestamp with a minus sign|-$now
a timestamp with a dot|$now.0
a timestamp that ends in a dot|$now.
a timestamp with a space before it| $now
a timestamp with a space behind it|$now 
a timestamp with a space within|17672 25600
a timestamp in Arabic digits|١٧٦٧٢٢٥٦٠٠
a timestamp in full-width digits|１７６７２２５６００
a timestamp in hex|0x6955b900
a timestamp with an exponent|1.7672256e9
a timestamp that is a date|2026-01-01T00:00:00Z
a timestamp of 19 digits that is far away|9999999999999999999
a timestamp of 20 digits|00000000001767225600
a timestamp of 20 digits beyond 64 bits|18446744073709551616
the timestamp sent twice and joined|$now, $now
the timestamp joined without a space|$now,$now
FORMS

  ts=000000000$now # 19 digits
  enforce "a timestamp with zeros up to 19 digits, signed as such" $ts "$(good $ts)" verified
  enforce "a timestamp with zeros, signed without them" $ts "$(good $now)" hmac_invalid
  enforce "a timestamp without zeros, signed with them" $now "$(good $ts)" hmac_invalid
  enforce "a timestamp with one zero, signed as such" 0$now "$(good 0$now)" verified

  enforce "no signature" $now - hmac_invalid
  enforce "an empty signature" $now '' hmac_invalid
  enforce "a signature of 63 characters" $now "${sig:0:63}" hmac_invalid
  enforce "a signature of 65 characters" $now "${sig}0" hmac_invalid
  enforce "a signature of 62 characters" $now "${sig:0:62}" hmac_invalid
  enforce "a signature of 66 characters" $now "${sig}00" hmac_invalid
  enforce "a signature with a letter that is not hex" $now "g${sig:1}" hmac_invalid
  enforce "a signature with a colon, the character behind 9" $now ":${sig:1}" hmac_invalid
  enforce "a signature with a space before it" $now " $sig" hmac_invalid
  enforce "a signature with a space behind it" $now "$sig " hmac_invalid
  enforce "a signature with its algorithm before it" $now "sha256=$sig" hmac_invalid
  enforce "a signature in base64" $now "$({ printf '%s.' $now; printf %s "$lead" | base64 -d; } | hmac_b64 $key)" hmac_invalid
  enforce "a signature of zeros" $now "$(printf '0%.0s' {1..64})" hmac_invalid
  enforce "the signature sent twice and joined" $now "$sig, $sig" hmac_invalid
  enforce "a signature of 64 bytes with a letter that is not ASCII" $now "é${sig:2}" hmac_invalid
  enforce "a signature of 64 full-width digits" $now "$(printf '０%.0s' {1..64})" hmac_invalid

  enforce "a secret of someone else" $now "$(signed $other $now "$lead")" hmac_invalid
  enforce "the secret with a newline behind it" $now "$(signed "$key"$'\n' $now "$lead")" hmac_invalid
  enforce "the body tampered with" $now "$sig" hmac_invalid "$(b64 '{"id":"5f0c2f6e-9f0b-4f5e-8f64-3f0a1b2c3d4e","name":"Lam","modified_on":"2025-12-31T23:59:00"}')"
  enforce "the body with a newline behind it" $now "$sig" hmac_invalid "$({ printf %s "$lead" | base64 -d; echo; } | base64 -w0)"
  enforce "the body cut off" $now "$sig" hmac_invalid "$(b64 '{"id":')"
  enforce "another timestamp within the window than the one signed" $((now + 1)) "$sig" hmac_invalid
  enforce "the signature of the body without a timestamp" $now "$(printf %s "$lead" | base64 -d | hmac_hex $key)" hmac_invalid
  enforce "the signature without the dot" $now "$({ printf %s $now; printf %s "$lead" | base64 -d; } | hmac_hex $key)" hmac_invalid
  enforce "the plain SHA-256 in place of the HMAC" $now "$({ printf '%s.' $now; printf %s "$lead" | base64 -d; } | openssl dgst -sha256 -r | cut -d' ' -f1)" hmac_invalid

  while IFS='|' read -r name body; do
    body=$(b64 "$body")
    enforce "$name" $now "$(good $now "$body")" verified "$body"
  done <<'BODIES'
an empty body|
a body of one NUL|\0
a binary body with NUL and no UTF-8|\0\x01\x7f\x80\xfe\xff\0{"name":\xc3\x28}\0
a body that begins with a dot|.{"name":"x"}
a body with CR LF|{\r\n"name":\t"x"\r\n}\r\n
a body with a byte order mark|\xef\xbb\xbf{"name":"x"}
a Vietnamese body|{"name":"Nguyễn Thị Ánh Tuyết","full_address":"Số 126 Hàng Trống, Phường Hoàn Kiếm, Hà Nội, Việt Nam"}
a Thai body|{"name":"สมชาย ใจดี","full_address":"ถนนสุขุมวิท กรุงเทพมหานคร"}
a Chinese body|{"name":"王小明","full_address":"上海市浦东新区世纪大道100号"}
a Vietnamese body in decomposed form|{"name":"Nguye\xcc\x82\xcc\x83n"}
BODIES
  body=$(b64 '')
  enforce "an empty body with the signature of another" $now "$sig" hmac_invalid "$body"
  # The dot belongs to the message, but where it stands is not covered twice: the timestamp's form
  # forbids a dot, so these bytes cannot be split in another way.
  enforce "the same bytes split at another dot" "$now.1" "$(good $now "$(b64 '1.x')")" timestamp_out_of_window "$(b64 x)"

  for mode in enforce observe; do
    sig=$(good $now)
    vector "two secrets are live and the new one signed ($mode)" $mode $now "$sig" "$lead" verified $key $old
    vector "two secrets are live and the old one signed ($mode)" $mode $now "$(signed $old $now "$lead")" "$lead" verified $key $old
  done
  vector "two secrets are live and neither signed" enforce $now "$(signed $other $now "$lead")" "$lead" hmac_invalid $key $old
  vector "the old secret is no longer live" enforce $now "$(signed $old $now "$lead")" "$lead" hmac_invalid $key
  vector "a secret of one character" enforce $now "$(signed k $now "$lead")" "$lead" verified k
  local long
  long=$(printf 'long%.0s' {1..40})
  vector "a secret longer than a block of SHA-256" enforce $now "$(signed "$long" $now "$lead")" "$lead" verified "$long"
  vector "a secret that is not ASCII" enforce $now "$(signed 'bí mật 🔑' $now "$lead")" "$lead" verified 'bí mật 🔑'
  vector "a secret with spaces around it, which belong to it" enforce $now "$(signed ' spaced ' $now "$lead")" "$lead" verified ' spaced '

  enforce "stale and wrongly signed: the timestamp is judged first" $((now - 301)) "$(signed $other $((now - 301)) "$lead")" timestamp_out_of_window
  enforce "stale and no signature: the timestamp is judged first" $((now - 301)) - timestamp_out_of_window
  enforce "no timestamp and a malformed signature: the timestamp is judged first" - zz timestamp_out_of_window

  observe() { vector "observed: $1" observe "$2" "$3" "${5-$lead}" "$4"; }
  observe "rightly signed" $now "$sig" verified
  observe "neither header" - - stale
  observe "no timestamp" - "$sig" stale
  observe "a malformed timestamp" "$now.0" "$(good "$now.0")" stale
  observe "301 s ago" $((now - 301)) "$(good $((now - 301)))" stale
  observe "301 s ahead" $((now + 301)) "$(good $((now + 301)))" stale
  observe "300 s ago" $((now - 300)) "$(good $((now - 300)))" verified
  observe "stale and wrongly signed" $((now - 301)) "${sig}" stale
  observe "no signature" $now - invalid
  observe "a malformed signature" $now "${sig}0" invalid
  observe "a wrong secret" $now "$(signed $other $now "$lead")" invalid
  observe "the body tampered with" $now "$sig" invalid "$(b64 '{}')"

  off() { vector "off: $1" off "$2" "$3" "${5-$lead}" "$4"; }
  off "neither header" - - unsigned
  off "garbage headers" 'not a number' 'not a signature' unsigned
  off "stale and wrongly signed" 1 "$sig" unsigned
  off "rightly signed, and yet not judged" $now "$sig" unsigned
}
{ echo '['; signature_vectors; printf '\n]\n'; } >signature.json

# -- hop.json: the signed hop from edge to core --------------------------------------------------

asia_key='asia-hop-test-secret-0123456789abcdef'
china_key='china-hop-test-secret-0123456789abcdef'

# record NAME KEYID SECRET COUNTRY REGION CONNECTION VERDICT ROUTE_VERSION CREATED BODY_BASE64
record() {
  local path="/v1/pancake/$6/records" digest params base
  digest="sha-256=:$(printf %s "${10}" | base64 -d | sha256_b64):"
  params="(\"@method\" \"@path\" \"content-digest\" \"x-smp-country\" \"x-smp-region\" \"x-smp-connection\" \"x-smp-verdict\" \"x-smp-route-version\");created=$9;keyid=\"$2\";alg=\"hmac-sha256\""
  base='"@method": POST
"@path": '$path'
"content-digest": '$digest'
"x-smp-country": '$4'
"x-smp-region": '$5'
"x-smp-connection": '$6'
"x-smp-verdict": '$7'
"x-smp-route-version": '$8'
"@signature-params": '$params
  printf '%s    {"name": %s, "keyid": "%s", "secret": %s, "path": "%s", "country": "%s", "region": "%s", "connection": "%s", "verdict": "%s", "route_version": %s, "created": %s, "body_base64": "%s",\n     "content_digest": "%s",\n     "signature_input": %s,\n     "signature": "smp=:%s:"}' \
    "$separator" "$(json "$1")" "$2" "$(json "$3")" "$path" "$4" "$5" "$6" "$7" "$8" "$9" "${10}" \
    "$digest" "$(json "smp=$params")" "$(printf %s "$base" | hmac_b64 "$3")"
  separator=$',\n'
}

# proxied NAME KEYID SECRET COUNTRY REGION ROUTE_VERSION CREATED METHOD PATH QUERY|-
proxied() {
  local params base query=${10}
  if [ "$query" = - ]; then query=; fi
  params="(\"@method\" \"@path\" \"@query\" \"x-smp-country\" \"x-smp-region\" \"x-smp-route-version\");created=$7;keyid=\"$2\";alg=\"hmac-sha256\""
  base='"@method": '$8'
"@path": '$9'
"@query": ?'$query'
"x-smp-country": '$4'
"x-smp-region": '$5'
"x-smp-route-version": '$6'
"@signature-params": '$params
  printf '%s    {"name": %s, "keyid": "%s", "secret": %s, "country": "%s", "region": "%s", "route_version": %s, "created": %s, "method": "%s", "path": %s, "query": %s,\n     "signature_input": %s,\n     "signature": "smp=:%s:"}' \
    "$separator" "$(json "$1")" "$2" "$(json "$3")" "$4" "$5" "$6" "$7" "$8" "$(json "$9")" "$(json "${10}")" \
    "$(json "smp=$params")" "$(printf %s "$base" | hmac_b64 "$3")"
  separator=$',\n'
}

{
  printf '{\n  "records": [\n'
  separator=
  for verdict in verified unsigned stale invalid; do
    record "a $verdict record to Asia" asia-2026a "$asia_key" VN smp-asia vn-main $verdict 1 $now "$lead"
  done
  record "a record to China" china-1 "$china_key" CN smp-china cn-main verified 7 $now "$(b64 '{"name":"王小明"}')"
  record "an empty body" asia-2026a "$asia_key" VN smp-asia vn-main unsigned 1 $now ''
  record "a binary body" asia-2026a "$asia_key" VN smp-asia vn-main unsigned 1 $now "$(b64 '\0\xff\xfe\0')"
  record "the longest ids and the largest version" k2345678901234567890123456789012345678901234567890123456789-1234 "$asia_key" TH a2345678901234567890123456789-12 c2345678901234567890123456789012345678901234567890123456789-1234 stale 4294967295 9999999999 "$lead"
  record "the first second and a secret of 32 bytes" k '12345678901234567890123456789012' SG eu2 1 invalid 1 0 "$lead"
  record "a secret longer than a block of SHA-256, not ASCII" asia-2026b "bí mật của chặng $(printf 'dài%.0s' {1..30})" VN smp-asia vn-main verified 2 $now "$lead"
  printf '\n  ],\n  "proxied": [\n'
  separator=
  proxied "without a query" asia-2026a "$asia_key" VN smp-asia 1 $now GET /api/tickets -
  proxied "with a query" asia-2026a "$asia_key" VN smp-asia 1 $now GET /api/tickets 'status=open&page=2'
  proxied "with an empty query" asia-2026a "$asia_key" VN smp-asia 1 $now GET /api/tickets ''
  proxied "with a percent-encoded path and query" china-1 "$china_key" CN smp-china 7 $now PATCH /api/l%E1%BB%9Bp/%2F 'q=%E7%8E%8B%20%3F&q=?a=/b'
  proxied "a DELETE of the root" asia-2026b "$asia_key" TH smp-asia 4294967295 0 DELETE / 'x'
  printf '\n  ]\n}\n'
} >hop.json

# -- records/: Pancake's records, all made up ----------------------------------------------------

rm -rf records
mkdir records
separator=
listing=

# expect FILE record ID|null NAME_JSON MODIFIED_ON_MICROS|null SOURCE_JSON CUSTOM_JSON, or
# expect FILE CAUSE. Names, sources and custom fields are given as JSON.
expect() {
  if [ "$2" = record ]; then
    listing+="$separator  {\"file\": \"$1\", \"expected\": \"record\", \"id\": $3, \"name\": $4, \"modified_on\": $5, \"source\": $6, \"custom\": $7}"
  else
    listing+="$separator  {\"file\": \"$1\", \"expected\": \"$2\"}"
  fi
  separator=$',\n'
}
# Standard input, without the newline that ends a here-document, as a file.
file() { head -c -1 >"records/$1"; }

file vietnamese.json <<'JSON'
{
  "id": "0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d001",
  "name": "Nguyễn Thị Ánh Tuyết",
  "phone_number": "+84 912 345 678",
  "email": "anh.tuyet@example.com",
  "birthday": "1994-02-09T00:00:00",
  "pancake_tags": ["104943019063372_11", "104943019063372_12"],
  "pancake_tags_obj": [
    {"id": "104943019063372_11", "text": "Khách quen", "description": null, "color": "#138809", "lighten_color": "rgba(19,136,9,0.4)", "workspace_id": 123},
    {"id": "104943019063372_12", "text": "Học thử", "workspace_id": 123}
  ],
  "source": ["-11"],
  "full_address": "Số 126 Hàng Trống, Phường Hoàn Kiếm, Hà Nội, Việt Nam",
  "created_by": "5c7b1c3e-30a5-4f65-8f58-1f0d3c6c0a01",
  "modified_by": "5c7b1c3e-30a5-4f65-8f58-1f0d3c6c0a02",
  "created_on": "2025-11-20T02:15:30",
  "modified_on": "2025-11-20T09:15:30.123456",
  "owner": ["5c7b1c3e-30a5-4f65-8f58-1f0d3c6c0a03"]
}
JSON
expect vietnamese.json record '"0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d001"' '"Nguyễn Thị Ánh Tuyết"' "$(micros 2025-11-20T09:15:30.123456Z)" '["-11"]' '[]'

file thai.json <<'JSON'
{"id":"0B5DC1F5-33A4-4A3C-9A86-5B1F4CE7D002","name":"สมชาย ใจดี","phone_number":"081-234-5678","source":["-3","17"],"modified_on":"2025-11-20T16:15:30+07:00","ชื่อเล่น":"ชาย","line_id":"@somchai"}
JSON
expect thai.json record '"0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d002"' '"สมชาย ใจดี"' "$(micros 2025-11-20T16:15:30+07:00)" '["-3", "17"]' '["ชื่อเล่น", "line_id"]'

file chinese.json <<'JSON'
{"id":"0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d003","name":"王小明","phone_number":"13800138000","full_address":"上海市浦东新区世纪大道100号","source":[12],"modified_on":"2025-11-20T17:15:30.5+08:00","微信":"wxid_王","年级":3}
JSON
expect chinese.json record '"0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d003"' '"王小明"' "$(micros 2025-11-20T17:15:30.5+08:00)" '["12"]' '["微信", "年级"]'

file arabic.json <<'JSON'
{"id":"0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d004","name":"محمد بن عبد الله","source":[],"modified_on":"2025-11-20T12:15:30Z"}
JSON
expect arabic.json record '"0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d004"' '"محمد بن عبد الله"' "$(micros 2025-11-20T12:15:30Z)" '[]' '[]'

file emoji.json <<'JSON'
{"id":"0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d005","name":"Lan 👩‍👩‍👧 🇻🇳","nickname":"\ud83d\ude00","modified_on":"2024-02-29T23:59:59.999999-09:30"}
JSON
expect emoji.json record '"0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d005"' '"Lan 👩‍👩‍👧 🇻🇳"' "$(micros 2024-02-29T23:59:59.999999-09:30)" '[]' '["nickname"]'

file escaped.json <<'JSON'
{"\u0069d":"0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d0\u00306","n\u0061me":"Tr\u1ea7n \"B\u00e9\" \\ \/ \b\f\n\r\t \ud83d\ude00","modified_on":"2025\u002d11-20T09:15:30"}
JSON
expect escaped.json record '"0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d006"' '"Trần \"Bé\" \\ / \b\f\n\r\t 😀"' "$(micros 2025-11-20T09:15:30Z)" '[]' '[]'

file custom-fields.json <<'JSON'
{"school":"THCS Nguyễn Du","id":"0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d007","score":7.50,"name":"Bảo","trial":true,"siblings":[{"name":"An"},null],"parent":{"phone":"0912"},"modified_on":"2025-11-20T09:15:30","":"empty key","Name":"another case","id ":"a space behind it"}
JSON
expect custom-fields.json record '"0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d007"' '"Bảo"' "$(micros 2025-11-20T09:15:30Z)" '[]' '["school", "score", "trial", "siblings", "parent", "", "Name", "id "]'

file nulls.json <<'JSON'
{"id":null,"name":null,"phone_number":null,"source":null,"created_on":null,"modified_on":null,"owner":null,"note":null}
JSON
expect nulls.json record null null null '[]' '["note"]'

file empty.json <<'JSON'
{}
JSON
expect empty.json record null null null '[]' '[]'

file empty-texts.json <<'JSON'
{"name":"","source":[""],"modified_on":""}
JSON
expect empty-texts.json record null '""' null '[""]' '[]'

file wrong-types.json <<'JSON'
{"id":"0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d008","name":42,"phone_number":{"mobile":"0912"},"source":"-11","modified_on":1763630130,"owner":true,"pancake_tags":{"0":"x"}}
JSON
expect wrong-types.json record '"0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d008"' null null '[]' '[]'

file source-elements.json <<'JSON'
{"source":["-11", 7 ,-3,null,true,[1],{"id":2},1.5,1e2,"Số \"9\"",9223372036854775807]}
JSON
expect source-elements.json record null null null '["-11", "7", "-3", "Số \"9\"", "9223372036854775807"]' '[]'

file duplicate-keys.json <<'JSON'
{"id":"not a UUID","name":"first","modified_on":"2020-01-01T00:00:00","source":["1"],"id":"0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d009","name":"last","modified_on":"2025-11-20T09:15:30","source":["2","3"]}
JSON
expect duplicate-keys.json record '"0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d009"' '"last"' "$(micros 2025-11-20T09:15:30Z)" '["2", "3"]' '[]'

file duplicate-id-last-null.json <<'JSON'
{"id":"0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d009","id":null,"name":"a"}
JSON
expect duplicate-id-last-null.json record null '"a"' null '[]' '[]'

file duplicate-id-last-wrong.json <<'JSON'
{"id":"0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d009","name":"a","id":"7"}
JSON
expect duplicate-id-last-wrong.json id_not_a_uuid

file nul-escape.json <<'JSON'
{"id":"0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d00a","name":"a\u0000b","no\u0000te":"\u0000","source":["\u0000"],"modified_on":"2025-11-20T09:15:30\u0000"}
JSON
expect nul-escape.json record '"0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d00a"' '"a\ufffdb"' null '["\ufffd"]' '["no\ufffdte"]'

file lone-surrogates.json <<'JSON'
{"id":"0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d00b","name":"a\ud83db","no\udc00te":"\ud800","source":["\ude00"],"modified_on":"2025-11-20T09:15:30"}
JSON
expect lone-surrogates.json record '"0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d00b"' '"a\ufffdb"' "$(micros 2025-11-20T09:15:30Z)" '["\ufffd"]' '["no\ufffdte"]'

file lone-surrogate-before-escape.json <<'JSON'
{"name":"\ud83d\u0041\ud83d\n\ud83d\ud83d\ude00"}
JSON
expect lone-surrogate-before-escape.json record null '"\ufffdA\ufffd\n\ufffd😀"' null '[]' '[]'

file huge-numbers.json <<'JSON'
{"id":"0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d00c","name":"x","revenue":1e999,"debt":-1E+99999,"tiny":1e-999,"digits":123456789012345678901234567890.123456789,"zero":-0,"modified_on":1e999,"source":[1e999]}
JSON
expect huge-numbers.json record '"0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d00c"' '"x"' null '[]' '["revenue", "debt", "tiny", "digits", "zero"]'

depth=1000
nest() { printf "$1%.0s" $(seq $depth); }
{ printf '{"name":"deep","lists":'; nest '['; nest ']'; printf ',"objects":'; nest '{"a":'; printf 1; nest '}'; printf '}'; } >records/deep-nesting.json
expect deep-nesting.json record null '"deep"' null '[]' '["lists", "objects"]'
{ printf '{"name":"deep","lists":'; nest '['; printf '}'; } >records/deep-nesting-unclosed.json
expect deep-nesting-unclosed.json not_json
{ nest '['; nest ']'; } >records/deep-nesting-array.json
expect deep-nesting-array.json not_an_object

# Times. Pancake writes ISO 8601 without an offset; the REST form and other tools add one.
while IFS='|' read -r name written moment; do
  printf '{"name":"%s","modified_on":"%s"}' "$name" "$written" >"records/time-$name.json"
  if [ "$moment" = - ]; then moment=null; else moment=$(micros "$moment"); fi
  expect "time-$name.json" record null "\"$name\"" "$moment" '[]' '[]'
done <<'TIMES'
without-offset|2025-11-20T09:15:30|2025-11-20T09:15:30Z
without-offset-and-seconds|2025-11-20T09:15|2025-11-20T09:15:00Z
with-z|2025-11-20T09:15:30Z|2025-11-20T09:15:30Z
with-milliseconds|2025-11-20T09:15:30.007|2025-11-20T09:15:30.007Z
with-microseconds-and-z|2025-11-20T09:15:30.000001Z|2025-11-20T09:15:30.000001Z
with-offset-of-vietnam|2025-11-20T00:15:30+07:00|2025-11-20T00:15:30+07:00
with-offset-of-nepal|2025-11-20T00:15:30+05:45|2025-11-20T00:15:30+05:45
with-offset-behind|2025-12-31T23:59:59-08:00|2025-12-31T23:59:59-08:00
with-a-space|2025-11-20 09:15:30|2025-11-20T09:15:30Z
of-a-date|2025-11-20|2025-11-20T00:00:00Z
of-a-leap-day|2024-02-29T12:00:00|2024-02-29T12:00:00Z
before-1970|1969-12-31T23:59:59.5Z|1969-12-31T23:59:59.5Z
of-no-leap-day|2025-02-29T12:00:00|-
of-month-13|2025-13-01T12:00:00|-
of-hour-25|2025-11-20T25:00:00|-
written-by-hand|20/11/2025 09:15|-
in-words|yesterday|-
with-a-space-before| 2025-11-20T09:15:30|-
of-year-0|0000-06-01T00:00:00Z|-
before-christ|-000001-06-01T00:00:00Z|-
of-year-10000|+010000-01-01T00:00:00Z|-
TIMES

file whitespace.json <<'JSON'
 	
 { "id" : "0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d00d" , "name" :
 "An" ,	"list" : [ 1 , 2 ] }  

JSON
expect whitespace.json record '"0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d00d"' '"An"' null '[]' '["list"]'

while IFS='|' read -r name body cause; do
  printf '%b' "$body" >"records/not-$name.json"
  expect "not-$name.json" "$cause"
done <<'NOT'
utf8|{"name":"\xff"}|not_utf8
utf8-cut-off|{"name":"\xe1\xbb|not_utf8
utf8-surrogate|{"name":"\xed\xa0\x80"}|not_utf8
utf16|\xff\xfe{\0}\0|not_utf8
anything||not_json
closed|{"name":"x"|not_json
one-value|{"name":"x"}{}|not_json
without-bom|\xef\xbb\xbf{"name":"x"}|not_json
quoted-with-one|{'name':'x'}|not_json
without-trailing-comma|{"name":"x",}|not_json
without-comment|{"name":"x"/* */}|not_json
a-number-nan|{"name":NaN}|not_json
a-number-with-zero|{"name":01}|not_json
a-known-escape|{"name":"\\x41"}|not_json
a-full-escape|{"name":"\\u12"}|not_json
without-control-character|{"name":"a\x01b"}|not_json
without-nul|{"name":"x"}\0|not_json
a-form|name=x&phone_number=1|not_json
an-object-list|[{"name":"x"}]|not_an_object
an-object-text|"x"|not_an_object
an-object-null|null|not_an_object
an-object-true|true|not_an_object
an-object-number|1e999|not_an_object
an-object-surrogate|"\\ud800"|not_an_object
NOT

while IFS='|' read -r name id; do
  printf '{"id":%s,"name":"x"}' "$id" >"records/id-$name.json"
  expect "id-$name.json" id_not_a_uuid
done <<'IDS'
number|7
list|["0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d00e"]
object|{}
false|false
empty|""
huge-number|1e999
text-null|"null"
without-hyphens|"0b5dc1f533a44a3c9a865b1f4ce7d00e"
in-braces|"{0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d00e}"
urn|"urn:uuid:0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d00e"
with-a-space|" 0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d00e"
too-short|"0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d00"
not-hex|"0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d00g"
hyphens-elsewhere|"0b5dc1f53-3a4-4a3c-9a86-5b1f4ce7d00e"
with-nul|"0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d00\u0000"
lone-surrogate|"0b5dc1f5-33a4-4a3c-9a86-5b1f4ce7d\ud800"
IDS

printf '[\n%s\n]\n' "$listing" >records.json
