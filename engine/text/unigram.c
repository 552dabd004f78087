/*
 * Hugging Face's tokenizer.json with a unigram model, as T5's: added tokens are cut out, the rest is normalized, split at
 * spaces and each piece is covered by the tokens of highest total score (Viterbi).
 *
 * Easy to get wrong, because Hugging Face differs from SentencePiece here and ids must be Hugging Face's:
 * - the normalization table is applied to whole graphemes under six bytes, and what it finds for the beginning of one replaces
 *   all of it (a combining mark after a letter with a replacement vanishes);
 * - scores are added in float64, and were parsed with serde_json's rounding: it decides ties; the first of equal paths stays;
 * - the space in front is put before the first piece of the text only, and not after an added token ("prepend_scheme": "first").
 * Source: Kudo 2018, arXiv:1804.10959; Hugging Face tokenizers 0.22, observed.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/charsmap.h"
#include "engine/core/json.h"
#include "engine/text/tokenizer.h"
#include "engine/text/unicode.h"

enum { MAX_STEPS = 16, MAX_ID = 1 << 24, NO_TOKEN = -1 };

/* ---- a trie over bytes whose edges live in one hash table ----------------------------------------------------------- */

typedef struct trie {
    uint64_t *edges;                    /* (node << 8 | byte) + 1 in the high half, child in the low half; 0: empty */
    size_t n_slots, n_nodes, capacity;
    int32_t *token;                     /* [n_nodes] the token that ends here, or NO_TOKEN; node 0 is the root */
} trie;

static uint64_t *edge_slot(const trie *t, uint32_t key)
{
    size_t i = key * 0x9E3779B1u >> 7;

    while (t->edges[i & (t->n_slots - 1)] && t->edges[i & (t->n_slots - 1)] >> 32 != key)
        i++;
    return &t->edges[i & (t->n_slots - 1)];
}

/* The child of node along byte, or 0. */
static uint32_t trie_step(const trie *t, uint32_t node, char byte)
{
    return (uint32_t)*edge_slot(t, (node << 8 | (unsigned char)byte) + 1);
}

static bool trie_init(trie *t, size_t n_nodes)
{
    t->n_slots = 1024;
    while (t->n_slots < 2 * n_nodes)
        t->n_slots *= 2;
    t->capacity = n_nodes < 16 ? 16 : n_nodes;
    t->edges = rg_calloc(t->n_slots, sizeof *t->edges);
    t->token = rg_malloc(t->capacity * sizeof *t->token);
    if (!t->edges || !t->token)
        return false;
    t->token[0] = NO_TOKEN;
    t->n_nodes = 1;
    return true;
}

static void trie_release(trie *t)
{
    rg_free(t->edges);
    rg_free(t->token);
}

static bool trie_grow(trie *t)
{
    const size_t capacity = 2 * t->capacity, n_slots = 2 * t->n_slots;
    int32_t *token = rg_realloc(t->token, capacity * sizeof *token);
    if (!token)
        return false;
    t->token = token;
    t->capacity = capacity;
    uint64_t *old = t->edges, *edges = rg_calloc(n_slots, sizeof *edges);
    const size_t n_old = t->n_slots;
    if (!edges)
        return false;
    t->edges = edges;
    t->n_slots = n_slots;
    for (size_t i = 0; i < n_old; i++)
        if (old[i])
            *edge_slot(t, (uint32_t)(old[i] >> 32)) = old[i];
    rg_free(old);
    return true;
}

static bool trie_add(trie *t, const char *key, size_t n, int32_t token)
{
    uint32_t node = 0;

    for (size_t i = 0; i < n; i++) {
        const uint32_t edge = (node << 8 | (unsigned char)key[i]) + 1;
        uint64_t *slot = edge_slot(t, edge);
        if (!*slot) {
            if (t->n_nodes == t->capacity || 2 * t->n_nodes >= t->n_slots) {
                if (t->n_nodes >= MAX_ID - 1 || !trie_grow(t))
                    return false;
                slot = edge_slot(t, edge);
            }
            t->token[t->n_nodes] = NO_TOKEN;
            *slot = (uint64_t)edge << 32 | t->n_nodes++;
        }
        node = (uint32_t)*slot;
    }
    t->token[node] = token;
    return true;
}

