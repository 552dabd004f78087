"""Make models/demo from nothing: draw pictures, train tokenizers, autoencoder, transformer and text encoders, write the files.

    python tools/demo_model/train.py OUT             about 20 minutes on one large GPU
    python tools/demo_model/train.py OUT --smoke     two steps of everything on the CPU: does it run, are the files whole?

Learning rates follow the time budget, not a step count, so that a slower GPU still ends with a finished model. Every run differs
a little: the pictures and captions are fixed by their seeds, the order of training is not.
"""
import argparse
import math
import os
import random
import shutil
import time
from multiprocessing import Pool

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

import autoencoder as ae
import captions
import sample
import scenes
from text_encoders import T5, Clip
from tokenizer import ClipTokenizer, T5Tokenizer
from transformer import Flux

DEMO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "models", "demo")
CAPTIONS_PER_PICTURE = 4
DROPPED_CAPTIONS = 0.08                 # empty, so that the model also knows "nothing asked": what cfg needs
TIME_SHIFT = 1.6                        # noisier times are seen more often
GUIDANCE = 3.5                          # always the same in training: the input is there, without effect


class Settings:
    n_pictures, n_caption_pictures = 60000, 8000    # of which the tokenizers learn
    batch, autoencoder_batch, crop_batch, whole_batch = 256, 96, 64, 24
    autoencoder_seconds, crop_seconds, transformer_seconds = 300, 255, 480
    rate, max_steps, workers = 2e-3, None, os.cpu_count()


class Smoke(Settings):
    n_pictures = 24
    batch, autoencoder_batch, crop_batch, whole_batch = 2, 2, 2, 2
    autoencoder_seconds = crop_seconds = transformer_seconds = 60
    max_steps = 2


started = time.time()


def log(*words):
    print("[%6.1f s]" % (time.time() - started), *words, flush=True)


def draw(seed):
    return np.asarray(scenes.make(seed)[0])


def describe(seed):
    scene = scenes.sample(random.Random(seed))
    rng = random.Random(seed * 7 + 1)
    return [captions.describe(scene, rng) for _ in range(CAPTIONS_PER_PICTURE)]


def as_input(pictures):
    """uint8 [B, H, W, 3] -> float [B, 3, H, W] in -1..1"""
    x = pictures.permute(0, 3, 1, 2).float() / 127.5 - 1
    return x.contiguous(memory_format=torch.channels_last)


class Budget:
    """Counts steps until the time is over. Rate: a short warm-up, then half a cosine down to `floor` of the peak."""

    def __init__(self, seconds, max_steps, peak, warm_up, floor):
        self.seconds, self.max_steps, self.peak, self.warm_up, self.floor = seconds, max_steps, peak, warm_up, floor
        self.begin, self.step = time.time(), 0

    def rates(self, optimizer):
        while True:
            done = (time.time() - self.begin) / self.seconds
            if done >= 1 or self.step == self.max_steps:
                return
            fall = self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * done))
            for group in optimizer.param_groups:
                group["lr"] = self.peak * min(1, (self.step + 1) / self.warm_up) * fall
            yield self.step
            self.step += 1


def descend(optimizer, loss, parameters):
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()


def train_autoencoder(s, pictures, device):
    """First whole pictures, then mostly crops, which are cheaper and sharpen the edges."""
    model = ae.Autoencoder().to(device).to(memory_format=torch.channels_last)
    n = len(pictures)

    def batch(step, has_crops):
        if has_crops and step % 4:
            y, x = torch.randint(0, 129, (2,)).tolist()
            chosen = pictures[torch.randint(0, n, (s.crop_batch,), device=device), y:y + 128, x:x + 128]
        else:
            chosen = pictures[torch.randint(0, n, (s.whole_batch if has_crops else s.autoencoder_batch,), device=device)]
        out = as_input(chosen)
        return out.flip(3) if torch.rand(()) < 0.5 else out

    for seconds, has_crops in ((s.autoencoder_seconds, False), (s.crop_seconds, True)):
        optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.99), weight_decay=1e-4)
        budget = Budget(seconds, s.max_steps, peak=1.2e-3, warm_up=200, floor=0.02)
        for step in budget.rates(optimizer):
            with torch.autocast(device, torch.bfloat16):
                loss, parts = ae.loss(model, batch(step, has_crops))
            descend(optimizer, loss, model.parameters())
            if step % 800 == 0:
                log("autoencoder", step, " ".join("%s %.4f" % p for p in parts.items()))
    model.eval()
    with torch.no_grad():
        x = as_input(pictures[:24])
        error = ((model.decoder(model.encoder(x).chunk(2, 1)[0]).clamp(-1, 1) - x) ** 2).mean().item()
    log("autoencoder: %.1f dB after %d more steps" % (10 * math.log10(4 / error), budget.step))
    return model


@torch.no_grad()
def encode_all(model, pictures, device):
    """Latents as the transformer sees them, bf16 [n, 16, 32, 32]."""
    out = []
    for chunk in pictures.split(256):
        with torch.autocast(device, torch.bfloat16):
            out.append(model.encode(as_input(chunk)).to(torch.bfloat16))
    latents = torch.cat(out)
    log("latents: mean %.3f deviation %.3f" % (latents.float().mean(), latents.float().std()))
    return latents


