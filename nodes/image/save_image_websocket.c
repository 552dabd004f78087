/*
 * SaveImageWebsocket: pictures to the client that waits for them, as binary messages of its WebSocket; no file is written.
 * Source: ComfyUI custom_nodes/websocket_image_save.py. Easy to get wrong: the count starts at 0, and it runs at every prompt.
 */
#include <string.h>

#include "nodes/image/image_node.h"

struct args {
    const rg_tensor *images;
};

static const rg_input inputs[] = {
    RG_LINK("images", images, RG_IMAGE),
    RG_END
};

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    const rg_tensor *images = a->images;

    if (rg_image_check(x->ctx, images, "images") < 0 || !(images = rg_image_host(x->ctx, images)))
        return x->ctx->error;
    for (int64_t i = 0, n = rg_dim(images, 0); i < n; i++)
        if (rg_exec_show_image(x, i, n, images, i) < 0)
            break;
    return x->ctx->error;
}

/* Whoever asks wants the pictures, whether or not somebody got them before. */
static int fingerprint(rg_env *env, const void *in, char out[65])
{
    return 1;
}

const rg_node rg_node_save_image_websocket = {
    .class_type    = "SaveImageWebsocket",
    .category      = "api/image",
    .description   = "Send pictures to the client over its WebSocket, as PNG; none is saved.",
    .inputs        = inputs,
    .args_size     = sizeof(struct args),
    .is_output     = true,
    .python_module = "custom_nodes.websocket_image_save",
    .execute       = execute,
    .fingerprint   = fingerprint,
};
