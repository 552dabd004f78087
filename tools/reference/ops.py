"""Fixtures of every op from PyTorch (and ComfyUI where the op is ComfyUI's), in float32: tests/fixtures/ops/*.safetensors.

    COMFYUI=/path/to/ComfyUI python tools/reference/ops.py

tests/ops/test_torch.c reads them. Inputs and results stand side by side: x, weight, ... and out.
"""
import math

import torch
import torch.nn.functional as F

from common import comfyui, randn, save

comfyui()
from comfy.ldm.flux.layers import timestep_embedding
from comfy.ldm.flux.math import apply_rope, rope


def r(name, *shape, gain=1.0):
    return randn("ops." + name, shape) * gain


def elementwise():
    a, b, row = r("ew.a", 3, 5, 17), r("ew.b", 3, 5, 17), r("ew.row", 5, 1)
    t = {"a": a, "b": b, "row": row, "nan": torch.tensor([1.0, float("nan"), -2.0]), "other": torch.tensor([float("nan"), 0.5, 3.0])}
    for name in ("add", "sub", "mul", "div", "maximum", "minimum"):
        op = getattr(torch, name)
        t[name] = op(a, b)
        t[name + "_row"] = op(a, row)
        t[name + "_outer"] = op(row, b[0, :1])
    t["maximum_nan"], t["minimum_nan"] = torch.maximum(t["nan"], t["other"]), torch.minimum(t["nan"], t["other"])
    # scalars go to kernels as float32 here: torch would otherwise carry them as doubles into the same float32 arithmetic
    s, h, d = (torch.tensor(v, dtype=torch.float32).item() for v in (1.7, -0.3, 0.7))
    t["affine"], t["scale"], t["shift"] = a * s + h, a * s, a + h
    t["div_scalar"], t["add_scaled"], t["clamp"] = a / d, a + d * b, torch.clamp(a, -0.5, 1.25)
    save("ops/elementwise.safetensors", t)


def unary():
    x = torch.cat([r("unary", 700, gain=3.0), torch.linspace(-30, 30, 301), torch.tensor([0.0, -0.0, 0.5, 1.5, 2.5, -0.5, 88.0, -88.0, 1e-30])])
    p = x.abs() + 0.01
    gelu = F.gelu
    t = {"x": x, "positive": p, "up": r("unary.up", *x.shape), "exp": torch.exp(x.clamp(max=8)), "bounded": x.clamp(max=8), "log": torch.log(p),
         "sqrt": torch.sqrt(p), "sin": torch.sin(x), "cos": torch.cos(x), "tanh": torch.tanh(x), "sigmoid": torch.sigmoid(x), "abs": x.abs(),
         "neg": -x, "reciprocal": 1 / p, "round": torch.round(x), "floor": torch.floor(x), "relu": F.relu(x), "silu": F.silu(x),
         "gelu": gelu(x), "gelu_tanh": gelu(x, approximate="tanh"), "quick_gelu": x * torch.sigmoid(1.702 * x)}
    odd = torch.tensor([float("nan"), float("inf"), float("-inf"), 1.5])
    t["odd"], t["nan_to_num"] = odd, torch.nan_to_num(odd, nan=0.0, posinf=65504, neginf=-65504)
    t["gated_gelu_tanh"], t["gated_silu"] = t["gelu_tanh"] * t["up"], t["silu"] * t["up"]
    save("ops/unary.safetensors", t)


