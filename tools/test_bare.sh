#!/usr/bin/env bash
# Prove the two commands of README.md on a machine with nothing installed: a fresh Debian 12 root made by debootstrap gets a fresh
# clone of HEAD and runs tools/demo.sh, tools/test.sh and tools/bundle.sh; the tarball then runs in a second root that has no
# development package and another release of Debian. Needs root, debootstrap and about 4 GB; not part of CI.
#   tools/test_bare.sh [STEP...]     steps: demo test bundle moved, all of them by default; and ci
# BARE_DIR (default /var/tmp/rylagraph-bare) keeps the roots, BARE_MIRROR names another Debian mirror.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=${BARE_DIR:-/var/tmp/rylagraph-bare} mirror=${BARE_MIRROR:-http://deb.debian.org/debian}
steps=("$@")
[ $# -gt 0 ] || steps=(demo test bundle moved)
[ "$(id -u)" -eq 0 ] || { echo "tools/test_bare.sh: must be root" >&2; exit 2; }
command -v debootstrap >/dev/null || { echo "tools/test_bare.sh: install debootstrap first" >&2; exit 2; }
mkdir -p "$dir"

# an untouched root of a release, made once
base() {
    if [ ! -e "$dir/base-$1/.complete" ]; then
        rm -rf --one-file-system "$dir/base-$1"
        debootstrap --variant=minbase "$1" "$dir/base-$1" "$mirror" >&2
        touch "$dir/base-$1/.complete"
    fi
}
# a fresh copy of it
fresh() {
    base "$1"
    rm -rf --one-file-system "${dir:?}/$2"
    cp -a "$dir/base-$1" "$dir/$2"
    cp /etc/resolv.conf "$dir/$2/etc/resolv.conf"
}
# a command inside, with no terminal, no input and no environment; /proc lives in a mount namespace of its own
inside() {
    local root=$dir/$1
    shift
    unshare --mount bash -c 'mount -t proc proc "$0/proc" && exec chroot "$0" /usr/bin/env -i \
        HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin CI=true "$@"' "$root" "$@" </dev/null
}

for step in "${steps[@]}"; do
    echo "== $step" >&2
    started=$SECONDS
    case $step in
        demo)
            fresh bookworm bare
            git clone -q "file://$PWD" "$dir/bare/rylagraph"
            picture=$(inside bare /rylagraph/tools/demo.sh | tail -n 1)
            # the path is relative to where the command ran, or absolute
            found=
            for candidate in "$dir/bare/rylagraph/$picture" "$dir/bare$picture" "$dir/bare/$picture"; do
                [ -s "$candidate" ] && found=$candidate
            done
            [ -n "$found" ] || { echo "tools/test_bare.sh: no picture at '$picture'" >&2; exit 1; }
            echo "picture: $found" ;;
        test)
            inside bare /rylagraph/tools/test.sh ;;
        ci)
            fresh bookworm bare
            git clone -q "file://$PWD" "$dir/bare/rylagraph"
            inside bare /rylagraph/.ci/run ;;
        bundle)
            inside bare /rylagraph/tools/bundle.sh /bundle.tar.gz ;;
        moved)
            for release in bookworm trixie; do
                fresh $release moved-$release
                mkdir -p "$dir/moved-$release/opt/some where"
                tar -C "$dir/moved-$release/opt/some where" -xzf "$dir/bare/bundle.tar.gz"
                inside moved-$release sh -c 'cd /tmp && "/opt/some where"/rylagraph-*/bin/rylagraph run demo --output /tmp/out'
                ls -l "$dir/moved-$release/tmp/out"
            done ;;
        *) echo "tools/test_bare.sh: unknown step $step" >&2; exit 2 ;;
    esac
    echo "== $step: $((SECONDS - started)) s" >&2
done
