#!/bin/bash
# Clients made for ComfyUI, and the one made for the deployment that the endpoints come from, unmodified, against `rylagraph serve`.
#   COMFYUI=/path/to/checkout PYTHON=/path/to/venv/bin/python [RYLA_CLIENT=ryla_client.py] tools/clients_check.sh [NAME...]
# PYTHON's environment has what is to be checked: comfy-cli, comfy-script[runtime], comfy_api_simplified, websocket-client, requests.
# A client that is not installed is skipped; without COMFYUI or PYTHON everything is (exit 77). docs/clients.md tells what was run.
#
# The clients want fixed addresses (127.0.0.1:8188, names under modal.run), so where Linux allows it everything runs in a network and
# mount namespace of its own: own ports, own /etc/hosts, nothing outside is touched, and no client reaches the Internet.
set -u
here=$(cd "$(dirname "$0")/.." && pwd)
if [ ! -f "${COMFYUI:-/nowhere}/script_examples/basic_api_example.py" ] || [ ! -x "${PYTHON:-/nowhere}" ]; then
    echo "SKIP: set COMFYUI to a checkout of ComfyUI and PYTHON to a venv's python"
    exit 77
fi
if [ -z "${CLIENTS_INSIDE:-}" ] && unshare -rnm true 2>/dev/null; then
    CLIENTS_INSIDE=1 exec unshare -rnm "$0" "$@"
fi
build=$(realpath "${RG_BUILD:-$here/build}") bin=$(dirname "$PYTHON") models=$here/models/demo
work=$(mktemp -d) n_bad=0
trap 'xargs -r kill < "$work/pids" 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT
touch "$work/pids"
export HOME=$work/home GOMP_SPINCOUNT=1000 COLUMNS=200
mkdir -p "$HOME" "$work"/models/{checkpoints,diffusion_models,text_encoders,vae}

# ---- models under the names that the clients ask for ---------------------------------------------------------------------------

"$PYTHON" "$here/tools/clients/pack_checkpoint.py" "$work/models/checkpoints/v1-5-pruned-emaonly.safetensors" \
    model.diffusion_model.="$models/diffusion_models/flux-demo.safetensors" vae.="$models/vae/ae-demo.safetensors" \
    text_encoders.clip_l.transformer.="$models/text_encoders/clip_l-demo.safetensors" \
    text_encoders.t5xxl.transformer.="$models/text_encoders/t5-demo.safetensors" || exit 1
for name in v1-5-pruned-emaonly-fp16 flux1-schnell-fp8; do
    ln -s v1-5-pruned-emaonly.safetensors "$work/models/checkpoints/$name.safetensors"
done
ln -s "$models/diffusion_models/flux-demo.safetensors" "$work/models/diffusion_models/flux1-dev.safetensors"
ln -s "$models/text_encoders/clip_l-demo.safetensors" "$work/models/text_encoders/clip_l.safetensors"
ln -s "$models/text_encoders/t5-demo.safetensors" "$work/models/text_encoders/t5xxl_fp16.safetensors"
ln -s "$models/vae/ae-demo.safetensors" "$work/models/vae/ae.safetensors"
"$PYTHON" -c 'import json, sys; json.dump(json.load(open(sys.argv[1]))["graph"], open(sys.argv[2], "w"))' "$here/workflows/demo.json" "$work/demo.json"

# ---- servers -----------------------------------------------------------------------------------------------------------------------

# serve DIR PORT ARGUMENT...: returns once it listens
serve() {
    local dir=$1 port=$2
    shift 2
    : > "$dir.log"
    "$build/rylagraph" serve --base-directory "$dir" --models "$work/models" --models "$models" --port "$port" "$@" 2> "$dir.log" &
    echo $! >> "$work/pids"             # a file: some are started in a subshell
    for _ in $(seq 200); do
        grep -q listening "$dir.log" && return
        kill -0 $! 2>/dev/null || break
        sleep 0.05
    done
    echo "the server does not start:" && cat "$dir.log"
    exit 1
}

if [ -n "${CLIENTS_INSIDE:-}" ]; then
    ip link set lo up 2>/dev/null || "$PYTHON" -c 'import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh14x", b"lo", 0x41))'
fi
mkdir "$work/server" && serve "$work/server" 8188

# ---- one function per client ----------------------------------------------------------------------------------------------------

has() { "$PYTHON" -c "import $1" 2>/dev/null; }

check() {
    local name=$1 began=$SECONDS code
    shift
    [ ${#only[@]} -gt 0 ] && [[ " ${only[*]} " != *" $name "* ]] && return
    ("$@") > "$work/$name.log" 2>&1
    code=$?
    case $code in
    0) echo "ok    $name ($((SECONDS - began)) s)" ;;
    77) echo "skip  $name: $(tail -n 1 "$work/$name.log")" ;;
    *) n_bad=$((n_bad + 1))
       echo "BAD   $name (exit $code)"
       sed 's/^/      /' "$work/$name.log" | tail -n 40 ;;
    esac
}

# Posts and is gone: what it wanted must be there a little later.
basic_api_example() {
    "$PYTHON" "$COMFYUI/script_examples/basic_api_example.py" || return
    for _ in $(seq 600); do
        [ -n "$(find "$work/server/output" -name 'ComfyUI_*.png')" ] && return 0
        sleep 0.1
    done
    echo "no picture was drawn"
    return 1
}

