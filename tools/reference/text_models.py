"""Reference for the CLIP and T5 text networks: ComfyUI's own modules in float32, on toy models and on the demo model.

    COMFYUI=/path/to/ComfyUI python tools/reference/text_models.py

Toys have the real key layout with weights that bf16 holds exactly. ComfyUI runs these networks with float32 activations
whatever the weights are stored in (sd1_clip.py passes float32 embeddings to casting ops), so one reference serves all dtypes.
"""
import os

import torch

import common

common.comfyui()
import comfy.clip_model
import comfy.ops
import comfy.text_encoders.t5
import sentencepiece
from safetensors.torch import load_file
from transformers import CLIPTokenizer

PROMPTS = [
    "a red house on the left, two pine trees on the right, a snowy field at night, a large moon",
    "an orange hot air balloon over purple mountains at dawn",
    "",
    "three palm trees, a blue sailboat on the sea, clouds by day, " * 8,
]
OPS = comfy.ops.manual_cast


def clip_model(sd, prefix="text_model.", dtype=torch.float32):
    """ComfyUI's CLIPTextModel with the sizes of a state dict; the table of tokens is replaced, as its size is fixed in there."""
    tokens, positions = (sd[prefix + "embeddings.%s_embedding.weight" % k] for k in ("token", "position"))
    layers = 1 + max(int(k.split(".")[3]) for k in sd if ".layers." in k)
    config = dict(num_hidden_layers=layers, hidden_size=tokens.shape[1], num_attention_heads=tokens.shape[1] // 64,
                  intermediate_size=sd[prefix + "encoder.layers.0.mlp.fc1.weight"].shape[0], hidden_act="quick_gelu",
                  max_position_embeddings=positions.shape[0], eos_token_id=tokens.shape[0] - 1)
    m = comfy.clip_model.CLIPTextModel(config, dtype, "cpu", OPS)
    m.text_model.embeddings.token_embedding = OPS.Embedding(tokens.shape[0], tokens.shape[1], dtype=dtype)
    missing, _ = m.load_state_dict({k: v.float() for k, v in sd.items()}, strict=False)
    assert set(missing) <= {"text_projection.weight"}, missing
    return m