static int32_t trie_get(const trie *t, const char *key, size_t n)
{
    uint32_t node = 0;

    for (size_t i = 0; i < n; i++)
        if (!(node = trie_step(t, node, key[i])))
            return NO_TOKEN;
    return t->token[node];
}

/* ---- the tokenizer --------------------------------------------------------------------------------------------------- */

typedef struct normalizer {
    enum { N_CHARSMAP, N_STRIP, N_REPLACE } kind;
    rg_charsmap map;
    bool left, right;                   /* N_STRIP */
    const char *content;                /* N_REPLACE: what stands for two or more spaces */
    size_t n_content;
} normalizer;

typedef struct added_token {
    const char *content;
    size_t n;
    int32_t id;
    bool lstrip, rstrip;
} added_token;

typedef struct unigram {
    rg_tokenizer base;
    char *text;                         /* the file, unescaped in place: everything below points into it */
    trie pieces;                        /* piece -> id */
    double *scores;                     /* [n_scores] of each id of the model */
    size_t n_scores, scores_capacity;
    double unknown_score;
    int32_t unknown;

    added_token *added;
    size_t n_added;
    trie added_trie;                    /* content -> index into added */

    normalizer steps[MAX_STEPS];
    int n_steps;
    bool splits_at_white_space;         /* a WhitespaceSplit before the Metaspace */
    bool has_metaspace, metaspace_splits;
    enum { PREPEND_NEVER, PREPEND_FIRST, PREPEND_ALWAYS } prepend;
    char replacement[4];                /* what stands for a space, U+2581 */
    size_t n_replacement;
} unigram;

/* ---- encoding -------------------------------------------------------------------------------------------------------- */

typedef struct buffer {
    char *text;
    size_t n, capacity;
} buffer;

static bool append(buffer *b, const char *text, size_t n)
{
    if (b->n + n > b->capacity || !b->text) {
        const size_t capacity = 2 * (b->n + n) + 256;
        char *more = rg_realloc(b->text, capacity);
        if (!more)
            return false;
        b->text = more;
        b->capacity = capacity;
    }
    if (n)
        memcpy(b->text + b->n, text, n);
    b->n += n;
    return true;
}

typedef struct node {                   /* the best way to cover a piece up to here */
    double score;
    int32_t begin, id;                  /* where the last token begins (-1: not reached) and which it is */
} node;

typedef struct scratch {
    const unigram *t;
    rg_ids *out;
    buffer a, b;                        /* normalization goes back and forth between them */
    node *nodes;
    size_t n_nodes;
} scratch;

/* The tokens of highest total score that cover piece[0..n), n > 0: Viterbi over its bytes. */
static bool encode_piece(scratch *s, const char *piece, size_t n)
{
    const unigram *t = s->t;
    node *best;

    if (n >= INT32_MAX)
        return false;
    if (n + 1 > s->n_nodes) {
        rg_free(s->nodes);
        s->n_nodes = n + n / 2 + 64;
        if (!(s->nodes = rg_malloc(s->n_nodes * sizeof *s->nodes))) {
            s->n_nodes = 0;
            return false;
        }
    }
    best = s->nodes;
    for (size_t i = 0; i <= n; i++)
        best[i] = (node){ 0, -1, 0 };
    for (size_t i = 0, next; i < n; i = next) {
        const double here = best[i].score;
        bool has_single = false;
        uint32_t at = 0;
        next = i;
        rg_utf8_next(piece, n, &next);
        for (size_t end = i; end < n && (at = trie_step(&t->pieces, at, piece[end])); ) {
            end++;
            const int32_t id = t->pieces.token[at];
            if (id == NO_TOKEN)
                continue;
            const double score = t->scores[id] + here;
            if (best[end].begin < 0 || score > best[end].score)
                best[end] = (node){ score, (int32_t)i, id };
            has_single = has_single || end == next;
        }
        if (!has_single) {
            const double score = t->unknown_score + here;
            if (best[next].begin < 0 || score > best[next].score)
                best[next] = (node){ score, (int32_t)i, t->unknown };
        }
    }
    /* back from the end, then turn the new ids around; neighbouring unknowns are one */
    const size_t first = s->out->n;
    for (int32_t end = (int32_t)n; end > 0; end = best[end].begin)
        if (!(best[end].id == t->unknown && s->out->n > first && s->out->id[s->out->n - 1] == t->unknown))
            if (!rg_ids_push(s->out, best[end].id))
                return false;
    for (size_t low = first, high = s->out->n; low + 1 < high; low++) {
        const int32_t id = s->out->id[--high];
        s->out->id[high] = s->out->id[low];
        s->out->id[low] = id;
    }
    return true;
}

