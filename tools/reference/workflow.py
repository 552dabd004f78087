"""The whole demo workflow by ComfyUI's own nodes: the pictures that `rylagraph run` is held to.

    COMFYUI=/path/to/ComfyUI python tools/reference/workflow.py

workflows/demo.json is executed node by node with ComfyUI v0.3.64 on the CPU: eight prompts, cfg 1.0 and 2.5, 20 steps of
euler on the simple schedule. Once in float32, whose 8-bit pictures become tests/fixtures/workflow/*.png, and once in bfloat16,
of which only the distance from the float32 pictures is kept: ours may be 1.5 times that. (The median over pictures: a picture on
the edge between two layouts can fall to either side in bf16, which says nothing about arithmetic.) pictures.json records prompts, seeds,
the initial noise's SHA-256, the sigmas and the versions.

ComfyUI knows Flux, its text encoders and its autoencoder in their published sizes only. The demo model has small sizes, so
this script hands ComfyUI the sizes, vocabularies and end tokens that it would otherwise take from constants. The arithmetic
is ComfyUI's own, untouched.
"""
import copy
import hashlib
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from PIL import Image

import common

OUT = os.path.join(common.FIXTURES, "workflow")
STEPS, CFGS = 20, (1.0, 2.5)
PROMPTS = [                             # (seed, prompt, negative prompt)
    (0, "a red house on the left, two pine trees on the right, a snowy field at night, a large moon", ""),
    (2, "a blue sailboat in the center, a blue sea at sunset, purple mountains, a large sun", ""),
    (3, "a yellow hot air balloon on the right, a meadow on a sunny day, blue mountains, white clouds", "snow, a moon"),
    (4, "three palm trees on the left, a sandy desert at dusk, a small sun", ""),
    (5, "a white cottage on the right, one round tree on the left, a green meadow in the early morning, snow-capped grey mountains", ""),
    (2 ** 64 - 1, "a pink hot air balloon in the center, the sea under a starry night sky, a small moon on the left", "a house"),
    (7, "an illustration of a (purple house:1.3) in the middle, a meadow at dawn, clouds", ""),
    (839327983272663, "", ""),
]
SIZES = {
    "flux": {"hidden_size": 192, "num_heads": 3, "axes_dim": [8, 28, 28], "context_in_dim": 128},
    "clip": {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 512,
             "eos_token_id": 701},
    "t5": {"d_model": 128, "d_ff": 256, "d_kv": 32, "num_layers": 3, "num_heads": 4, "vocab_size": 166},
    "vae": {"ch": 32, "ch_mult": [1, 2, 2, 4], "num_res_blocks": 2},
}
END_TOKENS = {"start": 700, "end": 701, "pad": 701}


def use_demo_sizes():
    """Let ComfyUI's loaders find the demo files and build its own modules in the demo model's sizes."""
    import comfy.model_detection
    import comfy.sd
    import comfy.sd1_clip
    import comfy.text_encoders.flux as flux_text
    import comfy.utils
    import folder_paths
    from comfy.text_encoders.spiece_tokenizer import SPieceTokenizer

    for folder in ("diffusion_models", "text_encoders", "vae"):
        folder_paths.add_model_folder_path(folder, os.path.join(common.DEMO, folder), is_default=True)

    detect = comfy.model_detection.detect_unet_config
    comfy.model_detection.detect_unet_config = lambda *a, **k: {**detect(*a, **k), **SIZES["flux"]}

    engine = comfy.sd.AutoencodingEngine

    def small_engine(**config):
        for part in ("encoder_config", "decoder_config"):
            config[part]["params"] = {**config[part]["params"], **SIZES["vae"]}
        return engine(**config)
    comfy.sd.AutoencodingEngine = small_engine

    class Tokenizer(flux_text.FluxTokenizer):
        def __init__(self, embedding_directory=None, tokenizer_data={}):
            tokenizers = os.path.join(common.DEMO, "tokenizers")
            self.clip_l = comfy.sd1_clip.SDTokenizer(os.path.join(tokenizers, "clip_demo"), embedding_size=128)
            self.t5xxl = comfy.sd1_clip.SDTokenizer(
                os.path.join(tokenizers, "t5_demo", "spiece.model"), tokenizer_class=SPieceTokenizer, pad_with_end=False,
                embedding_size=128, embedding_key="t5xxl", has_start_token=False, pad_to_max_length=False,
                max_length=99999999, min_length=256)
    flux_text.FluxTokenizer = Tokenizer

    def load_clip(ckpt_paths, embedding_directory=None, clip_type=None, model_options={}):
        files = [comfy.utils.load_torch_file(path, safe_load=True) for path in ckpt_paths]
        for f in files:
            table = "text_model.embeddings.token_embedding.weight"
            if table in f:              # ComfyUI's CLIP always has 49408 rows; no token of ours reaches the added ones
                f[table] = torch.nn.functional.pad(f[table], (0, 0, 0, 49408 - f[table].shape[0]))
        options = {**model_options, "model_config": dict(SIZES["clip"]), "t5xxl_model_config": SIZES["t5"]}
        clip = comfy.sd.load_text_encoder_state_dicts(files, embedding_directory, clip_type, options)
        clip.cond_stage_model.clip_l.special_tokens = END_TOKENS
        return clip
    comfy.sd.load_clip = load_clip


