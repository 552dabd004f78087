#!/usr/bin/env bash
# Everything a machine with an NVIDIA GPU can tell, in one call: build, compare every op with its definition, look for bad
# memory accesses, time. Usage: tools/gpu_check.sh [BUILD_DIR]; a ready build (rylagraph, test_ops, rylagraph_cuda.so) is used as it is.
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

if command -v compute-sanitizer > /dev/null; then
    for tool in memcheck racecheck initcheck; do
        echo "== compute-sanitizer $tool"
        compute-sanitizer --tool "$tool" --error-exitcode 1 "$build/test_ops" --device cuda > "$build/sanitizer-$tool.log" 2>&1 ||
            { tail -40 "$build/sanitizer-$tool.log"; exit 1; }
        tail -1 "$build/sanitizer-$tool.log"
    done
fi

echo "== times"
"$build/rylagraph" bench ops --device cuda
