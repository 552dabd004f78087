"""
Autoencoder fixtures: ComfyUI's comfy.sd.VAE in float32 (crop, scaling, encode, decode, tiles) on a small random Stable
Diffusion style model with quant convs, and on the demo model (Flux style, without). The distances of ComfyUI's own bf16 runs
are recorded; it never runs this model in f16.

    COMFYUI=... python tools/reference/vae.py               write tests/fixtures/models/vae_*.safetensors
"""
import torch
from safetensors.torch import load_file

import common
from common import distance, randn, randomize

TOY = dict(double_z=True, z_channels=4, resolution=32, in_channels=3, out_ch=3, ch=32, ch_mult=[1, 1], num_res_blocks=1,
           attn_resolutions=[], dropout=0.0)
DEMO = dict(double_z=True, z_channels=16, resolution=256, in_channels=3, out_ch=3, ch=32, ch_mult=[1, 2, 2, 4], num_res_blocks=2,
            attn_resolutions=[], dropout=0.0)


def sd_vae(ddconfig, dtype, weights=None, quant_convs=True):
    """
    comfy.sd.VAE around a model of these sizes. ComfyUI knows only the real sizes, so the class is given a config, which
    means quant convs, and for Flux's kind its inner model is exchanged for the one that ComfyUI builds without them.
    """
    common.comfyui()
    import comfy.model_patcher
    import comfy.sd
    from comfy.ldm.models.autoencoder import AutoencoderKL, AutoencodingEngine
    model = AutoencoderKL(ddconfig=ddconfig, embed_dim=ddconfig["z_channels"])
    if weights is None:
        weights = randomize(model, seed=2, dtype=torch.float8_e4m3fn).state_dict()
    vae = comfy.sd.VAE(sd=weights, config={"params": {"ddconfig": ddconfig, "embed_dim": ddconfig["z_channels"]}}, dtype=dtype)
    if not quant_convs:
        part = "comfy.ldm.modules.diffusionmodules.model."
        vae.first_stage_model = AutoencodingEngine(
            regularizer_config={"target": "comfy.ldm.models.autoencoder.DiagonalGaussianRegularizer"},
            encoder_config={"target": part + "Encoder", "params": ddconfig},
            decoder_config={"target": part + "Decoder", "params": ddconfig}).eval()
        missing, unexpected = vae.first_stage_model.load_state_dict(weights, strict=False)
        assert not missing and not unexpected, (missing, unexpected)
        vae.first_stage_model.to(dtype)
        vae.patcher = comfy.model_patcher.ModelPatcher(vae.first_stage_model, vae.device, vae.device)
    vae.latent_channels = ddconfig["z_channels"]
    vae.downscale_ratio = vae.upscale_ratio = 2 ** (len(ddconfig["ch_mult"]) - 1)
    return vae


def picture(name, B, H, W):
    """A smooth scene with some fine texture, 8 bits a channel, as a picture file gives it: [B, H, W, 3] uint8."""
    coarse = torch.nn.functional.interpolate(randn(name + ".coarse", (B, 3, 5, 6)), size=(H, W), mode="bicubic")
    x = torch.sigmoid(1.5 * coarse + 0.1 * randn(name + ".fine", (B, 3, H, W)))
    return (x * 255).round().to(torch.uint8).movedim(1, -1).contiguous()