static bool apply_charsmap(const rg_charsmap *map, const char *text, size_t n, buffer *out)
{
    const char *with;
    size_t n_with;

    for (size_t i = 0; i < n; ) {
        const size_t n_grapheme = rg_uni_grapheme(text + i, n - i), end = i + n_grapheme;
        if (n_grapheme < 6 && rg_charsmap_find(map, text + i, n_grapheme, &with, &n_with)) {
            if (!append(out, with, n_with))
                return false;
            i = end;
        }
        while (i < end) {
            size_t next = i;
            rg_utf8_next(text, n, &next);
            const bool found = rg_charsmap_find(map, text + i, next - i, &with, &n_with);
            if (!append(out, found ? with : text + i, found ? n_with : next - i))
                return false;
            i = next;
        }
    }
    return true;
}

/* *is_first goes when characters in front are dropped: the text no longer begins where the prompt does. */
static bool apply_strip(const normalizer *step, const char *text, size_t n, buffer *out, bool *is_first)
{
    size_t begin = 0, end = n;

    for (size_t i = 0; step->left && i < n && rg_uni_is_white_space(rg_utf8_next(text, n, &i)); )
        begin = i;
    for (size_t i = begin, last = begin; step->right && i < n; end = last)
        if (!rg_uni_is_white_space(rg_utf8_next(text, n, &i)))
            last = i;
    *is_first = *is_first && begin == 0;
    return append(out, text + begin, end - begin);
}

/* Two or more spaces become one thing. */
static bool apply_replace(const normalizer *step, const char *text, size_t n, buffer *out)
{
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i; end < n && text[end] == ' '; )
            end++;
        const bool found = end - i >= 2;
        end = found ? end : i + 1;
        if (!append(out, found ? step->content : text + i, found ? step->n_content : 1))
            return false;
    }
    return true;
}

/* A piece between white space (or all of it): spaces become U+2581, and each word begins with one. */
static bool encode_metaspace(scratch *s, const char *text, size_t n, bool is_first, buffer *words)
{
    const unigram *t = s->t;
    const char *mark = t->replacement;
    const size_t n_mark = t->n_replacement;

    if (!n)
        return true;
    if (!t->has_metaspace)
        return encode_piece(s, text, n);
    words->n = 0;
    const bool has_mark = text[0] == ' ' || (n >= n_mark && !memcmp(text, mark, n_mark));
    if (!has_mark && (t->prepend == PREPEND_ALWAYS || (t->prepend == PREPEND_FIRST && is_first)) && !append(words, mark, n_mark))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!(text[i] == ' ' ? append(words, mark, n_mark) : append(words, text + i, 1)))
            return false;
    if (!t->metaspace_splits)
        return encode_piece(s, words->text, words->n);
    for (size_t i = 0, end; i < words->n; i = end) {
        for (end = i + 1; end < words->n && !(words->n - end >= n_mark && !memcmp(words->text + end, mark, n_mark)); )
            end++;
        if (!encode_piece(s, words->text + i, end - i))
            return false;
    }
    return true;
}

