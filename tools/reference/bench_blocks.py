"""One double and one single block of real Flux-dev size in PyTorch, to stand beside `rylagraph bench ops` on the same cores.

    COMFYUI=/path/to/ComfyUI python tools/reference/bench_blocks.py [--dtype bf16] [--threads 2] [--runs 3] [--tokens 4096 512]

The blocks are ComfyUI's own modules on random weights, with PyTorch's fused attention. Prints seconds, GFLOP/s by the clock on the
wall and by processor time (which other programs on the machine disturb less), and the rate of one large matmul as the ceiling.
"""
import argparse
import time

import torch

from common import comfyui

parser = argparse.ArgumentParser()
parser.add_argument("--dtype", default="bf16", choices=["bf16", "f32"])
parser.add_argument("--threads", type=int, default=torch.get_num_threads())
parser.add_argument("--runs", type=int, default=3)
parser.add_argument("--tokens", type=int, nargs=2, default=[4096, 512], metavar=("IMG", "TXT"))
args = parser.parse_args()
torch.set_num_threads(args.threads)
comfyui()
import comfy.ops
from comfy.ldm.flux.layers import DoubleStreamBlock, EmbedND, SingleStreamBlock

D, HEADS, (N_IMG, N_TXT) = 3072, 24, args.tokens
N = N_IMG + N_TXT
dtype = torch.bfloat16 if args.dtype == "bf16" else torch.float32
torch.set_grad_enabled(False)


def measure(name, work, fn):
    fn()
    wall = cpu = 1e9
    for _ in range(args.runs):
        w, p = time.perf_counter(), time.process_time()
        fn()
        wall, cpu = min(wall, time.perf_counter() - w), min(cpu, time.process_time() - p)
    print("%-28s %8.3f s %9.1f GFLOP/s %9.1f GFLOP per core second" % (name, wall, work / wall * 1e-9, work / cpu * 1e-9))


def fill(module):
    for p in module.parameters():
        p.copy_(torch.randn_like(p) * 0.02)
    return module.eval()


print("torch %s, %s, %d threads, %d + %d tokens" % (torch.__version__, args.dtype, args.threads, N_IMG, N_TXT))
a, b = torch.randn(4096, 4096).to(dtype), torch.randn(4096, 4096).to(dtype)
measure("matmul 4096", 2 * 4096 ** 3, lambda: torch.mm(a, b))
x, w = torch.randn(N_IMG, D).to(dtype), torch.randn(3 * D, D).to(dtype)
measure("linear %d x 9216 x 3072" % N_IMG, 2 * N_IMG * 3 * D * D, lambda: torch.nn.functional.linear(x, w))

ops = comfy.ops.disable_weight_init
img, txt, vec = torch.randn(1, N_IMG, D).to(dtype), torch.randn(1, N_TXT, D).to(dtype), torch.randn(1, D).to(dtype)
ids = torch.zeros(1, N, 3)
ids[0, N_TXT:, 1], ids[0, N_TXT:, 2] = torch.arange(N_IMG) // 64, torch.arange(N_IMG) % 64
pe = EmbedND(dim=D // HEADS, theta=10000, axes_dim=[16, 56, 56])(ids)
q = torch.randn(1, HEADS, N, D // HEADS).to(dtype)
measure("attention %d" % N, 4 * N * N * D, lambda: torch.nn.functional.scaled_dot_product_attention(q, q, q))

linears, attention = 2 * N * 12 * D * D, 4 * N * N * D
double = fill(DoubleStreamBlock(D, HEADS, mlp_ratio=4.0, qkv_bias=True, dtype=dtype, operations=ops))
measure("double block", linears + attention + 2 * 2 * 6 * D * D, lambda: double(img=img, txt=txt, vec=vec, pe=pe))
del double
single = fill(SingleStreamBlock(D, HEADS, mlp_ratio=4.0, dtype=dtype, operations=ops))
both = torch.cat((txt, img), 1)
measure("single block", linears + attention + 2 * 3 * D * D, lambda: single(both, vec=vec, pe=pe))
