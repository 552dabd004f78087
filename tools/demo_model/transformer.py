"""Flux with width 192; names as in flux1-dev.safetensors. Source: MM-DiT, Esser et al. 2024, arXiv:2403.03206, and Flux's files.

Letters: B batch, N tokens, D width, H heads. Text tokens come before picture tokens wherever the two meet.
"""
import math

import torch
import torch.nn.functional as F
from torch import nn

D, H, N_DOUBLE, N_SINGLE, MLP = 192, 3, 2, 8, 4
AXES = (8, 28, 28)                      # of the 64 dimensions per head: index, row, column
TEXT, POOLED, LATENT, PATCH = 128, 128, 16, 2


def rotary_table(ids):
    """ids [N, 3] -> cosine and sine, [N, 32] each."""
    angles = []
    for axis, size in enumerate(AXES):
        frequency = 1.0 / 10000 ** (torch.arange(0, size, 2, device=ids.device).double() / size)
        angles.append(ids[:, axis, None].double() * frequency)
    angles = torch.cat(angles, 1)
    return angles.cos().float(), angles.sin().float()


def rotate(x, table):
    """Turn neighbouring pairs of x [B, H, N, 64]."""
    cos, sin = table
    a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2).to(x.dtype)


def attention(q, k, v, table):
    return F.scaled_dot_product_attention(rotate(q, table), rotate(k, table), v).transpose(1, 2).flatten(2)


def normed(x):
    return F.layer_norm(x, (D,), eps=1e-6)


def split_heads(qkv):
    """[B, N, 3 * D] -> q, k, v, [B, H, N, D / H] each."""
    return qkv.unflatten(-1, (3, H, -1)).permute(2, 0, 3, 1, 4)


