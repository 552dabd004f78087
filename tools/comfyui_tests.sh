#!/bin/bash
# ComfyUI's own execution tests (tests/execution, 185 of them), unmodified, against `rylagraph serve`.
#   COMFYUI=/path/to/checkout tools/comfyui_tests.sh [pytest arguments]
# Copies the tests into a scratch folder with a main.py that becomes the server, a torch that only has what the tests call, and the
# testing pack (tests/plugins) for the nodes. Needs Python with pytest, numpy, Pillow and websocket-client (PYTHON, default python3).
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
: "${COMFYUI:?set COMFYUI to a checkout of ComfyUI}"
build=$(realpath "${RG_BUILD:-$here/build}") python=${PYTHON:-python3}
scratch=$(mktemp -d) && trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/comfy_execution" "$scratch/torch"
cp -r "$COMFYUI/tests" "$COMFYUI/pytest.ini" "$scratch/"
cp "$COMFYUI/comfy_execution/graph_utils.py" "$scratch/comfy_execution/"
touch "$scratch/comfy_execution/__init__.py"
printf 'class cuda:\n    @staticmethod\n    def empty_cache():\n        pass\n' > "$scratch/torch/__init__.py"
cat > "$scratch/main.py" <<PY
import os, sys
os.execv("$build/rylagraph", ["rylagraph", "serve", "--nodes", "$build/testing_pack.so"] + sys.argv[1:])
PY
mkdir "$scratch/bin"                    # the tests call "python"
ln -s "$(command -v "$python")" "$scratch/bin/python"
cd "$scratch"
export GOMP_SPINCOUNT=1000
PATH="$scratch/bin:$PATH" "$python" -m pytest -p no:cacheprovider -q --output_dir "$scratch/output" tests/execution "$@"
