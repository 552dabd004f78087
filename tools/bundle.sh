#!/usr/bin/env bash
# Make a tarball that runs where it is unpacked, on any Linux with the C library of this machine or a later one (Debian 12: 2.36):
# the program, the shared libraries it needs except the C library's and NVIDIA's, the workflows and the demo model.
#   tools/bundle.sh [OUT.tar.gz]     default: build-bundle/rylagraph-VERSION-ARCHITECTURE.tar.gz; its path is printed
set -euo pipefail
cd "$(dirname "$0")/.."

tools/setup.sh
build=build-bundle
# DT_RPATH, not RUNPATH: it also holds for the libraries that the libraries need
cmake -B $build -G Ninja -DCMAKE_INSTALL_BINDIR=bin -DCMAKE_INSTALL_LIBDIR=lib -DCMAKE_INSTALL_DATADIR=share \
    -DCMAKE_INSTALL_RPATH='$ORIGIN/../lib' -DCMAKE_EXE_LINKER_FLAGS=-Wl,--disable-new-dtags >&2
targets=(rylagraph)
grep -q '^build rylagraph_cuda' $build/build.ninja && targets+=(rylagraph_cuda)
cmake --build $build --target "${targets[@]}" >&2

version=$(sed -n 's/^CMAKE_PROJECT_VERSION:STATIC=//p' $build/CMakeCache.txt)
name=rylagraph-$version-$(uname -m)
out=$(realpath -m "${1:-$build/$name.tar.gz}")
stage=$build/stage
rm -rf $stage
cmake --install $build --prefix "$PWD/$stage/$name" --strip >/dev/null
tree=$stage/$name
mkdir -p $tree/lib $tree/share/doc/rylagraph/licences
cp README.md LICENSE $tree/

# What the machine it runs on must bring: the C library, and NVIDIA's driver and libraries. Everything else travels along.
stays='^(linux-vdso|ld-linux.*|libc|libm|libdl|librt|libpthread|libresolv|libcuda|libcudart|libcublas.*|libcudnn.*|libnv.*|libnccl)\.so'
# libcurl is loaded on first use: ldd of the program does not know it
curl=$(ldconfig -p | awk '$1 == "libcurl.so.4" && $NF ~ /^\// {print $NF; exit}')
[ -n "$curl" ] || { echo "tools/bundle.sh: libcurl.so.4 is not here" >&2; exit 1; }
{ echo "libcurl.so.4 $curl"; ldd $tree/bin/rylagraph "$curl" | awk '$2 == "=>" && $3 ~ /^\// {print $1, $3}'; } | sort -u | while read -r soname path; do
    if [[ $soname =~ $stays ]]; then continue; fi
    install -m 755 "$path" "$tree/lib/$soname"
    strip --strip-unneeded "$tree/lib/$soname"
    file=$(realpath "$path")            # dpkg may know /usr/lib/x as /lib/x
    package=$(dpkg-query -S "$file" "${file#/usr}" 2>/dev/null | head -n 1 | cut -d: -f1 || true)
    if [ -n "$package" ] && [ -f "/usr/share/doc/$package/copyright" ]; then
        cp "/usr/share/doc/$package/copyright" "$tree/share/doc/rylagraph/licences/$package.txt"
    fi
done
if ldd $tree/bin/rylagraph | grep 'not found' >&2; then
    echo "tools/bundle.sh: the program needs libraries that are not here" >&2
    exit 1
fi

mkdir -p "$(dirname "$out")"
tar -C $stage --owner=0 --group=0 --sort=name -czf "$out" "$name"
size=$(stat -c %s "$out")
echo "tools/bundle.sh: $((size / 1000000)) MB packed, $(du -sm $tree | cut -f1) MB unpacked" >&2
if [ "$size" -ge 60000000 ]; then
    echo "tools/bundle.sh: over 60 MB" >&2
    exit 1
fi
echo "$out"
