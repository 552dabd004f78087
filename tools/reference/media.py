"""Reference data for engine/media and the image nodes, made with Pillow, torch and ComfyUI's own node classes.

    COMFYUI=/path/to/ComfyUI python tools/reference/media.py

Writes tests/fixtures/media/decode.safetensors: NAME.file (the bytes), NAME.image (8-bit RGB of every frame, as LoadImage gives
it), NAME.alpha (8-bit, where LoadImage's mask has the picture's size), NAME.rgba (the four bands that LoadImageMask picks from,
where they are not simply the first image and alpha); a file that ComfyUI cannot load has NAME.file alone. And resize.safetensors and nodes.safetensors: inputs and results.
"""
import io
import json
import os
import struct
import sys
import tempfile
import types
import warnings
import zlib

import numpy as np
import torch
import PIL
from PIL import Image

import common

warnings.simplefilter("ignore")
common.comfyui()
# two nodes tell their server something; none runs here, and its module wants packages that these scripts do without
sys.modules["server"] = types.SimpleNamespace(PromptServer=types.SimpleNamespace(instance=types.SimpleNamespace(send_progress_text=lambda *a: None)))
import comfy.utils                          # noqa: E402
import folder_paths                         # noqa: E402
import nodes                                # noqa: E402
from comfy_extras import nodes_flux, nodes_images, nodes_mask, nodes_post_processing     # noqa: E402


# ---- pictures ------------------------------------------------------------------------------------------------------

def picture(w, h, channels=3, seed=0, depth=8):
    """A gradient with noise: smooth enough for codecs, different everywhere. [h, w, channels], values of `depth` bits."""
    rng = np.random.default_rng(seed * 1000 + w * 37 + h * 11 + channels)
    y, x = np.mgrid[0:h, 0:w].astype(np.float64)
    planes = []
    for c in range(channels):
        a, b, p = rng.uniform(0.5, 3.0, 3)
        planes.append(0.5 + 0.5 * np.sin(a * x / max(w, 2) * 3 + b * y / max(h, 2) * 3 + p))
    v = np.stack(planes, -1) + rng.normal(0, 0.04, (h, w, channels))
    return np.clip(np.round(v * (2 ** depth - 1)), 0, 2 ** depth - 1).astype(np.uint16 if depth > 8 else np.uint8)


# ---- a PNG writer that can do what Pillow's cannot: every depth, filter, interlacing, broken files --------------------

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind, data=b"", crc=None, length=None):
    crc = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data) if length is None else length) + kind + data + struct.pack(">I", crc)


def pack_row(row, depth):
    """row [n] samples -> bytes"""
    if depth == 16:
        return row.astype(">u2").tobytes()
    if depth == 8:
        return row.astype(np.uint8).tobytes()
    out, acc, n = bytearray(), 0, 0
    for v in row:
        acc, n = acc << depth | int(v), n + depth
        if n == 8:
            out.append(acc)
            acc = n = 0
    if n:
        out.append(acc << (8 - n))
    return bytes(out)


def filtered(rows, bpp, first=0):
    """Apply filter types 0..4 in turn."""
    out, prev = bytearray(), None
    for i, row in enumerate(rows):
        up = prev or bytes(len(row))
        kind = (first + i) % 5
        out.append(kind)
        for j, v in enumerate(row):
            a = row[j - bpp] if j >= bpp else 0
            b = up[j]
            c = up[j - bpp] if j >= bpp else 0
            if kind == 4:
                p = a + b - c
                pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
                guess = a if pa <= pb and pa <= pc else b if pb <= pc else c
            else:
                guess = (0, a, b, (a + b) // 2)[kind]
            out.append((v - guess) & 255)
        prev = row
    return bytes(out)


ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def scanlines(pixels, depth, interlaced=False):
    """pixels [h, w, c] -> the bytes that go into zlib"""
    h, w, c = pixels.shape
    bpp = max(1, c * depth // 8)
    if not interlaced:
        return filtered([pack_row(r.reshape(-1), depth) for r in pixels], bpp)
    out = b""
    for x0, y0, dx, dy in ADAM7:
        part = pixels[y0::dy, x0::dx]
        if part.size:
            out += filtered([pack_row(r.reshape(-1), depth) for r in part], bpp, first=1)
    return out


def ihdr(w, h, depth, color, interlaced=False):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, color, 0, 0, int(interlaced)))


