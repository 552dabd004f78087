/*
 * The CLIP tokenizer: text is cleaned, lower-cased, cut into words, and each word's bytes are merged pair by pair.
 *
 * It is Hugging Face's CLIPTokenizer (transformers 4.57) as ComfyUI calls it, without the ftfy package: then text goes through
 * BERT's BasicTokenizer, which drops control, private and unassigned characters (of Python's Unicode), puts spaces around
 * CJK ideographs, composes (NFC) and lower-cases word by word; accents stay. Words are cut by this pattern, ignoring case:
 *     <\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+
 * Easy to get wrong: ignoring case, s also matches U+017F; U+0345 matches nothing and vanishes; the special tokens are cut out
 * of the raw text first, and again, in any case, by the pattern.
 *
 * Vocabulary and merges are hash tables over the bytes of their files: a symbol is a slice of the word, so no symbol has a
 * number and loading is one insertion per line. Source: Sennrich et al. 2016, arXiv:1508.07909; Radford et al. 2021, CLIP.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/core/json.h"
#include "engine/text/strtable.h"
#include "engine/text/tokenizer.h"
#include "engine/text/unicode.h"

#define START_TEXT "<|startoftext|>"
#define END_TEXT   "<|endoftext|>"
#define WORD_END   "</w>"

enum {
    MAX_MERGES = 49152 - 256 - 2,       /* lines after these are not read, in Hugging Face's tokenizer either */
    MAX_ID = 1 << 24,
    MAX_MERGE_KEY = 1 << 16,            /* bytes of "left right" */
};

typedef struct clip_bpe {
    rg_tokenizer base;
    char *vocab_text, *merges_text;     /* the files; the tables' keys point into them */
    rg_strtable vocab;                  /* symbol, in the printable alphabet of bytes -> id */
    rg_strtable merges;                 /* "left right" -> rank */
    size_t n_key_max;                   /* longest key of merges */
    char byte_utf8[256][2];             /* each byte's printable character */
    uint8_t byte_n[256];
} clip_bpe;

/* ---- encoding ----------------------------------------------------------------------------------------------------- */

/* What one call needs; buffers grow and are used again from word to word. */
typedef struct scratch {
    const clip_bpe *t;
    rg_ids *out;
    rg_chars clean, lower;
    char *word;                         /* one word's bytes in the printable alphabet, then WORD_END */
    size_t word_capacity;
    uint32_t *begin;                    /* [n + 1] where each symbol begins in word; symbols keep the index of their first byte */
    int32_t *next, *previous, *rank;    /* neighbours, -1 at the ends; rank of the pair (this, next), -1: no merge */
    uint64_t *heap;                     /* rank << 32 | index, smallest first; entries go stale, the arrays are the truth */
    size_t n_heap, capacity;
    int32_t *changed;                   /* symbols made by the merges of one rank */
    char *key;                          /* [n_key_max + 1] "left right" */
} scratch;

