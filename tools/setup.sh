#!/usr/bin/env bash
# Install the Debian packages that are missing, and only those: nothing happens when everything is there.
#   tools/setup.sh            what the program and its tests need
#   tools/setup.sh --fuzz     also what tools/fuzz.sh needs (clang with its run-time libraries)
# Runs as root or through sudo, asks nothing, retries a slow mirror. On a system without apt-get it says what to install.
set -euo pipefail

packages=(gcc g++ libc6-dev cmake ninja-build pkg-config
          libjson-c-dev           # workflows, reports
          libcurl4-openssl-dev    # downloads, webhooks
          libdnnl-dev             # matmul and convolution on the CPU
          libsentencepiece-dev    # T5's tokenizer
          libsqlite3-dev          # the server's job queue
          libwebsockets-dev       # sockets, event loop and TLS of the server
          libssl-dev              # TLS, SHA-256
          libpng-dev libjpeg62-turbo-dev libwebp-dev
          curl)                   # a client for the server's tests
for argument in "$@"; do
    case $argument in
        --fuzz) packages+=(clang libclang-rt-dev libomp-dev) ;;
        *) echo "tools/setup.sh: unknown argument $argument" >&2; exit 2 ;;
    esac
done

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    echo "tools/setup.sh: no apt-get here; the build needs what these Debian packages hold: ${packages[*]}" >&2
    exit 0
fi

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
echo "tools/setup.sh: installing ${missing[*]}" >&2

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "tools/setup.sh: neither root nor sudo; as root, run: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
    [ -t 0 ] || as_root+=(-n)
fi
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q
     -o Acquire::Retries=5 -o Acquire::http::Timeout=60 -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0)

for attempt in 1 2 3; do
    # package lists first: a fresh machine has none, an old one has stale ones
    if "${apt[@]}" update </dev/null >&2 &&
       "${apt[@]}" install -y --no-install-recommends "${missing[@]}" </dev/null >&2; then
        exit 0
    fi
    echo "tools/setup.sh: attempt $attempt of 3 failed" >&2
    sleep $((attempt * 10))
done
exit 1
