#!/usr/bin/env bash
# Everything a machine with an NVIDIA GPU can tell, in one call: build, compare every op with its definition, draw the demo's
# pictures and hold them to the CPU's, look for bad memory accesses, time. Usage: tools/gpu_check.sh [BUILD_DIR]; a ready build (rylagraph, test_*, rylagraph_cuda.so) is used as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build-cuda}

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
if [ ! -x "$build/test_ops" ]; then
    cmake -B "$build" -G Ninja -DRG_CUDA=ON > /dev/null
    ninja -C "$build"
fi

echo "== ops against their definitions"
RG_SYNC=1 "$build/test_ops" --device cuda

"$build/test_backend"

echo "== the demo's pictures in f32 and bf16 against the references that the CPU is held to"
RG_TEST_DEVICE=cuda RG_PROGRAM="$build/rylagraph" "$build/test_demo_pictures"

echo "== the same bytes twice, in f32 and bf16"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for dtype in f32 bf16; do
    for run in 1 2; do
        mkdir -p "$folder/$dtype$run"
        "$build/rylagraph" run demo --quiet --device cuda --dtype "$dtype" --seed 7 --output "$folder/$dtype$run"
    done
    cmp "$folder/${dtype}1/demo_00001_.png" "$folder/${dtype}2/demo_00001_.png"
done

if command -v compute-sanitizer > /dev/null; then
    for tool in memcheck racecheck initcheck; do
        echo "== compute-sanitizer $tool"
        compute-sanitizer --tool "$tool" --error-exitcode 1 "$build/test_ops" --device cuda > "$build/sanitizer-$tool.log" 2>&1 ||
            { tail -40 "$build/sanitizer-$tool.log"; exit 1; }
        tail -1 "$build/sanitizer-$tool.log"
    done
fi

echo "== times"
for dtype in bf16 f16 f32; do
    "$build/rylagraph" bench ops --device cuda --dtype "$dtype"
done
