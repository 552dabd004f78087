#!/bin/bash
# Every figure the server is held to, measured from outside, as one table; fails if a bound is missed.
#   tools/bench_server.sh [--quick] [--only start,chain,post,sockets,kill,health,memory,growth]
#   COMFYUI=/path/to/checkout PYTHON=/path/to/python tools/bench_server.sh      # ComfyUI beside it, in the same run
# RG_BUILD names the build folder (default: build), SCRATCH a folder on a real disk (default: /var/tmp). --quick is for tests on busy
# machines: few repetitions, and 30 times as much time for everything.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
build=$(realpath "${RG_BUILD:-$here/build}")
[ -x "$build/bench_server" ] || { echo "$build/bench_server is missing: build first" >&2; exit 2; }
more=()
if [ -n "${COMFYUI:-}" ]; then
    more=(--comfyui "$COMFYUI" --python "${PYTHON:-python3}")
fi
exec "$build/bench_server" --program "$build/rylagraph" --data "$here" --scratch "${SCRATCH:-/var/tmp}" "${more[@]}" "$@"
