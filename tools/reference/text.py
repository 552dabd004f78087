"""Fixtures for engine/text: token ids, weighted tokens and encodings by ComfyUI and Hugging Face.

    COMFYUI=/path/to/ComfyUI python tools/reference/text.py [strings|toys|prompts|encode|seeds] ...
    COMFYUI=... python tools/reference/text.py strings --n 300000 --seed 7 --out /tmp/more/text/strings.safetensors

ComfyUI brings the real tokenizers; the demo ones lie in models/demo. `strings` stores every string but only a hash of its ids
per tokenizer (and the ids themselves of some), so that ten thousand fit into half a megabyte; `sweep` strings are made from a
formula on both sides. The second command makes a larger set; RG_FIXTURES=/tmp/more build/test_tokenizers _ids runs on it.
"""
import argparse
import base64
import json
import os
import random
import struct
import tempfile
import unicodedata

import torch

import common

common.comfyui()
from comfy import sd1_clip                                      # noqa: E402
from comfy.text_encoders.flux import T5XXLTokenizer              # noqa: E402
from comfy.text_encoders.spiece_tokenizer import SPieceTokenizer  # noqa: E402

TOKENIZERS = os.path.join(common.DEMO, "tokenizers")
EMBEDDINGS = os.path.join(common.FIXTURES, "text", "models", "embeddings")


def tokenizers(embeddings=None):
    """name -> ComfyUI tokenizer: the real ones, and the demo ones set up as the real ones are"""
    return {
        "clip": sd1_clip.SDTokenizer(embedding_directory=embeddings),
        "t5": T5XXLTokenizer(embedding_directory=embeddings),
        "clip_demo": sd1_clip.SDTokenizer(tokenizer_path=os.path.join(TOKENIZERS, "clip_demo"), embedding_directory=embeddings,
                                          embedding_size=128),
        "t5_demo": sd1_clip.SDTokenizer(tokenizer_path=os.path.join(TOKENIZERS, "t5_demo", "spiece.model"), pad_with_end=False,
                                        embedding_directory=embeddings, embedding_size=128, embedding_key="t5xxl",
                                        tokenizer_class=SPieceTokenizer, has_start_token=False, pad_to_max_length=False,
                                        max_length=99999999, min_length=256),
    }


# ---- strings ---------------------------------------------------------------------------------------------------------

