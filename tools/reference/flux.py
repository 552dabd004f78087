"""
Flux transformer fixtures: ComfyUI's comfy.ldm.flux.model.Flux in float32 on small random models in the real key layout, and
on the demo model. Each case also records how far ComfyUI's own bf16 and f16 runs are from its float32 run.

    COMFYUI=... python tools/reference/flux.py              write tests/fixtures/models/flux_*.safetensors
    COMFYUI=... python tools/reference/flux.py --trace CASE OUT.safetensors
                                                            ComfyUI's activations after every block, named as RG_DUMP=block names them
    python tools/reference/flux.py --compare A B            per tensor: distance of A from B
"""
import sys

import torch
from safetensors.torch import load_file, save_file

import common
from common import distance, randn, randomize

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def build(config, dtype, scaled_fp8=None):
    """ComfyUI's Flux with these sizes; linear layers as its loaders make them (manual_cast: weights are widened on the way)."""
    common.comfyui()
    import comfy.ops
    from comfy.ldm.flux.model import Flux
    ops = comfy.ops.disable_weight_init if dtype in DTYPES.values() else comfy.ops.manual_cast
    if scaled_fp8:
        ops = comfy.ops.scaled_fp8_ops(fp8_matrix_mult=False, scale_input=False, override_dtype=scaled_fp8)
    return Flux(**config, dtype=dtype, device="cpu", operations=ops).eval()


def evaluate(model, x, t, context, y, guidance, dtype):
    """What ComfyUI's BaseModel does around the transformer: everything but the timestep is cast to the model's dtype."""
    cast = lambda v: None if v is None else v.to(dtype)
    return model(cast(x), t, context=cast(context), y=cast(y), guidance=cast(guidance)).float()


def config(hidden, heads, axes, depth, singles, ratio, channels, context, vector, guidance):
    return dict(image_model="flux", in_channels=channels, out_channels=channels, vec_in_dim=vector, context_in_dim=context,
                hidden_size=hidden, mlp_ratio=ratio, num_heads=heads, depth=depth, depth_single_blocks=singles,
                axes_dim=axes, theta=10000, patch_size=2, qkv_bias=True, guidance_embed=guidance)


def inputs(name, B, C, H, W, N, context, vector):
    """Inputs in f16 precision, so that the fixture stores them small and exactly."""
    half = lambda v: v.half().float()
    return {"x": half(randn(name + ".x", (B, C, H, W))), "context": half(randn(name + ".context", (B, N, context))),
            "y": half(randn(name + ".y", (B, vector)))}


# Two toys: one with guidance and heads of 16, one without guidance, heads of 32, another MLP ratio and channel count.
TOYS = {
    "dev": config(hidden=32, heads=2, axes=[4, 6, 6], depth=1, singles=2, ratio=4.0, channels=16, context=24, vector=20, guidance=True),
    "schnell": config(hidden=32, heads=1, axes=[4, 14, 14], depth=2, singles=1, ratio=2.0, channels=4, context=40, vector=16, guidance=False),
}
# name: (toy, B, H, W, context tokens, timesteps, has y, guidance)
# ComfyUI rounds guidance to the model dtype, times 1000: 4 and 1 survive that in bf16, 3.5 would drown everything else.
CASES = {
    "dev_odd":      ("dev", 2, 7, 9, 11, [0.9, 0.25], True, [4.0, 1.0]),
    "dev_bare":     ("dev", 1, 8, 6, 5, [0.5], False, None),
    "schnell_even": ("schnell", 1, 8, 12, 16, [1.0], True, None),
    "schnell_odd":  ("schnell", 3, 5, 2, 1, [0.01, 0.4, 0.75], True, None),
}
DEMO = config(hidden=192, heads=3, axes=[8, 28, 28], depth=2, singles=8, ratio=4.0, channels=16, context=128, vector=128, guidance=True)
DEMO_TIMES = [0.95, 0.3]


def toy_weights(toy):
    return randomize(build(TOYS[toy], torch.float32), seed=1, dtype=torch.bfloat16).state_dict()


def demo_weights():
    return load_file(common.DEMO + "/diffusion_models/flux-demo.safetensors")


def case(name):
    """(config, weights, x, t, context, y, guidance) of a case; demo_0 and demo_1 are the demo model's."""
    if name.startswith("demo"):
        v = inputs("demo", 1, 16, 32, 32, 128, 128, 128)
        return DEMO, demo_weights(), v["x"], torch.tensor([DEMO_TIMES[int(name[-1])]]), 0.25 * v["context"], v["y"], torch.tensor([4.0])
    toy, B, H, W, N, times, has_y, guidance = CASES[name]
    c = TOYS[toy]
    v = inputs(name, B, c["in_channels"], H, W, N, c["context_in_dim"], c["vec_in_dim"])
    return (c, toy_weights(toy), v["x"], torch.tensor(times), v["context"], v["y"] if has_y else None,
            torch.tensor(guidance) if guidance else None)


