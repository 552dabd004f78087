#!/usr/bin/env bash
# From a fresh checkout to a picture: install what is missing, build, run workflows/demo.json on the embedded model, and print
# the path of the picture. Further arguments go to the program: tools/demo.sh --set 8.seed=2
set -euo pipefail
cd "$(dirname "$0")/.."

tools/setup.sh
[ -f build/build.ninja ] || cmake -B build -G Ninja >&2
cmake --build build --target rylagraph >&2
build/rylagraph run workflows/demo.json --output "$PWD/output" "$@"
