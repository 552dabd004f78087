/* VAEEncode and VAEEncodeTiled: pictures to a latent. Source: ComfyUI nodes.py. */
#include "engine/diffusion/latent.h"
#include "engine/models/vae.h"
#include "nodes/node.h"

struct args {
    const rg_tensor *pixels;
    const rg_vae *vae;
    int64_t tile_size, overlap, temporal_size, temporal_overlap;    /* the tiled node's; the last two are for video */
};

static const rg_input inputs[] = {
    RG_LINK("pixels", pixels, RG_IMAGE),
    RG_LINK("vae",    vae,    RG_VAE),
    RG_END
};

static const rg_input tiled_inputs[] = {
    RG_LINK("pixels",           pixels,           RG_IMAGE),
    RG_LINK("vae",              vae,              RG_VAE),
    RG_INT ("tile_size",        tile_size,        512, 64, 4096, .step_int = 64, .tooltip = "Picture pixels of a tile."),
    RG_INT ("overlap",          overlap,          64,  0,  4096, .step_int = 32, .tooltip = "Picture pixels that tiles share."),
    RG_INT ("temporal_size",    temporal_size,    64,  8,  4096, .step_int = 4, .tooltip = "Video only: frames at a time."),
    RG_INT ("temporal_overlap", temporal_overlap, 8,   4,  4096, .step_int = 4, .tooltip = "Video only: frames that parts share."),
    RG_END
};

static int take(rg_exec *x, const rg_tensor *samples, rg_value *out)
{
    rg_latent *latent;

    if (!samples)
        return x->ctx->error;
    if (!(latent = rg_latent_new(samples, NULL)))
        return rg_fail(x->ctx, RG_ERR_NOMEM, "out of memory for a latent");
    out[0] = rg_value_object(RG_LATENT, latent);
    return 0;
}

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;

    return take(x, rg_vae_encode(x->ctx, a->vae, a->pixels), out);
}

static int execute_tiled(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;

    return take(x, rg_vae_encode_tiled(x->ctx, a->vae, a->pixels, a->tile_size, a->tile_size, a->overlap), out);
}

const rg_node rg_node_vae_encode = {
    .class_type    = "VAEEncode",
    .display_name  = "VAE Encode",
    .category      = "latent",
    .description   = "Encode pictures to a latent.",
    .inputs        = inputs,
    .outputs       = { { "LATENT", RG_LATENT } },
    .args_size     = sizeof(struct args),
    .python_module = "nodes",
    .execute       = execute,
};

const rg_node rg_node_vae_encode_tiled = {
    .class_type    = "VAEEncodeTiled",
    .display_name  = "VAE Encode (Tiled)",
    .category      = "_for_testing",
    .description   = "Encode pictures in overlapping tiles, for pictures too large to encode at once.",
    .inputs        = tiled_inputs,
    .outputs       = { { "LATENT", RG_LATENT } },
    .args_size     = sizeof(struct args),
    .python_module = "nodes",
    .execute       = execute_tiled,
};
