/* Write-protected copies of input tensors. See readonly.h. */
#include "graph/readonly.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/diffusion/cond.h"
#include "engine/diffusion/latent.h"

typedef struct protected_pages {
    rg_object base;
    void *data;
    size_t n_bytes;
} protected_pages;

static void pages_free(void *self)
{
    protected_pages *p = self;

    munmap(p->data, p->n_bytes);
    rg_free(p);
}

bool graph_readonly_is_on(void)
{
    const char *s = getenv("RG_READONLY_INPUTS");

    return s && *s && *s != '0';
}

static rg_tensor *protected_copy(const rg_tensor *t)
{
    const size_t n_bytes = rg_nbytes(t) ? rg_nbytes(t) : 1;
    protected_pages *pages = rg_calloc(1, sizeof(*pages));
    rg_tensor *copy;

    if (!pages)
        return NULL;
    pages->n_bytes = n_bytes;
    pages->data = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages->data == MAP_FAILED) {
        rg_free(pages);
        return NULL;
    }
    rg_object_init(pages, pages_free);
    memcpy(pages->data, t->data, rg_nbytes(t));
    mprotect(pages->data, n_bytes, PROT_READ);
    copy = rg_tensor_wrap(pages->data, t->dtype, t->n_dims, t->shape, true, pages);
    rg_unref(pages);                    /* the tensor holds them now */
    return copy;
}

/* A protected copy where there can be one, else one more hold on the same tensor; NULL if no memory, or for NULL. */
static rg_tensor *protect(const rg_tensor *t)
{
    return t && t->device.type == RG_CPU && rg_is_contiguous(t) ? protected_copy(t) : rg_ref(t);
}

static rg_latent *protect_latent(const rg_latent *latent)
{
    rg_tensor *samples = protect(latent->samples), *mask = protect(latent->noise_mask);
    rg_latent *copy = samples && (mask || !latent->noise_mask) ? rg_latent_with_samples(latent, samples) : NULL;

    if (copy && mask) {
        rg_unref(copy->noise_mask);
        copy->noise_mask = rg_ref(mask);
    }
    rg_unref(samples);
    rg_unref(mask);
    return copy;
}

/* Replace a field by its protected copy; false if no memory. */
static bool protect_field(rg_tensor **field)
{
    rg_tensor *t = protect(*field);

    if (!t)
        return !*field;
    rg_cond_set(field, t);
    rg_unref(t);
    return true;
}

static rg_cond *protect_cond(const rg_cond *cond)
{
    rg_cond *copy = rg_cond_clone(cond);

    for (int i = 0; copy && i < copy->n_entries; i++) {
        rg_cond_entry *e = &copy->entries[i];

        if (!protect_field(&e->cross) || !protect_field(&e->pooled) || !protect_field(&e->attention_mask) || !protect_field(&e->mask)) {
            rg_unref(copy);
            return NULL;
        }
    }
    return copy;
}

static rg_value protect_value(const rg_value *v)
{
    if (v->type == RG_IMAGE || v->type == RG_MASK || v->type == RG_SIGMAS)
        return rg_value_object(v->type, protect(v->object));
    if (v->type == RG_LATENT)
        return rg_value_object(v->type, protect_latent(v->object));
    if (v->type == RG_CONDITIONING)
        return rg_value_object(v->type, protect_cond(v->object));
    return rg_value_ref(v);
}

int graph_readonly_list(rg_ctx *c, rg_list **list)
{
    rg_list *l;

    if (!*list)
        return 0;
    if (!(l = rg_list_new((*list)->n_items)))
        return rg_fail(c, RG_ERR_NOMEM, "no memory for read-only inputs");
    for (int i = 0; i < l->n_items; i++) {
        const rg_value *v = &(*list)->items[i];

        l->items[i] = protect_value(v);
        if (v->type && !l->items[i].type) {
            rg_unref(l);
            return rg_fail(c, RG_ERR_NOMEM, "no memory for read-only inputs");
        }
    }
    rg_unref(*list);
    *list = l;
    return 0;
}
