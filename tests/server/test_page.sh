#!/usr/bin/env bash
# The server's page as it is sent: equal to its sources, with ETag and gzip, under a policy that lets nothing else run, small.
. "$(dirname "$0")/../cli/lib.sh"
command -v curl >/dev/null || { echo "SKIP: no curl"; exit 77; }
cd "$work"

: >"$work/log"
"$program" serve --base-directory "$work" --port 0 --cpu 2>"$work/log" >/dev/null &
server=$!
trap 'kill $server 2>/dev/null; wait $server 2>/dev/null; rm -rf "$work"' EXIT
for _ in $(seq 600); do
    port=$(sed -n 's/.*port \([0-9]*\).*/\1/p' "$work/log")
    [ -z "$port" ] || break
    kill -0 $server 2>/dev/null || break
    sleep 0.05
done
[ -n "$port" ] || { cat "$work/log"; echo "the server did not start"; exit 1; }
at=http://127.0.0.1:$port

# fetch PATH CURL-ARGUMENT...: the answer's head in head, its body in body, its status in $status
fetch() {
    local path=$1
    shift
    : >body
    status=$(curl -sS -m 20 -D head -o body -w '%{http_code}' "$@" "$at$path") || fail "curl $path"
    sed -i 's/\r$//' head
}
field() { sed -n "s/^$1: //Ip" head; }

total=0 total_gzip=0
for file in "$here"/server/page/*; do
    name=${file##*/}
    fetch "/page/$name"
    [ "$status" = 200 ] || fail "/page/$name: $status"
    cmp -s body "$file" || fail "/page/$name is not its source"
    [ -z "$(field content-encoding)" ] || fail "/page/$name: encoded without being asked for"
    etag=$(field etag)
    total=$((total + $(stat -c %s body)))
    case $name:$(field content-type) in
    *.html:"text/html; charset=utf-8" | *.css:"text/css; charset=utf-8" | *.js:"application/javascript; charset=utf-8") ;;
    *) fail "/page/$name: Content-Type $(field content-type)" ;;
    esac
    policy=$(field content-security-policy)
    for rule in "default-src 'none'" "script-src 'self'" "style-src 'self'" "connect-src 'self'" "frame-ancestors 'none'" "base-uri 'none'"; do
        [[ $policy == *"$rule"* ]] || fail "/page/$name: no $rule in its policy"
    done
    [[ $policy != *unsafe* && $policy != *http* && $policy != *"*"* ]] || fail "/page/$name: a loose policy: $policy"
    [ "$(field x-content-type-options)" = nosniff ] || fail "/page/$name: nosniff"
    [ "$(field cache-control)" = no-cache ] || fail "/page/$name: Cache-Control"
    [ "$(field vary)" = Accept-Encoding ] || fail "/page/$name: Vary"

    fetch "/page/$name" -H "If-None-Match: $etag"
    [ "$status" = 304 ] && [ ! -s body ] && [ "$(field etag)" = "$etag" ] || fail "/page/$name: $status for its ETag"
    fetch "/page/$name" -H "If-None-Match: \"other\", W/$etag"
    [ "$status" = 304 ] || fail "/page/$name: $status for its ETag in a list"
    fetch "/page/$name" -H 'If-None-Match: "other"'
    [ "$status" = 200 ] || fail "/page/$name: $status for another ETag"

    fetch "/page/$name" -H "Accept-Encoding: br, GZIP;q=0.5"
    [ "$(field content-encoding)" = gzip ] || fail "/page/$name: not compressed"
    [ "$(field etag)" != "$etag" ] || fail "/page/$name: one ETag for two kinds of bytes"
    gzip -dc <body 2>/dev/null | cmp -s - "$file" || fail "/page/$name: another file when unpacked"
    total_gzip=$((total_gzip + $(stat -c %s body)))
    for refused in "identity" "gzip;q=0" "gzip; q=0.000, br" "xgzip"; do
        fetch "/page/$name" -H "Accept-Encoding: $refused"
        [ -z "$(field content-encoding)" ] || fail "/page/$name: compressed for $refused"
    done

    # nothing from elsewhere, nothing that makes HTML or code of text
    ! grep -nE "(https?:)?//[a-z0-9.-]+\.[a-z]" "$file" | grep -v "www.w3.org/2000/svg" || fail "$name: an address outside"
    ! grep -nE "innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|DOMParser" "$file" || fail "$name: HTML or code from text"
    ! grep -nE "<(script|style)[^>]*>[^<]|style=|[[:space:]]on[a-z]+=\"" "$file" || fail "$name: inline code or style"
