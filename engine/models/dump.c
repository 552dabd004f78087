/* RG_DUMP=block: a list of named tensors per thread, written as safetensors at the end of a forward pass. */
#include "engine/models/dump.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/weights/safetensors.h"

enum { MAX_NAME = 64 };

static _Thread_local struct {
    rg_named_tensor *items;
    int n, capacity;
} noted;
static atomic_int n_files;

static bool is_on(void)
{
    static atomic_int state;            /* 0: not asked yet, 1: off, 2: on */
    int s = atomic_load_explicit(&state, memory_order_relaxed);

    if (!s) {
        const char *value = getenv("RG_DUMP");
        s = value && strcmp(value, "block") == 0 ? 2 : 1;
        atomic_store_explicit(&state, s, memory_order_relaxed);
    }
    return s == 2;
}

void rg_dump_add(rg_ctx *c, const char *name, int index, const rg_tensor *t)
{
    char *label;

    if (!is_on() || c->error || !t)
        return;
    if (noted.n == noted.capacity) {
        const int capacity = noted.capacity ? 2 * noted.capacity : 64;
        rg_named_tensor *items = rg_realloc(noted.items, (size_t)capacity * sizeof *items);
        if (!items)
            return;
        noted.items = items;
        noted.capacity = capacity;
    }
    if (!(label = rg_malloc(MAX_NAME)))
        return;
    const char *number = strstr(name, "%d");
    if (number)
        snprintf(label, MAX_NAME, "%.*s%d%s", (int)(number - name), name, index, number + 2);
    else
        snprintf(label, MAX_NAME, "%s", name);
    noted.items[noted.n++] = (rg_named_tensor){ label, rg_ref(t) };
}

void rg_dump_end(rg_ctx *c, const char *what)
{
    const char *dir = getenv("RG_DUMP_DIR");

    if (!is_on())
        return;
    if (!c->error && noted.n) {
        char *path = rg_asprintf("%s/%s-%04d.safetensors", dir ? dir : ".", what, atomic_fetch_add(&n_files, 1) + 1);
        if (path)
            rg_safetensors_save(c, path, noted.items, noted.n, NULL, 0);
        rg_free(path);
    }
    for (int i = 0; i < noted.n; i++) {
        rg_free((char *)noted.items[i].name);
        rg_unref(noted.items[i].tensor);
    }
    rg_free(noted.items);
    noted.items = NULL;
    noted.n = noted.capacity = 0;
}
