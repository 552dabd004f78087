#!/bin/bash
# Node packs: loaded when named, refused with a reason, never found by themselves.
set -u
program=${RG_PROGRAM:-build/rylagraph} build=${RG_BUILD:-build}
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
fails=0
check() { # NAME WANTED_CODE WANTED_TEXT COMMAND...
    local name=$1 code=$2 text=$3 out; shift 3
    out=$("$@" 2>&1); local got=$?
    if [ $got != "$code" ] || ! grep -qF -- "$text" <<< "$out"; then
        echo "FAIL $name: code $got (wanted $code), output: $out"; fails=$((fails + 1))
    else echo "ok $name"; fi
}
cat > "$folder/w.json" <<'JSON'
{"1": {"class_type": "StubConstantImage", "inputs": {"value": 0.25, "height": 8, "width": 8, "batch_size": 1}},
 "2": {"class_type": "TestSleep", "inputs": {"value": ["1", 0], "seconds": 0.01}},
 "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "pack"}}}
JSON
check "a workflow with the pack's nodes runs" 0 pack_00001_.png "$program" run "$folder/w.json" --nodes "$build/testing_pack.so" --output "$folder/out" --quiet
check "without it they are unknown" 2 StubConstantImage "$program" run "$folder/w.json" --output "$folder/out" --quiet
check "the same nodes twice" 2 "there is a node StubImage already" "$program" run "$folder/w.json" --nodes "$build/testing_pack.so" --nodes "$build/testing_pack.so"
check "no such file" 2 "no such file" "$program" run "$folder/w.json" --nodes "$folder/none.so"
echo nonsense > "$folder/text.so"
check "not a library" 2 "not a shared library" "$program" run "$folder/w.json" --nodes "$folder/text.so"
if command -v cc > /dev/null; then
    echo 'int x;' > "$folder/x.c"; cc -shared -fPIC -o "$folder/empty.so" "$folder/x.c"
    check "a library that is no pack" 2 "no function rg_node_pack" "$program" run "$folder/w.json" --nodes "$folder/empty.so"
    echo 'void *rg_node_pack(int abi, int *n) { return 0; }' > "$folder/x.c"; cc -shared -fPIC -o "$folder/old.so" "$folder/x.c"
    check "another ABI" 2 "another version of the node interface" "$program" run "$folder/w.json" --nodes "$folder/old.so"
fi
exit $((fails > 0))
