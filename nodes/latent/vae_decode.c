/* VAEDecode and VAEDecodeTiled: a latent to pictures. Source: ComfyUI nodes.py. */
#include "engine/diffusion/latent.h"
#include "engine/models/vae.h"
#include "nodes/node.h"

struct args {
    const rg_latent *samples;
    const rg_vae *vae;
    int64_t tile_size, overlap, temporal_size, temporal_overlap;    /* the tiled node's; the last two are for video */
};

static const rg_input inputs[] = {
    RG_LINK("samples", samples, RG_LATENT, .tooltip = "The latent to decode."),
    RG_LINK("vae",     vae,     RG_VAE, .tooltip = "The autoencoder."),
    RG_END
};

static const rg_input tiled_inputs[] = {
    RG_LINK("samples",          samples,          RG_LATENT),
    RG_LINK("vae",              vae,              RG_VAE),
    RG_INT ("tile_size",        tile_size,        512, 64, 4096, .step_int = 32, .tooltip = "Picture pixels of a tile."),
    RG_INT ("overlap",          overlap,          64,  0,  4096, .step_int = 32, .tooltip = "Picture pixels that tiles share."),
    RG_INT ("temporal_size",    temporal_size,    64,  8,  4096, .step_int = 4, .tooltip = "Video only: frames at a time."),
    RG_INT ("temporal_overlap", temporal_overlap, 8,   4,  4096, .step_int = 4, .tooltip = "Video only: frames that parts share."),
    RG_END
};

static int take(rg_exec *x, const rg_tensor *image, rg_value *out)
{
    if (!image)
        return x->ctx->error;
    out[0] = rg_value_object(RG_IMAGE, rg_ref(image));
    return 0;
}

static int execute(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;

    return take(x, rg_vae_decode(x->ctx, a->vae, a->samples->samples), out);
}

static int execute_tiled(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;
    const int64_t compression = 8;      /* picture pixels per latent pixel */
    /* an overlap near the tile's size would never advance: ComfyUI's rule */
    const int64_t overlap = a->tile_size < a->overlap * 4 ? a->tile_size / 4 : a->overlap;
    const int64_t tile = a->tile_size / compression;

    return take(x, rg_vae_decode_tiled(x->ctx, a->vae, a->samples->samples, tile, tile, overlap / compression), out);
}

const rg_node rg_node_vae_decode = {
    .class_type    = "VAEDecode",
    .display_name  = "VAE Decode",
    .category      = "latent",
    .description   = "Decode a latent to pictures.",
    .inputs        = inputs,
    .outputs       = { { "IMAGE", RG_IMAGE } },
    .args_size     = sizeof(struct args),
    .python_module = "nodes",
    .execute       = execute,
};

const rg_node rg_node_vae_decode_tiled = {
    .class_type    = "VAEDecodeTiled",
    .display_name  = "VAE Decode (Tiled)",
    .category      = "_for_testing",
    .description   = "Decode a latent in overlapping tiles, for pictures too large to decode at once.",
    .inputs        = tiled_inputs,
    .outputs       = { { "IMAGE", RG_IMAGE } },
    .args_size     = sizeof(struct args),
    .python_module = "nodes",
    .execute       = execute_tiled,
};
