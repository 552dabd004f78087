"""Fixtures of engine/diffusion: PyTorch's generator, sigma schedules, Brownian noise, and every sampler on a toy model.

    COMFYUI=/path/to/ComfyUI python tools/reference/diffusion.py [random] [schedule] [brownian] [samplers] [nodes]

The toy model is a formula in float32 that tests/diffusion/toy.h repeats operation by operation, so that what is left to
differ is the sampling itself: ComfyUI's own comfy.samplers, comfy.sample and node classes run around it.
"""
import sys
import zlib

import torch

import common

common.comfyui()

import numpy  # noqa: E402
import torchsde  # noqa: E402,F401  (its version goes into the fixtures)
import scipy  # noqa: E402,F401
import comfy.k_diffusion.sampling as k_diffusion  # noqa: E402
import comfy.latent_formats  # noqa: E402
import comfy.model_base  # noqa: E402
import comfy.model_patcher  # noqa: E402
import comfy.model_sampling as model_sampling  # noqa: E402
import comfy.sample  # noqa: E402
import comfy.samplers  # noqa: E402

SAMPLERS = comfy.samplers.SAMPLER_NAMES
SCHEDULERS = comfy.samplers.SCHEDULER_NAMES


def crc(t):
    return zlib.crc32(t.detach().contiguous().numpy().tobytes())


# ---- random numbers --------------------------------------------------------------------------------------------------

SEEDS = [0, 1, 42, 123456789, 2**32 - 1, 2**32, 2**32 + 7, 2**63 - 1, 2**63, 2**64 - 1]
SIZES = [1, 5, 15, 16, 17, 31, 2, 100, 3, 4103, 7]      # drawn one after the other from one generator


def random():
    out = {}
    for seed in SEEDS:
        for name, draw in (("randn", torch.randn), ("rand", torch.rand)):
            for kind, dtype in (("f32", torch.float32), ("f64", torch.float64)):
                if name == "rand" and kind == "f64":
                    continue
                g = torch.Generator()
                g.manual_seed(seed)
                out["%s_%s/%d" % (name, kind, seed)] = torch.tensor([crc(draw(n, generator=g, dtype=dtype)) for n in SIZES])
    g = torch.Generator()
    g.manual_seed(7)
    out["randn_f32/first"] = torch.randn(50, generator=g)
    g.manual_seed(7)
    out["randn_f64/first"] = torch.randn(19, generator=g, dtype=torch.float64)
    g.manual_seed(2024)
    out["randn_f32/ten_million"] = torch.tensor([crc(torch.randn(10_000_000, generator=g))])
    latent = torch.zeros(3, 4, 5, 3)
    out["noise/plain"] = comfy.sample.prepare_noise(latent, 11)
    out["noise/indexed"] = comfy.sample.prepare_noise(latent, 11, [2, 0, 2])
    common.save("diffusion/random.safetensors", out, {"sizes": SIZES})


# ---- schedules -------------------------------------------------------------------------------------------------------

class Config:
    def __init__(self, **settings):
        self.sampling_settings = settings


def sampling(base, kind, **settings):
    return type("Sampling", (base, kind), {})(Config(**settings))


SAMPLINGS = {
    "flux_1.15": lambda: sampling(model_sampling.ModelSamplingFlux, model_sampling.CONST, shift=1.15),
    "flux_0.5": lambda: sampling(model_sampling.ModelSamplingFlux, model_sampling.CONST, shift=0.5),
    "flow_3": lambda: sampling(model_sampling.ModelSamplingDiscreteFlow, model_sampling.CONST, shift=3.0),
    "flow_1": lambda: sampling(model_sampling.ModelSamplingDiscreteFlow, model_sampling.CONST, shift=1.0, multiplier=1.0),
    "flow_1.73": lambda: sampling(model_sampling.ModelSamplingDiscreteFlow, model_sampling.CONST, shift=1.73, multiplier=1.0),
    "discrete": lambda: sampling(model_sampling.ModelSamplingDiscrete, model_sampling.EPS),
}
DENOISE = [0.01, 0.3, 0.5, 0.75, 0.95, 0.9999, 0.99995, 1.0]
DENOISE_STEPS = [1, 4, 9, 20, 31]
PERCENTS = [0.0, 0.001, 0.1, 0.25, 0.5, 0.731, 0.9, 0.999, 1.0]


class Handle:
    """What KSampler and BasicScheduler ask a model for."""
    def __init__(self, ms):
        self.ms = ms

    def get_model_object(self, name):
        return self.ms


