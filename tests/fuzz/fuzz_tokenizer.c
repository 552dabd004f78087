/*
 * Tokenizer files and the text they tokenise. The first byte says which:
 *     c  n_text[2] n_merges[2]   vocab.json, merges.txt, text         j  n_text[2]   tokenizer.json, text
 *     s  n_text[2]               spiece.model, text                   p              a prompt for a small fixed tokenizer
 * Sizes are little-endian; parts come in this order, the first takes what the others leave.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/text/prompt.h"

static const char vocab[] = "{\"a\": 0, \"b\": 1, \"ab\": 2, \"ab</w>\": 3, \"a</w>\": 4, \"(</w>\": 5, \"<|startoftext|>\": 6, \"<|endoftext|>\": 7}";
static const char merges[] = "#version: 0.2\na b\nab a\na b</w>\nb ab\n";

/* A section is whole, ids are in the vocabulary. */
static void check_prompt(rg_ctx *c, const rg_tokenizer *t, const char *text, size_t n)
{
    const rg_prompt_options o = { .tokenizer = t, .max_length = 77, .pads_sections = true, .pad = t->end, .n_roots = 0 };
    rg_prompt p = { 0 };

    if (rg_prompt_tokenize(c, &o, text, n, &p) == 0)
        for (size_t i = 0; i < p.n_sections; i++)
            if (p.ends[i] != 77 * (i + 1) || p.tokens[77 * i].id != t->start)
                abort();
    for (size_t i = 0; i < p.n_tokens; i++)
        if (p.tokens[i].id < 0 || p.tokens[i].id >= t->n_ids)
            abort();
    rg_prompt_release(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes)
{
    static rg_ctx *c;
    static const rg_tokenizer *fixed;
    const rg_tokenizer *t = NULL;
    const char *text = (const char *)bytes;
    rg_ids ids = { 0 };

    if (!c && !(c = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL)))
        return 0;
    if (!fixed && rg_clip_bpe_new(c, "fixed", vocab, sizeof vocab - 1, merges, sizeof merges - 1, &fixed) < 0)
        abort();
    if (n_bytes && bytes[0] == 'p') {
        check_prompt(c, fixed, text + 1, n_bytes - 1);
    } else if (n_bytes >= 5) {
        const size_t head = bytes[0] == 'c' ? 5 : 3, rest = n_bytes - head;
        size_t n_text = bytes[1] | (size_t)bytes[2] << 8, n_merges = bytes[0] == 'c' ? bytes[3] | (size_t)bytes[4] << 8 : 0;
        n_text = n_text < rest ? n_text : rest;
        n_merges = n_merges < rest - n_text ? n_merges : rest - n_text;
        const size_t n_file = rest - n_text - n_merges;
        text += head;
        if (bytes[0] == 'c')
            rg_clip_bpe_new(c, "f", text, n_file, text + n_file, n_merges, &t);
        else if (bytes[0] == 'j')
            rg_unigram_new(c, "f", text, n_file, &t);
        else if (bytes[0] == 's')
            rg_sentencepiece_new(c, "f", text, n_file, &t);
        if (t)
            t->encode(t, c, text + n_file + n_merges, n_text, &ids);
        for (size_t i = 0; i < ids.n; i++)
            if (ids.id[i] < 0 || ids.id[i] >= t->n_ids)
                abort();
    }
    rg_ids_release(&ids);
    rg_unref(t);
    rg_ctx_reset(c);
    return 0;
}