/* Text between added tokens. */
static bool encode_plain(scratch *s, const char *text, size_t n, bool is_first)
{
    const unigram *t = s->t;
    buffer *in = &s->a, *out = &s->b, *swap;

    in->n = 0;
    if (!append(in, text, n))
        return false;
    for (int i = 0; i < t->n_steps; i++) {
        const normalizer *step = &t->steps[i];
        out->n = 0;
        if (!append(out, "", 0) ||
            !(step->kind == N_CHARSMAP ? apply_charsmap(&step->map, in->text, in->n, out)
              : step->kind == N_STRIP ? apply_strip(step, in->text, in->n, out, &is_first) : apply_replace(step, in->text, in->n, out)))
            return false;
        swap = in;
        in = out;
        out = swap;
    }
    if (!t->splits_at_white_space)
        return encode_metaspace(s, in->text, in->n, is_first, out);
    for (size_t i = 0, begin = 0, next; i <= in->n; i = next) {
        next = i;
        if (i < in->n && !rg_uni_is_white_space(rg_utf8_next(in->text, in->n, &next)))
            continue;
        if (!encode_metaspace(s, in->text + begin, i - begin, is_first && begin == 0, out))
            return false;
        begin = next = next > i ? next : i + 1;
    }
    return true;
}

/* The well-formed text[0..n): cut out added tokens, the longest of those that begin leftmost. */
static bool encode_valid(scratch *s, const char *text, size_t n)
{
    const unigram *t = s->t;
    size_t plain = 0;                   /* where the text begins that no token has taken yet */

    for (size_t i = 0; i < n; ) {
        int32_t found = NO_TOKEN;
        size_t end = i;
        uint32_t at = 0;
        for (size_t k = i; t->n_added && k < n && (at = trie_step(&t->added_trie, at, text[k])); ) {
            k++;
            if (t->added_trie.token[at] != NO_TOKEN) {
                found = t->added_trie.token[at];
                end = k;
            }
        }
        if (found == NO_TOKEN) {
            i++;
            continue;
        }
        const added_token *token = &t->added[found];
        size_t begin = i;
        i = end;
        for (size_t k = plain, last = plain; token->lstrip && k < begin; )      /* white space before it is its own */
            if (!rg_uni_is_white_space(rg_utf8_next(text, n, &k)))
                last = k;
            else if (k >= begin)
                begin = last;
        for (size_t k = end; token->rstrip && k < n && rg_uni_is_white_space(rg_utf8_next(text, n, &k)); )
            end = k;
        if ((begin > plain && !encode_plain(s, text + plain, begin - plain, plain == 0)) || !rg_ids_push(s->out, token->id))
            return false;
        plain = end;
    }
    return plain >= n || encode_plain(s, text + plain, n - plain, plain == 0);
}

static int encode(const rg_tokenizer *base, rg_ctx *c, const char *text, size_t n, rg_ids *out)
{
    scratch s = { .t = (const unigram *)base, .out = out };
    buffer valid = { 0 };
    bool ok = true;

    if (!rg_utf8_is_valid(text, n)) {
        for (size_t i = 0; ok && i < n; ) {
            char utf8[4];
            const uint32_t cp = rg_utf8_next(text, n, &i);
            ok = append(&valid, utf8, (size_t)rg_utf8_put(utf8, cp));
        }
        text = valid.text;
        n = valid.n;
    }
    ok = ok && encode_valid(&s, text, n);
    rg_free(valid.text);
    rg_free(s.a.text);
    rg_free(s.b.text);
    rg_free(s.nodes);
    return ok ? 0 : rg_fail(c, RG_ERR_NOMEM, "no memory to tokenise a prompt");
}

/* ---- loading --------------------------------------------------------------------------------------------------------- */

static void unigram_free(void *self)
{
    unigram *t = self;

    trie_release(&t->pieces);
    trie_release(&t->added_trie);
    rg_free(t->scores);
    rg_free(t->added);
    rg_free(t->text);
    rg_free(t);
}

