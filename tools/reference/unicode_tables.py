"""Write engine/text/unicode_tables.h: what the tokenizers need to know of Unicode, taken from the libraries they must match.

    PYTHON 3.11 tools/reference/unicode_tables.py

Three sources, which follow different versions of Unicode on purpose:
- Python's unicodedata and str.lower(): what the CLIP tokenizer drops, splits at, lower-cases and composes;
- the regex module: which characters its pattern takes for letters, numbers and others, tried one by one;
- the tokenizers library: where its T5 normalizer sees a border between graphemes, tried for every character for which it
  shows, the rest from the regex module's properties.
"""
import base64
import json
import os
import sys
import unicodedata

import regex
import tokenizers

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OUT = os.path.join(ROOT, "engine", "text", "unicode_tables.h")
ALL = [cp for cp in range(0x110000) if not 0xD800 <= cp < 0xE000]

# ---- what a character is to the CLIP tokenizer: engine/text/unicode.h, enum rg_uni_class
OTHER, DROP, SPACE, LINE, LETTER, NUMBER, SKIP = range(7)
letter = regex.compile(r"[\p{L}]+", regex.IGNORECASE)
number = regex.compile(r"[\p{N}]", regex.IGNORECASE)
other = regex.compile(r"[^\s\p{L}\p{N}]+", regex.IGNORECASE)


def char_class(cp):
    c = chr(cp)
    category = unicodedata.category(c)
    if c in "\t\n\r" or category == "Zs":
        return SPACE
    if category[0] == "C" or cp == 0xFFFD:
        return DROP
    if c.isspace():
        return LINE
    found = [k for k, p in ((LETTER, letter), (NUMBER, number), (OTHER, other)) if p.fullmatch(c)]
    assert len(found) <= 1
    return found[0] if found else SKIP


# ---- contexts of the capital sigma: found by what lower() makes of it
def sigma_bits(cp):
    c = chr(cp)
    cased = (c + "\u03a3").lower().endswith("\u03c2")
    ignorable = not cased and ("A" + c + "\u03a3").lower().endswith("\u03c2")
    return cased | ignorable << 1


# ---- graphemes
GCB = ["Other", "Prepend", "Control", "Extend", "ZWJ", "SpacingMark", "L", "V", "T", "LV", "Regional_Indicator", "ExtPict"]
gcb_patterns = [(i, regex.compile(r"\p{GCB=%s}" % n)) for i, n in enumerate(GCB)
                if n not in ("Other", "LV", "ExtPict")]
pictographic = regex.compile(r"\p{Extended_Pictographic}")
incb = [regex.compile(r"\p{InCB=%s}" % n) for n in ("Linker", "Consonant", "Extend")]
t5 = json.load(open(os.path.join(os.environ.get("RG_TOKENIZERS", os.path.join(ROOT, "..", "shared", "tokenizers")), "t5", "tokenizer.json")))
charsmap = tokenizers.normalizers.Precompiled(base64.b64decode(t5["normalizer"]["normalizers"][0]["precompiled_charsmap"]))


def gcb(cp):
    c = chr(cp)
    if 0xAC00 <= cp <= 0xD7A3 or cp in (0x0D, 0x0A):
        return 0                            # computed in unicode.c
    value = next((i for i, p in gcb_patterns if p.match(c)), 0)
    if value == 0 and pictographic.match(c):
        value = GCB.index("ExtPict")
    # a two-byte letter with a mapping, then c: in one grapheme the mapping swallows c
    if 0x80 <= cp < 0x10000 and GCB[value] in ("Extend", "SpacingMark"):
        if charsmap.normalize_str("\u00aa" + c) == "a" + charsmap.normalize_str(c):
            value = 0
    elif 0x80 <= cp < 0x10000 and GCB[value] != "ZWJ":
        assert charsmap.normalize_str("\u00aa" + c) == "a" + charsmap.normalize_str(c), hex(cp)
    return value


