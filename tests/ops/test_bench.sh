#!/bin/bash
# bench ops: a small run prints a table, and JSON whose rows have positive times; bad options end with code 2.
set -u
fail() { echo "FAIL: $*" >&2; exit 1; }

out=$("$RG_PROGRAM" bench ops --size 64 --runs 1 --blocks no --json 2>/dev/null) || fail "bench ops ended with $?"
python3 - "$out" <<'PY' || fail "not the JSON that was wanted"
import json, sys
r = json.loads(sys.argv[1])
rows = {x["name"]: x for x in r["rows"]}
assert r["dtype"] in ("BF16", "F32") and r["threads"] >= 1 and r["ceiling_gflops"] > 0, r
assert len(rows) >= 10 and all(x["seconds"] > 0 for x in rows.values()), rows
assert any(n.startswith("oneDNN") for n in rows) and any(n.startswith("attention") for n in rows), list(rows)
assert all("gflops" in x or "gbytes" in x for x in rows.values())
PY
"$RG_PROGRAM" bench ops --size nine >/dev/null 2>&1; [ $? = 2 ] || fail "--size nine should end with 2"
"$RG_PROGRAM" bench lunch >/dev/null 2>&1; [ $? = 2 ] || fail "bench lunch should end with 2"
echo ok