/* Base64 in place; the number of bytes, or SIZE_MAX if it is none. */
static size_t base64_decode(char *text, size_t n)
{
    uint32_t bits = 0;
    size_t out = 0, n_digits = 0;

    while (n && text[n - 1] == '=')
        n--;
    for (size_t i = 0; i < n; i++) {
        const char ch = text[i];
        const int digit = ch >= 'A' && ch <= 'Z' ? ch - 'A' : ch >= 'a' && ch <= 'z' ? ch - 'a' + 26
                          : ch >= '0' && ch <= '9' ? ch - '0' + 52 : ch == '+' ? 62 : ch == '/' ? 63 : -1;
        if (digit < 0)
            return SIZE_MAX;
        bits = bits << 6 | (uint32_t)digit;
        if (++n_digits % 4 != 1)
            text[out++] = (char)(bits >> (6 - 2 * ((n_digits - 1) % 4)));
    }
    return n_digits % 4 == 1 ? SIZE_MAX : out;
}

/* What a reader hands to its parts. */
typedef struct loader {
    rg_ctx *c;
    const char *name;
    unigram *t;
    rg_json j;
    size_t added_capacity;
    bool has_model, has_unknown;
    const char *before, *after;         /* the special tokens of the template, one on either side at most */
    size_t n_before, n_after;
} loader;

static bool refuse(loader *l, const char *what, const char *text, size_t n)
{
    rg_fail(l->c, RG_ERR_FORMAT, "%s: %s \"%.*s\" is not supported", l->name, what, (int)(n < 80 ? n : 80), text);
    return false;
}

static bool no_memory(loader *l)
{
    rg_fail(l->c, RG_ERR_NOMEM, "%s: no memory for the vocabulary", l->name);
    return false;
}

/* true if all is well so far: neither the text nor what it says was wrong */
static bool is_well(const loader *l)
{
    return !l->j.error && !l->c->error;
}

static bool key_is(const char *key, size_t n, const char *name)
{
    return rg_json_is(key, n, name);
}

static bool read_id(loader *l, int32_t *id)
{
    const double value = rg_json_number(&l->j);

    if (!l->j.error && (!(value >= 0 && value < MAX_ID) || value != (int32_t)value)) {
        rg_fail(l->c, RG_ERR_FORMAT, "%s: a token has the id %g, wanted an integer from 0 to %d", l->name, value, MAX_ID - 1);
        return false;
    }
    *id = l->j.error ? 0 : (int32_t)value;
    return is_well(l);
}

/* [{"id": 0, "content": "<pad>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}, ...] */
static bool read_added(loader *l)
{
    unigram *t = l->t;
    rg_json *j = &l->j;
    const char *key;
    size_t n;

    rg_json_enter(j, '[');
    while (rg_json_item(j)) {
        added_token a = { .id = -1 };
        bool is_normalized = true, is_single = false;
        rg_json_enter(j, '{');
        while (is_well(l) && rg_json_key(j, &key, &n))
            if (key_is(key, n, "id"))
                read_id(l, &a.id);
            else if (key_is(key, n, "content"))
                rg_json_string(j, &a.content, &a.n);
            else if (key_is(key, n, "lstrip"))
                a.lstrip = rg_json_bool(j);
            else if (key_is(key, n, "rstrip"))
                a.rstrip = rg_json_bool(j);
            else if (key_is(key, n, "normalized"))
                is_normalized = rg_json_bool(j);
            else if (key_is(key, n, "single_word"))
                is_single = rg_json_bool(j);
            else
                rg_json_skip(j);
        if (!is_well(l))
            return false;
        if (a.id < 0 || !a.n) {
            rg_fail(l->c, RG_ERR_FORMAT, "%s: an added token has no id or no content", l->name);
            return false;
        }
        if (is_normalized || is_single)
            return refuse(l, is_single ? "the single-word added token" : "the normalized added token", a.content, a.n);
        if (t->n_added == l->added_capacity) {
            l->added_capacity = 2 * t->n_added + 128;
            added_token *more = rg_realloc(t->added, l->added_capacity * sizeof *more);
            if (!more)
                return no_memory(l);
            t->added = more;
        }
        if (!trie_add(&t->added_trie, a.content, a.n, (int32_t)t->n_added))
            return no_memory(l);
        t->added[t->n_added++] = a;
        t->base.n_ids = a.id >= t->base.n_ids ? a.id + 1 : t->base.n_ids;
    }
    return is_well(l);
}

