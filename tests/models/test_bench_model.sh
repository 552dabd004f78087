#!/bin/bash
# bench model and bench load on small random models: positive times, sizes that agree; --trace: valid events that nest and add up.
set -u
fail() { echo "FAIL: $*" >&2; exit 1; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

for model in flux-dev flux-schnell t5xxl clip_l vae; do
    out=$("$RG_PROGRAM" bench model $model --scale 24 --size 64 --tokens 16 --runs 1 --json --device cpu 2>/dev/null) || fail "bench model $model ended with $?"
    grep -q "^{\"model\": \"$model\", \"device\": \"cpu\", \"dtype\": \"BF16\".*\"seconds\": [0-9.e-]*[1-9].*\"flop\": [0-9.e+]*[1-9].*\"peak_bytes\": [1-9][0-9]*}$" <<<"$out" || fail "$out"
done
"$RG_PROGRAM" bench model lunch >/dev/null 2>&1; [ $? = 2 ] || fail "bench model lunch should end with 2"
"$RG_PROGRAM" bench model vae --scale many >/dev/null 2>&1; [ $? = 2 ] || fail "--scale many should end with 2"

out=$("$RG_PROGRAM" bench load models/demo/vae/*.safetensors --runs 2 --json --device cpu 2>/dev/null) || fail "bench load ended with $?"
grep -q '"bytes": [1-9][0-9]*, "seconds": [0-9.e-]*[1-9].*"gbytes": [0-9.]*[1-9].*"is_cold": false}' <<<"$out" || fail "$out"
"$RG_PROGRAM" bench load "$folder/none" >/dev/null 2>&1; [ $? = 1 ] || fail "bench load of nothing should end with 1"

# a whole run: nodes hold their ops, ops of a thread follow each other, and together they last no longer than the run
"$RG_PROGRAM" run demo --quiet --steps 1 --width 64 --height 64 --output "$folder" --trace "$folder/trace.json" --device cpu >/dev/null || fail "run --trace ended with $?"
[ "$(head -n 1 "$folder/trace.json")" = '{"displayTimeUnit": "ms", "traceEvents": [' ] || fail "the trace has no beginning"
[ "$(tail -n 1 "$folder/trace.json")" = ']}' ] || fail "the trace has no end"
sed '1d;$d' "$folder/trace.json" | awk '
    { last = $0; line = $0; sub(/,$/, "", line) }
    NR > 1 && previous !~ /,$/ { print "no comma before line " NR; exit 1 }
    { previous = $0 }
    line !~ /^\{"name": "[A-Za-z0-9_ ]+", "cat": "(op|node)", "ph": "X", "pid": 1, "tid": [0-9]+, "ts": [0-9.]+, "dur": [0-9.]+(, "args": \{"bytes": [0-9]+, "flop": [0-9]+\})?\}$/ { print "odd: " line; exit 1 }
    {
        split(line, part, "\"ts\": "); split(part[2], number, ","); ts = number[1] + 0
        split(line, part, "\"dur\": "); split(part[2], number, /[,}]/); dur = number[1] + 0
        split(line, part, "\"tid\": "); split(part[2], number, ","); tid = number[1]
        if (line ~ /"cat": "op"/) {
            n_ops++
            if (ts < end_of_op[tid] - 0.01) { print "ops overlap: " line; exit 1 }
            end_of_op[tid] = ts + dur
            in_ops += dur
        } else {
            n_nodes++
            in_nodes += dur
        }
        if (line ~ /"name": "KSampler"/) has_sampler = 1
        if (line ~ /"name": "attention".*"flop": [1-9]/) has_flop = 1
    }
    END {
        if (last ~ /,$/) { print "a comma too many"; exit 1 }
        if (n_ops < 100 || n_nodes < 5 || !has_sampler || !has_flop) { print n_ops " ops, " n_nodes " nodes, sampler " has_sampler ", flop " has_flop; exit 1 }
        if (in_ops <= 0 || in_ops > in_nodes * 1.001) { print "ops take " in_ops " us, nodes " in_nodes; exit 1 }
    }' || fail "the trace is not right"
"$RG_PROGRAM" run demo --quiet --trace "$folder/none/trace.json" --output "$folder" >/dev/null 2>&1 && fail "a trace into no folder should fail"
echo ok
