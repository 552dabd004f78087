/* The nodes of sampling, latents and conditioning, called by their descriptors, against ComfyUI's node classes. */
#include "engine/diffusion/sampling.h"
#include "tests/diffusion/node_call.h"
#include "tests/diffusion/toy.h"

/* Flow model, samplers of + - * / and one that takes logarithms (dpmpp_2m): see test_samplers.c for both tolerances. */
enum { N_SPARE = 64 };
static const double exact = 0, rounded = 1.2e-6;

/* Objects to let go of when a test ends. */
static void *spare[N_SPARE];
static int n_spare;

static void *owned(void *object)
{
    if (n_spare == N_SPARE)
        abort();
    return spare[n_spare++] = object;
}

static void release_owned(void)
{
    while (n_spare > 0)
        rg_unref(spare[--n_spare]);
}

static rg_model *model(const char *kind)
{
    toy *t = owned(toy_new(kind));

    return owned(rg_model_new(&t->base));
}

/* The first output, kept until the test ends. */
static void *result(node_call *call, rg_ctx *c, int output)
{
    if (output == 0 && !node_run(call, c))
        test_fail(__FILE__, __LINE__, "%s: %s", call->node->class_type, c->message);
    void *object = call->out[output].type ? owned(rg_ref(call->out[output].object)) : NULL;
    return object;
}

static rg_tensor *sigmas_of(rg_ctx *c, const rg_model *m, const char *scheduler, int64_t steps, double denoise)
{
    node_call call = node_begin("BasicScheduler");

    node_link(&call, "model", m);
    node_combo(&call, "scheduler", scheduler);
    node_int(&call, "steps", steps);
    node_float(&call, "denoise", denoise);
    rg_tensor *t = result(&call, c, 0);
    node_end(&call);
    return t;
}

static rg_model *shifted(rg_ctx *c, const char *node, const rg_model *m, double shift)
{
    node_call call = node_begin(node);

    node_link(&call, "model", m);
    if (!strcmp(node, "ModelSamplingFlux")) {
        node_int(&call, "width", 832);
        node_int(&call, "height", 1216);
    } else {
        node_float(&call, "shift", shift);
    }
    rg_model *out = result(&call, c, 0);
    node_end(&call);
    return out;
}

TEST(model_sampling_nodes_shift_the_sigmas)
{
    test_fixture *f = test_open("diffusion/nodes.safetensors");
    rg_ctx *c = test_ctx();
    const rg_model *flux = model("flux");

    CHECK_CLOSE(c, sigmas_of(c, shifted(c, "ModelSamplingFlux", flux, 0), "simple", 7, 0.9), test_get(f, c, "model_sampling/flux"), exact);
    CHECK_CLOSE(c, sigmas_of(c, shifted(c, "ModelSamplingSD3", flux, 3), "simple", 7, 0.9), test_get(f, c, "model_sampling/sd3"), exact);
    CHECK_CLOSE(c, sigmas_of(c, shifted(c, "ModelSamplingSD3", flux, 1), "simple", 7, 0.9), test_get(f, c, "model_sampling/sd3_one"), exact);
    CHECK_CLOSE(c, sigmas_of(c, shifted(c, "ModelSamplingAuraFlow", model("flow"), 1.73), "normal", 7, 1),
                test_get(f, c, "model_sampling/aura_flow"), exact);
    CHECK_OK(c);

    node_call call = node_begin("ModelSamplingSD3");        /* shift 0: 0 / 0 at the largest sigma */
    node_link(&call, "model", flux);
    node_float(&call, "shift", 0);
    CHECK(!node_run(&call, c));
    CHECK_ERROR(c, RG_ERR_INVALID);
    node_end(&call);
    release_owned();
    rg_ctx_free(c);
}

static void split(rg_ctx *c, const rg_tensor *sigmas, int64_t step, rg_tensor **high, rg_tensor **low)
{
    node_call call = node_begin("SplitSigmas");

    node_link(&call, "sigmas", sigmas);
    node_int(&call, "step", step);
    *high = result(&call, c, 0);
    *low = result(&call, c, 1);
    node_end(&call);
}

static rg_tensor *flip(rg_ctx *c, const rg_tensor *sigmas)
{
    node_call call = node_begin("FlipSigmas");

    node_link(&call, "sigmas", sigmas);
    rg_tensor *t = result(&call, c, 0);
    node_end(&call);
    return t;
}

