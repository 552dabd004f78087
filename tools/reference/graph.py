"""
What ComfyUI answers about nodes and graphs: /object_info of the classes that this program has, validate_prompt() on good and bad
prompts, and the events of whole runs with test nodes.

    COMFYUI=/path/to/ComfyUI python tools/reference/graph.py

Writes tests/fixtures/graph/{object_info,validate,execute,save_path}.json. Model folders are temporary and hold empty files of the names in
FILES; the C tests make the same.
"""
import asyncio
import contextlib
import copy
import glob
import importlib
import io
import json
import logging
import math
import os
import re
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import common  # noqa: E402

COMFYUI_VERSION = common.comfyui()

FILES = {
    "models": ["checkpoints/sd15.safetensors", "checkpoints/sub/other.ckpt", "diffusion_models/flux-a.safetensors", "unet/flux-b.sft",
               "text_encoders/clip_l.safetensors", "clip/t5xxl.safetensors", "vae/ae.safetensors"],
    "input": ["one.png", "two.jpg", "notes.txt", "sub/three.png"],
    "output": ["done.png"],
}


def load_nodes(folder):
    """ComfyUI's core nodes and the extras that hold CLASSES, with its folders turned to `folder`."""
    import folder_paths

    for place, names in FILES.items():
        for name in names:
            path = os.path.join(folder, place, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            open(path, "wb").close()
    models = os.path.join(folder, "models")
    for key, (paths, extensions) in list(folder_paths.folder_names_and_paths.items()):
        moved = [os.path.join(models, os.path.basename(p)) for p in paths]
        folder_paths.folder_names_and_paths[key] = (moved, extensions)
    folder_paths.set_input_directory(os.path.join(folder, "input"))
    folder_paths.set_output_directory(os.path.join(folder, "output"))
    folder_paths.set_temp_directory(os.path.join(folder, "temp"))

    import utils.install_util  # noqa: F401   before nodes, which puts a folder with another `utils` in front
    import nodes
    asyncio.run(nodes.init_builtin_extra_nodes())
    own = os.path.join(os.path.dirname(nodes.__file__), "custom_nodes", "websocket_image_save.py")   # the one that comes with ComfyUI
    asyncio.run(nodes.load_custom_node(own, set(), module_parent="custom_nodes"))
    return nodes


def our_classes(nodes):
    """ComfyUI's classes that this program's node files name, in ComfyUI's order."""
    text = "".join(open(f).read() for f in glob.glob(os.path.join(common.ROOT, "nodes", "*", "*.c")))
    named = set(re.findall(r'"(\w+)"', text))
    return [c for c in nodes.NODE_CLASS_MAPPINGS if c in named]


# ---- object_info ----------------------------------------------------------------------------------------------------------

def without_tooltips(v):
    if isinstance(v, dict):
        return {k: without_tooltips(x) for k, x in v.items() if k not in ("tooltip", "output_tooltips", "description")}
    return [without_tooltips(x) for x in v] if isinstance(v, (list, tuple)) else v


def object_info(nodes, name):
    """As server.py builds it."""
    cls = nodes.NODE_CLASS_MAPPINGS[name]
    if hasattr(cls, "GET_NODE_INFO_V1"):
        return without_tooltips(cls.GET_NODE_INFO_V1())
    inputs = cls.INPUT_TYPES()
    info = {
        "input": inputs,
        "input_order": {k: list(v) for k, v in inputs.items()},
        "output": cls.RETURN_TYPES,
        "output_is_list": getattr(cls, "OUTPUT_IS_LIST", [False] * len(cls.RETURN_TYPES)),
        "output_name": getattr(cls, "RETURN_NAMES", cls.RETURN_TYPES),
        "name": name,
        "display_name": nodes.NODE_DISPLAY_NAME_MAPPINGS.get(name, name),
        "python_module": getattr(cls, "RELATIVE_PYTHON_MODULE", "nodes"),
        "category": getattr(cls, "CATEGORY", "sd"),
        "output_node": bool(getattr(cls, "OUTPUT_NODE", False)),
    }
    for key, attribute in (("deprecated", "DEPRECATED"), ("experimental", "EXPERIMENTAL")):
        if getattr(cls, attribute, False):
            info[key] = True
    return without_tooltips(info)


# ---- prompts for validation -------------------------------------------------------------------------------------------------

def text_to_image():
    """A whole graph of known classes; the cases below are this with something wrong."""
    return {
        "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux-a.safetensors", "weight_dtype": "default"}},
        "2": {"class_type": "DualCLIPLoader", "inputs": {"clip_name1": "clip_l.safetensors", "clip_name2": "t5xxl.safetensors", "type": "flux"}},
        "3": {"class_type": "VAELoader", "inputs": {"vae_name": "ae.safetensors"}},
        "4": {"class_type": "CLIPTextEncode", "inputs": {"text": "a house", "clip": ["2", 0]}},
        "5": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["2", 0]}},
        "6": {"class_type": "FluxGuidance", "inputs": {"conditioning": ["4", 0], "guidance": 3.5}},
        "7": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 256, "height": 256, "batch_size": 1}},
        "8": {"class_type": "KSampler", "inputs": {"model": ["1", 0], "seed": 1, "steps": 20, "cfg": 1.0, "sampler_name": "euler",
                                                  "scheduler": "simple", "positive": ["6", 0], "negative": ["5", 0],
                                                  "latent_image": ["7", 0], "denoise": 1.0}},
        "9": {"class_type": "VAEDecode", "inputs": {"samples": ["8", 0], "vae": ["3", 0]}},
        "10": {"class_type": "SaveImage", "inputs": {"images": ["9", 0], "filename_prefix": "x"}},
    }


