#!/usr/bin/env bash
# What tools/gpu_check.sh runs, packed for a machine with a GPU and other libraries than this one's: the program, the tests, the CUDA module for
# one architecture, and every shared library they need except the C library's and NVIDIA's.
#   tools/gpu_bundle.sh [ARCHITECTURE] [FOLDER]      default: 90a-real gpu-bundle; then, over there: tools/gpu_check.sh gpu-bundle
set -euo pipefail
cd "$(dirname "$0")/.."
architecture=${1:-90a-real} folder=${2:-gpu-bundle} build=build-gpu
tests=(test_ops test_torch test_flux test_text_models test_vae test_samplers test_upload test_captured test_residency test_demo_pictures)

cmake -B $build -G Ninja -DRG_CUDA=ON "-DRG_CUDA_ARCHITECTURES=$architecture" > /dev/null
ninja -C $build rylagraph rylagraph_cuda "${tests[@]}" >&2
rm -rf "$folder"
mkdir -p "$folder/lib"
for file in rylagraph rylagraph_cuda.so "${tests[@]}"; do
    install -m 755 $build/$file "$folder/$file"
    strip --strip-unneeded "$folder/$file"
done
stays='^(linux-vdso|ld-linux.*|libc|libm|libdl|librt|libpthread|libresolv|libcuda|libcudart|libcublas.*|libcudnn.*|libnv.*|libnccl)\.so'
for file in "$folder/rylagraph" "$folder/rylagraph_cuda.so" "$folder"/test_*; do ldd "$file"; done | awk '$2 == "=>" && $3 ~ /^\// {print $1, $3}' | sort -u |
    while read -r soname path; do
        if [[ $soname =~ $stays ]]; then continue; fi
        install -m 755 "$path" "$folder/lib/$soname"
        strip --strip-unneeded "$folder/lib/$soname"
    done
size=$(du -sm "$folder" | cut -f1)
echo "$folder: $size MB"
[ "$size" -le 64 ] || { echo "tools/gpu_bundle.sh: over 64 MB" >&2; exit 1; }