TEST(sigmas_are_split_and_flipped)
{
    test_fixture *f = test_open("diffusion/nodes.safetensors");
    rg_ctx *c = test_ctx();
    const rg_tensor *sigmas = sigmas_of(c, model("flux"), "simple", 6, 1);
    rg_tensor *high, *low;

    split(c, sigmas, 2, &high, &low);
    CHECK_CLOSE(c, high, test_get(f, c, "sigmas/high"), exact);
    CHECK_CLOSE(c, low, test_get(f, c, "sigmas/low"), exact);
    CHECK_CLOSE(c, flip(c, sigmas), test_get(f, c, "sigmas/flip"), exact);
    CHECK(rg_get(sigmas, 6) == 0);      /* what came in is unchanged */

    split(c, sigmas, 100, &high, &low);
    CHECK_INT(rg_numel(high), 7);
    CHECK_INT(rg_numel(low), 0);
    CHECK_INT(rg_numel(flip(c, low)), 0);
    CHECK_INT(rg_numel(sigmas_of(c, model("flux"), "simple", 6, 0)), 0);
    CHECK_OK(c);
    release_owned();
    rg_ctx_free(c);
}

/* RandomNoise with a seed, or DisableNoise. */
static rg_noise *noise_of(rg_ctx *c, bool is_random, uint64_t seed)
{
    node_call call = node_begin(is_random ? "RandomNoise" : "DisableNoise");

    if (is_random)
        node_int(&call, "noise_seed", (int64_t)seed);
    rg_noise *n = result(&call, c, 0);
    node_end(&call);
    return n;
}

static rg_sampler *sampler_of(rg_ctx *c, const char *name)
{
    node_call call = node_begin("KSamplerSelect");

    node_combo(&call, "sampler_name", name);
    rg_sampler *s = result(&call, c, 0);
    node_end(&call);
    return s;
}

static rg_latent *custom(rg_ctx *c, const rg_noise *noise, const rg_guider *guider, const rg_sampler *sampler,
                         const rg_tensor *sigmas, const rg_latent *latent, rg_latent **denoised)
{
    node_call call = node_begin("SamplerCustomAdvanced");

    node_link(&call, "noise", noise);
    node_link(&call, "guider", guider);
    node_link(&call, "sampler", sampler);
    node_link(&call, "sigmas", sigmas);
    node_link(&call, "latent_image", latent);
    rg_latent *out = result(&call, c, 0);
    *denoised = result(&call, c, 1);
    node_end(&call);
    return out;
}

