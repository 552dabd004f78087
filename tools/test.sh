#!/usr/bin/env bash
# Install what is missing, build the program and every test, run them all.
#   tools/test.sh [--sanitize [thread]] [CTEST ARGUMENTS]
#   --sanitize          in build-sanitize, under the address and undefined-behaviour sanitizers
#   --sanitize thread   in build-thread, under the thread sanitizer: the server's tests, unless ctest arguments say which
# Examples: tools/test.sh -L text      tools/test.sh -R linear --output-on-failure
set -euo pipefail
cd "$(dirname "$0")/.."

build=build options=()
if [ "${1:-}" = --sanitize ] && [ "${2:-}" = thread ]; then
    shift 2
    build=build-thread
    options=(-DRG_SANITIZE=thread -DRG_CUDA=OFF -DRG_WERROR=OFF -DCMAKE_BUILD_TYPE=RelWithDebInfo)
    # One OpenMP thread: libgomp is not instrumented, every barrier of it would look like a race. Our own threads are all there.
    export OMP_NUM_THREADS=1 TSAN_OPTIONS="${TSAN_OPTIONS:-second_deadlock_stack=1}"
    [ $# -gt 0 ] || set -- -L server
elif [ "${1:-}" = --sanitize ]; then
    shift
    build=build-sanitize
    # no -Werror: gcc also warns about paths that only its instrumentation makes
    options=(-DRG_SANITIZE=address,undefined -DRG_CUDA=OFF -DRG_WERROR=OFF -DCMAKE_BUILD_TYPE=RelWithDebInfo)
    export UBSAN_OPTIONS="${UBSAN_OPTIONS:-halt_on_error=1:print_stacktrace=1}"
fi

tools/setup.sh
[ -f $build/build.ninja ] || cmake -B $build -G Ninja "${options[@]}"
cmake --build $build
exec ctest --test-dir $build --output-on-failure -j "$(nproc)" "$@" </dev/null
