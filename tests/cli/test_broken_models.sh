#!/usr/bin/env bash
# Model files that are not what their name says: exit code 1 (they are read when their node runs), the file named, nothing written.
. "$(dirname "$0")/lib.sh"
cd "$work"
mkdir -p models/diffusion_models models/vae
out=$work/output
demo=$here/models/demo

broken() {              # broken NAME TEXT...: a transformer file of this name fails the run with these words
    expect 1 run demo --models "$work/models" "${tiny[@]}" --set "1.unet_name=$1" --output "$out"
    says "$@"
}
flux=$demo/diffusion_models/flux-demo.safetensors
: >models/diffusion_models/empty.safetensors
head -c 5 "$flux" >models/diffusion_models/short.safetensors
head -c 9000 "$flux" >models/diffusion_models/header.safetensors
head -c 9000000 "$flux" >models/diffusion_models/truncated.safetensors
{ printf '\377\377\377\377\377\377\377\177'; tail -c +9 "$flux" | head -c 100000; } >models/diffusion_models/lying.safetensors
head -c 100000 /dev/urandom >models/diffusion_models/noise.safetensors
cp "$demo/vae/ae-demo.safetensors" models/diffusion_models/other.safetensors
# one letter of one name changed: a tensor is missing, and is named
sed 's/single_blocks\.3\.linear2\.weight/single_blocks.3.linear9.weight/' "$flux" >models/diffusion_models/renamed.safetensors
for name in empty short header truncated lying noise other; do
    broken $name.safetensors
done
broken renamed.safetensors single_blocks.3.linear2.weight
ln -s nowhere.safetensors models/vae/dangling.safetensors
expect 2 run demo --models "$work/models" "${tiny[@]}" --set 3.vae_name=dangling.safetensors --output "$out"
says dangling.safetensors
mkdir models/vae/folder.safetensors
expect 2 run demo --models "$work/models" "${tiny[@]}" --set 3.vae_name=folder.safetensors --output "$out"
says folder.safetensors

# a good file under another name is good
cp "$flux" models/diffusion_models/mine.safetensors
expect 0 run demo --models "$work/models" "${tiny[@]}" --set 1.unet_name=mine.safetensors --output "$work/good"
has_files 1 "$work/good"
has_files 0 "$out"
finish