TEST(custom_sampling_in_two_parts)
{
    test_fixture *f = test_open("diffusion/nodes.safetensors"), *texts = test_open("diffusion/samplers.safetensors");
    rg_ctx *c = test_ctx();
    const rg_model *m = shifted(c, "ModelSamplingFlux", model("flux"), 0);
    const rg_cond *cat = owned(toy_text(texts, c, "cat")), *dog = owned(toy_text(texts, c, "dog"));
    const rg_sampler *sampler = sampler_of(c, "dpmpp_2m");
    const rg_tensor *sigmas = sigmas_of(c, m, "beta", 9, 1);
    rg_tensor *high, *low;
    rg_latent *denoised;

    node_call empty = node_begin("EmptySD3LatentImage");
    node_int(&empty, "width", 24);
    node_int(&empty, "height", 32);
    const rg_latent *start = result(&empty, c, 0);
    node_end(&empty);
    CHECK(rg_dim(start->samples, 1) == 16 && rg_dim(start->samples, 2) == 4 && rg_dim(start->samples, 3) == 3);

    node_call cfg = node_begin("CFGGuider");
    node_link(&cfg, "model", m);
    node_link(&cfg, "positive", cat);
    node_link(&cfg, "negative", dog);
    node_float(&cfg, "cfg", 3);
    const rg_guider *guider = result(&cfg, c, 0);
    node_end(&cfg);

    split(c, sigmas, 4, &high, &low);
    const rg_latent *first = custom(c, noise_of(c, true, 77), guider, sampler, high, start, &denoised);
    CHECK_CLOSE(c, first->samples, test_get(f, c, "custom/first"), rounded);
    CHECK_CLOSE(c, denoised->samples, test_get(f, c, "custom/first_denoised"), rounded);
    const rg_latent *second = custom(c, noise_of(c, false, 0), guider, sampler, low, first, &denoised);
    CHECK_CLOSE(c, second->samples, test_get(f, c, "custom/second"), rounded);
    CHECK_CLOSE(c, denoised->samples, test_get(f, c, "custom/second_denoised"), rounded);

    node_call basic = node_begin("BasicGuider");
    node_link(&basic, "model", m);
    node_link(&basic, "conditioning", cat);
    guider = result(&basic, c, 0);
    node_end(&basic);
    CHECK_CLOSE(c, custom(c, noise_of(c, true, UINT64_MAX), guider, sampler, sigmas, start, &denoised)->samples,
                test_get(f, c, "custom/basic"), rounded);

    const rg_latent *picture = owned(rg_latent_new(test_get(texts, c, "input/latent/flux"), NULL));
    const rg_tensor *none = sigmas_of(c, m, "simple", 6, 0);
    CHECK_CLOSE(c, custom(c, noise_of(c, true, 7), guider, sampler, none, picture, &denoised)->samples, test_get(f, c, "custom/no_sigmas"), exact);
    CHECK_CLOSE(c, denoised->samples, test_get(f, c, "custom/no_sigmas_denoised"), exact);

    for (int add_noise = 0; add_noise < 2; add_noise++) {
        node_call call = node_begin("SamplerCustom");
        node_link(&call, "model", m);
        node_boolean(&call, "add_noise", add_noise);
        node_int(&call, "noise_seed", 5);
        node_float(&call, "cfg", 2.5);
        node_link(&call, "positive", cat);
        node_link(&call, "negative", dog);
        node_link(&call, "sampler", sampler_of(c, "euler_ancestral"));
        node_link(&call, "sigmas", sigmas);
        node_link(&call, "latent_image", picture);
        CHECK_CLOSE(c, ((rg_latent *)result(&call, c, 0))->samples, test_get(f, c, add_noise ? "custom/noise" : "custom/no_noise"), rounded);
        CHECK_CLOSE(c, ((rg_latent *)result(&call, c, 1))->samples,
                    test_get(f, c, add_noise ? "custom/noise_denoised" : "custom/no_noise_denoised"), rounded);
        node_end(&call);
    }
    release_owned();
    rg_ctx_free(c);
}

TEST(ksamplers_run)
{
    test_fixture *f = test_open("diffusion/nodes.safetensors"), *texts = test_open("diffusion/samplers.safetensors");
    rg_ctx *c = test_ctx();
    const rg_model *m = model("flux");
    const rg_cond *cat = owned(toy_text(texts, c, "cat")), *dog = owned(toy_text(texts, c, "dog"));
    const rg_latent *start = owned(rg_latent_new(rg_tensor_zeros(c, RG_F32, 4, (const int64_t[]){ 1, 16, 4, 3 }), NULL));

    for (int part = 0; part < 2; part++) {
        node_call call = node_begin("KSamplerAdvanced");
        node_link(&call, "model", m);
        node_combo(&call, "add_noise", part == 0 ? "enable" : "disable");
        node_int(&call, "noise_seed", 3);
        node_int(&call, "steps", 8);
        node_float(&call, "cfg", 2);
        node_combo(&call, "sampler_name", "heun");
        node_link(&call, "positive", cat);
        node_link(&call, "negative", dog);
        node_link(&call, "latent_image", start);
        node_int(&call, "start_at_step", part == 0 ? 0 : 4);
        node_int(&call, "end_at_step", part == 0 ? 4 : 10000);
        node_combo(&call, "return_with_leftover_noise", part == 0 ? "enable" : "disable");
        start = result(&call, c, 0);
        CHECK_CLOSE(c, start->samples, test_get(f, c, part == 0 ? "advanced/first" : "advanced/second"), exact);
        node_end(&call);
    }

    node_call call = node_begin("KSampler");
    const rg_latent *picture = owned(rg_latent_new(test_get(texts, c, "input/latent/flux"), NULL));
    node_link(&call, "model", m);
    node_int(&call, "seed", 5);
    node_int(&call, "steps", 6);
    node_float(&call, "cfg", 1);
    node_combo(&call, "sampler_name", "euler");
    node_combo(&call, "scheduler", "simple");
    node_link(&call, "positive", cat);
    node_link(&call, "negative", dog);
    node_link(&call, "latent_image", picture);
    node_float(&call, "denoise", 0.5);
    CHECK_CLOSE(c, ((rg_latent *)result(&call, c, 0))->samples, test_get(texts, c, "flux/euler/half"), exact);
    node_end(&call);
    release_owned();
    rg_ctx_free(c);
}

