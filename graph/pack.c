/* Loading node packs. See pack.h. */
#include "graph/pack.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int refuse(void *handle, int code)
{
    if (handle)
        dlclose(handle);
    return code;
}

/* Descriptors are data from outside as far as we can tell without running them. */
static int check_nodes(const rg_node *const *nodes, int n, const char *path, char *text, size_t text_size)
{
    for (int i = 0; i < n; i++) {
        if (!nodes[i] || !nodes[i]->class_type || !*nodes[i]->class_type || !nodes[i]->execute) {
            snprintf(text, text_size, "%s: its node %d has no class_type or no execute", path, i);
            return RG_ERR_INVALID;
        }
        if (rg_node_find(nodes[i]->class_type)) {
            snprintf(text, text_size, "%s: there is a node %s already", path, nodes[i]->class_type);
            return RG_ERR_INVALID;
        }
        for (int j = 0; j < i; j++) {
            if (!strcmp(nodes[i]->class_type, nodes[j]->class_type)) {
                snprintf(text, text_size, "%s: it has the node %s twice", path, nodes[i]->class_type);
                return RG_ERR_INVALID;
            }
        }
    }
    return 0;
}

int rg_pack_load(const char *path, char *text, size_t text_size)
{
    char *full = rg_asprintf("%s%s", strchr(path, '/') ? "" : "./", path);
    const rg_node *const *nodes;
    rg_node_pack_fn *entry;
    void *handle;
    int n = 0, ret;

    if (!full) {
        snprintf(text, text_size, "%s: no memory", path);
        return RG_ERR_NOMEM;
    }
    if (access(full, R_OK)) {
        snprintf(text, text_size, "%s: no such file, or it cannot be read", path);
        rg_free(full);
        return RG_ERR_NOT_FOUND;
    }
    handle = dlopen(full, RTLD_NOW | RTLD_LOCAL);
    rg_free(full);
    if (!handle) {
        snprintf(text, text_size, "%s: not a shared library that fits this program: %s", path, dlerror());
        return RG_ERR_FORMAT;
    }
    *(void **)&entry = dlsym(handle, "rg_node_pack");
    if (!entry) {
        snprintf(text, text_size, "%s: not a node pack: it has no function rg_node_pack", path);
        return refuse(handle, RG_ERR_FORMAT);
    }
    nodes = entry(RG_NODE_ABI, &n);
    if (!nodes || n < 0) {
        snprintf(text, text_size, "%s: built for another version of the node interface, this program has %d", path, RG_NODE_ABI);
        return refuse(handle, RG_ERR_FORMAT);
    }
    if ((ret = check_nodes(nodes, n, path, text, text_size)) < 0)
        return refuse(handle, ret);
    for (int i = 0; i < n; i++) {
        if (rg_node_register(nodes[i]) < 0) {
            snprintf(text, text_size, "%s: no memory", path);   /* some are in the table: the library has to stay */
            return RG_ERR_NOMEM;
        }
    }
    return 0;
}