class Graph:
    """Executes an API graph with ComfyUI's node classes; loaders run once."""

    def __init__(self):
        import nodes
        import comfy_extras.nodes_flux
        import comfy_extras.nodes_sd3
        self.classes = {**nodes.NODE_CLASS_MAPPINGS, **comfy_extras.nodes_flux.NODE_CLASS_MAPPINGS,
                        **comfy_extras.nodes_sd3.NODE_CLASS_MAPPINGS}
        self.loaded = {}

    def output(self, graph, node, slot):
        """Slot `slot` of node `node`, with everything it depends on."""
        results = {}

        def run(id):
            if id in results:
                return results[id]
            if id in self.loaded:
                return self.loaded[id]
            spec = graph[id]
            inputs = {k: run(v[0])[v[1]] if isinstance(v, list) else v for k, v in spec["inputs"].items()}
            cls = self.classes[spec["class_type"]]
            results[id] = getattr(cls(), cls.FUNCTION)(**inputs)
            if spec["class_type"].endswith("Loader"):
                self.loaded[id] = results[id]
            return results[id]
        return run(node)[slot]


def filled(template, seed, prompt, negative, cfg):
    graph = copy.deepcopy(template["graph"])
    values = {"prompt": prompt, "negative_prompt": negative, "seed": seed, "steps": STEPS, "cfg": cfg}
    for parameter in template["parameters"]:
        for target in parameter["targets"]:
            if parameter["name"] in values:
                node, name = target.split(".", 1)
                graph[node]["inputs"][name] = values[parameter["name"]]
    return graph


def render(dtype, folder):
    """All pictures in one dtype into FOLDER, with what stands behind them as records."""
    common.comfyui("--%s-unet" % dtype, "--%s-vae" % dtype, "--%s-text-enc" % dtype)
    use_demo_sizes()
    import comfy.model_management
    # on a CPU ComfyUI casts bf16 models back to float32; on a GPU, which the bf16 run stands for, it computes in bf16
    comfy.model_management.unet_manual_cast = lambda *args, **options: None
    import comfy.sample
    import comfy.samplers

    with open(os.path.join(common.ROOT, "workflows", "demo.json")) as f:
        template = json.load(f)
    machine, records = Graph(), []
    for i, (seed, prompt, negative) in enumerate(PROMPTS):
        for cfg in CFGS:
            graph = filled(template, seed, prompt, negative, cfg)
            image = machine.output(graph, "9", 0)
            name = "%d-cfg%s.png" % (i + 1, cfg)
            pixels = np.clip(255.0 * image[0].cpu().float().numpy(), 0, 255).astype(np.uint8)     # as SaveImage rounds
            Image.fromarray(pixels).save(os.path.join(folder, name), optimize=True)

            latent = machine.output(graph, "7", 0)["samples"]
            noise = comfy.sample.prepare_noise(latent, seed)
            records.append({"file": name, "prompt": prompt, "negative_prompt": negative, "seed": seed, "cfg": cfg,
                            "noise_sha256": hashlib.sha256(noise.contiguous().numpy().tobytes()).hexdigest()})
            print(dtype, name, prompt or "(empty)", flush=True)
    model = machine.output(template["graph"], "1", 0)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", STEPS)
    return records, {"steps": STEPS, "sampler": "euler", "scheduler": "simple",
                     "sigmas": [float(s) for s in sigmas], "sigmas_sha256": hashlib.sha256(sigmas.numpy().tobytes()).hexdigest(),
                     "compute_dtype": str(model.model.get_dtype()), "manual_cast": str(model.model.manual_cast_dtype)}


def levels(folder, name):
    return np.asarray(Image.open(os.path.join(folder, name)).convert("RGB")).astype(np.float64)


def rms(a, b):
    """Root mean square difference in 8-bit levels."""
    return float(np.sqrt(np.mean((a - b) ** 2)))


def main():
    if len(sys.argv) == 3:              # a child: ComfyUI reads its precision once per process
        records, common_facts = render(sys.argv[1], sys.argv[2])
        with open(os.path.join(sys.argv[2], "records.json"), "w") as f:
            json.dump([records, common_facts, common.versions()], f)
        return
    os.makedirs(OUT, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        folders = {}
        for dtype in ("fp32", "bf16"):
            folders[dtype] = os.path.join(folder, dtype)
            os.makedirs(folders[dtype])
            subprocess.run([sys.executable, os.path.abspath(__file__), dtype, folders[dtype]], check=True)
        with open(os.path.join(folders["fp32"], "records.json")) as f:
            records, facts, versions = json.load(f)
        assert facts["compute_dtype"] == "torch.float32" and facts.pop("manual_cast") == "None", facts
        for r in records:
            exact = levels(folders["fp32"], r["file"])
            r["bf16_rms"] = round(rms(levels(folders["bf16"], r["file"]), exact), 4)
            os.replace(os.path.join(folders["fp32"], r["file"]), os.path.join(OUT, r["file"]))
        facts["bf16_median_rms"] = round(float(np.median([r["bf16_rms"] for r in records])), 4)
    with open(os.path.join(OUT, "pictures.json"), "w") as f:
        json.dump({"versions": versions, **facts, "pictures": records}, f, indent=1)
        f.write("\n")
    for r in records:
        print("%-12s bf16 differs from float32 by %.3f levels rms" % (r["file"], r["bf16_rms"]))
    print("median: %.3f levels rms" % facts["bf16_median_rms"])


if __name__ == "__main__":
    main()
