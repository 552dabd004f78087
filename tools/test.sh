#!/usr/bin/env bash
# Install what is missing, build the program and every test, run them all.
#   tools/test.sh [--sanitize] [CTEST ARGUMENTS]
#   --sanitize   in build-sanitize, under the address and undefined-behaviour sanitizers
# Examples: tools/test.sh -L text      tools/test.sh -R linear --output-on-failure
set -euo pipefail
cd "$(dirname "$0")/.."

build=build options=()
if [ "${1:-}" = --sanitize ]; then
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