def schedule():
    from comfy_extras.nodes_custom_sampler import BasicScheduler
    out = {}
    for name, make in SAMPLINGS.items():
        ms = make()
        out[name + "/table"] = torch.tensor([crc(ms.sigmas)])
        out[name + "/percent"] = torch.tensor([float(ms.percent_to_sigma(p)) for p in PERCENTS], dtype=torch.float64)
        probe = torch.tensor([float(ms.sigma_max) * f for f in (1.0, 0.77, 0.31, 0.052, 0.0031)])
        out[name + "/timestep_of"] = probe
        out[name + "/timestep"] = ms.timestep(probe).float()
        for scheduler in SCHEDULERS:
            key = "%s/%s" % (name, scheduler)
            whole = [comfy.samplers.calculate_sigmas(ms, scheduler, n) for n in range(1, 101)]
            out[key + "/crc"] = torch.tensor([crc(s) for s in whole])
            # vector exp, tan and pow differ from processor to processor by one unit in the last place: values, not sums
            inexact = scheduler in ("karras", "exponential", "kl_optimal") or (name == "discrete" and scheduler in ("normal", "sgm_uniform"))
            if inexact and name in ("flux_1.15", "discrete"):
                out[key + "/values"] = torch.cat(whole[1::3])   # 2, 5, 8, ... 98 steps
            crcs = []
            for steps in DENOISE_STEPS:
                for denoise in DENOISE:
                    for sampler in ("euler", "dpm_2"):
                        crcs.append(crc(comfy.samplers.KSampler(Handle(ms), steps, "cpu", sampler, scheduler, denoise).sigmas))
                    crcs.append(crc(BasicScheduler().get_sigmas(Handle(ms), scheduler, steps, denoise)[0]))
            out[key + "/denoise"] = torch.tensor(crcs)
    common.save("diffusion/schedule.safetensors", out, {"schedulers": SCHEDULERS, "samplings": list(SAMPLINGS)})


# ---- Brownian noise --------------------------------------------------------------------------------------------------

def brownian():
    out = {}
    for entropy, spawn in ((0, ()), (1, (0, 0)), (2**32 - 1, (5, 3)), (2**32, (2**20 + 1, 21)), (2**64 - 1, (2**40 + 3, 41))):
        seq = numpy.random.SeedSequence(entropy=entropy, spawn_key=spawn, pool_size=24)
        out["seeds/%d_%d" % (entropy, len(spawn))] = torch.tensor(seq.generate_state(6).astype(numpy.int64))
    for seed in (0, 3, 2**40 + 1):
        sigmas = model_sampling_sigmas("discrete", "karras", 9) if seed else model_sampling_sigmas("flux_1.15", "simple", 9)
        x = torch.zeros(1, 4, 3, 5)
        sampler = k_diffusion.BrownianTreeNoiseSampler(x, sigmas[sigmas > 0].min(), sigmas.max(), seed=seed, cpu=True)
        noise = [sampler(sigmas[i], sigmas[i + 1]) for i in range(8)]
        noise.append(sampler(sigmas[2], sigmas[3] * 0.7 + sigmas[2] * 0.3))
        out["noise/%d" % seed] = torch.cat(noise)
        out["sigmas/%d" % seed] = sigmas
    common.save("diffusion/brownian.safetensors", out)


def model_sampling_sigmas(name, scheduler, steps):
    return comfy.samplers.calculate_sigmas(SAMPLINGS[name](), scheduler, steps)


# ---- samplers on a toy model -----------------------------------------------------------------------------------------

class Toy(torch.nn.Module):
    """x / (1 + x^2) * (1 + first context number) + x / 4 + ramp * last context token's second + time * pooled - guidance / 16"""
    def __init__(self, time_scale):
        super().__init__()
        self.dtype = torch.float32
        self.time_scale = time_scale

    def forward(self, x, timestep, context=None, y=None, guidance=None, control=None, transformer_options={}, **kwargs):
        def column(v):
            return v.reshape(-1, 1, 1, 1)
        out = x / (x * x + 1.0) * (column(context[:, 0, 0]) + 1.0)
        out = out + x * 0.25
        out = out + torch.arange(x.shape[-1]) / x.shape[-1] * column(context[:, -1, 1])
        if y is not None:
            out = out + column(timestep * self.time_scale) * column(y[:, 0])
        if guidance is not None:
            out = out - column(guidance) * 0.0625
        return out


class ToyConfig:
    def __init__(self, channels, latent_format, settings):
        self.unet_config = {"disable_unet_model_creation": True, "in_channels": channels, "out_channels": channels}
        self.latent_format = latent_format
        self.sampling_settings = settings
        self.manual_cast_dtype = None
        self.memory_usage_factor = 1.0
        self.custom_operations = None
        self.scaled_fp8 = None
        self.optimizations = {}


