/* A model larger than its budget: weights stream from the host, the result's bytes are those of a resident model; too small a budget is an error. */
#include "engine/diffusion/captured.h"
#include "engine/models/load.h"
#include "engine/models/synthetic.h"
#include "engine/ops/backend.h"
#include "engine/weights/store.h"
#include "tests/test.h"

static rg_tensor *ramp(rg_ctx *c, int n_dims, const int64_t *shape)
{
    rg_ctx *cpu = test_ctx();
    rg_tensor *t = rg_tensor_new(cpu, RG_F32, n_dims, shape);

    for (int64_t i = 0; i < rg_numel(t); i++)
        rg_set(t, i, sin(0.37 * (double)i));
    rg_tensor *moved = rg_to_device(c, t, c->device);
    rg_ctx_free(cpu);
    return moved;
}

/* Two evaluations (the second knows the order of weights); the result on the host. NULL, latched, on failure. */
static rg_tensor *evaluate(rg_ctx *c, const char *path, size_t budget, size_t *peak)
{
    rg_store *store = rg_store_new(NULL, 0);
    rg_model *model = NULL;
    const rg_tensor *out = NULL;

    rg_ctx_set_budget(c, budget);
    rg_ctx_reset_peak(c);
    if (rg_load_diffusion_model(c, store, path, RG_WEIGHT_DEFAULT, &model) == 0) {
        const rg_denoiser_inputs in = { .context = ramp(c, 3, (const int64_t[]){ 1, 3, 4096 }), .pooled = ramp(c, 2, (const int64_t[]){ 1, 768 }),
                                        .guidance = ramp(c, 1, (const int64_t[]){ 1 }) };
        const rg_tensor *x = ramp(c, 4, (const int64_t[]){ 1, 16, 4, 4 }), *t = ramp(c, 1, (const int64_t[]){ 1 });
        for (int i = 0; i < 2; i++)
            out = rg_denoiser_run(c, model->denoiser, x, t, &in);
    }
    rg_tensor *host = rg_to_device(c, out, (rg_device){ RG_CPU, 0 });
    *peak = rg_ctx_peak_bytes(c);
    rg_unref(model);
    rg_store_free(store);
    return host;
}

TEST(a_model_larger_than_the_budget_gives_the_same_bytes)
{
    FOR_EACH_DEVICE(c) {
        if (!c->ops->streams_weights) {
            test_skip("this device does not stream weights");
            continue;
        }
        rg_synthetic made;
        size_t peak, whole, again;
        c->compute_dtype = RG_BF16;
        CHECK(rg_synthetic_open(c, "flux-dev", 8, RG_BF16, &made) == 0);
        const rg_tensor *wanted = evaluate(c, made.path, 0, &whole);
        rg_ctx_trim(c);
        const size_t budget = whole * 3 / 5;
        const rg_tensor *got = evaluate(c, made.path, budget, &peak);
        CHECK_OK(c);
        CHECK_CLOSE(c, got, wanted, 0.0);
        CHECK(peak <= budget && peak < whole * 3 / 5 + 1);

        CHECK(evaluate(c, made.path, 1000000, &again) == NULL);         /* not even one weight fits */
        CHECK(c->error == RG_ERR_NOMEM && strstr(c->message, "MiB") != NULL);
        rg_ctx_reset(c);
        got = evaluate(c, made.path, budget, &again);                   /* the next job runs */
        CHECK_OK(c);
        CHECK_CLOSE(c, got, wanted, 0.0);
        rg_synthetic_close(&made);
        rg_ctx_set_budget(c, 0);
    }
}
