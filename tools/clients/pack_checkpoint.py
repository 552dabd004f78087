"""Several safetensors files as one checkpoint: pack_checkpoint.py OUT PREFIX=FILE [PREFIX=FILE]...

Each tensor keeps its bytes and gets PREFIX before its name, as in the all-in-one files of ComfyUI. Python alone, no packages."""
import json
import struct
import sys


def main():
    out, *parts = sys.argv[1:]
    header, bodies, at = {}, [], 0
    for part in parts:
        prefix, path = part.split("=", 1)
        with open(path, "rb") as f:
            n = struct.unpack("<Q", f.read(8))[0]
            entries = json.loads(f.read(n))
            body = f.read()
        entries.pop("__metadata__", None)
        for name, entry in entries.items():
            begin, end = entry["data_offsets"]
            header[prefix + name] = {**entry, "data_offsets": [at + begin, at + end]}
        bodies.append(body)
        at += len(body)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(out, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for body in bodies:
            f.write(body)


if __name__ == "__main__":
    main()
