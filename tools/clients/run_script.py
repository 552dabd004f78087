"""Runs a script of ComfyUI's script_examples as it is and looks at what it has got: run_script.py SCRIPT [N_PICTURES]

The script prints nothing; what it received is in its variable `images`, {node id: [bytes of a picture]}."""
import io
import runpy
import sys

from PIL import Image


def main():
    got = runpy.run_path(sys.argv[1], run_name="__main__")
    if len(sys.argv) < 3:
        return
    pictures = [p for of_node in got["images"].values() for p in of_node]
    assert len(pictures) == int(sys.argv[2]), f"{len(pictures)} pictures"
    for bytes_ in pictures:
        picture = Image.open(io.BytesIO(bytes_))
        assert picture.format == "PNG" and picture.size == (512, 512), picture
        assert len(picture.convert("L").getcolors(256)) > 16, "a picture of few colours"


main()
