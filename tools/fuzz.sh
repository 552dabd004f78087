#!/usr/bin/env bash
# Build the fuzz targets with clang in build-fuzz and run each for a while; a crash, leak or hang fails.
#   tools/fuzz.sh [SECONDS [TARGET...]]      60 seconds each, all targets
# Findings stay in build-fuzz/findings; what a target learnt stays in build-fuzz/corpus and is used by the next run.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
[ $# -eq 0 ] || shift

tools/setup.sh --fuzz
[ -f build-fuzz/build.ninja ] || cmake -B build-fuzz -G Ninja -DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++ \
    -DRG_CUDA=OFF -DRG_FUZZ=ON -DRG_SANITIZE=address,undefined

targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    for source in tests/fuzz/fuzz_*.c; do
        [ -e "$source" ] && targets+=("$(basename "$source" .c)")
    done
fi
[ ${#targets[@]} -gt 0 ] || { echo "tools/fuzz.sh: no targets in tests/fuzz" >&2; exit 1; }
cmake --build build-fuzz --target "${targets[@]}"

export UBSAN_OPTIONS="${UBSAN_OPTIONS:-halt_on_error=1:print_stacktrace=1}"
failed=()
for target in "${targets[@]}"; do
    learnt=build-fuzz/corpus/$target findings=build-fuzz/findings/$target
    given=tests/fuzz/corpus/${target#fuzz_}
    mkdir -p "$learnt" "$findings"
    folders=("$learnt")
    [ ! -d "$given" ] || folders+=("$given")
    echo "== $target, $seconds s"
    build-fuzz/"$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 \
        -artifact_prefix="$findings/" "${folders[@]}" </dev/null 2>"$findings/log" || failed+=("$target")
    grep -E 'stat::number_of_executed_units|SUMMARY|ERROR|deadly signal|timeout|out-of-memory' "$findings/log" || tail -n 3 "$findings/log"
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "failed: ${failed[*]} (logs and inputs in build-fuzz/findings)"
    exit 1
fi
echo "${#targets[@]} targets, $seconds s each: nothing found"
