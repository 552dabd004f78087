"""The demo model's two tokenizers: trained on captions, stored in the files that the real ones come in.

CLIP: byte-pair encoding in vocab.json and merges.txt (Sennrich et al. 2016, arXiv:1508.07909). T5: SentencePiece unigram in
spiece.model (Kudo 2018, arXiv:1804.10959).
"""
import json
import os
import re
from collections import Counter

import sentencepiece

CLIP_LENGTH, T5_LENGTH = 77, 256        # what Flux is given: chunks of 77, and at least 256
START, END = "<|startoftext|>", "<|endoftext|>"
WORD = re.compile(r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[a-zA-Z]+|[0-9]|[^\sa-zA-Z0-9]+")


def byte_letters():
    """The printable character that stands for each byte in CLIP's files (GPT-2's table)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {b: chr(b) for b in plain}
    for i, b in enumerate(b for b in range(256) if b not in table):
        table[b] = chr(256 + i)
    return table


class ClipTokenizer:
    def __init__(self, vocab, merges):
        self.vocab, self.merges = vocab, merges
        self.rank = {pair: i for i, pair in enumerate(merges)}
        self.letters = byte_letters()
        self.known = {}
        self.end = vocab[END]

    @staticmethod
    def symbols(word, letters):
        """A word as single letters, the last one marked as the word's end."""
        text = "".join(letters[b] for b in word.encode())
        return (*text[:-1], text[-1] + "</w>")

    @classmethod
    def train(cls, captions, n_merges):
        letters = byte_letters()
        counts = Counter(w for c in captions for w in WORD.findall(c.lower()))
        words = {cls.symbols(w, letters): n for w, n in counts.items()}
        merges = []
        while len(merges) < n_merges:
            pairs = Counter()
            for word, n in words.items():
                for pair in zip(word, word[1:]):
                    pairs[pair] += n
            if not pairs:
                break                   # every word is one token already
            best = max(pairs, key=lambda p: (pairs[p], p))
            merges.append(best)
            words = {cls.merged(word, best): n for word, n in words.items()}
        singles = list(letters.values())
        tokens = singles + [s + "</w>" for s in singles] + [a + b for a, b in merges] + [START, END]
        return cls({t: i for i, t in enumerate(tokens)}, merges)

    @staticmethod
    def merged(word, pair):
        out, i = [], 0
        while i < len(word):
            if word[i:i + 2] == pair:
                out.append(word[i] + word[i + 1])
                i += 2
            else:
                out.append(word[i])
                i += 1
        return tuple(out)

    def word_ids(self, word):
        if word not in self.known:
            symbols = self.symbols(word, self.letters)
            while len(symbols) > 1:
                best = min(zip(symbols, symbols[1:]), key=lambda p: self.rank.get(p, len(self.rank)))
                if best not in self.rank:
                    break
                symbols = self.merged(symbols, best)
            self.known[word] = [self.vocab[s] for s in symbols]
        return self.known[word]

    def encode(self, text):
        ids = [self.vocab[START]]
        for word in WORD.findall(text.lower()):
            ids += self.word_ids(word)
        ids = ids[:CLIP_LENGTH - 1]
        return ids + [self.end] * (CLIP_LENGTH - len(ids))      # the end token is also the padding

    def save(self, folder):
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "vocab.json"), "w") as f:
            json.dump(self.vocab, f, ensure_ascii=False)
        with open(os.path.join(folder, "merges.txt"), "w") as f:
            f.write("#version: 0.2\n" + "".join("%s %s\n" % pair for pair in self.merges))

    @classmethod
    def load(cls, folder):
        with open(os.path.join(folder, "vocab.json")) as f:
            vocab = json.load(f)
        with open(os.path.join(folder, "merges.txt")) as f:
            merges = [tuple(line.split()) for line in f.read().splitlines()[1:]]
        return cls(vocab, merges)


class T5Tokenizer:
    PAD, END = 0, 1

    def __init__(self, path):
        self.pieces = sentencepiece.SentencePieceProcessor(model_file=path)

    @classmethod
    def train(cls, captions, folder):
        os.makedirs(folder, exist_ok=True)
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(captions), model_prefix=os.path.join(folder, "spiece"), vocab_size=320, model_type="unigram",
            pad_id=cls.PAD, eos_id=cls.END, unk_id=2, bos_id=-1, hard_vocab_limit=False, character_coverage=1.0,
            normalization_rule_name="nmt_nfkc", minloglevel=1)
        os.remove(os.path.join(folder, "spiece.vocab"))
        return cls(os.path.join(folder, "spiece.model"))

    def __len__(self):
        return self.pieces.vocab_size()

    def encode(self, text):
        ids = (self.pieces.encode(text) + [self.END])[:T5_LENGTH]
        return ids + [self.PAD] * (T5_LENGTH - len(ids))
