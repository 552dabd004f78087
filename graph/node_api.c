/* What a running node calls: results for clients, model and input files, saving. Declared in nodes/node.h. */
#include <string.h>

#include "graph/run.h"

/* One entry appended to the list under key of the node's ui object; takes over item. */
static int add_ui(rg_exec *x, const char *key, struct json_object *item)
{
    call_result *r = ((graph_exec *)x->private_data)->result;
    struct json_object *list;

    if (!r->ui)
        r->ui = json_object_new_object();
    if (!item || !r->ui)
        goto fail;
    if (!json_object_object_get_ex(r->ui, key, &list)) {
        list = json_object_new_array();
        if (!list || json_object_object_add(r->ui, key, list) < 0)
            goto fail;
    }
    if (json_object_array_add(list, item) == 0)
        return 0;
fail:
    json_object_put(item);
    return rg_fail(x->ctx, RG_ERR_NOMEM, "no memory for a result");
}

int rg_exec_ui_file(rg_exec *x, const char *key, const char *filename, const char *subfolder, const char *type)
{
    struct json_object *file = json_object_new_object();

    if (file) {
        json_object_object_add(file, "filename", json_object_new_string(filename));
        json_object_object_add(file, "subfolder", json_object_new_string(subfolder));
        json_object_object_add(file, "type", json_object_new_string(type));
    }
    return add_ui(x, key, file);
}

int rg_exec_ui_text(rg_exec *x, const char *key, const char *text)
{
    return add_ui(x, key, json_object_new_string(text));
}

int rg_exec_show_image(rg_exec *x, int64_t step, int64_t total, const rg_tensor *images, int64_t frame)
{
    graph_exec *g = x->private_data;

    if (rg_check(x->ctx) < 0)
        return x->ctx->error;
    if (g->is_async)
        return rg_fail(x->ctx, RG_ERR_INVALID, "%s: a node that waits cannot show pictures", x->node_id);
    graph_progress_image(g->run, g->node, step, total, images, frame);
    return 0;
}

int rg_exec_model_path(rg_exec *x, const char *folder, const char *name, char **path)
{
    char text[900];
    const int ret = rg_env_model_path(x->env, folder, name, path, text, sizeof(text));

    return ret < 0 ? rg_fail(x->ctx, ret, "%s", text) : 0;
}

int rg_exec_input_path(rg_exec *x, const char *annotated, char **path)
{
    char text[900];
    const int ret = rg_env_input_path(x->env, annotated, path, text, sizeof(text));

    return ret < 0 ? rg_fail(x->ctx, ret, "%s", text) : 0;
}

struct rg_store *rg_exec_store(rg_exec *x)
{
    return x->env->store;
}

int rg_exec_save_path(rg_exec *x, const char *prefix, bool is_temp, int64_t width, int64_t height, rg_save_path *out)
{
    char text[900];
    const int ret = rg_env_save_path(x->env, prefix, is_temp, width, height, out, text, sizeof(text));

    return ret < 0 ? rg_fail(x->ctx, ret, "%s", text) : 0;
}

void rg_save_path_release(rg_save_path *p)
{
    rg_free(p->folder);
    rg_free(p->name);
    rg_free(p->subfolder);
    *p = (rg_save_path){ 0 };
}

int rg_exec_write_file(rg_exec *x, const char *path, const void *bytes, size_t n_bytes)
{
    char text[900];
    int ret = rg_check(x->ctx);         /* an interrupt that came in late still leaves no file */

    if (ret < 0)
        return ret;
    ret = rg_env_write_file(path, bytes, n_bytes, text, sizeof(text));
    return ret < 0 ? rg_fail(x->ctx, ret, "%s", text) : 0;
}