def toy():
    vae = sd_vae(TOY, torch.float32)
    weights = vae.get_sd()
    low = sd_vae(TOY, torch.bfloat16, weights)
    tensors = {"sd." + k: v.to(torch.float8_e4m3fn) for k, v in weights.items()}
    meta = {}

    def put(name, fn, **inputs):
        out = fn(vae)
        meta[name + ".bf16"] = "%.6g" % distance(fn(low), out)
        print(name, list(out.shape), meta[name + ".bf16"])
        tensors.update({name + "." + k: v for k, v in inputs.items()})
        tensors[name + ".out"] = out

    z = randn("toy.z", (2, 4, 7, 5)).half()
    put("decode", lambda v: v.decode(z.float()), z=z)
    p = picture("toy.pixels", 2, 19, 14)
    alpha = torch.cat([p, p[..., :1]], dim=-1)              # a fourth channel, which the nodes cut off
    put("encode", lambda v: v.encode((alpha.float() / 255.0)[..., :3]), pixels=alpha)

    # tiles: more than one each way, an uneven rest, a single tile that fits in one direction, and no overlap
    z = randn("toy.tiled.z", (1, 4, 26, 15)).half()
    put("decode_tiled", lambda v: v.decode_tiled(z.float(), tile_x=8, tile_y=8, overlap=2), z=z)
    put("decode_tiled_wide", lambda v: v.decode_tiled(z.float(), tile_x=16, tile_y=12, overlap=3))
    put("decode_tiled_bare", lambda v: v.decode_tiled(z.float(), tile_x=8, tile_y=8, overlap=0))
    q = picture("toy.tiled.pixels", 1, 53, 31)
    put("encode_tiled", lambda v: v.encode_tiled(q.float() / 255.0, tile_x=16, tile_y=16, overlap=4), pixels=q)
    put("encode_tiled_wide", lambda v: v.encode_tiled(q.float() / 255.0, tile_x=32, tile_y=24, overlap=6))
    common.save("models/vae_toy.safetensors", tensors, meta)


def diffusers_names(weights):
    """{name in diffusers' layout: name here} for a model of four levels, as ComfyUI's own conversion reads them."""
    common.comfyui()
    import re
    from comfy.diffusers_convert import convert_vae_state_dict
    names = {}
    for k in weights:
        d = re.sub(r"down\.(\d)\.block\.", r"down_blocks.\1.resnets.", k)
        d = re.sub(r"down\.(\d)\.downsample\.", r"down_blocks.\1.downsamplers.0.", d)
        d = re.sub(r"up\.(\d)\.block\.", lambda m: "up_blocks.%d.resnets." % (3 - int(m[1])), d)
        d = re.sub(r"up\.(\d)\.upsample\.", lambda m: "up_blocks.%d.upsamplers.0." % (3 - int(m[1])), d)
        d = re.sub(r"mid\.block_(\d)\.", lambda m: "mid_block.resnets.%d." % (int(m[1]) - 1), d)
        d = d.replace("nin_shortcut", "conv_shortcut").replace("norm_out", "conv_norm_out")
        if "mid.attn_1." in d:
            d = d.replace("mid.attn_1.", "mid_block.attentions.0.")
            d = re.sub(r"\.(q|k|v)\.", r".to_\1.", d).replace(".norm.", ".group_norm.").replace(".proj_out.", ".to_out.0.")
        names[d] = k
    old = [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")]    # earlier names of the same
    for rename in ([], old):
        file = {}
        for d, k in names.items():
            for new, earlier in rename:
                d = d.replace(new, earlier)
            file[d] = weights[k][:, :, 0, 0] if "attentions" in d and weights[k].ndim == 4 else weights[k]
        back = convert_vae_state_dict(file)
        assert back.keys() == weights.keys() and all(torch.equal(back[k], weights[k]) for k in weights)
    return names


def demo():
    weights = load_file(common.DEMO + "/vae/ae-demo.safetensors")
    vae = sd_vae(DEMO, torch.float32, weights, quant_convs=False)
    low = sd_vae(DEMO, torch.bfloat16, weights, quant_convs=False)
    pixels = picture("demo.pixels", 1, 75, 101)
    x = pixels.float() / 255.0
    latent = vae.encode(x)
    z = latent.half()
    out = vae.decode(z.float())
    meta = {"encode.bf16": "%.6g" % distance(low.encode(x), latent), "decode.bf16": "%.6g" % distance(low.decode(z.float()), out)}
    meta["diffusers"] = "\n".join(k + " " + d for d, k in diffusers_names(weights).items())
    print("demo", list(latent.shape), list(out.shape), meta["encode.bf16"], meta["decode.bf16"])
    common.save("models/vae_demo.safetensors", {"pixels": pixels, "latent": latent, "z": z, "out": out}, meta)


if __name__ == "__main__":
    with torch.inference_mode():                            # as ComfyUI runs its nodes; its tiles insist on it
        toy()
        demo()