def toy(kind):
    t = comfy.model_base.ModelType
    if kind == "flux":
        config = ToyConfig(16, comfy.latent_formats.Flux(), {"shift": 1.15})
        model = comfy.model_base.Flux(config, t.FLUX)
    elif kind == "flow":
        config = ToyConfig(16, comfy.latent_formats.SD3(), {"shift": 3.0})
        model = comfy.model_base.BaseModel(config, t.FLOW)
    else:
        config = ToyConfig(4, comfy.latent_formats.SD15(), {})
        model = comfy.model_base.BaseModel(config, t.V_PREDICTION if kind == "v" else t.EPS)
    model.diffusion_model = Toy(1.0 if kind == "flux" else 0.001)
    return comfy.model_patcher.ModelPatcher(model, load_device=torch.device("cpu"), offload_device=torch.device("cpu"))


def text(name, tokens, **options):
    return [common.randn(name, (1, tokens, 4)) * 0.25, {"pooled_output": common.randn(name + "/pooled", (1, 3)) * 0.5, **options}]


def latent(kind, batch=1):
    shape = (batch, 4, 6, 5) if kind in ("eps", "v") else (batch, 16, 4, 3)
    return common.randn("latent/" + kind, shape) * 2.0


def ksampler(kind, sampler="euler", scheduler="simple", steps=8, cfg=1.0, denoise=1.0, seed=5, positive=None, negative=None,
             samples=None, start=None, last=None, force=False, disable_noise=False, **fields):
    import nodes
    lat = {"samples": latent(kind) if samples is None else samples, **fields}
    return nodes.common_ksampler(toy(kind), seed, steps, cfg, sampler, scheduler, positive or [text("cat", 3)], negative or [text("dog", 3)],
                                 lat, denoise=denoise, disable_noise=disable_noise, start_step=start, last_step=last,
                                 force_full_denoise=force)[0]["samples"]


def mask(name, *shape):
    return (common.randn(name, shape).sigmoid() * 4 - 1.5).clamp(0, 1)


