"""What every reference script shares: importing ComfyUI safely, seeded random models, fixtures that record their versions.

    COMFYUI=/path/to/ComfyUI python tools/reference/flux.py

ComfyUI is imported from the folder named by COMFYUI, on the CPU; nothing is written there and none of its code is kept here.
"""
import os
import sys
import zlib

import torch
from safetensors.torch import save_file

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FIXTURES = os.path.join(ROOT, "tests", "fixtures")
DEMO = os.environ.get("RG_MODELS_DEMO", os.path.join(ROOT, "models", "demo"))

torch.set_grad_enabled(False)


def comfyui(*options):
    """
    Make ComfyUI's modules importable, as if started with --cpu and options (the first call decides); returns its version.
    Attention is PyTorch's fused one, as on NVIDIA GPUs: it matters for the distances recorded in bf16 and f16, where ComfyUI's CPU default is coarser.
    """
    path = os.environ.get("COMFYUI")
    if not path or not os.path.isdir(os.path.join(path, "comfy")):
        sys.exit("set COMFYUI to a checkout of ComfyUI v0.3.64")
    sys.dont_write_bytecode = True          # the checkout stays as it is
    if path not in sys.path:
        sys.path.insert(0, path)
        argv, sys.argv = sys.argv, [sys.argv[0], "--cpu", "--use-pytorch-cross-attention", *options]
        import comfy.options
        comfy.options.enable_args_parsing()
        import comfy.cli_args               # reads sys.argv once, on import
        sys.argv = argv
    import comfyui_version
    return comfyui_version.__version__


def versions():
    """The versions a fixture carries; a package counts when something has imported it."""
    out = {"torch": torch.__version__.split("+")[0]}
    if os.environ.get("COMFYUI"):
        out["comfyui"] = comfyui()
    for name in ("transformers", "tokenizers", "sentencepiece", "torchvision", "PIL", "numpy", "scipy", "torchsde"):
        if name in sys.modules and hasattr(sys.modules[name], "__version__"):
            out[name] = sys.modules[name].__version__
    return out


def save(path, tensors, meta=None):
    """Write tests/fixtures/PATH: tensors made contiguous, versions and meta (values become strings) as metadata."""
    full = os.path.join(FIXTURES, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    metadata = {**versions(), **{k: str(v) for k, v in (meta or {}).items()}}
    save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, full, metadata=metadata)
    print("%s: %d tensors, %d bytes" % (os.path.relpath(full, ROOT), len(tensors), os.path.getsize(full)))


def randn(name, shape, seed=0):
    """Standard normal values that depend on the name, shape and seed alone, not on what was drawn before."""
    g = torch.Generator().manual_seed(zlib.crc32(name.encode()) ^ (seed * 0x9E3779B1 & 0xFFFFFFFF))
    return torch.randn(tuple(shape), generator=g)


def randomize(module, seed=0, dtype=None, gain=1.0):
    """
    Give every parameter seeded values of a sensible size: weights gain / sqrt(fan in), biases 0.1, norm scales 1 + 0.1.
    dtype rounds the values (the module keeps its own dtype), so that a fixture may store them in dtype without loss.
    """
    for name, p in module.named_parameters():
        r = randn(name, p.shape, seed)
        if p.ndim >= 2:
            r *= gain / (p[0].numel() ** 0.5)
        elif name.endswith("bias"):
            r *= 0.1
        else:
            r = 1.0 + 0.1 * r               # 1-D and no bias: the scale of a norm
        p.copy_(r.to(dtype or p.dtype))
    return module.eval()


def distance(got, reference):
    """Largest difference, relative to the largest reference value: the measure of every tolerance here."""
    return ((got.double() - reference.double()).abs().max() / reference.double().abs().max()).item()
