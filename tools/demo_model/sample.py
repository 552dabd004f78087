"""Draw with a demo model, here in PyTorch: a look at what training made, and a check of these modules against the program.

    python tools/demo_model/sample.py [--models models/demo] [--seed N] [--steps N] [--cfg X] [--out picture.png] "PROMPT"...
"""
import argparse
import math
import os

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from autoencoder import LATENT, Autoencoder
from text_encoders import T5, Clip
from tokenizer import ClipTokenizer, T5Tokenizer
from transformer import Flux

PROMPTS = [
    "a red house on the left, two pine trees on the right, a snowy field at night, a large moon",
    "a blue sailboat in the center, a blue sea at sunset, purple mountains, a large sun",
    "a yellow hot air balloon on the right, a meadow on a sunny day, blue mountains, white clouds",
    "three palm trees on the left, a sandy desert at dusk, a small sun",
    "a white cottage on the right, one round tree on the left, a green meadow in the early morning, snow-capped grey mountains",
    "a pink hot air balloon in the center, the sea under a starry night sky, a small moon on the left",
]


class Demo:
    """The five parts of a model together."""

    def __init__(self, clip_tokens, t5_tokens, clip, t5, flux, autoencoder):
        self.clip_tokens, self.t5_tokens = clip_tokens, t5_tokens
        self.clip, self.t5, self.flux, self.autoencoder = clip, t5, flux, autoencoder

    @classmethod
    def load(cls, folder):
        def filled(module, path):
            weights = load_file(os.path.join(folder, path))
            module.load_state_dict({k: v.float() for k, v in weights.items()})
            return module.eval()
        clip_tokens = ClipTokenizer.load(os.path.join(folder, "tokenizers", "clip_demo"))
        t5_tokens = T5Tokenizer(os.path.join(folder, "tokenizers", "t5_demo", "spiece.model"))
        return cls(clip_tokens, t5_tokens,
                   filled(Clip(len(clip_tokens.vocab), clip_tokens.end), "text_encoders/clip_l-demo.safetensors"),
                   filled(T5(len(t5_tokens)), "text_encoders/t5-demo.safetensors"),
                   filled(Flux(), "diffusion_models/flux-demo.safetensors"),
                   filled(Autoencoder(), "vae/ae-demo.safetensors"))

    def text(self, prompts, device):
        """States [B, 256, 128] and pooled [B, 128]."""
        return (self.t5(torch.tensor([self.t5_tokens.encode(p) for p in prompts], device=device)),
                self.clip(torch.tensor([self.clip_tokens.encode(p) for p in prompts], device=device)))

    @torch.no_grad()
    def pictures(self, prompts, seed, steps=20, cfg=1.0, size=256):
        """Euler along the straight path from noise to data; uint8 [B, size, size, 3]."""
        device, B = next(self.flux.parameters()).device, len(prompts)
        x = torch.randn(B, LATENT, size // 8, size // 8, generator=torch.Generator().manual_seed(seed)).to(device)
        text, pooled = self.text(prompts, device)
        no_text, no_pooled = self.text([""] * B, device)
        guidance = torch.full((B,), 3.5, device=device)
        times = torch.linspace(1, 0, steps + 1)
        shift = math.exp(1.15)          # Flux's default: more of the steps where there is more noise
        times = (shift * times / (1 + (shift - 1) * times)).tolist()
        for t, t_next in zip(times, times[1:]):
            t_now = torch.full((B,), t, device=device)
            v = self.flux(x, t_now, text, pooled, guidance)
            if cfg != 1.0:
                without = self.flux(x, t_now, no_text, no_pooled, guidance)
                v = without + cfg * (v - without)
            x = x + (t_next - t) * v
        picture = (self.autoencoder.decode(x).clamp(-1, 1) + 1) * 127.5
        return picture.byte().permute(0, 2, 3, 1).cpu().numpy()


def sheet(rows, path):
    """Rows of pictures as one PNG."""
    Image.fromarray(np.concatenate([np.concatenate(list(row), 1) for row in rows], 0)).save(path)


if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser()
    parser.add_argument("prompts", nargs="*", default=PROMPTS)
    parser.add_argument("--models", default=os.path.join(here, "..", "..", "models", "demo"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cfg", type=float, default=1.0)
    parser.add_argument("--out", default="sample.png")
    args = parser.parse_args()
    demo = Demo.load(args.models)
    sheet([[demo.pictures([p], args.seed, args.steps, args.cfg)[0] for p in args.prompts]], args.out)
    print(args.out)