def samplers():
    import comfy.utils
    comfy.utils.PROGRESS_BAR_ENABLED = False
    out, inputs = {}, {}
    for name in ("cat", "dog", "bird", "long"):
        entry = text(name, 6 if name == "long" else 3)
        inputs["text/" + name] = entry[0]
        inputs["pooled/" + name] = entry[1]["pooled_output"]
    for kind in ("flux", "flow", "eps", "v"):
        inputs["latent/" + kind] = latent(kind)

    # every sampler, on a flow and an eps model: noise to picture with negative text; picture to picture without; one step;
    # a schedule that stops above 0
    for sampler in SAMPLERS:
        for kind in ("flux", "eps"):
            zero = torch.zeros_like(latent(kind))
            out["%s/%s/full" % (kind, sampler)] = ksampler(kind, sampler, cfg=2.5, samples=zero, scheduler="normal")
            out["%s/%s/half" % (kind, sampler)] = ksampler(kind, sampler, denoise=0.5, steps=6)
            for name, options in (("one", dict(steps=1)), ("part", dict(start=2, last=6, cfg=1.5))):
                try:
                    out["%s/%s/%s" % (kind, sampler, name)] = ksampler(kind, sampler, **options)
                except Exception as e:
                    print("%s/%s/%s: ComfyUI fails: %r" % (kind, sampler, name, e))

    # what surrounds a sampler, with euler (and one that draws noise)
    for kind in ("flux", "flow", "eps", "v"):
        case = lambda name, **options: out.__setitem__("%s/case/%s" % (kind, name), ksampler(kind, **options))
        shape = latent(kind).shape
        h, w = shape[2], shape[3]
        zero = torch.zeros_like(latent(kind))
        big, small, pair = mask("big", 1, 24, 20), mask("small", h, w), mask("pair", 2, 1, h, w)
        inputs["mask/%s/big" % kind], inputs["mask/%s/small" % kind], inputs["mask/%s/pair" % kind] = big, small, pair
        two = torch.cat([latent(kind), -latent(kind)])

        case("steps_1", steps=1)
        case("steps_2_cfg", steps=2, cfg=7.0)
        case("channels", samples=torch.zeros(1, 4, h, w), cfg=2.5)
        case("karras", scheduler="karras", cfg=2.5)
        case("beta_denoise", scheduler="beta", denoise=0.3, steps=5)
        case("seed_high", seed=2**64 - 1, samples=zero)
        case("denoise_0", denoise=0.0)
        case("mask", noise_mask=big, denoise=0.8)
        case("mask_ancestral", sampler="euler_ancestral", noise_mask=small.unsqueeze(0), cfg=2.5)
        case("mask_ddim", sampler="ddim", noise_mask=small.unsqueeze(0))
        case("mask_pair", samples=two, noise_mask=pair)
        case("batch_2", samples=two, cfg=2.5)
        case("batch_index", samples=two, batch_index=[3, 1])
        case("first_steps", start=0, last=3)
        case("first_steps_forced", start=0, last=3, force=True)
        case("last_steps", start=4, last=10000, disable_noise=True)
        case("all_skipped", start=8, last=10000)
        case("guidance", positive=[text("cat", 3, guidance=7.5)], negative=[text("dog", 3, guidance=1.0)], cfg=2.0)
        case("two_texts", positive=[text("cat", 3), text("bird", 3)], cfg=2.5)
        case("strength", positive=[text("cat", 3, strength=0.7), text("bird", 3, strength=1.3)])
        case("lone_strength", positive=[text("cat", 3, strength=0.7)])
        case("lengths", positive=[text("long", 6)], negative=[text("dog", 3)], cfg=2.5)
        case("range", positive=[text("cat", 3, start_percent=0.0, end_percent=0.4), text("bird", 3, start_percent=0.4, end_percent=1.0)])
        case("range_gap", positive=[text("cat", 3, start_percent=0.3, end_percent=0.6)], cfg=2.5)
        case("area", positive=[text("cat", 3, area=(h - 2, w - 1, 1, 1), strength=1.0), text("bird", 3)], cfg=2.5)
        case("area_fraction", positive=[text("cat", 3, area=("percentage", 0.5, 0.7, 0.25, 0.0), strength=1.0), text("bird", 3)])
        case("area_clipped", positive=[text("cat", 3, area=(h, w, 1, 0)), text("bird", 3, strength=0.5)], cfg=3.0)
        case("cond_mask", positive=[text("cat", 3, mask=small, mask_strength=0.8), text("bird", 3, mask=1 - small, mask_strength=1.0)])
        case("cond_mask_big", positive=[text("cat", 3, mask=big, mask_strength=1.0), text("bird", 3)], cfg=2.5)
        case("cond_mask_area", positive=[text("cat", 3, mask=small, mask_strength=1.0, area=(h - 1, w - 1, 0, 1)), text("bird", 3)])
    for name, t in inputs.items():
        out["input/" + name] = t
    common.save("diffusion/samplers.safetensors", out)


# ---- nodes -----------------------------------------------------------------------------------------------------------