/* {"type": "Unigram", "unk_id": 2, "vocab": [["<pad>", 0.0], ...]} */
static bool read_model(loader *l)
{
    unigram *t = l->t;
    rg_json *j = &l->j;
    const char *key, *text;
    size_t n, n_text;
    double lowest = INFINITY;

    rg_json_enter(j, '{');
    while (is_well(l) && rg_json_key(j, &key, &n)) {
        if (key_is(key, n, "type")) {
            if (rg_json_string(j, &text, &n_text) && !key_is(text, n_text, "Unigram"))
                return refuse(l, "the model type", text, n_text);
        } else if (key_is(key, n, "unk_id")) {
            l->has_unknown = read_id(l, &t->unknown);
        } else if (key_is(key, n, "byte_fallback")) {
            if (rg_json_bool(j))
                return refuse(l, "the option", key, n);
        } else if (key_is(key, n, "vocab")) {
            l->has_model = true;
            rg_json_enter(j, '[');
            while (rg_json_item(j)) {
                if (!rg_json_enter(j, '[') || !rg_json_item(j) || !rg_json_string(j, &text, &n_text) || !rg_json_item(j))
                    return false;
                const double score = rg_json_number(j);
                if (rg_json_item(j) || j->error)
                    return false;
                if (t->n_scores == t->scores_capacity) {
                    const size_t capacity = 2 * t->n_scores + 65536;
                    double *more = rg_realloc(t->scores, capacity * sizeof *more);
                    if (!more)
                        return no_memory(l);
                    t->scores = more;
                    t->scores_capacity = capacity;
                }
                if (!n_text || t->n_scores >= MAX_ID) {
                    rg_fail(l->c, RG_ERR_FORMAT, "%s: piece %zu of the vocabulary is empty, or one too many", l->name, t->n_scores);
                    return false;
                }
                if (!trie_add(&t->pieces, text, n_text, (int32_t)t->n_scores))
                    return no_memory(l);
                lowest = score < lowest ? score : lowest;
                t->scores[t->n_scores++] = score;
            }
        } else {
            rg_json_skip(j);
        }
    }
    t->unknown_score = lowest - 10;     /* SentencePiece's penalty for a character that no token covers */
    t->base.n_ids = (int)t->n_scores > t->base.n_ids ? (int)t->n_scores : t->base.n_ids;
    return is_well(l);
}

static bool read_normalizer(loader *l)
{
    unigram *t = l->t;
    rg_json *j = &l->j;
    normalizer step = { .kind = N_CHARSMAP };
    const char *key, *type = "", *text = NULL;
    size_t n, n_type = 0, n_text = 0;
    bool has_list = false;

    if (rg_json_peek(j) == 'n')
        return rg_json_skip(j);
    rg_json_enter(j, '{');
    while (is_well(l) && rg_json_key(j, &key, &n))
        if (key_is(key, n, "type")) {
            rg_json_string(j, &type, &n_type);
        } else if (key_is(key, n, "normalizers")) {
            has_list = true;
            for (rg_json_enter(j, '['); is_well(l) && rg_json_item(j); )
                read_normalizer(l);
        } else if (key_is(key, n, "precompiled_charsmap")) {
            rg_json_string(j, &text, &n_text);
        } else if (key_is(key, n, "strip_left")) {
            step.left = rg_json_bool(j);
        } else if (key_is(key, n, "strip_right")) {
            step.right = rg_json_bool(j);
        } else if (key_is(key, n, "content")) {
            rg_json_string(j, &step.content, &step.n_content);
        } else if (key_is(key, n, "pattern")) {
            rg_json_enter(j, '{');
            while (is_well(l) && rg_json_key(j, &key, &n))
                if (rg_json_string(j, &text, &n_text) && !(key_is(key, n, "Regex") && key_is(text, n_text, " {2,}")))
                    return refuse(l, "the pattern", text, n_text);
        } else {
            rg_json_skip(j);
        }
    if (!is_well(l))
        return false;
    if (key_is(type, n_type, "Sequence") && has_list)
        return true;
    if (key_is(type, n_type, "Precompiled") && text) {
        const size_t n_map = base64_decode((char *)text, n_text);       /* text lies in our own copy of the file */
        const char *wrong = n_map == SIZE_MAX ? "the normalization table is no base64" : rg_charsmap_open(&step.map, text, n_map);
        if (wrong) {
            rg_fail(l->c, RG_ERR_FORMAT, "%s: %s", l->name, wrong);
            return false;
        }
    } else if (key_is(type, n_type, "Strip")) {
        step.kind = N_STRIP;
    } else if (key_is(type, n_type, "Replace") && step.content) {
        step.kind = N_REPLACE;
    } else {
        return refuse(l, "the normalizer", type, n_type);
    }
    if (t->n_steps == MAX_STEPS)
        return refuse(l, "one more normalizer after 16:", type, n_type);
    t->steps[t->n_steps++] = step;
    return true;
}

