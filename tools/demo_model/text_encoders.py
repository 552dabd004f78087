"""The two text encoders Flux listens to, small; names as in clip_l.safetensors and t5xxl_fp16.safetensors.

CLIP text model: Radford et al. 2021, arXiv:2103.00020. T5 v1.1 encoder: Raffel et al. 2020, arXiv:1910.10683.
"""
import math

import torch
import torch.nn.functional as F
from torch import nn

WIDTH = 128


def heads(x, n):
    """[B, N, D] -> [B, n, N, D / n]"""
    return x.unflatten(-1, (n, -1)).transpose(1, 2)


def joined(x):
    return x.transpose(1, 2).flatten(2)


class ClipAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x):
        q, k, v = (heads(f(x), 2) for f in (self.q_proj, self.k_proj, self.v_proj))
        return self.out_proj(joined(F.scaled_dot_product_attention(q, k, v, is_causal=True)))


class ClipMlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        x = self.fc1(x)
        return self.fc2(x * torch.sigmoid(1.702 * x))   # "quick" GELU


class ClipLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.self_attn, self.mlp = ClipAttention(), ClipMlp()

    def forward(self, x):
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class Clip(nn.Module):
    """ids [B, 77] -> the state at the first end token [B, WIDTH]: the pooled text."""

    def __init__(self, n_tokens, end):
        super().__init__()
        self.end = end
        model = nn.Module()
        model.embeddings = nn.Module()
        model.embeddings.token_embedding = nn.Embedding(n_tokens, WIDTH)
        model.embeddings.position_embedding = nn.Embedding(77, WIDTH)
        model.encoder = nn.Module()
        model.encoder.layers = nn.ModuleList(ClipLayer() for _ in range(2))
        model.final_layer_norm = nn.LayerNorm(WIDTH)
        self.text_model = model
        for table in (model.embeddings.token_embedding, model.embeddings.position_embedding):
            nn.init.normal_(table.weight, std=0.5)

    def forward(self, ids):
        model = self.text_model
        x = model.embeddings.token_embedding(ids) + model.embeddings.position_embedding.weight
        for layer in model.encoder.layers:
            x = layer(x)
        first_end = (ids == self.end).int().argmax(1)
        return model.final_layer_norm(x)[torch.arange(len(ids), device=ids.device), first_end]


class RmsNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x):
        return F.rms_norm(x.float(), (WIDTH,), self.weight.float(), 1e-6).to(x.dtype)


def linear(width_in, width_out, gain=1.0):
    layer = nn.Linear(width_in, width_out, bias=False)
    nn.init.normal_(layer.weight, std=gain * width_in ** -0.5)
    return layer


class T5Attention(nn.Module):
    def __init__(self, has_bias):
        super().__init__()
        self.q, self.k, self.v, self.o = linear(WIDTH, WIDTH, 0.5), linear(WIDTH, WIDTH), linear(WIDTH, WIDTH), linear(WIDTH, WIDTH)
        if has_bias:
            self.relative_attention_bias = nn.Embedding(32, 4)

    def forward(self, x, bias):
        q, k, v = (heads(f(x), 4) for f in (self.q, self.k, self.v))
        return self.o(joined(F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype), scale=1.0)))    # T5 does not scale


class T5Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.wi_0, self.wi_1, self.wo = linear(WIDTH, 2 * WIDTH), linear(WIDTH, 2 * WIDTH), linear(2 * WIDTH, WIDTH)

    def forward(self, x):
        return self.wo(F.gelu(self.wi_0(x), approximate="tanh") * self.wi_1(x))


class T5Block(nn.Module):
    def __init__(self, has_bias):
        super().__init__()
        attention, mlp = nn.Module(), nn.Module()
        attention.SelfAttention, attention.layer_norm = T5Attention(has_bias), RmsNorm()
        mlp.DenseReluDense, mlp.layer_norm = T5Mlp(), RmsNorm()
        self.layer = nn.ModuleList([attention, mlp])

    def forward(self, x, bias):
        attention, mlp = self.layer
        x = x + attention.SelfAttention(attention.layer_norm(x), bias)
        return x + mlp.DenseReluDense(mlp.layer_norm(x))


def distance_bucket(distance, n_buckets=32, farthest=128):
    """Which of the learnt biases a distance in tokens gets: half of the buckets per direction, near ones exact, far ones logarithmic."""
    half = n_buckets // 2
    exact = half // 2
    far = distance.abs()
    ratio = torch.log(far.float().clamp(min=1) / exact) / math.log(farthest / exact)
    bucket = torch.where(far < exact, far, (exact + (ratio * (half - exact)).long()).clamp(max=half - 1))
    return bucket + (distance > 0).long() * half


class T5(nn.Module):
    """ids [B, N] -> states [B, N, WIDTH]; padding is attended to, as Flux was trained."""

    def __init__(self, n_tokens):
        super().__init__()
        self.shared = nn.Embedding(n_tokens, WIDTH)
        self.encoder = nn.Module()
        self.encoder.block = nn.ModuleList(T5Block(has_bias=i == 0) for i in range(3))
        self.encoder.final_layer_norm = RmsNorm()

    def forward(self, ids):
        position = torch.arange(ids.shape[1], device=ids.device)
        table = self.encoder.block[0].layer[0].SelfAttention.relative_attention_bias
        bias = table(distance_bucket(position[None] - position[:, None])).permute(2, 0, 1)[None]
        x = self.shared(ids)
        for block in self.encoder.block:
            x = block(x, bias)
        return self.encoder.final_layer_norm(x)