static const rg_cond_entry *average(rg_ctx *c, const rg_cond *to, const rg_cond *from)
{
    node_call call = node_begin("ConditioningAverage");

    node_link(&call, "conditioning_to", to);
    node_link(&call, "conditioning_from", from);
    node_float(&call, "conditioning_to_strength", 0.3);
    const rg_cond *cond = result(&call, c, 0);
    node_end(&call);
    return &cond->entries[0];
}

TEST(texts_are_edited)
{
    test_fixture *f = test_open("diffusion/nodes.safetensors"), *texts = test_open("diffusion/samplers.safetensors");
    rg_ctx *c = test_ctx();
    const rg_cond *cat = owned(toy_text(texts, c, "cat")), *dog = owned(toy_text(texts, c, "dog")), *longer = owned(toy_text(texts, c, "long"));
    rg_cond *bare = owned(toy_text(texts, c, "dog"));
    rg_cond_set(&bare->entries[0].pooled, NULL);

    const struct { const rg_cond *to, *from; const char *name; } cases[] = {
        { cat, longer, "cat_long" }, { longer, cat, "long_cat" }, { bare, cat, "bare_cat" }, { cat, bare, "cat_bare" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const rg_cond_entry *e = average(c, cases[i].to, cases[i].from);
        char key[64];
        snprintf(key, sizeof key, "average/%s", cases[i].name);
        test_check_close(__FILE__, __LINE__, c, e->cross, test_get(f, c, key), exact, key);
        snprintf(key, sizeof key, "average_pooled/%s", cases[i].name);
        CHECK(e->pooled && test_has(f, key));
        test_check_close(__FILE__, __LINE__, c, e->pooled, test_get(f, c, key), exact, key);
    }

    node_call call = node_begin("ConditioningConcat");
    node_link(&call, "conditioning_to", cat);
    node_link(&call, "conditioning_from", longer);
    CHECK_CLOSE(c, ((rg_cond *)result(&call, c, 0))->entries[0].cross, test_get(f, c, "concat/cat_long"), exact);
    node_end(&call);

    call = node_begin("ConditioningCombine");
    node_link(&call, "conditioning_1", cat);
    node_link(&call, "conditioning_2", dog);
    const rg_cond *both = result(&call, c, 0);
    CHECK(both->n_entries == 2 && both->entries[0].cross == cat->entries[0].cross && both->entries[1].cross == dog->entries[0].cross);
    node_end(&call);

    call = node_begin("ConditioningZeroOut");
    node_link(&call, "conditioning", both);
    const rg_cond *zero = result(&call, c, 0);
    CHECK_CLOSE(c, zero->entries[1].cross, rg_affine(c, dog->entries[0].cross, 0, 0), exact);
    CHECK_CLOSE(c, zero->entries[1].pooled, rg_affine(c, dog->entries[0].pooled, 0, 0), exact);
    CHECK(rg_get(dog->entries[0].cross, 0) != 0);
    node_end(&call);

    call = node_begin("ConditioningSetTimestepRange");
    node_link(&call, "conditioning", both);
    node_float(&call, "start", 0.25);
    const rg_cond *late = result(&call, c, 0);
    CHECK(late->entries[1].start_percent == 0.25 && late->entries[1].end_percent == 1 && both->entries[1].start_percent == 0);
    node_end(&call);

    call = node_begin("FluxGuidance");
    node_link(&call, "conditioning", both);
    node_float(&call, "guidance", 2.5);
    const rg_cond *guided = result(&call, c, 0);
    CHECK(guided->entries[1].has_guidance && guided->entries[1].guidance == 2.5 && !both->entries[1].has_guidance);
    node_end(&call);

    rg_cond *none = owned(rg_cond_new(0));
    call = node_begin("ConditioningConcat");
    node_link(&call, "conditioning_to", cat);
    node_link(&call, "conditioning_from", none);
    CHECK(!node_run(&call, c));
    CHECK_ERROR(c, RG_ERR_INVALID);
    node_end(&call);
    release_owned();
    rg_ctx_free(c);
}

static void check_index(rg_ctx *c, test_fixture *f, const rg_latent *latent, const char *key)
{
    const rg_tensor *wanted = test_get(f, c, key);

    CHECK_INT(latent->n_batch_index, rg_numel(wanted));
    for (int i = 0; i < latent->n_batch_index; i++)
        CHECK_INT(latent->batch_index[i], rg_get(wanted, i));
}

static rg_latent *from_batch(rg_ctx *c, const rg_latent *latent, int64_t index, int64_t length)
{
    node_call call = node_begin("LatentFromBatch");

    node_link(&call, "samples", latent);
    node_int(&call, "batch_index", index);
    node_int(&call, "length", length);
    rg_latent *out = result(&call, c, 0);
    node_end(&call);
    return out;
}

TEST(batches_of_latents)
{
    test_fixture *f = test_open("diffusion/nodes.safetensors");
    rg_ctx *c = test_ctx();

    node_call call = node_begin("SetLatentNoiseMask");      /* a MASK is [b, h, w] */
    node_link(&call, "samples", owned(rg_latent_new(test_get(f, c, "latent/samples"), NULL)));
    node_link(&call, "mask", rg_squeeze(c, test_get(f, c, "latent/mask"), 1));
    const rg_latent *batch = result(&call, c, 0);
    CHECK_CLOSE(c, batch->noise_mask, test_get(f, c, "latent/mask"), exact);
    node_end(&call);

    const rg_latent *part = from_batch(c, batch, 1, 5);
    CHECK_CLOSE(c, part->samples, test_get(f, c, "latent/part"), exact);
    CHECK_CLOSE(c, part->noise_mask, test_get(f, c, "latent/part_mask"), exact);
    check_index(c, f, part, "latent/part_index");
    check_index(c, f, from_batch(c, part, 1, 1), "latent/again_index");

    call = node_begin("RepeatLatentBatch");
    node_link(&call, "samples", part);
    node_int(&call, "amount", 3);
    const rg_latent *repeat = result(&call, c, 0);
    CHECK_CLOSE(c, repeat->samples, test_get(f, c, "latent/repeat"), exact);
    CHECK_CLOSE(c, repeat->noise_mask, test_get(f, c, "latent/repeat_mask"), exact);
    check_index(c, f, repeat, "latent/repeat_index");
    node_end(&call);

    call = node_begin("EmptyLatentImage");
    node_int(&call, "batch_size", 2);
    const rg_latent *empty = result(&call, c, 0);
    const rg_tensor *e = empty->samples;
    CHECK(e->n_dims == 4 && e->shape[0] == 2 && e->shape[1] == 4 && e->shape[2] == 64 && e->shape[3] == 64 && rg_get(e, 0) == 0);
    node_end(&call);
    release_owned();
    rg_ctx_free(c);
}

TEST(latents_are_resized)
{
    test_fixture *f = test_open("diffusion/nodes.safetensors");
    rg_ctx *c = test_ctx();
    const rg_latent *batch = owned(rg_latent_new(test_get(f, c, "latent/samples"), test_get(f, c, "latent/mask")));
    static const char *const methods[] = { "nearest-exact", "bilinear", "area", "bicubic", "bislerp" };

    for (int by = 0; by < 2; by++) {
        for (int i = 0; i < 5; i++) {
            node_call call = node_begin(by ? "LatentUpscaleBy" : "LatentUpscale");
            char key[64];
            node_link(&call, "samples", batch);
            node_combo(&call, "upscale_method", methods[i]);
            if (by) {
                node_float(&call, "scale_by", 1.35);
            } else {
                node_int(&call, "width", 64);
                node_int(&call, "height", 120);
                node_combo(&call, "crop", "center");
            }
            snprintf(key, sizeof key, "%s/%s", by ? "upscale_by" : "upscale", methods[i]);
            const rg_latent *out = result(&call, c, 0);
            /*
             * The resampling's own tests are tests/media's; here sizes, crop and the choice of method count. bislerp takes the
             * arc cosine of near-parallel vectors, which turns one rounding into 1e-4.
             */
            test_check_close(__FILE__, __LINE__, c, out->samples, test_get(f, c, key), i == 4 ? 3e-4 : 2e-6, key);
            CHECK(out->noise_mask == batch->noise_mask);
            node_end(&call);
        }
    }
    node_call call = node_begin("LatentUpscale");
    node_link(&call, "samples", batch);
    node_int(&call, "width", 0);
    node_int(&call, "height", 100);
    CHECK_CLOSE(c, ((rg_latent *)result(&call, c, 0))->samples, test_get(f, c, "upscale/width_0"), exact);
    node_int(&call, "height", 0);
    node_end(&call);
    CHECK(result(&call, c, 0) == batch);
    node_end(&call);
    release_owned();
    rg_ctx_free(c);
}
