"""The files people have, without having them: random weights under the published names, sizes and dtypes, and what ComfyUI draws.

    COMFYUI=/path/to/ComfyUI python tools/reference/real_size.py FOLDER [DEPTH]
    rylagraph run WORKFLOW --models FOLDER --set 8.seed=5 --set 8.steps=2 --set 7.width=256 --set 7.height=256

Writes FOLDER/diffusion_models/flux1-dev.safetensors (bf16, every width of Flux.1 dev, DEPTH double and 2 DEPTH single blocks,
1 by default; 19 is the whole), text_encoders/clip_l.safetensors (f16) and t5xxl_fp16.safetensors (all 24 layers; float8 in
spite of its name, to halve 10 GB), vae/ae.safetensors (f32), then runs the graph below with ComfyUI's own nodes in float32 and
stores FOLDER/comfyui.png. About 7 GB of disk and 16 GB of memory at DEPTH 1. Random weights draw noise, but the same noise.
"""
import os
import sys
import time

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

import common

PROMPT = "a photograph of an (astronaut:1.2) riding a horse, détaillé, 8k"
SEED, STEPS, SIZE, GUIDANCE = 5, 2, 256, 3.5


def write(path, module, dtype, scale=1.0, keep=()):
    """A seeded random state dict of a module that lies on the meta device; names in `keep` stay bf16."""
    if os.path.exists(path):
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    state = {}
    for name, p in module.state_dict().items():
        g = torch.Generator().manual_seed(len(state) + 1)
        if not p.is_floating_point():
            state[name] = torch.arange(p.numel()).reshape(p.shape)
            continue
        r = torch.empty(p.shape)
        if p.ndim >= 2:
            r.normal_(generator=g).mul_(scale / p[0].numel() ** 0.5)
        elif name.endswith("bias"):
            r.normal_(generator=g).mul_(0.02)
        else:
            r.normal_(generator=g).mul_(0.02).add_(1.0)
        state[name] = r.to(torch.bfloat16 if any(k in name for k in keep) else dtype)
    save_file(state, path)
    print(path, "%.2f GB" % (os.path.getsize(path) / 1e9), flush=True)


def make_files(folder, depth):
    import comfy.clip_model
    import comfy.ldm.flux.model
    import comfy.ldm.models.autoencoder
    import comfy.ops
    import comfy.text_encoders.t5
    import json
    root = os.environ["COMFYUI"]
    ops, meta = comfy.ops.disable_weight_init, torch.device("meta")

    flux = comfy.ldm.flux.model.Flux(in_channels=16, out_channels=16, vec_in_dim=768, context_in_dim=4096, hidden_size=3072, mlp_ratio=4.0,
                                     num_heads=24, depth=depth, depth_single_blocks=2 * depth, axes_dim=[16, 56, 56], theta=10000, patch_size=2,
                                     qkv_bias=True, guidance_embed=True, device=meta, dtype=torch.float32, operations=ops)
    write(os.path.join(folder, "diffusion_models", "flux1-dev.safetensors"), flux, torch.bfloat16)
    with open(os.path.join(root, "comfy", "sd1_clip_config.json")) as f:
        clip = comfy.clip_model.CLIPTextModel(json.load(f), torch.float32, meta, ops)
    write(os.path.join(folder, "text_encoders", "clip_l.safetensors"), clip, torch.float16)
    with open(os.path.join(root, "comfy", "text_encoders", "t5_config_xxl.json")) as f:
        t5 = comfy.text_encoders.t5.T5(json.load(f), torch.float32, meta, ops)
    write(os.path.join(folder, "text_encoders", "t5xxl_fp16.safetensors"), t5, torch.float8_e4m3fn, keep=("norm", "shared", "relative"))
    config = {"double_z": True, "z_channels": 16, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 128, "ch_mult": [1, 2, 4, 4],
              "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0}
    with meta:
        ae = comfy.ldm.models.autoencoder.AutoencodingEngine(
            regularizer_config={"target": "comfy.ldm.models.autoencoder.DiagonalGaussianRegularizer"},
            encoder_config={"target": "comfy.ldm.modules.diffusionmodules.model.Encoder", "params": config},
            decoder_config={"target": "comfy.ldm.modules.diffusionmodules.model.Decoder", "params": config})
    write(os.path.join(folder, "vae", "ae.safetensors"), ae, torch.float32)


def main():
    folder, depth = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1
    common.comfyui("--fp32-unet", "--fp32-vae")   # text encoders: in float32 too, widened layer by layer
    make_files(folder, depth)

    import folder_paths
    import nodes
    from comfy_extras.nodes_sd3 import EmptySD3LatentImage
    for key in ("diffusion_models", "text_encoders", "vae"):
        folder_paths.add_model_folder_path(key, os.path.join(folder, key), is_default=True)
    started = time.time()
    encoded = os.path.join(folder, "positive.pt")       # minutes of a CPU: kept for the next run
    if not os.path.exists(encoded):
        (clip,) = nodes.DualCLIPLoader().load_clip("clip_l.safetensors", "t5xxl_fp16.safetensors", "flux")
        torch.save(nodes.CLIPTextEncode().encode(clip, PROMPT)[0], encoded)
        del clip
    positive = torch.load(encoded)
    print("text %.1f s" % (time.time() - started), flush=True)
    (model,) = nodes.UNETLoader().load_unet("flux1-dev.safetensors", "default")
    positive[0][1]["guidance"] = GUIDANCE
    (latent,) = EmptySD3LatentImage().generate(SIZE, SIZE)
    (samples,) = nodes.KSampler().sample(model, SEED, STEPS, 1.0, "euler", "normal", positive, positive, latent)
    print("samples %.1f s" % (time.time() - started), flush=True)
    (vae,) = nodes.VAELoader().load_vae("ae.safetensors")
    (image,) = nodes.VAEDecode().decode(vae, samples)
    Image.fromarray(np.clip(255.0 * image[0].numpy(), 0, 255).astype(np.uint8)).save(os.path.join(folder, "comfyui.png"))
    print("done %.1f s" % (time.time() - started), flush=True)


if __name__ == "__main__":
    main()