def convert():
    x = torch.cat([r("convert", 500, gain=2.0), torch.tensor([0.0, -0.0, 448.0, 464.0, 465.0, 480.0, -500.0, 57344.0, 61440.0, 65520.0, 1e-9, 2.0 ** -9,
                   3.0 * 2.0 ** -10, 2.0 ** -16, 2.0 ** -17, 3 * 2.0 ** -18, 5.96e-8, 2.98e-8, 1e38, float("inf"), float("-inf"), float("nan")])])
    t = {"x": x}
    for name, dtype in (("f16", torch.float16), ("bf16", torch.bfloat16), ("f8_e4m3", torch.float8_e4m3fn), ("f8_e5m2", torch.float8_e5m2)):
        t[name] = x.to(dtype)
        t[name + "_back"] = x.to(dtype).float()
    n = (r("convert.int", 200, gain=40).round()).clamp(-127, 127)
    t["whole"], t["i32"], t["i64"], t["i8"] = n + 0.7 * n.sign(), (n + 0.7 * n.sign()).to(torch.int32), (n + 0.7 * n.sign()).to(torch.int64), n.to(torch.int8)
    save("ops/convert.safetensors", t)


def moving():
    x, y, pic = r("mv.x", 2, 3, 5), r("mv.y", 2, 4, 5), r("mv.pic", 2, 3, 4, 5)
    table, ids = r("mv.table", 11, 6), torch.tensor([[0, 10, 3], [3, 7, 1]])
    save("ops/moving.safetensors", {
        "x": x, "y": y, "cat": torch.cat([x, y, x], 1), "pic": pic, "pad_zero": F.pad(pic, (1, 4, 2, 0)),
        "pad_replicate": F.pad(pic, (1, 4, 2, 0), mode="replicate"), "pad_circular": F.pad(pic, (1, 4, 2, 0), mode="circular"),
        "table": table, "ids": ids, "embedding": F.embedding(ids, table)})


def reduce():
    x = r("reduce", 3, 4, 37)
    t = {"x": x}
    for d in range(3):
        t["sum%d" % d], t["mean%d" % d], t["softmax%d" % d] = x.sum(d), x.mean(d, keepdim=True), torch.softmax(x * 3, d)
    t["x3"] = x * 3
    save("ops/reduce.safetensors", t)


def products():
    x, w, b = r("lin.x", 2, 7, 40), r("lin.w", 24, 40, gain=0.15), r("lin.b", 24)
    w8 = (w * 4).to(torch.float8_e4m3fn)
    scale = torch.tensor(0.25)
    a, m = r("mm.a", 2, 1, 9, 33), r("mm.b", 3, 33, 12)
    t = {"x": x, "w": w, "b": b, "linear": F.linear(x, w, b), "no_bias": F.linear(x, w), "gelu_tanh": F.gelu(F.linear(x, w, b), approximate="tanh"),
         "silu": F.silu(F.linear(x, w, b)), "gelu": F.gelu(F.linear(x, w, b)), "w_bf16": w.bfloat16(), "linear_bf16": F.linear(x, w.bfloat16().float(), b),
         "w_f8": w8, "scale": scale, "linear_f8": F.linear(x, scale * w8.float(), b), "ma": a, "mb": m, "matmul": torch.matmul(a, m)}
    save("ops/products.safetensors", t)


def attention():
    q, k, v = r("at.q", 2, 4, 19, 24), r("at.k", 2, 2, 31, 24), r("at.v", 2, 2, 31, 16)
    wide = [t.repeat_interleave(2, 1) for t in (k, v)]
    bias = r("at.bias", 1, 4, 19, 31)
    mask = torch.zeros(2, 1, 1, 31)
    mask[0, ..., 20:] = float("-inf")
    s = r("at.s", 1, 3, 21, 3, 16)
    sq, sk, sv = (s[:, i].permute(0, 2, 1, 3) for i in range(3))

    def out(o):
        return o.transpose(1, 2).reshape(o.shape[0], o.shape[2], -1)
    save("ops/attention.safetensors", {
        "q": q, "k": k, "v": v, "bias": bias, "mask": mask, "qkv": s,
        "plain": out(F.scaled_dot_product_attention(q, *wide)), "biased": out(F.scaled_dot_product_attention(q, *wide, attn_mask=bias, scale=1.0)),
        "masked": out(F.scaled_dot_product_attention(q, *wide, attn_mask=mask)),
        "causal": out(F.scaled_dot_product_attention(sq, sk, sv, is_causal=True))})