static bool read_pre_tokenizer(loader *l)
{
    unigram *t = l->t;
    rg_json *j = &l->j;
    const char *key, *type = "", *scheme = NULL, *mark = "\xE2\x96\x81";
    size_t n, n_type = 0, n_scheme = 0, n_mark = 3;
    bool adds_prefix = true, splits = true, has_list = false;

    if (rg_json_peek(j) == 'n')
        return rg_json_skip(j);
    rg_json_enter(j, '{');
    while (is_well(l) && rg_json_key(j, &key, &n))
        if (key_is(key, n, "type")) {
            rg_json_string(j, &type, &n_type);
        } else if (key_is(key, n, "pretokenizers")) {
            has_list = true;
            for (rg_json_enter(j, '['); is_well(l) && rg_json_item(j); )
                read_pre_tokenizer(l);
        } else if (key_is(key, n, "replacement")) {
            rg_json_string(j, &mark, &n_mark);
        } else if (key_is(key, n, "prepend_scheme")) {
            rg_json_string(j, &scheme, &n_scheme);
        } else if (key_is(key, n, "add_prefix_space")) {
            adds_prefix = rg_json_bool(j);
        } else if (key_is(key, n, "split")) {
            splits = rg_json_bool(j);
        } else {
            rg_json_skip(j);
        }
    if (!is_well(l))
        return false;
    if (key_is(type, n_type, "Sequence") && has_list)
        return true;
    if (key_is(type, n_type, "WhitespaceSplit") && !t->has_metaspace) {
        t->splits_at_white_space = true;
        return true;
    }
    if (!key_is(type, n_type, "Metaspace") || t->has_metaspace || !n_mark || n_mark > sizeof t->replacement)
        return refuse(l, "the pre-tokenizer", type, n_type);
    memcpy(t->replacement, mark, n_mark);
    t->n_replacement = n_mark;
    t->has_metaspace = true;
    t->metaspace_splits = splits;
    if (!scheme)
        t->prepend = adds_prefix ? PREPEND_ALWAYS : PREPEND_NEVER;
    else if (key_is(scheme, n_scheme, "first") || key_is(scheme, n_scheme, "always"))
        t->prepend = scheme[0] == 'f' ? PREPEND_FIRST : PREPEND_ALWAYS;
    else if (!key_is(scheme, n_scheme, "never"))
        return refuse(l, "the prepend_scheme", scheme, n_scheme);
    return true;
}

