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
                                         "ipndm", "ipndm_v" };
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

/* full: 8 steps from noise, cfg 2.5. half: 6 steps at denoise 0.5. one: 1 step. part: steps 2 to 5 of 8, which stop above 0. */
typedef enum variant { FULL, HALF, ONE, PART } variant;
static const char *const variant_names[] = { "full", "half", "one", "part" };

/* Samplers whose noise comes from the device's own generator: a GPU's differs from the CPU's, which made the fixtures. */
static bool draws_on_device(const char *name)
{
    static const char *const parts[] = { "ancestral", "_gpu", "lcm", "ddpm", "seeds", "sa_solver", "er_sde" };

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (strstr(name, parts[i]))
            return true;
    }
    return false;
}

static void run(rg_ctx *c, test_fixture *f, const char *kind, int sampler, variant v)
{
    static const int simple = 0, normal = 6;
    const char *name = rg_sampler_names[sampler];
    char key[96], latent_key[64];
    toy *t = toy_new(kind);
    rg_model *model = rg_model_new(&t->base);
    rg_cond *positive = toy_text(f, c, "cat"), *negative = toy_text(f, c, "dog");
    rg_latent *out = NULL;

    snprintf(latent_key, sizeof latent_key, "input/latent/%s", kind);
    const rg_tensor *samples = test_get(f, c, latent_key);
    rg_latent *latent = rg_latent_new(v != FULL ? samples : rg_tensor_zeros(c, RG_F32, 4, samples->shape), NULL);
    const rg_ksampler_args args = {
        .seed = 5, .steps = v == HALF ? 6 : v == ONE ? 1 : 8, .cfg = v == FULL ? 2.5 : v == PART ? 1.5 : 1, .sampler = sampler,
        .scheduler = v == FULL ? normal : simple, .denoise = v == HALF ? 0.5 : 1,
        .start_step = v == PART ? 2 : RG_STEP_UNSET, .last_step = v == PART ? 6 : RG_STEP_UNSET,
    };
    const int ret = rg_ksampler(c, model, positive, negative, latent, &args, &out);

    snprintf(key, sizeof key, "%s/%s/%s", kind, name, variant_names[v]);
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

static void run_all(const char *kind, variant v)
{
    test_fixture *f = test_open("diffusion/samplers.safetensors");
    FOR_EACH_DEVICE(c) {
        for (int i = 0; rg_sampler_names[i] && toy_runs_on(c); i++) {
            if (c->device.type == RG_CPU || !draws_on_device(rg_sampler_names[i]))
                run(c, f, kind, i, v);
        }
    }
}

TEST(flow_models_from_noise) { run_all("flux", FULL); }
TEST(flow_models_from_a_picture) { run_all("flux", HALF); }
TEST(flow_models_in_one_step) { run_all("flux", ONE); }
TEST(flow_models_over_part_of_the_schedule) { run_all("flux", PART); }
TEST(eps_models_from_noise) { run_all("eps", FULL); }
TEST(eps_models_from_a_picture) { run_all("eps", HALF); }
TEST(eps_models_in_one_step) { run_all("eps", ONE); }
TEST(eps_models_over_part_of_the_schedule) { run_all("eps", PART); }