DELETE = object()


class Case(dict):
    """A prompt that remembers how it was made: the fixture holds the base's name and the edits."""
    recipe = None


def changed(*edits, base=None):
    """The base graph with edits (node, input, value); input None replaces the whole node, DELETE removes."""
    base = base or text_to_image
    p = Case(copy.deepcopy(base()))
    p.recipe = {"base": base.__name__, "edits": [[node, name] + ([] if value is DELETE else [value]) for node, name, value in edits]}
    for node, name, value in edits:
        if name is None:
            if value is DELETE:
                del p[node]
            else:
                p[node] = value
        elif value is DELETE:
            del p[node]["inputs"][name]
        else:
            p[node]["inputs"][name] = value
    return p


def show(class_type, **inputs):
    """One node shown by PreviewAny."""
    return {"1": {"class_type": class_type, "inputs": inputs}, "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}}}


def two_outputs():
    p = text_to_image()
    p["20"] = {"class_type": "PreviewImage", "inputs": {"images": ["9", 0]}}
    p["21"] = {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}}
    p["22"] = {"class_type": "SaveImage", "inputs": {"images": ["21", 0], "filename_prefix": "y"}}
    return p


def load_image(image="one.png", **more):
    return {"1": {"class_type": "LoadImage", "inputs": {"image": image, **more}},
            "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}


def validation_cases():
    yield "good", text_to_image()
    yield "empty", {}
    yield "no outputs", {"1": text_to_image()["7"]}
    yield "no class_type", changed(("7", None, {"inputs": {}}))
    yield "unknown class", changed(("7", None, {"class_type": "EmptySD3LatentImages", "inputs": {}}))
    yield "unknown class, unused", changed(("99", None, {"class_type": "Nope", "inputs": {}}))
    yield "class_type is a number", changed(("7", None, {"class_type": 5, "inputs": {}}))
    yield "class_type is null", changed(("7", None, {"class_type": None, "inputs": {}}))
    yield "two unknown classes", changed(("7", None, {"class_type": "A", "inputs": {}}), ("8", None, {"class_type": "B", "inputs": {}}))
    yield "unused node lacks inputs", changed(("99", None, {"class_type": "KSampler", "inputs": {}}))
    yield "unused node links to nothing", changed(("99", None, {"class_type": "VAEDecode", "inputs": {"samples": ["77", 0]}}))

    # missing and extra
    for node, name in (("8", "seed"), ("8", "model"), ("9", "vae"), ("10", "images"), ("10", "filename_prefix"), ("2", "type"), ("1", "unet_name")):
        yield "missing %s.%s" % (node, name), changed((node, name, DELETE))
    yield "missing several", changed(("8", "seed", DELETE), ("8", "steps", DELETE), ("4", "text", DELETE), ("10", "images", DELETE))
    yield "extra constant", changed(("8", "sede", 5))
    yield "extra list", changed(("8", "sede", [1, 2, 3]))
    yield "optional given", changed(("2", "device", "cpu"))
    yield "optional wrong", changed(("2", "device", "gpu"))
    yield "no inputs object, output", changed(("10", None, {"class_type": "SaveImage"}))
    yield "no inputs object, inner", changed(("7", None, {"class_type": "EmptySD3LatentImage"}))
    yield "no inputs object, twice used", changed(("2", None, {"class_type": "DualCLIPLoader"}))

    # links
    for bad in ([], ["7"], ["7", 0, 0], [["7", 0], 0, 1]):
        yield "bad link %s" % json.dumps(bad), changed(("8", "latent_image", bad))
    yield "link to nothing", changed(("8", "latent_image", ["77", 0]))
    yield "link to nothing, output", changed(("10", "images", ["77", 0]))
    yield "link to nothing, quotes", changed(("8", "latent_image", ["it's", 0]))
    yield "link to a number", changed(("8", "latent_image", [7, 0]))
    yield "link to null", changed(("8", "latent_image", [None, 0]))
    yield "link to a list", changed(("8", "latent_image", [["7"], 0]))
    yield "link to an object", changed(("8", "latent_image", [{}, 0]))
    yield "link to a float", changed(("8", "latent_image", [7.0, 0]))
    yield "link to true", changed(("8", "latent_image", [True, 0]))
    yield "slot too large", changed(("6", "conditioning", ["4", 1]))
    yield "slot far too large", changed(("6", "conditioning", ["4", 12345678901234567890]))
    yield "slot too large, output", changed(("10", "images", ["9", 3]))
    yield "slot -1", changed(("6", "conditioning", ["4", -1]))
    yield "slot -2", changed(("6", "conditioning", ["4", -2]))
    yield "slot a string", changed(("6", "conditioning", ["4", "0"]))
    yield "slot a float", changed(("6", "conditioning", ["4", 0.0]))
    yield "slot null", changed(("6", "conditioning", ["4", None]))
    yield "slot a list", changed(("6", "conditioning", ["4", [0]]))
    yield "slot an object", changed(("6", "conditioning", ["4", {}]))
    yield "slot true", changed(("6", "conditioning", ["4", True]))
    yield "slot false", changed(("6", "conditioning", ["4", False]))
    yield "slot of a newer node", changed(("1", "unet_name", ["11", 2]), ("11", None, {"class_type": "PrimitiveString", "inputs": {"value": ""}}))
    yield "type mismatch", changed(("8", "latent_image", ["4", 0]))
    yield "type mismatch, output", changed(("10", "images", ["8", 0]))
    yield "type mismatch hides the source's errors", changed(("8", "latent_image", ["4", 0]), ("7", "width", 0))
    yield "text into a combo", changed(("8", "sampler_name", ["11", 0]), ("11", None, {"class_type": "PrimitiveString", "inputs": {"value": "euler"}}))
    yield "text into a file list", changed(("1", "unet_name", ["11", 0]), ("11", None, {"class_type": "PrimitiveString", "inputs": {"value": ""}}))
    yield "int into an int", changed(("8", "seed", ["11", 0]), ("11", None, {"class_type": "PrimitiveInt", "inputs": {"value": 7}}))
    yield "int into a float", changed(("8", "cfg", ["11", 0]), ("11", None, {"class_type": "PrimitiveInt", "inputs": {"value": 7}}))
    yield "text into text", changed(("4", "text", ["11", 0]), ("11", None, {"class_type": "PrimitiveStringMultiline", "inputs": {"value": "a"}}))
    yield "anything into anything", {"1": text_to_image()["7"], "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}}}
    yield "constant into anything", {"2": {"class_type": "PreviewAny", "inputs": {"source": 5}}}

    # conversions
    for name, values in {
        "steps": ["5", " 5 ", "1_000", "5.0", "0x10", "", "abc", "+5", "-5", "1__0", "_1", "1_", 5.9, -5.9, 1e300, True, False, None, {}, {"a": 1},
                  [1, 2, 3], {"__value__": 7}, {"__value__": [1]}, {"__value__": {"__value__": 3}}, "it's", "\u00e9", 10**30, -10**30, 10000, 10001, 0, 1, -1],
        "cfg": ["1e3", "1.5", " 2 ", "1_0.5", "", "abc", "inf", "-inf", "infinity", ".5", "5.", "1e", "0x1p3", "1e999", 7, True, None, {}, {"x": [1]}, 10**30,
                0, 100, 100.5, -0.5, {"__value__": "3"}, 18446744073709551615, 10**400],
        "seed": [0, 18446744073709551615, 18446744073709551616, -1, 9223372036854775808, "18446744073709551615", "18446744073709551616", 1.5, 1e19, 2e19],
        "sampler_name": ["eular", "", None, 5, 1.0, True, {"a": "b"}, "it's", "dpmpp_2m"],
        "scheduler": ["simpel", "Simple", {"__value__": "normal"}, {"__value__": ["normal"]}],
    }.items():
        for value in values:
            yield "%s = %s" % (name, json.dumps(value)[:60]), changed(("8", name, value))
    for value in [5, 1.0, 1e20, 1e16, 1e-5, 0.1, -0.0, True, None, [], {}, {"a": [1, 2.5, None, True, "it's"], "b": "\u00e9\n"}, {"__value__": ["a", 'b"c']},
                  10**25, "\u6f22"]:
        yield "text = %s" % json.dumps(value)[:60], changed(("4", "text", value))
    for value in [True, False, "false", "", 0, 1, 0.0, 2.5, None, {}, {"a": 1}, "x", {"__value__": []}, {"__value__": [0]}]:
        yield "boolean = %s" % json.dumps(value), show("PrimitiveBoolean", value=value)
    for value in [9223372036854775807, 9223372036854775808, -9223372036854775807, -9223372036854775808, "12", 1e18, 1e19]:
        yield "int = %s" % json.dumps(value), show("PrimitiveInt", value=value)
    for value in [1e18, 1e19, -1e19, 5, "5", 9223372036854775807, 1e-320]:
        yield "float = %s" % json.dumps(value), show("PrimitiveFloat", value=value)
    yield "string = 5", show("PrimitiveString", value=5)

    # lists from disk
    yield "no such file", changed(("1", "unet_name", "nope.safetensors"))
    yield "no such file, other folder", changed(("1", "unet_name", "ae.safetensors"))
    yield "the second folder", changed(("1", "unet_name", "flux-b.sft"))
    yield "file is a number", changed(("3", "vae_name", 3))
    yield "fixed name", changed(("3", "vae_name", "pixel_space"))
    yield "path out", changed(("3", "vae_name", "../vae/ae.safetensors"))
    yield "subfolder", {"1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sub/other.ckpt"}},
                        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 2]}}}

    # ranges of several inputs, several nodes, shared nodes
    yield "many errors", changed(("7", "width", 0), ("7", "height", 99999), ("7", "batch_size", "x"), ("8", "steps", 0), ("8", "denoise", 2),
                                 ("8", "sampler_name", "x"), ("3", "vae_name", "x"), ("6", "guidance", -1), ("10", "filename_prefix", DELETE))
    yield "clip shared by two", changed(("2", "clip_name1", "x"))
    yield "one output good", changed(("9", "vae", ["77", 0]), base=two_outputs)
    yield "two outputs bad through one", changed(("7", "width", 0), ("22", None, DELETE), base=two_outputs)
    yield "all outputs good", two_outputs()
    yield "an output without inputs", changed(("22", "images", DELETE), base=two_outputs)
    yield "deep", {**{str(i): {"class_type": "ImageInvert", "inputs": {"image": [str(i + 1), 0]}} for i in range(60)},
                   "60": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 0, "batch_size": 1, "color": 0}},
                   "out": {"class_type": "SaveImage", "inputs": {"images": ["0", 0], "filename_prefix": "d"}}}

    # a node's own validator
    yield "picture", load_image()
    yield "picture, annotated", load_image("done.png [output]")
    yield "picture in a subfolder", load_image("sub/three.png")
    yield "picture with upload", load_image(upload="image")
    yield "no such picture", load_image("nope.png")
    yield "picture is missing", changed(("1", "image", DELETE), base=load_image)
    yield "mask", {"1": {"class_type": "LoadImageMask", "inputs": {"image": "one.png", "channel": "red"}},
                   "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}}}
    yield "mask, bad channel, bad picture", {"1": {"class_type": "LoadImageMask", "inputs": {"image": "x.png", "channel": "purple"}},
                                             "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}}}
    yield "mask without a picture", {"1": {"class_type": "LoadImageMask", "inputs": {"channel": "purple"}},
                                     "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}}}

    # where this program is stricter; the test knows these by name
    yield "strict: constant on a socket", changed(("10", "images", "hello"))
    yield "strict: null on a socket", changed(("10", "images", None))
    yield "strict: number on a socket", changed(("8", "model", 5))
    yield "strict: nan", changed(("8", "cfg", "nan"))
    yield "strict: newer combo", {"1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
                                  "2": {"class_type": "ImageScaleToTotalPixels", "inputs": {"image": ["1", 0], "upscale_method": "x", "megapixels": 1.0}},
                                  "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}}}
    yield "strict: cycle", {"1": {"class_type": "ImageInvert", "inputs": {"image": ["2", 0]}},
                            "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
                            "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}}}


def plain(v):
    """JSON-able, with tooltips out and Python frames dropped; non-finite numbers as text."""
    if isinstance(v, dict):
        return {k: ([] if k == "traceback" else plain(x)) for k, x in v.items() if k != "tooltip"}
    if isinstance(v, (list, tuple)):
        return [plain(x) for x in v]
    return None if isinstance(v, float) and not math.isfinite(v) else v


def validate(execution, prompt):
    p = copy.deepcopy(prompt)
    try:
        valid, error, outputs, node_errors = asyncio.run(execution.validate_prompt("id", p, None))
    except Exception as e:
        return {"exception": "%s: %s" % (type(e).__name__, e)}
    converted = {}                      # inputs that validation has changed in place; by their text, since 1 == 1.0 == True
    for node in p:
        before, after = ((x[node].get("inputs") if isinstance(x[node], dict) else None) or {} for x in (prompt, p))
        different = {k: plain(v) for k, v in after.items() if json.dumps(before[k]) != json.dumps(v)}
        if different:
            converted[node] = different
    return {"error": plain(error), "node_errors": plain(node_errors), "outputs": sorted(outputs), "converted": converted}


# ---- runs with test nodes -------------------------------------------------------------------------------------------------------

def test_nodes(nodes):
    """Small classes that the C test has too, by the same names."""
    number = ("INT", {"forceInput": True})
    calls = []

    class Base:
        RETURN_TYPES = ("INT",)
        FUNCTION = "run"
        CATEGORY = "test"

    class TestNumber(Base):
        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"value": ("INT", {"default": 0, "min": -1000, "max": 1000})}}

        def run(self, value):
            return (value,)

    class TestAdd(Base):
        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"a": number, "b": number}, "optional": {"c": number}}

        def run(self, a, b, c=0):
            calls.append([a, b, c])
            return (a + b + c,)

    class TestList(Base):
        """1 .. n as a list of values."""
        OUTPUT_IS_LIST = (True,)

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"n": ("INT", {"default": 3, "min": 0, "max": 10})}}

        def run(self, n):
            return (list(range(1, n + 1)),)

    class TestSum(Base):
        """The sum of a whole list, how many there were, and `times` as it came."""
        INPUT_IS_LIST = True
        RETURN_TYPES = ("INT", "INT")

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"values": number, "times": ("INT", {"default": 1})}}

        def run(self, values, times):
            return (sum(values) * times[0], len(values))

    class TestShow(Base):
        OUTPUT_NODE = True
        RETURN_TYPES = ()

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"value": number}}

        def run(self, value):
            return {"ui": {"text": [str(value)]}}

    class TestPass(Base):
        """An output node with an output."""
        OUTPUT_NODE = True

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"value": number}}

        def run(self, value):
            return {"ui": {"text": [str(value)]}, "result": (value,)}

    class TestFail(Base):
        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"value": number, "when": ("INT", {"default": 0})}}

        def run(self, value, when):
            if value == when:
                raise ValueError("no %d here" % value)
            return (value,)

    class TestChanged(Base):
        """The fingerprint is the value of `mark`; "never" is never the same twice."""
        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"value": ("INT", {"default": 0}), "mark": ("STRING", {"default": ""})}}

        @classmethod
        def IS_CHANGED(cls, value, mark):
            return float("nan") if mark == "never" else "x"

        def run(self, value, mark):
            return (value,)

    class TestUnique(Base):
        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {"value": ("INT", {"default": 0})}, "hidden": {"unique_id": "UNIQUE_ID"}}

        def run(self, value, unique_id):
            return (value,)

    class TestOnce(TestNumber):
        NOT_IDEMPOTENT = True

    for cls in (TestNumber, TestAdd, TestList, TestSum, TestShow, TestPass, TestFail, TestChanged, TestUnique, TestOnce):
        nodes.NODE_CLASS_MAPPINGS[cls.__name__] = cls
    return calls


