/* CONDITIONING values: lists of encoded texts with options. Source: ComfyUI's [tensor, dict] lists, node_helpers.py. */
#include "engine/diffusion/cond.h"

static void cond_free(void *self)
{
    rg_cond *cond = self;

    for (int i = 0; i < cond->n_entries; i++) {
        rg_cond_entry *e = &cond->entries[i];
        rg_unref(e->cross);
        rg_unref(e->pooled);
        rg_unref(e->attention_mask);
        rg_unref(e->mask);
        for (int j = 0; j < e->n_reference_latents; j++)
            rg_unref(e->reference_latents[j]);
        rg_free(e->reference_latents);
    }
    rg_free(cond);
}

rg_cond *rg_cond_new(int n_entries)
{
    rg_cond *cond = rg_calloc(1, sizeof *cond + (size_t)n_entries * sizeof *cond->entries);

    if (!cond)
        return NULL;
    rg_object_init(cond, cond_free);
    cond->n_entries = n_entries;
    for (int i = 0; i < n_entries; i++) {
        rg_cond_entry *e = &cond->entries[i];
        e->mask_strength = 1.0;
        e->strength = 1.0;
        e->end_percent = 1.0;
    }
    return cond;
}

/* *to becomes a second holder of everything in *from. */
static bool entry_copy(rg_cond_entry *to, const rg_cond_entry *from)
{
    *to = *from;
    to->reference_latents = NULL;
    to->n_reference_latents = 0;
    rg_ref(to->cross);
    rg_ref(to->pooled);
    rg_ref(to->attention_mask);
    rg_ref(to->mask);
    if (from->n_reference_latents > 0) {
        to->reference_latents = rg_calloc((size_t)from->n_reference_latents, sizeof *to->reference_latents);
        if (!to->reference_latents)
            return false;
        to->n_reference_latents = from->n_reference_latents;
        for (int i = 0; i < from->n_reference_latents; i++)
            to->reference_latents[i] = rg_ref(from->reference_latents[i]);
    }
    return true;
}

rg_cond *rg_cond_join(const rg_cond *a, const rg_cond *b)
{
    const int n_a = a->n_entries, n_b = b ? b->n_entries : 0;
    rg_cond *cond = rg_cond_new(n_a + n_b);

    for (int i = 0; cond && i < n_a + n_b; i++) {
        if (!entry_copy(&cond->entries[i], i < n_a ? &a->entries[i] : &b->entries[i - n_a])) {
            rg_unref(cond);
            return NULL;
        }
    }
    return cond;
}

rg_cond *rg_cond_clone(const rg_cond *cond)
{
    return rg_cond_join(cond, NULL);
}

void rg_cond_set(rg_tensor **field, const rg_tensor *value)
{
    rg_tensor *old = *field;

    *field = rg_ref(value);
    rg_unref(old);
}