def t5_model(sd, ops=OPS, dtype=torch.float32):
    table = sd["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
    inner, d = sd["encoder.block.0.layer.0.SelfAttention.q.weight"].shape
    config = dict(num_layers=1 + max(int(k.split(".")[2]) for k in sd if k.startswith("encoder.block.")), d_model=d,
                  d_kv=inner // table.shape[1], num_heads=table.shape[1], d_ff=sd["encoder.block.0.layer.1.DenseReluDense.wo.weight"].shape[1],
                  dense_act_fn="gelu_pytorch_tanh", is_gated_act=True, model_type="t5", vocab_size=sd["shared.weight"].shape[0])
    m = comfy.text_encoders.t5.T5(config, dtype, "cpu", ops)
    m.load_state_dict({k: v for k, v in sd.items() if k != "scaled_fp8"}, strict=True)
    return m


def n_tokens(ids, end):
    """As SDClipModel.process_tokens counts: up to and with the first end token."""
    return [row.index(end) + 1 if end in row else len(row) for row in ids.tolist()]


def run_clip(m, ids, end, layer=None, final_norm=True, mask=None):
    embeds = m.get_input_embeddings()(ids, out_dtype=torch.float32)
    last, hidden, projected, pooled = m(None, mask, embeds=embeds, num_tokens=n_tokens(ids, end), intermediate_output=layer,
                                        final_layer_norm_intermediate=final_norm, dtype=torch.float32)
    return last, hidden, pooled, projected


def run_t5(m, ids, layer=None, mask=None):
    embeds = m.get_input_embeddings()(ids, out_dtype=torch.float32)
    return m(None, mask, embeds=embeds, intermediate_output=layer, final_layer_norm_intermediate=True, dtype=torch.float32)


def toy_clip():
    D, M, L, V, P = 128, 96, 2, 40, 20
    sd = {"text_model.embeddings.token_embedding.weight": (V, D), "text_model.embeddings.position_embedding.weight": (P, D),
          "text_model.final_layer_norm.weight": (D,), "text_model.final_layer_norm.bias": (D,), "text_projection.weight": (D, D)}
    for i in range(L):
        p = "text_model.encoder.layers.%d." % i
        for n in ("q_proj", "k_proj", "v_proj", "out_proj"):
            sd[p + "self_attn.%s.weight" % n], sd[p + "self_attn.%s.bias" % n] = (D, D), (D,)
        for n in ("layer_norm1", "layer_norm2"):
            sd[p + n + ".weight"], sd[p + n + ".bias"] = (D,), (D,)
        sd[p + "mlp.fc1.weight"], sd[p + "mlp.fc1.bias"], sd[p + "mlp.fc2.weight"], sd[p + "mlp.fc2.bias"] = (M, D), (M,), (D, M), (D,)
    sd = fill(sd)
    m = clip_model(sd)
    ids = torch.tensor([[38, 1, 2, 3, 4, 5, 6, 7, 39, 39, 39, 39], [38, 39, 7, 7, 8, 8, 9, 9, 10, 10, 39, 39], [38] + list(range(11))])
    ids = torch.cat([ids, torch.full((3, P - ids.shape[1]), 39)], dim=1)
    ids[2, -1] = 12                     # no end token but the padding before it
    mask = (torch.arange(P)[None] < torch.tensor(n_tokens(ids, 39))[:, None]).long()
    out = {"ids": ids.int(), "mask": mask.int(), "n_tokens": torch.tensor(n_tokens(ids, 39))}
    out["last"], out["hidden_0_norm"], out["pooled"], out["projected"] = run_clip(m, ids, 39, 0)
    _, out["hidden_-1_raw"], _, _ = run_clip(m, ids, 39, -1, False)
    out["masked_last"], _, out["masked_pooled"], _ = run_clip(m, ids, 39, None, True, mask)
    assert (out["masked_last"] - out["last"]).abs().max() > 0.01
    # weights of another dtype, as ComfyUI stores them: every parameter is cast, biases and norms too
    for name, dtype in (("e4m3", torch.float8_e4m3fn), ("e5m2", torch.float8_e5m2)):
        out[name + "_last"] = run_clip(clip_model(sd, dtype=dtype), ids, 39)[0]
    # how far its own runs with rounded weights stray from float32, on weights that need all of float32
    raw = {k: v + v * 2.0 ** -10 * common.randn(k, v.shape, 1) for k, v in sd.items()}
    exact = run_clip(clip_model(raw), ids, 39)[0]
    meta = {n + "_distance": common.distance(run_clip(clip_model(raw, dtype=t), ids, 39)[0], exact)
            for n, t in (("bf16", torch.bfloat16), ("f16", torch.float16))}
    print("ComfyUI with rounded weights:", meta)
    sd["logit_scale"] = torch.tensor(4.6055)
    sd["text_model.embeddings.position_ids"] = torch.arange(P)[None]
    common.save("models/clip_toy.safetensors", {**{k: v if v.dtype == torch.int64 else v.bfloat16() for k, v in sd.items()},
                                                **{"reference." + k: v for k, v in out.items()}}, meta)


def fill(shapes):
    """Seeded weights that bf16 holds exactly: gain 1 for matrices, 1 + 0.1 for norm scales, 0.1 for biases."""
    sd = {}
    for k, shape in shapes.items():
        r = common.randn(k, shape)
        if len(shape) == 2:
            r *= 1.0 if "embedding" in k or k == "shared.weight" else shape[1] ** -0.5
        else:
            r = r * 0.1 + (1.0 if k.endswith("norm.weight") or "layer_norm1.weight" in k or "layer_norm2.weight" in k else 0.0)
        sd[k] = r.bfloat16().float()
    return sd


def t5_shapes(D, H, K, F, L, V):
    sd = {"shared.weight": (V, D), "encoder.final_layer_norm.weight": (D,)}
    for i in range(L):
        p = "encoder.block.%d." % i
        for n in "qkv":
            sd[p + "layer.0.SelfAttention.%s.weight" % n] = (H * K, D)
        sd[p + "layer.0.SelfAttention.o.weight"] = (D, H * K)
        if i == 0:
            sd[p + "layer.0.SelfAttention.relative_attention_bias.weight"] = (32, H)
        sd[p + "layer.0.layer_norm.weight"] = sd[p + "layer.1.layer_norm.weight"] = (D,)
        for n in ("wi_0", "wi_1"):
            sd[p + "layer.1.DenseReluDense.%s.weight" % n] = (F, D)
        sd[p + "layer.1.DenseReluDense.wo.weight"] = (D, F)
    return sd


def toy_t5():
    V = 50
    sd = fill(t5_shapes(48, 3, 24, 96, 3, V))       # inner 72 is not the width
    m = t5_model(sd)
    ids = torch.stack([torch.randint(2, V, (160,), generator=torch.Generator().manual_seed(i)) for i in range(2)])
    ids[0, 30:] = ids[1, 100:] = 0
    ids[0, 29] = ids[1, 99] = 1
    mask = (ids != 0).int()
    out = {"ids": ids.int(), "mask": mask}
    last, hidden = run_t5(m, ids, -2)
    masked, _ = run_t5(m, ids, None, mask)
    assert (masked - last).abs().max() > 0.01
    out["last"], out["hidden_-2"], out["masked"] = last[:, ::4], hidden[:, ::4], masked[:, ::4]
    distances = torch.arange(-700, 701)
    out["buckets"] = m.encoder.block[0].layer[0].SelfAttention._relative_position_bucket(distances).int()
    common.save("models/t5_toy.safetensors", {**{k: v.bfloat16() for k, v in sd.items()}, **{"reference." + k: v for k, v in out.items()}},
                {"token_step": 4})


def scaled_t5():
    """ComfyUI's scaled fp8 layout, run by ComfyUI's scaled_fp8_ops: norms and tables f16, linears e4m3fn with scale_weight."""
    plain = fill(t5_shapes(48, 3, 24, 96, 2, 30))
    sd = {"scaled_fp8": torch.empty((2,), dtype=torch.float8_e4m3fn)}
    for k, v in plain.items():
        if v.ndim == 2 and "shared" not in k and "bias" not in k:
            scale = v.abs().max() / 448.0
            sd[k] = (v / scale).to(torch.float8_e4m3fn)
            sd[k.replace(".weight", ".scale_weight")] = scale
            sd[k.replace(".weight", ".scale_input")] = torch.tensor(1.0)
        else:
            sd[k] = v.half()
    no_input = {k: v for k, v in sd.items() if not k.endswith("scale_input")}
    m = t5_model(no_input, comfy.ops.scaled_fp8_ops(override_dtype=torch.float8_e4m3fn), torch.float16)
    ids = torch.randint(0, 30, (2, 20), generator=torch.Generator().manual_seed(3))
    last, _ = run_t5(m, ids)
    print("scaled fp8 against the unrounded weights: %.3g" % common.distance(last, run_t5(t5_model(plain), ids)[0]))
    common.save("models/t5_scaled_fp8.safetensors", {**sd, "reference.ids": ids.int(), "reference.last": last})


def demo():
    tokenizer = CLIPTokenizer(os.path.join(common.DEMO, "tokenizers/clip_demo/vocab.json"),
                              os.path.join(common.DEMO, "tokenizers/clip_demo/merges.txt"))
    start, end = 700, 701
    rows = []
    for prompt in PROMPTS:
        ids = [start] + tokenizer(prompt, add_special_tokens=False).input_ids[:75] + [end]
        rows.append(ids + [end] * (77 - len(ids)))
    ids = torch.tensor(rows)
    sd = load_file(os.path.join(common.DEMO, "text_encoders/clip_l-demo.safetensors"))
    m = clip_model(sd)
    last, hidden, pooled, _ = run_clip(m, ids, end, -2)
    common.save("models/clip_demo.safetensors", {"ids": ids.int(), "n_tokens": torch.tensor(n_tokens(ids, end)), "pooled": pooled,
                                                 "last": last[:, ::7], "hidden": hidden[:, ::7]}, {"token_step": 7})

    pieces = sentencepiece.SentencePieceProcessor(model_file=os.path.join(common.DEMO, "tokenizers/t5_demo/spiece.model"))
    rows = []
    for prompt in PROMPTS:
        ids = pieces.encode(prompt)[:255] + [1]
        rows.append(ids + [0] * (256 - len(ids)))
    ids = torch.tensor(rows)
    m = t5_model({k: v.float() for k, v in load_file(os.path.join(common.DEMO, "text_encoders/t5-demo.safetensors")).items()})
    last, _ = run_t5(m, ids)
    common.save("models/t5_demo.safetensors", {"ids": ids.int(), "last": last[:, ::8]}, {"token_step": 8})


if __name__ == "__main__":
    toy_clip()
    toy_t5()
    scaled_t5()
    demo()