def incb_value(cp):
    return next((i + 1 for i, p in enumerate(incb) if p.match(chr(cp))), 0) if gcb(cp) in (0, 3, 4) else 0


def runs():
    before = None
    for cp in ALL:
        props = char_class(cp) | sigma_bits(cp) << 3 | gcb(cp) << 5 | incb_value(cp) << 9
        if cp == 0xE000 or props != before:
            yield cp << 11 | props
        before = props


# ---- lower case: ranges of equal distance, every one or every second character
def lower_ranges():
    pairs = [(cp, ord(chr(cp).lower()) - cp) for cp in ALL if cp != 0x130 and chr(cp).lower() != chr(cp)]
    out = []                                # [first, last, step, delta]
    for cp, delta in pairs:
        if out:
            first, last, step, d = out[-1]
            gap = cp - last
            if d == delta and (gap == step or (first == last and gap in (1, 2))):
                out[-1] = [first, cp, gap, d]
                continue
        out.append([cp, cp, 1, delta])
    return out


# ---- canonical decomposition and composition
def decompositions():
    out = []
    for cp in ALL:
        d = unicodedata.decomposition(chr(cp))
        if d and not d.startswith("<"):
            parts = [int(x, 16) for x in d.split()]
            a, b = parts[0], parts[1] if len(parts) > 1 else 0
            composes = b and unicodedata.normalize("NFC", chr(a) + chr(b)) == chr(cp)
            out.append((cp, a, b, bool(composes)))
    return out


def combining():
    out = []
    for cp in ALL:
        k = unicodedata.combining(chr(cp))
        if k and out and out[-1][1] == cp - 1 and out[-1][2] == k:
            out[-1][1] = cp
        elif k:
            out.append([cp, cp, k])
    return out


def rows(items, n):
    return "\n".join("    " + " ".join(items[i:i + n]) for i in range(0, len(items), n))


def main():
    dec = decompositions()
    pairs = sorted((i for i, d in enumerate(dec) if d[3]), key=lambda i: dec[i][1:3])
    with open(OUT, "w") as f:
        f.write("""/*
 * Made by tools/reference/unicode_tables.py; do not edit. Sources: Python %s (Unicode %s), regex %s, tokenizers %s.
 * What the numbers mean stands in unicode.c.
 */
""" % (sys.version.split()[0], unicodedata.unidata_version, regex.__version__ if hasattr(regex, "__version__") else "?", tokenizers.__version__))
        f.write("static const uint32_t prop_runs[] = {\n%s\n};\n\n" % rows(["0x%x," % r for r in runs()], 11))
        f.write("static const struct { uint32_t first, last; uint8_t step; int32_t delta; } lower_runs[] = {\n%s\n};\n\n"
                % rows(["{0x%x,0x%x,%d,%d}," % tuple(r) for r in lower_ranges()], 6))
        f.write("static const struct { uint32_t cp, a, b; } decompositions[] = {\n%s\n};\n\n"
                % rows(["{0x%x,0x%x,0x%x}," % d[:3] for d in dec], 6))
        f.write("/* indices into decompositions[] of those that compose again, by (a, b) */\n"
                "static const uint16_t compositions[] = {\n%s\n};\n\n" % rows(["%d," % i for i in pairs], 24))
        f.write("static const struct { uint32_t first, last; uint8_t ccc; } combining_runs[] = {\n%s\n};\n"
                % rows(["{0x%x,0x%x,%d}," % tuple(r) for r in combining()], 7))
        f.write("\n/* the zero of every set of ten decimal digits */\nstatic const uint32_t decimal_zeros[] = {\n%s\n};\n"
                % rows(["0x%x," % cp for cp in ALL if unicodedata.decimal(chr(cp), -1) == 0], 16))
    print("%s: %d bytes" % (OUT, os.path.getsize(OUT)))


main()
