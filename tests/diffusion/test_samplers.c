/*
 * Every sampler against ComfyUI's own, on a toy model that both compute with the same float32 operations: an 8-step run from
 * noise at cfg 2.5 and a 6-step run at denoise 0.5, for a flow model and an eps model.
 */
#include "tests/diffusion/toy.h"

/*
 * Relative to the largest value. On a flow model, samplers made of + - * / agree to the last bit. Everything else takes exp, log
 * or a square root of a sigma (an eps model's input scale is one), where PyTorch's vector library is up to one unit in the last
 * place away from the correctly rounded value: measured 8e-7 at most over 8 steps. Samplers that divide differences of such
 * values by each other, or integrate numerically, lose a little more: 3.4e-6.
 */
static double tolerance_of(const char *kind, const char *sampler)
{
    static const char *const exact[] = { "euler", "heun", "heunpp2", "lcm", "ddim", "gradient_estimation", "gradient_estimation_cfg_pp",
                                         "euler_cfg_pp", "ipndm", "ipndm_v" };
    static const char *const delicate[] = { "res_multistep_ancestral", "res_multistep_ancestral_cfg_pp", "dpmpp_3m_sde",
                                            "dpmpp_3m_sde_gpu", "dpmpp_2m_cfg_pp", "deis", "lms" };

    for (size_t i = 0; i < sizeof exact / sizeof *exact; i++) {
        if (!strcmp(sampler, exact[i]) && !strcmp(kind, "flux"))
            return 0;
    }
    for (size_t i = 0; i < sizeof delicate / sizeof *delicate; i++) {
        if (!strcmp(sampler, delicate[i]))
            return 5e-6;
    }
    return 1.2e-6;
}

static void run(rg_ctx *c, test_fixture *f, const char *kind, int sampler, bool is_half)
{
    static const int normal = 6;        /* the scheduler */
    const char *name = rg_sampler_names[sampler];
    char key[96], latent_key[64];
    toy *t = toy_new(kind);
    rg_model *model = rg_model_new(&t->base);
    rg_cond *positive = toy_text(f, c, "cat"), *negative = toy_text(f, c, "dog");
    rg_latent *out = NULL;

    snprintf(latent_key, sizeof latent_key, "input/latent/%s", kind);
    const rg_tensor *samples = test_get(f, c, latent_key);
    rg_latent *latent = rg_latent_new(is_half ? samples : rg_tensor_zeros(c, RG_F32, 4, samples->shape), NULL);
    const rg_ksampler_args args = {
        .seed = 5, .steps = is_half ? 6 : 8, .cfg = is_half ? 1 : 2.5, .sampler = sampler, .scheduler = is_half ? 0 : normal,
        .denoise = is_half ? 0.5 : 1, .start_step = RG_STEP_UNSET, .last_step = RG_STEP_UNSET,
    };
    const int ret = rg_ksampler(c, model, positive, negative, latent, &args, &out);

    snprintf(key, sizeof key, "%s/%s/%s", kind, name, is_half ? "half" : "full");
    if (ret < 0) {
        test_fail(__FILE__, __LINE__, "%s: %s", key, c->message);
        rg_ctx_reset(c);
    } else {
        test_check_close(__FILE__, __LINE__, c, out->samples, test_get(f, c, key), tolerance_of(kind, name), key);
    }
    rg_unref(out);
    rg_unref(latent);
    rg_unref(positive);
    rg_unref(negative);
    rg_unref(model);
    rg_unref(t);
}

TEST(flow_models_from_noise)
{
    test_fixture *f = test_open("diffusion/samplers.safetensors");
    FOR_EACH_DEVICE(c) {
        for (int i = 0; rg_sampler_names[i]; i++)
            run(c, f, "flux", i, false);
    }
}

TEST(flow_models_from_a_picture)
{
    test_fixture *f = test_open("diffusion/samplers.safetensors");
    FOR_EACH_DEVICE(c) {
        for (int i = 0; rg_sampler_names[i]; i++)
            run(c, f, "flux", i, true);
    }
}

TEST(eps_models_from_noise)
{
    test_fixture *f = test_open("diffusion/samplers.safetensors");
    FOR_EACH_DEVICE(c) {
        for (int i = 0; rg_sampler_names[i]; i++)
            run(c, f, "eps", i, false);
    }
}

TEST(eps_models_from_a_picture)
{
    test_fixture *f = test_open("diffusion/samplers.safetensors");
    FOR_EACH_DEVICE(c) {
        for (int i = 0; rg_sampler_names[i]; i++)
            run(c, f, "eps", i, true);
    }
}