WORDS = """a an the of in on with and or over under photo painting portrait landscape castle dragon woman man cat dog forest
river mountain house red blue green golden dark light soft hard cinematic masterpiece best quality 8k uhd 35mm f/1.8 bokeh
highly detailed intricate sharp focus trending artstation unreal engine octane render volumetric lighting don't it's we'll
I'm they've she'd you're DON'T IT'S Hello WORLD McDonald's naïve café Zürich São über straße façade coöperate résumé piñata
jalapeño smörgåsbord Ångström fiancée Łódź Dvořák İstanbul ΟΔΥΣΣΕΥΣ Σίσυφος ὈΔΥΣΣΕΎΣ привет МИР Ёлка שלום عالم नमस्ते สวัสดี
こんにちは 世界 漢字 カタカナ ひらがな ﾊﾝｶｸ 한국어 안녕하세요 中文測試 ｆｕｌｌｗｉｄｔｈ ① ② ½ ¾ ™ ℃ Ⅳ ⅳ ﬁ ﬂ ﬃ ǅ ŉ ǰ ẞ ᾳ ᾼ ſ K Å Ω x² H₂O 10⁻³
e=mc^2 C++ foo_bar snake-case CamelCase http://example.com/a?b=c&d=%20 user@mail.org #tag $9.99 100% (1:2) [x] {y} <z> \\n
1234567890 3.14159 1,000,000 0x1F 2024-01-02 12:34:56 ... --- !!! ??? “quotes” ‘single’ – — … • ★ ☃ ☺ ♥ ✓ → ∞ ≠ ≤ √ ∑ ∫ € £ ¥""".split()
EMOJI = ["😀", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "🇯🇵🇺🇸", "❤️", "🤷🏿‍♀️", "🧑‍💻", "1️⃣", "🫠", "🪿", "🫨", "☕", "⚧️", "©️", "™️", "🐈‍⬛", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"]
MARKS = ["\u0300", "\u0301", "\u0308", "\u0327", "\u0323", "\u0338", "\u0345", "\u064b", "\u05b0", "\u093c", "\u094d", "\u0e33", "\u200d",
         "\u200c", "\ufe0f", "\u20dd", "\u3099", "\u309a", "\u1160", "\u11a8", "\u0600", "\u0903", "\u0d4e", "\u180b", "\u034f"]
SPACES = [" ", "  ", "\t", "\n", "\r\n", "\r", "\u00a0", "\u2003", "\u3000", "\u2028", "\u2029", "\u200b", "\ufeff", "\u00ad", "\x0b",
          "\x0c", "\x1c", "\x1f", "\x85", "\u1680", "\u202f", "\u2060", "   ", "\u2581", " \u2581 "]
CONTROLS = [chr(i) for i in list(range(32)) + list(range(127, 160))] + ["\ufffd", "\ufffe", "\U0010ffff", "\ue000", "\u0378"]
SPECIALS = ["<|startoftext|>", "<|endoftext|>", "<|EndOfText|>", "<|\u017ftartoftext|>", "<|endoftext", "|endoftext|>", "<<|endoftext|>>",
            "<|end\x00oftext|>", "</s>", "<pad>", "<unk>", "<s>", "<extra_id_0>", "<extra_id_99>", "<extra_id_100>", "</S>", "\uff1c/s\uff1e",
            "<extra_id_", "</w>", "'s", "'S", "'\u017f", "'t", "'re", "'VE", "'m", "'ll", "'d", "''s", "'", "\u2019s", "##", "\u0120", "\u2581"]
BLOCKS = [(0x20, 0x7f), (0x80, 0x180), (0x180, 0x250), (0x250, 0x370), (0x370, 0x400), (0x400, 0x530), (0x530, 0x700), (0x700, 0xa00),
          (0xa00, 0xe00), (0xe00, 0x1100), (0x1100, 0x1200), (0x1200, 0x1e00), (0x1e00, 0x2000), (0x2000, 0x2100), (0x2100, 0x2500),
          (0x2500, 0x2c00), (0x2c00, 0x3000), (0x3000, 0x3400), (0x3400, 0x4e00), (0x4e00, 0xa000), (0xa000, 0xac00), (0xac00, 0xd7b0),
          (0xf900, 0xfb00), (0xfb00, 0xfe00), (0xfe00, 0x10000), (0x10000, 0x11000), (0x11000, 0x12000), (0x12000, 0x1d000),
          (0x1d000, 0x1e000), (0x1e000, 0x1f000), (0x1f000, 0x20000), (0x20000, 0x2fa20), (0xe0000, 0xe0200), (0x30000, 0x31350)]


def one_string(r, kind):
    """one string of a kind, 0..9; short, so that many fit"""
    join = lambda parts: r.choice(["", " ", " ", ", "]).join(parts)
    if kind == 0:                           # prompts
        return " ".join(r.choice(WORDS) for _ in range(r.randint(1, 14)))
    if kind == 1:                           # printable ASCII
        return "".join(chr(r.randint(32, 126)) for _ in range(r.randint(1, 40)))
    if kind == 2:                           # any script: a few characters of one block, sometimes of two
        blocks = r.sample(BLOCKS, r.randint(1, 2))
        return "".join(chr(r.randrange(*r.choice(blocks))) for _ in range(r.randint(1, 16)))
    if kind == 3:                           # any code point at all
        cps = (r.randrange(0x110000) if r.random() < 0.3 else r.randrange(0x3000) for _ in range(r.randint(1, 12)))
        return "".join(chr(cp) for cp in cps if not 0xD800 <= cp < 0xE000)
    if kind == 4:                           # letters with marks, composed or not
        s = "".join(r.choice("aeiouAEIOUnNsSzZcCxª²½™ﬀΑΩЕиกककाがハ각가漢①©Å\u1100") + "".join(r.choice(MARKS) for _ in range(r.randint(0, 3)))
                    for _ in range(r.randint(1, 8)))
        return unicodedata.normalize(r.choice(["NFC", "NFD", "NFKC", "NFKD"]), s) if r.random() < 0.5 else s
    if kind == 5:                           # emoji among words
        return join([r.choice(EMOJI + WORDS) for _ in range(r.randint(1, 6))])
    if kind == 6:                           # white space of all kinds
        return "".join(r.choice(SPACES) + r.choice(WORDS + ["", "", "a"]) for _ in range(r.randint(1, 6)))
    if kind == 7:                           # control characters
        return "".join(r.choice(CONTROLS + WORDS[:40]) for _ in range(r.randint(1, 10)))
    if kind == 8:                           # special tokens, whole and cut
        s = "".join(r.choice(SPECIALS + SPACES[:4] + WORDS[:60]) for _ in range(r.randint(1, 6)))
        return s[:r.randint(1, len(s))] if r.random() < 0.2 and s else s
    s = "".join(r.choice(WORDS) for _ in range(r.randint(1, 5)))      # 9: case, stuck together
    return r.choice([s.upper(), s.title(), s.swapcase(), s.casefold()])


def strings(n, seed):
    """(string, repeat): the real text is string * repeat"""
    r = random.Random(seed)
    out = [("", 1), (" ", 1), ("\x00", 1), ("a", 1), ("<|endoftext|>", 1), ("</s>", 1)]
    # very long input: one word, many words, no spaces, no known character, one token over and over
    out += [("a", 20000), ("masterpiece ", 5000), ("漢字", 6000), ("ab1'", 8000), ("\u2603", 3000), ("<|endoftext|>", 2000),
            ("</s>", 2000), ("'s", 5000), (" ", 10000), ("e\u0301", 5000), ("\U0001F468\u200d\U0001F469\u200d", 700), ("a, (b:1.2) \n", 9000),
            ("supercalifragilisticexpialidocious", 400), ("\u0e01\u0e33", 2000), ("\u1100\u1161\u11a8", 2000), ("x" * 50 + " ", 2000)]
    out += [(w, 1) for w in WORDS + EMOJI + SPACES + CONTROLS + SPECIALS]
    while len(out) < n:
        out.append((one_string(r, len(out) % 10), 1))
    return out


def sweep():
    """Every code point of the planes that are in use, in the places where it matters: see sweep() in test_tokenizers.c."""
    for start in list(range(0, 0x40000, 64)) + list(range(0xE0000, 0xE1000, 64)) + [0x10FFC0]:
        cps = [chr(cp) for cp in range(start, start + 64) if not 0xD800 <= cp < 0xE000]
        yield "".join("A" + c + "\u03a3" + c + " \u00aa" + c + "\ufb00" + c + " " for c in cps)


def hash_ids(ids):
    """FNV-1a over the ids as 32-bit numbers, kept in 32 bits"""
    h = 0x811C9DC5
    for i in ids:
        h = (h ^ i) * 0x01000193 & 0xFFFFFFFF
    return h


def i32(values):
    return torch.tensor([v - (1 << 32) if v >= 1 << 31 else v for v in values], dtype=torch.int32)


def blob(parts):
    """bytes of all parts, and where each ends"""
    ends, all_bytes = [], b"".join(parts)
    for p in parts:
        ends.append((ends[-1] if ends else 0) + len(p))
    return torch.frombuffer(bytearray(all_bytes or b"\0"), dtype=torch.uint8), torch.tensor(ends, dtype=torch.int32)


def plain_ids(tok, text):
    ids = tok.tokenizer(text)["input_ids"]
    return ids[tok.tokens_start:-1]


def make_strings(args):
    toks = tokenizers()
    cases = strings(args.n, args.seed)
    text, ends = blob([s.encode() for s, _ in cases])
    tensors = {"text": text, "ends": ends, "repeat": torch.tensor([k for _, k in cases], dtype=torch.int32)}
    for name, tok in toks.items():
        ids = [plain_ids(tok, s * k) for s, k in cases]
        tensors["hash." + name] = i32([hash_ids(x) for x in ids])
        some = [x for (s, k), x in zip(cases[:600], ids) if k == 1]
        tensors["ids." + name] = i32([x for part in some for x in part])
        if not args.out:
            tensors["sweep." + name] = i32([hash_ids(plain_ids(tok, s)) for s in sweep()])
    if args.out:
        from safetensors.torch import save_file
        os.makedirs(os.path.dirname(args.out), exist_ok=True)
        save_file(tensors, args.out)
    else:
        common.save("text/strings.safetensors", tensors, {"seed": args.seed, "python_unicode": unicodedata.unidata_version})


# ---- toys: small random tokenizers that bring out what the real ones never do ---------------------------------------------

def toy_bpe(r):
    """vocab.json and merges.txt with merges in no sensible order, twice, of what is never made, on odd lines"""
    symbols = list("abc")
    merges = []
    for _ in range(r.randint(2, 14)):
        x, y = r.choice(symbols), r.choice(symbols)
        symbols.append(x + y)
        merges.append((x, y) if r.random() < 0.7 else (x, y + "</w>"))
    r.shuffle(merges)
    merges += r.sample(merges, 2)
    made = symbols + [s + "</w>" for s in symbols]
    names = [s for s in dict.fromkeys(made) if r.random() < 0.8] + ["<|startoftext|>", "<|endoftext|>"]
    space = lambda: r.choice([" "] * 6 + ["  ", "\t", "\u00a0", " \u2003", "\x1c"])
    lines = [r.choice(["", " ", "\t"]) + x + space() + y + r.choice(["", "", " "]) for x, y in merges] + [r.choice(["a b c", "a", "", "  "])]
    end = r.choice(["\n", "\r\n", "\r"])
    text = r.choice(["", "\n \n"]) + "#version: 0.2" + end + end.join(lines) + r.choice(["", end, end + " " + end])
    return json.dumps({n: i for i, n in enumerate(names)}, ensure_ascii=r.random() < 0.5, indent=r.choice([None, 2])), text


def toy_unigram(r):
    """a tokenizer.json with ties, long digits, and every feature that engine/text/unigram.c knows"""
    pieces = ["<unk>", "</s>", "\u2581"] + ["".join(r.choice("abc\u2581\u00e9") for _ in range(r.randint(1, 4))) for _ in range(12)]
    scores = [-3.1234567890123456, -4.5, -2.0122928619384766, -7.5451483726501465, -9.030416488647461, -1e-3, -12.5e-1]
    vocab = [[p, 0.0 if i < 2 else r.choice(scores)] for i, p in enumerate(dict.fromkeys(pieces))]
    scheme = r.choice(["first", "always", "never"])
    meta = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": r.random() < 0.8}
    added = [{"id": 1, "content": "</s>", "single_word": False, "lstrip": r.random() < 0.5, "rstrip": r.random() < 0.5, "normalized": False, "special": True},
             {"id": 50, "content": "<x>", "single_word": False, "lstrip": r.random() < 0.5, "rstrip": r.random() < 0.5, "normalized": False, "special": False},
             {"id": 51, "content": "<x><y>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}]
    real = json.load(open(os.path.join(os.environ["COMFYUI"], "comfy", "text_encoders", "t5_tokenizer", "tokenizer.json")))
    norms = [{"type": "Strip", "strip_left": r.random() < 0.5, "strip_right": r.random() < 0.5},
             {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": r.choice([" ", "\u2581"])}]
    norms = [x for x in norms if r.random() < 0.6]
    doc = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
           "normalizer": r.choice([None, {"type": "Sequence", "normalizers": norms}]) if norms else None,
           "pre_tokenizer": r.choice([meta, {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, meta]}]),
           "post_processor": real["post_processor"], "decoder": None,
           "model": {"type": "Unigram", "unk_id": 0, "vocab": vocab, "byte_fallback": False}}
    # Hugging Face numbers added tokens that are no pieces itself: after the pieces, in order
    for i, a in enumerate(added[1:]):
        a["id"] = len(vocab) + i
    # the rounding of its number parser decides ties, so every digit stays: written as the real file writes them
    return json.dumps(doc, ensure_ascii=r.random() < 0.5)


def make_toys(args):
    from tokenizers import Tokenizer
    from transformers import CLIPTokenizer
    r = random.Random(args.seed)
    vocabs, merges, unigrams, texts, hashes = [], [], [], [], {"clip": [], "t5": []}
    for _ in range(40):
        v, m = toy_bpe(r)
        vocabs.append(v.encode())
        merges.append(m.encode())
        unigrams.append(toy_unigram(r).encode())
        with tempfile.TemporaryDirectory() as folder:
            open(os.path.join(folder, "vocab.json"), "wb").write(vocabs[-1])
            open(os.path.join(folder, "merges.txt"), "wb").write(merges[-1])
            clip = CLIPTokenizer(os.path.join(folder, "vocab.json"), os.path.join(folder, "merges.txt"))
        t5 = Tokenizer.from_str(unigrams[-1].decode())
        for _ in range(25):
            atoms = list("aaabbbccc") + ["\u00e9", " ", "  ", "d", "\u2581", "</s>", "<x>", "<x><y>", " </s> ", "\n", "<x", "\u3000"]
            s = "".join(r.choice(atoms) for _ in range(r.randint(0, 24)))
            texts.append(s.encode())
            hashes["clip"].append(hash_ids(clip(s)["input_ids"][1:-1]))
            hashes["t5"].append(hash_ids(t5.encode(s).ids[:-1]))
    tensors = {}
    for name, parts in (("vocab", vocabs), ("merges", merges), ("unigram", unigrams), ("text", texts)):
        tensors[name], tensors[name + ".ends"] = blob(parts)
    for name, h in hashes.items():
        tensors["hash." + name] = i32(h)
    # the scores of the real T5 vocabulary as Hugging Face has parsed them, bit for bit
    real = json.loads(tokenizers()["t5"].tokenizer.backend_tokenizer.to_str())
    bits = b"".join(struct.pack("<d", score) for _, score in real["model"]["vocab"])
    tensors["score_hash"] = i32([hash_ids(struct.unpack("<%dI" % (len(bits) // 4), bits))])
    common.save("text/toys.safetensors", tensors, {"seed": args.seed})


# ---- weighted prompts ---------------------------------------------------------------------------------------------------

PROMPTS = ["", " ", "a", "a red house", "(a)", "((a))", "(((a)))", "(a:1.2)", "(a:1.2) b", "a (b:0.5) c", "(a (b:1.5) c:0.8)", "((a:1.2):0.5)",
           "(a:1.2", "a:1.2)", "(a", "a)", "((a)", "(a))", ")(", ")a(b)", "(a)(b)", "()", "(())", "(:1.2)", "(a:)", "(a: 1.3 )", "(a:1_0)",
           "(a:1__0)", "(a:_1)", "(a:1_)", "(a:inf)", "(a:-1)", "(a:nan_)", "(a:1e2)", "(a:1e)", "(a:.5)", "(a:5.)", "(a:.)", "(a:+0.5)", "(a:0x10)",
           "(a:1.2.3)", "(a:b:1.2)", "(a:1.2:b)", "(a:\u0661.\u0662)", "(a:\uff11.\uff15)", "(a:1,5)", "(a:\u00a01.5\u2003)", "(a:infinity)", "(a:0)",
           "\\(a\\)", "\\(a:1.2\\)", "(\\(a\\):1.2)", "(a\\)", "\\\\(a\\\\)", "\\", "\\\\", "(a\\:1.2)", "[a]", "[a:b:0.5]", "{a|b}", "(a|b:1.4)",
           "a, (b), ((c)), d", "(a\nb:1.3)", "(\n:1.3)", "((((((((((deep))))))))))", "(" * 40 + "x" + ")" * 40, "(" * 30, ")" * 30,
           "(a:1.0)", "(a:1)", "(red:1.3) ball (blue:0.7) box", "<|endoftext|> (a:1.2)", "</s> (a:1.2)", "(<|endoftext|>:1.5) b", "(a)b(c)d(e)",
           "(((a:1.1):1.2):1.3)", "(a:1.2)(b:1.3)(c)", "(漢字:1.2) (é:0.9)", "a (b (c (d:0.1) e) f) g", "((a)b)c", "(a(b)c", "a(b)c)d", "(a:1.2)) b (c)",
           "a photo of a cat " * 12, "(masterpiece, best quality:1.3), " * 9, "word " * 74, "word " * 75, "word " * 76, "word " * 77, "word " * 150,
           ("one two three four five six seven, " * 3 + "(eight nine ten:1.1) ") * 4, "x" * 300, "(y:1.5) " * 40, "a " * 70 + "(b c d e f:1.2) g",
           "a " * 70 + "(b c d e f g h i j:1.2) k", "a " * 73 + "(b c d:0.5)", "(a b c d e f g:1.1) " * 15, "(a b c d e f g h:1.1) " * 15]
EMBEDDING_PROMPTS = ["embedding:one", "a embedding:one b", "embedding:two", "embedding:two.safetensors", "(embedding:two:1.3)", "(embedding:one, a:0.7)",
                     "embedding:one,", "embedding:one, b", ",embedding:one", "embedding:,one, b", "a\nembedding:one\nb", "embedding:missing", "embedding:missing, b",
                     "a embedding:one embedding:two b", "embedding:one embedding:one", "embedding: one", "embedding:sub/three", "embedding:three", "embedding:../text",
                     "embedding:/etc/passwd", "embedding:a/../one", "xembedding:one", "a embedding:wide b", "(a:1.4) embedding:wide (b:0.6)", "embedding:both",
                     "embedding:bundle", "embedding:vector b", "a embedding:missing", "Embedding:one", "embedding:one\u00a0b", "a " * 70 + "embedding:ten b",
                     "embedding:ten " * 9, "embedding:,,, b", "(embedding:ten:0.5) and (embedding:one:2)"]


def make_embeddings():
    """Small files of every shape that ComfyUI reads; width 128, the demo encoders'."""
    from safetensors.torch import save_file
    os.makedirs(os.path.join(EMBEDDINGS, "sub"), exist_ok=True)
    row = lambda name, n, d=128: 0.5 * common.randn("text." + name, (n, d))
    files = {"one": {"emb_params": row("one", 1)}, "two": {"emb_params": row("two", 2).half()}, "sub/three": {"emb_params": row("three", 3)},
             "wide": {"emb_params": row("wide", 2, 16)}, "both": {"zzz": row("z", 1), "clip_l": row("l", 2), "t5xxl": row("t", 1)},
             "bundle": {"bundle_emb.x.string_to_param.*": row("b", 2), "bundle_emb.y.string_to_param.*": row("c", 1), "aaa": row("a", 1)},
             "vector": {"emb_params": row("v", 1)[0]}, "ten": {"emb_params": row("ten", 10)}}
    for name, tensors in files.items():
        save_file({k: v.contiguous() for k, v in tensors.items()}, os.path.join(EMBEDDINGS, name + ".safetensors"))


def random_prompt(r):
    atoms = ["(", ")", "((", "))", ":1.2)", ":0.5)", ":", "\\(", "\\)", "\\", " ", ", ", "\n", "a", "red house", "tree", "1.3", "[", "]", "é", "漢"]
    return "".join(r.choice(atoms) for _ in range(r.randint(2, 25)))


def make_prompts(args):
    make_embeddings()
    r = random.Random(args.seed)
    prompts = PROMPTS + EMBEDDING_PROMPTS + [random_prompt(r) for _ in range(110)]
    text, ends = blob([p.encode() for p in prompts])
    tensors = {"text": text, "ends": ends}
    for name, tok in tokenizers([EMBEDDINGS]).items():
        ids, lengths, counts, weighted = [], [], [], []
        for p in prompts:
            batches = tok.tokenize_with_weights(p)
            counts.append(len(batches))
            for b in batches:
                while len(b) > 2 and all(isinstance(t, int) and (t, w) == (tok.pad_token, 1.0) for t, w in b[-2:]):
                    b = b[:-1]              # runs of padding say nothing
                lengths.append(len(b))
                for t, w in b:
                    # weights that are not 1, and rows of embeddings, told by their first element
                    if not isinstance(t, int) or w != 1.0:
                        weighted.append((len(ids), w, 0.0 if isinstance(t, int) else float(t.reshape(-1)[0])))
                    ids.append(t if isinstance(t, int) else -1)
        tensors["ids." + name] = i32(ids)
        tensors["lengths." + name] = i32(lengths)
        tensors["sections." + name] = i32(counts)
        tensors["weighted." + name] = torch.tensor(weighted, dtype=torch.float64)     # (token, weight, first element)
    common.save("text/prompts.safetensors", tensors, {"seed": args.seed})


# ---- encodings ------------------------------------------------------------------------------------------------------------

ENCODE = ["a red house on the left, two pine trees on the right, a snowy field at night, a large moon", "", "(a blue sailboat:1.4), (sea:0.6) at sunset",
          "a (white cottage) and ((three round trees)), clouds", "a yellow hot air balloon, " * 20, "(purple mountains:1.2) by day, " * 40,
          "a embedding:two house, (embedding:wide tree:1.3)", "<|endoftext|> </s> (embedding:ten:0.7) a desert \\(at dawn\\)"]


def demo_model():
    """ComfyUI's text encoders in the sizes of the demo files, float32."""
    from safetensors.torch import load_file
    import comfy.ops
    import comfy.text_encoders.t5
    sd_l = {k: v.float() for k, v in load_file(os.path.join(common.DEMO, "text_encoders", "clip_l-demo.safetensors")).items()}
    sd_t = {k: v.float() for k, v in load_file(os.path.join(common.DEMO, "text_encoders", "t5-demo.safetensors")).items()}
    vocab, width = sd_l["text_model.embeddings.token_embedding.weight"].shape
    n_layers = 1 + max(int(k.split(".")[3]) for k in sd_l if ".layers." in k)
    l = sd1_clip.SDClipModel(textmodel_json_config={
        "num_hidden_layers": n_layers, "hidden_size": width, "num_attention_heads": width // 64, "hidden_act": "quick_gelu",
        "intermediate_size": sd_l["text_model.encoder.layers.0.mlp.fc1.weight"].shape[0], "max_position_embeddings": 77, "eos_token_id": vocab - 1},
        dtype=torch.float32, return_projected_pooled=False, special_tokens={"start": vocab - 2, "end": vocab - 1, "pad": vocab - 1})
    l.transformer.text_model.embeddings.token_embedding = comfy.ops.manual_cast.Embedding(vocab, width, dtype=torch.float32)
    missing, _ = l.load_sd(sd_l)
    assert all("text_projection" in k for k in missing), missing
    d_ff, d_model = sd_t["encoder.block.0.layer.1.DenseReluDense.wi_0.weight"].shape
    n_heads = sd_t["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"].shape[1]
    inner = sd_t["encoder.block.0.layer.0.SelfAttention.q.weight"].shape[0]

    def t5(**options):
        t = sd1_clip.SDClipModel(textmodel_json_config={
            "num_layers": 1 + max(int(k.split(".")[2]) for k in sd_t if ".block." in k), "d_model": d_model, "d_kv": inner // n_heads,
            "num_heads": n_heads, "d_ff": d_ff, "dense_act_fn": "gelu_pytorch_tanh", "is_gated_act": True, "model_type": "t5",
            "vocab_size": sd_t["shared.weight"].shape[0]}, dtype=torch.float32, special_tokens={"end": 1, "pad": 0},
            model_class=comfy.text_encoders.t5.T5, **options)
        missing, _ = t.load_sd(sd_t)
        assert not missing, missing
        return t
    return l, t5(), t5(enable_attention_masks=True, return_attention_masks=True)


def rows_of(n):
    """which rows of a long result a fixture keeps: the first, the last, and some between"""
    return sorted(set(list(range(12)) + list(range(12, n, 23)) + [n - 2, n - 1]))


def make_encode(args):
    make_embeddings()
    toks = tokenizers([EMBEDDINGS])
    l, t5, t5_masked = demo_model()
    text, ends = blob([p.encode() for p in ENCODE])
    tensors = {"text": text, "ends": ends}
    for layer in (None, -2):
        for i, p in enumerate(ENCODE if layer is None else ENCODE[2:4]):
            tl, tt = toks["clip_demo"].tokenize_with_weights(p), toks["t5_demo"].tokenize_with_weights(p)
            for m in (l, t5):
                m.reset_clip_options()
                if layer is not None:
                    m.set_clip_options({"layer": layer})
            name = "%d." % i if layer is None else "layer.%d." % i
            cross, _ = t5.encode_token_weights(tt)
            states, pooled = l.encode_token_weights(tl)
            tensors[name + "t5"] = cross[:, rows_of(cross.shape[1])]
            tensors[name + "clip"] = states[:, rows_of(states.shape[1])]
            tensors[name + "lengths"] = i32([cross.shape[1], states.shape[1]])
            tensors[name + "pooled"] = pooled
            if layer is None and i in (0, 2):
                masked, _, extra = t5_masked.encode_token_weights(tt)
                tensors[name + "t5_masked"] = masked[:, rows_of(masked.shape[1])]
                tensors[name + "mask"] = extra["attention_mask"].to(torch.uint8)
    common.save("text/encode.safetensors", tensors)


# ---- seeds for the fuzzer ---------------------------------------------------------------------------------------------------

def proto_fields(data):
    """(number, value) of a protocol buffer's fields"""
    def varint(i):
        shift = value = 0
        while True:
            value |= (data[i] & 127) << shift
            shift, i = shift + 7, i + 1
            if data[i - 1] < 128:
                return value, i
    i = 0
    while i < len(data):
        tag, i = varint(i)
        if tag & 7 == 0:
            value, i = varint(i)
        else:
            n, i = varint(i) if tag & 7 == 2 else ({1: 8, 5: 4}[tag & 7], i)
            value, i = data[i:i + n], i + n
        yield tag >> 3, value


def make_seeds(args):
    """Small files of every kind for tests/fuzz/fuzz_tokenizer.c, which says how they are laid out."""
    import sentencepiece
    r = random.Random(args.seed)
    folder = os.path.join(common.ROOT, "tests", "fuzz", "corpus", "tokenizer")
    os.makedirs(folder, exist_ok=True)
    write = lambda name, data: open(os.path.join(folder, name), "wb").write(data)
    text = "Aab\u00e9 \ufb00\u0301 \u4e16 <|endoftext|> </s> \U0001F600 it's b".encode()
    with tempfile.TemporaryDirectory() as tmp:
        rules = os.path.join(tmp, "rules.tsv")
        open(rules, "w").write("FB00\t66 66\nE9\t65\n9\t20\n")
        lines = [" ".join(r.choice(["ab", "abc", "ba", "cab", "ff", "e"]) for _ in range(6)) for _ in range(200)]
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines), model_prefix=os.path.join(tmp, "m"), vocab_size=20, model_type="unigram", pad_id=0, eos_id=1,
            unk_id=2, bos_id=-1, hard_vocab_limit=False, normalization_rule_tsv=rules, minloglevel=2)
        model = open(os.path.join(tmp, "m.model"), "rb").read()
    spec = dict(proto_fields(model))[3]             # ModelProto.normalizer_spec
    charsmap = base64.b64encode(dict(proto_fields(spec))[2]).decode()
    write("spiece", b"s" + struct.pack("<H", len(text)) + model + text)
    for i in range(3):
        v, m = (x.encode() for x in toy_bpe(r))
        write("clip%d" % i, b"c" + struct.pack("<HH", len(text), len(m)) + v + m + text)
        doc = json.loads(toy_unigram(r))
        doc["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Precompiled", "precompiled_charsmap": charsmap},
                                                                   {"type": "Strip", "strip_left": False, "strip_right": True}]}
        write("unigram%d" % i, b"j" + struct.pack("<H", len(text)) + json.dumps(doc).encode() + text)
    for i, p in enumerate(PROMPTS[20:80:6] + EMBEDDING_PROMPTS[::9]):
        write("prompt%d" % i, b"p" + p.encode())


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("what", nargs="*", default=["strings", "toys", "prompts", "encode"])
    p.add_argument("--n", type=int, default=10500)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--out")
    args = p.parse_args()
    for what in args.what:
        globals()["make_" + what](args)
