#!/usr/bin/env bash
# Everything a machine with an NVIDIA GPU can tell, in one call of under ten minutes. Each step says PASS or FAIL with its seconds and the next
# one runs all the same; the summary comes last, and all outputs lie in $OUT (or BUILD_DIR/gpu_check).
#   tools/gpu_check.sh [BUILD_DIR]
# BUILD_DIR may be a build (a missing one is made here) or what tools/gpu_bundle.sh packed. Steps in order of worth: results, sameness, times, checkers.
set -uo pipefail
cd "$(dirname "$0")/.."
build=${1:-build-cuda}
out=${OUT:-$build/gpu_check}
mkdir -p "$out"
deadline=$((SECONDS + ${RG_GPU_CHECK_SECONDS:-570}))
failed=0
: > "$out/summary.txt"

# NVIDIA's libraries where Python packages keep them, when the system has none
if ! ldconfig -p | grep -q libcudnn_graph.so.9; then
    for name in libcudnn_graph.so.9 libcublasLt.so.13 libcudart.so.13 libnvrtc.so.13; do
        place=$(find /usr/local /opt /usr/lib -name "$name" -print -quit 2>/dev/null)
        [ -n "$place" ] && LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$(dirname "$place")
    done
    export LD_LIBRARY_PATH
fi
[ -d "$build/lib" ] && export LD_LIBRARY_PATH=$PWD/$build/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

# step NAME SECONDS COMMAND...: at most so many seconds, and no more than are left
step() {
    local name=$1 limit=$2 start=$SECONDS code verdict
    shift 2
    [ $((deadline - SECONDS)) -lt "$limit" ] && limit=$((deadline - SECONDS))
    if [ "$limit" -lt 5 ]; then
        echo "SKIP $name (no time left)" | tee -a "$out/summary.txt"
        return
    fi
    timeout "$limit" "$@" > "$out/$name.log" 2>&1
    code=$?
    verdict=PASS
    if [ $code = 77 ]; then verdict=SKIP; elif [ $code != 0 ]; then verdict="FAIL (code $code)"; failed=$((failed + 1)); fi
    echo "$verdict $name, $((SECONDS - start)) s" | tee -a "$out/summary.txt"
    case $verdict in FAIL*) tail -n 12 "$out/$name.log" ;; esac
}
cuda_test() { local name=$1 limit=$2 program=$3; shift 3; step "$name" "$limit" "$build/$program" --device cuda "$@"; }
run() { "$build/rylagraph" "$@"; }

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$out/device.txt"
if [ ! -x "$build/test_ops" ]; then
    step build 600 bash -c "cmake -B $build -G Ninja -DRG_CUDA=ON -DRG_CUDA_ARCHITECTURES=native && ninja -C $build"
fi

echo "== results"
step starts 60 "$build/rylagraph" bench model clip_l --scale 12 --device cuda --runs 1
RG_SYNC=1 cuda_test ops 120 test_ops
cuda_test torch 60 test_torch
cuda_test flux 60 test_flux
cuda_test text 60 test_text_models
cuda_test vae 60 test_vae
cuda_test samplers 30 test_samplers
cuda_test upload 30 test_upload
cuda_test graphs 30 test_captured
cuda_test residency 30 test_residency
RG_TEST_DEVICE=cuda RG_PROGRAM="$build/rylagraph" step pictures 90 "$build/test_demo_pictures"

echo "== the same bytes: two runs, with CUDA graphs and without"
same() {
    local dtype=$1
    mkdir -p "$out/same"
    for kind in first second plain; do
        RG_GRAPHS=$([ $kind = plain ] && echo 0 || echo 1) run run demo --quiet --device cuda --dtype "$dtype" --seed 7 --output "$out/same/$dtype-$kind" || return 1
    done
    cmp "$out/same/$dtype-first/"*.png "$out/same/$dtype-second/"*.png && cmp "$out/same/$dtype-first/"*.png "$out/same/$dtype-plain/"*.png
}
export -f same run
export build out
for dtype in f32 bf16; do step "same_$dtype" 40 bash -c "same $dtype"; done

echo "== times"
model() { step "bench_$1" "$2" "$build/rylagraph" bench model "${@:3}" --device cuda; tail -n 2 "$out/bench_$1.log" 2>/dev/null; }
model flux 120 flux-dev --runs 8
RG_GRAPHS=0 model flux_without_graphs 100 flux-dev --runs 5
model flux_fp8 100 flux-dev --weights fp8 --runs 5
model flux_in_8G 100 flux-dev --vram-budget 8G --runs 3
model t5 60 t5xxl --dtype bf16
model t5_f32 60 t5xxl --dtype f32
model clip 30 clip_l
model vae 40 vae
RG_PROFILE=1 step profile_flux 100 "$build/rylagraph" bench model flux-dev --runs 2 --device cuda
RG_PROFILE=1 step profile_vae 40 "$build/rylagraph" bench model vae --runs 2 --device cuda
tail -n 14 "$out/profile_flux.log" 2>/dev/null
for dtype in bf16 f16 f32; do step "bench_ops_$dtype" 60 "$build/rylagraph" bench ops --device cuda --dtype "$dtype"; done
step bench_load 40 "$build/rylagraph" bench load models/demo/diffusion_models/*.safetensors --device cuda

echo "== memory checkers"
if command -v compute-sanitizer > /dev/null; then
    for tool in memcheck racecheck initcheck; do
        RG_TEST_EVERY=7 step "$tool" 90 compute-sanitizer --tool $tool --error-exitcode 1 "$build/test_ops" --device cuda
    done
else
    echo "SKIP compute-sanitizer is not here" | tee -a "$out/summary.txt"
fi

rm -rf "$out/same"
tar -C "$out" -czf "$out/logs.tar.gz" --exclude=logs.tar.gz . 2>/dev/null
find "$out" -name '*.log' -delete
echo "== summary"
cat "$out/summary.txt"
echo "$failed failed; all outputs: $out/logs.tar.gz"
[ "$failed" = 0 ]
