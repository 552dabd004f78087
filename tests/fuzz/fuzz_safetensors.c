/*
 * Safetensors headers and shard indexes. The first byte chooses: 'i' takes the rest as an index, else all is a file.
 * Whatever opens is looked at in full: every name, every tensor, what it is detected as, a table loaded from it.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/weights/detect.h"
#include "engine/weights/weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile size_t n_odd_bytes;      /* so that reading is not optimised away */

static void look(rg_ctx *c, rg_safetensors *f)
{
    const rg_weight_options options = { .compute_dtype = RG_F32, .storage_dtype = RG_N_DTYPES };
    const char *key, *value;
    rg_detected d;
    rg_weights *w = NULL;

    for (int i = 0; rg_safetensors_meta_at(f, i, &key, &value); i++)
        if (!rg_safetensors_meta(f, key))
            RG_BUG("metadata \"%s\" is not found", key);
    for (int i = 0; i < rg_safetensors_count(f); i++) {
        const rg_safetensors_entry *e = rg_safetensors_at(f, i);
        if (rg_safetensors_find(f, e->name) != e)
            RG_BUG("tensor \"%s\" is not found", e->name);
        const int s = rg_scope_begin(c);
        const rg_tensor *t = rg_safetensors_get(c, f, e->name);
        for (size_t k = 0; t && k < rg_nbytes(t); k++)      /* every byte must be readable */
            n_odd_bytes += ((const uint8_t *)t->data)[k] & 1;
        rg_scope_end(c, s, NULL);
        rg_ctx_reset(c);
    }
    rg_detect(f, &d);
    if (rg_weights_new(c, f, d.n_parts ? d.parts[0].prefix : "", &options, &w) == 0) {
        const rg_tensor *v = NULL;
        rg_linear_weight lin = { 0 };
        const rg_weight_row rows[] = {
            RG_W_VECTOR("v", v, -1, .flags = RG_W_OPTIONAL),
            RG_W_LINEAR("img_in", lin, -1, -1, .flags = RG_W_OPTIONAL | RG_W_MAYBE_BIAS),
        };
        rg_weights_count_blocks(w, "double_blocks.");
        rg_weights_load(c, w, rows, RG_W_COUNT(rows), "%s", "");
        rg_weights_finish(c, w, NULL);
    }
    rg_unref(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rg_ctx *c = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL);
    const bool is_index = size > 0 && data[0] == 'i';
    const size_t n = is_index ? size - 1 : size;
    uint8_t *copy = malloc(n ? n : 1);      /* exact, so that a sanitizer sees every step past the end */
    rg_safetensors *f = NULL;

    if (!c || !copy)
        abort();
    memcpy(copy, data + (is_index ? 1 : 0), n);
    if (rg_safetensors_parse(c, copy, n, is_index ? "/nonexistent/m.safetensors.index.json" : "m.safetensors", &f) == 0)
        look(c, f);
    rg_safetensors_close(f);
    rg_ctx_free(c);
    free(copy);
    return 0;
}