/* {"type": "TemplateProcessing", "single": [{"Sequence": ...}, {"SpecialToken": {"id": "</s>"}}], ...} */
static bool read_post_processor(loader *l)
{
    rg_json *j = &l->j;
    const char *key, *text;
    size_t n, n_text;
    bool is_after = false;

    if (rg_json_peek(j) == 'n')
        return rg_json_skip(j);
    rg_json_enter(j, '{');
    while (is_well(l) && rg_json_key(j, &key, &n)) {
        if (key_is(key, n, "type")) {
            if (rg_json_string(j, &text, &n_text) && !key_is(text, n_text, "TemplateProcessing"))
                return refuse(l, "the post-processor", text, n_text);
        } else if (key_is(key, n, "single")) {
            for (rg_json_enter(j, '['); is_well(l) && rg_json_item(j); ) {
                bool is_token = false;
                rg_json_enter(j, '{');
                while (is_well(l) && rg_json_key(j, &key, &n)) {
                    is_token = key_is(key, n, "SpecialToken");
                    is_after = is_after || !is_token;
                    rg_json_enter(j, '{');
                    while (is_well(l) && rg_json_key(j, &key, &n)) {
                        if (!is_token || !key_is(key, n, "id"))
                            rg_json_skip(j);
                        else if (!rg_json_string(j, &text, &n_text) || (is_after ? l->after : l->before))
                            return is_well(l) && refuse(l, "a second special token on one side,", text, n_text);
                        else if (is_after)
                            l->after = text, l->n_after = n_text;
                        else
                            l->before = text, l->n_before = n_text;
                    }
                }
            }
        } else {
            rg_json_skip(j);
        }
    }
    return is_well(l);
}

static int32_t id_of(const unigram *t, const char *text, size_t n)
{
    const int32_t added = trie_get(&t->added_trie, text, n);

    return added == NO_TOKEN ? trie_get(&t->pieces, text, n) : t->added[added].id;
}

static bool read_file(loader *l)
{
    unigram *t = l->t;
    const char *key;
    size_t n;

    rg_json_enter(&l->j, '{');
    while (is_well(l) && rg_json_key(&l->j, &key, &n))
        if (key_is(key, n, "added_tokens"))
            read_added(l);
        else if (key_is(key, n, "normalizer"))
            read_normalizer(l);
        else if (key_is(key, n, "pre_tokenizer"))
            read_pre_tokenizer(l);
        else if (key_is(key, n, "post_processor"))
            read_post_processor(l);
        else if (key_is(key, n, "model"))
            read_model(l);
        else
            rg_json_skip(&l->j);
    rg_json_finish(&l->j);
    if (l->c->error)
        return false;
    if (l->j.error) {
        rg_fail(l->c, RG_ERR_FORMAT, "%s: tokenizer.json: %s, at byte %zu", l->name, l->j.error, l->j.at);
        return false;
    }
    if (!l->has_model || !l->has_unknown || (size_t)t->unknown >= t->n_scores) {
        rg_fail(l->c, RG_ERR_FORMAT, "%s: tokenizer.json has no unigram vocabulary with an unk_id inside it", l->name);
        return false;
    }
    t->base.start = l->before ? id_of(t, l->before, l->n_before) : -1;
    t->base.end = l->after ? id_of(t, l->after, l->n_after) : -1;
    if (t->base.end < 0 || (l->before && t->base.start < 0)) {
        rg_fail(l->c, RG_ERR_FORMAT, "%s: the post-processor of tokenizer.json names no end token of the vocabulary", l->name);
        return false;
    }
    return true;
}

int rg_unigram_new(rg_ctx *c, const char *name, const char *tokenizer_json, size_t n, const rg_tokenizer **out)
{
    loader l = { .c = c, .name = name, .t = rg_calloc(1, sizeof *l.t) };
    unigram *t = l.t;

    if (rg_check(c) < 0) {
        rg_free(t);
        return c->error;
    }
    if (!t)
        return rg_fail(c, RG_ERR_NOMEM, "%s: no memory for a tokenizer", name);
    rg_object_init(t, unigram_free);
    t->base.kind = RG_TOKENIZER_T5;
    t->base.encode = encode;
    if (!(t->text = rg_malloc(n)) || !trie_init(&t->pieces, n / 24) || !trie_init(&t->added_trie, 1024)) {
        rg_unref(t);
        return rg_fail(c, RG_ERR_NOMEM, "%s: no memory for a tokenizer", name);
    }
    memcpy(t->text, tokenizer_json, n);
    l.j = rg_json_begin(t->text, n);
    if (!read_file(&l)) {
        rg_unref(t);
        return c->error;
    }
    *out = &t->base;
    return 0;
}