def node_fixtures():
    """What node classes give for the values that tests/diffusion/test_diffusion_nodes.c feeds to ours."""
    import nodes
    from comfy_extras import nodes_custom_sampler as custom, nodes_model_advanced as advanced
    import comfy.utils
    comfy.utils.PROGRESS_BAR_ENABLED = False
    out = {}

    # schedules of shifted models
    for name, node, options in (("flux", advanced.ModelSamplingFlux(), dict(max_shift=1.15, base_shift=0.5, width=832, height=1216)),
                                ("sd3", advanced.ModelSamplingSD3(), dict(shift=3.0)),
                                ("sd3_one", advanced.ModelSamplingSD3(), dict(shift=1.0))):
        model = node.patch(toy("flux"), **options)[0]
        out["model_sampling/" + name] = custom.BasicScheduler().get_sigmas(model, "simple", 7, 0.9)[0]
    model = advanced.ModelSamplingAuraFlow().patch_aura(toy("flow"), 1.73)[0]
    out["model_sampling/aura_flow"] = custom.BasicScheduler().get_sigmas(model, "normal", 7, 1.0)[0]
    sigmas = custom.BasicScheduler().get_sigmas(toy("flux"), "simple", 6, 1.0)[0]
    out["sigmas/high"], out["sigmas/low"] = custom.SplitSigmas().get_sigmas(sigmas, 2)
    out["sigmas/flip"] = custom.FlipSigmas().get_sigmas(sigmas.clone())[0]

    # a whole custom sampling: first half, then the second without new noise, on a shifted model
    model = advanced.ModelSamplingFlux().patch(toy("flux"), 1.15, 0.5, 832, 1216)[0]
    sampler = custom.KSamplerSelect().get_sampler("dpmpp_2m")[0]
    sigmas = custom.BasicScheduler().get_sigmas(model, "beta", 9, 1.0)[0]
    high, low = custom.SplitSigmas().get_sigmas(sigmas, 4)
    guider = custom.CFGGuider().get_guider(model, [text("cat", 3)], [text("dog", 3)], 3.0)[0]
    empty = {"samples": torch.zeros(1, 16, 4, 3)}
    first, first_denoised = custom.SamplerCustomAdvanced().sample(custom.RandomNoise().get_noise(77)[0], guider, sampler, high.clone(), empty)
    second, second_denoised = custom.SamplerCustomAdvanced().sample(custom.DisableNoise().get_noise()[0], guider, sampler, low.clone(), first)
    out["custom/first"], out["custom/first_denoised"] = first["samples"], first_denoised["samples"]
    out["custom/second"], out["custom/second_denoised"] = second["samples"], second_denoised["samples"]
    basic = custom.BasicGuider().get_guider(model, [text("cat", 3)])[0]
    out["custom/basic"] = custom.SamplerCustomAdvanced().sample(custom.RandomNoise().get_noise(2**64 - 1)[0], basic, sampler, sigmas.clone(), empty)[0]["samples"]
    for name, add_noise in (("noise", True), ("no_noise", False)):
        got, denoised = custom.SamplerCustom().sample(model, add_noise, 5, 2.5, [text("cat", 3)], [text("dog", 3)],
                                                      custom.KSamplerSelect().get_sampler("euler_ancestral")[0], sigmas.clone(), {"samples": latent("flux")})
        out["custom/%s" % name], out["custom/%s_denoised" % name] = got["samples"], denoised["samples"]
    none = custom.SamplerCustomAdvanced().sample(custom.RandomNoise().get_noise(7)[0], basic, sampler, torch.FloatTensor([]), {"samples": latent("flux")})
    out["custom/no_sigmas"], out["custom/no_sigmas_denoised"] = none[0]["samples"], none[1]["samples"]

    # KSamplerAdvanced in two parts
    k = nodes.KSamplerAdvanced()
    half = k.sample(toy("flux"), "enable", 3, 8, 2.0, "heun", "simple", [text("cat", 3)], [text("dog", 3)], empty, 0, 4, "enable")[0]
    out["advanced/first"] = half["samples"]
    out["advanced/second"] = k.sample(toy("flux"), "disable", 3, 8, 2.0, "heun", "simple", [text("cat", 3)], [text("dog", 3)], half, 4, 10000,
                                      "disable")[0]["samples"]

    # texts
    cat, dog, long = text("cat", 3), text("dog", 3), text("long", 6)
    bare = [dog[0], {}]
    for name, a, b in (("cat_long", cat, long), ("long_cat", long, cat), ("bare_cat", bare, cat), ("cat_bare", cat, bare)):
        got = nodes.ConditioningAverage().addWeighted([a], [b], 0.3)[0][0]
        out["average/" + name] = got[0]
        if "pooled_output" in got[1]:
            out["average_pooled/" + name] = got[1]["pooled_output"]
    out["concat/cat_long"] = nodes.ConditioningConcat().concat([cat], [long])[0][0][0]

    # latents
    batch = {"samples": common.randn("batch", (3, 2, 10, 9)), "noise_mask": mask("batch_mask", 2, 1, 10, 9)}
    out["latent/samples"], out["latent/mask"] = batch["samples"], batch["noise_mask"]
    part = nodes.LatentFromBatch().frombatch(batch, 1, 5)[0]
    out["latent/part"], out["latent/part_mask"], out["latent/part_index"] = part["samples"], part["noise_mask"], torch.tensor(part["batch_index"])
    again = nodes.LatentFromBatch().frombatch(part, 1, 1)[0]
    out["latent/again_index"] = torch.tensor(again["batch_index"])
    twice = nodes.RepeatLatentBatch().repeat(part, 3)[0]
    out["latent/repeat"], out["latent/repeat_mask"], out["latent/repeat_index"] = twice["samples"], twice["noise_mask"], torch.tensor(twice["batch_index"])
    for method in nodes.LatentUpscale.upscale_methods:
        out["upscale/%s" % method] = nodes.LatentUpscale().upscale(batch, method, 64, 120, "center")[0]["samples"]
        out["upscale_by/%s" % method] = nodes.LatentUpscaleBy().upscale(batch, method, 1.35)[0]["samples"]
    out["upscale/width_0"] = nodes.LatentUpscale().upscale(batch, "nearest-exact", 0, 100, "disabled")[0]["samples"]
    common.save("diffusion/nodes.safetensors", out)


if __name__ == "__main__":
    parts = {"random": random, "schedule": schedule, "brownian": brownian, "samplers": samplers, "nodes": node_fixtures}
    for part in sys.argv[1:] or parts:
        parts[part]()