def conv():
    x, w, b = r("cv.x", 2, 6, 9, 11), r("cv.w", 10, 6, 3, 3, gain=0.15), r("cv.b", 10)
    w1 = r("cv.w1", 4, 6, 1, 1)
    save("ops/conv2d.safetensors", {"x": x, "w": w, "b": b, "w1": w1, "same": F.conv2d(x, w, b, padding=1), "valid": F.conv2d(x, w),
                                    "strided": F.conv2d(x, w, b, stride=2, padding=1), "point": F.conv2d(x, w1)})


def norms():
    x, w, b = r("nm.x", 2, 7, 48) + 0.5, r("nm.w", 48), r("nm.b", 48)
    pic, gw, gb = r("nm.pic", 2, 32, 6, 5) + 1.0, r("nm.gw", 32), r("nm.gb", 32)
    shift, scale, gate = (r("nm." + n, 2, 1, 48) for n in ("shift", "scale", "gate"))
    gn = F.group_norm(pic, 8, gw, gb, eps=1e-6)
    save("ops/norms.safetensors", {
        "x": x, "w": w, "b": b, "layer": F.layer_norm(x, (48,), w, b, 1e-5), "layer_plain": F.layer_norm(x, (48,), eps=1e-6),
        "rms": F.rms_norm(x, (48,), w, 1e-6), "rms_plain": F.rms_norm(x, (48,), eps=1e-6), "pic": pic, "gw": gw, "gb": gb, "group": gn,
        "group_silu": F.silu(gn), "shift": shift, "scale": scale, "gate": gate,
        "modulated": (1 + scale) * F.layer_norm(x, (48,), eps=1e-6) + shift, "y": r("nm.y", 2, 7, 48), "gated": x + gate * r("nm.y", 2, 7, 48)})


def rotary():
    axes = [16, 56, 56]
    ids = torch.zeros(1, 12, 3)
    ids[0, 4:, 1], ids[0, 4:, 2] = torch.arange(8) // 4, torch.arange(8) % 4 * 17
    pe = torch.cat([rope(ids[..., i], axes[i], 10000) for i in range(3)], dim=-3).unsqueeze(1)
    q, k, w = r("rp.q", 1, 3, 12, 128), r("rp.k", 1, 3, 12, 128), r("rp.w", 128)
    rq, _ = apply_rope(F.rms_norm(q, (128,), w, 1e-6), k, pe)
    plain, _ = apply_rope(q, k, pe)
    t = torch.tensor([1.0, 0.98765, 0.333, 0.0])
    save("ops/rotary.safetensors", {"ids": ids, "pe": pe, "q": q, "w": w, "norm_rope": rq, "rope": plain, "norm": F.rms_norm(q, (128,), w, 1e-6),
                                    "t": t, "embedding": timestep_embedding(t, 256), "embedding_1": timestep_embedding(t * 900, 32, time_factor=1.0)})


def interpolate():
    x = r("ip.x", 1, 3, 13, 10)
    t = {"x": x}
    for mode in ("nearest", "nearest-exact", "bilinear", "bicubic", "area"):
        for h, w in ((26, 20), (7, 5), (31, 8), (13, 10), (1, 23)):
            t["%s_%d_%d" % (mode, h, w)] = F.interpolate(x, size=(h, w), mode=mode)
    # which pixels nearest picks: long thin pictures of their own indices, where float32 positions round
    line = torch.arange(4097, dtype=torch.float32).reshape(1, 1, 1, 4097)
    t["line"] = line
    for mode in ("nearest", "nearest-exact"):
        for n in (777, 4095):
            t["line_%s_%d" % (mode, n)] = F.interpolate(line, size=(1, n), mode=mode).to(torch.int16)
    save("ops/interpolate.safetensors", t)


for make in (elementwise, unary, convert, moving, reduce, products, attention, conv, norms, rotary, interpolate):
    make()
