#!/bin/bash
# bench ops: a small run prints a table, and JSON whose rows have positive times; bad options end with code 2.
set -u
fail() { echo "FAIL: $*" >&2; exit 1; }

out=$("$RG_PROGRAM" bench ops --size 64 --runs 1 --blocks no --json 2>/dev/null) || fail "bench ops ended with $?"
has() { grep -q "$1" <<<"$out" || fail "no $1 in: $out"; }
has '^{"device": "cpu", "dtype": "[BF16F32]*", "threads": [1-9]'
has '"ceiling_gflops": [0-9.]*[1-9]'
has '{"name": "oneDNN'
has '{"name": "attention .*"seconds": [0-9.e-]*[1-9].*"gflops": [0-9.]*[1-9]'
has '{"name": "modulated norm".*"gbytes": [0-9.]*[1-9]'
[ "$(grep -c '{"name"' <<<"$out")" -ge 10 ] || fail "fewer than 10 rows: $out"
tail -n 1 <<<"$out" | grep -q '^]}$' || fail "the JSON has no end"
"$RG_PROGRAM" bench ops --size nine >/dev/null 2>&1; [ $? = 2 ] || fail "--size nine should end with 2"
"$RG_PROGRAM" bench lunch >/dev/null 2>&1; [ $? = 2 ] || fail "bench lunch should end with 2"
echo ok
