#!/usr/bin/env bash
# `rylagraph check` and `rylagraph nodes` as people and programs call them: output, exit codes, docs/nodes.md.
set -u
program=${RG_PROGRAM:-build/rylagraph}
[ -x "$program" ] || { echo "SKIP: no program at $program"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failed=0

# expect CODE COMMAND...: run it, keep what it says in $out
expect() {
    local wanted=$1 code
    shift
    out=$("$@" 2>&1)
    code=$?
    [ "$code" -eq "$wanted" ] || { echo "FAIL: $* gave $code, wanted $wanted: $out"; failed=1; }
}
says() {
    case $out in *"$1"*) ;; *) echo "FAIL: wanted \"$1\" in: $out"; failed=1 ;; esac
}

expect 0 "$program" check demo
says "demo.json: good: 10 nodes; about"
says "for 256x256"
expect 0 "$program" check demo --width 512 --set 8.seed=7
says "for 512x256"
expect 0 "$program" check demo --json
says '"error": null, "node_errors": {}, "predicted_memory": {"total_bytes": '

expect 2 "$program" check demo --set 8.steps=0 --set 8.sampler_name=eular
says "node 8 (KSampler \"Sample\"), input steps: 0 is below the least allowed, 1"
says "input sampler_name: eular is not in its list; nearest: euler"
expect 2 "$program" check demo --set 8.steps=0 --json
says '"type": "value_smaller_than_min", "message": "Value 0 smaller than min of 1", "details": "steps"'
says '"dependent_outputs": ["10"], "class_type": "KSampler"'

expect 2 "$program" check demo --steps x
says "steps"
expect 2 "$program" check dmeo
says "demo"
expect 2 "$program" check
expect 2 "$program" check "$folder/none.json"
says "none.json"

echo '{"1": {"class_type": "KSamplr", "inputs": {}}' >"$folder/cut.json"
expect 2 "$program" check "$folder/cut.json"
says "not JSON: line 2, column 1: expected ',' or '}' in an object, found the end of the text"
expect 2 "$program" check "$folder/cut.json" --json
says '"error": {"type": "invalid_prompt"'
echo '{"1": {"class_type": "KSamplr", "inputs": {}}}' >"$folder/unknown.json"
expect 2 "$program" check "$folder/unknown.json" demo
says "node 1: there is no class KSamplr; nearest: KSampler"
says "good: 10 nodes"
echo '{"nodes": [{"id": 1, "type": "EmptyImage", "widgets_values": [64, 64, 1, 0]},
 {"id": 2, "type": "Note"}, {"id": 3, "type": "SaveImage", "inputs": [{"name": "images", "type": "IMAGE", "link": 5}], "widgets_values": ["x"]}],
 "links": [[5, 1, 0, 3, 0, "IMAGE"]]}' >"$folder/editor.json"
expect 0 "$program" check "$folder/editor.json"
says "good: 2 nodes"
expect 2 "$program" check "$folder/editor.json" --set 1.width=0
says "node 1 (EmptyImage), input width"
: >"$folder/empty.json"
expect 2 "$program" check "$folder/empty.json"
says "not JSON"

expect 0 "$program" nodes
says "KSampler"
expect 0 "$program" nodes KSampler
says "seed"
expect 2 "$program" nodes KSamplr
says "no class KSamplr; nearest: KSampler"
expect 0 "$program" nodes VAEDecode --json
says '{"VAEDecode": {"input": {"required": {"samples": ["LATENT", {'
expect 0 "$program" nodes --json
case $out in *'"max": 18446744073709551615'*) ;; *) echo "FAIL: a seed's maximum is not exact"; failed=1 ;; esac

"$program" nodes --markdown >"$folder/nodes.md"
if ! diff -u docs/nodes.md "$folder/nodes.md" >"$folder/diff"; then
    echo "FAIL: docs/nodes.md is not what the table says; $program nodes --markdown >docs/nodes.md"
    head -n 20 "$folder/diff"
    failed=1
fi
exit $failed