def run(name):
    """The float32 result, and the distances of ComfyUI's own bf16 and f16 runs from it."""
    c, weights, *args = case(name)
    out, far = None, {}
    for key, dtype in DTYPES.items():
        model = build(c, dtype)
        missing, unexpected = model.load_state_dict(weights, strict=False)
        assert not missing and not unexpected, (missing, unexpected)
        got = evaluate(model, *args, dtype)
        if out is None:
            out = got
        else:
            far[name + "." + key] = "%.6g" % distance(got, out)
    print(name, list(out.shape), far)
    return args, out, far


def scaled(weights):
    """The weights as one of ComfyUI's scaled fp8 files has them: linear weights divided by a scale and rounded to e4m3."""
    out = {"scaled_fp8": torch.empty(2, dtype=torch.float8_e4m3fn)}         # two elements: no fp8 arithmetic
    for k, v in weights.items():
        if v.ndim == 2:
            scale = v.abs().max() / 448.0
            out[k] = (v / scale).to(torch.float8_e4m3fn)
            out[k.replace(".weight", ".scale_weight")] = scale.reshape(())
        else:
            out[k] = v.to(torch.bfloat16)
    return out


def write_fp8():
    """fp8 in float32 arithmetic: UNETLoader's weight_dtype on a bf16 file, and a scaled fp8 file."""
    c, weights, *args = case("dev_odd")
    tensors = {}
    for key, dtype in (("e4m3", torch.float8_e4m3fn), ("e5m2", torch.float8_e5m2)):
        model = build(c, dtype)
        model.load_state_dict(weights)
        tensors[key + ".out"] = evaluate(model, *args, torch.float32)
    file = scaled(weights)
    model = build(c, torch.float32, scaled_fp8=torch.float8_e4m3fn)
    missing, unexpected = model.load_state_dict({k: v for k, v in file.items() if k != "scaled_fp8"}, strict=False)
    assert not missing and not unexpected, (missing, unexpected)
    tensors["scaled.out"] = evaluate(model, *args, torch.float32)
    tensors.update({"file." + k: v for k, v in file.items()})
    ref = case_result("dev_odd")
    for k in ("e4m3", "e5m2", "scaled"):
        print(k, "%.4g from float32" % distance(tensors[k + ".out"], ref))
    common.save("models/flux_fp8.safetensors", tensors)


def case_result(name):
    c, weights, *args = case(name)
    model = build(c, torch.float32)
    model.load_state_dict(weights)
    return evaluate(model, *args, torch.float32)


def write():
    tensors, meta = {}, {}
    for toy in TOYS:
        tensors.update({toy + "." + k: v.to(torch.bfloat16) for k, v in toy_weights(toy).items()})
        meta[toy] = {k: TOYS[toy][k] for k in ("hidden_size", "num_heads", "axes_dim", "depth", "depth_single_blocks", "mlp_ratio")}
    for name in CASES:
        (x, t, context, y, guidance), out, far = run(name)
        meta.update(far)
        put = {"x": x.half(), "t": t, "context": context.half(), "out": out}
        if y is not None:
            put["y"] = y.half()
        if guidance is not None:
            put["guidance"] = guidance
        tensors.update({name + "." + k: v for k, v in put.items()})
    common.save("models/flux_toy.safetensors", tensors, meta)

    tensors, meta = {}, {}
    for name in ("demo_0", "demo_1"):
        (x, t, context, y, guidance), out, far = run(name)
        meta.update(far)
        tensors.update({"x": x.half(), "context": context.half(), "y": y.half(), "guidance": guidance, name + ".t": t, name + ".out": out})
    common.save("models/flux_demo.safetensors", tensors, meta)


def trace(name, path):
    c, weights, *args = case(name)
    model = build(c, torch.float32)
    model.load_state_dict(weights)
    seen = {}

    def keep(label):
        def hook(module, inputs, output):
            parts = dict(zip(("img", "txt"), output)) if isinstance(output, tuple) else {"": output}
            seen.update({(label + "." + k).rstrip("."): v.float().clone().contiguous() for k, v in parts.items()})
        return hook

    for label in ("img_in", "txt_in"):
        getattr(model, label).register_forward_hook(keep(label))
    for kind in ("double_blocks", "single_blocks"):
        for i, block in enumerate(getattr(model, kind)):
            block.register_forward_hook(keep("%s.%d" % (kind, i)))
    seen["out"] = evaluate(model, *args, torch.float32)
    save_file(seen, path)


def compare(a, b):
    a, b = load_file(a), load_file(b)
    for name in b:
        print("%-32s %s" % (name, "%.3g" % distance(a[name].reshape(b[name].shape), b[name]) if name in a else "missing"))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--compare"]:
        compare(*sys.argv[2:4])
    elif sys.argv[1:2] == ["--trace"]:
        trace(*sys.argv[2:4])
    else:
        write()
        write_fp8()