static void heap_push(scratch *s, uint64_t item)
{
    size_t i = s->n_heap++;

    while (i > 0 && s->heap[(i - 1) / 2] > item) {
        s->heap[i] = s->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    s->heap[i] = item;
}

static uint64_t heap_pop(scratch *s)
{
    const uint64_t top = s->heap[0], last = s->heap[--s->n_heap];
    size_t i = 0;

    for (size_t child; (child = 2 * i + 1) < s->n_heap; i = child) {
        if (child + 1 < s->n_heap && s->heap[child + 1] < s->heap[child])
            child++;
        if (last <= s->heap[child])
            break;
        s->heap[i] = s->heap[child];
    }
    s->heap[i] = last;
    return top;
}

/* Rank of the pair that begins at symbol i, and its place in the heap. */
static void rank_pair(scratch *s, int32_t i, size_t n_word)
{
    const int32_t j = i < 0 ? -1 : s->next[i];

    if (i < 0)
        return;
    s->rank[i] = -1;
    if (j < 0)
        return;
    const size_t left = s->begin[j] - s->begin[i], end = s->next[j] < 0 ? n_word : s->begin[s->next[j]], right = end - s->begin[j];
    if (left + 1 + right > s->t->n_key_max)
        return;
    memcpy(s->key, s->word + s->begin[i], left);
    s->key[left] = ' ';
    memcpy(s->key + left + 1, s->word + s->begin[j], right);
    s->rank[i] = rg_strtable_get(&s->t->merges, s->key, left + 1 + right);
    if (s->rank[i] >= 0)
        heap_push(s, (uint64_t)s->rank[i] << 32 | (uint32_t)i);
}

static bool grow(scratch *s, size_t n_symbols)
{
    if (n_symbols <= s->capacity)
        return true;
    const size_t capacity = n_symbols + n_symbols / 2 + 64;
    rg_free(s->begin);
    rg_free(s->next);
    rg_free(s->previous);
    rg_free(s->rank);
    rg_free(s->changed);
    rg_free(s->heap);
    s->begin = rg_malloc((capacity + 1) * sizeof *s->begin);
    s->next = rg_malloc(capacity * sizeof *s->next);
    s->previous = rg_malloc(capacity * sizeof *s->previous);
    s->rank = rg_malloc(capacity * sizeof *s->rank);
    s->changed = rg_malloc(capacity * sizeof *s->changed);
    s->heap = rg_malloc(3 * capacity * sizeof *s->heap);    /* a pair each to begin with, two more for each of n - 1 merges */
    s->capacity = s->begin && s->next && s->previous && s->rank && s->changed && s->heap ? capacity : 0;
    return s->capacity;
}

static bool grow_word(scratch *s, size_t n_bytes)
{
    const size_t wanted = 2 * n_bytes + sizeof WORD_END;

    if (wanted > s->word_capacity) {
        char *word = rg_realloc(s->word, wanted + wanted / 2);
        if (!word)
            return false;
        s->word = word;
        s->word_capacity = wanted + wanted / 2;
    }
    return grow(s, n_bytes);
}

/*
 * Merge the word's symbols and append their ids. Of all pairs the one of lowest rank goes first, everywhere in the word from left
 * to right, before any pair that these merges bring about is looked at: the order matters when ranks are not sorted.
 */
static bool merge_word(scratch *s, size_t n_word, int32_t n)
{
    const clip_bpe *t = s->t;

    s->n_heap = 0;
    for (int32_t i = 0; i < n; i++) {
        s->next[i] = i + 1 < n ? i + 1 : -1;
        s->previous[i] = i - 1;
    }
    for (int32_t i = 0; i < n; i++)
        rank_pair(s, i, n_word);
    while (s->n_heap) {
        const uint32_t rank = (uint32_t)(s->heap[0] >> 32);
        int32_t n_changed = 0;
        while (s->n_heap && s->heap[0] >> 32 == rank) {
            const int32_t i = (int32_t)(uint32_t)heap_pop(s), j = s->next[i];
            if (s->rank[i] != (int32_t)rank || j < 0)
                continue;
            s->next[i] = s->next[j];
            if (s->next[j] >= 0)
                s->previous[s->next[j]] = i;
            s->rank[i] = s->rank[j] = -1;
            s->next[j] = -1;
            s->changed[n_changed++] = i;
        }
        for (int32_t k = 0; k < n_changed; k++) {
            const int32_t i = s->changed[k];
            if (k == 0 || s->changed[k - 1] != s->previous[i])
                rank_pair(s, s->previous[i], n_word);
            rank_pair(s, i, n_word);
        }
    }
    for (int32_t i = 0; i >= 0; i = s->next[i]) {
        const size_t end = s->next[i] < 0 ? n_word : s->begin[s->next[i]];
        int32_t id = rg_strtable_get(&t->vocab, s->word + s->begin[i], end - s->begin[i]);
        if (!rg_ids_push(s->out, id < 0 ? t->base.end : id))
            return false;
    }
    return true;
}

/* One match of the pattern: its bytes become symbols of the printable alphabet. */
static bool encode_match(scratch *s, const uint32_t *cp, size_t n)
{
    size_t n_word = 0, n_symbols = 0;
    char utf8[4];

    if (n > INT32_MAX / 8 || !grow_word(s, 4 * n))
        return false;
    for (size_t i = 0; i < n; i++) {
        const int n_utf8 = rg_utf8_put(utf8, cp[i]);
        for (int k = 0; k < n_utf8; k++) {
            const uint8_t byte = (uint8_t)utf8[k];
            s->begin[n_symbols++] = (uint32_t)n_word;
            memcpy(s->word + n_word, s->t->byte_utf8[byte], 2);
            n_word += s->t->byte_n[byte];
        }
    }
    memcpy(s->word + n_word, WORD_END, sizeof WORD_END);
    return merge_word(s, n_word + strlen(WORD_END), (int32_t)n_symbols);
}

/* How many characters of cp[0..n) the lower-case literal matches, ignoring case: 0 or all of it. */
static size_t matches(const uint32_t *cp, size_t n, const char *literal)
{
    const size_t length = strlen(literal);

    if (n < length)
        return 0;
    for (size_t i = 0; i < length; i++)
        if (cp[i] != (unsigned char)literal[i] && !(literal[i] == 's' && cp[i] == 0x17F))
            return 0;
    return length;
}

/* Cut one lower-cased word, which holds no space, as the pattern does. */
static bool encode_word(scratch *s, const uint32_t *cp, size_t n)
{
    static const char *const contractions[] = { "'s", "'t", "'re", "'ve", "'m", "'ll", "'d" };

    for (size_t i = 0, m; i < n; i += m) {
        if ((m = matches(cp + i, n - i, START_TEXT)) || (m = matches(cp + i, n - i, END_TEXT))) {
            bool is_exact = true;       /* with U+017F in it, it is a match but not the special token */
            for (size_t k = 0; k < m; k++)
                is_exact = is_exact && cp[i + k] < 0x80;
            if (is_exact ? !rg_ids_push(s->out, cp[i + 2] == 's' ? s->t->base.start : s->t->base.end) : !encode_match(s, cp + i, m))
                return false;
            continue;
        }
        for (size_t k = 0; cp[i] == '\'' && !m && k < sizeof contractions / sizeof contractions[0]; k++)
            m = matches(cp + i, n - i, contractions[k]);
        if (!m) {
            const rg_uni_class kind = rg_uni_class_of(cp[i]);
            m = 1;
            if (kind == RG_UNI_LETTER || kind == RG_UNI_OTHER)
                while (i + m < n && rg_uni_class_of(cp[i + m]) == kind)
                    m++;
            else if (kind != RG_UNI_NUMBER)
                continue;
        }
        if (!encode_match(s, cp + i, m))
            return false;
    }
    return true;
}

/* The blocks that BERT's tokenizer takes for Chinese. */
static bool is_ideograph(uint32_t cp)
{
    return cp >= 0x3400 && ((cp >= 0x4E00 && cp <= 0x9FFF) || cp <= 0x4DBF || (cp >= 0x20000 && cp <= 0x2A6DF) ||
                            (cp >= 0x2A700 && cp <= 0x2B73F) || (cp >= 0x2B740 && cp <= 0x2B81F) || (cp >= 0x2B820 && cp <= 0x2CEAF) ||
                            (cp >= 0xF900 && cp <= 0xFAFF) || (cp >= 0x2F800 && cp <= 0x2FA1F));
}

/* Text without special tokens: clean, compose, split at spaces, lower-case each word. */
static bool encode_plain(scratch *s, const char *text, size_t n)
{
    rg_chars *clean = &s->clean;

    clean->n = 0;
    for (size_t i = 0; i < n; ) {
        const uint32_t cp = rg_utf8_next(text, n, &i);
        const rg_uni_class kind = rg_uni_class_of(cp);
        bool ok = true;
        if (kind == RG_UNI_DROP)
            continue;
        if (kind == RG_UNI_SPACE)
            ok = rg_chars_push(clean, ' ');
        else if (is_ideograph(cp))
            ok = rg_chars_push(clean, ' ') && rg_chars_push(clean, cp) && rg_chars_push(clean, ' ');
        else
            ok = rg_chars_push(clean, cp);
        if (!ok)
            return false;
    }
    if (!rg_uni_nfc(clean))
        return false;
    for (size_t i = 0, end; i < clean->n; i = end + 1) {
        for (end = i; end < clean->n && !rg_uni_is_white_space(clean->cp[end]); )
            end++;
        s->lower.n = 0;
        if (!rg_uni_lower(&s->lower, clean->cp + i, end - i) || !encode_word(s, s->lower.cp, s->lower.n))
            return false;
    }
    return true;
}

static bool has_prefix(const char *text, size_t n, const char *literal)
{
    return n >= strlen(literal) && !memcmp(text, literal, strlen(literal));
}

static int encode(const rg_tokenizer *base, rg_ctx *c, const char *text, size_t n, rg_ids *out)
{
    const clip_bpe *t = (const clip_bpe *)base;
    scratch s = { .t = t, .out = out, .key = rg_malloc(t->n_key_max + 1) };
    bool ok = s.key;

    for (size_t i = 0, plain = 0; ok && i <= n; ) {
        /* special tokens are cut out of the raw text, as they stand */
        const char *less = i < n ? memchr(text + i, '<', n - i) : NULL;
        const size_t at = less ? (size_t)(less - text) : n;
        const bool is_start = has_prefix(text + at, n - at, START_TEXT);
        if (at == n || is_start || has_prefix(text + at, n - at, END_TEXT)) {
            ok = encode_plain(&s, text + plain, at - plain) && (at == n || rg_ids_push(out, is_start ? t->base.start : t->base.end));
            plain = at + (is_start ? strlen(START_TEXT) : strlen(END_TEXT));
            i = at == n ? n + 1 : plain;
        } else {
            i = at + 1;
        }
    }
    rg_free(s.key);
    rg_free(s.clean.cp);
    rg_free(s.lower.cp);
    rg_free(s.word);
    rg_free(s.begin);
    rg_free(s.next);
    rg_free(s.previous);
    rg_free(s.rank);
    rg_free(s.changed);
    rg_free(s.heap);
    return ok ? 0 : rg_fail(c, RG_ERR_NOMEM, "no memory to tokenise a prompt");
}

/* ---- loading -------------------------------------------------------------------------------------------------------- */

static void clip_bpe_free(void *self)
{
    clip_bpe *t = self;

    rg_strtable_release(&t->vocab);
    rg_strtable_release(&t->merges);
    rg_free(t->vocab_text);
    rg_free(t->merges_text);
    rg_free(t);
}

/* Bytes that print stand for themselves, the others for U+0100 and following, in order: GPT-2's alphabet. */
static void make_alphabet(clip_bpe *t)
{
    uint32_t extra = 0x100;

    for (unsigned b = 0; b < 256; b++) {
        const bool prints = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
        char utf8[4];
        t->byte_n[b] = (uint8_t)rg_utf8_put(utf8, prints ? b : extra++);
        memcpy(t->byte_utf8[b], utf8, 2);
    }
}

static int read_vocab(rg_ctx *c, clip_bpe *t, const char *name, size_t n)
{
    rg_json j = rg_json_begin(t->vocab_text, n);
    const char *key;
    size_t n_key;

    if (!rg_strtable_init(&t->vocab, n / 20))       /* the usual entry is 21 bytes */
        return rg_fail(c, RG_ERR_NOMEM, "%s: no memory for the vocabulary", name);
    rg_json_enter(&j, '{');
    while (rg_json_key(&j, &key, &n_key)) {
        const double id = rg_json_number(&j);
        if (j.error)
            break;
        if (!(id >= 0 && id < MAX_ID) || id != (int32_t)id)
            return rg_fail(c, RG_ERR_FORMAT, "%s: vocab.json gives \"%.*s\" the id %g, wanted an integer from 0 to %d", name,
                           (int)(n_key < 80 ? n_key : 80), key, id, MAX_ID - 1);
        if (!rg_strtable_set(&t->vocab, key, n_key, (int32_t)id))
            return rg_fail(c, RG_ERR_NOMEM, "%s: no memory for the vocabulary", name);
        if ((int)id >= t->base.n_ids)
            t->base.n_ids = (int)id + 1;
    }
    rg_json_finish(&j);
    if (j.error)
        return rg_fail(c, RG_ERR_FORMAT, "%s: vocab.json: %s, at byte %zu", name, j.error, j.at);
    t->base.start = rg_strtable_get(&t->vocab, START_TEXT, strlen(START_TEXT));
    t->base.end = rg_strtable_get(&t->vocab, END_TEXT, strlen(END_TEXT));
    if (t->base.start < 0 || t->base.end < 0)
        return rg_fail(c, RG_ERR_FORMAT, "%s: vocab.json has no \"%s\"", name, t->base.start < 0 ? START_TEXT : END_TEXT);
    return 0;
}

/* One line: key is "left right" in place, false if it is not two fields. Nearly every line is its own key already. */
static bool merge_key(char *line, size_t n, size_t *n_key)
{
    size_t n_spaces = 0, fields = 0, out = 0;
    bool is_plain = n > 2 && line[0] != ' ' && line[n - 1] != ' ';

    for (size_t i = 0; i < n && is_plain; i++) {
        const unsigned char b = (unsigned char)line[i];
        n_spaces += b == ' ';
        const unsigned char after = i + 1 < n ? (unsigned char)line[i + 1] : 0;
        is_plain = b >= ' ' && b < 0xE1 && !(b == 0xC2 && (after == 0x85 || after == 0xA0));
    }
    if (is_plain && n_spaces == 1) {
        *n_key = n;
        return true;
    }
    for (size_t i = 0; i < n; ) {       /* split at any white space, as Python does */
        const size_t at = i;
        size_t end = i;
        while (i < n && !rg_uni_is_py_space(rg_utf8_next(line, n, &i)))
            end = i;
        if (end == at)
            continue;
        if (fields++)
            line[out++] = ' ';
        memmove(line + out, line + at, end - at);
        out += end - at;
    }
    *n_key = out;
    return fields == 2;
}

static int read_merges(rg_ctx *c, clip_bpe *t, const char *name, size_t n)
{
    char *text = t->merges_text;
    size_t i = 0;
    int32_t n_lines = 0;

    if (!rg_utf8_is_valid(text, n))
        return rg_fail(c, RG_ERR_FORMAT, "%s: merges.txt is not UTF-8", name);
    if (!rg_strtable_init(&t->merges, n / 11))      /* the usual line is 11 bytes */
        return rg_fail(c, RG_ERR_NOMEM, "%s: no memory for the merges", name);
    for (size_t at = 0; at < n && rg_uni_is_py_space(rg_utf8_next(text, n, &at)); )
        i = at;
    for (; i < n && n_lines <= MAX_MERGES; n_lines++) {
        size_t end = i, n_key;
        while (end < n && text[end] != '\n' && text[end] != '\r')
            end++;
        const size_t next = end + 1 + (end + 1 < n && text[end] == '\r' && text[end + 1] == '\n');
        if (n_lines && merge_key(text + i, end - i, &n_key)) {      /* the first line is a heading */
            if (n_key > MAX_MERGE_KEY)
                return rg_fail(c, RG_ERR_FORMAT, "%s: line %d of merges.txt has %zu bytes, wanted %d at most", name, n_lines + 1,
                               n_key, MAX_MERGE_KEY);
            if (!rg_strtable_set(&t->merges, text + i, n_key, n_lines - 1))
                return rg_fail(c, RG_ERR_NOMEM, "%s: no memory for the merges", name);
            t->n_key_max = n_key > t->n_key_max ? n_key : t->n_key_max;
        }
        i = next;
    }
    return 0;
}

static char *copy_of(const char *text, size_t n)
{
    char *copy = rg_malloc(n);

    if (copy && n)
        memcpy(copy, text, n);
    return copy;
}

int rg_clip_bpe_new(rg_ctx *c, const char *name, const char *vocab_json, size_t n_vocab_json, const char *merges, size_t n_merges,
                    const rg_tokenizer **out)
{
    int ret;
    clip_bpe *t = rg_calloc(1, sizeof *t);

    if (!t)
        return rg_fail(c, RG_ERR_NOMEM, "%s: no memory for a tokenizer", name);
    rg_object_init(t, clip_bpe_free);
    t->base.kind = RG_TOKENIZER_CLIP;
    t->base.encode = encode;
    make_alphabet(t);
    t->vocab_text = copy_of(vocab_json, n_vocab_json);
    t->merges_text = copy_of(merges, n_merges);
    if (!t->vocab_text || !t->merges_text)
        ret = rg_fail(c, RG_ERR_NOMEM, "%s: no memory for a tokenizer", name);
    else if (!(ret = read_vocab(c, t, name, n_vocab_json)))
        ret = read_merges(c, t, name, n_merges);
    if (ret < 0) {
        rg_unref(t);
        return ret;
    }
    *out = &t->base;
    return 0;
}
