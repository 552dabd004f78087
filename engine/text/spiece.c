/*
 * A spiece.model tokenizer, as ComfyUI's SPieceTokenizer: SentencePiece's own ids, and </s> at the end.
 *
 * The library trusts a model file: a walk through a malformed normalization table leaves its memory. So the file is read
 * here once, as protocol buffers, and refused unless everything that the library takes on trust holds.
 * Source: sentencepiece_model.proto, for the field numbers; Protocol Buffers' encoding page.
 */
#include <math.h>
#include <string.h>

#include "engine/text/charsmap.h"
#include "engine/text/sentencepiece.h"
#include "engine/text/strtable.h"
#include "engine/text/tokenizer.h"
#include "engine/text/unicode.h"

typedef struct spiece {
    rg_tokenizer base;
    rg_spm *model;
} spiece;

/* ---- protocol buffers: one message's fields, in order ----------------------------------------------------------------- */

typedef struct message {
    const unsigned char *at, *end;
    bool is_broken;
} message;

typedef struct field {
    unsigned number, wire;              /* wire: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes */
    uint64_t value;                     /* wire 0 */
    const unsigned char *data;          /* wires 1, 2, 5 */
    size_t n;
} field;

static bool read_varint(message *m, uint64_t *value)
{
    *value = 0;
    for (int shift = 0; shift < 64 && m->at < m->end; shift += 7) {
        const unsigned char byte = *m->at++;
        *value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80)
            return true;
    }
    m->is_broken = true;
    return false;
}

/* The next field; false at the end, or when the message is broken. */
static bool next_field(message *m, field *f)
{
    uint64_t tag, n = 0;

    if (m->at == m->end || m->is_broken || !read_varint(m, &tag))
        return false;
    f->number = (unsigned)(tag >> 3);
    f->wire = tag & 7;
    f->value = 0;
    if (f->wire == 0)
        return read_varint(m, &f->value);
    if (f->wire == 2 ? !read_varint(m, &n) : f->wire != 1 && f->wire != 5)
        n = UINT64_MAX;
    n = f->wire == 1 ? 8 : f->wire == 5 ? 4 : n;
    if (n > (uint64_t)(m->end - m->at)) {
        m->is_broken = true;
        return false;
    }
    f->data = m->at;
    f->n = (size_t)n;
    m->at += n;
    return true;
}

static message message_of(const field *f)
{
    return (message){ f->data, f->data + f->n, f->wire != 2 };
}

/* ---- the checks ----------------------------------------------------------------------------------------------------------- */

/* A normalizer's table may be empty; otherwise it must hold water. */
static const char *check_normalizer(const field *spec)
{
    message m = message_of(spec);
    rg_charsmap map;
    field f;

    while (next_field(&m, &f)) {
        if (f.number == 2 && f.wire != 2)
            return "the normalization table is no bytes";
        const char *wrong = f.number == 2 && f.n ? rg_charsmap_open(&map, f.data, f.n) : NULL;
        if (wrong)
            return wrong;
    }
    return m.is_broken ? "a normalizer is cut off" : NULL;
}

static const char *check_piece(const field *piece, rg_strtable *seen, int *n_unknown, int index)
{
    message m = message_of(piece);
    field f, text = { 0 };
    uint64_t type = 1;                  /* 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte */
    float score = 0;

    while (next_field(&m, &f)) {
        if (f.number == 1 && f.wire == 2)
            text = f;
        else if (f.number == 2 && f.wire == 5)
            memcpy(&score, f.data, 4);
        else if (f.number == 3 && f.wire == 0)
            type = f.value;
    }
    if (m.is_broken)
        return "a piece is cut off";
    if (!text.n || memchr(text.data, 0, text.n) || !rg_utf8_is_valid((const char *)text.data, text.n))
        return "a piece is empty, or no text";
    if (!isfinite(score) || fabsf(score) > 1e6f)
        return "the score of a piece is not a sensible number";
    if (type < 1 || type > 6)
        return "a piece is of an unknown type";
    *n_unknown += type == 2;
    if (rg_strtable_get(seen, (const char *)text.data, text.n) >= 0)
        return "a piece occurs twice";
    return rg_strtable_set(seen, (const char *)text.data, text.n, index) ? NULL : "no memory to check it";
}

/* What is wrong with the model, in words, or NULL and the number of its pieces. */
static const char *check_model(const void *data, size_t n, int *n_pieces)
{
    message m = { data, (const unsigned char *)data + n, false };
    field f;
    rg_strtable seen = { 0 };
    const char *wrong = NULL;
    int n_unknown = 0;

    *n_pieces = 0;
    while (!wrong && next_field(&m, &f)) {
        if (f.number == 1) {
            wrong = *n_pieces < 1 << 24 ? check_piece(&f, &seen, &n_unknown, *n_pieces) : "it has too many pieces";
            ++*n_pieces;
        } else if (f.number == 3 || f.number == 5) {
            wrong = check_normalizer(&f);
        } else if (f.number == 2) {
            message trainer = message_of(&f);
            while (next_field(&trainer, &f))
                if (f.number == 3 && f.value != 1)
                    wrong = "it is not a unigram model";
            wrong = trainer.is_broken ? "the trainer's settings are cut off" : wrong;
        }
    }
    rg_strtable_release(&seen);
    return wrong ? wrong : m.is_broken ? "it is cut off" : n_unknown != 1 ? "it has not exactly one unknown piece" : NULL;
}

/* ---- the tokenizer ---------------------------------------------------------------------------------------------------------- */

static void spiece_free(void *self)
{
    spiece *t = self;

    rg_spm_close(t->model);
    rg_free(t);
}

static bool push(void *ids, int32_t id)
{
    return rg_ids_push(ids, id);
}

static int encode(const rg_tokenizer *base, rg_ctx *c, const char *text, size_t n, rg_ids *out)
{
    if (!rg_spm_encode(((const spiece *)base)->model, text, n, push, out))
        return rg_fail(c, RG_ERR_NOMEM, "SentencePiece failed on a prompt of %zu bytes", n);
    return 0;
}

int rg_sentencepiece_new(rg_ctx *c, const char *name, const void *spiece_model, size_t n, const rg_tokenizer **out)
{
    char message[256];
    int n_pieces;
    const char *wrong = check_model(spiece_model, n, &n_pieces);

    if (wrong)
        return rg_fail(c, RG_ERR_FORMAT, "%s: spiece.model: %s", name, wrong);
    spiece *t = rg_calloc(1, sizeof *t);
    if (!t)
        return rg_fail(c, RG_ERR_NOMEM, "%s: no memory for a tokenizer", name);
    rg_object_init(t, spiece_free);
    t->base.kind = RG_TOKENIZER_T5;
    t->base.encode = encode;
    t->base.start = -1;
    if (!(t->model = rg_spm_open(spiece_model, n, message, sizeof message))) {
        rg_unref(t);
        return rg_fail(c, RG_ERR_FORMAT, "%s: spiece.model: %s", name, message);
    }
    t->base.n_ids = rg_spm_size(t->model);
    t->base.end = rg_spm_end(t->model);
    if (t->base.end < 0 || t->base.n_ids != n_pieces) {
        rg_unref(t);
        return rg_fail(c, RG_ERR_FORMAT, "%s: spiece.model has no end token", name);
    }
    *out = &t->base;
    return 0;
}