def n(class_type, **inputs):
    return {"class_type": class_type, "inputs": {k: list(v) if isinstance(v, tuple) else v for k, v in inputs.items()}}


def run_cases():
    """name -> prompts run one after the other with one cache."""
    number = {"1": n("TestNumber", value=1), "2": n("TestNumber", value=2), "3": n("TestAdd", a=("1", 0), b=("2", 0)), "9": n("TestShow", value=("3", 0))}
    yield "one sum", [number]
    yield "again", [number, number]
    yield "renumbered", [number, {"a": n("TestNumber", value=2), "b": n("TestAdd", b=("a", 0), a=("c", 0)), "c": n("TestNumber", value=1),
                                  "d": n("TestShow", value=("b", 0))}]
    yield "one input changed", [number, {**number, "2": n("TestNumber", value=5)}]
    yield "changed and back", [number, {**number, "2": n("TestNumber", value=5)}, number]
    yield "1 is 1.0 is true", [number, {**number, "1": n("TestNumber", value=1.0)}, {**number, "1": n("TestNumber", value=True)}]
    yield "an extra constant counts", [number, {**number, "1": n("TestNumber", value=1, note="x")}]
    yield "three inputs", [{"1": n("TestNumber", value=1), "2": n("TestNumber", value=2), "3": n("TestNumber", value=3),
                            "4": n("TestAdd", a=("1", 0), b=("2", 0), c=("3", 0)), "5": n("TestShow", value=("4", 0))}]
    yield "inputs named backwards", [{"4": n("TestAdd", c=("3", 0), b=("2", 0), a=("1", 0)), "1": n("TestNumber", value=1), "2": n("TestNumber", value=2),
                                      "3": n("TestNumber", value=3), "5": n("TestShow", value=("4", 0))}]
    yield "outputs first", [{"1": n("TestNumber", value=1), "2": n("TestAdd", a=("1", 0), b=("1", 0)), "3": n("TestShow", value=("2", 0)),
                             "4": n("TestAdd", a=("2", 0), b=("2", 0)), "5": n("TestAdd", a=("4", 0), b=("1", 0)), "6": n("TestShow", value=("5", 0))}]
    yield "diamond", [{"1": n("TestNumber", value=1), "2": n("TestAdd", a=("1", 0), b=("1", 0)), "3": n("TestAdd", a=("1", 0), b=("2", 0)),
                       "4": n("TestAdd", a=("2", 0), b=("3", 0)), "5": n("TestShow", value=("4", 0))}]
    yield "deep and wide", [{**{str(i): n("TestAdd", a=(str(i - 1), 0), b=(str(i // 2), 0)) for i in range(2, 20)}, "0": n("TestNumber", value=1),
                             "1": n("TestNumber", value=2), "x": n("TestShow", value=("19", 0))}]
    yield "equal nodes", [{"1": n("TestNumber", value=4), "2": n("TestNumber", value=4), "3": n("TestAdd", a=("1", 0), b=("2", 0)), "4": n("TestShow", value=("3", 0))}]
    yield "equal outputs", [{"1": n("TestNumber", value=4), "2": n("TestShow", value=("1", 0)), "3": n("TestShow", value=("1", 0))}]
    yield "not idempotent", [{"1": n("TestOnce", value=4), "2": n("TestOnce", value=4), "3": n("TestAdd", a=("1", 0), b=("2", 0)), "4": n("TestShow", value=("3", 0))}]
    yield "unique id", [{"1": n("TestUnique", value=4), "3": n("TestShow", value=("1", 0))}, {"2": n("TestUnique", value=4), "3": n("TestShow", value=("2", 0))}]
    yield "unused nodes", [{**number, "7": n("TestAdd"), "8": n("TestNumber", value=3)}]
    yield "an output as a dependency", [{"1": n("TestNumber", value=4), "2": n("TestPass", value=("1", 0)), "3": n("TestShow", value=("2", 0))}]
    yield "list into a node", [{"1": n("TestList", n=3), "2": n("TestNumber", value=10), "3": n("TestAdd", a=("1", 0), b=("2", 0)), "4": n("TestShow", value=("3", 0))}]
    yield "lists of two lengths", [{"1": n("TestList", n=3), "2": n("TestList", n=2), "3": n("TestAdd", a=("1", 0), b=("2", 0)), "4": n("TestShow", value=("3", 0))}]
    yield "list summed", [{"1": n("TestList", n=4), "3": n("TestSum", values=("1", 0), times=2), "4": n("TestShow", value=("3", 0)), "5": n("TestShow", value=("3", 1))}]
    yield "list of lists", [{"1": n("TestList", n=3), "2": n("TestList", n=("1", 0)), "3": n("TestSum", values=("2", 0), times=1), "4": n("TestShow", value=("2", 0)),
                             "5": n("TestShow", value=("3", 0))}]
    yield "empty list beside a number", [{"1": n("TestList", n=0), "2": n("TestNumber", value=10), "3": n("TestAdd", a=("1", 0), b=("2", 0)),
                                          "4": n("TestShow", value=("3", 0))}]
    yield "fails", [{"1": n("TestNumber", value=1), "2": n("TestFail", value=("1", 0), when=1), "3": n("TestShow", value=("2", 0))}]
    yield "fails, then goes on from there", [
        {"1": n("TestNumber", value=1), "2": n("TestFail", value=("1", 0), when=1), "3": n("TestShow", value=("2", 0))},
        {"1": n("TestNumber", value=1), "2": n("TestFail", value=("1", 0), when=2), "3": n("TestShow", value=("2", 0))}]
    yield "fails in a list", [{"1": n("TestList", n=3), "2": n("TestFail", value=("1", 0), when=2), "3": n("TestShow", value=("2", 0))}]
    yield "fingerprint equal", [{"1": n("TestChanged", value=1, mark="a"), "3": n("TestShow", value=("1", 0))}] * 2
    yield "fingerprint never equal", [{"1": n("TestChanged", value=1, mark="never"), "3": n("TestShow", value=("1", 0))}] * 2
    yield "a given fingerprint", [{"1": {**n("TestChanged", value=1, mark="never"), "is_changed": ["x"]}, "3": n("TestShow", value=("1", 0))}] * 2
    yield "one output invalid", [{**number, "5": n("TestShow", value=("77", 0))}]


class FakeServer:
    client_id = "test"
    last_node_id = None
    last_prompt_id = None

    def __init__(self):
        self.events = []

    def send_sync(self, event, data, sid=None):
        if event in ("execution_start", "execution_cached", "executing", "executed", "execution_success", "execution_error", "execution_interrupted"):
            keep = {k: data[k] for k in ("node", "output", "nodes", "node_id", "exception_message") if k in data}
            self.events.append([event, plain(keep)])


def run(execution, prompts, calls):
    server = FakeServer()
    executor = execution.PromptExecutor(server)
    out = []
    for prompt in prompts:
        p = copy.deepcopy(prompt)
        valid, error, outputs, node_errors = asyncio.run(execution.validate_prompt("id", p, None))
        assert valid, error
        server.events = []
        calls.clear()
        # ComfyUI takes the outputs in hash order; prompt order is one of them
        executor.execute(p, "id", {"client_id": "test"}, [x for x in prompt if x in outputs])
        out.append({"prompt": prompt, "events": server.events, "add_calls": copy.deepcopy(calls)})
    return out


# ---- where pictures go -----------------------------------------------------------------------------------------------------------

EXISTING = ["ComfyUI_00001_.png", "ComfyUI_00007_.webp", "ComfyUI_00003_x.png", "ComfyUI_x_.png", "ComfyUI_.png", "cc_temp_00100_.png", "cc_00009_.webp",
            "a b_00002_.png", "deep/x_00004_.png", "deep/x_12.png", "big_123456_.png", "x_9", "dir_00003_.png", "comfyui_00050_.png", "100x50_00001_.png"]


def save_paths(folder):
    """Prefix -> subfolder, name and counter, or the error with the folder's name taken out."""
    import folder_paths

    output = os.path.join(folder, "saving", "output")
    for name in EXISTING:
        path = os.path.join(output, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        open(path, "wb").close()
    cases = {}
    for prefix in ("ComfyUI", "cc", "cc_temp", "a b", "deep/x", "deep//x", "./deep/./x", "deep/../deep/x", "new/sub/x", "dir/", "", ".", "q/../r/z", "a\\b",
                   "%width%x%height%", "%batch_num%", "%date:yyyy%", "big", "x", "../out", "../output/x", "../outputs/x", "/etc/x", "a/../../x", "..", "x/..",
                   "\u6f22/\u00e9", "ComfyUI_00007", "x%y", "%width", "a/b/../../../x"):
        if prefix == "%date:yyyy%":
            continue                        # left as it is by ComfyUI's server, expanded here as its web client does
        try:
            full, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, output, 100, 50)
            cases[prefix] = {"subfolder": subfolder, "name": name, "counter": counter, "folder": os.path.relpath(full, output)}
        except Exception as e:
            cases[prefix] = {"error": str(e).replace(os.path.join(folder, "saving"), "ROOT").replace(folder, "ABOVE")}
    return cases


def save(name, value):
    path = os.path.join(common.FIXTURES, "graph", name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write("{\"versions\": %s,\n" % json.dumps(common.versions()))
        rows = [(k, v) for k, v in value.items()]
        for i, (k, v) in enumerate(rows):
            f.write("%s: %s%s\n" % (json.dumps(k), json.dumps(v, separators=(",", ":"), allow_nan=False), "}" if i + 1 == len(rows) else ","))
    print("%s: %d entries, %d bytes" % (os.path.relpath(path, common.ROOT), len(value), os.path.getsize(path)))


def main():
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        nodes = load_nodes(folder)
        execution = importlib.import_module("execution")
        save("object_info.json", {"files": FILES, **{c: object_info(nodes, c) for c in our_classes(nodes)}})
        cases = {}
        for name, prompt in validation_cases():
            if name in cases:
                sys.exit("two cases named " + name)
            cases[name] = {**(getattr(prompt, "recipe", None) or {"prompt": prompt}), **validate(execution, prompt)}
        bases = {f.__name__: f() for f in (text_to_image, two_outputs, load_image)}
        save("validate.json", {"files": FILES, "bases": bases, **cases})
        save("save_path.json", {"files": {"output": EXISTING}, "cases": save_paths(folder)})
        calls = test_nodes(nodes)
        save("execute.json", {name: run(execution, prompts, calls) for name, prompts in run_cases()})


if __name__ == "__main__":
    main()