websockets_api_example() {
    has websocket || { echo "websocket-client is not installed"; return 77; }
    "$PYTHON" "$here/tools/clients/run_script.py" "$COMFYUI/script_examples/$1.py" 1
}

comfy_cli() {
    [ -x "$bin/comfy" ] || { echo "comfy-cli is not installed"; return 77; }
    "$bin/comfy" --skip-prompt tracking disable
    "$bin/comfy" --skip-prompt run --workflow "$work/demo.json" --wait --verbose || return
    "$bin/comfy" --skip-prompt --json run --workflow "$work/demo.json" --wait > "$work/run.json" || { cat "$work/run.json"; return 1; }
    grep -q '/view?' "$work/run.json" || { cat "$work/run.json"; return 1; }
    # its own default workflow, which names an SD 1.5 checkpoint
    "$bin/comfy" --skip-prompt run --prompt "a red house" --set steps=2 --set width=256 --set height=256 --wait || return
    # a prompt that cannot work ends with an error, not with a hang
    echo '{"1": {"class_type": "Nope", "inputs": {}}}' > "$work/nope.json"
    ! "$bin/comfy" --skip-prompt run --workflow "$work/nope.json" --wait
}

comfy_script() {
    has comfy_script.runtime || { echo "comfy-script is not installed"; return 77; }
    "$PYTHON" "$here/tools/clients/with_comfy_script.py" http://127.0.0.1:8188/
}

comfy_api_simplified() {
    has comfy_api_simplified || { echo "comfy_api_simplified is not installed"; return 77; }
    "$PYTHON" "$here/tools/clients/with_comfy_api_simplified.py" http://127.0.0.1:8188 "$work/demo.json" "$here/docs/images/demo.png"
}

# HTTPS under the names it was made for: /etc/hosts leads them here, a CA of our own signs.
ryla_client() {
    [ -f "${RYLA_CLIENT:-/nowhere}" ] || { echo "RYLA_CLIENT names no file"; return 77; }
    [ -n "${CLIENTS_INSIDE:-}" ] || { echo "needs a namespace for /etc/hosts and port 443"; return 77; }
    has requests || { echo "requests is not installed"; return 77; }
    local app names=localhost out=$work/ryla
    for app in flux lora instantid wan2 seedvr2 z-image comfyui; do
        names="$names test--ryla-$app-comfyui-fastapi-app.modal.run"
    done
    echo "127.0.0.1 $names" > "$work/hosts"
    mount --bind "$work/hosts" /etc/hosts || return
    (cd "$work" &&
     openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=test CA" -keyout ca.key -out ca.pem \
         -addext keyUsage=critical,keyCertSign -addext basicConstraints=critical,CA:TRUE &&
     openssl req -newkey rsa:2048 -nodes -subj "/CN=modal.run" -keyout tls.key -out tls.csr &&
     printf 'subjectAltName=DNS:*.modal.run\nauthorityKeyIdentifier=keyid\n' > tls.ext &&
     openssl x509 -req -in tls.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile tls.ext -out tls.pem) 2> "$work/openssl.log" ||
        { cat "$work/openssl.log"; return 1; }
    mkdir "$work/tls" "$out" && serve "$work/tls" 443 --tls-keyfile "$work/tls.key" --tls-certfile "$work/tls.pem"
    export REQUESTS_CA_BUNDLE=$work/ca.pem
    local client=("$PYTHON" "$RYLA_CLIENT") small=(--width 256 --height 256 --modal-workspace test)

    "${client[@]}" flux-dev --prompt "a red house" --steps 4 --seed 5 "${small[@]}" --output "$out/dev.jpg" | tee "$out/dev.log"
    grep -q '💰 Cost: \$[0-9.]* | Time: [0-9.]*s | GPU: ' "$out/dev.log" || return 1
    "${client[@]}" flux --prompt "a red house" "${small[@]}" --output "$out/schnell.jpg" || return
    "${client[@]}" workflow --workflow-file "$work/demo.json" --prompt "a blue sailboat" --modal-workspace test --output "$out/flow.jpg" || return
    "$PYTHON" -c 'import sys
from PIL import Image
for path in sys.argv[1:]:
    picture = Image.open(path)
    assert picture.format == "JPEG" and picture.size == (256, 256), (path, picture)' "$out/dev.jpg" "$out/schnell.jpg" "$out/flow.jpg" || return
    # what cannot be done here is said in the words that the client looks for
    local refused
    for refused in "wan2 --prompt x" "seedvr2 --image $here/docs/images/demo.png" "flux-lora --prompt x --lora-id 123" \
                   "flux-instantid --prompt x --reference-image $here/docs/images/demo.png"; do
        # shellcheck disable=SC2086
        "${client[@]}" $refused --modal-workspace test --output "$out/none" > "$out/refused.log" && { echo "$refused succeeded"; return 1; }
        cat "$out/refused.log"
        grep -q '❌ Server Error: ' "$out/refused.log" && ! grep -q 'Server Error: HTTP' "$out/refused.log" || return 1
    done
    [ ! -e "$out/none" ]
}

only=("$@")
check basic_api_example basic_api_example
check websockets_api_example websockets_api_example websockets_api_example
check websockets_api_example_ws_images websockets_api_example websockets_api_example_ws_images
check comfy_cli comfy_cli
check comfy_script comfy_script
check comfy_api_simplified comfy_api_simplified
check ryla_client ryla_client
exit $((n_bad > 0))
