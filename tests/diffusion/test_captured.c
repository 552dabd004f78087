/* Recorded forward passes: the same bytes as plain ones, recorded once per shape, and plain where recording fails. Needs a device that records. */
#include "engine/diffusion/captured.h"
#include "engine/models/flux.h"
#include "engine/ops/backend.h"
#include "tests/test.h"

static const rg_flux_config config = { .hidden = 64, .n_heads = 2, .mlp_hidden = 128, .in_channels = 4, .out_channels = 4, .context_dim = 16,
                                       .vector_dim = 8, .axes_dim = { 8, 12, 12 }, .theta = 10000.0, .has_guidance = true, .depth = 2, .depth_single = 2 };

static rg_tensor *ramp(rg_ctx *c, double start, int n_dims, const int64_t *shape)
{
    rg_ctx *cpu = test_ctx();
    rg_tensor *t = rg_tensor_new(cpu, RG_F32, n_dims, shape);

    for (int64_t i = 0; i < rg_numel(t); i++)
        rg_set(t, i, sin(start + 0.37 * (double)i));
    rg_tensor *moved = rg_to_device(c, t, c->device);
    rg_ctx_free(cpu);
    return moved;
}

/* One evaluation; is_plain: by the model's own function. */
static rg_tensor *evaluate(rg_ctx *c, const rg_denoiser *m, double seed, int64_t side, bool has_pooled, bool is_plain)
{
    const rg_denoiser_inputs in = {
        .context = ramp(c, seed + 1, 3, (const int64_t[]){ 1, 5, 16 }),
        .pooled = has_pooled ? ramp(c, seed + 2, 2, (const int64_t[]){ 1, 8 }) : NULL,
        .guidance = ramp(c, seed + 3, 1, (const int64_t[]){ 1 }),
    };
    const rg_tensor *x = ramp(c, seed, 4, (const int64_t[]){ 1, 4, side, side }), *t = ramp(c, seed + 4, 1, (const int64_t[]){ 1 });

    return is_plain ? m->forward(c, m, x, t, &in) : rg_denoiser_run(c, m, x, t, &in);
}

#define SKIP_UNLESS_IT_RECORDS(c) if (!(c)->ops->capture_begin) { test_skip("this device does not record"); continue; }

TEST(recorded_passes_give_the_same_bytes)
{
    FOR_EACH_DEVICE(c) {
        SKIP_UNLESS_IT_RECORDS(c)
        static const int64_t sides[] = { 8, 8, 8, 6, 8, 6, 6, 8 };
        static const rg_dtype dtypes[] = { RG_F32, RG_BF16 };
        int64_t n_recorded, n_replayed;

        for (int k = 0; k < 2; k++) {
            rg_denoiser *m = NULL;
            c->compute_dtype = dtypes[k];
            CHECK(rg_flux_synthetic(c, &config, 3, dtypes[k], &m) == 0);
            for (int i = 0; i < 8; i++) {
                const int s = rg_scope_begin(c);
                /* between steps other work takes and frees memory: it must not touch a recording's */
                rg_tensor_full(c, RG_F32, 1, (const int64_t[]){ 100 + 37 * i }, NAN);
                const rg_tensor *wanted = evaluate(c, m, 10.0 * i, sides[i], true, true), *got = evaluate(c, m, 10.0 * i, sides[i], true, false);
                CHECK_CLOSE(c, got, wanted, 0.0);
                rg_scope_end(c, s, NULL);
            }
            rg_unref(m);
        }
        rg_captured_counts(c, &n_recorded, &n_replayed);
        CHECK(n_recorded == 4 && n_replayed == 12);     /* two shapes of two models; each one's first evaluation is plain */
    }
}

TEST(what_cannot_be_recorded_runs_plainly)              /* zeros for a missing pooled text are uploaded: no recording has that */
{
    FOR_EACH_DEVICE(c) {
        SKIP_UNLESS_IT_RECORDS(c)
        rg_denoiser *m = NULL;
        int64_t n_recorded, n_replayed;

        CHECK(rg_flux_synthetic(c, &config, 3, RG_F32, &m) == 0);
        for (int i = 0; i < 4; i++) {
            const rg_tensor *wanted = evaluate(c, m, 10.0 * i, 8, false, true), *got = evaluate(c, m, 10.0 * i, 8, false, false);
            CHECK_CLOSE(c, got, wanted, 0.0);
        }
        rg_captured_counts(c, &n_recorded, &n_replayed);
        CHECK(n_recorded == 0 && n_replayed == 0);
        rg_unref(m);
    }
}

TEST(a_recording_survives_a_stop)
{
    FOR_EACH_DEVICE(c) {
        SKIP_UNLESS_IT_RECORDS(c)
        rg_denoiser *m = NULL;
        atomic_bool stop = true;

        CHECK(rg_flux_synthetic(c, &config, 3, RG_F32, &m) == 0);
        CHECK(evaluate(c, m, 0, 8, true, false) != NULL);
        c->cancel = &stop;
        CHECK(evaluate(c, m, 1, 8, true, false) == NULL && c->error == RG_ERR_CANCELLED);
        c->cancel = NULL;
        rg_ctx_reset(c);
        for (int i = 2; i < 5; i++)
            CHECK_CLOSE(c, evaluate(c, m, i, 8, true, false), evaluate(c, m, i, 8, true, true), 0.0);
        rg_unref(m);
    }
}
