/*
 * A tokenizer turns text into the ids of an encoder's vocabulary. Loaded once per file, immutable afterwards, shared by all
 * jobs and threads. Which files belong to an encoder follows from its kind and the size of its vocabulary (docs/text.md).
 */
#ifndef RG_TEXT_TOKENIZER_H
#define RG_TEXT_TOKENIZER_H

#include "engine/core/ctx.h"

typedef enum rg_tokenizer_kind {
    RG_TOKENIZER_CLIP,                  /* vocab.json + merges.txt: byte pair encoding after lower-casing */
    RG_TOKENIZER_T5,                    /* tokenizer.json or spiece.model: a unigram model */
} rg_tokenizer_kind;

/* A growing list of token ids. Zero it to begin, rg_ids_release() in the end. */
typedef struct rg_ids {
    int32_t *id;
    size_t n, capacity;
} rg_ids;

bool rg_ids_push(rg_ids *ids, int32_t id);                  /* false: no memory */
void rg_ids_release(rg_ids *ids);

typedef struct rg_tokenizer rg_tokenizer;
struct rg_tokenizer {
    rg_object base;                     /* each kind of tokenizer begins with this struct and frees itself */
    rg_tokenizer_kind kind;
    int n_ids;                          /* the largest id, plus one */
    int32_t start, end;                 /* what Hugging Face puts around a text; start is -1 for T5 */

    /* Append the ids of text[0..n), without start and end. Malformed UTF-8 counts as U+FFFD. Errors: RG_ERR_NOMEM, RG_ERR_FORMAT. */
    int (*encode)(const rg_tokenizer *t, rg_ctx *c, const char *text, size_t n, rg_ids *out);
};

/*
 * The tokenizer for an encoder with n_vocab rows of embeddings, held once for the caller.
 *   roots    model directories; candidates are the folder tokenizers/ of each and the folders in it, in order
 *   match    CLIP: exactly n_vocab ids. T5: the most ids up to n_vocab, at most 512 fewer (tables are padded to round sizes)
 *   errors   RG_ERR_NOT_FOUND naming the folders searched, what lay there, and what is wanted; RG_ERR_FORMAT for a
 *            malformed file; RG_ERR_NOMEM
 */
int rg_tokenizer_find(rg_ctx *c, rg_tokenizer_kind kind, int n_vocab, const char *const *roots, int n_roots,
                      const rg_tokenizer **out);

/* Load one folder's tokenizer (vocab.json + merges.txt, or tokenizer.json, or spiece.model), without looking at its size. */
int rg_tokenizer_load(rg_ctx *c, rg_tokenizer_kind kind, const char *folder, const rg_tokenizer **out);

/* From bytes in memory, which are copied. `name` stands in error messages. */
int rg_clip_bpe_new(rg_ctx *c, const char *name, const char *vocab_json, size_t n_vocab_json, const char *merges, size_t n_merges,
                    const rg_tokenizer **out);
int rg_unigram_new(rg_ctx *c, const char *name, const char *tokenizer_json, size_t n, const rg_tokenizer **out);
int rg_sentencepiece_new(rg_ctx *c, const char *name, const void *spiece_model, size_t n, const rg_tokenizer **out);

#endif
