"""Flux's autoencoder with 32 channels instead of 128; names as in ae.safetensors. Source: Rombach et al. 2022, arXiv:2112.10752.

    pictures [B, 3, H, W] in -1..1   <->   latents [B, 16, H/8, W/8]
"""
import torch
import torch.nn.functional as F
from torch import nn

WIDTH, MULTIPLES, N_BLOCKS, LATENT = 32, (1, 2, 2, 4), 2, 16
SCALE, SHIFT = 0.3611, 0.1159           # Flux's: a model sees (latent - SHIFT) * SCALE


def norm(width):
    return nn.GroupNorm(32, width, eps=1e-6)


class ResnetBlock(nn.Module):
    def __init__(self, width_in, width_out):
        super().__init__()
        self.norm1, self.conv1 = norm(width_in), nn.Conv2d(width_in, width_out, 3, padding=1)
        self.norm2, self.conv2 = norm(width_out), nn.Conv2d(width_out, width_out, 3, padding=1)
        if width_in != width_out:
            self.nin_shortcut = nn.Conv2d(width_in, width_out, 1)

    def forward(self, x):
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x) + h


class Attention(nn.Module):
    """One head over all pixels."""

    def __init__(self, width):
        super().__init__()
        self.norm = norm(width)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(width, width, 1) for _ in range(4))

    def forward(self, x):
        h = self.norm(x)
        q, k, v = (f(h).flatten(2).transpose(1, 2)[:, None].contiguous() for f in (self.q, self.k, self.v))
        h = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2).reshape(x.shape)
        return x + self.proj_out(h)


class Downsample(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x):
        return self.conv(F.pad(x, (0, 1, 0, 1)))        # right and below only


class Upsample(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Middle(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.block_1, self.attn_1, self.block_2 = ResnetBlock(width, width), Attention(width), ResnetBlock(width, width)

    def forward(self, x):
        return self.block_2(self.attn_1(self.block_1(x)))


class Level(nn.Module):
    """Blocks of one resolution, then the way to the next: `downsample`, `upsample` or nothing."""

    def __init__(self, width_in, width_out, n_blocks, **resample):
        super().__init__()
        self.block = nn.ModuleList(ResnetBlock(width_in if i == 0 else width_out, width_out) for i in range(n_blocks))
        for name, module in resample.items():
            setattr(self, name, module)

    def forward(self, x):
        for module in self.children():
            for step in module if isinstance(module, nn.ModuleList) else [module]:
                x = step(x)
        return x


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        widths = [WIDTH] + [WIDTH * m for m in MULTIPLES]
        self.conv_in = nn.Conv2d(3, WIDTH, 3, padding=1)
        self.down = nn.ModuleList(
            Level(widths[i], widths[i + 1], N_BLOCKS, **({"downsample": Downsample(widths[i + 1])} if i + 1 < len(MULTIPLES) else {}))
            for i in range(len(MULTIPLES)))
        self.mid = Middle(widths[-1])
        self.norm_out, self.conv_out = norm(widths[-1]), nn.Conv2d(widths[-1], 2 * LATENT, 3, padding=1)

    def forward(self, x):
        """Mean and log variance, [B, 2 * LATENT, H/8, W/8]."""
        h = self.conv_in(x)
        for level in self.down:
            h = level(h)
        return self.conv_out(F.silu(self.norm_out(self.mid(h))))


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        widths = [WIDTH * m for m in MULTIPLES] + [WIDTH * MULTIPLES[-1]]
        self.conv_in = nn.Conv2d(LATENT, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1])
        self.up = nn.ModuleList(         # up.0 is the last to run: numbered by resolution, as in the real file
            Level(widths[i + 1], widths[i], N_BLOCKS + 1, **({"upsample": Upsample(widths[i])} if i > 0 else {}))
            for i in range(len(MULTIPLES)))
        self.norm_out, self.conv_out = norm(widths[0]), nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, z):
        h = self.mid(self.conv_in(z))
        for level in reversed(self.up):
            h = level(h)
        return self.conv_out(F.silu(self.norm_out(h)))


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = Encoder(), Decoder()

    def encode(self, pictures):
        """Latents as the transformer sees them."""
        return (self.encoder(pictures).float().chunk(2, 1)[0] - SHIFT) * SCALE

    def decode(self, latents):
        return self.decoder(latents / SCALE + SHIFT)


def loss(model, x):
    """
    Reconstruction (values and their gradients, for crisp edges) with a light pull towards N(SHIFT, 1 / SCALE) per channel, so
    that Flux's two constants fit. Returns the loss and its parts.
    """
    mean, log_variance = model.encoder(x).float().chunk(2, 1)
    log_variance = log_variance.clamp(-30, 20)
    z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
    y = model.decoder(z.contiguous(memory_format=torch.channels_last)).float()
    slope = sum((y.diff(dim=d) - x.diff(dim=d)).abs().mean() for d in (2, 3))
    deviation = (mean.var((0, 2, 3)) + 1e-6).sqrt()
    moments = ((mean.mean((0, 2, 3)) - SHIFT) ** 2).mean() + ((deviation - 1 / SCALE) ** 2).mean()
    parts = {"l1": (y - x).abs().mean(), "l2": ((y - x) ** 2).mean(), "slope": slope, "moments": moments,
             "variance": (log_variance.exp() - log_variance).mean()}
    total = parts["l1"] + 4 * parts["l2"] + 1.5 * slope + 0.02 * moments + 2e-4 * parts["variance"]
    return total, {k: v.item() for k, v in parts.items()}
