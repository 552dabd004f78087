/* Write-protected copies of input tensors. See readonly.h. */
#include "graph/readonly.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

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

int graph_readonly_list(rg_ctx *c, rg_list **list)
{
    rg_list *l;

    if (!*list)
        return 0;
    if (!(l = rg_list_new((*list)->n_items)))
        return rg_fail(c, RG_ERR_NOMEM, "no memory for read-only inputs");
    for (int i = 0; i < l->n_items; i++) {
        const rg_value *v = &(*list)->items[i];
        const rg_tensor *t = v->type == RG_IMAGE || v->type == RG_MASK || v->type == RG_SIGMAS ? v->object : NULL;

        l->items[i] = t && t->device.type == RG_CPU && rg_is_contiguous(t) ? rg_value_object(v->type, protected_copy(t)) : rg_value_ref(v);
        if (v->type && !l->items[i].type) {
            rg_unref(l);
            return rg_fail(c, RG_ERR_NOMEM, "no memory for read-only inputs");
        }
    }
    rg_unref(*list);
    *list = l;
    return 0;
}
