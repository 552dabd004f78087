/*
 * From a prompt to weighted tokens in sections of an encoder's length: ComfyUI's SDTokenizer.
 *
 *     (red:1.3) ball     a weight for a part; nested weights are absolute, ((red)) is 1.1 * 1.1
 *     \( \)              a bracket that is meant; [brackets] mean nothing
 *     embedding:name     rows of a textual inversion file instead of tokens (embedding.h)
 *
 * A section is start, tokens, end, padding. Words (here: parts of equal weight) under eight tokens are not cut by the end of
 * a section. Brackets that do not match are text.
 */
#ifndef RG_TEXT_PROMPT_H
#define RG_TEXT_PROMPT_H

#include "engine/text/tokenizer.h"

typedef struct rg_token {
    int32_t id;                         /* -1: a row of an embedding */
    double weight;
    const rg_tensor *row;               /* [D] when id is -1; held by the prompt */
} rg_token;

typedef struct rg_prompt {
    rg_token *tokens;                   /* of all sections, one after the other */
    size_t n_tokens, capacity;
    size_t *ends;                       /* [n_sections] index after each section's last token */
    size_t n_sections, sections_capacity;
} rg_prompt;

typedef struct rg_prompt_options {
    const rg_tokenizer *tokenizer;
    int64_t max_length;                 /* of a section: 77; INT64_MAX for T5 */
    int64_t min_length;                 /* pad up to this: 256 for T5 with Flux; 0 for none */
    bool pads_sections;                 /* fill every section up to max_length: CLIP */
    int32_t pad;

    const char *const *roots;           /* model directories: embeddings lie in the folder embeddings/ of each */
    int n_roots;
    const char *embedding_key;          /* "clip_l", "t5xxl": which tensor of a file with several */
} rg_prompt_options;

/*
 * Zero *out before, rg_prompt_release() it afterwards, also on failure.
 *   errors   RG_ERR_INVALID (brackets nested too deep, "embedding:" without a name), RG_ERR_NOMEM, and those of rg_embedding_load()
 */
int rg_prompt_tokenize(rg_ctx *c, const rg_prompt_options *o, const char *text, size_t n, rg_prompt *out);
void rg_prompt_release(rg_prompt *p);

/* The section that weights are measured against: start, end and padding, n tokens in all. Appended to *out. */
int rg_prompt_add_empty(rg_ctx *c, const rg_prompt_options *o, size_t n, rg_prompt *out);

#endif
