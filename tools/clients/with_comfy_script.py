"""The package comfy-script against a server: nodes as Python calls made from /object_info. with_comfy_script.py URL"""
import sys

from comfy_script.runtime import *

load(sys.argv[1])
from comfy_script.runtime.nodes import *    # noqa: made by load()


def main():
    with Workflow(wait=True):
        model, clip, vae = CheckpointLoaderSimple("v1-5-pruned-emaonly.safetensors")
        latent = KSampler(model, 7, 4, 1.0, "euler", "simple", CLIPTextEncode("a red house, a snowy field", clip), CLIPTextEncode("", clip),
                          EmptyLatentImage(256, 256, 1), 1)
        image = SaveImage(VAEDecode(latent, vae), "comfy_script")
    pictures = image.wait().wait()
    assert len(pictures) == 1 and pictures[0].size == (256, 256), pictures
    with Workflow():
        handed = PreviewImage(EmptyImage(64, 32, 2, 0xff8800))
    pictures = handed.wait().wait()
    assert [p.size for p in pictures] == [(64, 32)] * 2 and pictures[0].getpixel((3, 3)) == (255, 136, 0), pictures
    assert any(name.startswith("v1") for name in [c.value for c in Checkpoints]), list(Checkpoints)


main()
