/* Sinusoidal embedding of times. Source: ComfyUI ldm/flux/layers.py, timestep_embedding: each step rounds to float32. */
#include "engine/ops/define.h"

void rg_def_timestep_embedding(rg_ctx *c, rg_tensor *out, const rg_tensor *t, float max_period, float time_factor)
{
    const int64_t B = t->shape[0], dim = out->shape[1], half = dim / 2;
    const float minus_log = (float)-log((double)max_period);

    for (int64_t b = 0; b < B; b++) {
        const float time = time_factor * (float)rg_get(t, b);

        for (int64_t i = 0; i < half; i++) {
            const float frequency = (float)exp((double)(minus_log * (float)i / (float)half));
            const float angle = time * frequency;       /* up to 1000: its float32 rounding shows, so it must be torch's */
            rg_set(out, b * dim + i, cos((double)angle));
            rg_set(out, b * dim + half + i, sin((double)angle));
        }
    }
}

rg_tensor *rg_timestep_embedding(rg_ctx *c, const rg_tensor *t, int dim, float max_period, float time_factor)
{
    char text[128];

    if (!RG_READY(c, "timestep_embedding", 1, t))
        return NULL;
    if (t->n_dims != 1 || dim < 2 || dim % 2) {
        rg_fail(c, RG_ERR_SHAPE, "timestep_embedding got times of shape %s and size %d, wanted [B] and an even size",
                rg_shape_text(t, text, sizeof text), dim);
        return NULL;
    }
    rg_tensor *out = rg_new2(c, RG_F32, t->shape[0], dim);
    if (!out)
        return NULL;
    RG_RUN(c, timestep_embedding, out, t, max_period, time_factor);
    return c->error ? NULL : out;
}