def train_transformer(s, latents, texts, clip_tokens, t5_tokens, device):
    """Rectified flow (Liu et al. 2022, arXiv:2209.03003): learn noise - data on the straight line between them."""
    models = nn.ModuleDict({"clip": Clip(len(clip_tokens.vocab), clip_tokens.end), "t5": T5(len(t5_tokens)), "flux": Flux()}).to(device)
    nn.init.normal_(models["t5"].shared.weight)
    log("weights:", ", ".join("%s %.2f million" % (k, sum(p.numel() for p in m.parameters()) / 1e6) for k, m in models.items()))
    clip_ids = torch.tensor([[clip_tokens.encode(c) for c in four] for four in texts], dtype=torch.int16, device=device)
    t5_ids = torch.tensor([[t5_tokens.encode(c) for c in four] for four in texts], dtype=torch.int16, device=device)
    no_clip = torch.tensor(clip_tokens.encode(""), device=device)
    no_t5 = torch.tensor(t5_tokens.encode(""), device=device)

    parameters = list(models.parameters())
    averages = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.AdamW(parameters, betas=(0.9, 0.98), weight_decay=0.01, fused=device == "cuda")
    flux = torch.compile(models["flux"]) if device == "cuda" else models["flux"]
    budget = Budget(s.transformer_seconds, s.max_steps, peak=s.rate, warm_up=300, floor=0.01)
    for step in budget.rates(optimizer):
        i = torch.randint(0, len(latents), (s.batch,), device=device)
        j = torch.randint(0, CAPTIONS_PER_PICTURE, (s.batch,), device=device)
        is_dropped = (torch.rand(s.batch, device=device) < DROPPED_CAPTIONS)[:, None]
        clip_in = torch.where(is_dropped, no_clip, clip_ids[i, j].long())
        t5_in = torch.where(is_dropped, no_t5, t5_ids[i, j].long())

        data = latents[i].float()
        noise = torch.randn_like(data)
        t = torch.sigmoid(torch.randn(s.batch, device=device))
        t = TIME_SHIFT * t / (1 + (TIME_SHIFT - 1) * t)
        at = t[:, None, None, None]
        with torch.autocast(device, torch.bfloat16):
            guidance = torch.full((s.batch,), GUIDANCE, device=device)
            v = flux((1 - at) * data + at * noise, t, models["t5"](t5_in), models["clip"](clip_in), guidance)
        loss = F.mse_loss(v.float(), noise - data)
        descend(optimizer, loss, parameters)
        with torch.no_grad():           # a running average of the weights draws better than the last ones
            torch._foreach_lerp_(averages, [p.detach() for p in parameters], 1 - min(0.9995, (step + 2) / (step + 21)))
        if step % 300 == 0:
            log("transformer", step, "loss %.4f" % loss.item())
    with torch.no_grad():
        for p, average in zip(parameters, averages):
            p.copy_(average)
    log("transformer: %d steps" % budget.step)
    return models.eval()


def write(model, path, dtype):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    save_file({k: v.detach().float().cpu().to(dtype).contiguous() for k, v in model.state_dict().items()}, path)
    log("wrote", path, os.path.getsize(path))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", help="folder to write, laid out like models/demo")
    parser.add_argument("--smoke", action="store_true", help="two steps of everything, on the CPU")
    parser.add_argument("--new-tokenizers", action="store_true", help="train tokenizers too; else those of models/demo are kept")
    args = parser.parse_args()
    s = Smoke if args.smoke else Settings
    device = "cpu" if args.smoke else "cuda"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True

    with Pool(s.workers) as pool:
        texts = pool.map(describe, range(max(s.n_pictures, s.n_caption_pictures)), chunksize=256)
        pictures = torch.from_numpy(np.stack(pool.map(draw, range(s.n_pictures), chunksize=64))).to(device)
    log("%d pictures; %s" % (len(pictures), texts[0][0]))

    tokenizers = os.path.join(args.out, "tokenizers")
    clip_folder, t5_folder = os.path.join(tokenizers, "clip_demo"), os.path.join(tokenizers, "t5_demo")
    if args.new_tokenizers:
        known = [c for four in texts[:s.n_caption_pictures] for c in four]
        clip_tokens = ClipTokenizer.train(known, 400)
        clip_tokens.save(clip_folder)
        t5_tokens = T5Tokenizer.train(known, t5_folder)
    else:
        shutil.copytree(os.path.join(DEMO, "tokenizers"), tokenizers, dirs_exist_ok=True)
        clip_tokens = ClipTokenizer.load(clip_folder)
        t5_tokens = T5Tokenizer(os.path.join(t5_folder, "spiece.model"))
    log("tokens: clip %d, t5 %d" % (len(clip_tokens.vocab), len(t5_tokens)))

    vae = train_autoencoder(s, pictures, device)
    latents = encode_all(vae, pictures, device)
    models = train_transformer(s, latents, texts[:s.n_pictures], clip_tokens, t5_tokens, device)

    write(vae, os.path.join(args.out, "vae", "ae-demo.safetensors"), torch.float16)
    write(models["clip"], os.path.join(args.out, "text_encoders", "clip_l-demo.safetensors"), torch.bfloat16)
    write(models["t5"], os.path.join(args.out, "text_encoders", "t5-demo.safetensors"), torch.bfloat16)
    write(models["flux"], os.path.join(args.out, "diffusion_models", "flux-demo.safetensors"), torch.bfloat16)

    demo = sample.Demo.load(args.out)   # what the files hold, not what is in memory
    for part in (demo.clip, demo.t5, demo.flux, demo.autoencoder):
        part.to(device)
    prompts, steps = (sample.PROMPTS[:1], 2) if args.smoke else (sample.PROMPTS, 20)
    rows = [demo.pictures(prompts, 1, steps), demo.pictures(prompts, 1, steps, cfg=2.5), demo.pictures(prompts, 2, steps)]
    sample.sheet(rows, os.path.join(args.out, "samples.png"))
    log("samples:", os.path.join(args.out, "samples.png"))


if __name__ == "__main__":
    main()