def zeroed(layer):
    """Start as if the layer were not there."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def timestep_embedding(t, size=256):
    frequency = torch.exp(-math.log(10000) * torch.arange(size // 2, device=t.device).float() / (size // 2))
    angle = (t.float() * 1000)[:, None] * frequency
    return torch.cat([angle.cos(), angle.sin()], -1)


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(D // H))

    def forward(self, x):
        return F.rms_norm(x.float(), (D // H,), self.scale, 1e-6).to(x.dtype)


class QueryKeyNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.query_norm, self.key_norm = Scale(), Scale()

    def forward(self, q, k):
        return self.query_norm(q), self.key_norm(k)


class Modulation(nn.Module):
    """The conditioning vector [B, D] -> n vectors [B, 1, D]: shift, scale, gate, and again for the second half of a block."""

    def __init__(self, n):
        super().__init__()
        self.n, self.lin = n, zeroed(nn.Linear(D, n * D))

    def forward(self, vec):
        return self.lin(F.silu(vec))[:, None].chunk(self.n, -1)


class Embedder(nn.Module):
    def __init__(self, width_in):
        super().__init__()
        self.in_layer, self.out_layer = nn.Linear(width_in, D), nn.Linear(D, D)

    def forward(self, x):
        return self.out_layer(F.silu(self.in_layer(x)))


class SelfAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.norm, self.proj = nn.Linear(D, 3 * D), QueryKeyNorm(), nn.Linear(D, D)

    def heads(self, x):
        q, k, v = split_heads(self.qkv(x))
        return *self.norm(q, k), v


def mlp():
    return nn.Sequential(nn.Linear(D, MLP * D), nn.GELU("tanh"), nn.Linear(MLP * D, D))


class DoubleBlock(nn.Module):
    """Picture and text keep their own weights and meet in attention."""

    def __init__(self):
        super().__init__()
        self.img_mod, self.img_attn, self.img_mlp = Modulation(6), SelfAttention(), mlp()
        self.txt_mod, self.txt_attn, self.txt_mlp = Modulation(6), SelfAttention(), mlp()

    def forward(self, img, txt, vec, table):
        shift1, scale1, gate1, shift2, scale2, gate2 = range(6)
        im, tm = self.img_mod(vec), self.txt_mod(vec)
        text = self.txt_attn.heads(normed(txt) * (1 + tm[scale1]) + tm[shift1])
        picture = self.img_attn.heads(normed(img) * (1 + im[scale1]) + im[shift1])
        both = attention(*(torch.cat(pair, 2) for pair in zip(text, picture)), table)
        n_text = txt.shape[1]
        img = img + im[gate1] * self.img_attn.proj(both[:, n_text:])
        img = img + im[gate2] * self.img_mlp(normed(img) * (1 + im[scale2]) + im[shift2])
        txt = txt + tm[gate1] * self.txt_attn.proj(both[:, :n_text])
        txt = txt + tm[gate2] * self.txt_mlp(normed(txt) * (1 + tm[scale2]) + tm[shift2])
        return img, txt


class SingleBlock(nn.Module):
    """One stream; attention and feed-forward side by side."""

    def __init__(self):
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(D, (3 + MLP) * D), nn.Linear((1 + MLP) * D, D)
        self.norm, self.modulation = QueryKeyNorm(), Modulation(3)

    def forward(self, x, vec, table):
        shift, scale, gate = self.modulation(vec)
        qkv, hidden = self.linear1(normed(x) * (1 + scale) + shift).split([3 * D, MLP * D], -1)
        q, k, v = split_heads(qkv)
        seen = attention(*self.norm(q, k), v, table)
        return x + gate * self.linear2(torch.cat([seen, F.gelu(hidden, approximate="tanh")], -1))


class FinalLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = zeroed(nn.Linear(D, PATCH * PATCH * LATENT))
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), zeroed(nn.Linear(D, 2 * D)))

    def forward(self, x, vec):
        shift, scale = self.adaLN_modulation(vec)[:, None].chunk(2, -1)
        return self.linear(normed(x) * (1 + scale) + shift)


class Flux(nn.Module):
    """
    The velocity noise - data at time t.  x [B, LATENT, H, W]  t [B] 0..1  text [B, N, TEXT]  pooled [B, POOLED]  guidance [B]
    """

    def __init__(self):
        super().__init__()
        self.img_in, self.txt_in = nn.Linear(PATCH * PATCH * LATENT, D), nn.Linear(TEXT, D)
        self.time_in, self.vector_in, self.guidance_in = Embedder(256), Embedder(POOLED), Embedder(256)
        zeroed(self.guidance_in.out_layer)
        self.double_blocks = nn.ModuleList(DoubleBlock() for _ in range(N_DOUBLE))
        self.single_blocks = nn.ModuleList(SingleBlock() for _ in range(N_SINGLE))
        self.final_layer = FinalLayer()

    def forward(self, x, t, text, pooled, guidance):
        B, C, height, width = x.shape
        rows, columns, n_text = height // PATCH, width // PATCH, text.shape[1]
        patches = x.view(B, C, rows, PATCH, columns, PATCH).permute(0, 2, 4, 1, 3, 5).reshape(B, rows * columns, -1)
        img, txt = self.img_in(patches), self.txt_in(text)
        vec = (self.time_in(timestep_embedding(t).to(img.dtype)) + self.guidance_in(timestep_embedding(guidance).to(img.dtype))
               + self.vector_in(pooled))

        ids = torch.zeros(n_text + rows * columns, 3, device=x.device)      # text tokens all sit at 0, 0, 0
        ids[n_text:, 1] = torch.arange(rows, device=x.device).repeat_interleave(columns)
        ids[n_text:, 2] = torch.arange(columns, device=x.device).repeat(rows)
        table = rotary_table(ids)

        for block in self.double_blocks:
            img, txt = block(img, txt, vec, table)
        both = torch.cat([txt, img], 1)
        for block in self.single_blocks:
            both = block(both, vec, table)
        out = self.final_layer(both[:, n_text:], vec)
        return out.view(B, rows, columns, C, PATCH, PATCH).permute(0, 3, 1, 4, 2, 5).reshape(B, C, height, width)