done
echo "page: $total bytes, $total_gzip compressed"
[ $total -le 90000 ] && [ $total_gzip -le 40000 ] || fail "the page has $total bytes, $total_gzip compressed"

# every file that one names is there
for name in $(grep -hoE "from '\./[a-z]+\.js'|\"page/[a-z]+\.[a-z]+\"" "$here"/server/page/* | grep -oE "[a-z]+\.(js|css)" | sort -u); do
    [ -f "$here/server/page/$name" ] || fail "$name is asked for and not there"
done

cp "$here/server/page/index.html" index
for path in / /page; do
    fetch $path
    [ "$status" = 200 ] && cmp -s body index || fail "$path: $status, or not the page"
done
fetch / --head
[ "$status" = 200 ] && [ "$(field content-length)" = "$(stat -c %s index)" ] || fail "HEAD /: $status"
fetch / -X POST
[ "$status" = 405 ] || fail "POST /: $status"
for path in /page/ /page/none.js /page/..%2f..%2fetc%2fpasswd /page/index.html%00 /page/app.js/x; do
    fetch $path --path-as-is
    [ "$status" = 404 ] || fail "$path: $status"
done

# ---- what it asks the API for ----
fetch /workflow/check --data-binary @"$here/workflows/demo.json"
[ "$status" = 200 ] && grep -q '"kind": "template"' body && grep -q '"valid": true' body && grep -q '"problems": \[\]' body || fail "check of a template: $status $(head -c 300 body)"
graph 's/"KSampler"/"KSamplr"/; s/flux-demo.safetensors/flux-dem.safetensors/; s/"seed": 0/"seed": 18446744073709551615/' >wrong.json
fetch /workflow/check --data-binary @wrong.json
grep -q '"valid": false' body && grep -q '"nearest": \["KSampler"' body && grep -q 'flux-demo' body && grep -q '18446744073709551615' body ||
    fail "check of a wrong graph: $status $(head -c 900 body)"
for body in '' '[' '[]' '3' '"x"' '{}' '{"1": 2}' '{"nodes": 3}' '{"workflow": {"1": {"class_type": 7, "inputs": []}}}'; do
    fetch /workflow/check --data-binary "$body"
    [ "$status" = 200 ] || [ "$status" = 400 ] || fail "check of $body: $status"
done

fetch /jobs -d '{"endpoint": "demo", "parameters": {"prompt": "a <b>red</b> house", "steps": 1, "width": 96, "height": 64, "seed": "18446744073709551615"}}'
[ "$status" = 202 ] || fail "POST /jobs: $status"
job=$(sed -n 's/.*"id": "\([^"]*\)".*/\1/p' body)
for _ in $(seq 1200); do
    fetch "/jobs/$job"
    ! grep -q '"state": "done"' body || break
    sleep 0.05
done
grep -q '"text": "a <b>red</b> house"' body && grep -q '"content_type": "image/png"' body && grep -q '"model": "flux-demo.safetensors"' body ||
    fail "the job: $(cat body)"
fetch "/jobs/$job/workflow"
grep -q '"seed": 18446744073709551615' body && grep -q '"class_type": "SaveImage"' body || fail "its workflow: $(head -c 300 body)"
fetch "/jobs/$job/outputs/0"
png=$(stat -c %s body)
[[ $(field content-security-policy) == sandbox* && $(field x-content-type-options) = nosniff ]] || fail "an output could run as a page"
fetch "/jobs/$job/outputs/0?width=48"
[ "$(field content-type)" = image/jpeg ] && [ "$(od -An -tx1 -N2 body)" = " ff d8" ] && [ "$(stat -c %s body)" -lt "$png" ] || fail "the small picture"
# its size, from the frame header: FFC0, length, 8 bits, height, width
od -An -v -tx1 body | tr -d ' \n' | grep -q 'ffc0....0800200030' || fail "the small picture is not 48x32"
etag=$(field etag)
fetch "/jobs/$job/outputs/0?width=48" -H "If-None-Match: $etag"
[ "$status" = 304 ] || fail "the small picture again: $status"
fetch "/jobs/$job/outputs/0?width=64" -H "If-None-Match: $etag"
[ "$status" = 200 ] || fail "another small picture under the same ETag"
for width in 0 -1 1025 x ''; do
    fetch "/jobs/$job/outputs/0?width=$width"
    [ "$status" = 400 ] || fail "width $width: $status"
done
for query in "limit=1" "limit=1&offset=1" "state=done&limit=5" "state=queued"; do
    fetch "/jobs?$query"
    [ "$status" = 200 ] || fail "/jobs?$query: $status"
done
fetch "/endpoints"
grep -q '"folder": "loras"\|LoraLoader' body || fail "no folder for a LoRA, and no word that its node is missing"

kill -TERM $server
wait $server 2>/dev/null

# ---- with a key: the page itself needs none, what it shows does, and its socket has it as a protocol ----
key="correct horse/battery+staple~?"
key=${key// /-}
echo "$key" >keys
: >log
"$program" serve --base-directory "$work" --port 0 --cpu --api-key-file keys 2>"$work/log" >/dev/null &
server=$!
port=
for _ in $(seq 600); do
    port=$(sed -n 's/.*port \([0-9]*\).*/\1/p' "$work/log")
    [ -z "$port" ] || break
    sleep 0.05
done
at=http://127.0.0.1:$port
for path in / /page /page/app.js; do
    fetch $path
    [ "$status" = 200 ] || fail "$path without a key: $status"
done
for path in /jobs /endpoints /workflow/check; do
    fetch $path
    [ "$status" = 401 ] || fail "$path without a key: $status"
done
fetch /jobs -H "Authorization: Bearer $key"
[ "$status" = 200 ] || fail "/jobs with the key: $status"
# handshake PROTOCOLS: the status of a WebSocket's beginning; curl waits for more, so its time is short
handshake() {
    curl -s -m 3 --http1.1 -D head -o /dev/null -H "Connection: Upgrade" -H "Upgrade: websocket" -H "Sec-WebSocket-Version: 13" \
        -H "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==" ${1:+-H "Sec-WebSocket-Protocol: $1"} "$at/ws" &
    local client=$!
    for _ in $(seq 50); do
        ! grep -q '^HTTP' head 2>/dev/null || break
        sleep 0.05
    done
    kill $client 2>/dev/null
    wait $client 2>/dev/null
    status=$(sed -n '1s/^[^ ]* \([0-9]*\).*/\1/p' head)
}
coded() { printf %s "$1" | base64 -w 0 | tr '+/' '-_' | tr -d =; }
rm -f head
handshake "rylagraph, bearer.$(coded "$key")"
[ "$status" = 101 ] && grep -qi '^sec-websocket-protocol: rylagraph' head || fail "a socket with the key: $status"
for wrong in "" rylagraph "rylagraph, bearer." "rylagraph, bearer.$(coded "${key}x")" "rylagraph, bearer.%%%" "bearer.$(coded "${key%?}")" \
             "rylagraph, bearer.$(head -c 3000 /dev/zero | tr '\0' A)"; do
    rm -f head
    handshake "$wrong"
    [ "$status" = 401 ] || fail "a socket with '${wrong:0:60}': $status"
done
# not for anything but sockets
fetch /jobs -H "Sec-WebSocket-Protocol: rylagraph, bearer.$(coded "$key")"
[ "$status" = 401 ] || fail "/jobs with the key as a protocol: $status"
kill -TERM $server
wait $server 2>/dev/null
finish