def png(pixels, depth, color, interlaced=False, before=b"", after=b"", pieces=1, data=None):
    h, w = pixels.shape[:2]
    z = zlib.compress(scanlines(pixels, depth, interlaced), 9) if data is None else data
    n = -(-len(z) // pieces)
    idat = b"".join(chunk(b"IDAT", z[i:i + n]) for i in range(0, len(z), n))
    return SIGNATURE + ihdr(w, h, depth, color, interlaced) + before + idat + after + chunk(b"IEND")


def plte(n, seed=1):
    return chunk(b"PLTE", np.random.default_rng(seed).integers(0, 256, 3 * n, dtype=np.uint8).tobytes())


def exif(orientation, big=False):
    e = ">" if big else "<"
    return ((b"MM\x00*" if big else b"II*\x00") + struct.pack(e + "IH", 8, 2)
            + struct.pack(e + "HHIH2x", 0x0112, 3, 1, orientation) + struct.pack(e + "HHIH2x", 0x0128, 3, 1, 2) + struct.pack(e + "I", 0))


def xmp(orientation):
    return ('<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>' % orientation).encode()


def apng(frames, depth, color, size, header=b"", default=None, n_frames=None):
    """frames: (pixels, x, y, dispose, blend); default: pixels of a still that is no frame"""
    w, h = size
    out = SIGNATURE + ihdr(w, h, depth, color) + header + chunk(b"acTL", struct.pack(">II", n_frames or len(frames), 0))
    seq = 0
    if default is not None:
        out += chunk(b"IDAT", zlib.compress(scanlines(default, depth)))
    for i, (pixels, x, y, dispose, blend) in enumerate(frames):
        fh, fw = pixels.shape[:2]
        out += chunk(b"fcTL", struct.pack(">IIIIIHHBB", seq, fw, fh, x, y, 1, 10, dispose, blend))
        seq += 1
        z = zlib.compress(scanlines(pixels, depth))
        if i == 0 and default is None:
            out += chunk(b"IDAT", z)
        else:
            half = len(z) // 2              # two fdAT chunks per frame
            for part in (z[:half], z[half:]):
                out += chunk(b"fdAT", struct.pack(">I", seq) + part)
                seq += 1
    return out + chunk(b"IEND")


def png_files():
    f = {}
    W, H = 19, 13
    for depth in (1, 2, 4, 8, 16):
        f["grey%d" % depth] = png(picture(W, H, 1, depth=depth), depth, 0)
    f["grey16_dark"] = png(picture(W, H, 1, depth=16) // 200, 16, 0)
    for depth in (1, 2, 4, 8):
        n = 1 << depth
        f["palette%d" % depth] = png(picture(W, H, 1, depth=depth), depth, 3, before=plte(n))
    for depth in (8, 16):
        f["rgb%d" % depth] = png(picture(W, H, 3, depth=depth), depth, 2)
        f["la%d" % depth] = png(picture(W, H, 2, depth=depth), depth, 4)
        f["rgba%d" % depth] = png(picture(W, H, 4, depth=depth), depth, 6)
    for name, c, depth, color, before in (("grey1", 1, 1, 0, b""), ("palette4", 1, 4, 3, plte(16)), ("rgb8", 3, 8, 2, b""),
                                          ("la8", 2, 8, 4, b""), ("rgba16", 4, 16, 6, b"")):
        f[name + "_interlaced"] = png(picture(W, H, c, depth=depth), depth, color, True, before)
    for w, h in ((1, 1), (2, 5), (4, 3), (9, 1)):
        f["rgb8_interlaced_%dx%d" % (w, h)] = png(picture(w, h), 8, 2, True)
    f["rgb8_1x1"] = png(picture(1, 1), 8, 2)

    # transparency without an alpha channel
    idx = picture(W, H, 1, depth=4)
    f["palette4_trns_bytes"] = png(idx, 4, 3, before=plte(16) + chunk(b"tRNS", bytes(range(0, 256, 23))))
    f["palette4_trns_one"] = png(idx, 4, 3, before=plte(16) + chunk(b"tRNS", b"\xff\xff\xff\x00"))
    f["palette4_trns_opaque"] = png(idx, 4, 3, before=plte(16) + chunk(b"tRNS", b"\xff\xff\xff\xff"))
    f["palette8_trns_long"] = png(picture(W, H, 1), 8, 3, before=plte(256) + chunk(b"tRNS", bytes(255 - i for i in range(256))))
    f["palette8_short"] = png(picture(W, H, 1), 8, 3, before=plte(100))
    f["palette8_short_trns"] = png(picture(W, H, 1), 8, 3, before=plte(100) + chunk(b"tRNS", b"\x10\x80"))
    grey = picture(W, H, 1)
    grey[3:6, 4:9] = 77
    f["grey8_key"] = png(grey, 8, 0, before=chunk(b"tRNS", struct.pack(">H", 77)))
    f["grey2_key"] = png(picture(W, H, 1, depth=2), 2, 0, before=chunk(b"tRNS", struct.pack(">H", 1)))
    f["grey1_key"] = png(picture(W, H, 1, depth=1), 1, 0, before=chunk(b"tRNS", struct.pack(">H", 1)))
    g16 = picture(W, H, 1, depth=16) // 200
    g16[2:5, 2:5] = 77
    f["grey16_key"] = png(g16, 16, 0, before=chunk(b"tRNS", struct.pack(">H", 77)))
    rgb = picture(W, H)
    rgb[5:9, 3:11] = (10, 200, 30)
    f["rgb8_key"] = png(rgb, 8, 2, before=chunk(b"tRNS", struct.pack(">HHH", 10, 200, 30)))
    rgb = picture(W, H, depth=16)
    rgb[5:9, 3:11] = (10, 2000, 30000)
    f["rgb16_key"] = png(rgb, 16, 2, before=chunk(b"tRNS", struct.pack(">HHH", 10, 2000, 30000)))

    # orientation from four places
    for o in (3, 6):
        f["exif%d" % o] = png(picture(W, H, 4), 8, 6, before=chunk(b"eXIf", exif(o)))
    f["exif_late"] = png(picture(W, H), 8, 2, after=chunk(b"eXIf", exif(8, True)))
    f["exif_broken"] = png(picture(W, H), 8, 2, before=chunk(b"eXIf", exif(6)[:13]))
    raw = b"Exif\0\0" + exif(5)
    text = b"\nexif\n%8d\n" % len(raw) + raw.hex().encode() + b"\n"
    f["exif_raw_profile"] = png(picture(W, H), 8, 2, before=chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)))
    f["xmp7"] = png(picture(W, H), 8, 2, before=chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(7)))
    f["xmp_compressed"] = png(picture(W, H), 8, 2, before=chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(xmp(4))))

    # chunks that change nothing
    f["colour_chunks"] = png(picture(W, H), 8, 2, before=chunk(b"gAMA", struct.pack(">I", 100000)) + chunk(b"sRGB", b"\1")
                             + chunk(b"bKGD", b"\0\1\0\2\0\3") + chunk(b"prVt", b"private") + chunk(b"sBIT", b"\5\5\5"))
    f["many_idat"] = png(picture(W, H), 8, 2, pieces=23)
    whole = png(picture(W, H), 8, 2)
    at = whole.index(b"IDAT") - 4
    f["empty_idat"] = whole[:at] + chunk(b"IDAT") + whole[at:]

    # broken files
    big = png(picture(35, 23), 8, 2)
    f["truncated_half"] = big[:len(big) // 2]
    f["truncated_end"] = big[:-12]
    f["truncated_two_idat"] = png(picture(35, 23), 8, 2, pieces=4)[:1500]
    f["truncated_interlaced"] = png(picture(35, 23), 8, 2, True)[:1000]
    f["truncated_palette"] = png(picture(35, 23, 1), 8, 3, before=plte(256))[:1250]
    f["truncated_rgba"] = png(picture(35, 23, 4), 8, 6)[:1500]
    f["truncated_header"] = big[:40]
    bad = bytearray(big)
    bad[1200:1210] = bytes(10)
    f["corrupt_data"] = bytes(bad)
    bad = bytearray(big)
    bad[-14] ^= 0x55
    f["wrong_idat_crc"] = bytes(bad)
    f["wrong_ancillary_crc"] = png(picture(W, H), 8, 2, before=chunk(b"gAMA", struct.pack(">I", 100000), crc=1))
    f["wrong_adler"] = png(picture(W, H), 8, 2, data=zlib.compress(scanlines(picture(W, H), 8))[:-4] + b"abcd")
    f["too_few_rows"] = png(picture(W, H), 8, 2, data=zlib.compress(scanlines(picture(W, 7), 8)))
    f["too_many_rows"] = png(picture(W, H), 8, 2, data=zlib.compress(scanlines(picture(W, 20), 8)))

    # animations
    A = [picture(W, H, 4, seed=s) for s in range(4)]
    for a in A:
        a[..., 3] = np.where(a[..., 3] < 90, 0, np.where(a[..., 3] > 170, 255, a[..., 3]))
    f["apng_full"] = apng([(A[i], 0, 0, 0, 0) for i in range(3)], 8, 6, (W, H))
    sub = lambda i, w, h: A[i][:h, :w]
    for dispose in (0, 1, 2):
        for blend in (0, 1):
            f["apng_dispose%d_blend%d" % (dispose, blend)] = apng(
                [(A[0], 0, 0, dispose, 0), (sub(1, 9, 7), 3, 4, dispose, blend), (sub(2, 12, 5), 6, 1, dispose, blend),
                 (sub(3, 5, 5), 0, 8, dispose, blend)], 8, 6, (W, H))
    f["apng_default_still"] = apng([(A[1], 0, 0, 0, 0), (sub(2, 8, 8), 1, 1, 0, 1)], 8, 6, (W, H), default=A[0])
    f["apng_rgb"] = apng([(picture(W, H), 0, 0, 0, 0), (picture(8, 6, seed=2), 4, 4, 0, 1)], 8, 2, (W, H))
    key = picture(8, 6, seed=2)
    key[1:4, 2:6] = (9, 8, 7)
    f["apng_rgb_key"] = apng([(picture(W, H), 0, 0, 0, 0), (key, 4, 4, 0, 1)], 8, 2, (W, H), chunk(b"tRNS", struct.pack(">HHH", 9, 8, 7)))
    f["apng_palette"] = apng([(picture(W, H, 1, depth=4), 0, 0, 0, 0), (picture(8, 6, 1, seed=2, depth=4), 4, 4, 1, 1),
                              (picture(8, 6, 1, seed=3, depth=4), 0, 4, 0, 1)], 4, 3, (W, H), plte(16) + chunk(b"tRNS", b"\0\x40\xff\0\0\xff"))
    f["apng_grey"] = apng([(picture(W, H, 1), 0, 0, 1, 0), (picture(8, 6, 1, seed=2), 4, 4, 0, 1)], 8, 0, (W, H))
    f["apng_exif"] = apng([(A[0], 0, 0, 0, 0), (A[1], 0, 0, 0, 0)], 8, 6, (W, H), chunk(b"eXIf", exif(6)))
    f["apng_one"] = apng([(A[0], 0, 0, 0, 0)], 8, 6, (W, H))
    f["apng_too_few"] = apng([(A[0], 0, 0, 0, 0), (A[1], 0, 0, 0, 0)], 8, 6, (W, H), n_frames=5)
    f["apng_truncated"] = f["apng_full"][:len(f["apng_full"]) * 2 // 3]
    return {"png_" + k: v for k, v in f.items()}


# ---- JPEG -----------------------------------------------------------------------------------------------------------

def jpeg(pixels, mode=None, **kw):
    out = io.BytesIO()
    Image.fromarray(pixels, mode).save(out, "JPEG", **{"quality": 90, **kw})
    return out.getvalue()


def jpeg_insert(data, marker, payload):
    return data[:2] + struct.pack(">BBH", 255, marker, len(payload) + 2) + payload + data[2:]


def sampling(data, factors):
    """Rewrite the sampling factors of the first component (valid where blocks per MCU and the number of MCUs stay)."""
    at = next(i for i in range(len(data)) if data[i] == 255 and data[i + 1] in (0xC0, 0xC2))
    out = bytearray(data)
    out[at + 11] = factors
    return bytes(out)


def jpeg_files():
    f = {}
    W, H = 29, 19
    rgb = picture(W, H)
    for s in ("4:4:4", "4:2:2", "4:2:0"):
        f["ycc" + s.replace(":", "")] = jpeg(rgb, subsampling=s)
        f["progressive" + s.replace(":", "")] = jpeg(rgb, subsampling=s, progressive=True)
    square = picture(32, 32)
    f["ycc440"] = sampling(jpeg(square, subsampling="4:2:2"), 0x12)
    f["ycc411"] = sampling(jpeg(square, subsampling="4:2:0"), 0x41)
    f["quality5"] = jpeg(rgb, quality=5)
    f["quality100"] = jpeg(rgb, quality=100)
    f["optimized"] = jpeg(rgb, optimize=True, subsampling="4:2:0")
    f["restart"] = jpeg(rgb, restart_marker_blocks=2)
    f["grey"] = jpeg(picture(W, H, 1)[..., 0])
    f["grey_progressive"] = jpeg(picture(W, H, 1)[..., 0], progressive=True)
    f["cmyk"] = jpeg(picture(W, H, 4), "CMYK")
    cmyk = bytearray(f["cmyk"])
    at = cmyk.index(b"Adobe")
    cmyk[at + 11] = 2
    f["ycck"] = bytes(cmyk)
    f["cmyk_no_adobe"] = bytes(cmyk[:at - 4] + cmyk[at + 12:])
    f["rgb_adobe"] = jpeg(rgb, keep_rgb=True)
    for w, h in ((1, 1), (8, 8), (16, 16), (17, 1), (1, 19)):
        f["size%dx%d" % (w, h)] = jpeg(picture(w, h), subsampling="4:2:0")
    small = picture(15, 10)
    for o in range(0, 10):
        f["exif%d" % o] = jpeg(small, exif=b"Exif\0\0" + exif(o, o % 2 == 0), subsampling="4:4:4")
    f["exif_broken"] = jpeg(small, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    f["exif_short"] = jpeg(small, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\0\x12\x01")
    f["xmp6"] = jpeg_insert(jpeg(small), 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp(6))
    f["xmp6_element"] = jpeg_insert(jpeg(small), 0xE1, b"http://ns.adobe.com/xap/1.0/\0<tiff:Orientation>6</tiff:Orientation>")
    f["exif3_xmp6"] = jpeg_insert(jpeg(small, exif=b"Exif\0\0" + exif(3)), 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp(6))
    f["comment"] = jpeg(rgb, comment=b"a comment")

    big = jpeg(picture(40, 32), subsampling="4:2:0")
    f["truncated_half"] = big[:len(big) * 6 // 10]
    f["truncated_end"] = big[:-2]
    prog = jpeg(picture(40, 32), progressive=True)
    f["truncated_progressive"] = prog[:len(prog) * 6 // 10]
    f["truncated_header"] = big[:200]
    bad = bytearray(big)
    bad[-200:-190] = b"\x12\x34\x56\x78\x9a\xbc\xde\xf0\x11\x22"
    f["corrupt_data"] = bytes(bad)
    f["trailing_junk"] = big + b"junk" * 20
    grey = jpeg(picture(40, 32, 1)[..., 0])
    f["truncated_grey"] = grey[:len(grey) * 6 // 10]
    cm = jpeg(picture(40, 32, 4), "CMYK")
    f["truncated_cmyk"] = cm[:len(cm) * 6 // 10]
    return {"jpeg_" + k: v for k, v in f.items()}


# ---- WebP -----------------------------------------------------------------------------------------------------------

def webp(frames, **kw):
    out = io.BytesIO()
    images = [Image.fromarray(p) for p in frames]
    more = {"save_all": True, "append_images": images[1:], "duration": 100} if len(images) > 1 else {}
    images[0].save(out, "WEBP", **more, **kw)
    return out.getvalue()


def riff(*chunks):
    body = b"WEBP" + b"".join(k + struct.pack("<I", len(d)) + d + b"\0" * (len(d) & 1) for k, d in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_chunks(data):
    at, out = 12, []
    while at < len(data):
        n = struct.unpack("<I", data[at + 4:at + 8])[0]
        out.append((data[at:at + 4], data[at + 8:at + 8 + n]))
        at += 8 + n + (n & 1)
    return out


def u24(v):
    return struct.pack("<I", v)[:3]


def webp_animation(frames, size, alpha=True):
    """frames: (pixels, x, y, dispose, no_blend); x and y even"""
    chunks = [(b"VP8X", struct.pack("<I", 0x02 | (0x10 if alpha else 0)) + u24(size[0] - 1) + u24(size[1] - 1)), (b"ANIM", struct.pack("<IH", 0xFF336699, 0))]
    for pixels, x, y, dispose, no_blend in frames:
        h, w = pixels.shape[:2]
        inner = b"".join(k + struct.pack("<I", len(d)) + d + b"\0" * (len(d) & 1)
                         for k, d in webp_chunks(webp([pixels], lossless=True)) if k in (b"VP8L", b"VP8 ", b"ALPH"))
        chunks.append((b"ANMF", u24(x // 2) + u24(y // 2) + u24(w - 1) + u24(h - 1) + u24(100) + bytes([dispose | no_blend << 1]) + inner))
    return riff(*chunks)


def webp_files():
    f = {}
    W, H = 21, 17
    rgb, rgba = picture(W, H), picture(W, H, 4)
    rgba[4:9, 5:20, 3] = 0
    f["lossy"] = webp([rgb], quality=80)
    f["lossy_low"] = webp([rgb], quality=10)
    f["lossless"] = webp([rgb], lossless=True)
    f["lossy_alpha"] = webp([rgba], quality=80)
    f["lossless_alpha"] = webp([rgba], lossless=True, exact=True)
    f["size1x1"] = webp([picture(1, 1)], quality=80)
    f["exif6"] = webp([rgb], exif=exif(6), lossless=True)
    f["exif8_prefix"] = riff(*[(k, b"Exif\0\0" + d if k == b"EXIF" else d) for k, d in webp_chunks(webp([rgb], exif=exif(8), lossless=True))])
    f["xmp3"] = webp([rgb], xmp=xmp(3), lossless=True)
    f["alpha_flag_only"] = riff((b"VP8X", struct.pack("<I", 0x10) + u24(W - 1) + u24(H - 1)), *webp_chunks(webp([rgb], quality=80)))
    f["animated_lossy"] = webp([picture(W, H, seed=s) for s in range(3)], quality=80)
    f["animated_alpha"] = webp([picture(W, H, 4, seed=s) for s in range(3)], lossless=True)
    A = [picture(20, 14, 4, seed=s) for s in range(4)]
    for a in A:
        a[..., 3] = np.where(a[..., 3] < 90, 0, np.where(a[..., 3] > 170, 255, a[..., 3]))
    for dispose in (0, 1):
        for no_blend in (0, 1):
            f["animated_dispose%d_noblend%d" % (dispose, no_blend)] = webp_animation(
                [(A[0], 0, 0, dispose, no_blend), (A[1][:8, :10], 4, 2, dispose, no_blend), (A[2][:6, :12], 6, 8, dispose, no_blend),
                 (A[3][:5, :5], 0, 0, dispose, no_blend)], (20, 14))
    f["animated_no_alpha"] = webp_animation([(picture(20, 14, seed=s), 0, 0, 0, 0) for s in range(2)], (20, 14), False)
    f["truncated"] = f["lossy"][:len(f["lossy"]) * 6 // 10]
    f["truncated_lossless"] = f["lossless"][:len(f["lossless"]) * 6 // 10]
    return {"webp_" + k: v for k, v in f.items()}


# ---- what ComfyUI makes of them -----------------------------------------------------------------------------------------



def to_alpha(mask):
    u8 = (255 - mask * 255).round().to(torch.uint8)
    assert torch.equal(1. - torch.from_numpy(u8.numpy().astype(np.float32) / 255.0), mask)
    return u8


def decode(files):
    tensors, failed = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        folder_paths.set_input_directory(folder)
        for name, data in files.items():
            with open(os.path.join(folder, name), "wb") as out:
                out.write(data)
            tensors[name + ".file"] = torch.from_numpy(np.frombuffer(data, np.uint8).copy())
            try:
                image, mask = nodes.LoadImage().load_image(name)
            except Exception as e:
                failed[name] = "%s: %s" % (type(e).__name__, e)
                continue
            tensors[name + ".image"] = torch.from_numpy((image.numpy() * 255).round().astype(np.uint8))
            assert torch.equal(torch.from_numpy(tensors[name + ".image"].numpy().astype(np.float32) / 255.0), image), name
            if tuple(mask.shape[1:]) != (64, 64) or mask.any():
                tensors[name + ".alpha"] = to_alpha(mask)
            bands = []
            for channel in ("red", "green", "blue", "alpha"):
                try:
                    m = nodes.LoadImageMask().load_image(name, channel)[0]
                except Exception as e:
                    failed[name + " as mask"] = "%s: %s" % (type(e).__name__, e)
                    break
                bands.append(to_alpha(m) if channel == "alpha" else (m * 255).round().to(torch.uint8))
            if len(bands) == 4:
                first = tensors[name + ".image"][:1]
                alpha = tensors.get(name + ".alpha", torch.full(first.shape[:3], 255, dtype=torch.uint8))[:1]
                if not torch.equal(torch.stack(bands, -1), torch.cat((first, alpha[..., None]), -1)):
                    tensors[name + ".rgba"] = torch.stack(bands, -1)
    return tensors, failed


# ---- resizing ---------------------------------------------------------------------------------------------------------------

def resizing():
    """case I: I.in [B, C, H, W], I.out, and in the metadata what was done to it"""
    tensors, cases = {}, []

    def case(x, width, height, method, crop):
        i = len(cases)
        name = "in%d" % next((k for k, t in enumerate(inputs) if t is x))
        tensors[name] = x
        out = comfy.utils.common_upscale(x, width, height, method, crop)
        if method == "lanczos":             # 8-bit values over 255: stored as such
            u8 = (out * 255).round().to(torch.uint8)
            assert torch.equal(torch.from_numpy(u8.numpy().astype(np.float32) / 255.0), out)
            out = u8
        tensors["%d.out" % i] = out
        cases.append({"in": name, "width": width, "height": height, "method": method, "crop": crop})

    g = torch.Generator().manual_seed(5)
    image = torch.from_numpy(picture(19, 13).astype(np.float32) / 255.0).movedim(-1, 0)[None].contiguous()
    noisy = torch.rand((2, 3, 7, 12), generator=g) * 1.4 - 0.2
    dot, line = torch.rand((1, 3, 1, 1), generator=g), torch.rand((1, 3, 1, 23), generator=g)
    alpha = torch.from_numpy(picture(14, 9, 4).astype(np.float32) / 255.0).movedim(-1, 0)[None].contiguous()
    latent = torch.randn((2, 4, 9, 12), generator=g)
    deep = torch.randn((1, 16, 8, 10), generator=g)
    latent[0, :, 2:4, 3:6] = 0.0        # no direction
    latent[1, :, 5, 6] = latent[1, :, 5, 5] * -2.0      # opposite ones
    latent[1, :, 5, 8] = latent[1, :, 5, 7]             # equal ones
    inputs = [image, noisy, dot, line, alpha, latent, deep]

    sizes = ((38, 26), (19, 21), (29, 13), (7, 5), (1, 1), (9, 30), (19, 13), (18, 14), (41, 4))
    for method in ("nearest-exact", "bilinear", "area", "bicubic", "lanczos"):
        for w, h in sizes:
            case(image, w, h, method, "disabled")
        case(noisy, 15, 6, method, "disabled")
        case(noisy, 6, 14, method, "center")
        case(noisy, 23, 4, method, "center")
        case(dot, 3, 4, method, "disabled")
        case(line, 7, 3, method, "disabled")
    for w, h in ((28, 18), (5, 4), (14, 20), (14, 9)):
        case(alpha, w, h, "lanczos", "disabled")
    for w, h in ((24, 12), (13, 10), (7, 5), (12, 9), (1, 1), (40, 4)):
        case(latent, w, h, "bislerp", "disabled")
    case(latent, 10, 20, "bislerp", "center")
    case(deep, 16, 15, "bislerp", "disabled")
    return tensors, cases


# ---- writing -----------------------------------------------------------------------------------------------------------------

def writing():
    """in [H, W, 3], and jpegQ: what it looks like after a JPEG file of quality Q by Pillow"""
    pixels = picture(45, 30, seed=9)
    tensors = {"in": torch.from_numpy(pixels)}
    for quality in (10, 75, 95, 100):
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "JPEG", quality=quality)
        tensors["jpeg%d" % quality] = torch.from_numpy(np.array(Image.open(out)))
    return tensors


# ---- nodes -----------------------------------------------------------------------------------------------------------------

def classes():
    found = dict(nodes.NODE_CLASS_MAPPINGS)
    for module in (nodes_images, nodes_mask):
        found.update(module.NODE_CLASS_MAPPINGS)
    for module in (nodes_flux, nodes_post_processing):
        for value in vars(module).values():
            if hasattr(value, "define_schema") and value.__module__ == module.__name__:
                found[value.define_schema().node_id] = value
        found.update(getattr(module, "NODE_CLASS_MAPPINGS", {}))
    return found


def run_node(cls, inputs):
    if hasattr(cls, "define_schema"):
        return cls.execute(**inputs).args
    return getattr(cls(), cls.FUNCTION)(**inputs)


def image_nodes():
    """
    case I: class, inputs ("$NAME" is a tensor of this file), and its outputs as I.0, I.1, ... or, for numbers, in the metadata;
    of large pictures every every-th row and column, and the shape
    """
    u8 = lambda w, h, c=3, seed=0: torch.from_numpy(picture(w, h, c, seed).astype(np.float32) / 255.0)
    inputs = {
        "a": torch.stack((u8(16, 12), u8(16, 12, seed=1))), "b": u8(16, 12, seed=2)[None], "other": u8(11, 14, seed=3)[None],
        "rgba": u8(9, 7, 4)[None], "three": torch.stack([u8(5, 4, seed=s) for s in range(3)]),
        "mask": u8(16, 12, 1)[None, ..., 0].contiguous(), "masks": torch.stack((u8(7, 5, 1)[..., 0], u8(7, 5, 1, 1)[..., 0])),
        "dots": torch.zeros((1, 20, 24)), "wide": u8(40, 26, seed=4)[None],
    }
    inputs["dots"][0, 5, 7], inputs["dots"][0, 0, 23], inputs["dots"][0, 15, 12:16] = 1.0, 0.5, 0.25
    found, tensors, cases = classes(), dict(inputs), []

    def case(name, every=1, **kw):
        i = len(cases)
        values = {k: inputs[v[1:]].clone() if isinstance(v, str) and v.startswith("$") else v for k, v in kw.items()}
        outputs = []
        for k, v in enumerate(run_node(found[name], values)):
            if isinstance(v, torch.Tensor):
                tensors["%d.%d" % (i, k)] = v[:, ::every, ::every]
                outputs.append(list(v.shape))
            else:
                outputs.append(v)
        cases.append({"class_type": name, "inputs": kw, "outputs": outputs, "every": every})

    for m in ("nearest-exact", "bilinear", "area", "bicubic", "lanczos"):
        case("ImageScale", image="$a", upscale_method=m, width=10, height=9, crop="center")
    for w, h in ((0, 0), (0, 7), (9, 0), (1, 0), (0, 1)):
        case("ImageScale", image="$other", upscale_method="bilinear", width=w, height=h, crop="disabled")
    case("ImageScale", image="$rgba", upscale_method="lanczos", width=12, height=10, crop="disabled")
    for by in (0.25, 0.5, 1.0, 1.5, 0.59375):
        case("ImageScaleBy", image="$other", upscale_method="area", scale_by=by)
    for image, m in (("$rgba", "nearest-exact"), ("$wide", "bicubic"), ("$a", "lanczos")):
        case("ImageScaleToTotalPixels", 13, image=image, upscale_method=m, megapixels=0.01)
    for image in ("$wide", "$other", "$three"):
        case("FluxKontextImageScale", 97, image=image)
    case("ImageInvert", image="$a")
    case("ImageBatch", image1="$a", image2="$b")
    case("ImageBatch", image1="$b", image2="$other")
    for index, length in ((0, 1), (1, 2), (2, 1), (7, 3), (0, 9)):
        case("ImageFromBatch", image="$three", batch_index=index, length=length)
    for w, h, x, y in ((4, 3, 2, 1), (100, 100, 0, 0), (5, 5, 14, 10), (3, 3, 500, 600)):
        case("ImageCrop", image="$a", width=w, height=h, x=x, y=y)
    for l, t, r, b, f in ((8, 0, 0, 0, 4), (0, 8, 8, 0, 3), (8, 8, 8, 8, 5), (0, 0, 0, 0, 3), (0, 0, 0, 8, 6), (8, 8, 8, 8, 0), (0, 8, 0, 8, 2)):
        case("ImagePadForOutpaint", image="$other", left=l, top=t, right=r, bottom=b, feathering=f)
    case("GetImageSize", image="$a")
    case("EmptyImage", width=3, height=2, batch_size=2, color=0x12A4FF)
    case("MaskToImage", mask="$masks")
    for c in ("red", "green", "blue", "alpha"):
        case("ImageToMask", image="$rgba", channel=c)
    case("SolidMask", value=0.3, width=4, height=3)
    case("InvertMask", mask="$masks")
    for e, t in ((1, True), (3, True), (3, False), (-1, True), (-2, False), (0, True), (100, True), (-100, False)):
        case("GrowMask", mask="$dots", expand=e, tapered_corners=t)
    case("GrowMask", mask="$masks", expand=2, tapered_corners=True)
    for src, x, y, resize, kw in (("$b", 0, 0, False, {}), ("$other", 3, 2, False, {}), ("$other", 12, 9, False, {"mask": "$mask"}),
                                  ("$other", 0, 0, True, {"mask": "$masks"}), ("$rgba", 2, 3, False, {"mask": "$dots"}), ("$three", 100, 0, False, {}),
                                  ("$three", 1, 2, False, {})):
        case("ImageCompositeMasked", destination="$a", source=src, x=x, y=y, resize_source=resize, **kw)
    for mode in ("normal", "multiply", "screen", "overlay", "soft_light", "difference"):
        case("ImageBlend", image1="$b", image2="$other", blend_factor=0.7, blend_mode=mode)
        case("ImageBlend", image1="$a", image2="$b", blend_factor=0.3, blend_mode=mode)
    for r, s, a in ((1, 1.0, 1.0), (3, 0.5, 0.2), (5, 10.0, 5.0), (2, 0.1, 0.0)):
        case("ImageSharpen", image="$a", sharpen_radius=r, sigma=s, alpha=a)
    for how in ("x-axis: vertically", "y-axis: horizontally"):
        case("ImageFlip", image="$a", flip_method=how)
    for how in ("none", "90 degrees", "180 degrees", "270 degrees"):
        case("ImageRotate", image="$a", rotation=how)
    return tensors, cases


if __name__ == "__main__":
    files = {**png_files(), **jpeg_files(), **webp_files()}
    tensors, failed = decode(files)
    for k, v in failed.items():
        print("  cannot load", k, "-", v)
    common.save("media/decode.safetensors", tensors, {"pillow": PIL.__version__, "failed": json.dumps(failed), "files": json.dumps(list(files))})
    tensors, cases = resizing()
    common.save("media/resize.safetensors", tensors, {"cases": json.dumps(cases)})
    common.save("media/write.safetensors", writing())
    tensors, cases = image_nodes()
    common.save("media/nodes.safetensors", tensors, {"cases": json.dumps(cases)})
